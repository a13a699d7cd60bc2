//! Batches on their way into the tables.

use std::sync::Arc;
use std::time::Instant;

use walbrook_model::{Batch, Change, Error, ErrorKind, Op, Result, TableStop};

use super::{Candidate, Entry, Run, Setup, Stop, is_whole};
use crate::control::Logs;
use crate::events;
use crate::guard::is_slice;
use crate::table::Table;

impl Setup {
    /// Takes a batch: applies whole transactions, and holds back the beginning of one.
    pub(super) async fn take(&self, run: &mut Run, batch: Batch) -> Result<()> {
        check_log(&mut run.logs, &batch)?;
        run.urgent |= batch.urgent;
        if run.tail.is_empty() && !run.mid_transaction && is_whole(&batch) {
            return self.apply(run, batch).await;
        }
        if batch.changes.is_empty() && batch.stopped.is_empty() && batch.checkpoint.is_none() {
            // A heartbeat in the middle of a transaction.
            return Ok(());
        }
        let (ends, bytes) = (batch.checkpoint.is_some(), batch.bytes());
        run.tail.push(batch);
        run.tail_bytes += bytes;
        // What waits with it must fit the bound as well.
        if ends || run.tail_bytes + run.bytes >= self.fill_bytes() {
            run.mid_transaction = !ends;
            run.tail_bytes = 0;
            for batch in std::mem::take(&mut run.tail) {
                self.apply(run, batch).await?;
            }
        }
        Ok(())
    }

    async fn apply(&self, run: &mut Run, batch: Batch) -> Result<()> {
        let Batch { changes, stopped, checkpoint, complete_until_us, covered, unordered, .. } = batch;
        for table in unordered {
            if let Some(entry) = run.places.get(&table).and_then(|place| run.tables.get_mut(*place)) {
                entry.unordered = true;
            }
            run.unordered.insert(table);
        }
        for change in &changes {
            let place = match &run.last {
                Some((schema, place)) if Arc::ptr_eq(schema, &change.schema) => *place,
                _ => self.place(run, change).await?,
            };
            if run.tables.get(place).is_some_and(Entry::is_away) {
                self.land(run).await?;
            }
            if let Some(entry) = run.tables.get_mut(place) {
                self.apply_change(entry, change)?;
            }
            if covered.is_none() && !is_slice(change.seq) {
                run.through = run.through.max(change.seq);
            }
        }
        run.through = run.through.max(covered.unwrap_or_default());
        for stop in &stopped {
            self.apply_stop(run, stop).await?;
        }
        self.count(run);
        run.complete_until_us = run.complete_until_us.max(complete_until_us);
        if let Some(checkpoint) = checkpoint {
            run.mid_transaction = false;
            self.let_gaps_pass(run);
            if run.is_held() {
                self.status.set_checkpoint_held(true);
            } else {
                self.status.set_checkpoint_held(false);
                run.candidate = Some(Candidate { checkpoint, covered: run.through });
            }
        }
        if run.first_uncommitted.is_none() && run.flight.is_none() && run.is_settled() {
            self.status.set_complete_until(run.complete_until_us);
        }
        Ok(())
    }

    /// # Errors
    /// Those that concern more than this table.
    fn apply_change(&self, entry: &mut Entry, change: &Change) -> Result<()> {
        entry.changes += 1;
        entry.touched = true;
        if let Some(stop) = &mut entry.stopped {
            stop.parked_bytes += change.bytes() as u64;
            events::parked(&self.status, &entry.label, change.bytes() as u64);
            return Ok(());
        }
        let Some(table) = &mut entry.table else {
            return Err(Error::bug("a table is missing").on(entry.label.clone()));
        };
        let applied = match table {
            Table::Append(_) if entry.unordered => Err(out_of_order()),
            table => table.apply(change),
        };
        match applied {
            Ok(()) => {
                if change.op == Op::SnapshotEnd {
                    events::read(&self.status, &entry.label);
                }
                Ok(())
            }
            Err(error) => {
                let bytes = change.bytes() as u64;
                entry.stop(Stop::new(&error, change.seq, bytes), error, &self.status)
            }
        }
    }

    /// The source stops a table. A table that has stopped before, or has a gap, is stopped already: the source meets its
    /// error again at every start.
    async fn apply_stop(
        &self,
        run: &mut Run,
        TableStop { table, since, lost, error, bytes }: &TableStop,
    ) -> Result<()> {
        let Some(since) = *since else {
            let known = run.places.get(table).and_then(|place| run.tables.get(*place));
            if known.is_none_or(|entry| entry.stopped.is_none()) && !run.has_gap(&table.to_string()) {
                events::unread(&self.status, &table.to_string(), error);
            }
            return Ok(());
        };
        let place = run.place_of(table);
        if run.tables.get(place).is_some_and(Entry::is_away) {
            self.land(run).await?;
        }
        let Some(entry) = run.tables.get_mut(place) else { return Err(Error::bug("a table without a place")) };
        // What it took before is still to be committed.
        entry.touched = true;
        if let Some(stop) = &mut entry.stopped {
            stop.parked_bytes += bytes;
            events::parked(&self.status, &entry.label, *bytes);
        } else {
            entry.halt(Stop::new(error, since, *bytes), error, &self.status);
        }
        if let Some(stop) = entry.stopped.as_mut().filter(|stop| *lost && !stop.gap) {
            stop.gap = true;
            events::gap(&self.status, &entry.label, &stop.reason, stop.remedy.as_deref());
        }
        Ok(())
    }

