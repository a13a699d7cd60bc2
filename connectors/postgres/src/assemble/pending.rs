//! What an assembler has not given out yet: changes, messages and stops in the order of the log, and how much of them
//! belongs to whole transactions.

use std::mem;

use walbrook_model::{Change, LogicalMessage, TableStop};

use super::{Boundary, Cut};
use crate::netting::Left;
use crate::relations::Stopped;

#[derive(Debug, Default)]
pub(super) struct Pending {
    changes: Vec<Change>,
    /// `after` counts from the first of `changes`.
    messages: Vec<LogicalMessage>,
    stopped: Vec<TableStop>,
    /// Of changes and messages.
    pub(super) bytes: usize,
    /// What of it belongs to whole transactions.
    whole: Whole,
}

#[derive(Clone, Copy, Debug, Default)]
struct Whole {
    changes: usize,
    messages: usize,
    stopped: usize,
    bytes: usize,
}

impl Pending {
    pub(super) fn push(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.changes.push(change);
    }

    /// Its place is behind the changes that are there.
    pub(super) fn push_message(&mut self, message: LogicalMessage) {
        self.bytes += message.bytes();
        self.messages.push(LogicalMessage { after: self.changes.len(), ..message });
    }

    /// A stopped table was sent something; what it was sent in one transaction is told as one.
    pub(super) fn leave_out(&mut self, stopped: &Stopped, left: Left) {
        let bytes = left.bytes as u64;
        let mut same = self.stopped.iter_mut().skip(self.whole.stopped);
        if let Some(told) = same.find(|told| told.table == stopped.table) {
            told.bytes += bytes;
            return;
        }
        let (table, error) = (stopped.table.clone(), stopped.error.clone());
        self.stopped.push(TableStop { table, since: Some(left.since), lost: false, error, bytes });
    }

    /// How many there are, of whatever kind.
    pub(super) fn len(&self) -> usize {
        self.changes.len() + self.messages.len() + self.stopped.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn has_whole(&self) -> bool {
        self.whole.changes > 0 || self.whole.messages > 0 || self.whole.stopped > 0
    }

    pub(super) fn all_is_whole(&mut self) {
        self.whole = Whole {
            changes: self.changes.len(),
            messages: self.messages.len(),
            stopped: self.stopped.len(),
            bytes: self.bytes,
        };
    }

    /// What belongs to whole transactions; the rest stays.
    pub(super) fn take_whole(&mut self, boundary: Boundary) -> Cut {
        let whole = mem::take(&mut self.whole);
        let mut open = Self {
            changes: self.changes.split_off(whole.changes),
            messages: self.messages.split_off(whole.messages),
            stopped: self.stopped.split_off(whole.stopped),
            bytes: self.bytes - whole.bytes,
            whole: Whole::default(),
        };
        for message in &mut open.messages {
            message.after -= whole.changes;
        }
        let Self { changes, messages, stopped, .. } = mem::replace(self, open);
        Cut { changes, messages, stopped, boundary: Some(boundary) }
    }

    /// All of it, inside a transaction.
    pub(super) fn take(&mut self) -> Cut {
        let Self { changes, messages, stopped, .. } = mem::take(self);
        Cut { changes, messages, stopped, boundary: None }
    }
}
