//! What tests and benchmarks of this crate are written with: shapes and rows of text cells, a catalog in memory.

mod bench;
mod memory;
mod stages;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use bench::{bench_row, bench_schema};
pub use memory::{Fault, MemoryCatalog, Plan};
pub use stages::Stages;
use walbrook_model::{
    Cell, Checkpoint, Column, ColumnType, Decimal, Error, Result, Row, RowBuilder, TableId, TableSchema, Value,
    merge_entries,
};

/// A nullable column whose cells are text.
pub fn column(name: &str, ty: ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        source_type: format!("{ty:?}").to_lowercase(),
        ty,
        nullable: true,
        initial_default: None,
        facts: Arc::default(),
        decoder: decode,
    }
}

/// [`walbrook_model::MergeCheckpoints`] of a source whose checkpoint has a number for each of its topics.
pub fn merge_numbers(base: Option<&Checkpoint>, mine: &Checkpoint, theirs: Option<&Checkpoint>) -> Result<Checkpoint> {
    type Numbers = BTreeMap<String, u64>;
    let failed = |error: serde_json::Error| Error::bug("numbers").because(error);
    let read = |checkpoint: Option<&Checkpoint>| -> Result<Numbers> {
        checkpoint.map_or_else(|| Ok(Numbers::new()), |known| serde_json::from_str(known.as_str()).map_err(failed))
    };
    let merged = merge_entries("topic", &read(base)?, &read(Some(mine))?, &read(theirs)?)?;
    Ok(Checkpoint::new(serde_json::to_string(&merged).map_err(failed)?))
}

/// A shape of the table `schema.name`.
pub fn schema(table: &str, columns: Vec<Column>, key: &[usize]) -> Arc<TableSchema> {
    let (schema, name) = table.split_once('.').unwrap_or(("public", table));
    Arc::new(TableSchema { table: TableId::new(schema, name), columns, key: key.to_vec() })
}

/// A row of text cells: `~` is NULL, `?` is unchanged.
pub fn row(cells: &[&str]) -> Row {
    let mut row = RowBuilder::default();
    for cell in cells {
        row.push(match *cell {
            "~" => Cell::Null,
            "?" => Cell::Unchanged,
            text => Cell::Data(text.as_bytes()),
        });
    }
    row.finish()
}

fn decode<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::data("not UTF-8"))?;
    parse(ty, text).ok_or_else(|| Error::data("bytes are not of the type"))
}

fn parse<'a>(ty: &ColumnType, text: &'a str) -> Option<Value<'a>> {
    Some(match ty {
        ColumnType::Bool => Value::Bool(text == "t"),
        ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => Value::Int(text.parse().ok()?),
        ColumnType::Float32 => Value::Float32(text.parse().ok()?),
        ColumnType::Float64 => Value::Float64(text.parse().ok()?),
        ColumnType::Decimal { scale, .. } => {
            let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let zeros = usize::from(*scale).checked_sub(fraction)?;
            let unscaled = (text.replace('.', "") + &"0".repeat(zeros)).parse().ok()?;
            Value::Decimal(Decimal { unscaled, scale: *scale })
        }
        ColumnType::Text | ColumnType::Json => Value::Text(text.into()),
        ColumnType::Bytes => Value::Bytes(text.as_bytes().into()),
        ColumnType::Uuid => Value::Uuid(uuid::Uuid::parse_str(text).ok()?.into_bytes()),
        ColumnType::Date => Value::Date(text.parse().ok()?),
        ColumnType::Time => Value::Time(text.parse().ok()?),
        ColumnType::Timestamp => Value::Timestamp(text.parse().ok()?),
        ColumnType::TimestampTz => Value::TimestampTz(text.parse().ok()?),
        ColumnType::List(item) => {
            let items = text.split('|').filter(|item| !item.is_empty());
            Value::List(
                items
                    .map(|text| if text == "~" { Some(Value::Null) } else { parse(item, text) })
                    .collect::<Option<_>>()?,
            )
        }
    })
}
