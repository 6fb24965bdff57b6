//! Shape and type inference: one walk over the graph, the rules stand in the op table.

use hanc_runtime::DType;

use crate::ir::{Dim, Graph, Node, NodeId, Shape};
use crate::op::AttrKind;

/// A node that cannot be what it claims to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} ({op}): {message}{operands}")]
pub struct InferError {
    /// Node name, or operator and first output.
    pub place: String,
    /// Operator.
    pub op: String,
    /// What is wrong.
    pub message: String,
    /// The operands' types, for the message: `; operands X f32[1, 2], …`.
    pub operands: String,
}

/// What a rule sees of its node, and where it puts what it finds.
pub struct Infer<'a> {
    graph: &'a Graph,
    node: &'a Node,
    found: Vec<Fact>,
    fresh: u32,
}

/// What is known of a result.
#[derive(Clone, Debug, Default)]
struct Fact {
    dtype: Option<DType>,
    shape: Option<Shape>,
    content: Option<Vec<Dim>>,
}

/// Longest vector whose elements are followed symbolically.
const CONTENT_LIMIT: usize = 256;

/// Infers every value's type, shape and (for shape arithmetic) content, in place. What the model declared of a value
/// stays where a rule finds nothing better.
pub fn infer(graph: &mut Graph) -> Result<(), InferError> {
    let order = order(graph)?;
    constants(graph);
    order.into_iter().try_for_each(|id| infer_node(graph, id))
}

/// The nodes, each behind what it reads.
pub(crate) fn order(graph: &Graph) -> Result<Vec<NodeId>, InferError> {
    graph.order().map_err(|cycle| InferError {
        place: graph.name.clone(),
        op: "graph".into(),
        message: cycle.to_string(),
        operands: String::new(),
    })
}

/// Notes the content of constant integer scalars and vectors.
pub(crate) fn constants(graph: &mut Graph) {
    let ids: Vec<_> = graph.values().filter(|(_, v)| v.content.is_none()).map(|(id, _)| id).collect();
    for id in ids {
        let Some(constant) = graph.constant(id) else { continue };
        let content = constant_content(constant);
        graph.set_content(id, content);
    }
}

/// The elements of a constant integer scalar or vector that is short enough to follow.
pub(crate) fn constant_content(constant: &crate::ir::Constant) -> Option<Vec<Dim>> {
    let short = constant.shape.len() < 2 && constant.shape.iter().all(|&n| n <= CONTENT_LIMIT);
    let integers = if short { constant.integers() } else { None };
    Some(integers?.into_iter().map(Dim::known).collect())
}

/// Infers the results of one node whose operands are inferred.
pub fn infer_node(graph: &mut Graph, id: NodeId) -> Result<(), InferError> {
    let node = graph.node(id);
    let Some(op) = node.op else { return Ok(()) };
    let mut cx = Infer { graph, node, found: vec![Fact::default(); node.outputs.len()], fresh: 0 };
    cx.check_arity().and_then(|()| (op.infer)(&mut cx)).map_err(|message| error(graph, node, message))?;
    let found = std::mem::take(&mut cx.found);
    let outputs = node.outputs.clone();
    let mut renamed = std::collections::BTreeMap::new();
    for (value, fact) in outputs.into_iter().zip(found) {
        let Some(value) = value else { continue };
        let old = graph.value(value).clone();
        let shape = fact.shape.map(|s| adopt(graph, s, old.shape.as_deref(), &mut renamed)).or(old.shape);
        graph.set_type(value, fact.dtype.or(old.dtype), shape);
        let content = fact.content.filter(|c| c.len() <= CONTENT_LIMIT);
        let content = content.map(|c| adopt(graph, c, None, &mut renamed)).or(old.content);
        graph.set_content(value, content);
    }
    Ok(())
}

/// Replaces the rule's own fresh symbols (`?`-prefixed with a dot) by what the model declared, or by the graph's.
fn adopt(
    graph: &mut Graph,
    shape: Shape,
    declared: Option<&[Dim]>,
    renamed: &mut std::collections::BTreeMap<String, Dim>,
) -> Shape {
    let declared = declared.filter(|d| d.len() == shape.len());
    let mut named = |i: usize, dim: Dim| match dim.name().filter(|name| name.starts_with("?.")).map(str::to_owned) {
        None => dim,
        Some(name) => {
            let known = renamed.entry(name).or_insert_with(|| match declared {
                Some(declared) => declared[i].clone(),
                None => graph.fresh_dim(),
            });
            known.clone()
        }
    };
    shape.into_iter().enumerate().map(|(i, dim)| named(i, dim)).collect()
}

fn error(graph: &Graph, node: &Node, message: String) -> InferError {
    let operands: Vec<_> = node.inputs.iter().flatten().map(|id| describe(graph, *id)).collect();
    InferError {
        place: node.place(graph),
        op: node.op_type.to_string(),
        message,
        operands: if operands.is_empty() { String::new() } else { format!("; operands {}", operands.join(", ")) },
    }
}

