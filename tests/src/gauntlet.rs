//! The whole way of a model, from bytes to numbers, for models that may be broken: whatever ends it has to be a typed error.

use std::path::Path;

use hanc::blocks::{self, Found};
use hanc::convert::{self, Converted, Emit, Init, Options, Origin, select};
use hanc::error::{Coded, Failure};
use hanc::infer::infer;
use hanc::inspect::{self, About};
use hanc::ir::Graph;
use hanc::ir::inline::inline_all;
use hanc::samples::Samples;
use hanc::specialise::specialise;
use hanc::{lower, onnx};
use hanc_proto::{Limits, ModelFile};
use hanc_runtime::reference::Session;
use hanc_runtime::tensor::elements;

use crate::dice::Dice;

/// How far a model came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nowhere: it is no model file.
    Start,
    /// It was decoded.
    Opened,
    /// It became a graph.
    Imported,
    /// Its types and shapes were inferred.
    Inferred,
    /// It was searched for blocks and reported.
    Inspected,
    /// It was written and read again, converted where there were blocks.
    Written,
    /// It was lowered for small inputs.
    Lowered,
    /// It was run.
    Ran,
}

/// Elements of all inputs of a model that is run.
const SMALL: usize = 1 << 12;

/// Takes a model as far as it goes. External data are looked for beside `path`.
pub fn run(bytes: Vec<u8>, path: &Path, dice: &mut Dice) -> Stage {
    let mut stage = Stage::Start;
    if let Err(failure) = walk(bytes, path, dice, &mut stage) {
        let text = failure.json().to_string();
        assert!(!failure.message.is_empty() && !failure.help.is_empty(), "{text} does not say enough");
    }
    stage
}

fn said<T, E: Coded>(result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|error| Failure::at("model.onnx", &error))
}

fn walk(bytes: Vec<u8>, path: &Path, dice: &mut Dice, stage: &mut Stage) -> Result<(), Failure> {
    let file = said(ModelFile::parse(bytes.into(), Some(path), &Limits::default()))?;
    *stage = Stage::Opened;
    let mut graph = said(onnx::import(&file))?;
    *stage = Stage::Imported;
    said(infer(&mut graph))?;
    *stage = Stage::Inferred;
    let found = inspect(&graph)?;
    *stage = Stage::Inspected;
    let graph = written(&graph, &found, &file, dice)?;
    *stage = Stage::Written;
    compute(&graph, stage)
}

/// The report of a model and its page.
fn inspect(graph: &Graph) -> Result<Found, Failure> {
    let found = said(blocks::find(graph))?;
    let mut flat = graph.clone();
    said(inline_all(&mut flat))?;
    said(infer(&mut flat))?;
    let report = inspect::report(graph, &flat, &found, &About::default());
    let page = inspect::html::page(graph, &found, &report);
    let json = serde_json::to_string(&report);
    assert!(json.is_ok() && page.ends_with("</html>\n"), "the report cannot be written");
    let text = hanc::ir::text::print(graph);
    let read = hanc::ir::text::parse(&text);
    assert!(read.is_ok(), "{} does not parse:\n{text}", read.err().map_or(String::new(), |error| error.to_string()));
    Ok(found)
}

/// The model converted where that can be, written and read again.
fn written(graph: &Graph, found: &Found, file: &ModelFile, dice: &mut Dice) -> Result<Graph, Failure> {
    let (converted, addition);
    let graph = match converted_model(graph, found, dice) {
        Ok(done) => {
            (converted, addition) = (done.graph.clone(), done.addition());
            report(&done);
            &converted
        }
        Err(_) => {
            addition = onnx::Addition::default();
            graph
        }
    };
    let written = said(onnx::export(graph, Some(file), &addition))?;
    let again = said(ModelFile::parse(written.encode().into(), file.path.as_deref(), &Limits::default()));
    let again = again.unwrap_or_else(|failure| panic!("what was written cannot be read: {}", failure.json()));
    let graph = onnx::import(&again);
    Ok(graph.unwrap_or_else(|error| panic!("what was written is no graph: {error}")))
}

fn report(done: &Converted) {
    let text = done.report.text();
    assert!(text.lines().count() <= 40, "the table is too long:\n{text}");
    assert!(done.report.html("model.onnx").contains("</html>"), "the report is cut off");
}

/// Converts what can be converted, with any options.
fn converted_model(graph: &Graph, found: &Found, dice: &mut Dice) -> Result<Converted, Failure> {
    let options = Options {
        depth: 1 + dice.roll(3),
        keep_norm: dice.one_in(2),
        keep_residual: dice.one_in(2),
        init: if dice.one_in(2) { Init::Paper } else { Init::Identity },
        emit: if dice.one_in(2) { Emit::Inline } else { Emit::Function },
        ..Options::default()
    };
    let selected = said(select::select(graph, found, &options.selection).map_err(convert::ConvertError::from))?;
    let opens = selected.chosen.iter().flat_map(|block| &block.opens).copied().collect();
    let mut graph = graph.clone();
    said(blocks::open(&mut graph, &opens))?;
    let found = said(blocks::find(&graph))?;
    said(convert::convert(&graph, &found, &Origin::default(), &options))
}

/// Runs the model where its inputs are small, with little memory.
fn compute(graph: &Graph, stage: &mut Stage) -> Result<(), Failure> {
    let small = |id: &hanc::ir::ValueId| {
        let shape = graph.value(*id).shape.as_ref()?;
        let sizes = shape.iter().map(|dim| usize::try_from(dim.size().unwrap_or(dim.factor())).ok());
        elements(&sizes.collect::<Option<Vec<_>>>()?).filter(|count| *count <= SMALL / 64)
    };
    if !graph.inputs().iter().all(|id| small(id).is_some()) {
        return Ok(());
    }
    let samples = Samples { seed: 0, batch: 2, sizes: Vec::new() };
    let Ok(inputs) = samples.draw(graph, &Vec::new(), 0) else { return Ok(()) };
    let inputs: Vec<_> = inputs.into_iter().map(|(name, tensor, _)| (name, tensor)).collect();
    let shapes: Vec<_> = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    let special = said(specialise(graph, &shapes))?;
    let lowered = said(lower::lower(&special, &[]))?;
    let session = said(Session::new(&lowered.plan, &lowered.weights))?;
    *stage = Stage::Lowered;
    said(session.limit(64 << 20).run::<f64>(&inputs))?;
    *stage = Stage::Ran;
    Ok(())
}
