//! A depthwise convolution between two layers along the channels in one operator.

use super::channels_last::{conv_window, parts};
use super::support::{activated_as, agree, like_result, unknown, vector};
use crate::infer::Infer;
use crate::ir::{Dim, Shape};
use crate::lower::{Call, Lower, Lowering};
use crate::op::{AttrKind::*, AttrSpec, HAN_DOMAIN, Op, Param, attr, one, opt};

/// X [N, .., C], depthwise kernel [K, 1, ..], projection [K, M], expansion [C, K], biases of the three, sum operand.
const OPERANDS: &[Param] = &[one("X"), one("D"), one("P"), opt("E"), opt("DB"), opt("PB"), opt("EB"), opt("Z")];
const ATTRS: &[AttrSpec] = &[
    attr("activation", Str(None)),
    attr("activation_params", Floats),
    attr("auto_pad", Str(Some("NOTSET"))),
    attr("depthwise_activation", Str(None)),
    attr("depthwise_activation_params", Floats),
    attr("dilations", Ints),
    attr("expand_activation", Str(None)),
    attr("expand_activation_params", Floats),
    attr("kernel_shape", Ints),
    attr("pads", Ints),
    attr("strides", Ints),
];

pub(super) static OPS: &[Op] = &[Op::new("Bottleneck", Lower::Call(lower))
    .no_grad("its layers become one only when the gradients are there")
    .domain(HAN_DOMAIN)
    .inputs(OPERANDS)
    .attrs(ATTRS)
    .infer(infer)];

fn infer(cx: &mut Infer<'_>) -> Result<(), String> {
    let (Some(x), Some(d), Some(p)) = (cx.shape(0), cx.shape(1), cx.shape(2)) else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    let (window, (n, spatial, c)) = (conv_window(cx.node(), x, d)?, parts(x)?);
    let [k, m] = &p[..] else { return Err(format!("P has to be a matrix, its shape is {p:?}")) };
    agree(&d[1], &Dim::known(1), |d, _| format!("D has {d} channels in a group, 1 is needed"))?;
    agree(&d[0], k, |d, k| format!("D has {d} channels, P takes {k}"))?;
    expansion(cx, c, k)?;
    [(4, "DB", k), (5, "PB", m), (6, "EB", k)].into_iter().try_for_each(|(i, name, n)| vector(cx, i, name, n))?;
    let outputs = match window {
        Some(window) => window.outputs(cx, spatial)?,
        None => unknown(cx, spatial.len()),
    };
    let shape: Shape = std::iter::once(n.clone()).chain(outputs).chain([m.clone()]).collect();
    like_result(cx, 7, "Z", &shape)?;
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

/// E takes the channels of X to those of D, which are the same where there is no E.
fn expansion(cx: &Infer<'_>, c: &Dim, k: &Dim) -> Result<(), String> {
    let (from, to) = match cx.shape(3).map(Vec::as_slice) {
        None if cx.has(3) => return Ok(()),
        None => return agree(c, k, |c, k| format!("X has {c} channels, D takes {k}")),
        Some([from, to]) => (from, to),
        Some(shape) => return Err(format!("E has to be a matrix, its shape is {shape:?}")),
    };
    agree(c, from, |c, from| format!("X has {c} channels, E takes {from}"))?;
    agree(to, k, |to, k| format!("E makes {to} channels, D takes {k}"))
}

fn lower(cx: &Lowering<'_>) -> Result<Call, String> {
    let (x, d) = (cx.shape(0)?, cx.shape(1)?);
    let window = conv_window(cx.node(), x, d)?.ok_or("the kernel's sizes have to be known")?;
    let call = window.call("bottleneck.1", parts(x)?.1)?;
    ["expand_activation", "depthwise_activation", "activation"]
        .into_iter()
        .try_fold(call, |call, key| activated_as(cx, call, key))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::Attr;
    use crate::op::HAN_DOMAIN;

    fn case(operands: &[&str]) -> Case {
        let case = Case::new(HAN_DOMAIN, "Bottleneck", 1).ints("strides", &[2, 2]).ints("pads", &[1; 4]);
        operands.iter().fold(case, |case, shape| case.operand(shape))
    }

    #[test]
    fn sizes_are_checked() {
        let all = ["N 9 8 4", "16 1 3 3", "16 6", "4 16", "16", "6", "16", "N 5 4 6"];
        assert_eq!(case(&all).infer().unwrap(), "f32[N, 5, 4, 6]");
        assert_eq!(case(&["N 9 8 16", "16 1 3 3", "16 6"]).infer().unwrap(), "f32[N, 5, 4, 6]");
        let wrong = |i: usize, shape: &'static str| {
            let mut operands = all;
            operands[i] = shape;
            case(&operands).infer().unwrap_err()
        };
        assert_eq!(wrong(0, "N 9 8 5"), "X has 5 channels, E takes 4");
        assert_eq!(wrong(1, "16 2 3 3"), "D has 2 channels in a group, 1 is needed");
        assert_eq!(wrong(2, "15 6"), "D has 16 channels, P takes 15");
        assert_eq!(wrong(3, "4 15"), "E makes 15 channels, D takes 16");
        assert_eq!(wrong(3, "-"), "X has 4 channels, D takes 16");
        assert_eq!(wrong(5, "7"), "PB has 7 elements, 6 are needed");
        assert!(wrong(7, "N 5 5 6").contains("not like the result"));
    }

    #[test]
    fn window_and_activations_are_parameters() {
        let case = case(&["1 9 8 4", "16 1 3 3", "16 6", "4 16"]).attr("expand_activation", Attr::text("silu"));
        let case = case.attr("depthwise_activation", Attr::text("leaky_relu"));
        let call = case.attr("depthwise_activation_params", Attr::Floats(vec![0.5])).lower().unwrap();
        let window = r#"bottleneck.1 {"strides":[2,2],"dilations":[1,1],"pads":[1,1,1,1],"#;
        let activations =
            r#""expand_activation":"silu","depthwise_activation":"leaky_relu","depthwise_activation_params":[0.5]}"#;
        assert_eq!(call, format!("{window}{activations}"));
    }
}
