//! Messages that are too large, by policy.

use std::path::Path;

use walbrook_config::{KafkaClient, Oversize};
use walbrook_letters::{Folder, Order, Replay, Report};
use walbrook_model::{Checkpoint, Op, Sink};

use super::until_durable;
use crate::testing::{Read, World, batch, change, insert, table};

const LARGEST: u64 = 2000;

fn world(test: &str, oversize: Oversize) -> Option<World> {
    let mut world = World::new(test)?;
    world.config.message_bytes_max = LARGEST;
    world.config.oversize = oversize;
    Some(world)
}

fn dead(world: &World) -> String {
    format!("{}.dead", world.config.checkpoint_topic)
}

fn text<'r>(read: &'r Read, header: &str) -> &'r str {
    read.headers.get(header).map_or("", |value| std::str::from_utf8(value).unwrap())
}

/// Notices have neither key nor value.
fn notices(messages: &[Read]) -> Vec<&Read> {
    messages.iter().filter(|read| read.headers.contains_key("walbrook.control")).collect()
}

async fn replay(client: KafkaClient, group: String, at: Result<String, &Path>) -> Report {
    let at = at.map_err(Path::to_path_buf);
    let replay = move || {
        let replay = Replay { client: &client, group, again: false };
        match at {
            Ok(topic) => replay.topic(&topic, Order::Send),
            Err(folder) => replay.folder(&Folder::new(folder), Order::Send),
        }
    };
    tokio::task::spawn_blocking(replay).await.unwrap().unwrap()
}

fn notice_is_whole(notice: &Read, seq: u128) {
    assert_eq!((notice.key.as_ref(), notice.value.as_ref()), (None, None));
    assert_eq!((notice.seq(), text(notice, "walbrook.control")), (seq, "oversize"));
    assert_eq!(text(notice, "walbrook.lineage"), "log");
    assert!(text(notice, "walbrook.key").contains("\"id\":2"), "{notice:?}");
    assert!(text(notice, "walbrook.oversize.bytes").parse::<u64>().unwrap() > LARGEST);
}

#[tokio::test]
async fn a_large_message_goes_to_the_dead_letters_and_back() {
    for exactly_once in [false, true] {
        let Some(mut world) = world("letters", Oversize::Stop) else { return };
        let topic = dead(&world);
        world.config.oversize = Oversize::DeadLetter { topic: topic.clone() };
        world.config.exactly_once = exactly_once;
        let (mut sink, orders) = (world.sink(), table("orders"));
        sink.last_checkpoint().await.unwrap();
        let large = change(Op::Update, &orders, 2, 1, &["2", &"n".repeat(3_000_000)]);
        let removed = change(Op::Delete, &orders, 2, 3, &["2", &"n".repeat(3000)]);
        let changes = vec![insert(&orders, 1, 2), large.clone(), removed, insert(&orders, 3, 3)];
        sink.write(batch(changes, Some("a"))).await.unwrap();
        until_durable(&mut sink, "a").await;
        let status = &sink.status().tables()["public.orders"];
        assert_eq!((status.oversize, status.messages, status.stopped.is_none()), (2, 5, true));

        let messages = world.read(&world.topic("orders")).await;
        let notices = notices(&messages);
        assert_eq!((messages.len(), notices.len()), (5, 2), "with the tombstone");
        notice_is_whole(notices[0], large.seq.to_u128());
        assert_eq!(text(notices[0], "walbrook.oversize.topic"), topic);
        let place = |read: &Read| (read.partition, read.key.clone());
        let first = messages.iter().find(|read| read.seq() < large.seq.to_u128()).unwrap();
        assert_eq!(notices[0].partition, first.partition, "in the place of its key");

        let letters = world.read(&topic).await;
        assert_eq!(letters.len(), 2);
        assert_eq!(letters[0].json()["after"]["note"].as_str().map(str::len), Some(3_000_000));
        assert_eq!((text(&letters[0], "walbrook.letter.reason"), &letters[0].key), ("oversize", &first.key));
        assert_eq!(text(&letters[0], "walbrook.letter.partition"), first.partition.to_string());

        // The topic takes more now.
        world.cluster().set(&world.topic("orders"), "max.message.bytes", "8000000").await;
        let group = format!("{topic}.replay");
        let report = replay(world.config.client.clone(), group.clone(), Ok(topic.clone())).await;
        assert_eq!((report.sent, report.left_out_count), (2, 0));
        let messages = world.read(&world.topic("orders")).await;
        let back = messages.iter().find(|read| read.seq() == large.seq.to_u128() && read.value.is_some()).unwrap();
        assert_eq!((place(back), &back.value), (place(first), &letters[0].value));
        let theirs = letters[0].headers.iter().filter(|(name, _)| !name.starts_with("walbrook.letter"));
        assert!(theirs.eq(back.headers.iter()), "{:?}", back.headers.keys());
        let report = replay(world.config.client.clone(), group, Ok(topic.clone())).await;
        assert_eq!(report, Report::default(), "it is remembered");

        // A start anew takes the topic of letters as it is.
        let mut sink = world.sink();
        assert_eq!(sink.last_checkpoint().await.unwrap(), Some(Checkpoint::new("a")));
        let again = change(Op::Update, &orders, 5, 1, &["3", &"n".repeat(3000)]);
        sink.write(batch(vec![again], Some("b"))).await.unwrap();
        until_durable(&mut sink, "b").await;
        assert_eq!(world.read(&topic).await.len(), 3);
        let found = crate::preflight(
            &world.config,
            &world.pipeline,
            crate::testing::info(),
            std::slice::from_ref(&orders.table),
        )
        .await;
        assert!(found.iter().all(|finding| finding.severity == walbrook_model::Severity::Info), "{found:?}");
    }
}

