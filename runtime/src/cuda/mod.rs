//! The CUDA device: the same plans on an NVIDIA GPU.
//!
//! A tensor is held as on the CPU: reals as `f32`, integers and booleans as `i64`, in one piece of memory that the plan lays out
//! (`layout.rs`). A [`job::Body`] settles a call into commands; a session then gives the commands of a whole plan in one
//! stream, as a recorded graph from the second run on. Bodies are CUDA text in [`kernels`], compiled when a plan needs them.
//! There is no other way to run a call: a plan with a call that no body takes is refused before anything runs.
//!
//! All of it speaks to a [`Driver`], which is a GPU ([`gpu`]) or, in tests, an emulator.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

mod bind;
pub mod driver;
#[cfg(feature = "cuda-emulator")]
pub mod emulator;
pub mod gpu;
pub mod job;
pub mod kernels;
pub(crate) mod session;

#[cfg(all(test, feature = "cuda-emulator"))]
pub(crate) use bind::Places;
pub use driver::{DeviceError, Driver, Properties};
pub use gpu::Unavailable;

/// A CUDA device that is open. Clones share it.
#[derive(Clone)]
pub struct Cuda(Arc<dyn Driver>);

impl Cuda {
    /// Opens device number `index`.
    pub fn open(index: usize) -> Result<Cuda, Unavailable> {
        Ok(Cuda(Arc::new(gpu::Gpu::open(index)?)))
    }

    /// A device behind another driver.
    pub fn on(driver: Arc<dyn Driver>) -> Cuda {
        Cuda(driver)
    }

    /// What is known of the device.
    pub fn properties(&self) -> &Properties {
        self.0.properties()
    }

    /// Bytes a second that it reads and writes when it copies its memory: the best of some copies of 256 MiB.
    pub fn bandwidth(&self) -> Result<f64, DeviceError> {
        const BYTES: usize = 256 << 20;
        let (from, to) = (Buffer::new(&self.0, BYTES)?, Buffer::new(&self.0, BYTES)?);
        let copy = driver::Command::Copy { to: to.at(), from: from.at(), bytes: BYTES };
        let mut best = f64::INFINITY;
        for _ in 0..10 {
            self.0.synchronise()?;
            let start = Instant::now();
            (0..4).try_for_each(|_| self.0.submit(&copy))?;
            self.0.synchronise()?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(8.0 * BYTES as f64 / best)
    }

    /// Its driver.
    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.0
    }
}

impl fmt::Display for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Properties { name, architecture, .. } = self.properties();
        write!(f, "{name} (CUDA, compute capability {}.{})", architecture / 10, architecture % 10)
    }
}

/// Memory of the device, given back when it is dropped.
pub(crate) struct Buffer {
    driver: Arc<dyn Driver>,
    at: driver::Address,
    bytes: usize,
}

impl Buffer {
    /// Of so many bytes.
    pub fn new(driver: &Arc<dyn Driver>, bytes: usize) -> Result<Buffer, DeviceError> {
        let at = if bytes == 0 { 0 } else { driver.allocate(bytes)? };
        Ok(Buffer { driver: driver.clone(), at, bytes })
    }

    /// Where it begins.
    pub fn at(&self) -> driver::Address {
        self.at
    }

    /// Its length.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.driver.free(self.at);
        }
    }
}
