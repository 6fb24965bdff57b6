//! Kernels that compute each element of the result from one of every operand, which may be stretched.

use super::strides::Axes;
use crate::cpu::{Reuse, Spec};
use crate::cuda::driver::Source;
use crate::cuda::job::{At, Body, Call, Job, Site, Value, arg, each, out};
use crate::dtype::DType;
use crate::kernel::Fault;

/// A formula of one operand.
const fn one(kernel: &'static str, real: &'static str) -> Body {
    with(kernel, real, &[])
}

/// A formula of one operand with parameters.
const fn with(kernel: &'static str, real: &'static str, params: &'static [&'static str]) -> Body {
    Body::new(kernel, bind, Reuse::Memory(&[0])).formula(real, "", params)
}

/// A formula of some operands, which may be integers.
const fn some(kernel: &'static str, real: &'static str, int: &'static str) -> Body {
    Body::new(kernel, bind, Reuse::Memory(&[0, 1, 2])).formula(real, int, &[])
}

/// A formula that is applied to two operands, then to what comes out and the next.
const fn fold(kernel: &'static str, real: &'static str, int: &'static str) -> Body {
    Body::new(kernel, folded, Reuse::Memory(&[0, 1])).formula(real, int, &[])
}

pub(super) static BODIES: &[Body] = &[
    some("relu.1", "relu(a)", "a < 0 ? 0 : a"),
    some("abs.1", "fabsf(a)", "a < 0 ? (i64)(0 - (u64)a) : a"),
    some("neg.1", "-a", "(i64)(0 - (u64)a)"),
    some("sign.1", "a > 0 ? 1.f : a < 0 ? -1.f : a", "a > 0 ? 1 : a < 0 ? -1 : 0"),
    some("not.1", "", "a == 0"),
    one("sigmoid.1", "sigmoid(a)"),
    one("softplus.1", "softplus(a)"),
    one("softsign.1", "a / (1 + fabsf(a))"),
    one("hard_swish.1", "a * clip(a / 6 + 0.5f, 0.f, 1.f)"),
    one("mish.1", "a * tanhf(softplus(a))"),
    one("gelu.1", "gelu(a)"),
    one("gelu_tanh.1", "gelu_tanh(a)"),
    one("ceil.1", "ceilf(a)"),
    one("floor.1", "floorf(a)"),
    one("round.1", "rintf(a)"),
    one("sqrt.1", "sqrtf(a)"),
    one("reciprocal.1", "1 / a"),
    one("exp.1", "expf(a)"),
    one("log.1", "logf(a)"),
    one("erf.1", "erff(a)"),
    one("sin.1", "sinf(a)"),
    one("cos.1", "cosf(a)"),
    one("tan.1", "tanf(a)"),
    one("asin.1", "asinf(a)"),
    one("acos.1", "acosf(a)"),
    one("atan.1", "atanf(a)"),
    one("sinh.1", "sinhf(a)"),
    one("cosh.1", "coshf(a)"),
    one("asinh.1", "asinhf(a)"),
    one("acosh.1", "acoshf(a)"),
    one("atanh.1", "atanhf(a)"),
    one("tanh.1", "tanhf(a)"),
    one("isnan.1", "a != a"),
    with("swish.1", "a * sigmoid(p * a)", &["alpha"]),
    with("leaky_relu.1", "a < 0 ? p * a : a", &["alpha"]),
    with("elu.1", "a < 0 ? p * expm1f(a) : a", &["alpha"]),
    with("celu.1", "a != a ? a : fmaxf(a, 0.f) + fminf(0.f, p * expm1f(a / p))", &["alpha"]),
    with("thresholded_relu.1", "a > p ? a : 0.f", &["alpha"]),
    with("selu.1", "q * (a > 0 ? a : p * expm1f(a))", &["alpha", "gamma"]),
    with("hard_sigmoid.1", "clip(p * a + q, 0.f, 1.f)", &["alpha", "beta"]),
    with("shrink.1", "a < -q ? a + p : a > q ? a - p : 0.f", &["bias", "lambd"]),
    some("sub.1", "a - b", "(i64)((u64)a - (u64)b)"),
    some("mul.1", "a * b", "(i64)((u64)a * (u64)b)"),
    some("add.1", "a + b", "(i64)((u64)a + (u64)b)"),
    some("div.1", "a / b", ""),
    some("fmod.1", "fmodf(a, b)", ""),
    some("prelu.1", "a < 0 ? a * b : a", ""),
    some("bias_gelu.1", "gelu(a + b)", ""),
    some("bias_gelu_tanh.1", "gelu_tanh(a + b)", ""),
    Body::new("pow.1", pow, Reuse::Memory(&[0])).formula("powf(a, (float)b)", "", &[]),
    Body::new("clip.1", clip, Reuse::Memory(&[0])).formula("less(greater(a, p), q)", "", &[]),
    some("and.1", "", "a != 0 && b != 0"),
    some("or.1", "", "a != 0 || b != 0"),
    some("xor.1", "", "(a != 0) != (b != 0)"),
    some("equal.1", "a == b", "a == b"),
    some("greater.1", "a > b", "a > b"),
    some("greater_equal.1", "a >= b", "a >= b"),
    some("less.1", "a < b", "a < b"),
    some("less_equal.1", "a <= b", "a <= b"),
    Body::new("where.1", choose, Reuse::Memory(&[1, 2])).formula("a != 0 ? b : c", "a != 0 ? b : c", &[]),
    fold("sum.1", "a + b", "(i64)((u64)a + (u64)b)"),
    fold("max.1", "greater(a, b)", "a < b ? b : a"),
    fold("min.1", "less(a, b)", "b < a ? b : a"),
    Body::new("mean.1", mean, Reuse::Memory(&[0, 1])).formula("a + b", "", &[]),
];

