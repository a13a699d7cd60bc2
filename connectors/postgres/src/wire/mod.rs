//! The wire formats: bytes in, messages out.
//!
//! No sockets, no clock, and no panic on any input: whatever a server sends is either decoded whole or an error.
//!
//! ```text
//! socket -> frame (type byte, length) -> CopyData -> replication (XLogData, keepalive) -> pgoutput (begin, insert, ..)
//!                                     -> copy, copy_binary (rows of a snapshot)
//! ```

pub(crate) mod copy;
pub(crate) mod copy_binary;
pub(crate) mod frame;
mod lsn;
pub(crate) mod pgoutput;
mod reader;
pub(crate) mod replication;

pub(crate) use lsn::Lsn;

use walbrook_model::Error;

/// Microseconds between 1970-01-01 and 2000-01-01, from which the server counts.
const EPOCH_OFFSET_US: i64 = 946_684_800_000_000;

/// Bytes that no server sends. Nothing was applied from them and the log still holds them: reading again is safe.
fn malformed(what: &str) -> Error {
    Error::transient(format!("malformed message from the server: {what}"))
}
