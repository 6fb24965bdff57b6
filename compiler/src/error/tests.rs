//! Every error of a module has a row, and every row an error.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use hanc_data::DataError;
use hanc_data::array::ArrayError;
use hanc_runtime::PlanError;
use hanc_runtime::file::{Excess, OpenError, Problem, SaveError};
use hanc_runtime::reference::RunError;

use super::{CODES, Coded, Failure, find};
use crate::blocks::FindError;
use crate::compile::CompileError;
use crate::convert::{ConvertError, EmitError, NoIdentity, SelectError};
use crate::execute::{ExecuteError, InputsError};
use crate::infer::InferError;
use crate::ir::CycleError;
use crate::ir::inline::{InlineError, Reason};
use crate::ir::verify::{Flaw, VerifyError};
use crate::lower::LowerError;
use crate::onnx::{ExportError, Fault, ImportError};
use crate::optimise::OptimiseError;
use crate::optimise::layout::LayoutError;
use crate::peer::PeerError;
use crate::specialise::SpecialiseError;
use crate::tensors::TensorError;
use crate::train::StepError;
use crate::train::TrainError;
use crate::train::evaluate::EvaluateError;
use crate::train::network::NetworkError;
use crate::train::sets::SetsError;

/// Codes that the command line gives out itself.
const OWN: [&str; 10] = ["E101", "E102", "E106", "E107", "E209", "E406", "E508", "E601", "E607", "E608"];

fn s() -> String {
    "x".into()
}

fn io() -> io::Error {
    io::ErrorKind::Other.into()
}

fn cycle() -> CycleError {
    CycleError { places: vec![s()] }
}

fn data() -> Vec<DataError> {
    vec![
        DataError::Read { path: s().into(), source: io() },
        DataError::Malformed { path: s().into(), place: s(), message: s() },
        DataError::Array(ArrayError::Malformed { path: s().into(), message: s() }),
        DataError::Unknown { path: s().into(), message: s() },
        DataError::Inconsistent { name: s(), message: s() },
        DataError::Option { option: s(), message: s() },
        DataError::TooLarge { path: s().into(), needed: 2, limit: 1 },
        DataError::Worker { message: s() },
    ]
}

fn infer(op: &str) -> InferError {
    InferError { place: s(), op: op.into(), message: s(), operands: s() }
}

fn inline() -> InlineError {
    InlineError { place: s(), function: s(), reason: Reason::Depth }
}

fn inputs() -> InputsError {
    InputsError { name: s(), problem: s(), wanted: s() }
}

fn specialise() -> SpecialiseError {
    SpecialiseError::Unknown { name: s(), inputs: vec![] }
}

fn lower() -> LowerError {
    LowerError { place: s(), op: s(), message: s() }
}

fn select() -> SelectError {
    SelectError::Indices { text: s() }
}

fn file() -> hanc_proto::Error {
    hanc_proto::Error::NotOnnx { path: None, reason: s() }
}

