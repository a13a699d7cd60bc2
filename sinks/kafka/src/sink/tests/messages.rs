//! What ends up in the topics.

use std::collections::BTreeSet;

use bytes::Bytes;
use walbrook_config::{Compat, Compression};
use walbrook_model::{Batch, Error, ErrorKind, LogicalMessage, Op, Origin, Sink, Value};

use super::{until_durable, until_error};
use crate::partitioner;
use crate::testing::{World, batch, change, in_transaction, insert, reshaped, table};

#[tokio::test]
async fn changes_go_where_their_keys_belong_in_order() {
    let Some(world) = World::new("order") else { return };
    let (mut sink, orders) = (world.sink(), table("orders"));
    assert_eq!(sink.last_checkpoint().await.unwrap(), None);
    for round in 1..=20_u64 {
        let changes = (1..=50).map(|id| {
            let op = if round == 1 { Op::Insert } else { Op::Update };
            change(op, &orders, round * 1000, id, &[&id.to_string(), &format!("round {round}")])
        });
        sink.write(batch(changes.collect(), Some(&round.to_string()))).await.unwrap();
    }
    until_durable(&mut sink, "20").await;
    let read = world.read(&world.topic("orders")).await;
    assert_eq!(read.len(), 1000);
    for partition in 0..2 {
        let seqs: Vec<_> =
            read.iter().filter(|read| read.partition == partition).map(crate::testing::Read::seq).collect();
        assert!(seqs.is_sorted() && seqs.len() > 100, "{}", seqs.len());
    }
    for message in &read {
        let key = message.key.as_ref().unwrap();
        assert_eq!(u32::try_from(message.partition).unwrap(), partitioner::of_key(key, 2));
    }
    // What waits is told with each write, the checkpoint as soon as it is there.
    sink.write(Batch::heartbeat()).await.unwrap();
    let status = sink.status();
    assert_eq!(status.tables()["public.orders"].messages, 1000);
    assert!(status.checkpoints() >= 1 && status.waiting_messages() == 0, "{status:?}");
}

#[tokio::test]
async fn the_first_message_of_a_partition_is_acknowledged_before_the_next() {
    let Some(mut world) = World::new("first") else { return };
    // Else it could be acknowledged by chance.
    world.config.linger = std::time::Duration::from_millis(300);
    let (mut sink, table) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&table, 1, 1)], None)).await.unwrap();
    assert_eq!(sink.run.as_ref().unwrap().producer.waiting().0, 0);
    sink.write(batch(vec![insert(&table, 2, 1)], None)).await.unwrap();
    assert_eq!(sink.run.as_ref().unwrap().producer.waiting().0, 1);
}

#[tokio::test]
async fn cells_of_a_snapshot_may_have_another_form_than_those_of_the_log() {
    let Some(world) = World::new("forms") else { return };
    let (mut sink, log) = (world.sink(), table("orders"));
    // As COPY in binary format gives them.
    let copied = reshaped(&log, |schema| {
        schema.columns[0].decoder = |_, cell| {
            let bytes = cell.try_into().map_err(|error| Error::data("not four bytes").because(error))?;
            Ok(Value::Int(i32::from_be_bytes(bytes).into()))
        };
    });
    sink.last_checkpoint().await.unwrap();
    let read = change(Op::Read, &copied, 1, 0, &["\0\0\0\u{7}", "n"]);
    let changes = vec![read, insert(&log, 2, 258), change(Op::Read, &copied, 1, 0, &["\0\0\u{1}\u{3}", "n"])];
    sink.write(batch(changes, Some("a"))).await.unwrap();
    sink.flush().await.unwrap();
    assert!(sink.status().tables()["public.orders"].stopped.is_none());
    let keys: BTreeSet<_> = world.read(&world.topic("orders")).await.into_iter().map(|read| read.key).collect();
    assert_eq!(keys.len(), 3);
}

