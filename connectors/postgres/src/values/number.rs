//! Integers, floating point, exact decimals and money.

use walbrook_model::{ColumnType, Decimal, Error, Result, Value};

use super::{malformed, not_representable};

/// `smallint`.
pub(crate) fn int16<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    integer(bytes).filter(|n| i16::try_from(*n).is_ok()).map(Value::Int).ok_or_else(|| malformed("a smallint"))
}

/// `integer`.
pub(crate) fn int32<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    integer(bytes).filter(|n| i32::try_from(*n).is_ok()).map(Value::Int).ok_or_else(|| malformed("an integer"))
}

/// `bigint`.
pub(crate) fn int64<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    integer(bytes).map(Value::Int).ok_or_else(|| malformed("a bigint"))
}

/// `oid`: 32 bits without a sign.
pub(crate) fn oid<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    integer(bytes).filter(|n| u32::try_from(*n).is_ok()).map(Value::Int).ok_or_else(|| malformed("an oid"))
}

/// `real`. The server prints the shortest text that reads back as the same bits.
pub(crate) fn float32<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    // Read as what it is: by way of a double it would be rounded twice.
    let parsed = number(bytes).and_then(|text| text.parse().ok()).filter(|n: &f32| n.is_finite());
    parsed.or_else(|| special(bytes)).map(Value::Float32).ok_or_else(|| malformed("a real"))
}

/// `double precision`.
pub(crate) fn float64<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let parsed = number(bytes).and_then(|text| text.parse().ok()).filter(|n: &f64| n.is_finite());
    parsed.or_else(|| special(bytes)).map(Value::Float64).ok_or_else(|| malformed("a double precision"))
}

/// `numeric` with a precision and scale.
pub(crate) fn decimal<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let (precision, scale) = shape(ty)?;
    match bytes {
        b"NaN" => return Err(not_representable("NaN")),
        b"Infinity" | b"-Infinity" => return Err(not_representable("an infinite number")),
        _ => {}
    }
    let (negative, number) = sign(bytes);
    let (whole, fraction) = match memchr::memchr(b'.', number) {
        Some(at) => (number.get(..at).unwrap_or_default(), number.get(at + 1..).unwrap_or_default()),
        None => (number, &[][..]),
    };
    let kept = fraction.len().min(usize::from(scale));
    let (fraction, beyond) = fraction.split_at(kept);
    if whole.is_empty() || beyond.iter().any(|byte| *byte != b'0') {
        return Err(malformed("a number of the column's scale"));
    }
    let missing = usize::from(scale) - kept;
    let digits = digits(whole, 0).and_then(|n| digits(fraction, n)).ok_or_else(|| malformed("a number"))?;
    let magnitude = power(missing).and_then(|factor| digits.checked_mul(factor));
    signed(negative, magnitude, precision, scale)
}

/// `money` as the locale C prints it: `-$1,234.56`.
pub(crate) fn money<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let (precision, scale) = shape(ty)?;
    let (negative, amount) = sign(bytes);
    let not_money = || malformed("an amount of money in the locale C");
    let amount = amount.strip_prefix(b"$").ok_or_else(not_money)?;
    let (whole, [b'.', cents @ ..]) = amount.split_at(amount.len().saturating_sub(usize::from(scale) + 1)) else {
        return Err(not_money());
    };
    let mut groups = whole.split(|byte| *byte == b',');
    let first = groups.next().filter(|first| (1..=3).contains(&first.len())).ok_or_else(not_money)?;
    let mut magnitude = digits(first, 0);
    for group in groups {
        magnitude = magnitude.filter(|_| group.len() == 3).and_then(|sum| digits(group, sum));
    }
    let magnitude = magnitude.and_then(|sum| digits(cents, sum)).ok_or_else(not_money)?;
    signed(negative, Some(magnitude), precision, scale)
}

pub(super) fn shape(ty: &ColumnType) -> Result<(u8, u8)> {
    match ty {
        ColumnType::Decimal { precision, scale } => Ok((*precision, *scale)),
        _ => Err(Error::bug("a column with the decoder of decimals is none")),
    }
}

pub(super) fn signed<'a>(negative: bool, magnitude: Option<u128>, precision: u8, scale: u8) -> Result<Value<'a>> {
    let fits = |n: &u128| power(usize::from(precision)).is_some_and(|limit| *n < limit);
    let magnitude = magnitude.filter(fits).and_then(|n| i128::try_from(n).ok());
    let magnitude = magnitude.ok_or_else(|| not_representable("a number with too many digits"))?;
    let unscaled = if negative { -magnitude } else { magnitude };
    Ok(Value::Decimal(Decimal { unscaled, scale }))
}

/// The text of a finite float.
fn number(bytes: &[u8]) -> Option<&str> {
    // Rust also reads words and a plus sign.
    let starts = sign(bytes).1.first().is_some_and(u8::is_ascii_digit);
    if starts { std::str::from_utf8(bytes).ok() } else { None }
}

fn special<F: From<f32>>(bytes: &[u8]) -> Option<F> {
    match bytes {
        b"NaN" => Some(f32::NAN.into()),
        b"Infinity" => Some(f32::INFINITY.into()),
        b"-Infinity" => Some(f32::NEG_INFINITY.into()),
        _ => None,
    }
}

/// A decimal integer of at most 64 bits.
fn integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(bytes);
    let magnitude = chunk(digits)?;
    if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// `prefix` with `text`'s digits behind it.
fn digits(text: &[u8], prefix: u128) -> Option<u128> {
    text.chunks(CHUNK_MAX)
        .try_fold(prefix, |sum, part| sum.checked_mul(power(part.len())?)?.checked_add(u128::from(chunk(part)?)))
}

/// Digits that always fit 64 bits.
const CHUNK_MAX: usize = 19;

/// The number that one to [`CHUNK_MAX`] digits are.
fn chunk(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > CHUNK_MAX {
        return None;
    }
    let mut sum = 0_u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum = sum * 10 + u64::from(digit);
    }
    Some(sum)
}

/// Whether there is a minus sign, and what follows it.
fn sign(bytes: &[u8]) -> (bool, &[u8]) {
    bytes.strip_prefix(b"-").map_or((false, bytes), |rest| (true, rest))
}

/// `10^exponent` up to 38.
fn power(exponent: usize) -> Option<u128> {
    POWERS.get(exponent).copied()
}

const POWERS: [u128; 39] = {
    let mut powers = [1; 39];
    let mut exponent = 1;
    while exponent < 39 {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};
