//! Batches on their way from the worker to `next_batch`, bounded in bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use walbrook_model::Batch;

/// The worker's end; clones share the bound.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    channel: mpsc::UnboundedSender<(Batch, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    bytes_max: u32,
}

/// The other end. Dropping it ends the worker.
#[derive(Debug)]
pub(crate) struct Inbox {
    channel: mpsc::UnboundedReceiver<(Batch, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// The other end is gone.
#[derive(Debug)]
pub(crate) struct Closed;

/// What [`Inbox::receive`] found.
#[derive(Debug)]
pub(crate) enum Received {
    Batch(Batch),
    Nothing,
    Closed,
}

/// Both ends of a channel that holds `bytes_max` bytes; a batch larger than that is let in alone.
pub(crate) fn bounded(bytes_max: u32) -> (Outbox, Inbox) {
    let room = Arc::new(Semaphore::new(bytes_max as usize));
    let (sender, receiver) = mpsc::unbounded_channel();
    (Outbox { channel: sender, room: room.clone(), bytes_max }, Inbox { channel: receiver, room })
}

impl Outbox {
    /// Waits for room. Every batch takes some, so that empty ones are bounded too.
    pub(crate) async fn send(&self, batch: Batch) -> Result<(), Closed> {
        let bytes = u32::try_from(batch.bytes()).unwrap_or(u32::MAX).clamp(1024, self.bytes_max);
        let share = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| Closed)?;
        self.channel.send((batch, share)).map_err(|_| Closed)
    }
}

impl Inbox {
    /// The next batch, if it comes within `wait`.
    pub(crate) async fn receive(&mut self, wait: Duration) -> Received {
        match timeout(wait, self.channel.recv()).await {
            Ok(Some((batch, _share))) => Received::Batch(batch),
            Ok(None) => Received::Closed,
            Err(_) => Received::Nothing,
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.room.close();
    }
}
