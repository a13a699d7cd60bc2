//! Exactly once: messages and checkpoint in the same transactions of Kafka, so that readers of committed messages see each
//! change once, whatever happens to us.
//!
//! A transaction of Kafka ends where a checkpoint covers all of it. Only a transaction of the source, or a snapshot, that
//! takes longer than Kafka would keep ours open is committed in parts, and then the checkpoint waits for its end: a crash in
//! between repeats those parts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use walbrook_model::{Checkpoint, Error, Result};

use crate::candidate::Candidate;
use crate::keeper::{IDLE_INTERVAL, Recorder};
use crate::ledger::Mark;
use crate::status::Status;

/// How long a transaction collects messages: they are seen at its end.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long one may stay open for want of a checkpoint: well below the time at which the brokers abort it.
const AGE_MAX: Duration = Duration::from_secs(20);

/// The transactions of a run.
pub(crate) struct Transactions {
    recorder: Recorder,
    status: Arc<Status>,
    open: Option<Instant>,
    candidate: Option<Candidate>,
    written: Option<Mark>,
    at: Instant,
    durable: Option<Checkpoint>,
    /// Messages were taken back: nothing may follow them.
    aborted: bool,
}

impl Transactions {
    /// `recorder` writes with the producer of the messages.
    pub(crate) fn new(recorder: Recorder, status: Arc<Status>) -> Self {
        Self {
            recorder,
            status,
            open: None,
            candidate: None,
            written: None,
            at: Instant::now(),
            durable: None,
            aborted: false,
        }
    }

    /// A message is about to be produced.
    pub(crate) fn enter(&mut self) -> Result<()> {
        if self.aborted {
            return Err(Error::bug("the sink was written to after its end"));
        }
        if self.open.is_none() {
            self.recorder.producer.begin()?;
            self.open = Some(Instant::now());
        }
        Ok(())
    }

    /// A newer checkpoint to write.
    pub(crate) fn submit(&mut self, candidate: Candidate) {
        let urgent = candidate.urgent || self.candidate.as_ref().is_some_and(|waiting| waiting.urgent);
        self.candidate = Some(Candidate { urgent, ..candidate });
    }

    /// The newest durable checkpoint.
    pub(crate) fn durable(&self) -> Option<Checkpoint> {
        self.durable.clone()
    }

    /// Commits what is due.
    pub(crate) async fn proceed(&mut self) -> Result<()> {
        if self.is_due() { self.commit().await } else { Ok(()) }
    }

    /// Commits all that a checkpoint covers. What lies behind it, the beginning of a transaction of the source, is taken
    /// back: it will come again.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        if self.candidate.is_some() && self.is_covered() {
            return self.commit().await;
        }
        if self.open.take().is_some() {
            self.aborted = true;
            self.recorder.producer.abort().await?;
        }
        Ok(())
    }

    /// Whether the checkpoint that waits covers every message.
    fn is_covered(&self) -> bool {
        let mark = self.recorder.producer.mark();
        self.candidate.as_ref().is_some_and(|candidate| candidate.mark == mark)
    }

    fn is_due(&self) -> bool {
        match (&self.open, &self.candidate) {
            (Some(since), Some(candidate)) if self.is_covered() => candidate.urgent || since.elapsed() >= INTERVAL,
            (Some(since), _) => since.elapsed() >= AGE_MAX,
            (None, Some(candidate)) => {
                let idle = self.written == Some(candidate.mark);
                candidate.urgent || self.at.elapsed() >= if idle { IDLE_INTERVAL } else { INTERVAL }
            }
            (None, None) => false,
        }
    }

    async fn commit(&mut self) -> Result<()> {
        self.enter()?;
        let begun = Instant::now();
        let producer = &self.recorder.producer;
        // librdkafka would wait for them too, but in steps of a tenth of a second.
        producer.reach(producer.mark()).await?;
        let delivered = Instant::now();
        if let Some(candidate) = &self.candidate {
            self.recorder.write(candidate, producer).await?;
        }
        producer.commit().await?;
        self.open = None;
        if let Some(candidate) = self.candidate.take() {
            self.status.checkpoint_written(candidate.complete_until_us, delivered - begun, delivered.elapsed());
            (self.written, self.at) = (Some(producer.mark()), Instant::now());
            self.durable = candidate.checkpoint;
        }
        Ok(())
    }
}
