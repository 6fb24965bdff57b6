//! Graphs that were edited, written into their files.

use hanc::ir::{Attr, Constant, Graph, NewNode};
use hanc::onnx::{Addition, export, import};
use hanc_proto::onnx::{ModelProto, NodeProto, TensorAnnotation, TensorProto};
use hanc_proto::{Limits, ModelFile};
use prost::Message;

use super::build::{branching, file, model, node, opset, tensor, value};

/// y = Relu(x · w + b), with everything that a file may have besides.
fn layer() -> ModelProto {
    let nodes = vec![
        node("Mul", &["x", "w"], &["m"]),
        node("Add", &["m", "b"], &["a"]),
        NodeProto { doc_string: Some("last".into()), ..node("Relu", &["a"], &["y"]) },
    ];
    let tensors = ["w", "b", "unused"].map(|name| tensor(name, &[1.0, 2.0]));
    let mut proto = model(nodes, tensors.to_vec());
    let graph = proto.graph.as_mut().unwrap();
    graph.value_info = vec![value("m", 1, &[2]), value("a", 1, &[2])];
    graph.quantization_annotation =
        ["m", "a"].map(|name| TensorAnnotation { tensor_name: Some(name.into()), ..Default::default() }).to_vec();
    graph.doc_string = Some("a layer".into());
    proto.producer_name = Some("someone".into());
    proto
}

fn edited(proto: &ModelProto, edit: impl FnOnce(&mut Graph)) -> (ModelFile, ModelProto) {
    let file = file(proto);
    let mut graph = import(&file).unwrap();
    edit(&mut graph);
    let out = export(&graph, Some(&file), &Addition::default()).unwrap();
    let proto = ModelProto::decode(&*out.encode()).unwrap();
    // Whatever is written reads back as a graph.
    import(&ModelFile::parse(out.encode().into(), None, &Limits::default()).unwrap()).unwrap();
    (out, proto)
}

fn names<'a>(all: impl IntoIterator<Item = &'a TensorProto>) -> Vec<&'a str> {
    all.into_iter().map(|t| t.name()).collect()
}

#[test]
fn replaced_nodes_go_with_what_only_they_read() {
    let (out, proto) = edited(&layer(), |graph| {
        let (m, x) = (graph.find("m").unwrap(), graph.inputs()[0]);
        let (mul, add) = (graph.producer(m).unwrap().0, graph.producer(graph.find("a").unwrap()).unwrap().0);
        let a = graph.find("a").unwrap();
        graph.redefine(a, NewNode::new("Abs", [x]).named("new").near(add));
        graph.sweep([add, mul]);
    });
    let graph = proto.graph.unwrap();
    let old = layer().graph.unwrap();
    assert_eq!(names(&graph.initializer), ["unused"]);
    assert_eq!(graph.node.iter().map(|n| n.op_type()).collect::<Vec<_>>(), ["Abs", "Relu"]);
    assert_eq!((&graph.node[1], &graph.value_info[..]), (&old.node[2], &old.value_info[1..]));
    assert_eq!(graph.quantization_annotation, old.quantization_annotation[1..]);
    assert_eq!((graph.doc_string, proto.producer_name), (old.doc_string, layer().producer_name));
    assert!(out.graph.nodes[1].is_verbatim() && !out.graph.nodes[0].is_verbatim());
}

#[test]
fn new_nodes_bring_their_constants() {
    let (_, proto) = edited(&layer(), |graph| {
        let (a, m) = (graph.find("a").unwrap(), graph.find("m").unwrap());
        let c = graph.add_constant("c", Constant::f32(&[2], &[3.0, 4.0]));
        graph.add_constant("nobody", Constant::f32(&[1], &[0.0]));
        let old = graph.producer(a).unwrap().0;
        graph.redefine(a, NewNode::new("Sub", [m, c]).attr("note", Attr::text("new")));
        graph.sweep([old]);
    });
    let graph = proto.graph.unwrap();
    assert_eq!(names(&graph.initializer), ["w", "unused", "c"]);
    assert_eq!(graph.initializer[2], tensor("c", &[3.0, 4.0]));
    let sub = graph.node.iter().find(|n| n.op_type() == "Sub").unwrap();
    assert_eq!((sub.input.join(" "), sub.attribute[0].s()), ("m c".to_owned(), &b"new"[..]));
}

