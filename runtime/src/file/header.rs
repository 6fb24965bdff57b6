//! The safetensors container: eight bytes of length, a JSON header, the tensors without a gap.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};

use super::error::Problem;
use super::json;
use super::limits::{Limits, within};
use crate::dtype::DType;
use crate::tensor::elements;

/// What the header says.
pub(super) struct Header {
    /// Texts by key.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, Entry>,
}

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Element type.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Where its bytes are in the file.
    pub range: Range<usize>,
}

/// The key of the texts.
pub(super) const METADATA: &str = "__metadata__";

/// Types that the container and hanc both know.
const TYPES: [(DType, &str); 13] = [
    (DType::F32, "F32"),
    (DType::F64, "F64"),
    (DType::F16, "F16"),
    (DType::Bf16, "BF16"),
    (DType::I8, "I8"),
    (DType::I16, "I16"),
    (DType::I32, "I32"),
    (DType::I64, "I64"),
    (DType::U8, "U8"),
    (DType::U16, "U16"),
    (DType::U32, "U32"),
    (DType::U64, "U64"),
    (DType::Bool, "BOOL"),
];

/// The container's name of a type that kernels compute with.
pub(super) fn name_of(dtype: DType) -> Option<&'static str> {
    TYPES.iter().find(|row| row.0 == dtype).map(|row| row.1)
}

/// Whether the bytes begin like a file of this container.
pub(super) fn looks_right(start: &[u8], file_bytes: u64) -> bool {
    let Some((length, rest)) = start.split_first_chunk::<8>() else { return false };
    u64::from_le_bytes(*length) <= file_bytes.saturating_sub(8) && rest.first() == Some(&b'{')
}

/// Reads the header and proves that the tensors fill the file.
pub(super) fn read(file: &[u8], limits: &Limits) -> Result<Header, Problem> {
    if !looks_right(file, file.len() as u64) {
        return Err(Problem::NotHanc("it does not begin with the length of a header and the header".into()));
    }
    let (text, data) = split(file, limits)?;
    let value = json::parse(text, limits.depth).map_err(|message| Problem::malformed("header", message))?;
    let Value::Object(mut map) = value else { return Err(Problem::malformed("header", "it is no object")) };
    let metadata = metadata(map.remove(METADATA))?;
    within("tensors", map.len(), limits.tensors)?;
    let tensors = map.into_iter().map(|(name, value)| tensor(name, value, &data, limits));
    let tensors = tensors.collect::<Result<BTreeMap<_, _>, _>>()?;
    gapless(&tensors, &data)?;
    Ok(Header { metadata, tensors })
}

/// The header's text, and where the data are.
fn split<'a>(file: &'a [u8], limits: &Limits) -> Result<(&'a str, Range<usize>), Problem> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(Problem::NotHanc("it is too short".into()));
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    within("header_bytes", length, limits.header_bytes)?;
    let text = rest.get(..length).ok_or_else(|| Problem::malformed("header", "it is cut off"))?;
    let text = std::str::from_utf8(text).map_err(|e| Problem::malformed("header", e.to_string()))?;
    Ok((text, length + 8..file.len()))
}

fn metadata(value: Option<Value>) -> Result<BTreeMap<String, String>, Problem> {
    let Some(Value::Object(map)) = value else {
        return Err(Problem::NotHanc("it is a safetensors file without a plan".into()));
    };
    let text = |(key, value)| match value {
        Value::String(text) => Ok((key, text)),
        _ => Err(Problem::malformed(METADATA, format!("{key} is no text"))),
    };
    map.into_iter().map(text).collect()
}

fn tensor(name: String, value: Value, data: &Range<usize>, limits: &Limits) -> Result<(String, Entry), Problem> {
    limits.name(&name)?;
    let wrong = |message: &str| Problem::malformed(format!("tensor {name}"), message);
    let Value::Object(map) = &value else { return Err(wrong("it is no object")) };
    if let Some(key) = map.keys().find(|key| !["dtype", "shape", "data_offsets"].contains(&key.as_str())) {
        return Err(wrong(&format!("{key} is not known here")));
    }
    let dtype = map.get("dtype").and_then(Value::as_str).and_then(|text| TYPES.iter().find(|row| row.1 == text));
    let &(dtype, _) = dtype.ok_or_else(|| wrong("its dtype is none that is computed with"))?;
    let shape = sizes(map, "shape").ok_or_else(|| wrong("its shape is no list of sizes"))?;
    within("rank", shape.len(), limits.rank)?;
    let bytes = elements(&shape).and_then(|count| dtype.bytes_of(count));
    let offsets = sizes(map, "data_offsets").ok_or_else(|| wrong("its data_offsets are no list of sizes"))?;
    let range = place(&offsets, data).ok_or_else(|| wrong("its data_offsets are outside of the file"))?;
    match bytes {
        Some(bytes) if bytes == range.len() => Ok((name, Entry { dtype, shape, range })),
        _ => Err(wrong(&format!("{dtype}{shape:?} does not take {} bytes", range.len()))),
    }
}

fn sizes(map: &Map<String, Value>, key: &str) -> Option<Vec<usize>> {
    let list = map.get(key)?.as_array()?;
    list.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect()
}

fn place(offsets: &[usize], data: &Range<usize>) -> Option<Range<usize>> {
    let &[begin, end] = offsets else { return None };
    let range = data.start.checked_add(begin)?..data.start.checked_add(end)?;
    (range.start <= range.end && range.end <= data.end).then_some(range)
}

/// Tensors follow each other without gap or overlap, from the first byte of the data to the last.
fn gapless(tensors: &BTreeMap<String, Entry>, data: &Range<usize>) -> Result<(), Problem> {
    let mut ranges: Vec<_> = tensors.iter().map(|(name, entry)| (entry.range.start, entry.range.end, name)).collect();
    ranges.sort();
    let mut end = data.start;
    for (start, stop, name) in ranges {
        if start != end {
            return Err(Problem::malformed(format!("tensor {name}"), "it does not follow the tensor before it"));
        }
        end = stop;
    }
    match end == data.end {
        true => Ok(()),
        false => Err(Problem::malformed("file", format!("{} bytes belong to no tensor", data.end - end))),
    }
}
