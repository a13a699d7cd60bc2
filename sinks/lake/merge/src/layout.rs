//! The columns of a lake table, with the field ids that survive renames.
//!
//! ```text
//! upsert: source columns | _seq | _committed_at
//! append: source columns | _op | _unchanged | _seq | _committed_at
//! ```
//!
//! Only the key of an upsert table and our own columns are `required`. Every other column may be NULL in the lake, also
//! where the source says `NOT NULL`: that constraint can be dropped at any moment, and a change log holds rows (deletes,
//! truncates) that carry no such cell.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use walbrook_config::TableMode;
use walbrook_model::{Column, ColumnType, Error, Result, TableSchema};

/// The order token of the change that wrote the row.
pub const SEQ: &str = "_seq";
/// When the transaction of that change committed.
pub const COMMITTED_AT: &str = "_committed_at";
/// Append tables: `c`, `u`, `d`, `r` or `t`, as Debezium has them.
pub const OP: &str = "_op";
/// Append tables: names of the columns that the log did not carry for this change; they are not NULL at the source.
pub const UNCHANGED: &str = "_unchanged";

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

impl LakeType {
    /// Whether two types are the same but for the field ids in them.
    pub(crate) fn same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List { element: a, .. }, Self::List { element: b, .. }) => a.same_kind(b),
            _ => self == other,
        }
    }

    /// The Arrow type that is written as this type.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, scale.cast_signed()),
            Self::String => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::List { element_id, element } => DataType::List(item_field(*element_id, element)),
        }
    }
}

impl Layout {
    /// The first layout of a table.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if a column has the name of one of ours or an upsert table has no key.
    pub fn of(schema: &TableSchema, mode: TableMode) -> Result<Self> {
        if mode == TableMode::Upsert && schema.key.is_empty() {
            return Err(Error::config("the table has no primary key, so its rows cannot be told apart")
                .on(format!("table {}", schema.table))
                .remedy(format!(
                    "add a primary key, or set mode = \"append\" under [sink.lake.table.\"{}\"]",
                    schema.table
                )));
        }
        let mut layout = Self { schema_id: 0, fields: Vec::new(), key: Vec::new(), last_id: 0 };
        for (index, column) in schema.columns.iter().enumerate() {
            let mut field = layout.source_field(schema, column, mode)?;
            if mode == TableMode::Upsert && schema.key.contains(&index) {
                field.required = true;
            }
            layout.fields.push(field);
        }
        if mode == TableMode::Upsert {
            layout.key =
                schema.key.iter().filter_map(|&index| layout.fields.get(index)).map(|field| field.id).collect();
        }
        for (name, ty, required) in ours(mode) {
            let field = layout.new_field(name.to_owned(), &ty, required);
            layout.fields.push(field);
        }
        Ok(layout)
    }

    /// A field for a source column that the layout does not have yet, with a new id.
    pub(crate) fn source_field(&mut self, schema: &TableSchema, column: &Column, mode: TableMode) -> Result<LakeField> {
        let refuse = |message: &str, remedy: &str| {
            Err(Error::config(message)
                .on(format!("table {}, column {}", schema.table, column.name))
                .remedy(format!("{remedy}, or leave it out: exclude_columns = [\"{}.{}\"]", schema.table, column.name)))
        };
        // Readers such as Spark and DuckDB do not tell `_seq` from `_SEQ`.
        if ours(mode).iter().any(|(name, ..)| name.eq_ignore_ascii_case(&column.name)) {
            return refuse("the name is one of walbrook's own columns", "rename the column");
        }
        if matches!(&column.ty, ColumnType::List(element) if matches!(**element, ColumnType::List(_))) {
            return refuse("lists of lists are not supported", "change its type");
        }
        Ok(self.new_field(column.name.clone(), &column.ty, false))
    }

    fn new_field(&mut self, name: String, ty: &ColumnType, required: bool) -> LakeField {
        let mut next = self.last_id + 2;
        let field =
            LakeField { id: self.last_id + 1, name, ty: LakeType::of(ty, &mut next), required, initial_default: None };
        self.last_id = next - 1;
        field
    }

    /// How changes are applied to a table of this layout.
    pub fn mode(&self) -> TableMode {
        if self.key.is_empty() { TableMode::Append } else { TableMode::Upsert }
    }

