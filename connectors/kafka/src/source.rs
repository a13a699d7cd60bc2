//! Change topics as a [`Source`].
//!
//! `start` proves that the topics go on where the checkpoint ends, and leaves the reading to a worker, a thread of its own.
//! `next_batch` takes what the worker has put into a channel that holds few batches, each bounded in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use walbrook_model::{Batch, Checkpoint, Error, ErrorKind, Result, Source, TableId};
use walbrook_registry::Registry;

use crate::building::Building;
use crate::hold::InSlices;
use crate::ownership::{Membership, Owned};
use crate::positions::Positions;
use crate::readers::Lookup;
use crate::reading::Reading;
use crate::schemas::Schemas;
use crate::status::{State, Status};
use crate::worker::{Connection, OUTBOX_BATCHES, Worker};
use crate::{client, continuity, events};
use walbrook_config::KafkaSource as Settings;
use walbrook_letters::Outbox;

/// An idle `next_batch` returns a heartbeat after this time.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// How long the worker may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Reads change topics.
pub struct KafkaSource {
    settings: Arc<Settings>,
    schemas: Option<Arc<dyn Schemas>>,
    membership: Option<Membership>,
    /// What is ours, as of the last `prepare`.
    owned: Option<Owned>,
    in_slices: InSlices,
    status: Arc<Status>,
    running: Option<Running>,
}

/// The worker and the ways to it. Dropping it ends the worker.
struct Running {
    inbox: mpsc::Receiver<Batch>,
    durable: watch::Sender<Option<Checkpoint>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl KafkaSource {
    /// A source that is not connected yet. `registry`: of `source.kafka.registry`, made once for all starts, since it keeps
    /// the schemas that it has read.
    pub fn new(settings: Settings, registry: Option<Registry>) -> Self {
        Self::with_schemas(settings, registry.map(|registry| Arc::new(registry) as Arc<dyn Schemas>))
    }

    pub(crate) fn with_schemas(settings: Settings, schemas: Option<Arc<dyn Schemas>>) -> Self {
        Self {
            settings: Arc::new(settings),
            schemas,
            membership: None,
            owned: None,
            in_slices: InSlices::default(),
            status: Arc::default(),
            running: None,
        }
    }

    /// Reads slices of these tables as a whole: a start within one begins at its first read. For a sink that shows the reads of
    /// a table only at the end of their slice, and keeps them nowhere until then.
    #[must_use]
    pub fn with_whole_slices(mut self, of: impl Fn(&TableId) -> bool + Send + Sync + 'static) -> Self {
        self.in_slices = InSlices(Arc::new(of));
        self
    }

    /// Reads only what the consumer group gives to this process. When that changes, [`Source::next_batch`] ends with a
    /// transient error; the next start reads what is ours then, from the sink's checkpoint at that moment.
    #[must_use]
    pub fn shared_by(mut self, membership: Membership) -> Self {
        self.membership = Some(membership);
        self
    }

    /// What the source shows of itself while it runs.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn prepare(&mut self) -> Result<()> {
        self.running = None;
        self.status.set_state(State::Starting);
        if let Some(membership) = &self.membership {
            // The sink has written what it had by now, so that what the group takes away can be given back.
            self.owned = Some(membership.owned().await?);
        }
        Ok(())
    }

    async fn start(&mut self, from: Option<Checkpoint>) -> Result<()> {
        self.running = None;
        self.status.set_state(State::Starting);
        let resumed = from.is_some();
        let positions = from.as_ref().map(Positions::from_checkpoint).transpose()?.unwrap_or_default();
        if self.membership.is_some() && self.owned.is_none() {
            return Err(Error::bug("the source was started before it knew what is its own"));
        }
        let owned = self.owned.take();
        let generation = owned.as_ref().map(|owned| owned.generation);
        let outbox_of_letters = match &self.settings.dead_letters {
            Some(letters) => {
                walbrook_letters::prepare(&self.settings.client, &letters.topic).await?;
                Some(Outbox::connect(&self.settings.client, letters)?)
            }
            None => None,
        };
        let (settings, status, in_slices) = (self.settings.clone(), self.status.clone(), self.in_slices.clone());
        let opened = spawn_blocking(move || {
            let consumer = client::connect_to_ask(&settings, &status)?;
            let reading = Reading::open(&consumer, &settings, owned, in_slices, positions);
            Ok((consumer, reading.map_err(continuity::with_way_on)?))
        });
        let opened = opened.await.unwrap_or_else(|error| Err(Error::bug("the start failed").because(error)));
        let (asked, reading) = opened.inspect_err(|error: &Error| {
            if error.kind() == ErrorKind::Gap {
                self.status.set_state(State::Gap);
            }
        })?;
        let partitions = reading.topics.iter().map(crate::topic::Topic::partitions).sum();
        events::started(reading.topics.len(), partitions, resumed);
        for topic in reading.topics.iter().filter(|topic| topic.open_letters() > 0) {
            events::letters_open(&topic.name, topic.open_letters());
        }
        let (outbox, inbox) = mpsc::channel(OUTBOX_BATCHES);
        let (durable, durable_seen) = watch::channel(from);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            settings: self.settings.clone(),
            asked,
            reading,
            lookup: Lookup { schemas: self.schemas.clone(), runtime: Handle::current() },
            status: self.status.clone(),
            outbox,
            outbox_of_letters,
            durable: durable_seen,
            stop: stop.clone(),
            membership: self.membership.clone().zip(generation),
            building: Building::default(),
            connection: Connection::default(),
            turn: 0,
            first: !resumed,
        };
        let task = spawn_blocking(move || worker.run());
        self.running = Some(Running { inbox, durable, stop, task });
        Ok(())
    }

    async fn next_batch(&mut self, durable: Option<Checkpoint>) -> Result<Batch> {
        let Some(running) = &mut self.running else { return Err(Error::bug("the source was not started")) };
        running.acknowledge(durable);
        match timeout(HEARTBEAT, running.inbox.recv()).await {
            Ok(Some(batch)) => Ok(batch),
            Err(_) => Ok(Batch::heartbeat()),
            Ok(None) => {
                let ended = running.ended().await;
                self.running = None;
                ended?;
                Err(Error::bug("the worker ended without being asked"))
            }
        }
    }

    async fn stop(&mut self, durable: Option<Checkpoint>) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.acknowledge(durable);
        running.stop.store(true, Ordering::Relaxed);
        // A worker that waits for room finds nobody there any more.
        running.inbox.close();
        match timeout(STOP_TIMEOUT, running.ended()).await {
            Ok(Err(error)) if error.kind() != ErrorKind::Transient => Err(error),
            _ => Ok(()),
        }
    }
}

impl Running {
    /// Tells the worker what is durable.
    fn acknowledge(&self, durable: Option<Checkpoint>) {
        if durable.is_some() {
            self.durable.send_if_modified(|known| {
                let moved = *known != durable;
                if moved {
                    *known = durable;
                }
                moved
            });
        }
    }

    /// What the worker ended with.
    async fn ended(&mut self) -> Result<()> {
        (&mut self.task).await.unwrap_or_else(|error| Err(Error::bug("the worker failed").because(error)))
    }
}

#[cfg(test)]
mod tests;
