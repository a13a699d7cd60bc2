//! Where the log has a change, beside its order token: what the `source` block of a message says.

use std::sync::Arc;

/// Where a change comes from. It decides nothing: order and repeats are judged by [`crate::Seq`] alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Where its own record lies in the log (`PostgreSQL`: its LSN); for a read that of the slice.
    pub position: Option<u64>,
    /// Whether it comes from a snapshot.
    pub snapshot: SnapshotMarker,
    /// Its transaction; all changes of one share it. For a read: the transaction that read it.
    pub transaction: Option<Arc<Transaction>>,
}

/// A transaction of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The source's own number of it; `None` for a message that was written outside of one.
    pub id: Option<i64>,
    /// Where the commit record of the transaction before it ends, which may be one that was handed over before the start;
    /// `None` if none is known. A message that was written outside of a transaction is one to those after it, and to itself.
    pub previous_commit: Option<u64>,
    /// The replication origin that it was replayed from, and its place there.
    pub replayed_from: Option<(String, Option<u64>)>,
    /// The oldest transaction that the slot keeps, where it is asked for.
    pub oldest_kept: Option<i64>,
}

/// Whether a change comes from a snapshot, and where it stands in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotMarker {
    /// From the log.
    #[default]
    False,
    /// From a snapshot.
    True,
    /// The first read of all.
    First,
    /// The first read of its table.
    FirstInTable,
    /// The last read of its table.
    LastInTable,
    /// The last read of all.
    Last,
    /// From a snapshot beside the log.
    Incremental,
}

impl SnapshotMarker {
    /// As it stands in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::True => "true",
            Self::First => "first",
            Self::FirstInTable => "first_in_data_collection",
            Self::LastInTable => "last_in_data_collection",
            Self::Last => "last",
            Self::Incremental => "incremental",
        }
    }
}
