//! Reading a file and writing it back changes nothing. Needs `../shared/corpus` beside the project.

use std::io::Write;
use std::path::{Path, PathBuf};

use hanc::onnx::{Addition, export, import};
use hanc_proto::{Limits, ModelFile, SaveOptions};

fn models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        let _ = writeln!(std::io::stderr(), "skipped: there is no ../shared/corpus beside the checkout");
        return vec![];
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect()
}

fn exported(file: &ModelFile) -> ModelFile {
    let place = file.path.as_ref().unwrap().display();
    let graph = import(file).unwrap_or_else(|e| panic!("{e}"));
    export(&graph, Some(file), &Addition::default()).unwrap_or_else(|e| panic!("{place}: {e}"))
}

/// Whether every node stands behind those that it reads.
fn is_ordered(file: &ModelFile) -> bool {
    let made = |i: usize| file.graph.nodes[i..].iter().flat_map(|n| &n.output).filter(|o| !o.is_empty());
    file.graph.nodes.iter().enumerate().all(|(i, node)| made(i).all(|output| !node.input.contains(output)))
}

#[test]
fn import_and_export_is_an_identity() {
    let mut unordered = 0;
    for path in models() {
        let file = ModelFile::open(&path, &Limits::default()).unwrap();
        let again = exported(&file);
        if is_ordered(&file) {
            assert!(again.encode() == std::fs::read(&path).unwrap(), "{}", path.display());
            continue;
        }
        unordered += 1;
        assert!(is_ordered(&again), "{}", path.display());
        let sorted = |file: &ModelFile| {
            let mut nodes = file.graph.nodes.clone();
            nodes.sort_by_key(|n| n.output.clone());
            nodes
        };
        assert!(again.graph.nodes.iter().all(|node| node.is_verbatim()), "{}", path.display());
        assert_eq!(sorted(&again), sorted(&file), "{}", path.display());
        assert_eq!(again.graph.initializers, file.graph.initializers, "{}", path.display());
    }
    assert!(unordered <= 2);
}

#[test]
fn what_is_exported_reads_back_the_same() {
    for path in models() {
        let file = ModelFile::open(&path, &Limits::default()).unwrap();
        let once = exported(&file).encode();
        let reread = ModelFile::parse(once.clone().into(), Some(&path), &Limits::default()).unwrap();
        assert!(exported(&reread).encode() == once, "{}", path.display());
    }
}

#[test]
fn graphs_of_the_corpus_can_be_written_without_their_files() {
    let folder = tempfile::tempdir().unwrap();
    for path in models() {
        let file = ModelFile::open(&path, &Limits::default()).unwrap();
        let mut graph = import(&file).unwrap();
        let has_graphs = graph.nodes().any(|(_, n)| n.attrs.values().any(|a| matches!(a, hanc::ir::Attr::Graph)));
        if has_graphs || !graph.functions.is_empty() {
            continue;
        }
        let fresh = export(&graph, None, &Addition::default()).unwrap();
        let out = folder.path().join("fresh.onnx");
        fresh.save(&out, &SaveOptions::default()).unwrap();
        let mut again = import(&ModelFile::open(&out, &Limits::default()).unwrap()).unwrap();
        assert_eq!(again.nodes().count(), graph.nodes().count(), "{}", path.display());
        hanc::infer::infer(&mut graph).unwrap();
        hanc::infer::infer(&mut again).unwrap();
        for (_, value) in graph.values().filter(|(id, _)| graph.producer(*id).is_some()) {
            let other = again.value(again.find(&value.name).unwrap());
            assert_eq!(other.dtype, value.dtype, "{}: {}", path.display(), value.name);
        }
    }
}
