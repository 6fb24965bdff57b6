//! The blocks of the fixtures are found whatever their spelling, their near misses are not, and the zoo's counts of blocks and Han
//! layers are those that its options ask for.

use hanc::blocks::{Found, Kind};
use hanc_models::fixtures::{self, Fixture};
use hanc_proto::ModelFile;

fn found(file: &ModelFile) -> Result<Found, String> {
    let mut graph = hanc::onnx::import(file).map_err(|error| error.to_string())?;
    hanc::infer::infer(&mut graph).map_err(|error| error.to_string())?;
    hanc::blocks::find(&graph).map_err(|error| error.to_string())
}

/// The kinds of what can be replaced, single linear layers apart.
fn replaceable(found: &Found) -> Vec<String> {
    let blocks = found.blocks.iter().filter(|block| block.replaceable() && block.kind != Kind::Linear);
    blocks.map(|block| block.kind.to_string()).collect()
}

fn problem(fixture: &Fixture) -> Option<String> {
    let expected: Vec<String> = fixture.kind.map(str::to_owned).into_iter().collect();
    match found(&fixture.file()) {
        Ok(found) if replaceable(&found) == expected => None,
        Ok(found) => {
            Some(format!("{}: {:?}, not {expected:?}\n    {:?}", fixture.name, replaceable(&found), found.blocks))
        }
        Err(error) => Some(format!("{}: {error}", fixture.name)),
    }
}

#[test]
fn every_spelling_is_found_and_no_near_miss() {
    let problems: Vec<String> = fixtures::all().iter().filter_map(problem).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_near_miss_is_listed_with_its_reason() {
    for fixture in fixtures::all().iter().filter(|fixture| fixture.kind.is_none()) {
        let found = found(&fixture.file()).unwrap();
        assert!(found.blocks.iter().any(|block| block.refusal.is_some()), "{}: {:?}", fixture.name, found.blocks);
    }
}

#[test]
fn the_zoo_has_the_blocks_that_it_is_asked_for() {
    let count = |spec: &str| {
        let found = found(&hanc_models::build(spec).unwrap()).unwrap();
        let of = |kind| found.blocks.iter().filter(|block| block.replaceable() && block.kind == kind).count();
        let han: usize = found.han.iter().map(|stack| stack.layers).sum();
        [of(Kind::MixerToken), of(Kind::MixerChannel), of(Kind::Ffn), han]
    };
    assert_eq!(count("stem-mixer,mlp=2,han=3,width=16,image=16"), [2, 2, 0, 12]);
    assert_eq!(count("mobilevit-xxs,image=64"), [0, 0, 9, 0]);
    assert_eq!(count("mobilevit-xxs,image=64,han=true"), [0, 0, 0, 18]);
    assert_eq!(count("hannet"), [0, 0, 0, 17]);
    assert_eq!(count("mixer,image=32,patch=8,width=24,depth=3,token-hidden=8,channel-hidden=40"), [3, 3, 0, 0]);
}
