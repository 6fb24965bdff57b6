//! The program from outside: exit codes, one JSON document in every outcome, messages that name the file, and what is
//! written.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hanc::tensors::{self, write_npy, write_npz};
use hanc_models::fixtures::{self, Fixture};
use hanc_proto::onnx::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use hanc_runtime::Tensor;
use prost::Message;
use serde_json::Value;

/// A folder of models and arrays.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn model(&self, name: &str, model: &ModelProto) -> PathBuf {
        self.file(name, model.encode_to_vec())
    }

    /// A model with one block that can be replaced.
    fn base(&self) -> PathBuf {
        self.model("base.onnx", &fixture(|f| f.name == "base").model())
    }

    /// Its input.
    fn input(&self) -> PathBuf {
        let path = self.path("x.npy");
        let data: Vec<f32> = (0..2 * fixtures::TOKENS * fixtures::WIDTH).map(|i| (i % 7) as f32 - 3.0).collect();
        let shape = [2, fixtures::TOKENS, fixtures::WIDTH];
        write_npy(&path, &Tensor::from_f32(&shape, &data).unwrap()).unwrap();
        path
    }

    /// Runs the program in this folder.
    fn run(&self, args: &[&str]) -> Output {
        command(self.dir.path(), args).output().expect("the program runs")
    }

    /// The one document of a run.
    fn json(&self, args: &[&str]) -> (i32, Value) {
        let output = self.run(&[args, &["--json"]].concat());
        let document = serde_json::from_slice(&output.stdout);
        let text = String::from_utf8_lossy(&output.stdout);
        (output.status.code().unwrap_or(-1), document.unwrap_or_else(|e| panic!("{args:?}: {e} in {text:?}")))
    }

    /// A call that fails: the exit code and error code, said as JSON and as text, with the words in it.
    #[track_caller]
    fn fails(&self, args: &[&str], exit: i32, code: &str, words: &[&str]) {
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

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hanc"));
    command.args(args).current_dir(dir).env_remove("ORT_DYLIB_PATH").stdin(Stdio::null());
    command
}

fn fixture(wanted: impl Fn(&Fixture) -> bool) -> Fixture {
    fixtures::all().into_iter().find(wanted).expect("there is such a fixture")
}

/// A model of these nodes over one input `x` and one output `y`.
fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
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

fn float(name: &str, sizes: &[i64]) -> ValueInfoProto {
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

fn node(op: &str, name: &str, input: &[&str], output: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        name: Some(name.into()),
        input: input.iter().map(|s| (*s).into()).collect(),
        output: output.iter().map(|s| (*s).into()).collect(),
        ..NodeProto::default()
    }
}

fn weight(name: &str, dims: &[i64], floats: usize) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(1),
        raw_data: Some(vec![0; 4 * floats].into()),
        ..TensorProto::default()
    }
}

#[test]
fn wrong_calls_are_usage_errors() {
    let bench = Bench::new();
    bench.base();
    bench.fails(&[], 2, "E101", &["Usage"]);
    bench.fails(&["train", "base.onnx"], 2, "E101", &["train"]);
    bench.fails(&["inspect"], 2, "E101", &["<MODEL>"]);
    bench.fails(&["inspect", "base.onnx", "--htlm", "x"], 2, "E101", &["--htlm"]);
    bench.fails(&["inspect", "base.onnx", "--color", "blue"], 2, "E101", &["blue"]);
    bench.fails(&["inspect", "base.onnx", "--threads", "0"], 2, "E101", &["--threads"]);
    bench.fails(&["inspect", "base.onnx", "--seed", "x"], 2, "E101", &["--seed"]);
    bench.fails(&["inspect", "base.onnx", "--limit", "nodes"], 2, "E101", &["nodes"]);
    bench.fails(&["inspect", "base.onnx", "--limit", "people=3"], 2, "E101", &["people=3"]);
    bench.fails(&["inspect", "base.onnx", "--quiet", "--verbose"], 2, "E101", &["--verbose"]);
    bench.fails(&["explain", "E999"], 2, "E102", &["E999", "hanc explain"]);
    bench.fails(&["completions", "tcsh"], 2, "E101", &["tcsh", "bash"]);
    bench.fails(&["zoo", "-o", "x.onnx"], 2, "E101", &["NAME"]);
    bench.fails(&["verify", "base.onnx"], 2, "E101", &["OTHER"]);
    bench.fails(&["verify", "base.onnx", "--backend", "numpy"], 2, "E102", &["numpy", "ort, tract"]);
    bench.fails(&["verify", "base.onnx", "base.onnx", "--rtol", "-1"], 2, "E101", &["-1"]);
    bench.fails(&["verify", "base.onnx", "base.onnx", "--dim", "T"], 2, "E101", &["NAME=N"]);
}

