//! Cells of an Arrow column as values: the way back from a data file to a key.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    Array, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int32Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::DataType;
use walbrook_model::{Decimal, Error, Result, Value};

/// A column, downcast once.
pub(crate) enum Cells<'a> {
    Bool(&'a BooleanArray),
    Int(&'a Int32Array),
    Long(&'a Int64Array),
    Float(&'a Float32Array),
    Double(&'a Float64Array),
    Decimal(&'a Decimal128Array, u8),
    String(&'a StringArray),
    Binary(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
    TimestampTz(&'a TimestampMicrosecondArray),
    List(&'a ListArray),
}

impl<'a> Cells<'a> {
    /// The cells of a column of a data file.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] for a type that [`crate::layout::LakeType::arrow`] does not give.
    pub(crate) fn new(array: &'a dyn Array) -> Result<Self> {
        let cells = match array.data_type() {
            DataType::Boolean => array.as_boolean_opt().map(Self::Bool),
            DataType::Int32 => array.as_primitive_opt::<Int32Type>().map(Self::Int),
            DataType::Int64 => array.as_primitive_opt::<Int64Type>().map(Self::Long),
            DataType::Float32 => array.as_primitive_opt::<Float32Type>().map(Self::Float),
            DataType::Float64 => array.as_primitive_opt::<Float64Type>().map(Self::Double),
            DataType::Decimal128(_, scale) => {
                let array = array.as_primitive_opt::<Decimal128Type>();
                array.zip(u8::try_from(*scale).ok()).map(|(array, scale)| Self::Decimal(array, scale))
            }
            DataType::Utf8 => array.as_string_opt::<i32>().map(Self::String),
            DataType::Binary => array.as_binary_opt::<i32>().map(Self::Binary),
            DataType::FixedSizeBinary(16) => array.as_fixed_size_binary_opt().map(Self::Uuid),
            DataType::Date32 => array.as_primitive_opt::<Date32Type>().map(Self::Date),
            DataType::Timestamp(_, None) => array.as_primitive_opt::<TimestampMicrosecondType>().map(Self::Timestamp),
            DataType::Timestamp(_, Some(_)) => {
                array.as_primitive_opt::<TimestampMicrosecondType>().map(Self::TimestampTz)
            }
            DataType::List(_) => array.as_list_opt::<i32>().map(Self::List),
            _ => None,
        };
        cells.ok_or_else(|| Error::bug(format!("a lake column of Arrow type {}", array.data_type())))
    }

    /// The cell of a row; the row is in the column.
    pub(crate) fn value(&self, row: usize) -> Result<Value<'a>> {
        if self.array().is_null(row) {
            return Ok(Value::Null);
        }
        Ok(match self {
            Self::Bool(array) => Value::Bool(array.value(row)),
            Self::Int(array) => Value::Int(array.value(row).into()),
            Self::Long(array) => Value::Int(array.value(row)),
            Self::Float(array) => Value::Float32(array.value(row)),
            Self::Double(array) => Value::Float64(array.value(row)),
            Self::Decimal(array, scale) => Value::Decimal(Decimal { unscaled: array.value(row), scale: *scale }),
            Self::String(array) => Value::Text(array.value(row).into()),
            Self::Binary(array) => Value::Bytes(array.value(row).into()),
            Self::Uuid(array) => {
                let bytes = array.value(row).try_into();
                Value::Uuid(bytes.map_err(|error| Error::bug("uuid of another length").because(error))?)
            }
            Self::Date(array) => Value::Date(array.value(row)),
            Self::Timestamp(array) => Value::Timestamp(array.value(row)),
            Self::TimestampTz(array) => Value::TimestampTz(array.value(row)),
            Self::List(array) => {
                let items = array.value(row);
                let cells = Cells::new(&items)?;
                let values = (0..items.len()).map(|item| cells.value(item).map(Value::into_owned));
                Value::List(values.collect::<Result<_>>()?)
            }
        })
    }

    fn array(&self) -> &'a dyn Array {
        match *self {
            Self::Bool(array) => array,
            Self::Int(array) => array,
            Self::Long(array) => array,
            Self::Float(array) => array,
            Self::Double(array) => array,
            Self::Decimal(array, _) => array,
            Self::String(array) => array,
            Self::Binary(array) => array,
            Self::Uuid(array) => array,
            Self::Date(array) => array,
            Self::Timestamp(array) | Self::TimestampTz(array) => array,
            Self::List(array) => array,
        }
    }
}
