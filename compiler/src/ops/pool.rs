//! Pools.

use hanc_runtime::DType;

use super::window::Sliding;
use crate::grad::rules::pool as grad;
use crate::infer::Infer;
use crate::ir::{Dim, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, Op, attr, one, opt};

const MAX: &[AttrSpec] = &[
    attr("auto_pad", Str(Some("NOTSET"))),
    attr("ceil_mode", Int(Some(0))).from(10),
    attr("dilations", Ints).from(10),
    attr("kernel_shape", Ints),
    attr("pads", Ints),
    attr("storage_order", Int(Some(0))).from(8),
    attr("strides", Ints),
];
const AVERAGE: &[AttrSpec] = &[
    attr("auto_pad", Str(Some("NOTSET"))),
    attr("ceil_mode", Int(Some(0))).from(10),
    attr("count_include_pad", Int(Some(0))).from(7),
    attr("dilations", Ints).from(19),
    attr("kernel_shape", Ints),
    attr("pads", Ints),
    attr("strides", Ints),
];
const LP: &[AttrSpec] = &[
    attr("auto_pad", Str(Some("NOTSET"))),
    attr("ceil_mode", Int(Some(0))).from(18),
    attr("dilations", Ints).from(18),
    attr("kernel_shape", Ints),
    attr("p", Int(Some(2))).from(2),
    attr("pads", Ints),
    attr("strides", Ints),
];
const P: &[AttrSpec] = &[attr("p", Int(Some(2))).from(2)];

pub(super) static OPS: &[Op] = &[
    Op::new("MaxPool", Lower::Call(lower_max))
        .grad(grad::max)
        .since(&[1, 8, 10, 11, 12, 22])
        .outputs(&[one("Y"), opt("Indices")])
        .attrs(MAX)
        .infer(pool),
    Op::new("AveragePool", Lower::Call(lower_average))
        .since(&[1, 7, 10, 11, 19, 22])
        .attrs(AVERAGE)
        .infer(pool)
        .grad(grad::average),
    Op::new("LpPool", Lower::Call(lower_lp)).since(&[1, 2, 11, 18, 22]).attrs(LP).infer(pool).grad(grad::lp),
    Op::new("GlobalAveragePool", Lower::Call(|cx| global(cx, "average_pool.1")))
        .since(&[1, 22])
        .infer(whole)
        .grad(grad::global_average),
    Op::new("GlobalMaxPool", Lower::Call(|cx| global(cx, "max_pool.1")))
        .since(&[1, 22])
        .infer(whole)
        .grad(grad::global_max),
    Op::new("GlobalLpPool", Lower::Call(lower_global_lp))
        .since(&[1, 2, 22])
        .attrs(P)
        .infer(whole)
        .grad(grad::global_lp),
];

/// The window over the spatial axes of X.
fn sliding(node: &crate::ir::Node, x: &Shape) -> Result<Sliding, String> {
    let kernel = node.ints("kernel_shape").ok_or("kernel_shape is missing")?;
    if x.len() < 3 || kernel.len() != x.len() - 2 {
        return Err(format!("kernel_shape {kernel:?} does not fit X of shape {x:?}"));
    }
    Sliding::new(node, kernel.to_vec())
}

fn pool(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match cx.shape(0) {
        None => None,
        Some(x) => {
            let spatial = sliding(cx.node(), x)?.outputs(cx, &x[2..])?;
            Some(x[..2].iter().cloned().chain(spatial).collect::<Shape>())
        }
    };
    cx.set(0, cx.dtype(0), shape.clone());
    cx.set(1, Some(DType::I64), shape);
    Ok(())
}

fn whole(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = cx.shape(0).map(|x| {
        x.iter().enumerate().map(|(i, dim)| if i < 2 { dim.clone() } else { Dim::known(1) }).collect::<Shape>()
    });
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

fn windowed(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let x = cx.shape(0)?;
    let sizes = cx.ints("kernel_shape").unwrap_or_default();
    Ok(sliding(cx.node(), x)?.call(kernel, &x[2..])?.with("kernel", sizes))
}

fn lower_max(cx: &Lowering<'_>) -> Result<Call, String> {
    if cx.node().output(0).is_none() {
        return Err("indices without values are not computed".into());
    }
    Ok(windowed(cx, "max_pool.1")?.with("column_major", cx.int("storage_order") == Some(1)))
}

fn lower_average(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(windowed(cx, "average_pool.1")?.with("count_pads", cx.int("count_include_pad") == Some(1)))
}

fn lower_lp(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(windowed(cx, "lp_pool.1")?.with("p", cx.int("p").unwrap_or(2)))
}

/// A pool whose window is everything.
fn global(cx: &Lowering<'_>, kernel: &'static str) -> Result<Call, String> {
    let spatial = cx.shape(0)?.iter().skip(2);
    let sizes = spatial.map(|dim| dim.size().ok_or_else(|| format!("spatial size {dim} has to be known")));
    Ok(Call::new(kernel).with("kernel", sizes.collect::<Result<Vec<_>, _>>()?))
}

fn lower_global_lp(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(global(cx, "lp_pool.1")?.with("p", cx.int("p").unwrap_or(2)))
}
