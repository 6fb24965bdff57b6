//! What a conversion does to the graph.

use super::*;

fn ffn(sizes: &[usize], dtype: DType) -> Model {
    Model::of(&Spec { shape: shape(sizes), axes: sizes.len() - 1..sizes.len(), kind: Kind::Ffn, dtype })
}

#[test]
fn output_keeps_its_value_and_covered_nodes_go() {
    let model = ffn(&[2, 3, 4], DType::F32);
    let converted = model.convert(&Options::default()).unwrap();
    let graph = &converted.graph;
    assert_eq!(graph.outputs(), model.graph.outputs());
    let names: Vec<_> = graph.nodes().map(|(_, node)| node.name.to_string()).collect();
    assert!(names.iter().all(|name| name.starts_with("hanc/ffn.0/")), "{names:?}");
    let layer = ["Add", "Transpose", "MatMul", "Mul", "Sub", "Add"];
    let wanted: Vec<_> = layer.iter().chain(&["Abs"]).chain(&layer).copied().collect();
    assert_eq!(op_types(graph), wanted);
    let left: Vec<_> = graph.values().filter(|(id, _)| graph.constant(*id).is_some()).map(|(_, v)| &*v.name).collect();
    assert_eq!(left, ["hanc/ffn.0/0/u", "hanc/ffn.0/0/b", "hanc/ffn.0/1/u", "hanc/ffn.0/1/b"]);
}

#[test]
fn new_weights_are_all_that_counts() {
    for (sizes, axes) in [(vec![2, 3, 4], 2..3), (vec![2, 3, 4], 1..2), (vec![2, 3, 4, 5], 1..3)] {
        let spec = Spec { shape: shape(&sizes), axes: axes.clone(), kind: Kind::MixerToken, dtype: DType::F32 };
        let converted = Model::of(&spec).convert(&Options::default()).unwrap();
        let width: u64 = sizes[axes].iter().product::<usize>() as u64;
        assert_eq!(converted.report.parameters.after, 4 * width, "{sizes:?}");
        let elements = sizes.iter().product::<usize>() as u64;
        assert_eq!(converted.report.macs.after, 8 * elements, "{sizes:?}");
        assert_eq!(converted.report.blocks[0].macs, report::Change { before: 1000, after: 8 * elements });
    }
}

#[test]
fn new_weights_have_the_type_of_the_model() {
    for dtype in [DType::F16, DType::Bf16, DType::F64] {
        let converted = ffn(&[2, 3, 4], dtype).convert(&Options::default()).unwrap();
        let graph = &converted.graph;
        assert!(graph.values().filter_map(|(id, _)| graph.constant(id)).all(|c| c.dtype == dtype));
        assert_eq!(graph.value(graph.outputs()[0]).dtype, Some(dtype));
    }
}

#[test]
fn constants_with_other_users_stay() {
    let mut model = ffn(&[2, 3, 4], DType::F32);
    let w1 = model.graph.find("/blocks.0/w1").unwrap();
    let unused = model.graph.add_constant("unused", Constant::f32(&[1], &[3.0]));
    let tied = model.graph.add(NewNode::new("Mul", [model.top, w1]).named("tied"));
    model.graph.set_outputs(vec![tied]);
    infer::infer(&mut model.graph).unwrap();
    let converted = model.convert(&Options::default()).unwrap();
    assert!(converted.graph.constant(w1).is_some());
    assert!(converted.graph.constant(unused).is_some(), "what was dead before is none of our business");
    assert!(converted.graph.constant(model.graph.find("/blocks.0/w2").unwrap()).is_none());
    assert_eq!(converted.report.max_abs_diff_untouched, 0.0);
}

