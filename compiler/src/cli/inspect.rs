//! `hanc inspect`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::text::{self, bytes, short};
use super::{Outcome, compiled, model, ui::Ui};
use crate::blocks;
use crate::error::Failure;
use crate::inspect::{self, Entry, Report, Tensor};

/// What is in a model: numbers, operators, the blocks that Han layers can replace, and near misses with the reason.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The model
    model: String,
    /// Write the same with a drawing of the graph, as one HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Inspect {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        if let Some(path) = &self.html {
            super::writable(path)?;
        }
        if let Some(model) = compiled::open(&self.model, ui)? {
            return self.compiled(&model, ui);
        }
        let model = model::load(&self.model, ui)?;
        let found = blocks::find(&model.graph).map_err(|e| Failure::at(&*model.name, &e))?;
        let report = inspect::report(&model.graph, model.flat(), &found, &model.about());
        if let Some(path) = &self.html {
            let page = inspect::html::page(&model.graph, &found, &report);
            let written = crate::output::replace(path, |file| file.write_all(page.as_bytes()));
            written.map_err(|e| Failure::new("E104", path.display().to_string(), e.to_string()))?;
            ui.note(format!("wrote {}", path.display()));
        }
        let json = serde_json::to_value(&report).unwrap_or_default();
        Ok(Outcome::new(page(&report, ui), json))
    }
}

impl Inspect {
    /// A compiled model has kernels in place of operators, and no blocks.
    fn compiled(&self, model: &hanc_runtime::Model, ui: &Ui) -> Result<Outcome, Failure> {
        if let Some(path) = &self.html {
            let message = "a compiled model has no graph that could be drawn";
            return Err(Failure::new("E209", path.display().to_string(), message));
        }
        let summary = compiled::Summary::new(&self.model, model);
        Ok(Outcome::new(summary.text(ui), serde_json::json!({"compiled": summary.json()})))
    }
}

/// The report for a person.
fn page(report: &Report, ui: &Ui) -> String {
    let paint = ui.paint;
    let mut parts = vec![head(report, ui), ports(report), operators(report)];
    let good: Vec<_> = report.replaceable().collect();
    if !good.is_empty() {
        parts.push(format!("{}\n{}", paint.bold("Blocks that Han layers can replace"), blocks_table(&good)));
    }
    if report.near_misses().next().is_some() {
        parts.push(format!("{}\n{}", paint.bold("Near misses"), misses(report)));
    }
    if !report.han.is_empty() {
        parts.push(format!("{}\n{}", paint.bold("Han layers"), han(report)));
    }
    parts.push(advice(report, ui));
    parts.join("\n\n")
}

fn head(report: &Report, ui: &Ui) -> String {
    let m = &report.model;
    let opsets = m.opset.iter().map(|(domain, version)| match domain.as_str() {
        "" => format!("ONNX {version}"),
        domain => format!("{} {version}", text::name(domain, 40)),
    });
    let unknown = match m.macs_unknown {
        0 => String::new(),
        n => format!(" (without {n} nodes of unknown shape)"),
    };
    let line = format!(
        "{} parameters, {} multiply-adds{unknown}, {}, {} nodes",
        short(m.parameters as f64),
        short(m.macs as f64),
        bytes(m.bytes),
        m.nodes
    );
    let origin = [opsets.collect::<Vec<_>>().join(", "), format!("IR {}", m.ir_version), text::name(&m.producer, 60)];
    let origin = origin.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    format!("{}: {line}\n{}", ui.paint.bold(&text::clean(&m.path)), ui.paint.dim(&origin))
}

fn ports(report: &Report) -> String {
    let row = |what: &str, tensor: &Tensor| vec![what.to_owned(), text::name(&tensor.name, 50), typed(tensor)];
    let inputs = report.model.inputs.iter().map(|tensor| row("input", tensor));
    let outputs = report.model.outputs.iter().map(|tensor| row("output", tensor));
    let rows: Vec<_> = inputs.chain(outputs).collect();
    let shown = 24;
    let more = if rows.len() > shown { format!("\n  … {} more", rows.len() - shown) } else { String::new() };
    format!("{}{more}", text::plain(&rows[..rows.len().min(shown)]))
}

/// `f32[N, 3, 32, 32]`
fn typed(tensor: &Tensor) -> String {
    let dtype = tensor.dtype.unwrap_or("?");
    let size = |size: &serde_json::Value| size.as_str().map_or_else(|| size.to_string(), |name| text::name(name, 30));
    match &tensor.shape {
        Some(shape) => format!("{dtype}[{}]", shape.iter().map(size).collect::<Vec<_>>().join(", ")),
        None => format!("{dtype}[…]"),
    }
}

