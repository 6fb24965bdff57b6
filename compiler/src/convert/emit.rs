//! Writes a stack of Han layers as nodes.
//!
//! Inline, a layer along the last axis is `|x − (x·u)(2u)ᵀ + b|` with the vector stored as a column, `[n, 1]`: a MatMul,
//! a Mul by the row `2u` (computed from the one stored vector, so that a runtime folds it at load), Sub, Add, Abs. Along
//! the last but one axis the vector stands on the left of the MatMul. Any other axis, and axes that are mixed
//! together, are brought to one of these two places by a Reshape in front of the stack and one behind it.

use std::collections::BTreeSet;
use std::ops::Range;

use hanc_runtime::DType;
use hanc_runtime::reference::decode::encode_reals;

use super::function;
use super::init::{Start, Weights};
use crate::ir::{Attr, Constant, Dim, Graph, NewNode, NodeId, Shape, ValueId};

/// What nodes a layer becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// Plain MatMul, Mul, Sub, Add, Abs.
    Inline,
    /// One call of a model-local function a layer.
    Function,
}

impl Emit {
    /// The name that users give.
    pub fn name(self) -> &'static str {
        match self {
            Emit::Inline => "inline",
            Emit::Function => "function",
        }
    }
}

/// Where a stack goes.
#[derive(Clone, Debug)]
pub struct Site {
    /// What it reads.
    pub input: ValueId,
    /// What it makes from now on.
    pub output: ValueId,
    /// The mixed axes.
    pub axes: Range<usize>,
    /// Elements that are mixed.
    pub width: usize,
    /// What the names of new nodes and values begin with.
    pub prefix: String,
    /// Node in whose place the new ones stand.
    pub near: Option<NodeId>,
}

/// A stack cannot be written there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// The type or rank of what it would read is not known.
    #[error("the type or rank of {0} is not known")]
    Unknown(String),
    /// Type without weights of it.
    #[error("{value} is {dtype}; Han layers are written in f32, f64, f16 or bf16")]
    Type {
        /// The value.
        value: String,
        /// Its type.
        dtype: DType,
    },
    /// The axes do not belong to the value, or do not have the width.
    #[error("axes {axes:?} of {value} {shape:?} do not have {width} elements")]
    Axes {
        /// The value.
        value: String,
        /// Its shape.
        shape: Shape,
        /// The axes.
        axes: Range<usize>,
        /// The width.
        width: usize,
    },
    /// Model-local functions need a newer opset.
    #[error(
        "Han layers as functions need opset {needed}, the model is of opset {found}; --emit inline has no such need"
    )]
    Opset {
        /// Lowest version.
        needed: i64,
        /// The model's.
        found: i64,
    },
}

/// Writes the stack. `outer_abs` is whether its last layer takes the absolute value; the others always do. Reflections
/// without a bias are written inline. Returns the new nodes, in order.
pub fn stack(
    graph: &mut Graph,
    site: &Site,
    start: &Start,
    outer_abs: bool,
    emit: Emit,
) -> Result<Vec<NodeId>, EmitError> {
    let (spot, layers) = (Spot::of(graph, site)?, &start.layers);
    if emit == Emit::Function {
        let plain = (0..layers.len()).map(|k| outer_abs || k + 1 < layers.len());
        plain.collect::<BTreeSet<_>>().into_iter().try_for_each(|abs| function::provide(graph, abs))?;
    }
    let mut writer = Writer { graph, site, dtype: spot.dtype, made: Vec::new() };
    let wrap = spot.wrap(emit);
    let mut x = site.input;
    if let Some(wrap) = &wrap {
        x = writer.reshape(x, Target::Sizes(wrap.forward.clone()), "flat");
    }
    let axis = wrap.as_ref().map_or(spot.axis(), |wrap| wrap.axis);
    for (k, layer) in layers.iter().enumerate() {
        let last = k + 1 == layers.len();
        let abs = layer.b.is_some() && (outer_abs || !last);
        let mut new = writer.layer(k, x, layer, axis, abs, emit);
        if let Some(gain) = start.gain.as_ref().filter(|_| last) {
            let y = writer.settle(new, &format!("{k}/y"));
            new = writer.scaled(y, gain, axis);
        }
        if last && wrap.is_none() {
            writer.finish(new);
        } else {
            let scaled = last && start.gain.is_some();
            x = writer.settle(new, &if scaled { "scaled".into() } else { format!("{k}/y") });
        }
    }
    if let Some(wrap) = wrap {
        let new = writer.reshape_node(x, wrap.back, "restored");
        writer.finish(new);
    }
    Ok(writer.made)
}

