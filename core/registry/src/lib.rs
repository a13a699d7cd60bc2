//! A schema registry's schemas: registered by the sink for Kafka, read back by the source.
//!
//! ```text
//! Registry ── cache ── known: no call
//!     └─ retry ── client ── one HTTP request
//!          └──── answer: accepted | refused (an error at once) | unavailable (again, until `timeout` is over)
//! ```
//!
//! A registry that is away is a transient error: the caller waits, nothing is lost. A schema that it refuses is an error
//! of the data, of that table alone, which names what differs from the schema before.

mod answer;
mod cache;
mod client;
mod difference;
mod registry;
mod retry;
mod status;

#[cfg(test)]
mod tests;

pub use registry::Registry;
pub use status::Status;
