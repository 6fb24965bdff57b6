use super::OptimiseError;
use crate::ir::Graph;
pub(super) fn run(_graph: &mut Graph) -> Result<(), OptimiseError> {
    Ok(())
}
