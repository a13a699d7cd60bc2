//! Cells in the server's binary format -> [`Value`], the same that the text of the cell gives.
//!
//! A snapshot asks for this format where every column of a table has a decoder here: it costs the server a fifth less than
//! text, and numbers and times need no parsing. The forms are those of the `*send` functions of the server, which its
//! clients depend on. The same test compares text, this, and what `int8send` and its like say (`type_table.rs`).

use std::borrow::Cow;

use walbrook_model::{ColumnType, DecodeCell, Error, Result, Value};

use super::list::{element, not_a_list};
use super::number::{shape, signed};
use super::{not_representable, text};

/// The decoder of a column type.
pub(crate) fn decoder(ty: &ColumnType) -> DecodeCell {
    match ty {
        ColumnType::Bool => boolean,
        ColumnType::Int16 => int16,
        ColumnType::Int32 => int32,
        ColumnType::Int64 => int64,
        ColumnType::Float32 => float32,
        ColumnType::Float64 => float64,
        ColumnType::Decimal { .. } => decimal,
        ColumnType::Text => text,
        ColumnType::Json => json,
        ColumnType::Bytes => bytea,
        ColumnType::Uuid => uuid,
        ColumnType::Date => date,
        ColumnType::Time => time,
        ColumnType::Timestamp => timestamp,
        ColumnType::TimestampTz => timestamp_tz,
        ColumnType::List(_) => list,
    }
}

/// `boolsend`
fn boolean<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let [byte] = fixed(bytes, "a boolean")?;
    Ok(Value::Bool(byte != 0))
}

/// `int2send`
fn int16<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    Ok(Value::Int(i16::from_be_bytes(fixed(bytes, "a smallint")?).into()))
}

/// `int4send`
fn int32<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    Ok(Value::Int(i32::from_be_bytes(fixed(bytes, "an integer")?).into()))
}

/// `int8send`, or `oidsend`, which has four bytes and no sign.
fn int64<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    match *bytes {
        [a, b, c, d] => Ok(Value::Int(u32::from_be_bytes([a, b, c, d]).into())),
        _ => Ok(Value::Int(i64::from_be_bytes(fixed(bytes, "a bigint")?))),
    }
}

/// `float4send`
fn float32<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let number = f32::from_be_bytes(fixed(bytes, "a real")?);
    // There is one NaN, as in text.
    Ok(Value::Float32(if number.is_nan() { f32::NAN } else { number }))
}

/// `float8send`
fn float64<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let number = f64::from_be_bytes(fixed(bytes, "a double precision")?);
    Ok(Value::Float64(if number.is_nan() { f64::NAN } else { number }))
}

/// `numeric_send`: how many groups of four decimal digits, the power of 10,000 of the first, the sign, the digits behind
/// the point that text would show, the groups.
fn decimal<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    const NEGATIVE: u16 = 0x4000;
    const NAN: u16 = 0xC000;
    const INFINITE: [u16; 2] = [0xD000, 0xF000];
    let (precision, scale) = shape(ty)?;
    let (numbers, []) = bytes.as_chunks::<2>() else { return Err(malformed("a numeric")) };
    let [count, weight, sign, _, groups @ ..] = numbers else { return Err(malformed("a numeric")) };
    let number = |bytes: &[u8; 2]| u16::from_be_bytes(*bytes);
    let negative = match number(sign) {
        0 => false,
        NEGATIVE => true,
        NAN => return Err(not_representable("NaN")),
        sign if INFINITE.contains(&sign) => return Err(not_representable("an infinite number")),
        _ => return Err(malformed("a numeric")),
    };
    let groups = groups.iter().map(number);
    if usize::from(number(count)) != groups.len() || groups.clone().any(|group| group > 9999) {
        return Err(malformed("a numeric"));
    }
    // The last group ends so many digits left of the column's last one.
    let behind = i32::from(number(count)) - 1 - i32::from(i16::from_be_bytes(*weight));
    let shift = i32::from(scale) - 4 * behind;
    match unscaled(groups, shift) {
        Ok(magnitude) => signed(negative, magnitude, precision, scale),
        Err(BeyondScale) => Err(malformed("a number of the column's scale")),
    }
}

/// A digit that is not 0 lies beyond the last one of the column.
struct BeyondScale;

