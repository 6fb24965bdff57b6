//! Checks gradient rules against finite differences in f64.

use hanc_runtime::reference::Session;
use hanc_runtime::{DType, Tensor};

use super::{Build, gradients};
use crate::infer::infer;
use crate::ir::{Attr, Constant, Dim, Graph, NewNode, ValueId};
use crate::lower::lower;

/// The step of the differences.
const STEP: f64 = 1e-6;
/// |gradient − difference| ≤ ABSOLUTE + RELATIVE · |difference|.
const ABSOLUTE: f64 = 1e-5;
const RELATIVE: f64 = 1e-3;

/// A node whose gradients are checked, with its operands.
pub struct Check {
    graph: Graph,
    new: NewNode,
    results: usize,
    /// The operands that are differentiated by, and their elements.
    given: Vec<(ValueId, Tensor)>,
    draw: Draw,
}

/// A short sequence of numbers that look random.
struct Draw(u64);

impl Draw {
    /// The next number in [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Check {
    /// A node of this operator of ONNX's own domain at this version.
    pub fn new(op_type: &str, version: i64) -> Check {
        Check::of("", op_type, version)
    }

    /// A node of this operator at this version of its domain.
    pub fn of(domain: &str, op_type: &str, version: i64) -> Check {
        let graph = Graph::new("test", [(domain.to_owned(), version)].into());
        let new = NewNode::new(op_type, []).domain(domain).opset(version);
        Check { graph, new, results: 1, given: Vec::new(), draw: Draw(op_type.len() as u64) }
    }

    /// With an operand of this shape that is differentiated by, its numbers in (−2, 2) and at least 1/100 from every
    /// integer, where functions have their corners.
    pub fn x(self, shape: &[usize]) -> Check {
        self.within(shape, -2.0, 2.0)
    }

    /// [`Check::x`] with numbers between these.
    pub fn within(mut self, shape: &[usize], low: f64, high: f64) -> Check {
        let count = shape.iter().product::<usize>();
        let mut number = || {
            let x = low + (high - low) * self.draw.next();
            if (x - x.round()).abs() < 0.01 { x + 0.02 } else { x }
        };
        let data: Vec<f64> = (0..count).map(|_| number()).collect();
        self.numbers(shape, &data)
    }

    /// With an operand of these numbers that is differentiated by.
    pub fn numbers(mut self, shape: &[usize], data: &[f64]) -> Check {
        let dims = shape.iter().map(|&n| Dim::from(n)).collect();
        let value = self.graph.add_input(&format!("x{}", self.new.inputs.len()), Some(DType::F64), Some(dims));
        self.given.push((value, Tensor::from_f64(shape, data).expect("shape and data agree")));
        self.new.inputs.push(Some(value));
        self
    }

    /// With a constant operand.
    pub fn constant(mut self, constant: Constant) -> Check {
        let value = self.graph.add_constant(&format!("c{}", self.new.inputs.len()), constant);
        self.new.inputs.push(Some(value));
        self
    }

    /// With constant integers as an operand.
    pub fn integers(self, shape: &[usize], data: &[i64]) -> Check {
        self.constant(Constant::i64(shape, data))
    }

    /// Without an optional operand.
    pub fn none(mut self) -> Check {
        self.new.inputs.push(None);
        self
    }

    /// With this attribute.
    pub fn attr(mut self, name: &str, value: Attr) -> Check {
        self.new = self.new.attr(name, value);
        self
    }

    /// With this integer as an attribute.
    pub fn int(self, name: &str, value: i64) -> Check {
        self.attr(name, Attr::Int(value))
    }

    /// With this number as an attribute.
    pub fn float(self, name: &str, value: f32) -> Check {
        self.attr(name, Attr::Float(value))
    }

    /// With these integers as an attribute.
    pub fn ints(self, name: &str, list: &[i64]) -> Check {
        self.attr(name, Attr::Ints(list.to_vec()))
    }

    /// With this text as an attribute.
    pub fn text(self, name: &str, text: &str) -> Check {
        self.attr(name, Attr::text(text))
    }