/// What has to be known of the value that a stack reads.
struct Spot {
    dtype: DType,
    shape: Shape,
    axes: Range<usize>,
    width: usize,
}

/// Reshapes around a stack.
struct Wrap {
    forward: Vec<i64>,
    back: Target,
    axis: i64,
}

/// What a Reshape goes to.
#[derive(Clone)]
enum Target {
    Sizes(Vec<i64>),
    /// The shape of the value that the stack reads.
    LikeInput,
}

impl Spot {
    fn of(graph: &Graph, site: &Site) -> Result<Spot, EmitError> {
        let value = graph.value(site.input);
        let (Some(dtype), Some(shape)) = (value.dtype, value.shape.clone()) else {
            return Err(EmitError::Unknown(value.name.to_string()));
        };
        if !dtype.is_real() {
            return Err(EmitError::Type { value: value.name.to_string(), dtype });
        }
        let (axes, width) = (site.axes.clone(), site.width);
        let fits = shape.get(axes.clone()).filter(|mixed| !mixed.is_empty() && may_be(mixed, width));
        if width == 0 || fits.is_none() {
            return Err(EmitError::Axes { value: value.name.to_string(), shape, axes, width });
        }
        Ok(Spot { dtype, shape, axes, width })
    }

    /// The first mixed axis, from the end.
    fn axis(&self) -> i64 {
        self.axes.start as i64 - self.shape.len() as i64
    }

    fn wrap(&self, emit: Emit) -> Option<Wrap> {
        let rank = self.shape.len();
        let direct = self.axes.len() == 1 && (emit == Emit::Function || rank > 1 && self.axis() >= -2);
        if direct {
            return None;
        }
        let inner = self.axes.end < rank;
        let mut forward = vec![0; self.axes.start];
        if self.axes == (0..rank) {
            forward.push(1);
        }
        forward.push(self.width as i64);
        forward.extend(inner.then_some(-1));
        Some(Wrap { forward, back: self.back(), axis: if inner { -2 } else { -1 } })
    }

    /// Axes in front are copied, the others are sizes; one of them may be unknown.
    fn back(&self) -> Target {
        let rest = &self.shape[self.axes.start..];
        let unknown = rest.iter().filter(|dim| dim.size().is_none()).count();
        if unknown > 1 || rest.iter().any(|dim| dim.size() == Some(0)) {
            return Target::LikeInput;
        }
        let sizes = rest.iter().map(|dim| dim.size().unwrap_or(-1));
        Target::Sizes(std::iter::repeat_n(0, self.axes.start).chain(sizes).collect())
    }
}

/// Whether the product of these sizes can be `width`, as far as they are known.
fn may_be(dims: &[Dim], width: usize) -> bool {
    let known = dims.iter().filter_map(Dim::size).try_fold(1i64, i64::checked_mul);
    let all = dims.iter().all(|dim| dim.size().is_some());
    known.is_some_and(|known| known > 0 && if all { known == width as i64 } else { width as i64 % known == 0 })
}

struct Writer<'g> {
    graph: &'g mut Graph,
    site: &'g Site,
    dtype: DType,
    made: Vec<NodeId>,
}

