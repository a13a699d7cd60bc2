//! A topic that is not what it was.

use walbrook_model::{Checkpoint, ErrorKind};

use super::*;
use crate::testing::Table;
use crate::{accept_gap, find_gap};

/// Reads ten changes of one partition.
async fn ten(world: &World, table: &Table) -> Checkpoint {
    world.create(&table.topic, 2).await;
    for n in 0..10_u32 {
        world.send(table, &table.change(Op::Insert, seq(u64::from(n) + 1, 1), n, "n"), 1, 2);
    }
    world.flush();
    let mut reader = Reader::start(world.source(&[&table.topic]), None).await.unwrap();
    reader.changes(10).await.unwrap();
    reader.checkpoint()
}

async fn gap_at_start(world: &World, table: &Table, from: Option<Checkpoint>, expected: &str) {
    let error = Reader::start(world.source(&[&table.topic]), from).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
    assert!(error.to_string().contains(expected) && error.to_string().contains("gap accept"), "{error}");
}

/// The gap is found and accepted, and then so many changes come.
async fn accepted(world: &World, table: &Table, from: Option<&Checkpoint>, expected: &str, changes: usize) {
    let settings = world.settings(&[&table.topic]);
    let gap = find_gap(&settings, from).await.unwrap().unwrap();
    assert!(gap.to_string().contains(expected), "{gap}");
    let checkpoint = accept_gap(&settings, from, false).await.unwrap();
    assert!(find_gap(&settings, Some(&checkpoint)).await.unwrap().is_none());
    let mut reader = Reader::start(world.source(&[&table.topic]), Some(checkpoint)).await.unwrap();
    reader.changes(changes).await.unwrap();
    reader.silence().await;
}

#[tokio::test]
async fn what_retention_took_before_it_was_read_is_a_gap() {
    let Some(world) = World::new("retention") else { return };
    let table = world.table("orders", Format::Avro);
    let checkpoint = ten(&world, &table).await;
    for n in 10..20_u32 {
        world.send(&table, &table.change(Op::Insert, seq(u64::from(n) + 1, 1), n, "n"), 1, 2);
    }
    world.flush();
    // Up to our position nothing is missed, although the last message that was read is gone.
    world.remove_before(&table.topic, 1, 10).await;
    let mut reader = Reader::start(world.source(&[&table.topic]), Some(checkpoint.clone())).await.unwrap();
    reader.changes(10).await.unwrap();
    drop(reader);
    let settings = world.settings(&[&table.topic]);
    assert!(find_gap(&settings, Some(&checkpoint)).await.unwrap().is_none());
    assert_eq!(accept_gap(&settings, Some(&checkpoint), false).await.unwrap(), checkpoint);
    // After a gap of the sink's own all that is there comes again.
    let again = accept_gap(&settings, Some(&checkpoint), true).await.unwrap();
    let mut reader = Reader::start(world.source(&[&table.topic]), Some(again)).await.unwrap();
    reader.changes(10).await.unwrap();
    assert_eq!(reader.changes[0].seq, seq(11, 1));
    world.remove_before(&table.topic, 1, 12).await;
    for from in [Some(checkpoint), None] {
        let expected = if from.is_some() { "2 offsets were removed" } else { "begins at offset 12" };
        gap_at_start(&world, &table, from.clone(), expected).await;
        accepted(&world, &table, from.as_ref(), expected, 8).await;
    }
}

#[tokio::test]
async fn a_topic_that_was_made_anew_is_a_gap() {
    let Some(world) = World::new("made anew") else { return };
    let table = world.table("orders", Format::Avro);
    let checkpoint = ten(&world, &table).await;
    world.delete(&table.topic).await;
    gap_at_start(&world, &table, Some(checkpoint.clone()), "was deleted").await;
    let settings = world.settings(&[&table.topic]);
    let begun_anew = accept_gap(&settings, Some(&checkpoint), false).await.unwrap();
    world.create(&table.topic, 2).await;
    gap_at_start(&world, &table, Some(checkpoint.clone()), "was made anew").await;
    // Offsets alone do not show it any more.
    for n in 0..15_u32 {
        world.send(&table, &table.change(Op::Insert, seq(u64::from(n) + 100, 1), n, "n"), 1, 2);
    }
    world.flush();
    let mut reader = Reader::start(world.source(&[&table.topic]), Some(begun_anew)).await.unwrap();
    reader.changes(15).await.unwrap();
    accepted(&world, &table, Some(&checkpoint), "offset 9 of partition 1", 15).await;
    let mut reader = Reader::start(world.source(&[&table.topic]), Some(checkpoint)).await.unwrap();
    let error = reader.changes(1).await.unwrap_err();
    assert_eq!((error.kind(), reader.changes.len()), (ErrorKind::Gap, 0), "{error}");
    assert!(error.to_string().contains("offset 9 of partition 1"), "{error}");
}

#[tokio::test]
async fn messages_in_a_partition_that_was_added_are_a_gap() {
    let Some(world) = World::new("added") else { return };
    let table = world.table("orders", Format::Avro);
    let checkpoint = ten(&world, &table).await;
    world.add_partitions(&table.topic, 3).await;
    drop(Reader::start(world.source(&[&table.topic]), Some(checkpoint.clone())).await.unwrap());
    world.send(&table, &table.change(Op::Insert, seq(50, 1), 50, "n"), 2, 2);
    world.flush();
    gap_at_start(&world, &table, Some(checkpoint.clone()), "partitions were added").await;
    accepted(&world, &table, Some(&checkpoint), "partitions were added", 1).await;
}

#[tokio::test]
async fn a_topic_that_appears_is_read_from_its_beginning() {
    let Some(world) = World::new("appears") else { return };
    let (one, two) = (world.table("one", Format::Avro), world.table("two", Format::Avro));
    world.create(&one.topic, 1).await;
    let named = world.source(&[&one.topic, &two.topic]);
    let matched = world.source(&[&format!("{}.public.*", world.prefix)]);
    let mut readers = [Reader::start(named, None).await.unwrap(), Reader::start(matched, None).await.unwrap()];
    world.send(&one, &one.change(Op::Insert, seq(1, 1), 1, "n"), 0, 1);
    world.flush();
    for reader in &mut readers {
        reader.changes(1).await.unwrap();
    }
    world.create(&two.topic, 2).await;
    world.send(&two, &two.change(Op::Insert, seq(2, 1), 2, "n"), 1, 1);
    world.flush();
    for reader in &mut readers {
        reader.changes(2).await.unwrap();
        assert_eq!(reader.changes[1].schema.table.name, "two");
    }
}
