//! Element by element: one operand.

use crate::kernel::{Call, Elements, ElementsMut, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[Kernel {
    name: "copy.1",
    doc: "y = x, row-major order kept, any shape of as many elements; between classes the value is converted",
    f64: copy,
    f32: copy,
}];

fn copy<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    match (call.arg(0)?.data, &mut out[0].data) {
        (Elements::Real(x), ElementsMut::Real(y)) => y.copy_from_slice(x),
        (Elements::Int(x), ElementsMut::Int(y)) => y.copy_from_slice(x),
        (Elements::Real(x), ElementsMut::Int(y)) => y.iter_mut().zip(x).for_each(|(y, x)| *y = x.f64() as i64),
        (Elements::Int(x), ElementsMut::Real(y)) => y.iter_mut().zip(x).for_each(|(y, x)| *y = R::of(*x as f64)),
    }
    Ok(())
}
