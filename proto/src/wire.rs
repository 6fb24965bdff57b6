//! The outermost level of a protobuf message: which bytes belong to which field.

use bytes::Bytes;

/// One field as it stands in the file.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Field number.
    pub number: u32,
    /// The content of a length-delimited field; empty for the others.
    pub payload: Bytes,
    /// Key, length and content.
    pub record: Bytes,
    /// Whether the field is length-delimited.
    pub delimited: bool,
}

/// Why a message does not split into fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Number of the field that is broken, where that much can be read.
    pub number: Option<u32>,
    /// What is wrong.
    pub reason: String,
}

/// The fields of a message, one after the other, without copying.
pub(crate) struct Fields<'a> {
    message: &'a Bytes,
    spans: Spans<'a>,
}

impl<'a> Fields<'a> {
    pub fn new(message: &'a Bytes) -> Fields<'a> {
        Fields { message, spans: Spans::new(message) }
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        self.spans.next().map(|span| {
            let Span { number, start, payload, end, delimited } = span?;
            let record = self.message.slice(start..end);
            let payload = if delimited { self.message.slice(payload..end) } else { Bytes::new() };
            Ok(Field { number, payload, record, delimited })
        })
    }
}

/// Where a field stands in its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Field number.
    pub number: u32,
    /// Where its key begins.
    pub start: usize,
    /// Where its content begins.
    pub payload: usize,
    /// Where it ends.
    pub end: usize,
    /// Whether the field is length-delimited.
    pub delimited: bool,
}

/// The places of a message's fields; ends behind the first that is broken.
pub(crate) struct Spans<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Spans<'a> {
    pub fn new(message: &'a [u8]) -> Spans<'a> {
        Spans { message, at: 0 }
    }

    fn span(&mut self) -> Result<Span, Broken> {
        let start = self.at;
        let key = self.varint().map_err(|reason| Broken { number: None, reason })?;
        let number = u32::try_from(key >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let broken = |reason: String| Broken { number, reason };
        let field = number.ok_or_else(|| broken(format!("byte {start} gives a field number that is none")))?;
        let mut payload = self.at;
        match key & 7 {
            0 => self.varint().map(drop).map_err(broken)?,
            1 => self.skip(8).map_err(broken)?,
            5 => self.skip(4).map_err(broken)?,
            2 => {
                let length = self.varint().map_err(broken)?;
                payload = self.at;
                self.skip(length).map_err(broken)?;
            }
            kind => return Err(broken(format!("byte {start} gives wire type {kind}, which ONNX does not use"))),
        }
        Ok(Span { number: field, start, payload, end: self.at, delimited: key & 7 == 2 })
    }

    fn skip(&mut self, length: u64) -> Result<(), String> {
        let left = self.message.len() - self.at;
        let length = usize::try_from(length).ok().filter(|length| *length <= left).ok_or_else(|| {
            format!("it breaks off: byte {} announces {length} bytes, only {left} are there", self.at)
        })?;
        self.at += length;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, String> {
        let (mut value, start) = (0u64, self.at);
        for shift in (0..70).step_by(7) {
            let byte = *self.message.get(self.at).ok_or("it breaks off inside a number")?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(format!("the number at byte {start} has more than ten bytes"))
    }
}

impl Iterator for Spans<'_> {
    type Item = Result<Span, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let span = self.span();
        if span.is_err() {
            self.at = self.message.len();
        }
        Some(span)
    }
}

/// The key and length of a length-delimited field.
pub(crate) fn header(number: u32, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(15);
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(length as u64, &mut out);
    out
}

/// Bytes that a length-delimited field takes.
pub(crate) fn delimited_len(number: u32, length: u64) -> u64 {
    let key = prost::encoding::key_len(number) + prost::encoding::encoded_len_varint(length);
    length.saturating_add(key as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(message: &[u8]) -> Result<Vec<Field>, Broken> {
        Fields::new(&Bytes::copy_from_slice(message)).collect()
    }

    #[test]
    fn fields_split_and_records_hold_every_byte() {
        let fields = split(&[8, 150, 1, 18, 2, 7, 7, 29, 1, 2, 3, 4]).unwrap();
        assert_eq!(fields.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(fields[1].payload, &[7u8, 7][..]);
        assert_eq!(fields.iter().map(|f| f.record.len()).sum::<usize>(), 12);
    }

    #[test]
    fn what_breaks_off_is_an_error() {
        for bad in [&[18u8, 5, 1][..], &[8], &[8, 255], &[11, 1], &[0, 1], &[255; 12]] {
            assert!(split(bad).is_err(), "{bad:?}");
        }
        assert_eq!(split(&[8, 1, 18, 5, 1]).unwrap_err().number, Some(2));
    }

    #[test]
    fn lengths_are_those_of_what_is_written() {
        for (number, length) in [(1, 0), (15, 127), (16, 128), (25, 1 << 20)] {
            assert_eq!(delimited_len(number, length), header(number, length as usize).len() as u64 + length);
        }
    }
}
