//! Kafka as a sink: changes go to the topics of their tables, and the checkpoint follows their delivery.
//!
//! ```text
//! batch -> envelope -> producer -> topics         ledger: all before a mark acknowledged
//!            └ schemas registered first              └> checkpoint topic: record, committed -> durable()
//! ```
//!
//! Invariants:
//! - A checkpoint is written after every message that it covers is acknowledged, and reported after it is committed.
//! - It is written under the pipeline's transactional id alone; who takes the id later fences who had it before, and says
//!   so in the record.
//! - A message that cannot be delivered ends the run: the next one begins at the checkpoint, so no message is left out.
//! - Schemas are registered before the first message of their version.
//! - A table that stops, here or at the source, does not stop the others. The checkpoint stays before the first change
//!   that it did not take, until those exceed their bound; then the table has a gap, which the next checkpoint says.
//! - Topics keep the partitions that they had at their first message, and the table: what would be written elsewhere from now on
//!   is a gap.

mod accept;
mod ask;
mod heartbeat;
mod open;
mod oversize;
mod produce;
mod route;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use walbrook_config::Pipeline;
use walbrook_envelope::{Messages, PublishedCheckpoint, SourceInfo};
use walbrook_model::{Batch, Checkpoint, Error, Lineage, Result, Seq, Sink, TableId, TableSchema};

use crate::borders::Borders;
use crate::candidate::{Candidate, Logs, Standing};
use crate::cluster::Cluster;
use crate::events::Taken;
use crate::faults::Listener;
use crate::journal::Journal;
use crate::ledger::Mark;
use crate::producer::Producer;
use crate::progress::Progress;
use crate::schemas::{Events, Schemas, Versions};
use crate::settings::Settings;
use crate::status::Status;
use crate::topics::{Topic, Topics};
use heartbeat::Heartbeats;

/// Writes changes into topics.
pub struct KafkaSink {
    setup: Setup,
    /// `None` before the start, and after an error: what waited is lost then, and the source sends it again.
    run: Option<Run>,
}

/// A process, to those that come after it: clones are the same. A sink that starts anew after an error tells by it whether
/// another process has taken over meanwhile.
#[derive(Clone, Debug)]
pub struct Instance(Arc<(String, AtomicBool)>);

impl Instance {
    /// A process with a name that no other has.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Arc::new((name.into(), AtomicBool::new(false))))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.0
    }

    /// Whether it has begun to write checkpoints.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) {
        self.0.1.store(true, Ordering::Relaxed);
    }
}

struct Setup {
    settings: Settings,
    listener: Listener,
    instance: Instance,
    status: Arc<Status>,
}

/// From one [`Sink::last_checkpoint`] to the next.
struct Run {
    producer: Arc<Producer>,
    progress: Progress,
    topics: Topics,
    schemas: Schemas,
    /// What was durable at the start.
    record: PublishedCheckpoint,
    logs: Logs,
    tables: Vec<Entry>,
    places: HashMap<TableId, usize>,
    /// The table of the last change.
    last: Option<(Arc<TableSchema>, usize)>,
    /// If `transactions` is on, from the first transaction.
    borders: Option<Borders>,
    /// From the first message of the log.
    log_messages: Option<(Events, Arc<Topic>)>,
    /// From the first heartbeat.
    heartbeats: Option<Heartbeats>,
    /// From the first message that was too large, if such go to a topic.
    beside: Option<oversize::Beside>,
    /// Highest token of a change of the log that was produced.
    through: Seq,
    complete_until_us: Option<i64>,
    /// The newest checkpoint that may be written: one that waits for no stopped table.
    passed: Passed,
    /// Something was produced since.
    is_behind: bool,
    standing: Arc<Standing>,
    /// How many topics, those with a table, generations, stopped tables and gaps `standing` has.
    extent: Option<[usize; 5]>,
    /// Rows of snapshots of tables without a key.
    reads: u64,
    messages: Messages,
}