#[test]
fn wrong_models_of_the_zoo_say_what_there_is() {
    let bench = Bench::new();
    bench.fails(&["inspect", "zoo:no-such"], 2, "E108", &["no-such", "stem-mixer"]);
    bench.fails(&["zoo", "stem-mixer,mpl=2"], 2, "E108", &["mpl", "width"]);
    bench.fails(&["zoo", "stem-mixer,mlp=-2"], 2, "E108", &["mlp=-2", "whole number"]);
    bench.fails(&["zoo", "stem-mixer,mlp=1,mlp=2"], 2, "E108", &["twice"]);
    bench.fails(&["zoo", "hannet", "-o", "no/such/x.onnx"], 2, "E104", &["no/such/x.onnx"]);
}

#[test]
fn files_that_are_no_models_are_named() {
    let bench = Bench::new();
    bench.file("empty.onnx", "");
    bench.file("page.onnx", "<!DOCTYPE html><html><body>Not found</body></html>");
    bench.file("picture.onnx", b"\x89PNG\r\n\x1a\n0000000000000000");
    bench.file("text.onnx", "just a few words");
    std::fs::create_dir(bench.path("folder.onnx")).unwrap();
    for verb in ["inspect", "run", "convert", "verify"] {
        let rest: &[&str] = match verb {
            "run" => &["-o", "y.npz"],
            "convert" => &["--replace", "ffn", "-o", "y.onnx"],
            "verify" => &["other.onnx"],
            _ => &[],
        };
        let call = |file: &'static str| [&[verb, file], rest].concat();
        bench.fails(&call("gone.onnx"), 3, "E103", &["gone.onnx", "No such file"]);
        bench.fails(&call("folder.onnx"), 3, "E103", &["folder.onnx", "folder"]);
        bench.fails(&call("empty.onnx"), 3, "E201", &["empty.onnx"]);
        bench.fails(&call("page.onnx"), 3, "E201", &["page.onnx"]);
        bench.fails(&call("picture.onnx"), 3, "E201", &["picture.onnx"]);
        let (exit, json) = bench.json(&call("text.onnx"));
        let code = json["error"]["code"].as_str().unwrap_or_default();
        assert!(exit == 3 && ["E201", "E202"].contains(&code), "{json}");
    }
}

#[test]
fn broken_models_are_refused_with_the_place() {
    let bench = Bench::new();
    let relu = || node("Relu", "/relu", &["x"], &["y"]);
    let bytes = fixture(|f| f.name == "base").model().encode_to_vec();
    bench.file("half.onnx", &bytes[..bytes.len() / 2]);
    bench.fails(&["inspect", "half.onnx"], 3, "E202", &["half.onnx"]);

    bench.model("short.onnx", &model(vec![node("Add", "/add", &["x", "w"], &["y"])], vec![weight("w", &[2, 3], 5)]));
    bench.fails(&["inspect", "short.onnx"], 3, "E203", &["short.onnx", "\"w\""]);
    bench
        .model("negative.onnx", &model(vec![node("Add", "/add", &["x", "w"], &["y"])], vec![weight("w", &[-2, 3], 6)]));
    bench.fails(&["inspect", "negative.onnx"], 3, "E203", &["negative.onnx", "\"w\""]);
    bench.model("missing.onnx", &model(vec![node("Add", "/add", &["x", "w"], &["y"])], vec![]));
    bench.fails(&["inspect", "missing.onnx"], 3, "E205", &["missing.onnx", "w"]);
    let (one, two) = (node("Add", "/one", &["x", "b"], &["a"]), node("Add", "/two", &["a", "x"], &["b"]));
    bench.model("cycle.onnx", &model(vec![one, two, relu()], vec![]));
    bench.fails(&["inspect", "cycle.onnx"], 3, "E205", &["cycle.onnx", "/one", "/two"]);
    bench.model("twice.onnx", &model(vec![relu(), node("Abs", "/abs", &["x"], &["y"])], vec![]));
    bench.fails(&["inspect", "twice.onnx"], 3, "E205", &["twice.onnx", "y"]);
    bench
        .model("shapes.onnx", &model(vec![node("MatMul", "/mm", &["x", "w"], &["y"])], vec![weight("w", &[4, 5], 20)]));
    bench.fails(
        &["inspect", "shapes.onnx"],
        3,
        "E302",
        &["shapes.onnx", "node \"/mm\" (MatMul)", "f32[2, 3]", "f32[4, 5]"],
    );
    bench.model("operands.onnx", &model(vec![node("Add", "/add", &["x"], &["y"])], vec![]));
    bench.fails(&["inspect", "operands.onnx"], 3, "E302", &["operands.onnx", "/add"]);
}

