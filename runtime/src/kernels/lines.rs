//! Along one axis: every line of elements along it is a problem of its own.

use std::cmp::Ordering;

use super::{rows, same_len, single};
use crate::cpu::softmax as cpu;
use crate::dtype::DType;
use crate::kernel::{Call, Elements, ElementsMut, Fault, Kernel, Out, Real};
use crate::tensor::elements;

pub(super) static KERNELS: &[Kernel] = rows! {
    "softmax.1", "y = eˣ/Σeˣ along the parameter axis; parameter until (axis + 1): the axes up to there count as one", each, softmax => cpu::SOFTMAX;
    "log_softmax.1", "y = x - ln Σeˣ along axis (until)", each, log_softmax => cpu::LOG_SOFTMAX;
    "hardmax.1", "y = 1 at the first greatest x along axis (until), else 0", each, hardmax;
    "argmax.1", "y = place of the greatest x along axis; parameter last (a flag): of the last one", extreme, Ordering::Greater;
    "argmin.1", "y = place of the least x along axis; parameter last (a flag): of the last one", extreme, Ordering::Less;
    "cumsum.1", "y = Σx up to here along axis; parameters exclusive (without x itself), reverse (from the end)", cumulate, |a, x| a + x, i64::wrapping_add, (R::ZERO, 0);
    "cumprod.1", "y = Πx up to here along axis; parameters exclusive (without x itself), reverse (from the end)", cumulate, |a, x| a * x, i64::wrapping_mul, (R::ONE, 1);
    "topk.1", "values and places of the first elements of x along axis as the greatest (parameter largest, a flag) or least come first", topk;
};

/// Where lines of elements lie: `outer` blocks of `length` rows of `inner` elements.
#[derive(Clone, Copy)]
struct Lines {
    outer: usize,
    length: usize,
    inner: usize,
}

impl Lines {
    fn of<R: Real>(call: &Call<'_, R>) -> Result<Lines, Fault> {
        let shape = call.arg(0)?.shape;
        let axis = call.params.int("axis").and_then(|axis| usize::try_from(axis).ok());
        let axis = axis.ok_or_else(|| Fault::new("parameter axis is missing"))?;
        let until = call.params.int("until").map_or(Some(axis + 1), |until| usize::try_from(until).ok());
        let parts = until.and_then(|until| Some((shape.get(..axis)?, shape.get(axis..until)?, shape.get(until..)?)));
        let (before, along, behind) = parts.ok_or_else(|| Fault(format!("there is no axis {axis}")))?;
        let size = |part| elements(part).ok_or_else(|| Fault::new("the sizes overflow"));
        let (outer, length, inner) = (size(before)?, size(along)?, size(behind)?);
        elements(&[outer, length.max(1), inner]).ok_or_else(|| Fault::new("the sizes overflow"))?;
        Ok(Lines { outer, length, inner })
    }

    /// Elements in all.
    fn len(self) -> usize {
        self.outer * self.length * self.inner
    }

    /// First element of each line; none of lines that have no element.
    fn starts(self) -> impl Iterator<Item = usize> {
        let outer = if self.length == 0 { 0 } else { self.outer };
        (0..outer).flat_map(move |o| (0..self.inner).map(move |i| o * self.length * self.inner + i))
    }

    /// Copies the line that begins at `start`.
    fn read<X: Copy>(self, x: &[X], start: usize, line: &mut Vec<X>) {
        line.clear();
        line.extend((0..self.length).map(|n| x[start + n * self.inner]));
    }
}

/// `f` turns each line of reals into its result, in place.
fn each<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>], f: impl Fn(&mut [R])) -> Result<(), Fault> {
    let (lines, (x, _), y) = (Lines::of(call)?, call.real(0)?, single(out)?.real()?);
    same_len(lines.len(), y.len())?;
    let mut line = Vec::with_capacity(lines.length);
    for start in lines.starts() {
        lines.read(x, start, &mut line);
        f(&mut line);
        line.iter().enumerate().for_each(|(n, value)| y[start + n * lines.inner] = *value);
    }
    Ok(())
}

fn top<R: Real>(line: &[R]) -> R {
    line.iter().fold(-R::INFINITY, |top, x| top.max(*x))
}

fn softmax<R: Real>(line: &mut [R]) {
    let top = top(line);
    line.iter_mut().for_each(|x| *x = (*x - top).exp());
    let sum: R = line.iter().copied().sum();
    line.iter_mut().for_each(|x| *x /= sum);
}

fn log_softmax<R: Real>(line: &mut [R]) {
    let top = top(line);
    let sum: R = line.iter().map(|x| (*x - top).exp()).sum();
    line.iter_mut().for_each(|x| *x = *x - top - sum.ln());
}

fn hardmax<R: Real>(line: &mut [R]) {
    let place = best(line, Ordering::Greater, false, real_order);
    line.iter_mut().enumerate().for_each(|(n, x)| *x = if n == place { R::ONE } else { R::ZERO });
}

