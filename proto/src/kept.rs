//! Messages that remember their bytes.

use std::io::{self, Write};
use std::ops::Deref;

use bytes::Bytes;
use prost::Message;

use crate::onnx::{NodeProto, TensorProto};
use crate::schema::Described;
use crate::wire::{self, Fields};

/// A message and, as long as nobody changes it, the bytes that it was decoded from: written back verbatim, with the
/// fields that this schema does not know. One that was changed keeps those fields behind the known ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<M> {
    message: M,
    encoded: Option<Bytes>,
    /// Fields that the schema does not know, of a message that was changed.
    unknown: Vec<Bytes>,
}

impl<M: Message + Default> Kept<M> {
    /// Decodes a message; its `bytes` fields are slices of `encoded`.
    pub fn decode(encoded: Bytes) -> Result<Kept<M>, prost::DecodeError> {
        Ok(Kept { message: M::decode(encoded.clone())?, encoded: Some(encoded), unknown: vec![] })
    }

    /// A new message.
    pub fn new(message: M) -> Kept<M> {
        Kept { message, encoded: None, unknown: vec![] }
    }

    /// Whether it is still as it was read.
    pub fn is_verbatim(&self) -> bool {
        self.encoded.is_some()
    }
}

impl<M: Described> Kept<M> {
    /// The message, to change it: it will be encoded anew, in front of the fields that the schema does not know.
    pub fn change(&mut self) -> &mut M {
        if let Some(encoded) = self.encoded.take() {
            let unknown = |f: &wire::Field| M::SCHEMA.part(f.number).is_none();
            self.unknown = Fields::new(&encoded).flatten().filter(unknown).map(|f| f.record).collect();
        }
        &mut self.message
    }

    /// Bytes that it takes.
    pub fn encoded_len(&self) -> u64 {
        match &self.encoded {
            Some(encoded) => encoded.len() as u64,
            None => self.message.encoded_len() as u64 + self.unknown.iter().map(|f| f.len() as u64).sum::<u64>(),
        }
    }

    /// Writes it. Raw elements of a tensor are not copied on the way.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(encoded) = &self.encoded {
            return out.write_all(encoded);
        }
        match self.message.bulk() {
            Some((number, bytes, rest)) => {
                out.write_all(&rest.encode_to_vec())?;
                out.write_all(&wire::header(number, bytes.len()))?;
                out.write_all(&bytes)?;
            }
            None => out.write_all(&self.message.encode_to_vec())?,
        }
        self.unknown.iter().try_for_each(|field| out.write_all(field))
    }
}

impl Kept<NodeProto> {
    /// Lets the node read and make values of other names. Nothing else of its bytes changes.
    pub fn rewire(&mut self, input: Vec<String>, output: Vec<String>) {
        const WIRES: [u32; 2] = [1, 2];
        if let Some(encoded) = self.encoded.take() {
            let wires = NodeProto { input: input.clone(), output: output.clone(), ..NodeProto::default() };
            let mut anew = wires.encode_to_vec();
            let rest = Fields::new(&encoded).flatten().filter(|f| !WIRES.contains(&f.number));
            rest.for_each(|field| anew.extend_from_slice(&field.record));
            self.encoded = Some(anew.into());
        }
        (self.message.input, self.message.output) = (input, output);
    }
}

impl Kept<TensorProto> {
    /// Decodes a tensor. Elements that stand in the file as little-endian numbers in a field of their own are decoded
    /// as the raw data that they are, without a copy.
    pub(crate) fn decode_tensor(encoded: Bytes) -> Result<Kept<TensorProto>, prost::DecodeError> {
        const FLOATS: u32 = 4;
        const DOUBLES: u32 = 10;
        let fields: Vec<_> = Fields::new(&encoded).flatten().collect();
        let mut large = fields.iter().filter(|f| f.delimited && matches!(f.number, FLOATS | DOUBLES));
        let (Some(elements), None) = (large.next(), large.next()) else { return Kept::decode(encoded) };
        let rest: Vec<u8> =
            fields.iter().filter(|f| f.number != elements.number).flat_map(|f| f.record.clone()).collect();
        let mut message = TensorProto::decode(Bytes::from(rest))?;
        let types = if elements.number == FLOATS { [1, 14] } else { [11, 15] };
        let alone = message.raw_data.is_none() && message.float_data.is_empty() && message.double_data.is_empty();
        if !alone || !types.contains(&message.data_type()) || elements.payload.is_empty() {
            return Kept::decode(encoded);
        }
        message.raw_data = Some(elements.payload.clone());
        Ok(Kept { message, encoded: Some(encoded), unknown: vec![] })
    }
}

impl<M> Deref for Kept<M> {
    type Target = M;
    fn deref(&self) -> &M {
        &self.message
    }
}

impl<M: Message + Default> From<M> for Kept<M> {
    fn from(message: M) -> Kept<M> {
        Kept::new(message)
    }
}
