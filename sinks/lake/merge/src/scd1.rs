//! The current state of a table: plans what a commit does, and folds it in once it is durable.
//!
//! ```text
//! pending changes ── plan ──> rows to write, rows to delete, graves, marks ── commit ──> fold
//!                     │ guard: key index, graves, marks; `_seq` of a stored row only where its file leaves it open
//! ```
//!
//! Planning changes nothing: a commit that failed throws its plan away, one that lost a race loads the state of the
//! winner and plans the same changes again.
//!
//! Invariants:
//! - The key index holds exactly the live rows ([`Scd1::check_invariant`]).
//! - A key is in the index or has a grave, never both.
//! - No live row and no grave is older than the marks' floor.
//! - After a commit the table is a function of the set of changes merged so far, whatever their order and repetition.

use std::collections::{BTreeMap, HashSet};

use roaring::RoaringBitmap;
use walbrook_model::{Error, Result, Seq};

use crate::graves::{Graves, GravesFile};
use crate::guard::{Known, Marks, Verdict, judge};
use crate::index::{KeyIndex, Location};
use crate::key::KeyId;
use crate::pending::{Newest, Pending};

/// Keys that are looked for in the index at a time.
const LOOKAHEAD: usize = 32;

/// A live data file, as far as the guard is concerned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileEntry {
    /// Rows in it, deleted ones included.
    pub(crate) rows: u32,
    /// Lowest `_seq` in it.
    pub(crate) seq_min: Seq,
    /// Highest `_seq` in it.
    pub(crate) seq_max: Seq,
    /// Its deleted rows.
    pub(crate) deleted: RoaringBitmap,
}

/// The `_seq` column of the stored files.
pub(crate) trait Stored {
    /// The `_seq` of one row. Asked in ascending order of location within one plan.
    fn seq_at(&mut self, at: Location) -> Result<Seq>;

    /// The rows of a file, live or not, whose `_seq` is below `floor`.
    fn older_than(&mut self, file: u32, floor: Seq) -> Result<RoaringBitmap>;
}

/// The state of a table: which rows live where, and what the guard knows.
pub(crate) struct Scd1 {
    index: KeyIndex,
    graves: Graves,
    marks: Marks,
    files: BTreeMap<u32, FileEntry>,
    #[cfg(test)]
    fault: Option<tests::Fault>,
}

/// What one commit does. Made of the state and the pending changes, and good for exactly that state.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Buffer rows to write, ascending; row `i` of the new file is buffer row `rows[i]`.
    pub(crate) rows: Vec<u32>,
    /// Their keys, each with its row in the new file, about in the order in which the index holds them: so a fold goes
    /// through its memory once.
    pub(crate) keys: Vec<(KeyId, u32)>,
    /// How many of them take the place of a live row.
    pub(crate) replaced: u64,
    /// Files that stay and lose rows -> all their deleted rows, old and new.
    pub(crate) deleted: BTreeMap<u32, RoaringBitmap>,
    /// Files without a live row left.
    pub(crate) removed: Vec<u32>,
    /// Truncates and slices after the commit.
    pub(crate) marks: Marks,
    /// Changes that do nothing, and why.
    pub(crate) dropped: Dropped,
    buried: Vec<(KeyId, Seq)>,
    swept: BTreeMap<u32, Swept>,
    marks_rise: bool,
}

/// How many changes were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// The stored row is as new or newer.
    pub(crate) stale_row: u64,
    /// The key was deleted by this change or a newer one.
    pub(crate) stale_grave: u64,
    /// Older than a truncate or finished slice.
    pub(crate) below_mark: u64,
    /// Of an unknown key, at or below the grave horizon: a repeat, unless a change came later than any should.
    pub(crate) below_horizon: u64,
}

/// Live rows of a file that a mark ends.
#[derive(Clone, Debug, PartialEq)]
enum Swept {
    All,
    Rows(RoaringBitmap),
}

impl Plan {
    /// Whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.deleted.is_empty()
            && self.removed.is_empty()
            && self.buried.is_empty()
            && !self.marks_rise
    }

    /// Graves that it adds.
    pub(crate) fn deletes(&self) -> usize {
        self.buried.len()
    }
}

