//! Inference of the operators that move elements, written in the text form: shapes with free sizes, and shape
//! arithmetic.

use crate::infer::infer;
use crate::ir::text::parse;
use crate::ir::{Graph, ValueId};

fn graph(opset: i64, body: &str) -> Graph {
    parse(&format!("graph \"test\" opset \"\" {opset}\n{body}")).unwrap()
}

fn shape(graph: &Graph, id: ValueId) -> String {
    graph.value(id).shape.as_ref().map_or("…".into(), |shape| format!("{shape:?}"))
}

/// The shape that inference finds for `%y`.
fn infers(opset: i64, body: &str, wanted: &str) {
    let mut graph = graph(opset, body);
    if let Err(error) = infer(&mut graph) {
        panic!("{body}: {error}");
    }
    let y = graph.find("y").unwrap();
    assert_eq!(shape(&graph, y), wanted, "{body}");
}

/// What is wrong with a node.
fn refuses(opset: i64, body: &str, wanted: &str) {
    let error = infer(&mut graph(opset, body)).unwrap_err().to_string();
    assert!(error.contains(wanted), "{body}: {error}");
}

fn reshape(data: &str, target: &str) -> String {
    let count = target.split(',').count();
    format!("in %x: f32[{data}]\nconst %t: i64[{count}] = {{{target}}}\n%y = Reshape(%x, %t)")
}

#[test]
fn reshape_copies_and_divides() {
    infers(13, &reshape("N, 49, 64", "0, -1, 8"), "[N, 392, 8]");
    infers(13, &reshape("N, 49, 64", "-1, 64"), "[49*N, 64]");
    infers(13, &reshape("4*N, 64", "-1, 4, 64"), "[N, 4, 64]");
    infers(13, &reshape("N, S, 64", "0, 0, 4, -1"), "[N, S, 4, 16]");
    infers(13, &reshape("N, S, 64", "-1, 64"), "[?1, 64]");
    infers(13, &reshape("2, 3", "3, 2"), "[3, 2]");
    refuses(13, &reshape("2, 3", "4, -1"), "no whole number of elements");
    refuses(13, &reshape("2, 3", "4, 2"), "has 6 elements");
    refuses(13, &reshape("2, 3", "-1, -1"), "-1 twice");
    refuses(13, &reshape("2, 3", "-2, 3"), "negative size");
    refuses(13, &reshape("6", "2, 0"), "copies a size that is not there");
    let zero = "in %x: f32[0, 3]\nconst %t: i64[2] = {3, 0}\n%y = Reshape(%x, %t) {allowzero = 1}";
    infers(14, zero, "[3, 0]");
    infers(13, "in %x: f32[2, 3]\nin %t: i64[3]\n%y = Reshape(%x, %t)", "[?1, ?2, ?3]");
}

#[test]
fn a_batch_goes_through_exporters_arithmetic() {
    let body = "in %x: f32[N, 49, 64]
        const %zero: i64[] = {0}
        const %axes: i64[1] = {0}
        const %rest: i64[2] = {-1, 8}
        const %four: i64[] = {4}
        %s = Shape(%x)
        %n = Gather(%s, %zero)
        %m = Mul(%n, %four)
        %d = Div(%m, %four)
        %u = Unsqueeze(%d, %axes)
        %t = Concat(%u, %rest) {axis = 0}
        %c = Cast(%t) {to = 7}
        %y = Reshape(%x, %c)";
    infers(13, body, "[N, 392, 8]");
    let body = "in %x: f32[N, 49, 64]
        const %a: i64[1] = {0}
        const %b: i64[1] = {1}
        const %one: i64[2] = {1, 64}
        in %token: f32[1, 1, 64]
        %s = Shape(%x)
        %n = Slice(%s, %a, %b)
        %t = Concat(%n, %one) {axis = 0}
        %ones = ConstantOfShape(%b) {value = i64[1] {-1}}
        %same = Equal(%t, %ones)
        %w = Where(%same, %ones, %t)
        %e = Expand(%token, %w)
        %y = Concat(%e, %x) {axis = 1}";
    infers(13, body, "[N, 50, 64]");
    infers(
        13,
        "in %x: f32[N, 3]\n%s = Size(%x)\nconst %t: i64[1] = {-1}\n%r = Reshape(%s, %t)\n%y = ConstantOfShape(%r)",
        "[3*N]",
    );
    let range = "in %x: f32[N, 3]\nconst %z: i64[] = {0}\nconst %o: i64[] = {1}\n%s = Shape(%x)\n%n = Gather(%s, %z)\n";
    infers(13, &format!("{range}%y = Range(%z, %n, %o)"), "[N]");
}

