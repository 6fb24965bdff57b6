//! Measures messages before they are decoded: what decoding would take is known before it is taken.

use crate::Limits;
use crate::schema::{FUNCTION, GRAPH, NODE, Part, Schema};
use crate::wire::Spans;

/// How deep messages may stand in messages; prost gives up at 100.
const MESSAGES: usize = 90;

/// Counts over all messages of a file.
pub(crate) struct Gauge<'a> {
    limits: &'a Limits,
    nodes: usize,
    initializers: usize,
    decoded: u64,
}

/// Why a message is not decoded.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It does not split into fields.
    Broken(String),
    /// It claims more than it may.
    Excess { what: String, found: u64, limit: u64 },
}

impl<'a> Gauge<'a> {
    pub fn new(limits: &'a Limits) -> Gauge<'a> {
        Gauge { limits, nodes: 0, initializers: 0, decoded: 0 }
    }

    /// Counts a message of the model's graph and everything in it.
    pub fn measure(&mut self, message: &[u8], schema: &'static Schema) -> Result<(), Trouble> {
        self.message(message, schema, 0, 0)
    }

    /// One initializer of a graph.
    pub fn initializer(&mut self) -> Result<(), Trouble> {
        self.initializers += 1;
        within("the number of initializers", self.initializers as u64, self.limits.initializers as u64)
    }

    fn message(&mut self, bytes: &[u8], schema: &'static Schema, depth: usize, graphs: usize) -> Result<(), Trouble> {
        let is = |other: &'static Schema| std::ptr::eq(schema, other);
        within("the depth of messages in messages", depth as u64, MESSAGES as u64)?;
        let graphs = graphs + usize::from(is(&GRAPH));
        within("the depth of graphs in attributes", graphs as u64, self.limits.depth as u64)?;
        self.nodes += usize::from(is(&NODE));
        within("the number of nodes", self.nodes as u64, self.limits.nodes as u64)?;
        self.take(schema.size as u64)?;
        for span in Spans::new(bytes) {
            let span = span.map_err(|broken| Trouble::Broken(broken.reason))?;
            let content = bytes.get(span.payload..span.end).unwrap_or_default();
            if is(&GRAPH) && span.number == 5 {
                self.initializer()?;
            }
            match schema.part(span.number) {
                Some(Part::Of(inner)) if span.delimited => self.message(content, inner, depth + 1, graphs)?,
                part => self.part(part, content.len() as u64, schema)?,
            }
        }
        Ok(())
    }

    fn part(&mut self, part: Option<Part>, length: u64, schema: &'static Schema) -> Result<(), Trouble> {
        match part {
            Some(Part::Name) => {
                let what = format!("the length of a name in {}", title(schema));
                within(&what, length, self.limits.name_bytes as u64)?;
                self.take(24 + length)
            }
            Some(Part::Text) => {
                let what = format!("the length of a text in {}", title(schema));
                within(&what, length, self.limits.text_bytes as u64)?;
                self.take(24 + length)
            }
            Some(Part::Raw) => self.take(32),
            Some(Part::Plain | Part::Of(_)) => self.take(length.saturating_mul(8)),
            None => Ok(()),
        }
    }

    fn take(&mut self, bytes: u64) -> Result<(), Trouble> {
        self.decoded = self.decoded.saturating_add(bytes);
        within("the memory in bytes that decoding takes", self.decoded, self.limits.decoded_bytes)
    }
}

fn title(schema: &'static Schema) -> &'static str {
    match schema {
        s if std::ptr::eq(s, &NODE) => "a node",
        s if std::ptr::eq(s, &FUNCTION) => "a function",
        s => s.name,
    }
}

fn within(what: &str, found: u64, limit: u64) -> Result<(), Trouble> {
    match found <= limit {
        true => Ok(()),
        false => Err(Trouble::Excess { what: what.to_owned(), found, limit }),
    }
}
