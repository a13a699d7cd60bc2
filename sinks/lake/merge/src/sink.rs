//! The lake as a sink: changes go to their tables, commits follow the clock and the memory bound, and the checkpoint
//! follows the commits.
//!
//! ```text
//! batch -> (whole transactions) -> tables ── due? ──> table commits, durable ──> control table: checkpoint ──> durable()
//! ```
//!
//! Invariants:
//! - The checkpoint is written after every table commit that it covers.
//! - A commit holds whole transactions. Only one that is larger than the memory bound is committed in parts, and then
//!   the checkpoint waits for its end.
//! - A table that stops, here or at the source, does not stop the others. The checkpoint stays before the first change
//!   that it did not take, until those exceed their bound; then the table has a gap, which the next checkpoint says.
//! - Under load the commits of a table run while its next changes are taken; at most one commit of a table at a time, and
//!   what waits and what is being committed fit the memory bound together.
//! - Where several processes share the tables, each writes the part of the checkpoint that it has moved, and only if nobody
//!   else has moved it: so a process that lost a table and does not know it is refused. What it has committed to the table
//!   is no harm: the guard, or the floor, judges it, and forgets nothing that its own checkpoint did not cover.
//! - [`Sink::last_checkpoint`] forgets all that is not durable: the source begins again there.

mod commit;
mod flight;
mod open;
mod route;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use walbrook_config::{Lake, Pipeline};
use walbrook_model::{
    Batch, Checkpoint, Error, Lineage, MergeCheckpoints, Op, Result, Seq, Sink, TableId, TableSchema,
};

use self::flight::Flight;
use crate::control::{Control, Logs};
use crate::format::LakeCatalog;
use crate::status::Status;
use crate::store::Store;
use crate::table::Table;

/// How often a checkpoint is written that covers no new rows.
const IDLE_CHECKPOINT: Duration = Duration::from_secs(10);
/// This part of the interval between commits is what the first change after a longer pause waits for others.
const GATHER: u32 = 10;

/// Writes changes into lake tables.
pub struct LakeSink {
    setup: Setup,
    /// `None` before the start, and after an error: what waited is lost then, and the source sends it again.
    run: Option<Run>,
}

/// Why a commit is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The changes that wait take their share of the memory.
    Memory,
    /// Changes, or a checkpoint, have waited for long enough.
    Time,
    /// The source waits for it.
    Urgent,
}

struct Setup {
    catalog: Arc<dyn LakeCatalog>,
    /// `None`: one process writes the tables of the pipeline.
    sharing: Option<MergeCheckpoints>,
    settings: Lake,
    pipeline: Pipeline,
    status: Arc<Status>,
}

/// From one [`Sink::last_checkpoint`] to the next.
struct Run {
    control: Option<Control>,
    /// Whether there was a checkpoint at the start.
    resumed: bool,
    logs: Logs,
    tables: Vec<Entry>,
    places: HashMap<TableId, usize>,
    /// Tables whose changes come in any order.
    unordered: BTreeSet<TableId>,
    /// The table of the last change.
    last: Option<(Arc<TableSchema>, usize)>,
    /// Tables that the checkpoint knows, until their first change.
    stores: HashMap<String, Store>,
    /// The beginning of a transaction whose end has not come.
    tail: Vec<Batch>,
    tail_bytes: usize,
    /// Part of the transaction of `tail` is in the tables already.
    mid_transaction: bool,
    /// Every change of the log up to it was applied.
    through: Seq,
    /// The newest checkpoint that the applied changes reach; `None` if it is durable, or waits for a stopped table.
    candidate: Option<Candidate>,
    durable: Option<Checkpoint>,
    complete_until_us: Option<i64>,
    urgent: bool,
    first_uncommitted: Option<Instant>,
    /// When commits last began; `None` before the first.
    committed_at: Option<Instant>,
    checkpoint_at: Instant,
    /// Of changes that wait for their commit.
    bytes: usize,
    /// Commits that run.
    flight: Option<Flight>,
}

#[derive(Clone)]
struct Candidate {
    checkpoint: Checkpoint,
    /// Every change of the log up to it is covered.
    covered: Seq,
}

/// A table of the source.
struct Entry {
    label: String,
    /// `None` once it has stopped for good, and while an append table is being committed.
    table: Option<Table>,
    stopped: Option<Stop>,
    /// Its changes come in any order.
    unordered: bool,
    touched: bool,
    changes: u64,
}

/// Why a table takes no changes.
struct Stop {
    since: Seq,
    reason: String,
    remedy: Option<String>,
    parked_bytes: u64,
    gap: bool,
}

impl LakeSink {
    /// A sink into the tables of `catalog`.
    pub fn new(catalog: Arc<dyn LakeCatalog>, settings: Lake, pipeline: Pipeline) -> Self {
        Self { setup: Setup { catalog, sharing: None, settings, pipeline, status: Arc::default() }, run: None }
    }

