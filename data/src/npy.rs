//! One array in NumPy's format: a magic, a header that is a Python dictionary, the elements.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::array::{Array, ArrayError, Element};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read: NumPy itself warns past 10 000 bytes.
const HEADER_LIMIT: u32 = 1 << 16;

/// (NumPy's kind and size, type)
const TYPES: [(&str, Element); 13] = [
    ("f4", Element::F32),
    ("f8", Element::F64),
    ("f2", Element::F16),
    ("i1", Element::I8),
    ("i2", Element::I16),
    ("i4", Element::I32),
    ("i8", Element::I64),
    ("u1", Element::U8),
    ("u2", Element::U16),
    ("u4", Element::U32),
    ("u8", Element::U64),
    ("b1", Element::Bool),
    ("?", Element::Bool),
];

#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

/// Reads one array; `name` is for messages.
pub(crate) fn read(mut from: impl Read, name: &str, path: &Path, limit: usize) -> Result<Array, ArrayError> {
    let malformed = |message| ArrayError::Malformed { path: path.to_owned(), message };
    let text = header_text(&mut from).map_err(|e| malformed(format!("{name} is no NumPy array: {e}")))?;
    let header = parse(&text).ok_or_else(|| malformed(format!("the header of {name} is not readable: {text}")))?;
    let element = element(&header.descr).ok_or_else(|| ArrayError::Type {
        path: path.to_owned(),
        array: name.to_owned(),
        descr: header.descr.clone(),
    })?;
    let needed = Array::count(&header.shape).and_then(|n| n.checked_mul(element.width())).unwrap_or(usize::MAX);
    if needed > limit {
        return Err(ArrayError::TooLarge { path: path.to_owned(), array: name.to_owned(), needed, limit });
    }
    let bytes = body(from, needed).map_err(|e| malformed(format!("{name} {:?} is cut off: {e}", header.shape)))?;
    let bytes = native(bytes, &header, element.width());
    Ok(Array { element, shape: header.shape, bytes })
}

/// Writes one array in NumPy's format 1.0. NumPy has no `bf16`: it is refused.
pub fn write(mut to: impl Write, array: &Array) -> io::Result<()> {
    let row = TYPES.iter().find(|row| row.1 == array.element).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("NumPy has no counterpart of the type {:?}", array.element))
    })?;
    let order = if row.0.ends_with('1') { '|' } else { '<' };
    let sizes: Vec<_> = array.shape.iter().map(usize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    let sizes = sizes.join(", ");
    let dictionary = format!("{{'descr': '{order}{}', 'fortran_order': False, 'shape': ({sizes}{comma}), }}", row.0);
    let padded = (10 + dictionary.len() + 1).next_multiple_of(64) - 10;
    let length = u16::try_from(padded).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    to.write_all(MAGIC)?;
    to.write_all(&[1, 0])?;
    to.write_all(&length.to_le_bytes())?;
    writeln!(to, "{dictionary:<width$}", width = padded - 1)?;
    to.write_all(&array.bytes)
}

fn header_text(from: &mut impl Read) -> io::Result<String> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut start = [0; 8];
    from.read_exact(&mut start)?;
    if &start[..6] != MAGIC {
        return Err(invalid("the first bytes are not NumPy's"));
    }
    let mut length = [0; 4];
    let width = if start[6] == 1 { 2 } else { 4 };
    from.read_exact(&mut length[..width])?;
    let length = u32::from_le_bytes(length);
    if !(1..=3).contains(&start[6]) || length > HEADER_LIMIT {
        return Err(invalid("its version or the length of its header is unknown"));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text)?;
    String::from_utf8(text).map_err(|_| invalid("its header is not text"))
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, keys in any order.
fn parse(text: &str) -> Option<Header> {
    let descr = after(text, "descr")?;
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let descr = match quote {
        Some(quote) => descr[1..].split(quote).next()?,
        None => descr.split("'fortran_order'").next()?.trim().trim_end_matches(','),
    };
    let fortran = after(text, "fortran_order")?;
    let sizes = after(text, "shape")?.strip_prefix('(')?.split(')').next()?;
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = sizes.map(|size| size.trim_end_matches('L').parse().ok()).collect::<Option<_>>()?;
    let fortran = fortran.starts_with("True") || !fortran.starts_with("False").then_some(true)?;
    Some(Header { descr: descr.to_owned(), fortran, shape })
}

/// What stands behind a key and its colon.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let single = format!("'{key}'");
    let double = format!("\"{key}\"");
    let (_, rest) = text.split_once(&single).or_else(|| text.split_once(&double))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

fn element(descr: &str) -> Option<Element> {
    let kind = descr.trim_start_matches(['<', '>', '|', '=']);
    TYPES.iter().find(|row| row.0 == kind).map(|row| row.1)
}

/// Reads `needed` bytes without trusting the number: memory grows with what is there.
fn body(from: impl Read, needed: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(needed.min(1 << 24));
    from.take(needed as u64).read_to_end(&mut bytes)?;
    if bytes.len() < needed {
        let message = format!("{needed} bytes are announced, {} are there", bytes.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    Ok(bytes)
}

/// Little endian and row-major.
fn native(mut bytes: Vec<u8>, header: &Header, width: usize) -> Vec<u8> {
    if header.descr.starts_with('>') {
        bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    if header.fortran && header.shape.len() > 1 { row_major(&bytes, &header.shape, width) } else { bytes }
}

/// Elements that are stored with the first index running fastest, in row-major order.
fn row_major(bytes: &[u8], shape: &[usize], width: usize) -> Vec<u8> {
    let mut strides = vec![1; shape.len()];
    (1..shape.len()).for_each(|axis| strides[axis] = strides[axis - 1] * shape[axis - 1]);
    let (mut index, mut out) = (vec![0; shape.len()], Vec::with_capacity(bytes.len()));
    for _ in 0..bytes.len() / width {
        let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        out.extend_from_slice(&bytes[at * width..(at + 1) * width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(header: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        bytes
    }

    fn load(header: &str, body: &[u8]) -> Result<Array, ArrayError> {
        read(array(header, body).as_slice(), "x", Path::new("x.npy"), 1 << 20)
    }

    #[test]
    fn fortran_order_and_big_endian_are_turned() {
        let array =
            load("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n", &[0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6]);
        assert_eq!(array.unwrap().to_f32(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn hostile_headers_are_refused() {
        let refused = [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 16), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
            &"[".repeat(60_000),
            "",
        ];
        refused.iter().for_each(|header| assert!(load(header, &[0; 4]).is_err(), "{header}"));
        assert!(read(&b"\x93NUMPY\x02\0\xff\xff\xff\xff"[..], "x", Path::new("x"), 1 << 20).is_err());
        assert!(read(&b""[..], "x", Path::new("x"), 1 << 20).is_err());
    }

    #[test]
    fn scalars_and_empty_arrays_have_their_shapes() {
        assert!(load("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", &[0; 4]).unwrap().shape.is_empty());
        assert_eq!(load("{'shape': (0, 3), 'fortran_order': True, 'descr': \"<f4\"}", &[]).unwrap().shape, [0, 3]);
    }
}
