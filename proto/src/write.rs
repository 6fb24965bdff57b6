//! The order of fields in a file, and how each of them is written.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Write};

use bytes::Bytes;
use prost::Message;

use crate::onnx::{FunctionProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};
use crate::schema::Described;
use crate::wire::{self, Fields};
use crate::{Kept, ModelFile};

/// Messages that are written in place of the file's own, by index, because their elements move.
#[derive(Debug, Default)]
pub(crate) struct Instead {
    pub header: Option<ModelProto>,
    pub nodes: BTreeMap<usize, Kept<NodeProto>>,
    pub initializers: BTreeMap<usize, Kept<TensorProto>>,
    pub sparse_initializers: BTreeMap<usize, Kept<SparseTensorProto>>,
    pub functions: BTreeMap<usize, Kept<FunctionProto>>,
}

const GRAPH: u32 = 7;
const FUNCTIONS: u32 = 25;

impl ModelFile {
    /// Writes the file, fields in the order of their numbers as protobuf's own writers do, unknown ones behind them.
    pub(crate) fn write(&self, out: &mut impl Write, instead: &Instead) -> io::Result<()> {
        let header = self.header(instead);
        let (front, back) = header.split_at(header.partition_point(|(number, _)| *number < GRAPH));
        front.iter().try_for_each(|(_, record)| out.write_all(record))?;
        out.write_all(&wire::header(GRAPH, usize::try_from(self.graph_len(instead)).unwrap_or(usize::MAX)))?;
        self.write_graph(out, instead)?;
        let (front, back) = back.split_at(back.partition_point(|(number, _)| *number < FUNCTIONS));
        front.iter().try_for_each(|(_, record)| out.write_all(record))?;
        all(out, FUNCTIONS, &self.functions, &instead.functions)?;
        back.iter().try_for_each(|(_, record)| out.write_all(record))?;
        self.unknown.iter().try_for_each(|bytes| out.write_all(bytes))
    }

    fn write_graph(&self, out: &mut impl Write, instead: &Instead) -> io::Result<()> {
        let (graph, none) = (&self.graph, &BTreeMap::new());
        all(out, 1, &graph.nodes, &instead.nodes)?;
        text(out, 2, &graph.name)?;
        all(out, 5, &graph.initializers, &instead.initializers)?;
        text(out, 10, &graph.doc_string)?;
        all(out, 11, &graph.inputs, none)?;
        all(out, 12, &graph.outputs, none)?;
        all(out, 13, &graph.value_infos, none)?;
        all(out, 14, &graph.quantization_annotations, &BTreeMap::new())?;
        all(out, 15, &graph.sparse_initializers, &instead.sparse_initializers)?;
        all(out, 16, &graph.metadata_props, &BTreeMap::new())?;
        graph.unknown.iter().try_for_each(|bytes| out.write_all(bytes))
    }

    /// Bytes of the file.
    pub(crate) fn encoded_len(&self, instead: &Instead) -> u64 {
        let header: u64 = self.header(instead).iter().map(|(_, record)| record.len() as u64).sum();
        let unknown: u64 = self.unknown.iter().map(|bytes| bytes.len() as u64).sum();
        let graph = wire::delimited_len(GRAPH, self.graph_len(instead));
        header + graph + len(FUNCTIONS, &self.functions, &instead.functions) + unknown
    }

    fn graph_len(&self, instead: &Instead) -> u64 {
        let (graph, none) = (&self.graph, &BTreeMap::new());
        let text = |number, text: &Option<String>| {
            text.as_ref().map_or(0, |text| wire::delimited_len(number, text.len() as u64))
        };
        len(1, &graph.nodes, &instead.nodes)
            + text(2, &graph.name)
            + len(5, &graph.initializers, &instead.initializers)
            + text(10, &graph.doc_string)
            + len(11, &graph.inputs, none)
            + len(12, &graph.outputs, none)
            + len(13, &graph.value_infos, none)
            + len(14, &graph.quantization_annotations, &BTreeMap::new())
            + len(15, &graph.sparse_initializers, &instead.sparse_initializers)
            + len(16, &graph.metadata_props, &BTreeMap::new())
            + graph.unknown.iter().map(|bytes| bytes.len() as u64).sum::<u64>()
    }

    /// The header's fields by number: as they stood in the file where they still say the same.
    fn header(&self, instead: &Instead) -> Vec<(u32, Bytes)> {
        let mut kept: HashMap<Bytes, VecDeque<&Bytes>> = HashMap::new();
        for record in &self.header_records {
            if let Ok(message) = ModelProto::decode(record.clone()) {
                kept.entry(message.encode_to_vec().into()).or_default().push_back(record);
            }
        }
        let header = Bytes::from(instead.header.as_ref().unwrap_or(&self.header).encode_to_vec());
        let mut fields: Vec<_> = Fields::new(&header)
            .flatten()
            .filter(|f| f.number != GRAPH && f.number != FUNCTIONS)
            .map(|f| (f.number, kept.get_mut(&f.record).and_then(VecDeque::pop_front).cloned().unwrap_or(f.record)))
            .collect();
        fields.sort_by_key(|(number, _)| *number);
        fields
    }
}

fn all<M: Described>(
    out: &mut impl Write,
    number: u32,
    messages: &[Kept<M>],
    instead: &BTreeMap<usize, Kept<M>>,
) -> io::Result<()> {
    messages.iter().enumerate().try_for_each(|(i, message)| {
        let message = instead.get(&i).unwrap_or(message);
        out.write_all(&wire::header(number, usize::try_from(message.encoded_len()).unwrap_or(usize::MAX)))?;
        message.write(out)
    })
}

fn len<M: Described>(number: u32, messages: &[Kept<M>], instead: &BTreeMap<usize, Kept<M>>) -> u64 {
    let message = |(i, message)| wire::delimited_len(number, instead.get(&i).unwrap_or(message).encoded_len());
    messages.iter().enumerate().map(message).sum()
}

fn text(out: &mut impl Write, number: u32, text: &Option<String>) -> io::Result<()> {
    let Some(text) = text else { return Ok(()) };
    out.write_all(&wire::header(number, text.len()))?;
    out.write_all(text.as_bytes())
}
