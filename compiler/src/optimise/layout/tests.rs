use std::collections::BTreeMap;

use hanc_models::Stream;
use hanc_runtime::{DType, Tensor};

use super::layout;
use crate::execute::{Precision, execute};
use crate::fold::{FoldLimits, fold};
use crate::infer::infer;
use crate::ir::text::{parse, print};
use crate::ir::verify::{verify, verify_rows};
use crate::ir::{Attr, Constant, Dim, Graph, NewNode, ValueId};
use crate::tensors::Named;

/// The graph of a text, inferred and folded.
fn graph(text: &str) -> Graph {
    graph_of(17, text)
}

/// The graph of a text in operators of this opset.
fn graph_of(opset: i64, text: &str) -> Graph {
    let mut graph = parse(&format!("graph \"g\"\nopset \"\" {opset}, \"ai.hanc\" 1\n{text}")).unwrap();
    fold(&mut graph, FoldLimits::default()).unwrap();
    graph
}

/// The nodes of a graph after its layout, one a line, without types, attributes and hanc's own names of values.
fn nodes(graph: &Graph) -> Vec<String> {
    let text = print(graph);
    let lines = text.lines().filter(|line| line.starts_with('%')).filter_map(|line| line.split_once(" = "));
    lines.map(|(_, node)| node.split('(').next().unwrap_or_default().to_owned()).collect()
}

/// The graph after its layout, checked: it is one, its types are those that inference finds, and it means the same.
fn laid_out(before: &Graph) -> Graph {
    let mut after = before.clone();
    layout(&mut after).unwrap();
    verify(&after).unwrap();
    verify_rows(&after).unwrap();
    let mut inferred = after.clone();
    infer(&mut inferred).unwrap();
    for (id, value) in after.values() {
        let found = inferred.value(id);
        assert_eq!((&value.shape, value.dtype), (&found.shape, found.dtype), "{}\n{}", value.name, print(&after));
    }
    assert_eq!(print(&parse(&print(&after)).unwrap()), print(&after));
    same(before, &after);
    after
}

/// Random inputs, free sizes taken as 2.
fn inputs(graph: &Graph) -> Named {
    let draw = |id: &ValueId| {
        let value = graph.value(*id);
        let shape = value.shape.as_ref().unwrap().iter().map(|dim| dim.bind(|_| Some(2)).unwrap() as usize);
        let shape: Vec<_> = shape.collect();
        let mut stream = Stream::new(1, &value.name);
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
        (value.name.to_string(), Tensor::from_f32(&shape, &data).unwrap())
    };
    graph.inputs().iter().map(draw).collect()
}

#[track_caller]
fn same(before: &Graph, after: &Graph) {
    let run = |graph: &Graph| execute(graph, &inputs(graph), &[], Precision::F64).unwrap();
    for ((name, wanted), (other, found)) in run(before).iter().zip(&run(after)) {
        assert_eq!((name, wanted.shape()), (other, found.shape()));
        let (wanted, found) = (wanted.to_f64().unwrap(), found.to_f64().unwrap());
        let near = |a: &f64, b: &f64| (a - b).abs() <= 1e-5 * (1.0 + a.abs());
        assert!(wanted.iter().zip(&found).all(|(a, b)| near(a, b)), "{name}\n{}\n{}", print(before), print(after));
    }
}

/// Asserts the operators after the layout of a graph.
#[track_caller]
fn becomes(text: &str, wanted: &[&str]) -> Graph {
    let after = laid_out(&graph(text));
    assert_eq!(nodes(&after), wanted, "{}", print(&after));
    after
}

#[test]
fn a_convolution_goes_channels_last() {
    let after = becomes(
        "in %x: f32[N, 3, 6, 6]
        const %w: f32[4, 3, 3, 3] = splat(0.5)
        const %b: f32[4] = {1, 2, 3, 4}
        %c = Conv(%x, %w, %b) {pads = [1, 1, 1, 1]}
        %y = Relu(%c)
        out %y",
        &["Transpose", "ai.hanc.ConvLast", "Relu", "Transpose"],
    );
    assert!(print(&after).contains("ConvLast(%hanc.5, %w, %b)"), "{}", print(&after));
    assert!(print(&after).contains("%y: f32[N, 4, 6, 6] = Transpose("), "{}", print(&after));
}