#[test]
fn gains_and_reflections_are_counted() {
    let model = ffn(&[2, 3, 4], DType::F32);
    let options = Options { gain: true, rank: 2, ..Options::default() };
    let report = model.convert(&options).unwrap().report;
    // Two layers of two vectors and a bias, and the gain.
    assert_eq!(report.blocks[0].parameters.after, 2 * 3 * 4 + 4);
    assert_eq!(report.parameters.after, 2 * 3 * 4 + 4);
}

#[test]
fn a_changed_constant_is_seen() {
    let model = ffn(&[2, 3, 4], DType::F32);
    let mut other = model.graph.clone();
    let w1 = other.find("/blocks.0/w1").unwrap();
    other.redefine_constant(w1, Constant::f32(&[1], &[2.25]));
    assert_eq!(report::max_abs_diff_untouched(&model.graph, &other), 0.25);
    other.redefine_constant(w1, Constant::f32(&[1, 1], &[2.0]));
    assert_eq!(report::max_abs_diff_untouched(&model.graph, &other), f64::INFINITY);
}

#[test]
fn names_that_are_taken_are_not_taken_again() {
    let mut model = ffn(&[2, 3, 4], DType::F32);
    model.graph.add_constant("hanc/ffn.0/0/u", Constant::f32(&[1], &[3.0]));
    let converted = model.convert(&Options::default()).unwrap();
    assert_eq!(converted.report.blocks[0].weights, "hanc/ffn.0~1");
    assert!(converted.graph.find("hanc/ffn.0~1/0/u").is_some());
}

#[test]
fn free_sizes_survive_the_reshapes() {
    let free = |text: &str| Dim::parse(text).unwrap();
    let cases = [
        (vec![free("N"), free("3"), free("4"), free("5")], Some(vec![0, 3, 4, 5])),
        (vec![free("N"), free("3"), free("4"), free("T")], Some(vec![0, 3, 4, -1])),
        (vec![free("N"), free("3"), free("H"), free("W")], None),
    ];
    for (dims, back) in cases {
        let spec = Spec { shape: dims.clone(), axes: 1..2, kind: Kind::Ffn, dtype: DType::F32 };
        let graph = Model::of(&spec).convert(&Options::default()).unwrap().graph;
        let target = |name: &str| graph.constant(graph.find(name)?)?.integers();
        assert_eq!(target("hanc/ffn.0/flat/shape"), Some(vec![0, 3, -1]));
        assert_eq!(target("hanc/ffn.0/restored/shape"), back, "{dims:?}");
        assert_eq!(graph.value(graph.outputs()[0]).shape, Some(dims));
    }
}

#[test]
fn functions_are_called_and_held_by_the_graph() {
    let model = ffn(&[2, 3, 4], DType::F32);
    let converted = model.convert(&Options { emit: Emit::Function, ..Options::default() }).unwrap();
    assert_eq!(op_types(&converted.graph), ["Han", "Householder"]);
    assert_eq!(converted.graph.opsets.get("ai.hanc"), Some(&1));
    let names: Vec<_> = converted.graph.functions.keys().map(|(domain, name, _)| format!("{domain}.{name}")).collect();
    assert_eq!(names, ["ai.hanc.Han", "ai.hanc.Householder"]);
    assert_eq!(converted.ir_version, 8);
    assert_eq!(converted.report.parameters.after, 16);
}

#[test]
fn functions_need_an_opset_that_has_their_operators() {
    let mut model = Model::new(&shape(&[2, 3]), DType::F32, 11);
    model.block(&Spec { shape: shape(&[2, 3]), axes: 1..2, kind: Kind::Ffn, dtype: DType::F32 });
    let error = model.convert(&Options { emit: Emit::Function, ..Options::default() }).unwrap_err();
    let wanted = ConvertError::Emit { block: "ffn.0".into(), error: EmitError::Opset { needed: 13, found: 11 } };
    assert_eq!(error, wanted);
}

