//! Interpolation to another size, and blocks of pixels to channels and back.

use super::support::{floats, text, unknown};
use crate::grad::rules::{parts, resize as grad};
use crate::infer::{self, Infer};
use crate::ir::{Constant, Dim, Node, Shape};
use crate::lower::{Call, Lower, Lowering, list};
use crate::op::{AttrKind::*, AttrSpec, Op, attr, one, opt};

const RESIZE: &[AttrSpec] = &[
    attr("antialias", Int(Some(0))).from(18),
    attr("axes", Ints).from(18),
    attr("coordinate_transformation_mode", Str(Some("half_pixel"))).from(11),
    attr("cubic_coeff_a", Float(Some(-0.75))).from(11),
    attr("exclude_outside", Int(Some(0))).from(11),
    attr("extrapolation_value", Float(Some(0.0))).from(11),
    attr("keep_aspect_ratio_policy", Str(Some("stretch"))).from(18),
    attr("mode", Str(Some("nearest"))),
    attr("nearest_mode", Str(Some("round_prefer_floor"))).from(11),
];
const UPSAMPLE: &[AttrSpec] = &[attr("mode", Str(Some("nearest"))), attr("scales", Floats).from(7).until(9)];
const DEPTH: &[AttrSpec] = &[attr("blocksize", Int(None)), attr("mode", Str(Some("DCR"))).from(11)];
const SPACE: &[AttrSpec] = &[attr("blocksize", Int(None)), attr("mode", Str(Some("DCR"))).from(28)];

pub(super) static OPS: &[Op] = &[
    Op::new("Resize", Lower::Call(lower_resize))
        .grad(grad::resize)
        .since(&[10, 11, 13, 18, 19])
        .inputs(&[one("X"), opt("roi"), opt("scales"), opt("sizes")])
        .attrs(RESIZE)
        .infer(resize),
    Op::new("Upsample", Lower::Call(lower_resize))
        .grad(grad::resize)
        .since(&[1, 7, 9, 10])
        .inputs(&[one("X"), opt("scales")])
        .attrs(UPSAMPLE)
        .infer(resize),
    Op::new("DepthToSpace", Lower::Call(lower_depth))
        .grad(parts::depth_to_space)
        .since(&[1, 11, 13, 28])
        .inputs(&[one("input")])
        .outputs(&[one("output")])
        .attrs(DEPTH)
        .infer(depth_to_space),
    Op::new("SpaceToDepth", Lower::Call(lower_space))
        .grad(parts::space_to_depth)
        .since(&[1, 13, 28])
        .inputs(&[one("input")])
        .outputs(&[one("output")])
        .attrs(SPACE)
        .infer(space_to_depth),
];

/// Places of roi, scales and sizes among the operands.
struct Places {
    roi: Option<usize>,
    scales: usize,
    sizes: Option<usize>,
}

/// Resize had no roi at first, Upsample never has.
fn places(node: &Node, version: i64) -> Places {
    match node.is("Upsample") || version < 11 {
        true => Places { roi: None, scales: 1, sizes: None },
        false => Places { roi: Some(1), scales: 2, sizes: Some(3) },
    }
}

/// What a Resize asks for, on every axis.
struct Target {
    scales: Vec<f64>,
    /// Where sizes were given.
    sizes: Option<Vec<i64>>,
}

