//! A capture that crashes and starts again, partitions that hold what it sent, and a reader of them, step by step.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;

/// Mistakes, each of which the properties below must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The least head goes, whatever the partitions without one may hold.
    WaitsForNobody,
    /// A record covers a partition that is not read to its end.
    TakesRecordsAtOnce,
    /// Records are not heeded.
    ForgetsRecords,
    /// What came counts as gone.
    CountsWhatArrived,
}

const PARTITIONS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// The capture sends the next change.
    Send,
    /// A message that the capture, or a dead one, has sent arrives in its partition.
    Deliver(usize, bool),
    /// The capture writes its record, if all that it sent has arrived.
    Record,
    /// It dies, and another one begins at the record. What it had sent may still arrive.
    Crash,
    /// Somebody writes an old message of a partition again.
    Again(usize, prop::sample::Index),
    /// We get the next message of a partition.
    Arrive(usize),
    /// We get the next record.
    ReadRecord,
    /// We take the head that may go.
    Take,
    /// What we have taken is durable.
    Save,
    /// We begin again at what is durable.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Send),
        8 => (0..PARTITIONS, prop::bool::weighted(0.2)).prop_map(|(partition, late)| Step::Deliver(partition, late)),
        2 => Just(Step::Record),
        1 => Just(Step::Crash),
        1 => (0..PARTITIONS, any::<prop::sample::Index>()).prop_map(|(partition, index)| Step::Again(partition, index)),
        8 => (0..PARTITIONS).prop_map(Step::Arrive),
        2 => Just(Step::ReadRecord),
        8 => Just(Step::Take),
        1 => Just(Step::Save),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..300)
}

/// Changes of the log: their partitions, and whether each has the token of the one before, as reads of a slice have.
fn log() -> impl Strategy<Value = Vec<(usize, bool)>> {
    // Now and then a partition gets nothing for long.
    let partition = prop_oneof![4 => 0..PARTITIONS, 6 => Just(0)];
    prop::collection::vec((partition, prop::bool::weighted(0.2)), 0..60)
}

struct World {
    /// Tokens and partitions.
    log: Vec<(u64, usize)>,
    /// Numbers of changes, by partition.
    partitions: [Vec<usize>; PARTITIONS],
    /// Sent and not arrived: of the capture that lives, and of dead ones.
    sent: [VecDeque<usize>; PARTITIONS],
    late: [VecDeque<usize>; PARTITIONS],
    next_sent: usize,
    /// How many changes of the log they cover, and the ends.
    records: Vec<(usize, [i64; PARTITIONS])>,
}

struct Reader {
    merge: Merge,
    /// Messages that came: the position of each partition, head included.
    fetched: [usize; PARTITIONS],
    taken: [usize; PARTITIONS],
    record: usize,
    /// Changes of the log that were taken since the beginning of the world.
    done: BTreeSet<usize>,
    saved: ([usize; PARTITIONS], usize, BTreeSet<usize>),
    fault: Option<Fault>,
}

fn seq(token: u64) -> Seq {
    Seq::new(0, 1, token + 1, 1).unwrap()
}

fn offset(n: usize) -> i64 {
    i64::try_from(n).unwrap()
}

impl World {
    fn new(log: &[(usize, bool)]) -> Self {
        let mut token = 0;
        let mut numbered = Vec::new();
        for (partition, same) in log {
            token += u64::from(!same);
            numbered.push((token, *partition));
        }
        Self {
            log: numbered,
            partitions: Default::default(),
            sent: Default::default(),
            late: Default::default(),
            next_sent: 0,
            records: vec![(0, [0; PARTITIONS])],
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send => {
                if let Some((_, partition)) = self.log.get(self.next_sent) {
                    self.sent[*partition].push_back(self.next_sent);
                    self.next_sent += 1;
                }
            }
            Step::Deliver(partition, late) => {
                let queue = if *late { &mut self.late } else { &mut self.sent };
                self.partitions[*partition].extend(queue[*partition].pop_front());
            }
            Step::Record => {
                let boundary = self.next_sent;
                let inside =
                    boundary > 0 && self.log.get(boundary).is_some_and(|next| next.0 == self.log[boundary - 1].0);
                if self.sent.iter().all(VecDeque::is_empty) && !inside {
                    self.records.push((boundary, std::array::from_fn(|n| offset(self.partitions[n].len()))));
                }
            }
            Step::Crash => {
                for (sent, late) in self.sent.iter_mut().zip(&mut self.late) {
                    late.append(sent);
                }
                self.next_sent = self.records.last().unwrap().0;
            }
            Step::Again(partition, index) => {
                let partition = &mut self.partitions[*partition];
                if !partition.is_empty() {
                    let again = *index.get(partition);
                    partition.push(again);
                }
            }
            _ => {}
        }
    }
}

impl Reader {
    fn new(fault: Option<Fault>) -> Self {
        let mut reader = Self {
            merge: Merge::default(),
            fetched: [0; PARTITIONS],
            taken: [0; PARTITIONS],
            record: 0,
            done: BTreeSet::new(),
            saved: Default::default(),
            fault,
        };
        reader.begin();
        reader
    }

    fn begin(&mut self) {
        (self.taken, self.record, self.done) = self.saved.clone();
        self.fetched = self.taken;
        self.merge = Merge { fault: self.fault, ..Merge::new(self.taken.iter().map(|next| offset(*next))) };
    }

