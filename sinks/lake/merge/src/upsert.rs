//! One SCD1 table: the current row of each key.
//!
//! ```text
//! apply: change -> key, buffer row -> pending (newest of each key)      the next commit fills
//! seal:  what was applied, and the merged table                         while this one runs:
//! run:   guard (plan) -> data file, graves file, durable -> one Commit -> fold into the index
//! ```
//!
//! Invariants:
//! - One commit of a table runs at a time: it holds the only [`Merged`].
//! - A row that was refused is not in `pending`; what came before it still commits.
//! - What is applied while a commit runs is judged after that commit was folded in.

mod commit;

use std::sync::Arc;

use walbrook_model::{Change, Error, Op, Result, Row, Seq, TableSchema};

use self::commit::Merged;
pub(crate) use self::commit::Sealed;
#[cfg(test)]
pub(crate) use self::commit::checksum;
use crate::buffer::{Buffer, Stamp};
use crate::evolve::Shape;
use crate::fill::{Base, PartialRow, PartialRows};
use crate::key::{KeyId, KeyReader};
use crate::pending::{Newest, Pending};
use crate::store::{Store, blocking};

/// One SCD1 table.
pub(crate) struct Upsert {
    shape: Shape,
    keys: KeyReader,
    buffer: Buffer,
    partial: PartialRows,
    pending: Pending,
    /// Empty, for the next seal: growing it anew was 5 % of a snapshot's time.
    spare: Pending,
    /// Every change of the log up to it is in `pending`, in a commit that runs, or in the table.
    complete_up_to: Seq,
    slice_up_to: Seq,
    /// The last change, if it was a delete: perhaps the first half of a key change.
    deleted: Option<(Seq, Base)>,
    /// `None` while a commit runs.
    merged: Option<Box<Merged>>,
}

impl Upsert {
    /// Takes a table in hand: reads the graves and builds the index.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Gap`] if graves or data files are gone or damaged.
    pub(crate) fn load(store: Store, schema: &Arc<TableSchema>, seq: Seq) -> Result<Self> {
        let mut shape = Shape::new(store.state().layout.clone(), store.record().evolved_at);
        shape.admit(schema, seq)?;
        let (high, low) = store.state().uuid.as_u64_pair();
        let keys = KeyReader::new(schema, high ^ low)?;
        let buffer = Buffer::new(Arc::clone(shape.layout()));
        let record = store.record();
        let (complete_up_to, slice_up_to) = (record.complete_up_to, record.slice_up_to);
        let merged = blocking(|| Merged::load(store, keys.clone()))?;
        Ok(Self {
            shape,
            keys,
            buffer,
            partial: PartialRows::new(),
            pending: Pending::default(),
            spare: Pending::default(),
            complete_up_to,
            slice_up_to,
            deleted: None,
            merged: Some(Box::new(merged)),
        })
    }

    /// Takes a change; it is in the table after the commit of the next [`Upsert::seal`].
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if the change cannot be represented: the table must take no more.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<()> {
        let seq = change.seq;
        match change.op {
            Op::Truncate => {
                self.pending.sweep(seq);
            }
            Op::SnapshotEnd => {
                // A table without rows brings its columns too.
                self.admit(change)?;
                self.pending.sweep(seq);
                self.slice_up_to = self.slice_up_to.max(seq);
                return Ok(());
            }
            Op::Delete => self.delete(change)?,
            Op::Insert | Op::Update => self.upsert(change)?,
            // A read is not a change of the log; its slice's end says that all of them are there.
            Op::Read => return self.upsert(change),
        }
        self.complete_up_to = self.complete_up_to.max(seq);
        Ok(())
    }

    fn delete(&mut self, change: &Change) -> Result<()> {
        self.admit(change)?;
        let row = row(change.before.as_ref().or(change.after.as_ref()))?;
        let key = self.keys.id_of(&change.schema, row).map_err(|error| on_table(error, &change.schema))?;
        self.deleted = Some((change.seq, self.base(key, change.seq)));
        self.pending.push(key, change.seq, None);
        Ok(())
    }

