//! The unit that moves.

use crate::{Change, Checkpoint, Lineage};

/// Changes in the order of their source, and a checkpoint where the source can resume after them.
///
/// An empty batch is a heartbeat: it lets the sink look at its clock.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In order of `seq` within the log; reads of a snapshot may come between them.
    pub changes: Vec<Change>,
    /// Covers every change up to and including this batch. `None` inside a transaction.
    pub checkpoint: Option<Checkpoint>,
    /// The log that the changes come from; `None` where there are none.
    pub lineage: Option<Lineage>,
    /// The source waits for `checkpoint` to become durable: do not wait for the commit interval.
    pub urgent: bool,
    /// The source's clock at its newest known moment (microseconds since 1970 UTC): after this batch is durable,
    /// everything that committed before it is in the sink.
    pub complete_until_us: Option<i64>,
}

impl Batch {
    /// A heartbeat.
    pub fn heartbeat() -> Self {
        Self::default()
    }

    /// Bytes that this batch keeps in memory.
    pub fn bytes(&self) -> usize {
        self.changes.iter().map(Change::bytes).sum()
    }
}
