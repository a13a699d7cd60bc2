//! The JSON single-value form of the Iceberg spec (appendix D), for the initial defaults of columns.

use std::fmt::Write as _;

use serde_json::Value as Json;
use walbrook_model::{Decimal, Error, Result, Value};

use crate::layout::LakeType;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A value as JSON.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if the form has no place for it: NaN, infinity, a year outside of 1 to 9999, a
/// list (few readers fill one in).
pub(crate) fn to_json(value: &Value<'_>, ty: &LakeType) -> Result<Json> {
    Ok(match (ty, value) {
        (LakeType::Bool, Value::Bool(v)) => Json::from(*v),
        (LakeType::Int | LakeType::Long, Value::Int(v)) => Json::from(*v),
        (LakeType::Float, Value::Float32(v)) if v.is_finite() => Json::from(*v),
        (LakeType::Double, Value::Float64(v)) if v.is_finite() => Json::from(*v),
        (LakeType::Decimal { scale, .. }, Value::Decimal(v)) if v.scale == *scale => Json::from(v.to_string()),
        (LakeType::String, Value::Text(v)) => Json::from(v.as_ref()),
        (LakeType::Binary, Value::Bytes(v)) => Json::from(hex(v)),
        (LakeType::Uuid, Value::Uuid(v)) => Json::from(uuid::Uuid::from_bytes(*v).to_string()),
        (LakeType::Date, Value::Date(v)) => Json::from(date(i64::from(*v))?),
        (LakeType::Timestamp, Value::Timestamp(v)) => Json::from(timestamp(*v)?),
        (LakeType::TimestampTz, Value::TimestampTz(v)) => Json::from(timestamp(*v)? + "+00:00"),
        _ => return Err(Error::data("no JSON form of this value as a column default")),
    })
}

/// A value from JSON.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if it is not the form of a value of this type.
pub(crate) fn from_json(json: &Json, ty: &LakeType) -> Result<Value<'static>> {
    parse(json, ty)
        .ok_or_else(|| Error::data("the table's metadata has a column default that is not of the column's type"))
}

fn parse(json: &Json, ty: &LakeType) -> Option<Value<'static>> {
    Some(match ty {
        LakeType::Bool => Value::Bool(json.as_bool()?),
        LakeType::Int | LakeType::Long => Value::Int(json.as_i64()?),
        #[allow(clippy::cast_possible_truncation, reason = "the value was single precision when it was written")]
        LakeType::Float => Value::Float32(json.as_f64()? as f32),
        LakeType::Double => Value::Float64(json.as_f64()?),
        LakeType::Decimal { scale, .. } => Value::Decimal(parse_decimal(json.as_str()?, *scale)?),
        LakeType::String => Value::Text(json.as_str()?.to_owned().into()),
        LakeType::Binary => Value::Bytes(parse_hex(json.as_str()?)?.into()),
        LakeType::Uuid => Value::Uuid(uuid::Uuid::parse_str(json.as_str()?).ok()?.into_bytes()),
        LakeType::Date => Value::Date(i32::try_from(parse_date(json.as_str()?)?).ok()?),
        LakeType::Timestamp => Value::Timestamp(parse_timestamp(json.as_str()?)?),
        LakeType::TimestampTz => Value::TimestampTz(parse_timestamp(json.as_str()?.strip_suffix("+00:00")?)?),
        LakeType::List { .. } => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn parse_decimal(text: &str, scale: u8) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    (fraction.len() == usize::from(scale)).then_some(())?;
    Some(Decimal { unscaled: format!("{whole}{fraction}").parse().ok()?, scale })
}

/// `YYYY-MM-DD` of a day since 1970, in the proleptic Gregorian calendar.
fn date(days: i64) -> Result<String> {
    let (year, month, day) = civil(days);
    if !(1..=9999).contains(&year) {
        return Err(Error::data("a date outside of the years 1 to 9999"));
    }
    Ok(format!("{year:04}-{month:02}-{day:02}"))
}

fn timestamp(micros: i64) -> Result<String> {
    let (days, rest) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let time = format!("{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    Ok(format!("{}T{time}", date(days)?))
}

fn parse_timestamp(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.splitn(3, ':').map(|part| part.parse::<u16>().ok().map(i64::from));
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    let of_day = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
    (fraction.len() <= 6 && (0..MICROS_PER_DAY).contains(&of_day)).then_some(())?;
    parse_date(date)?.checked_mul(MICROS_PER_DAY)?.checked_add(of_day)
}

fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<u16>().ok().map(i64::from));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=12).contains(&month) {
        return None;
    }
    let days = days(year, month, day);
    (civil(days) == (year, month, day)).then_some(days)
}

