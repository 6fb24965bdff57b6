//! Small models to read and to break.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hanc_proto::onnx::tensor_proto::DataLocation;
use hanc_proto::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    ValueInfoProto, attribute_proto::AttributeType,
};
use hanc_proto::{Error, Limits, ModelFile};
use prost::Message;

/// y = Add(x, w) with these initializers.
pub fn model(initializer: Vec<TensorProto>) -> ModelProto {
    let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..Default::default() };
    let graph = GraphProto {
        name: Some("g".into()),
        node: vec![node("Add", &["x", "w"], &["y"])],
        initializer,
        input: vec![value("x")],
        output: vec![value("y")],
        ..Default::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(graph),
        ..Default::default()
    }
}

pub fn node(op: &str, input: &[&str], output: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
    NodeProto { op_type: Some(op.into()), input: names(input), output: names(output), ..Default::default() }
}

/// An attribute that holds a graph.
pub fn branch(graph: GraphProto) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some("then_branch".into()), g: Some(graph), ..Default::default() };
    attribute.set_type(AttributeType::Graph);
    attribute
}

/// A tensor of floats as raw data.
pub fn raw(name: &str, values: &[f32]) -> TensorProto {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto { raw_data: Some(bytes.into()), ..described(name, 1, &[values.len() as i64]) }
}

/// A tensor without elements.
pub fn described(name: &str, dtype: i32, dims: &[i64]) -> TensorProto {
    TensorProto { name: Some(name.into()), data_type: Some(dtype), dims: dims.to_vec(), ..Default::default() }
}

/// A tensor of two floats in a data file.
pub fn external(entries: &[(&str, &str)]) -> TensorProto {
    let entry =
        |(key, value): &(&str, &str)| StringStringEntryProto { key: Some((*key).into()), value: Some((*value).into()) };
    TensorProto {
        data_location: Some(DataLocation::External as i32),
        external_data: entries.iter().map(entry).collect(),
        ..described("w", 1, &[2])
    }
}

pub fn parse(model: &ModelProto) -> Result<ModelFile, Error> {
    parse_bytes(model.encode_to_vec())
}

pub fn parse_bytes(bytes: Vec<u8>) -> Result<ModelFile, Error> {
    ModelFile::parse(bytes.into(), Some(Path::new("dir/broken.onnx")), &Limits::default())
}

/// Writes a model into a folder and opens it.
pub fn opened(folder: &Path, model: &ModelProto) -> ModelFile {
    let path = folder.join("m.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    ModelFile::open(&path, &Limits::default()).unwrap()
}

pub fn floats(bytes: &Bytes) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The message of an error that names the file and says what to do.
pub fn said<T>(result: Result<T, Error>) -> String {
    let error = result.err().expect("this must be refused");
    let text = error.to_string();
    assert!(
        text.contains("broken.onnx") || error.path().is_some_and(|p| text.contains(&*p.to_string_lossy())),
        "{text}"
    );
    assert!(text.ends_with(error.help()) && !error.help().is_empty(), "{text}");
    text
}

/// Models of the corpus beside the checkout; none, with a line that says so, where it is missing.
pub fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        let _ = writeln!(std::io::stderr(), "skipped: there is no ../shared/corpus beside the checkout");
        return vec![];
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut models: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    models.sort();
    models
}
