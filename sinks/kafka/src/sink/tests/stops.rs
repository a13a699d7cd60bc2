//! Tables that stop, here or at the source, and gaps.

use std::sync::Arc;

use walbrook_config::{Compression, MessageFormat, NewTopics, Registry};
use walbrook_model::{Batch, Checkpoint, Error, ErrorKind, Lineage, Op, Seq, Sink, TableId, TableStop};

use super::until_durable;
use crate::testing::{World, batch, change, insert, registry, reshaped, table};

#[tokio::test]
async fn a_stopped_table_holds_the_checkpoint_until_it_is_a_gap() {
    let Some(mut world) = World::new("stops") else { return };
    world.config.message_bytes_max = 2000;
    let (mut sink, orders, items) = (world.sink(), table("orders"), table("items"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&orders, 1, 1), insert(&items, 1, 1)], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;

    let large = "n".repeat(3000);
    world.pipeline.parked_bytes = 10_000;
    let mut sink = world.sink();
    sink.last_checkpoint().await.unwrap();
    let changes =
        vec![change(Op::Insert, &orders, 2, 1, &["2", &large]), change(Op::Insert, &items, 2, 2, &["2", "x"])];
    sink.write(batch(changes, Some("b"))).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(sink.durable(), Some(Checkpoint::new("a")), "it waits");
    assert!(sink.status().checkpoint_held());
    let gap = sink.find_gap().await.unwrap().expect("stopped");
    assert!(gap.to_string().contains("message_bytes_max"), "{gap}");
    assert_eq!(world.read(&world.topic("items")).await.len(), 2, "the other goes on");
    // And what reads its topic hears how far it is.
    let record = sink.setup.journal().unwrap().newest().await.unwrap().unwrap();
    let written = |name: &str| record.topics[&world.topic(name)].written;
    assert_eq!((record.through, record.source.as_deref()), (Seq::new(0, 1, 1, 1).unwrap(), Some("a")));
    assert_eq!((written("orders"), written("items")), (None, Some(Seq::new(0, 1, 2, 2).unwrap())));

    for position in 3..6 {
        let changes = vec![change(Op::Insert, &orders, position, 1, &["3", &large])];
        sink.write(batch(changes, Some(&position.to_string()))).await.unwrap();
    }
    sink.flush().await.unwrap();
    assert_eq!(sink.durable(), Some(Checkpoint::new("5")));
    assert!(sink.status().tables()["public.orders"].stopped.as_ref().unwrap().gap);

    let mut sink = world.sink();
    assert_eq!(sink.last_checkpoint().await.unwrap(), Some(Checkpoint::new("5")));
    sink.write(batch(vec![insert(&orders, 9, 9), insert(&items, 9, 9)], Some("c"))).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(world.read(&world.topic("orders")).await.len(), 1, "a gap is closed by accept alone");
    sink.accept_gap(Some(Checkpoint::new("d")), &Lineage::new("log"), 1).await.unwrap();
    sink.last_checkpoint().await.unwrap();
    let mut read = change(Op::Read, &orders, 20, 0, &["9", "x"]);
    read.seq = Seq::new(1, 1, 20, 0).unwrap();
    sink.write(batch(vec![read], Some("e"))).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(world.read(&world.topic("orders")).await.len(), 2);
}

#[tokio::test]
async fn a_stop_of_the_source_is_kept_like_our_own() {
    let Some(world) = World::new("told") else { return };
    let (mut sink, items) = (world.sink(), table("items"));
    sink.last_checkpoint().await.unwrap();
    let stop = |since, lost, bytes| TableStop {
        table: TableId::new("public", "orders"),
        since,
        lost,
        error: Arc::new(Error::data("a column changed").remedy("do this")),
        bytes,
    };
    let told = |stop, checkpoint| Batch { stopped: vec![stop], ..batch(vec![insert(&items, 5, 5)], Some(checkpoint)) };
    sink.write(told(stop(None, false, 0), "a")).await.unwrap();
    until_durable(&mut sink, "a").await;
    sink.write(told(stop(Some(Seq::new(0, 1, 6, 1).unwrap()), false, 100), "b")).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(sink.durable(), Some(Checkpoint::new("a")));
    sink.write(told(stop(Some(Seq::new(0, 1, 7, 1).unwrap()), true, 100), "c")).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(sink.durable(), Some(Checkpoint::new("c")), "no replay brings it");
    let gap = sink.find_gap().await.unwrap().unwrap();
    assert!(gap.to_string().contains("public.orders: a column changed"), "{gap}");
}

#[tokio::test]
async fn a_registry_that_refuses_stops_one_table() {
    let Some(mut world) = World::new("refused") else { return };
    let Some(registry) = registry("refused") else { return };
    world.config.registry = Some(registry);
    world.config.messages.format = MessageFormat::Avro;
    let (mut sink, orders, items) = (world.sink(), table("orders"), table("items"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&orders, 1, 1), insert(&items, 1, 1)], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
    let topic = world.topic("orders");
    crate::testing::set_compatibility(&world, &format!("{topic}-value"), "BACKWARD").await;
    // What is required now was not there before, and has no default.
    let reshaped = reshaped(&orders, |table| {
        let mut column = table.columns[1].clone();
        (column.name, column.nullable) = ("city".to_owned(), false);
        table.columns[1] = column;
    });
    let changes = vec![insert(&reshaped, 2, 2), insert(&items, 2, 2)];
    sink.write(batch(changes, Some("b"))).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(sink.durable(), Some(Checkpoint::new("a")));
    let tables = sink.status().tables();
    let stopped = tables["public.orders"].stopped.clone().expect("stopped");
    assert!(stopped.reason.contains("city"), "{stopped:?}");
    assert!(tables["public.items"].stopped.is_none());
    assert_eq!(world.read(&world.topic("items")).await.len(), 2, "the other goes on");
    assert_eq!(world.read(&topic).await.len(), 1, "nothing of a version that is refused");
}

