//! The partitions of a topic whose capture keeps records come in the order of the log.

use std::collections::{BTreeMap, BTreeSet};

use walbrook_model::{Checkpoint, Seq};

use super::*;
use crate::positions::Positions;
use crate::testing::{Table, told};

const PARTITIONS: i32 = 3;

async fn world(test: &str) -> Option<(World, Table)> {
    let world = World::new(test)?;
    let table = world.table("orders", Format::Json);
    world.create(&table.topic, PARTITIONS).await;
    world.create(&format!("{}.checkpoints", world.prefix), 1).await;
    Some((world, table))
}

/// Tokens, but those of repeats: what is not newer than one before it.
fn news(changes: &[walbrook_model::Change]) -> Vec<Seq> {
    let mut newest = Seq::ZERO;
    let seqs = changes.iter().map(|change| change.seq).filter(|seq| {
        let new = *seq > newest;
        newest = newest.max(*seq);
        new
    });
    seqs.collect()
}

#[tokio::test]
async fn changes_come_in_the_order_of_the_log_from_any_checkpoint_on() {
    let Some((world, orders)) = world("order").await else { return };
    let lines = world.table("lines", Format::Avro);
    world.create(&lines.topic, PARTITIONS).await;
    let tables = [&orders, &lines];
    let mut sent: BTreeMap<&str, Vec<Seq>> = BTreeMap::new();
    // The capture begins again twice, at its last record.
    for (from, to) in [(1_u32, 900), (800, 2_000), (1_900, 3_000)] {
        for n in from..to {
            let table = tables[n as usize % 2];
            // Now and then one partition gets nothing for long.
            let partition = if n / 250 % 2 == 0 { n * 7 % 3 } else { 1 };
            let change = table.change(Op::Update, seq(u64::from(n), 1), n % 50, "n");
            world.send(table, &change, i32::try_from(partition).unwrap(), 3);
            let seqs = sent.entry(&table.topic).or_default();
            if seqs.last().is_none_or(|last| *last < change.seq) {
                seqs.push(change.seq);
            }
            if n % 100 == 99 {
                world.record(change.seq, &tables);
            }
        }
    }
    let topics = [orders.topic.as_str(), lines.topic.as_str()];
    let mut reader = Reader::start(world.following(&topics), None).await.unwrap();
    reader.changes(3_000 - 1 + 200).await.unwrap();
    reader.silence().await;
    let of = |changes: &[walbrook_model::Change], table: &Table| {
        let name = table.topic.rsplit('.').next().unwrap().to_owned();
        news(&changes.iter().filter(|change| change.schema.table.name == name).cloned().collect::<Vec<_>>())
    };
    for table in tables {
        assert!(of(&reader.changes, table) == sent[table.topic.as_str()], "{}", table.topic);
    }
    assert!(reader.batches.iter().all(|batch| batch.unordered.is_empty()));
    let checkpoints = reader.checkpoints.clone();
    for (before, checkpoint) in checkpoints.iter().step_by(checkpoints.len().div_ceil(4)) {
        let mut again = Reader::start(world.following(&topics), Some(checkpoint.clone())).await.unwrap();
        again.changes(reader.changes.len() - before).await.unwrap();
        again.silence().await;
        for table in tables {
            let old = of(&reader.changes[..*before], table).last().copied().unwrap_or_default();
            let rest: Vec<Seq> = sent[table.topic.as_str()].iter().copied().filter(|seq| *seq > old).collect();
            let mut new = of(&again.changes, table);
            new.retain(|seq| *seq > old);
            assert!(new == rest, "{} after {before}", table.topic);
        }
    }
}