/// The number that the groups are, moved by `shift` digits to the left; `None` if it has too many digits.
fn unscaled(mut groups: impl DoubleEndedIterator<Item = u16>, shift: i32) -> Result<Option<u128>, BeyondScale> {
    let power = |exponent: u32| 10_u128.checked_pow(exponent);
    let Some(last) = groups.next_back() else { return Ok(Some(0)) };
    // A group of which less than four digits lie within the scale.
    let (last, kept, shift) = if let Ok(shift) = u32::try_from(shift) {
        (last, 4, shift)
    } else {
        let beyond = shift.unsigned_abs().min(4);
        let factor = 10_u16.pow(beyond);
        if last % factor != 0 || shift < -4 {
            return Err(BeyondScale);
        }
        (last / factor, 4 - beyond, 0)
    };
    let add = |sum: u128, factor: u128, group: u16| sum.checked_mul(factor)?.checked_add(group.into());
    let whole = groups.try_fold(0_u128, |sum, group| add(sum, 10_000, group));
    let all = whole.zip(power(kept)).and_then(|(whole, factor)| add(whole, factor, last));
    Ok(match all {
        Some(0) => Some(0),
        all => all.zip(power(shift)).and_then(|(all, factor)| all.checked_mul(factor)),
    })
}

/// `json_send`, or `jsonb_send`, which puts its version before the text: a byte that no JSON begins with.
fn json<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    const JSONB_VERSION: u8 = 1;
    text(ty, bytes.strip_prefix(&[JSONB_VERSION]).unwrap_or(bytes))
}

/// `byteasend`
#[allow(clippy::unnecessary_wraps, reason = "it is a decoder")]
fn bytea<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    Ok(Value::Bytes(Cow::Borrowed(bytes)))
}

/// `uuid_send`
fn uuid<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    fixed(bytes, "a uuid").map(Value::Uuid)
}

/// `date_send`: days since 2000; the extremes are infinity.
fn date<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    const DAYS_1970_TO_2000: i32 = 10_957;
    let days = match i32::from_be_bytes(fixed(bytes, "a date")?) {
        i32::MAX => i32::MAX,
        i32::MIN => -i32::MAX,
        days => {
            let since_1970 = days.checked_add(DAYS_1970_TO_2000).filter(|days| days.unsigned_abs() < i32::MAX as u32);
            since_1970.ok_or_else(|| not_representable("a date out of range"))?
        }
    };
    Ok(Value::Date(days))
}

/// `time_send`: microseconds, 24:00 included.
fn time<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    const DAY_US: i64 = 86_400_000_000;
    let micros = i64::from_be_bytes(fixed(bytes, "a time of day")?);
    if (0..=DAY_US).contains(&micros) { Ok(Value::Time(micros)) } else { Err(malformed("a time of day")) }
}

/// `timestamp_send`
fn timestamp<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    micros(bytes, "a timestamp").map(Value::Timestamp)
}

/// `timestamptz_send`
fn timestamp_tz<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    micros(bytes, "a timestamp in UTC").map(Value::TimestampTz)
}

/// Microseconds since 2000, the extremes are infinity -> since 1970.
fn micros(bytes: &[u8], what: &str) -> Result<i64> {
    const US_1970_TO_2000: i64 = 946_684_800_000_000;
    match i64::from_be_bytes(fixed(bytes, what)?) {
        i64::MAX => Ok(i64::MAX),
        i64::MIN => Ok(-i64::MAX),
        micros => {
            let finite = |micros: &i64| micros.unsigned_abs() < i64::MAX as u64;
            let since_1970 = micros.checked_add(US_1970_TO_2000).filter(finite);
            since_1970.ok_or_else(|| not_representable("a timestamp after the year 294246"))
        }
    }
}

/// `array_send`: dimensions, whether there are NULLs, the type of the elements; the length and lower bound of each
/// dimension; the elements, each with its length, -1 for NULL.
fn list<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let element = element(ty)?;
    let decode = decoder(element);
    let mut rest = bytes;
    let [dimensions, _, _] = [number(&mut rest)?, number(&mut rest)?, number(&mut rest)?];
    match dimensions {
        0 if rest.is_empty() => return Ok(Value::List(Vec::new())),
        1 => {}
        2.. => return Err(not_a_list("more than one dimension")),
        _ => return Err(malformed("an array")),
    }
    let (count, bound) = (number(&mut rest)?, number(&mut rest)?);
    if bound != 1 {
        return Err(not_a_list("other bounds than 1"));
    }
    // Each has four bytes at least.
    let count = usize::try_from(count).ok().filter(|count| *count <= rest.len() / 4);
    let mut values = Vec::with_capacity(count.ok_or_else(|| malformed("an array"))?);
    while values.len() < values.capacity().min(count.unwrap_or(0)) {
        values.push(match number(&mut rest)? {
            -1 => Value::Null,
            len => {
                let split = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
                let (cell, after) = split.ok_or_else(|| malformed("an array"))?;
                rest = after;
                decode(element, cell)?
            }
        });
    }
    if rest.is_empty() { Ok(Value::List(values)) } else { Err(malformed("an array")) }
}

/// Takes a number of 32 bits.
fn number(rest: &mut &[u8]) -> Result<i32> {
    let (number, after) = rest.split_first_chunk().ok_or_else(|| malformed("an array"))?;
    *rest = after;
    Ok(i32::from_be_bytes(*number))
}

fn fixed<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| malformed(what))
}

