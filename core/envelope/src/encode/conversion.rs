//! From the value of a cell to what its schema says, compiled once per column.
//!
//! Lossless or an error, except where the operator chose a mode that loses digits.

use walbrook_model::{Error, Result, Value};

use super::emit::Emit;
use crate::calendar::{self, Fraction};
use crate::connect::{Kind, Schema, name};
use crate::interval::Interval;
use crate::settings::BinaryMode;
use crate::text::{Alphabet, base64, hex, json_string};
use crate::{bits, decimal, hstore};

/// How the cells of a column are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Conversion {
    Bool,
    Int,
    Float32,
    Float64,
    Text,
    Uuid,
    Bytes(BinaryMode),
    /// Text as bytes, by the binary mode.
    Opaque(BinaryMode),
    Decimal,
    DecimalDouble,
    DecimalText,
    /// Text of a number, as unscaled bytes of the scale.
    Scaled(u8),
    /// Text of a number, as scale and unscaled bytes.
    VariableScale,
    /// Text of a number, as a double.
    Double,
    Days,
    DateText,
    TimeMicros,
    TimeMillis,
    TimeNanos,
    TimeText,
    /// Microseconds, infinity as the model has it.
    Instant,
    /// Units of this many microseconds, infinity as Debezium has it.
    Timestamp(i64),
    TimestampNanos,
    TimestampText,
    Zoned(Fraction),
    ZonedTime,
    IntervalMicros,
    IntervalText,
    Bit,
    Bits,
    Point,
    HstoreJson,
    HstoreMap,
    List {
        element: Box<Conversion>,
        optional: bool,
    },
}

/// Debezium's infinity, in microseconds.
pub(crate) const INFINITY_US: i64 = 9_223_372_036_825_200_000;
/// Debezium's minus infinity, in microseconds.
pub(crate) const MINUS_INFINITY_US: i64 = -9_223_372_036_832_400_000;

impl Conversion {
    /// Writes a value that is there: not null, not unchanged.
    pub(crate) fn write<E: Emit>(&self, value: &Value<'_>, out: &mut E) -> Result<()> {
        match (self, value) {
            (Self::Text, Value::Text(text)) => out.text(text),
            (Self::Int, Value::Int(number)) => out.int(*number),
            (Self::Bool, Value::Bool(value)) => out.boolean(*value),
            (Self::Float32, Value::Float32(value)) => out.float32(*value),
            (Self::Float64, Value::Float64(value)) => out.float64(*value),
            (Self::Decimal, Value::Decimal(number)) => {
                out.decimal(decimal::minimal(number.unscaled, &mut [0; 16]), number.scale);
            }
            (Self::Bytes(mode), Value::Bytes(bytes)) => binary(*mode, bytes, out),
            (Self::Opaque(mode), Value::Text(text)) => binary(*mode, text.as_bytes(), out),
            (Self::Uuid, Value::Uuid(uuid)) => out.text(uuid_text(uuid, &mut [0; 36])),
            (Self::List { element, optional }, Value::List(values)) => element.list(*optional, values, out)?,
            (_, Value::Date(_) | Value::Time(_) | Value::Timestamp(_) | Value::TimestampTz(_)) => {
                self.temporal(value, out)?;
            }
            (Self::DecimalDouble, Value::Decimal(number)) => out.float64(double(&number.to_string())?),
            (Self::DecimalText, Value::Decimal(number)) => out.text(&number.to_string()),
            (_, Value::Text(text)) => self.parsed(text, out)?,
            _ => return Err(Error::bug("a value has another type than its column")),
        }
        Ok(())
    }

