//! Event files for TensorBoard: records of protocol buffers, each framed by its length and checksums.
//!
//! The time of an event is the number of its step, in seconds: the same run gives the same bytes.

use prost::Message;

/// The name of the file; TensorBoard looks for `tfevents`.
pub(super) const NAME: &str = "events.out.tfevents.0.hanc";

/// `tensorflow.Event`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Steps that were taken.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// `brain.Event:2` in the first event of a file.
    #[prost(string, optional, tag = "3")]
    pub file_version: Option<String>,
    /// The numbers.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Numbers>,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
pub struct Numbers {
    /// One for each curve.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Number>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct Number {
    /// The curve, `train/loss`.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// The number.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
}

/// The record that a file begins with.
pub(super) fn first() -> Vec<u8> {
    record(&Event { file_version: Some("brain.Event:2".into()), ..Event::default() })
}

/// A record of the numbers at a step.
pub(super) fn numbers(step: u64, numbers: impl IntoIterator<Item = (String, f64)>) -> Vec<u8> {
    let number = |(tag, value)| Number { tag, simple_value: Some(value as f32) };
    let summary = Some(Numbers { value: numbers.into_iter().map(number).collect() });
    record(&Event { wall_time: step as f64, step: step as i64, file_version: None, summary })
}

/// Length, its checksum, the message, its checksum.
fn record(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), &message, &masked(&message).to_le_bytes()].concat()
}

/// The checksum of records: CRC-32C, rotated and shifted so that a checksum of checksums is not degenerate.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// The remainder of each byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            // Castagnoli's polynomial, its bits reversed.
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of RFC 3720, appendix B.4.
    #[test]
    fn checksums_match_published_ones() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(&descending), 0x113f_db5c);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// The first record of every event file of TensorFlow but for its time.
    #[test]
    fn the_first_record_is_framed_as_others_frame_it() {
        let bytes = first();
        assert_eq!(bytes[..8], 15u64.to_le_bytes());
        assert_eq!(bytes[12..27], *b"\x1a\x0dbrain.Event:2");
        assert_eq!(bytes[8..12], masked(&bytes[..8]).to_le_bytes());
        assert_eq!(bytes[27..], masked(&bytes[12..27]).to_le_bytes());
    }

    #[test]
    fn numbers_decode_to_what_was_written() {
        let bytes = numbers(7, [("train/loss".to_owned(), 0.5)]);
        let event = Event::decode(&bytes[12..bytes.len() - 4]).expect("a message");
        assert_eq!((event.step, event.wall_time), (7, 7.0));
        let value = Number { tag: "train/loss".into(), simple_value: Some(0.5) };
        assert_eq!(event.summary.map(|summary| summary.value), Some(vec![value]));
    }
}
