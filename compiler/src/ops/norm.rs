//! Normalisations.

use hanc_runtime::DType;

use super::support::{agree, results, vector};
use crate::grad::rules::norm as grad;
use crate::infer::{self, Infer, broadcast};
use crate::ir::{Dim, Shape};
use crate::lower::{Call, Lower, Lowering, list};
use crate::op::{AttrKind::*, AttrSpec, Op, Param, attr, many, one, opt};

const EPSILON: AttrSpec = attr("epsilon", Float(Some(1e-5)));
const BATCH: &[AttrSpec] = &[
    EPSILON,
    attr("momentum", Float(Some(0.9))),
    attr("spatial", Int(Some(1))).until(9),
    attr("is_test", Int(Some(0))).until(7),
    attr("training_mode", Int(Some(0))).from(14),
];
const LAYER: &[AttrSpec] = &[attr("axis", Int(Some(-1))), EPSILON, attr("stash_type", Int(Some(1)))];
const GROUP: &[AttrSpec] = &[EPSILON, attr("num_groups", Int(None)), attr("stash_type", Int(Some(1))).from(21)];
const LRN: &[AttrSpec] = &[
    attr("alpha", Float(Some(1e-4))),
    attr("beta", Float(Some(0.75))),
    attr("bias", Float(Some(1.0))),
    attr("size", Int(None)),
];
const LAYER_OUT: &[Param] = &[one("Y"), opt("Mean"), opt("InvStdDev")];
const SKIP_OUT: &[Param] = &[one("output"), opt("mean"), opt("inv_std_var"), opt("input_skip_bias_sum")];

pub(super) static OPS: &[Op] = &[
    Op::new("BatchNormalization", Lower::Call(lower_batch))
        .grad(grad::batch)
        .since(&[1, 6, 7, 9, 14, 15])
        .inputs(&[one("X"), one("scale"), one("B"), one("input_mean"), one("input_var")])
        .outputs(&[one("Y"), many("running")])
        .attrs(BATCH)
        .infer(batch),
    Op::new("InstanceNormalization", Lower::Call(lower_instance))
        .grad(grad::instance)
        .since(&[1, 6, 22])
        .inputs(&[one("input"), one("scale"), one("B")])
        .outputs(&[one("output")])
        .attrs(&[EPSILON])
        .infer(instance),
    // Part of the opset from 17 on; onnxruntime writes it into models of any opset.
    Op::new("LayerNormalization", Lower::Call(lower_layer))
        .grad(grad::layer)
        .since(&[1, 17])
        .inputs(&[one("X"), one("Scale"), opt("B")])
        .outputs(LAYER_OUT)
        .attrs(LAYER)
        .infer(layer),
    Op::new("RMSNormalization", Lower::Call(lower_rms))
        .grad(grad::rms)
        .since(&[23])
        .inputs(&[one("X"), one("scale")])
        .attrs(LAYER)
        .infer(layer),
    // onnxruntime's own, in ONNX's domain.
    Op::new("SimplifiedLayerNormalization", Lower::Call(lower_rms))
        .grad(grad::rms)
        .inputs(&[one("X"), one("scale")])
        .outputs(&[one("Y"), opt("inv_std_var")])
        .attrs(LAYER)
        .infer(layer),
    Op::new("GroupNormalization", Lower::Call(lower_group))
        .grad(grad::group)
        .since(&[18, 21])
        .inputs(&[one("X"), one("scale"), one("bias")])
        .attrs(GROUP)
        .infer(group),
    Op::new("LRN", Lower::Call(lower_lrn)).grad(grad::local).since(&[1, 13]).attrs(LRN),
    Op::new("LpNormalization", Lower::Call(lower_lp))
        .grad(grad::lp)
        .since(&[1, 22])
        .inputs(&[one("input")])
        .outputs(&[one("output")])
        .attrs(&[attr("axis", Int(Some(-1))), attr("p", Int(Some(2)))])
        .infer(lp),
    Op::new("MeanVarianceNormalization", Lower::Call(lower_mvn))
        .grad(grad::mean_variance)
        .since(&[9, 13])
        .attrs(&[attr("axes", Ints)])
        .infer(mvn),
    Op::new("SkipLayerNormalization", Lower::Call(lower_skip))
        .grad(grad::skip)
        .domain("com.microsoft")
        .inputs(&[one("input"), one("skip"), one("gamma"), opt("beta"), opt("bias")])
        .outputs(SKIP_OUT)
        .attrs(&[EPSILON])
        .infer(skip),
    Op::new("SkipSimplifiedLayerNormalization", Lower::Call(lower_skip_rms))
        .grad(grad::skip_rms)
        .domain("com.microsoft")
        .inputs(&[one("input"), one("skip"), one("gamma"), opt("bias")])
        .outputs(SKIP_OUT)
        .attrs(&[EPSILON])
        .infer(skip),
];

/// Checks that operands are vectors with one number a channel (axis 1 of the first operand).
fn per_channel(cx: &Infer<'_>, operands: &[(usize, &str)]) -> Result<(), String> {
    let Some(x) = cx.shape(0) else { return Ok(()) };
    let channels = x.get(1).cloned().unwrap_or(Dim::known(1));
    operands.iter().try_for_each(|(i, name)| vector(cx, *i, name, &channels))
}

