//! `hanc repro`: experiments are listed, run and drawn. Quick runs say that they are.

use crate::bench::Bench;

/// Elements open and close in pairs, and nothing is left open.
fn is_well_formed(svg: &str) -> bool {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let Some((tag, text)) = tag.split_once('>') else { return false };
        let name = tag.split_whitespace().next().unwrap_or_default();
        match name.strip_prefix('/') {
            Some(name) if open.pop() != Some(name) => return false,
            None if !tag.ends_with('/') => open.push(name),
            _ => {}
        }
        if text.contains('>') || tag.matches('"').count() % 2 == 1 {
            return false;
        }
    }
    open.is_empty()
}

#[test]
fn a_quick_board_is_learned_drawn_and_labelled() {
    let bench = Bench::new();
    let args = ["repro", "checkerboard", "--quick", "--only", "HanNet 20*", "--threads", "1", "-o", "figures"];
    let (exit, json) = bench.json(&args);
    assert_eq!((exit, &json["quick"]), (0, &true.into()), "{json:#}");
    let rows = json["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["model"]), (1, &"HanNet 20×30".into()));
    assert_eq!((&rows[0]["parameters"], &rows[0]["paper"], &rows[0]["runs"]), (&3032.into(), &99.0.into(), &1.into()));
    // More than half of the points are white: guessing has 61 %.
    assert!(rows[0]["ours"].as_f64().is_some_and(|accuracy| accuracy > 50.0 && accuracy <= 100.0), "{json:#}");
    for name in ["decisions.svg", "table.svg"] {
        let svg = std::fs::read_to_string(bench.path("figures").join(name)).unwrap();
        assert!(svg.starts_with("<svg") && is_well_formed(&svg), "{name}");
    }
    let (_, again) = bench.json(&args);
    assert_eq!(again["rows"], json["rows"], "a seed gives the same numbers");
    let text = String::from_utf8(bench.run(&args).stdout).unwrap();
    assert!(text.contains("quick: a fraction of the steps, not to be compared") && text.contains("paper"), "{text}");
}

#[test]
fn tables_are_taken_from_a_folder() {
    let bench = Bench::new();
    let line = |i: usize| format!("{},{},1.5,{}\n", i % 7, (i * i) % 11, i % 7 + (i * i) % 11);
    bench.file("skillcraft.csv", (0..250).map(line).collect::<String>());
    let (exit, json) =
        bench.json(&["repro", "regression", "--data", ".", "--quick", "--only", "FCNet1*", "--threads", "2"]);
    assert_eq!(exit, 0, "{json:#}");
    let rows = json["rows"].as_array().unwrap();
    let settings: Vec<_> = rows.iter().map(|row| row["setting"].as_str().unwrap()).collect();
    assert_eq!(settings, ["skillcraft 80 %", "skillcraft 25 %"]);
    // The column that is constant is dropped: two inputs.
    assert_eq!(rows[0]["parameters"], 3 * 50 + 4 * 51 * 50 + 51);
    assert!(rows.iter().all(|row| row["ours"].as_f64().is_some_and(|rmse| rmse > 0.0 && rmse < 20.0)), "{json:#}");
    assert!(bench.path("repro/regression/report.json").exists());
    bench.fails(&["repro", "regression"], 2, "E101", &["--data", "skillcraft.csv"]);
    std::fs::create_dir(bench.path("empty")).unwrap();
    bench.fails(&["repro", "regression", "--data", "empty"], 2, "E101", &["empty", "none of the tables"]);
}

#[test]
fn experiments_are_listed_and_others_are_not_known() {
    let bench = Bench::new();
    let (exit, json) = bench.json(&["repro"]);
    let names: Vec<_> = json["experiments"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!((exit, &names[..]), (0, &["checkerboard", "ablation", "regression", "sine", "approx"][..]));
    bench.fails(&["repro", "chess"], 2, "E101", &["chess", "checkerboard, ablation"]);
    bench.fails(&["repro", "sine", "--only", "Unet"], 2, "E101", &["--only", "HanNet 20×200"]);
}
