//! Elements beside the model: read where they lie, written anew, never outside the folder.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{branch, described, external, floats, model, node, opened, raw, said};
use hanc_proto::onnx::{GraphProto, ModelProto, TensorProto};
use hanc_proto::{Error, External, Limits, ModelFile, SaveOptions};
use prost::Message;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A folder inside a folder, with a data file in each: `in/w.data` may be read, `outside.data` may not.
fn folders() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("in/sub")).unwrap();
    std::fs::write(folder.path().join("outside.data"), bytes(&[9.0, 9.0])).unwrap();
    std::fs::write(folder.path().join("in/w.data"), bytes(&[1.0, 2.0, 3.0, 4.0])).unwrap();
    std::fs::write(folder.path().join("in/sub/w.data"), bytes(&[5.0, 6.0])).unwrap();
    folder
}

fn read(folder: &Path, entries: &[(&str, &str)]) -> Result<Vec<f32>, Error> {
    let file = opened(&folder.join("in"), &model(vec![external(entries)]));
    file.tensor(&file.graph.initializers[0]).map(|t| floats(&t.bytes))
}

#[test]
fn elements_are_found_in_the_folder() {
    let folder = folders();
    let found = |entries: &[(&str, &str)]| read(folder.path(), entries).unwrap();
    assert_eq!(found(&[("location", "w.data")]), [1.0, 2.0]);
    assert_eq!(found(&[("location", "./w.data"), ("offset", "8"), ("length", "8"), ("checksum", "ab")]), [3.0, 4.0]);
    assert_eq!(found(&[("location", "sub/w.data")]), [5.0, 6.0]);
}

#[test]
fn what_leads_elsewhere_is_refused() {
    let folder = folders();
    let refused = |entries: &[(&str, &str)], why: &str| {
        let text = said(read(folder.path(), entries));
        assert!(text.contains(why) && text.contains("\"w\""), "{entries:?}: {text}");
    };
    let absolute = folder.path().join("in/w.data");
    refused(&[("location", "../outside.data")], "without `..`");
    refused(&[("location", "sub/../../outside.data")], "without `..`");
    refused(&[("location", absolute.to_str().unwrap())], "inside the model's folder");
    refused(&[("location", "sub\\w.data")], "inside the model's folder");
    refused(&[("location", "")], "inside the model's folder");
    refused(&[], "no location");
    refused(&[("location", "gone.data")], "gone.data");
    refused(&[("location", "sub")], "not a plain file");
    refused(&[("location", "w.data"), ("offset", "12")], "end past the file");
    refused(&[("location", "w.data"), ("offset", "18446744073709551615")], "end past the file");
    refused(&[("location", "w.data"), ("offset", "-1")], "not a number");
    refused(&[("location", "w.data"), ("length", "4")], "take 8 bytes");
    refused(&[("location", "w.data"), ("length", "99999999999999999999")], "not a number");
    refused(&[("location", "w.data"), ("basepath", "/")], "\"basepath\"");
    refused(&[("location", "w.data"), ("location", "sub/w.data")], "twice");
}

#[cfg(unix)]
#[test]
fn links_that_lead_out_are_refused() {
    let folder = folders();
    let (inside, outside) = (folder.path().join("in"), folder.path().join("outside.data"));
    std::os::unix::fs::symlink(&outside, inside.join("soft.data")).unwrap();
    std::os::unix::fs::symlink(folder.path(), inside.join("up")).unwrap();
    std::os::unix::fs::symlink("w.data", inside.join("near.data")).unwrap();
    std::fs::hard_link(&outside, inside.join("hard.data")).unwrap();
    for (location, why) in
        [("soft.data", "symbolic link"), ("up/outside.data", "symbolic link"), ("hard.data", "hard links")]
    {
        let text = said(read(folder.path(), &[("location", location)]));
        assert!(text.contains(why), "{location}: {text}");
    }
    assert_eq!(read(folder.path(), &[("location", "near.data")]).unwrap(), [1.0, 2.0]);
}

