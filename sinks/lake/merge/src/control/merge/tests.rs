//! Workers that take tables from each other, with and without knowing it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;
use walbrook_model::{ErrorKind, Seq};

use super::*;
use crate::control::{TableGap, TableMark};
use crate::testing::merge_numbers;

const TABLES: [&str; 3] = ["s.a", "s.b", "s.c"];
const WORKERS: usize = 3;

/// What a worker has in hand, what it knows, and what it has done since.
#[derive(Clone, Default)]
struct Worker {
    owned: Vec<usize>,
    base: Progress,
    mine: Progress,
}

impl Worker {
    fn start(owned: Vec<usize>, there: &Progress) -> Self {
        Self { owned, base: there.clone(), mine: there.clone() }
    }

    /// Moves a table, as a commit and the checkpoint behind it do.
    fn go_on(&mut self, table: usize, number: u64, stops: bool) {
        let name = TABLES[table].to_owned();
        let mut numbers = numbers(&self.mine);
        numbers.insert(name.clone(), number);
        self.mine.source = Some(serde_json::to_string(&numbers).unwrap());
        let known = self.mine.tables.get(&name).map_or(0, |mark| mark.commits);
        let covered = Seq::from_u128(number.into()).unwrap();
        let mark = TableMark {
            namespace: "s".to_owned(),
            name: name.clone(),
            uuid: Uuid::nil(),
            commits: known + 1,
            complete_up_to: covered,
            covered,
        };
        self.mine.tables.insert(name.clone(), mark);
        self.mine.logs.entry("log".to_owned()).or_default().insert(u16::try_from(number % 4).unwrap());
        self.mine.stopped.remove(&name);
        if stops {
            let gap = TableGap { since: covered, reason: number.to_string(), remedy: None };
            self.mine.stopped.insert(name, gap);
        }
    }
}

fn numbers(progress: &Progress) -> BTreeMap<String, u64> {
    progress.source.as_deref().map(|json| serde_json::from_str(json).unwrap()).unwrap_or_default()
}

#[derive(Clone, Debug)]
enum Step {
    GoOn(usize, usize, bool),
    Write(usize),
    /// A table becomes another worker's, and the one that had it hears of it or not.
    Give(usize, usize, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (worker, table) = (0..WORKERS, 0..TABLES.len());
    let step = prop_oneof![
        5 => (worker.clone(), table.clone(), any::<bool>()).prop_map(|(worker, table, stops)| Step::GoOn(worker, table, stops)),
        4 => worker.clone().prop_map(Step::Write),
        1 => (worker, table, any::<bool>()).prop_map(|(worker, table, heard)| Step::Give(worker, table, heard)),
    ];
    prop::collection::vec(step, 0..100)
}

/// Naively: of each table, the number that was written last and who wrote it.
#[derive(Default)]
struct Model {
    there: BTreeMap<usize, u64>,
    stopped: BTreeMap<usize, bool>,
}

proptest! {
    #[test]
    fn each_table_is_where_its_last_writer_was(steps in steps()) {
        let mut there = Progress { covered: Seq::from_u128(7).unwrap(), ..Progress::default() };
        let mut model = Model::default();
        let mut workers = vec![Worker::start(Vec::new(), &there); WORKERS];
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::GoOn(worker, table, stops) => {
                    if workers[worker].owned.contains(&table) {
                        workers[worker].go_on(table, number, stops);
                    }
                }
                Step::Give(to, table, heard) => {
                    for (at, worker) in workers.iter_mut().enumerate() {
                        let mut owned = worker.owned.clone();
                        let had = owned.contains(&table);
                        owned.retain(|known| *known != table);
                        if at == to {
                            owned.push(table);
                        }
                        if at == to || (had && heard) {
                            *worker = Worker::start(owned, &there);
                        }
                    }
                }
                Step::Write(worker) => {
                    let Worker { owned, base, mine } = &mut workers[worker];
                    let (before, now) = (numbers(base), numbers(mine));
                    let moved: Vec<usize> =
                        (0..TABLES.len()).filter(|table| before.get(TABLES[*table]) != now.get(TABLES[*table])).collect();
                    let passed = moved.iter().any(|table| model.there.get(table) != before.get(TABLES[*table]));
                    match merge(base, mine, &there, merge_numbers) {
                        Ok(merged) => {
                            prop_assert!(!passed, "a zombie was let in");
                            for table in moved {
                                model.there.insert(table, now[TABLES[table]]);
                                model.stopped.insert(table, mine.stopped.contains_key(TABLES[table]));
                            }
                            base.clone_from(mine);
                            there = merged;
                        }
                        Err(error) => {
                            prop_assert!(passed, "{error}");
                            prop_assert_eq!(error.kind(), ErrorKind::Transient);
                            workers[worker] = Worker::start(owned.clone(), &there);
                        }
                    }
                    let written = numbers(&there);
                    prop_assert_eq!(written.len(), model.there.len());
                    for (table, number) in &model.there {
                        let name = TABLES[*table];
                        prop_assert_eq!(written.get(name), Some(number));
                        // Never higher than its own owner said, so that no grave is forgotten too early.
                        prop_assert_eq!(there.tables[name].covered.to_u128(), u128::from(*number));
                        prop_assert_eq!(there.stopped.contains_key(name), model.stopped[table]);
                    }
                    prop_assert_eq!(there.covered.to_u128(), 7);
                }
            }
        }
    }
}