#[test]
fn external_data_stays_in_the_folder() {
    let bench = Bench::new();
    let entry = |key: &str, value: &str| hanc_proto::onnx::StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    for location in ["../secret", "/etc/passwd", "gone.data", ""] {
        let tensor = TensorProto {
            raw_data: None,
            data_location: Some(1),
            external_data: vec![entry("location", location)],
            ..weight("w", &[2, 3], 0)
        };
        bench.model("escape.onnx", &model(vec![node("Add", "/add", &["x", "w"], &["y"])], vec![tensor]));
        bench.fails(&["inspect", "escape.onnx"], 3, "E204", &["escape.onnx", "\"w\""]);
    }
}

#[test]
fn limits_are_hit_with_exit_code_5_and_can_be_raised() {
    let bench = Bench::new();
    bench.base();
    bench.fails(&["inspect", "base.onnx", "--limit", "nodes=3"], 5, "E704", &["base.onnx", "limit is 3"]);
    bench.fails(&["inspect", "base.onnx", "--limit", "file-bytes=100"], 5, "E704", &["base.onnx", "limit is 100"]);
    assert_eq!(bench.json(&["inspect", "base.onnx", "--limit", "nodes=300"]).0, 0);
    bench.fails(&["zoo", "mixer-b16,dim=65536,depth=512", "-o", "x.onnx"], 2, "E108", &["mixer-b16"]);
}

#[test]
fn inspect_prints_the_keys_that_tools_rely_on() {
    let bench = Bench::new();
    bench.base();
    let (exit, json) = bench.json(&["inspect", "base.onnx"]);
    assert_eq!(exit, 0);
    for key in ["path", "ir_version", "opset", "producer", "parameters", "macs", "bytes", "inputs", "outputs"] {
        assert!(!json["model"][key].is_null(), "model has no {key}");
    }
    assert_eq!(json["model"]["inputs"][0]["dtype"], "f32");
    assert_eq!(json["model"]["inputs"][0]["shape"], serde_json::json!(["N", fixtures::TOKENS, fixtures::WIDTH]));
    assert!(json["ops"]["MatMul"].is_u64() || json["ops"]["Gemm"].is_u64());
    let block = json["blocks"].as_array().unwrap().iter().find(|b| b["replaceable"] == true).expect("a block");
    let block = block.as_object().unwrap();
    let keys = "id kind axis width hidden activation norm residual input output nodes parameters parameters_after macs \
                macs_after replaceable reason";
    for key in keys.split(' ') {
        assert!(block.contains_key(key), "a block has no {key}");
    }
    assert_eq!((&block["width"], &block["reason"]), (&fixtures::WIDTH.into(), &Value::Null));
    assert_eq!(block["parameters_after"], 4 * fixtures::WIDTH);
    assert!(json["han"].is_array());
}

#[test]
fn near_misses_have_a_reason() {
    let bench = Bench::new();
    let near = fixtures::all().into_iter().filter(|f| f.kind.is_none()).collect::<Vec<_>>();
    assert!(!near.is_empty());
    for fixture in near {
        bench.model("near.onnx", &fixture.model());
        let (_, json) = bench.json(&["inspect", "near.onnx"]);
        let blocks = json["blocks"].as_array().unwrap();
        assert!(blocks.iter().all(|b| b["replaceable"] == b["reason"].is_null()), "{}: {json:#}", fixture.name);
    }
}

