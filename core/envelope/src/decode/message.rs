//! A message as it comes, and what it is.

use bytes::Bytes;
use walbrook_model::{Change, Lineage};

/// A message as it came from a topic; Avro without its five bytes of header ([`crate::split_wire_header`]).
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    /// The key; `None` is null.
    pub key: Option<Bytes>,
    /// The value; `None` is null.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl Incoming<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.header(name).and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok())
    }
}

/// What a message is.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// A change, with the log that it comes from where the message says it: Debezium's do not.
    Change(Change, Option<Lineage>),
    /// A tombstone, as the delete of its key. It has the order token of the delete before it.
    Tombstone(Change, Option<Lineage>),
    /// The end of a slice, of which each of so many partitions gets one.
    SnapshotEnd(Change, Option<Lineage>, u32),
    /// Nothing of a row: a tombstone that Debezium wrote behind its delete, or one without a key; a message of the log, or the
    /// border of a transaction.
    Nothing,
}

impl Decoded {
    /// The change that it tells of.
    pub fn change(&self) -> Option<&Change> {
        match self {
            Self::Change(change, _) | Self::Tombstone(change, _) | Self::SnapshotEnd(change, ..) => Some(change),
            Self::Nothing => None,
        }
    }
}
