//! Binds the free sizes of a model: afterwards every value has a static shape, and shape arithmetic is gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::{FoldLimits, fold};
use crate::infer::InferError;
use crate::ir::inline::{InlineError, inline_all};
use crate::ir::{Attr, Dim, Graph, Shape, Source, ValueId};

/// Why a model cannot take inputs of these shapes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecialiseError {
    /// The model has no input of this name.
    #[error("the model has no input {name}; its inputs are {}", .inputs.join(", "))]
    Unknown {
        /// The name that was given.
        name: String,
        /// Names of the inputs.
        inputs: Vec<String>,
    },
    /// An input of another shape was given.
    #[error("input {name} is declared {declared:?}, a tensor of {given:?} does not fit{}", .because)]
    Shape {
        /// Name of the input.
        name: String,
        /// The declared shape.
        declared: Shape,
        /// The shape that was given.
        given: Vec<usize>,
        /// What else bound a symbol of it.
        because: String,
    },
    /// A size of another name was given.
    #[error("no input has a free size {name}; {}", if .symbols.is_empty() { "all are fixed".into() } else { format!("there are {}", .symbols.join(", ")) })]
    Symbol {
        /// The name that was given.
        name: String,
        /// Names of the free sizes.
        symbols: Vec<String>,
    },
    /// Nothing says a size.
    #[error("input {name} has a free size: {declared}; its shape has to be given")]
    Free {
        /// Name of the input.
        name: String,
        /// The declared shape, `[N, 64]`.
        declared: String,
    },
    /// A call of a model-local function has no end.
    #[error(transparent)]
    Inline(#[from] InlineError),
    /// A node does not fit these shapes.
    #[error(transparent)]
    Infer(#[from] InferError),
}

/// A copy of the graph for inputs of these shapes: model-local functions inlined, inferred and folded. Inputs that are not named take their
/// declared shape, symbols bound by the others. What the model declares of values between is forgotten where
/// inference can say it.
pub fn specialise(graph: &Graph, shapes: &[(String, Vec<usize>)]) -> Result<Graph, SpecialiseError> {
    let mut graph = graph.clone();
    inline_all(&mut graph)?;
    let symbols = bind(&mut graph, shapes, &[])?;
    for &id in graph.inputs() {
        close(&graph, id, &symbols)?;
    }
    fold(&mut graph, FoldLimits::default())?;
    Ok(graph)
}

/// Gives inputs these shapes, and symbols these sizes; other sizes stay free. What the model declares of values between
/// is forgotten where inference can say it, so that the graph has to be inferred behind this.
pub fn bind(
    graph: &mut Graph,
    shapes: &[(String, Vec<usize>)],
    sizes: &[(String, usize)],
) -> Result<Symbols, SpecialiseError> {
    let inputs = graph.inputs().to_vec();
    let mut symbols = Symbols::default();
    sizes.iter().try_for_each(|(symbol, size)| symbols.set(graph, symbol, *size))?;
    for (name, given) in shapes {
        let id = inputs.iter().find(|id| *graph.value(**id).name == **name);
        let id = *id.ok_or_else(|| unknown(graph, name))?;
        symbols.bind(name, graph.value(id).shape.as_ref(), given)?;
        let shape = given.iter().map(|&n| Dim::from(n)).collect();
        graph.set_type(id, graph.value(id).dtype, Some(shape));
    }
    for id in inputs {
        let shape = graph.value(id).shape.as_ref();
        let shape = shape.map(|shape| shape.iter().map(|dim| symbols.close(dim).unwrap_or(dim.clone())).collect());
        graph.set_type(id, graph.value(id).dtype, shape);
    }
    forget(graph, &symbols);
    Ok(symbols)
}

fn unknown(graph: &Graph, name: &str) -> SpecialiseError {
    let inputs = graph.inputs().iter().map(|id| graph.value(*id).name.to_string()).collect();
    SpecialiseError::Unknown { name: name.to_owned(), inputs }
}

/// The declared shape of an input with its symbols bound.
fn close(graph: &Graph, id: ValueId, symbols: &Symbols) -> Result<Shape, SpecialiseError> {
    let value = graph.value(id);
    let declared = value.shape.as_ref();
    let closed = declared.and_then(|shape| shape.iter().map(|dim| symbols.close(dim)).collect());
    closed.ok_or_else(|| SpecialiseError::Free {
        name: value.name.to_string(),
        declared: declared.map_or("of any rank".into(), |shape| format!("{shape:?}")),
    })
}

/// Forgets the shapes and elements of values that nodes make; of those that inference cannot say the declared shape
/// stays, symbols bound.
fn forget(graph: &mut Graph, symbols: &Symbols) {
    let made: Vec<_> = graph.values().filter(|(_, v)| matches!(v.source, Source::Node(..))).map(|(id, _)| id).collect();
    for id in made {
        let stays = graph.producer(id).is_some_and(|(node, _)| {
            let node = graph.node(node);
            node.op.is_none() || node.attrs.values().any(|a| matches!(a, Attr::Graph))
        });
        let declared = graph.value(id).shape.clone().filter(|_| stays);
        let shape = declared.and_then(|shape| shape.iter().map(|dim| symbols.close(dim)).collect());
        graph.set_type(id, graph.value(id).dtype, shape);
        graph.set_content(id, None);
    }
}

/// What the given shapes say of the symbols, and which input said it.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    sizes: BTreeMap<String, (i64, String)>,
}

