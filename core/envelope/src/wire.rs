//! The five bytes in front of Avro: a zero, and the schema's id at the registry.

use bytes::Bytes;
use walbrook_model::{Error, Result};

/// Writes the header.
pub(crate) fn write_wire_header(id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.to_be_bytes());
}

/// The schema's id, and the Avro behind it.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if the bytes do not begin with such a header.
pub fn split_wire_header(message: &Bytes) -> Result<(u32, Bytes)> {
    match message.get(..5) {
        Some([0, id @ ..]) => {
            let id = id.try_into().map_err(|_| Error::bug("four bytes are not four"))?;
            Ok((u32::from_be_bytes(id), message.slice(5..)))
        }
        _ => Err(Error::data("a message does not begin with a schema's id")),
    }
}
