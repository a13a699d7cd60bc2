//! A queue of batches, bounded in bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use walbrook_model::Batch;

/// A batch and its share of the bound, given back when the sink has taken the batch.
pub(crate) struct Queued {
    pub(crate) batch: Batch,
    _share: OwnedSemaphorePermit,
}

pub(crate) struct Sender {
    channel: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    bytes_max: u32,
}

pub(crate) struct Receiver {
    channel: mpsc::UnboundedReceiver<Queued>,
    room: Arc<Semaphore>,
}

/// The other end is gone.
pub(crate) struct Closed;

/// A queue that holds at most `bytes_max` bytes; a batch larger than that is let in alone.
pub(crate) fn bounded(bytes_max: u64) -> (Sender, Receiver) {
    let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).clamp(1, u32::MAX / 8);
    let room = Arc::new(Semaphore::new(bytes_max as usize));
    let (sender, receiver) = mpsc::unbounded_channel();
    (Sender { channel: sender, room: room.clone(), bytes_max }, Receiver { channel: receiver, room })
}

impl Sender {
    /// Waits for room: a full queue is the back-pressure.
    pub(crate) async fn send(&self, batch: Batch) -> Result<(), Closed> {
        // Even a heartbeat takes room, so that a stuck sink cannot collect heartbeats without bound.
        let bytes = u32::try_from(batch.bytes().max(64)).unwrap_or(u32::MAX).min(self.bytes_max);
        let share = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| Closed)?;
        self.channel.send(Queued { batch, _share: share }).map_err(|_| Closed)
    }
}

impl Receiver {
    /// The next batch; `None` when the sender is gone and the queue is empty.
    pub(crate) async fn recv(&mut self) -> Option<Queued> {
        self.channel.recv().await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.room.close();
    }
}
