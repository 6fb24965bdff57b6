//! Runs the CPU body of a kernel on every instruction set and compares it with the kernel's definition in `f64`.
//!
//! A [`Trial`] runs with one thread and with three, in memory of its own and, where the body allows it, in that of an
//! operand: all of these have to give the same bits. Memory that a body has to write is filled with what is not a number
//! before, lies at odd addresses, and has guards around it.

use std::sync::OnceLock;

#[cfg(feature = "cuda-emulator")]
pub(crate) mod device;
mod random;
mod room;

use room::{POISON, Room, Values, memory};

use super::{Cpu, Frame, Isa, Job, Packed, Pool, Reuse, Site, Spec, Workers};
use crate::dtype::DType;
use crate::kernel::{self, Arg, Call, Elements, ElementsMut, Fault, Kernel, Out};
use crate::plan::Params;
use crate::reference::decode::encode_integers;

/// A call of a kernel to try.
pub(crate) struct Trial {
    kernel: &'static Kernel,
    operands: Vec<Option<Operand>>,
    params: Params,
    results: Vec<Option<(DType, Vec<usize>)>>,
}

struct Operand {
    dtype: DType,
    shape: Vec<usize>,
    values: Values,
    constant: bool,
}

/// A result by the definition: reals or integers.
type Wanted = (Vec<f64>, Vec<i64>);

/// How far a result may be from its definition.
#[derive(Clone, Copy)]
enum Bound {
    /// A part of the largest element.
    Relative(f64),
    /// Units in the last place of the element itself.
    Ulps(f64),
}

/// Numbers in [-2, 2) that do not repeat.
pub(crate) fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mix = |x: u64| (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = |i: u64| (mix(mix(i.wrapping_add(seed << 32).wrapping_mul(0xbf58_476d_1ce4_e5b9))) >> 40) as f32;
    (0..n as u64).map(|i| number(i + 1) / (1u64 << 22) as f32 - 2.0).collect()
}

/// Units in the last place of `wanted`, as `f32`, between it and `found`.
pub(crate) fn ulps(found: f32, wanted: f64) -> f64 {
    let nearest = wanted as f32;
    if found == nearest || (found.is_nan() && nearest.is_nan()) {
        return if found.is_finite() { (f64::from(found) - wanted).abs() / unit(wanted) } else { 0.0 };
    }
    if nearest.is_finite() && found.is_finite() {
        return (f64::from(found) - wanted).abs() / unit(wanted);
    }
    // A largest number may stand for an infinity next to it.
    if found.is_nan() || nearest.is_nan() {
        f64::INFINITY
    } else {
        f64::from(found.to_bits().abs_diff(nearest.to_bits()))
    }
}

/// The distance between neighbours of a number among those of `f32`.
fn unit(x: f64) -> f64 {
    let exponent = x.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    (exponent - 23.0).exp2()
}

impl Trial {
    /// Of the kernel of this name.
    pub fn new(name: &str) -> Trial {
        let kernel = kernel::find(name).unwrap_or_else(|| panic!("there is no kernel {name}"));
        Trial { kernel, operands: Vec::new(), params: Params::new(), results: Vec::new() }
    }

    fn operand(mut self, dtype: DType, shape: &[usize], values: Values, constant: bool) -> Trial {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        self.operands.push(Some(Operand { dtype, shape: shape.to_vec(), values, constant }));
        self
    }

    /// With a real operand.
    pub fn real(self, shape: &[usize], data: &[f32]) -> Trial {
        self.operand(DType::F32, shape, Values::Real(data.to_vec()), false)
    }

    /// With an operand of [`noise`].
    pub fn noise(self, shape: &[usize], seed: u64) -> Trial {
        self.operand(DType::F32, shape, Values::Real(noise(shape.iter().product(), seed)), false)
    }

    /// With an operand that is a constant of the plan.
    pub fn weight(self, shape: &[usize], data: &[f32]) -> Trial {
        self.operand(DType::F32, shape, Values::Real(data.to_vec()), true)
    }

    /// With an integer operand.
    pub fn int(self, dtype: DType, shape: &[usize], data: &[i64]) -> Trial {
        self.operand(dtype, shape, Values::Int(data.to_vec()), false)
    }