#[tokio::test]
async fn a_change_waits_for_older_ones_that_may_come_and_other_topics_go_on() {
    let Some((world, table)) = world("waits").await else { return };
    let other = world.table("others", Format::Json);
    world.create(&other.topic, 1).await;
    let topics = [table.topic.as_str(), other.topic.as_str()];
    let mut settings = world.with_records(&topics);
    // Much more waits than may be fetched.
    settings.buffer_bytes = 1_000_000;
    let name = "x".repeat(10_000);
    for n in 2..400_u32 {
        world.send(&table, &table.change(Op::Insert, seq(u64::from(n), 1), n, &name), 0, 3);
    }
    world.flush();
    let source = crate::KafkaSource::with_schemas(settings, Some(world.registry.clone()));
    let mut reader = Reader::start(source, None).await.unwrap();
    world.send(&other, &other.change(Op::Insert, seq(1, 1), 1, "n"), 0, 1);
    world.flush();
    reader.changes(1).await.unwrap();
    reader.silence().await;
    assert_eq!(told(&reader.changes[0]).0, "others");
    assert_eq!(reader.source.status().topics()[&table.topic].messages, 0);
    // The older one comes, then a record that covers half of all.
    world.send(&table, &table.change(Op::Insert, seq(1, 1), 1, "n"), 2, 3);
    world.record(seq(200, 1), &[&table, &other]);
    reader.changes(1 + 200).await.unwrap();
    reader.silence().await;
    assert_eq!(reader.changes.len(), 201);
    world.record(seq(399, 1), &[&table, &other]);
    reader.changes(1 + 399).await.unwrap();
    assert!(reader.changes[1..].is_sorted_by_key(|change| change.seq));
}

#[tokio::test]
async fn a_table_that_has_stopped_at_the_capture_holds_up_no_other() {
    let Some((world, table)) = world("ahead").await else { return };
    world.send(&table, &table.change(Op::Insert, seq(5, 1), 1, "n"), 0, 3);
    world.record(seq(4, 1), &[&table]);
    let mut reader = Reader::start(world.following(&[&table.topic]), None).await.unwrap();
    reader.silence().await;
    world.record_ahead(seq(4, 1), Some(seq(5, 1)), &[&table]);
    reader.changes(1).await.unwrap();
    reader.silence().await;
    // Graves are another matter: the checkpoint of the capture is not further.
    assert_eq!(reader.batches.iter().filter_map(|batch| batch.covered).max(), Some(seq(4, 1)));
}

#[tokio::test]
async fn the_halves_of_a_key_change_are_neighbours() {
    let Some((world, table)) = world("halves").await else { return };
    let topics = [table.topic.as_str()];
    let [delete, insert] = table.moved(seq(5, 1), 1, 2);
    world.send(&table, &table.change(Op::Insert, seq(4, 1), 1, "n"), 0, 3);
    world.send(&table, &delete, 0, 3);
    // A capture that began again, after its delete had come and its insert had not.
    world.record(seq(4, 1), &[&table]);
    let mut reader = Reader::start(world.following(&topics), None).await.unwrap();
    reader.changes(1).await.unwrap();
    world.send(&table, &table.change(Op::Insert, seq(4, 1), 1, "n"), 0, 3);
    world.send(&table, &delete, 0, 3);
    world.flush();
    reader.silence().await;
    let checkpoint = reader.checkpoint();
    world.send(&table, &insert, 1, 3);
    world.send(&table, &table.change(Op::Insert, seq(6, 1), 3, "n"), 2, 3);
    world.record(seq(6, 1), &[&table]);
    for from in [None, Some(checkpoint)] {
        let mut reader = Reader::start(world.following(&topics), from.clone()).await.unwrap();
        reader.until("the last", |reader| news(&reader.changes).last() == Some(&seq(6, 1))).await.unwrap();
        reader.silence().await;
        let seqs: Vec<Seq> = reader.changes.iter().map(|change| change.seq).collect();
        let end: Vec<Seq> = seqs.iter().rev().take(3).rev().copied().collect();
        assert_eq!(end, [seq(5, 1), seq(5, 2), seq(6, 1)], "{from:?}: {seqs:?}");
        assert!(!seqs[..seqs.len() - 3].contains(&seq(5, 1)), "{from:?}: {seqs:?}");
        // No batch parts them, and no checkpoint.
        assert!(reader.batches.iter().all(|batch| batch.changes.last().is_none_or(|last| last.op != Op::Delete)));
        for (before, checkpoint) in &reader.checkpoints {
            let half = next(checkpoint, &table, 0) > 1 && *before == 0 && from.is_none();
            assert!(!half, "a checkpoint is ahead of the halves");
        }
    }
}