#[test]
fn data_files_need_a_folder_and_fit_the_limits() {
    let folder = folders();
    let bytes = model(vec![external(&[("location", "w.data")])]).encode_to_vec();
    let loose = ModelFile::parse(bytes.into(), None, &Limits::default()).unwrap();
    assert!(loose.tensor(&loose.graph.initializers[0]).unwrap_err().to_string().contains("not read from a folder"));
    let small = Limits { file_bytes: 1000, ..Limits::default() };
    std::fs::write(folder.path().join("in/w.data"), vec![0; 1001]).unwrap();
    let file = opened(&folder.path().join("in"), &model(vec![external(&[("location", "w.data")])]));
    let file = ModelFile::open(file.path.as_deref().unwrap(), &small).unwrap();
    assert!(said(file.tensor(&file.graph.initializers[0])).contains("the limit is 1000"));
}

/// A model whose data lie in `w.data`: two initializers that share them, and a tensor in a nested graph.
fn spread(folder: &Path) -> ModelFile {
    let here = |offset: &str| external(&[("location", "w.data"), ("offset", offset)]);
    let shared = TensorProto { name: Some("v".into()), ..here("0") };
    let mut proto = model(vec![here("0"), shared, raw("small", &[7.0])]);
    let nested = GraphProto { initializer: vec![here("8")], ..Default::default() };
    let mut branching = node("If", &["c"], &["z"]);
    branching.attribute.push(branch(nested));
    proto.graph.as_mut().unwrap().node.push(branching);
    opened(folder, &proto)
}

fn elements(file: &ModelFile) -> Vec<Vec<f32>> {
    let nested = hanc_proto::visit::of_nodes(file.graph.nodes.iter().map(|n| &**n));
    let tensors = file.graph.initializers.iter().map(|t| &**t).chain(nested);
    tensors.map(|t| floats(&file.tensor(t).unwrap().bytes)).collect()
}

#[test]
fn data_move_with_the_model() {
    let folder = folders();
    let file = spread(&folder.path().join("in"));
    let out = folder.path().join("out.onnx");
    let wanted = [vec![1.0, 2.0], vec![1.0, 2.0], vec![7.0], vec![3.0, 4.0]];
    assert_eq!(elements(&file), wanted);
    for (mode, data) in [(External::Auto, Some(72)), (External::Always, Some(72)), (External::Never, None)] {
        let saved = file.save(&out, &SaveOptions { external: mode, ..SaveOptions::default() }).unwrap();
        // Shared elements are written once, and each tensor begins at a multiple of 64 bytes.
        assert_eq!(saved.data.as_ref().map(|d| d.1), data, "{mode:?}");
        let again = ModelFile::open(&out, &Limits::default()).unwrap();
        assert_eq!(elements(&again), wanted, "{mode:?}");
    }
    assert!(file.graph.nodes[0].is_verbatim());
}

#[test]
fn large_initializers_move_out_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let wide = vec![0.25; 300];
    let file = opened(folder.path(), &model(vec![raw("w", &wide), raw("b", &[1.0])]));
    let out = folder.path().join("out.onnx");
    let saved =
        file.save(&out, &SaveOptions { external: External::Always, sync: true, ..SaveOptions::default() }).unwrap();
    assert_eq!(saved.data, Some((folder.path().join("out.onnx.data"), 1200)));
    let proto = ModelProto::decode(&*std::fs::read(&out).unwrap()).unwrap();
    let tensors = proto.graph.unwrap().initializer;
    assert_eq!((&tensors[0].external_data[0].value(), &tensors[0].raw_data), (&"out.onnx.data", &None));
    assert_eq!(tensors[1], raw("b", &[1.0]));
    assert_eq!(elements(&ModelFile::open(&out, &Limits::default()).unwrap())[0], wide);
}

#[test]
fn a_model_can_be_saved_over_itself() {
    let folder = folders();
    let file = spread(&folder.path().join("in"));
    let path = file.path.clone().unwrap();
    file.save(&path, &SaveOptions::default()).unwrap();
    let again = ModelFile::open(&path, &Limits::default()).unwrap();
    // Now the data lie in `m.onnx.data`, which is replaced while it is read.
    let wanted = elements(&again);
    again.save(&path, &SaveOptions::default()).unwrap();
    assert_eq!(elements(&again), wanted);
    assert_eq!(elements(&ModelFile::open(&path, &Limits::default()).unwrap()), wanted);
}

