//! The start of a run: the transactional id is taken, then the checkpoint is read, then the topics are looked at.

use std::collections::HashMap;
use std::sync::Arc;

use walbrook_envelope::{EventKind, Messages, PublishedCheckpoint, TableGap};
use walbrook_model::{Error, ErrorKind, Result, TableId};

use super::{Entry, Passed, Run, Setup, Stop};
use crate::borders::Borders;
use crate::candidate::Standing;
use crate::claims::{Claims, Writer};
use crate::events::{self, Taken};
use crate::journal::Journal;
use crate::keeper::{Keeper, Recorder};
use crate::producer::Producer;
use crate::progress::Progress;
use crate::schemas::{Schemas, Versions};
use crate::topics::Topics;
use crate::transactions::Transactions;

/// The transaction topic has one partition: its readers want the transactions in order.
const TRANSACTION_PARTITIONS: u32 = 1;

impl Setup {
    /// # Errors
    /// [`walbrook_model::ErrorKind::Gap`] if a topic is gone, has less than the checkpoint says, or would be left for another;
    /// [`walbrook_model::ErrorKind::Fenced`] if another process has taken over since this one wrote.
    pub(super) async fn start(&self) -> Result<Run> {
        self.status.restart();
        let journal = self.journal()?;
        journal.prepare(self.settings.sink.topics.replication_factor).await?;
        // Before the id is taken: the process that has it goes on undisturbed, also by one with settings of its own.
        let seen = self.read(&journal).await?;
        Claims::new(&self.settings).resume(&seen.topics, &self.settings)?;
        let exactly_once = self.settings.sink.exactly_once;
        let fenced = if exactly_once { self.settings.producer(true) } else { self.settings.checkpoint_producer() };
        let fenced = Arc::new(Producer::new(&fenced, &self.listener, self.settings.sink.buffer_bytes)?);
        fenced.init_transactions().await.map_err(unproven)?;
        let mut record = self.read(&journal).await?;
        let recorder = Recorder {
            place: fenced.add_places(&[0])?,
            producer: fenced.clone(),
            topic: journal.topic,
            pipeline: journal.pipeline,
            instance: self.instance.name().to_owned(),
        };
        self.claim(&mut record, &recorder).await.map_err(unproven)?;
        let producer = if exactly_once {
            fenced
        } else {
            Arc::new(Producer::new(&self.settings.producer(false), &self.listener, self.settings.sink.buffer_bytes)?)
        };
        let resumed = record.source.is_some();
        let topics = Topics::resume(journal.cluster, &record.topics, resumed, &self.settings, &producer).await?;
        let progress = if exactly_once {
            Progress::Within(Box::new(Transactions::new(recorder, self.status.clone())))
        } else {
            Progress::Beside(Keeper::start(producer.clone(), recorder, self.status.clone()))
        };
        self.run(record, producer, progress, topics)
    }

    /// The record, or that of a pipeline that has not begun.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Fenced`] if another process wrote it since this one did.
    async fn read(&self, journal: &Journal) -> Result<PublishedCheckpoint> {
        let record = journal.newest().await?.unwrap_or_else(PublishedCheckpoint::empty);
        let by_another = !record.instance.is_empty() && record.instance != self.instance.name();
        if by_another && self.instance.has_begun() {
            return Err(Error::fenced("another process of this pipeline has taken over")
                .on(format!("pipeline {}", self.settings.pipeline.name))
                .remedy("run one process per pipeline"));
        }
        Ok(record)
    }

    /// Writes our name into the record: a process that had the id before and comes back sees it there, and ends.
    async fn claim(&self, record: &mut PublishedCheckpoint, recorder: &Recorder) -> Result<()> {
        if record.instance != recorder.instance {
            record.instance.clone_from(&recorder.instance);
            recorder.producer.begin()?;
            recorder.write_record(record).await?;
            recorder.producer.commit().await?;
        }
        self.instance.begin();
        Ok(())
    }

    fn run(
        &self,
        record: PublishedCheckpoint,
        producer: Arc<Producer>,
        progress: Progress,
        topics: Topics,
    ) -> Result<Run> {
        for (label, TableGap { reason, remedy, .. }) in &record.gaps {
            events::gap(&self.status, label, reason, remedy.as_deref());
        }
        let passed = Passed {
            checkpoint: record.checkpoint(),
            through: record.through,
            complete_until_us: record.complete_until_us,
            mark: producer.mark(),
        };
        Ok(Run {
            schemas: Schemas::new(&self.settings)?,
            logs: record.logs.clone(),
            tables: Vec::new(),
            places: HashMap::new(),
            last: None,
            borders: None,
            log_messages: None,
            heartbeats: None,
            beside: None,
            through: record.through,
            complete_until_us: record.complete_until_us,
            passed,
            is_behind: false,
            standing: Arc::new(Standing {
                logs: record.logs.clone(),
                topics: topics.all(),
                stopped: record.stopped.clone(),
                gaps: record.gaps.clone(),
            }),
            extent: None,
            reads: 0,
            messages: Messages::default(),
            producer,
            progress,
            topics,
            record,
        })
    }

    /// The transaction topic, from the first transaction on.
    pub(super) async fn borders(&self, run: &mut Run) -> Result<()> {
        if run.borders.is_some() || !self.settings.envelope.transactions {
            return Ok(());
        }
        let events = run.schemas.events(&self.settings, EventKind::Transactions).await?;
        let name = events.envelope.topic().to_owned();
        let (writer, partitions) = (Writer::TRANSACTIONS, TRANSACTION_PARTITIONS);
        let topic = run.topics.open(&name, &writer, partitions, &self.settings, &run.producer).await?;
        run.borders = Some(Borders::new(events, topic));
        Ok(())
    }

    /// The topic of the log's messages, from the first of them on.
    pub(super) async fn log_messages(&self, run: &mut Run) -> Result<()> {
        if run.log_messages.is_some() {
            return Ok(());
        }
        let events = run.schemas.events(&self.settings, EventKind::LogicalMessages).await?;
        let name = events.envelope.topic().to_owned();
        let partitions = self.settings.sink.topics.partitions;
        let topic = run.topics.open(&name, &Writer::MESSAGES, partitions, &self.settings, &run.producer).await?;
        run.log_messages = Some((events, topic));
        Ok(())
    }
}

impl Run {
    /// The place of a table, which is made at its first change or stop.
    pub(super) fn place_of(&mut self, table: &TableId) -> usize {
        if let Some(place) = self.places.get(table) {
            return *place;
        }
        let label = table.to_string();
        let gap = self.record.gaps.get(&label).cloned();
        let stopped =
            gap.map(|TableGap { since, reason, remedy }| Stop { since, reason, remedy, parked_bytes: 0, gap: true });
        self.tables.push(Entry { label, topic: None, versions: Versions::default(), stopped, taken: Taken::default() });
        let place = self.tables.len() - 1;
        self.places.insert(table.clone(), place);
        place
    }
}

/// Who loses the transactional id was fenced by another process, or was away for longer than a transaction may last: the
/// next start tells which.
pub(super) fn unproven(error: Error) -> Error {
    if error.kind() == ErrorKind::Fenced { error.with_kind(ErrorKind::Transient) } else { error }
}
