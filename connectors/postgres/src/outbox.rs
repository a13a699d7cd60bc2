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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use walbrook_model::{Change, Op, RowBuilder, Seq, TableId, TableSchema};

    use super::*;

    fn batch(bytes: usize) -> Batch {
        let schema = Arc::new(TableSchema { table: TableId::new("public", "t"), columns: vec![], key: vec![] });
        let row = RowBuilder::default().finish_over(Bytes::from(vec![0; bytes]));
        let change = Change { after: Some(row), ..Change::new(Op::Insert, schema, Seq::ZERO, 0) };
        Batch { changes: vec![change], ..Batch::default() }
    }

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_full_channel_waits_and_a_large_batch_passes_alone() {
        let (outbox, mut inbox) = bounded(10_000);
        outbox.send(batch(6_000)).await.unwrap();
        assert!(timeout(SOON, outbox.send(batch(6_000))).await.is_err());
        assert!(matches!(inbox.receive(SOON).await, Received::Batch(_)));
        outbox.send(batch(50_000)).await.unwrap();
        assert!(timeout(SOON, outbox.send(Batch::heartbeat())).await.is_err());
        assert!(matches!(inbox.receive(SOON).await, Received::Batch(_)));
        // Empty ones are bounded too.
        let mut sent = 0;
        while timeout(SOON, outbox.send(Batch::heartbeat())).await.is_ok() {
            sent += 1;
            assert!(sent < 100);
        }
    }

    #[tokio::test]
    async fn either_end_notices_that_the_other_is_gone() {
        let (outbox, mut inbox) = bounded(10_000);
        assert!(matches!(inbox.receive(SOON).await, Received::Nothing));
        outbox.send(Batch::heartbeat()).await.unwrap();
        drop(outbox);
        assert!(matches!(inbox.receive(SOON).await, Received::Batch(_)));
        assert!(matches!(inbox.receive(SOON).await, Received::Closed));
        let (outbox, inbox) = bounded(10_000);
        outbox.send(batch(10_000)).await.unwrap();
        let waiting = tokio::spawn(async move { outbox.send(batch(10_000)).await });
        tokio::time::sleep(SOON).await;
        drop(inbox);
        waiting.await.unwrap().unwrap_err();
    }
}
