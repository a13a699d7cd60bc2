//! From the messages of the log to changes with their order tokens: a state machine without I/O.
//!
//! - A transaction is known by where its commit record begins (`final_lsn`). Below [`Resume::covered`] it was handed
//!   over before and is dropped whole; at or above it is new, also when it begins exactly there.
//! - The ordinal counts every row of the transaction, captured or not, from 1. An update takes two, the first for the
//!   removal of the old key, the second for the new row, whether or not the key changed: so the numbers depend on the
//!   log alone, never on what we know of the key. A truncate takes one for each table that it names.
//! - A change of the key becomes a delete and an insert.
//! - A transaction with many rows is given out in pieces; only a boundary between transactions can be a checkpoint.
//! - A message of the log keeps its place between the changes and takes no ordinal. One that belongs to no transaction is
//!   whole by itself, and the boundary moves behind it.
//! - A table whose row cannot be handled stops there: its later rows are counted and left out, which each cut says, and
//!   the other tables go on. It stays so for this connection; the sink remembers it for longer.
//!
//! ```text
//! begin, rows.., commit -> pending [ whole transactions | rows of the open one ] -> cut
//! ```

mod pending;

use std::sync::Arc;

use walbrook_model::{
    Change, Error, ErrorKind, LogicalMessage, Op, Origin, Result, Row, Seq, SnapshotMarker, TableStop, Transaction,
};

use self::pending::Pending;
use crate::checkpoint::Commit;
use crate::continuity::{Resume, gap};
use crate::images::Images;
use crate::netting::{Left, Netting};
use crate::relations::{Captured, Entry, Relations, Stopped};
use crate::timeline::Timelines;
use crate::wire::Lsn;
use crate::wire::pgoutput::{self, Message, Old, Relation};

/// What bounds an assembler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Changes and messages of one cut, bytes.
    pub(crate) cut_bytes: usize,
    /// Changes and messages of one cut, in number.
    pub(crate) cut_changes: usize,
    /// What must be held of one transaction, bytes.
    pub(crate) transaction_bytes: usize,
}

/// Assembles transactions.
#[derive(Debug)]
pub(crate) struct Assembler {
    generation: u16,
    timelines: Timelines,
    covered: Lsn,
    expect: Option<Commit>,
    /// The last transaction that was handed over before: no unknown one lies between it and `covered`.
    known: Option<Commit>,
    limits: Limits,
    relations: Relations,
    /// Whether one of them has stopped.
    any_stopped: bool,
    open: Option<Open>,
    netting: Netting,
    images: Images,
    pending: Pending,
    boundary: Boundary,
    /// Where the last commit ends that was read or handed over, or the last message outside of transactions lies.
    last_commit_end: Option<Lsn>,
    /// When the last transaction committed that was read or handed over.
    last_commit_at_us: Option<i64>,
}

/// The open transaction.
#[derive(Debug)]
struct Open {
    final_lsn: Lsn,
    xid: u32,
    committed_at_us: i64,
    /// What all its changes and messages point at.
    transaction: Arc<Transaction>,
    /// The transaction's token with ordinal 0.
    base: Seq,
    /// Ordinals given so far.
    ordinal: u64,
    covered: bool,
}

/// A place between transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Boundary {
    /// Where to resume.
    pub(crate) position: Lsn,
    /// The last transaction with rows.
    pub(crate) last_commit: Option<Commit>,
    /// When the last transaction committed.
    pub(crate) committed_at_us: Option<i64>,
}

/// Changes that leave the assembler.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) changes: Vec<Change>,
    /// Between them.
    pub(crate) messages: Vec<LogicalMessage>,
    /// Tables that take no changes after these, and what was left out of them.
    pub(crate) stopped: Vec<TableStop>,
    /// `None` inside a transaction.
    pub(crate) boundary: Option<Boundary>,
}

/// What the caller has to do for a message.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing.
    Done,
    /// Look the table up and call [`Assembler::describe`] before the next message.
    Describe(Relation),
}

impl Assembler {
    pub(crate) fn new(
        generation: u16,
        timelines: Timelines,
        resume: &Resume,
        known: Option<Commit>,
        limits: Limits,
    ) -> Self {
        Self {
            generation,
            timelines,
            covered: resume.covered,
            expect: resume.expect,
            known,
            limits,
            relations: Relations::default(),
            any_stopped: false,
            open: None,
            netting: Netting::new(limits.transaction_bytes),
            images: Images::new(limits.transaction_bytes),
            pending: Pending::default(),
            boundary: Boundary { position: resume.covered, last_commit: known, committed_at_us: None },
            last_commit_end: known.map(|commit| commit.end_lsn),
            last_commit_at_us: known.map(|commit| commit.committed_at_us),
        }
    }

