//! Graphs out of files: what is read, and what is refused.

use hanc::ir::{Attr, Dim, Source};
use hanc::onnx::{Fault, ImportError};
use hanc_proto::onnx::attribute_proto::AttributeType;
use hanc_proto::onnx::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
};

use super::build::{branching, graph, maker, model, node, opset, tensor, value, with};

fn edited(edit: impl FnOnce(&mut ModelProto, &mut GraphProto)) -> ModelProto {
    let mut proto = model(vec![node("Add", &["x", "w"], &["y"])], vec![tensor("w", &[1.0, 2.0])]);
    let mut graph = proto.graph.take().unwrap();
    edit(&mut proto, &mut graph);
    proto.graph = Some(graph);
    proto
}

#[track_caller]
fn refused(fault: Fault, parts: &[&str], edit: impl FnOnce(&mut ModelProto, &mut GraphProto)) {
    let error = graph(&edited(edit)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, ImportError::Graph { fault: found, .. } if *found == fault), "{text}");
    assert!(text.starts_with("dir/broken.onnx: ") && text.ends_with(fault.help()), "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text}");
}

#[test]
fn values_that_nothing_gives_are_named() {
    refused(Fault::Undefined, &["/Add", "(Add)", "\"w\""], |_, g| g.initializer.clear());
    refused(Fault::Undefined, &["output \"z\""], |_, g| g.output[0].name = Some("z".into()));
    refused(Fault::Undefined, &["output \"\""], |_, g| g.output[0].name = None);
    refused(Fault::Undefined, &["/If", "\"gone\""], |_, g| {
        let inner = vec![node("Abs", &["gone"], &["inner"])];
        g.node.push(branching(node("If", &["x"], &["z"]), inner, "inner"));
    });
}

#[test]
fn names_are_given_once() {
    refused(Fault::Duplicate, &["/Mul", "\"y\""], |_, g| g.node.push(node("Mul", &["x", "x"], &["y"])));
    refused(Fault::Duplicate, &["/Mul", "\"w\""], |_, g| g.node.push(node("Mul", &["x", "x"], &["w"])));
    refused(Fault::Duplicate, &["/Mul", "\"x\""], |_, g| g.node.push(node("Mul", &["x", "x"], &["x"])));
    refused(Fault::Duplicate, &["/Split", "\"a\""], |_, g| g.node.push(node("Split", &["x"], &["a", "a"])));
    refused(Fault::Duplicate, &["initializer \"w\""], |_, g| g.initializer.push(tensor("w", &[1.0])));
    refused(Fault::Duplicate, &["input \"x\""], |_, g| g.input.push(value("x", 1, &[2])));
}

#[test]
fn names_are_there() {
    refused(Fault::Unnamed, &["initializer 1"], |_, g| g.initializer.push(tensor("", &[1.0])));
    refused(Fault::Unnamed, &["input 1"], |_, g| g.input.push(value("", 1, &[2])));
    refused(Fault::NoOperator, &["node \"/Add\""], |_, g| g.node[0].op_type = None);
    refused(Fault::NoOperator, &["node 0"], |_, g| (g.node[0].op_type, g.node[0].name) = (None, None));
    refused(Fault::Empty, &["outputs"], |_, g| g.output.clear());
    refused(Fault::Empty, &["outputs"], |_, g| *g = GraphProto::default());
}

#[test]
fn cycles_are_named() {
    refused(Fault::Cycle, &["/Add", "/Mul"], |_, g| {
        g.node[0].input[1] = "m".into();
        g.node.push(node("Mul", &["y", "x"], &["m"]));
    });
    refused(Fault::Cycle, &["/Add"], |_, g| g.node[0].input[1] = "y".into());
    refused(Fault::Cycle, &["/If"], |_, g| {
        let inner = vec![node("Abs", &["z"], &["inner"])];
        g.node.push(branching(node("If", &["x"], &["z"]), inner, "inner"));
    });
}

#[test]
fn opsets_are_stated_once_and_are_versions() {
    refused(Fault::Opset, &["/Add", "(Add)", "\"\""], |m, _| m.opset_import.clear());
    refused(Fault::Opset, &["/Add", "\"custom\""], |_, g| g.node[0].domain = Some("custom".into()));
    refused(Fault::Opset, &["\"\"", "0 is no version"], |m, _| m.opset_import[0].version = Some(0));
    refused(Fault::Opset, &["-3 is no version"], |m, _| m.opset_import.push(opset("a", -3)));
    refused(Fault::Opset, &["version 17 and version 18"], |m, _| m.opset_import.push(opset("ai.onnx", 18)));
    let old = edited(|m, _| (m.ir_version, m.opset_import) = (Some(2), vec![]));
    assert_eq!(graph(&old).unwrap().opsets[""], 1);
}