#[test]
fn a_converted_model_holds_the_han_layers_and_nothing_is_left_to_replace() {
    let bench = Bench::new();
    bench.base();
    let (exit, json) =
        bench.json(&["convert", "base.onnx", "--replace", "ffn", "-o", "light.onnx", "--report", "r.html"]);
    assert_eq!(exit, 0, "{json:#}");
    for key in ["output", "replaced", "refused", "parameters", "macs", "bytes", "max_abs_diff_untouched"] {
        assert!(!json[key].is_null(), "convert has no {key}");
    }
    assert_eq!(json["replaced"], serde_json::json!(["ffn.0"]));
    assert!(bench.path("r.html").exists());
    let (_, light) = bench.json(&["inspect", "light.onnx"]);
    assert_eq!(light["han"][0]["layers"], 2);
    assert_eq!(light["model"]["parameters"], json["parameters"]["after"]);
    bench.fails(
        &["convert", "light.onnx", "--replace", "mlp-blocks", "-o", "lighter.onnx"],
        1,
        "E501",
        &["light.onnx"],
    );
    assert!(!bench.path("lighter.onnx").exists());
}

#[test]
fn conversions_that_cannot_be_leave_no_file() {
    let bench = Bench::new();
    bench.base();
    let convert = |rest: &[&'static str]| [&["convert", "base.onnx"], rest].concat();
    bench.fails(&convert(&["-o", "y.onnx"]), 2, "E101", &["--replace"]);
    bench.fails(&convert(&["--replace", "ffn"]), 2, "E101", &["--output"]);
    bench.fails(&convert(&["--replace", "mpl", "-o", "y.onnx"]), 2, "E502", &["mpl", "mlp-blocks"]);
    bench.fails(&convert(&["--replace", "ffn", "--only", "[", "-o", "y.onnx"]), 2, "E502", &["["]);
    bench.fails(&convert(&["--replace", "ffn", "--blocks", "3-1", "-o", "y.onnx"]), 2, "E502", &["3-1"]);
    bench.fails(&convert(&["--replace", "ffn", "--blocks", "99", "-o", "y.onnx"]), 2, "E502", &["99"]);
    bench.fails(&convert(&["--replace", "ffn", "--depth", "0", "-o", "y.onnx"]), 2, "E503", &["0"]);
    bench.fails(
        &convert(&["--replace", "ffn", "--depth", "1", "--init", "identity", "-o", "y.onnx"]),
        2,
        "E504",
        &["2"],
    );
    bench.fails(&convert(&["--replace", "ffn", "--init", "fit", "-o", "y.onnx"]), 2, "E101", &["fit"]);
    bench.fails(&convert(&["--replace", "token-linear", "-o", "y.onnx"]), 1, "E501", &["base.onnx"]);
    bench.fails(&convert(&["--replace", "ffn", "--except", "*", "-o", "y.onnx"]), 1, "E501", &["base.onnx"]);
    bench.fails(&convert(&["--replace", "ffn", "-o", "y.onnx", "--report", "r.pdf"]), 2, "E101", &["r.pdf"]);
    bench.fails(&convert(&["--replace", "ffn", "-o", "no/such/y.onnx"]), 2, "E104", &["no/such/y.onnx"]);
    bench.fails(&convert(&["--replace", "ffn", "-o", "."]), 2, "E104", &["."]);
    let (exit, json) = bench.json(&convert(&["--replace", "ffn", "--dry-run"]));
    assert_eq!((exit, &json["output"]), (0, &Value::Null));
    let names: Vec<_> = std::fs::read_dir(bench.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["base.onnx"], "something was written");
}

#[test]
fn converting_the_same_twice_gives_the_same_file() {
    let bench = Bench::new();
    bench.base();
    let convert = |seed: &'static str, out: &'static str| {
        bench.run(&["convert", "base.onnx", "--replace", "ffn", "--seed", seed, "-o", out]);
        std::fs::read(bench.path(out)).unwrap()
    };
    let first = convert("1", "a.onnx");
    assert_eq!(first, convert("1", "b.onnx"));
    assert_ne!(first, convert("2", "c.onnx"));
}

#[test]
fn run_reads_and_writes_arrays() {
    let bench = Bench::new();
    bench.base();
    bench.input();
    let input = format!("{}=x.npy", name_of_input(&bench));
    let (exit, json) = bench.json(&["run", "base.onnx", "--input", &input, "-o", "y.npz"]);
    assert_eq!(exit, 0, "{json:#}");
    let written = tensors::read(&bench.path("y.npz"), 1 << 20).unwrap();
    assert_eq!(json["outputs"][0]["name"].as_str(), Some(written[0].0.as_str()));
    assert_eq!(written[0].1.shape(), [2, fixtures::TOKENS, fixtures::WIDTH]);
    assert_eq!(bench.json(&["run", "base.onnx", "--input", "x.npy", "-o", "y.npy", "--precision", "f64"]).0, 0);
    let double = tensors::read(&bench.path("y.npy"), 1 << 20).unwrap();
    let apart =
        |a: &Tensor, b: &Tensor| a.to_f64().unwrap().iter().zip(b.to_f64().unwrap()).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(apart(&written[0].1, &double[0].1));
}

fn name_of_input(bench: &Bench) -> String {
    let (_, json) = bench.json(&["inspect", "base.onnx"]);
    json["model"]["inputs"][0]["name"].as_str().unwrap().to_owned()
}

#[test]
fn wrong_inputs_say_what_is_wanted() {
    let bench = Bench::new();
    bench.base();
    bench.input();
    let name = name_of_input(&bench);
    let wanted = format!("{name} f32[N, {}, {}]", fixtures::TOKENS, fixtures::WIDTH);
    let run = |input: &str| {
        vec!["run", "base.onnx", "-o", "y.npz", "--input"]
            .into_iter()
            .map(String::from)
            .chain([input.to_owned()])
            .collect::<Vec<_>>()
    };
    let fails = |input: &str, code: &str, words: &[&str]| {
        let args = run(input);
        bench.fails(&args.iter().map(String::as_str).collect::<Vec<_>>(), 3, code, words);
    };
    bench.fails(&["run", "base.onnx", "-o", "y.npz"], 3, "E105", &[&wanted, "--input"]);
    fails("nobody=x.npy", "E105", &["nobody", &wanted]);
    fails("gone.npy", "E103", &["gone.npy"]);
    bench.file("broken.npy", "no array");
    fails("broken.npy", "E106", &["broken.npy"]);
    bench.file("cut.npy", &std::fs::read(bench.path("x.npy")).unwrap()[..140]);
    fails("cut.npy", "E106", &["cut.npy", "cut off"]);
    write_npy(&bench.path("ints.npy"), &Tensor::from_i64(&[2, 6, 8], &[0; 96]).unwrap()).unwrap();
    fails("ints.npy", "E105", &["i64[2, 6, 8]", &wanted]);
    write_npy(&bench.path("flat.npy"), &Tensor::from_f32(&[96], &[0.0; 96]).unwrap()).unwrap();
    fails("flat.npy", "E105", &["[96]"]);
    write_npz(&bench.path("other.npz"), &[("z".into(), Tensor::from_f32(&[1], &[0.0]).unwrap())]).unwrap();
    fails("other.npz", "E105", &["other.npz", "z"]);
    bench.fails(&["run", "base.onnx", "--input", "x.npy", "-o", "no/such/y.npz"], 2, "E104", &["no/such/y.npz"]);
}

#[test]
fn operators_that_cannot_run_are_named() {
    let bench = Bench::new();
    let strange = NodeProto { domain: Some("com.example".into()), ..node("Strange", "/strange", &["x"], &["y"]) };
    let mut strange = model(vec![strange], vec![]);
    strange.opset_import.push(OperatorSetIdProto { domain: Some("com.example".into()), version: Some(1) });
    bench.model("strange.onnx", &strange);
    write_npy(&bench.path("x.npy"), &Tensor::from_f32(&[2, 3], &[0.0; 6]).unwrap()).unwrap();
    assert_eq!(bench.json(&["inspect", "strange.onnx"]).0, 0);
    bench.fails(
        &["run", "strange.onnx", "--input", "x.npy", "-o", "y.npz"],
        3,
        "E401",
        &["strange.onnx", "/strange", "Strange"],
    );
}

#[test]
fn verify_finds_where_two_models_part() {
    let bench = Bench::new();
    let of = |scale: f32| {
        let w = TensorProto { raw_data: Some(scale.to_le_bytes().to_vec().into()), ..weight("w", &[1], 0) };
        model(vec![node("Mul", "/mul", &["x", "w"], &["h"]), node("Relu", "/relu", &["h"], &["y"])], vec![w])
    };
    bench.model("a.onnx", &of(2.0));
    bench.model("b.onnx", &of(2.5));
    let (exit, json) = bench.json(&["verify", "a.onnx", "b.onnx"]);
    assert_eq!((exit, &json["pass"]), (4, &Value::Bool(false)));
    assert_eq!(json["first_difference"]["name"], "h");
    assert_eq!(json["first_difference"]["node"], "/mul");
    let needed = json["outputs"][0]["required_tolerance"].as_f64().unwrap();
    for key in ["name", "max_abs", "max_rel"] {
        assert!(!json["outputs"][0][key].is_null());
    }
    let (above, below) = ((needed * 1.001).to_string(), (needed * 0.999).to_string());
    assert_eq!(bench.json(&["verify", "a.onnx", "b.onnx", "--rtol", &above, "--atol", &above]).0, 0);
    assert_eq!(bench.json(&["verify", "a.onnx", "b.onnx", "--rtol", &below, "--atol", &below]).0, 4);
    let (exit, json) = bench.json(&["verify", "a.onnx", "a.onnx", "--samples", "3"]);
    assert_eq!((exit, &json["pass"], &json["first_difference"]), (0, &Value::Bool(true), &Value::Null));
    let text = bench.run(&["verify", "a.onnx", "b.onnx"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("first difference: h, made by /mul (Mul)"));
    assert!(String::from_utf8_lossy(&text.stderr).contains("error[E601]"));
}

#[test]
fn models_that_do_not_go_together_are_not_compared() {
    let bench = Bench::new();
    bench.base();
    bench.model(
        "relu.onnx",
        &model(vec![node("Relu", "/relu", &["x"], &["unlike"]), node("Abs", "/abs", &["x"], &["y"])], vec![]),
    );
    let (exit, json) = bench.json(&["verify", "base.onnx", "relu.onnx"]);
    assert_eq!(exit, 3, "{json}");
}

#[test]
fn a_wrong_library_is_an_error_and_no_crash() {
    let bench = Bench::new();
    bench.base();
    let verify = |lib: &'static str| ["verify", "base.onnx", "--backend", "ort", "--ort-lib", lib];
    bench.file("text.so", "no library");
    bench.fails(&verify("gone.so"), 2, "E603", &["gone.so"]);
    bench.fails(&verify("text.so"), 2, "E603", &["text.so"]);
    bench.fails(&verify("."), 2, "E603", &["not a file"]);
    let output = command(bench.dir.path(), &["verify", "base.onnx", "--backend", "ort", "--json"])
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["error"]["code"], "E602");
    assert!(json["error"]["help"].as_str().unwrap().contains("pip install onnxruntime"));
    if cfg!(not(feature = "tract")) {
        bench.fails(&["verify", "base.onnx", "--backend", "tract"], 2, "E604", &["--features tract"]);
    }
}

#[test]
fn names_of_a_model_cannot_speak_to_the_terminal() {
    let bench = Bench::new();
    let name = "a\u{1b}[2J\u{1b}]0;x\u{7}<script>alert(1)</script>";
    bench.model(
        "evil.onnx",
        &model(vec![node(name, name, &["x"], &[name]), node("Relu", name, &[name], &["y"])], vec![]),
    );
    let output = bench.run(&["inspect", "evil.onnx", "--html", "evil.html", "--color", "never"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stdout.contains(&0x1b));
    let page = std::fs::read_to_string(bench.path("evil.html")).unwrap();
    assert!(!page.contains("<script>alert"));
    bench.model("bad.onnx", &model(vec![node("Relu", name, &["nobody"], &["y"])], vec![]));
    let output = bench.run(&["inspect", "bad.onnx", "--color", "never"]);
    assert!(!output.stderr.contains(&0x1b) && output.status.code() == Some(3));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let bench = Bench::new();
    let mut child =
        command(bench.dir.path(), &["explain"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn help_version_lists_and_completions_are_documents_too() {
    let bench = Bench::new();
    for args in [
        &["--help"][..],
        &["--version"],
        &["help", "convert"],
        &["explain"],
        &["explain", "e101"],
        &["zoo"],
        &["zoo", "hannet"],
    ] {
        assert_eq!(bench.json(args).0, 0, "{args:?}");
    }
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let (exit, json) = bench.json(&["completions", shell]);
        assert!(exit == 0 && json["script"].as_str().unwrap().contains("inspect"), "{shell}");
    }
    let codes = bench.json(&["explain"]).1["codes"].as_array().unwrap().len();
    assert_eq!(codes, hanc::error::CODES.len());
}
