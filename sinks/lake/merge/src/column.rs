//! One Arrow column under construction.
//!
//! Invariant: [`ColumnBuilder::push`] appends exactly one entry whatever happens (a NULL where it returns an error), so
//! that the columns of a buffer always have the same length.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, FixedSizeBinaryBuilder, Float32Builder,
    Float64Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, ListArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef};
use walbrook_model::{Error, Result, Value};

use crate::layout::{LakeType, item_field};

/// Values of one column, in the form of its [`LakeType`].
pub(crate) enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal { values: Decimal128Builder, scale: u8, limit: u128 },
    String(StringBuilder),
    Binary(BinaryBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampTz(TimestampMicrosecondBuilder),
    List { items: Box<ColumnBuilder>, item: FieldRef, offsets: Vec<i32>, nulls: NullBufferBuilder },
}

/// Arrow's offsets are 32 bits wide: a column of strings may hold this many bytes, a column of lists this many items.
const OFFSET_MAX: usize = i32::MAX as usize;

impl ColumnBuilder {
    /// A builder with room for `rows` values.
    pub(crate) fn new(ty: &LakeType, rows: usize) -> Self {
        match ty {
            LakeType::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            LakeType::Int => Self::Int(Int32Builder::with_capacity(rows)),
            LakeType::Long => Self::Long(Int64Builder::with_capacity(rows)),
            LakeType::Float => Self::Float(Float32Builder::with_capacity(rows)),
            LakeType::Double => Self::Double(Float64Builder::with_capacity(rows)),
            LakeType::Decimal { precision, scale } => Self::Decimal {
                values: Decimal128Builder::with_capacity(rows).with_data_type(ty.arrow()),
                scale: *scale,
                limit: 10u128.saturating_pow(u32::from(*precision)),
            },
            LakeType::String => Self::String(StringBuilder::with_capacity(rows, 0)),
            LakeType::Binary => Self::Binary(BinaryBuilder::with_capacity(rows, 0)),
            LakeType::Uuid => Self::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16)),
            LakeType::Date => Self::Date(Date32Builder::with_capacity(rows)),
            LakeType::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows)),
            LakeType::TimestampTz => {
                Self::TimestampTz(TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(ty.arrow()))
            }
            LakeType::List { element_id, element } => {
                let item = item_field(*element_id, element);
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                let items = Box::new(Self::new(element, rows));
                Self::List { items, item, offsets, nulls: NullBufferBuilder::new(rows) }
            }
        }
    }

    /// A builder with room for as much as `column` holds, which has the same type.
    pub(crate) fn with_room_of(ty: &LakeType, column: &ArrayRef) -> Self {
        let rows = column.len() + column.len() / 16;
        match (ty, column.data_type()) {
            (LakeType::String, DataType::Utf8) => {
                let bytes = column.as_string::<i32>().value_data().len();
                Self::String(StringBuilder::with_capacity(rows, bytes + bytes / 16))
            }
            (LakeType::Binary, DataType::Binary) => {
                let bytes = column.as_binary::<i32>().value_data().len();
                Self::Binary(BinaryBuilder::with_capacity(rows, bytes + bytes / 16))
            }
            (LakeType::List { element_id, element }, DataType::List(_)) => {
                let item = item_field(*element_id, element);
                let items = Box::new(Self::with_room_of(element, column.as_list::<i32>().values()));
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                Self::List { items, item, offsets, nulls: NullBufferBuilder::new(rows) }
            }
            _ => Self::new(ty, rows),
        }
    }

    /// Appends a value.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if it is not what [`walbrook_model::ColumnType::holds`] allows, by which sources
    /// put aside what no table can store, or if the column is full; a NULL is appended in its place.
    pub(crate) fn push(&mut self, value: &Value<'_>) -> Result<()> {
        let result = self.try_push(value);
        if result.is_err() {
            self.push_null();
        }
        result
    }

    /// Appends a value, or nothing and an error.
    fn try_push(&mut self, value: &Value<'_>) -> Result<()> {
        match (self, value) {
            (column, Value::Null) => column.push_null(),
            (Self::Bool(values), Value::Bool(v)) => values.append_value(*v),
            (Self::Int(values), Value::Int(v)) => values.append_value(
                i32::try_from(*v).map_err(|_| Error::data("integer outside of the range of its column"))?,
            ),
            (Self::Long(values), Value::Int(v)) => values.append_value(*v),
            (Self::Float(values), Value::Float32(v)) => values.append_value(*v),
            (Self::Double(values), Value::Float64(v)) => values.append_value(*v),
            (Self::Decimal { values, scale, limit }, Value::Decimal(v)) => {
                if v.scale != *scale || v.unscaled.unsigned_abs() >= *limit {
                    return Err(Error::data("decimal outside of the precision and scale of its column"));
                }
                values.append_value(v.unscaled);
            }
            (Self::String(values), Value::Text(v)) => {
                check_room(values.values_slice().len(), v.len())?;
                values.append_value(v);
            }
            (Self::String(values), Value::Time(v)) => {
                check_room(values.values_slice().len(), TIME_LEN_MAX)?;
                push_time(values, *v)?;
            }
            (Self::Binary(values), Value::Bytes(v)) => {
                check_room(values.values_slice().len(), v.len())?;
                values.append_value(v);
            }
            (Self::Uuid(values), Value::Uuid(v)) => {
                values.append_value(v).map_err(|error| Error::bug("uuid of another length").because(error))?;
            }
            (Self::Date(values), Value::Date(v)) => values.append_value(*v),
            (Self::Timestamp(values), Value::Timestamp(v)) | (Self::TimestampTz(values), Value::TimestampTz(v)) => {
                values.append_value(*v);
            }
            (Self::List { items, offsets, nulls, .. }, Value::List(v)) => {
                check_room(items.len(), v.len())?;
                push_list(items, v)?;
                offsets.push(offset(items.len()));
                nulls.append_non_null();
            }
            (_, Value::Unchanged) => {
                return Err(Error::data("the log does not carry this cell, and no earlier value of it is known"));
            }
            _ => return Err(Error::data("the cell decodes to another type than its column has")),
        }
        Ok(())
    }

    /// Appends NULL.
    pub(crate) fn push_null(&mut self) {
        match self {
            Self::Bool(values) => values.append_null(),
            Self::Int(values) => values.append_null(),
            Self::Long(values) => values.append_null(),
            Self::Float(values) => values.append_null(),
            Self::Double(values) => values.append_null(),
            Self::Decimal { values, .. } => values.append_null(),
            Self::String(values) => values.append_null(),
            Self::Binary(values) => values.append_null(),
            Self::Uuid(values) => values.append_null(),
            Self::Date(values) => values.append_null(),
            Self::Timestamp(values) | Self::TimestampTz(values) => values.append_null(),
            Self::List { items, offsets, nulls, .. } => {
                offsets.push(offset(items.len()));
                nulls.append_null();
            }
        }
    }

    /// Entries so far.
    pub(crate) fn len(&self) -> usize {
        use arrow_array::builder::ArrayBuilder as _;
        match self {
            Self::Bool(values) => values.len(),
            Self::Int(values) => values.len(),
            Self::Long(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Decimal { values, .. } => values.len(),
            Self::String(values) => values.len(),
            Self::Binary(values) => values.len(),
            Self::Uuid(values) => values.len(),
            Self::Date(values) => values.len(),
            Self::Timestamp(values) | Self::TimestampTz(values) => values.len(),
            Self::List { nulls, .. } => nulls.len(),
        }
    }

    /// The column; the builder is empty then.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Bool(values) => Arc::new(values.finish()),
            Self::Int(values) => Arc::new(values.finish()),
            Self::Long(values) => Arc::new(values.finish()),
            Self::Float(values) => Arc::new(values.finish()),
            Self::Double(values) => Arc::new(values.finish()),
            Self::Decimal { values, .. } => Arc::new(values.finish()),
            Self::String(values) => Arc::new(values.finish()),
            Self::Binary(values) => Arc::new(values.finish()),
            Self::Uuid(values) => Arc::new(values.finish()),
            Self::Date(values) => Arc::new(values.finish()),
            Self::Timestamp(values) | Self::TimestampTz(values) => Arc::new(values.finish()),
            Self::List { items, item, offsets, nulls } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                let list = ListArray::try_new(item.clone(), offsets, items.finish()?, nulls.finish());
                Arc::new(list.map_err(|error| Error::bug("list column").because(error))?)
            }
        })
    }
}