/// The bytes are not what the server sends for the type.
#[cold]
fn malformed(what: &str) -> Error {
    Error::data(format!("a cell is not the binary form of {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use walbrook_model::Decimal;

    /// As `numeric_send` writes `digits` (decimal, most significant first) with so many of them behind the point.
    fn numeric(negative: bool, digits: &str, scale: usize) -> Vec<u8> {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
        let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
        let all = format!("{whole}{fraction}");
        let groups: Vec<u16> =
            all.as_bytes().chunks(4).map(|g| std::str::from_utf8(g).unwrap().parse().unwrap()).collect();
        let weight = i32::try_from(whole.len() / 4).unwrap() - 1;
        let leading = groups.iter().take_while(|group| **group == 0).count();
        let trailing = groups[leading..].iter().rev().take_while(|group| **group == 0).count();
        let kept = &groups[leading..groups.len() - trailing];
        let weight = if kept.is_empty() { 0 } else { weight - i32::try_from(leading).unwrap() };
        let sign = if negative && !kept.is_empty() { 0x4000 } else { 0 };
        let head = [u16::try_from(kept.len()).unwrap(), i16::try_from(weight).unwrap().cast_unsigned(), sign];
        let head = head.into_iter().chain([u16::try_from(scale).unwrap()]);
        head.chain(kept.iter().copied()).flat_map(u16::to_be_bytes).collect()
    }

    proptest! {
        #[test]
        fn numbers_are_what_their_digits_say(negative: bool, unscaled in prop_oneof![0..10_u128.pow(38), 0..100_000_u128], scale in 0..=38_u8) {
            let digits = format!("{unscaled:039}");
            let sent = numeric(negative, &digits, scale.into());
            let ty = ColumnType::Decimal { precision: 38, scale };
            let signed = i128::try_from(unscaled).unwrap() * if negative { -1 } else { 1 };
            prop_assert_eq!(decimal(&ty, &sent).unwrap(), Value::Decimal(Decimal { unscaled: signed, scale }));
            // A digit beyond the scale is never cut off.
            if let Some(scale) = scale.checked_sub(1) {
                let narrower = ColumnType::Decimal { precision: 38, scale };
                let expected = (signed % 10 == 0).then_some(Value::Decimal(Decimal { unscaled: signed / 10, scale }));
                prop_assert_eq!(decimal(&narrower, &sent).ok(), expected);
            }
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>, precision in 0..40_u8, scale in 0..40_u8) {
            use ColumnType as T;
            let decimal = T::Decimal { precision, scale };
            for ty in [T::Bool, T::Int16, T::Int32, T::Int64, T::Float32, T::Float64, decimal, T::Text, T::Json, T::Bytes,
                T::Uuid, T::Date, T::Time, T::Timestamp, T::TimestampTz, T::List(Box::new(T::Int32)), T::List(Box::new(T::Text))] {
                let _ = decoder(&ty)(&ty, &bytes);
            }
        }
    }

    #[test]
    fn what_no_server_sends_or_no_list_holds_is_an_error() {
        let ints = ColumnType::List(Box::new(ColumnType::Int32));
        let array = |numbers: &[i32]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>();
        assert_eq!(list(&ints, &array(&[1, 0, 23, 1, 1, 4, 7])).unwrap(), Value::List(vec![Value::Int(7)]));
        assert_eq!(list(&ints, &array(&[0, 0, 23])).unwrap(), Value::List(Vec::new()));
        for (wrong, says) in [
            (vec![2, 0, 23, 1, 1, 1, 1, 4, 7], "more than one dimension"),
            (vec![1, 0, 23, 1, 0, 4, 7], "other bounds"),
            (vec![1, 0, 23, 2, 1, 4, 7], "binary form of an array"),
            (vec![1, 0, 23, 1, 1, 4, 7, 8], "binary form of an array"),
            (vec![1, 0, 23, i32::MAX, 1, 4, 7], "binary form of an array"),
            (vec![1, 0, 23, 1, 1, 2, 7], "binary form of an integer"),
            (vec![-1, 0, 23], "binary form of an array"),
        ] {
            let error = list(&ints, &array(&wrong)).unwrap_err();
            assert!(error.to_string().contains(says), "{wrong:?}: {error}");
        }
        let two = ColumnType::Decimal { precision: 4, scale: 2 };
        for sign in [0xC000_u16, 0xD000, 0xF000] {
            let sent: Vec<u8> = [0, 0, sign, 0].into_iter().flat_map(u16::to_be_bytes).collect();
            assert!(decimal(&two, &sent).unwrap_err().to_string().contains("cannot hold"));
        }
        assert!(decimal(&two, &numeric(false, "12345", 2)).is_err(), "a digit more than the precision");
        assert!(time(&ColumnType::Time, &86_400_000_001_i64.to_be_bytes()).is_err());
    }
}
