//! Checks that a graph is one: run between the stages that change it.

use std::collections::{BTreeSet, HashMap};

use super::graph::{Attr, Graph, Node, NodeId, Source, ValueId};
use super::order::CycleError;
use crate::op::{Arity, AttrKind, Op, Param};

/// A graph that is not one, or a node that does not fit its operator's row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {flaw}")]
pub struct VerifyError {
    /// The node, or the value.
    pub place: String,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Two values have one name.
    #[error("another value has this name")]
    Name,
    /// A value says that something else makes it than the node that does.
    #[error("its producer and the node that makes it do not agree")]
    Producer,
    /// A value does not list who reads it.
    #[error("the list of the nodes that read it is wrong")]
    Users,
    /// A value is read or handed out, and nothing makes it.
    #[error("nothing makes it, but it is read or handed out")]
    Undefined,
    /// The list of inputs and the values that are inputs differ.
    #[error("it is not once among the graph's inputs")]
    Input,
    /// The nodes cannot be ordered.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// A node without a nested graph captures values.
    #[error("it captures values without a nested graph")]
    Capture,
    /// The operator is younger than the opset.
    #[error("{op} begins at opset {since}, the model has opset {version}")]
    Since {
        /// Operator.
        op: &'static str,
        /// Where it begins.
        since: i64,
        /// What the model imports.
        version: i64,
    },
    /// Too many or too few operands or results.
    #[error("{found} {what}; {op} takes {wanted}")]
    Arity {
        /// Operands or results.
        what: &'static str,
        /// How many there are, or which one is missing.
        found: String,
        /// Operator.
        op: &'static str,
        /// What the operator takes.
        wanted: String,
    },
    /// An attribute that the operator does not have.
    #[error("{op} of opset {version} has no attribute {attribute}; it has {known}")]
    Attribute {
        /// Operator.
        op: &'static str,
        /// Version of its opset.
        version: i64,
        /// Attribute.
        attribute: String,
        /// Attributes that it has.
        known: String,
    },
    /// An attribute of the wrong type.
    #[error("attribute {attribute} of {op} has to be {wanted}")]
    Type {
        /// Operator.
        op: &'static str,
        /// Attribute.
        attribute: String,
        /// Its type.
        wanted: &'static str,
    },
}

/// Checks that values are defined once and before they are read, that producers, users and names are consistent, and
/// that every node that hanc made fits its operator's row. Nodes of the file are the model's own affair: see
/// [`verify_rows`].
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    verify_structure(graph)?;
    graph.functions.values().try_for_each(|function| verify_structure(&function.body))?;
    graph.nodes().filter(|(_, node)| node.origin.is_none()).try_for_each(|(_, node)| verify_node(graph, node))
}

/// Checks that every node fits its operator's row: opset version, operands, results, attributes.
pub fn verify_rows(graph: &Graph) -> Result<(), VerifyError> {
    graph.nodes().try_for_each(|(_, node)| verify_node(graph, node))
}

fn verify_structure(graph: &Graph) -> Result<(), VerifyError> {
    names(graph)?;
    inputs(graph)?;
    graph.nodes().try_for_each(|(id, node)| results(graph, id, node))?;
    let users = users(graph);
    for (id, value) in graph.values() {
        if !made(graph, id) {
            return Err(value_error(graph, id, Flaw::Producer));
        }
        let known: BTreeSet<_> = graph.users(id).iter().copied().collect();
        let actual = users.get(&id);
        if known.len() != graph.users(id).len() || actual.map_or(!known.is_empty(), |actual| *actual != known) {
            return Err(value_error(graph, id, Flaw::Users));
        }
        if matches!(value.source, Source::Nowhere) && (!known.is_empty() || graph.is_output(id)) {
            return Err(value_error(graph, id, Flaw::Undefined));
        }
    }
    graph.order().map(|_| ()).map_err(|cycle| VerifyError { place: graph.name.clone(), flaw: cycle.into() })
}

fn value_error(graph: &Graph, id: ValueId, flaw: Flaw) -> VerifyError {
    VerifyError { place: graph.value(id).name.to_string(), flaw }
}

fn names(graph: &Graph) -> Result<(), VerifyError> {
    let mut seen = std::collections::HashSet::new();
    match graph.values().find(|(_, value)| !seen.insert(&value.name)) {
        Some((id, _)) => Err(value_error(graph, id, Flaw::Name)),
        None => Ok(()),
    }
}

