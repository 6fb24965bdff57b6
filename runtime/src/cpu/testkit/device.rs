//! Trials on the CUDA device: emulated, or, with the environment variable `HANC_GPU`, a GPU.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::{Bound, Trial, Values, Wanted, compare, same_bits};
use crate::cpu::Spec;
use crate::cuda::driver::{Address, Driver};
use crate::cuda::emulator::Emulator;
use crate::cuda::job::{Job, Site};
use crate::cuda::{Buffer, Cuda, kernels};
use crate::dtype::DType;
use crate::kernel::Fault;

use super::room::POISON;

/// Two devices, the second of which runs threads in the order backwards where they are emulated; none without a C++ compiler.
pub(crate) fn devices() -> Option<&'static [Cuda; 2]> {
    static DEVICES: OnceLock<Option<[Cuda; 2]>> = OnceLock::new();
    let found = DEVICES.get_or_init(|| {
        if std::env::var_os("HANC_GPU").is_some() {
            let gpu = || Cuda::open(0).unwrap_or_else(|missing| panic!("HANC_GPU is set, but {missing}"));
            return Some([gpu(), gpu()]);
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target);
        let device = |backwards| Some(Cuda::on(Arc::new(Emulator::new(&target.join("emulator"), backwards)?)));
        Some([device(false)?, device(true)?])
    });
    if found.is_none() {
        println!("skipped: no C++ compiler: no emulated CUDA device");
    }
    found.as_ref()
}

/// Elements of operands that take an emulated device too long.
const LARGE: usize = 1 << 20;

impl Trial {
    /// Whether the CUDA device has a body that takes the call.
    fn settle(&self, cuda: &Cuda) -> Result<Option<Job>, Fault> {
        let Some(body) = kernels::find(self.kernel.name) else { return Ok(None) };
        let bytes: Vec<_> = self.operands.iter().map(|o| o.as_ref().map(super::Operand::bytes)).collect();
        let both = self.operands.iter().zip(&bytes);
        let args: Vec<_> = both
            .map(|(o, bytes)| {
                let weight = o.as_ref().filter(|o| o.constant).and(bytes.as_deref());
                o.as_ref().map(|o| Spec { dtype: o.dtype, shape: &o.shape, weight })
            })
            .collect();
        let out = |(dtype, shape)| Spec { dtype, shape, weight: None };
        let outs: Vec<_> = self.results.iter().map(|r| r.as_ref().map(|r| out((r.0, &r.1)))).collect();
        let device = cuda.properties();
        (body.bind)(&Site {
            kernel: body.kernel,
            formula: body.formula,
            params: &self.params,
            args: &args,
            outs: &outs,
            device,
        })
    }

    /// The CUDA device takes the call, leaves it, or says what is wrong with it.
    pub(super) fn settle_on_cuda(&self) {
        devices().iter().for_each(|devices| drop(self.settle(&devices[0])));
    }

    /// The CUDA device takes a call that the CPU leaves to the reference body; results are off by at most this part of their
    /// largest element.
    #[track_caller]
    pub fn on_cuda(self, relative: f64) {
        let Some(devices) = devices() else { return };
        assert!(matches!(self.settle(&devices[0]), Ok(Some(_))), "{} is not taken on CUDA", self.kernel.name);
        let wanted = self.reference().unwrap_or_else(|fault| panic!("{}: {fault}", self.kernel.name));
        self.check_on_cuda(&wanted, Bound::Relative(relative));
    }

    /// On the CUDA device results are as far from their definition as on the CPU at most, and the same bits whatever the
    /// order of threads and whosever memory they have.
    #[track_caller]
    pub(super) fn check_on_cuda(&self, wanted: &[Wanted], bound: Bound) {
        let elements: usize = self.operands.iter().flatten().map(|operand| operand.values.len()).sum();
        let Some(devices) = devices().filter(|_| elements < LARGE) else { return };
        let mut first: Option<Vec<Option<Values>>> = None;
        for (cuda, order) in devices.iter().zip(["forwards", "backwards"]) {
            let settled = self.settle(cuda).unwrap_or_else(|fault| panic!("{} on CUDA: {fault}", self.kernel.name));
            let Some(job) = settled else { return };
            for reused in [None].into_iter().chain(self.reusable_on_cuda(&job).map(Some)) {
                let what = format!("{} on CUDA, {order}, result in {reused:?}", self.kernel.name);
                let found = self.run_on_cuda(cuda, &job, reused, &what);
                match &first {
                    Some(first) => same_bits(&found, first, &what),
                    None => {
                        compare(&found, wanted, bound, &what);
                        first = Some(found);
                    }
                }
            }
        }
    }

    fn reusable_on_cuda(&self, job: &Job) -> impl Iterator<Item = usize> + '_ {
        let reuse = kernels::find(self.kernel.name).map_or(&[][..], |body| body.reuse.operands(0));
        let reuse = if job.apart { &[] } else { reuse };
        self.alike(reuse)
    }

    fn run_on_cuda(&self, cuda: &Cuda, job: &Job, reused: Option<usize>, what: &str) -> Vec<Option<Values>> {
        let driver = cuda.driver();
        let lent: Vec<_> = self.operands.iter().map(|o| o.as_ref().map(|o| upload(driver, &o.values))).collect();
        let poison = |dtype: DType, len| match dtype.is_real() {
            true => Values::Real(vec![f32::from_bits(POISON); len]),
            false => Values::Int(vec![i64::from(POISON); len]),
        };
        let blank = |(dtype, shape): &(DType, Vec<usize>)| poison(*dtype, shape.iter().product());
        let blanks: Vec<_> = self.results.iter().map(|r| r.as_ref().map(blank)).collect();
        let made: Vec<_> = blanks.iter().map(|r| r.as_ref().map(|values| upload(driver, values))).collect();
        let scratch = upload(driver, &poison(DType::F32, job.scratch.div_ceil(4)));
        let at = |buffers: &[Option<Buffer>]| -> Vec<Address> {
            buffers.iter().map(|buffer| buffer.as_ref().map_or(0, Buffer::at)).collect()
        };
        let (args, mut outs) = (at(&lent), at(&made));
        if let Some(reused) = reused {
            outs[0] = args[reused];
        }
        let places = crate::cuda::Places { args: &args, outs: &outs, scratch: scratch.at() };
        for call in &job.calls {
            let command = places.command(call, cuda).unwrap_or_else(|error| panic!("{what}: {error}"));
            driver.submit(&command).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        for (i, (operand, at)) in self.operands.iter().zip(&args).enumerate().filter(|(i, _)| Some(*i) != reused) {
            let Some(operand) = operand else { continue };
            assert!(download(driver, *at, &operand.values).same(&operand.values), "{what} writes operand {i}");
        }
        blanks.iter().zip(&outs).map(|(blank, at)| Some(download(driver, *at, blank.as_ref()?))).collect()
    }
}

fn upload(driver: &Arc<dyn Driver>, values: &Values) -> Buffer {
    let bytes = values.bytes();
    let buffer = Buffer::new(driver, bytes.len()).expect("memory of the device");
    driver.upload(buffer.at(), &bytes).expect("a copy to the device");
    buffer
}

/// As many numbers of the same class as these.
fn download(driver: &Arc<dyn Driver>, at: Address, like: &Values) -> Values {
    let mut bytes = like.bytes();
    driver.download(at, &mut bytes).expect("a copy from the device");
    match like {
        Values::Real(_) => {
            Values::Real(bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
        }
        Values::Int(_) => {
            Values::Int(bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect())
        }
    }
}
