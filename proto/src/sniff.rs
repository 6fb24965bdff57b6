//! What a file is, where it plainly is no ONNX model.

/// First bytes of other formats.
const OTHERS: [(&[u8], &str); 20] = [
    (b"<!DOCTYPE", "a web page: the download failed, perhaps"),
    (b"<!doctype", "a web page: the download failed, perhaps"),
    (b"<html", "a web page: the download failed, perhaps"),
    (b"<?xml", "an XML file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive (a PyTorch file, perhaps: export it to ONNX first)"),
    (b"\x80\x02", "a Python pickle (a PyTorch file, perhaps: export it to ONNX first)"),
    (b"\x80\x03", "a Python pickle (a PyTorch file, perhaps: export it to ONNX first)"),
    (b"\x80\x04", "a Python pickle (a PyTorch file, perhaps: export it to ONNX first)"),
    (b"\x80\x05", "a Python pickle (a PyTorch file, perhaps: export it to ONNX first)"),
    (b"\x89HDF", "an HDF5 file (a Keras model, perhaps: export it to ONNX first)"),
    (b"\x1f\x8b", "a gzip file: unpack it first"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF file, which holds weights without a graph"),
    (b"version https://git-lfs", "a git LFS pointer: fetch the file itself first (`git lfs pull`)"),
    (b"\x7fELF", "a program or library"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file: unpack it first"),
];

/// What the bytes begin like, if that is no ONNX model.
pub(crate) fn other_format(bytes: &[u8]) -> Option<&'static str> {
    let magic = OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic));
    match (magic, bytes.get(4..8)) {
        (Some((_, what)), _) => Some(what),
        (_, Some(b"TFL3")) => Some("a TensorFlow Lite model"),
        (_, Some(b"ORTM")) => Some("a model in onnxruntime's own format: take the .onnx file that it was made from"),
        _ if is_safetensors(bytes) => Some("a safetensors file, which holds weights without a graph"),
        _ => None,
    }
}

/// Whether the bytes begin like text. A model could by chance: ask only when it cannot be read.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    let start = bytes.get(..512).unwrap_or(bytes);
    let valid = start.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    // A character may be cut off at the end of what is looked at.
    let whole = !start.is_empty() && valid.len() + 3 >= start.len();
    whole && !valid.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

/// A length of eight bytes, then JSON.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    length > 2 && length <= rest.len() as u64 && rest.starts_with(b"{\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        assert!(other_format(b"\x89PNG\r\n").is_some_and(|what| what.contains("PNG")));
        assert!(other_format(b"\x0b\0\0\0\0\0\0\0{\"a\":{}}   ").is_some_and(|what| what.contains("safetensors")));
        assert_eq!(other_format(b"\x08\x08\x12\x07pytorch"), None);
        assert!(is_text(b"<!DOCTYPE html>\n") && !is_text(b"\x08\x08\x12") && !is_text(b"") && !is_text(&[0xff; 64]));
    }
}
