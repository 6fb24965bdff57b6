//! Reference pages made of the tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::grad::Grad;
use crate::ir::verify::mark;
use crate::lower::Lower;
use crate::op::{self, AttrKind, AttrSpec, Op, Param};

const HEAD: &str = "# Operators

Made from the op table; `HANC_REGENERATE=1 cargo test -p hanc --test docs` writes it anew. Operators that are not listed are carried
through `convert` untouched. `?` marks what may be left out, `…` what may stand any number of times. *Opsets* are the versions of the
domain that changed the operator, from the first that hanc reads. *Gradient* says whether a model can be trained through it: by a rule, 0
where small changes of the operands change nothing, or why not.
";

/// The op table as Markdown, by domain and name.
pub fn ops() -> String {
    let mut domains: BTreeMap<&str, BTreeMap<&str, &Op>> = BTreeMap::new();
    op::all().for_each(|op| _ = domains.entry(op.domain).or_default().insert(op.name, op));
    let mut text = HEAD.to_owned();
    for (domain, ops) in domains {
        let title = if domain.is_empty() { "ai.onnx" } else { domain };
        let _ = write!(text, "\n## {title}: {} operators\n\n", ops.len());
        text.push_str(
            "| operator | opsets | operands | results | attributes | computed | gradient |\n|---|---|---|---|---|---|---|\n",
        );
        ops.values().for_each(|op| row(&mut text, op));
    }
    text
}

fn row(text: &mut String, op: &Op) {
    let since: Vec<_> = op.since.iter().map(i64::to_string).collect();
    let attrs: Vec<_> = op.attrs.iter().map(attr).collect();
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {} |",
        op.name,
        since.join(" "),
        params(op.inputs),
        params(op.outputs),
        attrs.join("; "),
        computed(op),
        gradient(op)
    );
}

fn params(params: &[Param]) -> String {
    let all: Vec<_> = params.iter().map(|p| format!("{}{}", p.name, mark(p.arity))).collect();
    all.join(", ")
}

fn attr(spec: &AttrSpec) -> String {
    let default = match spec.kind {
        AttrKind::Int(Some(default)) => format!(" = {default}"),
        AttrKind::Float(Some(default)) => format!(" = {default}"),
        AttrKind::Str(Some(default)) => format!(" = {default}"),
        _ => String::new(),
    };
    let versions = match spec.versions {
        (1, i64::MAX) => String::new(),
        (1, until) => format!(" (before {until})"),
        (from, i64::MAX) => format!(" (from {from})"),
        (from, until) => format!(" ({from} to {})", until - 1),
    };
    format!("{}{default}{versions}", spec.name)
}

fn gradient(op: &Op) -> String {
    match op.grad {
        Grad::Rule(_) => "yes".into(),
        Grad::Zero => "0".into(),
        Grad::Never(reason) => format!("no: {reason}"),
    }
}

fn computed(op: &Op) -> String {
    match op.lower {
        Lower::Plain(kernel) => format!("`{kernel}`"),
        Lower::Call(_) => "yes".into(),
        Lower::Known => "when shapes are known".into(),
        Lower::Never(reason) => format!("no: {reason}"),
    }
}
