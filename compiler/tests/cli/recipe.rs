//! `hanc recipe`: recipes are listed, printed and checked.

use crate::bench::Bench;

#[test]
fn recipes_are_listed_and_print_what_parses() {
    let bench = Bench::new();
    let (exit, json) = bench.json(&["recipe", "ls"]);
    let names: Vec<_> =
        json["recipes"].as_array().unwrap().iter().map(|recipe| recipe["name"].as_str().unwrap()).collect();
    assert_eq!((exit, names[0]), (0, "finetune"));
    for name in names {
        let output = bench.run(&["recipe", "cat", name, "optimiser.lr=0.25", "train.steps=7"]);
        bench.file("mine.toml", output.stdout);
        let (exit, json) = bench.json(&["recipe", "validate", "mine.toml"]);
        assert_eq!((exit, &json["valid"]), (0, &true.into()));
        let recipe = &json["recipe"];
        assert_eq!((recipe["optimiser"]["lr"].as_f64(), recipe["train"]["steps"].as_u64()), (Some(0.25), Some(7)));
    }
    let text = String::from_utf8(bench.run(&["recipe", "cat", "mixer"]).stdout).unwrap();
    assert!(text.contains("# The paper's Mixers") && text.contains("cutout"), "{text}");
    assert!(
        String::from_utf8(bench.run(&["recipe", "cat", "mixer", "--resolved"]).stdout)
            .unwrap()
            .contains("nesterov = false")
    );
}

#[test]
fn wrong_recipes_are_named_with_file_line_and_key() {
    let bench = Bench::new();
    bench.file("wrong.toml", "[train]\nbatch = 64\n\n[optimiser]\nlr = -1\n");
    bench.fails(
        &["recipe", "validate", "wrong.toml"],
        2,
        "E811",
        &["wrong.toml, line 5, optimiser.lr", "-1 is not a number above 0", "optimiser.lr takes"],
    );
    bench.fails(
        &["recipe", "validate", "finetune", "train.bacth=3"],
        2,
        "E811",
        &["train.bacth=3", "Did you mean train.batch?"],
    );
    bench.fails(&["recipe", "cat", "finetun"], 3, "E103", &["finetun", "finetune, distil"]);
    bench.fails(&["recipe"], 2, "E101", &["recipe"]);
}
