//! One run of a pipeline.
//!
//! Contract (design, contracts 1, 2 and 5): the sink makes data durable, then the checkpoint, then reports it; only then
//! does the source hear of it and acknowledge it to its server. In a shutdown too. The queue between both is bounded in
//! bytes; while it is full the source is not asked for more.

use tokio::sync::watch;
use tracing::info;
use walbrook_model::{Checkpoint, Error, Result, Sink, Source};

use crate::health::{Health, Seen, State};
use crate::queue::{self, Receiver, Sender};

/// Tells a run to drain, flush and end. Cloned into whoever may ask for it.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether the end was asked for.
    pub fn asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the end is asked for.
    pub async fn wait(&self) {
        // An error would mean that the sender, which `self` holds, is gone.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}

/// The two halves of a run. They meet in a queue and a watch only, so that the daemon can run each on a thread of its
/// own and the simulation can step both in one.
pub struct Halves<A, B> {
    /// Reads the source.
    pub source: A,
    /// Writes the sink.
    pub sink: B,
}

/// Opens the source at the sink's checkpoint and returns the two halves, which end together.
///
/// # Errors
/// What the sink's checkpoint or the source's start say: a gap above all.
pub async fn start(
    mut source: Box<dyn Source>,
    mut sink: Box<dyn Sink>,
    queue_bytes_max: u64,
    stop: Stop,
    health: Health,
) -> Result<Halves<impl Future<Output = Result<()>> + Send, impl Future<Output = Result<()>> + Send>> {
    health.see(Seen::Unknown);
    source.prepare().await?;
    let from = sink.last_checkpoint().await?;
    health.see(Seen::Held(from.clone()));
    info!(resumed = from.is_some(), "pipeline starts");
    source.start(from).await?;
    health.set(State::Running);
    let (sender, receiver) = queue::bounded(queue_bytes_max);
    let (durable_sender, durable) = watch::channel(None);
    Ok(Halves { source: read(source, sender, durable, stop), sink: write(sink, receiver, durable_sender, health) })
}

async fn read(
    mut source: Box<dyn Source>,
    queue: Sender,
    mut durable: watch::Receiver<Option<Checkpoint>>,
    stop: Stop,
) -> Result<()> {
    while !stop.asked() && !source.finished() {
        let newest = durable.borrow_and_update().clone();
        let batch = source.next_batch(newest).await?;
        if queue.send(batch).await.is_err() {
            // The sink ended first; its own result says why.
            return Ok(());
        }
    }
    drop(queue);
    // The sink flushes and goes; what it reported last is what may be acknowledged.
    while durable.changed().await.is_ok() {}
    let newest = durable.borrow().clone();
    source.stop(newest).await
}

async fn write(
    mut sink: Box<dyn Sink>,
    mut queue: Receiver,
    durable: watch::Sender<Option<Checkpoint>>,
    health: Health,
) -> Result<()> {
    let report = |sink: &dyn Sink| {
        durable.send_if_modified(|known| {
            let newest = sink.durable();
            let moved = *known != newest;
            if moved {
                health.see(Seen::Held(newest.clone()));
                *known = newest;
            }
            moved
        });
    };
    while let Some(queued) = queue.recv().await {
        sink.write(queued.batch).await?;
        report(&*sink);
    }
    sink.flush().await?;
    report(&*sink);
    Ok(())
}

/// Runs both halves, each as a task of its own, until both have ended; the first error wins.
///
/// # Errors
/// The first error of either half.
pub async fn run<A, B>(halves: Halves<A, B>) -> Result<()>
where
    A: Future<Output = Result<()>> + Send + 'static,
    B: Future<Output = Result<()>> + Send + 'static,
{
    let mut source = tokio::spawn(halves.source);
    let mut sink = tokio::spawn(halves.sink);
    let mut ended = (None, None);
    while ended.0.is_none() || ended.1.is_none() {
        tokio::select! {
            biased;
            result = &mut sink, if ended.1.is_none() => ended.1 = Some(flatten(result)),
            result = &mut source, if ended.0.is_none() => ended.0 = Some(flatten(result)),
        }
        // A failed source drops its end of the queue and the sink flushes what it has: nothing is acknowledged for it,
        // but a restart has less to do again. A failed sink ends the source at once.
        if let (None, Some(Err(_))) = &ended {
            source.abort();
            break;
        }
    }
    match ended {
        (_, Some(Err(error))) | (Some(Err(error)), _) => Err(error),
        _ => Ok(()),
    }
}

fn flatten(result: std::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    result.unwrap_or_else(|error| Err(Error::bug("a half of the pipeline panicked").because(error)))
}