    fn list<E: Emit>(&self, optional: bool, values: &[Value<'_>], out: &mut E) -> Result<()> {
        out.list(values.len());
        for (index, value) in values.iter().enumerate() {
            out.item(index);
            match value {
                Value::Null if optional => out.null(0),
                Value::Null => return Err(unrepresentable("a null inside an array of an enum")),
                value => {
                    if optional {
                        out.some(1);
                    }
                    self.write(value, out)?;
                }
            }
        }
        out.list_end(values.len());
        Ok(())
    }

    fn temporal<E: Emit>(&self, value: &Value<'_>, out: &mut E) -> Result<()> {
        match (self, value) {
            (Self::Days, Value::Date(days)) => out.int(i64::from(*days)),
            (Self::DateText, Value::Date(days)) => match *days {
                i32::MAX => out.text("infinity"),
                days if days == -i32::MAX => out.text("-infinity"),
                days => out.text(calendar::date(i64::from(days)).as_str()),
            },
            (Self::TimeMillis, Value::Time(micros)) => out.int(micros / 1000),
            (Self::TimeNanos, Value::Time(micros)) => out.int(micros * 1000),
            (Self::TimeText, Value::Time(micros)) => out.text(calendar::time(*micros).as_str()),
            (Self::TimeMicros, Value::Time(micros))
            | (Self::Instant, Value::Timestamp(micros) | Value::TimestampTz(micros)) => out.int(*micros),
            (Self::Timestamp(unit), Value::Timestamp(micros)) => out.int(bounded(*micros).div_euclid(*unit)),
            (Self::TimestampNanos, Value::Timestamp(micros)) => out.int(match *micros {
                i64::MAX => i64::MAX,
                micros if micros == -i64::MAX => i64::MIN,
                micros => micros.checked_mul(1000).ok_or_else(|| unrepresentable("a time beyond nanoseconds"))?,
            }),
            (Self::TimestampText, Value::Timestamp(micros)) => {
                out.text(calendar::timestamp(bounded(*micros), Fraction::Needed).as_str());
            }
            (Self::Zoned(fraction), Value::TimestampTz(micros)) => match *micros {
                i64::MAX => out.text("infinity"),
                micros if micros == -i64::MAX => out.text("-infinity"),
                micros => out.text(calendar::timestamp(micros, *fraction).as_str()),
            },
            _ => return Err(Error::bug("a time has another type than its column")),
        }
        Ok(())
    }

    /// Types that the model keeps as text.
    fn parsed<E: Emit>(&self, text: &str, out: &mut E) -> Result<()> {
        match self {
            Self::Scaled(scale) => {
                let number = decimal::parse(text).and_then(|number| number.with_scale(usize::from(*scale)));
                let number = number.ok_or_else(|| unrepresentable("a number that has no exact form"))?;
                out.decimal(&number.to_bytes(), *scale);
            }
            Self::VariableScale => variable_scale(text, out)?,
            Self::Double => out.float64(double(text)?),
            Self::ZonedTime => {
                let micros = calendar::parse_zoned_time(text).ok_or_else(|| malformed("a time with a zone"))?;
                out.text(calendar::time(micros).as_str());
            }
            Self::IntervalMicros => {
                let micros = Interval::parse(text).ok_or_else(|| malformed("an interval"))?.micros();
                out.int(micros.ok_or_else(|| unrepresentable("an interval beyond 64 bits of microseconds"))?);
            }
            Self::IntervalText => out.text(&Interval::parse(text).ok_or_else(|| malformed("an interval"))?.full()),
            Self::Bit => match text {
                "0" => out.boolean(false),
                "1" => out.boolean(true),
                _ => return Err(malformed("a bit")),
            },
            Self::Bits => out.bytes(&bits::to_bytes(text).ok_or_else(|| malformed("bits"))?),
            Self::Point => point(text, out)?,
            Self::HstoreJson => {
                let pairs = hstore::parse(text).ok_or_else(|| malformed("hstore"))?;
                out.text(&hstore_json(&pairs));
            }
            Self::HstoreMap => hstore_map(&hstore::parse(text).ok_or_else(|| malformed("hstore"))?, out),
            _ => return Err(Error::bug("a text has another type than its column")),
        }
        Ok(())
    }
}

/// The server's infinity as Debezium's, which is a little nearer.
fn bounded(micros: i64) -> i64 {
    match micros {
        i64::MAX => INFINITY_US,
        micros if micros == -i64::MAX => MINUS_INFINITY_US,
        micros => micros,
    }
}

fn binary<E: Emit>(mode: BinaryMode, bytes: &[u8], out: &mut E) {
    if mode == BinaryMode::Bytes {
        return out.bytes(bytes);
    }
    let mut text = Vec::with_capacity(bytes.len() * 2 + 3);
    match mode {
        BinaryMode::Base64 => base64(&mut text, bytes, Alphabet::Standard),
        BinaryMode::Base64UrlSafe => base64(&mut text, bytes, Alphabet::UrlSafe),
        BinaryMode::Hex | BinaryMode::Bytes => hex(&mut text, bytes),
    }
    out.text(std::str::from_utf8(&text).unwrap_or_default());
}

/// `00112233-4455-6677-8899-aabbccddeeff`.
fn uuid_text<'a>(uuid: &[u8; 16], buffer: &'a mut [u8; 36]) -> &'a str {
    let nibble = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
    let digits = uuid.iter().flat_map(|byte| [nibble(byte >> 4), nibble(byte & 15)]);
    let mut places = buffer.iter_mut().enumerate();
    for digit in digits {
        if let Some((index, place)) = places.next() {
            if matches!(index, 8 | 13 | 18 | 23) {
                *place = b'-';
                if let Some((_, place)) = places.next() {
                    *place = digit;
                }
            } else {
                *place = digit;
            }
        }
    }
    std::str::from_utf8(buffer).unwrap_or_default()
}

