//! Files that are broken, hostile or of the wrong kind.

use hanc::tensors::{write_npy, write_npz};
use hanc_models::fixtures;
use hanc_proto::onnx::{NodeProto, OperatorSetIdProto, TensorProto};
use hanc_runtime::Tensor;
use prost::Message;

use crate::bench::{Bench, fixture, model, name_of_input, node, weight};

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
    bench.fails(&["inspect", "cycle.onnx"], 3, "E301", &["cycle.onnx", "/one", "/two"]);
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
fn nodes_that_contradict_their_operands_are_named_with_them() {
    let bench = Bench::new();
    let integers = || TensorProto { data_type: Some(7), raw_data: Some(vec![1; 48].into()), ..weight("w", &[3, 2], 0) };
    for op in ["Add", "MatMul", "Gemm"] {
        bench.model("mixed.onnx", &model(vec![node(op, "/mixed", &["x", "w"], &["y"])], vec![integers()]));
        let words = ["mixed.onnx", "/mixed", op, "f32 and i64, one type", "x f32[2, 3]", "w i64[3, 2]"];
        bench.fails(&["inspect", "mixed.onnx"], 3, "E302", &words);
    }
    let sizes = |name: &str, sizes: [i64; 2]| TensorProto {
        data_type: Some(7),
        raw_data: Some(sizes.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>().into()),
        ..weight(name, &[2], 0)
    };
    bench.model("sizes.onnx", &model(vec![node("Reshape", "/r", &["x", "s"], &["y"])], vec![sizes("s", [4, 4])]));
    bench.fails(&["inspect", "sizes.onnx"], 3, "E302", &["sizes.onnx", "/r", "6 elements", "16", "x f32[2, 3]"]);
    let filled = |side: i64| model(vec![node("ConstantOfShape", "/huge", &["s"], &["y"])], vec![sizes("s", [side; 2])]);
    bench.model("huge.onnx", &filled(1 << 17));
    bench.fails(&["verify", "huge.onnx", "huge.onnx"], 5, "E703", &["huge.onnx", "/huge", "limit is 8589934592"]);
    bench.model("huger.onnx", &filled(1 << 40));
    let words = ["huger.onnx", "/huge", "[1099511627776, 1099511627776] is larger than any memory"];
    bench.fails(&["verify", "huger.onnx", "huger.onnx"], 3, "E401", &words);
}

#[test]
fn functions_that_call_themselves_are_refused() {
    let bench = Bench::new();
    let local = |op: &str| NodeProto { domain: Some("local".into()), ..node(op, "/call", &["x"], &["y"]) };
    let opsets = || OperatorSetIdProto { domain: Some("local".into()), version: Some(1) };
    let function = hanc_proto::onnx::FunctionProto {
        name: Some("F".into()),
        domain: Some("local".into()),
        input: vec!["x".into()],
        output: vec!["y".into()],
        node: vec![local("F")],
        opset_import: vec![opsets()],
        ..Default::default()
    };
    let mut bomb = model(vec![local("F")], vec![]);
    bomb.functions.push(function);
    bomb.opset_import.push(opsets());
    bench.model("bomb.onnx", &bomb);
    bench.fails(&["inspect", "bomb.onnx"], 3, "E303", &["bomb.onnx", "local.F", "64 deep"]);
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
