//! The identity of a row: its key cells, as 64 or 128 bits.
//!
//! The key index, the graves and the pending changes speak of keys only as [`KeyId`]s. One narrow key (an integer, a
//! boolean, a day, an instant) and a UUID become their identity by a bijection, so two keys never share one. Every other
//! key becomes a 128-bit keyed hash of a canonical encoding: a billion keys collide with odds of about 10^-21.
//!
//! Invariants:
//! - The identity is a function of what the lake stores, so that an index rebuilt from Parquet agrees with the one that
//!   grew from the log: widened integers and floats keep theirs, decimals lose their trailing zeros, a time of day is
//!   the same as its text, -0 is 0 and there is one NaN (as in `PostgreSQL`'s own key comparison).
//! - Both forms are spread evenly over their bits; the index takes its places from the high ones.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use walbrook_model::{ColumnType, Error, Result, Row, TableSchema, Value};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The width of a table's identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// One key column of at most 64 bits: the identity is the low 64 bits, the others are 0.
    Small,
    /// Everything else: 128 bits.
    Wide,
}

/// The identity of a key within its table. Two halves rather than one `u128`, which would be aligned to 16 bytes and pad
/// whatever holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyId {
    high: u64,
    low: u64,
}

impl KeyId {
    /// From the number that [`KeyId::to_u128`] gave.
    #[allow(clippy::cast_possible_truncation, reason = "each half is what is asked for")]
    pub(crate) fn from_u128(number: u128) -> Self {
        Self { high: (number >> 64) as u64, low: number as u64 }
    }

    /// As a number, for storage.
    pub(crate) fn to_u128(self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }

    /// The low 64 bits: all of a [`KeyKind::Small`] identity.
    pub(crate) fn low(self) -> u64 {
        self.low
    }

    /// The high 64 bits.
    pub(crate) fn high(self) -> u64 {
        self.high
    }
}

/// A map of a million keys.
const PLACE_BITS: u32 = 20;

impl Hash for KeyId {
    /// It is spread evenly already. A hash table takes its places from the low bits: with the high bits of the identity
    /// there, a map lists keys about in the order in which the key index holds them.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let leading = if self.high == 0 { self.low } else { self.high };
        state.write_u64(leading.rotate_left(PLACE_BITS));
    }
}

impl std::fmt::Debug for KeyId {
    /// Only that it is one: a small identity could be turned back into the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyId(..)")
    }
}

/// A map by key identity. Identities are hashes already, so they are not hashed again.
pub(crate) type KeyMap<V> = HashMap<KeyId, V, BuildHasherDefault<IdentityHasher>>;

/// Passes a [`KeyId`] through.
#[derive(Default)]
pub(crate) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Reads the identity of rows of one table.
#[derive(Clone)]
pub(crate) struct KeyReader {
    columns: Vec<KeyColumn>,
    form: Form,
    secret: u64,
    encoded: Vec<u8>,
}

#[derive(Clone)]
struct KeyColumn {
    label: String,
    ty: ColumnType,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Narrow,
    Uuid,
    Hashed,
}

impl KeyReader {
    /// A reader for the key of `schema`. `secret` belongs to the table for ever: with another one the same key has
    /// another identity.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if the table has no key.
    pub(crate) fn new(schema: &TableSchema, secret: u64) -> Result<Self> {
        let mut columns = Vec::with_capacity(schema.key.len());
        for index in &schema.key {
            let column = schema.columns.get(*index);
            let column = column.ok_or_else(|| Error::bug("the key names a column that is not there"))?;
            let label = format!("{}: key column {}", schema.table, column.name);
            columns.push(KeyColumn { label, ty: column.ty.clone() });
        }
        let form = match columns.as_slice() {
            [] => {
                return Err(Error::config("the table has no key to merge by")
                    .on(schema.table.to_string())
                    .remedy("add a primary key, name key columns, or write the table as append"));
            }
            [KeyColumn { ty, .. }] if is_narrow(ty) => Form::Narrow,
            [KeyColumn { ty: ColumnType::Uuid, .. }] => Form::Uuid,
            _ => Form::Hashed,
        };
        Ok(Self { columns, form, secret, encoded: Vec::new() })
    }