/// Spreads numbers for the axes that the node names over all axes.
fn spread<T: Copy>(node: &Node, given: &[T], rank: usize, missing: impl Fn(usize) -> T) -> Result<Vec<T>, String> {
    let axes = match node.ints("axes") {
        Some(axes) => axes.iter().map(|raw| infer::axis(*raw, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect::<Vec<_>>(),
    };
    if axes.len() != given.len() {
        return Err(format!("{} numbers for {} axes", given.len(), axes.len()));
    }
    let mut all: Vec<T> = (0..rank).map(missing).collect();
    axes.iter().zip(given).for_each(|(axis, value)| all[*axis] = *value);
    Ok(all)
}

/// Scales from sizes; where the aspect ratio is kept, the sizes change with them.
fn from_sizes(node: &Node, given: &[i64], x: &[Dim]) -> Result<Target, String> {
    let known = |axis: usize| x[axis].size().unwrap_or(0);
    let mut sizes = spread(node, given, x.len(), known)?;
    let named = spread(node, &vec![true; given.len()], x.len(), |_| false)?;
    let scale = |axis: usize| match (named[axis], x[axis].size()) {
        (false, _) => Ok(1.0),
        (true, Some(size)) if size > 0 => Ok(sizes[axis] as f64 / size as f64),
        _ => Err(format!("size {} of axis {axis} has to be known and positive", x[axis])),
    };
    let mut scales = (0..x.len()).map(scale).collect::<Result<Vec<_>, _>>()?;
    let named_scales = || scales.iter().zip(&named).filter(|(_, named)| **named).map(|(scale, _)| *scale);
    let common = match text(node, "keep_aspect_ratio_policy", "stretch") {
        "stretch" => return Ok(Target { scales, sizes: Some(sizes) }),
        "not_larger" => named_scales().fold(f64::INFINITY, f64::min),
        "not_smaller" => named_scales().fold(0.0, f64::max),
        other => return Err(format!("keep_aspect_ratio_policy {other} does not exist")),
    };
    for axis in (0..x.len()).filter(|axis| named[*axis]) {
        scales[axis] = common;
        sizes[axis] = (common * known(axis) as f64).round() as i64;
    }
    Ok(Target { scales, sizes: Some(sizes) })
}

/// What the operands ask for; `None` where they are not known yet.
fn target(node: &Node, version: i64, x: &[Dim], operands: Operands) -> Result<Option<Target>, String> {
    if let Some(sizes) = operands.sizes.filter(|sizes| !sizes.is_empty()) {
        return from_sizes(node, &sizes, x).map(Some);
    }
    let attribute = || floats(node, "scales").map(|list| list.iter().map(|s| f64::from(*s)).collect());
    let given = operands.scales.and_then(|scales| scales.reals()).or_else(attribute);
    let Some(scales) = given.filter(|scales| !scales.is_empty()) else { return Ok(None) };
    if let Some(bad) = scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return Err(format!("scale {bad} at version {version} has to be positive"));
    }
    Ok(Some(Target { scales: spread(node, &scales, x.len(), |_| 1.0)?, sizes: None }))
}

/// The operands that decide on sizes.
struct Operands {
    scales: Option<Constant>,
    sizes: Option<Vec<i64>>,
}

fn resize(cx: &mut Infer<'_>) -> Result<(), String> {
    let places = places(cx.node(), cx.version());
    let Some(x) = cx.shape(0) else {
        cx.set(0, cx.dtype(0), None);
        return Ok(());
    };
    let sizes = places.sizes.and_then(|i| cx.integers(i));
    let unknown_size = |x: &[Dim]| x.iter().any(|dim| dim.size().is_none());
    let shape = match (&sizes, places.sizes.filter(|i| cx.has(*i)).and_then(|i| cx.content(i))) {
        // Sizes that shape arithmetic follows need no scales.
        (None, Some(content)) if content.len() == x.len() => Some(content.to_vec()),
        (Some(sizes), _) if sizes.len() == x.len() && unknown_size(x) => {
            Some(sizes.iter().map(|size| Dim::known(*size)).collect())
        }
        _ => {
            let operands = Operands { scales: cx.constant(places.scales), sizes };
            target(cx.node(), cx.version(), x, operands)?.map(|target| sized(cx, x, &target)).transpose()?
        }
    };
    let shape = shape.unwrap_or_else(|| unknown(cx, x.len()));
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

fn sized(cx: &mut Infer<'_>, x: &[Dim], target: &Target) -> Result<Shape, String> {
    let mut shape = Shape::new();
    for (axis, dim) in x.iter().enumerate() {
        let scale = target.scales[axis];
        let size = match (&target.sizes, dim.size()) {
            _ if scale == 1.0 && target.sizes.is_none() => Some(dim.clone()),
            (Some(sizes), Some(_)) => Some(Dim::known(sizes[axis])),
            (None, Some(size)) => Some(Dim::known((size as f64 * scale).floor() as i64)),
            _ if scale == 1.0 => Some(dim.clone()),
            _ if scale.fract() == 0.0 => dim.mul(&Dim::known(scale as i64)),
            _ => None,
        };
        if let Some(size) = size.as_ref().and_then(Dim::size).filter(|size| *size < 0) {
            return Err(format!("axis {axis} is resized to {size}"));
        }
        shape.push(size.unwrap_or_else(|| cx.unknown()));
    }
    Ok(shape)
}

fn lower_resize(cx: &Lowering<'_>) -> Result<Call, String> {
    let (node, version, x) = (cx.node(), cx.version(), cx.shape(0)?);
    let places = places(node, version);
    let sizes = match places.sizes.filter(|i| cx.has(*i)) {
        Some(i) => Some(cx.integers(i)?),
        None => None,
    };
    let operands = Operands { scales: cx.constant(places.scales), sizes };
    let target = target(node, version, x, operands)?.ok_or("scales or sizes have to be constant")?;
    let call = Call::new("resize.1").operands(&[0]).with("scales", target.scales);
    let call = call.with(
        "mode",
        if text(node, "mode", "nearest") == "bilinear" { "linear" } else { text(node, "mode", "nearest") },
    );
    if places.roi.is_none() {
        return Ok(call.with("coordinates", "asymmetric").with("rounding", "floor"));
    }
    let call = call
        .with("coordinates", text(node, "coordinate_transformation_mode", "half_pixel"))
        .with("rounding", text(node, "nearest_mode", "round_prefer_floor"))
        .with("cubic_a", f64::from(node.float("cubic_coeff_a").unwrap_or(-0.75)))
        .with("exclude_outside", cx.int("exclude_outside") == Some(1))
        .with("antialias", cx.int("antialias") == Some(1))
        .with("extrapolation", cx.float("extrapolation_value"));
    match text(node, "coordinate_transformation_mode", "half_pixel") {
        "tf_crop_and_resize" => Ok(call.with("roi", roi(cx, x.len())?)),
        _ => Ok(call),
    }
}

/// The region of interest on every axis: all begins, then all ends.
fn roi(cx: &Lowering<'_>, rank: usize) -> Result<Vec<f64>, String> {
    let roi = cx.constant(1).and_then(|roi| roi.reals()).ok_or("the region of interest has to be constant")?;
    let (starts, ends) = roi.split_at(roi.len() / 2);
    let (starts, ends) = (spread(cx.node(), starts, rank, |_| 0.0)?, spread(cx.node(), ends, rank, |_| 1.0)?);
    Ok([starts, ends].concat())
}

fn block(node: &Node) -> Result<Dim, String> {
    let size = node.int("blocksize").filter(|size| *size > 0).ok_or("blocksize has to be positive")?;
    Ok(Dim::known(size))
}

/// [N, C, H, W] and the block's size.
fn picture<'a>(cx: &Infer<'a>) -> Result<Option<(&'a Shape, Dim)>, String> {
    match cx.shape(0) {
        None => Ok(None),
        Some(x) if x.len() == 4 => Ok(Some((x, block(cx.node())?))),
        Some(x) => Err(format!("a shape of four axes is needed, it is {x:?}")),
    }
}

/// A size times or over another; what cannot be said is unknown, what does not divide is wrong.
fn over(cx: &mut Infer<'_>, dim: &Dim, by: &Dim) -> Result<Dim, String> {
    match dim.div(by) {
        Some(dim) => Ok(dim),
        None if dim.size().is_none() => Ok(cx.unknown()),
        None => Err(format!("size {dim} does not divide by {by}")),
    }
}

fn times(cx: &mut Infer<'_>, dim: &Dim, by: &Dim) -> Dim {
    dim.mul(by).unwrap_or_else(|| cx.unknown())
}

fn depth_to_space(cx: &mut Infer<'_>) -> Result<(), String> {
    let Some((x, block)) = picture(cx)? else { return Ok(()) };
    let square = block.mul(&block).ok_or("blocksize is too large")?;
    let shape = vec![x[0].clone(), over(cx, &x[1], &square)?, times(cx, &x[2], &block), times(cx, &x[3], &block)];
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

fn space_to_depth(cx: &mut Infer<'_>) -> Result<(), String> {
    let Some((x, block)) = picture(cx)? else { return Ok(()) };
    let square = block.mul(&block).ok_or("blocksize is too large")?;
    let shape = vec![x[0].clone(), times(cx, &x[1], &square), over(cx, &x[2], &block)?, over(cx, &x[3], &block)?];
    cx.set(0, cx.dtype(0), Some(shape));
    Ok(())
}

/// Channels, height, width and block, where they are known.
fn known(cx: &Lowering<'_>) -> Result<[i64; 4], String> {
    let sizes: Option<Vec<i64>> = cx.shape(0)?.iter().skip(1).map(Dim::size).collect();
    let block = block(cx.node())?.size().unwrap_or(1);
    match sizes.as_deref() {
        Some([c, h, w]) => Ok([*c, *h, *w, block]),
        _ => Err("all sizes but the batch have to be known".into()),
    }
}

fn shuffle(view: [i64; 6], perm: [i64; 6]) -> Call {
    Call::new("shuffle.1").with("view", list(view)).with("perm", list(perm))
}

fn lower_depth(cx: &Lowering<'_>) -> Result<Call, String> {
    let [c, h, w, b] = known(cx)?;
    let c = c / b / b;
    match text(cx.node(), "mode", "DCR") {
        "DCR" => Ok(shuffle([-1, b, b, c, h, w], [0, 3, 4, 1, 5, 2])),
        "CRD" => Ok(shuffle([-1, c, b, b, h, w], [0, 1, 4, 2, 5, 3])),
        other => Err(format!("mode {other} does not exist")),
    }
}

fn lower_space(cx: &Lowering<'_>) -> Result<Call, String> {
    let [c, h, w, b] = known(cx)?;
    let view = [-1, c, h / b, b, w / b, b];
    match text(cx.node(), "mode", "DCR") {
        "DCR" => Ok(shuffle(view, [0, 3, 5, 1, 2, 4])),
        "CRD" => Ok(shuffle(view, [0, 1, 3, 5, 2, 4])),
        other => Err(format!("mode {other} does not exist")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use crate::ir::{Attr, Constant};

    fn resized(x: &str, scales: &[f32]) -> Case {
        let case = Case::new("", "Resize", 13).operand(x).operand("-");
        case.constant(Constant::f32(&[scales.len()], scales))
    }

    #[test]
    fn sizes_follow_the_scales() {
        assert_eq!(resized("N 3 H 7", &[1., 1., 2., 1.5]).infer().unwrap(), "f32[N, 3, 2*H, 10]");
        assert_eq!(resized("N 3 H 7", &[1., 1., 1.5, 1.]).infer().unwrap(), "f32[N, 3, ?, 7]");
        assert!(resized("N 3 4 7", &[1., 1., -2., 1.]).infer().is_err());
        assert!(resized("N 3 4 7", &[1., 2.]).infer().is_err());
        let upsample =
            Case::new("", "Upsample", 7).operand("N 3 4 4").attr("scales", Attr::Floats(vec![1., 1., 2., 2.]));
        assert_eq!(upsample.infer().unwrap(), "f32[N, 3, 8, 8]");
    }

    #[test]
    fn sizes_are_kept_or_bound_to_one_ratio() {
        let sizes = |policy: &str| {
            let case = Case::new("", "Resize", 18).operand("1 1 2 4").operand("-").operand("-");
            let case = case.constant(Constant::i64(&[2], &[7, 8])).ints("axes", &[2, 3]);
            case.attr("keep_aspect_ratio_policy", Attr::text(policy)).infer().unwrap()
        };
        assert_eq!(sizes("stretch"), "f32[1, 1, 7, 8]");
        assert_eq!(sizes("not_larger"), "f32[1, 1, 4, 8]");
        assert_eq!(sizes("not_smaller"), "f32[1, 1, 7, 14]");
    }

    #[test]
    fn old_versions_have_one_rule() {
        let case = Case::new("", "Resize", 10).operand("1 1 4 4").constant(Constant::f32(&[4], &[1., 1., 2., 2.]));
        let call = case.lower().unwrap();
        assert!(call.contains(r#""coordinates":"asymmetric","rounding":"floor""#), "{call}");
    }

    #[test]
    fn blocks_of_pixels() {
        let case = |op: &str, x: &str| Case::new("", op, 13).operand(x).attr("blocksize", Attr::Int(2)).infer();
        assert_eq!(case("DepthToSpace", "N 12 3 W").unwrap(), "f32[N, 3, 6, 2*W]");
        assert_eq!(case("SpaceToDepth", "N 3 4 2*W").unwrap(), "f32[N, 12, 2, W]");
        assert!(case("DepthToSpace", "N 6 3 3").unwrap_err().contains("divide"));
    }
}
