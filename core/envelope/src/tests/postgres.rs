//! Columns as the source for `PostgreSQL` describes and decodes them: its text forms, for tests.

use std::sync::Arc;

use walbrook_model::{Cell, Column, ColumnType, Decimal, DecodeCell, Error, Result, Row, RowBuilder, Value};

use crate::sql_type::SqlType;
use crate::{calendar, decimal, text};

/// The type of a column with this base type.
pub(crate) fn column_type(base: &str) -> ColumnType {
    let sql = SqlType::parse(base);
    if sql.dimensions > 0 {
        let element = base.strip_suffix("[]").unwrap();
        return ColumnType::List(Box::new(column_type(element)));
    }
    match sql.name.as_str() {
        "boolean" => ColumnType::Bool,
        "smallint" => ColumnType::Int16,
        "integer" => ColumnType::Int32,
        "bigint" | "oid" => ColumnType::Int64,
        "real" => ColumnType::Float32,
        "double precision" => ColumnType::Float64,
        "json" | "jsonb" => ColumnType::Json,
        "bytea" => ColumnType::Bytes,
        "uuid" => ColumnType::Uuid,
        "date" => ColumnType::Date,
        "time without time zone" => ColumnType::Time,
        "timestamp without time zone" => ColumnType::Timestamp,
        "timestamp with time zone" => ColumnType::TimestampTz,
        "money" => ColumnType::Decimal { precision: 19, scale: 2 },
        "amount_d" => ColumnType::Decimal { precision: 10, scale: 3 },
        "numeric" => match sql.modifiers.as_slice() {
            [precision @ ..=38, scale] if *scale < 0 => {
                ColumnType::Decimal { precision: u8::try_from(precision - scale).unwrap(), scale: 0 }
            }
            [precision @ ..=38, scale @ ..=38] => ColumnType::Decimal {
                precision: u8::try_from(*precision.max(scale)).unwrap(),
                scale: u8::try_from(*scale).unwrap(),
            },
            _ => ColumnType::Text,
        },
        _ => ColumnType::Text,
    }
}

/// A column that reads the server's text.
pub(crate) fn column(name: &str, source_type: &str, base: &str) -> Column {
    Column {
        name: name.to_owned(),
        ty: column_type(base),
        nullable: true,
        source_type: source_type.to_owned(),
        initial_default: None,
        facts: Arc::default(),
        decoder: decode as DecodeCell,
    }
}

/// A row of such text.
pub(crate) fn row(cells: &[Option<String>]) -> Row {
    let mut builder = RowBuilder::default();
    for cell in cells {
        builder.push(cell.as_deref().map_or(Cell::Null, |text| Cell::Data(text.as_bytes())));
    }
    builder.finish()
}

/// Reads the server's text.
pub(crate) fn decode<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
    read(ty, text).ok_or_else(bad)
}

fn bad() -> Error {
    Error::data("a cell is not what the test expects")
}

fn read<'a>(ty: &ColumnType, text: &'a str) -> Option<Value<'a>> {
    Some(match ty {
        ColumnType::Bool => Value::Bool(text == "t"),
        ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => Value::Int(text.parse().ok()?),
        ColumnType::Float32 => Value::Float32(text.parse().ok()?),
        ColumnType::Float64 => Value::Float64(text.parse().ok()?),
        ColumnType::Decimal { scale, .. } => {
            let plain: String = text.chars().filter(|c| !matches!(c, '$' | ',')).collect();
            let bytes = decimal::parse(&plain)?.with_scale(usize::from(*scale))?.to_bytes();
            Value::Decimal(Decimal { unscaled: decimal::to_i128(&bytes)?, scale: *scale })
        }
        ColumnType::Text | ColumnType::Json => Value::Text(text.into()),
        ColumnType::Bytes => Value::Bytes(text::unhex(text.strip_prefix("\\x")?.as_bytes())?.into()),
        ColumnType::Uuid => Value::Uuid(text::unhex(text.replace('-', "").as_bytes())?.try_into().ok()?),
        ColumnType::Date => Value::Date(match text {
            "infinity" => i32::MAX,
            "-infinity" => -i32::MAX,
            text => i32::try_from(calendar::parse_date(&proleptic(text))?).ok()?,
        }),
        ColumnType::Time => Value::Time(calendar::parse_time(text)?),
        ColumnType::Timestamp => Value::Timestamp(instant(text)?),
        ColumnType::TimestampTz => Value::TimestampTz(instant(text)?),
        ColumnType::List(element) => Value::List(list(element, text)?),
    })
}

fn instant(text: &str) -> Option<i64> {
    match text {
        "infinity" => Some(i64::MAX),
        "-infinity" => Some(-i64::MAX),
        text => calendar::parse_timestamp(&proleptic(text)),
    }
}

/// `0044-03-15 BC` is the year -43.
fn proleptic(text: &str) -> String {
    let Some(plain) = text.strip_suffix(" BC") else { return text.to_owned() };
    let (year, rest) = plain.split_once('-').unwrap();
    format!("{:05}-{rest}", 1 - year.parse::<i64>().unwrap())
}

fn list(element: &ColumnType, text: &str) -> Option<Vec<Value<'static>>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut values = Vec::new();
    let mut chars = inner.chars().peekable();
    while chars.peek().is_some() {
        let mut item = String::new();
        let quoted = chars.peek() == Some(&'"');
        if quoted {
            chars.next();
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => item.push(chars.next()?),
                    c => item.push(c),
                }
            }
        } else {
            while chars.peek().is_some_and(|c| *c != ',') {
                item.extend(chars.next());
            }
        }
        chars.next();
        values.push(if !quoted && item == "NULL" { Value::Null } else { read(element, &item)?.into_owned() });
    }
    Some(values)
}
