//! What `plan`, `build` and `write` promise.

#![allow(clippy::unwrap_used)]

use hanc_models::{Blueprint, Error, Storage, build, list, plan};
use hanc_proto::onnx::ModelProto;
use prost::Message;

const TINY: &str = "stem-mixer,mlp=1,han=1,width=8,image=8,seed=5";

fn values(model: &ModelProto, name: &str) -> Vec<u8> {
    let graph = model.graph.as_ref().unwrap();
    let tensor = graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap();
    tensor.raw_data().to_vec()
}

fn proto(spec: &str) -> ModelProto {
    plan(spec).unwrap().to_proto()
}

fn message(spec: &str) -> String {
    plan(spec).unwrap_err().to_string()
}

#[test]
fn the_seed_determines_every_bit() {
    let name = "blocks.0.mlp_channel.fc1.weight";
    let (model, again) = (proto(TINY), proto(TINY));
    assert_eq!(model, again);
    let other = proto(&TINY.replace("seed=5", "seed=6"));
    assert_ne!(values(&model, name), values(&other, name));
}

#[test]
fn a_weight_does_not_depend_on_its_neighbours() {
    let more = proto(&TINY.replace("han=1", "han=2,classes=3"));
    let name = "blocks.1.token1.vector";
    assert_eq!(values(&proto(TINY), name), values(&more, name));
}

#[test]
fn an_external_file_holds_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let plan: Blueprint = plan(TINY).unwrap();
    plan.write(&path, Storage::External).unwrap();
    let written = ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
    let data = std::fs::read(folder.path().join("model.onnx.data")).unwrap();
    let inline = plan.to_proto();
    for tensor in &written.graph.unwrap().initializer {
        let number = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key() == key).unwrap();
            entry.value().parse::<usize>().unwrap()
        };
        let range = number("offset")..number("offset") + number("length");
        assert_eq!(data[range.clone()], values(&inline, tensor.name())[..], "{}", tensor.name());
        assert_eq!(range.start % 64, 0);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "temporary files are left");
}

#[test]
fn wrong_requests_say_what_would_be_right() {
    assert!(matches!(plan("stem"), Err(Error::UnknownModel { .. })));
    assert!(message("stem").contains("stem-mixer"));
    assert!(message("stem-mixer,mpl=4").contains("mlp, han, width"));
    assert!(message("stem-mixer,mlp=x").contains("a whole number from 0 to 1000"));
    assert!(message("stem-mixer,width=12").contains("a multiple of 8"));
    assert!(message("stem-mixer,mlp=1,mlp=2").contains("twice"));
    assert!(message("stem-mixer,seed=-1").contains("seed=-1"));
    assert!(message("hannet,style=tall").contains("regression, checkerboard"));
    assert!(message("mixer,width=65536,channel-hidden=1048576,depth=1000").contains("at most"));
    assert!(matches!(plan(""), Err(Error::UnknownModel { .. })));
}

#[test]
fn every_model_is_listed_with_its_options_and_can_be_planned() {
    for entry in list() {
        let defaults: String =
            entry.all_options().map(|option| format!(",{}={}", option.name, option.default)).collect();
        let explicit = plan(&format!("{}{defaults}", entry.name)).unwrap();
        assert_eq!(explicit.weights(), plan(entry.name).unwrap().weights(), "{}", entry.name);
        assert!(!entry.doc.is_empty() && explicit.parameters() > 0);
    }
}

#[test]
fn an_unwritable_place_is_a_typed_error() {
    let error = plan(TINY).unwrap().write(std::path::Path::new("no-such-folder/x.onnx"), Storage::Auto).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
}

#[test]
fn the_file_in_memory_is_the_file_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (saved, written) = (folder.path().join("saved.onnx"), folder.path().join("written.onnx"));
    build(TINY).unwrap().save(&saved, &Default::default()).unwrap();
    plan(TINY).unwrap().write(&written, Storage::Auto).unwrap();
    let decode = |path| ModelProto::decode(std::fs::read(path).unwrap().as_slice()).unwrap();
    assert_eq!(decode(&saved), decode(&written));
}
