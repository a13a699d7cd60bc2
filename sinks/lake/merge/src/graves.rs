//! Graves: the order tokens of deleted keys, and the file that keeps them beside the table.
//!
//! A late or repeated change of a deleted key must not bring it back, so a delete leaves a grave. A grave may be
//! forgotten when every change at or below it has been merged; then the *horizon* rises to it, and a change of an
//! unknown key at or below the horizon is known to be a repeat.
//!
//! ```text
//! "walbrook graves\n" | u8 version | u8 bytes of an identity (8 or 16) | u128 horizon | u128 newest truncate
//!   | u128 newest finished slice | u32 n, n * u128 open slices | u64 n, n * (identity, u128 token) by identity
//!   | u32 CRC-32 of all before                                                       (numbers: little endian)
//! ```
//!
//! Invariant: [`GravesFile::decode`] never panics and allocates no more than a small multiple of the file.

use walbrook_model::{Error, Result, Seq};

use crate::guard::Marks;
use crate::key::{KeyId, KeyKind, KeyMap};

/// Deleted keys and the horizon of the forgotten ones.
#[derive(Debug, Default)]
pub(crate) struct Graves {
    seqs: KeyMap<Seq>,
    horizon: Seq,
}

impl Graves {
    /// Graves as they were stored.
    pub(crate) fn new(graves: impl IntoIterator<Item = (KeyId, Seq)>, horizon: Seq) -> Self {
        Self { seqs: graves.into_iter().collect(), horizon }
    }

    /// The token of the delete of `key`.
    pub(crate) fn get(&self, key: KeyId) -> Option<Seq> {
        self.seqs.get(&key).copied()
    }

    /// `key` was deleted at `seq`.
    pub(crate) fn bury(&mut self, key: KeyId, seq: Seq) {
        self.seqs.insert(key, seq);
    }

    /// `key` lives again.
    pub(crate) fn remove(&mut self, key: KeyId) {
        self.seqs.remove(&key);
    }

    /// Drops graves below a mark: whatever could come is below the mark too.
    pub(crate) fn drop_below(&mut self, floor: Seq) {
        self.seqs.retain(|_, seq| *seq >= floor);
    }

    /// Forgets the graves at or below `covered` and raises the horizon to the newest of them. Returns how many.
    pub(crate) fn forget(&mut self, covered: Seq) -> u64 {
        let (before, mut horizon) = (self.seqs.len(), self.horizon);
        self.seqs.retain(|_, seq| {
            let kept = *seq > covered;
            if !kept {
                horizon = horizon.max(*seq);
            }
            kept
        });
        self.horizon = horizon;
        (before - self.seqs.len()) as u64
    }

    /// The highest token of any forgotten grave.
    pub(crate) fn horizon(&self) -> Seq {
        self.horizon
    }

    /// Graves kept.
    pub(crate) fn len(&self) -> usize {
        self.seqs.len()
    }

    /// All graves, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyId, Seq)> {
        self.seqs.iter().map(|(key, seq)| (*key, *seq))
    }
}

/// What the guard of one table must know after a restart, besides the rows: a file that each commit names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GravesFile {
    /// The width of the identities.
    pub(crate) kind: KeyKind,
    /// Truncates and slices.
    pub(crate) marks: Marks,
    /// The highest token of any forgotten grave.
    pub(crate) horizon: Seq,
    /// In strictly ascending order of identity.
    pub(crate) graves: Vec<(KeyId, Seq)>,
}

const MAGIC: &[u8; 16] = b"walbrook graves\n";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

impl GravesFile {
    /// The file of a table that has seen nothing yet.
    pub(crate) fn empty(kind: KeyKind) -> Self {
        Self { kind, marks: Marks::default(), horizon: Seq::ZERO, graves: Vec::new() }
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let width = width(self.kind);
        let mut file = Vec::with_capacity(128 + self.marks.open().len() * 16 + self.graves.len() * (width + 16));
        let seq = |file: &mut Vec<u8>, seq: Seq| file.extend_from_slice(&seq.to_u128().to_le_bytes());
        file.extend_from_slice(MAGIC);
        file.push(VERSION);
        file.extend(u8::try_from(width));
        seq(&mut file, self.horizon);
        seq(&mut file, self.marks.truncate());
        seq(&mut file, self.marks.finished());
        file.extend_from_slice(&u32::try_from(self.marks.open().len()).unwrap_or(u32::MAX).to_le_bytes());
        for slice in self.marks.open() {
            seq(&mut file, *slice);
        }
        file.extend_from_slice(&(self.graves.len() as u64).to_le_bytes());
        for (key, grave) in &self.graves {
            file.extend_from_slice(&key.to_u128().to_le_bytes()[..width]);
            seq(&mut file, *grave);
        }
        let checksum = crc32fast::hash(&file);
        file.extend_from_slice(&checksum.to_le_bytes());
        file
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if the bytes are not what [`GravesFile::encode`] wrote,
    /// [`walbrook_model::ErrorKind::Config`] if a later version of walbrook wrote them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (file, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| broken("too short"))?;
        let rest = file.strip_prefix(MAGIC).ok_or_else(|| broken("not a graves file"))?;
        if u32::from_le_bytes(*checksum) != crc32fast::hash(file) {
            return Err(broken("checksum does not match"));
        }
        let mut fields = Fields(rest);
        let version = fields.take::<1>()?[0];
        if version != VERSION {
            return Err(Error::config(format!("graves file of version {version}; this walbrook reads {VERSION}"))
                .remedy("run the version of walbrook that wrote it, or a later one"));
        }
        let kind = match fields.take::<1>()?[0] {
            8 => KeyKind::Small,
            16 => KeyKind::Wide,
            _ => return Err(broken("unknown width of identities")),
        };
        let (horizon, truncate, finished) = (fields.seq()?, fields.seq()?, fields.seq()?);
        let open = (0..u32::from_le_bytes(fields.take()?)).map(|_| fields.seq()).collect::<Result<Vec<_>>>()?;
        let graves = (0..u64::from_le_bytes(fields.take()?)).map(|_| Ok((fields.key(kind)?, fields.seq()?)));
        let graves = graves.collect::<Result<Vec<_>>>()?;
        if !graves.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(broken("graves are not in order"));
        }
        if !fields.0.is_empty() {
            return Err(broken("bytes after the graves"));
        }
        Ok(Self { kind, marks: Marks::new(truncate, finished, open), horizon, graves })
    }
}

