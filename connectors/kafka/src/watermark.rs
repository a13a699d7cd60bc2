//! How complete the tables are: up to where every change of the source was handed over.
//!
//! The newest change tells nothing of older ones, since partitions are read in any order. The capture keeps a record of how
//! far each partition was written when everything up to some token was in the topics; when all of them are read that far,
//! everything up to that token was handed over, and a partition without messages holds nothing up.

use std::collections::{BTreeMap, VecDeque};

use walbrook_model::{Seq, TableId};

/// Records that wait for their ends. Above that every second one goes: the watermark then moves in larger steps.
const PENDING_MAX: usize = 512;

/// What a capture says of its topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where the record lies in its own topic: partition and offset.
    pub(crate) place: (usize, i64),
    /// Every change at or below it is in the topics.
    pub(crate) through: Seq,
    /// Everything that committed before it is in the topics; microseconds since 1970 UTC.
    pub(crate) complete_until_us: Option<i64>,
    /// The ends of the partitions of each topic.
    pub(crate) ends: BTreeMap<String, Vec<i64>>,
    /// The tables of topics.
    pub(crate) tables: BTreeMap<String, TableId>,
    /// Topics that are further than `through`, which waits for the tables of others.
    pub(crate) written: BTreeMap<String, Seq>,
}

/// How complete the tables are.
#[derive(Debug, Default)]
pub(crate) struct Watermark {
    /// In the order in which they were written.
    pending: VecDeque<Record>,
    /// Where the newest lies whose ends are reached.
    reached: Option<(usize, i64)>,
    covered: Option<Seq>,
    complete_until_us: Option<i64>,
}

impl Record {
    /// Whether a topic ends before where it ended in an older record, or is gone: it was made anew, which the capture's operator
    /// has accepted since, and its old end may never be reached.
    fn goes_back_from(&self, older: &Self) -> bool {
        older.ends.iter().any(|(topic, old)| {
            let now = self.ends.get(topic).map_or(&[][..], Vec::as_slice);
            old.iter().enumerate().any(|(partition, end)| now.get(partition).is_none_or(|now| now < end))
        })
    }
}

