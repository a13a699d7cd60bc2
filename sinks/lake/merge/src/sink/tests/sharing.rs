//! Several processes share the tables of a pipeline.

use std::collections::BTreeMap;

use walbrook_model::{Batch, Checkpoint, ErrorKind, Op, Seq, Sink as _};

use super::harness::*;
use crate::LakeSink;
use crate::testing::{Fault, merge_numbers};

/// A process that reads some topics, each of a table of the same name.
struct Worker {
    sink: LakeSink,
    numbers: BTreeMap<String, u64>,
}

impl Worker {
    async fn start(world: &World) -> Self {
        let mut sink = world.sink().shared(merge_numbers);
        let found = sink.last_checkpoint().await.unwrap();
        Self { sink, numbers: numbers(found.as_ref()) }
    }

    /// Hands over the next change of a table, everything up to which is covered; its position is the row's key.
    fn next(&mut self, table: &str, position: u64) -> Batch {
        self.numbers.insert(table.to_owned(), position);
        let id = position.to_string();
        let changes = vec![change(Op::Insert, &three(table), seq(position, 1), &[&id, "a", "b"])];
        let checkpoint = serde_json::to_string(&self.numbers).unwrap();
        Batch { covered: Some(seq(position, 9)), ..batch(changes, Some(&checkpoint)) }
    }

    async fn take(&mut self, table: &str, position: u64) -> walbrook_model::Result<()> {
        let batch = self.next(table, position);
        self.sink.write(batch).await
    }

    fn covered(&self, table: &str) -> Seq {
        self.sink.run.as_ref().unwrap().control.as_ref().unwrap().covered(table)
    }
}

fn numbers(checkpoint: Option<&Checkpoint>) -> BTreeMap<String, u64> {
    checkpoint.map(|known| serde_json::from_str(known.as_str()).unwrap()).unwrap_or_default()
}

async fn recorded(world: &World) -> BTreeMap<String, u64> {
    numbers(world.sink().recorded_checkpoint().await.unwrap().as_ref())
}

