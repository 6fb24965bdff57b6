//! What the rules of several families share.

use hanc_runtime::activation;

use crate::infer::Infer;
use crate::ir::{Attr, Dim, Node, Shape};
use crate::lower::{Call, Lowering};

/// Says what is wrong unless two sizes can be equal; a symbol can be any size.
pub(super) fn agree(a: &Dim, b: &Dim, what: impl FnOnce(&Dim, &Dim) -> String) -> Result<(), String> {
    match (a.size(), b.size()) {
        (Some(x), Some(y)) if x != y => Err(what(a, b)),
        _ => Ok(()),
    }
}

/// Checks that operands have one type, as far as it is known.
pub(super) fn one_type(cx: &Infer<'_>, operands: impl IntoIterator<Item = usize>) -> Result<(), String> {
    let mut types = operands.into_iter().filter_map(|i| cx.dtype(i));
    let Some(first) = types.next() else { return Ok(()) };
    match types.find(|t| *t != first) {
        Some(other) => Err(format!("operands are {first} and {other}, one type is needed")),
        None => Ok(()),
    }
}

/// Says what is wrong unless the operand, where its shape is known, is a vector of this length.
pub(super) fn vector(cx: &Infer<'_>, i: usize, name: &str, length: &Dim) -> Result<(), String> {
    match cx.shape(i).map(Vec::as_slice) {
        None => Ok(()),
        Some([n]) => agree(n, length, |n, length| format!("{name} has {n} elements, {length} are needed")),
        Some(shape) => Err(format!("{name} has to be a vector, its shape is {shape:?}")),
    }
}

/// Says what is wrong unless the operand, where its shape is known, can have this shape.
pub(super) fn like_result(cx: &Infer<'_>, i: usize, name: &str, result: &Shape) -> Result<(), String> {
    let Some(shape) = cx.shape(i) else { return Ok(()) };
    let fits =
        shape.len() == result.len() && shape.iter().zip(result).all(|(a, b)| agree(a, b, |_, _| String::new()).is_ok());
    if fits { Ok(()) } else { Err(format!("{name} of shape {shape:?} is not like the result of shape {result:?}")) }
}

/// The call with the activation that the node's attributes `activation` and `activation_params` name, if any.
pub(super) fn activated(cx: &Lowering<'_>, call: Call) -> Result<Call, String> {
    activated_as(cx, call, "activation")
}

/// The same of the attributes `key` and `key` with `_params` behind it, as parameters of these names.
pub(super) fn activated_as(cx: &Lowering<'_>, call: Call, key: &str) -> Result<Call, String> {
    let Some(name) = cx.node().str(key).filter(|name| !name.is_empty()) else { return Ok(call) };
    activation::find(name).ok_or_else(|| format!("there is no activation {name}"))?;
    let (call, params) = (call.with(key, name), format!("{key}_params"));
    Ok(match floats(cx.node(), &params) {
        Some(list) => call.with(&params, numbers(list)),
        None => call,
    })
}

/// A text attribute, or this.
pub(super) fn text<'a>(node: &'a Node, name: &str, default: &'a str) -> &'a str {
    node.str(name).unwrap_or(default)
}

/// An attribute that is a list of numbers.
pub(super) fn floats<'a>(node: &'a Node, name: &str) -> Option<&'a [f32]> {
    match node.attrs.get(name)? {
        Attr::Floats(list) => Some(list),
        _ => None,
    }
}

/// Which results the node has, for the kernel parameter `results`: place `i` in the node is `map[i]` of the kernel, -1
/// for one that is left out ahead of others.
pub(super) fn results(node: &Node, map: &[i64]) -> Vec<i64> {
    let used = node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    node.outputs[..used].iter().zip(map).map(|(output, i)| if output.is_some() { *i } else { -1 }).collect()
}

/// A shape of this rank of which nothing else is known.
pub(super) fn unknown(cx: &mut Infer<'_>, rank: usize) -> Shape {
    (0..rank).map(|_| cx.unknown()).collect()
}

