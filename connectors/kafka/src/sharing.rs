//! What several processes that share the topics out have done, as one checkpoint.
//!
//! A topic's entry (positions, slices, open letters) moves only in the process that reads it, so entries are merged one by
//! one: see [`merge_entries`]. A process that lost a topic and does not know it yet moves an entry that its successor has
//! moved, and is refused; if it was the first, the successor is refused, and begins again behind what was written.
//!
//! Where the records of the capture are read on is no progress. Whoever wrote last says it: at the newest record that it has
//! reached, or an older one. A successor that is not as far finds there how far every topic goes, which is all that it waits
//! for; older records would only let its watermark move in smaller steps. (The oldest place of all would never move: nobody
//! could tell from it whether the process that left it there still waits for it.)

use walbrook_model::{Checkpoint, Result, merge_entries, taken};

use crate::positions::Positions;

/// [`walbrook_model::MergeCheckpoints`] of this source.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Transient`] if another process has gone on with a topic that `mine` moves; and if one of them
/// is no checkpoint of this source.
pub fn merge_checkpoints(
    base: Option<&Checkpoint>,
    mine: &Checkpoint,
    theirs: Option<&Checkpoint>,
) -> Result<Checkpoint> {
    let read = |checkpoint: Option<&Checkpoint>| checkpoint.map(Positions::from_checkpoint).transpose();
    let (mine, theirs) = (Positions::from_checkpoint(mine)?, read(theirs)?);
    let base = read(base)?;
    if base.is_some() && theirs.is_none() {
        return Err(taken("the checkpoint".to_owned()));
    }
    merge(&base.unwrap_or_default(), &mine, &theirs.unwrap_or_default())?.to_checkpoint()
}

fn merge(base: &Positions, mine: &Positions, theirs: &Positions) -> Result<Positions> {
    let topics = merge_entries("topic", &base.topics, &mine.topics, &theirs.topics)?;
    // Empty: they were not read.
    let records = if mine.records.is_empty() { &theirs.records } else { &mine.records };
    Ok(Positions::new(topics, records.clone()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use walbrook_model::ErrorKind;

    use super::*;
    use crate::positions::{Position, TopicPositions};

    const TOPICS: [&str; 3] = ["a", "b", "c"];
    const WORKERS: usize = 3;

    fn at(next: i64) -> TopicPositions {
        TopicPositions { partitions: vec![Position { next, ..Position::default() }], ..TopicPositions::default() }
    }

    fn positions(topics: &[(&str, i64)], records: &[i64]) -> Positions {
        Positions::new(topics.iter().map(|(name, next)| ((*name).to_owned(), at(*next))).collect(), records.to_vec())
    }

    /// What a worker reads, and the checkpoints that it knows.
    struct Worker {
        owned: Vec<usize>,
        base: Option<Checkpoint>,
        mine: Positions,
    }

    impl Worker {
        fn start(owned: Vec<usize>, there: Option<&Checkpoint>) -> Self {
            let mine = there.map(|there| Positions::from_checkpoint(there).unwrap()).unwrap_or_default();
            Self { owned, base: there.cloned(), mine }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Read(usize, usize),
        Write(usize),
        /// The group gives a topic to a worker. The one that had it hears of that, or stands still.
        Give(usize, usize, bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => (0..WORKERS, 0..TOPICS.len()).prop_map(|(worker, topic)| Step::Read(worker, topic)),
            4 => (0..WORKERS).prop_map(Step::Write),
            1 => (0..WORKERS, 0..TOPICS.len(), any::<bool>()).prop_map(|(worker, topic, heard)| Step::Give(worker, topic, heard)),
        ];
        prop::collection::vec(step, 0..100)
    }

    proptest! {
        /// The model: one number for each topic, which only its readers raise, one after the other.
        #[test]
        fn positions_only_rise_and_each_is_where_one_reader_was(steps in steps()) {
            let mut there: Option<Checkpoint> = None;
            let mut model: BTreeMap<String, i64> = BTreeMap::new();
            let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::start(Vec::new(), None)).collect();
            for step in steps {
                match step {
                    Step::Read(worker, topic) => {
                        let Worker { owned, mine, .. } = &mut workers[worker];
                        if owned.contains(&topic) {
                            let known = mine.topics.entry(TOPICS[topic].to_owned()).or_insert_with(|| at(0));
                            known.partitions[0].next += 1;
                        }
                    }
                    Step::Give(to, topic, heard) => {
                        for (number, worker) in workers.iter_mut().enumerate() {
                            let had = worker.owned.contains(&topic);
                            let mut owned: Vec<usize> = worker.owned.iter().copied().filter(|known| *known != topic).collect();
                            if number == to {
                                owned.push(topic);
                            }
                            if number == to || (had && heard) {
                                *worker = Worker::start(owned, there.as_ref());
                            }
                        }
                    }
                    Step::Write(worker) => {
                        let Worker { owned, base, mine } = &mut workers[worker];
                        let of = |checkpoint: &Option<Checkpoint>| {
                            checkpoint.as_ref().map(|known| Positions::from_checkpoint(known).unwrap()).unwrap_or_default()
                        };
                        let before = of(base);
                        let moved: Vec<&str> =
                            TOPICS.into_iter().filter(|name| before.topics.get(*name) != mine.topics.get(*name)).collect();
                        let passed = moved.iter().any(|name| {
                            let known = before.topics.get(*name).map(|topic| topic.partitions[0].next);
                            model.get(*name).copied() != known
                        });
                        let written = mine.to_checkpoint().unwrap();
                        match merge_checkpoints(base.as_ref(), &written, there.as_ref()) {
                            Ok(merged) => {
                                prop_assert!(!passed);
                                *base = Some(written);
                                for name in &moved {
                                    model.insert((*name).to_owned(), mine.topics[*name].partitions[0].next);
                                }
                                for (name, topic) in of(&Some(merged.clone())).topics {
                                    prop_assert_eq!(model.get(&name), Some(&topic.partitions[0].next));
                                }
                                prop_assert!(of(&there).topics.keys().all(|name| model.contains_key(name)));
                                there = Some(merged);
                            }
                            Err(error) => {
                                prop_assert!(passed, "{error}");
                                prop_assert_eq!(error.kind(), ErrorKind::Transient);
                                workers[worker] = Worker::start(owned.clone(), there.as_ref());
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn records_are_where_the_last_writer_reads_them() {
        let base = positions(&[("a", 1), ("b", 1)], &[3]);
        let theirs = positions(&[("a", 1), ("b", 7)], &[9]);
        let check = |records: &[i64], expected: &[i64]| {
            let merged = merge(&base, &positions(&[("a", 4), ("b", 1)], records), &theirs).unwrap();
            assert_eq!(merged, positions(&[("a", 4), ("b", 7)], expected));
        };
        check(&[5], &[5]);
        check(&[], &[9]);
    }

    #[test]
    fn a_checkpoint_that_is_gone_is_not_made_anew() {
        let known = positions(&[("a", 1)], &[]).to_checkpoint().unwrap();
        let mine = positions(&[("a", 2)], &[]).to_checkpoint().unwrap();
        assert!(merge_checkpoints(Some(&known), &mine, None).is_err());
        assert_eq!(merge_checkpoints(None, &mine, None).unwrap(), mine);
    }
}
