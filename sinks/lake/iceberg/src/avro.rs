//! Avro object containers: all that Iceberg's manifests and manifest lists need of the format.
//!
//! Files are written by the few lines below, as one uncompressed block of records that are already encoded: a commit
//! rewrites hundreds of entries, and carrying them as bytes is about a hundred times cheaper than building values.
//! They are read with a full decoder, since other writers choose other codecs and field orders.

use apache_avro::Reader;
use apache_avro::types::Value;
use uuid::Uuid;
use walbrook_model::{Error, Result};

const MAGIC: &[u8; 4] = b"Obj\x01";

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

/// The records of a file.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if the bytes are no Avro file of records.
pub(crate) fn records(file: &[u8]) -> Result<Vec<Record>> {
    let corrupt = |error: apache_avro::Error| Error::data("not a readable Avro file").because(error);
    let reader = Reader::new(file).map_err(corrupt)?;
    let mut records = Vec::new();
    for value in reader {
        match value.map_err(corrupt)? {
            Value::Record(fields) => records.push(Record(fields)),
            _ => return Err(Error::data("an Avro file of something else than records")),
        }
    }
    Ok(records)
}

/// A record, whose fields are taken out one by one.
pub(crate) struct Record(Vec<(String, Value)>);

impl Record {
    /// Takes a field; `None` if it is null or the writer does not know it.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(field, _)| field == name)?;
        let value = std::mem::replace(&mut self.0[at].1, Value::Null);
        let value = if let Value::Union(_, inner) = value { *inner } else { value };
        (value != Value::Null).then_some(value)
    }

    /// An integer of either width.
    pub(crate) fn long(&mut self, name: &str) -> Result<Option<i64>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Int(v)) => Ok(Some(i64::from(v))),
            Some(Value::Long(v)) => Ok(Some(v)),
            Some(_) => Err(unexpected(name)),
        }
    }

    /// An integer that counts something.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>> {
        self.long(name)?.map(|v| u64::try_from(v).map_err(|_| unexpected(name))).transpose()
    }

    /// A string.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(v)) => Ok(Some(v)),
            Some(_) => Err(unexpected(name)),
        }
    }

    /// Bytes.
    pub(crate) fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bytes(v) | Value::Fixed(_, v)) => Ok(Some(v)),
            Some(_) => Err(unexpected(name)),
        }
    }

    /// A record.
    pub(crate) fn record(&mut self, name: &str) -> Result<Self> {
        match self.take(name) {
            Some(Value::Record(fields)) => Ok(Self(fields)),
            _ => Err(unexpected(name)),
        }
    }

    /// An array of integers.
    pub(crate) fn longs(&mut self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Array(items) = value else { return Err(unexpected(name)) };
        let each = items.into_iter().map(|item| match item {
            Value::Int(v) => Ok(i64::from(v)),
            Value::Long(v) => Ok(v),
            _ => Err(unexpected(name)),
        });
        each.collect::<Result<_>>().map(Some)
    }

    /// A map from field ids, which Avro can only hold as an array of `key` and `value`.
    pub(crate) fn by_id<T>(
        &mut self,
        name: &str,
        value: impl Fn(&mut Self, &str) -> Result<Option<T>>,
    ) -> Result<Vec<(i32, T)>> {
        let Some(list) = self.take(name) else { return Ok(Vec::new()) };
        let Value::Array(items) = list else { return Err(unexpected(name)) };
        let each = items.into_iter().map(|item| {
            let Value::Record(fields) = item else { return Err(unexpected(name)) };
            let mut pair = Self(fields);
            let key = pair.long("key")?.and_then(|key| i32::try_from(key).ok()).ok_or_else(|| unexpected(name))?;
            let value = value(&mut pair, "value")?.ok_or_else(|| unexpected(name))?;
            Ok((key, value))
        });
        each.collect()
    }
}

/// The error of a field that is missing or is something else.
pub(crate) fn unexpected(name: &str) -> Error {
    Error::data(format!("field {name} is missing or not of its type"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let schema = r#"{"type":"record","name":"r","fields":[{"name":"a","type":"long"},
            {"name":"b","type":["null","string"]},{"name":"c","type":{"type":"array","items":"long"}}]}"#;
        let rows = [(0, None, vec![]), (-1, Some("x"), vec![1, -2]), (i64::MIN, Some(""), vec![i64::MAX])];
        let mut body = Vec::new();
        for (a, b, c) in &rows {
            long(&mut body, *a);
            optional(&mut body, *b, |out, b| bytes(out, b.as_bytes()));
            array(&mut body, c, |out, item| long(out, *item));
        }
        let file = container(schema, &[("k", "v".to_owned())], rows.len(), &body);
        let read: Vec<_> = records(&file).unwrap();
        assert_eq!(read.len(), rows.len());
        for (mut record, (a, b, c)) in read.into_iter().zip(rows) {
            assert_eq!(record.long("a").unwrap(), Some(a));
            assert_eq!(record.string("b").unwrap().as_deref(), b);
            assert_eq!(record.longs("c").unwrap(), Some(c));
        }
        assert!(records(&container(schema, &[], 0, &[])).unwrap().is_empty());
    }

    #[test]
    fn bytes_that_are_no_file_are_an_error() {
        assert!(records(b"").is_err());
        assert!(records(b"Obj\x01garbage").is_err());
    }
}