#[test]
fn unknown_parts_of_a_target_stay_apart() {
    let body = "in %x: f32[N, 6]\nin %a: i64[1]\nin %b: i64[1]\nconst %c: i64[1] = {2}
        %t = Concat(%a, %b, %c) {axis = 0}\n%y = Reshape(%x, %t)";
    infers(13, body, "[?1, ?2, 2]");
}

#[test]
fn axes_stand_in_attributes_before_13() {
    infers(11, "in %x: f32[1, N, 1]\n%y = Squeeze(%x) {axes = [0, -1]}", "[N]");
    infers(11, "in %x: f32[N, 3]\n%y = Unsqueeze(%x) {axes = [0, 3]}", "[1, N, 3, 1]");
    infers(13, "in %x: f32[1, N, 1]\nconst %a: i64[1] = {-1}\n%y = Squeeze(%x, %a)", "[1, N]");
    infers(13, "in %x: f32[1, 3, 1]\n%y = Squeeze(%x)", "[3]");
    infers(13, "in %x: f32[1, N]\n%y = Squeeze(%x)", "…");
    refuses(11, "in %x: f32[2, 3]\n%y = Squeeze(%x) {axes = [0]}", "axis 0 of [2, 3] is not 1");
    refuses(11, "in %x: f32[3]\n%y = Unsqueeze(%x) {axes = [0, 0]}", "stands twice");
    refuses(11, "in %x: f32[3]\n%y = Unsqueeze(%x) {axes = [5]}", "axis 5 is not in a rank of 2");
    infers(13, "in %x: f32[N, 3, 4]\n%y = Flatten(%x)", "[N, 12]");
    infers(13, "in %x: f32[N, 3, 4]\n%y = Flatten(%x) {axis = -1}", "[3*N, 4]");
}

fn slice(data: &str, start: i64, end: i64, step: i64) -> String {
    format!(
        "in %x: f32[{data}]\nconst %s: i64[1] = {{{start}}}\nconst %e: i64[1] = {{{end}}}
        const %a: i64[1] = {{0}}\nconst %t: i64[1] = {{{step}}}\n%y = Slice(%x, %s, %e, %a, %t)"
    )
}

#[test]
fn slices_clamp_and_count() {
    infers(13, &slice("10, 3", 1, -1, 2), "[4, 3]");
    infers(13, &slice("10, 3", -3, i64::MAX, 1), "[3, 3]");
    infers(13, &slice("10, 3", -1, i64::MIN, -1), "[10, 3]");
    infers(13, &slice("10, 3", 7, 2, -2), "[3, 3]");
    infers(13, &slice("10, 3", 5, 2, 1), "[0, 3]");
    infers(13, &slice("N, 3", 0, i64::MAX, 1), "[N, 3]");
    infers(13, &slice("N, 3", 0, 1, 1), "[1, 3]");
    infers(13, &slice("N, 3", 0, 2, 1), "[?1, 3]");
    infers(9, "in %x: f32[N, 10]\n%y = Slice(%x) {axes = [1], ends = [2147483647], starts = [4]}", "[N, 6]");
    refuses(13, &slice("N, 3", 0, 1, 0), "do not fit");
    let halves = "in %x: f32[2*N, 3]\nin %z: f32[N]\n%e = Shape(%z)\nconst %s: i64[1] = {0}\n%y = Slice(%x, %s, %e)";
    infers(13, halves, "[N, 3]");
}

#[test]
fn splits_are_even_or_as_said() {
    infers(13, "in %x: f32[N, 6]\n%a, %y = Split(%x) {axis = 1}", "[N, 3]");
    infers(11, "in %x: f32[N, 6]\n%a, %y = Split(%x) {axis = 1, split = [2, 4]}", "[N, 4]");
    infers(18, "in %x: f32[N, 7]\n%a, %b, %y = Split(%x) {axis = 1, num_outputs = 3}", "[N, 1]");
    infers(13, "in %x: f32[2*N, 6]\n%a, %y = Split(%x)", "[N, 6]");
    refuses(13, "in %x: f32[N, 7]\n%a, %y = Split(%x) {axis = 1}", "no 2 equal parts");
    refuses(11, "in %x: f32[N, 6]\n%a, %y = Split(%x) {axis = 1, split = [2, 3]}", "does not fit 2 results");
}

