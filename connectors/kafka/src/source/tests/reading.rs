//! What is in the topics comes, once between any two checkpoints.

use std::collections::BTreeSet;

use rdkafka::producer::Producer as _;

use super::*;
use crate::positions::Positions;
use crate::testing::{PATIENCE, told};

#[tokio::test]
async fn every_change_comes_from_any_checkpoint_on() {
    let Some(world) = World::new("every change") else { return };
    for format in [Format::Avro, Format::Json, Format::JsonWithSchemas] {
        let name = format!("orders_{format:?}").to_lowercase();
        let table = world.table(&name, format);
        world.create(&table.topic, 3).await;
        let mut sent = BTreeSet::new();
        for n in 0..3_000_u32 {
            let op = [Op::Insert, Op::Update, Op::Update, Op::Delete][n as usize % 4];
            let change = table.change(op, seq(u64::from(n) + 10, 1), n % 97, &format!("name {n}"));
            sent.insert(told(&change));
            world.send(&table, &change, i32::try_from(n % 97 % 3).unwrap(), 3);
        }
        world.flush();
        let mut reader = Reader::start(world.source(&[&table.topic]), None).await.unwrap();
        reader.changes(sent.len()).await.unwrap();
        reader.silence().await;
        assert_eq!(reader.changes.len(), sent.len(), "{format:?}");
        assert!(reader.told() == sent, "{format:?}");
        assert_eq!(reader.batches.iter().find_map(|batch| batch.lineage.as_ref()).unwrap().as_str(), "log");
        let all: Vec<_> = reader.changes.iter().map(told).collect();
        let checkpoints = reader.checkpoints.clone();
        let every = checkpoints.len().div_ceil(2);
        for (before, checkpoint) in checkpoints.into_iter().rev().step_by(every) {
            let mut again = Reader::start(world.source(&[&table.topic]), Some(checkpoint)).await.unwrap();
            again.changes(sent.len() - before).await.unwrap();
            again.silence().await;
            // A tombstone that the start parts from its delete is the delete once more.
            let (mut told, rest) = (again.told(), all[before..].iter().cloned().collect::<BTreeSet<_>>());
            told.retain(|change| rest.contains(change) || change.1 != "delete" || !sent.contains(change));
            assert!(told == rest, "{format:?} after {before}");
            assert!((rest.len()..=rest.len() + 3).contains(&again.changes.len()), "{format:?} after {before}");
        }
        let topics = reader.source.status().topics();
        let status = &topics[&table.topic];
        assert_eq!((status.messages, status.redundant), (3_750, 750), "tombstones say nothing new");
        assert!(status.undecodable == 0 && status.newest_at_ms.is_some());
    }
}

#[tokio::test]
async fn the_end_of_a_slice_comes_when_all_partitions_have_theirs() {
    let Some(world) = World::new("the end of a slice") else { return };
    for format in [Format::Avro, Format::Json] {
        let table = world.table(&format!("slices_{format:?}").to_lowercase(), format);
        world.create(&table.topic, 3).await;
        let slice = seq(7, 0);
        let end = table.change(Op::SnapshotEnd, slice, 0, "");
        for partition in [2, 0] {
            world.send(&table, &end, partition, 3);
        }
        world.flush();
        let mut reader = Reader::start(world.source(&[&table.topic]), None).await.unwrap();
        let messages = |reader: &Reader| reader.source.status().topics().get(&table.topic).map(|topic| topic.messages);
        reader.until("two ends", |reader| messages(reader) == Some(2)).await.unwrap();
        reader.silence().await;
        let checkpoint = reader.checkpoint();
        drop(reader);
        // The rest comes after a restart: a read of the slice, and the last end, then the same ends again.
        world.send(&table, &table.change(Op::Read, slice, 1, "one"), 1, 3);
        for partition in [1, 0, 1, 2] {
            world.send(&table, &end, partition, 3);
        }
        world.flush();
        let mut reader = Reader::start(world.source(&[&table.topic]), Some(checkpoint)).await.unwrap();
        reader.changes(2).await.unwrap();
        reader.silence().await;
        let ops: Vec<Op> = reader.changes.iter().map(|change| change.op).collect();
        assert_eq!(ops, [Op::Read, Op::SnapshotEnd], "{format:?}");
    }
}