#[tokio::test]
async fn what_concerns_every_table_ends_the_run() {
    let Some(mut world) = World::new("whole") else { return };
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    let other = Batch { lineage: Some(Lineage::new("other")), ..batch(vec![insert(&orders, 2, 2)], Some("b")) };
    sink.write(batch(vec![insert(&orders, 1, 1)], Some("a"))).await.unwrap();
    assert_eq!(sink.write(other).await.unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(sink.write(Batch::heartbeat()).await.unwrap_err().kind(), ErrorKind::Bug, "only after a new start");

    world.config.topics = NewTopics { replication_factor: 9, ..world.config.topics.clone() };
    world.config.checkpoint_topic = crate::testing::unique("whole");
    let error = world.sink().last_checkpoint().await.unwrap_err();
    // A broker that is being restarted is missing as well.
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("replication_factor"), "{error}");
}

#[tokio::test]
async fn messages_without_a_checkpoint_are_a_gap() {
    let Some(mut world) = World::new("orphan") else { return };
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&orders, 1, 1)], Some("a"))).await.unwrap();
    sink.flush().await.unwrap();
    world.config.checkpoint_topic = crate::testing::unique("orphan");
    let mut sink = world.sink();
    assert_eq!(sink.last_checkpoint().await.unwrap(), None);
    let error = sink.write(batch(vec![insert(&orders, 1, 1)], Some("a"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
}

#[tokio::test]
async fn two_tables_of_one_topic_name_do_not_mix() {
    let Some(world) = World::new("mixed") else { return };
    let (mut sink, one, other) = (world.sink(), table("a b"), table("a_b"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&one, 1, 1), insert(&other, 1, 1)], Some("a"))).await.unwrap();
    sink.flush().await.unwrap();
    let tables = sink.status().tables();
    let stopped = tables["public.a_b"].stopped.as_ref().expect("stopped");
    assert!(stopped.reason.contains("public.a b writes"), "{stopped:?}");
    assert_eq!(sink.durable(), None);
}

#[tokio::test]
async fn a_gap_is_accepted_beside_a_process_that_looks_for_it() {
    let Some(world) = World::new("beside") else { return };
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch((1..40).map(|id| insert(&orders, id, id)).collect(), Some("a"))).await.unwrap();
    sink.flush().await.unwrap();
    world.cluster().delete(&world.topic("orders")).await;
    let mut waiting = world.sink();
    let looks = async {
        loop {
            match waiting.last_checkpoint().await {
                Ok(checkpoint) => break checkpoint,
                Err(error) => assert!(matches!(error.kind(), ErrorKind::Gap | ErrorKind::Transient), "{error}"),
            }
            // As a daemon does; without a pause it would take the id from every attempt of the operator.
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    let mut operator = world.sink();
    let accept = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        operator.accept_gap(Some(Checkpoint::new("b")), &Lineage::new("log"), 1).await
    };
    let looks = async { Ok(looks.await) };
    let (seen, ()) = tokio::try_join!(looks, accept).expect("an accepted gap");
    assert_eq!(seen, Some(Checkpoint::new("b")));
}

#[tokio::test]
async fn a_topic_that_takes_less_than_we_send_is_named() {
    let Some(mut world) = World::new("less") else { return };
    world.config.compression = Compression::None;
    let settings = crate::settings::Settings::new(world.config.clone(), world.pipeline.clone(), crate::testing::info());
    let mut making = settings.change_topic(1);
    making.settings.retain(|(key, _)| *key != "max.message.bytes");
    making.settings.push(("max.message.bytes", "1000".to_owned()));
    let topic = world.topic("orders");
    world.cluster().make(&topic, &making).await.unwrap();
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    let changes = vec![change(Op::Insert, &orders, 2, 1, &["1", &"n".repeat(2000)])];
    let written = match sink.write(batch(changes, Some("a"))).await {
        Ok(()) => sink.flush().await,
        refused => refused,
    };
    let error = written.unwrap_err().to_string();
    assert!(error.contains(&topic) && error.contains("max.message.bytes"), "{error}");
    let findings =
        crate::preflight(&world.config, &world.pipeline, crate::testing::info(), std::slice::from_ref(&orders.table))
            .await;
    assert!(findings.iter().any(|finding| finding.what.contains("takes messages of 1000 bytes")), "{findings:?}");
}

#[tokio::test]
async fn a_registry_that_is_away_is_waited_for() {
    let Some(mut world) = World::new("away") else { return };
    let Some(real) = registry("away") else { return };
    world.config.messages.format = MessageFormat::Avro;
    let timeout = std::time::Duration::from_millis(300);
    world.config.registry = Some(Registry { url: "http://127.0.0.1:1".to_owned(), timeout, ..real.clone() });
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    let error = sink.write(batch(vec![insert(&orders, 1, 1)], Some("a"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert_eq!(world.cluster().partitions(&world.topic("orders")).await.unwrap(), None, "nothing was begun");
    world.config.registry = Some(real);
    let mut sink = world.sink();
    assert_eq!(sink.last_checkpoint().await.unwrap(), None);
    sink.write(batch(vec![insert(&orders, 1, 1)], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
}
