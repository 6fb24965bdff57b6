//! What a conversion did, for programs and for people.

use crate::output::grouped;
use std::borrow::Cow;
use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::Options;
use super::apply::{self, Applied};
use super::select::{self, Selected};
use crate::blocks::{Block, Found, HanStack};
use crate::count;
use crate::infer::infer;
use crate::ir::inline::inline_all;
use crate::ir::{Attr, Constant, Graph, Node, NodeId};
use crate::search::GoalReport;

/// A figure before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Of the model that was given.
    pub before: u64,
    /// Of the model that was made.
    pub after: u64,
}

/// A block that was replaced.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replaced {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// The first mixed axis, from the end.
    pub axis: i64,
    /// Elements that are mixed.
    pub width: usize,
    /// The hidden width that it had.
    pub hidden: Option<usize>,
    /// The activation that it had.
    pub activation: Option<String>,
    /// Han layers that took its place.
    pub depth: usize,
    /// What the names of their weights begin with.
    pub weights: String,
    /// Trained elements.
    pub parameters: Change,
    /// Multiply-adds, with every symbol 1.
    pub macs: Change,
}

/// How well what a block starts from does what the block did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FitLine {
    /// Its id.
    pub id: String,
    /// The squared error on samples as a share of what the mean would leave: 0 is perfect, 1 no better than the mean.
    pub error: f64,
    /// The same of the paper's start.
    pub paper: f64,
    /// The same of the model's results, with this block alone replaced.
    pub effect: f64,
    /// Parameters that its replacement saves.
    pub saved: u64,
}

impl FitLine {
    /// What a saved parameter costs: blocks are ranked by it.
    pub fn cost(&self) -> f64 {
        self.effect / self.saved.max(1) as f64
    }
}

/// A block that was asked for and stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its id.
    pub id: String,
    /// Why, for people.
    pub reason: String,
    /// Why, for programs.
    pub code: &'static str,
}

/// What a conversion did. Serializes to what `convert --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The file that was written; `None` for a dry run.
    pub output: Option<String>,
    /// Ids of the blocks that were replaced.
    pub replaced: Vec<String>,
    /// Blocks that were asked for and stay.
    pub refused: Vec<Refused>,
    /// Trained elements of the model.
    pub parameters: Change,
    /// Multiply-adds of the model, with every symbol 1.
    pub macs: Change,
    /// Bytes of the model's constants.
    pub bytes: Change,
    /// The greatest difference in a constant that stayed; infinite if one changed its type or shape.
    pub max_abs_diff_untouched: f64,
    /// More of what was replaced.
    pub blocks: Vec<Replaced>,
    /// What was fitted; blocks that cost least for what they save come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fits: Vec<FitLine>,
    /// How the goal was kept, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<GoalReport>,
}

/// Compares two graphs and notes what was replaced.
pub(super) fn report(
    before: &Graph,
    after: &Graph,
    found: &Found,
    selected: &Selected<'_>,
    applied: &[Applied],
    options: &Options,
) -> Report {
    let pairs = || selected.chosen.iter().copied().zip(applied);
    let had = &found.han;
    let new = pairs().map(|(block, applied)| stack(before, after, block, applied, options));
    let have: Vec<_> = had.iter().cloned().chain(new).collect();
    let (flat_before, flat_after) = (flat(before), flat(after));
    let refused =
        |r: &select::Refused| Refused { id: r.id.clone(), reason: r.reason.to_string(), code: r.reason.code() };
    Report {
        fits: Vec::new(),
        goal: None,
        output: None,
        replaced: selected.chosen.iter().map(|block| block.id.clone()).collect(),
        refused: selected.refused.iter().map(refused).collect(),
        parameters: Change {
            before: count::parameters(&flat_before, had),
            after: count::parameters(&flat_after, &have),
        },
        macs: Change { before: count::macs(&flat_before, had).0, after: count::macs(&flat_after, &have).0 },
        bytes: Change { before: count::bytes(before), after: count::bytes(after) },
        max_abs_diff_untouched: max_abs_diff_untouched(before, after),
        blocks: pairs().map(|(block, applied)| replaced(before, block, applied, options)).collect(),
    }
}

