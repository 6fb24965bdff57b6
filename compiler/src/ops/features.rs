//! Operators of converted classical models (`ai.onnx.ml`). Texts are not computed with.

use hanc_runtime::DType;

use super::support::{agree, floats, numbers, text};
use crate::grad::rules::parts as grad;
use crate::infer::{Infer, same};
use crate::ir::{Attr, Constant, Dim, Node};
use crate::lower::{Call, Lower, Lowering, list};
use crate::op::{AttrKind::*, AttrSpec, Op, attr, one};

const DOMAIN: &str = "ai.onnx.ml";
const ENCODER: &[AttrSpec] = &[
    attr("classes_strings", Strs).until(2),
    attr("default_float", Float(Some(-0.0))).from(2),
    attr("default_int64", Int(Some(-1))),
    attr("default_string", Str(Some("_Unused"))),
    attr("default_tensor", Tensor).from(4),
    attr("keys_floats", Floats).from(2),
    attr("keys_int64s", Ints).from(2),
    attr("keys_strings", Strs).from(2),
    attr("keys_tensor", Tensor).from(4),
    attr("values_floats", Floats).from(2),
    attr("values_int64s", Ints).from(2),
    attr("values_strings", Strs).from(2),
    attr("values_tensor", Tensor).from(4),
];
const IMPUTER: &[AttrSpec] = &[
    attr("imputed_value_floats", Floats),
    attr("imputed_value_int64s", Ints),
    attr("replaced_value_float", Float(Some(0.0))),
    attr("replaced_value_int64", Int(Some(0))),
];

/// Why there are no gradients.
const PREPARED: &str = "it prepares features ahead of what is trained";

pub(super) static OPS: &[Op] = &[
    Op::new("ArrayFeatureExtractor", Lower::Plain("pick.1"))
        .grad(grad::traced)
        .domain(DOMAIN)
        .inputs(&[one("X"), one("Y")])
        .outputs(&[one("Z")])
        .infer(pick),
    Op::new("Scaler", Lower::Call(lower_scaler))
        .grad(grad::scaler)
        .domain(DOMAIN)
        .attrs(&[attr("offset", Floats), attr("scale", Floats)])
        .infer(real),
    Op::new("Normalizer", Lower::Call(lower_normalizer))
        .no_grad(PREPARED)
        .domain(DOMAIN)
        .attrs(&[attr("norm", Str(Some("MAX")))])
        .infer(real),
    Op::new("LabelEncoder", Lower::Call(lower_encoder))
        .flat()
        .domain(DOMAIN)
        .since(&[1, 2, 4])
        .attrs(ENCODER)
        .infer(encoder),
    Op::new("Imputer", Lower::Call(lower_imputer)).no_grad(PREPARED).domain(DOMAIN).attrs(IMPUTER).infer(same),
];

fn pick(cx: &mut Infer<'_>) -> Result<(), String> {
    let count = cx.shape(1).and_then(crate::ir::dim::product);
    let count = count.unwrap_or_else(|| cx.unknown());
    let shape = cx.shape(0).map(|x| match x.as_slice() {
        [] | [_] => vec![Dim::known(1), count],
        [rows @ .., _] => rows.iter().cloned().chain([count]).collect(),
    });
    cx.set(0, cx.dtype(0), shape);
    Ok(())
}

/// Real numbers of the operand's shape.
fn real(cx: &mut Infer<'_>) -> Result<(), String> {
    for name in ["offset", "scale"] {
        let (Some(list), Some(n)) = (floats(cx.node(), name), cx.shape(0).and_then(|x| x.last())) else { continue };
        if list.len() > 1 {
            agree(&Dim::from(list.len()), n, |count, n| format!("{count} numbers of {name} for {n} features"))?;
        }
    }
    cx.set(0, Some(DType::F32), cx.shape(0).cloned());
    Ok(())
}