fn operators(report: &Report) -> String {
    let mut ops: Vec<_> = report.ops.iter().collect();
    ops.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let shown = 16;
    let mut list: Vec<_> = ops.iter().take(shown).map(|(name, n)| format!("{n} {}", text::name(name, 40))).collect();
    if ops.len() > shown {
        let rest: usize = ops[shown..].iter().map(|(_, n)| **n).sum();
        list.push(format!("{rest} of {} other kinds", ops.len() - shown));
    }
    text::wrapped("  ", &list, 100)
}

/// Blocks that are alike share a row.
fn blocks_table(blocks: &[&Entry]) -> String {
    let mut groups: Vec<Vec<&Entry>> = Vec::new();
    for &block in blocks {
        match groups.iter_mut().find(|group| alike(group[0], block)) {
            Some(group) => group.push(block),
            None => groups.push(vec![block]),
        }
    }
    let head = [
        "block",
        ">count",
        "kind",
        ">axis",
        ">width",
        ">hidden",
        "activation",
        "norm",
        "skip",
        ">parameters",
        ">multiply-adds",
    ];
    text::table(&head, &groups.iter().map(|group| row(group)).collect::<Vec<_>>())
}

fn alike(a: &Entry, b: &Entry) -> bool {
    let key = |e: &Entry| {
        (
            e.kind,
            e.axes.clone(),
            e.width,
            e.hidden,
            e.activation.clone(),
            e.norm.clone(),
            e.residual,
            e.parameters,
            e.macs,
        )
    };
    key(a) == key(b)
}

fn row(group: &[&Entry]) -> Vec<String> {
    let (first, last) = (group[0], group[group.len() - 1]);
    let ids = if group.len() == 1 { first.id.clone() } else { format!("{} … {}", first.id, last.id) };
    let axes: Vec<_> = first.axes.iter().map(i64::to_string).collect();
    let dash = || "–".to_owned();
    let change = |before: u64, after: u64| format!("{} → {}", short(before as f64), short(after as f64));
    vec![
        ids,
        group.len().to_string(),
        first.kind.to_owned(),
        if axes.is_empty() { dash() } else { axes.join(",") },
        first.width.to_string(),
        first.hidden.map_or_else(dash, |n| n.to_string()),
        first.activation.clone().unwrap_or_else(dash),
        first.norm.clone().unwrap_or_else(dash),
        if first.residual { "yes" } else { "no" }.to_owned(),
        change(first.parameters, first.parameters_after),
        change(first.macs, first.macs_after),
    ]
}

/// Near misses, those of one reason's kind together, at most a dozen lines.
fn misses(report: &Report) -> String {
    let misses: Vec<_> = report.near_misses().collect();
    let shown = 12;
    let row =
        |e: &&Entry| vec![e.id.clone(), e.kind.to_owned(), text::name(e.reason.as_deref().unwrap_or_default(), 110)];
    let table = text::plain(&misses.iter().take(shown).map(row).collect::<Vec<_>>());
    match misses.len().saturating_sub(shown) {
        0 => table,
        more => format!("{table}\n  … {more} more; `--json` lists all"),
    }
}

fn han(report: &Report) -> String {
    let shown = 12;
    let row = |stack: &inspect::Han| {
        let layers = if stack.layers == 1 { "1 layer".to_owned() } else { format!("{} layers", stack.layers) };
        vec![stack.id.clone(), layers, format!("width {}", stack.width), format!("axis {}", stack.axis)]
    };
    let table = text::plain(&report.han.iter().take(shown).map(row).collect::<Vec<_>>());
    match report.han.len().saturating_sub(shown) {
        0 => table,
        more => format!("{table}\n  … {more} more"),
    }
}

/// What replacing would save, and the command.
fn advice(report: &Report, ui: &Ui) -> String {
    let (Some(command), Some(accurate)) = (report.command(), report.accurate()) else {
        return "Nothing here can be replaced by Han layers.".into();
    };
    let kinds = inspect::advised(report);
    let chosen = report.replaceable().filter(|block| kinds.contains(&block.kind));
    let (parameters, macs) = chosen.fold((0, 0), |(p, m), block| {
        let saved = |before: u64, after: u64| before.saturating_sub(after);
        (p + saved(block.parameters, block.parameters_after), m + saved(block.macs, block.macs_after))
    });
    let part = |saved: u64, all: u64| 100.0 * saved as f64 / all.max(1) as f64;
    let m = &report.model;
    format!(
        "Replacing {} saves {} parameters ({:.0} %) and {} multiply-adds ({:.0} %):\n\n  {}\n\n\
         Layers that are larger, and come closer to what they replace when they are trained:\n\n  {}",
        kinds.join(", "),
        short(parameters as f64),
        part(parameters, m.parameters),
        short(macs as f64),
        part(macs, m.macs),
        ui.paint.cyan(&text::clean(&command)),
        ui.paint.cyan(&text::clean(&accurate))
    )
}
