//! What a topic is called says nothing of its table.

use walbrook_envelope::{NameAdjustment, Settings as Shape};
use walbrook_model::{TableId, TableStop};

use super::*;
use crate::testing::told;

fn stops(reader: &Reader) -> Vec<&TableStop> {
    reader.batches.iter().flat_map(|batch| &batch.stopped).collect()
}

#[tokio::test]
async fn the_messages_tell_the_table() {
    let Some(world) = World::new("the messages tell") else { return };
    for format in [Format::Avro, Format::Json, Format::JsonWithSchemas] {
        for shape in [Shape::native(&world.prefix, format), Shape::debezium(&world.prefix, format)] {
            let shape = Shape { schema_names: NameAdjustment::Avro, ..shape };
            let pattern = format!("{}-{format:?}-{:?}.{{table}}.x", world.prefix, shape.compat);
            let table = world.named("orders", &pattern, shape);
            world.create(&table.topic, 2).await;
            // An empty table: all that is ever said of it.
            for partition in [0, 1] {
                world.send(&table, &table.change(Op::SnapshotEnd, seq(7, 0), 0, ""), partition, 2);
            }
            world.flush();
            let mut reader = Reader::start(world.source(&[&table.topic]), None).await.unwrap();
            reader.changes(1).await.unwrap();
            let checkpoint = reader.checkpoint();
            drop(reader);
            world.send(&table, &table.change(Op::Delete, seq(9, 1), 1, ""), 1, 2);
            world.flush();
            let mut reader = Reader::start(world.source(&[&table.topic]), Some(checkpoint)).await.unwrap();
            reader.changes(1).await.unwrap();
            reader.silence().await;
            assert!(stops(&reader).is_empty(), "{:?}", stops(&reader));
            let delete = reader.changes.iter().find(|change| change.op == Op::Delete).unwrap();
            assert_eq!(delete.schema.table, TableId::new("public", "orders"), "{format:?}");
        }
    }
}

#[tokio::test]
async fn a_stop_names_the_table_that_was_told_before_a_restart() {
    let Some(world) = World::new("told before") else { return };
    let table = world.named("orders", "{prefix}-{table}", Shape::native(&world.prefix, Format::Avro));
    world.create(&table.topic, 1).await;
    world.send(&table, &table.change(Op::Insert, seq(1, 1), 1, "n"), 0, 1);
    world.flush();
    let mut reader = Reader::start(world.source(&[&table.topic]), None).await.unwrap();
    reader.changes(1).await.unwrap();
    reader.silence().await;
    let checkpoint = reader.checkpoint();
    world.send_bytes(&table.topic, 0, Some(b"k"), Some(b"no change"));
    world.flush();
    let mut reader = Reader::start(world.source(&[&table.topic]), Some(checkpoint)).await.unwrap();
    reader.until("the stop", |reader| !stops(reader).is_empty()).await.unwrap();
    reader.silence().await;
    assert_eq!(stops(&reader)[0].table, TableId::new("public", "orders"));
    assert!(stops(&reader).iter().map(|stop| stop.bytes).sum::<u64>() > 0, "it becomes a gap");
}

#[tokio::test]
async fn the_capture_tells_the_table_of_a_topic_that_cannot_be_read() {
    let Some(world) = World::new("the capture tells") else { return };
    let table = world.named("orders", "{prefix}-{table}", Shape::native(&world.prefix, Format::Avro));
    world.create(&table.topic, 1).await;
    world.create(&format!("{}.checkpoints", world.prefix), 1).await;
    world.record(seq(1, 1), &[&table]);
    let mut reader = Reader::start(world.following(&[&table.topic]), None).await.unwrap();
    reader
        .until("the record", |reader| reader.batches.iter().any(|batch| batch.covered > Some(Seq::ZERO)))
        .await
        .unwrap();
    world.send_bytes(&table.topic, 0, Some(b"k"), Some(b"no change"));
    world.record(seq(2, 1), &[&table]);
    reader.until("the stop", |reader| !stops(reader).is_empty()).await.unwrap();
    assert_eq!(stops(&reader)[0].table, TableId::new("public", "orders"));
}

#[tokio::test]
async fn what_nobody_can_say_the_table_of_is_no_gap() {
    let Some(world) = World::new("nobody can say") else { return };
    // Rows alone, as Debezium's ExtractNewRecordState leaves them.
    let flattened = format!("{}-flattened", world.prefix);
    world.create(&flattened, 1).await;
    for n in 0..3 {
        world.send_bytes(&flattened, 0, Some(b"{\"id\":1}"), Some(format!("{{\"id\":1,\"name\":\"{n}\"}}").as_bytes()));
    }
    // Two tables in one topic, as a ByLogicalTableRouter puts them.
    let routed = |name: &str| world.named(name, "{prefix}-routed", Shape::native(&world.prefix, Format::Json));
    let (one, other) = (routed("orders_1"), routed("orders_2"));
    world.create(&one.topic, 1).await;
    for (n, table) in [&one, &other].into_iter().enumerate() {
        world.send(table, &table.change(Op::Insert, seq(n as u64 + 1, 1), 1, "n"), 0, 1);
    }
    world.send_bytes(&one.topic, 0, Some(b"k"), Some(b"no change"));
    world.send(&other, &other.change(Op::Insert, seq(9, 1), 2, "n"), 0, 1);
    world.flush();
    let mut reader = Reader::start(world.source(&[&flattened, &one.topic]), None).await.unwrap();
    reader.until("the stops", |reader| stops(reader).len() == 2).await.unwrap();
    reader.silence().await;
    let names: Vec<String> = reader.changes.iter().map(|change| told(change).0).collect();
    assert_eq!(names, ["orders_1", "orders_2"]);
    for (topic, why) in [(&flattened, "no message has told its table"), (&one.topic, "several tables")] {
        let of: Vec<_> = stops(&reader).into_iter().filter(|stop| stop.table.name == *topic).collect();
        assert_eq!((of.len(), of[0].bytes, of[0].lost), (1, 0, false), "the checkpoint waits");
        assert!(of[0].error.to_string().contains(why), "{}", of[0].error);
    }
}

#[tokio::test]
async fn topics_beside_those_of_tables_are_passed_over() {
    let Some(world) = World::new("beside") else { return };
    let table = world.named("orders", "{prefix}.{table}", Shape::native(&world.prefix, Format::Json));
    let (messages, borders) = (format!("{}.message", world.prefix), format!("{}.transaction", world.prefix));
    for topic in [&table.topic, &messages, &borders] {
        world.create(topic, 1).await;
    }
    let border = br#"{"status":"BEGIN","id":"7:8","event_count":null,"data_collections":null,"ts_ms":1}"#;
    world.send_bytes(&borders, 0, Some(br#"{"id":"7:8"}"#), Some(border));
    let message = br#"{"op":"m","ts_ms":1,"source":{"schema":"","table":""},"transaction":null,"message":{"prefix":"p","content":"eA=="}}"#;
    world.send_bytes(&messages, 0, Some(br#"{"prefix":"p"}"#), Some(message));
    world.send(&table, &table.change(Op::Insert, seq(1, 1), 1, "n"), 0, 1);
    world.flush();
    let mut reader = Reader::start(world.source(&[&format!("{}.*", world.prefix)]), None).await.unwrap();
    reader.changes(1).await.unwrap();
    let read = |reader: &Reader| reader.source.status().topics().values().map(|topic| topic.messages).sum::<u64>();
    reader.until("all messages", |reader| read(reader) == 3).await.unwrap();
    assert!(stops(&reader).is_empty(), "{:?}", stops(&reader));
}
