//! One row-level event.

use std::sync::Arc;

use crate::{Origin, Row, Seq, TableSchema};

/// What a [`Change`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A row was inserted: `after`.
    Insert,
    /// A row was updated without a change of its key: `after`, and `before` if the log holds it.
    Update,
    /// A row was deleted: `before`, at least its key.
    Delete,
    /// A row was read by a snapshot: `after`; the ordinal of its `seq` is 0.
    Read,
    /// All rows of the table older than `seq` are gone.
    Truncate,
    /// The slice at `seq` is complete for this table: rows older than it that it did not read are gone.
    SnapshotEnd,
}

impl Op {
    /// The letter of Debezium's `op` field; `None` for what Debezium does not send.
    pub fn letter(self) -> Option<char> {
        Some(match self {
            Self::Insert => 'c',
            Self::Update => 'u',
            Self::Delete => 'd',
            Self::Read => 'r',
            Self::Truncate => 't',
            Self::SnapshotEnd => return None,
        })
    }

    /// The name used in logs and in the `op` label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Read => "read",
            Self::Truncate => "truncate",
            Self::SnapshotEnd => "snapshot_end",
        }
    }
}

/// One row-level event.
///
/// A change of a key is two changes: a [`Op::Delete`] of the old key and an [`Op::Insert`] of the new one, each with its
/// own ordinal.
#[derive(Clone, Debug)]
pub struct Change {
    /// What it does.
    pub op: Op,
    /// The version of the table's shape that `before` and `after` have.
    pub schema: Arc<TableSchema>,
    /// The row before the change. Cells that the log does not carry are [`crate::Cell::Unchanged`].
    pub before: Option<Row>,
    /// The row after the change.
    pub after: Option<Row>,
    /// Its place in the order of the source.
    pub seq: Seq,
    /// When its transaction committed (for a read: when the slice was taken), microseconds since 1970 UTC.
    pub committed_at_us: i64,
    /// Where the log has it.
    pub origin: Origin,
    /// The other half of a change of the key: the new row for its delete, the old row for its insert.
    pub moved: Option<Box<Row>>,
}

impl Change {
    /// A change without rows.
    pub fn new(op: Op, schema: Arc<TableSchema>, seq: Seq, committed_at_us: i64) -> Self {
        Self { op, schema, before: None, after: None, seq, committed_at_us, origin: Origin::default(), moved: None }
    }

    /// The row that holds the key: `after` where there is one, else `before`.
    pub fn key_row(&self) -> Option<&Row> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// Bytes of row data that this change keeps in memory.
    pub fn bytes(&self) -> usize {
        let row = |row: &Option<Row>| row.as_ref().map_or(0, Row::memory_bytes);
        row(&self.before) + row(&self.after) + size_of::<Self>()
    }
}