#[test]
fn one_channel_needs_no_movement() {
    becomes(
        "in %x: f32[N, 1, 6]
        const %w: f32[4, 1, 3] = splat(0.5)
        %c = Conv(%x, %w)
        %y = GlobalAveragePool(%c)
        out %y",
        &["Reshape", "ai.hanc.ConvLast", "ReduceMean", "Reshape"],
    );
}

#[test]
fn residuals_gates_and_norms_stay_channels_last() {
    becomes(
        "in %x: f32[N, 3, 4, 4]
        const %w: f32[4, 3, 1, 1] = splat(0.5)
        const %v: f32[4, 4, 1, 1] = splat(0.25)
        const %s: f32[4] = {1, 2, 3, 4}
        const %t: f32[4, 1, 1] = {4, 3, 2, 1}
        %c = Conv(%x, %w)
        %n = BatchNormalization(%c, %s, %s, %s, %s)
        %m = GlobalAveragePool(%n)
        %g = Conv(%m, %v)
        %h = Sigmoid(%g)
        %e = Mul(%n, %h)
        %a = Add(%e, %c)
        %f = Mul(%a, %t)
        %p = MaxPool(%f) {kernel_shape = [2, 2], strides = [2, 2]}
        %y = Flatten(%p)
        out %y",
        &[
            "Transpose",
            "ai.hanc.ConvLast",
            "Mul",
            "Add",
            "ReduceMean",
            "ai.hanc.ConvLast",
            "Sigmoid",
            "Mul",
            "Add",
            "Mul",
            "ai.hanc.MaxPoolLast",
            "Reshape",
            "Transpose",
            "Reshape",
        ],
    );
}

