//! Gradients of whole models: nothing on the way from the loss to the weights is without a gradient, and along a
//! direction they are what differences say.

use hanc::count::trained;
use hanc::grad::{Build, gradients};
use hanc::infer::infer;
use hanc::ir::{Attr, Graph, NewNode, ValueId};
use hanc::lower::lower;
use hanc_models::{Storage, plan};
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::reference::Session;
use hanc_runtime::{DType, Tensor};
use hanc_tests::corpus;

type Shapes = Vec<(String, Vec<usize>)>;

/// A model whose weights are inputs, with its loss, a sum of its real outputs times numbers, and their gradients.
struct Trainable {
    graph: Graph,
    weights: Vec<(String, Tensor)>,
}

/// Numbers in (−1, 1) that look random.
fn numbers(seed: usize, count: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729 + 1) as f64 * 0.618_034).sin()).collect()
}

fn sized(graph: &Graph, value: ValueId) -> Option<usize> {
    let shape = graph.value(value).shape.as_ref()?;
    shape.iter().map(|dim| dim.size().and_then(|n| usize::try_from(n).ok())).product()
}

fn loss(graph: &mut Graph) -> Result<ValueId, String> {
    let outputs: Vec<ValueId> = graph.outputs().to_vec();
    let mut total: Option<ValueId> = None;
    for (seed, output) in outputs.into_iter().enumerate() {
        if !graph.value(output).dtype.is_some_and(DType::is_real) {
            continue;
        }
        let count = sized(graph, output).ok_or("an output's shape is not known")?;
        let mut build = Build::new(graph, "loss");
        let flat = build.reshape(output, &[count]);
        // Single precision would round the differences away.
        let flat = build.node(NewNode::new("Cast", [flat]).attr("to", Attr::Int(11)));
        let factors = build.numbers(flat, &[count], &numbers(seed, count));
        let product = build.mul(flat, factors);
        let sum = build.sum(product, &[0], false);
        total = Some(total.map_or(sum, |total| build.add(total, sum)));
        build.finish()?;
    }
    total.ok_or_else(|| "there is no real output".into())
}

impl Trainable {
    fn new(file: &ModelFile, shapes: &Shapes) -> Result<Trainable, String> {
        let graph = hanc::onnx::import(file).map_err(|e| e.to_string())?;
        let mut graph = hanc::specialise::specialise(&graph, shapes).map_err(|e| e.to_string())?;
        let found: Vec<ValueId> = trained(&graph).into_iter().map(|t| t.value).collect();
        let read: Vec<ValueId> = found.into_iter().filter(|value| graph.constant(*value).is_some()).collect();
        let mut weights = Vec::new();
        for &value in &read {
            let constant = graph.constant(value).ok_or("it was a constant")?;
            let data = constant.reals().ok_or("a weight is not real")?;
            let tensor = Tensor::from_f64(&constant.shape, &data).map_err(|e| e.to_string())?;
            weights.push((graph.value(value).name.to_string(), tensor));
            graph.make_input(value);
        }
        let loss = loss(&mut graph)?;
        let seed = Build::new(&mut graph, "seed").number(loss, 1.0);
        let found = gradients(&mut graph, &[(loss, seed)], &read).map_err(|e| e.to_string())?;
        let missing = found.iter().zip(&weights).filter(|(gradient, _)| gradient.is_none()).map(|(_, (name, _))| name);
        let missing: Vec<&String> = missing.collect();
        if weights.is_empty() || !missing.is_empty() {
            return Err(format!("of {} weights, {missing:?} have no gradient", weights.len()));
        }
        graph.set_outputs(std::iter::once(loss).chain(found.into_iter().flatten()).collect());
        infer(&mut graph).map_err(|e| e.to_string())?;
        Ok(Trainable { graph, weights })
    }

