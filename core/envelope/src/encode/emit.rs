//! What a message is written with: one set of calls, three notations.

/// Appends values to a buffer in the order of their schema.
///
/// A record's fields come in the order of its schema, each announced by its name; a value of an optional schema is
/// announced by [`Emit::some`] or is [`Emit::null`], with the branch of the union that it is.
pub(crate) trait Emit {
    fn null(&mut self, branch: u8);
    fn some(&mut self, branch: u8);
    fn boolean(&mut self, value: bool);
    fn int(&mut self, value: i64);
    fn float32(&mut self, value: f32);
    fn float64(&mut self, value: f64);
    fn text(&mut self, value: &str);
    fn bytes(&mut self, value: &[u8]);
    /// An exact number: its unscaled bytes, and the digits behind the point.
    fn decimal(&mut self, unscaled: &[u8], scale: u8);
    fn list(&mut self, len: usize);
    /// Before each element, and each pair of a map.
    fn item(&mut self, index: usize);
    fn list_end(&mut self, len: usize);
    fn map(&mut self, len: usize);
    fn map_key(&mut self, index: usize, key: &str);
    fn map_end(&mut self, len: usize);
    fn record(&mut self);
    /// `name` is a JSON string with its quotes.
    fn field(&mut self, index: usize, name: &str);
    fn record_end(&mut self);
    /// Bytes that were written by the same notation before.
    fn prepared(&mut self, prepared: &Prepared);
}

/// A value that is the same in every message, written once in each notation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) avro: Vec<u8>,
    pub(crate) json: Vec<u8>,
}
