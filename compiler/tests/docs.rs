//! The reference pages under `docs/` are those that the tables make.

use std::path::Path;

#[test]
fn the_page_of_operators_is_current() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ops.md");
    if std::env::var_os("HANC_REGENERATE").is_some() {
        std::fs::write(&page, hanc::op::docs()).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&page).expect("the page is there");
    let differs = written.lines().zip(hanc::op::docs().lines()).find(|(a, b)| a != b).map(|(a, b)| format!("{a}\n{b}"));
    assert!(written == hanc::op::docs(), "docs/ops.md is stale, HANC_REGENERATE=1 writes it: {differs:?}");
}