    /// Several processes write the tables of the pipeline, each some of them: the source gives each table to one, and its
    /// checkpoints can be merged.
    #[must_use]
    pub fn shared(mut self, sharing: MergeCheckpoints) -> Self {
        self.setup.sharing = Some(sharing);
        self
    }

    /// What it is doing, for metrics and health.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.setup.status)
    }

    /// The durable checkpoint, also where [`Sink::last_checkpoint`] finds a gap: what an operator who accepts the gap
    /// starts from.
    pub async fn recorded_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let control = self.setup.open_control().await?;
        Ok(control.as_ref().and_then(Control::checkpoint))
    }

    /// A gap that the lake shows: its tables are not as the checkpoint had them, or one of them has missed changes or has
    /// stopped before some. `None` says nothing of the source's log.
    pub async fn find_gap(&self) -> Result<Option<Error>> {
        self.setup.find_gap().await
    }

    /// Goes on after a gap that an operator accepted: at `checkpoint`, with order tokens of `generation`. Tables that
    /// missed changes take them again, and tables that are not as the checkpoint had them are taken as they are: the
    /// snapshot that the source must now take brings them up to date.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if a table has rows of that generation or a later one already.
    pub async fn accept_gap(
        &mut self,
        checkpoint: Option<Checkpoint>,
        lineage: &Lineage,
        generation: u16,
    ) -> Result<()> {
        self.end_run().await;
        self.setup.accept_gap(None, checkpoint, Some((lineage, generation))).await
    }

    /// As [`LakeSink::accept_gap`], where order tokens stay as they are: the source reads what another pipeline has written,
    /// whose operator decides about them. `seen` is the checkpoint that was there when it was decided: of what other processes
    /// have moved since, nothing is undone.
    pub async fn go_on_at(&mut self, seen: Option<Checkpoint>, checkpoint: Checkpoint) -> Result<()> {
        self.end_run().await;
        self.setup.accept_gap(seen.as_ref(), Some(checkpoint), None).await
    }

    /// Nothing of the run that ends is written after this.
    async fn end_run(&mut self) {
        if let Some(flight) = self.run.take().and_then(|run| run.flight) {
            flight.end().await;
        }
    }
}

impl Run {
    /// Bytes of changes that wait for a commit or its end.
    fn memory_bytes(&self) -> usize {
        self.bytes + self.tail_bytes + self.flight.as_ref().map_or(0, |flight| flight.bytes)
    }
}

impl Setup {
    /// Bytes of waiting changes that begin a commit: while it runs as many may come.
    fn fill_bytes(&self) -> usize {
        usize::try_from(self.settings.commit_bytes / 2).unwrap_or(usize::MAX)
    }

    fn due(&self, run: &Run) -> Option<Due> {
        let dirty = run.first_uncommitted.is_some();
        if run.bytes >= self.fill_bytes() {
            return Some(Due::Memory);
        }
        if run.mid_transaction {
            return None;
        }
        if run.urgent && (dirty || run.candidate.is_some() || run.flight.is_some()) {
            return Some(Due::Urgent);
        }
        // A change after a pause need not wait for as long as one that follows a commit.
        let interval = self.settings.commit_interval;
        let rested = run.committed_at.is_none_or(|at| at.elapsed() >= interval);
        let waited = rested && run.first_uncommitted.is_some_and(|since| since.elapsed() >= interval / GATHER);
        let idle = !dirty && run.candidate.is_some() && run.checkpoint_at.elapsed() >= IDLE_CHECKPOINT;
        (waited || idle).then_some(Due::Time)
    }
}

#[async_trait]
impl Sink for LakeSink {
    async fn last_checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        self.end_run().await;
        let run = self.setup.start().await?;
        let checkpoint = run.control.as_ref().and_then(Control::checkpoint);
        self.run = Some(run);
        Ok(checkpoint)
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        let run = self.run.as_mut().ok_or_else(not_started)?;
        let written = async {
            self.setup.take(run, batch).await?;
            self.setup.proceed(run).await
        };
        if let Err(error) = written.await {
            self.end_run().await;
            return Err(error);
        }
        self.setup.status.set_buffered_bytes(self.run.as_ref().map_or(0, Run::memory_bytes));
        Ok(())
    }

    fn durable(&self) -> Option<Checkpoint> {
        self.run.as_ref().and_then(|run| run.durable.clone())
    }

    /// The beginning of a transaction whose end has not come is not committed: it will come again.
    async fn flush(&mut self) -> Result<()> {
        let run = self.run.as_mut().ok_or_else(not_started)?;
        if let Err(error) = self.setup.commit(run).await {
            self.end_run().await;
            return Err(error);
        }
        Ok(())
    }
}

fn not_started() -> Error {
    Error::bug("the sink was written to before its start, or after an error")
}

/// Whether readers may see a batch without the rest of its transaction: reads are of no transaction.
fn is_whole(batch: &Batch) -> bool {
    batch.checkpoint.is_some() || batch.changes.iter().all(|change| matches!(change.op, Op::Read | Op::SnapshotEnd))
}

#[cfg(test)]
mod tests;
