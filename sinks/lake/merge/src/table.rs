//! A lake table, of either kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use walbrook_config::TableMode;
use walbrook_model::{Change, Result, Seq, TableSchema};

use crate::append::Append;
use crate::store::Store;
use crate::upsert::{Sealed, Upsert};

/// A lake table that takes changes.
pub(crate) enum Table {
    /// The current row of each key.
    Upsert(Box<Upsert>),
    /// Every change.
    Append(Box<Append>),
}

/// What a commit must know of the rest of the pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Every change up to it is in the lake and covered by a durable checkpoint.
    pub(crate) covered: Seq,
    /// The logs that the rows come from, as JSON.
    pub(crate) logs: String,
    /// Memory is short: write out also what cannot be committed yet.
    pub(crate) spill: bool,
}

/// What a commit did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Committed {
    pub(crate) commits: u64,
    pub(crate) conflicts: u64,
    pub(crate) rows_written: u64,
    pub(crate) rows_deleted: u64,
    pub(crate) rows_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) incomplete_rows: u64,
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    pub(crate) live_rows: u64,
    pub(crate) index_bytes: u64,
    pub(crate) graves: u64,
}

impl Table {
    /// Takes a table in hand; `schema` is that of its next change, at `seq`.
    pub(crate) fn load(store: Store, mode: TableMode, schema: &Arc<TableSchema>, seq: Seq) -> Result<Self> {
        Ok(match mode {
            TableMode::Upsert => Self::Upsert(Box::new(Upsert::load(store, schema, seq)?)),
            TableMode::Append => Self::Append(Box::new(Append::load(store))),
        })
    }

    /// Takes a change; it is in the table after the commit of the next [`Table::seal`].
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if it cannot be represented: the table must take no more.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<()> {
        match self {
            Self::Upsert(table) => table.apply(change),
            Self::Append(table) => table.apply(change),
        }
    }

    /// Whether there is anything to commit.
    pub(crate) fn is_dirty(&self) -> bool {
        match self {
            Self::Upsert(table) => table.is_dirty(),
            Self::Append(table) => table.is_dirty(),
        }
    }

    /// Whether a commit inside of a transaction would have to wait for the next change.
    pub(crate) fn awaits_half(&self) -> bool {
        matches!(self, Self::Upsert(table) if table.awaits_half())
    }

    /// Bytes of changes that wait.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Upsert(table) => table.bytes(),
            Self::Append(table) => table.bytes(),
        }
    }

    /// Live rows of an upsert table.
    pub(crate) fn live_rows(&self) -> u64 {
        match self {
            Self::Upsert(table) => table.live_rows(),
            Self::Append(_) => 0,
        }
    }

    /// Parts what was applied from what comes after, as a commit to be run. Until [`Job::take_back`] there is no append
    /// table to take changes, and an upsert table cannot be sealed again.
    ///
    /// # Errors
    /// Of this table; it stays as it is, but must take no more changes.
    pub(crate) fn seal(table: &mut Option<Self>) -> Result<Option<Job>> {
        match table.take() {
            Some(Self::Upsert(mut upsert)) => {
                let sealed = upsert.seal();
                *table = Some(Self::Upsert(upsert));
                sealed.map(|sealed| Some(Job::Upsert(Box::new(sealed))))
            }
            Some(Self::Append(append)) => Ok(Some(Job::Append(append))),
            None => Ok(None),
        }
    }

    /// The table in our hands; `None` while a commit runs.
    pub(crate) fn store(&self) -> Option<&Store> {
        match self {
            Self::Upsert(table) => table.store(),
            Self::Append(table) => Some(table.store()),
        }
    }
}

/// A commit of a table, that runs while an upsert table takes more changes.
pub(crate) enum Job {
    /// Of the changes that were sealed.
    Upsert(Box<Sealed>),
    /// The whole table.
    Append(Box<Append>),
}

impl Job {
    /// Makes the changes part of the table.
    pub(crate) async fn run(&mut self, context: &Context) -> Result<Committed> {
        match self {
            Self::Upsert(sealed) => sealed.commit(context).await,
            Self::Append(table) => table.commit(context).await,
        }
    }

    /// The table in our hands.
    pub(crate) fn store(&self) -> &Store {
        match self {
            Self::Upsert(sealed) => sealed.store(),
            Self::Append(table) => table.store(),
        }
    }

    /// Bytes of the changes that it commits.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Upsert(sealed) => sealed.bytes(),
            Self::Append(table) => table.bytes(),
        }
    }

    /// Puts the table together again. `rest` is what [`Table::seal`] left.
    pub(crate) fn take_back(self, rest: Option<Table>) -> Option<Table> {
        match (self, rest) {
            (Self::Upsert(sealed), Some(Table::Upsert(mut table))) => {
                table.take_back(*sealed);
                Some(Table::Upsert(table))
            }
            (Self::Append(table), _) => Some(Table::Append(table)),
            (Self::Upsert(_), rest) => rest,
        }
    }
}
