//! Messages that remember their bytes.

use std::io::{self, Write};
use std::ops::Deref;

use bytes::Bytes;
use prost::Message;

/// A message and, as long as nobody changes it, the bytes that it was decoded from: written back verbatim, with the
/// fields that this schema does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<M> {
    message: M,
    encoded: Option<Bytes>,
}

impl<M: Message + Default> Kept<M> {
    /// Decodes a message; its `bytes` fields are slices of `encoded`.
    pub fn decode(encoded: Bytes) -> Result<Kept<M>, prost::DecodeError> {
        Ok(Kept { message: M::decode(encoded.clone())?, encoded: Some(encoded) })
    }

    /// A new message.
    pub fn new(message: M) -> Kept<M> {
        Kept { message, encoded: None }
    }

    /// The message, to change it: it will be encoded anew.
    pub fn change(&mut self) -> &mut M {
        self.encoded = None;
        &mut self.message
    }

    /// Whether it is still as it was read.
    pub fn is_verbatim(&self) -> bool {
        self.encoded.is_some()
    }

    /// Bytes that it takes.
    pub fn encoded_len(&self) -> usize {
        self.encoded.as_ref().map_or_else(|| self.message.encoded_len(), Bytes::len)
    }

    /// Writes it.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match &self.encoded {
            Some(encoded) => out.write_all(encoded),
            None => out.write_all(&self.message.encode_to_vec()),
        }
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