/// One of each kind, for every module. A `match` without a wildcard in `map.rs` holds the variants; this holds the rows.
fn one_of_each() -> Vec<Box<dyn Coded>> {
    let path = PathBuf::new;
    let mut all: Vec<Box<dyn Coded>> =
        vec![Box::new(cycle()), Box::new(infer("graph")), Box::new(infer("Add")), Box::new(inline())];
    all.push(Box::new(hanc_models::Error::Repeated { model: "x", option: "y" }));
    all.push(Box::new(hanc_models::Error::TooLarge { model: "x", parameters: 1, limit: 0 }));
    all.push(Box::new(hanc_models::Error::Write { path: path(), source: io() }));
    all.push(Box::new(TensorError::Read(ArrayError::Read { path: path(), source: io() })));
    all.push(Box::new(TensorError::Read(ArrayError::Malformed { path: path(), message: s() })));
    all.push(Box::new(TensorError::Read(ArrayError::Type { path: path(), array: s(), descr: s() })));
    all.push(Box::new(TensorError::Read(ArrayError::TooLarge { path: path(), array: s(), needed: 1, limit: 0 })));
    all.extend(data().into_iter().map(|error| Box::new(error) as Box<dyn Coded>));
    all.push(Box::new(TensorError::Write { path: path(), source: io() }));
    all.push(Box::new(hanc_proto::Error::Io { path: path(), action: "open", source: io() }));
    all.push(Box::new(hanc_proto::Error::Io { path: path(), action: "write", source: io() }));
    all.push(Box::new(hanc_proto::Error::NotAFile { path: path(), what: "a folder" }));
    all.push(Box::new(file()));
    all.push(Box::new(hanc_proto::Error::Malformed { path: None, place: s(), reason: s() }));
    all.push(Box::new(hanc_proto::Error::Tensor { path: None, tensor: s(), reason: s() }));
    all.push(Box::new(hanc_proto::Error::External { path: None, tensor: s(), location: s(), reason: s() }));
    all.push(Box::new(hanc_proto::Error::Limit { path: None, what: s(), found: 1, limit: 0 }));
    all.push(Box::new(hanc_proto::Error::TooLarge { path: path(), bytes: 1 }));
    all.push(Box::new(ImportError::File(file())));
    all.push(Box::new(ImportError::Graph { file: s(), place: s(), message: s(), fault: Fault::Undefined }));
    all.push(Box::new(ExportError::Cycle(cycle())));
    all.push(Box::new(ExportError::Attribute { place: s(), op: s(), attribute: s() }));
    all.push(Box::new(FindError::Cycle(cycle())));
    all.push(Box::new(FindError::Inline(inline())));
    all.push(Box::new(FindError::Infer(infer("Add"))));
    all.push(Box::new(ConvertError::NothingMatched { refused: vec![], present: Default::default(), han: 0 }));
    all.push(Box::new(ConvertError::Select(select())));
    all.push(Box::new(ConvertError::Depth(0)));
    all.push(Box::new(ConvertError::Rank(0)));
    all.push(Box::new(ConvertError::Function(2)));
    all.push(Box::new(ConvertError::Offset(0.0)));
    all.push(Box::new(ConvertError::Init { block: s(), error: NoIdentity }));
    all.push(Box::new(ConvertError::Emit { block: s(), error: EmitError::Unknown(s()) }));
    all.push(Box::new(ConvertError::Infer(infer("Add"))));
    all.push(Box::new(ConvertError::Cycle(cycle())));
    all.push(Box::new(ExecuteError::Inputs(inputs())));
    all.push(Box::new(ExecuteError::Specialise(specialise())));
    all.push(Box::new(ExecuteError::Specialise(SpecialiseError::Shape {
        name: s(),
        declared: vec![],
        given: vec![],
        because: s(),
    })));
    all.push(Box::new(ExecuteError::Specialise(SpecialiseError::Free { name: s(), declared: s() })));
    all.push(Box::new(ExecuteError::Specialise(SpecialiseError::Inline(inline()))));
    all.push(Box::new(ExecuteError::Specialise(SpecialiseError::Infer(infer("Add")))));
    all.push(Box::new(ExecuteError::Lower(lower())));
    all.push(Box::new(ExecuteError::Plan(PlanError(s()))));
    all.push(Box::new(ExecuteError::Run(RunError::Plan(PlanError(s())))));
    all.push(Box::new(ExecuteError::Run(RunError::Input { name: s(), problem: s(), wanted: s() })));
    all.push(Box::new(ExecuteError::Run(RunError::Memory { place: s(), needed: 1, limit: 0 })));
    all.push(Box::new(ExecuteError::Run(RunError::Kernel { place: s(), kernel: s(), message: s(), operands: s() })));
    all.push(Box::new(ExecuteError::Run(RunError::NoBody { device: "CUDA", calls: vec![s()] })));
    all.push(Box::new(ExecuteError::Run(RunError::Device(s()))));
    all.push(Box::new(CompileError::Specialise(specialise())));
    all.push(Box::new(CompileError::Batch { wanted: s() }));
    all.push(Box::new(CompileError::Inline(inline())));
    all.push(Box::new(OptimiseError::Inline(inline())));
    all.push(Box::new(OptimiseError::Cycle(cycle())));
    all.push(Box::new(OptimiseError::Specialise(specialise())));
    all.push(Box::new(OptimiseError::Layout(LayoutError::Constant(s()))));
    all.push(Box::new(OptimiseError::Verify { stage: "x", error: VerifyError { place: s(), flaw: Flaw::Name } }));
    all.push(Box::new(CompileError::Optimise(OptimiseError::Infer(infer("Add")))));
    all.push(Box::new(CompileError::Lower(lower())));
    all.push(Box::new(CompileError::Free { error: lower(), free: vec![s()] }));
    let excess = Excess { what: "steps", found: 1, limit: 0 };
    for problem in [
        Problem::Io(io()),
        Problem::NotHanc(s()),
        Problem::Version { found: s() },
        Problem::Malformed { place: s(), message: s() },
        Problem::Kernel { needed: s(), known: vec![], place: s() },
        Problem::Plan(PlanError(s())),
        Problem::Limit(excess),
    ] {
        all.push(Box::new(OpenError { path: None, problem }));
    }
    all.push(Box::new(SaveError::Io { path: path(), source: io() }));
    all.push(Box::new(SaveError::Limit(excess)));
    all.push(Box::new(crate::train::recipe::read("", "x", &[s()]).expect_err("no override")));
    all.push(Box::new(TrainError::Task(Failure::new("E105", "x", "y"))));
    all.push(Box::new(TrainError::Interrupted { folder: path(), step: 1 }));
    all.push(Box::new(TrainError::NotFinite { what: "the loss", step: 1, node: None }));
    all.push(Box::new(TrainError::Folder { folder: path(), message: s(), help: s() }));
    all.push(Box::new(TrainError::Io { path: path(), source: io() }));
    all.push(Box::new(TrainError::Metric { metric: s(), known: vec![] }));
    let blocked = crate::grad::Blocked { place: s(), op: s(), reason: s() };
    all.push(Box::new(StepError::Grad(crate::grad::GradError(vec![blocked]))));
    all.push(Box::new(StepError::Network(NetworkError::Nothing(false))));
    all.push(Box::new(StepError::NotFinite { step: 1, what: s(), origin: None }));
    all.push(Box::new(SetsError::Empty(s())));
    all.push(Box::new(EvaluateError::Results(s())));
    all.push(Box::new(PeerError::NotFound { looked: vec![] }));
    all.push(Box::new(PeerError::BadLibrary { path: path(), reason: s() }));
    all.push(Box::new(PeerError::NotBuilt { engine: "x" }));
    all.push(Box::new(PeerError::Load { engine: "x", reason: s() }));
    all.push(Box::new(PeerError::Run { engine: "x", reason: s() }));
    all
}