fn variable_scale<E: Emit>(text: &str, out: &mut E) -> Result<()> {
    let number = decimal::parse(text).ok_or_else(|| unrepresentable("a number that has no exact form"))?.stripped();
    let scale = number.scale();
    let unscaled = number.with_scale(scale).ok_or_else(|| Error::bug("a number has another scale than its own"))?;
    out.record();
    out.field(0, "\"scale\"");
    out.int(i64::try_from(scale).map_err(|_| unrepresentable("a number with too many digits"))?);
    out.field(1, "\"value\"");
    out.bytes(&unscaled.to_bytes());
    out.record_end();
    Ok(())
}

fn double(text: &str) -> Result<f64> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        text => text.parse().map_err(|_| malformed("a number")),
    }
}

/// `(1.5,-2)`, with its well-known binary form.
fn point<E: Emit>(text: &str, out: &mut E) -> Result<()> {
    let inside = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let (x, y) = inside.and_then(|pair| pair.split_once(',')).ok_or_else(|| malformed("a point"))?;
    let (x, y) = (double(x)?, double(y)?);
    let mut wkb = [0; 21];
    for (place, byte) in wkb.iter_mut().zip([1, 1, 0, 0, 0].into_iter().chain(x.to_le_bytes()).chain(y.to_le_bytes())) {
        *place = byte;
    }
    out.record();
    out.field(0, "\"x\"");
    out.float64(x);
    out.field(1, "\"y\"");
    out.float64(y);
    out.field(2, "\"wkb\"");
    out.some(1);
    out.bytes(&wkb);
    out.field(3, "\"srid\"");
    out.null(0);
    out.record_end();
    Ok(())
}

pub(crate) fn hstore_json(pairs: &[hstore::Pair<'_>]) -> String {
    let mut json = vec![b'{'];
    for (index, (key, value)) in pairs.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json_string(&mut json, key);
        json.push(b':');
        match value {
            Some(value) => json_string(&mut json, value),
            None => json.extend_from_slice(b"null"),
        }
    }
    json.push(b'}');
    String::from_utf8(json).unwrap_or_default()
}

pub(crate) fn hstore_map<E: Emit>(pairs: &[hstore::Pair<'_>], out: &mut E) {
    out.map(pairs.len());
    for (index, (key, value)) in pairs.iter().enumerate() {
        out.map_key(index, key);
        match value {
            Some(value) => {
                out.some(1);
                out.text(value);
            }
            None => out.null(0),
        }
    }
    out.map_end(pairs.len());
}

/// What Debezium writes for a column that forbids NULL where it has no value: the type's zero.
pub(crate) fn zero<E: Emit>(schema: &Schema, out: &mut E) {
    match &schema.kind {
        Kind::Boolean => out.boolean(false),
        Kind::Int16 | Kind::Int32 | Kind::Int64 => out.int(0),
        Kind::Float32 => out.float32(0.0),
        Kind::Float64 => out.float64(0.0),
        Kind::Text => out.text(match schema.name.as_deref() {
            Some(name::ZONED_TIMESTAMP | name::ISO_TIMESTAMP) => "1970-01-01T00:00:00Z",
            Some(name::ZONED_TIME | name::ISO_TIME) => "00:00:00Z",
            Some(name::ISO_DATE) => "1970-01-01Z",
            _ => "",
        }),
        Kind::Bytes if schema.name.as_deref() == Some(name::DECIMAL) => out.decimal(&[0], 0),
        Kind::Bytes => out.bytes(&[]),
        Kind::List(_) => {
            out.list(0);
            out.list_end(0);
        }
        Kind::Map(_) => {
            out.map(0);
            out.map_end(0);
        }
        Kind::Record(fields) => {
            out.record();
            for (index, field) in fields.iter().enumerate() {
                out.field(index, &crate::text::json_string_of(&field.name));
                match field.schema.null_branch() {
                    Some(branch) => out.null(branch),
                    // The unscaled part of a number of no fixed scale needs a byte.
                    None if field.schema.kind == Kind::Bytes => out.bytes(&[0]),
                    None => zero(&field.schema, out),
                }
            }
            out.record_end();
        }
    }
}

#[cold]
fn malformed(what: &str) -> Error {
    Error::data(format!("a cell is not the text of {what}"))
}

#[cold]
fn unrepresentable(what: &str) -> Error {
    Error::data(format!("a cell holds {what}, which the message cannot hold"))
        .remedy("choose a mode of decimals, times or intervals that can, or leave the column out")
}
