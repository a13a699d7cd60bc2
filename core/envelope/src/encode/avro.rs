//! Avro binary.

use super::emit::{Emit, Prepared};

/// Appends Avro to a buffer.
pub(crate) struct AvroOut<'a>(pub(crate) &'a mut Vec<u8>);

impl AvroOut<'_> {
    /// Zigzag and seven bits a byte, the lowest first.
    fn long(&mut self, value: i64) {
        let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
        while rest >= 0x80 {
            self.0.push(low(rest) | 0x80);
            rest >>= 7;
        }
        self.0.push(low(rest));
    }

    fn length(&mut self, length: usize) {
        self.long(i64::try_from(length).unwrap_or(i64::MAX));
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the low byte is what is asked for")]
fn low(number: u64) -> u8 {
    number as u8
}

impl Emit for AvroOut<'_> {
    fn null(&mut self, branch: u8) {
        self.0.push(branch << 1);
    }

    fn some(&mut self, branch: u8) {
        self.0.push(branch << 1);
    }

    fn boolean(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    fn int(&mut self, value: i64) {
        self.long(value);
    }

    fn float32(&mut self, value: f32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn float64(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.0.extend_from_slice(value);
    }

    fn decimal(&mut self, unscaled: &[u8], _: u8) {
        self.bytes(unscaled);
    }

    fn list(&mut self, len: usize) {
        if len > 0 {
            self.length(len);
        }
    }

    fn item(&mut self, _: usize) {}

    fn list_end(&mut self, _: usize) {
        self.0.push(0);
    }

    fn map(&mut self, len: usize) {
        self.list(len);
    }

    fn map_key(&mut self, _: usize, key: &str) {
        self.text(key);
    }

    fn map_end(&mut self, len: usize) {
        self.list_end(len);
    }

    fn record(&mut self) {}

    fn field(&mut self, _: usize, _: &str) {}

    fn record_end(&mut self) {}

    fn prepared(&mut self, prepared: &Prepared) {
        self.0.extend_from_slice(&prepared.avro);
    }
}
