//! What the verbs do and print when all is well.

use hanc::tensors::{self};
use hanc_models::fixtures;
use hanc_proto::onnx::TensorProto;
use hanc_runtime::Tensor;
use serde_json::Value;

use crate::bench::{Bench, model, name_of_input, node, weight};

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
fn models_of_the_zoo_say_their_sizes_as_inspect_does() {
    let bench = Bench::new();
    let (_, listed) = bench.json(&["zoo"]);
    for model in listed["models"].as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        assert!(model["inputs"][0]["shape"][0] == "N" && model["inputs"][0]["shape"][1].is_u64(), "{name}: {model}");
    }
    let (_, one) = bench.json(&["zoo", "hannet"]);
    let (_, inspected) = bench.json(&["inspect", "zoo:hannet"]);
    assert_eq!(one["inputs"][0]["shape"], inspected["model"]["inputs"][0]["shape"]);
    assert_eq!(one["parameters"], inspected["model"]["parameters"]);
}