    /// The newest place between transactions; what lies below it was cut or is pending.
    pub(crate) fn boundary(&self) -> Boundary {
        self.boundary
    }

    /// Whether no transaction is open and nothing is pending.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_none() && self.pending.is_empty()
    }

    /// The server has read the log up to `end`: whether all that was handed over before has come again by then, as it was.
    ///
    /// # Errors
    /// A gap if it has not.
    pub(crate) fn has_proven(&self, end: Lsn) -> Result<bool> {
        let beyond = match &self.open {
            Some(open) => !open.covered,
            None => end >= self.covered,
        };
        if beyond {
            self.check_proven()?;
        }
        Ok(beyond)
    }

    /// Whether nothing that was handed over before is still to come again.
    pub(crate) fn is_proven(&self) -> bool {
        self.expect.is_none()
    }

    /// The number of the open transaction.
    pub(crate) fn xid(&self) -> Option<u32> {
        self.open.as_ref().map(|open| open.xid)
    }

    /// Whether there is enough to cut.
    pub(crate) fn is_full(&self) -> bool {
        let Limits { cut_bytes, cut_changes, .. } = self.limits;
        self.pending.bytes >= cut_bytes || self.pending.len() >= cut_changes
    }

    /// Whether anything of whole transactions is pending.
    pub(crate) fn has_whole(&self) -> bool {
        self.pending.has_whole()
    }

    /// Takes the next message of the log, whose record lies at `at`; the server sent it at `sent_at_us`.
    ///
    /// # Errors
    /// A gap if the log is not the one that was read before. A row that cannot be handled stops its table.
    pub(crate) fn push(&mut self, at: Lsn, sent_at_us: i64, message: Message) -> Result<Step> {
        match message {
            Message::Insert { relation, new } => {
                let bytes = new.memory_bytes();
                let taken = self.insert(at, relation, new);
                self.after_row(relation, bytes, taken)?;
            }
            Message::Update { relation, old, new } => {
                let bytes = new.memory_bytes() + old.as_ref().map_or(0, |old| old.row.memory_bytes());
                let taken = self.update(at, relation, old, new);
                self.after_row(relation, bytes, taken)?;
            }
            Message::Delete { relation, old } => {
                let bytes = old.row.memory_bytes();
                let taken = self.delete(at, relation, old);
                self.after_row(relation, bytes, taken)?;
            }
            Message::Begin { final_lsn, committed_at_us, xid } => self.begin(final_lsn, committed_at_us, xid)?,
            Message::Commit { commit_lsn, end_lsn, .. } => self.commit(commit_lsn, end_lsn)?,
            Message::Truncate { relations, .. } => self.truncate(at, &relations)?,
            Message::Relation(relation) => return Ok(Step::Describe(relation)),
            Message::Origin { commit_lsn, name } => self.replayed_from(name, commit_lsn),
            Message::Message(message) => self.message(message, sent_at_us)?,
            // Types come with the table's description.
            Message::Type { .. } => {}
        }
        Ok(Step::Done)
    }

    /// Sets the shape of a table from here on. What has stopped stays so. The catalogs' facts of columns are of the present
    /// and may change in the middle of a transaction: that is no other shape.
    pub(crate) fn describe(&mut self, oid: u32, entry: Entry) {
        let same = match (self.relations.get(oid), &entry) {
            (Some(Entry::Stopped(_)), _) => return,
            (Some(Entry::Captured(known)), Entry::Captured(new)) => {
                known.same_shape(&new.schema) && known.nets == new.nets
            }
            _ => false,
        };
        if !same && let Some(open) = &self.open {
            self.images.forget(oid);
            match self.netting.settle_table(oid) {
                Ok(settled) => settled.into_iter().for_each(|change| self.pending.push(open.own(change))),
                Err(unsettled) => return self.stop(oid, Some(unsettled.left), unsettled.error),
            }
        }
        self.any_stopped |= matches!(entry, Entry::Stopped(_));
        self.relations.insert(oid, entry);
    }

    /// The server has read the log up to `end` and is between transactions. Returns whether the boundary moved.
    pub(crate) fn idle(&mut self, end: Lsn) -> Result<bool> {
        if self.open.is_some() || end <= self.boundary.position {
            return Ok(false);
        }
        if end >= self.covered {
            self.check_proven()?;
        }
        self.boundary.position = end;
        Ok(true)
    }

    /// Changes to hand over: those of whole transactions, if there are enough of them or `flush` is set, and rows of the
    /// open transaction only when there are enough of them and nothing else is pending.
    pub(crate) fn cut(&mut self, flush: bool) -> Option<Cut> {
        let full = self.is_full();
        if self.pending.has_whole() && (full || flush) {
            return Some(self.pending.take_whole(self.boundary));
        }
        (full && !self.pending.is_empty()).then(|| self.pending.take())
    }

    fn begin(&mut self, final_lsn: Lsn, committed_at_us: i64, xid: u32) -> Result<()> {
        if self.open.is_some() {
            return Err(Error::bug("a transaction begins inside another"));
        }
        let base = Seq::new(self.generation, self.timelines.holding(final_lsn), final_lsn.0, 0)
            .map_err(|error| Error::bug("a position does not fit").because(error))?;
        let covered = final_lsn < self.covered;
        if !covered {
            self.check_proven()?;
        }
        let transaction = Arc::new(Transaction {
            id: Some(xid.into()),
            previous_commit: self.last_commit_end.map(|end| end.0),
            ..Transaction::default()
        });
        self.open = Some(Open { final_lsn, xid, committed_at_us, transaction, base, ordinal: 0, covered });
        Ok(())
    }

    /// The open transaction was replicated into the server. That is said before its first change.
    fn replayed_from(&mut self, name: String, commit_lsn: Lsn) {
        if let Some(open) = &mut self.open
            && let Some(transaction) = Arc::get_mut(&mut open.transaction)
        {
            transaction.replayed_from = Some((name, (commit_lsn.0 > 0).then_some(commit_lsn.0)));
        }
    }

    /// A message that belongs to no transaction lies between them; the position behind it is a boundary like the end of a
    /// commit.
    fn message(&mut self, message: pgoutput::LogicalMessage, sent_at_us: i64) -> Result<()> {
        let pgoutput::LogicalMessage { transactional, lsn, prefix, content } = message;
        let message = |committed_at_us, origin| LogicalMessage { after: 0, prefix, content, committed_at_us, origin };
        if transactional {
            let open = self.open.as_ref().ok_or_else(|| Error::bug("a message outside of its transaction"))?;
            if !open.covered {
                self.pending.push_message(message(open.committed_at_us, open.origin(lsn)));
            }
            return Ok(());
        }
        if lsn < self.covered {
            return Ok(());
        }
        self.check_proven()?;
        // Debezium says the same of it: it is the last commit to those that come after.
        self.last_commit_end = Some(lsn);
        let transaction = Transaction { previous_commit: Some(lsn.0), ..Transaction::default() };
        let origin = origin(lsn, Arc::new(transaction));
        // The log does not say when it was written. The commit before it is the nearest time that every reading gives.
        self.pending.push_message(message(self.last_commit_at_us.unwrap_or(sent_at_us), origin));
        if self.open.is_none() {
            self.pending.all_is_whole();
            self.boundary.position = self.boundary.position.max(Lsn(lsn.0.saturating_add(1)));
        }
        Ok(())
    }

    fn commit(&mut self, commit_lsn: Lsn, end_lsn: Lsn) -> Result<()> {
        let Some(open) = self.open.take() else { return Err(Error::bug("a commit without its transaction")) };
        if open.final_lsn != commit_lsn || end_lsn <= commit_lsn {
            return Err(Error::bug("a commit does not fit its transaction"));
        }
        let commit = Commit { final_lsn: commit_lsn, end_lsn, xid: open.xid, committed_at_us: open.committed_at_us };
        self.last_commit_end = Some(end_lsn);
        self.last_commit_at_us = Some(open.committed_at_us);
        if open.covered {
            return self.check_covered(&commit, open.ordinal);
        }
        let (settled, unsettled) = self.netting.settle();
        for change in settled {
            self.pending.push(open.own(change));
        }
        for table in unsettled {
            self.stop(table.oid, Some(table.left), table.error);
        }
        self.images.clear();
        self.pending.all_is_whole();
        self.boundary.position = end_lsn;
        self.boundary.committed_at_us = Some(open.committed_at_us);
        if open.ordinal > 0 {
            self.boundary.last_commit = Some(commit);
        }
        Ok(())
    }

    /// A transaction below the checkpoint came again.
    fn check_covered(&mut self, commit: &Commit, rows: u64) -> Result<()> {
        let Some(known) = self.known else {
            return if rows == 0 { Ok(()) } else { Err(unknown_transaction(commit)) };
        };
        if commit.final_lsn > known.final_lsn && rows > 0 {
            return Err(unknown_transaction(commit));
        }
        if commit.final_lsn == known.final_lsn {
            if *commit != known {
                return Err(gap(format!(
                    "another log answers: the transaction at {} is xid {}, it was xid {} when it was handed over",
                    commit.final_lsn, commit.xid, known.xid
                )));
            }
            self.expect = None;
        }
        Ok(())
    }

    /// Nothing new is taken before the last known transaction was seen again, where it must come again.
    fn check_proven(&self) -> Result<()> {
        let Some(expect) = &self.expect else { return Ok(()) };
        Err(gap(format!(
            "another log answers: it does not hold the transaction at {} (xid {}) that was handed over",
            expect.final_lsn, expect.xid
        )))
    }

    fn insert(&mut self, at: Lsn, relation: u32, new: Row) -> Result<()> {
        let (open, table) = row_of(&mut self.open, &mut self.relations, relation)?;
        let seq = open.next(1)?;
        let Some(table) = table.filter(|table| seq > table.start) else { return Ok(()) };
        check_fits(table, &new)?;
        let new = table.row(new);
        if table.nets {
            return self.netting.wrote(relation, &table.schema, table.key_of(&new), new, (seq, at));
        }
        if table.fills {
            self.images.wrote(relation, table, &new);
        }
        self.pending.push(Change { after: Some(new), ..open.change(table, Op::Insert, seq, at) });
        Ok(())
    }

    fn update(&mut self, at: Lsn, relation: u32, old: Option<Old>, new: Row) -> Result<()> {
        let (open, table) = row_of(&mut self.open, &mut self.relations, relation)?;
        let (removal, seq) = (open.next(1)?, open.next(1)?);
        let Some(table) = table.filter(|table| seq > table.start) else { return Ok(()) };
        check_fits(table, &new)?;
        let old = match old {
            Some(old) => {
                check_fits(table, &old.row)?;
                Some(table.old_row(old))
            }
            None => None,
        };
        let new = table.row(new);
        let mut new = match &old {
            Some(old) => new.filled_from(old),
            None => new,
        };
        if table.nets {
            let old = old.filter(|old| !old.has_unchanged()).ok_or_else(|| no_old_row(table))?;
            self.netting.removed(relation, &table.schema, table.key_of(&old), old, (removal, at))?;
            return self.netting.wrote(relation, &table.schema, table.key_of(&new), new, (seq, at));
        }
        let moved = old.as_ref().filter(|old| !table.same_key(old, &new));
        if table.fills {
            new = self.images.fill(relation, table, moved, new);
            self.images.wrote(relation, table, &new);
        }
        if moved.is_none() {
            self.pending.push(Change { before: old, after: Some(new), ..open.change(table, Op::Update, seq, at) });
            return Ok(());
        }
        let old = old.filter(|old| table.has_key(old)).ok_or_else(|| no_old_row(table))?;
        let (from, to) = (Some(Box::new(old.clone())), Some(Box::new(new.clone())));
        self.pending.push(Change { before: Some(old), moved: to, ..open.change(table, Op::Delete, removal, at) });
        self.pending.push(Change { after: Some(new), moved: from, ..open.change(table, Op::Insert, seq, at) });
        Ok(())
    }

    fn delete(&mut self, at: Lsn, relation: u32, old: Old) -> Result<()> {
        let (open, table) = row_of(&mut self.open, &mut self.relations, relation)?;
        let seq = open.next(1)?;
        let Some(table) = table.filter(|table| seq > table.start) else { return Ok(()) };
        check_fits(table, &old.row)?;
        let old = table.old_row(old);
        if !table.has_key(&old) || (table.nets && old.has_unchanged()) {
            return Err(no_old_row(table));
        }
        if table.nets {
            return self.netting.removed(relation, &table.schema, table.key_of(&old), old, (seq, at));
        }
        self.pending.push(Change { before: Some(old), ..open.change(table, Op::Delete, seq, at) });
        Ok(())
    }

    fn truncate(&mut self, at: Lsn, relations: &[u32]) -> Result<()> {
        for relation in relations {
            let (open, table) = row_of(&mut self.open, &mut self.relations, *relation)?;
            let seq = open.next(1)?;
            let Some(table) = table.filter(|table| seq > table.start) else {
                self.after_row(*relation, 0, Ok(()))?;
                continue;
            };
            self.netting.forget(*relation);
            self.pending.push(open.change(table, Op::Truncate, seq, at));
        }
        Ok(())
    }

    /// Stops the table if its row could not be taken, and those that had to make room for it, and counts what a stopped
    /// table is sent.
    fn after_row(&mut self, relation: u32, bytes: usize, taken: Result<()>) -> Result<()> {
        while let Some(table) = self.netting.evicted() {
            self.stop(table.oid, Some(table.left), table.error);
        }
        match taken {
            Ok(()) if !self.any_stopped => return Ok(()),
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Data => self.stop(relation, None, error),
            Err(error) => return Err(error),
        }
        if let Some(open) = self.open.as_ref().filter(|open| !open.covered)
            && let Some(Entry::Stopped(stopped)) = self.relations.get(relation)
            && let seq = open.last()?
            && seq > stopped.start
        {
            self.pending.leave_out(stopped, Left { since: seq, bytes: bytes + size_of::<Change>() });
        }
        Ok(())
    }

    /// The table takes no more rows. What it did in this transaction and is not given out yet is left out as well.
    fn stop(&mut self, oid: u32, unsettled: Option<Left>, error: Error) {
        let Some(Entry::Captured(table)) = self.relations.get(oid) else { return };
        let stopped = Stopped { table: table.schema.table.clone(), start: table.start, error: Arc::new(error) };
        self.images.forget(oid);
        if let Some(left) = unsettled.or_else(|| self.netting.forget(oid)) {
            self.pending.leave_out(&stopped, left);
        }
        self.relations.insert(oid, Entry::Stopped(stopped));
        self.any_stopped = true;
    }
}