#[tokio::test]
async fn what_was_aborted_is_invisible_and_positions_pass_it() {
    let Some(world) = World::new("aborted") else { return };
    let table = world.table("orders", Format::Json);
    world.create(&table.topic, 1).await;
    let producer = world.transactional("capture");
    for n in 0..6_u32 {
        producer.begin_transaction().unwrap();
        World::send_by(&producer, &table, &table.change(Op::Insert, seq(u64::from(n) + 1, 1), n, "n"), 0, 1);
        if n % 2 == 0 {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.flush(PATIENCE).unwrap();
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }
    let mut reader = Reader::start(world.source(&[&table.topic]), None).await.unwrap();
    reader.changes(3).await.unwrap();
    reader.silence().await;
    let ids: Vec<_> = reader.changes.iter().map(|change| told(change).3).collect();
    assert_eq!(ids, [Some(0), Some(2), Some(4)]);
    // Each transaction has a message and its end. When retention has taken all of that, nothing is missed.
    let end = world.end(&table.topic, 0);
    assert_eq!(end, 12);
    let next = |reader: &Reader| {
        let positions = Positions::from_checkpoint(&reader.checkpoint()).unwrap();
        positions.topics[&table.topic].partitions[0].next
    };
    reader.until("the end of the topic", |reader| next(reader) == end).await.unwrap();
    world.remove_before(&table.topic, 0, end).await;
    let mut reader = Reader::start(world.source(&[&table.topic]), Some(reader.checkpoint())).await.unwrap();
    producer.begin_transaction().unwrap();
    World::send_by(&producer, &table, &table.change(Op::Insert, seq(50, 1), 50, "n"), 0, 1);
    producer.commit_transaction(PATIENCE).unwrap();
    reader.changes(1).await.unwrap();
    assert_eq!(told(&reader.changes[0]).3, Some(50));
}

#[tokio::test]
async fn the_watermark_follows_the_records_of_the_capture() {
    let Some(world) = World::new("watermark") else { return };
    let (one, two) = (world.table("one", Format::Json), world.table("two", Format::Avro));
    world.create(&one.topic, 2).await;
    world.create(&two.topic, 2).await;
    let topics = [one.topic.as_str(), two.topic.as_str()];
    let mut reader = Reader::start(world.following(&topics), None).await.unwrap();
    // The capture makes its topic later.
    world.create(&format!("{}.checkpoints", world.prefix), 1).await;
    let covered = |reader: &Reader| reader.batches.iter().filter_map(|batch| batch.covered).max();
    for n in 1..=5_u32 {
        for (table, partition) in [(&one, 0), (&two, i32::try_from(n).unwrap() % 2)] {
            world.send(table, &table.change(Op::Insert, seq(u64::from(n), 1), n, "n"), partition, 2);
        }
        world.record(seq(u64::from(n), 1), &[&one, &two]);
    }
    reader.until("the watermark", |reader| covered(reader) == Some(seq(5, 1))).await.unwrap();
    assert_eq!(reader.changes.len(), 10);
    assert_eq!(reader.batches.iter().filter_map(|batch| batch.complete_until_us).max(), Some(5));
    // It is never ahead of the changes.
    let mut seen = 0;
    for batch in &reader.batches {
        seen += batch.changes.len();
        let Some(covered) = batch.covered else { continue };
        assert!(seen >= 2 * usize::try_from(covered.position()).unwrap(), "{covered} after {seen}");
    }
    // Nothing is written, and time goes on: an idle table is complete too.
    world.record(seq(9, 0), &[&one, &two]);
    reader.until("the watermark", |reader| covered(reader) == Some(seq(9, 0))).await.unwrap();
    assert_eq!(reader.source.status().covered(), Some(seq(9, 0)));
    // What comes while nobody reads.
    let checkpoint = reader.checkpoint();
    drop(reader);
    world.send(&one, &one.change(Op::Insert, seq(10, 1), 10, "n"), 1, 2);
    world.record(seq(10, 1), &[&one, &two]);
    let mut reader = Reader::start(world.following(&topics), Some(checkpoint)).await.unwrap();
    reader.until("the watermark", |reader| covered(reader) == Some(seq(10, 1))).await.unwrap();
    assert_eq!(reader.changes.len(), 1);
}

#[tokio::test]
async fn schemas_come_from_a_registry() {
    let Some(mut world) = World::new("a registry") else { return };
    let Ok(url) = std::env::var("WALBROOK_TEST_REGISTRY") else {
        println!("a registry: skipped, WALBROOK_TEST_REGISTRY is not set");
        return;
    };
    let settings = walbrook_config::Registry {
        url,
        username: None,
        password: None,
        ca_file: None,
        timeout: std::time::Duration::from_secs(10),
    };
    world.real = Some(walbrook_registry::Registry::new(&settings).unwrap());
    let table = world.registered("orders").await;
    world.create(&table.topic, 2).await;
    // The first message does not name a schema: it is the end of a slice without a row.
    for partition in 0..2 {
        world.send(&table, &table.change(Op::SnapshotEnd, seq(1, 0), 0, ""), partition, 2);
    }
    world.send(&table, &table.change(Op::Insert, seq(2, 1), 7, "seven"), 1, 2);
    world.flush();
    // Another client, which has seen no schema yet.
    let registry = walbrook_registry::Registry::new(&settings).unwrap();
    let source = crate::KafkaSource::new(world.settings(&[&table.topic]), Some(registry));
    let mut reader = Reader::start(source, None).await.unwrap();
    reader.changes(2).await.unwrap();
    let expected: BTreeSet<_> =
        [table.change(Op::SnapshotEnd, seq(1, 0), 0, ""), table.change(Op::Insert, seq(2, 1), 7, "seven")]
            .iter()
            .map(told)
            .collect();
    assert!(reader.told() == expected, "{:?}", reader.told());
}

#[tokio::test]
async fn changes_of_two_logs_come_in_batches_of_their_own() {
    let Some(world) = World::new("two logs") else { return };
    let mut table = world.table("orders", Format::Json);
    world.create(&table.topic, 1).await;
    for n in 0..300_u32 {
        table.log = ["old", "new"][usize::from(n % 7 == 0 || n > 150)];
        world.send(&table, &table.change(Op::Insert, seq(u64::from(n) + 1, 1), n, "n"), 0, 1);
    }
    world.flush();
    let mut reader = Reader::start(world.source(&[&table.topic]), None).await.unwrap();
    reader.changes(300).await.unwrap();
    for batch in reader.batches.iter().filter(|batch| !batch.changes.is_empty()) {
        let of = |n: i64| ["old", "new"][usize::from(n % 7 == 0 || n > 150)];
        let logs: BTreeSet<&str> = batch.changes.iter().map(|change| of(told(change).3.unwrap())).collect();
        assert_eq!(logs.into_iter().collect::<Vec<_>>(), [batch.lineage.as_ref().unwrap().as_str()]);
    }
    let ids: Vec<i64> = reader.changes.iter().map(|change| told(change).3.unwrap()).collect();
    assert!(ids.is_sorted() && ids.len() == 300);
    // No checkpoint is ahead of the changes before it.
    for (before, checkpoint) in reader.checkpoints {
        let positions = Positions::from_checkpoint(&checkpoint).unwrap();
        assert_eq!(usize::try_from(positions.topics[&table.topic].partitions[0].next).unwrap(), before);
    }
}

#[tokio::test]
async fn a_log_that_no_record_lets_in_waits_for_one() {
    let Some(world) = World::new("a log") else { return };
    let (mut table, other) = (world.table("orders", Format::Json), world.table("others", Format::Json));
    for table in [&table, &other] {
        world.create(&table.topic, 1).await;
    }
    world.create(&format!("{}.checkpoints", world.prefix), 1).await;
    world.record(seq(1, 0), &[&table]);
    world.send(&table, &table.change(Op::Insert, seq(1, 1), 1, "n"), 0, 1);
    world.flush();
    let mut reader = Reader::start(world.following(&[&table.topic, &other.topic]), None).await.unwrap();
    reader.changes(1).await.unwrap();
    table.log = "new";
    world.send(&table, &table.change(Op::Insert, seq(2, 1), 2, "n"), 0, 1);
    world.flush();
    let waits = |reader: &Reader| reader.source.status().topics()[&table.topic].waits;
    reader.until("a pause", |reader| waits(reader) > 0).await.unwrap();
    world.send(&other, &other.change(Op::Insert, seq(3, 1), 3, "n"), 0, 1);
    world.flush();
    reader.changes(2).await.unwrap();
    assert_eq!(told(&reader.changes[1]).0, "others");
    world.record(seq(2, 1), &[&table]);
    reader.changes(3).await.unwrap();
    assert_eq!(told(&reader.changes[2]).3, Some(2));
    // The sink hears of it with the change at the latest.
    let place = reader.batches.iter().position(|batch| batch.lineage.as_ref().is_some_and(|log| log.as_str() == "new"));
    let told = reader.batches[..=place.unwrap()].iter().filter_map(|batch| batch.logs.as_ref()).next_back().unwrap();
    assert_eq!(told.keys().map(String::as_str).collect::<Vec<_>>(), ["log", "new"]);
}
