//! One version of a table's shape.

use std::fmt;
use std::sync::Arc;

use crate::{Error, Result, Value};

/// The name of a table at its source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct TableId {
    /// The schema (`PostgreSQL`) or database (`MySQL`) that holds the table.
    pub schema: String,
    /// The table's own name.
    pub name: String,
}

impl TableId {
    /// `schema.name`.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// The logical type of a column: what a sink stores, whatever the source calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ColumnType {
    /// `true` or `false`.
    Bool,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// Single precision.
    Float32,
    /// Double precision.
    Float64,
    /// Exact, with `precision` digits (1 to 38), `scale` of them behind the point.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// UTF-8.
    Text,
    /// A JSON document as text, byte for byte as the source prints it.
    Json,
    /// Bytes.
    Bytes,
    /// A UUID.
    Uuid,
    /// A day.
    Date,
    /// A time of day in microseconds, 24:00 included.
    Time,
    /// A wall-clock time in microseconds, of no time zone.
    Timestamp,
    /// An instant in microseconds.
    TimestampTz,
    /// A one-dimensional list.
    List(Box<ColumnType>),
}

impl ColumnType {
    /// Whether a value is one of this type; NULL is of every type. A [`DecodeCell`] gives no others, and a sink can store all
    /// of them, so that who can decode a cell knows that it can be stored. Tests hold decoders and sinks to it.
    pub fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Int16, Value::Int(number)) => i16::try_from(*number).is_ok(),
            (Self::Int32, Value::Int(number)) => i32::try_from(*number).is_ok(),
            (Self::Decimal { precision, scale }, Value::Decimal(number)) => {
                number.scale == *scale && number.has_digits(*precision)
            }
            (Self::Time, Value::Time(micros)) => (0..=86_400_000_000).contains(micros),
            (Self::List(element), Value::List(values)) => values.iter().all(|value| element.holds(value)),
            (_, Value::Null)
            | (Self::Bool, Value::Bool(_))
            | (Self::Int64, Value::Int(_))
            | (Self::Float32, Value::Float32(_))
            | (Self::Float64, Value::Float64(_))
            | (Self::Text | Self::Json, Value::Text(_))
            | (Self::Bytes, Value::Bytes(_))
            | (Self::Uuid, Value::Uuid(_))
            | (Self::Date, Value::Date(_))
            | (Self::Timestamp, Value::Timestamp(_))
            | (Self::TimestampTz, Value::TimestampTz(_)) => true,
            _ => false,
        }
    }
}

/// Reads the bytes of a non-null cell as a value of the column's type.
pub type DecodeCell = for<'a> fn(&ColumnType, &'a [u8]) -> Result<Value<'a>>;

/// What the catalog of a source knows of a column, for the schemas of messages. All are optional: without them a message is
/// right, but its schema may differ from the one that Debezium would give it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnFacts {
    /// The type below all domains, as the source prints it. `None`: the column's `source_type`.
    pub base_type: Option<String>,
    /// Whether the source forbids NULL. `None`: as [`Column::nullable`] says.
    pub not_null: Option<bool>,
    /// The default's expression, as the source prints it.
    pub default: Option<String>,
    /// The labels of an enum, or of an array's enum, in order.
    pub labels: Option<Vec<String>>,
}

/// One column of a [`TableSchema`].
#[derive(Clone)]
pub struct Column {
    /// Its name at the source.
    pub name: String,
    /// What a sink stores.
    pub ty: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// The source's own name of the type, for messages.
    pub source_type: String,
    /// The value that rows have which were there before the column was added, as the source's bytes; `None` is NULL.
    pub initial_default: Option<Arc<[u8]>>,
    /// What the source's catalog knows beyond that.
    pub facts: Arc<ColumnFacts>,
    /// Reads a cell.
    pub decoder: DecodeCell,
}

impl Column {
    /// Decodes the bytes of a non-null cell.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Data`] if the bytes are not a value of the column's type.
    pub fn decode<'a>(&self, bytes: &'a [u8]) -> Result<Value<'a>> {
        (self.decoder)(&self.ty, bytes).map_err(|error: Error| error.on(format!("column {}", self.name)))
    }
}

impl PartialEq for Column {
    /// The decoder is not compared: one shape of a table may come in several forms, as text in the log and in binary in a
    /// snapshot. Whoever reads cells does it with the very schema that came with them.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.ty == other.ty
            && self.nullable == other.nullable
            && self.source_type == other.source_type
            && self.initial_default == other.initial_default
            && self.facts == other.facts
    }
}

impl fmt::Debug for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.source_type)?;
        if self.nullable { Ok(()) } else { f.write_str(" not null") }
    }
}

/// One version of a table's shape. Changes point at the version that their rows have.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema {
    /// The table.
    pub table: TableId,
    /// In the order of the log's rows.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the key, in key order. Empty: the table has no key.
    pub key: Vec<usize>,
}

impl TableSchema {
    /// The index of a column by its name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decimal;

    #[test]
    fn a_type_holds_what_its_bounds_say() {
        let decimal = |unscaled, scale| Value::Decimal(Decimal { unscaled, scale });
        let number = ColumnType::Decimal { precision: 3, scale: 1 };
        let list = |ty: ColumnType| ColumnType::List(Box::new(ty));
        for (ty, value, holds) in [
            (ColumnType::Int16, Value::Int(-32_768), true),
            (ColumnType::Int16, Value::Int(32_768), false),
            (ColumnType::Int32, Value::Int(2_147_483_648), false),
            (ColumnType::Int64, Value::Int(i64::MIN), true),
            (number.clone(), decimal(-999, 1), true),
            (number.clone(), decimal(1_000, 1), false),
            (number.clone(), decimal(1, 2), false),
            (ColumnType::Decimal { precision: 38, scale: 0 }, decimal(i128::MIN, 0), false),
            (ColumnType::Time, Value::Time(86_400_000_000), true),
            (ColumnType::Time, Value::Time(-1), false),
            (ColumnType::Date, Value::Date(i32::MAX), true),
            (ColumnType::Uuid, Value::Text("no".into()), false),
            (list(number.clone()), Value::List(vec![Value::Null, decimal(1, 1)]), true),
            (list(number), Value::List(vec![decimal(1_000, 1)]), false),
            (ColumnType::Text, Value::Unchanged, false),
        ] {
            assert_eq!(ty.holds(&value), holds, "{ty:?}");
        }
    }
}
