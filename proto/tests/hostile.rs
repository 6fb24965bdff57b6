//! Files that lie: each gets a typed error that names the file and says what to do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{branch, described, model, node, parse, parse_bytes, raw, said};
use hanc_proto::onnx::{GraphProto, ModelProto, TensorProto, TypeProto, ValueInfoProto, type_proto};
use hanc_proto::{Error, Limits, ModelFile};
use prost::Message;
use std::io::Write;

#[test]
fn other_formats_are_named() {
    let cases: [(&[u8], &str); 12] = [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG"),
        (b"PK\x03\x04\x14\0", "zip archive"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}", "pickle"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>Not found</html>", "web page"),
        (b"import torch\nprint(1)\n", "text"),
        (b"{\"a\": 1}", "text"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (&[0xff; 64], "no protobuf message"),
    ];
    for (bytes, what) in cases {
        let result = parse_bytes(bytes.to_vec());
        assert!(matches!(result, Err(Error::NotOnnx { .. })), "{what}: {result:?}");
        assert!(said(result).contains(what), "{what}");
    }
}

#[test]
fn a_message_without_a_graph_is_no_model() {
    assert!(said(parse(&ModelProto { ir_version: Some(8), ..Default::default() })).contains("no graph"));
    said(parse_bytes(raw("w", &[1.0]).encode_to_vec()));
}

#[test]
fn files_that_are_no_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| ModelFile::open(path, &Limits::default());
    assert!(said(open(folder.path())).contains("a folder"));
    assert!(said(open(&folder.path().join("gone.onnx"))).contains("gone.onnx"));
    #[cfg(unix)]
    assert!(said(open(std::path::Path::new("/dev/zero"))).contains("device"));
}

#[cfg(unix)]
#[test]
fn a_pipe_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.onnx");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        writeln!(std::io::stderr(), "skipped: there is no mkfifo").unwrap();
        return;
    }
    assert!(said(ModelFile::open(&pipe, &Limits::default())).contains("pipe"));
}

#[test]
fn every_truncation_is_an_error_or_a_whole_model() {
    let bytes = model(vec![raw("w", &[1.0, 2.0])]).encode_to_vec();
    let graph_ends = bytes.len() - 6;
    for length in 0..bytes.len() {
        match parse_bytes(bytes[..length].to_vec()) {
            Ok(_) => assert!(length >= graph_ends, "{length}"),
            Err(error) => assert!(!said::<()>(Err(error)).is_empty()),
        }
    }
    assert!(said(parse_bytes(bytes[..20].to_vec())).contains("breaks off"));
}

#[test]
fn flipped_bits_never_panic() {
    let bytes = model(vec![raw("w", &[1.0, 2.0]), TensorProto { int64_data: vec![1, 2], ..described("s", 7, &[2]) }]);
    let bytes = bytes.encode_to_vec();
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        match parse_bytes(broken) {
            Ok(file) => file.graph.initializers.iter().for_each(|t| drop(file.tensor(t))),
            Err(error) => drop(said::<()>(Err(error))),
        }
    }
}

#[test]
fn wrong_wire_types_are_named() {
    let field = |number: u8, message: &[u8]| [&[number << 3 | 2, message.len() as u8], message].concat();
    for (graph, place) in [
        (&[0x08, 1][..], "node 0"),
        (&[0x28, 1], "initializer 0"),
        (&[0x10, 1], "the graph's name"),
        (&[0x12, 2, 0xff, 0xfe], "the graph's name"),
        (&[0x58, 1], "an input"),
        (&[0x0a, 2, 0x0a, 9], "node 0"),
        (&[0x0a, 3, 0x0d, 0, 0], "node 0"),
        (&[0x0a, 2, 0x08, 1], "node 0"),
        (&[0x2a, 3, 0x10, 0xff, 0xff], "initializer 0"),
        (&[0x0a, 4, 0x22, 2, 0xc3, 0x28], "node 0"),
        (&[0x0b], "the graph"),
    ] {
        let result = parse_bytes([&[0x08, 8][..], &field(7, graph)].concat());
        assert!(
            matches!(&result, Err(Error::Malformed { place: found, .. }) if found.starts_with(place)),
            "{result:?}"
        );
        said(result);
    }
    assert!(said(parse_bytes(vec![0x08, 8, 0x38, 1])).contains("the graph"));
    assert!(said(parse_bytes([field(7, &[]), field(7, &[])].concat())).contains("2 graphs"));
    assert!(said(parse_bytes([&[0x0a, 1, 0][..], &field(7, &[])].concat())).contains("the model's header"));
}