#[test]
fn metadata_says_what_was_done_and_keeps_what_was() {
    let model = ffn(&[2, 3, 4], DType::F32);
    let earlier = BTreeMap::from([("hanc.replaced".to_owned(), r#"[{"id":"linear.7"}]"#.to_owned())]);
    let origin = Origin { sha256: Some("ab12".into()), metadata: earlier };
    let options = Options { seed: 5, ..Options::default() };
    let set = convert(&model.graph, &model.found, &origin, &options).unwrap().metadata;
    let replaced: serde_json::Value = serde_json::from_str(&set["hanc.replaced"]).unwrap();
    assert_eq!(replaced[0]["id"], "linear.7");
    assert_eq!(replaced[1]["weights"], "hanc/ffn.0");
    assert_eq!((&replaced[1]["axis"], &replaced[1]["width"]), (&(-1).into(), &4.into()));
    assert_eq!((&*set["hanc.seed"], &*set["hanc.source.sha256"]), ("5", "ab12"));
    let options: serde_json::Value = serde_json::from_str(&set["hanc.options"]).unwrap();
    assert_eq!(options["emit"], "inline");
}

#[test]
fn axes_that_do_not_fit_are_refused() {
    let mut model = ffn(&[2, 3, 4], DType::F32);
    model.found.blocks[0].width = 5;
    let error = model.convert(&Options::default()).unwrap_err();
    assert!(matches!(error, ConvertError::Emit { error: EmitError::Axes { width: 5, .. }, .. }), "{error}");
    model.found.blocks[0].input.axes = 2..9;
    assert!(model.convert(&Options::default()).is_err());
    let ints = ffn(&[2, 3, 4], DType::F32);
    let mut graph = ints.graph.clone();
    graph.set_type(graph.inputs()[0], Some(DType::I64), Some(shape(&[2, 3, 4])));
    let error = convert(&graph, &ints.found, &Origin::default(), &Options::default()).unwrap_err();
    assert!(matches!(error, ConvertError::Emit { error: EmitError::Type { dtype: DType::I64, .. }, .. }), "{error}");
}

#[test]
fn wrong_numbers_are_refused() {
    let model = ffn(&[2, 3, 4], DType::F32);
    for depth in [0, DEPTH_LIMIT + 1] {
        assert_eq!(model.convert(&Options { depth, ..Options::default() }).unwrap_err(), ConvertError::Depth(depth));
    }
    let options = Options { init: Init::Identity, offset: f64::NAN, ..Options::default() };
    assert!(matches!(model.convert(&options), Err(ConvertError::Offset(_))));
    let options = Options { init: Init::Identity, depth: 1, ..Options::default() };
    let error = ConvertError::Init { block: "ffn.0".into(), error: NoIdentity };
    assert_eq!(model.convert(&options).unwrap_err(), error);
}

#[test]
fn what_was_written_is_found_again() {
    let places = [(vec![2, 3, 4], 2..3), (vec![2, 3, 4], 1..2), (vec![2, 3, 4, 5], 1..2), (vec![2, 3, 4, 5], 1..3)];
    for (sizes, axes) in places {
        for emit in [Emit::Inline, Emit::Function] {
            for (kind, dtype) in [(Kind::Ffn, DType::F32), (Kind::MixerToken, DType::F16)] {
                let spec = Spec { shape: shape(&sizes), axes: axes.clone(), kind, dtype };
                let after = Model::of(&spec).convert(&Options { emit, depth: 3, ..Options::default() }).unwrap().graph;
                let found = crate::blocks::find(&after).unwrap();
                let han: Vec<_> = found.han.iter().map(|stack| (stack.width, stack.layers)).collect();
                let width = sizes[axes.clone()].iter().product();
                assert_eq!(han, [(width, 3)], "{sizes:?} {axes:?} {emit:?} {kind}");
                let again = convert(&after, &found, &Origin::default(), &Options::default()).unwrap_err();
                assert!(matches!(again, ConvertError::NothingMatched { han: 3, .. }), "{again}");
            }
        }
    }
}
