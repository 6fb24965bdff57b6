//! Sizes that may depend on one symbol, and the arithmetic that exporters do on them.

use std::fmt;
use std::sync::Arc;

/// A size, or a size times one symbol (a free batch). As an element of shape arithmetic it may be negative.
///
/// What this cannot say (a sum of two symbols, a rounded quotient) becomes a fresh symbol, so that equal dimensions
/// stay recognisably equal and unequal ones are never mixed up.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim {
    factor: i64,
    symbol: Option<Arc<str>>,
}

/// Sizes, outermost first.
pub type Shape = Vec<Dim>;

impl Dim {
    /// A known size.
    pub fn known(size: i64) -> Dim {
        Dim { factor: size, symbol: None }
    }

    /// One symbol.
    pub fn symbol(name: &str) -> Dim {
        Dim { factor: 1, symbol: Some(name.into()) }
    }

    /// `factor` times the symbol `name`; zero times anything is zero.
    pub fn scaled(factor: i64, name: &str) -> Dim {
        Dim { factor, symbol: (factor != 0).then(|| name.into()) }
    }

    /// The size, where no symbol is in it.
    pub fn size(&self) -> Option<i64> {
        self.symbol.is_none().then_some(self.factor)
    }

    /// The factor.
    pub fn factor(&self) -> i64 {
        self.factor
    }

    /// The symbol's name.
    pub fn name(&self) -> Option<&str> {
        self.symbol.as_deref()
    }

    /// The product; `None` where it overflows or would hold two symbols.
    pub fn mul(&self, other: &Dim) -> Option<Dim> {
        let factor = self.factor.checked_mul(other.factor)?;
        if factor == 0 {
            return Some(Dim::known(0));
        }
        match (&self.symbol, &other.symbol) {
            (Some(_), Some(_)) => None,
            (symbol, None) | (None, symbol) => Some(Dim { factor, symbol: symbol.clone() }),
        }
    }

    /// The quotient, where it is exact for every value of the symbol.
    pub fn div(&self, other: &Dim) -> Option<Dim> {
        if other.factor == 0 || self.factor.checked_rem(other.factor)? != 0 {
            return None;
        }
        let factor = self.factor.checked_div(other.factor)?;
        match (&self.symbol, &other.symbol) {
            (symbol, None) => Some(Dim { factor, symbol: symbol.clone().filter(|_| factor != 0) }),
            (Some(a), Some(b)) if a == b => Some(Dim::known(factor)),
            _ => None,
        }
    }

    /// The sum; `None` where it overflows or the symbols differ.
    pub fn add(&self, other: &Dim) -> Option<Dim> {
        if self.factor == 0 {
            return Some(other.clone());
        }
        if other.factor == 0 {
            return Some(self.clone());
        }
        if self.symbol != other.symbol {
            return None;
        }
        let factor = self.factor.checked_add(other.factor)?;
        Some(Dim { factor, symbol: self.symbol.clone().filter(|_| factor != 0) })
    }

    /// The difference; `None` where it overflows or the symbols differ.
    pub fn sub(&self, other: &Dim) -> Option<Dim> {
        self.add(&Dim { factor: other.factor.checked_neg()?, symbol: other.symbol.clone() })
    }

    /// The value once the symbol is bound.
    pub fn bind(&self, value: impl Fn(&str) -> Option<i64>) -> Option<i64> {
        match &self.symbol {
            None => Some(self.factor),
            Some(name) => self.factor.checked_mul(value(name)?),
        }
    }

    /// Reads what [`Display`](fmt::Display) writes: `64`, `N`, `49*N`.
    pub fn parse(text: &str) -> Option<Dim> {
        match text.split_once('*') {
            Some((factor, name)) if is_symbol(name) => Some(Dim::scaled(factor.parse().ok()?, name)),
            Some(_) => None,
            None if is_symbol(text) => Some(Dim::symbol(text)),
            None => text.parse().ok().map(Dim::known),
        }
    }
}

/// Whether a text can name a symbol: a letter, `_` or `?` followed by letters, digits, `_`, `.`.
pub fn is_symbol(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_' || c == '?')
        && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '.')
}

/// The product of sizes; `None` where it overflows or would hold two symbols.
pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Option<Dim> {
    dims.into_iter().try_fold(Dim::known(1), |product, dim| product.mul(dim))
}

/// The product of `over` divided by the product of `by`, where it can be expressed; symbols on both sides cancel.
pub fn quotient(over: &[Dim], by: &[Dim]) -> Option<Dim> {
    let mut symbols: Vec<&str> = over.iter().filter_map(Dim::name).collect();
    for name in by.iter().filter_map(Dim::name) {
        symbols.swap_remove(symbols.iter().position(|s| *s == name)?);
    }
    let factor = |dims: &[Dim]| dims.iter().try_fold(1i64, |n, dim| n.checked_mul(dim.factor));
    let quotient = Dim::known(factor(over)?).div(&Dim::known(factor(by)?))?;
    match symbols[..] {
        [] => Some(quotient),
        [name] => Some(Dim::scaled(quotient.factor, name)),
        _ => None,
    }
}

/// The sizes, where no symbol is in them and none is negative.
pub fn sizes(shape: &[Dim]) -> Option<Vec<usize>> {
    shape.iter().map(|dim| dim.size().and_then(|n| usize::try_from(n).ok())).collect()
}

impl From<usize> for Dim {
    /// A size past `i64` saturates: no tensor has it, every later check refuses it.
    fn from(size: usize) -> Dim {
        Dim::known(i64::try_from(size).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.symbol, self.factor) {
            (None, factor) => write!(f, "{factor}"),
            (Some(name), 1) => write!(f, "{name}"),
            (Some(name), factor) => write!(f, "{factor}*{name}"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_keeps_one_symbol() {
        let n = Dim::symbol("N");
        let tokens = n.mul(&Dim::known(49)).unwrap();
        assert_eq!(tokens.to_string(), "49*N");
        assert_eq!(tokens.div(&n), Some(Dim::known(49)));
        assert_eq!(tokens.div(&Dim::known(7)), Dim::parse("7*N"));
        assert_eq!(tokens.div(&Dim::known(5)), None);
        assert_eq!(tokens.mul(&n), None);
        assert_eq!(tokens.sub(&tokens), Some(Dim::known(0)));
        assert_eq!(n.add(&Dim::known(1)), None);
        assert_eq!(Dim::known(i64::MAX).mul(&Dim::known(2)), None);
    }

    #[test]
    fn quotients_cancel_symbols() {
        let dims = |text: &str| text.split(' ').map(|d| Dim::parse(d).unwrap()).collect::<Vec<_>>();
        assert_eq!(quotient(&dims("N 49 64"), &dims("N 8")), Some(Dim::known(392)));
        assert_eq!(quotient(&dims("N S 64"), &dims("N 8")), Dim::parse("8*S"));
        assert_eq!(quotient(&dims("N S 64"), &dims("8")), None);
        assert_eq!(quotient(&dims("N 49"), &dims("M 49")), None);
        assert_eq!(quotient(&dims("N 49"), &dims("N 0")), None);
    }

    #[test]
    fn what_prints_parses() {
        for dim in [Dim::known(-1), Dim::known(64), Dim::symbol("batch"), Dim::scaled(49, "?3")] {
            assert_eq!(Dim::parse(&dim.to_string()), Some(dim));
        }
    }
}
