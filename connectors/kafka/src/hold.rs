//! What must not be parted by a checkpoint, or by a commit of the sink, although it lies in several messages.
//!
//! - The two halves of a key change: the insert takes the cells that the log does not carry from the row that the delete ends.
//!   The delete is kept back until the insert is there, or cannot come any more; so they are neighbours in one batch.
//! - A slice of a table whose reads the sink shows only at its end: the positions stay before it until then, so that a start
//!   in the middle reads all of it again.

use std::fmt;
use std::sync::Arc;

use walbrook_model::{Change, Lineage, Op, Seq, TableId};

use crate::positions::{Position, TopicPositions};

/// Which tables' reads the sink shows at the end of their slice.
#[derive(Clone)]
pub(crate) struct InSlices(pub(crate) Arc<dyn Fn(&TableId) -> bool + Send + Sync>);

impl InSlices {
    pub(crate) fn of(&self, table: &TableId) -> bool {
        (self.0)(table)
    }
}

impl Default for InSlices {
    fn default() -> Self {
        Self(Arc::new(|_| false))
    }
}

impl fmt::Debug for InSlices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InSlices")
    }
}

/// What is kept back of a topic.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    half: Option<Half>,
    slice: Option<Slice>,
}

/// The delete of a key change.
#[derive(Debug)]
struct Half {
    partition: usize,
    /// Of its partition.
    before: Position,
    change: Change,
    lineage: Option<Lineage>,
}

/// A slice that has not ended.
#[derive(Debug)]
struct Slice {
    newest: Seq,
    before: TopicPositions,
}

/// Where a change was read, and what goes with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) partition: usize,
    /// The position of its partition before it.
    pub(crate) before: Position,
    /// It is the delete of a key change.
    pub(crate) is_half: bool,
    /// The sink shows reads at the end of their slice.
    pub(crate) in_slices: bool,
}

impl Hold {
    /// Takes the next change, and hands over what may go: it, what was kept back before it, both or none. `now` are the
    /// positions behind it. Whether it says anything new.
    pub(crate) fn pass(
        &mut self,
        change: Change,
        lineage: Option<Lineage>,
        place: Place,
        now: impl FnOnce() -> TopicPositions,
        mut hand_over: impl FnMut(Change, Option<Lineage>),
    ) -> bool {
        match &self.half {
            Some(half) if change.seq == half.change.seq => return false,
            Some(half) if change.seq > half.change.seq => self.let_go(&mut hand_over),
            // A repeat of what went long ago.
            Some(_) | None => {}
        }
        match change.op {
            Op::Read if place.in_slices => self.note_read(change.seq, place, now),
            Op::SnapshotEnd if self.slice.as_ref().is_some_and(|slice| slice.newest <= change.seq) => self.slice = None,
            _ => {}
        }
        if place.is_half && change.op == Op::Delete && self.half.is_none() {
            self.half = Some(Half { partition: place.partition, before: place.before, change, lineage });
        } else {
            hand_over(change, lineage);
        }
        true
    }

    fn note_read(&mut self, seq: Seq, place: Place, now: impl FnOnce() -> TopicPositions) {
        if let Some(slice) = &mut self.slice {
            slice.newest = slice.newest.max(seq);
            return;
        }
        let mut before = self.positions(now());
        if let Some(position) = before.partitions.get_mut(place.partition) {
            *position = place.before;
        }
        self.slice = Some(Slice { newest: seq, before });
    }

    /// The token of the second half that is waited for.
    pub(crate) fn awaits(&self) -> Option<Seq> {
        let first = self.half.as_ref()?.change.seq;
        first.with_ordinal(first.ordinal() + 1).ok()
    }

    /// Hands over what waits for a second half.
    pub(crate) fn let_go(&mut self, mut hand_over: impl FnMut(Change, Option<Lineage>)) {
        if let Some(Half { change, lineage, .. }) = self.half.take() {
            hand_over(change, lineage);
        }
    }

    /// Where to begin again; `now` is what was read.
    pub(crate) fn positions(&self, mut now: TopicPositions) -> TopicPositions {
        if let Some(slice) = &self.slice {
            return slice.before.clone();
        }
        if let Some(half) = &self.half
            && let Some(position) = now.partitions.get_mut(half.partition)
        {
            *position = half.before;
        }
        now
    }

    /// The next offset of a partition that was not handed over; `next` is the next to be read.
    pub(crate) fn next(&self, partition: usize, next: i64) -> i64 {
        let half = self.half.as_ref().filter(|half| half.partition == partition);
        half.map_or(next, |half| half.before.next)
    }
}

#[cfg(test)]
mod tests;