#[tokio::test]
async fn every_partition_gets_the_end_of_a_slice_and_a_truncate() {
    let Some(mut world) = World::new("everywhere") else { return };
    for (compat, truncates) in [(Compat::Native, 2), (Compat::Debezium, 1)] {
        world.config.messages.compat = compat;
        world.config.topic_prefix = crate::testing::unique("everywhere");
        world.pipeline.name = world.config.topic_prefix.clone();
        let (mut sink, orders) = (world.sink(), table("orders"));
        sink.last_checkpoint().await.unwrap();
        let changes = vec![
            change(Op::Read, &orders, 7, 0, &["1", "x"]),
            change(Op::SnapshotEnd, &orders, 7, 0, &[]),
            change(Op::Truncate, &orders, 8, 1, &[]),
        ];
        sink.write(batch(changes, Some("a"))).await.unwrap();
        sink.flush().await.unwrap();
        let read = world.read(&world.topic("orders")).await;
        let ends: Vec<_> = read.iter().filter(|read| read.headers.contains_key("walbrook.control")).collect();
        assert_eq!(ends.iter().map(|read| read.partition).collect::<BTreeSet<_>>(), [0, 1].into());
        assert!(ends.iter().all(|read| read.headers["walbrook.partitions"] == b"2" && read.value.is_none()));
        let truncated = read.iter().filter(|read| read.value.is_some() && read.json()["op"] == "t").count();
        assert_eq!(truncated, truncates, "{compat:?}");
    }
}

#[tokio::test]
async fn rows_without_a_key_are_spread() {
    let Some(world) = World::new("keyless") else { return };
    let (mut sink, log) = (world.sink(), reshaped(&table("log"), |table| table.key.clear()));
    sink.last_checkpoint().await.unwrap();
    let reads = (0..100).map(|id| change(Op::Read, &log, 7, 0, &[&id.to_string(), "x"]));
    let inserts = (1..100).map(|id| change(Op::Insert, &log, 9, id, &[&id.to_string(), "x"]));
    sink.write(batch(reads.chain(inserts).collect(), Some("a"))).await.unwrap();
    sink.flush().await.unwrap();
    let read = world.read(&world.topic("log")).await;
    assert_eq!(read.len(), 199);
    assert!(read.iter().all(|read| read.key.is_none()));
    for op in ["r", "c"] {
        let first = read.iter().filter(|read| read.json()["op"] == op && read.partition == 0).count();
        assert!((20..80).contains(&first), "{op}: {first}");
    }
}

#[tokio::test]
async fn transactions_have_borders_and_places_across_batches() {
    let Some(mut world) = World::new("borders") else { return };
    world.config.messages.transactions = true;
    let (mut sink, orders, items) = (world.sink(), table("orders"), table("items"));
    sink.last_checkpoint().await.unwrap();
    let mut changes = in_transaction(
        70,
        vec![
            change(Op::Insert, &orders, 500, 1, &["1", "x"]),
            change(Op::Insert, &items, 500, 2, &["1", "x"]),
            change(Op::Insert, &items, 500, 3, &["2", "x"]),
        ],
    );
    let origin = Origin { position: Some(444), ..changes[0].origin.clone() };
    let message = LogicalMessage {
        after: 1,
        prefix: "outbox".to_owned(),
        content: Bytes::from_static(b"hello"),
        committed_at_us: 0,
        origin,
    };
    let second = changes.split_off(2);
    let mut first = batch(changes, None);
    first.messages.push(message);
    sink.write(first).await.unwrap();
    sink.write(batch(second, Some("a"))).await.unwrap();
    sink.write(batch(vec![change(Op::Read, &orders, 600, 0, &["9", "x"])], Some("b"))).await.unwrap();
    sink.flush().await.unwrap();

    let borders = world.read(&format!("{}.transaction", world.config.topic_prefix)).await;
    let borders: Vec<_> = borders.iter().map(crate::testing::Read::json).collect();
    assert_eq!(borders.len(), 2, "{borders:?}");
    assert_eq!((&borders[0]["status"], &borders[0]["id"]), (&"BEGIN".into(), &"70:501".into()));
    assert_eq!((&borders[1]["status"], &borders[1]["id"]), (&"END".into(), &"70:500".into()));
    assert_eq!(borders[1]["event_count"], 4);
    let expected = serde_json::json!([
        {"data_collection": "public.orders", "event_count": 1},
        {"data_collection": "LOGICAL_DECODING_MESSAGE", "event_count": 1},
        {"data_collection": "public.items", "event_count": 2},
    ]);
    assert_eq!(borders[1]["data_collections"], expected);

    let place = |id: &str, total: u64, table: u64| serde_json::json!({"id": id, "total_order": total, "data_collection_order": table});
    let message = world.read(&format!("{}.message", world.config.topic_prefix)).await;
    assert_eq!(message[0].json()["transaction"], place("70:444", 2, 1));
    let mut items = world.read(&world.topic("items")).await;
    items.sort_by_key(crate::testing::Read::seq);
    assert_eq!(items[0].json()["transaction"], place("70:502", 3, 1));
    assert_eq!(items[1].json()["transaction"], place("70:503", 4, 2));
    let orders = world.read(&world.topic("orders")).await;
    let read = orders.iter().find(|message| message.json()["op"] == "r").unwrap();
    assert!(read.json()["transaction"].is_null());
}

