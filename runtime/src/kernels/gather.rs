//! Elements moved by indices among the operands. Indices may count from the end of their axis.

use super::index::{self, expect_shape, only, strides, take, wrap};
use crate::kernel::{Arg, Call, Elements, ElementsMut, Fault, Kernel, Out, Real};
use crate::plan::Params;

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "gather.1",
        doc: "y = the slices of x (operand 0) along axis that operand 1 names; its shape takes the axis' place",
        f64: gather,
        f32: gather,
        cpu: Some(&crate::cpu::gather::GATHER),
    },
    Kernel {
        name: "gather_elements.1",
        doc: "y[…, i, …] = x[…, indices[…, i, …], …] along axis",
        f64: gather_elements,
        f32: gather_elements,
        cpu: None,
    },
    Kernel {
        name: "gather_nd.1",
        doc: "y = the slices of x that the last axis of operand 1 names, behind batch leading axes in common",
        f64: gather_nd,
        f32: gather_nd,
        cpu: None,
    },
    Kernel {
        name: "scatter_elements.1",
        doc: "y = x with updates (operand 2) at indices (operand 1) along axis; reduction none, add, mul, max, min",
        f64: scatter_elements,
        f32: scatter_elements,
        cpu: None,
    },
    Kernel {
        name: "scatter_nd.1",
        doc: "y = x with slices (operand 2) where the last axis of operand 1 names them; reduction as above",
        f64: scatter_nd,
        f32: scatter_nd,
        cpu: None,
    },
    Kernel {
        name: "one_hot.1",
        doc: "y = operand 1's second element where the position on axis is operand 0's, its first one elsewhere",
        f64: one_hot,
        f32: one_hot,
        cpu: None,
    },
    Kernel {
        name: "compress.1",
        doc: "y = the slices of x along axis (of flat x without it) where operand 1 holds",
        f64: compress,
        f32: compress,
        cpu: None,
    },
    Kernel {
        name: "nonzero.1",
        doc: "y[:, k] = the position of the k-th element of x that is not 0",
        f64: nonzero,
        f32: nonzero,
        cpu: None,
    },
];

fn gather<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, (at, at_shape), y) = (call.arg(0)?, call.int(1)?, only(out)?);
    let axis = index::axis(call.params, x.shape.len())?;
    expect_shape(y.shape, &[&x.shape[..axis], at_shape, &x.shape[axis + 1..]].concat())?;
    let at = at.iter().map(|&i| wrap(i, x.shape[axis])).collect::<Result<Vec<_>, _>>()?;
    slices(y, x, axis, &at)
}

/// `y` = the slices of `x` along `axis` at these positions.
fn slices<R: Real>(y: &mut Out<'_, R>, x: Arg<'_, R>, axis: usize, at: &[usize]) -> Result<(), Fault> {
    let (size, inner) = (x.shape[axis], x.shape[axis + 1..].iter().product::<usize>());
    let outer: usize = x.shape[..axis].iter().product();
    let rows = (0..outer).flat_map(|o| at.iter().map(move |i| (o * size + i) * inner));
    take(y, x, rows.flat_map(|row| row..row + inner))
}

fn gather_elements<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, y) = (call.arg(0)?, only(out)?);
    let places = element_places(call, x.shape)?;
    expect_shape(y.shape, call.int(1)?.1)?;
    take(y, x, places.into_iter())
}

/// For each element of operand 1, the element of a tensor of `shape` that it names along the axis.
fn element_places<R: Real>(call: &Call<'_, R>, shape: &[usize]) -> Result<Vec<usize>, Fault> {
    let (at, at_shape) = call.int(1)?;
    let axis = index::axis(call.params, shape.len())?;
    let inside = at_shape.len() == shape.len() && (0..shape.len()).all(|i| i == axis || at_shape[i] <= shape[i]);
    if !inside {
        return Err(Fault(format!("indices of shape {at_shape:?} do not fit {shape:?}")));
    }
    let steps = strides(shape);
    let others = steps.iter().enumerate().map(|(i, &s)| if i == axis { 0 } else { s as isize }).collect();
    let walk = index::Walk::new(at_shape, others, 0);
    at.iter().zip(walk).map(|(&i, base)| Ok(base + wrap(i, shape[axis])? * steps[axis])).collect()
}

fn gather_nd<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, y) = (call.arg(0)?, only(out)?);
    let batch = call.params.int("batch").and_then(|b| usize::try_from(b).ok()).unwrap_or(0);
    let found = nd_places(call, x.shape, batch)?;
    let lead = &call.int(1)?.1[..call.int(1)?.1.len() - 1];
    expect_shape(y.shape, &[lead, &x.shape[batch + found.depth..]].concat())?;
    take(y, x, found.starts.into_iter().flat_map(|start| start..start + found.slice))
}

/// The slices that the last axis of operand 1 names.
struct Slices {
    /// Where each begins.
    starts: Vec<usize>,
    /// Elements of one.
    slice: usize,
    /// How many axes the indices name.
    depth: usize,
}

fn nd_places<R: Real>(call: &Call<'_, R>, shape: &[usize], batch: usize) -> Result<Slices, Fault> {
    let (at, at_shape) = call.int(1)?;
    let &[ref lead @ .., depth] = at_shape else { return Err(Fault::new("the indices need an axis")) };
    let fits = batch <= lead.len() && batch + depth <= shape.len() && lead[..batch] == shape[..batch];
    if !fits {
        return Err(Fault(format!("indices of shape {at_shape:?} do not fit {shape:?}")));
    }
    let steps = strides(shape);
    let slice = shape[batch + depth..].iter().product();
    let each: usize = lead[batch..].iter().product();
    let block: usize = shape[batch..].iter().product();
    let count: usize = lead.iter().product();
    let start = |k: usize| -> Result<usize, Fault> {
        let tuple = at.get(k * depth..(k + 1) * depth).unwrap_or(&[]);
        let axes = tuple.iter().enumerate().map(|(i, &t)| Ok(wrap(t, shape[batch + i])? * steps[batch + i]));
        Ok(k / each * block + axes.sum::<Result<usize, Fault>>()?)
    };
    Ok(Slices { starts: (0..count).map(start).collect::<Result<_, _>>()?, slice, depth })
}

