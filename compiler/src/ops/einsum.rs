//! Sums of products in Einstein's notation.

use super::support::{agree, one_type, text};
use crate::grad::rules::einsum as grad;
use crate::infer::Infer;
use crate::ir::{Dim, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, Op, attr, many, one};

pub(super) static OPS: &[Op] = &[Op::new("Einsum", Lower::Call(lower))
    .grad(grad::einsum)
    .since(&[12, 28])
    .inputs(&[many("Inputs")])
    .outputs(&[one("Output")])
    .attrs(&[attr("equation", Str(None))])
    .infer(infer)];

/// An equation without ellipsis: a label an axis for each operand and for the result.
#[derive(Debug, PartialEq)]
pub(crate) struct Equation {
    /// Of each operand.
    pub terms: Vec<String>,
    /// Of the result.
    pub result: String,
}

/// Labels of the axes under an ellipsis, the last one first.
const HIDDEN: &str = "0123456789";

impl Equation {
    /// Reads the equation for operands of these ranks.
    pub fn parse(equation: &str, ranks: &[usize]) -> Result<Equation, String> {
        let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (from, to) = match equation.split_once("->") {
            Some((from, to)) => (from, Some(to)),
            None => (equation.as_str(), None),
        };
        let terms: Vec<&str> = from.split(',').collect();
        if terms.len() != ranks.len() {
            return Err(format!("equation {equation} is for {} operands, {} are given", terms.len(), ranks.len()));
        }
        let terms = terms.iter().zip(ranks).map(|(term, rank)| spell(term, Some(*rank), "").map(|(term, _)| term));
        let terms = terms.collect::<Result<Vec<_>, _>>()?;
        let widest = terms.iter().map(|term| hidden(term)).max_by_key(|hidden| hidden.len()).unwrap_or_default();
        let result = match to {
            Some(to) => spell(to, None, &widest)?.0,
            None => implicit(&terms, &widest),
        };
        match result.chars().find(|c| result.matches(*c).count() > 1 || !terms.iter().any(|term| term.contains(*c))) {
            Some(label) => Err(format!("label {label} of the result of {equation} is not one of an operand's, once")),
            None => Ok(Equation { terms, result }),
        }
    }

    /// The size of each label.
    fn sizes(&self, shapes: &[&Shape]) -> Result<Vec<(char, Dim)>, String> {
        let mut sizes: Vec<(char, Dim)> = Vec::new();
        let labelled = self.terms.iter().zip(shapes).flat_map(|(term, shape)| term.chars().zip(shape.iter()));
        for (label, dim) in labelled {
            match sizes.iter_mut().find(|known| known.0 == label) {
                None => sizes.push((label, dim.clone())),
                Some((_, known)) if known.size() == Some(1) => *known = dim.clone(),
                Some(_) if dim.size() == Some(1) => {}
                Some((_, known)) => {
                    agree(known, dim, |a, b| format!("label {label} is an axis of {a} and of {b}"))?;
                    *known = if known.size().is_none() { dim.clone() } else { known.clone() };
                }
            }
        }
        Ok(sizes)
    }
}

/// A term with its ellipsis replaced by labels: as many as the rank leaves, or these.
fn spell(term: &str, rank: Option<usize>, widest: &str) -> Result<(String, usize), String> {
    let (head, tail) = term.split_once("...").unwrap_or((term, ""));
    let letters = head.len() + tail.len();
    if let Some(other) = head.chars().chain(tail.chars()).find(|c| !c.is_ascii_alphabetic()) {
        return Err(format!("{other} in {term} labels no axis"));
    }
    let dots = term.contains("...");
    let wrong = || format!("{term} does not label an operand of rank {}", rank.unwrap_or(0));
    let count = match rank {
        None => widest.len(),
        Some(rank) if dots => rank.checked_sub(letters).filter(|n| *n <= HIDDEN.len()).ok_or_else(wrong)?,
        Some(rank) if rank == letters => 0,
        Some(_) => return Err(wrong()),
    };
    let dots: String = if dots { HIDDEN[..count].chars().rev().collect() } else { String::new() };
    Ok((format!("{head}{dots}{tail}"), count))
}

