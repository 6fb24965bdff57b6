use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hanc_runtime::DType;

use super::*;
use crate::ir::{Attr, Constant, Dim, Function, Graph, NewNode, Source, ValueId};

const EXAMPLE: &str = r#"function local.Leaky(slope, "odd name" = 0.25f) {
  graph "Leaky"
  opset "" 17
  in %x
  %y = LeakyRelu(%x) {alpha = $slope}
  out %y
}
graph "main"
opset "" 17, "com.microsoft" 1
in %x: f32[N, 49*N, ?3, 24]
const %w: f32[2, 2] = {1.0, -2.5, 3e-9, inf} !4
const %"onnx::MatMul_164": f32[24, 2] = splat(0.5)
const %names: string[3] = hex""
const %"no type" = i64[2] {-1, 8}
%h: f32[N, 6, 48] = MatMul(%x, %w) @"node \"name\"" !0
%/blocks.0/Foo: f32, _, %g: ?[2] = com.microsoft.Foo(%h, _) {axis = -1, list = [1, 2], mode = "x\n\xff", scale = 0.5f}
%loop = If(%g) {else_branch = graph, empty = floats[], then_branch = graph} captures(%h, %w)
%l = local.Leaky(%loop) {slope = bits(7fc00001)}
%odd = "a domain"."an op":"overload"(%l) {"a key" = $ref, sparse = opaque, value = u8[1] {255}}
%new = Gelu(%h) opset 20 @"young"
= Sink(%odd)
out %h, %odd
"#;

#[test]
fn the_example_is_what_it_prints() {
    assert_eq!(print(&parse(EXAMPLE).unwrap()), EXAMPLE);
}

#[test]
fn what_is_parsed_is_what_the_text_says() {
    let graph = parse(EXAMPLE).unwrap();
    let value = |name: &str| graph.value(graph.find(name).unwrap());
    assert_eq!(graph.opsets, BTreeMap::from([("".into(), 17), ("com.microsoft".into(), 1)]));
    assert_eq!(value("x").shape.as_ref().unwrap()[1], Dim::scaled(49, "N"));
    assert_eq!(value("/blocks.0/Foo").shape, None);
    let Source::Constant(w) = &value("w").source else { panic!() };
    assert_eq!((w.reals().unwrap()[3], w.origin), (f64::INFINITY, Some(4)));
    let foo = graph.nodes().find(|(_, n)| &*n.op_type == "Foo").unwrap().1;
    assert_eq!((&*foo.domain, foo.inputs.len(), foo.input(1)), ("com.microsoft", 2, None));
    assert_eq!(foo.attrs["mode"], Attr::Str(Bytes::from_static(b"x\n\xff")));
    let matmul = graph.nodes().find(|(_, n)| n.is("MatMul")).unwrap().1;
    assert_eq!((&*matmul.name, matmul.origin), ("node \"name\"", Some(0)));
    let function = &graph.functions[&("local".into(), "Leaky".into(), String::new())];
    assert_eq!((function.attributes.len(), &function.defaults["odd name"]), (1, &Attr::Float(0.25)));
    assert_eq!(graph.clone().fresh_dim(), Dim::symbol("?4"));
}

#[test]
fn values_may_be_read_before_they_are_made() {
    let graph = parse("graph \"g\" %b = Abs(%a) %a = Neg(%x) void %x out %b").unwrap();
    assert_eq!(print(&graph), "graph \"g\"\nvoid %x\n%a = Neg(%x)\n%b = Abs(%a)\nout %b\n");
}

