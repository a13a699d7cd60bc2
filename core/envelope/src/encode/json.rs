//! JSON as Kafka Connect writes it: bytes in base64, floats that are no numbers as strings. And its plain form in the
//! headers of a key change, where decimals are numbers.

use std::io::Write as _;

use super::emit::{Emit, Prepared};
use crate::decimal;
use crate::text::{Alphabet, base64, json_string};

/// Appends JSON to a buffer.
pub(crate) struct JsonOut<'a> {
    out: &'a mut Vec<u8>,
    plain_decimals: bool,
}

impl<'a> JsonOut<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, plain_decimals: false }
    }

    /// As header values are.
    pub(crate) fn for_header(out: &'a mut Vec<u8>) -> Self {
        Self { out, plain_decimals: true }
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.out.push(b',');
        }
    }

    fn special(&mut self, value: f64) -> bool {
        let word: &[u8] = if value.is_nan() {
            b"\"NaN\""
        } else if value == f64::INFINITY {
            b"\"Infinity\""
        } else if value == f64::NEG_INFINITY {
            b"\"-Infinity\""
        } else {
            return false;
        };
        self.out.extend_from_slice(word);
        true
    }
}

impl Emit for JsonOut<'_> {
    fn null(&mut self, _: u8) {
        self.out.extend_from_slice(b"null");
    }

    fn some(&mut self, _: u8) {}

    fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn int(&mut self, value: i64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn float32(&mut self, value: f32) {
        if !self.special(f64::from(value)) {
            let _ = write!(self.out, "{value:?}");
        }
    }

    fn float64(&mut self, value: f64) {
        if !self.special(value) {
            let _ = write!(self.out, "{value:?}");
        }
    }

    fn text(&mut self, value: &str) {
        json_string(self.out, value);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.out.push(b'"');
        base64(self.out, value, Alphabet::Standard);
        self.out.push(b'"');
    }

    fn decimal(&mut self, unscaled: &[u8], scale: u8) {
        let plain = if self.plain_decimals { decimal::to_text(unscaled, i64::from(scale)) } else { None };
        match plain {
            Some(text) => self.out.extend_from_slice(text.as_bytes()),
            None => self.bytes(unscaled),
        }
    }

    fn list(&mut self, _: usize) {
        self.out.push(b'[');
    }

    fn item(&mut self, index: usize) {
        self.comma(index);
    }

    fn list_end(&mut self, _: usize) {
        self.out.push(b']');
    }

    fn map(&mut self, _: usize) {
        self.out.push(b'{');
    }

    fn map_key(&mut self, index: usize, key: &str) {
        self.comma(index);
        json_string(self.out, key);
        self.out.push(b':');
    }

    fn map_end(&mut self, _: usize) {
        self.out.push(b'}');
    }

    fn record(&mut self) {
        self.out.push(b'{');
    }

    fn field(&mut self, index: usize, name: &str) {
        self.comma(index);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b':');
    }

    fn record_end(&mut self) {
        self.out.push(b'}');
    }

    fn prepared(&mut self, prepared: &Prepared) {
        self.out.extend_from_slice(&prepared.json);
    }
}
