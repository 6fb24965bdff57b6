//! Functions of one operand, element by element: dx = dy · f'(x).

use crate::grad::Grads;
use crate::ir::{Attr, NewNode, ValueId};
use crate::op::HAN_DOMAIN;

type Done = Result<(), String>;

/// The gradient of the result is that of the operand.
pub fn identity(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    cx.set(0, dy)
}

/// −dy.
pub fn neg(cx: &mut Grads<'_>) -> Done {
    let dy = cx.dy()?;
    let dx = cx.neg(dy);
    cx.set(0, dx)
}

/// dy · sign(x) with sign(0) = 1, so that the Jacobian of a Han layer is orthogonal everywhere.
pub fn abs(cx: &mut Grads<'_>) -> Done {
    activation(cx, "abs", &[])
}

/// dy / (2 √x).
pub fn sqrt(cx: &mut Grads<'_>) -> Done {
    let y = cx.y(0)?;
    let twice = cx.times(y, 2.0);
    let d = cx.reciprocal(twice);
    cx.chain(d)
}

/// −dy / x².
pub fn reciprocal(cx: &mut Grads<'_>) -> Done {
    let y = cx.y(0)?;
    let square = cx.square(y);
    let d = cx.neg(square);
    cx.chain(d)
}

/// dy · eˣ.
pub fn exp(cx: &mut Grads<'_>) -> Done {
    let y = cx.y(0)?;
    cx.chain(y)
}

/// dy / x.
pub fn log(cx: &mut Grads<'_>) -> Done {
    let x = cx.x(0)?;
    let d = cx.reciprocal(x);
    cx.chain(d)
}

/// dy · 2/√π e^(−x²).
pub fn erf(cx: &mut Grads<'_>) -> Done {
    let x = cx.x(0)?;
    let square = cx.square(x);
    let minus = cx.neg(square);
    let bell = cx.op("Exp", &[minus]);
    let d = cx.times(bell, std::f64::consts::FRAC_2_SQRT_PI);
    cx.chain(d)
}

/// dy times another function of the operand.
fn by(cx: &mut Grads<'_>, name: &str, sign: f64) -> Done {
    let x = cx.x(0)?;
    let d = cx.op(name, &[x]);
    let d = if sign < 0.0 { cx.neg(d) } else { d };
    cx.chain(d)
}

/// dy · cos x.
pub fn sin(cx: &mut Grads<'_>) -> Done {
    by(cx, "Cos", 1.0)
}

/// −dy · sin x.
pub fn cos(cx: &mut Grads<'_>) -> Done {
    by(cx, "Sin", -1.0)
}

/// dy · cosh x.
pub fn sinh(cx: &mut Grads<'_>) -> Done {
    by(cx, "Cosh", 1.0)
}

/// dy · sinh x.
pub fn cosh(cx: &mut Grads<'_>) -> Done {
    by(cx, "Sinh", 1.0)
}

/// dy · (1 + tan² x).
pub fn tan(cx: &mut Grads<'_>) -> Done {
    let y = cx.y(0)?;
    let square = cx.square(y);
    let d = cx.plus(square, 1.0);
    cx.chain(d)
}

/// dy / √(1 − x²), negative for the arc cosine.
fn arc(cx: &mut Grads<'_>, sign: f64) -> Done {
    let x = cx.x(0)?;
    let square = cx.square(x);
    let rest = cx.minus_from(1.0, square);
    over_root(cx, rest, sign)
}

fn over_root(cx: &mut Grads<'_>, square: ValueId, sign: f64) -> Done {
    let root = cx.op("Sqrt", &[square]);
    let d = cx.reciprocal(root);
    let d = if sign < 0.0 { cx.neg(d) } else { d };
    cx.chain(d)
}

/// dy / √(1 − x²).
pub fn asin(cx: &mut Grads<'_>) -> Done {
    arc(cx, 1.0)
}

/// −dy / √(1 − x²).
pub fn acos(cx: &mut Grads<'_>) -> Done {
    arc(cx, -1.0)
}

/// dy / (1 + x²).
pub fn atan(cx: &mut Grads<'_>) -> Done {
    let x = cx.x(0)?;
    let square = cx.square(x);
    let one = cx.plus(square, 1.0);
    let d = cx.reciprocal(one);
    cx.chain(d)
}

/// dy / √(x² + 1).
pub fn asinh(cx: &mut Grads<'_>) -> Done {
    let x = cx.x(0)?;
    let square = cx.square(x);
    let one = cx.plus(square, 1.0);
    over_root(cx, one, 1.0)
}

/// dy / √(x² − 1).
pub fn acosh(cx: &mut Grads<'_>) -> Done {
    let x = cx.x(0)?;
    let square = cx.square(x);
    let one = cx.plus(square, -1.0);
    over_root(cx, one, 1.0)
}

/// dy / (1 − x²).
pub fn atanh(cx: &mut Grads<'_>) -> Done {
    let x = cx.x(0)?;
    let square = cx.square(x);
    let rest = cx.minus_from(1.0, square);
    let d = cx.reciprocal(rest);
    cx.chain(d)
}