#[test]
fn tensors_that_contradict_themselves_are_refused() {
    let cases = [
        (described("w", 1, &[2, -1]), "not all sizes"),
        (described("w", 1, &[i64::MIN]), "not all sizes"),
        (described("w", 1, &[1 << 40, 1 << 40]), "overflow"),
        (described("w", 16, &[i64::MAX]), "overflow"),
        (described("w", 1, &[1 << 40]), "limit"),
        (described("w", 1, &[1; 33]), "the limit is 32"),
        (described("w", 0, &[1]), "no element type"),
        (described("w", 29, &[1]), "no element type"),
        (described("w", -5, &[1]), "no element type"),
        (TensorProto { dims: vec![3], ..raw("w", &[1.0, 2.0]) }, "takes 12 bytes, 8 are there"),
        (TensorProto { raw_data: None, ..raw("w", &[1.0]) }, "0 are there"),
        (TensorProto { float_data: vec![1.0; 3], ..described("w", 1, &[2]) }, "12 are there"),
        (TensorProto { float_data: vec![1.0; 2], ..described("w", 7, &[2]) }, "0 are there"),
        (TensorProto { string_data: vec!["a".into()], ..described("w", 8, &[2]) }, "2 strings are announced"),
        (TensorProto { segment: Some(Default::default()), ..raw("w", &[1.0]) }, "segments"),
        (TensorProto { data_location: Some(1), ..described("w", 8, &[1]) }, "texts"),
    ];
    for (tensor, why) in cases {
        let file = parse(&model(vec![tensor])).unwrap();
        let text = said(file.tensor(&file.graph.initializers[0]));
        assert!(text.contains(why) && text.contains("w"), "{why}: {text}");
    }
}

#[test]
fn every_type_is_read_from_the_field_that_holds_it() {
    let t = |dtype: i32, dims: &[i64]| described("w", dtype, dims);
    let cases = [
        (TensorProto { float_data: vec![1.0], ..t(1, &[1]) }, 1.0f32.to_le_bytes().to_vec()),
        (TensorProto { int32_data: vec![255, 1], ..t(2, &[2]) }, vec![255, 1]),
        (TensorProto { int32_data: vec![-2], ..t(3, &[1]) }, vec![254]),
        (TensorProto { int32_data: vec![-2], ..t(5, &[1]) }, vec![254, 255]),
        (TensorProto { int32_data: vec![-2], ..t(6, &[1]) }, vec![254, 255, 255, 255]),
        (TensorProto { int64_data: vec![1], ..t(7, &[1]) }, vec![1, 0, 0, 0, 0, 0, 0, 0]),
        (TensorProto { int32_data: vec![1, 0], ..t(9, &[2]) }, vec![1, 0]),
        (TensorProto { int32_data: vec![0x3c00], ..t(10, &[1]) }, vec![0, 0x3c]),
        (TensorProto { double_data: vec![1.0], ..t(11, &[1]) }, 1.0f64.to_le_bytes().to_vec()),
        (TensorProto { uint64_data: vec![7], ..t(12, &[1]) }, vec![7, 0, 0, 0]),
        (TensorProto { uint64_data: vec![7], ..t(13, &[1]) }, vec![7, 0, 0, 0, 0, 0, 0, 0]),
        (TensorProto { float_data: vec![0.0, 0.0], ..t(14, &[1]) }, vec![0; 8]),
        (TensorProto { double_data: vec![0.0, 0.0], ..t(15, &[1]) }, vec![0; 16]),
        (TensorProto { int32_data: vec![0x3f80], ..t(16, &[1]) }, vec![0x80, 0x3f]),
        (TensorProto { int32_data: vec![0x21, 0x03], ..t(22, &[3]) }, vec![0x21, 3]),
        (TensorProto { int32_data: vec![0xe4], ..t(26, &[4]) }, vec![0xe4]),
        (TensorProto { raw_data: Some(vec![1, 2, 3].into()), ..t(27, &[4]) }, vec![1, 2, 3]),
    ];
    for (tensor, wanted) in cases {
        let file = parse(&model(vec![tensor])).unwrap();
        let data = file.tensor(&file.graph.initializers[0]).unwrap();
        assert_eq!(data.bytes, wanted, "type {}", data.dtype);
    }
}

/// Graphs in attributes, this many deep.
fn nested(depth: usize) -> ModelProto {
    let mut graph = GraphProto { node: vec![node("Abs", &["x"], &["y"])], ..Default::default() };
    for _ in 1..depth {
        let mut node = node("If", &["x"], &["y"]);
        node.attribute.push(branch(graph));
        graph = GraphProto { node: vec![node], ..Default::default() };
    }
    let mut proto = model(vec![raw("w", &[1.0])]);
    proto.graph.as_mut().unwrap().node.push(graph.node.remove(0));
    proto
}

