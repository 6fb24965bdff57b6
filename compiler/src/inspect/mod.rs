//! What is in a model: numbers, operators, blocks and near misses.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::blocks::{Block, Found, HanStack, Port};
use crate::count;
use crate::ir::{Graph, NodeId, ValueId};

pub mod html;

/// What the file says of itself, outside its graph.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Path or name of the model.
    pub path: String,
    /// Version of ONNX's file format.
    pub ir_version: i64,
    /// Program that wrote it.
    pub producer: String,
    /// Bytes, external data included.
    pub bytes: u64,
}

/// Everything that `hanc inspect` says; its JSON is a contract.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The model as a whole.
    pub model: Model,
    /// How often each operator stands.
    pub ops: BTreeMap<String, usize>,
    /// Blocks and near misses.
    pub blocks: Vec<Entry>,
    /// Han layers that are there already.
    pub han: Vec<Han>,
}

/// The model as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// Path or name.
    pub path: String,
    /// Version of ONNX's file format.
    pub ir_version: i64,
    /// Version of each operator domain.
    pub opset: BTreeMap<String, i64>,
    /// Program that wrote it.
    pub producer: String,
    /// Elements that training would change.
    pub parameters: u64,
    /// Multiply-adds, free sizes counted as 1.
    pub macs: u64,
    /// Nodes whose multiply-adds could not be counted, because a shape is not known.
    pub macs_unknown: usize,
    /// Bytes, external data included.
    pub bytes: u64,
    /// Nodes.
    pub nodes: usize,
    /// Inputs.
    pub inputs: Vec<Tensor>,
    /// Outputs.
    pub outputs: Vec<Tensor>,
}

/// An input or output.
#[derive(Clone, Debug, Serialize)]
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Element type, if it is known.
    pub dtype: Option<&'static str>,
    /// Sizes, as numbers or as text; nothing if the rank is not known.
    pub shape: Option<Vec<serde_json::Value>>,
}

/// A block or near miss.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Unique name.
    pub id: String,
    /// `ffn`
    pub kind: &'static str,
    /// First mixed axis, counted from the end.
    pub axis: Option<i64>,
    /// Every mixed axis, counted from the end.
    pub axes: Vec<i64>,
    /// Elements that are mixed.
    pub width: usize,
    /// Hidden width.
    pub hidden: Option<usize>,
    /// Activation.
    pub activation: Option<String>,
    /// Norm.
    pub norm: Option<String>,
    /// Whether a skip connection goes around it.
    pub residual: bool,
    /// Value that enters.
    pub input: String,
    /// Value that leaves.
    pub output: String,
    /// What its nodes are called.
    pub nodes: Vec<String>,
    /// Trained elements.
    pub parameters: u64,
    /// Trained elements of two Han layers in its place.
    pub parameters_after: u64,
    /// Multiply-adds, free sizes counted as 1.
    pub macs: u64,
    /// Multiply-adds of two Han layers in its place.
    pub macs_after: u64,
    /// Whether Han layers can take its place.
    pub replaceable: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Why not, for programs.
    pub reason_code: Option<&'static str>,
}

/// Han layers in sequence.
#[derive(Clone, Debug, Serialize)]
pub struct Han {
    /// Unique name.
    pub id: String,
    /// Mixed axis, counted from the end.
    pub axis: i64,
    /// Length of the vectors.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// What their nodes are called.
    pub nodes: Vec<String>,
}

/// Layers that the paper puts in a block's place.
pub const DEPTH: u64 = 2;

/// Everything about an inferred graph and what was found in it. Parameters and multiply-adds are counted on `flat`, the
/// same graph with the calls of its functions inlined.
pub fn report(graph: &Graph, flat: &Graph, found: &Found, about: &About) -> Report {
    let (macs, macs_unknown) = count::macs(flat, &found.han);
    Report {
        model: Model {
            path: about.path.clone(),
            ir_version: about.ir_version,
            opset: graph.opsets.clone(),
            producer: about.producer.clone(),
            parameters: count::parameters(flat, &found.han),
            macs,
            macs_unknown,
            bytes: about.bytes,
            nodes: graph.nodes().count(),
            inputs: graph.inputs().iter().map(|id| tensor(graph, *id)).collect(),
            outputs: graph.outputs().iter().map(|id| tensor(graph, *id)).collect(),
        },
        ops: operators(graph),
        blocks: found.blocks.iter().map(|block| entry(graph, block)).collect(),
        han: found.han.iter().map(|stack| han(graph, stack)).collect(),
    }
}

/// `MatMul`, or `com.microsoft.Gelu` outside of ONNX's own domain.
pub fn operator(node: &crate::ir::Node) -> String {
    if node.domain.is_empty() { node.op_type.to_string() } else { format!("{}.{}", node.domain, node.op_type) }
}