/// dy · f'(x) of an activation of the runtime's list with these parameters.
pub fn activation(cx: &mut Grads<'_>, name: &str, params: &[f64]) -> Done {
    let (x, dy) = (cx.x(0)?, cx.dy()?);
    let dx = activation_gradient(cx, x, dy, name, params);
    cx.set(0, dx)
}

/// The node that computes dy · f'(x).
pub fn activation_gradient(cx: &mut Grads<'_>, x: ValueId, dy: ValueId, name: &str, params: &[f64]) -> ValueId {
    let new = NewNode::new("ActivationGradient", [x, dy]).domain(HAN_DOMAIN).attr("activation", Attr::text(name));
    let floats = params.iter().map(|x| *x as f32).collect::<Vec<_>>();
    let new = if floats.is_empty() { new } else { new.attr("activation_params", Attr::Floats(floats)) };
    cx.node(new)
}

/// The rule of an activation without attributes.
macro_rules! plain {
    ($($rule:ident: $name:literal),*) => {
        $(#[doc = concat!("dy · f'(x), f the activation `", $name, "`.")]
        pub fn $rule(cx: &mut Grads<'_>) -> Done {
            activation(cx, $name, &[])
        })*
    };
}

plain!(relu: "relu", sigmoid: "sigmoid", tanh: "tanh", softplus: "softplus", softsign: "softsign",
    hard_swish: "hard_swish", mish: "mish");

/// The rule of an activation whose parameters are these attributes.
macro_rules! with_attributes {
    ($($rule:ident: $name:literal [$($attribute:literal),*]),*) => {
        $(#[doc = concat!("dy · f'(x), f the activation `", $name, "` with the node's parameters.")]
        pub fn $rule(cx: &mut Grads<'_>) -> Done {
            let params = [$(cx.float($attribute).unwrap_or_default()),*];
            activation(cx, $name, &params)
        })*
    };
}

with_attributes!(leaky_relu: "leaky_relu" ["alpha"], elu: "elu" ["alpha"], thresholded_relu: "thresholded_relu" ["alpha"],
    swish: "quick_gelu" ["alpha"], selu: "selu" ["alpha", "gamma"], hard_sigmoid: "hard_sigmoid" ["alpha", "beta"]);

/// dy · f'(x) of either GELU.
pub fn gelu(cx: &mut Grads<'_>) -> Done {
    let tanh = cx.of().str("approximate") == Some("tanh");
    activation(cx, if tanh { "gelu_tanh" } else { "gelu" }, &[])
}

/// dy · f'(x + b) of the GELU, to the operand and, if there is one, the bias.
pub fn bias_gelu(cx: &mut Grads<'_>) -> Done {
    behind_bias(cx, "gelu")
}

/// The same of the GELU by tanh.
pub fn bias_gelu_tanh(cx: &mut Grads<'_>) -> Done {
    behind_bias(cx, "gelu_tanh")
}

fn behind_bias(cx: &mut Grads<'_>, name: &str) -> Done {
    let (mut x, dy) = (cx.x(0)?, cx.dy()?);
    if let Some(bias) = cx.of().input(1) {
        x = cx.add(x, bias);
    }
    let dx = activation_gradient(cx, x, dy, name, &[]);
    cx.set(0, dx)?;
    if cx.wants(1) { cx.set(1, dx) } else { Ok(()) }
}

/// dy · (1 for x > 0, else e^(x/α)).
pub fn celu(cx: &mut Grads<'_>) -> Done {
    let (x, alpha) = (cx.x(0)?, cx.float("alpha").unwrap_or(1.0));
    let zero = cx.number(x, 0.0);
    let low = cx.op("Min", &[x, zero]);
    let scaled = cx.times(low, 1.0 / alpha);
    let d = cx.op("Exp", &[scaled]);
    cx.chain(d)
}

/// dy where |x| > λ.
pub fn shrink(cx: &mut Grads<'_>) -> Done {
    let (x, dy, bound) = (cx.x(0)?, cx.dy()?, cx.float("lambd").unwrap_or(0.5));
    let (size, bound) = (cx.op("Abs", &[x]), cx.number(x, bound));
    let kept = cx.op("Greater", &[size, bound]);
    let dx = cx.keep_where(kept, dy);
    cx.set(0, dx)
}

/// dy where the operand is within its bounds.
pub fn clip(cx: &mut Grads<'_>) -> Done {
    let (x, dy) = (cx.x(0)?, cx.dy()?);
    let attribute = |cx: &mut Grads<'_>, name: &str| cx.of().float(name).map(|b| cx.number(x, f64::from(b)));
    let low = cx.of().input(1).or_else(|| attribute(cx, "min"));
    let high = cx.of().input(2).or_else(|| attribute(cx, "max"));
    let mut dx = dy;
    for (bound, op) in [(low, "GreaterOrEqual"), (high, "LessOrEqual")] {
        if let Some(bound) = bound {
            let inside = cx.op(op, &[x, bound]);
            dx = cx.keep_where(inside, dx);
        }
    }
    cx.set(0, dx)
}
