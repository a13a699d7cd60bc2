//! Exact numbers of any length: decimal text <-> big-endian two's complement, and the smallest form of the latter.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The shortest big-endian two's complement of a number, in the tail of `buffer`.
pub(crate) fn minimal(number: i128, buffer: &mut [u8; 16]) -> &[u8] {
    *buffer = number.to_be_bytes();
    shortest(buffer)
}

/// Without leading bytes that say nothing.
fn shortest(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let redundant = (*first == 0 && second & 0x80 == 0) || (*first == 0xFF && second & 0x80 != 0);
        if !redundant {
            break;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    rest
}

/// A number that fits 128 bits.
pub(crate) fn to_i128(bytes: &[u8]) -> Option<i128> {
    let bytes = shortest(bytes);
    let first = *bytes.first()?;
    if bytes.len() > 16 {
        return None;
    }
    let start = if first & 0x80 != 0 { -1_i128 } else { 0 };
    Some(bytes.iter().fold(start, |sum, byte| sum << 8 | i128::from(*byte)))
}

/// A decimal number as text, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

/// `-12.340`; no exponent.
pub(crate) fn parse(text: &str) -> Option<Parts<'_>> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let valid = !whole.is_empty() && all_digits(whole) && all_digits(fraction);
    valid.then_some(Parts { negative, whole, fraction })
}

impl<'a> Parts<'a> {
    /// Without zeros at the end of the fraction.
    pub(crate) fn stripped(self) -> Self {
        Self { fraction: self.fraction.trim_end_matches('0'), ..self }
    }

    /// Digits behind the point.
    pub(crate) fn scale(&self) -> usize {
        self.fraction.len()
    }

    /// With `scale` digits behind the point, if that is the same number.
    pub(crate) fn with_scale(self, scale: usize) -> Option<Unscaled<'a>> {
        let stripped = self.stripped();
        let padding = scale.checked_sub(stripped.scale())?;
        Some(Unscaled { parts: stripped, padding })
    }
}

/// The digits of a number without its point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unscaled<'a> {
    parts: Parts<'a>,
    padding: usize,
}

impl Unscaled<'_> {
    /// Big-endian two's complement, as short as can be.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        // Base 2^32, the least first.
        let mut words: Vec<u32> = Vec::new();
        let zeros = std::iter::repeat_n(b'0', self.padding);
        let digits = self.parts.whole.bytes().chain(self.parts.fraction.bytes()).chain(zeros);
        let (mut chunk, mut factor) = (0_u32, 1_u32);
        for digit in digits {
            chunk = chunk * 10 + u32::from(digit - b'0');
            factor *= 10;
            if factor == 1_000_000_000 {
                multiply_add(&mut words, factor, chunk);
                (chunk, factor) = (0, 1);
            }
        }
        multiply_add(&mut words, factor, chunk);
        let mut bytes: Vec<u8> = vec![0];
        bytes.extend(words.iter().rev().flat_map(|word| word.to_be_bytes()));
        if self.parts.negative {
            negate(&mut bytes);
        }
        shortest(&bytes).to_vec()
    }
}