/// The graph with the calls of functions that hanc does not know as operators inlined, so that what they hold is
/// counted; as it is where that cannot be done.
fn flat(graph: &Graph) -> Cow<'_, Graph> {
    let is_call = |node: &Node| node.op.is_none();
    if graph.functions.is_empty() || !graph.nodes().any(|(_, node)| is_call(node)) {
        return Cow::Borrowed(graph);
    }
    let mut flat = graph.clone();
    match inline_all(&mut flat).is_ok() && infer(&mut flat).is_ok() {
        true => Cow::Owned(flat),
        false => Cow::Borrowed(graph),
    }
}

/// The layers that took a block's place, as a search would find them: what they are scaled by is no part of them.
fn stack(graph: &Graph, after: &Graph, block: &Block, applied: &Applied, options: &Options) -> HanStack {
    let id = applied.prefix.clone();
    let gain = after.find(&format!("{id}/gain"));
    let scales = |node: &NodeId| gain.is_some() && after.get(*node).is_some_and(|node| node.inputs.contains(&gain));
    let nodes = applied.made.iter().copied().filter(|node| !scales(node)).collect();
    HanStack {
        id,
        axis: axis(graph, block, options),
        width: block.width,
        layers: options.depth * apply::rank(block, options),
        nodes,
    }
}

/// The first mixed axis, from the end.
fn axis(graph: &Graph, block: &Block, options: &Options) -> i64 {
    let (input, _) = apply::ends(block, options);
    let rank = graph.value(input.value).shape.as_ref().map_or(0, Vec::len);
    input.axes.start as i64 - rank as i64
}

fn replaced(graph: &Graph, block: &Block, applied: &Applied, options: &Options) -> Replaced {
    let (layers, rank) = (options.depth as u64, apply::rank(block, options) as u64);
    let macs = count::han_macs(block.width).saturating_mul(count::slices(graph, block));
    Replaced {
        id: block.id.clone(),
        kind: block.kind.name(),
        axis: axis(graph, block, options),
        width: block.width,
        hidden: block.hidden,
        activation: block.activation.clone(),
        depth: options.depth,
        weights: applied.prefix.clone(),
        parameters: Change { before: block.parameters, after: apply::parameters(block, options) },
        macs: Change { before: count::bound(&block.macs), after: macs.saturating_mul(layers * rank) },
    }
}

/// The greatest difference between constants of the same name, those in nodes included.
pub fn max_abs_diff_untouched(before: &Graph, after: &Graph) -> f64 {
    let old: BTreeMap<_, _> = named_constants(before).collect();
    let pairs = named_constants(after).filter_map(|(name, new)| Some((*old.get(&name)?, new)));
    pairs.map(|(old, new)| difference(old, new)).fold(0.0, f64::max)
}

/// Initializers by their names, tensors in nodes by the node's first result and the attribute.
fn named_constants(graph: &Graph) -> impl Iterator<Item = ((&str, &str), &Constant)> {
    let initializers = graph.values().filter_map(|(id, v)| Some(((&*v.name, ""), graph.constant(id)?)));
    let tensors = graph.nodes().flat_map(move |(id, node)| {
        let attrs = node.attrs.iter().filter_map(|(name, attr)| match attr {
            // A Constant node is another spelling of an initializer.
            Attr::Tensor(constant) if node.is("Constant") && name == "value" => Some(("", &**constant)),
            Attr::Tensor(constant) => Some((name.as_str(), &**constant)),
            _ => None,
        });
        attrs.map(move |(name, constant)| ((first_result(graph, id), name), constant))
    });
    initializers.chain(tensors)
}

fn first_result(graph: &Graph, id: NodeId) -> &str {
    graph.node(id).output(0).map_or("", |value| &*graph.value(value).name)
}