fn operators(graph: &Graph) -> BTreeMap<String, usize> {
    let mut ops = BTreeMap::new();
    graph.nodes().for_each(|(_, node)| *ops.entry(operator(node)).or_default() += 1);
    ops
}

fn tensor(graph: &Graph, id: ValueId) -> Tensor {
    let value = graph.value(id);
    let size = |dim: &crate::ir::Dim| match dim.size() {
        Some(size) => size.into(),
        None => dim.to_string().into(),
    };
    Tensor {
        name: value.name.to_string(),
        dtype: value.dtype.map(hanc_runtime::DType::name),
        shape: value.shape.as_ref().map(|shape| shape.iter().map(size).collect()),
    }
}

fn entry(graph: &Graph, block: &Block) -> Entry {
    let axes = axes(graph, &block.input);
    let layers = DEPTH.saturating_mul(count::slices(graph, block));
    Entry {
        id: block.id.clone(),
        kind: block.kind.name(),
        axis: axes.first().copied(),
        axes,
        width: block.width,
        hidden: block.hidden,
        activation: block.activation.clone(),
        norm: block.norm.clone(),
        residual: block.residual,
        input: graph.value(block.input.value).name.to_string(),
        output: graph.value(block.output.value).name.to_string(),
        nodes: places(graph, &block.nodes),
        parameters: block.parameters,
        parameters_after: DEPTH * count::han_parameters(block.width),
        macs: count::bound(&block.macs),
        macs_after: layers.saturating_mul(count::han_macs(block.width)),
        replaceable: block.replaceable(),
        reason: block.refusal.as_ref().map(ToString::to_string),
        reason_code: block.refusal.as_ref().map(crate::blocks::Refusal::code),
    }
}

/// The mixed axes, counted from the end; none where the rank is not known.
fn axes(graph: &Graph, port: &Port) -> Vec<i64> {
    let Some(shape) = &graph.value(port.value).shape else { return Vec::new() };
    port.axes.clone().map(|axis| axis as i64 - shape.len() as i64).collect()
}

fn han(graph: &Graph, stack: &HanStack) -> Han {
    Han {
        id: stack.id.clone(),
        axis: stack.axis,
        width: stack.width,
        layers: stack.layers,
        nodes: places(graph, &stack.nodes),
    }
}

fn places(graph: &Graph, nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().filter_map(|id| graph.get(*id)).map(|node| node.place(graph)).collect()
}

impl Report {
    /// Blocks that Han layers can take the place of.
    pub fn replaceable(&self) -> impl Iterator<Item = &Entry> {
        self.blocks.iter().filter(|block| block.replaceable)
    }

    /// Blocks that they cannot.
    pub fn near_misses(&self) -> impl Iterator<Item = &Entry> {
        self.blocks.iter().filter(|block| !block.replaceable)
    }
}

/// Kinds that `mlp-blocks` stands for.
const MLP_BLOCKS: [&str; 3] = ["mixer-token", "mixer-channel", "ffn"];

/// The kinds of blocks that are to be replaced first: those of the paper where there are any.
pub fn advised(report: &Report) -> Vec<&'static str> {
    let mut kinds: Vec<_> = report.replaceable().map(|block| block.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.iter().any(|kind| MLP_BLOCKS.contains(kind)) {
        kinds.retain(|kind| MLP_BLOCKS.contains(kind));
    }
    kinds
}

impl Report {
    /// The command to run next: one that replaces what can be replaced.
    pub fn command(&self) -> Option<String> {
        self.converting("")
    }

    /// The command where accuracy counts for more than size: stacks that kept most of it where they were compared
    /// (`docs/training.md`).
    pub fn accurate(&self) -> Option<String> {
        self.converting(" --rank 8 --keep-residual --plain-end")
    }

    fn converting(&self, options: &str) -> Option<String> {
        let kinds = advised(self);
        let kinds = match kinds.first()? {
            kind if MLP_BLOCKS.contains(kind) => "mlp-blocks".to_owned(),
            _ => kinds.join(","),
        };
        Some(format!("hanc convert {} --replace {kinds}{options} -o light.onnx", quoted(&self.model.path)))
    }
}

impl Entry {
    /// `width 64, hidden 128, gelu, layer norm, skip`
    pub fn summary(&self) -> String {
        let norm = self.norm.as_ref().map(|norm| format!("{norm} norm"));
        let parts = [
            Some(format!("width {}", self.width)),
            self.hidden.map(|hidden| format!("hidden {hidden}")),
            self.activation.clone(),
            norm,
            self.residual.then(|| "skip".to_owned()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:,=+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
