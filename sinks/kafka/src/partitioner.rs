//! Which partition a message goes to.
//!
//! A key goes where Kafka's own client for Java puts it, so that topics which Debezium began go on, and consumers that join
//! topics by partition find what they expect. Messages without a key are spread, the same at every replay.

use walbrook_model::{Change, Op};

/// Seed and multiplier of the hash.
const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The partition of a serialised key, of `partitions`.
pub(crate) fn of_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// The partition of a change of a table without a key. Changes of the log go by their order token; `reads`, which counts
/// the rows of a snapshot, spreads those, whose token is one for all.
pub(crate) fn of_change(change: &Change, reads: u64, partitions: u32) -> u32 {
    let number = if change.op == Op::Read { u128::from(reads) } else { change.seq.to_u128() };
    of_key(&number.to_be_bytes(), partitions)
}

/// `MurmurHash2` of 32 bits, as `org.apache.kafka.common.utils.Utils.murmur2`.
#[allow(clippy::cast_possible_truncation, reason = "Java's length is of 32 bits")]
fn murmur2(data: &[u8]) -> u32 {
    let mut h = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * index);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use walbrook_model::{Seq, TableId, TableSchema};

    use super::*;

    #[test]
    fn keys_go_where_javas_client_puts_them() {
        let pairs = include_str!("../testdata/murmur2.txt").lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for line in pairs {
            let [key, hash, of_7, of_64] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let digits = if key == "-" { "" } else { key };
            let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
            let key: Vec<u8> = bytes.collect();
            assert_eq!((murmur2(&key) & 0x7fff_ffff).to_string(), hash, "{line}");
            assert_eq!(of_key(&key, 7).to_string(), of_7, "{line}");
            assert_eq!(of_key(&key, 64).to_string(), of_64, "{line}");
            count += 1;
        }
        assert_eq!(count, 64);
    }

    fn change(op: Op, ordinal: u64) -> Change {
        let schema = TableSchema { table: TableId::new("s", "t"), columns: Vec::new(), key: Vec::new() };
        Change::new(op, Arc::new(schema), Seq::new(0, 1, 700, ordinal).unwrap(), 0)
    }

    #[test]
    fn changes_without_a_key_are_spread_and_stay_where_they_are() {
        let spread = |places: Vec<u32>| (0..4).all(|partition| places.iter().filter(|p| **p == partition).count() > 50);
        assert!(spread((1..1000).map(|ordinal| of_change(&change(Op::Insert, ordinal), 0, 4)).collect()));
        assert!(spread((1..1000).map(|reads| of_change(&change(Op::Read, 0), reads, 4)).collect()));
        assert_eq!(of_change(&change(Op::Insert, 5), 1, 4), of_change(&change(Op::Insert, 5), 2, 4));
    }

    proptest! {
        #[test]
        fn every_key_has_a_partition(key in proptest::collection::vec(any::<u8>(), 0..64), partitions in 0_u32..1000) {
            prop_assert!(of_key(&key, partitions) < partitions.max(1));
        }
    }
}