impl Writer<'_> {
    /// The last node of a layer, yet to be added.
    fn layer(&mut self, k: usize, x: ValueId, layer: &Weights, axis: i64, abs: bool, emit: Emit) -> NewNode {
        if emit == Emit::Function {
            return self.call(k, x, layer, axis, abs);
        }
        let z = self.householder(k, x, layer, axis);
        if !abs {
            return z;
        }
        let z = self.settle(z, &format!("{k}/z"));
        NewNode::new("Abs", [z])
    }

    fn call(&mut self, k: usize, x: ValueId, layer: &Weights, axis: i64, abs: bool) -> NewNode {
        let n = self.site.width;
        let u = self.weight(&format!("{k}/u"), &[n], &layer.u);
        let b = layer.b.as_ref().map(|b| self.weight(&format!("{k}/b"), &[n], b));
        let new = NewNode::new(function::name(abs), [x, u].into_iter().chain(b));
        new.domain(function::DOMAIN).attr("axis", Attr::Int(axis))
    }

    /// x − (u·x) 2u + b; its last node is yet to be added.
    fn householder(&mut self, k: usize, x: ValueId, layer: &Weights, axis: i64) -> NewNode {
        let n = self.site.width;
        let named = |what: &str| format!("{k}/{what}");
        let u = self.weight(&named("u"), &[n, 1], &layer.u);
        let twice = self.settle(NewNode::new("Add", [u, u]), &named("twice"));
        let (along, dot) = if axis == -1 {
            let row = self.settle(transposed(twice), &named("row"));
            (row, NewNode::new("MatMul", [x, u]))
        } else {
            let row = self.settle(transposed(u), &named("row"));
            (twice, NewNode::new("MatMul", [row, x]))
        };
        let dot = self.settle(dot, &named("dot"));
        let mirror = self.settle(NewNode::new("Mul", [dot, along]), &named("mirror"));
        let reflected = NewNode::new("Sub", [x, mirror]);
        let Some(b) = &layer.b else { return reflected };
        let reflected = self.settle(reflected, &named("reflected"));
        let shape: &[usize] = if axis == -1 { &[n] } else { &[n, 1] };
        let b = self.weight(&named("b"), shape, b);
        NewNode::new("Add", [reflected, b])
    }

    /// x times a number for each mixed element; the product is yet to be added.
    fn scaled(&mut self, x: ValueId, gain: &[f64], axis: i64) -> NewNode {
        let mut shape = vec![self.site.width];
        shape.resize(axis.unsigned_abs().max(1) as usize, 1);
        let gain = self.weight("gain", &shape, gain);
        NewNode::new("Mul", [x, gain])
    }

    fn reshape(&mut self, x: ValueId, target: Target, what: &str) -> ValueId {
        let new = self.reshape_node(x, target, what);
        self.settle(new, what)
    }

    fn reshape_node(&mut self, x: ValueId, target: Target, what: &str) -> NewNode {
        let name = format!("{what}/shape");
        let shape = match target {
            Target::LikeInput => self.settle(NewNode::new("Shape", [self.site.input]), &name),
            Target::Sizes(sizes) => {
                let id = self.graph.add_constant(&self.name(&name), Constant::i64(&[sizes.len()], &sizes));
                self.graph.set_content(id, Some(sizes.into_iter().map(Dim::known).collect()));
                id
            }
        };
        NewNode::new("Reshape", [x, shape])
    }

    fn weight(&mut self, what: &str, shape: &[usize], data: &[f64]) -> ValueId {
        let bytes = encode_reals(self.dtype, data).unwrap_or_default();
        self.graph.add_constant(&self.name(what), Constant::new(self.dtype, shape, bytes))
    }

    /// Adds a node that makes a new value.
    fn settle(&mut self, new: NewNode, what: &str) -> ValueId {
        let name = self.name(what);
        let output = self.graph.add_pending(&name);
        self.place(new, name, output);
        output
    }

    /// Adds the stack's last node.
    fn finish(&mut self, new: NewNode) {
        self.place(new, self.name("y"), self.site.output);
    }

    fn place(&mut self, mut new: NewNode, name: String, output: ValueId) {
        (new.name, new.near) = (name, self.site.near);
        self.made.push(self.graph.redefine(output, new));
    }

    fn name(&self, what: &str) -> String {
        format!("{}/{what}", self.site.prefix)
    }
}

fn transposed(x: ValueId) -> NewNode {
    NewNode::new("Transpose", [x]).attr("perm", Attr::Ints(vec![1, 0]))
}
