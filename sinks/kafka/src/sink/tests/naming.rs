//! Topics are named by a pattern, and each is one table's for good.

use std::sync::Arc;

use walbrook_config::MessageFormat;
use walbrook_model::{Checkpoint, ErrorKind, Lineage, Op, Seq, Sink, TableSchema};

use super::until_durable;
use crate::testing::{World, batch, change, insert, registry, reshaped, table};

fn of_schema(schema: &str, name: &str) -> Arc<TableSchema> {
    reshaped(&table(name), |table| schema.clone_into(&mut table.table.schema))
}

/// A snapshot of one row, after a gap.
fn read(table: &Arc<TableSchema>, position: u64) -> walbrook_model::Change {
    let mut read = change(Op::Read, table, position, 0, &["9", "x"]);
    read.seq = Seq::new(1, 1, position, 0).unwrap();
    read
}

#[tokio::test]
async fn a_topic_is_its_tables_also_after_a_restart() {
    let Some(world) = World::new("owned") else { return };
    let (mut sink, one, other) = (world.sink(), table("a b"), table("a_b"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&one, 1, 1)], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
    let mut sink = world.sink();
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&other, 2, 1)], Some("b"))).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(world.read(&world.topic("a_b")).await.len(), 1, "changes of two tables in one topic");
    let tables = sink.status().tables();
    let stopped = tables["public.a_b"].stopped.as_ref().expect("stopped");
    assert!(stopped.reason.contains("table public.a b writes"), "{stopped:?}");
    assert_eq!(sink.durable(), Some(Checkpoint::new("a")), "it waits");
}