    fn upsert(&mut self, change: &Change) -> Result<()> {
        self.admit(change)?;
        let row = row(change.after.as_ref())?;
        let key = self.keys.id_of(&change.schema, row).map_err(|error| on_table(error, &change.schema))?;
        let stamp = Stamp { seq: change.seq, committed_at_us: change.committed_at_us, op: None };
        let number = self.buffer.push_partial(&change.schema, row, stamp)?;
        if !self.buffer.unfilled().is_empty() {
            let base = match (change.op, self.deleted) {
                (Op::Update, _) => self.base(key, change.seq),
                (Op::Insert, Some((deleted, base))) if is_next(deleted, change.seq) => base,
                _ => Base::Nothing,
            };
            let cells = self.buffer.unfilled().into();
            self.partial.insert(number, PartialRow { cells, base, key, seq: change.seq });
        }
        self.deleted = None;
        self.pending.push(key, change.seq, Some(number));
        Ok(())
    }

    fn admit(&mut self, change: &Change) -> Result<()> {
        if self.shape.admit(&change.schema, change.seq)? {
            self.buffer.set_layout(Arc::clone(self.shape.layout()))?;
        }
        Ok(())
    }

    /// The row that `key` has just below `seq`.
    fn base(&self, key: KeyId, seq: Seq) -> Base {
        match self.pending.get(key) {
            None => Base::Stored { key, since: Seq::ZERO },
            Some(Newest { seq: older, row }) if older < seq => match row {
                Some(number) => Base::Row { number, key, seq: older },
                None => Base::Stored { key, since: older },
            },
            Some(_) => Base::Nothing,
        }
    }

    /// Whether the last change may be the first half of a key change. A commit now would part it from the second, which
    /// may need the row that the first deletes.
    pub(crate) fn awaits_half(&self) -> bool {
        self.deleted.is_some()
    }

    /// Whether there is anything to commit.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.pending.is_empty() || self.buffer.len() > 0
    }

    /// Bytes of changes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.bytes() + self.pending.len() * size_of::<(KeyId, Newest)>()
    }

    /// Parts what was applied from what comes now, to be committed by [`Sealed::commit`]. The table then waits for
    /// [`Upsert::take_back`] before it can be sealed again.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if a commit runs already.
    pub(crate) fn seal(&mut self) -> Result<Sealed> {
        let bytes = self.bytes();
        let rows = self.buffer.take()?;
        let merged = self.merged.take().ok_or_else(|| Error::bug("two commits of one table at a time"))?;
        self.deleted = None;
        Ok(Sealed {
            merged,
            rows,
            partial: std::mem::take(&mut self.partial),
            pending: std::mem::replace(&mut self.pending, std::mem::take(&mut self.spare)),
            layout: Arc::clone(self.shape.layout()),
            evolved_at: self.shape.evolved_at(),
            complete_up_to: self.complete_up_to,
            slice_up_to: self.slice_up_to,
            bytes,
        })
    }

    /// The end of a commit.
    pub(crate) fn take_back(&mut self, sealed: Sealed) {
        self.merged = Some(sealed.merged);
        self.spare = sealed.pending;
        self.spare.reset();
    }

    /// The table in our hands; `None` while a commit runs.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.merged.as_ref().map(|merged| &merged.store)
    }

    /// Live rows, as of the last commit; 0 while one runs.
    pub(crate) fn live_rows(&self) -> u64 {
        self.merged.as_ref().map_or(0, |merged| merged.live_rows())
    }
}

fn row(row: Option<&Row>) -> Result<&Row> {
    row.ok_or_else(|| Error::bug("a change without the row that its operation has"))
}

/// Names the table as well as the column.
fn on_table(error: Error, schema: &TableSchema) -> Error {
    let table = format!("table {}", schema.table);
    let object = error.object().map_or_else(|| table.clone(), |object| format!("{table}, {object}"));
    error.on(object)
}

/// Whether two changes are neighbours in one transaction, as the halves of a key change are.
fn is_next(first: Seq, second: Seq) -> bool {
    first.with_ordinal(first.ordinal() + 1) == Ok(second) && first.ordinal() > 0
}