fn check_room(held: usize, more: usize) -> Result<()> {
    if more > OFFSET_MAX.saturating_sub(held) {
        return Err(Error::data("more than 2 GiB in one column of one batch")
            .remedy("set [sink.lake] commit_bytes to less than 1 GB"));
    }
    Ok(())
}

/// `len` is at most [`OFFSET_MAX`]: [`check_room`] is asked before anything is appended.
fn offset(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// Appends the items of a list. After an error the items that went in belong to no list: the NULL that takes the list's
/// place ends behind them.
fn push_list(items: &mut ColumnBuilder, values: &[Value<'_>]) -> Result<()> {
    values.iter().try_for_each(|value| items.try_push(value))
}

/// `24:00:00.000000` is 15 long.
const TIME_LEN_MAX: usize = 15;

/// `HH:MM:SS`, and the microseconds where there are any. 24:00:00 is a time of day.
fn push_time(values: &mut StringBuilder, micros: i64) -> Result<()> {
    if !(0..=86_400_000_000).contains(&micros) {
        return Err(Error::data("a time of day outside of 00:00 to 24:00"));
    }
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    // Writing to a builder cannot fail; the empty value closes what was written.
    let _ = write!(values, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let _ = write!(values, ".{fraction:06}");
    }
    values.append_value("");
    Ok(())
}

#[cfg(test)]
mod tests;
