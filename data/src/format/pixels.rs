//! Pictures that stand at regular places in the bytes of a file.

use std::path::Path;
use std::sync::Arc;

use crate::array::Array;
use crate::bytes::Bytes;
use crate::error::DataError;
use crate::picture::{Picture, Pictures};

/// Where the bytes of a picture stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub order: Axes,
}

/// The order of axes, the innermost last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Axes {
    /// Channel, row, column.
    Chw,
    /// Row, column, channel.
    Hwc,
    /// Channel, column, row.
    Cwh,
}

impl Layout {
    /// The layout of pictures of this shape, if it is one of pictures.
    pub fn of(shape: &[usize]) -> Option<Layout> {
        let layout = |channels, height, width, order| Layout { channels, height, width, order };
        match *shape {
            [h, w] if h > 1 && w > 1 => Some(layout(1, h, w, Axes::Chw)),
            [h, w, c @ (1 | 3)] => Some(layout(c, h, w, Axes::Hwc)),
            [c @ (1 | 3), h, w] => Some(layout(c, h, w, Axes::Chw)),
            _ => None,
        }
    }

    fn bytes(self) -> Option<usize> {
        Array::count(&[self.channels, self.height, self.width])
    }
}

/// Pictures at equal distances in bytes.
#[derive(Debug)]
pub(super) struct Pixels {
    bytes: Arc<Bytes>,
    from: usize,
    count: usize,
    stride: usize,
    size: usize,
    layout: Layout,
}

impl Pixels {
    /// Pictures one behind the other from `from` on; checks that they are there.
    pub fn new(path: &Path, bytes: Arc<Bytes>, from: usize, count: usize, layout: Layout) -> Result<Pixels, DataError> {
        let size = layout.bytes().filter(|size| *size > 0);
        let end = size.and_then(|size| size.checked_mul(count)).and_then(|all| all.checked_add(from));
        match (size, end) {
            (Some(size), Some(end)) if end <= bytes.len() => {
                Ok(Pixels { bytes, from, count, stride: size, size, layout })
            }
            _ => {
                let message = format!("{count} pictures of {layout:?} do not fit into {} bytes", bytes.len());
                Err(DataError::malformed(path, "pictures", message))
            }
        }
    }

    /// The pictures of records of a fixed size, each at the end of its record; the bytes before them, record by record.
    pub fn of_records(
        path: &Path,
        bytes: Arc<Bytes>,
        head: usize,
        layout: Layout,
    ) -> Result<(Pixels, Vec<Vec<u8>>), DataError> {
        let size = layout.bytes().unwrap_or(usize::MAX);
        let stride = size.saturating_add(head);
        if bytes.is_empty() || !bytes.len().is_multiple_of(stride) {
            let message = format!("{} bytes are not records of {stride} bytes", bytes.len());
            return Err(DataError::malformed(path, "records", message));
        }
        let heads = bytes.chunks_exact(stride).map(|record| record[..head].to_vec()).collect();
        let count = bytes.len() / stride;
        Ok((Pixels { bytes, from: head, count, stride, size, layout }, heads))
    }
}

impl Pictures for Pixels {
    fn len(&self) -> usize {
        self.count
    }

    fn shape(&self) -> Option<[usize; 3]> {
        let Layout { channels, height, width, .. } = self.layout;
        Some([channels, height, width])
    }

    fn read(&self, index: usize, into: &mut Picture) -> Result<(), DataError> {
        let Layout { channels, height, width, order } = self.layout;
        let bytes = &self.bytes[self.from + index * self.stride..][..self.size];
        let area = height * width;
        (into.channels, into.height, into.width) = (channels, height, width);
        into.pixels.clear();
        match order {
            Axes::Hwc => into.pixels.extend_from_slice(bytes),
            Axes::Chw if channels == 1 => into.pixels.extend_from_slice(bytes),
            Axes::Chw => into.pixels.extend((0..area).flat_map(|at| (0..channels).map(move |c| bytes[c * area + at]))),
            Axes::Cwh => {
                let places = (0..height).flat_map(|row| (0..width).map(move |column| column * height + row));
                into.pixels.extend(places.flat_map(|at| (0..channels).map(move |c| bytes[c * area + at])));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_whole_and_axes_are_turned() {
        let layout = |order| Layout { channels: 3, height: 2, width: 1, order };
        let open =
            |bytes: Vec<u8>, order| Pixels::of_records(Path::new("x"), Bytes::Unpacked(bytes).into(), 1, layout(order));
        let bytes: Vec<u8> = (0..14).collect();
        let (pixels, heads) = open(bytes, Axes::Chw).unwrap();
        assert_eq!((heads, pixels.len()), (vec![vec![0], vec![7]], 2));
        let mut picture = Picture::default();
        pixels.read(1, &mut picture).unwrap();
        assert_eq!(picture.pixels, [8, 10, 12, 9, 11, 13]);
        let wide = Layout { channels: 1, height: 2, width: 3, order: Axes::Cwh };
        let columns = Pixels::new(Path::new("x"), Bytes::Unpacked(vec![1, 2, 3, 4, 5, 6]).into(), 0, 1, wide).unwrap();
        columns.read(0, &mut picture).unwrap();
        assert_eq!(picture.pixels, [1, 3, 5, 2, 4, 6]);
        assert!(open(vec![0; 13], Axes::Chw).is_err() && open(vec![], Axes::Chw).is_err());
        assert!(Pixels::new(Path::new("x"), Bytes::Unpacked(vec![0; 5]).into(), 0, 1, wide).is_err());
    }
}