impl Scd1 {
    /// A table without files whose guard knows what `file` says, with room for so many live rows. Then come
    /// [`Scd1::add_file`] and [`Scd1::add_row`].
    pub(crate) fn with_room(file: GravesFile, rows: u64) -> Self {
        Self {
            index: KeyIndex::with_room(file.kind, rows),
            graves: Graves::new(file.graves, file.horizon),
            marks: file.marks,
            files: BTreeMap::new(),
            #[cfg(test)]
            fault: None,
        }
    }

    /// Takes up a live data file that is there already.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if the id is taken or reserved.
    pub(crate) fn add_file(&mut self, id: u32, entry: FileEntry) -> Result<()> {
        if id == u32::MAX || self.files.insert(id, entry).is_some() {
            return Err(Error::bug(format!("data file id {id} is taken")));
        }
        Ok(())
    }

    /// Takes up a live row that is there already. Deleted rows are not taken up.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if another live row has the same key: someone else wrote into the table.
    pub(crate) fn add_row(&mut self, key: KeyId, at: Location) -> Result<()> {
        if self.index.insert(key, at).is_some() {
            return Err(Error::data("two live rows of the table have the same key")
                .remedy("delete one of them, or let nobody but walbrook write rows into the table"));
        }
        Ok(())
    }

    /// The key index.
    pub(crate) fn index(&self) -> &KeyIndex {
        &self.index
    }

    /// The newest token in a file.
    pub(crate) fn newest_in(&self, file: u32) -> Option<Seq> {
        self.files.get(&file).map(|entry| entry.seq_max)
    }

    /// Truncates and slices.
    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Graves and their horizon.
    pub(crate) fn graves(&self) -> &Graves {
        &self.graves
    }

    /// What a commit of `pending` does. Changes nothing.
    pub(crate) fn plan(&self, pending: &Pending, stored: &mut dyn Stored) -> Result<Plan> {
        let marks = self.marks.and(pending.marks());
        let floor = marks.floor();
        let mut draft = Draft { swept: self.sweep(floor, stored)?, ..Draft::default() };
        let mut undecided = Vec::new();
        let mut changes = pending.iter();
        loop {
            let ahead: Vec<_> = changes.by_ref().take(LOOKAHEAD).collect();
            if ahead.is_empty() {
                break;
            }
            self.index.touch(ahead.iter().map(|(key, _)| *key));
            for (key, change) in ahead {
                undecided.extend(self.decide(key, change, floor, &mut draft)?.map(|at| (at, key, change)));
            }
        }
        undecided.sort_unstable_by_key(|(at, ..)| *at);
        for (at, key, change) in &undecided {
            match self.verdict(change.seq, Known::Row(stored.seq_at(*at)?), floor) {
                Verdict::Newer => draft.apply(*key, *change, Some(*at)),
                verdict => draft.dropped.count(verdict),
            }
        }
        self.finish(draft, marks)
    }

    /// Judges one change by what is in memory; if that does not decide it, returns the row whose `_seq` does.
    fn decide(&self, key: KeyId, change: Newest, floor: Seq, draft: &mut Draft) -> Result<Option<Location>> {
        let stored_at = self.index.get(key);
        let at = stored_at.filter(|at| !is_swept(&draft.swept, *at));
        let known = match (at, stored_at) {
            (Some(at), _) => Known::Row(self.file(at.file)?.seq_max),
            // Swept: older than the floor, and so than whatever is not below it.
            (None, Some(_)) => Known::Row(Seq::ZERO),
            (None, None) => self.graves.get(key).map_or(Known::Nothing, Known::Grave),
        };
        match (self.verdict(change.seq, known, floor), at) {
            (Verdict::Newer, _) => draft.apply(key, change, at),
            (Verdict::StaleRow, Some(at)) => return Ok(Some(at)),
            (verdict, _) => draft.dropped.count(verdict),
        }
        Ok(None)
    }

