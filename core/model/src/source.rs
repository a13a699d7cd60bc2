//! Where changes come from.

use async_trait::async_trait;

use crate::{Batch, Checkpoint, Result};

/// Reads a log from a checkpoint on. There is no other store of its progress than the checkpoints that it hands out:
/// the sink keeps them, and what the sink reports as durable is what the source may acknowledge to its server.
#[async_trait]
pub trait Source: Send {
    /// Waits for what has to be settled before the sink is asked for its checkpoint: which tables are this process's own, so
    /// that nobody else moves what the checkpoint says of them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Transient`] if it is not settled in time.
    async fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Opens the log at `from`; takes a snapshot first when there is no checkpoint.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Gap`] if the log is not the one that `from` speaks of or does not reach back to it.
    async fn start(&mut self, from: Option<Checkpoint>) -> Result<()>;

    /// The next changes, or a heartbeat after a short while without any. Acknowledges `durable`, the newest checkpoint
    /// with everything before it durable in the sink. Not safe to cancel.
    ///
    /// # Errors
    /// Those that concern the whole log. A table that the source cannot go on with is in [`Batch::stopped`], and the others
    /// go on.
    async fn next_batch(&mut self, durable: Option<Checkpoint>) -> Result<Batch>;

    /// Whether the source has nothing more to give, ever (a snapshot without a stream).
    fn finished(&self) -> bool {
        false
    }

    /// Acknowledges `durable` a last time and closes the log.
    async fn stop(&mut self, durable: Option<Checkpoint>) -> Result<()>;
}