fn inputs(graph: &Graph) -> Result<(), VerifyError> {
    let listed: BTreeSet<_> = graph.inputs().iter().copied().collect();
    let actual = graph.values().filter(|(_, value)| matches!(value.source, Source::Input)).map(|(id, _)| id);
    let actual: BTreeSet<_> = actual.collect();
    if let Some(id) = listed.symmetric_difference(&actual).next() {
        return Err(value_error(graph, *id, Flaw::Input));
    }
    match graph.inputs() {
        [first, ..] if graph.inputs().len() != listed.len() => Err(value_error(graph, *first, Flaw::Input)),
        _ => Ok(()),
    }
}

/// The node's results name it as their producer.
fn results(graph: &Graph, id: NodeId, node: &Node) -> Result<(), VerifyError> {
    for (index, value) in node.outputs.iter().enumerate().filter_map(|(i, v)| Some((i, (*v)?))) {
        if graph.producer(value) != Some((id, index)) {
            return Err(value_error(graph, value, Flaw::Producer));
        }
    }
    let nested = node.attrs.values().any(|a| matches!(a, Attr::Graph | Attr::Opaque));
    if node.captures.is_empty() || nested {
        return Ok(());
    }
    Err(VerifyError { place: node.place(graph), flaw: Flaw::Capture })
}

/// Whether the value's producer makes it.
fn made(graph: &Graph, id: ValueId) -> bool {
    let Some((node, index)) = graph.producer(id) else { return true };
    graph.get(node).is_some_and(|node| node.output(index) == Some(id))
}

fn users(graph: &Graph) -> HashMap<ValueId, BTreeSet<NodeId>> {
    let mut users: HashMap<_, BTreeSet<_>> = HashMap::new();
    for (id, node) in graph.nodes() {
        for value in node.inputs.iter().flatten().chain(&node.captures) {
            users.entry(*value).or_default().insert(id);
        }
    }
    users
}

/// Checks that a node fits its operator's row, if hanc knows the operator.
pub fn verify_node(graph: &Graph, node: &Node) -> Result<(), VerifyError> {
    let Some(op) = node.op else { return Ok(()) };
    let version = graph.version(node);
    let checked = since(op, version)
        .and_then(|()| arity(op, "operands", op.inputs, &node.inputs))
        .and_then(|()| arity(op, "results", op.outputs, &node.outputs))
        .and_then(|()| node.attrs.iter().try_for_each(|(name, attr)| attribute(op, version, name, attr)));
    checked.map_err(|flaw| VerifyError { place: node.place(graph), flaw })
}

fn since(op: &'static Op, version: i64) -> Result<(), Flaw> {
    match op.since.first() {
        Some(&since) if since > version => Err(Flaw::Since { op: op.name, since, version }),
        _ => Ok(()),
    }
}

fn arity(op: &'static Op, what: &'static str, params: &[Param], given: &[Option<ValueId>]) -> Result<(), Flaw> {
    let open = params.last().is_some_and(|p| p.arity == Arity::Variadic);
    let missing = params.iter().enumerate().find(|(i, p)| {
        let given = given.get(*i).copied().flatten();
        p.arity == Arity::One && given.is_none() && what == "operands"
    });
    let found = match missing {
        Some((_, param)) => format!("{} is missing from the", param.name),
        None if given.len() > params.len() && !open => given.len().to_string(),
        None => return Ok(()),
    };
    let wanted: Vec<_> = params.iter().map(|p| format!("{}{}", p.name, mark(p.arity))).collect();
    let wanted = if wanted.is_empty() { "none".into() } else { wanted.join(", ") };
    Err(Flaw::Arity { what, found, op: op.name, wanted })
}

/// `?` behind an optional parameter, `…` behind one that may stand any number of times.
pub(crate) fn mark(arity: Arity) -> &'static str {
    match arity {
        Arity::One => "",
        Arity::Optional => "?",
        Arity::Variadic => "…",
    }
}

fn attribute(op: &'static Op, version: i64, name: &str, attr: &Attr) -> Result<(), Flaw> {
    let Some(spec) = op.attr(name, version) else {
        let known = op.attrs.iter().filter(|a| op.attr(a.name, version).is_some());
        let known: BTreeSet<_> = known.map(|a| a.name).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".into() } else { known };
        return Err(Flaw::Attribute { op: op.name, version, attribute: name.to_owned(), known });
    };
    let (wanted, fits) = fits(spec.kind, attr);
    if fits { Ok(()) } else { Err(Flaw::Type { op: op.name, attribute: name.to_owned(), wanted }) }
}

