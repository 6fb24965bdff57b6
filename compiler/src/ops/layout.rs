//! Elements moved by a rule of their position alone.

use super::known::{self, or_unknown};
use crate::grad::rules::movement as grad;
use crate::infer::{Infer, axis, broadcast};
use crate::ir::dim::{self, Dim, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind, Op, attr, many, one};

pub(super) static OPS: &[Op] = &[
    Op::new("Transpose", Lower::Call(lower_transpose))
        .grad(grad::transpose)
        .since(&[1, 13, 21, 23, 24, 25])
        .inputs(&[one("data")])
        .outputs(&[one("transposed")])
        .attrs(&[attr("perm", AttrKind::Ints)])
        .infer(transpose),
    Op::new("Concat", Lower::Call(lower_concat))
        .grad(grad::concat)
        .since(&[4, 11, 13])
        .inputs(&[many("inputs")])
        .outputs(&[one("concat_result")])
        .attrs(&[attr("axis", AttrKind::Int(None))])
        .infer(concat),
    Op::new("Expand", Lower::Call(|_| Ok(Call::new("expand.1").operands(&[0]))))
        .grad(grad::expand)
        .since(&[8, 13])
        .inputs(&[one("input"), one("shape")])
        .outputs(&[one("output")])
        .infer(expand),
    Op::new("Tile", Lower::Call(|_| Ok(Call::new("tile.1").operands(&[0]))))
        .grad(grad::tile)
        .since(&[6, 13])
        .inputs(&[one("input"), one("repeats")])
        .outputs(&[one("output")])
        .infer(tile),
];

/// The permutation of a transposition, checked.
fn permutation(given: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, String> {
    let Some(perm) = given else { return Ok((0..rank).rev().collect()) };
    let axes = known::axes(perm, rank)?;
    if axes.len() == rank { Ok(axes) } else { Err(format!("perm {perm:?} does not fit a rank of {rank}")) }
}

fn transpose(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (cx.shape(0), cx.ints("perm")) {
        (Some(data), perm) => Some(permutation(perm, data.len())?.into_iter().map(|p| data[p].clone()).collect()),
        (None, Some(perm)) => {
            permutation(Some(perm), known::check_rank(perm.len())?)?;
            Some(known::unknown_shape(cx, perm.len()))
        }
        (None, None) => None,
    };
    let content = cx.content(0).map(<[Dim]>::to_vec);
    cx.set(0, cx.dtype(0), shape);
    cx.set_content(0, content);
    Ok(())
}

fn lower_transpose(cx: &Lowering<'_>) -> Result<Call, String> {
    let perm = permutation(cx.node().ints("perm"), cx.shape(0)?.len())?;
    Ok(Call::new("transpose.1").with("perm", perm))
}

fn concat(cx: &mut Infer<'_>) -> Result<(), String> {
    let count = cx.node().inputs.len();
    let dtype = (0..count).find_map(|i| cx.dtype(i));
    let shape = concat_shape(cx, count)?;
    let content = concat_content(cx, count, shape.as_ref());
    cx.set(0, dtype, shape);
    cx.set_content(0, content);
    Ok(())
}

fn concat_shape(cx: &mut Infer<'_>, count: usize) -> Result<Option<Shape>, String> {
    let raw = cx.node().int("axis").ok_or("the attribute axis is missing")?;
    if count == 0 {
        return Err("there is no operand".into());
    }
    let Some(first) = (0..count).find_map(|i| cx.shape(i)) else { return Ok(None) };
    let at = axis(raw, first.len())?;
    let mut shape = first.clone();
    let mut sum = Some(Dim::known(0));
    for i in 0..count {
        let Some(part) = cx.shape(i) else {
            sum = None;
            continue;
        };
        if part.len() != shape.len() {
            return Err(format!("operands of ranks {} and {}", shape.len(), part.len()));
        }
        for (other, dim) in part.iter().enumerate().filter(|(other, _)| *other != at) {
            shape[other] = known::unify(&shape[other], dim)?;
        }
        sum = sum.and_then(|sum| sum.add(&part[at]));
    }
    shape[at] = or_unknown(cx, sum);
    Ok(Some(shape))
}

/// Elements of a vector put together from vectors; those of a part of which nothing is known are fresh symbols.
fn concat_content(cx: &mut Infer<'_>, count: usize, shape: Option<&Shape>) -> Option<Vec<Dim>> {
    shape.filter(|s| s.len() == 1)?[0].size().filter(|&n| n <= 256)?;
    let some = (0..count).any(|i| cx.content(i).is_some());
    let mut content = Vec::new();
    for i in 0..count {
        match cx.content(i) {
            Some(part) => content.extend_from_slice(part),
            None if some => (0..cx.shape(i)?[0].size()?).for_each(|_| content.push(cx.unknown())),
            None => return None,
        }
    }
    Some(content)
}

fn lower_concat(cx: &Lowering<'_>) -> Result<Call, String> {
    let at = axis(cx.int("axis").ok_or("the attribute axis is missing")?, cx.result(0)?.len())?;
    Ok(Call::new("concat.1").with("axis", at))
}

fn expand(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (cx.content(1), cx.shape(0)) {
        (Some(target), Some(data)) => {
            if target.iter().any(|d| d.factor() < 0) {
                return Err(format!("the target {target:?} holds a negative size"));
            }
            Some(broadcast(&[data, &target.to_vec()])?)
        }
        (None, Some(data)) => {
            let rank = known::rank_of_vector(cx, 1)?.map(|rank| rank.max(data.len()));
            rank.map(|rank| known::unknown_shape(cx, rank))
        }
        _ => None,
    };
    let content = repeated(cx.content(0), shape.as_ref());
    cx.set(0, cx.dtype(0), shape);
    cx.set_content(0, content);
    Ok(())
}

/// The elements of a scalar or vector repeated to fill a scalar or vector.
fn repeated(content: Option<&[Dim]>, shape: Option<&Shape>) -> Option<Vec<Dim>> {
    let (content, shape) = (content?, shape.filter(|s| s.len() < 2)?);
    let length = usize::try_from(dim::product(shape)?.size()?).ok().filter(|&n| n <= 256)?;
    let whole = !content.is_empty() && length.is_multiple_of(content.len());
    whole.then(|| content.iter().cycle().take(length).cloned().collect())
}

fn tile(cx: &mut Infer<'_>) -> Result<(), String> {
    let shape = match (cx.content(1), cx.shape(0)) {
        (Some(repeats), Some(data)) => Some(tiled(cx, repeats, data)?),
        (_, Some(data)) => Some(known::unknown_shape(cx, data.len())),
        _ => None,
    };
    let content = repeated(cx.content(0), shape.as_ref());
    cx.set(0, cx.dtype(0), shape);
    cx.set_content(0, content);
    Ok(())
}

fn tiled(cx: &mut Infer<'_>, repeats: &[Dim], data: &Shape) -> Result<Shape, String> {
    if repeats.len() != data.len() || repeats.iter().any(|r| r.factor() < 0) {
        return Err(format!("repeats {repeats:?} do not fit {data:?}"));
    }
    Ok(data.iter().zip(repeats).map(|(d, r)| or_unknown(cx, d.mul(r))).collect())
}