    /// Without an optional operand.
    pub fn absent(mut self) -> Trial {
        self.operands.push(None);
        self
    }

    /// With a parameter.
    pub fn param(mut self, key: &str, value: impl Into<serde_json::Value>) -> Trial {
        self.params = self.params.with(key, value);
        self
    }

    /// With an `f32` result of this shape.
    pub fn result(self, shape: &[usize]) -> Trial {
        self.result_of(DType::F32, shape)
    }

    /// With a result of this type and shape.
    pub fn result_of(mut self, dtype: DType, shape: &[usize]) -> Trial {
        self.results.push(Some((dtype, shape.to_vec())));
        self
    }

    /// With a result that is of no use to anybody.
    pub fn no_result(mut self) -> Trial {
        self.results.push(None);
        self
    }

    /// The results differ from the definition by at most this part of their largest element.
    #[track_caller]
    pub fn within(self, relative: f64) {
        self.check(Bound::Relative(relative));
    }

    /// Every element differs from the definition by at most so many units in its last place.
    #[track_caller]
    pub fn within_ulps(self, ulps: f64) {
        self.check(Bound::Ulps(ulps));
    }

    /// Every element is the nearest `f32` to its definition.
    #[track_caller]
    pub fn exactly(self) {
        self.check(Bound::Ulps(0.5));
    }

    /// The body does not take the call: the reference body runs it.
    #[track_caller]
    pub fn left_to_reference(self) {
        for isa in Isa::all() {
            assert!(matches!(self.bind(isa, 1), Ok(None)), "{} on {isa:?} takes the call", self.kernel.name);
        }
    }

    /// The call is a fault, or left to the reference body, for which it is one.
    #[track_caller]
    pub fn refused(self) {
        for isa in Isa::all() {
            let taken = matches!(self.bind(isa, 1), Ok(Some(_)));
            assert!(!taken, "{} on {isa:?} takes the call", self.kernel.name);
        }
        assert!(self.reference().is_err(), "{} takes the call", self.kernel.name);
    }

    /// Whether the body takes the call.
    fn settles(&self) -> bool {
        Isa::all().last().is_some_and(|isa| matches!(self.bind(isa, 1), Ok(Some(_))))
    }

    /// The body does what the definition says, or, of a call that is a fault, keeps to its memory.
    fn holds(&self, relative: f64) {
        #[cfg(feature = "cuda-emulator")]
        self.settle_on_cuda();
        match self.reference() {
            Ok(wanted) => self.check_on_cpu(&wanted, Bound::Relative(relative)),
            Err(_) => Isa::all().for_each(|isa| drop(self.run(isa, 1, None, self.kernel.name))),
        }
    }

    #[track_caller]
    fn check(&self, bound: Bound) {
        let wanted = self.reference().unwrap_or_else(|fault| panic!("{}: {fault}", self.kernel.name));
        #[cfg(feature = "cuda-emulator")]
        self.check_on_cuda(&wanted, bound);
        self.check_on_cpu(&wanted, bound);
    }

