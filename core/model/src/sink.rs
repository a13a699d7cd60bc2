//! Where changes go to.

use async_trait::async_trait;

use crate::{Batch, Checkpoint, Result};

/// Writes batches and keeps the checkpoint beside the data, in this order: data durable, then the checkpoint durable,
/// then it is reported by [`Sink::durable`].
#[async_trait]
pub trait Sink: Send {
    /// The newest durable checkpoint of this pipeline; `None` if it never wrote one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Gap`] if the target holds data of this pipeline but no checkpoint.
    async fn last_checkpoint(&mut self) -> Result<Option<Checkpoint>>;

    /// Takes a batch; it need not be durable when this returns. A heartbeat lets time-driven commits happen.
    async fn write(&mut self, batch: Batch) -> Result<()>;

    /// The newest checkpoint with it and all before it durable since the start of this process.
    fn durable(&self) -> Option<Checkpoint>;

    /// Makes everything written so far durable.
    async fn flush(&mut self) -> Result<()>;
}