    /// The file of graves and marks that a commit of `plan` names.
    pub(crate) fn graves_file(&self, plan: &Plan) -> GravesFile {
        let floor = plan.marks.floor();
        let again = plan.keys.iter().map(|(key, _)| key).chain(plan.buried.iter().map(|(key, _)| key));
        let again: HashSet<_> = again.filter(|key| self.graves.get(**key).is_some()).collect();
        let kept = self.graves.iter().filter(|(key, seq)| *seq >= floor && !again.contains(key));
        let mut graves: Vec<_> = kept.chain(plan.buried.iter().copied()).collect();
        graves.sort_unstable();
        GravesFile { kind: self.index.kind(), marks: plan.marks.clone(), horizon: self.graves.horizon(), graves }
    }

    /// Takes in a plan whose commit is durable. `new_file` holds the rows of the plan, in order; its id is fresh.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if the file does not fit the plan: the state is not usable any more.
    pub(crate) fn fold(&mut self, plan: Plan, new_file: Option<(u32, FileEntry)>) -> Result<()> {
        let rows = new_file.as_ref().map_or(0, |(_, entry)| entry.rows as usize);
        if rows != plan.rows.len() {
            return Err(Error::bug(format!("a commit wrote {rows} rows and planned {}", plan.rows.len())));
        }
        if !plan.swept.is_empty() {
            self.index.retain(|_, at| !is_swept(&plan.swept, at));
        }
        if plan.marks.floor() > self.marks.floor() {
            self.graves.drop_below(plan.marks.floor());
        }
        for (key, seq) in plan.buried {
            self.index.remove(key);
            self.graves.bury(key, seq);
        }
        if let Some((id, entry)) = new_file {
            self.add_file(id, entry)?;
            for keys in plan.keys.chunks(LOOKAHEAD) {
                self.index.touch(keys.iter().map(|(key, _)| *key));
                for &(key, row) in keys {
                    self.index.insert(key, Location { file: id, row });
                    self.graves.remove(key);
                }
            }
        }
        for id in plan.removed {
            self.files.remove(&id);
        }
        for (id, deleted) in plan.deleted {
            self.files.entry(id).and_modify(|entry| entry.deleted = deleted);
        }
        self.marks = plan.marks;
        self.check_invariant()
    }

    /// Live rows of the files = keys of the index.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if they differ.
    pub(crate) fn check_invariant(&self) -> Result<()> {
        let live: u64 =
            self.files.values().map(|entry| u64::from(entry.rows).saturating_sub(entry.deleted.len())).sum();
        if live != self.index.len() {
            return Err(Error::bug(format!("{live} live rows, but {} keys in the index", self.index.len())));
        }
        Ok(())
    }

    /// Forgets graves at or below `covered`, a token with every change at or below it merged and covered by a durable
    /// checkpoint of the source. Does nothing while a slice is open or waits in `pending`: its reads may be older than
    /// a grave. Returns how many graves that were; the horizon becomes durable with the next commit, which is soon
    /// enough.
    pub(crate) fn forget_graves(&mut self, covered: Seq, pending: &Pending) -> u64 {
        let no_slice = self.marks.open().is_empty() && !pending.holds_slice();
        if no_slice { self.graves.forget(covered) } else { 0 }
    }

    fn file(&self, id: u32) -> Result<&FileEntry> {
        self.files.get(&id).ok_or_else(|| Error::bug(format!("the index names data file {id}, which is not there")))
    }

    fn verdict(&self, seq: Seq, known: Known, floor: Seq) -> Verdict {
        #[cfg(test)]
        if let Some(verdict) = self.fault.and_then(|fault| fault.verdict(self, seq, known, floor)) {
            return verdict;
        }
        judge(seq, known, floor, self.graves.horizon())
    }

    /// The live rows below `floor`, by file. Nothing where it does not rise: then they are gone already.
    fn sweep(&self, floor: Seq, stored: &mut dyn Stored) -> Result<BTreeMap<u32, Swept>> {
        #[cfg(test)]
        if self.fault == Some(tests::Fault::NoSweep) {
            return Ok(BTreeMap::new());
        }
        let mut swept = BTreeMap::new();
        if floor <= self.marks.floor() {
            return Ok(swept);
        }
        for (id, entry) in self.files.iter().filter(|(_, entry)| entry.seq_min < floor) {
            if entry.seq_max < floor {
                swept.insert(*id, Swept::All);
                continue;
            }
            let rows = stored.older_than(*id, floor)? - &entry.deleted;
            if !rows.is_empty() {
                swept.insert(*id, Swept::Rows(rows));
            }
        }
        Ok(swept)
    }

