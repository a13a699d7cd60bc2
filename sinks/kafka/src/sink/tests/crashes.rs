//! Starts after a crash, and two processes of one pipeline.

use std::collections::BTreeSet;
use std::time::Duration;

use walbrook_envelope::PublishedCheckpoint;
use walbrook_model::{Batch, Checkpoint, ErrorKind, Sink};

use super::{until_durable, until_error};
use crate::faults::Listener;
use crate::producer::{Producer, Target};
use crate::settings::Settings;
use crate::testing::{Read, World, batch, info, insert, table, unique};
use crate::{Instance, KafkaSink};

/// Writes transactions `from..=to`, each a batch with its number as the checkpoint.
async fn write(sink: &mut KafkaSink, from: u64, to: u64) {
    let orders = table("orders");
    for position in from..=to {
        sink.write(batch(vec![insert(&orders, position, position)], Some(&position.to_string()))).await.unwrap();
    }
}

/// Where the source goes on. It writes a first checkpoint before all else.
async fn resume(sink: &mut KafkaSink) -> u64 {
    if let Some(checkpoint) = sink.last_checkpoint().await.unwrap() {
        return checkpoint.as_str().parse().unwrap();
    }
    sink.write(Batch { urgent: true, ..batch(vec![], Some("0")) }).await.unwrap();
    until_durable(sink, "0").await;
    0
}

