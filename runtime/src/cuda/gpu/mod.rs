//! A GPU: the driver, NVRTC and cuBLASLt, all of them looked for when a device is opened.
//!
//! The libraries are those of CUDA 12. NVRTC is taken from where the environment variable `HANC_NVRTC` says, if it is set.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cudarc::driver::result::{self, DriverError, ctx, device, graph, module, primary_ctx, stream};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

use super::driver::{Address, Command, DeviceError, Driver, Function, Graph, Launch, Properties, Source};

mod blas;
mod cache;
pub mod compiler;

use blas::Blas;
use compiler::Compiler;

/// What is missing for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The driver's library (libcuda).
    Driver,
    /// The library that compiles kernels.
    Nvrtc,
    /// The library of matrix products.
    CublasLt,
    /// A device of this number; so many are there.
    Device {
        /// The number.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The driver refuses to start.
    Failed(String),
}

impl std::error::Error for Unavailable {}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::Driver => f.write_str("the CUDA driver's library (libcuda) is not installed"),
            Unavailable::Nvrtc => {
                f.write_str("NVRTC of CUDA 12 (libnvrtc.so.12), which compiles kernels, is not installed")
            }
            Unavailable::CublasLt => f.write_str("cuBLASLt of CUDA 12 (libcublasLt.so.12) is not installed"),
            Unavailable::Device { count: 0, .. } => f.write_str("there is no CUDA device"),
            Unavailable::Device { index, count: 1 } => write!(f, "there is no CUDA device {index}, only device 0"),
            Unavailable::Device { index, count } => {
                write!(f, "there is no CUDA device {index}, only devices 0 to {}", count - 1)
            }
            Unavailable::Failed(what) => write!(f, "the CUDA driver does not start: {what}"),
        }
    }
}

/// An open GPU with a stream of its own.
pub struct Gpu {
    properties: Properties,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    compiler: Compiler,
    blas: Blas,
    loaded: Mutex<Loaded>,
}

// SAFETY: the driver's handles may be used from every thread in which the context is current, which every method sees to.
unsafe impl Send for Gpu {}
// SAFETY: likewise; what changes is behind a lock.
unsafe impl Sync for Gpu {}

#[derive(Default)]
struct Loaded {
    modules: HashMap<Source, sys::CUmodule>,
    functions: Vec<sys::CUfunction>,
    names: HashMap<(Source, String), Function>,
    graphs: HashMap<usize, sys::CUgraphExec>,
    next: usize,
}

fn failed(error: DriverError) -> DeviceError {
    let text = error.error_string().ok().map(|text| text.to_string_lossy().into_owned());
    DeviceError(text.unwrap_or_else(|| format!("{error:?}")))
}

/// Looks for the libraries, since the first call into one that is not there panics.
fn libraries() -> Result<(), Unavailable> {
    // SAFETY: they are the libraries that their names say.
    unsafe {
        if !sys::is_culib_present() {
            return Err(Unavailable::Driver);
        }
        if !compiler::is_present() {
            return Err(Unavailable::Nvrtc);
        }
        if !cudarc::cublaslt::sys::is_culib_present() {
            return Err(Unavailable::CublasLt);
        }
    }
    Ok(())
}

impl Gpu {
    /// Opens device number `index`.
    pub fn open(index: usize) -> Result<Gpu, Unavailable> {
        libraries()?;
        let refused = |error: DriverError| Unavailable::Failed(failed(error).0);
        match result::init() {
            Err(DriverError(sys::cudaError_enum::CUDA_ERROR_NO_DEVICE)) => Err(Unavailable::Device { index, count: 0 }),
            other => other.map_err(refused),
        }?;
        let count = device::get_count().map_err(refused)?;
        let count = usize::try_from(count).unwrap_or(0);
        let number = c_int::try_from(index).ok().filter(|_| index < count);
        let device = device::get(number.ok_or(Unavailable::Device { index, count })?).map_err(refused)?;
        Gpu::start(device).map_err(|error| Unavailable::Failed(error.0))
    }

    fn start(device: sys::CUdevice) -> Result<Gpu, DeviceError> {
        // SAFETY: the device was just found.
        let attribute = |which| unsafe { device::get_attribute(device, which) }.map_err(failed);
        let number = |which| Ok(u32::try_from(attribute(which)?).unwrap_or(0));
        let properties = Properties {
            name: device::get_name(device).map_err(failed)?,
            architecture: 10 * number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
                + number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            processors: number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared: number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        };
        // SAFETY: likewise; the context is released when the device is closed.
        let context = unsafe { primary_ctx::retain(device) }.map_err(failed)?;
        // SAFETY: the context was just made.
        unsafe { ctx::set_current(context) }.map_err(failed)?;
        let stream = stream::create(stream::StreamKind::NonBlocking).map_err(failed)?;
        let compiler = Compiler::new(properties.architecture);
        let blas = Blas::new(stream)?;
        Ok(Gpu { properties, device, context, stream, compiler, blas, loaded: Mutex::default() })
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the context that of this thread.
    fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained until the device is closed.
        unsafe { ctx::set_current(self.context) }.map_err(failed)
    }

    fn module(&self, source: &Source) -> Result<sys::CUmodule, DeviceError> {
        if let Some(found) = self.loaded().modules.get(source) {
            return Ok(*found);
        }
        let image = self.compiler.compile(source)?;
        // SAFETY: a whole image of machine code.
        let module = unsafe { module::load_data(image.as_ptr().cast()) }.map_err(failed)?;
        Ok(*self.loaded().modules.entry(source.clone()).or_insert(module))
    }

    fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        let function = self.loaded().functions.get(launch.function.0).copied();
        let function = function.ok_or_else(|| DeviceError("there is no such kernel".into()))?;
        let mut args: Vec<*mut c_void> = launch.args.iter().map(|words| words.as_ptr().cast_mut().cast()).collect();
        let three = |n: [u32; 3]| (n[0], n[1], n[2]);
        // SAFETY: the session gives every kernel the arguments that its text takes, and addresses of memory that is allocated.
        unsafe {
            let (grid, block) = (three(launch.grid), three(launch.block));
            result::launch_kernel(function, grid, block, launch.shared, self.stream, &mut args).map_err(failed)
        }
    }

    fn give(&self, command: &Command) -> Result<(), DeviceError> {
        // SAFETY (of both copies): addresses of memory that is allocated.
        match command {
            Command::Launch(launch) => self.launch(launch),
            Command::Product(product) => self.blas.run(product),
            Command::Copy { to, from, bytes } => {
                unsafe { result::memcpy_dtod_async(*to, *from, *bytes, self.stream) }.map_err(failed)
            }
            Command::Zero { at, bytes } => {
                unsafe { result::memset_d8_async(*at, 0, *bytes, self.stream) }.map_err(failed)
            }
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        // SAFETY: nobody uses any of it any more.
        unsafe {
            let _ = stream::synchronize(self.stream);
            let mut loaded = self.loaded();
            loaded.graphs.drain().for_each(|(_, graph)| _ = graph::exec_destroy(graph));
            loaded.modules.drain().for_each(|(_, module)| _ = module::unload(module));
            drop(loaded);
            self.blas.close();
            let _ = stream::destroy(self.stream);
            let _ = primary_ctx::release(self.device);
        }
    }
}

impl Driver for Gpu {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        self.enter()?;
        // SAFETY: it is not read before it is written.
        unsafe { result::malloc_sync(bytes) }.map_err(failed)
    }

    fn free(&self, at: Address) {
        if self.enter().is_ok() {
            // SAFETY: it was allocated here; the driver waits for commands that use it.
            let _ = unsafe { result::free_sync(at) };
        }
    }

    fn upload(&self, to: Address, from: &[u8]) -> Result<(), DeviceError> {
        if from.is_empty() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: memory that is not pinned is read before this returns.
        unsafe { result::memcpy_htod_async(to, from, self.stream) }.map_err(failed)
    }

    fn download(&self, from: Address, to: &mut [u8]) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: the copy is waited for.
        unsafe {
            if !to.is_empty() {
                result::memcpy_dtoh_async(to, from, self.stream).map_err(failed)?;
            }
            stream::synchronize(self.stream).map_err(failed)
        }
    }

    fn function(&self, source: &Source, kernel: &str, shared: u32) -> Result<Function, DeviceError> {
        self.enter()?;
        let key = (source.clone(), kernel.to_owned());
        let known = self.loaded().names.get(&key).copied();
        let (module, name) = (self.module(source)?, CString::new(kernel));
        let name = name.map_err(|_| DeviceError("a kernel's name has a zero in it".into()))?;
        // SAFETY: the module stays loaded until the device is closed.
        let function = unsafe { module::get_function(module, name) }.map_err(failed)?;
        if shared > 48 << 10 {
            let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = i32::try_from(self.properties.shared).unwrap_or(i32::MAX);
            // SAFETY: the function was just found.
            unsafe { result::function::set_function_attribute(function, which, bytes) }.map_err(failed)?;
        }
        if let Some(known) = known {
            return Ok(known);
        }
        let mut loaded = self.loaded();
        loaded.functions.push(function);
        let function = Function(loaded.functions.len() - 1);
        loaded.names.insert(key, function);
        Ok(function)
    }

    fn submit(&self, command: &Command) -> Result<(), DeviceError> {
        self.enter()?;
        self.give(command)
    }

    fn synchronise(&self) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: the stream is open.
        unsafe { stream::synchronize(self.stream) }.map_err(failed)
    }

    fn record(&self, commands: &[Command]) -> Result<Option<Graph>, DeviceError> {
        self.enter()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is open; the graph is destroyed once it can be launched.
        unsafe {
            stream::begin_capture(self.stream, mode).map_err(failed)?;
            let given = commands.iter().try_for_each(|command| self.give(command));
            let recorded = stream::end_capture(self.stream).map_err(failed);
            let recorded = given.and(recorded)?;
            let ready = graph::instantiate(recorded, sys::CUgraphInstantiate_flags_enum(0)).map_err(failed);
            let _ = graph::destroy(recorded);
            let mut loaded = self.loaded();
            let number = loaded.next;
            loaded.next += 1;
            loaded.graphs.insert(number, ready?);
            Ok(Some(Graph(number)))
        }
    }

    fn replay(&self, graph: &Graph) -> Result<(), DeviceError> {
        self.enter()?;
        let found = self.loaded().graphs.get(&graph.0).copied();
        let found = found.ok_or_else(|| DeviceError("there is no such graph".into()))?;
        // SAFETY: it is not destroyed before it is forgotten.
        unsafe { graph::launch(found, self.stream) }.map_err(failed)
    }

    fn forget(&self, graph: Graph) {
        let found = self.loaded().graphs.remove(&graph.0);
        if let (Some(found), Ok(())) = (found, self.synchronise()) {
            // SAFETY: nobody has it any more.
            let _ = unsafe { graph::exec_destroy(found) };
        }
    }
}
