//! Kernels without a CPU body run their reference body, in single precision on the memory of the device.

use super::Memory;
use crate::error::RunError;
use crate::kernel::{Arg, Call, Elements, ElementsMut, Fault, Kernel, Out};
use crate::plan::{Plan, Step};
use crate::reference::decode;

/// Runs a step by the reference body of its kernel.
pub(crate) fn run(
    plan: &Plan,
    step: &Step,
    kernel: &Kernel,
    shapes: &[Vec<usize>],
    memories: &[Memory],
) -> Result<(), Fault> {
    let arg = |slot: usize| {
        let (dtype, memory) = (plan.slots[slot].dtype, memories[slot]);
        let data = if dtype.is_real() { Elements::Real(memory.read()) } else { Elements::Int(memory.read()) };
        Arg { dtype, shape: &shapes[slot], data }
    };
    let args: Vec<_> = step.inputs.iter().map(|slot| slot.map(arg)).collect();
    let mut outs: Vec<_> = step.outputs.iter().map(|slot| out(plan, *slot, shapes, memories)).collect();
    (kernel.f32)(&Call { args: &args, params: &step.params }, &mut outs)?;
    outs.iter_mut().for_each(settle);
    Ok(())
}

/// A result that nobody wants has no elements.
fn out<'a>(plan: &Plan, slot: Option<usize>, shapes: &'a [Vec<usize>], memories: &[Memory]) -> Out<'a, f32> {
    let Some(slot) = slot else {
        return Out { dtype: crate::DType::F32, shape: &[0], data: ElementsMut::Real(&mut []) };
    };
    let (dtype, memory) = (plan.slots[slot].dtype, memories[slot]);
    let data = if dtype.is_real() { ElementsMut::Real(memory.edit()) } else { ElementsMut::Int(memory.edit()) };
    Out { dtype, shape: &shapes[slot], data }
}

/// Wraps integers to the width of their type.
fn settle(out: &mut Out<'_, f32>) {
    let dtype = out.dtype;
    if let ElementsMut::Int(data) = &mut out.data {
        data.iter_mut().for_each(|x| *x = decode::wrap(dtype, *x));
    }
}

/// A fault, with the place and operands of its step.
pub(crate) fn kernel_error(plan: &Plan, step: &Step, shapes: &[Vec<usize>], fault: Fault) -> RunError {
    let describe = |&slot: &usize| format!("{}{:?}", plan.slots[slot].dtype, shapes[slot]);
    let operands: Vec<_> = step.inputs.iter().flatten().map(describe).collect();
    RunError::Kernel {
        place: step.place.clone(),
        kernel: step.kernel.clone(),
        message: fault.0,
        operands: operands.join(", "),
    }
}
