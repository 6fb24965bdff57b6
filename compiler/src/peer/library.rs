//! Where onnxruntime's shared library is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::PeerError;

/// The environment variable that names the library.
pub const VARIABLE: &str = "ORT_DYLIB_PATH";

/// Prints the folder of Python's `onnxruntime` package without importing it, and not one of the current folder's.
const ASK_PYTHON: &str = "import sys; sys.path.pop(0); import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0])";

/// The library: the one that is given, else the one that `ORT_DYLIB_PATH` names, else the one in the `onnxruntime`
/// package of the Python on the PATH. The first of these that is set has to hold.
pub fn find(given: Option<&Path>) -> Result<PathBuf, PeerError> {
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = given.map(Path::to_owned).or(variable) {
        return checked(path);
    }
    let folder = ["python3", "python"].into_iter().find_map(package);
    let found = folder.as_deref().and_then(in_package);
    found.ok_or_else(|| PeerError::NotFound {
        looked: vec![
            "--ort-lib (not given)".into(),
            format!("{VARIABLE} (not set)"),
            match folder {
                Some(folder) => format!("{} (no library in it)", folder.display()),
                None => "the onnxruntime package of the Python on the PATH (not installed)".into(),
            },
        ],
    })
}

/// Loading runs code of the file: at least it has to be a file and look like a shared library.
fn checked(path: PathBuf) -> Result<PathBuf, PeerError> {
    let refuse = |reason: String| PeerError::BadLibrary { path: path.clone(), reason };
    let absolute = path.canonicalize().map_err(|e| refuse(e.to_string()))?;
    if !absolute.is_file() {
        return Err(refuse("it is not a file".into()));
    }
    Ok(absolute)
}

fn package(python: &str) -> Option<PathBuf> {
    let mut command = Command::new(python);
    command.args(["-c", ASK_PYTHON]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    folder.is_dir().then_some(folder)
}

/// `capi/libonnxruntime.so.1.23.0`, `capi/libonnxruntime.1.23.0.dylib`, `capi/onnxruntime.dll`.
fn in_package(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder.join("capi")).ok()?;
    let is_library = |name: &str| {
        name.starts_with("libonnxruntime.so") || name == "onnxruntime.dll" || {
            name.starts_with("libonnxruntime.") && name.ends_with(".dylib")
        }
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(is_library)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_library_has_to_be_a_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert!(matches!(find(Some(dir.path())), Err(PeerError::BadLibrary { .. })));
        let missing = find(Some(&dir.path().join("libonnxruntime.so"))).unwrap_err();
        assert!(missing.to_string().contains("libonnxruntime.so is no library"), "{missing}");
    }

    #[test]
    fn the_library_of_a_package_is_told_by_its_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let capi = dir.path().join("capi");
        std::fs::create_dir(&capi).unwrap();
        for name in ["libonnxruntime_providers_shared.so", "libonnxruntime.so.1.23.0", "_pybind_state.py"] {
            std::fs::write(capi.join(name), "").unwrap();
        }
        assert_eq!(in_package(dir.path()), Some(capi.join("libonnxruntime.so.1.23.0")));
    }
}
