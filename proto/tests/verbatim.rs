//! What nobody changes is written as it was read.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{corpus, floats, model, node, opened, parse, parse_bytes, raw};
use hanc_proto::onnx::{ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use hanc_proto::{External, Kept, Limits, ModelFile, SaveOptions};
use prost::Message;

#[test]
fn the_corpus_is_written_byte_for_byte() {
    for path in corpus() {
        let file = ModelFile::open(&path, &Limits::default()).unwrap();
        assert!(file.encode() == std::fs::read(&path).unwrap(), "{}", path.display());
    }
}

#[test]
fn every_tensor_of_the_corpus_has_its_elements() {
    for path in corpus() {
        let file = ModelFile::open(&path, &Limits::default()).unwrap();
        for tensor in &file.graph.initializers {
            file.tensor(tensor).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

/// A field of number 99 with this content.
fn unknown(content: &[u8]) -> Vec<u8> {
    let mut field = vec![0x9a, 0x06, content.len() as u8];
    field.extend_from_slice(content);
    field
}

/// A model with unknown fields on the model, the graph, a node, a tensor and an opset.
fn with_unknown_fields() -> Vec<u8> {
    let field = |number: u8, message: Vec<u8>| [vec![number << 3 | 2, message.len() as u8], message].concat();
    let with = |message: Vec<u8>, content: &[u8]| [message, unknown(content)].concat();
    let graph = [
        field(1, with(node("Add", &["x", "w"], &["y"]).encode_to_vec(), b"node")),
        field(5, with(raw("w", &[1.0, 2.0]).encode_to_vec(), b"tensor")),
        unknown(b"graph"),
    ];
    let opset = with(vec![0x10, 17], b"opset");
    [vec![0x08, 8], field(7, graph.concat()), field(8, opset), unknown(b"model")].concat()
}

#[test]
fn unknown_fields_stay() {
    let bytes = with_unknown_fields();
    let mut file = parse_bytes(bytes.clone()).unwrap();
    assert_eq!(file.encode(), bytes);
    let entry = |text: &str| StringStringEntryProto { key: Some(text.into()), value: Some(text.into()) };
    file.header.metadata_props.push(entry("added"));
    file.graph.nodes[0].rewire(vec!["w".into(), "x".into()], vec!["y".into()]);
    file.graph.initializers[0].change().name = Some("v".into());
    let again = file.encode();
    for content in ["node", "tensor", "graph", "opset", "model", "added"] {
        assert!(again.windows(content.len()).any(|w| w == content.as_bytes()), "{content}");
    }
    let again = ModelProto::decode(&*again).unwrap();
    let graph = again.graph.unwrap();
    assert_eq!((graph.node[0].input[0].as_str(), graph.initializer[0].name()), ("w", "v"));
    assert_eq!(again.opset_import[0].version(), 17);
}

#[test]
fn fields_come_in_the_order_of_their_numbers() {
    let mut proto = model(vec![raw("w", &[1.0])]);
    proto.functions.push(Default::default());
    proto.metadata_props.push(Default::default());
    proto.configuration.push(Default::default());
    let bytes = proto.encode_to_vec();
    assert_eq!(ModelProto::decode(&*parse(&proto).unwrap().encode()).unwrap(), proto);
    // Protobuf's reference writers go by number, prost by the schema's order.
    let again = parse_bytes(parse_bytes(bytes).unwrap().encode()).unwrap();
    assert_eq!(again.encode(), parse_bytes(again.encode()).unwrap().encode());
    let first = |number: u8| again.encode().iter().position(|b| *b == number << 3 | 2);
    assert!(first(7) < first(8));
}

#[test]
fn rewired_nodes_keep_the_rest() {
    let old = NodeProto { name: Some("n".into()), doc_string: Some("d".into()), ..node("Mul", &["a", "b"], &["c"]) };
    let mut kept = Kept::<NodeProto>::decode(old.encode_to_vec().into()).unwrap();
    kept.rewire(vec!["p".into(), String::new()], vec!["q".into()]);
    let mut out = Vec::new();
    kept.write(&mut out).unwrap();
    let wanted = NodeProto { input: vec!["p".into(), String::new()], output: vec!["q".into()], ..old };
    assert_eq!((NodeProto::decode(&*out).unwrap(), &*kept), (wanted.clone(), &wanted));
    assert_eq!(kept.encoded_len(), out.len() as u64);
}

#[test]
fn raw_elements_are_slices_of_the_file() {
    let data = Bytes::from(model(vec![raw("w", &[1.0, 2.0])]).encode_to_vec());
    let file = ModelFile::parse(data.clone(), None, &Limits::default()).unwrap();
    let tensor = file.tensor(&file.graph.initializers[0]).unwrap();
    assert!(data.as_ptr_range().contains(&tensor.bytes.as_ptr()));
    assert_eq!(floats(&tensor.bytes), [1.0, 2.0]);
}

#[test]
fn floats_in_a_field_of_their_own_are_slices_too() {
    let tensor = TensorProto { raw_data: None, float_data: vec![1.0, -2.0], ..raw("w", &[0.0; 2]) };
    let data = Bytes::from(model(vec![tensor]).encode_to_vec());
    let file = ModelFile::parse(data.clone(), None, &Limits::default()).unwrap();
    let tensor = file.tensor(&file.graph.initializers[0]).unwrap();
    assert!(data.as_ptr_range().contains(&tensor.bytes.as_ptr()));
    assert_eq!(floats(&tensor.bytes), [1.0, -2.0]);
    assert!(file.graph.initializers[0].is_verbatim());
}

#[test]
fn new_tensors_are_written_without_their_bytes_twice() {
    let proto = model(vec![raw("w", &vec![0.5; 3000])]);
    let mut file = parse(&model(vec![])).unwrap();
    file.graph.initializers.push(Kept::new(raw("w", &vec![0.5; 3000])));
    assert_eq!(ModelProto::decode(&*file.encode()).unwrap(), proto);
}

#[test]
fn a_saved_model_reads_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = opened(folder.path(), &model(vec![raw("w", &[1.0, 2.0])]));
    let out = folder.path().join("out.onnx");
    for external in [External::Auto, External::Never] {
        let saved = file.save(&out, &SaveOptions { external, ..SaveOptions::default() }).unwrap();
        let bytes = std::fs::read(&out).unwrap();
        assert_eq!((saved.model_bytes, saved.data, &bytes), (bytes.len() as u64, None, &file.encode()));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
}
