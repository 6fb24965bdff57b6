//! hanc's own operators: Householder reflections and Han layers.

use super::support::vector;
use crate::infer::{self, Infer};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, Op, Param, attr, one, opt};

/// The domain of hanc's own operators.
pub const DOMAIN: &str = "ai.hanc";

const XUB: &[Param] = &[one("X"), one("u"), opt("b")];
const AXIS: &[AttrSpec] = &[attr("axis", Int(Some(-1)))];

pub(super) static OPS: &[Op] = &[
    Op::new("Householder", Lower::Call(|cx| lower(cx, false))).domain(DOMAIN).inputs(XUB).attrs(AXIS).infer(infer),
    Op::new("Han", Lower::Call(|cx| lower(cx, true))).domain(DOMAIN).inputs(XUB).attrs(AXIS).infer(infer),
];

fn infer(cx: &mut Infer<'_>) -> Result<(), String> {
    if let Some(x) = cx.shape(0) {
        let width = &x[infer::axis(cx.int("axis").unwrap_or(-1), x.len())?];
        vector(cx, 1, "u", width)?;
        vector(cx, 2, "b", width)?;
    }
    infer::same(cx)
}

fn lower(cx: &Lowering<'_>, abs: bool) -> Result<Call, String> {
    let axis = infer::axis(cx.int("axis").unwrap_or(-1), cx.shape(0)?.len())?;
    Ok(Call::new("householder.1").with("axis", axis).with("abs", abs))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use super::DOMAIN;
    use crate::ir::Attr;

    #[test]
    fn the_axis_is_resolved_and_its_width_checked() {
        let han = || Case::new(DOMAIN, "Han", 1).operand("2 49 64").attr("axis", Attr::Int(-2));
        assert_eq!(han().operand("49").operand("49").lower().unwrap(), r#"householder.1 {"axis":1,"abs":true}"#);
        assert_eq!(han().operand("64").infer().unwrap_err(), "u has 64 elements, 49 are needed");
        let plain = Case::new(DOMAIN, "Householder", 1).operand("N 64").operand("64");
        assert_eq!(plain.infer().unwrap(), "f32[N, 64]");
    }
}
