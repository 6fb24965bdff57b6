//! Kernels compiled to machine code by NVRTC.

use std::ffi::{CString, c_char, c_int};
use std::path::Path;

use cudarc::nvrtc::result::{NvrtcError, compile_program, create_program, destroy_program, get_program_log};
use cudarc::nvrtc::sys;

use super::cache;
use crate::cuda::driver::{DeviceError, Source};

/// Compiles for a compute capability.
pub struct Compiler {
    architecture: u32,
}

/// Machine code, and what the compiler says of it.
pub struct Compiled {
    /// An image that the driver loads.
    pub image: Vec<u8>,
    /// Registers, spills and shared memory of each kernel, where they are asked for.
    pub log: String,
}

/// Loads NVRTC from a file; whether that is one. Once it is loaded, it is found by its name.
pub fn load(path: &Path) -> bool {
    // SAFETY: the file is what the caller says.
    match unsafe { libloading::Library::new(path) } {
        Ok(library) => {
            std::mem::forget(library);
            is_present()
        }
        Err(_) => false,
    }
}

/// Whether NVRTC is there: where the environment variable `HANC_NVRTC` says, or else where the system looks for libraries.
pub fn is_present() -> bool {
    if let Some(path) = std::env::var_os("HANC_NVRTC") {
        // SAFETY: the file is what its owner says.
        if let Ok(library) = unsafe { libloading::Library::new(path) } {
            std::mem::forget(library);
        }
    }
    // SAFETY: the library is what its name says.
    unsafe { sys::is_culib_present() }
}

/// The compute capabilities that NVRTC knows, which has to be there.
pub fn architectures() -> Result<Vec<u32>, DeviceError> {
    let mut count: c_int = 0;
    // SAFETY: the second call fills as many numbers as the first one says.
    unsafe {
        sys::nvrtcGetNumSupportedArchs(&mut count).result().map_err(|error| failed("", error))?;
        let mut all: Vec<c_int> = vec![0; usize::try_from(count).unwrap_or(0)];
        sys::nvrtcGetSupportedArchs(all.as_mut_ptr()).result().map_err(|error| failed("", error))?;
        Ok(all.into_iter().filter_map(|number| u32::try_from(number).ok()).collect())
    }
}

fn failed(log: &str, error: NvrtcError) -> DeviceError {
    DeviceError(format!("NVRTC: {:?}{}{log}", error.0, if log.is_empty() { "" } else { ": " }))
}

fn version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: it writes two numbers.
    let _ = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    format!("{major}.{minor}")
}

impl Compiler {
    /// For a compute capability, 90 for 9.0. NVRTC has to be there.
    pub fn new(architecture: u32) -> Compiler {
        Compiler { architecture }
    }

    /// The image of a source, from the folder of compiled kernels where it is there.
    pub fn compile(&self, source: &Source) -> Result<Vec<u8>, DeviceError> {
        let text = source.full();
        let key = cache::key(&[&version(), &self.architecture.to_string(), &text]);
        if let Some(found) = cache::find(&key) {
            return Ok(found);
        }
        let image = self.translate(&text, source.name, &[])?.image;
        cache::keep(&key, &image);
        Ok(image)
    }

    /// The image of a source, with a report of what its kernels use.
    pub fn report(&self, source: &Source) -> Result<Compiled, DeviceError> {
        self.translate(&source.full(), source.name, &["--ptxas-options=-v"])
    }

    fn translate(&self, text: &str, name: &str, more: &[&str]) -> Result<Compiled, DeviceError> {
        let zero = |_| DeviceError(format!("the text of {name} has a zero in it"));
        let (text, name) = (CString::new(text).map_err(zero)?, CString::new(format!("{name}.cu")).map_err(zero)?);
        let program = create_program(&text, Some(&name)).map_err(|error| failed("", error))?;
        let compiled = self.build(program, more);
        // SAFETY: nobody uses it any more.
        let _ = unsafe { destroy_program(program) };
        compiled
    }

    fn build(&self, program: sys::nvrtcProgram, more: &[&str]) -> Result<Compiled, DeviceError> {
        let architecture = format!("--gpu-architecture=sm_{}", self.architecture);
        let mut options: Vec<&str> = vec![&architecture, "--std=c++17"];
        options.extend(more);
        // SAFETY: the program was just made.
        unsafe {
            let built = compile_program(program, &options);
            let log = get_program_log(program).map(|log| text(&log)).unwrap_or_default();
            built.map_err(|error| failed(&log, error))?;
            let mut size = 0usize;
            sys::nvrtcGetCUBINSize(program, &mut size).result().map_err(|error| failed("", error))?;
            let mut image = vec![0u8; size];
            sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result().map_err(|error| failed("", error))?;
            Ok(Compiled { image, log })
        }
    }
}

fn text(log: &[c_char]) -> String {
    let bytes: Vec<u8> = log.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
