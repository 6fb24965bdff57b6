//! How a model stands attacks.

use crate::bench::Bench;

const MODEL: &str = "zoo:hannet,in=192,out=4,depth=4,width=24";
const DATA: [&str; 2] = ["--data", "synth:shapes,size=8,count=200"];

fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["eval", MODEL, "data.normalise=given", "data.mean=[0.4]", "data.deviation=[0.3]"], &DATA[..], more].concat()
}

#[test]
fn robust_accuracy_falls_with_the_radius() {
    let bench = Bench::new();
    let (exit, plain) = bench.json(&eval(&["--samples", "15"]));
    assert_eq!((exit, plain["samples"].as_u64()), (0, Some(15)), "{plain:#}");
    let attack = ["--samples", "15", "--attack", "pgd", "--eps", "0,1/255,0.25", "--steps", "5"];
    let (exit, one) = bench.json(&eval(&[&attack[..], &["--threads", "1"]].concat()));
    let two = bench.json(&eval(&[&attack[..], &["--threads", "2"]].concat())).1;
    assert_eq!((exit, &one), (0, &two));
    let metrics = &one["metrics"];
    assert_eq!((&metrics["clean"], &metrics["robust_linf_0"]), (&plain["metrics"]["top1"], &metrics["clean"]));
    let robust = one["attack"]["results"].as_array().unwrap();
    assert_eq!(robust.len(), 3);
    let shares: Vec<f64> = robust.iter().map(|result| result["robust"].as_f64().unwrap()).collect();
    assert!(shares.is_sorted_by(|a, b| a >= b) && shares[2] < shares[0], "{one:#}");
    let output = bench.run(&eval(&["--samples", "10", "--attack", "cw", "--c", "1,10", "--steps", "20"]));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with("10 samples for validation under cw, accuracy without it ") && text.contains("mean l2"),
        "{text}"
    );
}

#[test]
fn attacks_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    bench.fails(&eval(&["--attack", "cw", "--eps", "1"]), 2, "E101", &["--eps", "no option of the attack cw"]);
    bench.fails(&eval(&["--attack", "pgd", "--eps", "8/0"]), 2, "E101", &["--eps", "8/255"]);
    bench.fails(&eval(&["--attack", "fgsm", "--box", "1,0"]), 2, "E101", &["--box", "two numbers"]);
    let board = ["eval", "zoo:hannet", "--data", "synth:checkerboard", "--attack", "fgsm"];
    bench.fails(&board, 3, "E822", &["needs the classes of the samples"]);
}
