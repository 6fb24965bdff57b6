//! The parameter counts of the paper, exactly.

#![allow(clippy::unwrap_used)]

use hanc_models::plan;

fn parameters(spec: &str) -> u64 {
    plan(spec).unwrap().parameters()
}

#[test]
fn stem_mixers() {
    assert_eq!(parameters("stem-mixer,mlp=0"), 1_821_706);
    assert_eq!(parameters("stem-mixer,mlp=2"), 2_893_066);
    assert_eq!(parameters("stem-mixer,mlp=4"), 3_964_426);
    assert_eq!(parameters("stem-mixer,mlp=0,han=16"), 1_858_570);
    assert_eq!(parameters("stem-mixer,mlp=1,han=16"), 2_394_250);
    assert_eq!(parameters("stem-mixer,mlp=2,han=16"), 2_929_930);
    assert_eq!(parameters("stem-mixer,mlp=4,han=16"), 4_001_290);
    assert_eq!(parameters("stem-mixer,mlp=1") - parameters("stem-mixer,mlp=0"), 535_680);
    assert_eq!(parameters("stem-mixer,mlp=0,han=1") - parameters("stem-mixer,mlp=0"), 2_304);
}

#[test]
fn mobilevits() {
    assert_eq!(parameters("mobilevit-xxs"), 1_014_672);
    assert_eq!(parameters("mobilevit-xxs,classes=100"), 1_043_472);
    assert_eq!(parameters("mobilevit-xxs,han=true"), 553_968);
    assert_eq!(parameters("mobilevit-xxs,han=true,classes=100"), 582_768);
    assert_eq!(parameters("mobilevit-xs"), 2_002_784);
    assert_eq!(parameters("mobilevit-xs,classes=100"), 2_037_344);
    assert_eq!(parameters("mobilevit-xs,han=true"), 967_664);
    assert_eq!(parameters("mobilevit-xs,han=true,classes=100"), 1_002_224);
    assert_eq!(parameters("mobilevit-xxs,image=128"), parameters("mobilevit-xxs"));
}

#[test]
fn networks_for_tables() {
    assert_eq!(parameters("hannet,width=30,depth=20"), 3032);
    let regression = |columns: u64, n: u64, depth: u64| (columns + 1) * n + (depth - 1) * 2 * n + (n + 1);
    assert_eq!(parameters("hannet,in=8,out=1,width=200,depth=20,style=regression"), regression(8, 200, 20));
    assert_eq!(parameters("hannet,width=30,depth=20,activation=groupsort"), 3032);
    assert_eq!(parameters("hannet,lift=true,in=2,out=2,width=30,depth=3"), 3 * 30 + 3 * 60 + 31 * 2);
    assert_eq!(parameters("fcnet,lift=true,in=2,out=2,width=30,depth=1,init=orthogonal"), 3 * 30 + 31 * 30 + 31 * 2);
    assert_eq!(parameters("fcnet,in=18,out=1,width=50,depth=5"), 19 * 50 + 4 * 51 * 50 + 51);
}

#[test]
fn plain_mixers() {
    assert_eq!(parameters("mixer-s16"), 18_528_264);
    assert_eq!(parameters("mixer-b16"), 59_880_472);
    assert_eq!(parameters("mixer"), parameters("mixer-s16"));
}
