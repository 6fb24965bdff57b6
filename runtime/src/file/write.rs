//! From a model to the bytes of a file.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::Value;

use super::error::SaveError;
use super::header::{METADATA, name_of};
use super::limits::{Limits, within};
use super::plan::{Tensors, encode};
use super::temporary::Temporary;
use super::{FORMAT, FORMAT_KEY, PLAN_KEY};
use crate::dtype::DType;
use crate::model::Model;
use crate::plan::Slot;

/// Weights begin at multiples of this in the file, so that they can be used where they are mapped.
pub(super) const ALIGNMENT: usize = 64;
/// Names of the tensors that fill the space before a weight begin with this.
const PADDING: &str = "hanc.padding.";
const BUFFER: usize = 1 << 16;

impl Model {
    /// Writes the model to a file, which appears when it is whole, or not at all. The same model gives the same bytes.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), SaveError> {
        let path = path.as_ref();
        let io = |source| SaveError::Io { path: path.to_owned(), source };
        let layout = Layout::of(self)?;
        let temporary = Temporary::create(path).map_err(io)?;
        let mut out = BufWriter::with_capacity(BUFFER, &temporary.file);
        layout.write(&mut out).and_then(|()| out.flush()).map_err(io)?;
        drop(out);
        temporary.finish().map_err(io)
    }

    /// The bytes of the file that [`save`](Model::save) writes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SaveError> {
        let (layout, mut bytes) = (Layout::of(self)?, Vec::new());
        // Writing to a vector does not fail.
        let _ = layout.write(&mut bytes);
        Ok(bytes)
    }
}

/// Where everything goes.
struct Layout<'a> {
    header: String,
    parts: Vec<Part<'a>>,
}

enum Part<'a> {
    Padding(usize),
    Weight(&'a [u8]),
}

impl<'a> Layout<'a> {
    fn of(model: &'a Model) -> Result<Layout<'a>, SaveError> {
        let limits = Limits::default();
        limits.admit(model.plan()).map_err(SaveError::Limit)?;
        let mut builder = Builder::default();
        for (at, slot) in model.plan().slots.iter().enumerate() {
            if let Some(weight) = model.weights().get(&at) {
                builder.weight(at, slot, weight.bytes());
            }
        }
        let header = builder.header(model);
        within("tensors", builder.parts.len(), limits.tensors).map_err(SaveError::Limit)?;
        within("header_bytes", header.len(), limits.header_bytes).map_err(SaveError::Limit)?;
        Ok(Layout { header, parts: builder.parts })
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&(self.header.len() as u64).to_le_bytes())?;
        out.write_all(self.header.as_bytes())?;
        self.parts.iter().try_for_each(|part| match part {
            Part::Padding(bytes) => out.write_all(&[0; ALIGNMENT][..*bytes]),
            Part::Weight(bytes) => out.write_all(bytes),
        })
    }
}

/// Collects the tensors.
#[derive(Default)]
struct Builder<'a> {
    /// Bytes of all parts.
    end: usize,
    parts: Vec<Part<'a>>,
    /// The tensors' descriptions, each behind a comma.
    entries: String,
    names: BTreeSet<String>,
    tensors: Tensors,
    /// Tensors that are there, by a hash of type, shape and bytes.
    stored: HashMap<u64, Vec<Stored<'a>>>,
}

struct Stored<'a> {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Builder<'a> {
    /// Adds a weight, or finds the same one among those that are there.
    fn weight(&mut self, at: usize, slot: &Slot, bytes: &'a [u8]) {
        let shape: Vec<_> = slot.shape.iter().map(|extent| extent.factor).collect();
        let key = hash(slot.dtype, &shape, bytes);
        let same = |s: &&Stored<'_>| (s.dtype, &s.shape, s.bytes) == (slot.dtype, &shape, bytes);
        let name = match self.stored.get(&key).and_then(|all| all.iter().find(same)) {
            Some(stored) => stored.name.clone(),
            None => {
                let name = self.unique(&slot.name);
                self.pad();
                self.entry(&name, slot.dtype, &shape, bytes.len());
                self.parts.push(Part::Weight(bytes));
                let stored = Stored { name: name.clone(), dtype: slot.dtype, shape, bytes };
                self.stored.entry(key).or_default().push(stored);
                name
            }
        };
        self.tensors.insert(at, name);
    }

    /// Lets the next tensor begin at a multiple of the alignment: the container has no gaps, so a tensor fills them.
    fn pad(&mut self) {
        let bytes = self.end.next_multiple_of(ALIGNMENT) - self.end;
        if bytes > 0 {
            let name = self.unique(&format!("{PADDING}{}", self.parts.len()));
            self.entry(&name, DType::U8, &[bytes], bytes);
            self.parts.push(Part::Padding(bytes));
        }
    }

    fn entry(&mut self, name: &str, dtype: DType, shape: &[usize], bytes: usize) {
        let (begin, end) = (self.end, self.end + bytes);
        let dtype = name_of(dtype).unwrap_or_default();
        // Writing to a text does not fail.
        let _ = write!(
            self.entries,
            r#",{}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#,
            quoted(name)
        );
        self.end = end;
    }

    /// A name that no tensor has: this one, or this one with a number.
    fn unique(&mut self, name: &str) -> String {
        let numbered = (1usize..).map(|number| format!("{name}#{number}"));
        let free = std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|name| name != METADATA && self.names.insert(name.clone()));
        free.unwrap_or_default()
    }

    /// The header with the spaces behind it that align the data.
    fn header(&self, model: &Model) -> String {
        let plan = encode(model.plan(), &self.tensors).to_string();
        let own = [(FORMAT_KEY, FORMAT), (PLAN_KEY, plan.as_str())];
        let others = model.metadata().iter().map(|(key, text)| (key.as_str(), text.as_str()));
        let others = others.filter(|(key, _)| own.iter().all(|(name, _)| name != key));
        let texts: Vec<_> =
            own.into_iter().chain(others).map(|(k, v)| format!("{}:{}", quoted(k), quoted(v))).collect();
        let mut header = format!("{{{}:{{{}}}{}}}", quoted(METADATA), texts.join(","), self.entries);
        let padded = (header.len() + 8).next_multiple_of(ALIGNMENT) - 8;
        header.extend(std::iter::repeat_n(' ', padded - header.len()));
        header
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn hash(dtype: DType, shape: &[usize], bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (dtype, shape, bytes).hash(&mut hasher);
    hasher.finish()
}