/// What is not a number comes behind every number.
fn real_order<R: Real>(a: &R, b: &R) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn integer_order(dtype: DType) -> fn(&i64, &i64) -> Ordering {
    if dtype == DType::U64 { |a, b| (*a as u64).cmp(&(*b as u64)) } else { i64::cmp }
}

/// Place of the first (or last) element that no other stands in the order `wanted` to.
fn best<X>(line: &[X], wanted: Ordering, last: bool, order: impl Fn(&X, &X) -> Ordering) -> usize {
    let better = |a: usize, b: usize| match order(&line[b], &line[a]) {
        o if o == wanted => b,
        Ordering::Equal if last => b,
        _ => a,
    };
    (1..line.len()).fold(0, better)
}

fn extreme<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>], wanted: Ordering) -> Result<(), Fault> {
    let (lines, last, y) = (Lines::of(call)?, call.params.flag("last"), single(out)?.int()?);
    let arg = call.arg(0)?;
    if lines.length == 0 {
        return Err(Fault::new("the axis has no element"));
    }
    match arg.data {
        Elements::Real(x) => places(lines, x, y, |line| best(line, wanted, last, real_order)),
        Elements::Int(x) => places(lines, x, y, |line| best(line, wanted, last, integer_order(arg.dtype))),
    }
}

fn places<X: Copy>(lines: Lines, x: &[X], y: &mut [i64], f: impl Fn(&[X]) -> usize) -> Result<(), Fault> {
    same_len(lines.outer * lines.inner, y.len())?;
    let mut line = Vec::with_capacity(lines.length);
    for (start, y) in lines.starts().zip(y) {
        lines.read(x, start, &mut line);
        *y = f(&line) as i64;
    }
    Ok(())
}

fn cumulate<R: Real>(
    call: &Call<'_, R>,
    out: &mut [Out<'_, R>],
    real: impl Fn(R, R) -> R,
    int: impl Fn(i64, i64) -> i64,
    start: (R, i64),
) -> Result<(), Fault> {
    let (lines, exclusive, reverse) = (Lines::of(call)?, call.params.flag("exclusive"), call.params.flag("reverse"));
    match (call.arg(0)?.data, &mut single(out)?.data) {
        (Elements::Real(x), ElementsMut::Real(y)) => scan(lines, x, y, (exclusive, reverse), start.0, real),
        (Elements::Int(x), ElementsMut::Int(y)) => scan(lines, x, y, (exclusive, reverse), start.1, int),
        _ => Err(Fault::new("operand and result are not both real or both integers")),
    }
}

fn scan<X: Copy>(
    lines: Lines,
    x: &[X],
    y: &mut [X],
    (exclusive, reverse): (bool, bool),
    first: X,
    f: impl Fn(X, X) -> X,
) -> Result<(), Fault> {
    same_len(lines.len(), y.len())?;
    for start in lines.starts() {
        let mut so_far = first;
        for n in 0..lines.length {
            let at = start + lines.inner * if reverse { lines.length - 1 - n } else { n };
            let next = f(so_far, x[at]);
            y[at] = if exclusive { so_far } else { next };
            so_far = next;
        }
    }
    Ok(())
}

fn topk<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (lines, largest, arg) = (Lines::of(call)?, call.params.flag("largest"), call.arg(0)?);
    let [values, places, ..] = out else { return Err(Fault::new("two results are needed")) };
    let places = places.int()?;
    match (arg.data, &mut values.data) {
        (Elements::Real(x), ElementsMut::Real(y)) => first(lines, x, y, places, directed(largest, real_order)),
        (Elements::Int(x), ElementsMut::Int(y)) => {
            first(lines, x, y, places, directed(largest, integer_order(arg.dtype)))
        }
        _ => Err(Fault::new("operand and values are not both real or both integers")),
    }
}

fn directed<X>(largest: bool, order: impl Fn(&X, &X) -> Ordering) -> impl Fn(&X, &X) -> Ordering {
    move |a, b| if largest { order(b, a) } else { order(a, b) }
}

