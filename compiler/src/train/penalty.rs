//! A term of the loss that depends on the parameters alone.

use globset::GlobSet;

use super::network::Parameter;
use crate::grad::Build;
use crate::ir::ValueId;

/// Keeps matrices near orthogonal ones: the sum of ‖WᵀW − I‖² (‖WWᵀ − I‖² of matrices with fewer rows than columns).
#[derive(Clone, Debug)]
pub struct Orthogonality {
    /// What the sum is multiplied by.
    pub weight: f64,
    /// Names of the parameters; those that are no matrices do not count.
    pub parameters: GlobSet,
}

impl Orthogonality {
    /// Adds it to a loss.
    pub fn add(&self, build: &mut Build<'_>, parameters: &[Parameter], loss: ValueId) -> Result<ValueId, String> {
        let chosen = parameters.iter().filter(|parameter| self.parameters.is_match(&parameter.name));
        let terms: Vec<ValueId> = chosen.filter_map(|parameter| gap(build, parameter)).collect();
        let Some(sum) = terms.into_iter().reduce(|sum, term| build.add(sum, term)) else { return Ok(loss) };
        let term = build.times(sum, self.weight);
        let loss = build.add(loss, term);
        build.finish()?;
        Ok(loss)
    }
}

/// ‖G − I‖² of the smaller Gram matrix G.
fn gap(build: &mut Build<'_>, parameter: &Parameter) -> Option<ValueId> {
    let &[rows, columns] = &parameter.initial.shape[..] else { return None };
    let (w, side) = (parameter.value, rows.min(columns));
    let turned = build.swap_last(w);
    let gram = build.op("MatMul", &if rows < columns { [w, turned] } else { [turned, w] });
    let identity: Vec<f64> = (0..side * side).map(|at| if at % (side + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let identity = build.numbers(w, &[side, side], &identity);
    let gap = build.sub(gram, identity);
    let square = build.square(gap);
    Some(build.sum(square, &[0, 1], false))
}
