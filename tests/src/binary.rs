//! The built `hanc` program.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The `hanc` program of the profile that the tests are built with; built first where it is missing or old.
pub fn hanc() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(build)
}

fn build() -> PathBuf {
    // target/PROFILE/deps/NAME-HASH
    let this = std::env::current_exe().expect("a test knows its own path");
    let profile = this.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(super::root()).args(["build", "--quiet", "--workspace", "--bin", "hanc"]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo starts").success(), "hanc does not build");
    profile.join("hanc").with_extension(std::env::consts::EXE_EXTENSION)
}