#[test]
fn weights_are_not_written_over() {
    let folder = folders();
    let file = spread(&folder.path().join("in"));
    elements(&file);
    let target = folder.path().join("in/w.data");
    let before = std::fs::read(&target).unwrap();
    assert!(file.save(&target, &SaveOptions::default()).unwrap_err().to_string().contains("keeps its weights there"));
    assert_eq!(std::fs::read(&target).unwrap(), before);
}

#[test]
fn a_failed_save_leaves_the_old_files() {
    let folder = folders();
    let mut file = spread(&folder.path().join("in"));
    let out = folder.path().join("out.onnx");
    file.save(&out, &SaveOptions::default()).unwrap();
    let old = (std::fs::read(&out).unwrap(), std::fs::read(folder.path().join("out.onnx.data")).unwrap());
    // The last tensor cannot be read: the first ones are written by then.
    *file.graph.initializers[2].change() = external(&[("location", "gone.data")]);
    assert!(matches!(file.save(&out, &SaveOptions::default()), Err(Error::External { .. })));
    let new = (std::fs::read(&out).unwrap(), std::fs::read(folder.path().join("out.onnx.data")).unwrap());
    assert_eq!(old, new);
    let left = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = opened(folder.path(), &model(vec![described("w", 1, &[0])]));
    let refused = |path: &Path, why: &str| {
        let error = file.save(path, &SaveOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Io { action: "write", .. }) && error.to_string().contains(why), "{error}");
    };
    refused(&folder.path().join("no/such/out.onnx"), "No such file");
    refused(folder.path(), "it is a folder");
    let locked = folder.path().join("locked.onnx");
    std::fs::write(&locked, "old").unwrap();
    let mut permissions = std::fs::metadata(&locked).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&locked, permissions).unwrap();
    refused(&locked, "write-protected");
    assert_eq!(std::fs::read(&locked).unwrap(), b"old");
    #[cfg(unix)]
    refused(Path::new("/dev/null"), "pipe or device");
}

/// Writes 3 GiB: `cargo test -p hanc-proto --test external -- --ignored`.
#[test]
#[ignore = "writes a file of 3 GiB"]
fn models_past_two_gigabytes_go_beside() {
    const SIZE: i64 = 1 << 28;
    let folder = tempfile::tempdir().unwrap();
    let at = |i: u64| {
        let offset = (i << 30).to_string();
        let entries = [("location", "w.data"), ("offset", offset.as_str()), ("length", "1073741824")];
        TensorProto { name: Some(format!("w{i}")), dims: vec![SIZE], ..external(&entries) }
    };
    std::fs::File::create(folder.path().join("w.data")).unwrap().set_len(3 << 30).unwrap();
    let file = opened(folder.path(), &model((0..3).map(at).collect()));
    let out = folder.path().join("out.onnx");
    let never = SaveOptions { external: External::Never, ..SaveOptions::default() };
    assert!(matches!(file.save(&out, &never), Err(Error::TooLarge { .. })));
    let before = anonymous_kib();
    let saved = file.save(&out, &SaveOptions::default()).unwrap();
    assert_eq!(saved.data.map(|d| d.1), Some(3 << 30));
    assert!(anonymous_kib() < before + (16 << 10));
    let again = ModelFile::open(&out, &Limits::default()).unwrap();
    assert_eq!(again.tensor(&again.graph.initializers[2]).unwrap().bytes.len(), 1 << 30);
    // Held in the model, the same tensors have to leave it.
    let mut inline = again.clone();
    for tensor in &mut inline.graph.initializers {
        let data = again.tensor(tensor).unwrap().bytes;
        *tensor.change() = TensorProto { raw_data: Some(data), ..described("w", 1, &[SIZE]) };
    }
    let moved = inline.save(&folder.path().join("moved.onnx"), &SaveOptions::default()).unwrap();
    assert_eq!(moved.data.map(|d| d.1), Some(3 << 30));
    assert!(anonymous_kib() < before + (16 << 10));
}

fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