    fn step(&mut self, step: &Step, world: &World) -> Result<(), TestCaseError> {
        match step {
            Step::Arrive(partition) => self.arrive(*partition, world),
            Step::ReadRecord => self.read_record(world),
            Step::Take => self.take(world)?,
            // The newest record that was read is read again.
            Step::Save => self.saved = (self.taken, self.record.saturating_sub(1), self.done.clone()),
            Step::Restart => self.begin(),
            _ => {}
        }
        prop_assert!(self.merge.heads.len() <= PARTITIONS);
        prop_assert!(self.merge.lanes.iter().all(|lane| lane.ends.len() <= ENDS_MAX));
        Ok(())
    }

    fn arrive(&mut self, partition: usize, world: &World) {
        if self.merge.has_head(partition) {
            return;
        }
        if let Some(number) = world.partitions[partition].get(self.fetched[partition]) {
            self.fetched[partition] += 1;
            self.merge.arrived(partition, seq(world.log[*number].0));
        }
    }

    fn read_record(&mut self, world: &World) {
        let Some((covers, ends)) = world.records.get(self.record) else { return };
        self.record += 1;
        let through = covers.checked_sub(1).map_or(Seq::ZERO, |last| seq(world.log[last].0));
        match self.fault {
            Some(Fault::ForgetsRecords) => {}
            Some(Fault::TakesRecordsAtOnce) => self.merge.record(through, Some(&[0; PARTITIONS])),
            _ => self.merge.record(through, Some(ends)),
        }
    }

    fn take(&mut self, world: &World) -> Result<(), TestCaseError> {
        let Some(partition) = self.merge.next() else { return Ok(()) };
        let number = world.partitions[partition][self.taken[partition]];
        let token = world.log[number].0;
        self.taken[partition] += 1;
        self.merge.took(offset(self.taken[partition]));
        self.done.insert(number);
        let missing = world.log.iter().enumerate().find(|(n, (older, _))| *older < token && !self.done.contains(n));
        prop_assert!(missing.is_none(), "{missing:?} comes after {token}");
        Ok(())
    }
}

fn run(fault: Option<Fault>, log: &[(usize, bool)], steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut world, mut reader) = (World::new(log), Reader::new(fault));
    for step in steps {
        world.step(step);
        reader.step(step, &world)?;
    }
    // Both go on to the end.
    for _ in &world.log.clone() {
        world.step(&Step::Send);
    }
    while let Some(partition) = world.sent.iter().position(|sent| !sent.is_empty()) {
        world.step(&Step::Deliver(partition, false));
    }
    world.step(&Step::Record);
    let all: usize = world.partitions.iter().map(Vec::len).sum();
    for _ in 0..=all + world.records.len() {
        reader.read_record(&world);
        for partition in 0..PARTITIONS {
            reader.step(&Step::Arrive(partition), &world)?;
        }
        reader.step(&Step::Take, &world)?;
    }
    prop_assert_eq!(reader.taken.iter().sum::<usize>(), all, "something never came");
    prop_assert_eq!(reader.done.len(), world.log.len());
    Ok(())
}

#[test]
fn changes_come_in_the_order_of_the_log_and_all_of_them() {
    let mut runner = TestRunner::new(Config { cases: 300, ..Config::default() });
    runner.run(&(log(), steps()), |(log, steps)| run(None, &log, &steps)).unwrap();
}

#[test]
fn mistakes_are_noticed() {
    for fault in [Fault::WaitsForNobody, Fault::TakesRecordsAtOnce, Fault::ForgetsRecords, Fault::CountsWhatArrived] {
        let config = Config { cases: 300, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let ran = runner.run(&(log(), steps()), |(log, steps)| run(Some(fault), &log, &steps));
        assert!(ran.is_err(), "{fault:?} was not noticed");
    }
}

#[test]
fn what_others_wrote_goes_at_once() {
    let mut merge = Merge::new([0, 0].into_iter());
    merge.arrived(1, Seq::ZERO);
    assert_eq!(merge.next(), Some(1));
    merge.took(1);
    // In turn, so that none starves.
    for partition in [1, 0] {
        merge.arrived(partition, Seq::ZERO);
    }
    for partition in [1, 0, 1, 0] {
        assert_eq!(merge.next(), Some(partition));
        merge.took(2);
        merge.arrived(partition, Seq::ZERO);
    }
    for _ in 0..2 {
        merge.took(3);
    }
    // Ours waits for the other partition.
    merge.arrived(1, seq(5));
    assert_eq!(merge.next(), None);
    // A record that does not know the topic, and covers what lies in it: the topic is another pipeline's.
    merge.record(seq(4), None);
    assert!(merge.next().is_none() && !merge.is_free());
    merge.record(seq(5), None);
    assert!(merge.is_free());
    assert_eq!(merge.next(), Some(1));
}

#[test]
fn partitions_that_the_capture_does_not_name_hold_nothing_up() {
    let mut merge = Merge::new([0, 0, 0].into_iter());
    merge.arrived(0, seq(5));
    merge.record(seq(5), Some(&[1, 0]));
    assert_eq!(merge.next(), Some(0));
    assert!(!merge.is_past(seq(5)));
    merge.took(1);
    assert!(merge.is_past(seq(5)) && !merge.is_past(seq(6)));
}

#[test]
fn a_crowd_of_records_is_thinned_out() {
    let mut merge = Merge::new([0, 0].into_iter());
    let count = 4 * ENDS_MAX;
    for n in 0..count {
        merge.record(seq(n as u64), Some(&[offset(n) + 1, 7]));
    }
    assert!(merge.lanes[0].ends.len() <= ENDS_MAX && merge.lanes[1].ends.len() == 1);
    merge.passed(1, 7);
    merge.passed(0, offset(count) / 2);
    assert!(merge.is_past(seq(count as u64 / 8)) && !merge.is_past(seq(count as u64 / 2)));
    merge.passed(0, offset(count));
    assert!(merge.is_past(seq(count as u64 - 1)));
}