#[test]
fn recursion_ends() {
    assert!(parse(&nested(16)).is_ok());
    assert!(said(parse(&nested(20))).contains("graphs in attributes"));
    let mut open = Limits { depth: 10_000, ..Limits::default() };
    let parse_with = |proto: &ModelProto, limits: &Limits| {
        ModelFile::parse(proto.encode_to_vec().into(), Some("broken.onnx".as_ref()), limits)
    };
    assert!(parse_with(&nested(25), &open).is_ok());
    assert!(said(parse_with(&nested(200), &open)).contains("messages in messages"));
    open.depth = 2;
    assert!(said(parse_with(&nested(4), &open)).contains("the limit is 2"));
    let mut bomb = TypeProto::default();
    for _ in 0..500 {
        let sequence = type_proto::Sequence { elem_type: Some(Box::new(bomb)) };
        bomb = TypeProto { value: Some(type_proto::Value::SequenceType(Box::new(sequence))), ..Default::default() };
    }
    let mut proto = model(vec![]);
    let info = ValueInfoProto { name: Some("v".into()), r#type: Some(bomb), ..Default::default() };
    proto.graph.as_mut().unwrap().value_info.push(info);
    assert!(said(parse(&proto)).contains("messages in messages"));
}

#[test]
fn a_bomb_of_bytes_does_not_overflow_the_stack() {
    // An attribute in a graph in an attribute …, some twenty thousand deep.
    let mut bytes = vec![];
    while bytes.len() < 1 << 18 {
        for number in [6u8, 5, 1] {
            let mut field = vec![number << 3 | 2];
            prost::encoding::encode_varint(bytes.len() as u64, &mut field);
            field.extend_from_slice(&bytes);
            bytes = field;
        }
    }
    let mut file = vec![0x3a];
    prost::encoding::encode_varint(bytes.len() as u64, &mut file);
    file.extend_from_slice(&bytes);
    said(parse_bytes(file));
}

#[test]
fn every_limit_holds_and_can_be_raised() {
    let mut proto = nested(3);
    proto.graph.as_mut().unwrap().initializer.push(raw("second", &[1.0; 100]));
    proto.doc_string = Some("d".repeat(200));
    let bytes = proto.encode_to_vec();
    let read = |limits: &Limits| {
        let file = ModelFile::parse(bytes.clone().into(), Some("broken.onnx".as_ref()), limits)?;
        file.graph.initializers.iter().try_for_each(|t| file.tensor(t).map(drop))
    };
    let open = Limits::default();
    assert!(read(&open).is_ok());
    let tight: [(&str, Limits, Limits); 8] = [
        ("nodes", Limits { nodes: 3, ..open.clone() }, Limits { nodes: 4, ..open.clone() }),
        ("initializers", Limits { initializers: 1, ..open.clone() }, Limits { initializers: 2, ..open.clone() }),
        ("depth", Limits { depth: 1, ..open.clone() }, Limits { depth: 2, ..open.clone() }),
        ("rank", Limits { rank: 0, ..open.clone() }, Limits { rank: 1, ..open.clone() }),
        ("name", Limits { name_bytes: 10, ..open.clone() }, Limits { name_bytes: 11, ..open.clone() }),
        ("text", Limits { text_bytes: 199, ..open.clone() }, Limits { text_bytes: 200, ..open.clone() }),
        ("tensor", Limits { tensor_bytes: 399, ..open.clone() }, Limits { tensor_bytes: 400, ..open.clone() }),
        ("memory", Limits { decoded_bytes: 1000, ..open.clone() }, Limits { decoded_bytes: 1 << 20, ..open.clone() }),
    ];
    for (what, low, high) in tight {
        let result = read(&low);
        assert!(matches!(result, Err(Error::Limit { .. })), "{what}: {result:?}");
        assert!(said(result).contains("raise that limit"), "{what}");
        assert!(read(&high).is_ok(), "{what}: {:?}", read(&high));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, &bytes).unwrap();
    let small = Limits { file_bytes: bytes.len() as u64 - 1, ..open };
    assert!(said(ModelFile::open(&path, &small)).contains("the file's size"));
}

#[test]
fn small_files_cannot_ask_for_much_memory() {
    // Two bytes an attribute, more than a kilobyte each once decoded.
    let node: Vec<u8> = [0x2a, 0].repeat(1 << 20);
    let limits = Limits { decoded_bytes: 64 << 20, ..Limits::default() };
    let mut graph = vec![0x0a];
    prost::encoding::encode_varint(node.len() as u64, &mut graph);
    graph.extend_from_slice(&node);
    let mut file = vec![0x3a];
    prost::encoding::encode_varint(graph.len() as u64, &mut file);
    file.extend_from_slice(&graph);
    let result = ModelFile::parse(file.into(), Some("broken.onnx".as_ref()), &limits);
    assert!(said(result).contains("memory in bytes"));
}
