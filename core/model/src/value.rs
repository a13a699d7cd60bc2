//! A cell, decoded.

use std::borrow::Cow;
use std::fmt;

/// A decoded cell, borrowed from the bytes of the log where it can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// The log does not carry this cell: unchanged TOAST, or a column outside the before image. Never NULL.
    Unchanged,
    /// `true` or `false`.
    Bool(bool),
    /// Any integer up to 64 bits; the column's type says how many it uses.
    Int(i64),
    /// Single precision; NaN, infinities and -0 are kept.
    Float32(f32),
    /// Double precision; NaN, infinities and -0 are kept.
    Float64(f64),
    /// Exact decimal at the scale of its column.
    Decimal(Decimal),
    /// Text; also the lossless form of every type that has no better one.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A UUID, most significant byte first.
    Uuid([u8; 16]),
    /// Days since 1970-01-01; `i32::MAX` is `infinity`, `-i32::MAX` is `-infinity`.
    Date(i32),
    /// Microseconds since midnight; 86,400,000,000 is 24:00.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00 of no time zone; `i64::MAX` is `infinity`, `-i64::MAX` is `-infinity`.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 00:00 UTC; `i64::MAX` is `infinity`, `-i64::MAX` is `-infinity`.
    TimestampTz(i64),
    /// A one-dimensional list.
    List(Vec<Value<'a>>),
}

impl Value<'_> {
    /// The same value, owning its bytes.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Unchanged => Value::Unchanged,
            Self::Bool(v) => Value::Bool(v),
            Self::Int(v) => Value::Int(v),
            Self::Float32(v) => Value::Float32(v),
            Self::Float64(v) => Value::Float64(v),
            Self::Decimal(v) => Value::Decimal(v),
            Self::Text(v) => Value::Text(Cow::Owned(v.into_owned())),
            Self::Bytes(v) => Value::Bytes(Cow::Owned(v.into_owned())),
            Self::Uuid(v) => Value::Uuid(v),
            Self::Date(v) => Value::Date(v),
            Self::Time(v) => Value::Time(v),
            Self::Timestamp(v) => Value::Timestamp(v),
            Self::TimestampTz(v) => Value::TimestampTz(v),
            Self::List(v) => Value::List(v.into_iter().map(Value::into_owned).collect()),
        }
    }
}

/// `unscaled / 10^scale`, at most 38 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// The digits.
    pub unscaled: i128,
    /// How many of them stand behind the point.
    pub scale: u8,
}

/// The powers of ten that fit 128 bits.
const POWERS: [u128; 39] = {
    let mut powers = [1; 39];
    let mut digits = 1;
    while digits < powers.len() {
        powers[digits] = powers[digits - 1] * 10;
        digits += 1;
    }
    powers
};

impl Decimal {
    /// Whether it has `digits` digits at most, those behind the point among them.
    pub fn has_digits(&self, digits: u8) -> bool {
        POWERS.get(usize::from(digits)).is_none_or(|limit| self.unscaled.unsigned_abs() < *limit)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.unscaled);
        }
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.unscaled.unsigned_abs(), width = usize::from(self.scale) + 1);
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(self.scale));
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_print_their_scale() {
        let show = |unscaled, scale| Decimal { unscaled, scale }.to_string();
        assert_eq!(show(12345, 2), "123.45");
        assert_eq!(show(-5, 3), "-0.005");
        assert_eq!(show(0, 2), "0.00");
        assert_eq!(show(-7, 0), "-7");
    }
}
