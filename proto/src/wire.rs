//! The outermost level of a protobuf message: which bytes belong to which field.

use bytes::Bytes;

/// One field as it stands in the file.
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

/// Splits a message into its fields, without copying.
pub(crate) fn fields(message: &Bytes) -> Result<Vec<Field>, String> {
    let (mut fields, mut at) = (Vec::new(), 0);
    while at < message.len() {
        let start = at;
        let key = varint(message, &mut at)?;
        let number = u32::try_from(key >> 3).ok().filter(|n| *n > 0).ok_or("a field number is out of range")?;
        let mut payload = Bytes::new();
        match key & 7 {
            0 => drop(varint(message, &mut at)?),
            1 => skip(message, &mut at, 8)?,
            5 => skip(message, &mut at, 4)?,
            2 => {
                let length = usize::try_from(varint(message, &mut at)?).map_err(|_| "a length is out of range")?;
                let begin = at;
                skip(message, &mut at, length)?;
                payload = message.slice(begin..at);
            }
            kind => return Err(format!("wire type {kind} at byte {start} is not one that ONNX uses")),
        }
        fields.push(Field { number, payload, record: message.slice(start..at), delimited: key & 7 == 2 });
    }
    Ok(fields)
}

fn skip(message: &Bytes, at: &mut usize, length: usize) -> Result<(), String> {
    let end = at.checked_add(length).filter(|end| *end <= message.len());
    *at = end.ok_or_else(|| format!("{length} bytes are announced at byte {at}, {} are left", message.len() - *at))?;
    Ok(())
}

fn varint(message: &Bytes, at: &mut usize) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = *message.get(*at).ok_or("the file breaks off inside a number")?;
        *at += 1;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number has more than ten bytes".to_owned())
}

/// The key and length of a length-delimited field.
pub(crate) fn header(number: u32, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(15);
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(length as u64, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_split_and_records_hold_every_byte() {
        let message = Bytes::from_static(&[8, 150, 1, 18, 2, 7, 7, 29, 1, 2, 3, 4]);
        let fields = fields(&message).unwrap();
        assert_eq!(fields.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(fields[1].payload, &[7u8, 7][..]);
        assert_eq!(fields.iter().map(|f| f.record.len()).sum::<usize>(), message.len());
    }

    #[test]
    fn what_breaks_off_is_an_error() {
        for bad in [&[18u8, 5, 1][..], &[8], &[8, 255], &[11, 1], &[0, 1], &[255; 12]] {
            assert!(fields(&Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }
}
