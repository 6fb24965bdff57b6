//! Settles a plan for certain sizes: which body runs each step, and where every tensor lies.

use super::{Job, Reuse, Site, Spec};
use crate::PlanError;
use crate::cpu::Isa;
use crate::error::RunError;
use crate::kernel::{self, Kernel};
use crate::layout::{Claim, Placement, lay_out, shapes};
use crate::model::Model;
use crate::plan::{Role, Step};
use crate::sizes::Sizes;

/// A plan that is settled for certain sizes.
pub(crate) struct Binding {
    /// The shapes of the inputs that it is for.
    pub inputs: Vec<Vec<usize>>,
    /// The shape of every slot.
    pub shapes: Vec<Vec<usize>>,
    /// How every step runs.
    pub works: Vec<Work>,
    /// Where everything lies.
    pub layout: Placement,
}

/// How a step runs.
pub(crate) enum Work {
    /// By its CPU body.
    Job(Job),
    /// By its reference body in single precision.
    Reference(&'static Kernel),
}

/// Settles a model for these shapes of its inputs.
pub(crate) fn bind(model: &Model, inputs: Vec<Vec<usize>>, isa: Isa, threads: usize) -> Result<Binding, RunError> {
    let sizes = Sizes::bind(model.plan(), inputs.iter().map(Vec::as_slice))?;
    let shapes = shapes(model.plan(), &sizes)?;
    let steps = 0..model.plan().steps.len();
    let settled = steps.map(|index| work(model, index, &shapes, isa, threads)).collect::<Result<Vec<_>, _>>()?;
    let (works, claims): (Vec<Work>, Vec<Claim>) = settled.into_iter().unzip();
    let layout = lay_out(model, &shapes, &claims)?;
    Ok(Binding { inputs, shapes, works, layout })
}

fn work(
    model: &Model,
    index: usize,
    shapes: &[Vec<usize>],
    isa: Isa,
    threads: usize,
) -> Result<(Work, Claim), RunError> {
    let step = &model.plan().steps[index];
    let kernel = kernel::find(&step.kernel).ok_or_else(|| PlanError(format!("no kernel {}", step.kernel)))?;
    let Some(cpu) = kernel.cpu else { return Ok((Work::Reference(kernel), Claim::default())) };
    let spec = |slot: &Option<usize>| slot.map(|slot| spec(model, slot, &shapes[slot]));
    let args: Vec<_> = step.inputs.iter().map(spec).collect();
    let outs: Vec<_> = step.outputs.iter().map(spec).collect();
    let site = Site { params: &step.params, args: &args, outs: &outs, isa, threads, packed: model.packed(index) };
    let job = (cpu.bind)(&site).map_err(|fault| kernel_error(step, &args, fault.0))?;
    Ok(match job {
        Some(job) => {
            let (scratch, absorbed) = (job.scratch.saturating_mul(size_of::<f32>()), job.absorbed.clone());
            (Work::Job(job), Claim { reuse: cpu.reuse, scratch, absorbed })
        }
        None => {
            let reuse = if cpu.reuse == Reuse::Elements { Reuse::Elements } else { Reuse::Nothing };
            (Work::Reference(kernel), Claim { reuse, ..Claim::default() })
        }
    })
}

/// A slot as an operand or result.
pub(crate) fn spec<'a>(model: &'a Model, slot: usize, shape: &'a [usize]) -> Spec<'a> {
    let constant = model.weights().get(&slot).filter(|_| model.plan().slots[slot].role == Role::Weight);
    Spec { dtype: model.plan().slots[slot].dtype, shape, weight: constant.map(|weight| weight.bytes()) }
}

/// A fault of a step that is being settled.
pub(crate) fn kernel_error(step: &Step, args: &[Option<Spec<'_>>], message: String) -> RunError {
    let operands: Vec<_> = args.iter().flatten().map(|a| format!("{}{:?}", a.dtype, a.shape)).collect();
    RunError::Kernel { place: step.place.clone(), kernel: step.kernel.clone(), message, operands: operands.join(", ") }
}
