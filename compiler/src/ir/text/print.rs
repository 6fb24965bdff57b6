//! A graph as text.

use std::fmt::Write;

use hanc_runtime::DType;

use super::{NAME, is_plain};
use crate::ir::dim::is_symbol;
use crate::ir::{Attr, Constant, Dim, Function, FunctionKey, Graph, Node, Source, Value, ValueId};

/// How a graph is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Prints `…` for constants of more elements than stand in braces. Such text does not parse.
    pub elide: bool,
}

/// Constants of more elements are printed as bytes.
const INLINE: usize = 16;

/// The graph as text that [parses](super::parse) back.
pub fn print(graph: &Graph) -> String {
    print_styled(graph, Style::default())
}

/// The graph as text.
pub fn print_styled(graph: &Graph, style: Style) -> String {
    let mut printer = Printer { text: String::new(), style, indent: "" };
    for (key, function) in &*graph.functions {
        printer.function(key, function);
    }
    printer.graph(graph);
    printer.text
}

struct Printer {
    text: String,
    style: Style,
    indent: &'static str,
}

impl Printer {
    fn function(&mut self, key: &FunctionKey, function: &Function) {
        self.text.push_str("function ");
        operator(&mut self.text, &key.0, &key.1, &key.2);
        self.text.push('(');
        let names = function.attributes.iter().map(|name| (name, None));
        let defaults = function.defaults.iter().map(|(name, attr)| (name, Some(attr)));
        self.list(names.chain(defaults), |printer, (name, default)| {
            word(&mut printer.text, name);
            if let Some(default) = default {
                printer.text.push_str(" = ");
                printer.attr(default);
            }
        });
        self.text.push_str(") {\n");
        self.indent = "  ";
        self.graph(&function.body);
        self.indent = "";
        self.text.push_str("}\n");
    }

    fn graph(&mut self, graph: &Graph) {
        self.line("graph ");
        quoted(&mut self.text, graph.name.as_bytes());
        self.text.push('\n');
        if !graph.opsets.is_empty() {
            self.line("opset ");
            self.list(&graph.opsets, |printer, (domain, version)| {
                quoted(&mut printer.text, domain.as_bytes());
                let _ = write!(printer.text, " {version}");
            });
            self.text.push('\n');
        }
        for &id in graph.inputs() {
            self.declaration("in ", graph.value(id));
            self.text.push('\n');
        }
        for (id, value) in graph.values() {
            self.constant(graph, id, value);
        }
        let ids = graph.nodes().map(|(id, _)| id);
        for id in graph.order().unwrap_or_else(|_| ids.collect()) {
            self.node(graph, graph.node(id));
        }
        if !graph.outputs().is_empty() {
            self.line("out ");
            self.list(graph.outputs(), |printer, id| name(&mut printer.text, graph, *id));
            self.text.push('\n');
        }
    }

    /// A constant, or a value that is read and made by nothing.
    fn constant(&mut self, graph: &Graph, id: ValueId, value: &Value) {
        match &value.source {
            Source::Constant(constant) => {
                self.declaration("const ", value);
                self.text.push_str(" = ");
                let typed = (Some(constant.dtype), Some(sizes(constant))) == (value.dtype, value.shape.clone());
                self.elements(constant, !typed);
                self.origin(constant.origin);
            }
            Source::Nowhere if !graph.users(id).is_empty() || graph.is_output(id) => self.declaration("void ", value),
            _ => return,
        }
        self.text.push('\n');
    }

