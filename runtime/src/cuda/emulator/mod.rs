//! A device for tests: kernels compiled by the system's C++ compiler against a small shim and run on the CPU, a block at a time,
//! its threads as fibers.
//!
//! It shows what a kernel computes, whether its threads wait for each other where they must (in the order backwards, results
//! have to be the same bits), and that it keeps to its memory, which stands between guards. It says nothing of speed.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{OsString, c_void};
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::driver::{Address, Command, DeviceError, Driver, Function, Graph, Launch, Properties, Source};

mod product;

const SHIM: &str = include_str!("shim.h");
/// Bytes around each piece of memory, and what stands there.
const GUARD: usize = 256;
const POISON: u8 = 0xd7;

/// A library holds the state of the block that runs in it, so that kernels run one at a time in a process.
static TURN: Mutex<()> = Mutex::new(());

/// See the module.
pub struct Emulator {
    properties: Properties,
    compiler: OsString,
    /// Where compiled kernels are kept, by hash of their text.
    cache: PathBuf,
    /// Whether threads and blocks run in the order backwards.
    backwards: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    libraries: HashMap<PathBuf, libloading::Library>,
    functions: Vec<Run>,
    names: HashMap<(Source, String), Function>,
    memory: HashMap<Address, Vec<u64>>,
    graphs: HashMap<usize, Vec<Command>>,
}

/// What `EMULATED` in the shim defines.
type Run = unsafe extern "C" fn(*const *const c_void, *const u32, *const u32, u32, u32);

