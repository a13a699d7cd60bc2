//! What the sink is doing, for metrics and health: figures and names, never a cell.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Read by the daemon while the sink works.
#[derive(Debug, Default)]
pub struct Status(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tables: BTreeMap<String, TableStatus>,
    complete_until_us: Option<i64>,
    checkpoint: Option<Instant>,
    checkpoints: u64,
    checkpoint_held: bool,
    waiting_messages: u64,
    waiting_bytes: u64,
    delivery: Option<Duration>,
    commit: Option<Duration>,
    registry: Option<walbrook_registry::Status>,
}

/// One table. Counters start at 0 with the process.
#[derive(Clone, Debug, Default)]
pub struct TableStatus {
    /// Changes taken from the source.
    pub changes: u64,
    /// Messages produced: tombstones and copies for further partitions count too.
    pub messages: u64,
    /// Bytes of them: keys, values and headers, before compression.
    pub bytes: u64,
    /// Messages among them that stand for one that was too large, and went elsewhere.
    pub oversize: u64,
    /// Versions of the table that were made ready.
    pub versions: u64,
    /// Why the table stopped and what to do, if it did.
    pub stopped: Option<Stopped>,
}

/// A table that takes no changes any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What happened.
    pub reason: String,
    /// What an operator can do.
    pub remedy: Option<String>,
    /// Bytes of changes that have come for it since.
    pub parked_bytes: u64,
    /// Whether the checkpoint has passed changes that the table did not take: it has a gap.
    pub gap: bool,
}

impl Status {
    /// All tables seen so far, by `schema.name`.
    pub fn tables(&self) -> BTreeMap<String, TableStatus> {
        self.lock().tables.clone()
    }

    /// Everything that committed at the source before this moment (microseconds since 1970 UTC) is in the topics.
    pub fn complete_until_us(&self) -> Option<i64> {
        self.lock().complete_until_us
    }

    /// Time since a checkpoint was written; `None` if this process wrote none yet.
    pub fn checkpoint_age(&self) -> Option<Duration> {
        self.lock().checkpoint.map(|at| at.elapsed())
    }

    /// Checkpoints written.
    pub fn checkpoints(&self) -> u64 {
        self.lock().checkpoints
    }

    /// Whether the checkpoint waits for a stopped table, and the source keeps its log meanwhile.
    pub fn checkpoint_held(&self) -> bool {
        self.lock().checkpoint_held
    }

    /// Messages that wait for their delivery.
    pub fn waiting_messages(&self) -> u64 {
        self.lock().waiting_messages
    }

    /// Bytes of messages that wait for their delivery, with what each costs in memory.
    pub fn waiting_bytes(&self) -> u64 {
        self.lock().waiting_bytes
    }

    /// How long the messages before the last checkpoint waited for their delivery, counted from the last of them.
    pub fn delivery(&self) -> Option<Duration> {
        self.lock().delivery
    }

    /// How long the transaction of the last checkpoint took to commit.
    pub fn commit(&self) -> Option<Duration> {
        self.lock().commit
    }

    /// What the calls of the schema registry came to; `None` without one.
    pub fn registry(&self) -> Option<walbrook_registry::Status> {
        self.lock().registry
    }

    pub(crate) fn set_registry(&self, status: Option<walbrook_registry::Status>) {
        self.lock().registry = status;
    }

    pub(crate) fn table(&self, table: &str, update: impl FnOnce(&mut TableStatus)) {
        let mut inner = self.lock();
        match inner.tables.get_mut(table) {
            Some(status) => update(status),
            None => update(inner.tables.entry(table.to_owned()).or_default()),
        }
    }

    /// Nothing is stopped at a start.
    pub(crate) fn restart(&self) {
        let mut inner = self.lock();
        inner.tables.values_mut().for_each(|table| table.stopped = None);
        (inner.checkpoint_held, inner.waiting_messages, inner.waiting_bytes) = (false, 0, 0);
    }

    pub(crate) fn checkpoint_written(&self, complete_until_us: Option<i64>, delivery: Duration, commit: Duration) {
        let mut inner = self.lock();
        inner.checkpoint = Some(Instant::now());
        inner.checkpoints += 1;
        (inner.delivery, inner.commit) = (Some(delivery), Some(commit));
        inner.complete_until_us = inner.complete_until_us.max(complete_until_us);
    }

    pub(crate) fn set_checkpoint_held(&self, held: bool) {
        self.lock().checkpoint_held = held;
    }

    pub(crate) fn set_waiting(&self, (messages, bytes): (u64, usize)) {
        let mut inner = self.lock();
        (inner.waiting_messages, inner.waiting_bytes) = (messages, bytes as u64);
    }

    /// Figures stay readable after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