    /// The width of this table's identities.
    pub(crate) fn kind(&self) -> KeyKind {
        if self.form == Form::Narrow { KeyKind::Small } else { KeyKind::Wide }
    }

    /// The identity of `row`, whose cells lie as in `schema` (a later version of the table may hold the key elsewhere).
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if a key cell is NULL, not carried by the log, or not of the key's type.
    pub(crate) fn id_of(&mut self, schema: &TableSchema, row: &Row) -> Result<KeyId> {
        if schema.key.len() != self.columns.len() || schema.key.iter().any(|index| *index >= schema.columns.len()) {
            return Err(Error::data("the columns of the key changed").on(schema.table.to_string()));
        }
        if self.form != Form::Hashed {
            return self.id_of_one(&row.value(schema, schema.key[0])?);
        }
        self.encoded.clear();
        for (index, column) in schema.key.iter().zip(&self.columns) {
            column.encode(&row.value(schema, *index)?, &mut self.encoded)?;
        }
        Ok(self.hash())
    }

    /// The identity of key cells, in key order: the same as [`KeyReader::id_of`] gives for the row that holds them.
    ///
    /// # Errors
    /// As for [`KeyReader::id_of`].
    pub(crate) fn id_of_values(&mut self, values: &[Value<'_>]) -> Result<KeyId> {
        if values.len() != self.columns.len() {
            return Err(Error::bug("another number of key cells than key columns"));
        }
        if self.form != Form::Hashed {
            return self.id_of_one(&values[0]);
        }
        self.encoded.clear();
        for (value, column) in values.iter().zip(&self.columns) {
            column.encode(value, &mut self.encoded)?;
        }
        Ok(self.hash())
    }

    fn id_of_one(&self, value: &Value<'_>) -> Result<KeyId> {
        let column = &self.columns[0];
        let bits = match (&column.ty, value) {
            (ColumnType::Uuid, Value::Uuid(bytes)) => return Ok(mix_128(u128::from_be_bytes(*bytes), self.secret)),
            (ColumnType::Bool, Value::Bool(v)) => i64::from(*v),
            (ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64, Value::Int(v))
            | (ColumnType::Timestamp, Value::Timestamp(v))
            | (ColumnType::TimestampTz, Value::TimestampTz(v)) => *v,
            (ColumnType::Date, Value::Date(v)) => i64::from(*v),
            _ => return Err(column.refuse(value)),
        };
        Ok(KeyId { high: 0, low: mix(bits.cast_unsigned() ^ self.secret) })
    }

    fn hash(&self) -> KeyId {
        KeyId::from_u128(xxh3_128_with_seed(&self.encoded, self.secret))
    }
}

/// Whether one key column of this type fits 64 bits.
fn is_narrow(ty: &ColumnType) -> bool {
    use ColumnType::{Bool, Date, Int16, Int32, Int64, Timestamp, TimestampTz};
    matches!(ty, Bool | Int16 | Int32 | Int64 | Date | Timestamp | TimestampTz)
}

/// A bijection of 64 bits that spreads any difference over all of them (the finaliser of splitmix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A bijection of 128 bits: three Feistel rounds.
fn mix_128(number: u128, secret: u64) -> KeyId {
    let KeyId { mut high, mut low } = KeyId::from_u128(number);
    high ^= mix(low ^ secret);
    low ^= mix(high ^ secret.rotate_left(21));
    high ^= mix(low ^ secret.rotate_left(42));
    KeyId { high, low }
}

impl KeyColumn {
    fn encode(&self, value: &Value<'_>, into: &mut Vec<u8>) -> Result<()> {
        if matches!(value, Value::Null) || !encode(&self.ty, value, into) {
            return Err(self.refuse(value));
        }
        Ok(())
    }

    fn refuse(&self, value: &Value<'_>) -> Error {
        let error = match value {
            Value::Null => Error::data("a key cell is NULL").remedy("choose a key of NOT NULL columns"),
            Value::Unchanged => Error::data("the log does not carry a key cell")
                .remedy("let the table's replica identity cover the key, or use REPLICA IDENTITY FULL"),
            _ => Error::data("a key cell is not of the key's type: the type of the column changed"),
        };
        error.on(self.label.clone())
    }
}

/// Tags of the canonical encoding: kept for ever, graves outlive the process.
mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const BOOL: u8 = 1;
    pub(super) const INT: u8 = 2;
    pub(super) const FLOAT: u8 = 3;
    pub(super) const DECIMAL: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const UUID: u8 = 7;
    pub(super) const DATE: u8 = 8;
    pub(super) const TIME: u8 = 9;
    pub(super) const TIMESTAMP: u8 = 10;
    pub(super) const TIMESTAMP_TZ: u8 = 11;
    pub(super) const LIST: u8 = 12;
}

