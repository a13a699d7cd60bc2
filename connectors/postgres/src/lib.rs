//! `PostgreSQL` as a source of changes: logical replication through `pgoutput`, after a snapshot of the tables.
//!
//! ```text
//! source -> worker -> snapshot            exported snapshot, COPY -> Read changes
//!                  -> stream -> assemble  log messages -> changes of whole transactions
//! ```

mod assemble;
mod catalog;
mod checkpoint;
mod connection;
mod continuity;
mod events;
mod gap;
mod images;
mod monitor;
mod netting;
mod outbox;
mod preflight;
mod publication;
mod relations;
mod schema;
mod slot;
mod snapshot;
mod source;
mod sql;
mod status;
mod stream;
mod tables;
#[cfg(test)]
mod testing;
mod timeline;
mod undecodable;
mod values;
mod visibility;
mod wire;
mod worker;

pub use checkpoint::checkpoint_position;
pub use gap::{Accepted, accept_gap, find_gap};
pub use preflight::{captured_tables, preflight};
pub use source::PostgresSource;
pub use status::{Events, SlotStatus, State as SourceState, Status, TableSnapshot};
