//! Ends of slices: each partition gets its own, and the sink may hear of the end only when all of them have arrived.
//!
//! The end makes the sink drop what the slice did not read. Reads of the slice lie in every partition, so before the last
//! of them is read the end would drop rows that are there.
//!
//! - What was seen is part of the checkpoint: a partition that is past its end does not bring it again.
//! - An end that comes again, of a slice that is finished or older than a finished one, says nothing new.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use walbrook_model::Seq;

/// The slices of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slices {
    /// The newest slice whose end was handed over; it closes all older ones.
    finished: Option<Seq>,
    /// Slices whose end is seen in some of their partitions.
    open: BTreeMap<Seq, Open>,
}

/// A slice whose end is seen in some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    /// How many partitions get the end.
    of: u32,
    seen: BTreeSet<u32>,
}

impl Slices {
    /// The end of `slice` was read in `partition`; `of` partitions get one. Whether it is to be handed over now.
    pub(crate) fn arrived(&mut self, slice: Seq, partition: u32, of: u32) -> bool {
        if self.is_finished(slice) {
            return false;
        }
        let open = self.open.entry(slice).or_insert_with(|| Open { of, seen: BTreeSet::new() });
        open.of = open.of.max(of);
        open.seen.insert(partition);
        let whole = (0..open.of).all(|partition| open.seen.contains(&partition));
        if whole {
            self.finished = Some(slice);
            self.open.retain(|open, _| *open > slice);
        }
        whole
    }

    /// Whether the end of the slice, or of a later one, was handed over.
    pub(crate) fn is_finished(&self, slice: Seq) -> bool {
        self.finished.is_some_and(|finished| slice <= finished)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slice(n: u8) -> Seq {
        Seq::new(0, 1, u64::from(n) + 1, 0).unwrap()
    }

    /// What is in the partitions: slices by partition, and the order in which the partitions are read, with crashes.
    #[derive(Debug)]
    struct Run {
        logs: Vec<Vec<u8>>,
        steps: Vec<Step>,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Read(prop::sample::Index),
        Checkpoint,
        Crash,
    }

    fn runs() -> impl Strategy<Value = Run> {
        let step = prop_oneof![
            8 => any::<prop::sample::Index>().prop_map(Step::Read),
            1 => Just(Step::Checkpoint),
            1 => Just(Step::Crash),
        ];
        // Slices come in order, an end may come again, and one may be missing: its snapshot was aborted.
        let log = prop::collection::vec(0..4u8, 0..6).prop_map(|mut log| {
            log.sort_unstable();
            log
        });
        (prop::collection::vec(log, 1..4), prop::collection::vec(step, 0..60))
            .prop_map(|(logs, steps)| Run { logs, steps })
    }

    /// Partitions whose end of the slice was read, judged from the positions alone.
    fn past(logs: &[Vec<u8>], positions: &[usize], slice: u8) -> bool {
        logs.iter().zip(positions).all(|(log, position)| log[..*position].contains(&slice))
    }

    proptest! {
        #[test]
        fn an_end_is_handed_over_when_all_partitions_are_past_it(run in runs()) {
            let of = u32::try_from(run.logs.len()).unwrap();
            let start = (Slices::default(), vec![0; run.logs.len()]);
            let (mut slices, mut positions) = start.clone();
            let mut saved = start;
            // What is handed over since the last crash, and what is durable.
            let (mut handed, mut durable) = (Vec::new(), Vec::new());
            for step in run.steps {
                match step {
                    Step::Read(index) => {
                        let partition = index.index(run.logs.len());
                        let Some(found) = run.logs[partition].get(positions[partition]) else { continue };
                        positions[partition] += 1;
                        if slices.arrived(slice(*found), u32::try_from(partition).unwrap(), of) {
                            prop_assert!(past(&run.logs, &positions, *found), "too early");
                            prop_assert!(handed.iter().chain(&durable).all(|earlier| earlier < found), "again, or late");
                            handed.push(*found);
                        }
                    }
                    Step::Checkpoint => {
                        let json = serde_json::to_string(&slices).unwrap();
                        saved = (serde_json::from_str(&json).unwrap(), positions.clone());
                        durable.append(&mut handed);
                    }
                    Step::Crash => {
                        (slices, positions) = saved.clone();
                        handed.clear();
                    }
                }
            }
            for (partition, log) in run.logs.iter().enumerate() {
                for found in &log[positions[partition]..] {
                    if slices.arrived(slice(*found), u32::try_from(partition).unwrap(), of) {
                        handed.push(*found);
                    }
                }
            }
            // The newest slice that all partitions have is finished in the end.
            let newest = (0..4).filter(|n| run.logs.iter().all(|log| log.contains(n))).max();
            prop_assert_eq!(handed.iter().chain(&durable).max().copied(), newest);
            prop_assert_eq!(slices.finished, newest.map(slice));
        }
    }
}
