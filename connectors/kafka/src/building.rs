//! The batch that is being built.

use walbrook_model::{Change, Checkpoint, Lineage};

use crate::arena::Arena;

/// A batch is handed over when it holds as many bytes, or when no more messages can be taken.
const BATCH_BYTES: usize = 1024 * 1024;

/// A batch that is being built.
#[derive(Debug, Default)]
pub(crate) struct Building {
    pub(crate) changes: Changes,
    /// Something moved that no change shows.
    pub(crate) due: bool,
    pub(crate) arena: Arena,
    /// The newest checkpoint that was handed over.
    pub(crate) handed: Option<Checkpoint>,
}

impl Building {
    /// Whether it has to be handed over before more is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.changes.bytes >= BATCH_BYTES || !self.changes.others.is_empty()
    }

    /// Whether nothing is there to be handed over.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.all.is_empty() && !self.due
    }
}

/// Changes of one log.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    all: Vec<Change>,
    bytes: usize,
    lineage: Option<Lineage>,
    /// From the first one of another log on: they begin the next batch.
    others: Vec<(Change, Option<Lineage>)>,
}

impl Changes {
    pub(crate) fn push(&mut self, change: Change, lineage: Option<Lineage>) {
        if self.all.is_empty() {
            self.lineage = lineage;
        } else if !self.others.is_empty() || self.lineage != lineage {
            self.others.push((change, lineage));
            return;
        }
        self.bytes += change.bytes();
        self.all.push(change);
    }

    /// Everything of the first log; the others begin anew.
    pub(crate) fn take(&mut self) -> (Vec<Change>, Option<Lineage>) {
        let Self { all, lineage, others, .. } = std::mem::take(self);
        for (change, lineage) in others {
            self.push(change, lineage);
        }
        (all, lineage)
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