#[test]
fn norms_that_train_and_gradients_stay_channels_last() {
    becomes(
        "in %x: f32[N, 3, 4, 4]
        const %w: f32[4, 3, 1, 1] = splat(0.5)
        const %v: f32[2, 4, 1, 1] = splat(0.25)
        const %s: f32[4] = {1, 2, 3, 4}
        %c = Conv(%x, %w)
        %n, %mean, %var = ai.hanc.BatchNorm(%c, %s, %s) {axis = 1}
        %r = Relu(%n)
        %d = ai.hanc.ActivationGradient(%n, %r) {activation = \"relu\"}
        %dx, %ds, %db = ai.hanc.BatchNormGradient(%c, %d, %s, %mean, %var) {axis = 1}
        %e = Add(%dx, %r)
        %y = Conv(%e, %v)
        out %y
        out %ds",
        &[
            "Transpose",
            "ai.hanc.ConvLast",
            "ai.hanc.BatchNorm",
            "Relu",
            "ai.hanc.ActivationGradient",
            "ai.hanc.BatchNormGradient",
            "Add",
            "ai.hanc.ConvLast",
            "Transpose",
        ],
    );
}

#[test]
fn tokens_of_a_stem_are_a_reshape() {
    becomes(
        "in %x: f32[N, 3, 4, 4]
        const %w: f32[8, 3, 1, 1] = splat(0.5)
        const %shape: i64[3] = {0, 8, -1}
        const %u: f32[8, 5] = splat(0.5)
        %c = Conv(%x, %w)
        %r = Reshape(%c, %shape)
        %t = Transpose(%r) {perm = [0, 2, 1]}
        %y = MatMul(%t, %u)
        out %y",
        &["Transpose", "ai.hanc.ConvLast", "Reshape", "MatMul"],
    );
}

#[test]
fn chains_are_combined_also_where_others_read_between() {
    let after = becomes(
        "in %x: f32[N, 4, 6]
        const %shape: i64[4] = {0, 6, 2, 2}
        const %back: i64[3] = {0, 6, 4}
        %t = Transpose(%x) {perm = [0, 2, 1]}
        %r = Reshape(%t, %shape)
        %i = Identity(%r)
        %s = Reshape(%i, %back)
        %y = Transpose(%s) {perm = [0, 2, 1]}
        %z = Abs(%y)
        out %z, %r",
        &["Abs", "Transpose", "Reshape"],
    );
    assert!(print(&after).contains("%z: f32[N, 4, 6] = Abs(%x)"), "{}", print(&after));
}

#[test]
fn patches_move_once_each_way() {
    let text = "in %x: f32[N, 8, 4, 4]
        const %w: f32[8, 8, 3, 3] = splat(0.5)
        const %a: i64[4] = {-1, 2, 2, 2}
        const %b: i64[4] = {-1, 8, 4, 4}
        const %c: i64[3] = {-1, 4, 8}
        const %d: i64[4] = {-1, 4, 4, 8}
        const %e: i64[4] = {-1, 2, 2, 2}
        const %f: i64[4] = {-1, 8, 4, 4}
        const %s: f32[8] = splat(2)
        %conv = Conv(%x, %w) {pads = [1, 1, 1, 1]}
        %u0 = Reshape(%conv, %a)
        %u1 = Transpose(%u0) {perm = [0, 2, 1, 3]}
        %u2 = Reshape(%u1, %b)
        %u3 = Transpose(%u2) {perm = [0, 3, 2, 1]}
        %u4 = Reshape(%u3, %c)
        %n = LayerNormalization(%u4, %s, %s)
        %q = Transpose(%n) {perm = [0, 2, 1]}
        %m = MatMul(%n, %q)
        %o = MatMul(%m, %n)
        %r = Add(%o, %u4)
        %v0 = Reshape(%r, %d)
        %v1 = Transpose(%v0) {perm = [0, 3, 2, 1]}
        %v2 = Reshape(%v1, %e)
        %v3 = Transpose(%v2) {perm = [0, 2, 1, 3]}
        %v4 = Reshape(%v3, %f)
        %y = Conv(%v4, %w) {pads = [1, 1, 1, 1]}
        out %y";
    let after = laid_out(&graph(text));
    let moves = nodes(&after).iter().filter(|node| *node == "Transpose").count();
    // One to channels last, one to patches, one for the product, one to the picture, one to the output.
    assert_eq!(moves, 5, "{}", print(&after));
}

#[test]
fn axes_are_renamed() {
    becomes(
        "in %x: f32[N, 4, 6]
        const %starts: i64[1] = {1}
        const %ends: i64[1] = {5}
        const %first: i64[1] = {0}
        const %u: f32[6] = {1, 2, 3, 4, 5, 6}
        const %at: i64[] = {0}
        %t = Transpose(%x) {perm = [2, 0, 1]}
        %s = Softmax(%t) {axis = 0}
        %h = ai.hanc.Han(%s, %u) {axis = 0}
        %l = Slice(%h, %starts, %ends, %first)
        %a, %b = Split(%l) {axis = 0}
        %c = Concat(%a, %b, %a) {axis = 0}
        %g = Gather(%c, %at)
        %r = ReduceMax(%c) {axes = [0], keepdims = 0}
        %d = Add(%g, %r)
        out %d",
        &[
            "Softmax",
            "ai.hanc.Han",
            "Slice",
            "Split",
            "Reshape",
            "Reshape",
            "Concat",
            "Gather",
            "Reshape",
            "ReduceMax",
            "Reshape",
            "Add",
        ],
    );
}

#[test]
fn layers_of_hanc_are_renamed_too() {
    becomes(
        "in %x: f32[N, 3, 4, 4]
        const %w: f32[4, 3, 1, 1] = splat(0.5)
        const %v: f32[4, 4] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7}
        const %u: f32[8] = {1, 2, 3, 4, 5, 6, 7, 8}
        const %s: f32[4] = {1, 2, 3, 4}
        const %like: i64[4] = {1, 1, 4, 4}
        %c = Conv(%x, %w)
        %h = ai.hanc.HanStack(%c, %u, %u) {abs = [1, 0], axes = [1, 2]}
        %m = ReduceMax(%h) {axes = [3], keepdims = 1}
        %e = Expand(%m, %like)
        %a = Add(%e, %h)
        %t = Transpose(%a) {perm = [0, 3, 2, 1]}
        %l = ai.hanc.Linear(%t, %v, %s, %t)
        %y = ReduceMean(%l) {axes = [1, 2, 3], keepdims = 0}
        out %y",
        &[
            "Transpose",
            "ai.hanc.ConvLast",
            "ai.hanc.HanStack",
            "ReduceMax",
            "Add",
            "ai.hanc.Linear",
            "ReduceMean",
            "Reshape",
        ],
    );
}