impl Symbols {
    /// Sets the size of a symbol, which an input has to have.
    fn set(&mut self, graph: &Graph, symbol: &str, size: usize) -> Result<(), SpecialiseError> {
        let shapes = graph.inputs().iter().filter_map(|id| graph.value(*id).shape.as_ref());
        let all: BTreeSet<_> = shapes.flatten().filter_map(Dim::name).map(str::to_owned).collect();
        if !all.contains(symbol) {
            return Err(SpecialiseError::Symbol { name: symbol.to_owned(), symbols: all.into_iter().collect() });
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.sizes.insert(symbol.to_owned(), (size, "the command line".to_owned()));
        Ok(())
    }

    fn bind(&mut self, name: &str, declared: Option<&Shape>, given: &[usize]) -> Result<(), SpecialiseError> {
        let Some(declared) = declared else { return Ok(()) };
        let error = |because: String| SpecialiseError::Shape {
            name: name.to_owned(),
            declared: declared.clone(),
            given: given.to_vec(),
            because,
        };
        if declared.len() != given.len() {
            return Err(error(String::new()));
        }
        for (dim, &size) in declared.iter().zip(given) {
            self.bind_dim(name, dim, size).map_err(error)?;
        }
        Ok(())
    }

    /// Binds the symbol of one size; the error says what bound it before.
    fn bind_dim(&mut self, name: &str, dim: &Dim, size: usize) -> Result<(), String> {
        let given = Dim::from(size);
        let Some(symbol) = dim.name() else { return if *dim == given { Ok(()) } else { Err(String::new()) } };
        let value = given.div(&Dim::known(dim.factor())).and_then(|v| v.size()).ok_or_else(String::new)?;
        let (bound, by) = self.sizes.entry(symbol.to_owned()).or_insert_with(|| (value, name.to_owned()));
        if *bound == value { Ok(()) } else { Err(format!(": {symbol} is {bound} in input {by}")) }
    }

    fn close(&self, dim: &Dim) -> Option<Dim> {
        dim.bind(|symbol| self.sizes.get(symbol).map(|(value, _)| *value)).map(Dim::known)
    }
}

#[cfg(test)]
mod tests {
    use hanc_runtime::DType;

    use super::*;
    use crate::ir::{Constant, NewNode};

    /// y = x reshaped to [batch of x, −1, 8], z free.
    fn graph() -> (Graph, ValueId) {
        let mut graph = Graph::new("test", BTreeMap::from([(String::new(), 17)]));
        let dims = |text: &str| text.split(' ').map(Dim::parse).collect::<Option<Shape>>();
        let x = graph.add_input("x", Some(DType::F32), dims("N 49 64"));
        graph.add_input("z", Some(DType::F32), dims("2*N"));
        let shape = graph.add(NewNode::new("Shape", [x]));
        let zero = graph.add_constant("zero", Constant::i64(&[1], &[0]));
        let batch = graph.add(NewNode::new("Gather", [shape, zero]));
        let rest = graph.add_constant("rest", Constant::i64(&[2], &[-1, 8]));
        let target = graph.add(NewNode::new("Concat", [batch, rest]).attr("axis", Attr::Int(0)));
        let y = graph.add(NewNode::new("Reshape", [x, target]));
        graph.set_type(y, None, dims("1 392 8"));
        graph.set_outputs(vec![y]);
        (graph, y)
    }

    fn shapes(all: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
        all.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
    }

    #[test]
    fn sizes_reach_every_value() {
        let (graph, y) = graph();
        let bound = specialise(&graph, &shapes(&[("x", &[3, 49, 64])])).unwrap();
        assert_eq!(format!("{:?}", bound.value(y).shape), "Some([3, 392, 8])");
        assert_eq!(format!("{:?}", bound.value(bound.inputs()[1]).shape), "Some([6])");
        assert_eq!(bound.nodes().count(), 1);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let (graph, _) = graph();
        let error = |all: &[(&str, &[usize])]| specialise(&graph, &shapes(all)).unwrap_err().to_string();
        assert_eq!(
            error(&[("x", &[3, 48, 64])]),
            "input x is declared [N, 49, 64], a tensor of [3, 48, 64] does not fit"
        );
        assert!(error(&[("x", &[3, 49, 64]), ("z", &[8])]).ends_with("does not fit: N is 3 in input x"));
        assert!(error(&[("z", &[7])]).contains("[2*N], a tensor of [7]"));
        assert_eq!(error(&[("w", &[1])]), "the model has no input w; its inputs are x, z");
        assert_eq!(error(&[]), "input x has a free size: [N, 49, 64]; its shape has to be given");
    }
}