fn hidden(term: &str) -> String {
    term.chars().filter(char::is_ascii_digit).collect()
}

/// The result where the equation names none: the ellipsis, then every label that stands once, in alphabetical order.
fn implicit(terms: &[String], widest: &str) -> String {
    let all: String = terms.concat();
    let mut once: Vec<char> = all.chars().filter(|c| c.is_ascii_alphabetic() && all.matches(*c).count() == 1).collect();
    once.sort_unstable();
    widest.chars().chain(once).collect()
}

fn infer(cx: &mut Infer<'_>) -> Result<(), String> {
    let count = cx.node().inputs.len();
    one_type(cx, 0..count)?;
    let shapes: Option<Vec<&Shape>> = (0..count).map(|i| cx.shape(i)).collect();
    let Some(shapes) = shapes else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    let ranks: Vec<_> = shapes.iter().map(|shape| shape.len()).collect();
    let equation = Equation::parse(cx.str("equation").ok_or("the equation is missing")?, &ranks)?;
    let sizes = equation.sizes(&shapes)?;
    let size = |label: char| sizes.iter().find(|known| known.0 == label).map(|known| known.1.clone());
    cx.set(0, cx.dtype(0), equation.result.chars().map(size).collect());
    Ok(())
}

fn lower(cx: &Lowering<'_>) -> Result<Call, String> {
    let ranks = (0..cx.node().inputs.len()).map(|i| cx.shape(i).map(Vec::len)).collect::<Result<Vec<_>, _>>()?;
    let Equation { terms, result } = Equation::parse(text(cx.node(), "equation", ""), &ranks)?;
    Ok(Call::new("einsum.1").with("equation", format!("{}->{result}", terms.join(","))))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use super::*;

    fn parse(equation: &str, ranks: &[usize]) -> Result<String, String> {
        Equation::parse(equation, ranks).map(|e| format!("{}->{}", e.terms.join(","), e.result))
    }

    #[test]
    fn ellipses_and_implicit_results_are_spelled_out() {
        assert_eq!(parse("bik, bkj -> bij", &[3, 3]).unwrap(), "bik,bkj->bij");
        assert_eq!(parse("...ik,...kj", &[4, 3]).unwrap(), "10ik,0kj->10ij");
        assert_eq!(parse("ba", &[2]).unwrap(), "ba->ab");
        assert_eq!(parse("ii", &[2]).unwrap(), "ii->");
        assert_eq!(parse("...i->...", &[3]).unwrap(), "10i->10");
        assert_eq!(parse("...ii->...i", &[3]).unwrap(), "0ii->0i");
    }

    #[test]
    fn equations_that_do_not_fit() {
        assert!(parse("ij,jk->ik", &[2]).unwrap_err().contains("2 operands"));
        assert!(parse("ij->i", &[3]).is_err());
        assert!(parse("ij->k", &[2]).is_err());
        assert!(parse("ij->ii", &[2]).is_err());
        assert!(parse("i#->i", &[2]).is_err());
        assert!(parse("i......->i", &[2]).is_err());
        assert!(parse("é...", &[2]).is_err());
    }

    #[test]
    fn sizes_follow_the_labels() {
        let case = |a: &str, b: &str| {
            let case = Case::new("", "Einsum", 12).attr("equation", crate::ir::Attr::text("bnc,nm->bmc"));
            case.operand(a).operand(b).infer()
        };
        assert_eq!(case("N 49 64", "49 32").unwrap(), "f32[N, 32, 64]");
        assert_eq!(case("N 48 64", "49 32").unwrap_err(), "label n is an axis of 48 and of 49");
    }
}
