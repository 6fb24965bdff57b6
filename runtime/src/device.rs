//! Sessions: how a program runs a model, on whatever device.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cpu::simd::IsaError;
use crate::cpu::{self, Isa, Workers};
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::error::RunError;
use crate::model::Model;
use crate::tensor::Tensor;
use crate::view::{Output, Outputs, View};

/// What a session runs on.
#[derive(Clone, Default)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// A CUDA device.
    #[cfg(feature = "cuda")]
    Cuda(cuda::Cuda),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("the CPU"),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.fmt(f),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Device {
    /// Bytes a second that it reads and writes when it copies its memory, measured; none on the CPU.
    pub fn bandwidth(&self) -> Option<f64> {
        match self {
            Device::Cpu => None,
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.bandwidth().ok(),
        }
    }
}

/// How a session runs.
#[derive(Clone, Default)]
pub struct Options {
    /// The device.
    pub device: Device,
    /// The threads; as many of its own as the process may use, unless given.
    pub workers: Option<Arc<dyn Workers>>,
    /// The instruction set; what the environment variable `HANC_ISA` names or else the widest, unless given.
    pub isa: Option<Isa>,
    /// Bytes of activations that are allowed; 8 GiB unless given.
    pub memory: Option<usize>,
    /// Whether the time of each step is taken.
    pub profile: bool,
}

impl Options {
    /// With this many threads of its own.
    pub fn threads(mut self, threads: usize) -> Options {
        self.workers = Some(Arc::new(cpu::Pool::new(threads.max(1))));
        self
    }

    /// On this device.
    pub fn device(mut self, device: Device) -> Options {
        self.device = device;
        self
    }

    /// Bytes of activations that are allowed.
    pub(crate) fn limit(&self) -> usize {
        self.memory.unwrap_or(8 << 30)
    }
}

/// Runs a model. Sessions of one model share its weights; each has memory for one run at a time, so that several threads
/// take one each.
///
/// The first run with inputs of certain shapes lays out memory for them; later runs with these shapes allocate nothing.
pub struct Session(Inner);

enum Inner {
    Cpu(Box<cpu::session::Session>),
    #[cfg(feature = "cuda")]
    Cuda(Box<cuda::session::Session>),
}

/// The session of the device.
macro_rules! on {
    ($inner:expr, $session:ident => $value:expr) => {
        match $inner {
            Inner::Cpu($session) => $value,
            #[cfg(feature = "cuda")]
            Inner::Cuda($session) => $value,
        }
    };
}

/// The time that a step takes.
#[derive(Clone, Debug)]
pub struct Timing<'a> {
    /// Where in the model the step comes from.
    pub place: &'a str,
    /// Its kernel.
    pub kernel: &'a str,
    /// The mean time of a run.
    pub time: Duration,
    /// Bytes that it reads and writes.
    pub bytes: u64,
    /// Floating-point operations, where the kernel counts them.
    pub flops: u64,
    /// Whether it runs by its reference body.
    pub reference: bool,
    /// Shapes of its operands and results.
    pub shapes: Vec<&'a [usize]>,
}

impl Session {
    /// A session of a model.
    pub fn new(model: &Model, options: Options) -> Result<Session, IsaError> {
        Ok(Session(match &options.device {
            Device::Cpu => Inner::Cpu(Box::new(cpu::session::Session::new(model, options)?)),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => Inner::Cuda(Box::new(cuda::session::Session::new(model, cuda.clone(), &options))),
        }))
    }

    /// The model.
    pub fn model(&self) -> &Model {
        on!(&self.0, session => session.model())
    }

    /// The instruction set that it runs on, on the CPU.
    pub fn isa(&self) -> Option<Isa> {
        match &self.0 {
            Inner::Cpu(session) => Some(session.isa()),
            #[cfg(feature = "cuda")]
            Inner::Cuda(_) => None,
        }
    }

    /// Threads of the CPU that it runs on.
    pub fn threads(&self) -> usize {
        match &self.0 {
            Inner::Cpu(session) => session.threads(),
            #[cfg(feature = "cuda")]
            Inner::Cuda(_) => 1,
        }
    }

    /// Bytes of activations that the last run needed.
    pub fn activation_bytes(&self) -> usize {
        on!(&self.0, session => session.activation_bytes())
    }

    /// Computes the outputs of these inputs, given by name in any order. The outputs stay until the next run.
    pub fn run<'s>(&'s mut self, inputs: &[(&str, View<'_>)]) -> Result<Outputs<'s>, RunError> {
        on!(&mut self.0, session => session.run(inputs)?);
        Ok(Outputs { session: self })
    }

    /// [`Session::run`] with tensors that own their elements.
    pub fn compute(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<(String, Tensor)>, RunError> {
        let views: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), View::of(tensor))).collect();
        let outputs = self.run(&views)?;
        Ok(outputs.iter().map(|output| (output.name.to_owned(), output.to_tensor())).collect())
    }

    /// The steps of the last shapes with their mean times, if times are taken ([`Options::profile`]).
    pub fn profile(&self) -> impl Iterator<Item = Timing<'_>> {
        let timings: Vec<_> = on!(&self.0, session => session.profile().collect());
        timings.into_iter()
    }

    /// Forgets the times of the runs so far.
    pub fn reset_profile(&mut self) {
        on!(&mut self.0, session => session.reset_profile());
    }

    /// Brings the states to where [`Session::states`] reads them, which does so itself but cannot say why it fails.
    pub fn fetch(&self) -> Result<(), RunError> {
        match &self.0 {
            Inner::Cpu(_) => Ok(()),
            #[cfg(feature = "cuda")]
            Inner::Cuda(session) => session.fetch(),
        }
    }

    /// The elements of a state, by its slot's name, as the last run left them.
    pub fn state(&self, name: &str) -> Option<Output<'_>> {
        self.states().find(|state| state.name == name)
    }

    /// Every state.
    pub fn states(&self) -> impl Iterator<Item = Output<'_>> {
        let states: Vec<_> = on!(&self.0, session => session.states().collect());
        states.into_iter()
    }

    /// Gives a state other elements; says what is wrong where there is none of that name, type and shape.
    pub fn set_state(&mut self, name: &str, view: View<'_>) -> Result<(), RunError> {
        on!(&mut self.0, session => session.set_state(name, view))
    }

    /// Output number `i` of the last run.
    pub(crate) fn output(&self, i: usize) -> Option<Output<'_>> {
        on!(&self.0, session => session.output(i))
    }
}
