//! What kernels cost on the CPU device, one step a plan, on one thread: `cargo bench -p hanc-runtime --bench kernels`.
//! Narrower instruction sets are measured with `HANC_ISA`.

use divan::Bencher;
use divan::counter::BytesCount;
use hanc_runtime::plan::{Extent, Params, Plan, Port, Role, Slot, Step};
use hanc_runtime::{DType, Model, Options, Session, View};

fn main() {
    divan::main();
}

/// A call of a kernel.
#[derive(Clone)]
struct Call {
    kernel: &'static str,
    operands: Vec<Vec<usize>>,
    /// Which operands are integers.
    integers: Vec<usize>,
    results: Vec<(DType, Vec<usize>)>,
    params: Params,
}

fn call(kernel: &'static str, operands: &[&[usize]], result: &[usize]) -> Call {
    let operands = operands.iter().map(|shape| shape.to_vec()).collect();
    let results = vec![(DType::F32, result.to_vec())];
    Call { kernel, operands, integers: Vec::new(), results, params: Params::new() }
}

impl Call {
    fn with(mut self, params: Params) -> Call {
        self.params = params;
        self
    }

    /// With another result.
    fn and(mut self, dtype: DType, shape: &[usize]) -> Call {
        self.results.push((dtype, shape.to_vec()));
        self
    }

    /// With these operands integers.
    fn integers(mut self, operands: &[usize]) -> Call {
        self.integers = operands.to_vec();
        self
    }

    fn model(&self) -> Model {
        let slot = |name: String, role, dtype, shape: &[usize]| {
            let shape = shape.iter().map(|&factor| Extent { factor, symbol: None }).collect();
            Slot { name, role, dtype, shape }
        };
        let dtype = |i: usize| if self.integers.contains(&i) { DType::I64 } else { DType::F32 };
        let inputs = self.operands.iter().enumerate();
        let mut slots: Vec<_> = inputs.map(|(i, s)| slot(i.to_string(), Role::Input, dtype(i), s)).collect();
        let inputs: Vec<_> = (0..slots.len()).collect();
        for (i, (dtype, shape)) in self.results.iter().enumerate() {
            slots.push(slot(format!("y{i}"), Role::Scratch, *dtype, shape));
        }
        let step = Step {
            kernel: self.kernel.into(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: (inputs.len()..slots.len()).map(Some).collect(),
            params: self.params.clone(),
            place: self.kernel.into(),
        };
        let ports = inputs.iter().map(|&slot| Port { name: slot.to_string(), slot }).collect();
        let outputs = vec![Port { name: "y0".into(), slot: inputs.len() }];
        let plan = Plan { slots, steps: vec![step], inputs: ports, outputs, ..Plan::default() };
        Model::new(plan, Default::default()).expect("a plan of one step")
    }

    /// Measures it with the bytes that it reads and writes.
    fn bench(&self, bencher: Bencher<'_, '_>) {
        let len = |shape: &[usize]| shape.iter().product::<usize>();
        let number = |i: usize| (i as f32 * 0.731).sin() * 3.0;
        let data: Vec<Vec<f32>> = self.operands.iter().map(|shape| (0..len(shape)).map(number).collect()).collect();
        let ints: Vec<Vec<i64>> = self.operands.iter().map(|shape| vec![0x5a_5a5a; len(shape)]).collect();
        let names: Vec<_> = (0..data.len()).map(|i| i.to_string()).collect();
        let view = |i: usize| match self.integers.contains(&i) {
            true => View::i64(&self.operands[i], &ints[i]),
            false => View::f32(&self.operands[i], &data[i]),
        };
        let inputs: Vec<_> = names.iter().enumerate().map(|(i, name)| (name.as_str(), view(i))).collect();
        let mut session = Session::new(&self.model(), Options::default().threads(1)).expect("an instruction set");
        let results = self.results.iter().map(|(_, shape)| len(shape));
        let numbers = data.iter().map(Vec::len).chain(results).sum::<usize>();
        bencher.counter(BytesCount::of_many::<f32>(numbers)).bench_local(|| {
            session.run(&inputs).expect("a run");
        });
    }
}

/// A function of one number over 64 tokens of 512 channels.
#[divan::bench(args = ["relu.1", "exp.1", "sigmoid.1", "swish.1", "gelu.1", "gelu_tanh.1", "tanh.1", "erf.1", "log.1"])]
fn function(bencher: Bencher<'_, '_>, kernel: &'static str) {
    call(kernel, &[&[64, 512]], &[64, 512]).with(Params::new().with("alpha", 1.0)).bench(bencher);
}

/// A sum with an operand of this shape.
#[divan::bench(args = [&[64usize, 512][..], &[512], &[1], &[64, 1]])]
fn add(bencher: Bencher<'_, '_>, other: &&[usize]) {
    call("add.1", &[&[64, 512], other], &[64, 512]).bench(bencher);
}

/// The norm of 64 rows of this length.
#[divan::bench(args = [64, 96, 512])]
fn layer_norm(bencher: Bencher<'_, '_>, n: usize) {
    let params = Params::new().with("axis", 1).with("epsilon", 1e-5);
    call("layer_norm.1", &[&[64, n], &[n], &[n]], &[64, n]).with(params).bench(bencher);
}

/// The soft maximum of 1024 rows of this length.
#[divan::bench(args = [16, 49, 64, 256])]
fn softmax(bencher: Bencher<'_, '_>, n: usize) {
    call("softmax.1", &[&[1024, n]], &[1024, n]).with(Params::new().with("axis", 1)).bench(bencher);
}

/// The mean over the middle axis.
#[divan::bench(args = [[64usize, 64, 512], [1, 64, 320], [64, 49, 64]])]
fn mean(bencher: Bencher<'_, '_>, shape: [usize; 3]) {
    let params = Params::new().with("axes", vec![1]);
    call("reduce_mean.1", &[&shape], &[shape[0], shape[2]]).with(params).bench(bencher);
}

/// Axes in this order.
#[divan::bench(args = [
    (&[64usize, 512][..], &[1usize, 0][..]),
    (&[96, 1024], &[1, 0]),
    (&[4, 256, 4, 8], &[0, 2, 1, 3]),
    (&[4, 64, 4, 24], &[0, 2, 3, 1]),
    (&[3, 65_536], &[1, 0]),
    (&[16, 2, 16, 2, 96], &[1, 3, 0, 2, 4]),
    (&[1, 96, 16, 2, 16, 2], &[0, 3, 5, 2, 4, 1]),
])]
fn transpose(bencher: Bencher<'_, '_>, (shape, perm): &(&[usize], &[usize])) {
    let result: Vec<_> = perm.iter().map(|p| shape[*p]).collect();
    let perm: Vec<_> = perm.iter().map(|p| *p as i64).collect();
    call("transpose.1", &[shape], &result).with(Params::new().with("perm", perm)).bench(bencher);
}