impl Emulator {
    /// An emulator that keeps compiled kernels in this folder. `None` without a C++ compiler for this machine (`CXX`, or
    /// `c++`).
    pub fn new(cache: &Path, backwards: bool) -> Option<Emulator> {
        let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
        // A compiler for another machine makes nothing that can be loaded here.
        let machine =
            Process::new(&compiler).arg("-dumpmachine").output().ok().filter(|output| output.status.success())?;
        let found = String::from_utf8_lossy(&machine.stdout).starts_with(std::env::consts::ARCH);
        let properties = Properties {
            name: "emulated".into(),
            architecture: 80,
            processors: 4,
            // What every device since compute capability 8.0 has, at least.
            shared: 99 << 10,
        };
        std::fs::create_dir_all(cache).ok()?;
        let (cache, state) = (cache.to_owned(), Mutex::default());
        found.then_some(Emulator { properties, compiler, cache, backwards, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shared library of a source, compiled where it is not yet.
    fn compiled(&self, source: &Source) -> Result<PathBuf, DeviceError> {
        let text = source.full();
        let exports: String = kernels(&text).map(|kernel| format!("EMULATED({kernel})\n")).collect();
        let whole = format!("{SHIM}\n#line 1 \"{}.cu\"\n{text}\n{exports}", source.name);
        let name = format!("{}-{:016x}", source.name, hash(&whole));
        let path = self.cache.join(format!("{name}.so"));
        if !path.exists() {
            self.compile(&whole, &name, &path)?;
        }
        Ok(path)
    }

    /// Compiles into a file of its own first, so that a library is whole where it is there.
    fn compile(&self, text: &str, name: &str, path: &Path) -> Result<(), DeviceError> {
        let error = |what: String| DeviceError(format!("the emulator cannot compile {name}: {what}"));
        let own = format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id());
        let (input, output) = (self.cache.join(format!("{own}.cpp")), self.cache.join(format!("{own}.so")));
        std::fs::write(&input, text).map_err(|e| error(e.to_string()))?;
        let mut process = Process::new(&self.compiler);
        process
            .args(["-std=c++17", "-O2", "-fPIC", "-shared", "-w", "-U_FORTIFY_SOURCE", "-o"])
            .arg(&output)
            .arg(&input);
        let ran = process.output().map_err(|e| error(e.to_string()))?;
        if !ran.status.success() {
            return Err(error(String::from_utf8_lossy(&ran.stderr).into_owned()));
        }
        let _ = std::fs::remove_file(&input);
        std::fs::rename(&output, path).map_err(|e| error(e.to_string()))
    }

    fn launch(&self, state: &State, launch: &Launch) -> Result<(), DeviceError> {
        let run = state.functions.get(launch.function.0).copied();
        let run = run.ok_or_else(|| DeviceError("there is no such kernel".into()))?;
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let args: Vec<*const c_void> = launch.args.iter().map(|words| words.as_ptr().cast()).collect();
        // SAFETY: the session gives every kernel the arguments that its text takes, and addresses of memory that is
        // allocated.
        unsafe {
            run(args.as_ptr(), launch.grid.as_ptr(), launch.block.as_ptr(), launch.shared, u32::from(self.backwards));
        }
        Ok(())
    }

    fn run(&self, state: &State, command: &Command) -> Result<(), DeviceError> {
        match command {
            Command::Launch(launch) => self.launch(state, launch)?,
            Command::Product(product) => product::run(product),
            // SAFETY: addresses of memory that is allocated.
            Command::Copy { to, from, bytes } => unsafe {
                std::ptr::copy(*from as *const u8, *to as *mut u8, *bytes);
            },
            // SAFETY: likewise.
            Command::Zero { at, bytes } => unsafe { std::ptr::write_bytes(*at as *mut u8, 0, *bytes) },
        }
        intact(state)
    }
}

/// Whether the guards around all memory stand.
fn intact(state: &State) -> Result<(), DeviceError> {
    for memory in state.memory.values() {
        let bytes: &[u8] = bytemuck::cast_slice(memory);
        let guards = bytes[..GUARD].iter().chain(&bytes[bytes.len() - GUARD..]);
        if guards.clone().any(|byte| *byte != POISON) {
            return Err(DeviceError("a kernel writes outside of the device's memory".into()));
        }
    }
    Ok(())
}

/// The names of the kernels of a text.
fn kernels(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.split("\nKERNEL").skip(1);
    starts.filter_map(|rest| {
        let rest = match rest.strip_prefix("_OF(") {
            Some(bounds) => bounds.split_once(')')?.1,
            None => rest,
        };
        let name = rest.trim_start().split('(').next()?.trim();
        (!name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())).then_some(name)
    })
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

impl Driver for Emulator {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let words = (bytes.next_multiple_of(256) + 2 * GUARD + 256) / 8;
        let mut memory = vec![u64::from_ne_bytes([POISON; 8]); words];
        // Behind the guard, at the next multiple of 256; what lies behind the memory up to its end is a guard as well.
        let start = memory.as_mut_ptr() as usize + GUARD;
        let at = start.next_multiple_of(256) as Address;
        self.state().memory.insert(at, memory);
        Ok(at)
    }

    fn free(&self, at: Address) {
        self.state().memory.remove(&at);
    }

    fn upload(&self, to: Address, from: &[u8]) -> Result<(), DeviceError> {
        // SAFETY: the session copies to memory that it has allocated.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        intact(&self.state())
    }

    fn download(&self, from: Address, to: &mut [u8]) -> Result<(), DeviceError> {
        // SAFETY: likewise.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn function(&self, source: &Source, kernel: &str, shared: u32) -> Result<Function, DeviceError> {
        if shared > self.properties.shared {
            return Err(DeviceError(format!("{kernel} asks for {shared} bytes of shared memory")));
        }
        let key = (source.clone(), kernel.to_owned());
        if let Some(found) = self.state().names.get(&key) {
            return Ok(*found);
        }
        let path = self.compiled(source)?;
        let error = |e: libloading::Error| DeviceError(format!("{kernel}: {e}"));
        let mut state = self.state();
        let library = match state.libraries.entry(path) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                // SAFETY: the library was compiled here, and runs nothing when it is loaded.
                let library = unsafe { libloading::Library::new(place.key()) }.map_err(error)?;
                place.insert(library)
            }
        };
        // SAFETY: the shim defines it with this type.
        let run = unsafe { library.get::<Run>(format!("emulate_{kernel}\0").as_bytes()) };
        let run = *run.map_err(error)?;
        state.functions.push(run);
        let function = Function(state.functions.len() - 1);
        state.names.insert(key, function);
        Ok(function)
    }

    fn submit(&self, command: &Command) -> Result<(), DeviceError> {
        self.run(&self.state(), command)
    }

    fn synchronise(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn record(&self, commands: &[Command]) -> Result<Option<Graph>, DeviceError> {
        let mut state = self.state();
        let number = state.graphs.keys().max().map_or(0, |last| last + 1);
        state.graphs.insert(number, commands.to_vec());
        Ok(Some(Graph(number)))
    }

    fn replay(&self, graph: &Graph) -> Result<(), DeviceError> {
        let state = self.state();
        let commands = state.graphs.get(&graph.0).ok_or_else(|| DeviceError("there is no such graph".into()))?;
        commands.iter().try_for_each(|command| self.run(&state, command))
    }

    fn forget(&self, graph: Graph) {
        self.state().graphs.remove(&graph.0);
    }
}
