//! Changes that wait for the next commit, collapsed to the newest of each key.
//!
//! A commit judges only the newest change of a key: if that one is stale, the older ones are too, and if it is newer,
//! they would be overwritten. (Cells that a change does not carry are filled before it is pushed, or from the row that
//! [`Pushed::Kept`] says it replaces.)
//!
//! Invariant: whatever the order of the calls, the same changes and marks leave the same content.

use std::collections::hash_map::Entry;

use walbrook_model::Seq;

use crate::guard::{Marks, is_slice};
use crate::key::{KeyId, KeyMap};

/// Changes and marks since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    newest: KeyMap<Newest>,
    marks: Marks,
    /// The slice that was seen last.
    slice: Option<Seq>,
}

/// The newest pending change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    /// Its token.
    pub(crate) seq: Seq,
    /// Where its row lies in the buffer; `None` is a delete.
    pub(crate) row: Option<u32>,
}

/// What became of a pushed change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is the newest of its key so far.
    Kept {
        /// The buffer row that it takes the place of; nobody will ask for that row again.
        replaced: Option<u32>,
    },
    /// It is older than a pending change of its key, a repeat of it, or older than a pending mark.
    Stale,
}

impl Pending {
    /// The slice at `slice` has begun: no grave is forgotten before it ends. Its reads say so too, but perhaps too late:
    /// a grave newer than the slice must not be forgotten before the first of them.
    pub(crate) fn open_slice(&mut self, slice: Seq) {
        if self.slice != Some(slice) {
            self.slice = Some(slice);
            self.marks.opened(slice);
        }
    }

    /// Takes a change whose row will lie at `row` of the buffer (`None`: a delete). If it is stale, the buffer need not
    /// take the row.
    pub(crate) fn push(&mut self, key: KeyId, seq: Seq, row: Option<u32>) -> Pushed {
        if is_slice(seq) {
            self.open_slice(seq);
        }
        if seq < self.marks.floor() {
            return Pushed::Stale;
        }
        match self.newest.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Newest { seq, row });
                Pushed::Kept { replaced: None }
            }
            Entry::Occupied(held) if seq <= held.get().seq => Pushed::Stale,
            Entry::Occupied(mut held) => Pushed::Kept { replaced: held.insert(Newest { seq, row }).row },
        }
    }

    /// A truncate, or the end of a slice (a token with ordinal 0), at `floor`: drops what is older. Returns how many
    /// changes that were.
    pub(crate) fn sweep(&mut self, floor: Seq) -> u64 {
        if is_slice(floor) {
            self.marks.finish(floor);
        } else {
            self.marks.truncated(floor);
        }
        let before = self.newest.len();
        self.newest.retain(|_, newest| newest.seq >= floor);
        (before - self.newest.len()) as u64
    }

    /// The newest pending change of `key`.
    pub(crate) fn get(&self, key: KeyId) -> Option<Newest> {
        self.newest.get(&key).copied()
    }

    /// The newest pending change of every key, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyId, Newest)> {
        self.newest.iter().map(|(key, newest)| (*key, *newest))
    }

    /// Truncates and slices that were seen.
    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Whether the beginning or a read of a slice is among them.
    pub(crate) fn holds_slice(&self) -> bool {
        self.slice.is_some()
    }

    /// Keys with a pending change.
    pub(crate) fn len(&self) -> usize {
        self.newest.len()
    }

    /// Forgets everything. Keeps its memory, unless that is much more than what was in it.
    pub(crate) fn reset(&mut self) {
        let held = self.newest.len();
        self.newest.clear();
        self.newest.shrink_to(2 * held);
        (self.marks, self.slice) = (Marks::default(), None);
    }

    /// Whether there is nothing to commit, marks included.
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.is_empty() && self.marks == Marks::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(position: u64, ordinal: u64) -> Seq {
        Seq::new(0, 1, position, ordinal).unwrap()
    }

    const KEY: fn(u128) -> KeyId = KeyId::from_u128;

    #[test]
    fn the_newest_change_of_a_key_stays() {
        let mut pending = Pending::default();
        assert!(pending.is_empty());
        assert_eq!(pending.push(KEY(1), seq(5, 1), Some(0)), Pushed::Kept { replaced: None });
        assert_eq!(pending.push(KEY(1), seq(5, 1), Some(1)), Pushed::Stale);
        assert_eq!(pending.push(KEY(1), seq(4, 9), None), Pushed::Stale);
        assert_eq!(pending.push(KEY(1), seq(5, 2), Some(1)), Pushed::Kept { replaced: Some(0) });
        assert_eq!(pending.push(KEY(1), seq(5, 3), None), Pushed::Kept { replaced: Some(1) });
        assert_eq!(pending.push(KEY(1), seq(5, 4), Some(2)), Pushed::Kept { replaced: None });
        assert_eq!(pending.get(KEY(1)), Some(Newest { seq: seq(5, 4), row: Some(2) }));
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn a_mark_drops_what_is_older_whichever_comes_first() {
        let mut pending = Pending::default();
        pending.push(KEY(1), seq(4, 1), Some(0));
        pending.push(KEY(2), seq(5, 0), Some(1));
        assert_eq!(pending.sweep(seq(5, 0)), 1);
        assert_eq!(pending.push(KEY(1), seq(4, 1), Some(2)), Pushed::Stale);
        assert_eq!(pending.push(KEY(3), seq(5, 0), Some(2)), Pushed::Kept { replaced: None });
        assert_eq!(pending.sweep(seq(5, 7)), 2);
        assert_eq!((pending.marks().finished(), pending.marks().truncate()), (seq(5, 0), seq(5, 7)));
        assert!(!pending.is_empty(), "a mark alone is something to commit");
    }

    #[test]
    fn a_read_opens_its_slice_stale_or_not() {
        let mut pending = Pending::default();
        pending.push(KEY(1), seq(9, 1), None);
        pending.push(KEY(1), seq(7, 0), Some(0));
        pending.push(KEY(2), seq(8, 0), Some(1));
        assert_eq!(pending.marks().open().iter().copied().collect::<Vec<_>>(), [seq(7, 0), seq(8, 0)]);
        pending.sweep(seq(7, 0));
        assert_eq!(pending.marks().open().iter().copied().collect::<Vec<_>>(), [seq(8, 0)]);
    }
}