fn batch(cx: &mut Infer<'_>) -> Result<(), String> {
    if cx.int("spatial") != Some(0) {
        per_channel(cx, &[(1, "scale"), (2, "B"), (3, "the mean"), (4, "the variance")])?;
    }
    cx.set(0, cx.dtype(0), cx.shape(0).cloned());
    for i in 1..cx.results() {
        let like = if i % 2 == 1 { 3 } else { 4 };
        cx.set(i, cx.dtype(like), cx.shape(like).cloned());
    }
    Ok(())
}

fn instance(cx: &mut Infer<'_>) -> Result<(), String> {
    per_channel(cx, &[(1, "scale"), (2, "B")])?;
    infer::same(cx)
}

fn group(cx: &mut Infer<'_>) -> Result<(), String> {
    let groups = cx.int("num_groups").filter(|groups| *groups > 0).ok_or("num_groups has to be positive")?;
    if cx.version() >= 21 {
        per_channel(cx, &[(1, "scale"), (2, "bias")])?;
    } else {
        vector(cx, 1, "scale", &Dim::known(groups)).and_then(|()| vector(cx, 2, "bias", &Dim::known(groups)))?;
    }
    let channels = cx.shape(0).and_then(|x| x.get(1)).and_then(Dim::size);
    match channels.filter(|channels| channels % groups != 0) {
        Some(channels) => Err(format!("{channels} channels do not divide into {groups} groups")),
        None => infer::same(cx),
    }
}

fn layer(cx: &mut Infer<'_>) -> Result<(), String> {
    let Some(x) = cx.shape(0) else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    let axis = infer::axis(cx.int("axis").unwrap_or(-1), x.len())?;
    for (i, name) in [(1, "the scale"), (2, "the shift")] {
        cx.shape(i).map_or(Ok(()), |shape| spreads(shape, &x[axis..], name))?;
    }
    let stash = cx.int("stash_type").filter(|t| *t == 16).map_or(DType::F32, |_| DType::Bf16);
    let statistics: Shape = x[..axis].iter().cloned().chain(x[axis..].iter().map(|_| Dim::known(1))).collect();
    cx.set(0, cx.dtype(1).or(cx.dtype(0)), Some(x.clone()));
    (1..cx.results()).for_each(|i| cx.set(i, Some(stash), Some(statistics.clone())));
    Ok(())
}

/// An operand has to broadcast to the axes that are normalised.
pub(super) fn spreads(shape: &[Dim], to: &[Dim], name: &str) -> Result<(), String> {
    let message = || format!("{name} of shape {shape:?} does not broadcast to the normalised {to:?}");
    if shape.len() > to.len() {
        return Err(message());
    }
    shape.iter().rev().zip(to.iter().rev()).try_for_each(|(own, dim)| match own.size() {
        Some(1) => Ok(()),
        _ => agree(own, dim, |_, _| message()),
    })
}

fn skip(cx: &mut Infer<'_>) -> Result<(), String> {
    let Some(x) = cx.shape(0) else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    let width = x.last().ok_or("a scalar has no last axis")?;
    if let Some(skip) = cx.shape(1)
        && broadcast(&[x, skip])?.len() != x.len()
    {
        return Err(format!("the skip of shape {skip:?} does not broadcast to {x:?}"));
    }
    (2..5).try_for_each(|i| vector(cx, i, "a scale or shift", width))?;
    let statistics: Shape = x[..x.len() - 1].iter().cloned().chain([Dim::known(1)]).collect();
    cx.set(0, cx.dtype(0), Some(x.clone()));
    cx.set(1, Some(DType::F32), Some(statistics.clone()));
    cx.set(2, Some(DType::F32), Some(statistics));
    cx.set(3, cx.dtype(0), Some(x.clone()));
    Ok(())
}

fn lp(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(x) = cx.shape(0) {
        infer::axis(cx.int("axis").unwrap_or(-1), x.len())?;
    }
    infer::same(cx)
}

fn mvn(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(x) = cx.shape(0) {
        mvn_axes(cx.ints("axes"), x.len())?;
    }
    infer::same(cx)
}

