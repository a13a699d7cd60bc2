//! Publishes changes to Kafka and keeps the checkpoint beside them.
//!
//! ```text
//! Batch ── sink ──> schemas (registry) ── envelope ── partitioner ── producer ──> change topics
//!             └──> keeper | transactions ── journal ──────────────────────────> checkpoint topic
//! ```

mod borders;
mod candidate;
mod claims;
mod cluster;
mod events;
mod faults;
mod journal;
mod keeper;
mod ledger;
mod partitioner;
mod preflight;
mod producer;
mod progress;
mod schemas;
mod settings;
mod sink;
mod status;
mod topics;
mod transactions;

#[cfg(test)]
mod testing;

pub use preflight::preflight;
pub use sink::{Instance, KafkaSink};
pub use status::{Status, Stopped, TableStatus};
