//! Random numbers: known for their types and shapes, never computed.

use hanc_runtime::DType;

use super::types;
use crate::infer::Infer;
use crate::ir::{Dim, Shape};
use crate::lower::Lower;
use crate::op::{AttrKind, AttrSpec, Op, Param, attr, one};

const OUTPUT: &[Param] = &[one("output")];
const NEVER: Lower = Lower::Never("it draws random numbers");
const DTYPE: AttrSpec = attr("dtype", AttrKind::Int(None));
const FLOAT: AttrSpec = attr("dtype", AttrKind::Int(Some(1)));
const SEED: AttrSpec = attr("seed", AttrKind::Float(None));
const SHAPE: AttrSpec = attr("shape", AttrKind::Ints);
const MEAN: AttrSpec = attr("mean", AttrKind::Float(Some(0.0)));
const SCALE: AttrSpec = attr("scale", AttrKind::Float(Some(1.0)));
const LOW: AttrSpec = attr("low", AttrKind::Float(Some(0.0)));
const HIGH: AttrSpec = attr("high", AttrKind::Float(Some(1.0)));

const fn drawn(name: &'static str, attrs: &'static [AttrSpec]) -> Op {
    Op::new(name, NEVER).no_grad("it draws random numbers").since(&[1, 22]).outputs(OUTPUT).attrs(attrs)
}

pub(super) static OPS: &[Op] = &[
    drawn("RandomNormal", &[FLOAT, MEAN, SCALE, SEED, SHAPE]).inputs(&[]).infer(fresh),
    drawn("RandomUniform", &[FLOAT, HIGH, LOW, SEED, SHAPE]).inputs(&[]).infer(fresh),
    drawn("RandomNormalLike", &[DTYPE, MEAN, SCALE, SEED]).inputs(&[one("input")]).infer(like),
    drawn("RandomUniformLike", &[DTYPE, HIGH, LOW, SEED]).inputs(&[one("input")]).infer(like),
    drawn("Bernoulli", &[DTYPE, SEED]).since(&[15, 22]).inputs(&[one("input")]).infer(like),
    drawn("Multinomial", &[attr("dtype", AttrKind::Int(Some(6))), SEED, attr("sample_size", AttrKind::Int(Some(1)))])
        .since(&[7, 22])
        .inputs(&[one("input")])
        .infer(multinomial),
];

fn dtype(cx: &Infer<'_>) -> Result<Option<DType>, String> {
    cx.int("dtype").map(types::dtype).transpose()
}

fn fresh(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape: Shape =
        cx.ints("shape").ok_or("the attribute shape is missing")?.iter().copied().map(Dim::known).collect();
    if shape.iter().any(|d| d.factor() < 0) {
        return Err(format!("shape {shape:?} holds a negative size"));
    }
    cx.set(0, dtype(cx)?, Some(shape));
    Ok(())
}

fn like(cx: &mut Infer<'_>) -> Result<(), String> {
    cx.set(0, dtype(cx)?.or(cx.dtype(0)), cx.shape(0).cloned());
    Ok(())
}

fn multinomial(cx: &mut Infer<'_>) -> Result<(), String> {
    let samples = Dim::known(cx.int("sample_size").unwrap_or(1));
    let shape = cx.shape(0).and_then(|s| s.first()).map(|batch| vec![batch.clone(), samples]);
    cx.set(0, dtype(cx)?, shape);
    Ok(())
}
