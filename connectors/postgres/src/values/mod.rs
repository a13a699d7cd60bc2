//! Cells in the server's text format -> [`Value`].
//!
//! `COPY` and the stream print a cell alike, because every session has the same pinned settings
//! ([`crate::connection::pins`]); so one decoder per type serves both, and both give the same value.
//! A snapshot of a table whose types allow it reads [`binary`] cells instead.
//!
//! - Lossless or an error: nothing is rounded, clamped or turned into NULL.
//! - No bytes make a decoder panic, and no error quotes them.
//! - Numbers, times, booleans and text are decoded without an allocation.

pub(crate) mod binary;
mod bytes;
mod list;
mod number;
mod time;

use walbrook_model::{ColumnType, DecodeCell, Error};

pub(crate) use bytes::{boolean, bytea, json, text, uuid};
pub(crate) use list::{list, list_of_money, list_with_colons, list_with_semicolons, single_element};
pub(crate) use number::{decimal, float32, float64, int16, int32, int64, money, oid};
pub(crate) use time::{date, time, timestamp, timestamp_tz};

/// The decoder of a column type, where the server's type does not ask for another ([`money`], [`oid`]).
pub(crate) fn decoder(ty: &ColumnType) -> DecodeCell {
    match ty {
        ColumnType::Bool => boolean,
        ColumnType::Int16 => int16,
        ColumnType::Int32 => int32,
        ColumnType::Int64 => int64,
        ColumnType::Float32 => float32,
        ColumnType::Float64 => float64,
        ColumnType::Decimal { .. } => decimal,
        ColumnType::Text => text,
        ColumnType::Json => json,
        ColumnType::Bytes => bytea,
        ColumnType::Uuid => uuid,
        ColumnType::Date => date,
        ColumnType::Time => time,
        ColumnType::Timestamp => timestamp,
        ColumnType::TimestampTz => timestamp_tz,
        ColumnType::List(_) => list,
    }
}

/// The bytes are not what the server prints for the type.
#[cold]
fn malformed(what: &str) -> Error {
    Error::data(format!("a cell is not the text of {what}"))
}

/// The value exists at the server but not in the column's type.
#[cold]
fn not_representable(what: &str) -> Error {
    Error::data(format!("a cell holds {what}, which the column cannot hold"))
        .remedy("change the value at the source, or leave the column out with source.postgres.tables.exclude_columns")
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod type_table;
