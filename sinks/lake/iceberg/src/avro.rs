//! Writes Avro object containers, as manifests and manifest lists are.
//!
//! A file is one uncompressed block of records that are encoded already: a commit rewrites hundreds of entries, and
//! carrying them as bytes is about a hundred times cheaper than building values.

use uuid::Uuid;

pub(crate) const MAGIC: &[u8; 4] = b"Obj\x01";

/// Appends an `int` or `long`.
#[allow(clippy::cast_possible_truncation, reason = "seven bits")]
pub(crate) fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a number of things in memory, of which there are fewer than 2^63.
fn count(out: &mut Vec<u8>, value: usize) {
    long(out, i64::try_from(value).unwrap_or(i64::MAX));
}

/// Appends `bytes`, or a `string`.
pub(crate) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    count(out, value.len());
    out.extend_from_slice(value);
}

/// Appends a value of a union of `null` and another type.
pub(crate) fn optional<T>(out: &mut Vec<u8>, value: Option<T>, encode: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => long(out, 0),
        Some(value) => {
            long(out, 1);
            encode(out, value);
        }
    }
}

/// Appends an array.
pub(crate) fn array<T>(out: &mut Vec<u8>, items: &[T], encode: impl Fn(&mut Vec<u8>, &T)) {
    if !items.is_empty() {
        count(out, items.len());
        for item in items {
            encode(out, item);
        }
    }
    long(out, 0);
}

/// A whole file of records that are encoded one behind the other in `body`.
pub(crate) fn container(schema: &str, metadata: &[(&str, String)], records: usize, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + schema.len() + 4096);
    out.extend_from_slice(MAGIC);
    count(&mut out, metadata.len() + 2);
    bytes(&mut out, b"avro.schema");
    bytes(&mut out, schema.as_bytes());
    bytes(&mut out, b"avro.codec");
    bytes(&mut out, b"null");
    for (key, value) in metadata {
        bytes(&mut out, key.as_bytes());
        bytes(&mut out, value.as_bytes());
    }
    long(&mut out, 0);
    let sync = *Uuid::new_v4().as_bytes();
    out.extend_from_slice(&sync);
    if records > 0 {
        count(&mut out, records);
        bytes(&mut out, body);
        out.extend_from_slice(&sync);
    }
    out
}
