//! A source with a log that it replays from any checkpoint, a process that dies at any commit, and a plain model of what
//! the tables must hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use walbrook_model::{Batch, Change, Op, Sink as _, TableSchema};

use super::harness::*;
use crate::testing::Fault;

/// One step of a transaction.
#[derive(Clone, Debug)]
enum Step {
    Upsert { key: u8, a: u8, keep_b: bool },
    Delete { key: u8 },
    Move { from: u8, to: u8 },
    Truncate,
    Log { key: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let key = 0..5u8;
    let step = prop_oneof![
        8 => (key.clone(), 0..9u8, any::<bool>()).prop_map(|(key, a, keep_b)| Step::Upsert { key, a, keep_b }),
        3 => key.clone().prop_map(|key| Step::Delete { key }),
        2 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Move { from, to }),
        1 => Just(Step::Truncate),
        3 => key.prop_map(|key| Step::Log { key }),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..5), 1..7)
}

/// What the tables hold: `public.t` by key, `public.log` as (op, id, seq).
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    t: BTreeMap<u8, (String, String, u128)>,
    log: Vec<(char, String, u128)>,
}

impl Model {
    fn t(&self) -> Vec<BTreeMap<String, String>> {
        let row = |(key, (a, b, seq)): (&u8, &(String, String, u128))| {
            let cells = [("id", key.to_string()), ("a", a.clone()), ("b", b.clone()), ("_seq", seq.to_string())];
            cells.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect()
        };
        let mut rows: Vec<_> = self.t.iter().map(row).collect();
        rows.sort();
        rows
    }
}

/// The log as batches, and the model after each of them.
struct Log {
    batches: Vec<Batch>,
    models: Vec<Model>,
}

/// Builds the log: a snapshot, then the transactions, cut into batches of `cut` changes.
fn log(transactions: &[Vec<Step>], cut: usize) -> Log {
    let (t, l) = (three("public.t"), three("public.log"));
    let mut model = Model::default();
    let mut log = Log { batches: Vec::new(), models: Vec::new() };
    // As every source does, before it makes a slot.
    log.push(&[], cut, &model);
    log.batches[0].urgent = true;
    let mut snapshot = Vec::new();
    for key in 0..3u8 {
        let cells = [key.to_string(), "r".to_owned(), "toast".to_owned()];
        model.t.insert(key, ("r".to_owned(), "toast".to_owned(), seq(1, 0).to_u128()));
        model.log.push(('r', key.to_string(), seq(1, 0).to_u128()));
        for schema in [&t, &l] {
            let cells: Vec<_> = cells.iter().map(String::as_str).collect();
            snapshot.push(change(Op::Read, schema, seq(1, 0), &cells));
        }
    }
    for schema in [&t, &l] {
        snapshot.push(change(Op::SnapshotEnd, schema, seq(1, 0), &[]));
    }
    log.push(&snapshot, cut, &model);
    for (position, steps) in (2..).zip(transactions) {
        let mut changes = Vec::new();
        for step in steps {
            apply(step, position, &t, &l, &mut model, &mut changes);
        }
        log.push(&changes, cut, &model);
    }
    log
}

impl Log {
    /// The checkpoint of a batch is the number of batches up to it.
    fn push(&mut self, changes: &[Change], cut: usize, model: &Model) {
        let parts = changes.chunks(cut).count().max(1);
        for part in 0..parts {
            let changes = changes.chunks(cut).nth(part).unwrap_or_default().to_vec();
            let ends = part + 1 == parts;
            let number = (self.batches.len() + 1).to_string();
            self.batches.push(batch(changes, ends.then_some(number.as_str())));
            self.models.push(if ends { model.clone() } else { self.models.last().cloned().unwrap_or_default() });
        }
    }
}

fn apply(
    step: &Step,
    position: u64,
    t: &Arc<TableSchema>,
    l: &Arc<TableSchema>,
    model: &mut Model,
    changes: &mut Vec<Change>,
) {
    let next = |changes: &Vec<Change>| seq(position, changes.len() as u64 + 1);
    let at = next(changes);
    match step {
        Step::Upsert { key, a, keep_b } => {
            let (id, a) = (key.to_string(), a.to_string());
            let old = model.t.get(key).map(|(_, b, _)| b.clone());
            let (op, b) = if old.is_some() { (Op::Update, "?") } else { (Op::Insert, "new") };
            let b = if *keep_b || old.is_none() { b } else { "changed" };
            changes.push(change(op, t, at, &[&id, &a, b]));
            let b = if b == "?" { old.unwrap() } else { b.to_owned() };
            model.t.insert(*key, (a, b, at.to_u128()));
        }
        Step::Delete { key } => {
            if model.t.remove(key).is_some() {
                changes.push(change(Op::Delete, t, at, &[&key.to_string(), "?", "?"]));
            }
        }
        Step::Move { from, to } => {
            if model.t.contains_key(to) {
                return;
            }
            let Some((_, b, _)) = model.t.remove(from) else { return };
            changes.push(change(Op::Delete, t, at, &[&from.to_string(), "?", "?"]));
            let at = next(changes);
            changes.push(change(Op::Insert, t, at, &[&to.to_string(), "moved", "?"]));
            model.t.insert(*to, ("moved".to_owned(), b, at.to_u128()));
        }
        Step::Truncate => {
            changes.push(change(Op::Truncate, t, at, &[]));
            model.t.clear();
        }
        Step::Log { key } => {
            changes.push(change(Op::Insert, l, at, &[&key.to_string(), "x", "y"]));
            model.log.push(('c', key.to_string(), at.to_u128()));
        }
    }
}

