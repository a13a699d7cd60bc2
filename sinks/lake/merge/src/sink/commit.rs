//! Commits: first the tables, side by side, then the checkpoint.

use std::collections::BTreeMap;
use std::time::Instant;

use walbrook_model::{Error, ErrorKind, Result, Seq};

use super::flight::{Done, Flight};
use super::{Candidate, Due, Run, Setup, Stop};
use crate::control::{TableGap, TableMark};
use crate::events;
use crate::table::{Context, Table};

impl Setup {
    /// Commits what is due. Where memory is short the commits run while more changes are taken; otherwise they are soon
    /// over.
    pub(super) async fn proceed(&self, run: &mut Run) -> Result<()> {
        if let Some(flight) = &mut run.flight
            && flight.is_over()?
        {
            self.land(run).await?;
        }
        match self.due(run) {
            Some(Due::Memory) => {
                self.land(run).await?;
                self.launch(run)
            }
            Some(Due::Time) if run.flight.is_none() => self.commit(run).await,
            Some(Due::Urgent) => self.commit(run).await,
            Some(Due::Time) | None => Ok(()),
        }
    }

    /// Makes what was applied durable, and then the checkpoint.
    pub(super) async fn commit(&self, run: &mut Run) -> Result<()> {
        self.land(run).await?;
        self.launch(run)?;
        self.land(run).await
    }

    /// Begins the commits of what was applied.
    fn launch(&self, run: &mut Run) -> Result<()> {
        if run.first_uncommitted.is_some() {
            run.committed_at = Some(Instant::now());
        }
        let spill = run.bytes >= self.fill_bytes();
        let logs = serde_json::to_string(&run.logs).map_err(|error| Error::bug("logs").because(error))?;
        let control = run.control.as_ref();
        let context = |table: &str| Context {
            covered: control.map(|control| control.covered(table)).unwrap_or_default(),
            logs: logs.clone(),
            spill,
        };
        let is_due = |table: &Table| {
            let waits = table.is_dirty() || (spill && table.bytes() > 0);
            waits && !(run.mid_transaction && table.awaits_half())
        };
        let mut flight = Flight::new(None, run.stops(true));
        for (place, entry) in run.tables.iter_mut().enumerate().filter(|(_, entry)| entry.touched) {
            if !entry.table.as_ref().is_some_and(is_due) {
                continue;
            }
            entry.touched = false;
            match Table::seal(&mut entry.table) {
                Ok(Some(job)) => flight.add(place, job, context(&entry.label)),
                Ok(None) => {}
                Err(error) => {
                    run.candidate = None;
                    let table = entry.table.take();
                    let since = table.as_ref().and_then(Table::store).map(|store| store.record().complete_up_to);
                    let bytes = table.as_ref().map_or(0, Table::bytes) as u64;
                    entry.stop(Stop::new(&error, since.unwrap_or_default(), bytes), error, &self.status)?;
                }
            }
        }
        run.bytes = run.tables.iter().filter_map(|entry| entry.table.as_ref()).map(Table::bytes).sum();
        // Otherwise a table waits for the second half of a key change, perhaps with whole transactions before it.
        if !run.tables.iter().filter_map(|entry| entry.table.as_ref()).any(Table::is_dirty) {
            run.urgent = false;
            run.first_uncommitted = None;
            flight.candidate = run.candidate.take();
            flight.complete_until_us = run.complete_until_us.filter(|_| run.is_settled());
        }
        run.flight = Some(flight);
        Ok(())
    }