/// The open transaction with its ordinals, and the table if its rows are wanted: it is captured and the transaction was
/// not handed over before.
fn row_of<'a>(
    open: &'a mut Option<Open>,
    relations: &'a mut Relations,
    relation: u32,
) -> Result<(&'a mut Open, Option<&'a Captured>)> {
    let open = open.as_mut().ok_or_else(|| Error::bug("a row outside of a transaction"))?;
    let entry = relations.get(relation).ok_or_else(|| Error::bug("a row of a table that was not described"))?;
    let table = match entry {
        Entry::Captured(table) if !open.covered => Some(table),
        _ => None,
    };
    Ok((open, table))
}

impl Open {
    /// The token of the next ordinal.
    fn next(&mut self, step: u64) -> Result<Seq> {
        self.ordinal += step;
        self.last()
    }

    /// The token of the last ordinal that was given.
    fn last(&self) -> Result<Seq> {
        self.base
            .with_ordinal(self.ordinal)
            .map_err(|error| Error::bug("a transaction has too many rows").because(error))
    }

    /// A change of it without rows.
    fn change(&self, table: &Captured, op: Op, seq: Seq, at: Lsn) -> Change {
        Change { origin: self.origin(at), ..Change::new(op, table.schema.clone(), seq, self.committed_at_us) }
    }

