//! Between element types.

use super::{content, types};
use crate::grad::rules::elementwise as grad;
use crate::infer::Infer;
use crate::lower::Lower;
use crate::op::{AttrKind, AttrSpec, Op, attr, one};
use hanc_runtime::DType;

const SATURATE: AttrSpec = attr("saturate", AttrKind::Int(Some(1))).from(19);
const ROUND: AttrSpec = attr("round_mode", AttrKind::Str(Some("up"))).from(24);

pub(super) static OPS: &[Op] = &[
    Op::new("Cast", Lower::Plain("cast.1"))
        .grad(grad::identity)
        .since(&[1, 6, 9, 13, 19, 21, 23, 24, 25, 28])
        .inputs(&[one("input")])
        .outputs(&[one("output")])
        .attrs(&[attr("to", AttrKind::Int(None)), SATURATE, ROUND])
        .elementwise()
        .infer(cast),
    Op::new("CastLike", Lower::Call(|_| Ok(crate::lower::Call::new("cast.1").operands(&[0]))))
        .grad(grad::identity)
        .since(&[15, 19, 21, 23, 24, 25])
        .inputs(&[one("input"), one("target_type")])
        .outputs(&[one("output")])
        .attrs(&[SATURATE, ROUND])
        .elementwise()
        .infer(|cx| settle(cx, cx.dtype(1))),
];

fn cast(cx: &mut Infer<'_>) -> Result<(), String> {
    let to = cx.int("to").ok_or("attribute to is missing")?;
    settle(cx, Some(types::dtype(to)?))
}

fn settle(cx: &mut Infer<'_>, to: Option<DType>) -> Result<(), String> {
    cx.set(0, to, cx.shape(0).cloned());
    if let Some(to) = to {
        content::set(cx, |[x]| content::cast(x, to));
    }
    Ok(())
}