/// The first elements of each line in this order; of equal ones the one that stood first.
fn first<X: Copy>(
    lines: Lines,
    x: &[X],
    values: &mut [X],
    places: &mut [i64],
    order: impl Fn(&X, &X) -> Ordering,
) -> Result<(), Fault> {
    let count = values.len().checked_div(lines.outer * lines.inner).unwrap_or(0);
    let k = Lines { length: count, ..lines };
    if count > lines.length || k.len() != values.len() || (!places.is_empty() && places.len() != values.len()) {
        return Err(Fault(format!("{} elements are wanted of lines of {}", values.len(), lines.length)));
    }
    let mut line: Vec<usize> = Vec::with_capacity(lines.length);
    for (from, to) in lines.starts().zip(k.starts()) {
        line.clear();
        line.extend(0..lines.length);
        line.sort_by(|a, b| order(&x[from + a * lines.inner], &x[from + b * lines.inner]));
        for (n, place) in line.iter().take(count).enumerate() {
            values[to + n * k.inner] = x[from + place * lines.inner];
            if let Some(slot) = places.get_mut(to + n * k.inner) {
                *slot = *place as i64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Values, ints, reals};
    use crate::dtype::DType;

    const X: [f64; 6] = [1.0, 3.0, 2.0, 3.0, 0.0, 3.0];

    fn along(kernel: &'static str, axis: i64) -> Case {
        Case::new(kernel).real(&[2, 3], &X).param("axis", axis)
    }

    #[test]
    fn softmax_sums_to_one_along_its_axis() {
        let y = reals(&along("softmax.1", 0).result(DType::F32, &[2, 3]));
        assert!((0..3).all(|i| (y[i] + y[i + 3] - 1.0).abs() < 1e-15));
        assert!((y[3] / y[0] - 2f64.exp()).abs() < 1e-12);
        let y = reals(&along("softmax.1", 0).param("until", 2).result(DType::F32, &[2, 3]));
        assert!((y.iter().sum::<f64>() - 1.0).abs() < 1e-15);
        let large = Case::new("softmax.1").real(&[2], &[1e4, 1e4]).param("axis", 0);
        assert_eq!(reals(&large.result(DType::F32, &[2])), [0.5, 0.5]);
    }

    #[test]
    fn log_softmax_is_the_logarithm_of_softmax() {
        let y = reals(&along("softmax.1", 1).result(DType::F32, &[2, 3]));
        let z = reals(&along("log_softmax.1", 1).result(DType::F32, &[2, 3]));
        assert!(y.iter().zip(&z).all(|(y, z)| (y.ln() - z).abs() < 1e-12));
    }

    #[test]
    fn the_first_of_equals_wins_unless_the_last_is_wanted() {
        assert_eq!(ints(&along("argmax.1", 1).result(DType::I64, &[2])), [1, 0]);
        assert_eq!(ints(&along("argmax.1", 1).flag("last").result(DType::I64, &[2, 1])), [1, 2]);
        assert_eq!(ints(&along("argmin.1", 0).result(DType::I64, &[3])), [0, 1, 0]);
        assert_eq!(reals(&along("hardmax.1", 1).result(DType::F32, &[2, 3])), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn sums_run_either_way() {
        let run = |case: Case| reals(&case.result(DType::F32, &[2, 3]));
        assert_eq!(run(along("cumsum.1", 1)), [1.0, 4.0, 6.0, 3.0, 3.0, 6.0]);
        assert_eq!(run(along("cumsum.1", 1).flag("reverse")), [6.0, 5.0, 2.0, 6.0, 3.0, 3.0]);
        assert_eq!(run(along("cumsum.1", 1).flag("exclusive")), [0.0, 1.0, 4.0, 0.0, 3.0, 3.0]);
        assert_eq!(run(along("cumprod.1", 0)), [1.0, 3.0, 2.0, 3.0, 0.0, 6.0]);
    }

    #[test]
    fn the_first_elements_keep_the_order_of_equals() {
        let results: &[(DType, &[usize])] = &[(DType::F32, &[2, 2]), (DType::I64, &[2, 2])];
        let all = along("topk.1", 1).flag("largest").run_all(results).unwrap();
        assert_eq!(all, [Values::Real(vec![3.0, 2.0, 3.0, 3.0]), Values::Int(vec![1, 2, 0, 2])]);
        let all = along("topk.1", 1).run_all(results).unwrap();
        assert_eq!(all, [Values::Real(vec![1.0, 2.0, 0.0, 3.0]), Values::Int(vec![0, 2, 1, 0])]);
        let results: &[(DType, &[usize])] = &[(DType::F32, &[2, 4]), (DType::I64, &[2, 4])];
        assert!(along("topk.1", 1).run_all(results).is_err());
    }

    #[test]
    fn lines_that_are_not_there_are_faults() {
        assert!(along("softmax.1", 2).run(DType::F32, &[2, 3]).is_err());
        assert!(along("softmax.1", 0).param("until", 9).run(DType::F32, &[2, 3]).is_err());
        assert!(along("softmax.1", 1).run(DType::F32, &[2]).is_err());
        let huge = Case::new("softmax.1").real(&[1 << 40, 0, 1 << 20], &[]).param("axis", 1);
        assert_eq!(huge.result(DType::F32, &[0]), Values::Real(vec![]));
        let huge = Case::new("softmax.1").real(&[1 << 40, 0, 1 << 40], &[]).param("axis", 1);
        assert!(huge.run(DType::F32, &[0]).is_err());
        let empty = Case::new("argmax.1").real(&[2, 0], &[]).param("axis", 1);
        assert!(empty.run(DType::I64, &[2]).is_err());
    }
}