#[test]
fn layouts_move_symbols() {
    infers(13, "in %x: f32[N, 3, 4]\n%y = Transpose(%x) {perm = [2, 0, 1]}", "[4, N, 3]");
    infers(13, "in %x: f32[N, 3, 4]\n%y = Transpose(%x)", "[4, 3, N]");
    refuses(13, "in %x: f32[N, 3, 4]\n%y = Transpose(%x) {perm = [0, 1]}", "does not fit a rank of 3");
    refuses(13, "in %x: f32[N, 3]\n%y = Transpose(%x) {perm = [0, 0]}", "stands twice");
    infers(13, "in %x: f32[N, 3]\nin %z: f32[N, 5]\n%y = Concat(%x, %z) {axis = -1}", "[N, 8]");
    infers(13, "in %x: f32[N, 3]\nin %z: f32[N, 3]\n%y = Concat(%x, %z) {axis = 0}", "[2*N, 3]");
    refuses(13, "in %x: f32[2, 3]\nin %z: f32[3, 3]\n%y = Concat(%x, %z) {axis = 1}", "sizes 2 and 3 differ");
    refuses(13, "in %x: f32[2, 3]\n%y = Concat(%x)", "axis is missing");
    infers(13, "in %x: f32[N, 3]\nconst %r: i64[2] = {2, 3}\n%y = Tile(%x, %r)", "[2*N, 9]");
    infers(10, "in %x: f32[N, 3]\n%y = Pad(%x) {pads = [0, 1, 0, 2]}", "[N, 6]");
    infers(
        18,
        "in %x: f32[N, 3]\nconst %p: i64[2] = {1, 1}\nconst %a: i64[1] = {-1}\n%y = Pad(%x, %p, _, %a)",
        "[N, 5]",
    );
    refuses(10, "in %x: f32[N, 3]\n%y = Pad(%x) {pads = [0, -2, 0, -2]}", "leave nothing");
    refuses(10, "in %x: f32[N, 3]\n%y = Pad(%x) {pads = [0, 1]}", "2 pads for 2 axes");
}

#[test]
fn indices_say_shapes() {
    infers(13, "in %x: f32[V, 64]\nin %i: i64[N, 7]\n%y = Gather(%x, %i)", "[N, 7, 64]");
    infers(13, "in %x: f32[N, 5, 64]\nconst %i: i64[] = {0}\n%y = Gather(%x, %i) {axis = 1}", "[N, 64]");
    infers(13, "in %x: f32[N, 5, 64]\nin %i: i64[N, 7, 1]\n%y = GatherND(%x, %i) {batch_dims = 1}", "[N, 7, 64]");
    infers(13, "in %x: f32[N, 5]\nin %i: i64[N, 2]\n%y = GatherElements(%x, %i) {axis = 1}", "[N, 2]");
    infers(
        13,
        "in %i: i64[N, 2]\nconst %d: i64[] = {9}\nin %v: f32[2]\n%y = OneHot(%i, %d, %v) {axis = 1}",
        "[N, 9, 2]",
    );
    infers(13, "const %c: bool[3] = {1, 0, 1}\nin %x: f32[N, 3]\n%y = Compress(%x, %c) {axis = 1}", "[N, 2]");
    infers(13, "const %x: f32[2, 2] = {0, 1, 2, 0}\n%y = NonZero(%x)", "[2, 2]");
    infers(13, "in %x: f32[2, N]\n%y = NonZero(%x)", "[2, ?1]");
    refuses(13, "in %x: f32[2, 3]\n%s = Shape(%x)\nconst %i: i64[] = {5}\n%y = Gather(%s, %i)", "index 5");
    refuses(13, "in %x: f32[2]\nin %i: i64[4, 2]\n%y = GatherND(%x, %i)", "do not fit");
}

#[test]
fn shapes_are_data() {
    infers(15, "in %x: f32[N, 3, 4]\n%s = Shape(%x) {end = -1, start = -2}\n%y = ConstantOfShape(%s)", "[3]");
    infers(13, "in %x: f32[2, 3, 4]\n%s = Shape(%x)\n%y = ConstantOfShape(%s)", "[2, 3, 4]");
    infers(13, "%s = Constant() {value_ints = [2, 3]}\n%y = ConstantOfShape(%s)", "[2, 3]");
    infers(13, "%s = Constant() {value = i64[2] {2, 3}}\n%y = ConstantOfShape(%s)", "[2, 3]");
    infers(13, "%y = Constant() {value_floats = [2.0f]}", "[1]");
    infers(13, "%y = RandomNormal() {shape = [2, 3]}", "[2, 3]");
    refuses(13, "const %s: i64[1] = {-3}\n%y = ConstantOfShape(%s)", "negative size");
    refuses(13, "%y = Constant()", "exactly one value");
    let range = |start: i64, limit: i64, delta: i64| {
        format!(
            "const %s: i64[] = {{{start}}}\nconst %l: i64[] = {{{limit}}}\nconst %d: i64[] = {{{delta}}}\n%y = Range(%s, %l, %d)"
        )
    };
    infers(13, &range(2, 9, 3), "[3]");
    infers(13, &range(9, 2, -3), "[3]");
    infers(13, &range(9, 2, 3), "[0]");
    refuses(13, &range(0, 1, 0), "the step is 0");
    refuses(13, &range(i64::MIN, i64::MAX, 1), "too long");
}