#[tokio::test]
async fn a_half_whose_other_half_cannot_come_goes_alone() {
    let Some((world, table)) = world("one half").await else { return };
    let [delete, _] = table.moved(seq(5, 1), 1, 2);
    world.send(&table, &delete, 0, 3);
    world.record(seq(5, 1), &[&table]);
    let mut reader = Reader::start(world.following(&[&table.topic]), None).await.unwrap();
    let messages = |reader: &Reader| reader.source.status().topics().get(&table.topic).map(|topic| topic.messages);
    reader.until("the delete", |reader| messages(reader) == Some(2)).await.unwrap();
    reader.silence().await;
    assert!(
        reader.changes.is_empty() && reader.batches.iter().all(|batch| batch.covered.is_none_or(|c| c < seq(5, 1)))
    );
    // The capture left the insert out, since it is too large, say.
    world.record(seq(5, 2), &[&table]);
    reader.changes(1).await.unwrap();
    let covered = |reader: &Reader| reader.batches.iter().filter_map(|batch| batch.covered).max();
    reader.until("the watermark", |reader| covered(reader) == Some(seq(5, 2))).await.unwrap();
}

#[tokio::test]
async fn a_slice_that_is_shown_at_its_end_is_read_from_its_beginning() {
    let Some((world, table)) = world("whole slices").await else { return };
    let topics = [table.topic.as_str()];
    let slice = seq(7, 0);
    for n in 0..30_u32 {
        world.send(&table, &table.change(Op::Read, slice, n, "n"), i32::try_from(n % 3).unwrap(), 3);
    }
    let end = table.change(Op::SnapshotEnd, slice, 0, "");
    for partition in [0, 2] {
        world.send(&table, &end, partition, 3);
    }
    world.flush();
    let start = |whole: bool, from: Option<Checkpoint>| {
        Reader::start(world.following(&topics).with_whole_slices(move |table| whole && table.name == "orders"), from)
    };
    let mut checkpoints = Vec::new();
    for whole in [false, true] {
        let mut reader = start(whole, None).await.unwrap();
        // The last partition may have more of them.
        reader.changes(28).await.unwrap();
        reader.silence().await;
        checkpoints.push(reader.checkpoint());
    }
    world.send(&table, &end, 1, 3);
    world.send(&table, &table.change(Op::Update, seq(8, 1), 3, "n"), 0, 3);
    world.record(seq(8, 1), &[&table]);
    for (whole, checkpoint) in [false, true].into_iter().zip(checkpoints) {
        let mut reader = start(whole, Some(checkpoint)).await.unwrap();
        reader.until("the update", |reader| reader.changes.iter().any(|change| change.op == Op::Update)).await.unwrap();
        let reads: BTreeSet<_> = reader.changes.iter().filter(|change| change.op == Op::Read).map(told).collect();
        assert_eq!(reads.len() == 30, whole, "{}", reads.len());
        let ops: Vec<Op> = reader.changes.iter().rev().take(2).map(|change| change.op).collect();
        assert_eq!(ops, [Op::Update, Op::SnapshotEnd], "{whole}");
        reader.silence().await;
        assert!(next(&reader.checkpoint(), &table, 0) == world.end(&table.topic, 0), "it goes on behind the slice");
    }
}

#[tokio::test]
async fn topics_that_no_capture_speaks_of_come_in_any_order() {
    let Some((world, table)) = world("no capture").await else { return };
    let known = world.table("known", Format::Json);
    world.create(&known.topic, 1).await;
    world.send(&table, &table.change(Op::Insert, seq(3, 1), 1, "n"), 0, 3);
    world.send(&known, &known.change(Op::Insert, seq(3, 1), 1, "n"), 0, 1);
    // A record that covers it, and does not name its topic.
    world.record(seq(4, 1), &[&known]);
    let topics = [table.topic.as_str(), known.topic.as_str()];
    for source in [world.following(&topics), world.source(&topics)] {
        let mut reader = Reader::start(source, None).await.unwrap();
        reader.changes(2).await.unwrap();
        let unordered: Vec<_> = reader.batches.iter().flat_map(|batch| &batch.unordered).collect();
        assert_eq!(unordered, [&walbrook_model::TableId::new("public", "orders")]);
    }
}

/// The next offset of a partition, as a checkpoint has it.
fn next(checkpoint: &Checkpoint, table: &Table, partition: usize) -> i64 {
    Positions::from_checkpoint(checkpoint).unwrap().topics[&table.topic].partitions[partition].next
}