#[test]
fn attributes_are_named_once_and_refer_to_something() {
    let alpha = |node: &mut NodeProto| *node = with(node.clone(), "alpha", AttributeType::Float, |a| a.f = Some(1.0));
    refused(Fault::Attribute, &["/Add", "\"alpha\" is given twice"], |_, g| {
        alpha(&mut g.node[0]);
        alpha(&mut g.node[0]);
    });
    refused(Fault::Attribute, &["/Add", "no name"], |_, g| g.node[0].attribute.push(AttributeProto::default()));
    refused(Fault::Attribute, &["stands in none"], |_, g| {
        alpha(&mut g.node[0]);
        g.node[0].attribute[0].ref_attr_name = Some("slope".into());
    });
}

#[test]
fn declared_types_are_types() {
    refused(Fault::Type, &["value \"x\"", "99"], |_, g| g.input[0] = value("x", 99, &[2]));
    refused(Fault::Type, &["value \"v\"", "-1"], |_, g| g.value_info.push(value("v", -1, &[2])));
    refused(Fault::Type, &["value \"y\"", "40 dimensions"], |_, g| g.output[0] = value("y", 1, &[1; 40]));
    let free = graph(&edited(|_, g| g.input[0] = value("x", 1, &[-1]))).unwrap();
    assert_eq!(free.value(free.find("x").unwrap()).shape.as_ref().unwrap()[0].size(), None);
}

#[test]
fn tensors_of_attributes_are_checked_where_they_stand() {
    let broken = || TensorProto { dims: vec![3], ..tensor("", &[1.0]) };
    let text = |edit: &dyn Fn(&mut GraphProto)| graph(&edited(|_, g| edit(g))).unwrap_err().to_string();
    let constant = text(&|g| {
        g.node.push(with(node("Constant", &[], &["c"]), "value", AttributeType::Tensor, |a| a.t = Some(broken())));
    });
    assert!(constant.contains("value of node \\\"/Constant\\\"") && constant.contains("12 bytes"), "{constant}");
    let nested = text(&|g| {
        let constant = with(node("Constant", &[], &["c"]), "value", AttributeType::Tensor, |a| a.t = Some(broken()));
        g.node.push(branching(node("If", &["x"], &["z"]), vec![constant], "c"));
    });
    assert!(nested.contains("then_branch of node") && nested.contains("/If"), "{nested}");
}

fn sparse(dims: &[i64], values: &[f32], indices: &[i64], shape: &[i64]) -> SparseTensorProto {
    let indices = TensorProto {
        int64_data: indices.to_vec(),
        raw_data: None,
        data_type: Some(7),
        dims: shape.to_vec(),
        ..tensor("", &[])
    };
    SparseTensorProto { values: Some(tensor("w", values)), indices: Some(indices), dims: dims.to_vec() }
}

#[test]
fn sparse_tensors_fit_together() {
    let edit = |tensor: SparseTensorProto| {
        move |_: &mut ModelProto, g: &mut GraphProto| {
            g.initializer.clear();
            g.sparse_initializer = vec![tensor];
        }
    };
    for good in [sparse(&[9], &[1.0, 2.0], &[0, 8], &[2]), sparse(&[3, 3], &[1.0], &[2, 2], &[1, 2])] {
        let graph = graph(&edited(edit(good))).unwrap();
        let value = graph.value(graph.find("w").unwrap());
        assert!(matches!(value.source, Source::Input) && value.shape.is_some());
        assert_eq!(graph.inputs().len(), 1);
    }
    refused(Fault::Sparse, &["\"w\"", "outside"], edit(sparse(&[9], &[1.0], &[9], &[1])));
    refused(Fault::Sparse, &["outside"], edit(sparse(&[3, 3], &[1.0], &[0, -1], &[1, 2])));
    refused(Fault::Sparse, &["not all sizes"], edit(sparse(&[-3], &[1.0], &[0], &[1])));
    refused(Fault::Sparse, &["overflow"], edit(sparse(&[i64::MAX, 2], &[1.0], &[0], &[1])));
    refused(Fault::Sparse, &["do not fit"], edit(sparse(&[9], &[1.0, 2.0], &[0], &[1])));
    refused(
        Fault::Sparse,
        &["no indices"],
        edit(SparseTensorProto { indices: None, ..sparse(&[9], &[1.0], &[0], &[1]) }),
    );
}

