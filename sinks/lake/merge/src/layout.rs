//! The columns of a lake table, with the field ids that survive renames.

use walbrook_model::ColumnType;

/// What a lake column stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LakeType {
    /// `boolean`
    Bool,
    /// `int`, 32 bits
    Int,
    /// `long`, 64 bits
    Long,
    /// `float`
    Float,
    /// `double`
    Double,
    /// `decimal(precision, scale)`
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// `string`
    String,
    /// `binary`
    Binary,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `timestamp` (microseconds, no zone)
    Timestamp,
    /// `timestamptz` (microseconds)
    TimestampTz,
    /// `list<element>`, elements may be NULL
    List {
        /// Field id of the element.
        element_id: i32,
        /// What the elements are.
        element: Box<LakeType>,
    },
}

/// One column of a lake table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeField {
    /// Unique in the table for ever.
    pub id: i32,
    /// Column name.
    pub name: String,
    /// What it stores.
    pub ty: LakeType,
    /// Whether NULL is impossible.
    pub required: bool,
    /// The value that rows have which were written before the column was added, in the JSON single-value form of the
    /// Iceberg spec (appendix D); `None` is NULL.
    pub initial_default: Option<serde_json::Value>,
}

/// The columns of a lake table: those of the source first, in order, ours (`_seq`, ...) after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The format's id of this version of the columns; 0 for the first.
    pub schema_id: i32,
    /// Columns.
    pub fields: Vec<LakeField>,
    /// Field ids of the key; empty for an append table.
    pub key: Vec<i32>,
    /// Highest field id ever given.
    pub last_id: i32,
}

impl LakeType {
    /// The lake type that holds every value of a source type, assigning field ids of list elements from `next_id` on.
    ///
    /// `Time` becomes a string: Spark has no time type, and 24:00 has no other form. An `Int16` becomes an `int`.
    pub fn of(ty: &ColumnType, next_id: &mut i32) -> Self {
        match ty {
            ColumnType::Bool => Self::Bool,
            ColumnType::Int16 | ColumnType::Int32 => Self::Int,
            ColumnType::Int64 => Self::Long,
            ColumnType::Float32 => Self::Float,
            ColumnType::Float64 => Self::Double,
            ColumnType::Decimal { precision, scale } => Self::Decimal { precision: *precision, scale: *scale },
            ColumnType::Text | ColumnType::Json | ColumnType::Time => Self::String,
            ColumnType::Bytes => Self::Binary,
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Date => Self::Date,
            ColumnType::Timestamp => Self::Timestamp,
            ColumnType::TimestampTz => Self::TimestampTz,
            ColumnType::List(element) => {
                let element_id = *next_id;
                *next_id += 1;
                Self::List { element_id, element: Box::new(Self::of(element, next_id)) }
            }
        }
    }
}
