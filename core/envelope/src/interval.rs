//! Intervals: the server's ISO 8601 text, Debezium's two forms of it.

use std::fmt::Write as _;

/// An interval in parts that do not convert into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Interval {
    months: i64,
    days: i64,
    micros: i64,
}

/// A month in microseconds: 365.25 days / 12.
const MONTH_US: i64 = 2_629_800_000_000;
const DAY_US: i64 = 86_400_000_000;

impl Interval {
    /// `P1Y2M-3DT4H-5M6.789S`, as the server prints it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('P')?;
        let mut interval = Self::default();
        let mut clock = false;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('T') {
                clock = true;
                rest = after;
                continue;
            }
            let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let (number, after) = rest.split_at_checked(end)?;
            let unit = after.as_bytes().first()?;
            rest = after.get(1..)?;
            let whole = || number.parse::<i64>().ok();
            let place = match (clock, unit) {
                (false, b'Y') => (&mut interval.months, whole()?.checked_mul(12)?),
                (false, b'M') => (&mut interval.months, whole()?),
                (false, b'W') => (&mut interval.days, whole()?.checked_mul(7)?),
                (false, b'D') => (&mut interval.days, whole()?),
                (true, b'H') => (&mut interval.micros, whole()?.checked_mul(3_600_000_000)?),
                (true, b'M') => (&mut interval.micros, whole()?.checked_mul(60_000_000)?),
                (true, b'S') => (&mut interval.micros, seconds(number)?),
                _ => return None,
            };
            *place.0 = place.0.checked_add(place.1)?;
        }
        Some(interval)
    }

    /// In microseconds; `None` if they do not fit 64 bits.
    pub(crate) fn micros(self) -> Option<i64> {
        let months = self.months.checked_mul(MONTH_US)?;
        months.checked_add(self.days.checked_mul(DAY_US)?)?.checked_add(self.micros)
    }

    /// With every part written: `P1Y2M3DT4H5M6.789S`.
    pub(crate) fn full(self) -> String {
        let (months, days, micros) = (self.months, self.days, self.micros);
        let seconds = micros % 60_000_000;
        let mut text = format!(
            "P{}Y{}M{days}DT{}H{}M",
            months / 12,
            months % 12,
            micros / 3_600_000_000,
            micros / 60_000_000 % 60
        );
        let sign = if seconds < 0 { "-" } else { "" };
        let seconds = seconds.unsigned_abs();
        let _ = write!(text, "{sign}{}", seconds / 1_000_000);
        if !seconds.is_multiple_of(1_000_000) {
            let fraction = format!("{:06}", seconds % 1_000_000);
            let _ = write!(text, ".{}", fraction.trim_end_matches('0'));
        }
        text.push('S');
        text
    }
}

/// Microseconds as the server would print them: hours, minutes and seconds, as Debezium keeps no more.
pub(crate) fn text_of(micros: i64) -> String {
    let mut text = "PT".to_owned();
    let (hours, minutes, seconds) = (micros / 3_600_000_000, micros / 60_000_000 % 60, micros % 60_000_000);
    if hours != 0 {
        let _ = write!(text, "{hours}H");
    }
    if minutes != 0 {
        let _ = write!(text, "{minutes}M");
    }
    if seconds != 0 || micros == 0 {
        let sign = if seconds < 0 { "-" } else { "" };
        let _ = write!(text, "{sign}{}", seconds.unsigned_abs() / 1_000_000);
        let fraction = seconds.unsigned_abs() % 1_000_000;
        if fraction != 0 {
            let _ = write!(text, ".{}", format!("{fraction:06}").trim_end_matches('0'));
        }
        text.push('S');
    }
    text
}

/// Microseconds of `-6.789`.
fn seconds(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    let micros = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)?;
    Some(if negative { -micros } else { micros })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_debezium_writes_them() {
        #[track_caller]
        fn check(text: &str, micros: i64, full: &str) {
            let interval = Interval::parse(text).unwrap();
            assert_eq!((interval.micros(), interval.full().as_str()), (Some(micros), full), "{text}");
        }
        check("P1Y2M3DT4H5M6.789S", 37_091_106_789_000, "P1Y2M3DT4H5M6.789S");
        check("P-1Y-2M3DT-4H-5M-6.789S", -36_572_706_789_000, "P-1Y-2M3DT-4H-5M-6.789S");
        check("PT0.000001S", 1, "P0Y0M0DT0H0M0.000001S");
        check("PT-0.5S", -500_000, "P0Y0M0DT0H0M-0.5S");
        check("PT0S", 0, "P0Y0M0DT0H0M0S");
        check("P178000Y", 5_617_252_800_000_000_000, "P178000Y0M0DT0H0M0S");
        assert_eq!(Interval::parse("P400000Y").unwrap().micros(), None);
        for text in ["", "1 day", "P1", "PT1Y", "P1.5D", "P99999999999999999999D"] {
            assert_eq!(Interval::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn microseconds_read_back(micros in any::<i64>()) {
            let micros = micros / 1000;
            prop_assert_eq!(Interval::parse(&text_of(micros)).unwrap().micros(), Some(micros));
        }

        #[test]
        fn no_text_panics(text in "P?[-0-9.YMWDTHS]{0,30}.{0,3}") {
            let _ = Interval::parse(&text).map(|interval| (interval.micros(), interval.full()));
        }
    }
}
