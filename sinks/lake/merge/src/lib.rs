//! Merges changes into lake tables.
//!
//! ```text
//! Batch -> sink -> table -> buffer (Arrow)      at a commit: guard -> key index -> data file + deletion vectors
//!                                                            one Commit -> TableFormat (Iceberg, Delta)
//! ```

mod append;
mod buffer;
mod cells;
mod column;
pub mod compare;
mod control;
mod data_file;
mod durable;
mod events;
mod evolve;
mod fill;
pub mod format;
mod graves;
mod guard;
mod index;
mod key;
pub mod layout;
mod pending;
mod properties;
mod scd1;
mod single_value;
mod sink;
mod status;
mod store;
mod stored;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod upsert;
pub mod vector;

pub use sink::LakeSink;
pub use status::{Status, Stopped, TableStatus};
