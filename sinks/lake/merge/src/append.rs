//! One append table: every change a row, as in a change log.
//!
//! Nothing is looked up; what keeps a change from being written twice is a floor, which each commit carries: changes of
//! the log come in order, so one at or below the floor is a repeat. Reads of a slice have a floor of their own. They
//! become visible in one commit at the slice's end, so that a slice that is read again after a crash is not in the table
//! twice; until then they wait in memory or in files that no commit names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use walbrook_model::{Cell, Change, Error, Op, Result, Row, Seq};

use crate::buffer::{Buffer, Stamp};
use crate::data_file;
use crate::durable;
use crate::evolve::Shape;
use crate::format::{DataFile, Outcome};
use crate::layout::Layout;
use crate::properties::Record;
use crate::store::{ATTEMPTS, Store, blocking, discard, new_commit};
use crate::table::{Committed, Context};

/// One append table.
pub(crate) struct Append {
    store: Store,
    shape: Shape,
    /// Changes of the log, in order.
    changes: Buffer,
    /// Reads of slices that have not ended, by slice.
    open: BTreeMap<Seq, Slice>,
    /// Reads of slices that have ended since the last commit.
    ended: Vec<Slice>,
    floor: Seq,
    slice_floor: Seq,
    repeats: u64,
    incomplete: u64,
}

/// Reads of one slice.
struct Slice {
    reads: Buffer,
    staged: Vec<Staged>,
}

/// A durable data file that no commit names yet.
struct Staged {
    file: DataFile,
    path: PathBuf,
}

impl Append {
    /// Takes a table in hand.
    pub(crate) fn load(store: Store) -> Self {
        let shape = Shape::new(store.state().layout.clone(), store.record().evolved_at);
        let changes = Buffer::new(Arc::clone(shape.layout()));
        let (floor, slice_floor) = (store.record().complete_up_to, store.record().slice_up_to);
        Self {
            store,
            shape,
            changes,
            open: BTreeMap::new(),
            ended: Vec::new(),
            floor,
            slice_floor,
            repeats: 0,
            incomplete: 0,
        }
    }

