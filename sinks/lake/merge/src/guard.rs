//! The guard: whether a change is newer than what the table knows of its key.
//!
//! A keyed table is judged row by row. There is no "everything up to here is applied": changes come late from another
//! partition or again after a restart, and only the row (or the grave) of their own key can say which it is.
//!
//! - A change older than a *mark* (the newest truncate, the newest finished slice) is stale whatever its key. A read at
//!   the very slice that finished is not: it belongs to it.
//! - A change of a known key applies if it is strictly newer than the row or grave; the same order token is a repeat.
//! - A change of an unknown key at or below the *grave horizon* is dropped, and counted aloud: a forgotten grave may have
//!   been newer. Every other change of an unknown key applies.

use std::collections::BTreeSet;

use walbrook_model::Seq;

/// What is known of a change's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// A live row with this token.
    Row(Seq),
    /// A deleted row with this token.
    Grave(Seq),
    /// Nothing.
    Nothing,
}

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is newer than all that is known: apply it.
    Newer,
    /// The stored row is as new or newer.
    StaleRow,
    /// The row was deleted by this change or a newer one.
    StaleGrave,
    /// Older than a truncate or finished slice.
    BelowMark,
    /// Of an unknown key, and not newer than a forgotten grave.
    BelowHorizon,
}

/// Judges a change at `seq` whose key is `known`, in a table with these bounds.
pub(crate) fn judge(seq: Seq, known: Known, floor: Seq, horizon: Seq) -> Verdict {
    if seq < floor {
        return Verdict::BelowMark;
    }
    match known {
        Known::Row(stored) if seq <= stored => Verdict::StaleRow,
        Known::Grave(grave) if seq <= grave => Verdict::StaleGrave,
        Known::Nothing if seq <= horizon => Verdict::BelowHorizon,
        _ => Verdict::Newer,
    }
}

/// What a whole table knows of truncates and slices. They only rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    truncate: Seq,
    finished: Seq,
    open: BTreeSet<Seq>,
}

impl Marks {
    /// Marks as they were stored. Open slices that the finished one closes are left out.
    pub(crate) fn new(truncate: Seq, finished: Seq, open: impl IntoIterator<Item = Seq>) -> Self {
        Self { truncate, finished, open: open.into_iter().filter(|slice| *slice > finished).collect() }
    }

    /// The newest truncate; [`Seq::ZERO`] if there was none.
    pub(crate) fn truncate(&self) -> Seq {
        self.truncate
    }

    /// The newest finished slice; [`Seq::ZERO`] if there was none.
    pub(crate) fn finished(&self) -> Seq {
        self.finished
    }

    /// Slices that have begun and not ended, aborted ones among them until a newer one ends.
    pub(crate) fn open(&self) -> &BTreeSet<Seq> {
        &self.open
    }

    /// Whatever is older than this is gone.
    pub(crate) fn floor(&self) -> Seq {
        self.truncate.max(self.finished)
    }

    /// All rows older than `seq` were truncated.
    pub(crate) fn truncated(&mut self, seq: Seq) {
        self.truncate = self.truncate.max(seq);
    }

    /// The slice at `slice` has begun.
    pub(crate) fn opened(&mut self, slice: Seq) {
        if slice > self.finished {
            self.open.insert(slice);
        }
    }

    /// The slice at `slice` is read to its end; it and all older ones are closed.
    pub(crate) fn finish(&mut self, slice: Seq) {
        self.finished = self.finished.max(slice);
        self.open.retain(|open| *open > slice);
    }

    /// These marks and `more`.
    #[must_use]
    pub(crate) fn and(&self, more: &Self) -> Self {
        let open = self.open.iter().chain(&more.open).copied();
        Self::new(self.truncate.max(more.truncate), self.finished.max(more.finished), open)
    }
}

/// Whether a token is that of a slice (and its reads), not of a change of the log.
pub(crate) fn is_slice(seq: Seq) -> bool {
    seq.ordinal() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(position: u64, ordinal: u64) -> Seq {
        Seq::new(0, 1, position, ordinal).unwrap()
    }

    #[test]
    fn verdicts() {
        let check = |at: Seq, known, floor: Seq, horizon: Seq, verdict| {
            assert_eq!(judge(at, known, floor, horizon), verdict, "{at} {known:?} floor {floor} horizon {horizon}");
        };
        let (none, old, new) = (Seq::ZERO, seq(5, 1), seq(5, 2));
        check(new, Known::Row(old), none, none, Verdict::Newer);
        check(old, Known::Row(old), none, none, Verdict::StaleRow);
        check(old, Known::Row(new), none, none, Verdict::StaleRow);
        check(new, Known::Grave(old), none, none, Verdict::Newer);
        check(old, Known::Grave(old), none, none, Verdict::StaleGrave);
        check(old, Known::Grave(new), none, none, Verdict::StaleGrave);
        check(old, Known::Nothing, none, none, Verdict::Newer);
        check(old, Known::Nothing, none, old, Verdict::BelowHorizon);
        check(new, Known::Nothing, none, old, Verdict::Newer);
        check(new, Known::Row(old), none, seq(9, 9), Verdict::Newer);
        check(old, Known::Nothing, new, none, Verdict::BelowMark);
        // A read at the slice that finished belongs to it; what came before the slice does not.
        check(seq(5, 0), Known::Nothing, seq(5, 0), none, Verdict::Newer);
        check(seq(4, 7), Known::Nothing, seq(5, 0), none, Verdict::BelowMark);
    }

    #[test]
    fn marks_rise_and_a_finished_slice_closes_older_ones() {
        let mut marks = Marks::default();
        marks.opened(seq(3, 0));
        marks.opened(seq(5, 0));
        marks.truncated(seq(4, 2));
        marks.truncated(seq(4, 1));
        assert_eq!((marks.floor(), marks.truncate()), (seq(4, 2), seq(4, 2)));
        marks.finish(seq(3, 0));
        assert_eq!(marks.open().iter().copied().collect::<Vec<_>>(), [seq(5, 0)]);
        assert_eq!(marks.floor(), seq(4, 2));
        marks.finish(seq(5, 0));
        marks.finish(seq(3, 0));
        marks.opened(seq(5, 0));
        assert!(marks.open().is_empty());
        assert_eq!((marks.floor(), marks.finished()), (seq(5, 0), seq(5, 0)));
    }

    #[test]
    fn marks_join_in_any_order() {
        let (mut a, mut b) = (Marks::default(), Marks::default());
        a.opened(seq(3, 0));
        a.opened(seq(8, 0));
        a.truncated(seq(2, 1));
        b.finish(seq(5, 0));
        b.opened(seq(9, 0));
        assert_eq!(a.and(&b), b.and(&a));
        assert_eq!(a.and(&b).open().iter().copied().collect::<Vec<_>>(), [seq(8, 0), seq(9, 0)]);
        assert_eq!(a.and(&b).floor(), seq(5, 0));
    }
}
