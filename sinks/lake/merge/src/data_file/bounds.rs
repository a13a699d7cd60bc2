//! Lowest and highest value of a column of a file, in the single-value encoding of the Iceberg spec (appendix D).
//!
//! A bound lets readers skip a file, so a wrong one loses rows silently. There is none where readers disagree on the
//! order: floating point (NaN stands outside of the statistics but above all numbers in Spark) and UUID (Java compares
//! them signed).

use std::collections::BTreeMap;

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use crate::layout::{LakeType, Layout};

/// A value of a column, as far as it can be ordered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bound {
    Number(i128),
    Bytes(Vec<u8>),
}

/// Lowest and highest value per field id, over all row groups. Absent where a row group does not say.
pub(crate) fn of_file(metadata: &ParquetMetaData, layout: &Layout) -> BTreeMap<i32, (Bound, Bound)> {
    let mut bounds = BTreeMap::new();
    for (index, column) in metadata.file_metadata().schema_descr().columns().iter().enumerate() {
        let info = column.self_type().get_basic_info();
        let Some(field) = layout.fields.iter().find(|field| info.has_id() && field.id == info.id()) else { continue };
        let chunks = metadata.row_groups().iter().map(|group| group.column(index));
        if let Some(range) =
            chunks.map(|chunk| of_chunk(chunk, &field.ty)).reduce(join).flatten().and_then(Range::known)
        {
            bounds.insert(field.id, range);
        }
    }
    bounds
}

/// The encoding of a bound of a column of type `ty`.
pub(crate) fn encode(bound: &Bound, ty: &LakeType) -> Option<Vec<u8>> {
    match (bound, ty) {
        (Bound::Number(v), LakeType::Bool) => Some(vec![u8::from(*v != 0)]),
        (Bound::Number(v), LakeType::Int | LakeType::Date) => i32::try_from(*v).ok().map(|v| v.to_le_bytes().to_vec()),
        (Bound::Number(v), LakeType::Long | LakeType::Timestamp | LakeType::TimestampTz) => {
            i64::try_from(*v).ok().map(|v| v.to_le_bytes().to_vec())
        }
        (Bound::Number(v), LakeType::Decimal { .. }) => Some(shortest(*v)),
        (Bound::Bytes(v), LakeType::String | LakeType::Binary) => Some(v.clone()),
        _ => None,
    }
}

/// What one row group says of a column.
enum Range {
    /// All NULL.
    Empty,
    Known(Bound, Bound),
}

impl Range {
    fn known(self) -> Option<(Bound, Bound)> {
        match self {
            Self::Empty => None,
            Self::Known(low, high) => Some((low, high)),
        }
    }
}

fn join(a: Option<Range>, b: Option<Range>) -> Option<Range> {
    Some(match (a?, b?) {
        (Range::Known(a, b), Range::Known(c, d)) => Range::Known(a.min(c), b.max(d)),
        (range, Range::Empty) | (Range::Empty, range) => range,
    })
}

fn of_chunk(chunk: &ColumnChunkMetaData, ty: &LakeType) -> Option<Range> {
    let statistics = chunk.statistics()?;
    if statistics.null_count_opt() == u64::try_from(chunk.num_values()).ok() {
        return Some(Range::Empty);
    }
    let (low, high) = match (statistics, ty) {
        (Statistics::Boolean(s), LakeType::Bool) => (number(*s.min_opt()?), number(*s.max_opt()?)),
        (Statistics::Int32(s), LakeType::Int | LakeType::Date | LakeType::Decimal { .. }) => {
            (number(*s.min_opt()?), number(*s.max_opt()?))
        }
        (
            Statistics::Int64(s),
            LakeType::Long | LakeType::Timestamp | LakeType::TimestampTz | LakeType::Decimal { .. },
        ) => (number(*s.min_opt()?), number(*s.max_opt()?)),
        (Statistics::FixedLenByteArray(s), LakeType::Decimal { .. }) => {
            (wide(s.min_opt()?.data())?, wide(s.max_opt()?.data())?)
        }
        (Statistics::ByteArray(s), LakeType::String | LakeType::Binary) => {
            (Bound::Bytes(s.min_opt()?.data().to_vec()), Bound::Bytes(s.max_opt()?.data().to_vec()))
        }
        _ => return None,
    };
    Some(Range::Known(low, high))
}

fn number(value: impl Into<i128>) -> Bound {
    Bound::Number(value.into())
}

/// A two's complement number, most significant byte first.
fn wide(bytes: &[u8]) -> Option<Bound> {
    let fill = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [fill; 16];
    whole.get_mut(16usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(Bound::Number(i128::from_be_bytes(whole)))
}

/// The fewest bytes that hold a number in two's complement, most significant byte first.
fn shortest(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let fill = if value < 0 { 0xff } else { 0 };
    let spare = bytes.windows(2).take_while(|pair| pair[0] == fill && (pair[1] ^ fill) & 0x80 == 0).count();
    bytes[spare..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_take_the_fewest_bytes() {
        for (value, bytes) in [
            (0, &[0u8][..]),
            (1, &[1]),
            (127, &[127]),
            (128, &[0, 128]),
            (-1, &[255]),
            (-128, &[128]),
            (-129, &[255, 127]),
            (1420, &[5, 140]),
        ] {
            assert_eq!(shortest(value), bytes, "{value}");
        }
    }

    proptest! {
        #[test]
        fn decimals_come_back(value in any::<i128>(), shift in 0..127) {
            let value = value >> shift;
            prop_assert_eq!(wide(&shortest(value)), Some(Bound::Number(value)));
        }
    }
}
