//! From bytes back to changes.
//!
//! ```text
//! writer's schema ── Node ── columns ── TableReader
//! key, value, headers ── TableReader::read ── Decoded
//! ```
//!
//! A row that was read is a slice of its message; the decoder of a column reads the cell in the notation of the message
//! and gives the value that the source's own decoder would give.

pub(crate) mod avro;
mod cells;
pub(crate) mod document;
mod envelope;
mod input;
mod json;
mod message;
mod node;
mod order;
mod passed_over;
mod placeholder;
mod reader;
mod rewrite;
mod shape;

pub use message::{Decoded, Incoming};
pub use reader::TableReader;
