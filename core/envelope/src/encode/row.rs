//! A row's record: the columns of a table version, compiled.

use walbrook_model::{Cell, Error, Result, Row, TableSchema};

use super::avro::AvroOut;
use super::conversion::{Conversion, hstore_map, zero};
use super::emit::{Emit, Prepared};
use super::json::JsonOut;
use crate::connect::{Field, Kind, Schema, name};
use crate::defaults;
use crate::settings::BinaryMode;
use crate::text::json_string_of;

/// One column of a record.
#[derive(Clone, Debug)]
pub(crate) struct ColumnPlan {
    /// Its place in the row.
    index: usize,
    /// The field's name, as a JSON string.
    json_name: String,
    /// The branch of null and that of the value; `None`: required.
    union: Option<(u8, u8)>,
    conversion: Conversion,
    /// What stands for a cell that the log does not carry, in `after` and in `before`.
    unavailable: Prepared,
    absent: Prepared,
}

/// Which image of a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    Before,
    After,
}

impl ColumnPlan {
    pub(crate) fn new(index: usize, field: &Field, conversion: Conversion, placeholder: Option<&str>) -> Self {
        let union = field.schema.null_branch().map(|null| (null, 1 - null));
        let mut prepared = Prepared::default();
        absent(&field.schema, &mut AvroOut(&mut prepared.avro));
        absent(&field.schema, &mut JsonOut::new(&mut prepared.json));
        let unavailable = placeholder.and_then(|text| placeholder_of(&field.schema, &conversion, text));
        Self {
            index,
            json_name: json_string_of(&field.name),
            union,
            conversion,
            unavailable: unavailable.unwrap_or_else(|| prepared.clone()),
            absent: prepared,
        }
    }

    /// Whether the row carries the cell.
    pub(crate) fn carried(&self, row: &Row) -> bool {
        row.cell(self.index) != Cell::Unchanged
    }

    /// The field's name, as a JSON string.
    pub(crate) fn json_name(&self) -> &str {
        &self.json_name
    }

    /// Writes what rows hold that were there before the column, if that is known and not NULL.
    pub(crate) fn write_initial<E: Emit>(&self, schema: &TableSchema, out: &mut E) -> Result<bool> {
        let column = schema.columns.get(self.index);
        let Some((column, bytes)) = column.and_then(|column| Some((column, column.initial_default.as_deref()?))) else {
            return Ok(false);
        };
        self.conversion
            .write(&column.decode(bytes)?, out)
            .map_err(|error| error.on(format!("column {}", column.name)))?;
        Ok(true)
    }

    fn write<E: Emit>(&self, schema: &TableSchema, row: &Row, image: Image, out: &mut E) -> Result<()> {
        let column = || schema.columns.get(self.index).ok_or_else(|| Error::bug("a row has a column too few"));
        match (row.cell(self.index), self.union) {
            (Cell::Null, Some((null, _))) => out.null(null),
            (Cell::Null, None) => {
                return Err(Error::data("a cell is NULL although the source forbids it now")
                    .on(format!("column {}", column()?.name)));
            }
            (Cell::Unchanged, _) => out.prepared(match image {
                Image::Before => &self.absent,
                Image::After => &self.unavailable,
            }),
            (Cell::Data(bytes), union) => {
                if let Some((_, some)) = union {
                    out.some(some);
                }
                let column = column()?;
                let value = column.decode(bytes)?;
                self.conversion.write(&value, out).map_err(|error| error.on(format!("column {}", column.name)))?;
            }
        }
        Ok(())
    }
}

/// Writes the record.
pub(crate) fn write<E: Emit>(
    plans: &[ColumnPlan],
    schema: &TableSchema,
    row: &Row,
    image: Image,
    out: &mut E,
) -> Result<()> {
    out.record();
    for (place, plan) in plans.iter().enumerate() {
        out.field(place, &plan.json_name);
        plan.write(schema, row, image, out)?;
    }
    out.record_end();
    Ok(())
}

/// Null, or what Debezium writes where null is forbidden: the default, else the type's zero.
fn absent<E: Emit>(schema: &Schema, out: &mut E) {
    match (&schema.default, schema.null_branch()) {
        (None, Some(null)) => out.null(null),
        (Some(default), union) => {
            if let Some(null) = union {
                out.some(1 - null);
            }
            defaults::write(default, out);
        }
        (None, None) => zero(schema, out),
    }
}

/// What stands for a cell that the log does not carry.
enum Placeholder<'a> {
    Text(&'a str),
    Bytes(&'a str),
    /// A map of the placeholder to itself.
    Pair(&'a str),
    List(&'a Kind, &'a str),
    Int(u8),
}

impl Placeholder<'_> {
    fn write<E: Emit>(&self, union: Option<u8>, out: &mut E) {
        if let Some(some) = union {
            out.some(some);
        }
        match self {
            Self::Text(text) => out.text(text),
            Self::Bytes(text) => out.bytes(text.as_bytes()),
            Self::Pair(text) => hstore_map(&[((*text).into(), Some((*text).into()))], out),
            Self::Int(number) => out.int(i64::from(*number)),
            Self::List(kind, text) => {
                let elements: Vec<Placeholder<'_>> = match kind {
                    Kind::Int16 | Kind::Int32 | Kind::Int64 => text.bytes().map(Placeholder::Int).collect(),
                    Kind::Bytes => vec![Placeholder::Bytes(text)],
                    _ => vec![Placeholder::Text(text)],
                };
                out.list(elements.len());
                for (index, element) in elements.iter().enumerate() {
                    out.item(index);
                    element.write(Some(1), out);
                }
                out.list_end(elements.len());
            }
        }
    }
}

/// Debezium's forms of the placeholder; `None` for types that have none.
fn placeholder_of(schema: &Schema, conversion: &Conversion, text: &str) -> Option<Prepared> {
    let json = format!("{{{0}:{0}}}", json_string_of(text));
    let value = match (&schema.kind, conversion) {
        (Kind::Text, Conversion::HstoreJson) => Placeholder::Text(&json),
        (Kind::Text, Conversion::Bytes(BinaryMode::Base64 | BinaryMode::Base64UrlSafe)) => return None,
        (Kind::Text, _) => Placeholder::Text(text),
        (Kind::Bytes, Conversion::Bytes(_)) => Placeholder::Bytes(text),
        (Kind::Map(_), _) => Placeholder::Pair(text),
        (Kind::List(items), Conversion::List { element, optional: true }) => match (&items.kind, &**element) {
            (kind @ Kind::Text, Conversion::Uuid) => Placeholder::List(kind, uuid_of(text)?),
            (kind @ Kind::Text, Conversion::Text) | (kind @ Kind::Bytes, Conversion::Bytes(_)) => {
                Placeholder::List(kind, text)
            }
            (Kind::Int32, _) if items.name.as_deref() == Some(name::CONNECT_DATE) => return None,
            (kind @ (Kind::Int16 | Kind::Int32 | Kind::Int64), _) => Placeholder::List(kind, text),
            _ => return None,
        },
        _ => return None,
    };
    let some = schema.null_branch().map(|null| 1 - null);
    let mut prepared = Prepared::default();
    value.write(some, &mut AvroOut(&mut prepared.avro));
    value.write(some, &mut JsonOut::new(&mut prepared.json));
    Some(prepared)
}

/// A name-based UUID of the placeholder. Known for Debezium's own; another one's is no value worth a hash function.
fn uuid_of(text: &str) -> Option<&'static str> {
    (text == crate::settings::UNAVAILABLE).then_some("b68a35a7-17ad-35b3-af2a-ae46edb4545a")
}
