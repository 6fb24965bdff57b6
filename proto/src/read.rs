//! From bytes to a [`ModelFile`].

use std::path::Path;

use bytes::Bytes;
use prost::Message;

use crate::gauge::{Gauge, Trouble};
use crate::onnx::{FunctionProto, ModelProto, TensorProto};
use crate::schema::{Described, MODEL};
use crate::wire::{Broken, Field, Fields};
use crate::{Error, GraphFile, Kept, Limits, ModelFile, sniff};

const GRAPH: u32 = 7;
const FUNCTIONS: u32 = 25;

/// Reads a model.
pub(crate) fn model(bytes: Bytes, path: Option<&Path>, limits: &Limits) -> Result<ModelFile, Error> {
    let mut reader = Reader { path, gauge: Gauge::new(limits) };
    let file = ModelFile { path: path.map(Path::to_owned), limits: limits.clone(), ..ModelFile::default() };
    reader.model(&bytes, file)
}

struct Reader<'a> {
    path: Option<&'a Path>,
    gauge: Gauge<'a>,
}

impl Reader<'_> {
    fn model(&mut self, bytes: &Bytes, mut file: ModelFile) -> Result<ModelFile, Error> {
        if bytes.is_empty() {
            return Err(self.not_onnx("the file is empty"));
        }
        if let Some(what) = sniff::other_format(bytes) {
            return Err(self.not_onnx(&format!("it is {what}")));
        }
        let mut graphs = 0;
        for field in Fields::new(bytes) {
            let field = field.map_err(|broken| self.broken(bytes, broken))?;
            match field.number {
                GRAPH => graphs += usize::from(self.graph(&field, &mut file.graph)?),
                FUNCTIONS => file.functions.push(self.function(&field, file.functions.len())?),
                number if MODEL.part(number).is_some() => file.header_records.push(field.record),
                _ => file.unknown.push(field.record),
            }
        }
        file.header = self.header(&file.header_records)?;
        match graphs {
            1 => Ok(file),
            0 if sniff::is_text(bytes) => Err(self.not_onnx("it is text")),
            0 => Err(self.not_onnx("it has no graph")),
            _ => Err(self.malformed("the model", format!("it has {graphs} graphs"))),
        }
    }

    fn header(&mut self, records: &[Bytes]) -> Result<ModelProto, Error> {
        let place = "the model's header";
        let bytes = Bytes::from(records.concat());
        self.measure::<ModelProto>(&bytes, place)?;
        ModelProto::decode(bytes).map_err(|e| self.undecoded::<ModelProto>(place, &e))
    }

    fn function(&mut self, field: &Field, at: usize) -> Result<Kept<FunctionProto>, Error> {
        self.part(field, || format!("function {at}"))
    }

    /// Reads the graph; tells that it did.
    fn graph(&mut self, field: &Field, graph: &mut GraphFile) -> Result<bool, Error> {
        if !field.delimited {
            return Err(self.malformed("the graph", "its field does not hold a message".into()));
        }
        for field in Fields::new(&field.payload) {
            let field = field.map_err(|broken| self.malformed("the graph", broken.reason))?;
            self.graph_field(field, graph)?;
        }
        Ok(true)
    }

    fn graph_field(&mut self, field: Field, graph: &mut GraphFile) -> Result<(), Error> {
        let (nodes, initializers) = (graph.nodes.len(), graph.initializers.len());
        match field.number {
            1 => graph.nodes.push(self.part(&field, || format!("node {nodes}"))?),
            2 => graph.name = Some(self.text(&field, "the graph's name")?),
            5 => graph.initializers.push(self.initializer(&field, initializers)?),
            10 => graph.doc_string = Some(self.text(&field, "the graph's documentation")?),
            11 => graph.inputs.push(self.part(&field, || "an input of the graph".into())?),
            12 => graph.outputs.push(self.part(&field, || "an output of the graph".into())?),
            13 => graph.value_infos.push(self.part(&field, || "the type of a value".into())?),
            14 => graph.quantization_annotations.push(self.part(&field, || "a quantisation annotation".into())?),
            15 => graph.sparse_initializers.push(self.part(&field, || "a sparse initializer".into())?),
            16 => graph.metadata_props.push(self.part(&field, || "the graph's metadata".into())?),
            _ => graph.unknown.push(field.record),
        }
        Ok(())
    }

    fn initializer(&mut self, field: &Field, at: usize) -> Result<Kept<TensorProto>, Error> {
        let place = format!("initializer {at}");
        self.gauge.initializer().map_err(|trouble| troubled(self.path, &place, trouble))?;
        self.delimited(field, &place)?;
        self.measure::<TensorProto>(&field.payload, &place)?;
        Kept::decode_tensor(field.payload.clone()).map_err(|e| self.undecoded::<TensorProto>(&place, &e))
    }

    fn part<M: Described>(&mut self, field: &Field, place: impl FnOnce() -> String) -> Result<Kept<M>, Error> {
        let place = place();
        self.delimited(field, &place)?;
        self.measure::<M>(&field.payload, &place)?;
        Kept::decode(field.payload.clone()).map_err(|e| self.undecoded::<M>(&place, &e))
    }

    fn text(&self, field: &Field, place: &str) -> Result<String, Error> {
        self.delimited(field, place)?;
        String::from_utf8(field.payload.to_vec()).map_err(|_| self.malformed(place, "it is not UTF-8".into()))
    }

    fn delimited(&self, field: &Field, place: &str) -> Result<(), Error> {
        let reason = "its field holds a number where a message or text belongs";
        if field.delimited { Ok(()) } else { Err(self.malformed(place, reason.into())) }
    }

    fn measure<M: Described>(&mut self, bytes: &Bytes, place: &str) -> Result<(), Error> {
        self.gauge.measure(bytes, M::SCHEMA).map_err(|trouble| troubled(self.path, place, trouble))
    }

    fn undecoded<M: Described>(&self, place: &str, error: &prost::DecodeError) -> Error {
        let reason = error.to_string();
        let reason = reason.trim_start_matches("failed to decode Protobuf message: ");
        self.malformed(place, format!("{} {reason}", M::SCHEMA.name))
    }

    /// A field of the model does not end where it says: something else altogether, or a model that is cut off.
    fn broken(&self, bytes: &Bytes, broken: Broken) -> Error {
        if sniff::is_text(bytes) {
            return self.not_onnx("it is text");
        }
        match broken.number.and_then(|number| MODEL.part(number)) {
            Some(_) => self.malformed("the model", broken.reason),
            None => self.not_onnx(&format!("its bytes are no protobuf message ({})", broken.reason)),
        }
    }

    fn not_onnx(&self, reason: &str) -> Error {
        Error::NotOnnx { path: self.path.map(Path::to_owned), reason: reason.to_owned() }
    }

    fn malformed(&self, place: &str, reason: String) -> Error {
        Error::Malformed { path: self.path.map(Path::to_owned), place: place.to_owned(), reason }
    }
}

fn troubled(path: Option<&Path>, place: &str, trouble: Trouble) -> Error {
    let path = path.map(Path::to_owned);
    match trouble {
        Trouble::Broken(reason) => Error::Malformed { path, place: place.to_owned(), reason },
        Trouble::Excess { what, found, limit } => Error::Limit { path, what, found, limit },
    }
}