    fn node(&mut self, graph: &Graph, node: &Node) {
        self.line("");
        self.list(&node.outputs, |printer, output| match output {
            Some(id) => printer.typed(graph.value(*id)),
            None => printer.text.push('_'),
        });
        self.text.push_str(if node.outputs.is_empty() { "= " } else { " = " });
        operator(&mut self.text, &node.domain, &node.op_type, &node.overload);
        self.text.push('(');
        self.list(&node.inputs, |printer, input| match input {
            Some(id) => name(&mut printer.text, graph, *id),
            None => printer.text.push('_'),
        });
        self.text.push(')');
        self.attrs(node);
        if !node.captures.is_empty() {
            self.text.push_str(" captures(");
            self.list(&node.captures, |printer, id| name(&mut printer.text, graph, *id));
            self.text.push(')');
        }
        if let Some(version) = node.version {
            let _ = write!(self.text, " opset {version}");
        }
        if !node.name.is_empty() {
            self.text.push_str(" @");
            quoted(&mut self.text, node.name.as_bytes());
        }
        self.origin(node.origin);
        self.text.push('\n');
    }

    fn attrs(&mut self, node: &Node) {
        if node.attrs.is_empty() {
            return;
        }
        self.text.push_str(" {");
        self.list(&node.attrs, |printer, (name, attr)| {
            word(&mut printer.text, name);
            printer.text.push_str(" = ");
            printer.attr(attr);
        });
        self.text.push('}');
    }

    fn attr(&mut self, attr: &Attr) {
        let empty = |kind: &str| format!("{kind}[]");
        match attr {
            Attr::Int(value) => put(&mut self.text, value),
            Attr::Float(value) => float(&mut self.text, *value),
            Attr::Str(text) => quoted(&mut self.text, text),
            Attr::Ints(all) if all.is_empty() => self.text.push_str(&empty("ints")),
            Attr::Floats(all) if all.is_empty() => self.text.push_str(&empty("floats")),
            Attr::Strs(all) if all.is_empty() => self.text.push_str(&empty("strs")),
            Attr::Ints(all) => self.brackets(all, |printer, value| put(&mut printer.text, value)),
            Attr::Floats(all) => self.brackets(all, |printer, value| float(&mut printer.text, *value)),
            Attr::Strs(all) => self.brackets(all, |printer, text| quoted(&mut printer.text, text)),
            Attr::Tensor(tensor) => self.elements(tensor, true),
            Attr::Graph => self.text.push_str("graph"),
            Attr::Opaque => self.text.push_str("opaque"),
            Attr::Reference(name) => {
                self.text.push('$');
                word(&mut self.text, name);
            }
        }
    }

    /// The elements of a constant, with its type before them if asked for.
    fn elements(&mut self, constant: &Constant, typed: bool) {
        if typed {
            self.text.push_str(constant.dtype.name());
            self.shape(&sizes(constant));
            self.text.push(' ');
        }
        let count = hanc_runtime::tensor::elements(&constant.shape).unwrap_or(usize::MAX);
        let whole = constant.dtype.bytes_of(count) == Some(constant.bytes.len());
        let numbers = if count <= INLINE && whole { numbers(constant.dtype, &constant.bytes) } else { None };
        if let Some(numbers) = numbers {
            self.text.push('{');
            self.text.push_str(&numbers.join(", "));
            self.text.push('}');
        } else if self.style.elide && count > INLINE {
            self.text.push('…');
        } else if let Some(splat) = splat(constant, count).filter(|_| whole) {
            let _ = write!(self.text, "splat({splat})");
        } else {
            self.text.push_str("hex\"");
            constant.bytes.iter().for_each(|byte| put(&mut self.text, format_args!("{byte:02x}")));
            self.text.push('"');
        }
    }

    fn declaration(&mut self, keyword: &str, value: &Value) {
        self.line(keyword);
        self.typed(value);
    }

    /// A value's name and what is known of its type.
    fn typed(&mut self, value: &Value) {
        value_name(&mut self.text, &value.name);
        if value.dtype.is_none() && value.shape.is_none() {
            return;
        }
        self.text.push_str(": ");
        self.text.push_str(value.dtype.map_or("?", DType::name));
        if let Some(shape) = &value.shape {
            self.shape(shape);
        }
    }

    fn shape(&mut self, shape: &[Dim]) {
        self.brackets(shape, |printer, dim| match dim.name().filter(|name| !is_symbol(name)) {
            None => put(&mut printer.text, dim),
            Some(name) => {
                let _ = write!(printer.text, "{}*", dim.factor());
                quoted(&mut printer.text, name.as_bytes());
            }
        });
    }

