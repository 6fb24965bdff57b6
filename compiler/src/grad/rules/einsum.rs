//! Sums of products in Einstein's notation.

use crate::grad::Grads;
use crate::ir::{Attr, NewNode, ValueId};
use crate::ops::einsum::Equation;

type Done = Result<(), String>;

/// The gradient of each operand is the sum of products of dy and the other operands, labelled as they were, with the
/// operand's labels as those of the result. A label that nothing else has gets ones along it; of a label that stands
/// twice, the second is tied to the first by an identity matrix.
pub fn einsum(cx: &mut Grads<'_>) -> Done {
    let count = cx.of().inputs.len();
    let ranks = (0..count).map(|i| cx.rank(cx.x(i)?)).collect::<Result<Vec<_>, _>>()?;
    let equation = Equation::parse(cx.of().str("equation").unwrap_or_default(), &ranks)?;
    (0..count).filter(|i| cx.wants(*i)).collect::<Vec<_>>().into_iter().try_for_each(|i| operand(cx, &equation, i))
}

fn operand(cx: &mut Grads<'_>, equation: &Equation, i: usize) -> Done {
    let (dy, x) = (cx.dy()?, cx.x(i)?);
    let shape = cx.shape(x)?;
    let (mut operands, mut terms) = (vec![dy], vec![equation.result.clone()]);
    for (other, term) in equation.terms.iter().enumerate().filter(|(other, _)| *other != i) {
        operands.push(cx.x(other)?);
        terms.push(term.clone());
    }
    let mut result = String::new();
    for (label, size) in equation.terms[i].chars().zip(&shape) {
        if result.contains(label) {
            let fresh = unused(equation, &result)?;
            operands.push(identity(cx, x, *size));
            terms.push([label, fresh].iter().collect());
            result.push(fresh);
        } else {
            if !terms.iter().any(|term| term.contains(label)) {
                operands.push(cx.numbers(x, &[*size], &vec![1.0; *size]));
                terms.push(label.to_string());
            }
            result.push(label);
        }
    }
    let spelled = letters(equation, &format!("{}->{result}", terms.join(",")), &result)?;
    let new = NewNode::new("Einsum", operands).attr("equation", Attr::text(&spelled));
    let d = cx.node(new);
    cx.set(i, d)
}

fn identity(cx: &mut Grads<'_>, like: ValueId, size: usize) -> ValueId {
    let data: Vec<f64> = (0..size * size).map(|i| f64::from(u8::from(i / size == i % size))).collect();
    cx.numbers(like, &[size, size], &data)
}

/// A letter that stands nowhere yet.
fn unused(equation: &Equation, others: &str) -> Result<char, String> {
    let taken = |c: char| equation.terms.iter().any(|t| t.contains(c)) || others.contains(c);
    ('A'..='Z').chain('a'..='z').find(|c| !taken(*c)).ok_or_else(|| "there are too many labels".into())
}

/// An equation with letters in the place of the digits that label the axes under an ellipsis.
fn letters(equation: &Equation, text: &str, used: &str) -> Result<String, String> {
    let (mut text, mut used) = (text.to_owned(), used.to_owned());
    for digit in '0'..='9' {
        if text.contains(digit) {
            let letter = unused(equation, &used)?;
            used.push(letter);
            text = text.replace(digit, &letter.to_string());
        }
    }
    Ok(text)
}
