//! What becomes of a table when its shape at the source changes.
//!
//! Only added columns are followed: they become new fields, and rows that were written before read as the initial
//! default. Anything else (a dropped or renamed column, another type, another key) would have to guess what readers want
//! and stops the table with an error that names the difference.
//!
//! A replay brings rows of older versions of the shape again. A version that lacks columns is an older one if its change
//! lies below the change that brought the newest column (`evolved_at`); at or above, the column was dropped.
//!
//! Not every default can be one of a lake column: a list cannot, nor NaN, infinity or a year beyond 9999. Old rows would
//! read as NULL, so the table stops; to write the value into all of them is what a new snapshot does, which therefore may
//! bring such a column without its default.

use std::sync::Arc;

use walbrook_config::TableMode;
use walbrook_model::{Column, Error, Result, Seq, TableSchema, Value};

use crate::layout::{LakeField, LakeType, Layout};
use crate::single_value;

/// The columns that a table's rows are written in, and the version of the shape that was found to fit them.
pub(crate) struct Shape {
    layout: Arc<Layout>,
    /// The change that brought the newest column.
    evolved_at: Seq,
    /// Has all columns of `layout`, so that it fits at any order token.
    fits: Option<Arc<TableSchema>>,
}

impl Shape {
    /// Of a table as it is in the lake.
    pub(crate) fn new(layout: Layout, evolved_at: Seq) -> Self {
        Self { layout: Arc::new(layout), evolved_at, fits: None }
    }

    /// The columns.
    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The change that brought the newest column.
    pub(crate) fn evolved_at(&self) -> Seq {
        self.evolved_at
    }

    /// Makes room for the rows of `schema`, first seen at `seq`; `true` if the layout is another one now.
    ///
    /// # Errors
    /// As for [`evolve`].
    pub(crate) fn admit(&mut self, schema: &Arc<TableSchema>, seq: Seq) -> Result<bool> {
        if self.fits.as_ref().is_some_and(|fits| Arc::ptr_eq(fits, schema)) {
            return Ok(false);
        }
        let wider = evolve(&self.layout, schema, seq, self.evolved_at)?;
        let widened = wider.is_some();
        if let Some(wider) = wider {
            self.layout = Arc::new(wider);
            self.evolved_at = seq;
        }
        if self.layout.source_fields() == schema.columns.len() {
            self.fits = Some(Arc::clone(schema));
        }
        Ok(widened)
    }
}

/// Compares a version of a table's shape with the columns that the table has. Returns the wider layout if it has
/// columns that the table does not have.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if the difference is anything but added columns.
pub(crate) fn evolve(layout: &Layout, schema: &TableSchema, seq: Seq, evolved_at: Seq) -> Result<Option<Layout>> {
    let mode = layout.mode();
    check_key(layout, schema)?;
    let source_fields = layout.fields.get(..layout.source_fields()).unwrap_or_default();
    for field in source_fields {
        match schema.column(&field.name).and_then(|index| schema.columns.get(index)) {
            Some(column) => check_type(field, column, schema)?,
            None if seq < evolved_at => {}
            None => return Err(refuse(schema, &format!("column {} was dropped or renamed", field.name))),
        }
    }
    let mut wider = layout.clone();
    let mut at = source_fields.len();
    for column in schema.columns.iter().filter(|column| layout.field(&column.name).is_none()) {
        let mut field = wider.source_field(schema, column, mode)?;
        field.initial_default = match initial_default(&field, column, schema) {
            // A slice: every row comes with its value, and those that do not come are swept.
            Err(_) if seq.ordinal() == 0 => None,
            default => default?,
        };
        wider.fields.insert(at, field);
        at += 1;
    }
    Ok((at > source_fields.len()).then_some(wider))
}

/// The value that rows have which were written before the column of `field` was there.
pub(crate) fn default_value(field: &LakeField) -> Result<Value<'static>> {
    match &field.initial_default {
        None => Ok(Value::Null),
        Some(json) => {
            single_value::from_json(json, &field.ty).map_err(|error| error.on(format!("column {}", field.name)))
        }
    }
}

fn initial_default(field: &LakeField, column: &Column, schema: &TableSchema) -> Result<Option<serde_json::Value>> {
    let Some(bytes) = &column.initial_default else { return Ok(None) };
    let json = column.decode(bytes).and_then(|value| single_value::to_json(&value, &field.ty));
    json.map(Some).map_err(|error| {
        refuse(schema, &format!("column {} was added with a default that a lake column cannot have", column.name))
            .because(error)
            .remedy(
                "`walbrook gap accept FILE --reason \"...\"` takes a new snapshot, which brings the value of each row",
            )
    })
}

