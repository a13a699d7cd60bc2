//! What survives a crash, and the judge of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use walbrook_model::{Column, ColumnType, Error, ErrorKind, Seq, TableId, TableSchema, Value};

/// A defect that the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The sink reports a checkpoint as durable when it has only been written.
    AckBeforeDurable,
    /// The sink makes the checkpoint durable before the data.
    CheckpointBeforeData,
    /// The source hands out a checkpoint inside a transaction.
    CheckpointInsideTransaction,
    /// The source compares a transaction's position with the checkpoint by `<=`: commits lie back to back.
    SkipAtCheckpoint,
    /// The source does not look whether the slot is the one that it knew.
    NoGap,
}

impl Bug {
    pub(crate) const ALL: [Self; 5] = [
        Self::AckBeforeDurable,
        Self::CheckpointBeforeData,
        Self::CheckpointInsideTransaction,
        Self::SkipAtCheckpoint,
        Self::NoGap,
    ];
}

/// A committed transaction: it lies at `commit..end` of the log; the next one may begin at `end`.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) commit: u64,
    pub(crate) end: u64,
    /// (key, new value or deleted)
    pub(crate) rows: Vec<(u64, Option<u64>)>,
}

/// The server's memory of what its client needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) incarnation: u64,
    /// Transactions that end at or below it are forgotten.
    pub(crate) confirmed: u64,
    /// What survives a crash of the server.
    pub(crate) persisted: u64,
}

/// A key's row or grave in the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) seq: Seq,
    pub(crate) value: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) bug: Option<Bug>,
    pub(crate) faulty: bool,
    pub(crate) random: StdRng,
    pub(crate) log: Vec<Transaction>,
    /// Transactions that the server will still commit.
    pub(crate) to_come: u64,
    pub(crate) slot: Option<Slot>,
    /// The slot was lost or replaced: from now on every start must say so.
    pub(crate) broken: bool,
    pub(crate) saw_gap: bool,
    pub(crate) table: BTreeMap<u64, Stored>,
    pub(crate) checkpoint: Option<String>,
    pub(crate) in_flight_bytes: usize,
    pub(crate) in_flight_bytes_max: usize,
    history: String,
    next: u64,
}

/// Handle to the world; clones share it.
#[derive(Clone)]
pub(crate) struct World {
    seed: u64,
    inner: Arc<Mutex<Inner>>,
}

pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut random = rng(seed);
        let to_come = random.random_range(1..80);
        let inner = Inner {
            bug,
            faulty: true,
            random,
            log: Vec::new(),
            to_come,
            slot: None,
            broken: false,
            saw_gap: false,
            table: BTreeMap::new(),
            checkpoint: None,
            in_flight_bytes: 0,
            in_flight_bytes_max: 0,
            history: String::new(),
            next: 1_000,
        };
        let world = Self { seed, inner: Arc::new(Mutex::new(inner)) };
        let already = world.lock().random.random_range(0..6);
        for _ in 0..already {
            world.commit_transaction();
        }
        world
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn history(&self) -> String {
        self.lock().history.clone()
    }

    pub(crate) fn note(&self, what: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.lock().history, "{what}");
    }

    /// The application commits a transaction, directly behind the last one.
    pub(crate) fn commit_transaction(&self) {
        let mut inner = self.lock();
        if inner.to_come == 0 {
            return;
        }
        inner.to_come -= 1;
        let commit = inner.next;
        let rows = (0..inner.random.random_range(1..12))
            .map(|_| {
                let key = inner.random.random_range(0..8);
                (key, inner.random.random_bool(0.75).then(|| inner.random.random()))
            })
            .collect();
        let end = commit + inner.random.random_range(1..50);
        inner.next = end;
        inner.log.push(Transaction { commit, end, rows });
    }

    /// The server between two runs: it may crash (the slot steps back), or somebody may drop or replace the slot.
    pub(crate) fn between_runs(&self) {
        let mut inner = self.lock();
        let (steps_back, dropped, recreated) =
            (inner.random.random_bool(0.3), inner.random.random_bool(0.02), inner.random.random_bool(0.02));
        let next = inner.next;
        if let Some(slot) = &mut inner.slot {
            if steps_back {
                slot.confirmed = slot.persisted;
            }
            if recreated {
                *slot = Slot { incarnation: slot.incarnation + 1, confirmed: next, persisted: next };
            }
            if dropped {
                inner.slot = None;
            }
            inner.broken |= dropped || recreated;
        }
        drop(inner);
        self.commit_transaction();
    }

    pub(crate) fn heal(&self) {
        self.lock().faulty = false;
    }

    /// Whether everything that was committed is durable.
    pub(crate) fn caught_up(&self) -> bool {
        let inner = self.lock();
        let position = inner.checkpoint.as_deref().and_then(position_of);
        inner.to_come == 0 && position == Some(inner.log.last().map_or(1_000, |last| last.end))
    }

    /// Counts an error and gives its kind; a fault that was injected is no failure.
    pub(crate) fn failed(&self, error: &Error) -> ErrorKind {
        self.note(format_args!("failed: {error}"));
        if error.kind() == ErrorKind::Gap {
            self.lock().saw_gap = true;
        }
        error.kind()
    }

    /// The client acknowledges `position`: it must be a boundary, and all before it must be durable.
    pub(crate) fn acknowledge(&self, position: u64) {
        self.note(format_args!("acknowledged {position}"));
        let mut inner = self.lock();
        let boundary = position == 1_000 || inner.log.iter().any(|transaction| transaction.end == position);
        assert!(boundary, "acknowledged {position}, which is inside a transaction");
        let durable = inner.checkpoint.as_deref().and_then(position_of);
        assert!(Some(position) <= durable, "acknowledged {position}, the durable checkpoint is at {durable:?}");
        for (key, expected) in replay(&inner.log, position) {
            let stored = inner.table.get(&key).map(|stored| stored.seq);
            assert!(stored >= Some(expected.seq), "acknowledged {position}, but key {key} is not durable");
        }
        assert!(!inner.broken || inner.bug == Some(Bug::NoGap), "acknowledged in a gap");
        let persists = inner.random.random_bool(0.5);
        if let Some(slot) = &mut inner.slot {
            slot.confirmed = slot.confirmed.max(position);
            if persists {
                slot.persisted = slot.confirmed;
            }
        }
    }

    /// The end of a seed: the sink holds what the log says, or a gap was reported.
    pub(crate) fn check_end(&self) {
        let inner = self.lock();
        if inner.broken && inner.saw_gap {
            return;
        }
        assert!(!inner.saw_gap, "a gap was reported without reason");
        let expected = replay(&inner.log, u64::MAX);
        for (key, expected) in &expected {
            let stored = inner.table.get(key).and_then(|stored| stored.value);
            assert_eq!(stored, expected.value, "key {key} differs from the source");
        }
        assert!(inner.table.keys().all(|key| expected.contains_key(key)), "the sink invented a key");
    }
}

/// The naive model: the last change of each key wins.
pub(crate) fn replay(log: &[Transaction], until: u64) -> BTreeMap<u64, Stored> {
    let mut table = BTreeMap::new();
    for transaction in log.iter().filter(|transaction| transaction.end <= until) {
        for (ordinal, (key, value)) in (1..).zip(&transaction.rows) {
            let seq = Seq::new(0, 1, transaction.commit, ordinal).expect("small");
            table.insert(*key, Stored { seq, value: *value });
        }
    }
    table
}

/// The position inside a checkpoint of the simulated source.
pub(crate) fn position_of(checkpoint: &str) -> Option<u64> {
    checkpoint.split(' ').nth(1)?.parse().ok()
}

pub(crate) fn schema() -> Arc<TableSchema> {
    let column = |name: &str| Column {
        name: name.to_owned(),
        ty: ColumnType::Int64,
        nullable: false,
        source_type: "u64".to_owned(),
        initial_default: None,
        facts: Arc::default(),
        decoder: |_, bytes| {
            let text = std::str::from_utf8(bytes).map_err(|_| Error::data("not text"))?;
            let number: u64 = text.parse().map_err(|_| Error::data("not a number"))?;
            Ok(Value::Int(number.cast_signed()))
        },
    };
    Arc::new(TableSchema {
        table: TableId::new("public", "t"),
        columns: vec![column("key"), column("value")],
        key: vec![0],
    })
}