/// What is computed of the operands' elements a, b and c.
#[derive(Clone, Debug)]
pub(super) struct Element {
    formula: String,
    activation: Option<&'static str>,
}

impl Element {
    /// A C++ expression of reals.
    pub fn new(formula: impl Into<String>) -> Element {
        Element { formula: formula.into(), activation: None }
    }

    /// With `activated(x, p, q)` in it.
    pub fn activation(self, formula: &'static str) -> Element {
        Element { activation: Some(formula), ..self }
    }

    /// The formula of the body for operands of this type; `None` where they are not taken.
    fn of(site: &Site<'_>, dtype: DType) -> Option<Element> {
        let text = if dtype.is_real() { site.formula.real } else { site.formula.int };
        (!text.is_empty()).then(|| Element::new(text))
    }
}

/// Operands of one class.
fn bind(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let operands: Vec<_> = (0..site.args.len()).map(|i| Ok((site.arg(i)?, arg(i)))).collect::<Result<_, Fault>>()?;
    let class = operands.first().map(|(spec, _)| spec.dtype.class());
    if operands.iter().any(|(spec, _)| Some(spec.dtype.class()) != class) {
        return Ok(None);
    }
    own(site, &operands, numbers(site)?)
}

/// The formula of the body.
fn own(site: &Site<'_>, operands: &[(Spec<'_>, At)], numbers: [f32; 2]) -> Result<Option<Job>, Fault> {
    let element = operands.last().and_then(|(spec, _)| Element::of(site, spec.dtype));
    element.map_or(Ok(None), |element| job(site, element, operands, numbers))
}

/// Condition, then two operands of the result's class.
fn choose(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (c, a, b, y) = (site.arg(0)?, site.arg(1)?, site.arg(2)?, site.out(0)?);
    if !c.dtype.is_int() || a.dtype.class() != y.dtype.class() || b.dtype.class() != y.dtype.class() {
        return Ok(None);
    }
    own(site, &[(c, arg(0)), (a, arg(1)), (b, arg(2))], [0.0; 2])
}

fn pow(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (a, b) = (site.arg(0)?, site.arg(1)?);
    let square = b.len() == 1 && b.reals().is_some_and(|b| b[..] == [2.0]);
    let element = Element::new(if square { "a * a" } else { site.formula.real });
    if a.dtype.is_real() { job(site, element, &[(a, arg(0)), (b, arg(1))], [0.0; 2]) } else { Ok(None) }
}

/// Bounds that are parameters or constants.
fn clip(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let bound = |i: usize, key: &str, open: f32| match site.opt(i) {
        None => Some(site.params.float(key).map_or(open, |x| x as f32)),
        Some(operand) => operand.reals().filter(|x| x.len() == 1).and_then(|x| x.first().copied()),
    };
    match (bound(1, "min", f32::NEG_INFINITY), bound(2, "max", f32::INFINITY)) {
        (Some(lo), Some(hi)) if !lo.is_nan() && !hi.is_nan() => own(site, &[(site.arg(0)?, arg(0))], [lo, hi]),
        _ => Ok(None),
    }
}