    /// Takes a change; it is in the table after the next [`Append::commit`], a read after the one that follows the end
    /// of its slice.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if the change cannot be represented: the table must take no more.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<()> {
        let seq = change.seq;
        let of_slice = matches!(change.op, Op::Read | Op::SnapshotEnd);
        if seq <= if of_slice { self.slice_floor } else { self.floor } {
            self.repeats += 1;
            return Ok(());
        }
        // Of a slice's end too: a table without rows brings its columns as well.
        if self.shape.admit(&change.schema, seq)? {
            self.widen()?;
        }
        let Some(op) = change.op.letter() else {
            self.end_slice(seq);
            return Ok(());
        };
        let stamp = Stamp { seq, committed_at_us: change.committed_at_us, op: Some(op) };
        let row = if change.op == Op::Delete { change.before.as_ref() } else { change.after.as_ref() };
        if row.is_none() && change.op != Op::Truncate {
            return Err(Error::bug("a change without the row that its operation has"));
        }
        if of_slice {
            let layout = self.shape.layout();
            let slice = self.open.entry(seq).or_insert_with(|| Slice::new(Arc::clone(layout)));
            slice.reads.push(&change.schema, row, stamp)?;
        } else {
            self.changes.push(&change.schema, row, stamp)?;
            self.floor = seq;
        }
        let missing = |row: &Row| (0..change.schema.columns.len()).any(|index| row.cell(index) == Cell::Unchanged);
        self.incomplete += u64::from(row.is_some_and(missing));
        Ok(())
    }

    fn end_slice(&mut self, slice: Seq) {
        let later = self.open.split_off(&slice);
        // Slices that were begun before and never ended: their source began again.
        std::mem::replace(&mut self.open, later).into_values().for_each(Slice::discard);
        self.ended.extend(self.open.remove(&slice));
        self.slice_floor = slice;
    }

    fn widen(&mut self) -> Result<()> {
        let layout = self.shape.layout();
        let slices = self.open.values_mut().chain(&mut self.ended).map(|slice| &mut slice.reads);
        for buffer in slices.chain([&mut self.changes]) {
            buffer.set_layout(Arc::clone(layout))?;
        }
        Ok(())
    }

    /// Whether there is anything to commit. Reads of an open slice are not.
    pub(crate) fn is_dirty(&self) -> bool {
        self.changes.len() > 0 || !self.ended.is_empty() || self.slice_floor > self.store.record().slice_up_to
    }

    /// Bytes of changes that wait in memory.
    pub(crate) fn bytes(&self) -> usize {
        let slices = self.open.values().chain(&self.ended).map(|slice| slice.reads.bytes());
        self.changes.bytes() + slices.sum::<usize>()
    }

    /// Makes what was applied part of the table.
    ///
    /// # Errors
    /// Of any kind; the changes applied since the last commit are not in the table, or may not be.
    pub(crate) async fn commit(&mut self, context: &Context) -> Result<Committed> {
        let mut done = Committed { incomplete_rows: self.incomplete, ..Committed::default() };
        *done.dropped.entry("repeat").or_default() += self.repeats;
        if context.spill {
            blocking(|| self.stage_open())?;
        }
        let staged = blocking(|| self.stage()).map_err(|error| self.store.on(error))?;
        let evolved = !self.shape.layout().has_columns_of(&self.store.state().layout);
        let base = self.store.record().clone();
        if staged.is_empty() && !evolved && self.slice_floor == base.slice_up_to {
            (self.repeats, self.incomplete) = (0, 0);
            return Ok(done);
        }
        for _ in 0..ATTEMPTS {
            let mut commit = new_commit();
            commit.added = staged.iter().map(|staged| staged.file.clone()).collect();
            commit.layout = evolved.then(|| Layout::clone(self.shape.layout()));
            let record = Record {
                complete_up_to: self.floor,
                slice_up_to: self.slice_floor,
                evolved_at: self.shape.evolved_at(),
                logs: context.logs.clone(),
                ..self.store.record().clone()
            };
            match self.store.commit(commit, record).await? {
                Outcome::Committed => {
                    done.commits = 1;
                    done.rows_written = staged.iter().map(|staged| staged.file.rows).sum();
                    done.bytes_written = staged.iter().map(|staged| staged.file.bytes).sum();
                    (self.repeats, self.incomplete) = (0, 0);
                    return Ok(done);
                }
                Outcome::Conflict => {
                    done.conflicts += 1;
                    self.check_unmoved(&base)?;
                }
            }
        }
        Err(self.store.on(Error::transient("other writers were faster, again and again")))
    }

    /// A commit of somebody else may merge files; one that moved our floor is of a second process of this pipeline, and
    /// our changes may be in the table already. The restart reads its checkpoint and floor.
    fn check_unmoved(&self, base: &Record) -> Result<()> {
        if self.store.record() == base {
            return Ok(());
        }
        Err(self.store.on(Error::transient("another process of this pipeline wrote into the table")))
    }

    /// Writes the changes and the ended slices as data files.
    fn stage(&mut self) -> Result<Vec<Staged>> {
        let mut staged = Vec::new();
        staged.extend(stage(&self.store, &mut self.changes)?);
        for mut slice in std::mem::take(&mut self.ended) {
            staged.extend(stage(&self.store, &mut slice.reads)?);
            staged.append(&mut slice.staged);
        }
        Ok(staged)
    }

    /// Writes the reads of open slices out, to be committed at their end.
    fn stage_open(&mut self) -> Result<()> {
        for slice in self.open.values_mut() {
            slice.staged.extend(stage(&self.store, &mut slice.reads)?);
        }
        Ok(())
    }

    /// The table in our hands.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

impl Slice {
    fn new(layout: Arc<Layout>) -> Self {
        Self { reads: Buffer::new(layout), staged: Vec::new() }
    }

    fn discard(self) {
        self.staged.iter().for_each(|staged| discard(&staged.path));
    }
}

/// Writes a buffer as a durable data file that no commit names.
fn stage(store: &Store, buffer: &mut Buffer) -> Result<Option<Staged>> {
    let rows = buffer.take()?;
    let numbers = rows.numbers();
    if numbers.is_empty() {
        return Ok(None);
    }
    let layout = buffer.layout();
    let batches = rows.select(&numbers, layout)?;
    let (folder, prefix) = store.data_folder();
    durable::create_folder(&folder)?;
    let name = format!("{}-0.parquet", uuid::Uuid::now_v7());
    let file = data_file::write(&folder, &prefix, &name, layout, &batches)?;
    Ok(Some(Staged { file, path: folder.join(name) }))
}