#[tokio::test]
async fn partitions_added_later_stay_empty() {
    let Some(world) = World::new("added") else { return };
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch((1..40).map(|id| insert(&orders, id, id)).collect(), Some("a"))).await.unwrap();
    sink.flush().await.unwrap();
    world.cluster().add_partitions(&world.topic("orders"), 5).await;
    let mut sink = world.sink();
    assert_eq!(sink.last_checkpoint().await.unwrap().unwrap().as_str(), "a");
    sink.write(batch((40..80).map(|id| insert(&orders, id, id)).collect(), Some("b"))).await.unwrap();
    sink.flush().await.unwrap();
    let read = world.read(&world.topic("orders")).await;
    assert_eq!(read.len(), 79);
    assert!(read.iter().all(|read| read.partition < 2), "keys would move between partitions");
}

#[tokio::test]
async fn a_full_buffer_is_waited_for() {
    for exactly_once in [false, true] {
        let Some(mut world) = World::new("full") else { return };
        world.config.exactly_once = exactly_once;
        world.config.buffer_bytes = 200_000;
        // Batches must fit the topic, too, uncompressed as they are.
        world.config.message_bytes_max = 20_000;
        world.config.compression = Compression::None;
        let (mut sink, orders) = (world.sink(), table("orders"));
        sink.last_checkpoint().await.unwrap();
        let note = "n".repeat(1000);
        for round in 1..=20 {
            let changes = (1..=50).map(|id| change(Op::Insert, &orders, round, id, &[&id.to_string(), &note]));
            sink.write(batch(changes.collect(), Some(&round.to_string()))).await.unwrap();
            assert!(sink.status().waiting_bytes() <= 200_000, "{:?}", sink.status());
        }
        sink.flush().await.unwrap();
        assert_eq!(world.read(&world.topic("orders")).await.len(), 1000);
    }
}

