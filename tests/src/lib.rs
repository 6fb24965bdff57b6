//! What the tests that cross crates share: files beside the checkout, the Python peers, the built program.
//!
//! Each helper that can come back empty-handed says so in one line that begins with `skipped: `, which `tests/run` collects.

pub mod binary;
pub mod corpus;
pub mod dice;
pub mod emulated;
pub mod gauntlet;
pub mod mutate;
pub mod node_case;
pub mod npz;
pub mod peers;
pub mod pipeline;
pub mod readme;

use std::io::Write;
use std::path::{Path, PathBuf};

/// Says why a test does nothing, past the test runner, which keeps what passing tests print to itself.
pub fn skipped(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// The folder that holds the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    let configured = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    configured.map_or_else(|| root().join("target"), |target| root().join(target))
}

/// `../shared/NAME` beside the checkout (or in the folder that `HANC_SHARED` names), or none with a line that says so.
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("HANC_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let path = folder.join(name);
    let found = path.exists();
    if !found {
        skipped(&format!("there is no ../shared/{name} beside the checkout"));
    }
    found.then_some(path)
}
