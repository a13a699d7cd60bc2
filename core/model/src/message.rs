//! A message in the log that is no change of a row.

use bytes::Bytes;

use crate::Origin;

/// What an application wrote into the log itself (`PostgreSQL`: `pg_logical_emit_message`), for the readers of the log alone:
/// an outbox without a table.
#[derive(Clone, Debug)]
pub struct LogicalMessage {
    /// How many changes of its batch come before it.
    pub after: usize,
    /// By which its readers know it.
    pub prefix: String,
    /// What it says.
    pub content: Bytes,
    /// When its transaction committed; without one, when it was written. Microseconds since 1970 UTC.
    pub committed_at_us: i64,
    /// Where the log has it.
    pub origin: Origin,
}

impl LogicalMessage {
    /// Bytes that this message keeps in memory.
    pub fn bytes(&self) -> usize {
        self.prefix.len() + self.content.len() + size_of::<Self>()
    }
}
