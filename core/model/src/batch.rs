//! The unit that moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Change, Checkpoint, Error, Lineage, LogicalMessage, Seq, TableId};

/// Changes in the order of their source, and a checkpoint where the source can resume after them.
///
/// An empty batch is a heartbeat: it lets the sink look at its clock.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In order of `seq` within the log, or where `covered` is told within each table; reads of a snapshot may come between
    /// them. Tables of `unordered` are the exception.
    pub changes: Vec<Change>,
    /// Messages of the log between them, in their order.
    pub messages: Vec<LogicalMessage>,
    /// Tables that the source cannot go on with. They concern what comes after `changes`.
    pub stopped: Vec<TableStop>,
    /// Covers every change up to and including this batch. `None` inside a transaction.
    pub checkpoint: Option<Checkpoint>,
    /// The log that the changes come from; `None` where there are none.
    pub lineage: Option<Lineage>,
    /// The source waits for `checkpoint` to become durable: do not wait for the commit interval.
    pub urgent: bool,
    /// The source's clock at its newest known moment (microseconds since 1970 UTC): after this batch is durable,
    /// everything that committed before it is in the sink.
    pub complete_until_us: Option<i64>,
    /// Every change at or below it was handed over, in this batch or before; [`Seq::ZERO`] where that is not known. `None`:
    /// the source reads its log in order, so that this holds for the newest change. Told by a source whose tables each have an
    /// order, but none among each other: the newest change then speaks of its own table alone.
    pub covered: Option<Seq>,
    /// Tables whose changes come in any order, from this batch on.
    pub unordered: Vec<TableId>,
    /// Logs whose changes may come from here on, as the operator of a pipeline before this one let them in: generations by
    /// the lineage that they belong to. `None`: no others than before.
    pub logs: Option<Arc<BTreeMap<String, BTreeSet<u16>>>>,
}

impl Batch {
    /// A heartbeat.
    pub fn heartbeat() -> Self {
        Self::default()
    }

    /// Bytes that this batch keeps in memory.
    pub fn bytes(&self) -> usize {
        let changes = self.changes.iter().map(Change::bytes).sum::<usize>();
        let messages = self.messages.iter().map(LogicalMessage::bytes).sum::<usize>();
        changes + messages + self.stopped.len() * size_of::<TableStop>()
    }
}

/// A table that the source cannot go on with, while its other tables go on.
#[derive(Clone, Debug)]
pub struct TableStop {
    /// The table.
    pub table: TableId,
    /// The first change that is left out: earlier ones of the table are in this batch or before it, and a checkpoint that
    /// covers this one leaves a gap in the table. `None`: the table could not be read. It has no gap then, since the source
    /// reads it whole once that is mended, from then on.
    pub since: Option<Seq>,
    /// The log does not have what the table lacks, so that no replay brings it: the checkpoint need not wait for the table.
    pub lost: bool,
    /// What happened, and what to do.
    pub error: Arc<Error>,
    /// Bytes of changes that are left out. The stop is told again, for the sake of this figure, as more of them come.
    pub bytes: u64,
}
