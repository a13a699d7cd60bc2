//! Headers of a message: ours, which carry what Debezium's envelope has no place for, and Debezium's.
//!
//! Ours stand on tombstones too. A reader that does not know them loses nothing that Debezium has.

use walbrook_model::{Seq, TableId};

/// The order token, as a decimal number.
pub const SEQ: &str = "walbrook.seq";
/// The identity of the log.
pub const LINEAGE: &str = "walbrook.lineage";
/// Columns of `after` that the log does not carry: a JSON list of names. Without it null means NULL.
pub const UNCHANGED: &str = "walbrook.unchanged";
/// Columns of `before` that the log does not carry: as above, or `*` for all but the key.
pub const UNCHANGED_BEFORE: &str = "walbrook.unchanged.before";
/// On a message without a value: when its transaction committed, microseconds since 1970 UTC.
pub const COMMITTED_AT: &str = "walbrook.ts_us";
/// On a message that is no change of a row: what it is.
pub const CONTROL: &str = "walbrook.control";
/// The value of [`CONTROL`] at the end of a slice.
pub const SNAPSHOT_END: &str = "snapshot_end";
/// How many partitions got the end of the slice.
pub const PARTITIONS: &str = "walbrook.partitions";
/// The table and its shape, where the message does not say it.
pub const SHAPE: &str = "walbrook.shape";
/// The table, on a message without a value or whose value lies elsewhere, and without [`SHAPE`]: a JSON object of `schema` and
/// `name`. The name of its topic need not tell it.
pub const TABLE: &str = "walbrook.table";
/// What rows hold that were there before a column was added: a JSON object of column and base64 of the value as the message
/// would hold it.
pub const INITIAL: &str = "walbrook.initial";
/// On the delete half of a key change: the new key.
pub const NEW_KEY: &str = "__debezium.newkey";
/// On the create half of a key change: the old key.
pub const OLD_KEY: &str = "__debezium.oldkey";
/// Debezium's context.
pub const CONTEXT_NAME: &str = "__debezium.context.connectorLogicalName";
/// Debezium's context.
pub const CONTEXT_TASK: &str = "__debezium.context.taskId";
/// Debezium's context.
pub const CONTEXT_CONNECTOR: &str = "__debezium.context.connectorName";
/// Debezium's context.
pub const CONTEXT_RUN: &str = "__debezium.context.runId";

/// Writes an order token.
pub(crate) fn write_seq(seq: Seq, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(seq.to_u128()).as_bytes());
}

/// The value of [`TABLE`].
pub fn table(table: &TableId) -> Vec<u8> {
    serde_json::to_vec(table).unwrap_or_default()
}

/// The table that a value of [`TABLE`] says; `None` if it is none.
pub fn read_table(bytes: &[u8]) -> Option<TableId> {
    serde_json::from_slice(bytes).ok()
}

/// Reads an order token.
pub(crate) fn read_seq(bytes: &[u8]) -> Option<Seq> {
    std::str::from_utf8(bytes).ok()?.parse().ok().and_then(Seq::from_u128)
}