fn check_key(layout: &Layout, schema: &TableSchema) -> Result<()> {
    if layout.mode() == TableMode::Append {
        return Ok(());
    }
    let have: Vec<_> = layout.key.iter().filter_map(|id| layout.fields.iter().find(|field| field.id == *id)).collect();
    let want = schema.key.iter().filter_map(|&index| schema.columns.get(index));
    if have.len() == schema.key.len() && have.iter().zip(want).all(|(field, column)| field.name == column.name) {
        return Ok(());
    }
    let names: Vec<_> = have.iter().map(|field| field.name.as_str()).collect();
    Err(refuse(schema, &format!("the key is no longer ({})", names.join(", "))))
}

fn check_type(field: &LakeField, column: &Column, schema: &TableSchema) -> Result<()> {
    let now = LakeType::of(&column.ty, &mut 0);
    if now.same_kind(&field.ty) {
        return Ok(());
    }
    Err(refuse(schema, &format!("column {} became {}", column.name, column.source_type)))
}

fn refuse(schema: &TableSchema, difference: &str) -> Error {
    Error::data(format!("the table changed in a way that its lake table cannot follow: {difference}"))
        .on(format!("table {}", schema.table))
        .remedy("undo the change at the source, or drop the lake table and take a new snapshot of this table")
}

#[cfg(test)]
mod tests {
    use walbrook_model::{ColumnType, ErrorKind};

    use super::*;
    use crate::testing::{column, schema};

    fn base() -> Vec<Column> {
        vec![column("id", ColumnType::Int64), column("a", ColumnType::Text), column("b", ColumnType::Int32)]
    }

    fn seq(n: u64) -> Seq {
        Seq::new(0, 1, n, 1).unwrap()
    }

    fn evolved(columns: Vec<Column>, key: &[usize], at: u64) -> Result<Option<Layout>> {
        let layout = Layout::of(&schema("s.t", base(), &[0]), TableMode::Upsert).unwrap();
        evolve(&layout, &schema("s.t", columns, key), seq(at), seq(100))
    }

    #[test]
    fn the_same_shape_changes_nothing_wherever_its_columns_lie() {
        assert_eq!(evolved(base(), &[0], 100).unwrap(), None);
        let mut columns = base();
        columns.reverse();
        assert_eq!(evolved(columns, &[2], 100).unwrap(), None);
    }

    #[test]
    fn added_columns_become_fields_before_ours() {
        let mut columns = base();
        columns.insert(0, column("first", ColumnType::Date));
        let mut last = column("last", ColumnType::Bool);
        (last.nullable, last.initial_default) = (false, Some(Arc::from(&b"t"[..])));
        columns.push(last);
        let layout = evolved(columns, &[1], 100).unwrap().unwrap();
        let fields: Vec<_> = layout.fields.iter().map(|f| (f.name.as_str(), f.id, f.required)).collect();
        assert_eq!(
            fields,
            [
                ("id", 1, true),
                ("a", 2, false),
                ("b", 3, false),
                ("first", 6, false),
                ("last", 7, false),
                ("_seq", 4, true),
                ("_committed_at", 5, true),
            ]
        );
        assert_eq!(layout.last_id, 7);
        assert_eq!(layout.fields[4].initial_default, Some(serde_json::Value::Bool(true)));
        assert_eq!(default_value(&layout.fields[4]).unwrap(), Value::Bool(true));
        assert_eq!(default_value(&layout.fields[3]).unwrap(), Value::Null);
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let check = |columns: Vec<Column>, key: &[usize], expected: &str| {
            let error = evolved(columns, key, 100).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.remedy_text().is_some());
        };
        let with = |index: usize, column: Column| {
            let mut columns = base();
            columns[index] = column;
            columns
        };
        check(base()[..2].to_vec(), &[0], "column b was dropped or renamed");
        check(with(1, column("c", ColumnType::Text)), &[0], "column a was dropped or renamed");
        check(with(2, column("b", ColumnType::Int64)), &[0], "column b became int64");
        check(base(), &[0, 1], "the key is no longer (id)");
        check(base(), &[], "the key is no longer (id)");
        let mut columns = base();
        let mut list = column("l", ColumnType::List(Box::new(ColumnType::Text)));
        list.initial_default = Some(Arc::from(&b"x"[..]));
        columns.push(list);
        check(columns.clone(), &[0], "column l was added with a default");
        let layout = Layout::of(&schema("s.t", base(), &[0]), TableMode::Upsert).unwrap();
        let slice = Seq::new(0, 1, 100, 0).unwrap();
        let wider = evolve(&layout, &schema("s.t", columns, &[0]), slice, seq(100)).unwrap().unwrap();
        assert_eq!(wider.field("l").map(|field| &field.initial_default), Some(&None));
    }

    #[test]
    fn a_shape_without_the_newest_columns_is_an_older_one_below_the_change_that_brought_them() {
        let older = base()[..2].to_vec();
        assert_eq!(evolved(older.clone(), &[0], 99).unwrap(), None);
        assert!(evolved(older, &[0], 100).is_err());
    }
}
