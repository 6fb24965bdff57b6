//! A graph from text.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hanc_runtime::DType;
use hanc_runtime::reference::decode;

use super::lex::{Lexer, ParseError, Token};
use crate::ir::{Attr, Constant, Dim, Function, FunctionKey, Graph, NewNode, Shape, Source, ValueId};

/// Bytes of the largest constant that `splat` makes.
const SPLAT_LIMIT: usize = 1 << 30;

type Result<T> = std::result::Result<T, ParseError>;

/// The graph that a text describes.
pub fn parse(text: &str) -> Result<Graph> {
    let mut lexer = Lexer::new(text);
    let next = lexer.next()?;
    let mut parser = Parser { lexer, next };
    let mut functions = BTreeMap::new();
    while parser.keyword("function")? {
        let (key, function) = parser.function()?;
        if functions.insert(key, function).is_some() {
            return Err(parser.error("a function of this name is there already"));
        }
    }
    let mut graph = parser.graph()?;
    graph.functions = Arc::new(functions);
    match parser.next {
        Token::End => Ok(graph),
        _ => Err(parser.expected("a statement or the end")),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    next: Token,
}

/// A graph with its values by name.
struct Scope {
    graph: Graph,
    names: HashMap<String, ValueId>,
}

impl Scope {
    /// The value of a name; it is made by nothing yet if this is the first mention.
    fn value(&mut self, name: &str) -> ValueId {
        match self.names.get(name) {
            Some(id) => *id,
            None => {
                let id = self.graph.add_pending(name);
                self.names.insert(name.to_owned(), id);
                id
            }
        }
    }
}

/// dtype and shape, as far as they are given.
type Type = (Option<DType>, Option<Shape>);

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> ParseError {
        self.lexer.error(message.into())
    }

    fn expected(&self, what: &str) -> ParseError {
        self.error(format!("expected {what}, found {}", self.next))
    }

    fn take(&mut self) -> Result<Token> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Takes the mark if it is next.
    fn mark(&mut self, mark: char) -> Result<bool> {
        let hit = self.next == Token::Mark(mark);
        if hit {
            self.take()?;
        }
        Ok(hit)
    }

    fn expect(&mut self, mark: char) -> Result<()> {
        if self.mark(mark)? { Ok(()) } else { Err(self.expected(&format!("{mark:?}"))) }
    }

    /// Takes the word if it is next.
    fn keyword(&mut self, word: &str) -> Result<bool> {
        let hit = matches!(&self.next, Token::Word(next) if next == word);
        if hit {
            self.take()?;
        }
        Ok(hit)
    }

    fn word(&mut self, what: &str) -> Result<String> {
        match &self.next {
            Token::Word(word) => {
                let word = word.clone();
                self.take()?;
                Ok(word)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn bytes(&mut self, what: &str) -> Result<Vec<u8>> {
        match &mut self.next {
            Token::Text(bytes) => {
                let bytes = std::mem::take(bytes);
                self.take()?;
                Ok(bytes)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn text(&mut self, what: &str) -> Result<String> {
        let place = self.lexer.clone();
        String::from_utf8(self.bytes(what)?).map_err(|_| place.error(format!("{what} has to be UTF-8")))
    }

    /// A word or a quoted text.
    fn name(&mut self, what: &str) -> Result<String> {
        if matches!(self.next, Token::Text(_)) { self.text(what) } else { self.word(what) }
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let place = self.lexer.clone();
        let word = self.word(what)?;
        word.parse().map_err(|_| place.error(format!("expected {what}, found {word}")))
    }

    /// Items with commas between them up to the closing mark.
    fn list<T>(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while !self.mark(close)? {
            if !all.is_empty() {
                self.expect(',')?;
            }
            all.push(item(self)?);
        }
        Ok(all)
    }

    fn function(&mut self) -> Result<(FunctionKey, Function)> {
        let key = self.operator()?;
        self.expect('(')?;
        let given = self.list(')', |parser| {
            let name = parser.name("an attribute's name")?;
            let default = if parser.mark('=')? { Some(parser.attr()?) } else { None };
            Ok((name, default))
        })?;
        self.expect('{')?;
        let body = self.graph()?;
        self.expect('}')?;
        let attributes = given.iter().filter(|(_, d)| d.is_none()).map(|(name, _)| name.clone()).collect();
        let defaults = given.into_iter().filter_map(|(name, default)| Some((name, default?))).collect();
        Ok((key, Function { body, attributes, defaults }))
    }

    fn graph(&mut self) -> Result<Graph> {
        if !self.keyword("graph")? {
            return Err(self.expected("graph"));
        }
        let name = self.text("the graph's name")?;
        let mut opsets = BTreeMap::new();
        if self.keyword("opset")? {
            while opsets.is_empty() || self.mark(',')? {
                let domain = self.text("a domain")?;
                opsets.insert(domain, self.number("a version")?);
            }
        }
        let mut scope = Scope { graph: Graph::new(&name, opsets), names: HashMap::new() };
        while !matches!(self.next, Token::End | Token::Mark('}')) {
            self.statement(&mut scope)?;
        }
        Ok(scope.graph)
    }

    fn statement(&mut self, scope: &mut Scope) -> Result<()> {
        if self.keyword("in")? {
            return self.input(scope);
        }
        if self.keyword("const")? {
            return self.constant(scope);
        }
        if self.keyword("void")? {
            return self.result(scope).map(|_| ());
        }
        if self.keyword("out")? {
            return self.outputs(scope);
        }
        match &self.next {
            Token::Value(_) | Token::Mark('=') => self.node(scope),
            Token::Word(word) if word == "_" => self.node(scope),
            _ => Err(self.expected("in, const, void, out or a node")),
        }
    }

    fn input(&mut self, scope: &mut Scope) -> Result<()> {
        let place = self.lexer.clone();
        let name = self.value_name()?;
        if scope.names.contains_key(&name) {
            return Err(place.error(format!("%{name} is there already; inputs come first")));
        }
        let (dtype, shape) = self.opt_type()?;
        let id = scope.graph.add_input(&name, dtype, shape);
        scope.names.insert(name, id);
        Ok(())
    }

    fn constant(&mut self, scope: &mut Scope) -> Result<()> {
        let (id, (dtype, shape)) = self.result(scope)?;
        self.expect('=')?;
        let place = self.lexer.clone();
        let typed = match (dtype, &shape) {
            _ if self.at_type() => self.full_type()?,
            (Some(dtype), Some(shape)) => {
                let sizes =
                    crate::ir::dim::sizes(shape).ok_or_else(|| place.error("a constant has no free size".into()));
                (dtype, sizes?)
            }
            _ => return Err(self.expected("the constant's type")),
        };
        let mut constant = self.elements(typed)?;
        constant.origin = self.origin()?;
        scope.graph.redefine_constant(id, constant);
        scope.graph.set_type(id, dtype, shape);
        Ok(())
    }

    fn outputs(&mut self, scope: &mut Scope) -> Result<()> {
        let mut outputs = scope.graph.outputs().to_vec();
        loop {
            let name = self.value_name()?;
            outputs.push(scope.value(&name));
            if !self.mark(',')? {
                break;
            }
        }
        scope.graph.set_outputs(outputs);
        Ok(())
    }

    fn node(&mut self, scope: &mut Scope) -> Result<()> {
        let mut outputs: Vec<Option<ValueId>> = Vec::new();
        while !self.mark('=')? {
            if !outputs.is_empty() {
                self.expect(',')?;
            }
            let result = if self.keyword("_")? { None } else { Some(self.result(scope)?.0) };
            if result.is_some() && outputs.contains(&result) {
                return Err(self.error("a value stands twice among the results"));
            }
            outputs.push(result);
        }
        let (domain, op_type, overload) = self.operator()?;
        self.expect('(')?;
        let inputs = self.list(')', |parser| parser.operand(scope))?;
        let attrs = if self.mark('{')? { self.attrs()? } else { BTreeMap::new() };
        let mut captures = Vec::new();
        if self.keyword("captures")? {
            self.expect('(')?;
            captures = self.list(')', |parser| Ok(scope.value(&parser.value_name()?)))?;
        }
        let version = if self.keyword("opset")? { Some(self.number("a version")?) } else { None };
        let name = if self.mark('@')? { self.text("the node's name")? } else { String::new() };
        let origin = self.origin()?;
        let new = NewNode { domain, op_type, overload, name, inputs, attrs, version, captures, origin, near: None };
        scope.graph.add_node_making(new, outputs);
        Ok(())
    }

    /// A value that is defined here, with its type.
    fn result(&mut self, scope: &mut Scope) -> Result<(ValueId, Type)> {
        let place = self.lexer.clone();
        let name = self.value_name()?;
        let id = scope.value(&name);
        if !matches!(scope.graph.value(id).source, Source::Nowhere) {
            return Err(place.error(format!("%{name} is defined already")));
        }
        let (dtype, shape) = self.opt_type()?;
        scope.graph.set_type(id, dtype, shape.clone());
        Ok((id, (dtype, shape)))
    }

    fn operand(&mut self, scope: &mut Scope) -> Result<Option<ValueId>> {
        if self.keyword("_")? {
            return Ok(None);
        }
        let name = self.value_name()?;
        Ok(Some(scope.value(&name)))
    }

    fn value_name(&mut self) -> Result<String> {
        match &self.next {
            Token::Value(name) => {
                let name = name.clone();
                self.take()?;
                Ok(name)
            }
            _ => Err(self.expected("a value such as %x")),
        }
    }

    /// `domain.Name`, `"domain"."Name"`, with `:"overload"` if there is one.
    fn operator(&mut self) -> Result<FunctionKey> {
        let (domain, op_type) = if matches!(self.next, Token::Text(_)) {
            let domain = self.text("a domain")?;
            if !self.keyword(".")? {
                return Err(self.expected("'.'"));
            }
            (domain, self.text("an operator")?)
        } else {
            let word = self.word("an operator")?;
            let (domain, op_type) = word.rsplit_once('.').unwrap_or(("", &word));
            (domain.to_owned(), op_type.to_owned())
        };
        let overload = if self.mark(':')? { self.text("an overload")? } else { String::new() };
        Ok((domain, op_type, overload))
    }

    fn origin(&mut self) -> Result<Option<u32>> {
        if self.mark('!')? { self.number("an index").map(Some) } else { Ok(None) }
    }

    fn opt_type(&mut self) -> Result<Type> {
        if !self.mark(':')? {
            return Ok((None, None));
        }
        let place = self.lexer.clone();
        let word = self.word("an element type")?;
        let dtype = match word.as_str() {
            "?" => None,
            word => Some(DType::parse(word).ok_or_else(|| place.error(format!("{word} is not an element type")))?),
        };
        let shape = if self.mark('[')? { Some(self.list(']', Self::dim)?) } else { None };
        Ok((dtype, shape))
    }

    fn dim(&mut self) -> Result<Dim> {
        if matches!(self.next, Token::Text(_)) {
            return Ok(Dim::symbol(&self.text("a symbol")?));
        }
        let place = self.lexer.clone();
        let first = self.word("a size")?;
        if !self.mark('*')? {
            return Dim::parse(&first).ok_or_else(|| place.error(format!("{first} is not a size")));
        }
        let factor = first.parse().map_err(|_| place.error(format!("{first} is not a factor")))?;
        Ok(Dim::scaled(factor, &self.name("a symbol")?))
    }

    /// Whether a dtype is next.
    fn at_type(&self) -> bool {
        matches!(&self.next, Token::Word(word) if DType::parse(word).is_some())
    }

    fn full_type(&mut self) -> Result<(DType, Vec<usize>)> {
        let dtype = DType::parse(&self.word("an element type")?).ok_or_else(|| self.error("not an element type"))?;
        self.expect('[')?;
        Ok((dtype, self.list(']', |parser| parser.number("a size"))?))
    }

    fn attrs(&mut self) -> Result<BTreeMap<String, Attr>> {
        let all = self.list('}', |parser| {
            let name = parser.name("an attribute's name")?;
            parser.expect('=')?;
            Ok((name, parser.attr()?))
        })?;
        Ok(all.into_iter().collect())
    }

    fn attr(&mut self) -> Result<Attr> {
        if self.mark('$')? {
            return self.name("an attribute's name").map(Attr::Reference);
        }
        if self.mark('[')? {
            let all = self.list(']', Self::single)?;
            return self.same_kind(all);
        }
        if self.at_type() {
            let typed = self.full_type()?;
            return Ok(Attr::Tensor(Box::new(self.elements(typed)?)));
        }
        self.single()
    }

    /// An attribute of one word or text.
    fn single(&mut self) -> Result<Attr> {
        if matches!(self.next, Token::Text(_)) {
            return Ok(Attr::Str(self.bytes("a text")?.into()));
        }
        let place = self.lexer.clone();
        let word = self.word("a value")?;
        match word.as_str() {
            "graph" => Ok(Attr::Graph),
            "opaque" => Ok(Attr::Opaque),
            "ints" => self.empty(Attr::Ints(vec![])),
            "floats" => self.empty(Attr::Floats(vec![])),
            "strs" => self.empty(Attr::Strs(vec![])),
            "bits" => self.float_bits(),
            word => scalar(word).ok_or_else(|| place.error(format!("{word} is no integer and no float such as 0.5f"))),
        }
    }

    fn empty(&mut self, attr: Attr) -> Result<Attr> {
        self.expect('[')?;
        self.expect(']')?;
        Ok(attr)
    }

    fn float_bits(&mut self) -> Result<Attr> {
        self.expect('(')?;
        let word = self.word("hexadecimal digits")?;
        self.expect(')')?;
        let bits = u32::from_str_radix(&word, 16).map_err(|_| self.error(format!("{word} is not hexadecimal")))?;
        Ok(Attr::Float(f32::from_bits(bits)))
    }

    fn same_kind(&self, all: Vec<Attr>) -> Result<Attr> {
        fn every<T>(all: &[Attr], item: impl Fn(&Attr) -> Option<T>) -> Option<Vec<T>> {
            all.iter().map(item).collect()
        }
        let ints = every(&all, |a| if let Attr::Int(x) = a { Some(*x) } else { None }).map(Attr::Ints);
        let floats = || every(&all, |a| if let Attr::Float(x) = a { Some(*x) } else { None }).map(Attr::Floats);
        let strs = || every(&all, |a| if let Attr::Str(x) = a { Some(x.clone()) } else { None }).map(Attr::Strs);
        let list = ints.filter(|_| !all.is_empty()).or_else(floats).or_else(strs);
        list.ok_or_else(|| self.error("a list holds integers, floats or texts, of one kind"))
    }

    /// The elements of a constant of this type.
    fn elements(&mut self, (dtype, shape): (DType, Vec<usize>)) -> Result<Constant> {
        let place = self.lexer.clone();
        let bytes = if self.mark('{')? {
            let words = self.list('}', |parser| parser.word("a number"))?;
            encode(dtype, &words)
        } else if self.keyword("splat")? {
            self.expect('(')?;
            let word = self.word("a number")?;
            self.expect(')')?;
            let count = hanc_runtime::tensor::elements(&shape);
            let fits = count.and_then(|n| dtype.bytes_of(n)).filter(|bytes| *bytes <= SPLAT_LIMIT);
            let limit = fits.ok_or_else(|| place.error(format!("more than {SPLAT_LIMIT} bytes")))?;
            encode(dtype, &[word]).map(|one| one.into_iter().cycle().take(limit).collect())
        } else if self.keyword("hex")? {
            unhex(&self.bytes("hexadecimal digits in quotes")?)
        } else {
            return Err(self.expected("elements: {…}, splat(x) or hex\"…\""));
        };
        let bytes = bytes.ok_or_else(|| place.error(format!("these are not elements of {dtype}")))?;
        let wanted = hanc_runtime::tensor::elements(&shape).and_then(|n| dtype.bytes_of(n));
        if wanted != Some(bytes.len()) && dtype != DType::String {
            return Err(place.error(format!("{dtype}{shape:?} does not take {} bytes", bytes.len())));
        }
        Ok(Constant::new(dtype, &shape, bytes))
    }
}

/// An integer, or a float with its `f`.
fn scalar(word: &str) -> Option<Attr> {
    match word.parse() {
        Ok(value) => Some(Attr::Int(value)),
        Err(_) => word.strip_suffix('f')?.parse().ok().map(Attr::Float),
    }
}

fn encode(dtype: DType, words: &[String]) -> Option<Vec<u8>> {
    if dtype.is_int() {
        let all: Vec<i64> = words.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let fits = all.iter().all(|&x| decode::wrap(dtype, x) == x);
        return if fits { decode::encode_integers(dtype, &all) } else { None };
    }
    let read = |word: &String| match dtype {
        DType::F64 => word.parse::<f64>().ok(),
        _ => word.parse::<f32>().ok().map(f64::from),
    };
    let all: Vec<f64> = words.iter().map(read).collect::<Option<_>>()?;
    decode::encode_reals(dtype, &all)
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