/// The first two operands, then the result and the next.
fn folded(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let (first, y) = (site.arg(0)?, site.out(0)?);
    let class = first.dtype.class();
    if site.args.iter().flatten().any(|spec| spec.dtype.class() != class) || site.args.len() < 2 {
        return Ok(None);
    }
    let Some(mut all) = own(site, &[(first, arg(0)), (site.arg(1)?, arg(1))], [0.0; 2])? else { return Ok(None) };
    for i in 2..site.args.len() {
        let Some(next) = own(site, &[(y, out(0)), (site.arg(i)?, arg(i))], [0.0; 2])? else { return Ok(None) };
        all.calls.extend(next.calls);
        all.apart = true;
    }
    Ok(Some(all))
}

fn mean(site: &Site<'_>) -> Result<Option<Job>, Fault> {
    let y = site.out(0)?;
    let Some(mut all) = folded(site)? else { return Ok(None) };
    let factor = 1.0 / site.args.len() as f32;
    let Some(last) = job(site, Element::new("a * p"), &[(y, out(0))], [factor, 0.0])? else { return Ok(None) };
    all.calls.extend(last.calls);
    Ok(Some(all))
}

/// The numbers of a formula.
fn numbers(site: &Site<'_>) -> Result<[f32; 2], Fault> {
    let mut numbers = [0.0; 2];
    for (number, key) in numbers.iter_mut().zip(site.formula.params) {
        *number = site.number(key)?;
    }
    Ok(numbers)
}

/// How kernels name the type that elements are held as.
pub(super) fn held(dtype: DType) -> &'static str {
    if dtype.is_real() { "float" } else { "i64" }
}

/// What brings an integer back to its type; `None` for a type whose integers compare otherwise.
pub(super) fn wrapped(dtype: DType, formula: &str) -> Option<String> {
    let cast = match dtype {
        DType::I64 => "",
        DType::I32 => "(int)",
        DType::I16 => "(short)",
        DType::I8 => "(signed char)",
        DType::U8 => "(unsigned char)",
        DType::U16 => "(unsigned short)",
        DType::U32 => "(unsigned)",
        DType::Bool => "0 != ",
        _ => return None,
    };
    Some(format!("(i64)({cast}({formula}))"))
}

/// y = the formula of up to three operands, stretched to the shape of y.
pub(super) fn job(
    site: &Site<'_>,
    element: Element,
    operands: &[(Spec<'_>, At)],
    numbers: [f32; 2],
) -> Result<Option<Job>, Fault> {
    let y = site.out(0)?;
    let last = operands.last().copied().ok_or_else(|| Fault::new("operands are missing"))?;
    let real = last.0.dtype.is_real();
    let formula = if y.dtype.is_real() { Some(element.formula.clone()) } else { wrapped(y.dtype, &element.formula) };
    let Some(formula) = formula.filter(|_| operands.len() <= 3 && site.outs.len() == 1) else { return Ok(None) };
    // Formulas give the class that they are written for, or a truth value.
    if y.dtype.is_real() && !real {
        return Ok(None);
    }
    let of = |i: usize| operands.get(i).copied().unwrap_or(last);
    let axes = Axes::stretched(y.shape, [of(0).0.shape, of(1).0.shape, of(2).0.shape])?;
    let source = Source::new("elementwise", include_str!("elementwise.cu"))
        .define("FORMULA", formula)
        .define("COUNT", operands.len())
        .define("Y", held(y.dtype))
        .define("A", held(of(0).0.dtype))
        .define("B", held(of(1).0.dtype))
        .define("C", held(of(2).0.dtype));
    let source = element.activation.into_iter().fold(source, |source, text| source.define("ACTIVATION", text));
    let ends = [out(0), of(0).1, of(1).1, of(2).1].map(Value::from);
    let args = ends.into_iter().chain(numbers.map(Value::from)).collect();
    Ok(launch(
        source,
        &axes,
        y.len(),
        args,
        operands.iter().all(|(spec, _)| spec.dtype.is_real()) && y.dtype.is_real(),
    )?
    .map(|call| Job::of(call).flops(y.len())))
}

/// `None` where there are too many axes.
fn launch(
    source: Source,
    axes: &Axes<3>,
    len: usize,
    mut args: Vec<Value>,
    vector: bool,
) -> Result<Option<Option<Call>>, Fault> {
    if let Some(steps) = axes.only() {
        let [a, b, c] = steps;
        let source =
            source.define("A_STEP", a).define("B_STEP", b).define("C_STEP", c).define("VECTOR", i32::from(vector));
        args.push(len.into());
        return Ok(Some(each(source, "flat", len.div_ceil(4), args)?));
    }
    let Some(words) = axes.words() else { return Ok(None) };
    args.push(Value::Int(len as u32 as i32));
    args.push(Value::Bytes(words));
    let source = source.define("A_STEP", 0).define("B_STEP", 0).define("C_STEP", 0);
    Ok(Some(each(source, "stretched", len, args)?))
}
