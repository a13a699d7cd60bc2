//! Moves batches from a source into a sink, and carries the durable checkpoint back.
//!
//! ```text
//!            source task                                        sink task
//! next_batch(durable) ──> queue, bounded in bytes ──> write ──> durable()
//!      ^                                                            │
//!      └────────────── durable checkpoint (watch) <─────────────────┘
//! ```
//!
//! - [`pipeline`] is one run: from a start until a stop, an end or an error.
//! - [`supervise`] decides from an error's kind what comes next: again, wait for the operator, or stop.
//! - [`health`] is what the daemon shows of it.

pub mod health;
pub mod pipeline;
mod queue;
pub mod supervise;