impl Watermark {
    /// Takes the next record.
    pub(crate) fn push(&mut self, record: Record) {
        while self.pending.pop_back_if(|older| record.goes_back_from(older)).is_some() {}
        if self.pending.len() >= PENDING_MAX {
            let mut index = 0;
            self.pending.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.pending.push_back(record);
    }

    /// Lets go of the records whose ends are reached. `next` is the next offset of a partition, `None` if it is not read by
    /// us. Whether something moved.
    pub(crate) fn advance(&mut self, next: impl Fn(&str, usize) -> Option<i64>) -> bool {
        let mut moved = false;
        while let Some(record) = self.pending.front() {
            let reached = record.ends.iter().all(|(topic, ends)| {
                let of = |(partition, end): (usize, &i64)| next(topic, partition).is_none_or(|next| next >= *end);
                ends.iter().enumerate().all(of)
            });
            if !reached {
                break;
            }
            self.covered = self.covered.max(Some(record.through));
            self.complete_until_us = self.complete_until_us.max(record.complete_until_us);
            self.reached = Some(record.place);
            self.pending.pop_front();
            moved = true;
        }
        moved
    }

    /// Every change at or below it was handed over.
    pub(crate) fn covered(&self) -> Option<Seq> {
        self.covered
    }

    /// Everything that committed before it was handed over.
    pub(crate) fn complete_until_us(&self) -> Option<i64> {
        self.complete_until_us
    }

    /// Where a partition of records must be read on after a restart: at the newest one that was reached, which says what is
    /// covered from the start, and at the oldest one that waits, if they lie there.
    pub(crate) fn resume_at(&self, partition: usize, next: i64) -> i64 {
        let places = self.reached.into_iter().chain(self.pending.iter().map(|record| record.place));
        places.filter(|place| place.0 == partition).map(|place| place.1).min().unwrap_or(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOPICS: [&str; 2] = ["a", "b"];
    const PARTITIONS: usize = 2;

    #[derive(Clone, Debug)]
    enum Step {
        /// A change of the source, into this partition.
        Write(usize),
        /// The capture writes its record.
        Record,
        /// We read the next change of this partition.
        Read(usize),
        /// We read the next record.
        ReadRecord,
        /// We start again where the last read left the records.
        Restart,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let place = 0..TOPICS.len() * PARTITIONS;
        let step = prop_oneof![
            3 => place.clone().prop_map(Step::Write),
            1 => Just(Step::Record),
            3 => place.prop_map(Step::Read),
            1 => Just(Step::ReadRecord),
            1 => Just(Step::Restart),
        ];
        prop::collection::vec(step, 0..200)
    }

    fn seq(n: i64) -> Seq {
        Seq::new(0, 1, u64::try_from(n).unwrap(), 1).unwrap()
    }

    fn count(n: usize) -> i64 {
        i64::try_from(n).unwrap()
    }

    fn index(n: i64) -> usize {
        usize::try_from(n).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_covered_was_read(steps in steps()) {
            let mut logs: Vec<Vec<i64>> = vec![Vec::new(); TOPICS.len() * PARTITIONS];
            let mut next = vec![0_i64; logs.len()];
            let mut records: Vec<Record> = Vec::new();
            let (mut record, mut written) = (0_i64, 0_i64);
            let mut watermark = Watermark::default();
            for step in steps {
                match step {
                    Step::Write(place) => {
                        written += 1;
                        logs[place].push(written);
                    }
                    Step::Record => {
                        let ends = |topic: usize| logs[topic * PARTITIONS..][..PARTITIONS].iter().map(|log| count(log.len()));
                        records.push(Record {
                            place: (0, count(records.len())),
                            through: seq(written),
                            complete_until_us: Some(written),
                            tables: BTreeMap::new(),
                            written: BTreeMap::new(),
                            ends: TOPICS.iter().enumerate().map(|(n, name)| ((*name).to_owned(), ends(n).collect())).collect(),
                        });
                    }
                    Step::Read(place) => next[place] = count(logs[place].len()).min(next[place] + 1),
                    Step::ReadRecord => {
                        if let Some(found) = records.get(index(record)) {
                            watermark.push(found.clone());
                            record += 1;
                        }
                    }
                    Step::Restart => {
                        record = watermark.resume_at(0, record);
                        watermark = Watermark { covered: watermark.covered, ..Watermark::default() };
                    }
                }
                let place = |topic: &str, partition: usize| {
                    TOPICS.iter().position(|name| *name == topic).unwrap() * PARTITIONS + partition
                };
                watermark.advance(|topic, partition| Some(next[place(topic, partition)]));
                // Everything at or below it was read.
                let unread = logs.iter().zip(&next).filter_map(|(log, next)| log.get(index(*next))).min().copied();
                let covered = watermark.covered().unwrap_or_default();
                prop_assert!(unread.is_none_or(|unread| covered < seq(unread)), "{covered} {unread:?}");
                // And no record that was read and reached is left out.
                let reached = |record: &&Record| {
                    record.ends.iter().all(|(topic, ends)| {
                        ends.iter().enumerate().all(|(partition, end)| next[place(topic, partition)] >= *end)
                    })
                };
                let newest = records[..index(record)].iter().filter(reached).map(|record| record.through).max();
                prop_assert!(covered >= newest.unwrap_or_default());
            }
        }
    }

    #[test]
    fn topics_of_others_and_a_crowd_of_records_hold_nothing_up() {
        let mut watermark = Watermark::default();
        let max = count(PENDING_MAX);
        let record = |n: i64| Record {
            place: (0, n),
            through: seq(n),
            ends: [("a".to_owned(), vec![n]), ("other".to_owned(), vec![99])].into(),
            ..Record::default()
        };
        for n in 0..5 * max {
            watermark.push(record(n));
            assert!(watermark.pending.len() <= PENDING_MAX);
        }
        let read_to = |end: i64| move |topic: &str, _: usize| (topic == "a").then_some(end);
        assert!(watermark.advance(read_to(max)));
        assert!(watermark.covered().unwrap() > seq(0) && watermark.covered().unwrap() <= seq(max));
        assert!(watermark.advance(read_to(i64::MAX)));
        assert_eq!(watermark.covered(), Some(seq(5 * max - 1)));
        assert_eq!((watermark.resume_at(0, 7), watermark.resume_at(1, 7)), (5 * max - 1, 7));
        assert!(!watermark.advance(read_to(0)));
    }

    #[test]
    fn ends_of_a_topic_that_was_made_anew_or_is_gone_hold_nothing_up() {
        let record = |n: i64, ends: &[(&str, i64)]| Record {
            place: (0, n),
            through: seq(n),
            ends: ends.iter().map(|(topic, end)| ((*topic).to_owned(), vec![*end])).collect(),
            ..Record::default()
        };
        for anew in [&[("a", 10), ("b", 5)][..], &[("a", 10)]] {
            let mut watermark = Watermark::default();
            watermark.push(record(1, &[("a", 3), ("b", 400)]));
            watermark.push(record(2, &[("a", 7), ("b", 472)]));
            watermark.push(record(3, anew));
            assert!(watermark.advance(|topic, _| Some(if topic == "a" { 10 } else { 5 })));
            assert_eq!(watermark.covered(), Some(seq(3)));
        }
    }
}