fn as_numbers(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
    list.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

#[tokio::test]
async fn two_that_begin_together_take_turns_and_write_at_once() {
    let world = World::new();
    let (mut one, mut two) = (Worker::start(&world).await, Worker::start(&world).await);
    one.take("public.t", 1).await.unwrap();
    two.take("public.u", 1).await.unwrap();
    two.take("public.u", 2).await.unwrap();
    one.take("public.t", 2).await.unwrap();
    assert_eq!(recorded(&world).await, as_numbers(&[("public.t", 2), ("public.u", 2)]));
    for position in 3..20 {
        let (first, second) = tokio::join!(one.take("public.t", position), two.take("public.u", position));
        first.and(second).unwrap();
    }
    assert_eq!(recorded(&world).await, as_numbers(&[("public.t", 19), ("public.u", 19)]));
    assert_eq!((world.rows("public.t").len(), world.rows("public.u").len()), (19, 19));
    assert_eq!(one.sink.durable().map(|durable| numbers(Some(&durable))), Some(as_numbers(&[("public.t", 19)])));
}

#[tokio::test]
async fn many_conflicts_in_a_row_end_with_an_error_that_passes() {
    let world = World::new();
    let mut one = Worker::start(&world).await;
    one.take("public.t", 1).await.unwrap();
    world.catalog.set_plan(|name, number| (*name == control() && number < 4).then_some(Fault::Conflict));
    one.take("public.t", 2).await.unwrap();
    world.catalog.set_plan(|name, _| (*name == control()).then_some(Fault::Conflict));
    let error = one.take("public.t", 3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("faster"), "{error}");
}

#[tokio::test]
async fn who_lost_a_table_is_refused_and_undoes_nothing() {
    let world = World::new();
    let mut zombie = Worker::start(&world).await;
    zombie.take("public.t", 1).await.unwrap();
    zombie.take("public.u", 1).await.unwrap();
    // It has taken more, and stands still.
    let late = zombie.next("public.t", 2);
    let mut next = Worker::start(&world).await;
    next.take("public.t", 2).await.unwrap();
    next.take("public.t", 3).await.unwrap();
    let error = zombie.sink.write(late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("another process"), "{error}");
    assert_eq!(recorded(&world).await, as_numbers(&[("public.t", 3), ("public.u", 1)]));
    assert_eq!(world.rows("public.t").len(), 3);
    // It begins again, with the table that is its own still.
    let mut back = Worker::start(&world).await;
    back.take("public.u", 2).await.unwrap();
    next.take("public.t", 4).await.unwrap();
    assert_eq!(recorded(&world).await, as_numbers(&[("public.t", 4), ("public.u", 2)]));
}

#[tokio::test]
async fn a_log_that_two_append_to_has_each_change_once() {
    let world = World::new();
    let mut zombie = Worker::start(&world).await;
    zombie.take("public.log", 1).await.unwrap();
    let late = zombie.next("public.log", 2);
    let mut next = Worker::start(&world).await;
    next.take("public.log", 2).await.unwrap();
    assert_eq!(zombie.sink.write(late).await.unwrap_err().kind(), ErrorKind::Transient);
    next.take("public.log", 3).await.unwrap();
    assert_eq!(world.rows("public.log").len(), 3);
}

#[tokio::test]
async fn who_takes_a_table_over_knows_how_far_it_is_covered_and_no_more() {
    let world = World::new();
    let (mut fast, mut slow) = (Worker::start(&world).await, Worker::start(&world).await);
    fast.take("public.t", 1).await.unwrap();
    slow.take("public.u", 1).await.unwrap();
    fast.take("public.t", 100).await.unwrap();
    slow.take("public.u", 5).await.unwrap();
    let mut next = Worker::start(&world).await;
    assert_eq!((next.covered("public.t"), next.covered("public.u")), (seq(100, 9), seq(5, 9)));
    assert_eq!(next.covered("public.other"), Seq::ZERO);
    // A delete that came for a key of the slow table must still stand against a late insert.
    let gone = change(Op::Delete, &three("public.u"), seq(50, 1), &["40"]);
    next.numbers.insert("public.u".to_owned(), 6);
    let checkpoint = serde_json::to_string(&next.numbers).unwrap();
    next.sink.write(Batch { covered: Some(seq(6, 0)), ..batch(vec![gone], Some(&checkpoint)) }).await.unwrap();
    next.take("public.u", 40).await.unwrap();
    assert!(world.pairs("public.u", "id", "a").iter().all(|(id, _)| id != "40"));
    assert_eq!(next.covered("public.t"), seq(100, 9));
}

#[tokio::test]
async fn a_table_that_stops_holds_the_checkpoint_of_its_own_process() {
    let world = World::new();
    let (mut one, mut two) = (Worker::start(&world).await, Worker::start(&world).await);
    one.take("public.t", 1).await.unwrap();
    two.take("public.u", 1).await.unwrap();
    let mut bad = one.next("public.t", 2);
    bad.changes = vec![change(Op::Insert, &three("public.t"), seq(2, 1), &["x", "a", "b"])];
    one.sink.write(bad).await.unwrap();
    one.sink.flush().await.unwrap();
    two.take("public.u", 2).await.unwrap();
    assert_eq!(recorded(&world).await, as_numbers(&[("public.t", 1), ("public.u", 2)]));
    // What one says of its table, the other leaves there.
    let gap = world.sink().find_gap().await.unwrap().unwrap();
    assert!(gap.to_string().contains("public.t"), "{gap}");
}

#[tokio::test]
async fn an_accepted_gap_undoes_nothing_of_those_that_go_on() {
    let world = World::new();
    let (mut one, mut two) = (Worker::start(&world).await, Worker::start(&world).await);
    one.take("public.t", 7).await.unwrap();
    two.take("public.u", 1).await.unwrap();
    let operator = || world.sink().shared(merge_numbers);
    let seen = operator().recorded_checkpoint().await.unwrap();
    two.take("public.u", 2).await.unwrap();
    // The topic of one table was made anew.
    let mut accepted = numbers(seen.as_ref());
    accepted.insert("public.t".to_owned(), 3);
    let accepted = Checkpoint::new(serde_json::to_string(&accepted).unwrap());
    operator().go_on_at(seen, accepted).await.unwrap();
    assert_eq!(recorded(&world).await, as_numbers(&[("public.t", 3), ("public.u", 2)]));
    two.take("public.u", 3).await.unwrap();
    assert_eq!(one.take("public.t", 8).await.unwrap_err().kind(), ErrorKind::Transient);
    let mut one = Worker::start(&world).await;
    one.take("public.t", 8).await.unwrap();
    assert_eq!(recorded(&world).await, as_numbers(&[("public.t", 8), ("public.u", 3)]));
}

#[tokio::test]
async fn who_hears_late_of_a_commit_that_others_have_followed_begins_again() {
    let world = World::new();
    let mut one = Worker::start(&world).await;
    one.take("public.t", 1).await.unwrap();
    world.catalog.set_plan(|name, _| (*name == lake("public.t")).then_some(Fault::Passed));
    let error = one.take("public.t", 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("wrote into the table"), "{error}");
    world.catalog.clear_plan();
    let mut one = Worker::start(&world).await;
    assert_eq!(one.numbers, as_numbers(&[("public.t", 1)]));
    one.take("public.t", 2).await.unwrap();
    assert_eq!(world.rows("public.t").len(), 2);
}