fn difference(old: &Constant, new: &Constant) -> f64 {
    if old.dtype != new.dtype || old.shape != new.shape {
        return f64::INFINITY;
    }
    let same_place = old.bytes.as_ptr() == new.bytes.as_ptr() && old.bytes.len() == new.bytes.len();
    if same_place || old.bytes == new.bytes {
        return 0.0;
    }
    let (Some(old), Some(new)) = (old.reals(), new.reals()) else { return f64::INFINITY };
    let differences = old.iter().zip(&new).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, d| if d.is_nan() { f64::INFINITY } else { most.max(d) })
}

/// Most lines of the table's body; the rest is summed up in one.
const ROWS: usize = 28;

impl Report {
    /// The table before and after, at most 40 lines of at most about 100 characters.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(HEADER);
        let rows = self.rows();
        for row in rows.iter().take(ROWS) {
            table.add_row(row.cells());
        }
        if let Some(rest) = summed(rows.get(ROWS..).unwrap_or_default()) {
            table.add_row(rest.cells());
        }
        let total = Row {
            what: "the whole model".into(),
            count: None,
            width: String::new(),
            parameters: self.parameters,
            macs: self.macs,
        };
        table.add_row(total.cells());
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        format!("{}\n{}", lines.join("\n"), self.footer())
    }

    fn footer(&self) -> String {
        let which = if self.goal.is_some() { "all were trained and those that stay" } else { "untouched weights" };
        let mut text = format!(
            "weights {} → {}, {which} differ by {}\n",
            size(self.bytes.before),
            size(self.bytes.after),
            self.max_abs_diff_untouched
        );
        for refused in self.refused.iter().take(5) {
            text += &format!("not replaced: {}: {}\n", refused.id, refused.reason);
        }
        if self.refused.len() > 5 {
            text += &format!("not replaced: {} more\n", self.refused.len() - 5);
        }
        text
    }

    /// One row for blocks that are alike.
    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<(String, Row)> = Vec::new();
        for block in &self.blocks {
            let row = Row::of(block);
            let key = format!("{} {} {:?} {:?}", row.what, row.width, block.activation, block.parameters);
            match rows.iter_mut().find(|(other, _)| *other == key) {
                Some((_, other)) => other.merge(&row),
                None => rows.push((key, row)),
            }
        }
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

const HEADER: [&str; 7] = ["block", "count", "width", "parameters", "after", "multiply-adds", "after"];

#[derive(Clone)]
struct Row {
    what: String,
    count: Option<usize>,
    width: String,
    parameters: Change,
    macs: Change,
}

impl Row {
    fn of(block: &Replaced) -> Row {
        let hidden = block.hidden.map_or(String::new(), |hidden| format!("→{hidden}→{}", block.width));
        Row {
            what: format!("{} (axis {}) → {} Han", block.kind, block.axis, block.depth),
            count: Some(1),
            width: format!("{}{hidden}", block.width),
            parameters: block.parameters,
            macs: block.macs,
        }
    }

    fn merge(&mut self, other: &Row) {
        let add = |a: &mut Change, b: Change| {
            (a.before, a.after) = (a.before.saturating_add(b.before), a.after.saturating_add(b.after));
        };
        self.count = Some(self.count.unwrap_or(0) + other.count.unwrap_or(0));
        add(&mut self.parameters, other.parameters);
        add(&mut self.macs, other.macs);
    }

    fn cells(&self) -> [String; 7] {
        let Row { parameters, macs, .. } = self;
        let count = self.count.map_or(String::new(), |count| count.to_string());
        let (p, m) = ([parameters.before, parameters.after].map(grouped), [macs.before, macs.after].map(grouped));
        let ([p0, p1], [m0, m1]) = (p, m);
        [self.what.clone(), count, self.width.clone(), p0, p1, m0, m1]
    }
}

fn summed(rows: &[Row]) -> Option<Row> {
    let mut sum = rows.first()?.clone();
    (sum.what, sum.width) = ("others".into(), String::new());
    rows[1..].iter().for_each(|row| sum.merge(row));
    Some(sum)
}

/// `3.4 MB`
pub(super) fn size(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let unit = units.into_iter().find(|(_, factor)| bytes as f64 >= *factor);
    unit.map_or(format!("{bytes} B"), |(name, factor)| format!("{:.1} {name}", bytes as f64 / factor))
}
