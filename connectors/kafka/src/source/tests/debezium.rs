//! Topics that Debezium wrote: recorded messages.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use walbrook_model::Seq;

use super::*;
use crate::testing::told;

macro_rules! recorded {
    ($($name:literal),*) => { [$(include_str!(concat!("../../../../../core/envelope/testdata/debezium/", $name, ".json"))),*] };
}

/// In the order of their offsets.
const ORDERS: [&str; 8] = recorded!(
    "samples/pg-orders-snapshot",
    "samples/pg-orders-insert",
    "samples/pg-orders-update",
    "samples/pg-orders-delete",
    "samples/pg-orders-tombstone",
    "samples/pg-orders-insert2",
    "samples/pg-orders-delete2",
    "samples/pg-orders-truncate"
);
/// A run in Avro.
const RUN: [&str; 1] = recorded!("messages-default");

fn stopped(reader: &Reader) -> Option<String> {
    reader.batches.iter().flat_map(|batch| &batch.stopped).map(|stop| stop.error.to_string()).next()
}

#[tokio::test]
async fn what_debezium_sends_again_is_known_again() {
    let Some(world) = World::new("debezium") else { return };
    let topic = format!("{}.public.orders", world.prefix);
    world.create(&topic, 1).await;
    let mut schema = Json::Null;
    let mut messages: Vec<Json> = ORDERS.iter().map(|sample| serde_json::from_str(sample).unwrap()).collect();
    for message in &mut messages {
        // Most samples leave it out: it is the same.
        match &message["value"]["schema"] {
            Json::String(_) => message["value"]["schema"] = schema.clone(),
            Json::Object(_) => schema = message["value"]["schema"].clone(),
            _ => {}
        }
    }
    let send = |message: &Json| {
        let part = |part: &str| Some(message[part].to_string().into_bytes()).filter(|_| !message[part].is_null());
        world.send_bytes(&topic, 0, part("key").as_deref(), part("value").as_deref());
    };
    messages.iter().for_each(send);
    // A restart of its own sends some of them again, from the last offset that it had committed.
    messages[1..].iter().for_each(send);
    world.flush();
    let mut reader = Reader::start(world.source(&[&topic]), None).await.unwrap();
    reader.until("changes", |reader| reader.changes.len() >= 13 || stopped(reader).is_some()).await.unwrap();
    assert_eq!(stopped(&reader), None);
    reader.silence().await;
    let ops: Vec<&str> = reader.changes.iter().map(|change| change.op.as_str()).collect();
    let once = ["read", "insert", "update", "delete", "insert", "delete", "truncate"];
    assert_eq!((&ops[..7], &ops[7..]), (&once[..], &once[1..]));
    let tokens: Vec<Seq> = reader.changes.iter().map(|change| change.seq).collect();
    assert!(tokens[..7].is_sorted(), "{tokens:?}");
    assert_eq!(tokens[1..7], tokens[7..], "the same change has the same token");
    let with_changes = || reader.batches.iter().filter(|batch| !batch.changes.is_empty());
    assert!(with_changes().all(|batch| batch.lineage.is_none() && batch.covered == Some(Seq::ZERO)));
    assert_eq!(told(&reader.changes[0]).0, "orders");
    assert_eq!(reader.source.status().topics()[&topic].redundant, 2, "tombstones");
}

#[tokio::test]
async fn avro_that_debezium_wrote_is_read() {
    let Some(world) = World::new("debezium avro") else { return };
    let recorded: Json = serde_json::from_str(RUN[0]).unwrap();
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for message in recorded["messages"].as_array().unwrap() {
        let (topic, value) = (message["topic"].as_str().unwrap(), &message["value"]);
        // Some names have no schema in Avro, and some topics no changes.
        if !topic.starts_with("pre.public.") || message["value_avro_schema"].is_null() && !value.is_null() {
            continue;
        }
        let topic = topic.replacen("pre", &world.prefix, 1);
        if !sent.contains_key(&topic) {
            world.create(&topic, 1).await;
        }
        let part = |part: &str| {
            let bytes = unhex(message[format!("{part}_avro")].as_str()?);
            let schema = message[format!("{part}_avro_schema")].as_u64()?;
            let text = recorded["schemas"][usize::try_from(schema).unwrap()].as_str().unwrap();
            let id = world.registry.register(&format!("{topic}-{part}"), text);
            Some([&[0], &id.to_be_bytes()[..], &bytes].concat())
        };
        world.send_bytes(&topic, 0, part("key").as_deref(), part("value").as_deref());
        *sent.entry(topic).or_default() += usize::from(!value.is_null());
    }
    world.flush();
    let all: usize = sent.values().sum();
    let pattern = format!("{}.public.*", world.prefix);
    let mut reader = Reader::start(world.source(&[&pattern]), None).await.unwrap();
    reader.until("changes", |reader| reader.changes.len() >= all || stopped(reader).is_some()).await.unwrap();
    assert_eq!(stopped(&reader), None);
    reader.silence().await;
    assert!(all > 30 && sent.len() > 5, "{sent:?}");
    for (topic, count) in sent {
        let of = |change: &&walbrook_model::Change| topic.ends_with(&format!(".{}", change.schema.table.name));
        assert_eq!(reader.changes.iter().filter(of).count(), count, "{topic}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.as_bytes().chunks(2).map(digits).collect()
}