    fn origin(&self, at: Lsn) -> Origin {
        origin(at, self.transaction.clone())
    }

    /// A netted change as one of this transaction.
    fn own(&self, mut change: Change) -> Change {
        change.committed_at_us = self.committed_at_us;
        change.origin.transaction = Some(self.transaction.clone());
        change
    }
}

fn origin(at: Lsn, transaction: Arc<Transaction>) -> Origin {
    Origin { position: Some(at.0), snapshot: SnapshotMarker::False, transaction: Some(transaction) }
}

fn unknown_transaction(commit: &Commit) -> Error {
    gap(format!(
        "another log answers: it holds a transaction at {} (xid {}) below the checkpoint that was never handed over",
        commit.final_lsn, commit.xid
    ))
}

fn check_fits(table: &Captured, row: &Row) -> Result<()> {
    if table.fits(row) {
        return Ok(());
    }
    let name = &table.schema.table;
    Err(Error::data("a row of the log has other columns than the table was described with")
        .on(format!("table {name}"))
        .remedy("report this as a bug; `walbrook gap accept` reads the table anew"))
}

fn no_old_row(table: &Captured) -> Error {
    let name = &table.schema.table;
    Error::data("the log does not carry the old key of a row")
        .on(format!("table {name}"))
        .remedy(format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT, or FULL if its primary key is deferrable"))
}

#[cfg(test)]
mod tests;
