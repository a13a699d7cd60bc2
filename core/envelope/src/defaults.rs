//! Defaults in schemas, as Debezium reads them from the default's expression: a constant as it is, a function as the
//! type's zero, anything else and any other type as none.

use walbrook_model::{ColumnType, Decimal, Value};

use crate::calendar;
use crate::connect::{Literal, Schema};
use crate::decimal;
use crate::encode::conversion::Conversion;
use crate::encode::emit::{Emit, Prepared};
use crate::sql_type::SqlType;

/// The default of a column whose source has `expression`.
pub(crate) fn literal(
    expression: &str,
    ty: &ColumnType,
    sql: &SqlType,
    is_enum: bool,
    shape: &(Schema, Conversion),
) -> Option<Literal> {
    if sql.dimensions > 0 {
        return None;
    }
    let text = if is_enum { enum_label(expression)? } else { constant(expression, zero(ty, sql)?)? };
    let value = value(ty, text)?;
    let mut captured = Capture::default();
    shape.1.write(&value, &mut captured).ok()?;
    captured.literal
}

/// What stands for the result of a function; `None` for types whose defaults Debezium does not read.
fn zero(ty: &ColumnType, sql: &SqlType) -> Option<&'static str> {
    Some(match ty {
        ColumnType::Bool => "false",
        ColumnType::Int64 if sql.name == "oid" => return None,
        ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => "0",
        ColumnType::Decimal { .. } if sql.name == "money" => return None,
        ColumnType::Float32 | ColumnType::Float64 | ColumnType::Decimal { .. } => "0.0",
        ColumnType::Json => "{}",
        ColumnType::Uuid => "00000000-0000-0000-0000-000000000000",
        ColumnType::Date => "1970-01-01",
        ColumnType::Time => "00:00",
        ColumnType::Timestamp | ColumnType::TimestampTz => "1970-01-01 00:00:00",
        ColumnType::Text => match sql.name.as_str() {
            "text" | "character varying" | "character" | "bpchar" | "xml" => "",
            "numeric" => "0.0",
            "bit" => "00",
            "bit varying" => "0",
            name if name.starts_with("interval") => "PT0S",
            _ => return None,
        },
        ColumnType::Bytes | ColumnType::List(_) => return None,
    })
}

/// The constant of the expression, or `zero` for a function's result.
fn constant<'a>(expression: &'a str, zero: &'a str) -> Option<&'a str> {
    const CLOCKS: [&str; 5] = ["current_timestamp", "current_time", "current_date", "localtime", "localtimestamp"];
    if is_call(expression) || CLOCKS.iter().any(|clock| clock.eq_ignore_ascii_case(expression)) {
        return Some(zero);
    }
    match expression.split_once('\'') {
        // Up to the next quote, also if that is half of a doubled one: so does Debezium.
        Some((_, rest)) => rest.split_once('\'').map(|(text, _)| text),
        None if expression.starts_with("NULL::") => None,
        None => Some(expression),
    }
}

/// `name(...)`, perhaps inside a bracket.
fn is_call(expression: &str) -> bool {
    let rest = expression.strip_prefix('(').unwrap_or(expression);
    let name = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')).count();
    let after = rest.get(name..).unwrap_or_default();
    name > 0 && after.starts_with('(') && after.contains(')')
}

/// The label before the cast to the enum.
fn enum_label(expression: &str) -> Option<&str> {
    let (label, _) = expression.rsplit_once("::")?;
    label.strip_prefix('\'')?.strip_suffix('\'')
}

/// The constant as a value of the column.
fn value<'a>(ty: &ColumnType, text: &'a str) -> Option<Value<'a>> {
    Some(match ty {
        ColumnType::Bool => Value::Bool(text.eq_ignore_ascii_case("true")),
        ColumnType::Int16 => Value::Int(text.parse::<i16>().ok()?.into()),
        ColumnType::Int32 => Value::Int(text.parse::<i32>().ok()?.into()),
        ColumnType::Int64 => Value::Int(text.parse().ok()?),
        ColumnType::Float32 => Value::Float32(text.parse().ok()?),
        ColumnType::Float64 => Value::Float64(text.parse().ok()?),
        ColumnType::Decimal { scale, .. } => {
            let unscaled = decimal::parse(text)?.with_scale(usize::from(*scale))?.to_bytes();
            Value::Decimal(Decimal { unscaled: decimal::to_i128(&unscaled)?, scale: *scale })
        }
        ColumnType::Uuid => {
            let digits: String = text.chars().filter(|c| *c != '-').collect();
            Value::Uuid(crate::text::unhex(digits.as_bytes())?.try_into().ok()?)
        }
        ColumnType::Date => Value::Date(i32::try_from(calendar::parse_date(text.get(..10)?)?).ok()?),
        ColumnType::Time => Value::Time(calendar::parse_time(text)?),
        ColumnType::Timestamp => Value::Timestamp(calendar::parse_timestamp(text)?),
        ColumnType::TimestampTz => Value::TimestampTz(calendar::parse_timestamp(text)?),
        ColumnType::Text | ColumnType::Json => Value::Text(text.into()),
        ColumnType::Bytes | ColumnType::List(_) => return None,
    })
}

/// Keeps the one value that is written; a record, list or map is none.
#[derive(Default)]
struct Capture {
    literal: Option<Literal>,
    nested: bool,
}

impl Capture {
    fn keep(&mut self, literal: Literal) {
        self.literal = if self.nested { None } else { Some(literal) };
    }

    fn nest(&mut self) {
        self.nested = true;
        self.literal = None;
    }
}

impl Emit for Capture {
    fn null(&mut self, _: u8) {}
    fn some(&mut self, _: u8) {}
    fn boolean(&mut self, value: bool) {
        self.keep(Literal::Boolean(value));
    }
    fn int(&mut self, value: i64) {
        self.keep(Literal::Int(value));
    }
    fn float32(&mut self, value: f32) {
        self.keep(Literal::Float32(value));
    }
    fn float64(&mut self, value: f64) {
        self.keep(Literal::Float64(value));
    }
    fn text(&mut self, value: &str) {
        self.keep(Literal::Text(value.to_owned()));
    }
    fn bytes(&mut self, value: &[u8]) {
        self.keep(Literal::Bytes(value.to_vec()));
    }
    fn decimal(&mut self, unscaled: &[u8], _: u8) {
        self.bytes(unscaled);
    }
    fn list(&mut self, _: usize) {
        self.nest();
    }
    fn item(&mut self, _: usize) {}
    fn list_end(&mut self, _: usize) {}
    fn map(&mut self, _: usize) {
        self.nest();
    }
    fn map_key(&mut self, _: usize, _: &str) {}
    fn map_end(&mut self, _: usize) {}
    fn record(&mut self) {
        self.nest();
    }
    fn field(&mut self, _: usize, _: &str) {}
    fn record_end(&mut self) {}
    fn prepared(&mut self, _: &Prepared) {}
}

/// Writes a default where the source has no value.
pub(crate) fn write<E: Emit>(literal: &Literal, out: &mut E) {
    match literal {
        Literal::Boolean(value) => out.boolean(*value),
        Literal::Int(value) => out.int(*value),
        Literal::Float32(value) => out.float32(*value),
        Literal::Float64(value) => out.float64(*value),
        Literal::Text(value) => out.text(value),
        Literal::Bytes(value) => out.bytes(value),
    }
}
