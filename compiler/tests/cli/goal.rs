//! `hanc convert --max-drop`

use hanc::tensors::write_npy;
use hanc_runtime::Tensor;

use crate::bench::Bench;

/// A mixer of two blocks for pictures of 16 by 16.
const MODEL: &str = "zoo:mixer,image=16,patch=8,width=16,depth=1,token-hidden=8,channel-hidden=16,classes=4";
const SAMPLES: &str = "synth:shapes,size=16,count=160";
/// Parts for training, for judging and for the test.
const PARTS: &str = "data.split=[0.6, 0.2, 0.2]";

fn convert<'a>(data: &'a str, drop: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let call = ["convert", MODEL, "--replace", "mlp-blocks", "--calibrate", data, "--max-drop", drop, "--threads", "1"];
    [&call[..], more].concat()
}

#[test]
fn what_the_goal_allows_is_replaced() {
    let bench = Bench::new();
    let quick = ["--epochs", "4", "--prepare", PARTS, "--report", "report.html"];
    let (exit, json) = bench.json(&convert(SAMPLES, "100%", &[&quick[..], &["-o", "y.onnx"]].concat()));
    assert_eq!((exit, json["replaced"].as_array().map(Vec::len)), (0, Some(2)), "{json:#}");
    let goal = &json["goal"];
    assert_eq!(
        (&goal["metric"], &goal["put_back"], &goal["out_of_time"]),
        (&"top1".into(), &serde_json::json!([]), &false.into())
    );
    let (kept, test) = (&goal["kept"], &goal["test"]);
    assert!(kept["samples"].as_u64() > Some(0) && kept["after"].is_f64() && test["after"].is_f64(), "{json:#}");
    let tried = goal["candidates"].as_array().unwrap();
    let last = tried.last().unwrap();
    assert_eq!(
        (&last["passed"], &last["blocks"], &last["parameters"]),
        (&true.into(), &serde_json::json!(["mixer-channel.0", "mixer-token.0"]), &json["parameters"]["after"])
    );
    assert!(json["max_abs_diff_untouched"].as_f64() > Some(0.0), "the head was trained too: {json:#}");
    let costs: Vec<f64> = json["fits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fit| fit["effect"].as_f64().unwrap() / fit["saved"].as_f64().unwrap())
        .collect();
    assert!(costs.len() == 2 && costs[0] <= costs[1], "{costs:?}");
    let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
    assert!(page.contains("Tried: top1 may lose 100 %") && page.contains("Fitted, the cheapest first"));
    assert_eq!(bench.run(&convert(SAMPLES, "100%", &[&quick[..], &["-o", "z.onnx"]].concat())).status.code(), Some(0));
    assert!(
        std::fs::read(bench.path("y.onnx")).unwrap() == std::fs::read(bench.path("z.onnx")).unwrap(),
        "another result"
    );
    let (exit, json) = bench.json(&["eval", "y.onnx", "--data", SAMPLES, PARTS]);
    assert_eq!((exit, &json["metrics"]["top1"]), (0, &test["after"]));
}

#[test]
fn a_goal_that_nothing_keeps_is_a_failed_check() {
    let bench = Bench::new();
    let args = convert(SAMPLES, "0%", &["--metric", "agreement", "--epochs", "0.01", "-o", "y.onnx"]);
    let (exit, json) = bench.json(&args);
    assert_eq!((exit, &json["error"]["code"]), (4, &"E508".into()), "{json:#}");
    assert!(json["goal"]["candidates"].as_array().unwrap().iter().all(|candidate| candidate["passed"] == false));
    assert_eq!((&json["goal"]["kept"], json["fits"].as_array().map(Vec::len)), (&serde_json::Value::Null, Some(2)));
    let output = bench.run(&args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4));
    for word in ["error[E508]", "within 0 %", "--epochs", "--depth", "--max-drop "] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!bench.path("y.onnx").exists());
    let (exit, json) = bench.json(&convert(SAMPLES, "1%", &["--budget", "0", "-o", "y.onnx"]));
    assert_eq!((exit, &json["goal"]["out_of_time"]), (4, &true.into()));
    assert!(json["error"]["help"].as_str().unwrap().contains("--budget"));
}

#[test]
fn samples_without_labels_are_compared_with_the_original() {
    let bench = Bench::new();
    let data: Vec<f32> = (0..48 * 3 * 256).map(|i| ((i * 37 + i / 91) % 101) as f32 / 50.0 - 1.0).collect();
    write_npy(&bench.path("x.npy"), &Tensor::from_f32(&[48, 3, 16, 16], &data).unwrap()).unwrap();
    let (exit, json) = bench.json(&convert("x.npy", "100%", &["--epochs", "1", "--dry-run"]));
    assert_eq!(
        (exit, &json["goal"]["metric"], &json["goal"]["kept"]["before"]),
        (0, &"agreement".into(), &1.0.into()),
        "{json:#}"
    );
    let (exit, json) = bench.json(&convert("x.npy", "1000%", &["--metric", "r2", "--epochs", "1", "--dry-run"]));
    assert_eq!((exit, &json["goal"]["kept"]["before"]), (0, &1.0.into()), "{json:#}");
    bench.fails(
        &convert("x.npy", "1%", &["--metric", "top1", "-o", "y.onnx"]),
        3,
        "E822",
        &["top1 needs classes", "agreement"],
    );
}

#[test]
fn goals_that_cannot_be_are_refused() {
    let bench = Bench::new();
    let with = |drop: &'static str, more: &[&'static str]| convert(SAMPLES, drop, &[more, &["-o", "y.onnx"]].concat());
    bench.fails(&with("much", &[]), 2, "E101", &["--max-drop", "much", "1%"]);
    bench.fails(&with("-1%", &[]), 2, "E101", &["--max-drop"]);
    bench.fails(&with("1%", &["--metric", "accuracy"]), 2, "E102", &["accuracy", "top1, top5, loss"]);
    bench.fails(&with("1%", &["--epochs", "0"]), 2, "E101", &["--epochs"]);
    bench.fails(&with("1%", &["--budget", "3 epochs"]), 2, "E101", &["--budget", "20 min"]);
    bench.fails(&with("1%", &["--init", "paper"]), 2, "E101", &["--max-drop", "--init fit"]);
    bench.fails(&with("1%", &["--metric", "rmse"]), 3, "E822", &["rmse needs numbers"]);
    bench.fails(&with("1%", &["--except", "*"]), 1, "E501", &["no block"]);
    let none_held_out = ["--prepare", "data.split=[1.0, 0.0, 0.0]"];
    bench.fails(&with("1%", &none_held_out), 3, "E822", &["held out", "data.validation"]);
    let convert = ["convert", MODEL, "--replace", "ffn", "-o", "y.onnx"];
    bench.fails(&[&convert[..], &["--max-drop", "1%"]].concat(), 2, "E101", &["--calibrate"]);
    bench.fails(&[&convert[..], &["--metric", "top1"]].concat(), 2, "E101", &["--max-drop"]);
}