    fn origin(&mut self, origin: Option<u32>) {
        if let Some(origin) = origin {
            let _ = write!(self.text, " !{origin}");
        }
    }

    fn line(&mut self, keyword: &str) {
        self.text.push_str(self.indent);
        self.text.push_str(keyword);
    }

    fn brackets<T>(&mut self, all: impl IntoIterator<Item = T>, each: impl FnMut(&mut Printer, T)) {
        self.text.push('[');
        self.list(all, each);
        self.text.push(']');
    }

    fn list<T>(&mut self, all: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Printer, T)) {
        for (i, item) in all.into_iter().enumerate() {
            if i > 0 {
                self.text.push_str(", ");
            }
            each(self, item);
        }
    }
}

fn put(text: &mut String, value: impl std::fmt::Display) {
    let _ = write!(text, "{value}");
}

fn sizes(constant: &Constant) -> Vec<Dim> {
    constant.shape.iter().map(|&n| Dim::from(n)).collect()
}

fn name(text: &mut String, graph: &Graph, id: ValueId) {
    value_name(text, &graph.value(id).name);
}

fn value_name(text: &mut String, name: &str) {
    text.push('%');
    match is_plain(name, NAME) {
        true => text.push_str(name),
        false => quoted(text, name.as_bytes()),
    }
}

fn word(text: &mut String, word: &str) {
    match is_plain(word, &['.']) {
        true => text.push_str(word),
        false => quoted(text, word.as_bytes()),
    }
}

/// `domain.Name`, `Name` in ONNX's own domain, quoted where that is not plain; `:"overload"` behind it.
fn operator(text: &mut String, domain: &str, op_type: &str, overload: &str) {
    let plain = is_plain(op_type, &[]) && (domain.is_empty() || is_plain(domain, &['.']));
    match (plain, domain) {
        (true, "") => text.push_str(op_type),
        (true, domain) => put(text, format_args!("{domain}.{op_type}")),
        (false, domain) => {
            quoted(text, domain.as_bytes());
            text.push('.');
            quoted(text, op_type.as_bytes());
        }
    }
    if !overload.is_empty() {
        text.push(':');
        quoted(text, overload.as_bytes());
    }
}

fn quoted(text: &mut String, bytes: &[u8]) {
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_ascii_control() => put(text, format_args!("\\x{:02x}", c as u32)),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| put(text, format_args!("\\x{byte:02x}")));
    }
    text.push('"');
}

fn float(text: &mut String, value: f32) {
    match value.is_nan() {
        true => put(text, format_args!("bits({:08x})", value.to_bits())),
        false => put(text, format_args!("{value:?}f")),
    }
}

/// Every element as a number that reads back to the same bytes; `None` where there is one that does not.
fn numbers(dtype: DType, bytes: &[u8]) -> Option<Vec<String>> {
    if dtype.is_int() {
        let all = hanc_runtime::reference::decode::integers(dtype, bytes)?;
        let lossless = hanc_runtime::reference::decode::encode_integers(dtype, &all)? == bytes;
        return lossless.then(|| all.iter().map(i64::to_string).collect());
    }
    let all = hanc_runtime::reference::decode::reals(dtype, bytes).filter(|_| dtype.is_real())?;
    let show = |x: &f64| if dtype == DType::F64 { format!("{x:?}") } else { format!("{:?}", *x as f32) };
    (!all.iter().any(|x| x.is_nan())).then(|| all.iter().map(show).collect())
}

/// The element that a constant repeats, as a number.
fn splat(constant: &Constant, count: usize) -> Option<String> {
    let width = constant.dtype.bytes_of(1).filter(|_| count > INLINE)?;
    let (first, _) = constant.bytes.split_at_checked(width)?;
    let repeats = constant.bytes.len() == width.checked_mul(count)? && constant.bytes.chunks(width).all(|c| c == first);
    if repeats { numbers(constant.dtype, first)?.pop() } else { None }
}
