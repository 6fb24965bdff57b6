//! CUDA devices without a GPU: one that computes on the CPU, and one that only notes what it is asked to compile.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hanc_runtime::Device;
use hanc_runtime::cuda::driver::{Address, Command, Driver, Function, Graph, Source};
use hanc_runtime::cuda::emulator::Emulator;
use hanc_runtime::cuda::{Cuda, DeviceError, Properties};

/// A device that computes on the CPU, or, with the environment variable `HANC_GPU`, a GPU; none, with a line that says so,
/// without a C++ compiler.
pub fn cuda() -> Option<Device> {
    if std::env::var_os("HANC_GPU").is_some() {
        let gpu = Cuda::open(0).unwrap_or_else(|missing| panic!("HANC_GPU is set, but {missing}"));
        return Some(Device::Cuda(gpu));
    }
    let emulator = Emulator::new(&crate::target().join("emulator"), false);
    if emulator.is_none() {
        crate::skipped("no C++ compiler: no emulated CUDA device");
    }
    Some(Device::Cuda(Cuda::on(Arc::new(emulator?))))
}

/// A device that computes nothing: its results are zeros. It notes the kernels that it is given.
pub struct Recorder {
    properties: Properties,
    next: AtomicU64,
    sources: Mutex<HashSet<Source>>,
}

impl Recorder {
    /// With the sizes of a large GPU.
    pub fn new() -> Arc<Recorder> {
        let properties = Properties { name: "recorder".into(), architecture: 90, processors: 132, shared: 227 << 10 };
        Arc::new(Recorder { properties, next: AtomicU64::new(1 << 20), sources: Mutex::default() })
    }

    /// As a device.
    pub fn device(self: &Arc<Recorder>) -> Device {
        Device::Cuda(Cuda::on(self.clone()))
    }

    /// What it was given so far.
    pub fn sources(&self) -> Vec<Source> {
        let mut all: Vec<Source> =
            self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        all.sort_by_key(Source::full);
        all
    }
}

impl Driver for Recorder {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        Ok(self.next.fetch_add(bytes.next_multiple_of(256) as u64, Ordering::Relaxed))
    }

    fn free(&self, _: Address) {}

    fn upload(&self, _: Address, _: &[u8]) -> Result<(), DeviceError> {
        Ok(())
    }

    fn download(&self, _: Address, to: &mut [u8]) -> Result<(), DeviceError> {
        to.fill(0);
        Ok(())
    }

    fn function(&self, source: &Source, _: &str, shared: u32) -> Result<Function, DeviceError> {
        if shared > self.properties.shared {
            return Err(DeviceError(format!("{} asks for {shared} bytes of shared memory", source.name)));
        }
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).insert(source.clone());
        Ok(Function(0))
    }

    fn submit(&self, _: &Command) -> Result<(), DeviceError> {
        Ok(())
    }

    fn synchronise(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn record(&self, _: &[Command]) -> Result<Option<Graph>, DeviceError> {
        Ok(None)
    }

    fn replay(&self, _: &Graph) -> Result<(), DeviceError> {
        Ok(())
    }

    fn forget(&self, _: Graph) {}
}