    /// The largest relative difference between the gradients along a direction and differences of the loss.
    fn off(&self, inputs: &[(String, Tensor)]) -> Result<f64, String> {
        let lowered = lower(&self.graph, &[]).map_err(|e| e.to_string())?;
        let session = Session::new(&lowered.plan, &lowered.weights).map_err(|e| e.to_string())?;
        let run = |weights: &[(String, Tensor)]| -> Result<Vec<Vec<f64>>, String> {
            let given = inputs.iter().chain(weights).map(|(name, tensor)| (name.clone(), single(tensor)));
            let outputs = session.run::<f64>(&given.collect::<Vec<_>>()).map_err(|e| e.to_string())?;
            outputs.iter().map(|(_, tensor)| tensor.to_f64().ok_or_else(|| "not real".to_owned())).collect()
        };
        let (up, down) = (self.moved(STEP), self.moved(-STEP));
        let wanted = run(&up)?[0][0] - run(&down)?[0][0];
        let mut found = 0.0;
        for ((gradient, (_, up)), (_, down)) in run(&self.weights)?[1..].iter().zip(&up).zip(&down) {
            let (up, down) = (rounded(up), rounded(down));
            found += gradient.iter().zip(up.iter().zip(&down)).map(|(g, (up, down))| g * (up - down)).sum::<f64>();
        }
        Ok((found - wanted).abs() / wanted.abs().max(1e-6))
    }

    /// The weights, this far along a direction.
    fn moved(&self, step: f64) -> Vec<(String, Tensor)> {
        let each = self.weights.iter().enumerate().map(|(seed, (name, tensor))| {
            let data = rounded(tensor);
            let direction = numbers(seed + 17, data.len());
            let data: Vec<f64> = data.iter().zip(direction).map(|(x, d)| x + step * d).collect();
            (name.clone(), Tensor::from_f64(tensor.shape(), &data).expect("as before"))
        });
        each.collect()
    }
}

/// How far weights are moved to either side: so little that next to no activation passes a corner of its function.
const STEP: f64 = 1e-7;

/// Elements as a model in single precision holds them.
fn rounded(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f64().expect("real").into_iter().map(|x| f64::from(x as f32)).collect()
}

fn single(tensor: &Tensor) -> Tensor {
    let data: Vec<f32> = tensor.to_f64().expect("real").into_iter().map(|x| x as f32).collect();
    Tensor::from_f32(tensor.shape(), &data).expect("as before")
}

#[test]
fn along_a_direction_gradients_are_differences() {
    let folder = tempfile::tempdir().unwrap();
    let models: [(&str, &[usize]); 7] = [
        ("stem-mixer,mlp=1,han=1,width=8,image=8,hidden=12,token-hidden=6,classes=3", &[2, 3, 8, 8]),
        ("mobilevit-xxs,image=64,classes=4", &[1, 3, 64, 64]),
        ("mobilevit-xxs,image=64,han=true,classes=4", &[1, 3, 64, 64]),
        ("hannet,width=6,depth=4", &[3, 2]),
        ("hannet,style=regression,in=3,out=2,width=7", &[3, 3]),
        ("fcnet,width=6", &[3, 2]),
        ("mixer,image=8,patch=4,width=6,depth=2,token-hidden=5,channel-hidden=7", &[2, 3, 8, 8]),
    ];
    for (at, (spec, shape)) in models.into_iter().enumerate() {
        let path = folder.path().join(at.to_string()).with_extension("onnx");
        plan(spec).and_then(|plan| plan.write(&path, Storage::Auto)).unwrap_or_else(|e| panic!("{spec}: {e}"));
        let file = ModelFile::open(&path, &Limits::default()).unwrap();
        let input = hanc::onnx::import(&file).map(|graph| graph.value(graph.inputs()[0]).name.to_string()).unwrap();
        let model = Trainable::new(&file, &vec![(input.clone(), shape.to_vec())]);
        let model = model.unwrap_or_else(|e| panic!("{spec}: {e}"));
        let x = Tensor::from_f64(shape, &numbers(5, shape.iter().product())).unwrap();
        let off = model.off(&[(input, x)]).unwrap_or_else(|e| panic!("{spec}: {e}"));
        assert!(off < 1e-6, "{spec}: off by {off:e}");
    }
}

#[test]
fn every_weight_of_the_corpus_has_a_gradient() {
    let build = |model: &corpus::Model| -> Result<(), String> {
        let archive = hanc::tensors::read(&model.npz, 1 << 30).map_err(|e| e.to_string())?;
        let inputs = archive.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("input/")?, tensor)));
        let shapes: Shapes = inputs.map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect();
        let file = ModelFile::open(&model.path, &Limits::default()).map_err(|e| e.to_string())?;
        Trainable::new(&file, &shapes).map(drop)
    };
    let problem = |model: &corpus::Model| build(model).err().map(|error| format!("{}: {error}", model.name));
    let problems: Vec<String> = corpus::models().iter().filter_map(problem).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