#[test]
fn redefined_initializers_are_written_once() {
    let (_, proto) = edited(&layer(), |graph| {
        let (w, b) = (graph.find("w").unwrap(), graph.find("b").unwrap());
        graph.redefine_constant(w, Constant::f32(&[2], &[5.0, 6.0]));
        let x = graph.inputs()[0];
        graph.redefine(b, NewNode::new("Neg", [x]));
    });
    let graph = proto.graph.unwrap();
    assert_eq!(names(&graph.initializer), ["unused", "w"]);
    assert_eq!(graph.initializer[1], tensor("w", &[5.0, 6.0]));
}

#[test]
fn rewired_nodes_keep_the_rest() {
    let (out, proto) = edited(&layer(), |graph| {
        let relu = graph.producer(graph.find("y").unwrap()).unwrap().0;
        graph.set_input(relu, 0, graph.find("m"));
    });
    let wanted = NodeProto { input: vec!["m".into()], ..layer().graph.unwrap().node[2].clone() };
    let graph = proto.graph.unwrap();
    assert!(graph.node.contains(&wanted));
    assert!(out.graph.nodes.iter().all(|node| node.is_verbatim()));
    // Add is dead now, but nobody removed it.
    assert_eq!(graph.node.len(), 3);
}

#[test]
fn results_that_are_made_elsewhere_are_left_out() {
    let mut proto = layer();
    proto.graph.as_mut().unwrap().node.push(node("Split", &["x"], &["p", "q"]));
    proto.graph.as_mut().unwrap().node.push(node("Sum", &["p", "q"], &["s"]));
    let (_, proto) = edited(&proto, |graph| {
        let (p, x) = (graph.find("p").unwrap(), graph.inputs()[0]);
        graph.redefine(p, NewNode::new("Abs", [x]));
    });
    let graph = proto.graph.unwrap();
    assert_eq!(graph.node.iter().find(|n| n.op_type() == "Split").unwrap().output, ["", "q"]);
}

#[test]
fn inputs_that_mirror_initializers_go_with_them() {
    let mut proto = layer();
    proto.ir_version = Some(3);
    let inputs = &mut proto.graph.as_mut().unwrap().input;
    ["w", "b", "unused"].iter().for_each(|name| inputs.push(value(name, 1, &[2])));
    let edit = |graph: &mut Graph| {
        let (a, x) = (graph.find("a").unwrap(), graph.inputs()[0]);
        let old = graph.producer(a).unwrap().0;
        let c = graph.add_constant("c", Constant::f32(&[2], &[3.0, 4.0]));
        graph.redefine(a, NewNode::new("Sub", [x, c]));
        graph.sweep([old]);
    };
    let (_, converted) = edited(&proto, edit);
    let graph = converted.graph.unwrap();
    let inputs: Vec<_> = graph.input.iter().map(|i| i.name()).collect();
    // IR version 3 wants new initializers among the inputs, too.
    assert_eq!(inputs, ["x", "unused", "c"]);
    assert_eq!(names(&graph.initializer), ["unused", "c"]);
    assert_eq!(graph.input[1], proto.graph.as_ref().unwrap().input[3]);
}