/// Pictures by windows of 3 x 3, channels last.
#[divan::bench(args = [[1usize, 56, 56, 16], [1, 14, 14, 48]])]
fn average_pool(bencher: Bencher<'_, '_>, shape: [usize; 4]) {
    let params = Params::new().with("kernel", vec![3, 3]).with("pads", vec![1; 4]);
    call("average_pool_last.1", &[&shape], &shape).with(params).bench(bencher);
}

/// Parts of rows.
#[divan::bench(args = [32, 96])]
fn slice(bencher: Bencher<'_, '_>, width: usize) {
    let params = Params::new().with("starts", vec![0, 32]).with("steps", vec![1, 1]);
    call("slice.1", &[&[1024, 288]], &[1024, width]).with(params).bench(bencher);
}

/// The norm of groups of channels.
#[divan::bench]
fn group_norm(bencher: Bencher<'_, '_>) {
    let params = Params::new().with("groups", 1).with("epsilon", 1e-5);
    call("group_norm.1", &[&[1, 64, 1024], &[64], &[64]], &[1, 64, 1024]).with(params).bench(bencher);
}

/// Heads, tokens and size of a head.
#[divan::bench(args = [(16, 256, 8), (16, 64, 20), (3, 196, 64), (12, 17, 32)])]
fn attention(bencher: Bencher<'_, '_>, (heads, tokens, size): (usize, usize, usize)) {
    let shape = [1, heads, tokens, size];
    call("attention.1", &[&shape, &shape, &shape], &shape).bench(bencher);
}

