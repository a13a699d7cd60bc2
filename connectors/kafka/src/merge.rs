//! The partitions of a topic, read as one: the changes of a table in the order of their log.
//!
//! ```text
//! partition 0   .. 7  9 |12            head 12: waits, for partition 1 may still hold 10 or 11
//! partition 1   .. 8 10 |              no head: read to the end of a record of the capture that covers 10
//! ```
//!
//! The least head goes once nothing older can come that has not come before. That is so if something as new went already, or if
//! every other partition has a head, or is read to where it ended when the capture said that everything up to some token, at or
//! above the head, was in the topics.
//!
//! Why: a capture sends the changes of a topic in the order of their tokens, and each partition takes a gapless beginning of its
//! share of them. One that starts again begins at a checkpoint up to which everything is in the topics. So a partition holds
//! repeats of what it held before, and between them what is new, which rises. A head that is new has nothing older behind it
//! but repeats; one that is a repeat has before it what is newer, which is read. It holds as well where a process that was
//! thought dead still sends: it sends what comes next, or what was there.
//!
//! Repeats go when they are the least head, so they may lie below what went before: the sink knows them by their token.
//! Messages without a token of ours ([`Seq::ZERO`]), such as Debezium's, go at once, in the order of their partition.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use walbrook_model::Seq;

/// Records that wait for a partition. Above that every second one goes: the partition is then known to be read in larger steps.
const ENDS_MAX: usize = 256;

/// The partitions of a topic.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    lanes: Vec<Lane>,
    /// Token, arrival and partition: of equal tokens the first that came goes first.
    heads: BinaryHeap<Reverse<(Seq, u64, usize)>>,
    arrivals: u64,
    /// The newest that went: all that is older went before it.
    newest: Seq,
    /// What every partition without a head is covered up to; `None`: to be looked up.
    bound: Option<Seq>,
    /// The records of the capture do not speak of the topic.
    free: bool,
    /// Everything of the topics up to it was there when a record was written that does not name this one.
    unlisted: Seq,
    #[cfg(test)]
    fault: Option<tests::Fault>,
}

/// A partition.
#[derive(Debug, Default)]
struct Lane {
    has_head: bool,
    /// Everything below this offset was taken from it.
    next: i64,
    /// Everything up to this token that it will ever hold was taken from it, as records say.
    covered: Seq,
    /// Records whose end of the partition is not reached: its offset, and what is covered there. Both rise.
    ends: VecDeque<(i64, Seq)>,
}

impl Merge {
    /// Partitions that are read on from these offsets.
    pub(crate) fn new(next: impl Iterator<Item = i64>) -> Self {
        Self { lanes: next.map(|next| Lane { next, ..Lane::default() }).collect(), ..Self::default() }
    }

    /// Heads go at once, in any order: nobody tells how complete the partitions are.
    pub(crate) fn set_free(&mut self) {
        self.free = true;
    }

    /// Whether heads go in any order, though there are several partitions.
    pub(crate) fn is_free(&self) -> bool {
        self.free && self.lanes.len() > 1
    }

    /// Whether tokens are of any use here.
    pub(crate) fn needs_tokens(&self) -> bool {
        !self.free && self.lanes.len() > 1
    }

    /// The next message of a partition is here.
    pub(crate) fn arrived(&mut self, partition: usize, token: Seq) {
        let Some(lane) = self.lanes.get_mut(partition).filter(|lane| !lane.has_head) else { return };
        lane.has_head = true;
        self.bound = None;
        self.arrivals += 1;
        self.heads.push(Reverse((token, self.arrivals, partition)));
        self.free |= token > Seq::ZERO && token <= self.unlisted;
        #[cfg(test)]
        if self.fault == Some(tests::Fault::CountsWhatArrived) {
            self.newest = self.newest.max(token);
        }
    }