/// Appends a tag and the value, of known or stated length; `false` if the value is not of that type.
fn encode(ty: &ColumnType, value: &Value<'_>, into: &mut Vec<u8>) -> bool {
    use ColumnType as T;
    match (ty, value) {
        (_, Value::Null) => into.push(tag::NULL),
        (T::Bool, Value::Bool(v)) => fixed(tag::BOOL, &[u8::from(*v)], into),
        (T::Int16 | T::Int32 | T::Int64, Value::Int(v)) => fixed(tag::INT, &v.to_le_bytes(), into),
        (T::Float32 | T::Float64, Value::Float32(v)) => encode_float(f64::from(*v), into),
        (T::Float32 | T::Float64, Value::Float64(v)) => encode_float(*v, into),
        (T::Decimal { .. }, Value::Decimal(v)) => encode_decimal(v.unscaled, v.scale, into),
        (T::Text | T::Json, Value::Text(v)) => sized(tag::TEXT, v.as_bytes(), into),
        (T::Bytes, Value::Bytes(v)) => sized(tag::BYTES, v, into),
        (T::Uuid, Value::Uuid(v)) => fixed(tag::UUID, v, into),
        (T::Date, Value::Date(v)) => fixed(tag::DATE, &v.to_le_bytes(), into),
        (T::Time, Value::Time(v)) => fixed(tag::TIME, &v.to_le_bytes(), into),
        (T::Time, Value::Text(v)) => match parse_time(v) {
            Some(micros) => fixed(tag::TIME, &micros.to_le_bytes(), into),
            None => return false,
        },
        (T::Timestamp, Value::Timestamp(v)) => fixed(tag::TIMESTAMP, &v.to_le_bytes(), into),
        (T::TimestampTz, Value::TimestampTz(v)) => fixed(tag::TIMESTAMP_TZ, &v.to_le_bytes(), into),
        (T::List(item), Value::List(values)) => {
            fixed(tag::LIST, &(values.len() as u64).to_le_bytes(), into);
            return values.iter().all(|value| encode(item, value, into));
        }
        _ => return false,
    }
    true
}

fn fixed(tag: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(tag);
    into.extend_from_slice(bytes);
}

fn sized(tag: u8, bytes: &[u8], into: &mut Vec<u8>) {
    fixed(tag, &(bytes.len() as u64).to_le_bytes(), into);
    into.extend_from_slice(bytes);
}

fn encode_float(value: f64, into: &mut Vec<u8>) {
    let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
    fixed(tag::FLOAT, &value.to_bits().to_le_bytes(), into);
}

/// Without trailing zeros: 1.50 and 1.5 are one key.
fn encode_decimal(mut unscaled: i128, mut scale: u8, into: &mut Vec<u8>) {
    while scale > 0 && unscaled % 10 == 0 {
        unscaled /= 10;
        scale -= 1;
    }
    fixed(tag::DECIMAL, &unscaled.to_le_bytes(), into);
    into.push(scale);
}

/// Microseconds of `HH:MM:SS[.ffffff]`, the form in which the lake stores a time of day.
fn parse_time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let mut part = || parts.next().filter(|part| part.len() == 2).and_then(digits);
    let seconds = part()? * 3600 + part()? * 60 + part()?;
    if parts.next().is_some() || fraction.len() > 6 {
        return None;
    }
    let micros = if fraction.is_empty() { 0 } else { digits(fraction)? };
    let unit = 10i64.pow(6u32.saturating_sub(u32::try_from(fraction.len()).ok()?));
    Some(seconds * 1_000_000 + micros * unit)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

// The path is said because the example `index_memory` compiles this file in as well.
#[cfg(test)]
#[path = "key/tests.rs"]
mod tests;
