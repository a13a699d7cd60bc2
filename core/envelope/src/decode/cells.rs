//! Decoders of cells: a form of a notation -> [`Value`].
//!
//! [`DecodeCell`] is a plain function, so there is one for each form, notation and kind (a value, a list, a list with
//! nulls), made by the compiler from [`read`].

use walbrook_model::{ColumnType, Decimal, DecodeCell, Error, Result, Value};

use super::avro::AvroIn;
use super::input::{Input, malformed};
use super::json::JsonIn;
use super::shape::{Form, Meaning};
use crate::encode::conversion::{INFINITY_US, MINUS_INFINITY_US};
use crate::{calendar, decimal, hstore, interval, text};

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    Avro,
    Json,
}

/// Whether the decoder of a column reads the bytes of a cell.
pub(crate) type CheckCell = fn(&ColumnType, &[u8]) -> bool;

/// The function, of those named, for a form, a notation and a kind.
macro_rules! of_form {
    ($form:expr, $kind:expr, $avro:ident, $avro_list:ident, $json:ident, $json_list:ident) => {
        of_form!(
            @ $form, $kind, $avro, $avro_list, $json, $json_list:
            Bool, Int, Float32, Float64, Text, Bytes, UuidText, Decimal, Days, DateText, TimeMillis, TimeMicros, TimeNanos,
            TimeText, TimestampMillis, TimestampMicros, TimestampNanos, TimestampText, Micros, InstantMillis, InstantText,
            VariableScale, Point, Map, Duration
        )
    };
    (@ $form:expr, $kind:expr, $avro:ident, $avro_list:ident, $json:ident, $json_list:ident: $($each:ident),*) => {
        match $form {
            $(Form::$each => match $kind {
                (Notation::Avro, false, _) => $avro::<{ Form::$each as u8 }>,
                (Notation::Avro, true, false) => $avro_list::<{ Form::$each as u8 }, false>,
                (Notation::Avro, true, true) => $avro_list::<{ Form::$each as u8 }, true>,
                (Notation::Json, false, _) => $json::<{ Form::$each as u8 }>,
                (Notation::Json, true, false) => $json_list::<{ Form::$each as u8 }, false>,
                (Notation::Json, true, true) => $json_list::<{ Form::$each as u8 }, true>,
            },)*
        }
    };
}

/// The decoder of a column.
pub(crate) fn decoder(notation: Notation, form: Form, is_list: bool, nullable_elements: bool) -> DecodeCell {
    of_form!(form, (notation, is_list, nullable_elements), avro, avro_list, json, json_list)
}

/// What tells whether [`decoder`] reads a cell, without giving its value. `None`: it reads all that can be taken out of a
/// message.
pub(crate) fn check(notation: Notation, meaning: &Meaning) -> Option<CheckCell> {
    let is_list = matches!(meaning.ty, ColumnType::List(_));
    let always = match meaning.form {
        Form::Float32 | Form::Float64 | Form::Bytes => true,
        Form::Int => meaning.ty == ColumnType::Int64,
        _ => false,
    };
    if always && notation == Notation::Avro && !is_list {
        return None;
    }
    let kind = (notation, is_list, meaning.nullable_elements);
    Some(of_form!(meaning.form, kind, is_avro, is_avro_list, is_json, is_json_list))
}

fn avro<'a, const FORM: u8>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    one::<FORM, _>(ty, AvroIn(bytes))
}

fn is_avro<const FORM: u8>(ty: &ColumnType, bytes: &[u8]) -> bool {
    one::<FORM, _>(ty, AvroIn(bytes)).is_ok()
}

fn avro_list<'a, const FORM: u8, const NULLS: bool>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    many::<FORM, NULLS, _>(ty, AvroIn(bytes))
}

fn is_avro_list<const FORM: u8, const NULLS: bool>(ty: &ColumnType, bytes: &[u8]) -> bool {
    each::<FORM, NULLS, _>(ty, AvroIn(bytes), drop).is_ok()
}

fn json<'a, const FORM: u8>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    one::<FORM, _>(ty, JsonIn(Some(std::str::from_utf8(bytes).map_err(|_| malformed())?)))
}

fn is_json<const FORM: u8>(ty: &ColumnType, bytes: &[u8]) -> bool {
    json::<FORM>(ty, bytes).is_ok()
}

fn json_list<'a, const FORM: u8, const NULLS: bool>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    many::<FORM, NULLS, _>(ty, JsonIn(Some(std::str::from_utf8(bytes).map_err(|_| malformed())?)))
}