/// What a kind of attribute is called, and whether the attribute is of it.
fn fits(kind: AttrKind, attr: &Attr) -> (&'static str, bool) {
    let (wanted, fits) = match kind {
        AttrKind::Int(_) => ("an integer", matches!(attr, Attr::Int(_))),
        AttrKind::Float(_) => ("a float", matches!(attr, Attr::Float(_))),
        AttrKind::Str(_) => ("a text", matches!(attr, Attr::Str(_))),
        AttrKind::Ints => ("a list of integers", matches!(attr, Attr::Ints(_))),
        AttrKind::Floats => ("a list of floats", matches!(attr, Attr::Floats(_))),
        AttrKind::Strs => ("a list of texts", matches!(attr, Attr::Strs(_))),
        AttrKind::Tensor => ("a tensor", matches!(attr, Attr::Tensor(_) | Attr::Opaque)),
        AttrKind::Graph => ("a graph", matches!(attr, Attr::Graph)),
        AttrKind::Other => ("of another kind", true),
    };
    (wanted, fits || matches!(attr, Attr::Reference(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text::parse;

    fn flaw(text: &str) -> String {
        verify(&parse(text).unwrap()).unwrap_err().to_string()
    }

    const HEAD: &str = "graph \"g\" opset \"\" 13\nin %x: f32[2, 3]\n";

    #[test]
    fn a_graph_passes() {
        let text =
            format!("{HEAD}%y, _ = Split(%x) {{axis = 1}}\n%z = If(%y) {{then_branch = graph}} captures(%x)\nout %z");
        assert_eq!(verify(&parse(&text).unwrap()), Ok(()));
    }

    #[test]
    fn flaws_of_nodes_are_found() {
        let cases = [
            ("%y = Transpose(%x) {axis = 1}", "Transpose:y: Transpose of opset 13 has no attribute axis; it has perm"),
            ("%y = Transpose(%x) {perm = 1}", "Transpose:y: attribute perm of Transpose has to be a list of integers"),
            ("%y = Shape(%x) {start = 1}", "Shape:y: Shape of opset 13 has no attribute start; it has none"),
            ("%y = Transpose() @\"n\"", "n: data is missing from the operands; Transpose takes data"),
            ("%y = Transpose(%x, %x)", "Transpose:y: 2 operands; Transpose takes data"),
            ("%y, %z = Slice(%x, %x, %x)", "Slice:y: 2 results; Slice takes output"),
            ("%y = Trilu(%x)", "Trilu:y: Trilu begins at opset 14, the model has opset 13"),
            ("%y = Foo(%x) captures(%x)", "Foo:y: it captures values without a nested graph"),
            ("%y = Foo(%z)", "z: nothing makes it, but it is read or handed out"),
            ("%y = Foo(%y)", "g: the nodes form a cycle through Foo:y"),
            ("out %q", "q: nothing makes it, but it is read or handed out"),
        ];
        for (text, wanted) in cases {
            assert_eq!(flaw(&format!("{HEAD}{text}")), wanted);
        }
    }

    #[test]
    fn nodes_of_the_file_are_the_models_own_affair() {
        let graph = parse(&format!("{HEAD}%y = Trilu(%x) !0")).unwrap();
        assert_eq!(verify(&graph), Ok(()));
        assert!(verify_rows(&graph).is_err());
    }

    #[test]
    fn broken_lists_are_found() {
        let graph = parse(&format!("{HEAD}%y = Abs(%x)\n%z = Neg(%y)\nout %z")).unwrap();
        let (x, y) = (graph.find("x").unwrap(), graph.find("y").unwrap());
        let broken = |change: &dyn Fn(&mut Graph)| {
            let mut graph = graph.clone();
            change(&mut graph);
            verify(&graph).unwrap_err().flaw
        };
        assert_eq!(broken(&|g| g.uses[x.index()].clear()), Flaw::Users);
        assert_eq!(broken(&|g| g.uses.swap(x.index(), y.index())), Flaw::Users);
        assert_eq!(broken(&|g| g.values[y.index()].source = Source::Nowhere), Flaw::Producer);
        assert_eq!(broken(&|g| g.values[y.index()].name = "x".into()), Flaw::Name);
        assert_eq!(broken(&|g| g.inputs.clear()), Flaw::Input);
        assert_eq!(broken(&|g| g.inputs.push(x)), Flaw::Input);
        assert_eq!(broken(&|g| g.nodes[1] = None), Flaw::Users);
    }
}