    /// Makes a plan of what was decided: the rows in order, the rows that die as bitmaps and files to remove.
    fn finish(&self, mut draft: Draft, marks: Marks) -> Result<Plan> {
        let rows = place(&mut draft.written);
        let mut plan = Plan {
            rows,
            keys: draft.written,
            replaced: draft.replaced,
            marks_rise: marks != self.marks,
            marks,
            dropped: draft.dropped,
            buried: draft.buried,
            ..Plan::default()
        };
        let mut dead: BTreeMap<u32, RoaringBitmap> = BTreeMap::new();
        for (id, swept) in &draft.swept {
            match swept {
                Swept::All => plan.removed.push(*id),
                Swept::Rows(rows) => drop(dead.insert(*id, rows.clone())),
            }
        }
        draft.dead.sort_unstable();
        for rows in draft.dead.chunk_by(|a, b| a.file == b.file) {
            dead.entry(rows[0].file).or_default().extend(rows.iter().map(|at| at.row));
        }
        for (id, mut rows) in dead {
            let entry = self.file(id)?;
            rows |= &entry.deleted;
            if rows.max().is_some_and(|row| row >= entry.rows) {
                return Err(Error::bug(format!("a row behind the end of data file {id} was to be deleted")));
            }
            if rows.len() == u64::from(entry.rows) {
                plan.removed.push(id);
            } else {
                plan.deleted.insert(id, rows);
            }
        }
        plan.removed.sort_unstable();
        plan.swept = draft.swept;
        Ok(plan)
    }
}

fn is_swept(swept: &BTreeMap<u32, Swept>, at: Location) -> bool {
    match swept.get(&at.file) {
        Some(Swept::All) => true,
        Some(Swept::Rows(rows)) => rows.contains(at.row),
        None => false,
    }
}

/// A plan in the making.
#[derive(Default)]
struct Draft {
    /// Rows of the buffer, with their keys.
    written: Vec<(KeyId, u32)>,
    replaced: u64,
    buried: Vec<(KeyId, Seq)>,
    dead: Vec<Location>,
    swept: BTreeMap<u32, Swept>,
    dropped: Dropped,
}

/// Puts the place in the file that is written where the row of the buffer was, and returns these rows, ascending.
fn place(written: &mut [(KeyId, u32)]) -> Vec<u32> {
    const UNWRITTEN: u32 = u32::MAX;
    let end = written.iter().map(|(_, row)| *row as usize + 1).max().unwrap_or(0);
    let mut places = vec![UNWRITTEN; end];
    for (_, row) in &*written {
        places[*row as usize] = 0;
    }
    let mut rows = Vec::with_capacity(written.len());
    for ((place, row), next) in places.iter_mut().zip(0..).filter(|(place, _)| **place != UNWRITTEN).zip(0..) {
        *place = next;
        rows.push(row);
    }
    for (_, row) in written {
        *row = places[*row as usize];
    }
    rows
}

impl Draft {
    /// The change is newer than the row at `replaced`.
    fn apply(&mut self, key: KeyId, change: Newest, replaced: Option<Location>) {
        self.dead.extend(replaced);
        match change.row {
            Some(row) => {
                self.written.push((key, row));
                self.replaced += u64::from(replaced.is_some());
            }
            None => self.buried.push((key, change.seq)),
        }
    }
}

impl Dropped {
    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Newer => {}
            Verdict::StaleRow => self.stale_row += 1,
            Verdict::StaleGrave => self.stale_grave += 1,
            Verdict::BelowMark => self.below_mark += 1,
            Verdict::BelowHorizon => self.below_horizon += 1,
        }
    }
}

#[cfg(test)]
mod tests;
