//! Durations and sizes as an operator writes them: a whole number and its unit, `"250ms"` or `"64MB"`.
//!
//! A number without a unit is never accepted, so nobody has to guess whether `10` means seconds or milliseconds.

use std::time::Duration;

/// Units of a duration and their length in milliseconds, longest first.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of a size and their bytes, largest first: powers of 1,000 and of 1,024.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Why a text is not a duration or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AmountError {
    NoNumber,
    NoUnit,
    UnknownUnit,
    Fraction,
    Negative,
    TooLarge,
}

impl AmountError {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoNumber => "does not begin with a number",
            Self::NoUnit => "its unit is missing",
            Self::UnknownUnit => "unknown unit",
            Self::Fraction => "not a whole number; use a smaller unit",
            Self::Negative => "negative",
            Self::TooLarge => "too large",
        }
    }
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, AmountError> {
    parse(text, &DURATION_UNITS).map(Duration::from_millis)
}

pub(crate) fn parse_size(text: &str) -> Result<u64, AmountError> {
    parse(text, &SIZE_UNITS)
}

/// The shortest text that [`parse_duration`] reads back; parts of a millisecond are cut off.
pub(crate) fn format_duration(duration: Duration) -> String {
    format(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATION_UNITS, "0s")
}

/// The shortest text that [`parse_size`] reads back.
pub(crate) fn format_size(bytes: u64) -> String {
    format(bytes, &SIZE_UNITS, "0B")
}

/// The names of the units, smallest first, for messages.
pub(crate) fn duration_units() -> String {
    names(&DURATION_UNITS)
}

/// The names of the units, smallest first, for messages.
pub(crate) fn size_units() -> String {
    names(&SIZE_UNITS)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Result<u64, AmountError> {
    if let Some(rest) = text.strip_prefix('-') {
        return Err(if rest.starts_with(|c: char| c.is_ascii_digit()) {
            AmountError::Negative
        } else {
            AmountError::NoNumber
        });
    }
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(AmountError::NoNumber);
    }
    if unit.starts_with(['.', ',']) {
        return Err(AmountError::Fraction);
    }
    if unit.is_empty() {
        return Err(AmountError::NoUnit);
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else { return Err(AmountError::UnknownUnit) };
    let number: u64 = digits.parse().map_err(|_| AmountError::TooLarge)?;
    number.checked_mul(*factor).ok_or(AmountError::TooLarge)
}

fn format(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    if amount == 0 {
        return zero.to_owned();
    }
    let whole = units.iter().filter(|(_, factor)| amount.is_multiple_of(*factor));
    whole
        .min_by_key(|(_, factor)| amount / factor)
        .map_or_else(String::new, |(name, factor)| format!("{}{name}", amount / factor))
}

fn names(units: &[(&str, u64)]) -> String {
    let names: Vec<&str> = units.iter().rev().map(|(name, _)| *name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_printed_amount_reads_back_as_itself(amount in any::<u64>(), shift in 0u32..64) {
            let amount = amount >> shift;
            prop_assert_eq!(parse_size(&format_size(amount)), Ok(amount));
            let duration = Duration::from_millis(amount);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn every_unit_reads_as_its_factor(number in 0u64..10_000, unit in 0..SIZE_UNITS.len()) {
            let (name, factor) = SIZE_UNITS[unit];
            prop_assert_eq!(parse_size(&format!("{number}{name}")), Ok(number * factor));
        }
    }

    #[test]
    fn durations() {
        let check = |text, ms| assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        check("250ms", 250);
        check("1s", 1_000);
        check("5m", 300_000);
        check("2h", 7_200_000);
        check("7d", 604_800_000);
        check("007s", 7_000);
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        assert_eq!(format_duration(Duration::from_hours(1)), "1h");
    }

    #[test]
    fn sizes() {
        let check = |text, bytes| assert_eq!(parse_size(text), Ok(bytes), "{text}");
        check("64MB", 64_000_000);
        check("1GiB", 1 << 30);
        check("512B", 512);
        assert_eq!(format_size(1 << 30), "1GiB");
        assert_eq!(format_size(256_000_000), "256MB");
    }

    #[test]
    fn what_is_no_amount_says_why() {
        let check = |text, why| assert_eq!((parse_duration(text), parse_size(text)), (Err(why), Err(why)), "{text}");
        check("10", AmountError::NoUnit);
        check("", AmountError::NoNumber);
        check("fast", AmountError::NoNumber);
        check("-", AmountError::NoNumber);
        check("-5m", AmountError::Negative);
        check("1.5h", AmountError::Fraction);
        check("1 s", AmountError::UnknownUnit);
        check("1m30s", AmountError::UnknownUnit);
        check("10mb", AmountError::UnknownUnit);
        check("1\u{b5}s", AmountError::UnknownUnit);
        assert_eq!(parse_duration("99999999999999999999h"), Err(AmountError::TooLarge));
        assert_eq!(parse_size("18446744073709551615KB"), Err(AmountError::TooLarge));
    }
}
