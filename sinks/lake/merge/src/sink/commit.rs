//! Commits: first the tables, side by side, then the checkpoint.

use std::time::Instant;

use tokio::task::JoinSet;
use walbrook_model::{Error, ErrorKind, Result};

use super::{Candidate, Run, Setup, Stop};
use crate::control::{TableGap, TableMark};
use crate::events;
use crate::table::{Committed, Context, Table};

/// Tables that commit at the same time: while one waits for the disk another encodes.
const SIDE_BY_SIDE: usize = 4;

/// A table that has come back from its commit.
type Done = (usize, Table, Result<Committed>, Instant);

impl Setup {
    /// Makes what was applied durable, and then the checkpoint.
    pub(super) async fn commit(&self, run: &mut Run) -> Result<()> {
        self.commit_tables(run).await?;
        if run.tables.iter().filter_map(|entry| entry.table.as_ref()).any(Table::is_dirty) {
            // A table waits for the second half of a key change, perhaps with whole transactions before it.
            return Ok(());
        }
        run.urgent = false;
        run.first_uncommitted = None;
        self.write_checkpoint(run).await?;
        if run.is_settled() {
            self.status.set_complete_until(run.complete_until_us);
        }
        Ok(())
    }

    async fn commit_tables(&self, run: &mut Run) -> Result<()> {
        let spill = run.bytes >= usize::try_from(self.settings.commit_bytes).unwrap_or(usize::MAX);
        let context = Context {
            covered: run.control.as_ref().map(|control| control.progress().covered).unwrap_or_default(),
            logs: serde_json::to_string(&run.logs).map_err(|error| Error::bug("logs").because(error))?,
            spill,
        };
        let is_due = |table: &Table| {
            let waits = table.is_dirty() || (spill && table.bytes() > 0);
            waits && !(run.mid_transaction && table.awaits_half())
        };
        let places = run.tables.iter().enumerate().filter(|(_, entry)| entry.touched);
        let due = places.filter(|(_, entry)| entry.table.as_ref().is_some_and(is_due)).map(|(place, _)| place);
        let mut due = due.collect::<Vec<_>>().into_iter();
        let (mut working, mut first_error) = (JoinSet::new(), None);
        loop {
            while working.len() < SIDE_BY_SIDE
                && let Some(place) = due.next()
            {
                if let Some(table) = run.tables.get_mut(place).and_then(|entry| entry.table.take()) {
                    working.spawn(commit_one(place, table, context.clone()));
                }
            }
            let Some(done) = working.join_next().await else { break };
            let done: Done = done.map_err(|error| Error::bug("a table commit panicked").because(error))?;
            if let Err(error) = self.take_back(run, done) {
                first_error.get_or_insert(error);
            }
        }
        run.bytes = run.tables.iter().filter_map(|entry| entry.table.as_ref()).map(Table::bytes).sum();
        first_error.map_or(Ok(()), Err)
    }

    fn take_back(&self, run: &mut Run, (place, table, result, began): Done) -> Result<()> {
        let Some(entry) = run.tables.get_mut(place) else { return Err(Error::bug("a table without a place")) };
        match result {
            Ok(done) => {
                events::committed(&self.status, &entry.label, &done, began.elapsed());
                entry.touched = table.bytes() > 0;
                // A table that has stopped keeps nothing in memory.
                entry.table = entry.stopped.is_none().then_some(table);
                Ok(())
            }
            Err(error) => {
                // What it had taken since the checkpoint is lost to it, so the checkpoint cannot move.
                run.candidate = None;
                let stop = Stop::new(&error, table.store().record().complete_up_to, table.bytes() as u64);
                if matches!(error.kind(), ErrorKind::Transient | ErrorKind::Gap) || entry.stopped.is_none() {
                    return entry.stop(stop, error, &self.status);
                }
                Ok(())
            }
        }
    }

    async fn write_checkpoint(&self, run: &mut Run) -> Result<()> {
        let Some(Candidate { checkpoint, covered }) = run.candidate.take() else { return Ok(()) };
        let marks: Vec<_> = run.marks();
        let gaps: Vec<_> = run.gaps();
        let logs = run.logs.clone();
        let control = self.control(&mut run.control).await?;
        let mut progress = control.progress().clone();
        progress.source = Some(checkpoint.as_str().to_owned());
        progress.covered = progress.covered.max(covered);
        progress.tables.extend(marks);
        progress.gaps.extend(gaps);
        progress.logs = logs;
        if progress != *control.progress() {
            control.write(progress).await?;
        }
        run.checkpoint_at = Instant::now();
        self.status.checkpoint_written();
        run.durable = Some(checkpoint);
        Ok(())
    }
}

async fn commit_one(place: usize, mut table: Table, context: Context) -> Done {
    let began = Instant::now();
    let result = table.commit(&context).await;
    (place, table, result, began)
}

impl Run {
    fn marks(&self) -> Vec<(String, TableMark)> {
        let open = self.tables.iter().filter_map(|entry| Some((entry, entry.table.as_ref()?.store())));
        open.map(|(entry, store)| (entry.label.clone(), TableMark::of(store))).collect()
    }

    fn gaps(&self) -> Vec<(String, TableGap)> {
        let gap =
            |stop: &Stop| TableGap { since: stop.since, reason: stop.reason.clone(), remedy: stop.remedy.clone() };
        let stopped = self.tables.iter().filter_map(|entry| Some((entry, entry.stopped.as_ref()?)));
        stopped.filter(|(_, stop)| stop.gap).map(|(entry, stop)| (entry.label.clone(), gap(stop))).collect()
    }
}
