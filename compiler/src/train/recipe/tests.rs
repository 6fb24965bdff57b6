//! Recipes read, print, and say what is wrong with them and where.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::{KEYS, Recipe, RecipeError, read};

fn wrong(text: &str, overrides: &[&str]) -> RecipeError {
    let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    read(text, "r.toml", &overrides).unwrap_err()
}

fn ours(name: &str, overrides: &[&str]) -> Recipe {
    let text = hanc_models::recipes().iter().find(|recipe| recipe.name == name).unwrap().text;
    let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    read(text, name, &overrides).unwrap()
}

#[test]
fn what_prints_parses() {
    for recipe in hanc_models::recipes() {
        let recipe = read(recipe.text, recipe.name, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read(&recipe.to_toml(), "printed", &[]).as_ref(), Ok(&recipe));
    }
}

#[test]
fn the_default_recipe_is_the_default() {
    assert_eq!(ours("finetune", &[]), Recipe::default());
    assert_eq!(read("", "empty", &[]).unwrap(), Recipe::default());
}

/// The table lists what recipes have: no more, no less.
#[test]
fn every_key_is_in_the_table() {
    let overrides = ["optimiser.reflections.lr=1", "optimiser.reflections.weight_decay=0"];
    let mut found: BTreeSet<String> = paths(&ours("finetune", &overrides));
    found.extend(paths(&ours("finetune", &["train.steps=3"])));
    let table: BTreeSet<_> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(found, table);
}

fn paths(recipe: &Recipe) -> BTreeSet<String> {
    fn walk(table: &toml::Table, prefix: &str, paths: &mut BTreeSet<String>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => walk(inner, &format!("{prefix}{key}."), paths),
                _ => _ = paths.insert(format!("{prefix}{key}")),
            }
        }
    }
    let mut paths = BTreeSet::new();
    walk(&recipe.to_toml().parse().unwrap(), "", &mut paths);
    paths
}

#[test]
fn an_unknown_key_suggests_the_nearest() {
    let error = wrong("[train]\nbatch = 4\n\n[optimiser]\nlearning_rate = 1\nwieght_decay = 0\n", &[]);
    assert_eq!(error.place().as_deref(), Some("line 5, optimiser.learning_rate"));
    let error = wrong("[optimiser]\nwieght_decay = 0\n", &[]);
    assert_eq!(error.message, "there is no key optimiser.wieght_decay");
    assert!(error.help.contains("Did you mean optimiser.weight_decay?"), "{}", error.help);
    assert!(wrong("", &["lr=1"]).help.contains("Did you mean optimiser.lr?"));
    assert!(wrong("", &["optimizer.lr=1"]).help.contains("Did you mean optimiser.lr?"));
    assert!(wrong("[train]\nnesterov = true", &[]).help.contains("Did you mean optimiser.nesterov?"));
    assert!(wrong("", &["optimiser=1"]).message.contains("this is a section"));
    assert!(wrong("[data]\nsomething_else_altogether = 1", &[]).help.starts_with("`hanc recipe cat"));
}

#[test]
fn values_outside_of_their_range_are_named_with_line_and_range() {
    let error = wrong("[train]\n# comment\nbatch = 0\n", &[]);
    assert_eq!(error.to_string(), "r.toml: line 3, train.batch: 0 is not a whole number from 1 up");
    let says = |text: &str, words: &str| {
        let error = wrong(text, &[]);
        assert!(error.message.contains(words), "{text:?}: {}", error.message);
    };
    says("[optimiser]\nlr = 0.0", "not a number above 0");
    says("[optimiser]\nlr = nan", "not a number above 0");
    says("[optimiser]\nlr = \"high\"", "not a number above 0");
    says("[optimiser]\nkind = \"lion\"", "not one of sgd, adam, adamw");
    says("[optimiser]\nbetas = [0.9, 1.0]", "not a list of 2 numbers from 0 to below 1");
    says("[data]\nsplit = [0.5, 0.5]", "not a list of 3 numbers");
    says("[data]\nresize = [32]", "[32] is no height and width");
    says("[data]\nresize = [1.5, 2]", "whole numbers");
    says("[data]\naugment = [{ kind = \"crop\", pading = 4 }]", "unknown field `pading`");
    says("[data]\naugment = [{ kind = \"mirror\" }]", "unknown variant `mirror`");
    says("[data]\naugment = [{ kind = \"flip\", probability = 2 }]", "2 is not between 0 and 1");
    says("[train]\neval_every = \"60 s\"", "not a number of steps from 1 up, or \"N epochs\"");
    says("[train]\ncheckpoint_every = 0", "or \"N s\"");
    says("[train]\nbest = \"top1\"", "not auto, min:METRIC or max:METRIC");
    says("[train]\nseed = -1", "not a whole number from 0 up");
    says("optimiser = 3", "this is a section");
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let says = |text: &str, key: &str| assert_eq!(wrong(text, &[]).key, key, "{text:?}");
    says("[train]\nepochs = 3\nsteps = 3", "train.steps");
    says("[data]\nsplit = [0.8, 0.2, 0.2]", "data.split");
    says("[data]\nnormalise = \"given\"\nmean = [0.5]", "data.normalise");
    says("[loss]\nlabels = false", "loss.labels");
    says("[schedule]\nkind = \"multi-step\"", "schedule.at");
    says("[schedule]\nat = [0.7, 0.5]", "schedule.at");
}

#[test]
fn text_that_is_no_toml_is_named_with_its_line() {
    let error = wrong("[train]\nbatch = 4\nkeep = best\n", &[]);
    assert_eq!((error.line, error.origin.as_str()), (Some(3), "r.toml"));
    assert!(error.message.starts_with("this is no TOML: "), "{}", error.message);
    assert_eq!(wrong("[train]\nbatch = 4\nbatch = 5", &[]).line, Some(3));
}

#[test]
fn overrides_replace_values_and_are_named_where_they_are_wrong() {
    let recipe = ours(
        "checkerboard",
        &["optimiser.lr=3e-2", "loss.kind=cross-entropy", "train.epochs=4", "data.split=[1, 0, 0]"],
    );
    assert_eq!((recipe.optimiser.lr, recipe.train.steps, recipe.train.epochs), (3e-2, None, Some(4.0)));
    assert_eq!(recipe.data.split, [1.0, 0.0, 0.0]);
    let error = wrong("[optimiser]\nlr = 1", &["optimiser.lr=-1"]);
    assert_eq!((error.origin.as_str(), error.place()), ("optimiser.lr=-1", None));
    assert!(wrong("", &["train.batch"]).message.contains("SECTION.KEY=VALUE"));
    // A value cannot add keys of its own.
    assert!(wrong("", &["train.batch=1\nseed = 2"]).message.contains("is not a whole number"));
}