fn distinct(read: &[Read]) -> usize {
    read.iter().map(Read::seq).collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn after_a_crash_nothing_is_lost() {
    let Some(world) = World::new("crash") else { return };
    let mut from = 0;
    for _ in 0..6 {
        let mut sink = world.sink();
        from = resume(&mut sink).await;
        write(&mut sink, from + 1, from + 300).await;
        // Crashes with messages on their way, and a checkpoint behind them.
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(sink);
    }
    let mut sink = world.sink();
    from = resume(&mut sink).await.max(from);
    write(&mut sink, from + 1, from + 10).await;
    until_durable(&mut sink, &(from + 10).to_string()).await;
    let read = world.read(&world.topic("orders")).await;
    let expected = usize::try_from(from + 10).unwrap();
    assert!(distinct(&read) >= expected, "{} of {expected}", distinct(&read));
    let seqs: BTreeSet<_> = read.iter().map(Read::seq).collect();
    let all = (1..=from + 10).map(|position| insert(&table("orders"), position, 1).seq.to_u128());
    assert!(all.into_iter().all(|seq| seqs.contains(&seq)));
}

#[tokio::test]
async fn exactly_once_survives_crashes() {
    let Some(mut world) = World::new("once") else { return };
    world.config.exactly_once = true;
    let mut from = 0;
    for round in 0..6_u64 {
        let mut sink = world.sink();
        from = resume(&mut sink).await;
        write(&mut sink, from + 1, from + 200).await;
        tokio::time::sleep(Duration::from_millis(round * 30)).await;
        sink.write(Batch::heartbeat()).await.unwrap();
        write(&mut sink, from + 201, from + 300).await;
        drop(sink);
    }
    let mut sink = world.sink();
    let begin = resume(&mut sink).await;
    assert!(begin >= from);
    write(&mut sink, begin + 1, begin + 10).await;
    until_durable(&mut sink, &(begin + 10).to_string()).await;
    let read = world.read(&world.topic("orders")).await;
    assert_eq!(read.len(), usize::try_from(begin + 10).unwrap(), "each once for readers of committed messages");
    assert_eq!(distinct(&read), read.len());
    let all = world.read_as(&world.topic("orders"), "read_uncommitted").await;
    assert!(all.len() > read.len(), "transactions were aborted: {} and {}", all.len(), read.len());
}

#[tokio::test]
async fn exactly_once_takes_back_half_a_transaction_of_the_source() {
    let Some(mut world) = World::new("half") else { return };
    world.config.exactly_once = true;
    let (mut sink, orders) = (world.sink(), table("orders"));
    resume(&mut sink).await;
    write(&mut sink, 1, 5).await;
    until_durable(&mut sink, "5").await;
    sink.write(batch(vec![insert(&orders, 6, 6)], None)).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(sink.durable(), Some(Checkpoint::new("5")));
    assert!(sink.write(batch(vec![insert(&orders, 7, 7)], Some("7"))).await.is_err(), "after its end");
    assert_eq!(world.read(&world.topic("orders")).await.len(), 5);
    let mut sink = world.sink();
    assert_eq!(resume(&mut sink).await, 5);
}

#[tokio::test]
async fn the_record_says_where_topics_end() {
    for exactly_once in [false, true] {
        let Some(mut world) = World::new("ends") else { return };
        world.config.exactly_once = exactly_once;
        let mut sink = world.sink();
        resume(&mut sink).await;
        write(&mut sink, 1, 100).await;
        until_durable(&mut sink, "100").await;
        let records = world.read(&world.config.checkpoint_topic).await;
        let record = PublishedCheckpoint::from_json(records.last().unwrap().value.as_ref().unwrap()).unwrap();
        assert_eq!(record.through, insert(&table("orders"), 100, 1).seq);
        let topic = &record.topics[&world.topic("orders")];
        let read = world.read(&world.topic("orders")).await;
        for partition in 0..2 {
            let last = read.iter().filter(|read| read.partition == partition).map(|read| read.offset).max().unwrap();
            assert_eq!(topic.ends[usize::try_from(partition).unwrap()], last + 1);
        }
        assert!(record.logs["log"].contains(&0));
    }
}

#[tokio::test]
async fn a_second_process_fences_the_first() {
    for exactly_once in [false, true] {
        let Some(mut world) = World::new("fenced") else { return };
        world.config.exactly_once = exactly_once;
        let first_instance = Instance::new(unique("first"));
        let mut first = world.sink_of(&first_instance);
        resume(&mut first).await;
        write(&mut first, 1, 5).await;
        until_durable(&mut first, "5").await;

        let mut second = world.sink();
        assert_eq!(resume(&mut second).await, 5);
        write(&mut second, 6, 8).await;
        until_durable(&mut second, "8").await;

        let orders = table("orders");
        let error = until_error(&mut first, || batch(vec![insert(&orders, 6, 6)], Some("6"))).await;
        assert_eq!(error.kind(), ErrorKind::Transient, "it may have been away for too long only: {error}");
        let error = world.sink_of(&first_instance).last_checkpoint().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        write(&mut second, 9, 12).await;
        until_durable(&mut second, "12").await;
        assert_eq!(resume(&mut world.sink()).await, 12, "an operator who starts it anew takes over");
    }
}

#[tokio::test]
async fn a_process_that_lost_the_id_to_nobody_goes_on() {
    for exactly_once in [false, true] {
        let Some(mut world) = World::new("nobody") else { return };
        world.config.exactly_once = exactly_once;
        let instance = Instance::new(unique("instance"));
        let mut sink = world.sink_of(&instance);
        resume(&mut sink).await;
        write(&mut sink, 1, 5).await;
        until_durable(&mut sink, "5").await;
        // As brokers do when a transaction has been open for too long: the id's epoch goes up.
        let settings = Settings::new(world.config.clone(), world.pipeline.clone(), info());
        let other = Producer::new(&settings.checkpoint_producer(), &Listener::default(), 1000).unwrap();
        other.init_transactions().await.unwrap();
        let orders = table("orders");
        let error = until_error(&mut sink, || batch(vec![insert(&orders, 6, 6)], Some("6"))).await;
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert_eq!(resume(&mut world.sink_of(&instance)).await, 5);
    }
}

#[tokio::test]
async fn what_is_purged_because_another_has_the_id_says_so() {
    let Some(world) = World::new("purged") else { return };
    resume(&mut world.sink()).await;
    let settings = Settings::new(world.config.clone(), world.pipeline.clone(), info());
    let new = || Producer::new(&settings.checkpoint_producer(), &Listener::default(), 1000).unwrap();
    let (first, second) = (new(), new());
    first.init_transactions().await.unwrap();
    second.init_transactions().await.unwrap();
    first.begin().unwrap();
    let place = first.add_places(&[0]).unwrap();
    let topic = world.config.checkpoint_topic.clone();
    let error = first.send_pair(Target { topic: &topic, partition: 0, place }, b"k", b"v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
}

#[tokio::test]
async fn pipelines_share_the_checkpoint_topic() {
    let Some(mut world) = World::new("shared") else { return };
    let mut sink = world.sink();
    resume(&mut sink).await;
    write(&mut sink, 1, 5).await;
    until_durable(&mut sink, "5").await;
    drop(sink);
    let name = world.pipeline.name.clone();
    world.pipeline.name = format!("{name}-other");
    world.config.topic_prefix = world.pipeline.name.clone();
    let mut other = world.sink();
    assert_eq!(resume(&mut other).await, 0);
    write(&mut other, 1, 7).await;
    until_durable(&mut other, "7").await;
    (world.pipeline.name, world.config.topic_prefix) = (name.clone(), name);
    assert_eq!(resume(&mut world.sink()).await, 5);
}