#[tokio::test]
async fn a_topic_that_is_gone_or_has_too_little_is_a_gap() {
    let Some(world) = World::new("gone") else { return };
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch((1..40).map(|id| insert(&orders, id, id)).collect(), Some("a"))).await.unwrap();
    sink.flush().await.unwrap();
    drop(sink);
    let cluster = world.cluster();
    cluster.delete(&world.topic("orders")).await;
    let mut sink = world.sink();
    let gap = |error: walbrook_model::Error, what: &str| {
        assert_eq!(error.kind(), ErrorKind::Gap);
        assert!(error.to_string().contains(what), "{error}");
    };
    gap(sink.last_checkpoint().await.unwrap_err(), "is gone");
    gap(sink.find_gap().await.unwrap().unwrap(), "is gone");
    let settings = crate::settings::Settings::new(world.config.clone(), world.pipeline.clone(), crate::testing::info());
    cluster.make(&world.topic("orders"), &settings.change_topic(2)).await.unwrap();
    gap(sink.last_checkpoint().await.unwrap_err(), "made anew");
    assert_eq!(sink.recorded_checkpoint().await.unwrap().unwrap().as_str(), "a");

    let lineage = walbrook_model::Lineage::new("log");
    let accepted = walbrook_model::Checkpoint::new("accepted");
    sink.accept_gap(Some(accepted.clone()), &lineage, 1).await.unwrap();
    assert!(sink.find_gap().await.unwrap().is_none());
    assert_eq!(sink.last_checkpoint().await.unwrap(), Some(accepted.clone()));
    let error = world.sink().accept_gap(Some(accepted), &lineage, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn a_topic_that_is_deleted_meanwhile_does_not_come_back() {
    let Some(mut world) = World::new("deleted") else { return };
    let patience = ("topic.metadata.propagation.max.ms".to_owned(), "500".to_owned());
    world.config.client.librdkafka.extend([patience]);
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch((1..40).map(|id| insert(&orders, id, id)).collect(), Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
    world.cluster().delete(&world.topic("orders")).await;
    let mut position = 100;
    let error = until_error(&mut sink, || {
        position += 1;
        batch(vec![insert(&orders, position, 1)], Some("b"))
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    let error = sink.last_checkpoint().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
    assert_eq!(world.cluster().partitions(&world.topic("orders")).await.unwrap(), None);
}

#[tokio::test]
async fn a_source_without_changes_stays_complete() {
    for exactly_once in [false, true] {
        let Some(mut world) = World::new("complete") else { return };
        world.config.exactly_once = exactly_once;
        let (mut sink, orders) = (world.sink(), table("orders"));
        sink.last_checkpoint().await.unwrap();
        let idle = |moment: i64| Batch { complete_until_us: Some(moment), ..Batch::heartbeat() };
        sink.write(idle(3)).await.unwrap();
        sink.write(Batch { complete_until_us: Some(5), ..batch(vec![insert(&orders, 7, 1)], Some("a")) })
            .await
            .unwrap();
        until_durable(&mut sink, "a").await;
        assert_eq!(sink.status().complete_until_us(), Some(5));
        sink.write(idle(9)).await.unwrap();
        sink.flush().await.unwrap();
        assert_eq!(sink.status().complete_until_us(), Some(9));
        // Behind a change that no checkpoint covers, such a moment says nothing of it.
        sink.write(batch(vec![insert(&orders, 8, 2)], None)).await.unwrap();
        sink.write(idle(12)).await.unwrap();
        // The coordinator may refuse to abort a transaction that it has only just heard of.
        if let Err(error) = sink.flush().await {
            assert!(exactly_once && error.kind() == ErrorKind::Transient, "{error}");
        }
        assert_eq!(sink.status().complete_until_us(), Some(9));
    }
}

#[tokio::test]
async fn heartbeats_come_while_nothing_else_does() {
    let often = std::time::Duration::from_millis(10);
    for (exactly_once, interval) in [(false, often), (true, often), (true, std::time::Duration::from_hours(1))] {
        let Some(mut world) = World::new("heartbeats") else { return };
        world.config.exactly_once = exactly_once;
        world.config.heartbeat_interval = interval;
        let mut sink = world.sink();
        sink.last_checkpoint().await.unwrap();
        sink.write(batch(vec![], Some("a"))).await.unwrap();
        for moment in 0..4 {
            tokio::time::sleep(often).await;
            sink.write(Batch { complete_until_us: Some(moment), ..Batch::heartbeat() }).await.unwrap();
        }
        sink.flush().await.unwrap();
        let prefix = &world.config.topic_prefix;
        let read = world.read(&format!("__debezium-heartbeat.{prefix}")).await;
        assert_eq!(read.len(), if interval == often { 5 } else { 1 }, "exactly once: {exactly_once}");
        for heartbeat in read {
            assert_eq!(heartbeat.key.as_deref(), Some(format!(r#"{{"serverName":"{prefix}"}}"#).as_bytes()));
            assert!(heartbeat.json()["ts_ms"].as_i64().unwrap() > 1_700_000_000_000);
        }
    }
}
