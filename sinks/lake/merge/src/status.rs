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
    checkpoint_held: bool,
    buffered_bytes: u64,
}

/// One table. Counters start at 0 with the process.
#[derive(Clone, Debug, Default)]
pub struct TableStatus {
    /// Changes taken from the source.
    pub changes: u64,
    /// Rows written to data files.
    pub rows_written: u64,
    /// Rows marked deleted, replaced ones among them.
    pub rows_deleted: u64,
    /// Stored rows whose order token had to be read to judge a change: none while changes come in order.
    pub rows_read: u64,
    /// Changes that the guard dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Rows of an append table some of whose cells the log did not carry.
    pub incomplete_rows: u64,
    /// Commits that are in the table.
    pub commits: u64,
    /// Commits that another writer was faster than; each was planned again.
    pub conflicts: u64,
    /// Time that the last commit took.
    pub last_commit: Option<Duration>,
    /// Bytes of data files written.
    pub bytes_written: u64,
    /// Live rows of an upsert table.
    pub live_rows: u64,
    /// Memory of the key index.
    pub index_bytes: u64,
    /// Deleted keys that are remembered.
    pub graves: u64,
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

    /// Everything that committed at the source before this moment (microseconds since 1970 UTC) is in the lake.
    pub fn complete_until_us(&self) -> Option<i64> {
        self.lock().complete_until_us
    }

    /// Time since a checkpoint was written; `None` if this process wrote none yet.
    pub fn checkpoint_age(&self) -> Option<Duration> {
        self.lock().checkpoint.map(|at| at.elapsed())
    }

    /// Whether the checkpoint waits for a stopped table, and the source keeps its log meanwhile.
    pub fn checkpoint_held(&self) -> bool {
        self.lock().checkpoint_held
    }

    /// Bytes of changes that wait for a commit.
    pub fn buffered_bytes(&self) -> u64 {
        self.lock().buffered_bytes
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
        inner.checkpoint_held = false;
    }

    pub(crate) fn checkpoint_written(&self) {
        self.lock().checkpoint = Some(Instant::now());
    }

    pub(crate) fn set_complete_until(&self, us: Option<i64>) {
        let mut inner = self.lock();
        inner.complete_until_us = inner.complete_until_us.max(us);
    }

    pub(crate) fn set_checkpoint_held(&self, held: bool) {
        self.lock().checkpoint_held = held;
    }

    pub(crate) fn set_buffered_bytes(&self, bytes: usize) {
        self.lock().buffered_bytes = bytes as u64;
    }

    /// Figures stay readable after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