#[test]
fn errors_name_the_place() {
    let cases = [
        ("", "line 1, column 1: expected graph, found the end"),
        ("graph \"g\"\nin x", "line 2, column 4: expected a value such as %x, found x"),
        ("graph \"g\"\nin %x: f31[2]", "line 2, column 8: f31 is not an element type"),
        ("graph \"g\"\nin %x: f32[-]", "line 2, column 12: - is not a size"),
        ("graph \"g\" in %x in %x", "line 1, column 20: %x is there already; inputs come first"),
        ("graph \"g\"\n%y = Abs(%x)\n%y = Abs(%x)", "line 3, column 1: %y is defined already"),
        ("graph \"g\" %y = Abs(%x", "line 1, column 22: expected ',', found the end"),
        ("graph \"g\" %y = Abs() {a = [[1]]}", "line 1, column 28: expected a value, found ["),
        ("graph \"g\" %y = Abs() {a = [1, \"x\"]}", "a list holds integers, floats or texts, of one kind"),
        ("graph \"g\" const %c: f32[2] = {1}", "line 1, column 30: f32[2] does not take 4 bytes"),
        ("graph \"g\" const %c: f32[2] = …", "expected elements: {…}, splat(x) or hex\"…\", found …"),
        ("graph \"g\" const %c: u8[1] = {256}", "these are not elements of u8"),
        ("graph \"g\" const %c: u8[9999999999] = splat(1)", "more than 1073741824 bytes"),
        ("graph \"g\" const %c: u8[1] = hex\"0\"", "these are not elements of u8"),
        ("graph \"g", "line 1, column 7: this text has no closing quote"),
        ("graph \"g\\q\"", "the escapes are"),
        ("graph \"g\" %y = Abs(%\"\")", "a name cannot be empty"),
    ];
    for (text, wanted) in cases {
        let error = parse(text).map(|g| print(&g)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn large_constants_are_elided_when_asked() {
    let mut graph = Graph::new("g", BTreeMap::new());
    graph.add_constant("small", Constant::f32(&[2], &[1.0, 2.0]));
    graph.add_constant("large", Constant::f32(&[32], &(0..32).map(|x| x as f32).collect::<Vec<_>>()));
    let text = print_styled(&graph, Style { elide: true });
    assert_eq!(text, "graph \"g\"\nconst %small: f32[2] = {1.0, 2.0}\nconst %large: f32[32] = …\n");
    assert!(print(&graph).contains("hex\"000000000000803f"));
}

/// A small generator of numbers, for graphs at random.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn name(&mut self) -> String {
        let parts = ["x", "onnx::Add", "/a/b.1", "ü", "_", "7", "with space", "q\"", "-"];
        (0..=self.below(2)).map(|_| parts[self.below(parts.len())]).collect()
    }

    fn dtype(&mut self) -> DType {
        let all: Vec<_> = DType::all().collect();
        all[self.below(all.len())]
    }

    fn constant(&mut self) -> Constant {
        let shape: Vec<usize> = (0..self.below(3)).map(|_| self.below(6)).collect();
        let dtype = self.dtype();
        let length = dtype.bytes_of(shape.iter().product()).unwrap_or(0);
        let repeat = self.below(2) == 0;
        let bytes: Vec<u8> = (0..length).map(|_| if repeat { 1 } else { self.below(256) as u8 }).collect();
        Constant { origin: [None, Some(self.0 as u32)][self.below(2)], ..Constant::new(dtype, &shape, bytes) }
    }

    fn float(&mut self) -> f32 {
        f32::from_bits(self.below(1 << 31) as u32 ^ (self.below(2) as u32) << 31)
    }

    fn attr(&mut self) -> Attr {
        let count = self.below(3);
        match self.below(11) {
            0 => Attr::Int(self.0 as i64),
            1 => Attr::Float(self.float()),
            2 => Attr::Str((0..count * 4).map(|_| self.below(256) as u8).collect()),
            3 => Attr::Ints((0..count).map(|_| self.0 as i64 >> self.below(64)).collect()),
            4 => Attr::Floats((0..count).map(|_| self.float()).collect()),
            5 => Attr::Strs((0..count).map(|_| self.name().into()).collect()),
            6 => Attr::Tensor(Box::new(Constant { origin: None, ..self.constant() })),
            7 => Attr::Graph,
            8 => Attr::Reference(self.name()),
            9 => Attr::Float([f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MIN_POSITIVE][self.below(4)]),
            _ => Attr::Opaque,
        }
    }

    fn dim(&mut self) -> Dim {
        match self.below(3) {
            0 => Dim::known(self.0 as i64 >> self.below(64)),
            1 => Dim::scaled(self.below(9) as i64 - 4, &self.name()),
            _ => Dim::symbol("N"),
        }
    }

    fn retype(&mut self, graph: &mut Graph, id: ValueId) {
        let dtype = [None, Some(self.dtype())][self.below(2)];
        let shape = (0..self.below(4)).map(|_| self.dim()).collect();
        graph.set_type(id, dtype, [None, Some(shape)][self.below(2)].clone());
    }

    fn graph(&mut self) -> Graph {
        let opsets = (0..self.below(3)).map(|_| (self.name(), self.below(30) as i64)).collect();
        let mut graph = Graph::new(&self.name(), opsets);
        let mut values: Vec<ValueId> = Vec::new();
        for i in 0..self.below(3) {
            values.push(graph.add_input(&format!("{}{i}", self.name()), None, None));
        }
        for i in 0..self.below(3) {
            let name = format!("{}const{i}", self.name());
            values.push(graph.add_constant(&name, self.constant()));
        }
        for i in 0..self.below(6) {
            let name = |s: &mut Random| format!("{}node{i}.{}", s.name(), s.0);
            let pick = |s: &mut Random| Some(*values.get(s.below(values.len() + 1))?);
            let new = NewNode {
                domain: ["", "com.microsoft", "a b"][self.below(3)].into(),
                op_type: ["Abs", "odd op", "Foo"][self.below(3)].into(),
                overload: ["", "", "over"][self.below(3)].into(),
                name: if self.below(2) == 0 { self.name() } else { String::new() },
                inputs: (0..self.below(4)).map(|_| pick(self)).collect(),
                attrs: (0..self.below(3)).map(|_| (self.name(), self.attr())).collect(),
                captures: (0..self.below(2)).filter_map(|_| pick(self)).collect(),
                origin: [None, Some(self.0 as u32)][self.below(2)],
                version: None,
                near: None,
            };
            let outputs = (0..self.below(3)).map(|_| [None, Some(graph.add_pending(&name(self)))][self.below(2)]);
            let outputs: Vec<_> = outputs.collect();
            values.extend(outputs.iter().flatten());
            graph.add_node_making(new, outputs);
        }
        values.iter().for_each(|&id| self.retype(&mut graph, id));
        graph.set_outputs(values.into_iter().filter(|_| self.below(3) == 0).collect());
        graph
    }
}

/// A graph as data, ids aside.
fn facts(graph: &Graph) -> Vec<String> {
    let name = |id: &ValueId| graph.value(*id).name.clone();
    let names = |ids: &[Option<ValueId>]| ids.iter().map(|id| id.as_ref().map(name)).collect::<Vec<_>>();
    let mut facts =
        vec![format!("{} {:?} {:?}", graph.name, graph.opsets, graph.outputs().iter().map(name).collect::<Vec<_>>())];
    for id in graph.order().unwrap() {
        let n = graph.node(id);
        let captures: Vec<_> = n.captures.iter().map(name).collect();
        let operator = (&n.name, &n.domain, &n.op_type, &n.overload, n.op.map(|op| op.name));
        facts.push(format!("{operator:?} {:?} {:?} {captures:?} {:?}", names(&n.inputs), names(&n.outputs), n.origin));
        facts.push(format!("{:?}", n.attrs));
    }
    let live = |id: ValueId, v: &crate::ir::Value| {
        !matches!(v.source, Source::Nowhere) || !graph.users(id).is_empty() || graph.is_output(id)
    };
    let mut values: Vec<_> = graph
        .values()
        .filter(|(id, v)| live(*id, v))
        .map(|(_, v)| {
            let constant = if let Source::Constant(c) = &v.source { format!("{c:?}") } else { String::new() };
            format!("{} {:?} {:?} {constant}", v.name, v.dtype, v.shape)
        })
        .collect();
    values.sort();
    facts.extend(values);
    facts
}

#[test]
fn random_graphs_come_back() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut graph = random.graph();
        let body = random.graph();
        let attributes = vec![random.name()];
        let defaults = BTreeMap::from([("default".to_owned(), random.attr())]);
        let function = Function { body, attributes, defaults };
        graph.functions = Arc::new(BTreeMap::from([((random.name(), random.name(), String::new()), function)]));
        let text = print(&graph);
        let back = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(facts(&graph), facts(&back), "{text}");
        assert_eq!(text, print(&back));
        let (function, other) = (graph.functions.values().next().unwrap(), back.functions.values().next().unwrap());
        assert_eq!(facts(&function.body), facts(&other.body));
    }
}

#[test]
fn damaged_text_is_an_error_and_never_a_panic() {
    let mut random = Random(1);
    for _ in 0..3000 {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for _ in 0..=random.below(3) {
            let at = random.below(text.len());
            let other = text[random.below(text.len())];
            if random.below(2) == 0 {
                text[at] = other
            } else {
                text.remove(at);
            };
        }
        let text: String = text.into_iter().collect();
        if let Ok(graph) = parse(&text) {
            assert_eq!(print(&parse(&print(&graph)).unwrap()), print(&graph));
        }
    }
}