#[test]
fn inputs_with_a_value_are_constants() {
    let graph = graph(&edited(|m, g| {
        m.ir_version = Some(3);
        g.input.push(value("w", 1, &[2]));
    }))
    .unwrap();
    assert_eq!(graph.inputs().len(), 1);
    assert_eq!(graph.constant(graph.find("w").unwrap()).unwrap().reals().unwrap(), [1.0, 2.0]);
}

#[test]
fn both_names_of_the_domain_are_one() {
    let graph = graph(&edited(|m, g| {
        m.opset_import = vec![opset("ai.onnx", 17)];
        g.node[0].domain = Some("ai.onnx".into());
        g.value_info.push(value("y", 1, &[7]));
    }))
    .unwrap();
    let add = maker(&graph, "y");
    assert!(add.is("Add") && graph.version(add) == 17);
}

#[test]
fn nested_graphs_read_from_outside() {
    let graph = graph(&edited(|_, g| {
        // The inner If reads `x` of the model, `own` of the outer branch, and `y`.
        let inner = branching(node("If", &["x"], &["i"]), vec![node("Add", &["own", "y"], &["j"])], "j");
        let outer = vec![node("Abs", &["w"], &["own"]), inner];
        g.node.push(branching(node("If", &["c"], &["z"]), outer, "i"));
        g.input.push(value("c", 9, &[]));
    }))
    .unwrap();
    let branch = maker(&graph, "z");
    let names: Vec<_> = branch.captures.iter().map(|id| &*graph.value(*id).name).collect();
    assert_eq!(names, ["w", "x", "y"]);
    assert_eq!(branch.attrs["then_branch"], Attr::Graph);
    assert!(graph.users(graph.find("w").unwrap()).len() == 2);
}

fn function(edit: impl FnOnce(&mut FunctionProto)) -> impl FnOnce(&mut ModelProto, &mut GraphProto) {
    let leaky = with(node("LeakyRelu", &["a"], &["b"]), "alpha", AttributeType::Float, |attribute| {
        attribute.ref_attr_name = Some("slope".into());
    });
    let mut function = FunctionProto {
        name: Some("Leaky".into()),
        domain: Some("local".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute: vec!["slope".into()],
        node: vec![leaky],
        opset_import: vec![opset("", 17)],
        ..Default::default()
    };
    edit(&mut function);
    move |m, g| {
        m.opset_import.push(opset("local", 1));
        g.node[0] = NodeProto { domain: Some("local".into()), ..node("Leaky", &["x"], &["y"]) };
        m.functions.push(function);
    }
}

#[test]
fn functions_are_graphs_too() {
    let graph = graph(&edited(function(|_| {}))).unwrap();
    let leaky = &graph.functions[&("local".into(), "Leaky".into(), String::new())];
    let (_, body) = leaky.body.nodes().next().unwrap();
    assert_eq!(body.attrs["alpha"], Attr::Reference("slope".into()));
    assert_eq!((leaky.attributes.len(), body.origin), (1, None));
    refused(Fault::Undefined, &["function \"local.Leaky\"", "/LeakyRelu"], function(|f| f.input.clear()));
    refused(Fault::Undefined, &["local.Leaky", "output \"c\""], function(|f| f.output[0] = "c".into()));
    refused(Fault::Unnamed, &["has no name"], function(|f| f.name = None));
    refused(Fault::Opset, &["local.Leaky", "/LeakyRelu"], function(|f| f.opset_import.clear()));
    refused(Fault::Cycle, &["local.Leaky"], function(|f| f.node[0].input[0] = "b".into()));
    refused(Fault::Duplicate, &["local.Leaky", "two functions"], |m, g| {
        function(|_| {})(m, g);
        m.functions.push(m.functions[0].clone());
    });
}

#[test]
fn weights_stay_where_they_lie() {
    let file = super::build::file(&edited(|_, _| {}));
    let graph = hanc::onnx::import(&file).unwrap();
    let constant = graph.constant(graph.find("w").unwrap()).unwrap();
    assert_eq!(constant.bytes.as_ptr(), file.graph.initializers[0].raw_data.as_ref().unwrap().as_ptr());
    assert_eq!(constant.origin, Some(0));
}

#[test]
fn declared_types_go_to_the_values() {
    let graph = graph(&edited(|_, g| g.output[0] = value("y", 10, &[5]))).unwrap();
    let y = graph.value(graph.find("y").unwrap());
    assert_eq!((y.dtype, y.shape.clone()), (Some(hanc_runtime::DType::F16), Some(vec![Dim::known(5)])));
}