/// A stack of layers in training: its shape, the layers' axis and how many there are.
type Stack = (&'static [usize], usize, usize);
const STACKS: [Stack; 5] =
    [(&[100, 30], 1, 17), (&[100, 200], 1, 17), (&[2048, 512], 1, 2), (&[32, 64, 512], 1, 2), (&[16, 64, 30], 1, 17)];

fn stack((shape, axis, layers): Stack) -> (Params, usize, usize) {
    let params = Params::new().with("axes", vec![axis; layers]).with("abs", vec![1; layers]);
    let line = if axis + 1 == shape.len() { shape[axis] } else { shape[axis + 1..].iter().product() };
    let words = layers * shape.iter().product::<usize>() / line * line.div_ceil(64);
    (params, layers * shape[axis], words)
}

/// A stack that hands out its signs.
#[divan::bench(args = STACKS)]
fn han_stack(bencher: Bencher<'_, '_>, of: Stack) {
    let (params, numbers, words) = stack(of);
    let call = call("han_stack.1", &[of.0, &[numbers], &[numbers]], of.0).and(DType::I64, &[words]);
    call.with(params).bench(bencher);
}

/// Back through a stack.
#[divan::bench(args = STACKS)]
fn han_stack_gradient(bencher: Bencher<'_, '_>, of: Stack) {
    let (params, numbers, words) = stack(of);
    let call = call("han_stack_gradient.1", &[of.0, &[words], of.0, &[numbers], &[numbers]], of.0);
    let call = call.and(DType::F32, &[numbers]).and(DType::F32, &[numbers]);
    call.integers(&[1]).with(params).bench(bencher);
}

/// Rows, inputs and outputs of a layer in training.
const LAYERS: [[usize; 3]; 5] = [[64, 512, 512], [512, 512, 512], [3136, 64, 64], [2048, 512, 512], [100, 30, 30]];

/// A layer whose weights are no constants.
#[divan::bench(args = LAYERS)]
fn layer(bencher: Bencher<'_, '_>, [m, k, n]: [usize; 3]) {
    call("linear.1", &[&[m, k], &[k, n], &[n]], &[m, n]).bench(bencher);
}

/// The gradient of its operand.
#[divan::bench(args = LAYERS)]
fn layer_input(bencher: Bencher<'_, '_>, [m, k, n]: [usize; 3]) {
    call("matmul.1", &[&[m, n], &[k, n]], &[m, k]).with(Params::new().with("trans_b", true)).bench(bencher);
}

/// The gradient of its weights.
#[divan::bench(args = LAYERS)]
fn layer_weight(bencher: Bencher<'_, '_>, [m, k, n]: [usize; 3]) {
    call("matmul.1", &[&[m, k], &[m, n]], &[k, n]).with(Params::new().with("trans_a", true)).bench(bencher);
}

/// Batch, size of the picture, channels of x and y, groups, size of the window and stride.
type Conv = [usize; 7];
const CONVOLUTIONS: [Conv; 5] = [
    [32, 32, 64, 128, 1, 3, 2],
    [32, 16, 128, 256, 1, 3, 1],
    [32, 16, 256, 512, 1, 3, 2],
    [16, 32, 64, 64, 64, 3, 1],
    [16, 16, 48, 96, 1, 1, 1],
];

fn convolution([batch, size, from, to, groups, kernel, stride]: Conv) -> (Params, [[usize; 4]; 3]) {
    let pad = kernel / 2;
    let params = Params::new().with("group", groups).with("strides", vec![stride; 2]).with("pads", vec![pad; 4]);
    let out = (size + 2 * pad - kernel) / stride + 1;
    (params, [[batch, size, size, from], [to, from / groups, kernel, kernel], [batch, out, out, to]])
}

/// A convolution whose kernel is no constant.
#[divan::bench(args = CONVOLUTIONS)]
fn conv(bencher: Bencher<'_, '_>, of: Conv) {
    let (params, [x, w, y]) = convolution(of);
    call("conv_last.1", &[&x, &w], &y).with(params).bench(bencher);
}

/// The gradient of its operand.
#[divan::bench(args = CONVOLUTIONS)]
fn conv_input(bencher: Bencher<'_, '_>, of: Conv) {
    let (params, [x, w, y]) = convolution(of);
    call("conv_gradient_input.1", &[&y, &w], &x).with(params).bench(bencher);
}

/// The gradient of its kernel.
#[divan::bench(args = CONVOLUTIONS)]
fn conv_weight(bencher: Bencher<'_, '_>, of: Conv) {
    let (params, [x, w, y]) = convolution(of);
    call("conv_gradient_weight.1", &[&x, &y], &w).with(params).bench(bencher);
}
