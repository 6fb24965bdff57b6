//! Compiled models: what is written, what runs, what is refused.

use hanc::tensors;
use hanc_models::fixtures;
use hanc_runtime::Tensor;
use serde_json::json;

use crate::bench::{Bench, model, name_of_input, node};

/// The folder with the base model, its input and the compiled model.
fn compiled() -> Bench {
    let bench = Bench::new();
    bench.base();
    bench.input();
    assert_eq!(bench.json(&["compile", "base.onnx", "-o", "base.hanc"]).0, 0);
    bench
}

fn numbers(bench: &Bench, file: &str) -> Vec<f64> {
    tensors::read(&bench.path(file), 1 << 20).unwrap()[0].1.to_f64().unwrap()
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_compiled_model_computes_what_the_model_does() {
    let bench = compiled();
    for (model, out, precision) in
        [("base.onnx", "a.npy", "f64"), ("base.hanc", "b.npy", "f64"), ("base.hanc", "c.npy", "f32")]
    {
        let (exit, json) = bench.json(&["run", model, "--input", "x.npy", "-o", out, "--precision", precision]);
        assert_eq!(exit, 0, "{json:#}");
    }
    assert!(apart(&numbers(&bench, "a.npy"), &numbers(&bench, "b.npy")) < 1e-5);
    assert!(apart(&numbers(&bench, "a.npy"), &numbers(&bench, "c.npy")) < 1e-4);
}

#[test]
fn compiling_the_same_twice_gives_the_same_file() {
    let bench = compiled();
    assert_eq!(bench.json(&["compile", "base.onnx", "-o", "again.hanc"]).0, 0);
    let read = |name: &str| std::fs::read(bench.path(name)).unwrap();
    assert_eq!(read("base.hanc"), read("again.hanc"));
}

#[test]
fn a_size_stays_free_unless_it_is_given() {
    let bench = compiled();
    let shape = |args: &[&str]| {
        let (exit, json) = bench.json(&[&["compile", "base.onnx", "-o", "out.hanc"], args].concat());
        assert_eq!(exit, 0, "{json:#}");
        json["inputs"][0]["shape"].clone()
    };
    let (tokens, width) = (fixtures::TOKENS, fixtures::WIDTH);
    let given = format!("{}=5x{tokens}x{width}", name_of_input(&bench));
    assert_eq!(shape(&[]), json!(["N", tokens, width]));
    assert_eq!(shape(&["--batch", "3"]), json!([3, tokens, width]));
    assert_eq!(shape(&["--dim", "N=4"]), json!([4, tokens, width]));
    assert_eq!(shape(&["--shape", &given]), json!([5, tokens, width]));
    bench.fails(&["run", "out.hanc", "--input", "x.npy", "-o", "y.npz"], 3, "E105", &["f32[5, 6, 8]", "[2, 6, 8]"]);
}

#[test]
fn inspect_says_what_is_in_it() {
    let bench = compiled();
    let (exit, json) = bench.json(&["inspect", "base.hanc"]);
    let compiled = &json["compiled"];
    assert_eq!(exit, 0, "{json:#}");
    let total: u64 = compiled["kernels"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(compiled["steps"].as_u64(), Some(total));
    assert_eq!(compiled["metadata"]["hanc.source"], "base.onnx");
    assert_eq!(compiled["free"], json!(["N"]));
    let text = bench.run(&["inspect", "base.hanc"]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.contains("base.hanc: ") && text.contains("layer_norm.1"), "{text}");
}

#[test]
fn the_dump_holds_every_stage() {
    let bench = Bench::new();
    bench.base();
    assert_eq!(bench.json(&["compile", "base.onnx", "-o", "base.hanc", "--dump", "stages"]).0, 0);
    let mut names: Vec<_> = std::fs::read_dir(bench.path("stages"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!((names[0].as_str(), names[1].as_str()), ("00-imported.txt", "01-inline.txt"));
    assert!(names.last().unwrap().ends_with("-plan.json"));
    let first = std::fs::read_to_string(bench.path("stages/00-imported.txt")).unwrap();
    assert!(first.contains("LayerNormalization"), "{first}");
    let plan = std::fs::read(bench.path("stages").join(names.last().unwrap())).unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&plan).unwrap()["steps"].is_array());
}

#[test]
fn weights_in_half_precision_are_accepted() {
    let bench = Bench::new();
    let halved = |args: &[&str]| {
        let (exit, json) =
            bench.json(&[&["compile", "zoo:hannet,width=32,depth=2,in=32", "-o", "out.hanc"], args].concat());
        assert_eq!(exit, 0, "{json:#}");
        (json["f16_weights"]["halved"].as_u64(), json["weights"]["bytes"].as_u64().unwrap())
    };
    let (none, wide) = halved(&[]);
    let (some, narrow) = halved(&["--f16-weights"]);
    assert_eq!((none, some.is_some_and(|n| n > 0)), (None, true));
    assert!(narrow < wide);
}

#[test]
fn files_that_are_no_compiled_model_say_so() {
    let bench = compiled();
    let whole = std::fs::read(bench.path("base.hanc")).unwrap();
    bench.file("cut.hanc", &whole[..whole.len() - 4]);
    bench.file("text.hanc", "no model");
    let name = b"layer_norm.1";
    let at = whole.windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len() - 1;
    let mut newer = whole.clone();
    newer[at] = b'9';
    bench.file("newer.hanc", newer);
    for call in [
        |file: &'static str| vec!["inspect", file],
        |file: &'static str| vec!["run", file, "--input", "x.npy", "-o", "y.npz"],
    ] {
        bench.fails(&call("cut.hanc"), 3, "E207", &["cut.hanc", "outside of the file"]);
        bench.fails(&call("text.hanc"), 3, "E206", &["text.hanc", "hanc compile"]);
        bench.fails(&call("newer.hanc"), 3, "E208", &["newer.hanc", "needs the kernel layer_norm.9", "layer_norm.1"]);
        bench.fails(&call("gone.hanc"), 3, "E103", &["gone.hanc"]);
    }
    bench.fails(&["inspect", "base.hanc", "--limit", "steps=2"], 5, "E704", &["--limit steps=N"]);
}

#[test]
fn verbs_that_need_the_graph_ask_for_the_model() {
    let bench = compiled();
    bench.fails(&["convert", "base.hanc", "--replace", "ffn", "-o", "x.onnx"], 3, "E209", &["base.hanc", ".onnx"]);
    bench.fails(&["verify", "base.hanc", "base.onnx"], 3, "E209", &["base.hanc"]);
    bench.fails(&["compile", "base.hanc", "-o", "x.hanc"], 3, "E209", &["base.hanc"]);
    bench.fails(&["inspect", "base.hanc", "--html", "x.html"], 3, "E209", &["drawn"]);
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let bench = Bench::new();
    bench.base();
    let compile = |args: &[&'static str]| [&["compile", "base.onnx", "-o", "out.hanc"], args].concat();
    bench.fails(&compile(&["--dim", "M=2"]), 3, "E105", &["no input has a free size M", "N"]);
    bench.fails(&compile(&["--dim", "M"]), 2, "E101", &["NAME=N"]);
    bench.fails(&compile(&["--shape", "x"]), 2, "E101", &["INPUT=1x3x224x224"]);
    bench.fails(&["compile", "base.onnx", "-o", "no/such/x.hanc"], 2, "E104", &["no/such"]);
    bench.model("fixed.onnx", &model(vec![node("Relu", "/relu", &["x"], &["y"])], vec![]));
    bench.fails(
        &["compile", "fixed.onnx", "-o", "x.hanc", "--batch", "2"],
        3,
        "E105",
        &["free first axis", "f32[2, 3]"],
    );
    bench.fails(&["compile", "fixed.onnx", "-o", "x.hanc", "--shape", "x=3x3"], 3, "E105", &["[3, 3] does not fit"]);
    bench.model("shape.onnx", &free(node("Shape", "/shape", &["x"], &["y"])));
    bench.fails(&["compile", "shape.onnx", "-o", "x.hanc"], 3, "E404", &["/shape", "depends on N", "--dim N=N"]);
    assert_eq!(bench.json(&["compile", "shape.onnx", "-o", "x.hanc", "--batch", "2"]).0, 0);
    assert!(!bench.path("out.hanc").exists());
}

/// A model of one node on x f32[N, 3] that makes an integer vector.
fn free(node: hanc_proto::onnx::NodeProto) -> hanc_proto::onnx::ModelProto {
    use hanc_proto::onnx::{tensor_shape_proto::dimension::Value, type_proto};
    let mut model = model(vec![node], vec![]);
    let graph = model.graph.as_mut().unwrap();
    let tensor = |value: &mut hanc_proto::onnx::ValueInfoProto| match value.r#type.as_mut().unwrap().value.take() {
        Some(type_proto::Value::TensorType(tensor)) => tensor,
        other => panic!("{other:?} is no tensor"),
    };
    let mut input = tensor(&mut graph.input[0]);
    input.shape.as_mut().unwrap().dim[0].value = Some(Value::DimParam("N".into()));
    graph.input[0].r#type.as_mut().unwrap().value = Some(type_proto::Value::TensorType(input));
    let mut output = tensor(&mut graph.output[0]);
    output.elem_type = Some(7);
    output.shape.as_mut().unwrap().dim.truncate(1);
    graph.output[0].r#type.as_mut().unwrap().value = Some(type_proto::Value::TensorType(output));
    model
}

#[test]
fn a_run_writes_what_was_asked_for() {
    let bench = compiled();
    let (exit, json) = bench.json(&["run", "base.hanc", "--input", "x.npy", "-o", "y.npz"]);
    assert_eq!(exit, 0, "{json:#}");
    assert_eq!(json["outputs"][0]["shape"], json!([2, fixtures::TOKENS, fixtures::WIDTH]));
    tensors::write_npy(&bench.path("flat.npy"), &Tensor::from_f32(&[3], &[0.0; 3]).unwrap()).unwrap();
    bench.fails(&["run", "base.hanc", "-o", "y.npz"], 3, "E105", &["no input is given", "f32[N, 6, 8]"]);
    bench.fails(&["run", "base.hanc", "--input", "flat.npy", "-o", "y.npz"], 3, "E105", &["f32[N, 6, 8]", "[3]"]);
}
