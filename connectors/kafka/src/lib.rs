//! Change topics as a source of changes: our own envelopes, and those that Debezium wrote for `PostgreSQL`.
//!
//! ```text
//! source -> worker (a thread) -> fetch                         a queue for each partition
//!                             -> reading -> topic -> merge      which partition's message is next
//!                                                 -> readers    message -> change
//!                                                 -> slices     ends of a slice -> one end, when all are in
//!                                                 -> letters    what cannot be decoded or stored, if it may be put aside
//!                                                 -> hold       what goes together
//!                                        -> watermark, logs     records of the capture -> what is covered, what is let in
//! positions: the checkpoint, one offset a partition                 continuity: is the topic still the same?
//! whose: the table of a topic, as messages tell it
//! ownership: which topics are ours          sharing: one checkpoint of several processes
//! coverage: does it cover what the capture says is there?
//! ```

mod arena;
mod building;
mod client;
mod continuity;
mod coverage;
mod events;
mod fetch;
mod gap;
mod hold;
mod letters;
mod logs;
mod merge;
mod ownership;
mod positions;
mod preflight;
mod raw;
mod readers;
mod reading;
mod schemas;
mod sharing;
mod slices;
mod source;
mod status;
#[cfg(test)]
mod testing;
mod topic;
mod watermark;
mod whose;
mod worker;

pub use coverage::not_covered;
pub use gap::{accept_gap, find_gap};
pub use letters::open_letters;
pub use ownership::Membership;
pub use preflight::preflight;
pub use sharing::merge_checkpoints;
pub use source::KafkaSource;
pub use status::{State as SourceState, Status, TopicStatus};