fn lower_scaler(cx: &Lowering<'_>) -> Result<Call, String> {
    let list = |name: &str| numbers(floats(cx.node(), name).unwrap_or_default());
    Ok(Call::new("scaler.1").with("offset", list("offset")).with("scale", list("scale")))
}

fn lower_normalizer(cx: &Lowering<'_>) -> Result<Call, String> {
    Ok(Call::new("row_norm.1").with("norm", text(cx.node(), "norm", "MAX").to_ascii_lowercase()))
}

fn lower_imputer(cx: &Lowering<'_>) -> Result<Call, String> {
    let call = Call::new("imputer.1");
    let values = floats(cx.node(), "imputed_value_floats");
    let whole = cx.ints("imputed_value_int64s");
    match (values, whole) {
        (Some(values), _) => {
            let replaced = numbers(&[cx.float("replaced_value_float") as f32]);
            Ok(call.with("replaced", replaced).with("values", numbers(values)))
        }
        (None, Some(_)) => Err("integers are not imputed".into()),
        (None, None) => Err("no value to impute is given".into()),
    }
}

/// Keys or values of a label encoder.
fn table(node: &Node, name: &str) -> Result<(DType, serde_json::Value), String> {
    if let Some(ints) = node.ints(&format!("{name}_int64s")) {
        return Ok((DType::I64, list(ints.iter().copied())));
    }
    if let Some(list) = floats(node, &format!("{name}_floats")) {
        return Ok((DType::F32, numbers(list)));
    }
    match node.attrs.get(&format!("{name}_tensor")) {
        Some(Attr::Tensor(tensor)) => tensor_table(tensor),
        _ => Err(format!("{name} that are texts are not computed with")),
    }
}

fn tensor_table(tensor: &Constant) -> Result<(DType, serde_json::Value), String> {
    let unreadable = || format!("labels of {} are not computed with", tensor.dtype);
    let values = match tensor.dtype.is_int() {
        true => list(tensor.integers().ok_or_else(unreadable)?),
        false => tensor.reals().ok_or_else(unreadable)?.into(),
    };
    Ok((tensor.dtype, values))
}

fn encoder(cx: &mut Infer<'_>) -> Result<(), String> {
    let dtype = table(cx.node(), "values").ok().map(|(dtype, _)| dtype);
    cx.set(0, dtype, cx.shape(0).cloned());
    Ok(())
}

fn lower_encoder(cx: &Lowering<'_>) -> Result<Call, String> {
    let node = cx.node();
    let ((_, keys), (dtype, values)) = (table(node, "keys")?, table(node, "values")?);
    let default = match node.attrs.get("default_tensor") {
        Some(Attr::Tensor(tensor)) => tensor_table(tensor)?.1,
        _ if dtype.is_int() => list([cx.int("default_int64").unwrap_or(-1)]),
        _ => numbers(&[node.float("default_float").unwrap_or(0.0)]),
    };
    Ok(Call::new("label_encoder.1").with("keys", keys).with("values", values).with("default", default))
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::Case;
    use super::DOMAIN;
    use crate::ir::Attr;
    use hanc_runtime::DType;

    #[test]
    fn picked_features_keep_the_rows() {
        let pick = |x: &str| Case::new(DOMAIN, "ArrayFeatureExtractor", 1).typed(DType::I64, x).typed(DType::I64, "N");
        assert_eq!(pick("10").infer().unwrap(), "i64[1, N]");
        assert_eq!(pick("3 10").infer().unwrap(), "i64[3, N]");
    }

    #[test]
    fn texts_are_refused() {
        let encoder = || Case::new(DOMAIN, "LabelEncoder", 2).typed(DType::I64, "3").ints("keys_int64s", &[1, 2]);
        let texts = encoder().attr("values_strings", Attr::Strs(Vec::new()));
        assert!(texts.lower().is_err());
        let numbers = encoder().attr("values_floats", Attr::Floats(vec![0.5, 1.0]));
        assert_eq!(numbers.lower().unwrap(), r#"label_encoder.1 {"keys":[1,2],"values":[0.5,1.0],"default":[0.0]}"#);
    }
}
