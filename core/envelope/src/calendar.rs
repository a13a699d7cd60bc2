//! Days and instants <-> ISO 8601 as Java prints it: proleptic years, with a sign beyond four digits.

const DAY_US: i64 = 86_400_000_000;
/// Digits of a second that the source keeps where a column does not say.
pub(crate) const DIGITS: i64 = 6;

/// Text in a buffer of its own, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    bytes: [u8; 48],
    len: usize,
}

impl Short {
    fn new() -> Self {
        Self { bytes: [0; 48], len: 0 }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes.get(..self.len).unwrap_or_default()).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        self.extend([byte]);
    }

    fn extend<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(place) = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut()) {
            *place = bytes;
            self.len += N;
        }
    }

    fn two(&mut self, number: i64) {
        self.extend(PAIRS.get(usize::try_from(number).unwrap_or(0)).copied().unwrap_or_default());
    }

    /// Six digits of a second, or the first of them.
    fn micros(&mut self, micros: i64, width: usize) {
        let before = self.len;
        self.two(micros / 10_000);
        self.two(micros / 100 % 100);
        self.two(micros % 100);
        self.len = self.len.min(before + width);
    }

    fn year(&mut self, year: i64) {
        let digits = year.unsigned_abs();
        if year < 0 {
            self.push(b'-');
        } else if digits > 9999 {
            self.push(b'+');
        }
        if digits <= 9999 {
            let digits = digits.cast_signed();
            self.two(digits / 100);
            self.two(digits % 100);
        } else {
            for digit in itoa::Buffer::new().format(digits).bytes() {
                self.push(digit);
            }
        }
    }

    /// `yyyy-mm-dd`.
    fn day(&mut self, days: i64) {
        let (year, month, day) = civil(days);
        self.year(year);
        self.push(b'-');
        self.two(month);
        self.push(b'-');
        self.two(day);
    }

    /// `hh:mm:ss` and the fraction.
    fn clock(&mut self, micros: i64, fraction: Fraction) {
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        self.two(seconds / 3600);
        self.push(b':');
        self.two(seconds / 60 % 60);
        self.push(b':');
        self.two(seconds % 60);
        let width = match fraction {
            Fraction::Needed if rest == 0 => return,
            Fraction::Needed => {
                let (mut width, mut digits) = (6, rest);
                while digits % 10 == 0 {
                    digits /= 10;
                    width -= 1;
                }
                width
            }
            Fraction::Digits(width) => usize::from(width),
        };
        self.push(b'.');
        self.micros(rest, width);
    }
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let (mut index, mut number) = (0, 0_u8);
    while index < 100 {
        pairs[index] = [b'0' + number / 10, b'0' + number % 10];
        (index, number) = (index + 1, number + 1);
    }
    pairs
};

/// How many digits of a second are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fraction {
    /// As many as there are.
    Needed,
    /// This many, 1 to 6.
    Digits(u8),
}

/// `2024-02-29Z`.
pub(crate) fn date(days: i64) -> Short {
    let mut out = Short::new();
    out.day(days);
    out.push(b'Z');
    out
}

/// `12:34:56.789Z`; 24:00 wraps.
pub(crate) fn time(micros: i64) -> Short {
    let mut out = Short::new();
    out.clock(micros.rem_euclid(DAY_US), Fraction::Needed);
    out.push(b'Z');
    out
}

/// `2024-02-29T12:34:56.789Z`.
pub(crate) fn timestamp(micros: i64, fraction: Fraction) -> Short {
    let mut out = Short::new();
    out.day(micros.div_euclid(DAY_US));
    out.push(b'T');
    out.clock(micros.rem_euclid(DAY_US), fraction);
    out.push(b'Z');
    out
}

/// Year, month and day of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years that begin in March, in eras of 400: the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let in_era = shifted.rem_euclid(146_097);
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970 of a civil day; `None` if there is no such day.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year.abs() > 10_000_000 {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let in_era = shifted.rem_euclid(400);
    let march = if month > 2 { month - 3 } else { month + 9 };
    let in_year = (153 * march + 2) / 5 + day - 1;
    let days = era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

/// The day of `2024-02-29`, and what follows it.
fn take_day(text: &str) -> Option<(i64, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (year, rest) = digits.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let (day, rest) = rest.split_at_checked(2)?;
    Some((days_of(sign * number(year)?, number(month)?, number(day)?)?, rest))
}

/// Microseconds of `12:34:56.789`, and what follows them.
fn take_clock(text: &str) -> Option<(i64, &str)> {
    let (hour, rest) = text.split_once(':')?;
    let (minute, rest) = rest.split_at_checked(2)?;
    let (hour, minute) = (number(hour)?, number(minute)?);
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => rest.split_at_checked(2)?,
        None => ("00", rest),
    };
    let mut micros = number(second)? * 1_000_000;
    let mut rest = rest;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, after) = fraction.split_at_checked(digits)?;
        // Digits behind the sixth must say nothing.
        let kept = digits.get(..6).unwrap_or(digits);
        if kept.is_empty() || digits.get(6..).unwrap_or_default().bytes().any(|byte| byte != b'0') {
            return None;
        }
        micros += number(kept)? * 10_i64.pow(6 - u32::try_from(kept.len()).ok()?);
        rest = after;
    }
    if hour > 24 || minute > 59 || micros >= 60_000_000 {
        return None;
    }
    let total = (hour * 60 + minute) * 60_000_000 + micros;
    (total <= DAY_US).then_some((total, rest))
}

