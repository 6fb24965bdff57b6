//! Sums of products in Einstein's notation.

use super::support::{ensure, result};
use crate::kernel::{Call, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[Kernel {
    name: "einsum.1",
    doc: "the sum of products that equation says, a character an axis: `bik,bkj->bij`; an axis of size 1 broadcasts, \
          a character that stands twice in an operand takes the diagonal",
    f64: einsum,
    f32: einsum,
    cpu: None,
}];

/// A label with its size and the step that it takes in each operand, then in the result.
struct Loop {
    label: char,
    size: usize,
    steps: Vec<usize>,
}

/// The loops over the result's axes but the last, over what is summed, and over the result's last axis.
fn loops(equation: &str, shapes: &[&[usize]]) -> Result<Vec<Loop>, Fault> {
    let (from, to) = equation.split_once("->").ok_or_else(|| Fault::new("the equation has no arrow"))?;
    let terms: Vec<&str> = from.split(',').chain([to]).collect();
    ensure(terms.len() == shapes.len(), || format!("{equation} is for {} operands", terms.len() - 1))?;
    ensure(to.chars().all(|c| c != ',' && from.contains(c)), || format!("{equation} labels its result anew"))?;
    let mut labels: Vec<char> = to.chars().collect();
    let last = labels.pop();
    let summed = from.chars().filter(|c| *c != ',');
    labels.extend(summed.filter(|c| !to.contains(*c)));
    labels.extend(last);
    let mut loops: Vec<Loop> = Vec::new();
    for label in labels {
        if !loops.iter().any(|known| known.label == label) {
            loops.push(Loop { label, size: 1, steps: vec![0; terms.len()] });
        }
    }
    for (at, (term, shape)) in terms.iter().zip(shapes).enumerate() {
        ensure(term.chars().count() == shape.len(), || format!("{term} does not label a shape of {shape:?}"))?;
        steps(&mut loops, at, term, shape)?;
    }
    ensure(result_fits(&loops, to, shapes), || format!("{equation} does not have a result of {:?}", shapes.last()))?;
    Ok(loops)
}

/// Enters the steps of one operand.
fn steps(loops: &mut [Loop], at: usize, term: &str, shape: &[usize]) -> Result<(), Fault> {
    let mut stride = 1;
    for (label, &size) in term.chars().rev().zip(shape.iter().rev()) {
        let own = loops.iter_mut().find(|known| known.label == label);
        let own = own.ok_or_else(|| Fault(format!("label {label} of the result is in no operand")))?;
        ensure(size == 1 || own.size == 1 || own.size == size, || {
            format!("label {label} is an axis of {size} and of {}", own.size)
        })?;
        own.size = if own.size == 1 { size } else { own.size };
        own.steps[at] += if size == 1 { 0 } else { stride };
        stride *= size;
    }
    Ok(())
}

/// Whether the result has each of its labels once and in full size.
fn result_fits(loops: &[Loop], to: &str, shapes: &[&[usize]]) -> bool {
    let Some(shape) = shapes.last() else { return false };
    to.chars().zip(*shape).all(|(label, size)| {
        let own = loops.iter().find(|known| known.label == label);
        own.is_some_and(|own| own.size == *size) && to.matches(label).count() == 1
    })
}

fn einsum<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let equation = call.params.str("equation").ok_or_else(|| Fault::new("the equation is missing"))?;
    let operands = (0..call.args.len()).map(|i| call.real(i)).collect::<Result<Vec<_>, _>>()?;
    let out = result(out, 0)?;
    let shapes: Vec<_> = operands.iter().map(|(_, shape)| *shape).chain([out.shape]).collect();
    let mut loops = loops(equation, &shapes)?;
    let data: Vec<_> = operands.iter().map(|(data, _)| *data).collect();
    let y = out.real()?;
    y.fill(R::ZERO);
    let inner = loops.pop().unwrap_or_else(|| Loop { label: ' ', size: 1, steps: vec![0; shapes.len()] });
    if loops.iter().all(|outer| outer.size > 0) {
        walk(&loops, shapes.len(), |at| row(&data, at, &inner, y));
    }
    Ok(())
}

/// Calls `f` with the offsets of all operands at every place of the loops, the last one turning fastest.
fn walk(loops: &[Loop], operands: usize, mut f: impl FnMut(&[usize])) {
    let (mut index, mut offsets) = (vec![0; loops.len()], vec![0; operands]);
    loop {
        f(&offsets);
        let mut turn = loops.len();
        loop {
            let Some(i) = turn.checked_sub(1) else { return };
            (turn, index[i]) = (i, index[i] + 1);
            offsets.iter_mut().zip(&loops[i].steps).for_each(|(offset, step)| *offset += step);
            if index[i] < loops[i].size {
                break;
            }
            offsets.iter_mut().zip(&loops[i].steps).for_each(|(offset, step)| *offset -= step * loops[i].size);
            index[i] = 0;
        }
    }
}

/// y += the product of all operands, along one axis.
fn row<R: Real>(data: &[&[R]], at: &[usize], inner: &Loop, y: &mut [R]) {
    let steps = &inner.steps;
    let to = at[data.len()];
    for j in 0..inner.size {
        let factors = data.iter().enumerate().map(|(i, data)| data[at[i] + j * steps[i]]);
        y[to + j * steps[data.len()]] += factors.fold(R::ONE, |product, x| product * x);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{close, noise, one, real, run};
    use crate::plan::Params;

    fn sum(equation: &str) -> Params {
        Params::new().with("equation", equation)
    }

    #[test]
    fn a_batched_product() {
        let (a, b) = (real(&[2, 3, 4], &noise(24, 1)), real(&[2, 4, 5], &noise(40, 2)));
        let wanted = one("matmul.1", &[a.clone(), b.clone()], Params::new(), &[2, 3, 5]);
        close(&one("einsum.1", &[a, b], sum("bik,bkj->bij"), &[2, 3, 5]), &wanted);
    }

    #[test]
    fn diagonals_traces_and_transposes() {
        let x = [real(&[2, 2], &[1., 2., 3., 4.])];
        close(&one("einsum.1", &x, sum("ii->i"), &[2]), &[1., 4.]);
        close(&one("einsum.1", &x, sum("ii->"), &[]), &[5.]);
        close(&one("einsum.1", &x, sum("ij->ji"), &[2, 2]), &[1., 3., 2., 4.]);
        close(&one("einsum.1", &x, sum("ij->j"), &[2]), &[4., 6.]);
    }

    #[test]
    fn three_operands_and_broadcasting() {
        let given = [real(&[2], &[1., 2.]), real(&[2, 1], &[3., 4.]), real(&[3], &[1., 10., 100.])];
        close(&one("einsum.1", &given, sum("i,ij,j->ij"), &[2, 3]), &[3., 30., 300., 8., 80., 800.]);
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        let given = [real(&[2], &[1., 2.]), real(&[3], &[3., 4., 5.])];
        assert!(run("einsum.1", &given, sum("i,i->"), &[&[]]).is_err());
        assert!(run("einsum.1", &given, sum("i,j->ik"), &[&[2, 3]]).is_err());
        assert!(run("einsum.1", &given, sum("i,j->i"), &[&[3]]).is_err());
        assert!(run("einsum.1", &given, sum("ij,j->i"), &[&[2]]).is_err());
        assert!(run("einsum.1", &given, sum("i,j"), &[&[2]]).is_err());
    }
}
