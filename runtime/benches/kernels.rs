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
    result: Vec<usize>,
    params: Params,
}

fn call(kernel: &'static str, operands: &[&[usize]], result: &[usize]) -> Call {
    let operands = operands.iter().map(|shape| shape.to_vec()).collect();
    Call { kernel, operands, result: result.to_vec(), params: Params::new() }
}

impl Call {
    fn with(mut self, params: Params) -> Call {
        self.params = params;
        self
    }

    fn model(&self) -> Model {
        let slot = |name: String, role, shape: &[usize]| {
            let shape = shape.iter().map(|&factor| Extent { factor, symbol: None }).collect();
            Slot { name, role, dtype: DType::F32, shape }
        };
        let mut slots: Vec<_> =
            self.operands.iter().enumerate().map(|(i, shape)| slot(i.to_string(), Role::Input, shape)).collect();
        slots.push(slot("y".into(), Role::Scratch, &self.result));
        let inputs: Vec<_> = (0..self.operands.len()).collect();
        let step = Step {
            kernel: self.kernel.into(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(inputs.len())],
            params: self.params.clone(),
            place: self.kernel.into(),
        };
        let ports = inputs.iter().map(|&slot| Port { name: slot.to_string(), slot }).collect();
        let outputs = vec![Port { name: "y".into(), slot: inputs.len() }];
        let plan = Plan { slots, steps: vec![step], inputs: ports, outputs, ..Plan::default() };
        Model::new(plan, Default::default()).expect("a plan of one step")
    }

    /// Measures it with the bytes that it reads and writes.
    fn bench(&self, bencher: Bencher<'_, '_>) {
        let len = |shape: &[usize]| shape.iter().product::<usize>();
        let number = |i: usize| (i as f32 * 0.731).sin() * 3.0;
        let data: Vec<Vec<f32>> = self.operands.iter().map(|shape| (0..len(shape)).map(number).collect()).collect();
        let names: Vec<_> = (0..data.len()).map(|i| i.to_string()).collect();
        let views = self.operands.iter().zip(&data).map(|(shape, data)| View::f32(shape, data));
        let inputs: Vec<_> = names.iter().map(String::as_str).zip(views).collect();
        let mut session = Session::new(&self.model(), Options::default().threads(1)).expect("an instruction set");
        let numbers = data.iter().map(Vec::len).sum::<usize>() + len(&self.result);
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
