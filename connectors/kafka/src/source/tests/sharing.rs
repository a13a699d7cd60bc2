//! Several processes share the tables out.

use std::collections::BTreeSet;
use std::time::Instant;

use walbrook_model::{Checkpoint, ErrorKind};

use super::*;
use crate::Membership;

/// Starts as the engine does: again after a transient error.
async fn start(world: &World, topics: &[&str], membership: &Membership, from: Option<Checkpoint>) -> Reader {
    let begun = Instant::now();
    loop {
        let source = world.source(topics).shared_by(membership.clone());
        match Reader::start(source, from.clone()).await {
            Ok(reader) => return reader,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Transient, "{error}"),
        }
        assert!(begun.elapsed() < crate::testing::PATIENCE);
    }
}

fn tables(reader: &Reader) -> BTreeSet<String> {
    reader.changes.iter().map(|change| change.schema.table.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_table_has_one_owner_which_reads_all_of_it() {
    let Some(world) = World::new("sharing") else { return };
    let all: Vec<_> = (0..6).map(|n| world.table(&format!("t{n}"), Format::Avro)).collect();
    for table in &all {
        world.create(&table.topic, 4).await;
    }
    let pattern = format!("{}.public.*", world.prefix);
    let topics = [pattern.as_str()];
    let send = |position: u64| {
        for table in &all {
            for partition in 0..4 {
                let change = table.change(Op::Insert, seq(position, 1), u32::try_from(partition).unwrap(), "n");
                world.send(table, &change, partition, 4);
            }
        }
        world.flush();
    };
    let one = Membership::join(&world.settings(&topics)).unwrap();
    let mut first = start(&world, &topics, &one, None).await;
    send(1);
    first.changes(24).await.unwrap();
    let checkpoint = first.checkpoint();
    // A second process: the first has to let go before that has anything.
    let two = Membership::join(&world.settings(&topics)).unwrap();
    let error = first.until("a changed assignment", |_| false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("assignment changed"), "{error}");
    drop(first);
    let (mut first, mut second) = tokio::join!(
        start(&world, &topics, &one, Some(checkpoint.clone())),
        start(&world, &topics, &two, Some(checkpoint.clone()))
    );
    send(2);
    let begun = Instant::now();
    while first.changes.len() + second.changes.len() < 24 {
        assert!(begun.elapsed() < crate::testing::PATIENCE);
        for reader in [&mut first, &mut second] {
            let before = reader.batches.len();
            reader.until("a batch", |reader| reader.batches.len() > before).await.unwrap();
        }
    }
    first.silence().await;
    second.silence().await;
    assert!(tables(&first).is_disjoint(&tables(&second)));
    assert_eq!((tables(&first).len() + tables(&second).len(), first.changes.len() + second.changes.len()), (6, 24));
    // The first leaves: all is the second's, and what the first did not read too.
    drop(first);
    drop(one);
    second.until("a changed assignment", |_| false).await.unwrap_err();
    let mut second = start(&world, &topics, &two, Some(checkpoint)).await;
    second.changes(24).await.unwrap();
    assert_eq!(tables(&second).len(), 6);
}
