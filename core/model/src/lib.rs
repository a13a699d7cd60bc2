//! The words of walbrook, as types: what moves through a pipeline and what moves it.
//!
//! ```text
//! Source ── Batch { changes: [Change { op, schema, before, after, seq, .. }], checkpoint } ──> Sink
//!        <───────────────────────── durable Checkpoint ──────────────────────────────────────
//! ```
//!
//! Nothing here does I/O, and this crate depends on no other crate of walbrook.

mod batch;
mod change;
mod checkpoint;
mod error;
mod finding;
mod message;
mod origin;
mod row;
mod schema;
mod seq;
mod sharing;
mod sink;
mod source;
mod value;

pub use batch::{Batch, TableStop};
pub use change::{Change, Op};
pub use checkpoint::{Checkpoint, Lineage};
pub use error::{Error, ErrorKind, Result};
pub use finding::{Finding, Severity};
pub use message::LogicalMessage;
pub use origin::{Origin, SnapshotMarker, Transaction};
pub use row::{Cell, Row, RowBuilder};
pub use schema::{Column, ColumnFacts, ColumnType, DecodeCell, TableId, TableSchema};
pub use seq::{Seq, SeqError};
pub use sharing::{MergeCheckpoints, merge_entries, taken};
pub use sink::Sink;
pub use source::Source;
pub use value::{Decimal, Value};