/// Numbers as a kernel parameter.
pub(super) fn numbers(list: &[f32]) -> serde_json::Value {
    list.iter().map(|x| f64::from(*x)).collect::<Vec<_>>().into()
}

#[cfg(test)]
pub(super) mod testing {
    //! Infers and lowers single nodes in tests.

    use hanc_runtime::DType;

    use crate::infer::infer;
    use crate::ir::{Attr, Constant, Dim, Graph, NewNode, NodeId, ValueId};
    use crate::lower::lower;

    /// A node under test and its operands.
    pub struct Case {
        graph: Graph,
        new: NewNode,
        results: usize,
    }

    impl Case {
        /// A node of this operator at this version of its domain.
        pub fn new(domain: &str, op_type: &str, version: i64) -> Case {
            let graph = Graph::new("test", [(domain.to_owned(), version)].into());
            Case { graph, new: NewNode::new(op_type, []).domain(domain), results: 1 }
        }

        /// With another `f32` operand of this shape, `"N 3 64"`; an absent one for `"-"`.
        pub fn operand(self, shape: &str) -> Case {
            self.typed(DType::F32, shape)
        }

        /// With another operand.
        pub fn typed(mut self, dtype: DType, shape: &str) -> Case {
            let name = format!("x{}", self.new.inputs.len());
            let dims = || shape.split_whitespace().map(|dim| Dim::parse(dim).expect(dim)).collect();
            let value = (shape != "-").then(|| self.graph.add_input(&name, Some(dtype), Some(dims())));
            self.new.inputs.push(value);
            self
        }

        /// With another, constant operand.
        pub fn constant(mut self, constant: Constant) -> Case {
            let name = format!("c{}", self.new.inputs.len());
            let value = self.graph.add_constant(&name, constant);
            self.new.inputs.push(Some(value));
            self
        }

        /// With this attribute.
        pub fn attr(mut self, name: &str, value: Attr) -> Case {
            self.new = self.new.attr(name, value);
            self
        }

        /// With these integers as an attribute.
        pub fn ints(self, name: &str, list: &[i64]) -> Case {
            self.attr(name, Attr::Ints(list.to_vec()))
        }

        /// With this many results.
        pub fn results(mut self, results: usize) -> Case {
            self.results = results;
            self
        }

        fn build(mut self) -> Result<(Graph, NodeId, Vec<ValueId>), String> {
            let names: Vec<_> = (0..self.results).map(|i| format!("y{i}")).collect();
            let (id, values) = self.graph.add_node(self.new, &names.iter().map(String::as_str).collect::<Vec<_>>());
            self.graph.set_outputs(values.clone());
            infer(&mut self.graph).map_err(|e| e.message)?;
            Ok((self.graph, id, values))
        }

        /// The results' types, `"f32[N, 3]"`, or what is wrong. A size that is not known is `?`.
        pub fn infer(self) -> Result<String, String> {
            let (graph, _, values) = self.build()?;
            let show = |dim: &Dim| if dim.to_string().starts_with('?') { "?".to_owned() } else { dim.to_string() };
            let types = values.iter().map(|id| {
                let value = graph.value(*id);
                let shape = value.shape.as_ref().map(|s| s.iter().map(show).collect::<Vec<_>>().join(", "));
                format!("{}[{}]", value.dtype.map_or("?", DType::name), shape.unwrap_or("…".into()))
            });
            Ok(types.collect::<Vec<_>>().join(" "))
        }

        /// The kernel and its parameters, or what is wrong.
        pub fn lower(self) -> Result<String, String> {
            let (graph, _, _) = self.build()?;
            let plan = lower(&graph, &[]).map_err(|e| e.message)?.plan;
            let steps = plan.steps.iter().map(|s| format!("{} {}", s.kernel, serde_json::json!(s.params.0)));
            Ok(steps.collect::<Vec<_>>().join("; "))
        }
    }
}