fn scatter_elements<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, updates, y) = (call.arg(0)?, call.arg(2)?, only(out)?);
    expect_shape(updates.shape, call.int(1)?.1)?;
    let places = element_places(call, x.shape)?;
    scatter(y, x, updates, places.into_iter(), call.params)
}

fn scatter_nd<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, updates, y) = (call.arg(0)?, call.arg(2)?, only(out)?);
    let found = nd_places(call, x.shape, 0)?;
    let lead = &call.int(1)?.1[..call.int(1)?.1.len() - 1];
    expect_shape(updates.shape, &[lead, &x.shape[found.depth..]].concat())?;
    let places = found.starts.into_iter().flat_map(|start| start..start + found.slice);
    scatter(y, x, updates, places, call.params)
}

fn scatter<R: Real>(
    y: &mut Out<'_, R>,
    x: Arg<'_, R>,
    updates: Arg<'_, R>,
    places: impl Iterator<Item = usize>,
    params: &Params,
) -> Result<(), Fault> {
    expect_shape(y.shape, x.shape)?;
    let unknown = || Fault::new("parameter reduction is not known");
    let name = params.str("reduction").unwrap_or("none");
    match (&mut y.data, x.data, updates.data) {
        (ElementsMut::Real(y), Elements::Real(x), Elements::Real(u)) => {
            let reduce = reduction(name, |a: R, b: R| a + b, |a, b| a * b).ok_or_else(unknown)?;
            put(y, x, u, places, reduce)
        }
        (ElementsMut::Int(y), Elements::Int(x), Elements::Int(u)) => {
            let reduce = reduction(name, i64::wrapping_add, i64::wrapping_mul).ok_or_else(unknown)?;
            put(y, x, u, places, reduce)
        }
        _ => Err(Fault::new("operands and result are of different classes")),
    }
}

fn reduction<T: PartialOrd + Copy>(name: &str, add: fn(T, T) -> T, mul: fn(T, T) -> T) -> Option<fn(T, T) -> T> {
    Some(match name {
        "none" => |_, new| new,
        "add" => add,
        "mul" => mul,
        "max" => |old, new| if new > old { new } else { old },
        "min" => |old, new| if new < old { new } else { old },
        _ => return None,
    })
}

fn put<T: Copy>(
    y: &mut [T],
    x: &[T],
    updates: &[T],
    places: impl Iterator<Item = usize>,
    reduce: fn(T, T) -> T,
) -> Result<(), Fault> {
    y.copy_from_slice(x);
    for (&update, place) in updates.iter().zip(places) {
        let y = y.get_mut(place).ok_or_else(|| Fault::new("an index lies outside of the operand"))?;
        *y = reduce(*y, update);
    }
    Ok(())
}

fn one_hot<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (at, values, y) = (call.arg(0)?, call.arg(1)?, only(out)?);
    let axis = index::axis(call.params, y.shape.len())?;
    let depth = y.shape[axis];
    expect_shape(at.shape, &[&y.shape[..axis], &y.shape[axis + 1..]].concat())?;
    expect_shape(values.shape, &[2])?;
    let at: Vec<i64> = match at.data {
        Elements::Int(at) => at.to_vec(),
        Elements::Real(at) => at.iter().map(|x| x.f64() as i64).collect(),
    };
    let inner: usize = y.shape[axis + 1..].iter().product();
    let hit = |i: usize| {
        let (outer, place, rest) = (i / (inner * depth), i / inner % depth, i % inner);
        wrap(at[outer * inner + rest], depth).is_ok_and(|hot| hot == place)
    };
    let len = crate::tensor::elements(y.shape).unwrap_or(0);
    take(y, values, (0..len).map(|i| usize::from(hit(i))))
}

fn compress<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, (condition, _), y) = (call.arg(0)?, call.int(1)?, only(out)?);
    let kept: Vec<usize> = condition.iter().enumerate().filter(|(_, c)| **c != 0).map(|(i, _)| i).collect();
    if call.params.int("axis").is_none() {
        expect_shape(y.shape, &[kept.len()])?;
        return take(y, x, kept.into_iter());
    }
    let axis = index::axis(call.params, x.shape.len())?;
    if condition.len() > x.shape[axis] {
        return Err(Fault(format!("{} conditions for an axis of {}", condition.len(), x.shape[axis])));
    }
    let mut wanted = x.shape.to_vec();
    wanted[axis] = kept.len();
    expect_shape(y.shape, &wanted)?;
    slices(y, x, axis, &kept)
}

fn nonzero<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, y) = (call.arg(0)?, only(out)?);
    let hits: Vec<usize> = match x.data {
        Elements::Real(x) => (0..x.len()).filter(|&i| x[i] != R::ZERO).collect(),
        Elements::Int(x) => (0..x.len()).filter(|&i| x[i] != 0).collect(),
    };
    expect_shape(y.shape, &[x.shape.len(), hits.len()])?;
    let steps = strides(x.shape);
    let all = steps.iter().zip(x.shape).flat_map(|(&step, &size)| hits.iter().map(move |&i| (i / step % size) as i64));
    y.int()?.iter_mut().zip(all).for_each(|(y, at)| *y = at);
    Ok(())
}