    /// Waits for the commits that run, and writes the checkpoint that they reach.
    pub(super) async fn land(&self, run: &mut Run) -> Result<()> {
        let Some(flight) = &mut run.flight else { return Ok(()) };
        let landed = flight.wait().await?;
        let Some(mut flight) = run.flight.take() else { return Ok(()) };
        let mut first_error = None;
        for done in landed {
            if done.result.is_err() {
                // What it had taken since the checkpoint is lost to it, so the checkpoint cannot move.
                (flight.candidate, flight.complete_until_us, run.candidate) = (None, None, None);
            }
            if let Err(error) = self.take_back(run, done) {
                first_error.get_or_insert(error);
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        if let Some(candidate) = flight.candidate {
            self.write_checkpoint(run, candidate, flight.gaps).await?;
        } else if run.is_held() {
            self.record_stops(run).await?;
        }
        self.status.set_complete_until(flight.complete_until_us);
        Ok(())
    }

    fn take_back(&self, run: &mut Run, Done { place, job, result, took }: Done) -> Result<()> {
        let Some(entry) = run.tables.get_mut(place) else { return Err(Error::bug("a table without a place")) };
        match result {
            Ok(done) => {
                events::committed(&self.status, &entry.label, &done, took);
                entry.table = job.take_back(entry.table.take());
                // A table that has stopped keeps nothing in memory, once what came before its stop is in the lake.
                if entry.stopped.is_some() && !entry.table.as_ref().is_some_and(Table::is_dirty) {
                    entry.table = None;
                }
                entry.touched |= entry.table.as_ref().is_some_and(|table| table.bytes() > 0);
                Ok(())
            }
            Err(error) => {
                let lost = job.bytes() + entry.table.take().map_or(0, |table| table.bytes());
                let stop = Stop::new(&error, job.store().record().complete_up_to, lost as u64);
                match &mut entry.stopped {
                    Some(stopped) if !matches!(error.kind(), ErrorKind::Transient | ErrorKind::Gap) => {
                        stopped.since = stopped.since.min(stop.since);
                        Ok(())
                    }
                    _ => entry.stop(stop, error, &self.status),
                }
            }
        }
    }

    async fn write_checkpoint(
        &self,
        run: &mut Run,
        Candidate { checkpoint, covered }: Candidate,
        gaps: Vec<(String, TableGap)>,
    ) -> Result<()> {
        self.control(&mut run.control).await?;
        let Some(control) = &run.control else { return Err(Error::bug("no control table")) };
        let mut progress = control.progress().clone();
        progress.source = Some(checkpoint.as_str().to_owned());
        // Of tables that others have it says nothing.
        let own = if control.is_shared() { covered } else { Seq::ZERO };
        progress.covered = if control.is_shared() { progress.covered } else { progress.covered.max(covered) };
        run.mark(&mut progress.tables, own);
        progress.gaps.extend(gaps);
        run.note_stops(&mut progress.stopped, control.is_shared());
        progress.logs = run.logs.clone();
        let Some(control) = &mut run.control else { return Err(Error::bug("no control table")) };
        if progress != *control.progress() {
            control.write(progress).await?;
        }
        run.checkpoint_at = Instant::now();
        self.status.checkpoint_written();
        run.durable = Some(checkpoint);
        Ok(())
    }

    /// The checkpoint waits for stopped tables: says so beside it.
    async fn record_stops(&self, run: &mut Run) -> Result<()> {
        let Some(control) = &run.control else { return Ok(()) };
        let mut progress = control.progress().clone();
        run.note_stops(&mut progress.stopped, control.is_shared());
        let Some(control) = run.control.as_mut().filter(|control| control.progress().stopped != progress.stopped)
        else {
            return Ok(());
        };
        control.write(progress).await
    }
}

impl Run {
    /// Says how far the tables in hand are, each of which is covered up to `covered`.
    fn mark(&self, marks: &mut BTreeMap<String, TableMark>, covered: Seq) {
        let open = self.tables.iter().filter_map(|entry| Some((entry, entry.table.as_ref()?.store()?)));
        for (entry, store) in open {
            let known = marks.get(&entry.label).map(|mark| mark.covered).unwrap_or_default();
            marks.insert(entry.label.clone(), TableMark::of(store, known.max(covered)));
        }
    }

    /// Says which tables the checkpoint waits for. Where they are shared, of those that are not in hand others say it.
    fn note_stops(&self, stopped: &mut BTreeMap<String, TableGap>, shared: bool) {
        stopped.retain(|label, _| shared && !self.tables.iter().any(|entry| entry.label == *label));
        stopped.extend(self.stops::<Vec<_>>(false));
    }

    /// Stopped tables, those that have a gap or those that the checkpoint waits for.
    fn stops<T: FromIterator<(String, TableGap)>>(&self, gap: bool) -> T {
        let record =
            |stop: &Stop| TableGap { since: stop.since, reason: stop.reason.clone(), remedy: stop.remedy.clone() };
        let stopped = self.tables.iter().filter_map(|entry| Some((entry, entry.stopped.as_ref()?)));
        stopped.filter(|(_, stop)| stop.gap == gap).map(|(entry, stop)| (entry.label.clone(), record(stop))).collect()
    }
}
