//! What one topic suffers from does not concern the others.

use std::sync::atomic::Ordering;

use walbrook_model::{ErrorKind, TableId, TableStop};

use super::*;

fn stops(reader: &Reader) -> Vec<&TableStop> {
    reader.batches.iter().flat_map(|batch| &batch.stopped).collect()
}

#[tokio::test]
async fn a_message_that_cannot_be_decoded_stops_its_table_alone() {
    let Some(world) = World::new("undecodable") else { return };
    let (good, bad) = (world.table("good", Format::Avro), world.table("bad", Format::Avro));
    world.create(&good.topic, 1).await;
    world.create(&bad.topic, 2).await;
    world.send(&bad, &bad.change(Op::Insert, seq(1, 1), 1, "n"), 1, 2);
    world.send_bytes(&bad.topic, 1, Some(b"k"), Some(b"secret words"));
    for n in 2..5 {
        world.send(&bad, &bad.change(Op::Insert, seq(n, 1), 1, "n"), 1, 2);
        world.send(&good, &good.change(Op::Insert, seq(n, 1), 1, "n"), 0, 1);
    }
    world.flush();
    let topics = [good.topic.as_str(), bad.topic.as_str()];
    // The sink keeps the checkpoint before the stop, so that the next start meets it again.
    for _ in 0..2 {
        let mut reader = Reader::start(world.source(&topics), None).await.unwrap();
        reader.changes(4).await.unwrap();
        let left_out = |reader: &Reader| reader.source.status().topics().get(&bad.topic).map(|topic| topic.left_out);
        reader.until("what is left out", |reader| left_out(reader) == Some(4)).await.unwrap();
        reader.silence().await;
        let stops = stops(&reader);
        assert_eq!((&stops[0].table, stops[0].since), (&TableId::new("public", "bad"), Some(seq(1, 1))));
        assert!(!stops[0].lost && stops.iter().map(|stop| stop.bytes).sum::<u64>() > 40);
        let (error, place) = (&stops[0].error, format!("topic {}, partition 1, offset 1", bad.topic));
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.object().unwrap().starts_with(&place), "{error}");
        assert!(!error.to_string().contains("secret words"), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_is_away_holds_up_new_schemas_alone() {
    let Some(world) = World::new("registry") else { return };
    let (known, new) = (world.table("known", Format::Avro), world.table("new", Format::Avro));
    world.create(&known.topic, 1).await;
    world.create(&new.topic, 2).await;
    world.send(&known, &known.change(Op::Insert, seq(1, 1), 1, "n"), 0, 1);
    world.flush();
    let mut reader = Reader::start(world.source(&[&known.topic, &new.topic]), None).await.unwrap();
    reader.changes(1).await.unwrap();
    world.registry.down.store(true, Ordering::Relaxed);
    for n in 2..100_u32 {
        world.send(&new, &new.change(Op::Insert, seq(u64::from(n), 1), n, "n"), i32::try_from(n % 2).unwrap(), 2);
    }
    world.flush();
    let calls = world.registry.calls.load(Ordering::Relaxed);
    reader.until("calls", |_| world.registry.calls.load(Ordering::Relaxed) > calls + 1).await.unwrap();
    world.send(&known, &known.change(Op::Insert, seq(200, 1), 2, "n"), 0, 1);
    world.flush();
    reader.changes(2).await.unwrap();
    assert_eq!(reader.changes[1].seq, seq(200, 1), "the others go on");
    reader.silence().await;
    // A start from here misses nothing of the topic that waits.
    let checkpoint = reader.checkpoint();
    world.registry.down.store(false, Ordering::Relaxed);
    reader.changes(100).await.unwrap();
    reader.silence().await;
    let mut again = Reader::start(world.source(&[&known.topic, &new.topic]), Some(checkpoint)).await.unwrap();
    again.changes(98).await.unwrap();
    assert!(reader.told().is_superset(&again.told()) && reader.told().len() == 100 && again.told().len() == 98);
    assert!(stops(&reader).is_empty());
    assert!(reader.source.status().topics()[&new.topic].waits > 0);
}

#[tokio::test]
async fn avro_without_a_registry_is_a_mistake_of_the_configuration() {
    let Some(world) = World::new("no registry") else { return };
    let table = world.table("orders", Format::Avro);
    world.create(&table.topic, 1).await;
    world.send(&table, &table.change(Op::Insert, seq(1, 1), 1, "n"), 0, 1);
    world.flush();
    let source = crate::KafkaSource::with_schemas(world.settings(&[&table.topic]), None);
    let mut reader = Reader::start(source, None).await.unwrap();
    let error = reader.changes(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("registry.url"), "{error}");
}

#[tokio::test]
async fn a_sink_that_is_slow_holds_the_source_up_and_a_stop_ends_it() {
    use walbrook_model::Source as _;
    let Some(world) = World::new("slow") else { return };
    let table = world.table("orders", Format::Json);
    world.create(&table.topic, 1).await;
    let name = "x".repeat(20_000);
    for n in 0..1_000_u32 {
        world.send(&table, &table.change(Op::Insert, seq(u64::from(n) + 1, 1), n, &name), 0, 1);
    }
    world.flush();
    let mut reader = Reader::start(world.source(&[&table.topic]), None).await.unwrap();
    reader.changes(1).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    // 20 MB are in the topic; what is decoded is bounded.
    let read = reader.source.status().topics()[&table.topic].bytes;
    assert!(read < 8_000_000, "{read}");
    let begun = std::time::Instant::now();
    reader.source.stop(None).await.unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}