fn number(text: &str) -> Option<i64> {
    let valid = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

/// Days of `2024-02-29Z` or `2024-02-29`.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let (days, rest) = take_day(text)?;
    matches!(rest, "" | "Z").then_some(days)
}

/// Microseconds of `12:34:56.789Z`.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let (micros, rest) = take_clock(text)?;
    matches!(rest, "" | "Z").then_some(micros)
}

/// Microseconds since 1970 of `2024-02-29T12:34:56.789Z`, in UTC or without a zone.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let (days, rest) = take_day(text)?;
    let (micros, rest) = take_clock(rest.strip_prefix(['T', ' '])?)?;
    let zone = match rest {
        "" | "Z" => 0,
        rest => offset(rest)?,
    };
    i64::try_from(i128::from(days) * i128::from(DAY_US) + i128::from(micros - zone)).ok()
}

/// A time with a zone as the server prints it, `12:34:56.789+02`: microseconds in UTC, of the same day.
pub(crate) fn parse_zoned_time(text: &str) -> Option<i64> {
    let (micros, rest) = take_clock(text)?;
    Some((micros - offset(rest)?).rem_euclid(DAY_US))
}

/// Microseconds of `+02`, `-01:30` or `+05:30:15`.
fn offset(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, text.get(1..)?),
        b'-' => (-1, text.get(1..)?),
        b'Z' if text.len() == 1 => return Some(0),
        _ => return None,
    };
    let mut seconds = 0;
    let mut unit = 3600;
    for part in digits.split(':') {
        if part.len() != 2 || unit == 0 {
            return None;
        }
        seconds += number(part)? * unit;
        unit /= 60;
    }
    Some(sign * seconds * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_as_java_prints_it() {
        let stamp = |micros, fraction| timestamp(micros, fraction).as_str().to_owned();
        assert_eq!(stamp(1_709_210_096_789_012, Fraction::Digits(6)), "2024-02-29T12:34:56.789012Z");
        assert_eq!(stamp(1_709_210_096_700_000, Fraction::Digits(3)), "2024-02-29T12:34:56.700Z");
        assert_eq!(stamp(1_709_210_096_700_000, Fraction::Needed), "2024-02-29T12:34:56.7Z");
        assert_eq!(stamp(0, Fraction::Needed), "1970-01-01T00:00:00Z");
        assert_eq!(stamp(-1, Fraction::Needed), "1969-12-31T23:59:59.999999Z");
        assert_eq!(stamp(-63_517_780_800_000_000, Fraction::Digits(6)), "-0043-03-15T12:00:00.000000Z");
        assert_eq!(stamp(568_971_820_800_000_000, Fraction::Digits(3)), "+20000-01-01T00:00:00.000Z");
        assert_eq!(stamp(9_223_372_036_825_200_000, Fraction::Needed), "+294247-01-10T04:00:25.2Z");
        assert_eq!(stamp(-9_223_372_036_832_400_000, Fraction::Needed), "-290308-12-21T19:59:27.6Z");
        assert_eq!(date(-719_528).as_str(), "0000-01-01Z");
        assert_eq!(date(2_145_042_905).as_str(), "+5874897-12-31Z");
        assert_eq!(time(86_400_000_000).as_str(), "00:00:00Z");
        assert_eq!(time(45_296_789_000).as_str(), "12:34:56.789Z");
    }

    #[test]
    fn zones_are_taken_off() {
        let micros = |text| parse_zoned_time(text);
        assert_eq!(micros("12:34:56.789+02"), Some(38_096_789_000));
        assert_eq!(micros("24:00:00-01:30"), Some(5_400_000_000));
        assert_eq!(micros("12:00:00.5+05:30:15"), Some(23_385_500_000));
        for text in ["", "12:00:00", "12:00:00+2", "12:00:00+02:00:00:00", "12:00:00*02", "25:00:00+00"] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(micros in i64::MIN + 1..i64::MAX, days in -2_440_588_i64..2_145_042_905) {
            prop_assert_eq!(parse_timestamp(timestamp(micros, Fraction::Needed).as_str()), Some(micros));
            prop_assert_eq!(parse_timestamp(timestamp(micros, Fraction::Digits(6)).as_str()), Some(micros));
            prop_assert_eq!(parse_date(date(days).as_str()), Some(days));
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9]{0,9}[-:T.Z+]{0,2}[0-9]{0,4}[-:T.Z+]?[0-9]{0,12}.{0,8}") {
            let _ = (parse_timestamp(&text), parse_date(&text), parse_time(&text), parse_zoned_time(&text));
        }
    }
}
