//! Spellings and near misses as text: what the search makes of them.

use super::*;
use crate::ir::text::parse;

/// A graph on x: [N, 6, 8] with weights of the widths 8 → 16 → 8 (and 6 → 12 → 6 for tokens) at hand.
fn graph(body: &str) -> Graph {
    let text = format!(
        r#"graph "test" opset "" 17, "com.microsoft" 1
        in %x: f32[N, 6, 8]
        const %g: f32[8] = splat(1.5)
        const %o: f32[8] = splat(0.25)
        const %w1: f32[8, 16] = splat(0.1)
        const %b1: f32[16] = splat(0.2)
        const %w2: f32[16, 8] = splat(0.3)
        const %b2: f32[8] = splat(0.4)
        const %t1: f32[6, 12] = splat(0.1)
        const %t2: f32[12, 6] = splat(0.1)
        {body}"#
    );
    let mut graph = parse(&text).unwrap();
    infer(&mut graph).unwrap();
    graph
}

/// One line for each block that is no single layer.
fn lines(graph: &Graph) -> Vec<String> {
    let line = |b: &Block| {
        let (act, norm) = (b.activation.as_deref().unwrap_or("-"), b.norm.as_deref().unwrap_or("-"));
        let reason = b.refusal.as_ref().map_or("", Refusal::code);
        format!("{} {act} {norm} {} {reason}", b.id, if b.residual { "skip" } else { "-" })
    };
    let found = find(graph).unwrap();
    found.blocks.iter().filter(|b| b.kind != Kind::Linear).map(line).collect()
}

fn found(body: &str) -> Vec<String> {
    lines(&graph(body))
}

#[test]
fn a_norm_may_be_fused_with_the_sum_in_front() {
    let body = "%n = LayerNormalization(%x, %g, %o) %h = MatMul(%x, %w1) %a = com.microsoft.BiasGelu(%h, %b1)
        %z = MatMul(%a, %w2) %y = com.microsoft.SkipLayerNormalization(%x, %z, %g, %o, %b2) out %y, %n";
    let mut graph = graph(body);
    assert_eq!(lines(&graph), ["ffn.0 gelu - skip "]);
    let ffn = |graph: &Graph| find(graph).unwrap().blocks.into_iter().find(|b| b.id == "ffn.0").unwrap();
    let block = ffn(&graph);
    assert_eq!(block.opens.len(), 1);
    open(&mut graph, &block.opens).unwrap();
    let opened = ffn(&graph);
    assert_eq!((opened.opens.len(), opened.refusal), (0, None));
    assert!(graph.producer(opened.output.value).is_some_and(|(node, _)| graph.node(node).is("Add")));
}

#[test]
fn products_may_turn_their_operands() {
    let body = "%n = LayerNormalization(%x, %g, %o)
        %h = com.microsoft.FusedMatMul(%n, %t1) {transA = 1} %a = Relu(%h) %z = MatMul(%a, %t2)
        %t = Transpose(%z) {perm = [0, 2, 1]} %y = Add(%t, %x) out %y";
    assert_eq!(found(body), ["mixer-token.0 relu layer skip "]);
}

#[test]
fn a_norm_may_be_centred_in_front_of_its_node() {
    let body = "%m = ReduceMean(%x) {axes = [-1]} %c = Sub(%x, %m) %n = SimplifiedLayerNormalization(%c, %g)
        %h = MatMul(%n, %w1) %s = Sigmoid(%h) %a = Mul(%s, %h) %z = MatMul(%a, %w2) %y = Add(%x, %z) out %y";
    assert_eq!(found(body), ["ffn.0 silu layer skip "]);
}

#[test]
fn a_norm_behind_the_skip_connection_is_post() {
    let body = "%n = LayerNormalization(%x, %g, %o) %h = MatMul(%n, %w1) %a = Tanh(%h) %z = MatMul(%a, %w2)
        %s = Add(%n, %z) %y = LayerNormalization(%s, %g, %o) out %y";
    assert_eq!(found(body), ["ffn.0 tanh post skip "]);
}

