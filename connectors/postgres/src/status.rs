//! What the source shows of itself: for metrics, probes and people.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use walbrook_model::{Op, TableId};

use crate::wire::Lsn;

/// What the source is doing, and how far it is. Shared by reference; every field is read on its own.
#[derive(Debug, Default)]
pub struct Status {
    received: AtomicU64,
    confirmed: AtomicU64,
    server_end: AtomicU64,
    complete_until_us: AtomicI64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    slot: Option<SlotStatus>,
    snapshot: BTreeMap<TableId, TableSnapshot>,
    events: BTreeMap<TableId, Events>,
}

/// What the source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Connects and checks the log.
    #[default]
    Starting,
    /// Reads tables.
    Snapshot,
    /// Reads the log.
    Streaming,
    /// Lost the server and tries again.
    Reconnecting,
    /// Continuity of the log is not proven.
    Gap,
    /// Ended.
    Stopped,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Snapshot, Self::Streaming, Self::Reconnecting, Self::Gap, Self::Stopped];

    /// The name used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Snapshot => "snapshot",
            Self::Streaming => "streaming",
            Self::Reconnecting => "reconnecting",
            Self::Gap => "gap",
            Self::Stopped => "stopped",
        }
    }
}

/// The replication slot as the server shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotStatus {
    /// WAL between the end of the log and what we confirmed, bytes.
    pub lag_bytes: u64,
    /// WAL that the server keeps for the slot, bytes.
    pub retained_bytes: u64,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// WAL that can still be written before the slot is in danger, bytes; `None`: no limit is set.
    pub safe_wal_bytes: Option<i64>,
    /// Whether a session reads it.
    pub active: bool,
}

/// How far the snapshot of a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSnapshot {
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Size of the table on the server's disk when it began, bytes.
    pub total_bytes: u64,
    /// Whether all of it was read.
    pub finished: bool,
}

/// Changes handed over, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events([u64; OPS.len()]);

/// In the order of the counters.
const OPS: [Op; 6] = [Op::Insert, Op::Update, Op::Delete, Op::Read, Op::Truncate, Op::SnapshotEnd];

impl Events {
    /// Counts one change.
    pub(crate) fn count(&mut self, op: Op) {
        if let Some(index) = OPS.iter().position(|known| *known == op) {
            self.0[index] += 1;
        }
    }

    /// Every kind with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Op, u64)> {
        OPS.into_iter().zip(self.0)
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}

impl Status {
    /// What the source is doing.
    pub fn state(&self) -> State {
        self.lock().state
    }

    /// The slot; `None` before it was looked at.
    pub fn slot(&self) -> Option<SlotStatus> {
        self.lock().slot.clone()
    }

    /// How far the log was received, as a byte position.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// How far the log was confirmed to the server, as a byte position.
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Relaxed)
    }

    /// The end of the server's log when it was last looked at, as a byte position.
    pub fn server_end(&self) -> u64 {
        self.server_end.load(Relaxed)
    }

    /// The server's clock at the newest moment up to which everything was handed over, microseconds since 1970; `None`
    /// before the first.
    pub fn complete_until_us(&self) -> Option<i64> {
        Some(self.complete_until_us.load(Relaxed)).filter(|time| *time != 0)
    }

    /// How far each table of the snapshot is.
    pub fn snapshot(&self) -> BTreeMap<TableId, TableSnapshot> {
        self.lock().snapshot.clone()
    }

    /// Changes handed over, by table.
    pub fn events(&self) -> BTreeMap<TableId, Events> {
        self.lock().events.clone()
    }

    pub(crate) fn set_state(&self, state: State) {
        self.lock().state = state;
    }

    pub(crate) fn set_slot(&self, slot: SlotStatus) {
        self.lock().slot = Some(slot);
    }

    pub(crate) fn set_received(&self, position: Lsn) {
        self.received.store(position.0, Relaxed);
    }

    pub(crate) fn set_confirmed(&self, position: Lsn) {
        self.confirmed.store(position.0, Relaxed);
    }

    pub(crate) fn set_server_end(&self, position: Lsn) {
        self.server_end.store(position.0, Relaxed);
    }

    pub(crate) fn set_complete_until(&self, time_us: i64) {
        self.complete_until_us.fetch_max(time_us, Relaxed);
    }

    pub(crate) fn begin_table(&self, table: &TableId, total_bytes: u64, finished: bool) {
        self.lock().snapshot.insert(table.clone(), TableSnapshot { total_bytes, finished, ..TableSnapshot::default() });
    }

    pub(crate) fn read(&self, table: &TableId, rows: u64, bytes: u64) {
        if let Some(snapshot) = self.lock().snapshot.get_mut(table) {
            snapshot.rows += rows;
            snapshot.bytes += bytes;
        }
    }

    pub(crate) fn finish_table(&self, table: &TableId) {
        if let Some(snapshot) = self.lock().snapshot.get_mut(table) {
            snapshot.finished = true;
        }
    }

    /// Adds what a batch held.
    pub(crate) fn count<'a>(&self, events: impl IntoIterator<Item = (&'a TableId, Events)>) {
        let mut inner = self.lock();
        for (table, counted) in events {
            match inner.events.get_mut(table) {
                Some(sum) => sum.add(&counted),
                None => {
                    inner.events.insert(table.clone(), counted);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
