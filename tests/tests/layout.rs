//! Whole models compute what onnxruntime recorded after their layout was chosen, with free sizes and with the sizes of
//! the record. Prints how many transpositions are left and how many elements they move at a batch of 1. Needs
//! `../shared/corpus` beside the project.

use hanc::fold::{FoldLimits, fold};
use hanc::infer::infer;
use hanc::ir::inline::inline_all;
use hanc::ir::verify::verify;
use hanc::ir::{Dim, Graph};
use hanc::lower::lower;
use hanc::optimise::layout::layout;
use hanc::optimise::optimise;
use hanc::specialise::specialise;
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::Tensor;
use hanc_runtime::reference::Session;
use hanc_tests::corpus::{self, Model};
use hanc_tests::pipeline::parallel;

type Named = Vec<(String, Tensor)>;

/// Transpositions and the elements that they move at a batch of 1.
#[derive(Clone, Copy)]
struct Moves {
    count: usize,
    elements: i64,
}

fn moves(graph: &Graph) -> Moves {
    let moved = graph.nodes().filter(|(_, node)| node.is("Transpose"));
    let shapes = moved.filter_map(|(_, node)| graph.value(node.output(0)?).shape.as_ref());
    let sizes: Vec<i64> = shapes.map(|shape| shape.iter().map(Dim::factor).product()).collect();
    Moves { count: sizes.len(), elements: sizes.iter().sum() }
}

fn recorded(archive: &[(String, Tensor)], prefix: &str) -> Named {
    let named =
        archive.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())));
    named.collect()
}

fn laid_out(mut graph: Graph) -> Result<Graph, String> {
    layout(&mut graph).map_err(|e| e.to_string())?;
    verify(&graph).map_err(|e| e.to_string())?;
    infer(&mut graph).map_err(|e| e.to_string())?;
    Ok(graph)
}

/// Runs a graph whose sizes are known and compares its outputs with the recorded ones.
fn check(graph: &Graph, inputs: &Named, wanted: &Named, tolerance: f64) -> Result<(), String> {
    let lowered = lower(graph, &[]).map_err(|e| e.to_string())?;
    let session = Session::new(&lowered.plan, &lowered.weights).map_err(|e| e.to_string())?;
    let found = session.run::<f32>(inputs).map_err(|e| e.to_string())?;
    for (name, wanted) in wanted {
        let (_, found) = found.iter().find(|(own, _)| own == name).ok_or_else(|| format!("no output {name}"))?;
        if (found.dtype(), found.shape()) != (wanted.dtype(), wanted.shape()) {
            return Err(format!("{name} is {}{:?}", found.dtype(), found.shape()));
        }
        let (found, wanted) = (found.to_f64().ok_or("not numbers")?, wanted.to_f64().ok_or("not numbers")?);
        let largest = wanted.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let off = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0f64, f64::max);
        if found.iter().any(|x| !x.is_finite()) || off > tolerance * largest.max(f64::MIN_POSITIVE) {
            return Err(format!("{name} is off by {off:e}, the largest element is {largest:e}"));
        }
    }
    Ok(())
}

/// Lays out a model with free sizes and with the recorded ones, runs both; the moves before and behind, and
/// behind all stages of the optimisation.
fn run(model: &Model) -> Result<[Moves; 3], String> {
    let archive = hanc::tensors::read(&model.npz, 1 << 30).map_err(|e| e.to_string())?;
    let (inputs, wanted) = (recorded(&archive, "input/"), recorded(&archive, "output/"));
    let file = ModelFile::open(&model.path, &Limits::default()).map_err(|e| e.to_string())?;
    let imported = hanc::onnx::import(&file).map_err(|e| e.to_string())?;
    let mut graph = imported.clone();
    let shapes: Vec<_> = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    let tolerance = if model.is_half() { 1e-2 } else { 1e-4 };
    let bound = laid_out(specialise(&graph, &shapes).map_err(|e| e.to_string())?)?;
    check(&bound, &inputs, &wanted, tolerance).map_err(|e| format!("with known sizes: {e}"))?;
    inline_all(&mut graph).map_err(|e| e.to_string())?;
    fold(&mut graph, FoldLimits::default()).map_err(|e| e.to_string())?;
    let before = moves(&graph);
    let free = laid_out(graph)?;
    let bound = specialise(&free, &shapes).map_err(|e| format!("with free sizes: {e}"))?;
    check(&bound, &inputs, &wanted, tolerance).map_err(|e| format!("with free sizes: {e}"))?;
    let whole = optimise(&imported, None, &mut |_, _| ()).map_err(|e| e.to_string())?;
    Ok([before, moves(&free), moves(&whole)])
}

#[test]
fn outputs_stay_and_fewer_elements_move() {
    let models: Vec<_> = corpus::models();
    let results = parallel(&models, run);
    eprintln!("{:40} {:>16} {:>33}", "model: folded → layout → all stages", "transposes", "elements moved");
    let mut wrong = Vec::new();
    for (model, result) in models.iter().zip(results) {
        match result {
            Err(message) => wrong.push(format!("{}: {message}", model.name)),
            Ok(moves) => {
                let show = |numbers: [i64; 3], width: usize| numbers.map(|n| format!("{n:>width$}")).join(" →");
                let counts = moves.map(|m| m.count as i64);
                eprintln!("{:40} {} {}", model.name, show(counts, 4), show(moves.map(|m| m.elements), 10));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} models:\n{}", wrong.len(), models.len(), wrong.join("\n"));
}
