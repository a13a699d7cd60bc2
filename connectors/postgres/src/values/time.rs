//! Dates, times of day and timestamps, as `DateStyle` ISO prints them in `TimeZone` UTC.
//!
//! ```text
//! 2024-02-29 23:59:59.999999+00      0044-03-15 BC      infinity      24:00:00
//! ```

use walbrook_model::{ColumnType, Result, Value};

use super::{malformed, not_representable};

const DAY_US: i64 = 86_400_000_000;

/// `date`.
pub(crate) fn date<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    match bytes {
        b"infinity" => return Ok(Value::Date(i32::MAX)),
        b"-infinity" => return Ok(Value::Date(-i32::MAX)),
        _ => {}
    }
    let (bytes, before_christ) = era(bytes);
    let mut text = Text(bytes);
    let days = text.day(before_christ).filter(|_| text.0.is_empty()).ok_or_else(|| malformed("a date"))?;
    let days = i32::try_from(days).ok().filter(|days| days.unsigned_abs() < i32::MAX.unsigned_abs());
    days.map(Value::Date).ok_or_else(|| not_representable("a date out of range"))
}

/// `time`, 24:00 included.
pub(crate) fn time<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let mut text = Text(bytes);
    let micros = text.time().filter(|micros| text.0.is_empty() && *micros <= DAY_US);
    micros.map(Value::Time).ok_or_else(|| malformed("a time of day"))
}

/// `timestamp`.
pub(crate) fn timestamp<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    micros(bytes, b"", "a timestamp").map(Value::Timestamp)
}

/// `timestamptz`.
pub(crate) fn timestamp_tz<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    micros(bytes, b"+00", "a timestamp in UTC").map(Value::TimestampTz)
}

/// Microseconds since 1970. The text ends with `zone`.
fn micros(bytes: &[u8], zone: &[u8], what: &str) -> Result<i64> {
    match bytes {
        b"infinity" => return Ok(i64::MAX),
        b"-infinity" => return Ok(-i64::MAX),
        _ => {}
    }
    let (bytes, before_christ) = era(bytes);
    let parts = bytes.strip_suffix(zone).and_then(|bytes| {
        let mut text = Text(bytes);
        let day = text.day(before_christ)?;
        text.literal(b' ')?;
        let time = text.time().filter(|micros| text.0.is_empty() && *micros < DAY_US)?;
        Some((day, time))
    });
    let (day, time) = parts.ok_or_else(|| malformed(what))?;
    // The server's range ends in the year 294276, that of 64 bits since 1970 in 294247; the last two numbers of either
    // end stand for infinity.
    let micros = day.checked_mul(DAY_US).and_then(|start| start.checked_add(time));
    let finite = |micros: &i64| micros.unsigned_abs() < i64::MAX.unsigned_abs();
    micros.filter(finite).ok_or_else(|| not_representable("a timestamp after the year 294246"))
}

/// Without ` BC`, and whether it was there.
fn era(bytes: &[u8]) -> (&[u8], bool) {
    bytes.strip_suffix(b" BC").map_or((bytes, false), |rest| (rest, true))
}

/// What is left to read.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    /// `YYYY-MM-DD`, the year with four to seven digits, as days since 1970.
    fn day(&mut self, before_christ: bool) -> Option<i64> {
        let len = self.0.iter().take(8).take_while(|byte| byte.is_ascii_digit()).count();
        if !(4..=7).contains(&len) {
            return None;
        }
        let year = self.digits(len)?;
        self.literal(b'-')?;
        let month = self.digits(2)?;
        self.literal(b'-')?;
        let day = self.digits(2)?;
        // There is no year 0: 1 BC comes before 1 AD.
        let leap_year = if before_christ { 1 - year } else { year };
        if year == 0 || !(1..=days_in_month(leap_year, month)?).contains(&day) {
            return None;
        }
        Some(days_since_1970(leap_year, month, day))
    }

    /// `HH:MM:SS` with up to six more digits, as microseconds.
    fn time(&mut self) -> Option<i64> {
        let hour = self.digits(2)?;
        self.literal(b':')?;
        let minute = self.digits(2)?;
        self.literal(b':')?;
        let second = self.digits(2)?;
        if minute > 59 || second > 59 {
            return None;
        }
        let mut micros = 0;
        if self.0.first() == Some(&b'.') {
            self.literal(b'.')?;
            let len = self.0.iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
            let missing = u32::try_from(6_usize.checked_sub(len)?).ok()?;
            micros = self.digits(len)? * 10_i64.pow(missing);
        }
        Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
    }

    /// So many digits; at least one, and at most seven.
    fn digits(&mut self, len: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(len)?;
        let mut sum = 0;
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            sum = sum * 10 + i64::from(digit);
        }
        self.0 = rest;
        (len > 0).then_some(sum)
    }

    fn literal(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Days of the Gregorian calendar, also before it was introduced, as the server counts them. Years are counted from March
/// on, so that a leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    const MARCH_0000_TO_1970: i64 = 719_468;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * month + 2) / 5 + day - 1;
    let in_cycle = year * 365 + year / 4 - year / 100 + in_year;
    cycle * DAYS_IN_400_YEARS + in_cycle - MARCH_0000_TO_1970
}
