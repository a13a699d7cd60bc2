//! Batches on their way into the topics: which table takes what, which one has stopped, and what the checkpoint may cover.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use walbrook_envelope::TableGap;
use walbrook_model::{Batch, Error, ErrorKind, Op, Result, TableStop};

use super::{Entry, Passed, Run, Setup, Stop};
use crate::candidate::{Ahead, Logs, Standing};
use crate::events;
use crate::status::Status;

impl Setup {
    /// Takes a batch: produces its messages, and offers its checkpoint.
    pub(super) async fn take(&self, run: &mut Run, batch: Batch) -> Result<()> {
        check_log(&mut run.logs, &batch)?;
        let Batch { changes, messages, stopped, checkpoint, lineage, urgent, complete_until_us, .. } = batch;
        run.is_behind |= !changes.is_empty() || !messages.is_empty();
        let mut said = messages.iter().peekable();
        for (index, change) in changes.iter().enumerate() {
            while let Some(message) = said.next_if(|message| message.after <= index) {
                self.produce_message(run, message).await?;
            }
            let place = match &run.last {
                Some((schema, place)) if Arc::ptr_eq(schema, &change.schema) => *place,
                _ => run.place_of(&change.schema.table),
            };
            run.last = Some((change.schema.clone(), place));
            self.produce_change(run, place, change, lineage.as_ref()).await?;
            if change.op != Op::Read && change.op != Op::SnapshotEnd {
                run.through = run.through.max(change.seq);
            }
        }
        for message in said {
            self.produce_message(run, message).await?;
        }
        for stop in &stopped {
            self.apply_stop(run, stop);
        }
        self.count(run);
        run.complete_until_us = run.complete_until_us.max(complete_until_us);
        if let Some(checkpoint) = checkpoint {
            self.end_transaction(run).await?;
            self.let_gaps_pass(run);
            let held = run.is_held();
            self.status.set_checkpoint_held(held);
            // While it is held, the other tables go on, and what reads their topics has to know how far. A transaction of Kafka
            // holds their messages back all the same.
            let ahead = held && !self.settings.sink.exactly_once;
            if !held || ahead {
                self.beat(run).await?;
            }
            if ahead {
                run.passed.mark = run.producer.mark();
            } else if !held {
                run.is_behind = false;
                run.passed = Passed {
                    checkpoint: Some(checkpoint),
                    through: run.through,
                    complete_until_us: run.complete_until_us,
                    mark: run.producer.mark(),
                };
            }
            // While it is held, the record says so beside it.
            if run.stand() || !held {
                run.submit(urgent || held);
            } else if ahead {
                run.submit(false);
            }
        } else if complete_until_us.is_some() && run.is_complete() {
            self.beat(run).await?;
            run.stay_complete();
        }
        Ok(())
    }

    /// The source stops a table. A table that has stopped before, or has a gap, is stopped already: the source meets its
    /// error again at every start.
    fn apply_stop(&self, run: &mut Run, TableStop { table, since, lost, error, bytes }: &TableStop) {
        let Some(since) = *since else {
            let known = run.places.get(table).and_then(|place| run.tables.get(*place));
            let label = table.to_string();
            if known.is_none_or(|entry| entry.stopped.is_none()) && !run.record.gaps.contains_key(&label) {
                events::unread(&self.status, &label, error);
            }
            return;
        };
        let place = run.place_of(table);
        let Some(entry) = run.tables.get_mut(place) else { return };
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
    }

    /// Updates what is known of the tables that the batch touched.
    fn count(&self, run: &mut Run) {
        for entry in run.tables.iter_mut().filter(|entry| entry.taken.changes > 0) {
            events::taken(&self.status, &entry.label, std::mem::take(&mut entry.taken));
        }
    }

    /// A stopped table whose parked changes exceed their bound holds the checkpoint no longer.
    fn let_gaps_pass(&self, run: &mut Run) {
        for entry in &mut run.tables {
            let Some(stop) = entry.stopped.as_mut().filter(|stop| !stop.gap) else { continue };
            if stop.parked_bytes > self.settings.pipeline.parked_bytes {
                stop.gap = true;
                events::gap(&self.status, &entry.label, &stop.reason, stop.remedy.as_deref());
            }
        }
    }
}

impl Run {
    /// Whether all that has come lies before the checkpoint.
    fn is_complete(&self) -> bool {
        self.passed.checkpoint.is_some() && !self.is_behind && !self.is_held()
    }

    /// The source says that nothing has come for a while. What reads the topics learns that from a record, and else could
    /// not tell it from a capture that is away.
    fn stay_complete(&mut self) {
        self.passed.complete_until_us = self.complete_until_us;
        // Records may lie among the messages.
        self.passed.mark = self.producer.mark();
        self.submit(false);
    }

    /// Topics of tables that go on, while the checkpoint waits for others. Everything before the mark is in them.
    pub(super) fn ahead(&self) -> Option<Ahead> {
        let go_on = self.tables.iter().filter(|entry| entry.stopped.is_none());
        let topics = || go_on.filter_map(|entry| entry.topic.clone()).collect();
        self.is_held().then(|| Ahead { written: self.through, topics: topics() })
    }

    /// Whether a stopped table holds the checkpoint.
    fn is_held(&self) -> bool {
        self.tables.iter().any(|entry| entry.stopped.as_ref().is_some_and(|stop| !stop.gap))
    }

    /// Brings up to date what a record says beside the checkpoint; whether that has changed. All of it only grows within a
    /// run, or moves from what stopped to the gaps.
    fn stand(&mut self) -> bool {
        let stops =
            |gap| self.tables.iter().filter_map(|entry| entry.stopped.as_ref()).filter(move |stop| stop.gap == gap);
        let logs = self.logs.values().map(BTreeSet::len).sum();
        let [topics, named] = self.topics.count();
        let extent = [topics, named, logs, stops(false).count(), stops(true).count()];
        if self.extent == Some(extent) {
            return false;
        }
        self.extent = Some(extent);
        let mut gaps = self.record.gaps.clone();
        gaps.extend(self.stops(true));
        let standing =
            Standing { logs: self.logs.clone(), topics: self.topics.all(), stopped: self.stops(false), gaps };
        self.standing = Arc::new(standing);
        true
    }

    /// Stopped tables, those that have a gap or those that the checkpoint waits for.
    fn stops(&self, gap: bool) -> BTreeMap<String, TableGap> {
        let record =
            |stop: &Stop| TableGap { since: stop.since, reason: stop.reason.clone(), remedy: stop.remedy.clone() };
        let stopped = self.tables.iter().filter_map(|entry| Some((entry, entry.stopped.as_ref()?)));
        stopped.filter(|(_, stop)| stop.gap == gap).map(|(entry, stop)| (entry.label.clone(), record(stop))).collect()
    }
}

impl Entry {
    /// Takes no more changes, if the error is one of this table alone.
    pub(super) fn stop(&mut self, stop: Stop, error: Error, status: &Status) -> Result<()> {
        match error.kind() {
            ErrorKind::Transient | ErrorKind::Gap | ErrorKind::Fenced => Err(error),
            ErrorKind::Config | ErrorKind::Data | ErrorKind::Bug => {
                self.halt(stop, &error, status);
                Ok(())
            }
        }
    }

    /// Takes no more changes.
    fn halt(&mut self, stop: Stop, error: &Error, status: &Status) {
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

/// Order tokens compare only within logs that an operator has let in: the first one, and those after an accepted gap.
fn check_log(logs: &mut Logs, batch: &Batch) -> Result<()> {
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