/// Bytes of an identity.
fn width(kind: KeyKind) -> usize {
    match kind {
        KeyKind::Small => 8,
        KeyKind::Wide => 16,
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| broken("too short"))?;
        self.0 = rest;
        Ok(*field)
    }

    fn seq(&mut self) -> Result<Seq> {
        Seq::from_u128(u128::from_le_bytes(self.take()?)).ok_or_else(|| broken("not an order token"))
    }

    fn key(&mut self, kind: KeyKind) -> Result<KeyId> {
        Ok(KeyId::from_u128(match kind {
            KeyKind::Small => u128::from(u64::from_le_bytes(self.take()?)),
            KeyKind::Wide => u128::from_le_bytes(self.take()?),
        }))
    }
}

fn broken(why: &str) -> Error {
    Error::data(format!("broken graves file: {why}"))
        .remedy("restore the file; without it deleted rows could come back: `walbrook gap accept` reads the table anew")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use walbrook_model::ErrorKind;

    fn seqs() -> impl Strategy<Value = Seq> {
        (0..=Seq::MAX.to_u128()).prop_map(|number| Seq::from_u128(number).unwrap())
    }

    fn files() -> impl Strategy<Value = GravesFile> {
        let open = prop::collection::btree_set(seqs(), 0..4);
        let graves = prop::collection::btree_map(any::<u128>(), seqs(), 0..20);
        (any::<bool>(), seqs(), seqs(), seqs(), open, graves).prop_map(
            |(wide, horizon, truncate, finished, open, graves)| {
                let kind = if wide { KeyKind::Wide } else { KeyKind::Small };
                let shift = if wide { 0 } else { 64 };
                let graves = graves.into_iter().map(|(key, seq)| (KeyId::from_u128(key >> shift), seq));
                GravesFile { kind, marks: Marks::new(truncate, finished, open), horizon, graves: graves.collect() }
            },
        )
    }

    /// The file with another checksum: what a broken writer, not a broken disk, would leave.
    fn sealed(mut file: Vec<u8>) -> Vec<u8> {
        let end = file.len() - CHECKSUM_BYTES;
        let checksum = crc32fast::hash(&file[..end]).to_le_bytes();
        file[end..].copy_from_slice(&checksum);
        file
    }

    proptest! {
        #[test]
        fn round_trip(file in files()) {
            prop_assert_eq!(GravesFile::decode(&file.encode()).unwrap(), file);
        }

        #[test]
        fn a_flipped_bit_or_a_missing_end_is_refused(file in files(), at: prop::sample::Index, bit in 0..8) {
            let bytes = file.encode();
            let at = at.index(bytes.len());
            prop_assert!(GravesFile::decode(&bytes[..at]).is_err());
            let mut flipped = bytes;
            flipped[at] ^= 1u8 << bit;
            prop_assert!(GravesFile::decode(&flipped).is_err());
        }

        #[test]
        fn hostile_bytes_never_panic(file in files(), at: prop::sample::Index, to: [u8; 8], cut: prop::sample::Index) {
            let mut bytes = file.encode();
            let at = at.index(bytes.len() - to.len());
            bytes[at..at + to.len()].copy_from_slice(&to);
            let _ = GravesFile::decode(&sealed(bytes.clone()));
            bytes.truncate(CHECKSUM_BYTES + cut.index(bytes.len() - CHECKSUM_BYTES));
            let _ = GravesFile::decode(&sealed(bytes));
        }
    }

    #[test]
    fn a_later_version_is_refused_as_such() {
        let mut bytes = GravesFile::empty(KeyKind::Small).encode();
        bytes[MAGIC.len()] = VERSION + 1;
        let error = GravesFile::decode(&sealed(bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("version 2"));
    }

    #[test]
    fn graves_out_of_order_are_refused() {
        let key = KeyId::from_u128;
        let mut file = GravesFile::empty(KeyKind::Small);
        file.graves = vec![(key(2), Seq::MAX), (key(1), Seq::MAX)];
        assert!(GravesFile::decode(&file.encode()).is_err());
        file.graves = vec![(key(1), Seq::MAX), (key(1), Seq::ZERO)];
        assert!(GravesFile::decode(&file.encode()).is_err());
    }

    #[test]
    fn forgetting_raises_the_horizon_to_what_was_forgotten_and_no_further() {
        let seq = |position| Seq::new(0, 0, position, 1).unwrap();
        let key = KeyId::from_u128;
        let mut graves = Graves::new([(key(1), seq(10)), (key(2), seq(20)), (key(3), seq(30))], Seq::ZERO);
        assert_eq!(graves.forget(seq(25)), 2);
        assert_eq!((graves.horizon(), graves.len(), graves.get(key(3))), (seq(20), 1, Some(seq(30))));
        assert_eq!(graves.forget(seq(25)), 0);
        graves.drop_below(seq(31));
        assert_eq!((graves.horizon(), graves.len()), (seq(20), 0));
    }
}