/// A checkpoint, and what it covers.
struct Passed {
    checkpoint: Option<Checkpoint>,
    through: Seq,
    complete_until_us: Option<i64>,
    mark: Mark,
}

/// A table of the source.
struct Entry {
    label: String,
    topic: Option<Arc<Topic>>,
    versions: Versions,
    stopped: Option<Stop>,
    taken: Taken,
}

/// Why a table takes no changes.
struct Stop {
    since: Seq,
    reason: String,
    remedy: Option<String>,
    parked_bytes: u64,
    gap: bool,
}

impl KafkaSink {
    /// A sink into the topics of `settings`. `info` is what all messages say of their source; `instance` is this process.
    pub fn new(settings: walbrook_config::KafkaSink, pipeline: Pipeline, info: SourceInfo, instance: Instance) -> Self {
        let listener = Listener::of(&settings.client);
        let settings = Settings::new(settings, pipeline, info);
        let setup = Setup { settings, listener, instance, status: Arc::default() };
        Self { setup, run: None }
    }

    /// What it is doing, for metrics and health.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.setup.status)
    }

    /// The durable checkpoint, also where [`Sink::last_checkpoint`] finds a gap: what an operator who accepts the gap
    /// starts from. Fences nobody.
    pub async fn recorded_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let journal = self.setup.journal()?;
        Ok(journal.newest().await?.and_then(|record| record.checkpoint()))
    }

    /// A gap that the topics show: they are not as the checkpoint had them, or a table has missed changes or has stopped
    /// before some. `None` says nothing of the source's log. Fences nobody.
    pub async fn find_gap(&self) -> Result<Option<Error>> {
        self.setup.find_gap().await
    }

    /// Goes on after a gap that an operator accepted: at `checkpoint`, with order tokens of `generation`. Tables that
    /// missed changes take them again, and topics that are not as the checkpoint had them are taken as they are: the
    /// snapshot that the source must now take brings their readers up to date.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if messages of a later generation were written already.
    pub async fn accept_gap(
        &mut self,
        checkpoint: Option<Checkpoint>,
        lineage: &Lineage,
        generation: u16,
    ) -> Result<()> {
        self.run = None;
        self.setup.accept_gap(checkpoint, lineage, generation).await
    }
}

impl Setup {
    fn journal(&self) -> Result<Journal> {
        let cluster = Cluster::new(&self.settings.client(), &self.listener)?;
        Ok(Journal::new(&self.settings, cluster, self.listener.clone()))
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn last_checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        self.run = None;
        let run = self.setup.start().await?;
        let checkpoint = run.record.checkpoint();
        self.run = Some(run);
        Ok(checkpoint)
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        let run = self.run.as_mut().ok_or_else(not_started)?;
        let written = async {
            run.producer.check()?;
            self.setup.take(run, batch).await?;
            run.progress.proceed().await
        };
        if let Err(error) = written.await {
            self.run = None;
            return Err(open::unproven(error));
        }
        self.setup.status.set_waiting(run.producer.waiting());
        Ok(())
    }

    fn durable(&self) -> Option<Checkpoint> {
        self.run.as_ref().and_then(|run| run.progress.durable())
    }

    /// With `exactly_once`, the beginning of a transaction whose end has not come is taken back: it will come again.
    async fn flush(&mut self) -> Result<()> {
        let run = self.run.as_mut().ok_or_else(not_started)?;
        if let Err(error) = run.progress.settle(&run.producer).await {
            self.run = None;
            return Err(open::unproven(error));
        }
        Ok(())
    }
}

impl Run {
    /// Offers the newest checkpoint that may be written.
    fn submit(&mut self, urgent: bool) {
        self.progress.submit(Candidate {
            checkpoint: self.passed.checkpoint.clone(),
            through: self.passed.through,
            complete_until_us: self.passed.complete_until_us,
            mark: self.passed.mark,
            ahead: self.ahead(),
            urgent,
            standing: self.standing.clone(),
        });
    }
}

fn not_started() -> Error {
    Error::bug("the sink was written to before its start, or after an error")
}

#[cfg(test)]
mod tests;
