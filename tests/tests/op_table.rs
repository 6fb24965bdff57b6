//! The op table before the schemas of the onnx package, from opset 7 on.

use hanc::op::{self, Arity, AttrKind, Op, Param};
use hanc_tests::peers;
use serde_json::{Value, json};

/// The oldest opset that the table has to describe.
const OLDEST: i64 = 7;

fn version(schema: &Value) -> i64 {
    schema["version"].as_i64().unwrap_or(0)
}

/// Rows that say more than ONNX does, and why.
const BEYOND: [(&str, &str); 3] = [
    ("SimplifiedLayerNormalization", "onnxruntime saves it in ONNX's own domain"),
    ("LayerNormalization", "onnxruntime saves it with opsets below its own, too"),
    ("BatchNormalization", "it had other results behind the first before opset 14"),
];

/// Versions of an operator that an opset of 7 or newer refers to: the last one of 7 or older, and all behind it.
fn recent(mut versions: Vec<i64>) -> Vec<i64> {
    versions.sort_unstable();
    let first = versions.iter().rposition(|v| *v <= OLDEST).unwrap_or(0);
    versions.split_off(first)
}

fn arity(arity: Arity) -> &'static str {
    match arity {
        Arity::One => "Single",
        Arity::Optional => "Optional",
        Arity::Variadic => "Variadic",
    }
}

fn parameters(params: &[Param]) -> Value {
    params.iter().map(|p| json!([p.name, arity(p.arity)])).collect()
}

/// Whether parameters are those of the newest version; one that not every version has may be optional.
fn same_parameters(ours: &[Param], theirs: &Value, always: usize) -> bool {
    let same = |i: usize, p: &Param| {
        theirs[i] == json!([p.name, arity(p.arity)])
            || (i >= always && p.arity == Arity::Optional && theirs[i] == json!([p.name, "Single"]))
    };
    theirs.as_array().map(Vec::len) == Some(ours.len()) && ours.iter().enumerate().all(|(i, p)| same(i, p))
}

/// Type and default in the schemas' words.
fn kind(kind: AttrKind) -> (&'static str, Value) {
    match kind {
        AttrKind::Int(default) => ("INT", json!(default)),
        AttrKind::Float(default) => ("FLOAT", json!(default)),
        AttrKind::Str(default) => ("STRING", json!(default)),
        AttrKind::Ints => ("INTS", Value::Null),
        AttrKind::Floats => ("FLOATS", Value::Null),
        AttrKind::Strs => ("STRINGS", Value::Null),
        AttrKind::Tensor => ("TENSOR", Value::Null),
        AttrKind::Graph => ("GRAPH", Value::Null),
        AttrKind::Other => ("", Value::Null),
    }
}

fn same_default(ours: &Value, theirs: &Value) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * b.abs(),
        _ => ours == theirs,
    }
}

fn compare_attributes(op: &Op, schema: &Value, flaws: &mut Vec<String>) {
    let at = version(schema).max(OLDEST);
    let Some(theirs) = schema["attributes"].as_object() else { return };
    for (name, wanted) in theirs {
        let Some(spec) = op.attr(name, at) else {
            flaws.push(format!("{} {at}: attribute {name} is missing", op.name));
            continue;
        };
        let (ty, default) = kind(spec.kind);
        if (!ty.is_empty() && wanted[0] != ty) || !same_default(&default, &wanted[1]) {
            flaws.push(format!("{} {at}: attribute {name} is {ty} {default} instead of {wanted}", op.name));
        }
    }
    let ours = op.attrs.iter().filter(|spec| op.attr(spec.name, at).is_some() && !theirs.contains_key(spec.name));
    flaws.extend(ours.map(|spec| format!("{} {at}: there is no attribute {}", op.name, spec.name)));
}

fn compare(op: &Op, schemas: &[Value], flaws: &mut Vec<String>) {
    let theirs = schemas.iter().filter(|s| s["domain"] == op.domain && s["name"] == op.name).collect::<Vec<_>>();
    let versions = recent(theirs.iter().map(|s| version(s)).collect());
    if recent(op.since.to_vec()) != versions {
        flaws.push(format!("{}: changed at {:?}, the table says {:?}", op.name, versions, op.since));
    }
    let Some(newest) = theirs.iter().max_by_key(|s| version(s)) else { return };
    let of_interest: Vec<_> = theirs.iter().filter(|s| versions.contains(&version(s))).collect();
    let always = |kind: &str| of_interest.iter().filter_map(|s| Some(s[kind].as_array()?.len())).min().unwrap_or(0);
    for (kind, ours) in [("inputs", op.inputs), ("outputs", op.outputs)] {
        if !same_parameters(ours, &newest[kind], always(kind)) {
            flaws.push(format!("{}: {kind} are {}, the table says {}", op.name, newest[kind], parameters(ours)));
        }
    }
    of_interest.iter().for_each(|schema| compare_attributes(op, schema, flaws));
}

#[test]
fn every_row_says_what_its_schemas_say() {
    let Some(answer) = peers::ask(include_str!("../peers/schemas.py"), &Value::Null) else { return };
    let schemas = answer.as_array().expect("the schemas are a list");
    let known = |op: &&Op| schemas.iter().any(|s| s["domain"] == op.domain && s["name"] == op.name);
    let mut flaws = Vec::new();
    let ours: Vec<_> =
        op::all().filter(|op| op.domain.is_empty() && !BEYOND.iter().any(|row| row.0 == op.name)).collect();
    flaws.extend(ours.iter().filter(|op| !known(op)).map(|op| format!("{} is no operator of ONNX", op.name)));
    ours.iter().filter(|op| known(op)).for_each(|op| compare(op, schemas, &mut flaws));
    assert!(flaws.is_empty(), "{} flaws\n{}", flaws.len(), flaws.join("\n"));
}