#[tokio::test]
async fn the_second_table_of_a_topic_stops_and_the_others_go_on() {
    let Some(mut world) = World::new("shared") else { return };
    let Some(registry) = registry("shared") else { return };
    world.config.registry = Some(registry.clone());
    world.config.messages.format = MessageFormat::Avro;
    let name = world.config.topic_prefix.clone();
    world.config.topic_name = format!("{name}-{{table}}");
    let (shop, archive) = (of_schema("shop", "orders"), of_schema("archive", "orders"));
    // What another table is like is no version of this one.
    let archive = reshaped(&archive, |table| table.columns[1].nullable = false);
    let (items, message) = (of_schema("shop", "items"), of_schema("shop", "message"));
    let mut sink = world.sink();
    sink.last_checkpoint().await.unwrap();
    let changes = vec![insert(&shop, 1, 1), insert(&archive, 1, 1), insert(&items, 1, 1), insert(&message, 1, 1)];
    sink.write(batch(changes, Some("a"))).await.unwrap();
    sink.flush().await.unwrap();
    let tables = sink.status().tables();
    let stopped = tables["archive.orders"].stopped.as_ref().expect("stopped");
    let topic = format!("{name}-orders");
    for word in ["table archive.orders", "table shop.orders", &topic] {
        assert!(stopped.reason.contains(word), "{word}: {stopped:?}");
    }
    assert!(stopped.remedy.as_ref().unwrap().contains("{schema}"), "{stopped:?}");
    for table in ["shop.orders", "shop.items", "shop.message"] {
        assert!(tables[table].stopped.is_none(), "{table}: {:?}", tables[table].stopped);
    }
    assert_eq!(world.read(&topic).await.len(), 1);
    assert_eq!(world.read(&format!("{name}-items")).await.len(), 1);
    let registry = walbrook_registry::Registry::new(&registry).unwrap();
    let (_, newest) = registry.latest(&format!("{topic}-value")).await.unwrap().unwrap();
    let ours = sink.envelope(&shop).unwrap();
    assert!(newest.contains(r#"["null","string"]"#) && ours.topic() == topic, "the schema of another table: {newest}");
}

#[tokio::test]
async fn another_pattern_is_a_gap_until_it_is_accepted() {
    let Some(mut world) = World::new("renamed") else { return };
    let (mut sink, orders, items) = (world.sink(), table("orders"), table("items"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&orders, 1, 1), insert(&items, 1, 1)], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
    let (old, name) = (world.topic("orders"), world.config.topic_prefix.clone());

    // The same names by another pattern are no other names.
    world.config.topic_name = format!("{name}.public.{{table}}");
    assert_eq!(world.sink().last_checkpoint().await.unwrap(), Some(Checkpoint::new("a")));
    assert!(world.sink().find_gap().await.unwrap().is_none());

    for (prefix, pattern) in [
        (name.clone(), format!("{name}-{{schema}}-{{table}}")),
        (format!("{name}2"), "{prefix}.{schema}.{table}".to_owned()),
    ] {
        (world.config.topic_prefix, world.config.topic_name) = (prefix, pattern);
        let mut sink = world.sink();
        let error = sink.last_checkpoint().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
        for word in ["public.items", "topic_name", "gap accept"] {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        assert!(sink.find_gap().await.unwrap().is_some());
        let tables = [orders.table.clone()];
        let findings = crate::preflight(&world.config, &world.pipeline, crate::testing::info(), &tables).await;
        assert!(findings.iter().any(|finding| finding.what.contains("from now on")), "{findings:?}");
        assert_eq!(sink.recorded_checkpoint().await.unwrap(), Some(Checkpoint::new("a")), "nothing is lost");
    }

    let new = format!("{name}2.public.orders");
    let mut sink = world.sink();
    sink.accept_gap(Some(Checkpoint::new("d")), &Lineage::new("log"), 1).await.unwrap();
    assert_eq!(sink.last_checkpoint().await.unwrap(), Some(Checkpoint::new("d")));
    sink.write(batch(vec![read(&orders, 20), read(&items, 20)], Some("e"))).await.unwrap();
    until_durable(&mut sink, "e").await;
    assert_eq!((world.read(&old).await.len(), world.read(&new).await.len()), (1, 1));
    let record = sink.published().await.unwrap().unwrap();
    let topics: Vec<&str> = record.topics.keys().map(String::as_str).collect();
    assert_eq!(topics, [&format!("{name}2.public.items"), &new], "what was left is nothing of ours any more");
    assert_eq!(record.topics[&new].table.as_ref(), Some(&orders.table));
    world.cluster().delete(&old).await;
    let mut sink = world.sink();
    assert_eq!(sink.last_checkpoint().await.unwrap(), Some(Checkpoint::new("e")));
    assert!(sink.find_gap().await.unwrap().is_none());
}

#[tokio::test]
async fn another_pattern_does_not_disturb_who_runs() {
    let Some(mut world) = World::new("undisturbed") else { return };
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&orders, 1, 1)], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
    world.config.topic_name = format!("{}-{{table}}", world.config.topic_prefix);
    assert_eq!(world.sink().last_checkpoint().await.unwrap_err().kind(), ErrorKind::Gap);
    sink.write(batch(vec![insert(&orders, 2, 2)], Some("b"))).await.unwrap();
    until_durable(&mut sink, "b").await;
}

#[tokio::test]
async fn a_table_that_takes_the_name_of_another_begins_after_a_gap() {
    let Some(mut world) = World::new("moved") else { return };
    let name = world.config.topic_prefix.clone();
    world.config.topic_name = format!("{name}-{{table}}");
    let (shop, archive) = (of_schema("shop", "orders"), of_schema("archive", "orders"));
    let mut sink = world.sink();
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&shop, 1, 1)], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
    // ALTER TABLE shop.orders SET SCHEMA archive
    sink.write(batch(vec![insert(&archive, 2, 1)], Some("b"))).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(sink.durable(), Some(Checkpoint::new("a")));
    sink.accept_gap(Some(Checkpoint::new("d")), &Lineage::new("log"), 1).await.unwrap();
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![read(&archive, 20)], Some("e"))).await.unwrap();
    until_durable(&mut sink, "e").await;
    let record = sink.published().await.unwrap().unwrap();
    let topic = &record.topics[&format!("{name}-orders")];
    assert_eq!((topic.table.as_ref(), topic.ends.iter().sum::<i64>()), (Some(&archive.table), 2));
}

#[tokio::test]
async fn what_is_switched_on_later_does_not_write_to_a_tables_topic() {
    let Some(mut world) = World::new("reserved") else { return };
    world.config.topic_name = "{prefix}.{table}".to_owned();
    let borders = of_schema("shop", "transaction");
    let mut sink = world.sink();
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&borders, 1, 1)], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
    world.config.messages.transactions = true;
    let error = world.sink().last_checkpoint().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("table shop.transaction") && error.to_string().contains("borders"), "{error}");
}