#[tokio::test]
async fn a_message_that_the_dead_letters_do_not_take_stops_its_table() {
    let Some(mut world) = world("no_letters", Oversize::Stop) else { return };
    let topic = dead(&world);
    world.pipeline.parked_bytes = 1_000_000;
    world.config.oversize = Oversize::DeadLetter { topic: topic.clone() };
    let settings = crate::settings::Settings::new(world.config.clone(), world.pipeline.clone(), crate::testing::info());
    let mut making = settings.letter_topic();
    making.settings.retain(|(key, _)| *key != "max.message.bytes");
    making.settings.push(("max.message.bytes", "10000".to_owned()));
    world.cluster().make(&topic, &making).await.unwrap();
    let (mut sink, orders, items) = (world.sink(), table("orders"), table("items"));
    sink.last_checkpoint().await.unwrap();
    let changes = vec![change(Op::Insert, &orders, 2, 1, &["2", &"n".repeat(9000)]), insert(&items, 3, 3)];
    sink.write(batch(changes, Some("a"))).await.unwrap();
    sink.flush().await.unwrap();
    let status = sink.status().tables();
    let stopped = status["public.orders"].stopped.as_ref().unwrap();
    assert!(stopped.reason.contains("takes 5904 bytes"), "{stopped:?}");
    assert!(status["public.items"].stopped.is_none() && sink.durable().is_none());
    assert!(world.read(&topic).await.is_empty());
}

#[tokio::test]
async fn a_large_message_goes_to_a_file_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("large");
    let Some(world) = world("files", Oversize::SplitOff { folder: folder.clone() }) else { return };
    let orders = table("orders");
    let large = change(Op::Insert, &orders, 2, 1, &["2", &"n".repeat(30_000)]);
    let mut sink = world.sink();
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![insert(&orders, 1, 2)], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
    // A crash before the checkpoint: it is sent again, and written over itself.
    for _ in 0..2 {
        let mut sink = world.sink();
        sink.last_checkpoint().await.unwrap();
        sink.write(batch(vec![large.clone()], None)).await.unwrap();
        sink.flush().await.unwrap();
    }
    let messages = world.read(&world.topic("orders")).await;
    let notices = notices(&messages);
    assert_eq!((messages.len(), notices.len()), (3, 2));
    notice_is_whole(notices[1], large.seq.to_u128());
    let file = folder.join(text(notices[0], "walbrook.oversize.file"));
    let value = std::fs::read(&file).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&value).unwrap();
    assert_eq!(json["after"]["note"].as_str().map(str::len), Some(30_000));
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 2, "one message in two files");

    let report = replay(world.config.client.clone(), "no-group".to_owned(), Err(&folder)).await;
    assert_eq!((report.sent, report.left_out_count), (1, 0));
    let messages = world.read(&world.topic("orders")).await;
    let back = messages.iter().find(|read| read.value.as_ref() == Some(&value)).unwrap();
    assert_eq!((back.seq(), back.partition), (large.seq.to_u128(), notices[0].partition));
    assert!(back.headers.len() > 1 && back.headers.contains_key("walbrook.lineage"));
    let report = replay(world.config.client.clone(), "no-group".to_owned(), Err(&folder)).await;
    assert_eq!(report, Report::default(), "it is remembered");
}

#[tokio::test]
async fn a_disk_that_takes_no_file_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("large");
    std::fs::write(&folder, "no folder").unwrap();
    let Some(world) = world("disk", Oversize::SplitOff { folder: folder.clone() }) else { return };
    let (mut sink, orders) = (world.sink(), table("orders"));
    sink.last_checkpoint().await.unwrap();
    let large = change(Op::Insert, &orders, 2, 1, &["2", &"n".repeat(3000)]);
    let error = sink.write(batch(vec![large.clone()], Some("a"))).await.unwrap_err();
    assert_eq!(error.kind(), walbrook_model::ErrorKind::Transient, "{error}");
    std::fs::remove_file(&folder).unwrap();
    let mut sink = world.sink();
    sink.last_checkpoint().await.unwrap();
    sink.write(batch(vec![large], Some("a"))).await.unwrap();
    until_durable(&mut sink, "a").await;
}