/// `name f32[N, 64]`, for messages.
pub fn describe(graph: &Graph, id: crate::ir::ValueId) -> String {
    let value = graph.value(id);
    let dtype = value.dtype.map_or("?", DType::name);
    match &value.shape {
        Some(shape) => format!("{} {dtype}{shape:?}", value.name),
        None => format!("{} {dtype}[…]", value.name),
    }
}

impl<'a> Infer<'a> {
    /// The node.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Version of the node's opset.
    pub fn version(&self) -> i64 {
        self.graph.version(self.node)
    }

    /// Whether operand `i` is given.
    pub fn has(&self, i: usize) -> bool {
        self.node.input(i).is_some()
    }

    /// Element type of operand `i`.
    pub fn dtype(&self, i: usize) -> Option<DType> {
        self.graph.value(self.node.input(i)?).dtype
    }

    /// Sizes of operand `i`.
    pub fn shape(&self, i: usize) -> Option<&'a Shape> {
        self.graph.value(self.node.input(i)?).shape.as_ref()
    }

    /// Elements of operand `i`, where they are known sizes.
    pub fn content(&self, i: usize) -> Option<&'a [Dim]> {
        self.graph.value(self.node.input(i)?).content.as_deref()
    }

    /// Elements of operand `i`, where they are known integers.
    pub fn integers(&self, i: usize) -> Option<Vec<i64>> {
        match self.content(i) {
            Some(content) => content.iter().map(Dim::size).collect(),
            None => self.constant(i)?.integers(),
        }
    }

    /// Operand `i`, where it is a constant.
    pub fn constant(&self, i: usize) -> Option<crate::ir::Constant> {
        self.graph.literal(self.node.input(i)?)
    }

    /// An integer attribute, or the row's default of it.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.node.int(name).or_else(|| default(self.node, self.version(), name))
    }

    /// An attribute that is a list of integers.
    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.node.ints(name)
    }

    /// A text attribute.
    pub fn str(&self, name: &str) -> Option<&'a str> {
        self.node.str(name)
    }

    /// Sets element type and sizes of result `i`, as far as they are known.
    pub fn set(&mut self, i: usize, dtype: Option<DType>, shape: Option<Shape>) {
        if let Some(fact) = self.found.get_mut(i) {
            (fact.dtype, fact.shape) = (dtype, shape);
        }
    }

    /// Sets the elements of result `i`.
    pub fn set_content(&mut self, i: usize, content: Option<Vec<Dim>>) {
        if let Some(fact) = self.found.get_mut(i) {
            fact.content = content;
        }
    }

    /// How many results the node has.
    pub fn results(&self) -> usize {
        self.found.len()
    }

    /// A size of which nothing is known.
    pub fn unknown(&mut self) -> Dim {
        self.fresh += 1;
        Dim::symbol(&format!("?.{}", self.fresh))
    }

    fn check_arity(&self) -> Result<(), String> {
        let Some(op) = self.node.op else { return Ok(()) };
        for (i, param) in op.inputs.iter().enumerate() {
            if param.arity == crate::op::Arity::One && self.node.input(i).is_none() {
                return Err(format!("operand {} is missing", param.name));
            }
        }
        let variadic = op.inputs.last().is_some_and(|p| p.arity == crate::op::Arity::Variadic);
        if self.node.inputs.len() > op.inputs.len() && !variadic {
            return Err(format!("{} operands, at most {} are taken", self.node.inputs.len(), op.inputs.len()));
        }
        Ok(())
    }
}

/// The rule of operators whose first result is like their first operand.
pub fn same(cx: &mut Infer<'_>) -> Result<(), String> {
    cx.set(0, cx.dtype(0), cx.shape(0).cloned());
    Ok(())
}

/// The row's default of an integer attribute.
pub fn default(node: &Node, version: i64, name: &str) -> Option<i64> {
    match node.op?.attr(name, version)?.kind {
        AttrKind::Int(default) => default,
        _ => None,
    }
}

/// An axis that may count from the end, as an index below `rank`.
pub fn axis(raw: i64, rank: usize) -> Result<usize, String> {
    let index = if raw < 0 { raw.checked_add(rank as i64).unwrap_or(-1) } else { raw };
    usize::try_from(index).ok().filter(|&i| i < rank).ok_or_else(|| format!("axis {raw} is not in a rank of {rank}"))
}

/// The shape that operands of these shapes broadcast to. Where two sizes differ and one is a symbol, a known size
/// other than 1 decides.
pub fn broadcast(shapes: &[&Shape]) -> Result<Shape, String> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![Dim::known(1); rank];
    for shape in shapes {
        for (o, dim) in out[rank - shape.len()..].iter_mut().zip(shape.iter()) {
            *o = match (o.size(), dim.size()) {
                (Some(1), _) => dim.clone(),
                (_, Some(1)) => o.clone(),
                _ if o == dim => o.clone(),
                (Some(a), Some(b)) if a != b => {
                    return Err(format!("sizes {a} and {b} do not broadcast"));
                }
                (_, Some(_)) => dim.clone(),
                _ => o.clone(),
            };
        }
    }
    Ok(out)
}