fn is_json_list<const FORM: u8, const NULLS: bool>(ty: &ColumnType, bytes: &[u8]) -> bool {
    json_list::<FORM, NULLS>(ty, bytes).is_ok()
}

fn one<'a, const FORM: u8, I: Input<'a>>(ty: &ColumnType, mut input: I) -> Result<Value<'a>> {
    let value = read(FORM, ty, &mut input)?;
    input.end()?;
    Ok(value)
}

fn many<'a, const FORM: u8, const NULLS: bool, I: Input<'a>>(ty: &ColumnType, input: I) -> Result<Value<'a>> {
    let mut values = Vec::new();
    each::<FORM, NULLS, _>(ty, input, |value| values.push(value))?;
    Ok(Value::List(values))
}

/// Reads the elements of a list.
fn each<'a, const FORM: u8, const NULLS: bool, I: Input<'a>>(
    ty: &ColumnType,
    mut input: I,
    mut take: impl FnMut(Value<'a>),
) -> Result<()> {
    let ColumnType::List(element) = ty else { return Err(Error::bug("a column with the decoder of lists is none")) };
    input.list(NULLS, &mut |input| {
        take(match input {
            Some(input) => read(FORM, element, input)?,
            None => Value::Null,
        });
        Ok(())
    })?;
    input.end()
}

/// Reads a value. `form` is a constant in each decoder.
#[inline(always)]
#[allow(clippy::inline_always, reason = "so that each decoder keeps one arm")]
fn read<'a, I: Input<'a>>(form: u8, ty: &ColumnType, input: &mut I) -> Result<Value<'a>> {
    const fn is(form: u8, wanted: Form) -> bool {
        form == wanted as u8
    }
    Ok(match form {
        _ if is(form, Form::Bool) => Value::Bool(input.boolean()?),
        _ if is(form, Form::Int) => Value::Int(integer(ty, input.int()?)?),
        _ if is(form, Form::Float32) => Value::Float32(input.float32()?),
        _ if is(form, Form::Float64) => Value::Float64(input.float64()?),
        _ if is(form, Form::Text) => Value::Text(input.text()?),
        _ if is(form, Form::Bytes) => Value::Bytes(input.bytes()?),
        _ if is(form, Form::UuidText) => Value::Uuid(uuid(&input.text()?)?),
        _ if is(form, Form::Decimal) => number(ty, &input.bytes()?)?,
        _ if is(form, Form::VariableScale) => {
            let (scale, unscaled) = input.variable_scale()?;
            Value::Text(decimal::to_text(&unscaled, scale).ok_or_else(malformed)?.into())
        }
        _ if is(form, Form::Point) => {
            let (x, y) = input.point()?;
            Value::Text(format!("({},{})", float(x), float(y)).into())
        }
        _ if is(form, Form::Map) => Value::Text(hstore::text_of(&input.map()?).into()),
        // Of a zone or of none: the column says.
        _ if is(form, Form::Micros) => match (ty, input.int()?) {
            (_, i64::MIN) => return Err(beyond_time()),
            (ColumnType::TimestampTz, micros) => Value::TimestampTz(micros),
            (_, micros) => Value::Timestamp(micros),
        },
        _ if is(form, Form::Duration) => Value::Text(interval::text_of(input.int()?).into()),
        _ => temporal(form, input)?,
    })
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "so that each decoder keeps one arm")]
fn temporal<'a, I: Input<'a>>(form: u8, input: &mut I) -> Result<Value<'a>> {
    const fn is(form: u8, wanted: Form) -> bool {
        form == wanted as u8
    }
    let times = |number: i64, unit: i64| number.checked_mul(unit).ok_or_else(beyond_time);
    Ok(match form {
        _ if is(form, Form::Days) => Value::Date(i32::try_from(input.int()?).map_err(|_| beyond_time())?),
        _ if is(form, Form::DateText) => Value::Date(match &*input.text()? {
            "infinity" => i32::MAX,
            "-infinity" => -i32::MAX,
            text => {
                parsed(calendar::parse_date(text)).and_then(|days| i32::try_from(days).map_err(|_| beyond_time()))?
            }
        }),
        _ if is(form, Form::TimeMillis) => Value::Time(day(times(input.int()?, 1000)?)?),
        _ if is(form, Form::TimeMicros) => Value::Time(day(input.int()?)?),
        _ if is(form, Form::TimeNanos) => Value::Time(day(whole(input.int()?)?)?),
        _ if is(form, Form::TimeText) => Value::Time(parsed(calendar::parse_time(&input.text()?))?),
        _ if is(form, Form::TimestampMillis) => {
            // Debezium's infinity, cut to milliseconds.
            Value::Timestamp(match input.int()? {
                millis if millis == INFINITY_US / 1000 => i64::MAX,
                millis if millis == MINUS_INFINITY_US / 1000 => -i64::MAX,
                millis => times(millis, 1000)?,
            })
        }
        _ if is(form, Form::TimestampMicros) => Value::Timestamp(match input.int()? {
            INFINITY_US => i64::MAX,
            MINUS_INFINITY_US => -i64::MAX,
            micros => finite(micros)?,
        }),
        _ if is(form, Form::TimestampNanos) => Value::Timestamp(match input.int()? {
            i64::MAX => i64::MAX,
            i64::MIN => -i64::MAX,
            nanos => whole(nanos)?,
        }),
        _ if is(form, Form::TimestampText) => {
            Value::Timestamp(match parsed(calendar::parse_timestamp(&input.text()?))? {
                INFINITY_US => i64::MAX,
                MINUS_INFINITY_US => -i64::MAX,
                micros => finite(micros)?,
            })
        }
        _ if is(form, Form::InstantMillis) => Value::TimestampTz(times(input.int()?, 1000)?),
        _ if is(form, Form::InstantText) => Value::TimestampTz(match &*input.text()? {
            "infinity" => i64::MAX,
            "-infinity" => -i64::MAX,
            text => finite(parsed(calendar::parse_timestamp(text))?)?,
        }),
        _ => return Err(Error::bug("a form without a reader")),
    })
}

