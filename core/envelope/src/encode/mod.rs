//! From rows to bytes.

pub(crate) mod avro;
pub(crate) mod conversion;
pub(crate) mod emit;
pub(crate) mod json;
pub(crate) mod row;
