//! Structure-aware mutations of models: what a broken exporter or an ill-meaning person could write.
//!
//! A mutation changes a node, its wiring, an attribute, a tensor, a type, a version, a function or a nested graph of a model that
//! is right, and now and then the bytes of the file as well.

mod nodes;
mod tensors;

use hanc_proto::onnx::{
    FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorAnnotation,
};
use prost::Message;

use crate::dice::Dice;

/// The bytes of the model with one to three things changed.
pub fn mutated(model: &ModelProto, dice: &mut Dice) -> Vec<u8> {
    let mut model = model.clone();
    for _ in 0..=dice.roll(3) {
        change(&mut model, dice);
    }
    let mut bytes = model.encode_to_vec();
    if dice.one_in(8) {
        spoil_bytes(&mut bytes, dice);
    }
    bytes
}

fn change(model: &mut ModelProto, dice: &mut Dice) {
    let names = names(model);
    match dice.roll(24) {
        0 => header(model, dice),
        1 => function(model, dice),
        2 => ports(model, dice),
        3 => sides(model, &names, dice),
        4..=8 => tensors::change(model, dice),
        _ => {
            let keys = function_keys(model);
            nodes::change(some_nodes(model, dice), &names, &keys, dice);
        }
    }
}

/// The names of the graph's values, and some that nobody has.
fn names(model: &ModelProto) -> Vec<String> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let made = graph.node.iter().flat_map(|node| &node.output).cloned();
    let given = graph.input.iter().map(|input| input.name().to_owned());
    let weights = graph.initializer.iter().map(|tensor| tensor.name().to_owned());
    made.chain(given).chain(weights).chain(["".to_owned(), "nobody".to_owned()]).collect()
}

/// Domain and name of each model-local function.
fn function_keys(model: &ModelProto) -> Vec<(String, String)> {
    model.functions.iter().map(|f| (f.domain().to_owned(), f.name().to_owned())).collect()
}

/// The nodes of the graph, of a function, or of a graph nested in one of them.
fn some_nodes<'m>(model: &'m mut ModelProto, dice: &mut Dice) -> &'m mut Vec<NodeProto> {
    let in_function = !model.functions.is_empty() && dice.one_in(3);
    let nodes = match in_function {
        true => {
            let at = dice.roll(model.functions.len());
            &mut model.functions[at].node
        }
        false => &mut model.graph.get_or_insert_default().node,
    };
    nested(nodes, dice)
}

/// These nodes, or those of a graph in an attribute of one of them.
fn nested<'m>(nodes: &'m mut Vec<NodeProto>, dice: &mut Dice) -> &'m mut Vec<NodeProto> {
    let has_graph = |node: &NodeProto| node.attribute.iter().any(|attribute| attribute.g.is_some());
    let Some(at) = nodes.iter().position(has_graph).filter(|_| dice.one_in(2)) else { return nodes };
    let graphs = nodes[at].attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut());
    let mut graphs: Vec<&mut GraphProto> = graphs.collect();
    let chosen = dice.roll(graphs.len());
    nested(&mut graphs.swap_remove(chosen).node, dice)
}

fn header(model: &mut ModelProto, dice: &mut Dice) {
    match dice.roll(5) {
        0 => model.ir_version = [None, Some(dice.integer()), Some(3)][dice.roll(3)],
        1 => dice.shuffle(&mut model.opset_import),
        2 => model.opset_import.push(OperatorSetIdProto { domain: domain(dice), version: Some(dice.integer()) }),
        _ => {
            let versions =
                [None, Some(0), Some(-3), Some(1), Some(6), Some(9), Some(12), Some(13), Some(18), Some(23), Some(99)];
            if let Some(opset) = dice.pick_mut(&mut model.opset_import) {
                opset.version = versions[dice.roll(versions.len())];
            }
        }
    }
}

fn domain(dice: &mut Dice) -> Option<String> {
    [None, Some(""), Some("ai.onnx"), Some("com.microsoft"), Some("ai.hanc"), Some("x")][dice.roll(6)]
        .map(str::to_owned)
}