#[test]
fn a_hidden_value_that_is_read_outside_is_a_near_miss() {
    let body = |tap: &str| {
        format!(
            "%n = LayerNormalization(%x, %g, %o) %h = MatMul(%n, %w1) %a = Relu(%h) %z = MatMul(%a, %w2) %y = Add(%x, %z) {tap}"
        )
    };
    assert_eq!(found(&body("out %y")), ["ffn.0 relu layer skip "]);
    assert_eq!(found(&body("out %y, %a")), ["ffn.0 relu layer skip hidden-used"]);
    assert_eq!(found(&body("%u = Neg(%z) out %y, %u")), ["ffn.0 relu layer skip hidden-used"]);
    assert_eq!(found(&body("%u = Shape(%a) out %y, %u")), ["ffn.0 relu layer skip hidden-used"]);
    assert_eq!(found(&body("%u = MatMul(%y, %w1) out %y, %u")), ["ffn.0 relu layer skip shared-weights"]);
}

#[test]
fn gates_width_changes_and_given_weights_are_near_misses() {
    let gated = "%n = LayerNormalization(%x, %g, %o) %h = MatMul(%n, %w1) %k = MatMul(%n, %w1) %a = Relu(%h)
        %p = Mul(%a, %k) %z = MatMul(%p, %w2) %y = Add(%x, %z) out %y";
    assert_eq!(found(gated), ["ffn.0 - layer skip gated"]);
    let wider =
        "const %w3: f32[16, 4] = splat(0.1) %n = LayerNormalization(%x, %g, %o) %h = MatMul(%n, %w1) %a = Relu(%h)
        %y = MatMul(%a, %w3) out %y";
    assert_eq!(found(wider), ["ffn.0 relu layer - width-changes"]);
    let given = "in %w: f32[8, 16] %n = LayerNormalization(%x, %g, %o) %h = MatMul(%n, %w) %a = Relu(%h)
        %z = MatMul(%a, %w2) %y = Add(%x, %z) out %y";
    assert_eq!(found(given), ["ffn.0 relu layer skip not-constant"]);
}

#[test]
fn layers_in_a_row_are_no_block_and_attention_is_none() {
    let row = "%h = MatMul(%x, %w1) %a = Relu(%h) %z = MatMul(%a, %w2) %c = Relu(%z) %y = MatMul(%c, %w1) out %y";
    assert_eq!(found(row), Vec::<String>::new());
    let attention = "const %q: f32[8, 8] = splat(0.1) %n = LayerNormalization(%x, %g, %o) %k = MatMul(%n, %q)
        %t = Transpose(%k) {perm = [0, 2, 1]} %s = MatMul(%k, %t) %p = Softmax(%s) {axis = -1} %v = MatMul(%p, %k)
        %z = MatMul(%v, %q) %y = Add(%x, %z) out %y";
    assert_eq!(found(attention), Vec::<String>::new());
}

#[test]
fn reflections_count_in_any_association() {
    let stack = |body: &str| {
        let found = find(&graph(body)).unwrap();
        found.han.iter().map(|h| (h.axis, h.width, h.layers)).collect::<Vec<_>>()
    };
    // v = (0.6, 0.8, 0, …): 2 v = (1.2, 1.6, 0, …).
    let v = "const %v: f32[8, 1] = {0.6, 0.8, 0, 0, 0, 0, 0, 0} const %d: f32[8] = {1.2, 1.6, 0, 0, 0, 0, 0, 0}
        const %r: f32[8] = {0.6, 0.8, 0, 0, 0, 0, 0, 0} const %two: f32[] = {2}";
    let doubled = "%t = MatMul(%x, %v) %p = Mul(%t, %d) %z = Sub(%x, %p) %q = Add(%z, %b2) %y = Abs(%q) out %y";
    let factor =
        "%e = Mul(%x, %r) %t = ReduceSum(%e, %last) %f = Mul(%two, %t) %p = Mul(%r, %f) %y = Sub(%x, %p) out %y";
    let fused = "%t = com.microsoft.FusedMatMul(%x, %v) {alpha = 2f} %p = Mul(%t, %r) %y = Sub(%x, %p) out %y";
    assert_eq!(stack(&format!("{v} {doubled}")), [(-1, 8, 1)]);
    assert_eq!(stack(&format!("{v} const %last: i64[1] = {{-1}} {factor}")), [(-1, 8, 1)]);
    assert_eq!(stack(&format!("{v} {fused}")), [(-1, 8, 1)]);
    let other = "%t = MatMul(%x, %v) %p = Mul(%t, %g) %y = Sub(%x, %p) out %y";
    assert_eq!(stack(&format!("{v} {other}")), []);
}

