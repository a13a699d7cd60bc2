//! The order token.

use std::fmt;

/// A total order over the changes of one source, the same for the same change at every read of the log.
///
/// `generation` (10 bit) over `branch` (14 bit) over `position` (56 bit) over `ordinal` (46 bit): 126 bits, so that it
/// fits a `DECIMAL(38, 0)` column.
///
/// - `generation` rises only when an operator accepts a gap.
/// - `branch` is the timeline (`PostgreSQL`) or the server incarnation (`MySQL`) that holds the commit.
/// - `position` is where the transaction *commits* in the log, never where one of its rows lies.
/// - `ordinal` counts the rows of the transaction from 1, before any filter; 0 is a snapshot read at `position`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u128);

/// A part of a [`Seq`] that does not fit its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{part} {value} does not fit the order token (at most {max})")]
pub struct SeqError {
    part: &'static str,
    value: u64,
    max: u64,
}

const ORDINAL_BITS: u32 = 46;
const POSITION_BITS: u32 = 56;
const BRANCH_BITS: u32 = 14;
const GENERATION_BITS: u32 = 10;

impl Seq {
    /// Below every change and every read.
    pub const ZERO: Self = Self(0);
    /// Above every change and every read.
    pub const MAX: Self = Self((1 << (ORDINAL_BITS + POSITION_BITS + BRANCH_BITS + GENERATION_BITS)) - 1);

    /// Puts the parts together.
    ///
    /// # Errors
    /// [`SeqError`] if a part does not fit its field.
    pub fn new(generation: u16, branch: u32, position: u64, ordinal: u64) -> Result<Self, SeqError> {
        let generation = field("generation", u64::from(generation), GENERATION_BITS)?;
        let branch = field("branch", u64::from(branch), BRANCH_BITS)?;
        let position = field("position", position, POSITION_BITS)?;
        let ordinal = field("ordinal", ordinal, ORDINAL_BITS)?;
        let high = (generation << BRANCH_BITS) | branch;
        Ok(Self((((high << POSITION_BITS) | position) << ORDINAL_BITS) | ordinal))
    }

    /// The token with another ordinal: the changes of one transaction differ only there.
    ///
    /// # Errors
    /// [`SeqError`] if the ordinal does not fit.
    pub fn with_ordinal(self, ordinal: u64) -> Result<Self, SeqError> {
        let ordinal = field("ordinal", ordinal, ORDINAL_BITS)?;
        Ok(Self((self.0 >> ORDINAL_BITS << ORDINAL_BITS) | ordinal))
    }

    /// The operator's generation.
    #[allow(clippy::cast_possible_truncation, reason = "10 bits")]
    pub fn generation(self) -> u16 {
        self.part(ORDINAL_BITS + POSITION_BITS + BRANCH_BITS, GENERATION_BITS) as u16
    }

    /// The timeline or server incarnation.
    #[allow(clippy::cast_possible_truncation, reason = "14 bits")]
    pub fn branch(self) -> u32 {
        self.part(ORDINAL_BITS + POSITION_BITS, BRANCH_BITS) as u32
    }

    /// The commit's position in the log.
    pub fn position(self) -> u64 {
        self.part(ORDINAL_BITS, POSITION_BITS)
    }

    /// The row's number in its transaction, from 1; 0 for a snapshot read.
    pub fn ordinal(self) -> u64 {
        self.part(0, ORDINAL_BITS)
    }

    /// As the number that is stored in `_seq`.
    pub fn to_u128(self) -> u128 {
        self.0
    }

    /// From the number stored in `_seq`; `None` if it is not a token.
    pub fn from_u128(number: u128) -> Option<Self> {
        (number <= Self::MAX.0).then_some(Self(number))
    }

    #[allow(clippy::cast_possible_truncation, reason = "the mask keeps at most 56 bits")]
    fn part(self, shift: u32, bits: u32) -> u64 {
        ((self.0 >> shift) & ((1 << bits) - 1)) as u64
    }
}

fn field(part: &'static str, value: u64, bits: u32) -> Result<u128, SeqError> {
    let max = (1 << bits) - 1;
    if value > max { Err(SeqError { part, value, max }) } else { Ok(u128::from(value)) }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:X}.{}", self.generation(), self.branch(), self.position(), self.ordinal())
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl serde::Serialize for Seq {
    /// As a decimal string: JSON numbers lose digits above 53 bits.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Seq {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().ok().and_then(Self::from_u128).ok_or_else(|| serde::de::Error::custom("not an order token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_is_lexicographic(a in parts(), b in parts()) {
            let (x, y) = (seq(a), seq(b));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!((x.generation(), x.branch(), x.position(), x.ordinal()), a);
            let json = serde_json::to_string(&x).unwrap();
            prop_assert_eq!(serde_json::from_str::<Seq>(&json).unwrap(), x);
        }
    }

    fn parts() -> impl Strategy<Value = (u16, u32, u64, u64)> {
        (0..1u16 << 10, 0..1u32 << 14, 0..1u64 << 56, 0..1u64 << 46)
    }

    fn seq(p: (u16, u32, u64, u64)) -> Seq {
        Seq::new(p.0, p.1, p.2, p.3).unwrap()
    }

    #[test]
    fn a_part_that_does_not_fit_is_an_error() {
        assert!(Seq::new(1 << 10, 0, 0, 0).is_err());
        assert!(Seq::new(0, 1 << 14, 0, 0).is_err());
        assert!(Seq::new(0, 0, 1 << 56, 0).is_err());
        assert!(Seq::new(0, 0, 0, 1 << 46).is_err());
        assert!(Seq::from_u128(Seq::MAX.to_u128() + 1).is_none());
        assert!(Seq::MAX.to_u128() < 10u128.pow(38));
    }

    #[test]
    fn a_read_lies_below_the_first_change_of_its_position() {
        let read = Seq::new(0, 1, 700, 0).unwrap();
        assert!(read < read.with_ordinal(1).unwrap());
    }
}
