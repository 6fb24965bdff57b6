//! Shape arithmetic: the elements of short integer tensors, as sizes that may hold a symbol.

use std::cmp::Ordering;

use hanc_runtime::DType;

use crate::infer::Infer;
use crate::ir::Dim;

/// The elements of operand `i`, where it is a scalar or vector of known sizes; of a real type, too, where all are
/// integers.
pub(super) fn elements(cx: &Infer<'_>, i: usize) -> Option<Vec<Dim>> {
    if let Some(content) = cx.content(i) {
        return Some(content.to_vec());
    }
    let constant = cx.constant(i).filter(|c| c.shape.len() < 2 && c.len() <= 16)?;
    let integer = |x: f64| (x.fract() == 0.0 && x.abs() < 2f64.powi(53)).then_some(Dim::known(x as i64));
    constant.reals()?.into_iter().map(integer).collect()
}

/// Sets the elements of the result to `f` of the operands' elements, where all are known and `f` has a value.
pub(super) fn set<const N: usize>(cx: &mut Infer<'_>, f: impl Fn([&Dim; N]) -> Option<Dim>) {
    let content = map(cx, f);
    cx.set_content(0, content);
}

fn map<const N: usize>(cx: &Infer<'_>, f: impl Fn([&Dim; N]) -> Option<Dim>) -> Option<Vec<Dim>> {
    let operands: Vec<_> = (0..N).map(|i| elements(cx, i)).collect::<Option<_>>()?;
    let length = operands.iter().map(Vec::len).find(|n| *n != 1).unwrap_or(1);
    if operands.iter().any(|o| o.len() != 1 && o.len() != length) {
        return None;
    }
    let element = |at: usize| {
        let picked = std::array::from_fn(|n| &operands[n][if operands[n].len() == 1 { 0 } else { at }]);
        f(picked)
    };
    (0..length).map(element).collect()
}

/// The quotient: of integers towards zero, of reals where it is exact.
pub(super) fn quotient(a: &Dim, b: &Dim, real: bool) -> Option<Dim> {
    match (a.size(), b.size()) {
        (Some(a), Some(b)) if !real => a.checked_div(b).map(Dim::known),
        _ => a.div(b),
    }
}

/// The remainder of the divisor's sign (`fmod`: of the dividend's).
pub(super) fn remainder(a: &Dim, b: &Dim, fmod: bool) -> Option<Dim> {
    match (a.size(), b.size()?) {
        (_, 0) => None,
        (Some(a), b) => {
            let rest = a.checked_rem(b)?;
            let astray = !fmod && rest != 0 && (rest < 0) != (b < 0);
            Some(Dim::known(if astray { rest + b } else { rest }))
        }
        (None, b) => (a.factor().checked_rem(b)? == 0).then(|| Dim::known(0)),
    }
}

/// How two sizes compare, where that is the same for every value of their symbol (which is not negative).
pub(super) fn compare(a: &Dim, b: &Dim) -> Option<Ordering> {
    match (a.size(), b.size()) {
        _ if a == b => Some(Ordering::Equal),
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (None, Some(b)) if a.factor() > 0 && b < 0 => Some(Ordering::Greater),
        (Some(a), None) if b.factor() > 0 && a < 0 => Some(Ordering::Less),
        _ => None,
    }
}

/// A truth value.
pub(super) fn truth(value: bool) -> Dim {
    Dim::known(i64::from(value))
}

/// The power of known sizes.
pub(super) fn power(a: &Dim, b: &Dim) -> Option<Dim> {
    match b.size()? {
        1 => Some(a.clone()),
        exponent => a.size()?.checked_pow(u32::try_from(exponent).ok()?).map(Dim::known),
    }
}

/// The absolute value.
pub(super) fn absolute(a: &Dim) -> Option<Dim> {
    if a.factor() < 0 { Dim::known(0).sub(a) } else { Some(a.clone()) }
}

/// The value in another type, where it has one there that is as large.
pub(super) fn cast(a: &Dim, to: DType) -> Option<Dim> {
    match a.size() {
        Some(size) if to == DType::Bool => Some(truth(size != 0)),
        Some(size) if to.is_int() => (hanc_runtime::reference::decode::wrap(to, size) == size).then(|| a.clone()),
        None if to == DType::Bool => None,
        _ => Some(a.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_compare_where_every_value_agrees() {
        let n = Dim::symbol("N");
        assert_eq!(compare(&n, &n), Some(Ordering::Equal));
        assert_eq!(compare(&n, &Dim::known(-1)), Some(Ordering::Greater));
        assert_eq!(compare(&n, &Dim::known(1)), None);
        assert_eq!(compare(&n, &Dim::scaled(2, "N")), None);
    }

    #[test]
    fn division_is_exact_or_unknown() {
        let n = Dim::scaled(6, "N");
        assert_eq!(quotient(&n, &Dim::known(3), false), Some(Dim::scaled(2, "N")));
        assert_eq!(quotient(&n, &Dim::known(4), false), None);
        assert_eq!(quotient(&Dim::known(-7), &Dim::known(2), false), Some(Dim::known(-3)));
        assert_eq!(quotient(&Dim::known(7), &Dim::known(2), true), None);
        assert_eq!(quotient(&Dim::known(7), &Dim::known(0), false), None);
        assert_eq!(remainder(&n, &Dim::known(3), false), Some(Dim::known(0)));
        assert_eq!(remainder(&Dim::known(-7), &Dim::known(3), false), Some(Dim::known(2)));
        assert_eq!(remainder(&Dim::known(-7), &Dim::known(3), true), Some(Dim::known(-1)));
    }

    #[test]
    fn casts_keep_what_the_type_holds() {
        assert_eq!(cast(&Dim::known(300), DType::U8), None);
        assert_eq!(cast(&Dim::known(3), DType::Bool), Some(Dim::known(1)));
        assert_eq!(cast(&Dim::symbol("N"), DType::F32), Some(Dim::symbol("N")));
    }
}