fn multiply_add(words: &mut Vec<u32>, factor: u32, add: u32) {
    let mut carry = u64::from(add);
    for word in words.iter_mut() {
        let sum = u64::from(*word) * u64::from(factor) + carry;
        *word = low(sum);
        carry = sum >> 32;
    }
    if carry > 0 {
        words.push(low(carry));
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low(number: u64) -> u32 {
    number as u32
}

fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

/// The most bytes that an exact number may have: those of the longest that a source knows, of some 147,000 digits.
const BYTES_MAX: usize = 64 << 10;

/// The decimal text of an unscaled number with `scale` digits behind the point. `None` if it is out of all bounds.
pub(crate) fn to_text(bytes: &[u8], scale: i64) -> Option<String> {
    let scale = usize::try_from(scale).ok().filter(|scale| *scale <= 1 << 17)?;
    if bytes.is_empty() || bytes.len() > BYTES_MAX {
        return None;
    }
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut magnitude = Cow::Borrowed(bytes);
    if negative {
        // One more byte: the least number of a length has no counterpart in it.
        let mut wide = vec![0xFF];
        wide.extend_from_slice(bytes);
        negate(&mut wide);
        magnitude = Cow::Owned(wide);
    }
    let mut words: Vec<u32> = magnitude
        .rchunks(4)
        .map(|chunk| chunk.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)))
        .rev()
        .collect();
    let mut chunks = Vec::new();
    let mut from = 0;
    while from < words.len() {
        let mut rest = 0_u64;
        for word in words.iter_mut().skip(from) {
            let sum = rest << 32 | u64::from(*word);
            *word = low(sum / 1_000_000_000);
            rest = sum % 1_000_000_000;
        }
        chunks.push(rest);
        while words.get(from) == Some(&0) {
            from += 1;
        }
    }
    let mut all = String::with_capacity(chunks.len() * 9);
    for chunk in chunks.iter().rev() {
        let _ = write!(all, "{chunk:09}");
    }
    let digits = all.trim_start_matches('0');
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if negative { "-" } else { "" };
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// A float as a JSON value: what JSON has no number for is a string.
pub(crate) fn json_float(value: f64, text: String) -> String {
    if value.is_nan() {
        "\"NaN\"".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }.to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str, scale: usize) -> Option<Vec<u8>> {
        Some(parse(text)?.with_scale(scale)?.to_bytes())
    }

    #[test]
    fn the_smallest_form() {
        let mut buffer = [0; 16];
        for (number, expected) in [(0, &[0][..]), (-1, &[0xFF]), (127, &[0x7F]), (128, &[0, 0x80]), (-128, &[0x80])] {
            assert_eq!(minimal(number, &mut buffer), expected);
            assert_eq!(to_i128(expected), Some(number));
        }
        assert_eq!(minimal(i128::MIN, &mut buffer).len(), 16);
        assert_eq!(to_i128(&[]), None);
        assert_eq!(to_i128(&[1; 17]), None);
    }

    #[test]
    fn text_of_any_length() {
        assert_eq!(bytes("0.00", 0).unwrap(), [0]);
        assert_eq!(bytes("-0.001", 3).unwrap(), [0xFF]);
        assert_eq!(bytes("1.5", 0), None);
        assert_eq!(bytes("NaN", 2), None);
        assert_eq!(bytes(".5", 2), None);
        let long = format!("-{}.{}", "9".repeat(500), "1".repeat(80));
        assert_eq!(to_text(&bytes(&long, 80).unwrap(), 80).unwrap(), long);
        assert_eq!(to_text(&[0x80], 2).unwrap(), "-1.28");
        assert_eq!(to_text(&[0], 3).unwrap(), "0.000");
        assert_eq!(to_text(&[0, 0, 0, 0, 0], 0).unwrap(), "0");
        assert_eq!(to_text(&[1], -1), None);
        assert_eq!(to_text(&[1], i64::MAX), None);
        assert_eq!(to_text(&[], 0), None);
    }

    proptest! {
        #[test]
        fn both_ways_agree(number in any::<i128>(), scale in 0_usize..45) {
            let mut buffer = [0; 16];
            let short = minimal(number, &mut buffer).to_vec();
            let text = to_text(&short, i64::try_from(scale).unwrap()).unwrap();
            prop_assert_eq!(bytes(&text, scale).unwrap(), short.clone());
            prop_assert_eq!(to_i128(&short), Some(number));
            if scale == 0 {
                prop_assert_eq!(text, number.to_string());
            }
        }

        #[test]
        fn any_bytes_have_a_text(bytes in proptest::collection::vec(any::<u8>(), 1..60), scale in 0_i64..70) {
            prop_assert!(parse(&to_text(&bytes, scale).unwrap()).is_some());
        }
    }
}