#[test]
fn every_error_has_a_row_and_every_row_an_error() {
    let mut reached: BTreeSet<&str> = OWN.into();
    for error in one_of_each() {
        assert!(find(error.code()).is_some(), "{} has no row {}", error, error.code());
        reached.insert(error.code());
    }
    let rows: BTreeSet<_> = CODES.iter().map(|row| row.code).collect();
    let model = hanc_models::plan("no-such-model").err().map(|error| error.code());
    assert_eq!(model, Some("E108"));
    assert_eq!(rows.difference(&reached).collect::<Vec<_>>(), Vec::<&&str>::new(), "rows that nothing gives out");
}

#[test]
fn the_place_is_said_once() {
    let error = LowerError { place: "/a/Add".into(), op: "Add".into(), message: "no".into() };
    let failure = Failure::at("m.onnx", &error);
    assert_eq!(failure.location(), "m.onnx, node \"/a/Add\" (Add)");
    assert_eq!(failure.message, "no");
}

#[test]
fn rows_are_unique_ordered_and_complete() {
    assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
    for row in CODES {
        assert!(row.code.len() == 4 && row.code.starts_with('E'), "{}", row.code);
        assert!((1..=6).contains(&row.exit), "{}", row.code);
        let texts = [row.title, row.stage, row.cause, row.help, row.example];
        assert!(texts.iter().all(|text| !text.is_empty()), "{}", row.code);
    }
}

#[test]
fn json_has_the_five_keys() {
    let json = Failure::new("E103", "x.onnx", "gone").json();
    let keys: Vec<_> = json["error"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["code", "stage", "place", "message", "help"]);
}