    /// The partition whose head may go now.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let Reverse((token, _, partition)) = *self.heads.peek()?;
        let goes = self.free || token <= self.newest || self.bound() >= token;
        goes.then_some(partition)
    }

    /// The least head, if it may not go.
    pub(crate) fn blocked(&mut self) -> Option<Seq> {
        if self.next().is_some() { None } else { self.heads.peek().map(|Reverse((token, ..))| *token) }
    }

    /// The head that [`Merge::next`] named was taken; `next` is the offset behind it.
    pub(crate) fn took(&mut self, next: i64) {
        let Some(Reverse((token, _, partition))) = self.heads.pop() else { return };
        let Some(lane) = self.lanes.get_mut(partition) else { return };
        lane.has_head = false;
        lane.reach(next);
        self.newest = self.newest.max(token);
        self.bound = None;
    }

    /// A partition without a head was read up to `next`, where it has no messages.
    pub(crate) fn passed(&mut self, partition: usize, next: i64) {
        if let Some(lane) = self.lanes.get_mut(partition).filter(|lane| !lane.has_head) {
            lane.reach(next);
            self.bound = None;
        }
    }

    /// The heads come again: what was fetched is void.
    pub(crate) fn forget_heads(&mut self) {
        self.heads.clear();
        self.lanes.iter_mut().for_each(|lane| lane.has_head = false);
        self.bound = None;
    }

    /// Whether a partition has a head.
    pub(crate) fn has_head(&self, partition: usize) -> bool {
        self.lanes.get(partition).is_some_and(|lane| lane.has_head)
    }

    /// The capture says that everything up to `through` was in the topics when this one's partitions ended at `ends`; `None`: it
    /// did not know this one.
    pub(crate) fn record(&mut self, through: Seq, ends: Option<&[i64]>) {
        let Some(ends) = ends else {
            self.unlisted = self.unlisted.max(through);
            // What is here would be named if it came from there.
            self.free |= self.heads.iter().any(|Reverse((token, ..))| *token > Seq::ZERO && *token <= self.unlisted);
            return;
        };
        for (partition, lane) in self.lanes.iter_mut().enumerate() {
            // The capture writes no message into partitions that it does not name.
            lane.record(ends.get(partition).copied().unwrap_or(0), through);
        }
        self.bound = None;
    }

    /// Whether everything up to `token` was taken.
    pub(crate) fn is_past(&mut self, token: Seq) -> bool {
        let older = self.heads.peek().is_some_and(|Reverse((head, ..))| *head <= token);
        !older && self.newest.max(self.bound()) >= token
    }

    /// What every partition without a head is covered up to.
    fn bound(&mut self) -> Seq {
        if let Some(bound) = self.bound {
            return bound;
        }
        let without = self.lanes.iter().filter(|lane| !lane.has_head);
        #[cfg(test)]
        let without = without.filter(|_| self.fault != Some(tests::Fault::WaitsForNobody));
        let bound = without.map(|lane| lane.covered).min().unwrap_or(Seq::MAX);
        self.bound = Some(bound);
        bound
    }
}

impl Lane {
    fn reach(&mut self, next: i64) {
        self.next = self.next.max(next);
        while let Some((end, through)) = self.ends.front().copied()
            && self.next >= end
        {
            self.covered = self.covered.max(through);
            self.ends.pop_front();
        }
    }

    fn record(&mut self, end: i64, through: Seq) {
        if self.next >= end {
            self.covered = self.covered.max(through);
            return;
        }
        // A partition that stands still has one end for all records.
        while self.ends.back().is_some_and(|(known, covered)| *known >= end && *covered <= through) {
            self.ends.pop_back();
        }
        self.ends.push_back((end, through));
        if self.ends.len() > ENDS_MAX {
            let mut index = self.ends.len();
            self.ends.retain(|_| {
                index -= 1;
                index.is_multiple_of(2)
            });
        }
    }
}

#[cfg(test)]
mod tests;
