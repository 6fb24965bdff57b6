//! `hanc bench`

use crate::bench::Bench;

#[test]
fn a_model_is_measured_and_profiled() {
    let bench = Bench::new();
    bench.base();
    let (exit, json) = bench.json(&["bench", "base.onnx", "--runs", "12", "--profile", "--threads", "1"]);
    assert_eq!(exit, 0, "{json:#}");
    let results = json["results"].as_array().unwrap();
    assert_eq!((results.len(), &results[0]["engine"]), (1, &"hanc".into()));
    for key in ["median_ms", "p99_ms", "min_ms", "start_ms"] {
        assert!(results[0][key].as_f64().is_some_and(|ms| ms > 0.0), "{key}: {json:#}");
    }
    let (least, median) = (results[0]["min_ms"].as_f64(), results[0]["median_ms"].as_f64());
    assert!(least <= median && results[0]["runs"].as_u64() >= Some(12));
    assert_eq!(json["ratio"], serde_json::json!({}));
    let kernels = json["profile"]["kernels"].as_array().unwrap();
    assert!(kernels.iter().any(|kernel| kernel["kernel"] == "linear.1" && kernel["flops"].as_f64() > Some(0.0)));
    assert!(json["profile"]["peak_gflops"].as_f64() > Some(0.1));
}

#[test]
fn a_compiled_model_is_measured_on_numbers_that_are_made_up() {
    let bench = Bench::new();
    bench.base();
    assert!(bench.run(&["compile", "base.onnx", "-o", "base.hanc"]).status.success());
    let (exit, json) = bench.json(&["bench", "base.hanc", "--runs", "3", "--batch", "2"]);
    assert_eq!((exit, &json["batch"]), (0, &2.into()), "{json:#}");
    bench.fails(&["bench", "base.hanc", "--against", "nobody"], 2, "E102", &["nobody", "ort, tract"]);
}

#[test]
fn onnxruntime_takes_turns_where_it_is() {
    let bench = Bench::new();
    bench.base();
    let Ok(library) = std::env::var("ORT_DYLIB_PATH") else {
        return println!("skipped: ORT_DYLIB_PATH names no onnxruntime");
    };
    let against = ["--against", "ort", "--ort-lib", &library];
    let (exit, json) = bench.json(&[&["bench", "base.onnx", "--runs", "22", "--threads", "1"], &against[..]].concat());
    assert_eq!(exit, 0, "{json:#}");
    assert!(json["ratio"]["ort"].as_f64().is_some_and(|ratio| ratio > 0.0), "{json:#}");
    assert_eq!(json["results"].as_array().unwrap().len(), 2);
    bench.run(&["compile", "base.onnx", "-o", "base.hanc"]);
    bench.fails(&[&["bench", "base.hanc"], &against[..]].concat(), 2, "E101", &["compiled model", "--original"]);
}

#[test]
fn an_engine_that_is_not_there_is_an_error() {
    let bench = Bench::new();
    bench.base();
    bench.fails(&["bench", "base.onnx", "--against", "ort", "--ort-lib", "gone.so"], 2, "E603", &["gone.so"]);
    if cfg!(not(feature = "tract")) {
        bench.fails(&["bench", "base.onnx", "--against", "tract"], 2, "E604", &["tract"]);
    }
}