    /// Whether both have the same columns. An id is given once, so it says all; a catalog may spell a default otherwise.
    pub(crate) fn has_columns_of(&self, other: &Self) -> bool {
        self.fields.iter().map(|field| field.id).eq(other.fields.iter().map(|field| field.id))
    }

    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&LakeField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// How many fields come from the source; ours follow them.
    pub fn source_fields(&self) -> usize {
        self.fields.len().saturating_sub(ours(self.mode()).len())
    }

    /// As an Arrow schema whose fields carry their ids the way that the Parquet writer looks for them.
    pub fn arrow_schema(&self) -> SchemaRef {
        let fields = self.fields.iter().map(|field| arrow_field(&field.name, field.id, &field.ty, field.required));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// Our own columns, which follow those of the source.
fn ours(mode: TableMode) -> Vec<(&'static str, ColumnType, bool)> {
    let mut ours = vec![
        (SEQ, ColumnType::Decimal { precision: 38, scale: 0 }, true),
        (COMMITTED_AT, ColumnType::TimestampTz, true),
    ];
    if mode == TableMode::Append {
        ours.insert(0, (OP, ColumnType::Text, true));
        ours.insert(1, (UNCHANGED, ColumnType::List(Box::new(ColumnType::Text)), false));
    }
    ours
}

/// The Arrow field of the elements of a list, named as the Iceberg spec wants it in Parquet.
pub(crate) fn item_field(id: i32, ty: &LakeType) -> FieldRef {
    Arc::new(arrow_field("element", id, ty, false))
}

fn arrow_field(name: &str, id: i32, ty: &LakeType, required: bool) -> Field {
    let mut metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    if *ty == LakeType::Uuid {
        metadata.insert("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned());
    }
    Field::new(name, ty.arrow(), !required).with_metadata(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{column, schema};

    #[test]
    fn an_upsert_table_has_the_source_columns_then_ours() {
        let schema = schema(
            "public.t",
            vec![
                column("id", ColumnType::Int64),
                column("tags", ColumnType::List(Box::new(ColumnType::Text))),
                column("u", ColumnType::Uuid),
            ],
            &[0],
        );
        let layout = Layout::of(&schema, TableMode::Upsert).unwrap();
        let ids: Vec<_> = layout.fields.iter().map(|f| (f.name.as_str(), f.id, f.required)).collect();
        assert_eq!(
            ids,
            [("id", 1, true), ("tags", 2, false), ("u", 4, false), ("_seq", 5, true), ("_committed_at", 6, true)]
        );
        assert_eq!((layout.last_id, layout.key.clone(), layout.source_fields()), (6, vec![1], 3));
        assert_eq!(layout.fields[1].ty, LakeType::List { element_id: 3, element: Box::new(LakeType::String) });
    }

    #[test]
    fn an_append_table_needs_no_key_and_requires_no_source_column() {
        let schema = schema("public.t", vec![column("id", ColumnType::Int64)], &[]);
        let layout = Layout::of(&schema, TableMode::Append).unwrap();
        let names: Vec<_> = layout.fields.iter().map(|f| (f.name.as_str(), f.required)).collect();
        assert_eq!(
            names,
            [("id", false), ("_op", true), ("_unchanged", false), ("_seq", true), ("_committed_at", true)]
        );
        assert_eq!((layout.mode(), layout.source_fields()), (TableMode::Append, 1));
    }

    #[test]
    fn what_cannot_be_laid_out_is_refused_with_a_remedy() {
        let check = |columns: Vec<Column>, key: &[usize], mode, expected: &str| {
            let error = Layout::of(&schema("s.t", columns, key), mode).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("remedy"), "{error}");
        };
        check(vec![column("id", ColumnType::Int64)], &[], TableMode::Upsert, "no primary key");
        check(vec![column("_SEQ", ColumnType::Int64)], &[0], TableMode::Upsert, "exclude_columns = [\"s.t._SEQ\"]");
        check(vec![column("_op", ColumnType::Text)], &[], TableMode::Append, "walbrook's own");
        let nested = ColumnType::List(Box::new(ColumnType::List(Box::new(ColumnType::Text))));
        check(vec![column("x", nested)], &[0], TableMode::Upsert, "lists of lists");
        let op = schema("s.t", vec![column("_op", ColumnType::Text)], &[0]);
        assert!(Layout::of(&op, TableMode::Upsert).is_ok(), "an upsert table has no _op of ours");
    }
}
