//! What the calls came to, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Calls by their outcome; counted from the start of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Answered from memory, without a request.
    pub cached: u64,
    /// Accepted by the registry.
    pub accepted: u64,
    /// Refused by the registry: an incompatible or unknown schema, a wrong login.
    pub refused: u64,
    /// Given up: no usable answer in the time limit.
    pub unavailable: u64,
    /// Requests sent again, since there was no usable answer to the one before.
    pub repeats: u64,
}

/// The counters behind a [`Status`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) cached: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    pub(crate) repeats: AtomicU64,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn status(&self) -> Status {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            cached: read(&self.cached),
            accepted: read(&self.accepted),
            refused: read(&self.refused),
            unavailable: read(&self.unavailable),
            repeats: read(&self.repeats),
        }
    }
}