fn log_rows(world: &World) -> Vec<(char, String, u128)> {
    let row = |row: &BTreeMap<String, String>| {
        (row["_op"].chars().next().unwrap(), row["id"].clone(), row["_seq"].parse().unwrap())
    };
    let mut rows: Vec<_> = world.rows("public.log").iter().map(row).collect();
    rows.sort();
    rows
}

/// Feeds the log until it is all durable, starting again after each death. Returns how many commits were tried.
async fn run(world: &World, log: &Log, fault: Option<(usize, Fault)>, whole: bool) -> usize {
    if let Some((at, fault)) = fault {
        world.catalog.set_plan(move |_, number| (number == at).then_some(fault));
    } else {
        world.catalog.set_plan(|_, _| None);
    }
    let mut why = None;
    for _ in 0..3 {
        let (mut sink, found) = world.start().await.unwrap();
        let from = text(found.as_ref()).map_or(0, |number| number.parse::<usize>().unwrap());
        if whole {
            check_not_ahead(world, log, from);
        }
        let mut died = false;
        for batch in &log.batches[from..] {
            why = sink.write(batch.clone()).await.err();
            died = why.is_some();
            if died {
                break;
            }
        }
        if !died && sink.flush().await.is_ok() {
            assert!(sink.status().tables().values().all(|table| table.stopped.is_none()), "{:?}", sink.status());
            let durable = sink.durable().or(found);
            assert_eq!(text(durable.as_ref()), Some(log.batches.len().to_string().as_str()));
            return world.catalog.commits();
        }
    }
    panic!("the log never became durable: {why:?}");
}

/// Both tables hold what they held after some batch at or behind the checkpoint.
fn check_not_ahead(world: &World, log: &Log, checkpoint: usize) {
    // Reads are seen one by one until the checkpoint of their slice.
    if checkpoint <= 1 {
        return;
    }
    let behind = &log.models[checkpoint - 1..];
    let rows = world.rows("public.t");
    assert!(behind.iter().any(|model| model.t() == rows), "checkpoint {checkpoint} without its rows");
    let rows = log_rows(world);
    let sorted = |model: &Model| {
        let mut rows = model.log.clone();
        rows.sort();
        rows
    };
    assert!(behind.iter().any(|model| sorted(model) == rows), "checkpoint {checkpoint} without its log");
}

fn check_final(world: &World, log: &Log) {
    let model = log.models.last().unwrap();
    assert_eq!(world.rows("public.t"), model.t());
    let mut expected = model.log.clone();
    expected.sort();
    assert_eq!(log_rows(world), expected);
}

const FAULTS: [Fault; 3] = [Fault::CrashBefore, Fault::CrashAfter, Fault::Conflict];

/// Runs the log without a fault, then with one of these, at a commit chosen by its first number.
async fn check(log: &Log, faults: &[(usize, Fault)], make: impl Fn() -> World, whole: bool) {
    let commits = check_one(log, None, &make, whole).await;
    for (at, fault) in faults {
        check_one(log, Some((at % commits, *fault)), &make, whole).await;
    }
}

async fn check_one(log: &Log, fault: Option<(usize, Fault)>, make: impl Fn() -> World, whole: bool) -> usize {
    let world = make();
    let commits = run(&world, log, fault, whole).await;
    check_final(&world, log);
    commits
}

fn faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    prop::collection::vec((any::<usize>(), prop::sample::select(&FAULTS[..])), 2)
}

/// `PROPTEST_CASES`, or few.
fn cases() -> ProptestConfig {
    let few = ProptestConfig::with_cases(12);
    if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default() } else { few }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

/// Commits once `bytes` wait.
fn world(bytes: u64, patient: bool) -> World {
    let mut world = World::new();
    world.settings.commit_bytes = bytes;
    if patient {
        world.settings.commit_interval = std::time::Duration::from_hours(1);
    }
    world
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_crash_at_any_commit_loses_and_doubles_nothing(
        transactions in steps(),
        cut in 1..6usize,
        faults in faults(),
    ) {
        let log = log(&transactions, cut);
        block_on(check(&log, &faults, || world(1 << 30, false), true));
    }

    #[test]
    fn not_even_in_a_transaction_that_is_committed_in_parts(
        transactions in steps(),
        cut in 1..3usize,
        bytes in 200..900u64,
        faults in faults(),
    ) {
        let log = log(&transactions, cut);
        block_on(check(&log, &faults, || world(bytes, true), false));
    }
}

#[tokio::test]
async fn a_crash_at_every_commit_of_one_log() {
    let upsert = |key, a, keep_b| Step::Upsert { key, a, keep_b };
    let transactions = [
        vec![upsert(0, 1, true), Step::Log { key: 1 }, upsert(4, 2, false)],
        vec![Step::Move { from: 0, to: 3 }, upsert(3, 5, true), Step::Delete { key: 1 }],
        vec![Step::Truncate, upsert(1, 6, true), Step::Log { key: 2 }],
    ];
    for (bytes, patient) in [(1 << 30, false), (300, true), (700, true)] {
        let log = log(&transactions, 2);
        let make = || world(bytes, patient);
        let commits = check_one(&log, None, make, !patient).await;
        for at in 0..commits {
            for fault in FAULTS {
                check_one(&log, Some((at, fault)), make, !patient).await;
            }
        }
    }
}