    #[track_caller]
    fn check_on_cpu(&self, wanted: &[Wanted], bound: Bound) {
        for isa in Isa::all() {
            let mut first: Option<Vec<Option<Values>>> = None;
            for threads in [1, 3] {
                for reused in [None].into_iter().chain(self.reusable().map(Some)) {
                    let what = format!("{} on {isa:?}, {threads} threads, result in {reused:?}", self.kernel.name);
                    let found = self.run(isa, threads, reused, &what).unwrap_or_else(|fault| panic!("{what}: {fault}"));
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
    }

    /// Operands whose memory the first result may have.
    fn reusable(&self) -> impl Iterator<Item = usize> + '_ {
        let list = match self.cpu().reuse {
            Reuse::Elements => &[0],
            other => other.operands(0),
        };
        self.alike(list)
    }

    /// Those of some operands that have the class and the length of the first result, and are no constants.
    fn alike(&self, list: &'static [usize]) -> impl Iterator<Item = usize> + '_ {
        let like = |i: &&usize| {
            let (operand, result) = (self.operands.get(**i)?.as_ref()?, self.results.first()?.as_ref()?);
            let same = operand.dtype.class() == result.0.class();
            Some(same && !operand.constant && operand.values.len() == result.1.iter().product::<usize>())
        };
        list.iter().filter(move |i| like(i) == Some(true)).copied()
    }

    fn cpu(&self) -> &'static Cpu {
        self.kernel.cpu.unwrap_or_else(|| panic!("{} has no CPU body", self.kernel.name))
    }

    fn bind(&self, isa: Isa, threads: usize) -> Result<Option<Job>, Fault> {
        let bytes: Vec<_> = self.operands.iter().map(|o| o.as_ref().map(Operand::bytes)).collect();
        let spec = |(o, bytes)| {
            let (o, bytes): (&Operand, &Vec<u8>) = (o, bytes);
            Spec { dtype: o.dtype, shape: &o.shape, weight: o.constant.then_some(bytes.as_slice()) }
        };
        let both = self.operands.iter().zip(&bytes);
        let args: Vec<_> = both.map(|(o, bytes)| o.as_ref().zip(bytes.as_ref()).map(spec)).collect();
        let out = |(dtype, shape)| Spec { dtype, shape, weight: None };
        let outs: Vec<_> = self.results.iter().map(|r| r.as_ref().map(|r| out((r.0, &r.1)))).collect();
        let packed = Packed::default();
        (self.cpu().bind)(&Site { params: &self.params, args: &args, outs: &outs, isa, threads, packed: &packed })
    }

    fn run(&self, isa: Isa, threads: usize, reused: Option<usize>, what: &str) -> Result<Vec<Option<Values>>, Fault> {
        let job = self.bind(isa, threads).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let job = job.unwrap_or_else(|| panic!("{what} is left to the reference body"));
        let operands = self.operands.iter().enumerate();
        let here = operands.map(|(i, o)| o.as_ref().filter(|_| !job.absorbed.contains(&i)));
        let mut args: Vec<_> = here.map(|o| o.map(|o| Room::of(&o.values))).collect();
        let mut outs: Vec<_> = self.results.iter().map(|r| r.as_ref().map(|r| Room::new(r.0, &r.1))).collect();
        let mut scratch = Room::of(&Values::Real(vec![f32::NAN; job.scratch]));
        let arg_memory: Vec<_> = args.iter_mut().map(memory).collect();
        let mut out_memory: Vec<_> = outs.iter_mut().map(memory).collect();
        if let Some(reused) = reused {
            out_memory[0] = arg_memory[reused];
        }
        let workers = workers(threads);
        let frame = Frame { args: &arg_memory, outs: &out_memory, scratch: scratch.memory(), workers };
        let outcome = (job.run)(&frame);
        scratch.values(what);
        let after: Vec<_> = args.iter().map(|room| room.as_ref().map(|room| room.values(what))).collect();
        for (i, (after, before)) in after.iter().zip(&self.operands).enumerate().filter(|(i, _)| reused != Some(*i)) {
            let untouched =
                after.is_none() || after.as_ref().zip(before.as_ref()).is_some_and(|(a, b)| a.same(&b.values));
            assert!(untouched, "{what} writes operand {i}");
        }
        let mut found: Vec<_> = outs.iter().map(|room| room.as_ref().map(|room| room.values(what))).collect();
        if let Some(reused) = reused {
            found[0] = after[reused].clone();
        }
        outcome.map(|()| found)
    }

    /// The results by the definition.
    fn reference(&self) -> Result<Vec<Wanted>, Fault> {
        let reals: Vec<Vec<f64>> =
            self.operands.iter().map(|o| o.as_ref().map_or(vec![], |o| o.values.reals())).collect();
        let arg = |(o, reals)| {
            let (o, reals): (&Operand, &Vec<f64>) = (o, reals);
            let data = match &o.values {
                Values::Real(_) => Elements::Real(reals.as_slice()),
                Values::Int(ints) => Elements::Int(ints),
            };
            Arg { dtype: o.dtype, shape: &o.shape, data }
        };
        let args: Vec<_> = self.operands.iter().zip(&reals).map(|(o, r)| o.as_ref().map(|o| arg((o, r)))).collect();
        let nothing = (DType::F32, vec![0]);
        let results: Vec<_> = self.results.iter().map(|r| r.as_ref().unwrap_or(&nothing)).collect();
        let len = |shape: &[usize]| shape.iter().product::<usize>();
        let mut rooms: Vec<_> = results.iter().map(|(_, s)| (vec![f64::NAN; len(s)], vec![0i64; len(s)])).collect();
        let mut outs = Vec::new();
        for ((dtype, shape), (real, int)) in results.iter().zip(&mut rooms) {
            let data = if dtype.is_real() { ElementsMut::Real(real) } else { ElementsMut::Int(int) };
            outs.push(Out { dtype: *dtype, shape, data });
        }
        (self.kernel.f64)(&Call { args: &args, params: &self.params }, &mut outs)?;
        Ok(rooms)
    }
}

impl Operand {
    /// As a plan holds them.
    fn bytes(&self) -> Vec<u8> {
        match &self.values {
            Values::Real(_) => self.values.bytes(),
            Values::Int(data) => encode_integers(self.dtype, data).expect("an integer type"),
        }
    }
}

/// One thread or three, which tests share.
fn workers(threads: usize) -> &'static dyn Workers {
    static POOLS: [OnceLock<Pool>; 2] = [const { OnceLock::new() }; 2];
    POOLS[usize::from(threads > 1)].get_or_init(|| Pool::new(threads))
}

#[track_caller]
fn same_bits(found: &[Option<Values>], first: &[Option<Values>], what: &str) {
    for (found, first) in found.iter().zip(first) {
        if let (Some(found), Some(first)) = (found, first) {
            assert!(found.same(first), "{what} does not give the bits of one thread in memory of its own");
        }
    }
}

#[track_caller]
fn compare(found: &[Option<Values>], wanted: &[Wanted], bound: Bound, what: &str) {
    for (i, (found, (reals, ints))) in found.iter().zip(wanted).enumerate() {
        match found {
            Some(Values::Real(found)) => close(found, reals, bound, &format!("{what}, result {i}")),
            Some(Values::Int(found)) => assert_eq!(found, ints, "{what}, result {i}"),
            None => (),
        }
    }
}

#[track_caller]
fn close(found: &[f32], wanted: &[f64], bound: Bound, what: &str) {
    let unwritten = found.iter().zip(wanted).position(|(x, wanted)| x.to_bits() == POISON && !wanted.is_nan());
    assert!(unwritten.is_none(), "{what}: element {unwritten:?} is not written");
    let largest = wanted.iter().filter(|x| x.is_finite()).fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    for (i, (&found, &wanted)) in found.iter().zip(wanted).enumerate() {
        let same = f64::from(found) == wanted || (found.is_nan() && wanted.is_nan());
        let (off, bound) = match bound {
            Bound::Relative(bound) => ((f64::from(found) - wanted).abs() / largest, bound),
            Bound::Ulps(bound) => (ulps(found, wanted), bound),
        };
        assert!(same || off <= bound, "{what}: element {i} is {found:e}, not {wanted:e}: off by {off:.3e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_in_the_last_place() {
        assert_eq!(ulps(1.0, 1.0), 0.0);
        assert_eq!(ulps(1.0 + f32::EPSILON, 1.0), 1.0);
        assert_eq!(ulps(0.5, 0.5 + f64::from(f32::EPSILON) / 4.0), 0.5);
        assert_eq!(ulps(f32::INFINITY, f64::from(f32::MAX)), 1.0);
        assert_eq!(ulps(f32::NAN, f64::NAN), 0.0);
        assert_eq!(ulps(f32::NAN, 1.0), f64::INFINITY);
        assert_eq!(ulps(f32::from_bits(3), f64::from(f32::from_bits(1))), 2.0);
    }

    #[test]
    fn noise_is_spread() {
        let x = noise(10_000, 1);
        let mean = x.iter().sum::<f32>() / 1e4;
        assert!(mean.abs() < 0.05 && x.iter().all(|x| (-2.0..2.0).contains(x)), "{mean}");
        assert_ne!(x, noise(10_000, 2));
    }
}