#[test]
fn a_norm_of_one_group_takes_positions_in_any_order() {
    let before = graph_of(
        21,
        "in %x: f32[N, 3, 4, 4]
        const %w: f32[4, 3, 1, 1] = splat(0.5)
        const %s: f32[4] = {1, 2, 3, 4}
        %c = Conv(%x, %w)
        %n = GroupNormalization(%c, %s, %s) {num_groups = 1}
        %y = GlobalAveragePool(%n)
        out %y",
    );
    let wanted = ["ConvLast", "Reshape", "InstanceNormalization", "Reshape", "Mul", "Add", "ReduceMean", "Reshape"];
    let found = nodes(&laid_out(&before));
    let found: Vec<_> = found.iter().map(|node| node.trim_start_matches("ai.hanc.")).collect();
    assert_eq!(found[1..], wanted);
}

#[test]
fn constants_are_permuted_when_compiled() {
    becomes(
        "in %x: f32[N, 2]
        const %w: f32[3, 2] = {1, 2, 3, 4, 5, 6}
        %t = Transpose(%w)
        %y = MatMul(%x, %t)
        out %y",
        &["MatMul"],
    );
}

#[test]
fn values_for_others_keep_their_names() {
    let after = laid_out(&graph(
        "in %x: f32[2, 3]
        %t = Transpose(%x)
        %s = Transpose(%t)
        out %t, %s, %x",
    ));
    assert_eq!(print(&after).lines().last(), Some("out %t, %s, %x"));
    assert_eq!(nodes(&after), ["Transpose", "Identity"]);
}

/// A random graph of convolutions, transposes, reshapes, sums and functions of one variable.
struct Random {
    graph: Graph,
    stream: Stream,
    /// Values with their shapes, the batch free.
    values: Vec<(ValueId, Vec<i64>)>,
}

