//! Comparisons of reals, and choices by their results; operands are stretched to the shape of the result.

use super::broadcast::Walk;
use super::elementwise::shares;
use super::{Cpu, Frame, Job, Memory, Reuse, Site};
use crate::kernel::Fault;

/// y = 1 where `holds(a, b)`, else 0.
fn compare(site: &Site<'_>, holds: impl Fn(f32, f32) -> bool + Copy + Send + Sync + 'static) -> Bound {
    let (a, b, y) = (site.arg(0)?, site.arg(1)?, site.out(0)?);
    if ![a, b].iter().all(|spec| spec.dtype.is_real()) || !y.dtype.is_int() {
        return Ok(None);
    }
    let Some(walk) = Walk::new(y.shape, [a.shape, b.shape])? else { return Ok(None) };
    let len = y.len();
    Ok(Some(Job::new(move |frame| {
        let [a, b, y] = [frame.args[0], frame.args[1], frame.outs[0]];
        each(frame, &walk, len, |[p, q], i| {
            // SAFETY: the walk stays inside of operands whose shapes it was made for.
            #[allow(unsafe_code)]
            unsafe {
                *y.element::<i64>(i) = i64::from(holds(*a.element(p), *b.element(q)));
            }
        });
        Ok(())
    })))
}

type Bound = Result<Option<Job>, Fault>;

/// Calls `f` with the operands' and the result's offset of every element, on all threads.
fn each<const N: usize>(frame: &Frame<'_>, walk: &Walk<N>, len: usize, f: impl Fn([usize; N], usize) + Sync) {
    let steps = walk.inner().steps;
    shares(frame, len, 1, |range| {
        let mut to = range.start;
        walk.each(range.start, range.len(), |from, count| {
            (0..count).for_each(|i| f(std::array::from_fn(|n| from[n] + i * steps[n]), to + i));
            to += count;
        });
    });
}

/// y = a where c is not 0, else b.
fn choose(site: &Site<'_>) -> Bound {
    let (c, a, b, y) = (site.arg(0)?, site.arg(1)?, site.arg(2)?, site.out(0)?);
    let all = |test: fn(crate::dtype::DType) -> bool| [a, b, y].iter().all(|spec| test(spec.dtype));
    let (real, int) = (all(|dtype| dtype.is_real()), all(|dtype| dtype.is_int()));
    if !c.dtype.is_int() || !(real || int) {
        return Ok(None);
    }
    let Some(walk) = Walk::new(y.shape, [c.shape, a.shape, b.shape])? else { return Ok(None) };
    let len = y.len();
    Ok(Some(Job::new(move |frame| {
        let memories = [frame.args[0], frame.args[1], frame.args[2], frame.outs[0]];
        match real {
            true => pick::<f32>(frame, &walk, len, memories),
            false => pick::<i64>(frame, &walk, len, memories),
        }
        Ok(())
    })))
}

fn pick<T: Copy>(frame: &Frame<'_>, walk: &Walk<3>, len: usize, [c, a, b, y]: [Memory; 4]) {
    each(frame, walk, len, |[p, q, r], i| {
        // SAFETY: the walk stays inside of operands whose shapes it was made for; an operand that has the memory of the
        // result is not stretched, so that every element is read before it is written.
        #[allow(unsafe_code)]
        unsafe {
            *y.element::<T>(i) = if *c.element::<i64>(p) != 0 { *a.element(q) } else { *b.element(r) };
        }
    });
}

/// CPU bodies of comparisons.
macro_rules! comparisons {
    ($($name:ident = |$a:ident, $b:ident| $holds:expr;)*) => {$(
        #[doc = concat!("y = 1 where `", stringify!($holds), "`, else 0.")]
        pub(crate) static $name: Cpu = Cpu { bind: |site| compare(site, |$a, $b| $holds), reuse: Reuse::Nothing };
    )*};
}

comparisons! {
    EQUAL = |a, b| a == b;
    GREATER = |a, b| a > b;
    GREATER_EQUAL = |a, b| a >= b;
    LESS = |a, b| a < b;
    LESS_EQUAL = |a, b| a <= b;
}

/// y = a where c is not 0, else b.
pub(crate) static WHERE: Cpu = Cpu { bind: choose, reuse: Reuse::Memory(&[1, 2]) };

#[cfg(test)]
mod tests {
    use super::super::testkit::Trial;
    use crate::dtype::DType;

    const COMPARISONS: [&str; 5] = ["equal.1", "greater.1", "greater_equal.1", "less.1", "less_equal.1"];

    #[test]
    fn reals_are_compared() {
        let (a, b) = ([1.0, 2.0, f32::NAN, -0.0, f32::INFINITY], [1.0, 1.0, 1.0, 0.0, f32::NEG_INFINITY]);
        for kernel in COMPARISONS {
            Trial::new(kernel).real(&[5], &a).real(&[5], &b).result_of(DType::Bool, &[5]).exactly();
            let stretched = Trial::new(kernel).noise(&[3, 1, 37], 1).noise(&[5, 1], 2);
            stretched.result_of(DType::Bool, &[3, 5, 37]).exactly();
            Trial::new(kernel).noise(&[20_011, 2], 1).noise(&[], 2).result_of(DType::Bool, &[20_011, 2]).exactly();
        }
    }

    #[test]
    fn integers_are_compared_by_their_definition() {
        let trial = Trial::new("less.1").int(DType::I64, &[2], &[1, 2]).int(DType::I64, &[2], &[2, 1]);
        trial.result_of(DType::Bool, &[2]).left_to_reference();
    }

    #[test]
    fn choices_stretch_in_every_way() {
        let bits: Vec<i64> = (0..40_007).map(|i| i64::from(i % 3 == 0)).collect();
        let choice = |shape: &[usize]| Trial::new("where.1").int(DType::Bool, shape, &bits[..shape.iter().product()]);
        choice(&[40_007]).noise(&[40_007], 1).noise(&[40_007], 2).result(&[40_007]).exactly();
        choice(&[3, 5, 1]).noise(&[5, 7], 1).noise(&[], 2).result(&[3, 5, 7]).exactly();
        choice(&[]).noise(&[2, 3], 1).noise(&[3], 2).result(&[2, 3]).exactly();
        let whole = choice(&[3]).int(DType::I64, &[3], &[4, 5, 6]).int(DType::I64, &[1], &[i64::MIN]);
        whole.result_of(DType::I64, &[3]).exactly();
    }

    #[test]
    fn what_does_not_fit() {
        Trial::new("where.1").int(DType::Bool, &[2], &[1, 0]).noise(&[3], 1).noise(&[3], 2).result(&[3]).refused();
        Trial::new("less.1").noise(&[2], 1).noise(&[3], 2).result_of(DType::Bool, &[3]).refused();
    }
}
