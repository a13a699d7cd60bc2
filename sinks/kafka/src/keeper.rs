//! Writes checkpoints beside the stream of messages: a task of its own, so that messages flow meanwhile.
//!
//! ```text
//! candidate (newest wins) -> due -> all before its mark acknowledged -> transaction: record -> committed -> durable
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use walbrook_envelope::PublishedCheckpoint;
use walbrook_model::{Checkpoint, Error, Result};

use crate::candidate::Candidate;
use crate::ledger::Mark;
use crate::producer::{Producer, Target};
use crate::status::Status;

/// Time between two checkpoints while messages are produced.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often a checkpoint is written that covers no new messages: how long a merge waits to learn that there are none.
pub(crate) const IDLE_INTERVAL: Duration = Duration::from_secs(2);

/// Writes records into the checkpoint topic.
pub(crate) struct Recorder {
    pub(crate) producer: Arc<Producer>,
    pub(crate) topic: String,
    /// The topic's place in the producer's ledger.
    pub(crate) place: u32,
    pub(crate) pipeline: String,
    pub(crate) instance: String,
}

/// Takes candidates and says which checkpoint is durable.
pub(crate) struct Keeper {
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    candidate: Option<Candidate>,
    /// Somebody waits for it.
    hurry: bool,
    writing: bool,
    durable: Option<Checkpoint>,
    failed: Option<Error>,
    ended: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(&self, update: impl FnOnce(&mut State) -> T) -> T {
        let result = update(&mut self.lock());
        self.changed.notify_waiters();
        result
    }

    async fn wait<T>(&self, mut done: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(result) = done(&mut self.lock()) {
                return result;
            }
            changed.await;
        }
    }
}

impl Keeper {
    /// Starts the task. Messages are those of `messages`.
    pub(crate) fn start(messages: Arc<Producer>, recorder: Recorder, status: Arc<Status>) -> Self {
        let desk = Arc::<Desk>::default();
        let work = keep(desk.clone(), messages, recorder, status);
        let end = desk.clone();
        let task = tokio::spawn(async move {
            let failed = work.await.err();
            end.update(|state| (state.failed, state.ended) = (failed, true));
        });
        Self { desk, task }
    }

    /// A newer checkpoint to write. One that waits is forgotten for it.
    pub(crate) fn submit(&self, candidate: Candidate) {
        self.desk.update(|state| {
            let urgent = candidate.urgent || state.candidate.as_ref().is_some_and(|waiting| waiting.urgent);
            state.candidate = Some(Candidate { urgent, ..candidate });
        });
    }

    /// The newest durable checkpoint.
    pub(crate) fn durable(&self) -> Option<Checkpoint> {
        self.desk.lock().durable.clone()
    }

    /// # Errors
    /// The one that ended the task.
    pub(crate) fn check(&self) -> Result<()> {
        Self::outcome(&mut self.desk.lock())
    }

    /// Writes what waits now, and returns when it is durable.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.desk.update(|state| state.hurry = true);
        let settled = |state: &mut State| {
            let idle = state.candidate.is_none() && !state.writing;
            (state.ended || idle).then(|| Self::outcome(state))
        };
        let outcome = self.desk.wait(settled).await;
        self.desk.update(|state| state.hurry = false);
        outcome
    }

    fn outcome(state: &mut State) -> Result<()> {
        match state.failed.take() {
            Some(error) => Err(error),
            None if state.ended => Err(Error::bug("the keeper of checkpoints has ended")),
            None => Ok(()),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(desk: Arc<Desk>, messages: Arc<Producer>, recorder: Recorder, status: Arc<Status>) -> Result<()> {
    let mut written: Option<Mark> = None;
    let mut at = Instant::now();
    loop {
        let candidate = next(&desk, at, written).await;
        let waited = Instant::now();
        messages.reach(candidate.mark).await?;
        let begun = Instant::now();
        recorder.producer.begin()?;
        recorder.write(&candidate, &messages).await?;
        recorder.producer.commit().await?;
        status.checkpoint_written(candidate.complete_until_us, begun - waited, begun.elapsed());
        (written, at) = (Some(candidate.mark), Instant::now());
        desk.update(|state| {
            state.writing = false;
            state.durable = candidate.checkpoint;
        });
    }
}

/// The newest candidate, when it is due.
async fn next(desk: &Desk, at: Instant, written: Option<Mark>) -> Candidate {
    loop {
        let changed = desk.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let due = desk.lock().due(at, written);
        match due {
            None => changed.await,
            // It may become more urgent meanwhile.
            Some(due) if due > Instant::now() => tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                () = changed => {}
            },
            Some(_) => {
                let mut state = desk.lock();
                if let Some(candidate) = state.candidate.take() {
                    state.writing = true;
                    return candidate;
                }
            }
        }
    }
}

impl State {
    fn due(&self, at: Instant, written: Option<Mark>) -> Option<Instant> {
        let candidate = self.candidate.as_ref()?;
        Some(match written {
            _ if self.hurry || candidate.urgent => at,
            Some(written) if written == candidate.mark => at + IDLE_INTERVAL,
            _ => at + INTERVAL,
        })
    }
}

impl Recorder {
    /// Writes the record of a candidate within the open transaction, and returns when it is acknowledged.
    pub(crate) async fn write(&self, candidate: &Candidate, messages: &Producer) -> Result<()> {
        self.write_record(&candidate.record(messages, &self.instance)).await
    }

    /// The same for a record.
    pub(crate) async fn write_record(&self, record: &PublishedCheckpoint) -> Result<()> {
        let target = Target { topic: &self.topic, partition: crate::journal::PARTITION, place: self.place };
        self.producer.send_pair(target, self.pipeline.as_bytes(), &record.to_json()?).await?;
        self.producer.reach(self.producer.mark()).await
    }
}