fn mvn_axes(axes: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, String> {
    axes.unwrap_or(&[0, 2, 3]).iter().map(|raw| infer::axis(*raw, rank)).collect()
}

fn lower_batch(cx: &Lowering<'_>) -> Result<Call, String> {
    let results = results(cx.node(), &[0, 1, 2, 3, 4]);
    let training = if cx.version() >= 14 { cx.int("training_mode") == Some(1) } else { results.len() > 1 };
    let call = Call::new("batch_norm.1").with("epsilon", cx.float("epsilon"));
    if !training {
        return if results == [0] { Ok(call) } else { Err("running statistics come in training mode only".into()) };
    }
    Ok(call.with("training", true).with("momentum", cx.float("momentum")).with("results", results))
}

fn lower_instance(cx: &Lowering<'_>) -> Result<Call, String> {
    let channels = cx.shape(0)?.get(1).and_then(Dim::size).ok_or("the number of channels has to be known")?;
    Ok(Call::new("group_norm.1").with("epsilon", cx.float("epsilon")).with("groups", channels))
}

fn lower_group(cx: &Lowering<'_>) -> Result<Call, String> {
    let groups = cx.int("num_groups").ok_or("num_groups is missing")?;
    Ok(Call::new("group_norm.1").with("epsilon", cx.float("epsilon")).with("groups", groups))
}

fn row_norm(cx: &Lowering<'_>, map: &[i64]) -> Result<Call, String> {
    let axis = infer::axis(cx.int("axis").unwrap_or(-1), cx.shape(0)?.len())?;
    let call = Call::new("layer_norm.1").with("axis", axis).with("epsilon", cx.float("epsilon"));
    Ok(call.with("results", results(cx.node(), map)))
}

fn lower_layer(cx: &Lowering<'_>) -> Result<Call, String> {
    row_norm(cx, &[0, 1, 2])
}

fn lower_rms(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(row_norm(cx, &[0, 2])?.with("rms", true))
}

fn lower_skip(cx: &Lowering<'_>) -> Result<Call, String> {
    let call = Call::new("skip_layer_norm.1").with("epsilon", cx.float("epsilon"));
    Ok(call.with("results", results(cx.node(), &[0, 1, 2, 3])))
}

fn lower_skip_rms(cx: &Lowering<'_>) -> Result<Call, String> {
    // The kernel's fourth operand, a shift, is never there.
    let absent = cx.node().inputs.len();
    Ok(lower_skip(cx)?.operands(&[0, 1, 2, absent, 3]).with("rms", true))
}

fn lower_lrn(cx: &Lowering<'_>) -> Result<Call, String> {
    let size = cx.int("size").filter(|size| *size > 0).ok_or("size has to be positive")?;
    let call = Call::new("lrn.1").with("alpha", cx.float("alpha")).with("beta", cx.float("beta"));
    Ok(call.with("bias", cx.float("bias")).with("size", size))
}

fn lower_lp(cx: &Lowering<'_>) -> Result<Call, String> {
    let axis = infer::axis(cx.int("axis").unwrap_or(-1), cx.shape(0)?.len())?;
    Ok(Call::new("lp_norm.1").with("axis", axis).with("p", cx.int("p").unwrap_or(2)))
}

fn lower_mvn(cx: &Lowering<'_>) -> Result<Call, String> {
    let axes = mvn_axes(cx.node().ints("axes"), cx.shape(0)?.len())?;
    Ok(Call::new("mvn.1").with("axes", list(axes.into_iter().map(|axis| axis as i64))))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::Attr;

    #[test]
    fn statistics_keep_the_axes_in_front() {
        let layer = Case::new("", "LayerNormalization", 17).operand("N 49 64").operand("64").operand("64");
        assert_eq!(layer.results(3).infer().unwrap(), "f32[N, 49, 64] f32[N, 49, 1] f32[N, 49, 1]");
        let skip = Case::new("com.microsoft", "SkipLayerNormalization", 1).operand("N 8").operand("N 8").operand("8");
        assert_eq!(skip.results(4).infer().unwrap(), "f32[N, 8] f32[N, 1] f32[N, 1] f32[N, 8]");
    }

    #[test]
    fn layer_norm_stands_below_its_opset_too() {
        let layer = Case::new("", "LayerNormalization", 11).operand("2 8").operand("8").attr("axis", Attr::Int(-1));
        assert!(layer.lower().unwrap().starts_with(r#"layer_norm.1 {"axis":1,"#));
    }

    #[test]
    fn widths_that_disagree_are_named() {
        let layer = Case::new("", "LayerNormalization", 17).operand("N 64").operand("48");
        assert_eq!(layer.infer().unwrap_err(), "the scale of shape [48] does not broadcast to the normalised [64]");
        let batch = Case::new("", "BatchNormalization", 15).operand("N 8 4 4");
        let batch = batch.operand("8").operand("8").operand("7").operand("8");
        assert_eq!(batch.infer().unwrap_err(), "the mean has 7 elements, 8 are needed");
        let group = Case::new("", "GroupNormalization", 21).operand("N 8 4").operand("8").operand("8");
        assert!(group.attr("num_groups", Attr::Int(3)).infer().unwrap_err().contains("3 groups"));
    }

    #[test]
    fn training_follows_the_opset() {
        let batch = |version: i64| {
            let case = Case::new("", "BatchNormalization", version).operand("2 8 4");
            (0..4).fold(case, |case, _| case.operand("8"))
        };
        let mode = || Attr::Int(1);
        assert!(batch(15).attr("training_mode", mode()).results(3).lower().unwrap().contains(r#""results":[0,1,2]"#));
        assert!(!batch(15).lower().unwrap().contains("training"));
        assert!(batch(15).results(3).lower().is_err());
        assert!(batch(9).results(5).lower().unwrap().contains(r#""results":[0,1,2,3,4]"#));
    }
}