    /// With this many results; the loss depends on all of a real type.
    pub fn results(mut self, results: usize) -> Check {
        self.results = results;
        self
    }

    /// Compares the gradients of a loss, the results times numbers that look random, summed, with differences.
    pub fn run(mut self) {
        let what = format!("{}{:?}", self.new.op_type, self.new.attrs);
        let names: Vec<String> = (0..self.results).map(|i| format!("y{i}")).collect();
        let (_, results) = self.graph.add_node(self.new, &names.iter().map(String::as_str).collect::<Vec<_>>());
        infer(&mut self.graph).unwrap_or_else(|error| panic!("{what}: {error}"));
        let loss = loss(&mut self.graph, &results, &mut self.draw);
        let seed = Build::new(&mut self.graph, "seed").number(loss, 1.0);
        let wrt: Vec<ValueId> = self.given.iter().map(|(value, _)| *value).collect();
        let found = gradients(&mut self.graph, &[(loss, seed)], &wrt).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found: Vec<ValueId> =
            found.into_iter().map(|value| value.unwrap_or_else(|| panic!("{what}: none"))).collect();
        let mut outputs = vec![loss];
        outputs.extend(&found);
        self.graph.set_outputs(outputs);
        infer(&mut self.graph).unwrap_or_else(|error| panic!("{what}: {error}"));
        let lowered = lower(&self.graph, &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
        let session = Session::new(&lowered.plan, &lowered.weights).expect("the plan fits together");
        let run = |given: &[(ValueId, Tensor)]| -> Vec<Vec<f64>> {
            let named: Vec<_> = given
                .iter()
                .map(|(value, tensor)| (self.graph.value(*value).name.to_string(), tensor.clone()))
                .collect();
            let outputs = session.run::<f64>(&named).unwrap_or_else(|error| panic!("{what}: {error}"));
            outputs.iter().map(|(_, tensor)| tensor.to_f64().expect("real")).collect()
        };
        let gradients = run(&self.given);
        for (i, (_, tensor)) in self.given.iter().enumerate() {
            let data = tensor.to_f64().expect("real");
            assert_eq!(gradients[i + 1].len(), data.len(), "{what}: the gradient of operand {i}");
            for at in 0..data.len() {
                let shifted = |step: f64| {
                    let mut data = data.clone();
                    data[at] += step;
                    let mut given = self.given.clone();
                    given[i].1 = Tensor::from_f64(tensor.shape(), &data).expect("as before");
                    run(&given)[0][0]
                };
                let wanted = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
                let found = gradients[i + 1][at];
                let close = (found - wanted).abs() <= ABSOLUTE + RELATIVE * wanted.abs();
                assert!(close, "{what}: gradient {at} of operand {i} is {found}, {wanted} by differences");
            }
        }
    }
}

/// Σ of the real results times numbers that look random.
fn loss(graph: &mut Graph, results: &[ValueId], draw: &mut Draw) -> ValueId {
    let real: Vec<ValueId> =
        results.iter().copied().filter(|value| graph.value(*value).dtype.is_some_and(DType::is_real)).collect();
    let mut build = Build::new(graph, "loss");
    let mut total = None;
    for value in real {
        let shape = build.shape(value).expect("the shape is known");
        // Single precision, which some operators have as their result's type, would round the differences away.
        let value = match build.graph.value(value).dtype {
            Some(DType::F64) => value,
            _ => build.node(NewNode::new("Cast", [value]).attr("to", Attr::Int(11))),
        };
        let weights: Vec<f64> = (0..shape.iter().product()).map(|_| 2.0 * draw.next() - 1.0).collect();
        let weights = build.numbers(value, &shape, &weights);
        let product = build.mul(value, weights);
        let axes: Vec<usize> = (0..shape.len()).collect();
        let sum = build.sum(product, &axes, false);
        total = Some(total.map_or(sum, |total| build.add(total, sum)));
    }
    build.finish().expect("the loss fits together");
    total.expect("a real result")
}
