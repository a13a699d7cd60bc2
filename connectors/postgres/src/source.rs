//! `PostgreSQL` as a [`Source`].
//!
//! `start` proves that the log is ours and then leaves the reading to a worker, a task of its own: it answers the server
//! while the sink is slow. `next_batch` takes what the worker has put into a channel that is bounded in bytes, and passes
//! the durable position on to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use walbrook_config::{Postgres, SnapshotMode};
use walbrook_model::{Batch, Checkpoint, Error, ErrorKind, Result, Source};

use crate::catalog::Catalog;
use crate::checkpoint::{Phase, Progress};
use crate::connection::ReplicationConnection;
use crate::continuity;
use crate::outbox::{self, Inbox, Received};
use crate::slot::refuse_foreign;
use crate::status::{State, Status};
use crate::worker::{Context, Durable, Worker};

/// Batches between the worker and `next_batch`, bytes.
const OUTBOX_BYTES: u32 = 4 * 1024 * 1024;
/// An idle `next_batch` returns a heartbeat after this time.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// How long the worker may take to end its stream.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Reads one `PostgreSQL` database.
#[derive(Debug)]
pub struct PostgresSource {
    settings: Arc<Postgres>,
    status: Arc<Status>,
    running: Option<Running>,
    finished: bool,
}

/// The worker and the ways to it. Dropping it ends the worker.
#[derive(Debug)]
struct Running {
    inbox: Inbox,
    durable: watch::Sender<Durable>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PostgresSource {
    /// A source that is not connected yet.
    pub fn new(settings: Postgres) -> Self {
        Self { settings: Arc::new(settings), status: Arc::default(), running: None, finished: false }
    }

    /// What the source shows of itself while it runs.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Checks the server against the checkpoint. Nothing is changed there.
    pub(crate) async fn prove(&self, from: Option<Progress>) -> Result<Progress> {
        let settings = &self.settings;
        let mut connection = ReplicationConnection::connect(settings).await?;
        let server = continuity::identify(&mut connection).await?;
        let slot = continuity::slot(&mut connection, &settings.slot).await?;
        let Some(progress) = from else {
            if slot.is_some() && settings.snapshot.mode != SnapshotMode::Only {
                return Err(refuse_foreign(&settings.slot));
            }
            return Ok(Progress { system_id: server.system_id, ..Progress::intent(settings) });
        };
        continuity::judge_names(&progress, settings)?;
        if progress.phase == Phase::Intent || settings.snapshot.mode == SnapshotMode::Only {
            continuity::judge_identity(&progress, &server)?;
            return Ok(progress);
        }
        let publication = continuity::publication(&mut connection, &settings.publication).await?;
        continuity::judge(&progress, &server, slot.as_ref(), publication)?;
        Ok(progress)
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn start(&mut self, from: Option<Checkpoint>) -> Result<()> {
        self.running = None;
        self.finished = false;
        self.status.set_state(State::Starting);
        let resumed = from.is_some();
        let progress = from.as_ref().map(Progress::from_checkpoint).transpose()?;
        let handed = self.prove(progress).await.map_err(continuity::with_way_on).inspect_err(|error| {
            if error.kind() == ErrorKind::Gap {
                self.status.set_state(State::Gap);
            }
        })?;
        let position = if resumed { handed.position } else { crate::wire::Lsn::default() };
        let (outbox, inbox) = outbox::bounded(OUTBOX_BYTES);
        let (durable, durable_seen) = watch::channel(Durable { checkpoint: from, position });
        let (stop, stop_seen) = watch::channel(false);
        let context = Context {
            settings: self.settings.clone(),
            status: self.status.clone(),
            outbox,
            durable: durable_seen,
            stop: stop_seen,
        };
        let catalog = Catalog::new(self.settings.clone());
        let worker = Worker { context, catalog, handed, resumed };
        let task = tokio::spawn(worker.run());
        self.running = Some(Running { inbox, durable, stop, task });
        Ok(())
    }

    async fn next_batch(&mut self, durable: Option<Checkpoint>) -> Result<Batch> {
        let Some(running) = &mut self.running else { return Err(Error::bug("the source was not started")) };
        running.acknowledge(durable)?;
        match running.inbox.receive(HEARTBEAT).await {
            Received::Batch(batch) => Ok(batch),
            Received::Nothing => Ok(Batch::heartbeat()),
            Received::Closed => {
                let ended = running.ended().await;
                self.running = None;
                ended?;
                self.finished = true;
                Ok(Batch::heartbeat())
            }
        }
    }

    fn finished(&self) -> bool {
        self.finished
    }

    async fn stop(&mut self, durable: Option<Checkpoint>) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.acknowledge(durable)?;
        running.stop.send_replace(true);
        let drained = async {
            // Batches that nobody takes any more make room for the worker to get to its end.
            while !matches!(running.inbox.receive(HEARTBEAT).await, Received::Closed) {}
            running.ended().await
        };
        match timeout(STOP_TIMEOUT, drained).await {
            Ok(Err(error)) if error.kind() != ErrorKind::Transient => Err(error),
            // What was not acknowledged comes again.
            _ => Ok(()),
        }
    }
}

impl Running {
    /// Tells the worker what is durable.
    fn acknowledge(&self, durable: Option<Checkpoint>) -> Result<()> {
        let Some(checkpoint) = durable else { return Ok(()) };
        let same = |known: &Checkpoint| {
            std::ptr::eq(known.as_str(), checkpoint.as_str()) || known.as_str() == checkpoint.as_str()
        };
        if self.durable.borrow().checkpoint.as_ref().is_some_and(same) {
            return Ok(());
        }
        let position = Progress::from_checkpoint(&checkpoint)?.position;
        self.durable.send_replace(Durable { checkpoint: Some(checkpoint), position });
        Ok(())
    }

    /// What the worker ended with.
    async fn ended(&mut self) -> Result<()> {
        (&mut self.task).await.unwrap_or_else(|error| Err(Error::bug("the worker failed").because(error)))
    }
}

#[cfg(test)]
mod tests;