/// Makes a function of some nodes and calls it, or changes one that is there.
fn function(model: &mut ModelProto, dice: &mut Dice) {
    if model.functions.is_empty() || dice.one_in(3) {
        return extract(model, dice);
    }
    let imports = model.opset_import.clone();
    let Some(function) = dice.pick_mut(&mut model.functions) else { return };
    match dice.roll(7) {
        0 => dice.shuffle(&mut function.input),
        1 => dice.shuffle(&mut function.output),
        2 => function.opset_import = imports,
        3 => dice.shuffle(&mut function.opset_import),
        4 => function.name = [None, Some("Abs".into()), Some(String::new())][dice.roll(3)].clone(),
        5 => function.attribute.push("axis".into()),
        // It calls itself.
        _ => {
            let call = call_of(function);
            function.node.push(call);
        }
    }
    dice.shuffle(&mut model.functions);
}

/// A node of the graph becomes a call of a function that holds it.
fn extract(model: &mut ModelProto, dice: &mut Dice) {
    let imports = model.opset_import.clone();
    let graph = model.graph.get_or_insert_default();
    let Some(node) = dice.pick_mut(&mut graph.node) else { return };
    let function = FunctionProto {
        name: Some(format!("F{}", dice.roll(3))),
        domain: Some("local".into()),
        input: node.input.clone(),
        output: node.output.clone(),
        node: vec![node.clone()],
        opset_import: imports,
        ..FunctionProto::default()
    };
    *node = call_of(&function);
    model.functions.push(function);
    model.opset_import.push(OperatorSetIdProto { domain: Some("local".into()), version: Some(1) });
}

fn call_of(function: &FunctionProto) -> NodeProto {
    NodeProto {
        op_type: function.name.clone(),
        domain: function.domain.clone(),
        input: function.input.clone(),
        output: function.output.clone(),
        ..NodeProto::default()
    }
}

/// Changes what the graph takes and gives, and what it says of values.
fn ports(model: &mut ModelProto, dice: &mut Dice) {
    let graph = model.graph.get_or_insert_default();
    let shared = graph.output.first().or(graph.input.first()).cloned();
    let list = match dice.roll(3) {
        0 => &mut graph.input,
        1 => &mut graph.output,
        _ => &mut graph.value_info,
    };
    list.extend(shared.filter(|_| list.is_empty()));
    match dice.roll(4) {
        0 => dice.shuffle(list),
        _ => {
            if let Some(info) = dice.pick_mut(list) {
                tensors::value(info, dice);
            }
        }
    }
}

/// Changes what stands beside nodes and weights.
fn sides(model: &mut ModelProto, names: &[String], dice: &mut Dice) {
    let entry = |dice: &mut Dice| StringStringEntryProto {
        key: dice.pick(names).cloned().filter(|_| dice.one_in(2)),
        value: dice.pick(names).cloned(),
    };
    let graph = model.graph.get_or_insert_default();
    match dice.roll(6) {
        0 => model.metadata_props.push(entry(dice)),
        1 => graph.metadata_props.push(entry(dice)),
        2 => {
            let quant_parameter_tensor_names = vec![entry(dice)];
            let tensor_name = dice.pick(names).cloned();
            graph.quantization_annotation.push(TensorAnnotation { tensor_name, quant_parameter_tensor_names });
        }
        3 => graph.name = None,
        4 => graph.sparse_initializer.push(tensors::sparse(&graph.initializer, dice)),
        _ => model.training_info.push(Default::default()),
    }
}

/// Flips, cuts, doubles or overwrites some bytes.
fn spoil_bytes(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len());
        let end = (at + 1 + dice.roll(16)).min(bytes.len());
        match dice.roll(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copied = bytes[at..end].to_vec();
                bytes.splice(at..at, copied);
            }
            3 => bytes[at..end].fill([0, 0x7f, 0x80, 0xff][dice.roll(4)]),
            _ => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << dice.roll(8)),
        }
    }
}