#[test]
fn nested_graphs_follow_their_values() {
    let mut proto = layer();
    let inner = vec![node("Abs", &["m"], &["i"]), node("Add", &["i", "b"], &["j"])];
    let shadow = branching(node("If", &["x"], &["k"]), vec![node("Neg", &["m"], &["l"])], "l");
    let branch = branching(node("If", &["x"], &["z"]), [inner, vec![shadow]].concat(), "j");
    proto.graph.as_mut().unwrap().node.push(branch);
    let (out, converted) = edited(&proto, |_| {});
    assert_eq!(converted, proto);
    assert!(out.graph.nodes[3].is_verbatim());
    let (_, converted) = edited(&proto, |graph| {
        let (m, x) = (graph.find("m").unwrap(), graph.inputs()[0]);
        let other = graph.add_node(NewNode::new("Exp", [x]), &["other"]).1[0];
        graph.replace_uses(m, other);
    });
    let text = format!("{:?}", converted.graph.unwrap().node.iter().find(|n| n.op_type() == "If").unwrap());
    assert!(!text.contains("\"m\"") && text.matches("\"other\"").count() == 2 && text.contains("\"b\""), "{text}");
}

#[test]
fn additions_reach_the_header() {
    let file = file(&layer());
    let graph = import(&file).unwrap();
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    let addition = Addition {
        metadata: vec![pair("a", "1"), pair("b", "2"), pair("a", "3")],
        opsets: [("ai.onnx".to_owned(), 99), ("ai.hanc".to_owned(), 1)].into(),
        ir_version: 9,
    };
    let proto = ModelProto::decode(&*export(&graph, Some(&file), &addition).unwrap().encode()).unwrap();
    let entries: Vec<_> = proto.metadata_props.iter().map(|e| (e.key(), e.value())).collect();
    assert_eq!(entries, [("a", "3"), ("b", "2")]);
    assert_eq!(proto.opset_import, [opset("", 17), opset("ai.hanc", 1)]);
    assert_eq!(proto.ir_version(), 9);
}

#[test]
fn a_graph_without_a_file_becomes_a_model() {
    let mut graph = Graph::new("", [(String::new(), 17)].into());
    let x = graph.add_input("x", Some(hanc_runtime::DType::F32), Some(vec![hanc::ir::Dim::symbol("N")]));
    let c = graph.add_constant("c", Constant::f32(&[1], &[2.0]));
    let y = graph.add_node(NewNode::new("Mul", [x, c]).named("mul"), &["y"]).1;
    graph.set_outputs(y);
    let file = export(&graph, None, &Addition::default()).unwrap();
    let proto = ModelProto::decode(&*file.encode()).unwrap();
    assert_eq!((proto.ir_version(), proto.opset_import.len()), (8, 1));
    let again = import(&ModelFile::parse(file.encode().into(), None, &Limits::default()).unwrap()).unwrap();
    assert_eq!(again.value(again.inputs()[0]).shape, graph.value(x).shape);
    assert_eq!(again.node(again.producer(again.outputs()[0]).unwrap().0).place(&again), "mul");
}

#[test]
fn texts_and_nested_graphs_cannot_be_made_anew() {
    let refused = |edit: &dyn Fn(&mut Graph)| {
        let mut graph = Graph::new("", [(String::new(), 17)].into());
        edit(&mut graph);
        export(&graph, None, &Addition::default()).unwrap_err().to_string()
    };
    let texts = refused(&|graph| {
        let text = graph.add_constant("words", Constant::new(hanc_runtime::DType::String, &[2], vec![]));
        graph.set_outputs(vec![text]);
    });
    assert!(texts.contains("words"), "{texts}");
    let nested = refused(&|graph| {
        graph.add(NewNode::new("If", []).attr("then_branch", Attr::Graph));
    });
    assert!(nested.contains("then_branch"), "{nested}");
}

#[test]
fn operators_of_another_opset_keep_their_meaning_or_stay_out() {
    let written = |op: &str| {
        let mut graph = Graph::new("", [(String::new(), 17)].into());
        let x = graph.add_input("x", Some(hanc_runtime::DType::F32), None);
        graph.add(NewNode { version: Some(11), ..NewNode::new(op, [x]) });
        export(&graph, None, &Addition::default()).map(drop).map_err(|e| e.to_string())
    };
    assert!(written("Elu").is_ok());
    assert!(written("Softmax").unwrap_err().contains("opset 17 of the model than under opset 11"));
}