impl Random {
    fn new(seed: u64) -> Random {
        let opsets = BTreeMap::from([(String::new(), 17), ("ai.hanc".to_owned(), 1)]);
        let mut graph = Graph::new("random", opsets);
        let shape = ["N", "4", "2", "6"].map(|dim| Dim::parse(dim).unwrap()).to_vec();
        let x = graph.add_input("x", Some(DType::F32), Some(shape));
        Random { graph, stream: Stream::new(seed, "graph"), values: vec![(x, vec![0, 4, 2, 6])] }
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.stream.symmetric() + 1.0) / 2.0 * n as f64) as usize % n
    }

    fn numbers(&mut self, shape: &[i64]) -> ValueId {
        let shape: Vec<usize> = shape.iter().map(|&n| n as usize).collect();
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| self.stream.normal() as f32 / 2.0).collect();
        self.graph.add_constant("", Constant::f32(&shape, &data))
    }

    fn add(&mut self, new: NewNode, shape: Vec<i64>) {
        let value = self.graph.add(new);
        self.values.push((value, shape));
    }

    /// A new node on one of the newest values.
    fn grow(&mut self) {
        let at = self.values.len() - 1 - self.below(self.values.len().min(3));
        let (x, shape) = self.values[at].clone();
        match self.below(9) {
            0 => self.add(NewNode::new("Tanh", [x]), shape),
            1 if shape.len() == 4 => self.convolve(x, &shape),
            2 | 3 => self.transpose(x, &shape),
            4 => self.reshape(x, &shape),
            5 => self.sum(x, &shape),
            6 => self.channel_sum(x, &shape),
            7 => self.softmax(x, &shape),
            _ => self.product(x, &shape),
        }
    }

    fn convolve(&mut self, x: ValueId, shape: &[i64]) {
        let size = [1, 3][self.below(2)];
        let w = self.numbers(&[4, shape[1], size, size]);
        let pads = Attr::Ints(vec![size / 2; 4]);
        self.add(NewNode::new("Conv", [x, w]).attr("pads", pads), vec![0, 4, shape[2], shape[3]]);
    }

    /// All axes but the batch in another order.
    fn transpose(&mut self, x: ValueId, shape: &[i64]) {
        let mut rest: Vec<usize> = (1..shape.len()).collect();
        let mut perm = vec![0];
        while !rest.is_empty() {
            let at = self.below(rest.len());
            perm.push(rest.remove(at));
        }
        let moved = perm.iter().map(|&axis| shape[axis]).collect();
        let perm = Attr::Ints(perm.iter().map(|&p| p as i64).collect());
        self.add(NewNode::new("Transpose", [x]).attr("perm", perm), moved);
    }

    /// 48 elements a batch in one of some shapes.
    fn reshape(&mut self, x: ValueId, shape: &[i64]) {
        let count: i64 = shape[1..].iter().product();
        let divisors: Vec<i64> = [1, 2, 3, 4, 6, 8, 12].into_iter().filter(|d| count % d == 0).collect();
        let first = divisors[self.below(divisors.len())];
        let rest: Vec<i64> = [1, 2, 3, 4].into_iter().filter(|d| (count / first) % d == 0).collect();
        let second = rest[self.below(rest.len())];
        let new = vec![0, first, second, count / first / second];
        let new = if self.below(3) == 0 { vec![0, first, count / first] } else { new };
        let target = self.graph.add_constant("", Constant::i64(&[new.len()], &new));
        self.add(NewNode::new("Reshape", [x, target]), new);
    }

    fn sum(&mut self, x: ValueId, shape: &[i64]) {
        let like: Vec<_> = self.values.iter().filter(|(_, other)| other == shape).map(|(id, _)| *id).collect();
        let other = like[self.below(like.len())];
        self.add(NewNode::new("Add", [x, other]), shape.to_vec());
    }

    fn channel_sum(&mut self, x: ValueId, shape: &[i64]) {
        let axis = 1 + self.below(shape.len() - 1);
        let sizes: Vec<i64> = (axis..shape.len()).map(|i| if i == axis { shape[i] } else { 1 }).collect();
        let numbers = self.numbers(&sizes);
        self.add(NewNode::new("Mul", [x, numbers]), shape.to_vec());
    }

    fn softmax(&mut self, x: ValueId, shape: &[i64]) {
        let axis = 1 + self.below(shape.len() - 1);
        self.add(NewNode::new("Softmax", [x]).attr("axis", Attr::Int(axis as i64)), shape.to_vec());
    }

    fn product(&mut self, x: ValueId, shape: &[i64]) {
        let width = *shape.last().unwrap();
        let w = self.numbers(&[width, width]);
        self.add(NewNode::new("MatMul", [x, w]), shape.to_vec());
    }
}

#[test]
fn random_graphs_mean_the_same() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        (0..12).for_each(|_| random.grow());
        let last = random.values.len() - 1;
        let outputs = vec![random.values[last].0, random.values[last / 2].0];
        random.graph.set_outputs(outputs);
        fold(&mut random.graph, FoldLimits::default()).unwrap();
        laid_out(&random.graph);
    }
}
