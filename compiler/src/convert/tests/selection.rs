//! Which blocks are chosen, and what is said of the others.

use super::select::{parse_indices, parse_kinds, select};
use super::*;

/// ffn.0, mixer-token.0, ffn.1, linear.0, of which ffn.1 is a near miss.
fn model() -> Model {
    let spec = |kind| Spec { shape: shape(&[2, 3, 4]), axes: 2..3, kind, dtype: DType::F32 };
    let mut model = Model::of(&spec(Kind::Ffn));
    model.block(&spec(Kind::MixerToken)).block(&spec(Kind::Ffn)).block(&spec(Kind::Linear));
    model.found.blocks[2].refusal = Some(Refusal::WidthChanges { input: 4, output: 6 });
    model
}

fn chosen(model: &Model, selection: Selection) -> Vec<String> {
    let selected = select(&model.graph, &model.found, &selection).unwrap();
    selected.chosen.iter().map(|block| block.id.clone()).collect()
}

fn only(patterns: &[&str]) -> Selection {
    Selection { only: patterns.iter().map(|p| p.to_string()).collect(), ..Selection::default() }
}

#[test]
fn kinds_and_their_short_form() {
    let kinds = parse_kinds("linear, mlp-blocks").unwrap();
    assert_eq!(kinds, [Kind::MixerToken, Kind::MixerChannel, Kind::Ffn, Kind::Linear]);
    let error = parse_kinds("fnn").unwrap_err().to_string();
    assert!(
        error.contains("\"fnn\"") && error.contains("mlp-blocks, mixer-token, mixer-channel, ffn, mlp,"),
        "{error}"
    );
    let selection = Selection { kinds: parse_kinds("mlp-blocks").unwrap(), ..Selection::default() };
    assert_eq!(chosen(&model(), selection), ["ffn.0", "mixer-token.0"]);
}

#[test]
fn indices() {
    assert_eq!(parse_indices("0, 3-5").unwrap().into_iter().collect::<Vec<_>>(), [0, 3, 4, 5]);
    for wrong in ["", "a", "3-", "-1", "5-3", "0-99999999999", "1;2"] {
        assert!(matches!(parse_indices(wrong), Err(SelectError::Indices { .. })), "{wrong}");
    }
    let of = |text| Selection { indices: Some(parse_indices(text).unwrap()), ..Selection::default() };
    assert_eq!(chosen(&model(), of("1,3")), ["mixer-token.0", "linear.0"]);
    let error = select(&model().graph, &model().found, &of("2-4")).unwrap_err();
    assert_eq!(error, SelectError::Index { index: 4, count: 4 });
    assert!(error.to_string().contains("0 to 3"));
}

#[test]
fn ids_narrow_the_choice() {
    let ids = |all: &[&str]| Some(all.iter().map(|id| id.to_string()).collect());
    let narrowed = Selection { ids: ids(&["ffn.0", "linear.0"]), ..only(&["/blocks.3/*", "mixer-*"]) };
    assert_eq!(chosen(&model(), narrowed), ["linear.0"]);
    assert!(chosen(&model(), Selection { ids: ids(&[]), ..Selection::default() }).is_empty());
}

#[test]
fn globs_match_ids_and_node_names() {
    assert_eq!(chosen(&model(), only(&["ffn.*"])), ["ffn.0"]);
    assert_eq!(chosen(&model(), only(&["/blocks.3/*", "mixer-*"])), ["mixer-token.0", "linear.0"]);
    let except = Selection { except: vec!["/blocks.0/fc?".into()], ..Selection::default() };
    assert_eq!(chosen(&model(), except), ["mixer-token.0", "linear.0"]);
    let error = select(&model().graph, &model().found, &only(&["a[", "b"])).unwrap_err();
    assert!(matches!(&error, SelectError::Glob { pattern, .. } if pattern == "a["), "{error}");
}

#[test]
fn larger_of_overlapping_blocks_wins() {
    let mut model = model();
    let mut inner = model.found.blocks[0].clone();
    (inner.id, inner.kind) = ("linear.9".into(), Kind::Linear);
    inner.nodes.truncate(3);
    model.found.blocks.insert(0, inner);
    let selected = select(&model.graph, &model.found, &Selection::default()).unwrap();
    assert!(selected.chosen.iter().all(|block| block.id != "linear.9"));
    assert_eq!(selected.refused[0], Refused { id: "linear.9".into(), reason: Refusal::PartOf { id: "ffn.0".into() } });
    let selection = Selection { kinds: vec![Kind::Linear], ..Selection::default() };
    assert_eq!(chosen(&model, selection), ["linear.9", "linear.0"]);
}

#[test]
fn nothing_matched_says_what_there_is_and_why_not() {
    let model = model();
    let selection = Selection { kinds: vec![Kind::Ffn], except: vec!["ffn.0".into()], ..Selection::default() };
    let error = model.convert(&Options { selection, ..Options::default() }).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("ffn.1: the width changes from 4 to 6"), "{text}");
    assert!(text.contains("replaceable in this model: 1 mixer-token, 1 ffn, 1 linear"), "{text}");
}

#[test]
fn report_lists_both() {
    let converted = model().convert(&Options::default()).unwrap();
    let json = serde_json::to_value(&converted.report).unwrap();
    assert_eq!(json["replaced"], serde_json::json!(["ffn.0", "mixer-token.0", "linear.0"]));
    assert_eq!(json["refused"][0]["id"], "ffn.1");
    assert_eq!(json["refused"][0]["code"], "width-changes");
    assert_eq!(json["max_abs_diff_untouched"], 0.0);
    assert_eq!(json["parameters"], serde_json::json!({"before": 0, "after": 48}));
    let text = converted.report.text();
    assert!(text.contains("ffn (axis -1) → 2 Han") && text.contains("not replaced: ffn.1: the width"), "{text}");
    let html = converted.report.html("a <model>");
    assert!(html.contains("<h1>a &lt;model&gt;</h1>") && html.contains("<code>mixer-token.0</code>"), "{html}");
}

#[test]
fn table_has_at_most_40_lines() {
    let spec = |n: usize| Spec { shape: shape(&[2, n]), axes: 1..2, kind: Kind::Mlp, dtype: DType::F32 };
    let mut model = Model::of(&spec(4));
    for i in 0..60 {
        model.block(&spec(4));
        let block = &mut model.found.blocks[i + 1];
        (block.hidden, block.activation) = (Some(i), Some("gelu".into()));
        if i % 2 == 0 {
            block.refusal = Some(Refusal::Gated { by: "g".into() });
        }
    }
    let text = model.convert(&Options::default()).unwrap().report.text();
    assert!(text.lines().count() <= 40, "{text}");
    assert!(text.contains("others") && text.contains("not replaced: 25 more"), "{text}");
}