/// The bytes are what their schema says, and mean what the column cannot hold. The value is not said: this is logged.
#[cold]
fn misfit(what: &str) -> Error {
    Error::data(what)
}

#[cold]
fn beyond_time() -> Error {
    misfit("a time outside of the range of its column's type")
}

/// As a number of its column.
fn integer(ty: &ColumnType, number: i64) -> Result<i64> {
    let fits = match ty {
        ColumnType::Int16 => i16::try_from(number).is_ok(),
        ColumnType::Int32 => i32::try_from(number).is_ok(),
        _ => true,
    };
    if fits { Ok(number) } else { Err(misfit("a number outside of the range of its column's type")) }
}

fn number<'a>(ty: &ColumnType, unscaled: &[u8]) -> Result<Value<'a>> {
    let ColumnType::Decimal { precision, scale } = ty else {
        return Err(Error::bug("a column with the decoder of decimals is none"));
    };
    let number = decimal::to_i128(unscaled).map(|unscaled| Decimal { unscaled, scale: *scale });
    let number = number.filter(|number| number.has_digits(*precision));
    number.map(Value::Decimal).ok_or_else(|| misfit("a number with more digits than its column's type has"))
}

fn uuid(text: &str) -> Result<[u8; 16]> {
    parse_uuid(text).ok_or_else(|| misfit("a text that is no UUID"))
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut digits = [0; 32];
    let mut places = digits.iter_mut();
    for (index, byte) in bytes.iter().enumerate() {
        match (matches!(index, 8 | 13 | 18 | 23), byte) {
            (true, b'-') => {}
            (true, _) => return None,
            (false, byte) => *places.next()? = *byte,
        }
    }
    text::unhex(&digits)?.try_into().ok()
}

fn parsed(number: Option<i64>) -> Result<i64> {
    number.ok_or_else(|| misfit("a text that is no date or time"))
}

/// A time of day.
fn day(micros: i64) -> Result<i64> {
    if (0..=86_400_000_000).contains(&micros) { Ok(micros) } else { Err(misfit("a time outside of the day")) }
}

/// Microseconds of nanoseconds, if nothing is lost.
fn whole(nanos: i64) -> Result<i64> {
    if nanos % 1000 == 0 { Ok(nanos / 1000) } else { Err(misfit("a time with a fraction of a microsecond")) }
}

/// No number that stands for infinity.
fn finite(micros: i64) -> Result<i64> {
    if micros == i64::MAX || micros <= -i64::MAX { Err(beyond_time()) } else { Ok(micros) }
}

/// A float as the server prints it: the shortest that reads back, with an exponent beyond 15 digits.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..15).contains(&exponent) || value == 0.0 {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests;