    /// Updates what is known of the tables that the last batch touched.
    fn count(&self, run: &mut Run) {
        let mut bytes = 0;
        let mut dirty = false;
        for entry in run.tables.iter_mut().filter(|entry| entry.touched) {
            if entry.changes > 0 {
                events::taken(&self.status, &entry.label, std::mem::take(&mut entry.changes));
            }
            bytes += entry.table.as_ref().map_or(0, crate::table::Table::bytes);
            dirty |= entry.table.as_ref().is_some_and(crate::table::Table::is_dirty);
        }
        run.bytes = bytes;
        if dirty && run.first_uncommitted.is_none() {
            run.first_uncommitted = Some(Instant::now());
        }
    }

    /// A stopped table whose parked changes exceed their bound holds the checkpoint no longer.
    fn let_gaps_pass(&self, run: &mut Run) {
        for entry in &mut run.tables {
            let Some(stop) = entry.stopped.as_mut().filter(|stop| !stop.gap) else { continue };
            if stop.parked_bytes > self.pipeline.parked_bytes {
                stop.gap = true;
                events::gap(&self.status, &entry.label, &stop.reason, stop.remedy.as_deref());
            }
        }
    }
}

impl Run {
    /// Whether a stopped table holds the checkpoint.
    pub(super) fn is_held(&self) -> bool {
        self.tables.iter().any(|entry| entry.stopped.as_ref().is_some_and(|stop| !stop.gap))
    }

    /// Whether the durable checkpoint says that the table missed changes.
    pub(super) fn has_gap(&self, label: &str) -> bool {
        self.control.as_ref().is_some_and(|control| control.progress().gaps.contains_key(label))
    }

    /// Whether nothing that was taken waits for a commit.
    pub(super) fn is_settled(&self) -> bool {
        self.tail.is_empty() && !self.mid_transaction && !self.is_held()
    }
}

impl Entry {
    /// Whether it can take no change before its commit has ended.
    fn is_away(&self) -> bool {
        self.table.is_none() && self.stopped.is_none()
    }

    /// Takes no more changes, if the error is one of this table alone.
    pub(super) fn stop(&mut self, stop: Stop, error: Error, status: &crate::status::Status) -> Result<()> {
        match error.kind() {
            ErrorKind::Transient | ErrorKind::Gap | ErrorKind::Fenced => Err(error),
            ErrorKind::Config | ErrorKind::Data | ErrorKind::Bug => {
                self.halt(stop, &error, status);
                Ok(())
            }
        }
    }

    /// Takes no more changes.
    fn halt(&mut self, stop: Stop, error: &Error, status: &crate::status::Status) {
        events::stopped(status, &self.label, error);
        events::parked(status, &self.label, stop.parked_bytes);
        self.stopped = Some(stop);
    }
}

impl Stop {
    pub(super) fn new(error: &Error, since: walbrook_model::Seq, parked_bytes: u64) -> Self {
        Self {
            since,
            reason: events::reason(error),
            remedy: error.remedy_text().map(str::to_owned),
            parked_bytes,
            gap: false,
        }
    }
}

/// One floor for all partitions of a topic would take what comes late from one of them for a repeat.
fn out_of_order() -> Error {
    Error::data("an append table takes changes in the order of their log, and these come in any order").remedy(
        "set source.kafka.capture to the pipeline that writes the topics, if it is one of walbrook's; else give the table a \
         primary key and mode = \"upsert\", or capture it into the lake without topics between",
    )
}

/// Order tokens compare only within logs that an operator has let in: the first one, and those after an accepted gap.
fn check_log(logs: &mut Logs, batch: &Batch) -> Result<()> {
    for (lineage, generations) in batch.logs.iter().flat_map(|let_in| let_in.iter()) {
        logs.entry(lineage.clone()).or_default().extend(generations);
    }
    let Some(lineage) = &batch.lineage else { return Ok(()) };
    let lineage = lineage.as_str();
    if logs.is_empty()
        && let Some(first) = batch.changes.first()
    {
        logs.insert(lineage.to_owned(), [first.seq.generation()].into());
    }
    let mut known = None;
    for change in &batch.changes {
        let generation = change.seq.generation();
        if known == Some(generation) {
            continue;
        }
        if !logs.get(lineage).is_some_and(|generations| generations.contains(&generation)) {
            return Err(Error::gap(format!("changes of another log: lineage {lineage}, generation {generation}"))
                .remedy("walbrook gap accept --reason \"...\" takes a new snapshot from this log"));
        }
        known = Some(generation);
    }
    Ok(())
}