/// Years are counted from March, in eras of 400 years (146,097 days), so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_are_those_of_the_spec() {
        let check = |ty: LakeType, value: Value<'static>, json: Json| {
            assert_eq!(to_json(&value, &ty).unwrap(), json);
            assert_eq!(from_json(&json, &ty).unwrap(), value);
        };
        check(LakeType::Bool, Value::Bool(true), Json::from(true));
        check(LakeType::Long, Value::Int(i64::MIN), Json::from(i64::MIN));
        check(LakeType::Float, Value::Float32(0.1), Json::from(0.1f32));
        check(LakeType::Double, Value::Float64(-0.5), Json::from(-0.5));
        let decimal = LakeType::Decimal { precision: 9, scale: 2 };
        check(decimal.clone(), Value::Decimal(Decimal { unscaled: -5, scale: 2 }), Json::from("-0.05"));
        check(decimal, Value::Decimal(Decimal { unscaled: 1420, scale: 2 }), Json::from("14.20"));
        check(LakeType::String, Value::Text("é".into()), Json::from("é"));
        check(LakeType::Binary, Value::Bytes(vec![0, 255].into()), Json::from("00ff"));
        let uuid = "f79c3e09-677c-4bbd-a479-3f349cb785e7";
        check(LakeType::Uuid, Value::Uuid(uuid::Uuid::parse_str(uuid).unwrap().into_bytes()), Json::from(uuid));
        check(LakeType::Date, Value::Date(17_486), Json::from("2017-11-16"));
        check(LakeType::Date, Value::Date(-1), Json::from("1969-12-31"));
        let micros = 1_510_871_468_123_456;
        check(LakeType::Timestamp, Value::Timestamp(micros), Json::from("2017-11-16T22:31:08.123456"));
        check(LakeType::TimestampTz, Value::TimestampTz(micros), Json::from("2017-11-16T22:31:08.123456+00:00"));
    }

    #[test]
    fn what_has_no_form_is_an_error() {
        let check = |ty: LakeType, value: Value<'static>| assert!(to_json(&value, &ty).is_err(), "{value:?}");
        check(LakeType::Double, Value::Float64(f64::NAN));
        check(LakeType::Date, Value::Date(i32::MAX));
        check(LakeType::Timestamp, Value::Timestamp(i64::MAX));
        check(LakeType::Int, Value::Text("1".into()));
        for text in ["2017-02-29", "x", "2017-1", ""] {
            assert!(from_json(&Json::from(text), &LakeType::Date).is_err(), "{text}");
        }
        for text in ["2017-02-28T24:00:00", "2017-02-28", "2017-02-28T00:00:00.1234567"] {
            assert!(from_json(&Json::from(text), &LakeType::Timestamp).is_err(), "{text}");
        }
        assert!(from_json(&Json::from("0g"), &LakeType::Binary).is_err());
        assert!(from_json(&Json::from("abc"), &LakeType::Binary).is_err());
    }

    proptest! {
        #[test]
        fn instants_come_back(micros in -62_135_596_800_000_000i64..253_402_300_800_000_000) {
            let json = to_json(&Value::Timestamp(micros), &LakeType::Timestamp).unwrap();
            prop_assert_eq!(from_json(&json, &LakeType::Timestamp).unwrap(), Value::Timestamp(micros));
        }
    }
}
