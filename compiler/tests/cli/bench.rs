//! A folder, the program in it, and models to give it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hanc::tensors::write_npy;
use hanc_models::fixtures::{self, Fixture};
use hanc_proto::onnx::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use hanc_runtime::Tensor;
use prost::Message;
use serde_json::Value;

/// A folder of models and arrays.
pub struct Bench {
    pub dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn model(&self, name: &str, model: &ModelProto) -> PathBuf {
        self.file(name, model.encode_to_vec())
    }

    /// A model with one block that can be replaced.
    pub fn base(&self) -> PathBuf {
        self.model("base.onnx", &fixture(|f| f.name == "base").model())
    }

    /// Its input.
    pub fn input(&self) -> PathBuf {
        let path = self.path("x.npy");
        let data: Vec<f32> = (0..2 * fixtures::TOKENS * fixtures::WIDTH).map(|i| (i % 7) as f32 - 3.0).collect();
        let shape = [2, fixtures::TOKENS, fixtures::WIDTH];
        write_npy(&path, &Tensor::from_f32(&shape, &data).unwrap()).unwrap();
        path
    }

    /// Runs the program in this folder.
    pub fn run(&self, args: &[&str]) -> Output {
        command(self.dir.path(), args).output().expect("the program runs")
    }

    /// The one document of a run.
    pub fn json(&self, args: &[&str]) -> (i32, Value) {
        let output = self.run(&[args, &["--json"]].concat());
        let document = serde_json::from_slice(&output.stdout);
        let text = String::from_utf8_lossy(&output.stdout);
        (output.status.code().unwrap_or(-1), document.unwrap_or_else(|e| panic!("{args:?}: {e} in {text:?}")))
    }

    /// A call that fails: the exit code and error code, said as JSON and as text, with the words in it.
    #[track_caller]
    pub fn fails(&self, args: &[&str], exit: i32, code: &str, words: &[&str]) {
        let (found, json) = self.json(args);
        let error = &json["error"];
        assert_eq!((found, error["code"].as_str()), (exit, Some(code)), "{args:?}: {json:#}");
        for key in ["stage", "place", "message", "help"] {
            assert!(error[key].is_string(), "{args:?} has no {key}");
        }
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?} failed and wrote to standard output");
        assert!(said.contains(&format!("error[{code}]: ")), "{args:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{args:?} does not say {word:?}: {said}");
            let json = format!("{} {} {}", error["place"], error["message"], error["help"]).replace("\\\"", "\"");
            assert!(json.contains(word), "{args:?} does not say {word:?} as JSON: {json}");
        }
    }
}

pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hanc"));
    command.args(args).current_dir(dir).env_remove("ORT_DYLIB_PATH").stdin(Stdio::null());
    command
}

pub fn fixture(wanted: impl Fn(&Fixture) -> bool) -> Fixture {
    fixtures::all().into_iter().find(wanted).expect("there is such a fixture")
}

/// A model of these nodes over one input `x` and one output `y`.
pub fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        name: Some("g".into()),
        node: nodes,
        initializer,
        input: vec![float("x", &[2, 3])],
        output: vec![float("y", &[2, 3])],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

pub fn float(name: &str, sizes: &[i64]) -> ValueInfoProto {
    use hanc_proto::onnx::{
        TensorShapeProto, TypeProto, tensor_shape_proto::Dimension, tensor_shape_proto::dimension, type_proto,
    };
    let dim = |size: &i64| Dimension { value: Some(dimension::Value::DimValue(*size)), ..Dimension::default() };
    let shape = TensorShapeProto { dim: sizes.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(shape) };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value, ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

pub fn node(op: &str, name: &str, input: &[&str], output: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        name: Some(name.into()),
        input: input.iter().map(|s| (*s).into()).collect(),
        output: output.iter().map(|s| (*s).into()).collect(),
        ..NodeProto::default()
    }
}

pub fn weight(name: &str, dims: &[i64], floats: usize) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(1),
        raw_data: Some(vec![0; 4 * floats].into()),
        ..TensorProto::default()
    }
}

/// The input of the base model.
pub fn name_of_input(bench: &Bench) -> String {
    let (_, json) = bench.json(&["inspect", "base.onnx"]);
    json["model"]["inputs"][0]["name"].as_str().unwrap().to_owned()
}
