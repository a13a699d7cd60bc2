//! What a cell is read with: one set of calls, two notations.

use std::borrow::Cow;

use walbrook_model::{Error, Result};

use crate::hstore::Pair;

/// Reads values one behind the other. No bytes make it panic, and no error quotes them.
pub(crate) trait Input<'a>: Sized {
    fn boolean(&mut self) -> Result<bool>;
    fn int(&mut self) -> Result<i64>;
    fn float32(&mut self) -> Result<f32>;
    fn float64(&mut self) -> Result<f64>;
    fn text(&mut self) -> Result<Cow<'a, str>>;
    fn bytes(&mut self) -> Result<Cow<'a, [u8]>>;
    /// Calls `each` for every element, with `None` for null.
    fn list(&mut self, optional: bool, each: &mut dyn FnMut(Option<&mut Self>) -> Result<()>) -> Result<()>;
    /// The pairs of a map from text to optional text.
    fn map(&mut self) -> Result<Vec<Pair<'a>>>;
    /// A number with its own scale: the scale and the unscaled bytes.
    fn variable_scale(&mut self) -> Result<(i64, Cow<'a, [u8]>)>;
    /// The coordinates of a point.
    fn point(&mut self) -> Result<(f64, f64)>;
    /// Nothing follows.
    fn end(&self) -> Result<()>;
}

#[cold]
pub(crate) fn malformed() -> Error {
    Error::data("a message does not fit its schema")
}