#[test]
fn a_block_that_nothing_reads_is_none_to_replace() {
    let body = "%h = MatMul(%x, %w1) %a = Relu(%h) %z = MatMul(%a, %w2) %d = Add(%x, %z) %y = Neg(%x) out %y";
    assert_eq!(found(body), ["ffn.0 relu - skip unread"]);
}

#[test]
fn norms_count_in_any_arithmetic() {
    let norm = |body: &str| {
        found(&format!(
            "const %e: f32[] = {{1e-5}} const %half: f32[] = {{0.5}} const %less: f32[] = {{-0.5}} const %one: f32[] = {{1}}
            %m = ReduceMean(%x) {{axes = [-1]}} %c = Sub(%x, %m) %s = Mul(%c, %c) %v = ReduceMean(%s) {{axes = [-1]}}
            %q = Add(%v, %e) {body} %h = MatMul(%n, %w1) %a = Relu(%h) %z = MatMul(%a, %w2) %y = Add(%x, %z) out %y"
        ))
    };
    for body in [
        "%d = Sqrt(%q) %r = Reciprocal(%d) %k = Mul(%r, %g) %p = Mul(%c, %k) %n = Add(%p, %o)",
        "%d = Sqrt(%q) %r = Div(%one, %d) %u = Mul(%c, %r) %p = Mul(%u, %g) %n = Add(%p, %o)",
        "%d = Pow(%q, %half) %u = Div(%c, %d) %p = Mul(%u, %g) %n = Add(%p, %o)",
        "%r = Pow(%q, %less) %u = Mul(%c, %r) %p = Mul(%u, %g) %n = Add(%p, %o)",
        // x k + (β − μ k), k = γ / σ.
        "%d = Sqrt(%q) %r = Reciprocal(%d) %k = Mul(%r, %g) %p = Mul(%x, %k) %t = Mul(%m, %k) %b = Sub(%o, %t) %n = Add(%p, %b)",
    ] {
        assert_eq!(norm(body), ["ffn.0 relu layer skip "], "{body}");
    }
}

#[test]
fn activations_are_known_by_what_they_compute() {
    let act = |body: &str| {
        let lines = found(&format!(
            "const %zero: f32[] = {{0}} const %one: f32[] = {{1}} const %six: f32[] = {{6}} const %k: f32[] = {{0.1}}
            %n = LayerNormalization(%x, %g, %o) %i = MatMul(%n, %w1) %h = Add(%i, %b1) {body} %z = MatMul(%a, %w2)
            %y = Add(%x, %z) out %y"
        ));
        lines.join(" ").split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for (body, name) in [
        ("%a = Max(%h, %zero)", "relu"),
        ("%a = Clip(%h, %zero)", "relu"),
        ("%t = Greater(%h, %zero) %a = Where(%t, %h, %zero)", "relu"),
        ("%a = Clip(%h, %zero, %six)", "relu6"),
        ("%l = Mul(%h, %k) %a = Max(%h, %l)", "leaky_relu"),
        ("%p = Relu(%h) %a = Mul(%p, %p)", "relu_squared"),
        ("%m = Neg(%h) %e = Exp(%m) %p = Add(%e, %one) %a = Div(%h, %p)", "silu"),
        ("%s = HardSigmoid(%h) {alpha = 0.16666667f, beta = 0.5f} %a = Mul(%h, %s)", "hard_swish"),
        ("%p = Softplus(%h) %t = Tanh(%p) %a = Mul(%h, %t)", "mish"),
        ("%a = com.microsoft.FastGelu(%h)", "gelu_tanh"),
        ("%a = com.microsoft.QuickGelu(%h)", "quick_gelu"),
    ] {
        assert_eq!(act(body), name, "{body}");
    }
}

#[test]
fn products_may_be_convolutions_of_pictures_of_one_row() {
    let body =
        "const %k1: f32[16, 8, 1, 1] = splat(0.1) const %k2: f32[8, 16, 1, 1] = splat(0.1) const %at: i64[1] = {2}
        %n = LayerNormalization(%x, %g, %o) %t = Transpose(%n) {perm = [0, 2, 1]} %u = Unsqueeze(%t, %at)
        %h = Conv(%u, %k1, %b1) %a = Relu(%h) %z = Conv(%a, %k2, %b2) %s = Squeeze(%z, %at)
        %r = Transpose(%s) {perm = [0, 2, 1]} %y = Add(%x, %r) out %y";
    assert_eq!(found(body), ["ffn.0 relu layer skip "]);
}
