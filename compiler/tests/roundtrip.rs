//! Reading a file and writing it back changes nothing. Needs `../shared/corpus` beside the project.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use hanc::onnx::{Addition, export, import};
use hanc_proto::{Limits, ModelFile};

fn models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no corpus at {}", folder.display());
        return vec![];
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect()
}

#[test]
fn import_and_export_is_an_identity() {
    for path in models() {
        let file = ModelFile::open(&path, &Limits::default()).unwrap();
        let graph = import(&file).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let again = export(&graph, Some(&file), &Addition::default()).unwrap();
        assert_eq!(again.graph.initializers, file.graph.initializers, "{}", path.display());
        let (mut old, mut new) = (file.graph.nodes.clone(), again.graph.nodes.clone());
        assert!(new.iter().all(|node| node.is_verbatim()), "{}", path.display());
        old.sort_by_key(|n| n.output.clone());
        new.sort_by_key(|n| n.output.clone());
        assert_eq!(old, new, "{}", path.display());
        let bytes = again.encode();
        let reread = ModelFile::parse(bytes.clone().into(), Some(&path), &Limits::default()).unwrap();
        let third = export(&import(&reread).unwrap(), Some(&reread), &Addition::default()).unwrap();
        assert_eq!(third.encode(), bytes, "{}", path.display());
    }
}
