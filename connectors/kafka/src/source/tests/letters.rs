//! Messages that cannot be decoded or stored, put aside, sent again, and given up.

use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use walbrook_config::DeadLetters;
use walbrook_letters::{Order, Reason, Replay, Report};
use walbrook_model::{Checkpoint, Seq};

use super::*;
use crate::positions::Positions;
use crate::source::KafkaSource;
use crate::testing::{SPOILT, Table, told};

fn dead(world: &World) -> String {
    format!("{}.dead", world.prefix)
}

fn source(world: &World, topics: &[&str]) -> KafkaSource {
    bounded(world, topics, 100)
}

fn bounded(world: &World, topics: &[&str], max: usize) -> KafkaSource {
    let mut settings = world.settings(topics);
    settings.dead_letters = Some(DeadLetters { topic: dead(world), pipeline: "merge".to_owned(), max });
    KafkaSource::with_schemas(settings, Some(world.registry.clone()))
}

/// With what the records of the capture say.
fn following(world: &World, topics: &[&str]) -> KafkaSource {
    let mut settings = world.settings(topics);
    settings.capture = Some(world.prefix.clone());
    settings.dead_letters = Some(DeadLetters { topic: dead(world), pipeline: "merge".to_owned(), max: 100 });
    KafkaSource::with_schemas(settings, Some(world.registry.clone()))
}

async fn replay(world: &World, order: Order, again: bool) -> Report {
    let (client, group, topic) = (world.settings(&[]).client, format!("{}.replay", world.prefix), dead(world));
    let replay = move || Replay { client: &client, group, again }.topic(&topic, order);
    tokio::task::spawn_blocking(replay).await.unwrap().unwrap()
}

fn open(reader: &Reader, table: &Table) -> Option<u64> {
    reader.source.status().topics().get(&table.topic).and_then(|topic| topic.open_letters)
}

/// Waits until the newest checkpoint is at the end of the topic, and gives it.
async fn settled(reader: &mut Reader, world: &World, table: &Table) -> Checkpoint {
    let at_end = |reader: &Reader| {
        let Some((_, checkpoint)) = reader.checkpoints.last() else { return false };
        let positions = Positions::from_checkpoint(checkpoint).unwrap();
        let mut partitions = positions.topics[&table.topic].partitions.iter().zip(0..);
        partitions.all(|(position, partition)| position.next == world.end(&table.topic, partition))
    };
    reader.until("the end of the topic", at_end).await.unwrap();
    reader.checkpoint()
}

/// Key, value and headers, but those that are said of a letter.
type Parts = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

fn parts(message: &OwnedMessage) -> Parts {
    let headers = message.headers().into_iter().flat_map(rdkafka::message::Headers::iter);
    let headers = headers.filter(|header| !header.key.starts_with("walbrook.letter"));
    let headers = headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect();
    (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec), headers)
}

fn header<'m>(message: &'m OwnedMessage, name: &str) -> Option<&'m str> {
    let found = message.headers()?.iter().find(|header| header.key == name)?;
    std::str::from_utf8(found.value?).ok()
}

/// Writes bytes that are no change, and gives them as they are.
fn poison(world: &World, table: &Table) -> Vec<Parts> {
    type Sent<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [(&'a str, &'a [u8])]);
    let all: [Sent<'_>; 4] = [
        (
            Some(b"\x00\xff"),
            Some(b"no envelope at all \xfe"),
            &[("a", b"1"), ("a", b"\x00\xff"), ("walbrook.seq", b"x")],
        ),
        (None, Some(b"\x00\x00\x00\x00\x63\x02\x02"), &[]),
        (Some(b""), Some(b"\x00\x00\x00\x00\x02"), &[("empty", b"")]),
        (Some(b"k"), Some(b""), &[]),
    ];
    for (key, value, headers) in all {
        world.send_with((&table.topic, 1), key, value, headers);
    }
    let owned = |bytes: &[u8]| bytes.to_vec();
    let headers =
        |headers: &[(&str, &[u8])]| headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    all.iter().map(|(key, value, all)| (key.map(owned), value.map(owned), headers(all))).collect()
}

#[tokio::test]
async fn what_cannot_be_decoded_is_put_aside_and_the_table_goes_on() {
    let Some(world) = World::new("put aside") else { return };
    let table = world.table("orders", Format::Avro);
    world.create(&table.topic, 2).await;
    world.send(&table, &table.change(Op::Insert, seq(1, 1), 1, "n"), 1, 2);
    let expected = poison(&world, &table);
    world.send(&table, &table.change(Op::Insert, seq(2, 1), 2, "n"), 1, 2);
    world.flush();
    let mut reader = Reader::start(source(&world, &[&table.topic]), None).await.unwrap();
    reader.changes(2).await.unwrap();
    reader.until("the letters", |reader| open(reader, &table) == Some(4)).await.unwrap();
    let found = world.messages(&dead(&world));
    assert_eq!(found.iter().map(parts).collect::<Vec<_>>(), expected);
    for (offset, letter) in found.iter().enumerate() {
        assert_eq!(header(letter, "walbrook.letter.topic"), Some(table.topic.as_str()));
        assert_eq!(header(letter, "walbrook.letter.partition"), Some("1"));
        assert_eq!(header(letter, "walbrook.letter.offset"), Some((offset + 1).to_string().as_str()));
        assert_eq!(header(letter, "walbrook.letter.pipeline"), Some("merge"));
        assert!(!header(letter, "walbrook.letter.error").unwrap().contains("no envelope at all"));
    }
    let reasons: Vec<_> = found.iter().map(|letter| header(letter, "walbrook.letter.reason").unwrap()).collect();
    assert_eq!(reasons, ["bytes", "schema", "bytes", "bytes"]);
    let status = reader.source.status().topics().remove(&table.topic).unwrap();
    assert_eq!((status.undecodable, status.left_out, status.letters[&Reason::Bytes]), (4, 0, 3));
    assert!(reader.batches.iter().all(|batch| batch.stopped.is_empty()));

    // From before the letters: they are put aside once more, and known to be the same.
    drop(reader);
    let mut reader = Reader::start(source(&world, &[&table.topic]), None).await.unwrap();
    reader.until("the letters", |reader| open(reader, &table) == Some(4)).await.unwrap();
    let report = replay(&world, Order::Look, false).await;
    assert_eq!((report.found.values().sum::<u64>(), report.repeated, report.sent), (4, 4, 0));
    let checkpoint = settled(&mut reader, &world, &table).await;
    let missing = crate::open_letters(&checkpoint).unwrap();
    assert_eq!(missing[&table.topic].iter().map(|letter| letter.offset).collect::<Vec<_>>(), [1, 2, 3, 4]);

    // Sent again as they are, they come back; given up, they are gone, after a restart too.
    assert_eq!(replay(&world, Order::Send, false).await.sent, 4);
    reader.until("the same letters", |_| world.messages(&dead(&world)).len() == 12).await.unwrap();
    reader.silence().await;
    assert_eq!(open(&reader, &table), Some(4));
    assert_eq!(world.messages(&dead(&world))[8..].iter().map(parts).collect::<Vec<_>>(), expected);
    let report = replay(&world, Order::Discard, false).await;
    assert_eq!((report.given_up, report.repeated), (4, 0), "only those that came back");
    reader.until("no letter", |reader| open(reader, &table) == Some(0)).await.unwrap();
    let report = replay(&world, Order::Send, false).await;
    assert_eq!(report, Report::default(), "nothing is left to deal with");
    let checkpoint = settled(&mut reader, &world, &table).await;
    drop(reader);
    let mut reader = Reader::start(source(&world, &[&table.topic]), Some(checkpoint)).await.unwrap();
    // All of them again: no harm is done.
    assert_eq!(replay(&world, Order::Send, true).await.sent, 8);
    let messages = |reader: &Reader| reader.source.status().topics().get(&table.topic).map(|topic| topic.messages);
    reader.until("them to be read", |reader| messages(reader) == Some(8)).await.unwrap();
    reader.silence().await;
    assert_eq!((open(&reader, &table), world.messages(&dead(&world)).len()), (Some(0), 12));
}

/// A change of Avro whose schema the registry does not have yet, under the number that it will have.
fn of_the_future(world: &World) -> Table {
    let mut later = world.table("later", Format::Avro);
    later.topic = format!("{}.public.orders", world.prefix);
    later
}

#[tokio::test]
async fn a_letter_that_is_mended_is_read_in_its_place() {
    let Some(world) = World::new("mended") else { return };
    let table = world.table("orders", Format::Avro);
    world.create(&table.topic, 1).await;
    world.create(&format!("{}.checkpoints", world.prefix), 1).await;
    let mut sent = Vec::new();
    let mut send = |table: &Table, op: Op, n: u64, name: &str| {
        let change = table.change(op, seq(n, u64::from(n != 3)), 1, name);
        world.send(table, &change, 0, 1);
        sent.push(told(&change));
    };
    send(&table, Op::Insert, 1, "one");
    world.record(seq(1, 1), &[&table]);
    let mut reader = Reader::start(following(&world, &[&table.topic]), None).await.unwrap();
    let covered = |reader: &Reader| reader.batches.last().and_then(|batch| batch.covered);
    reader.until("the watermark", |reader| covered(reader) == Some(seq(1, 1))).await.unwrap();

    // The registry forgets the schemas of these, for a while.
    let later = of_the_future(&world);
    let forgotten = world.registry.forget("later");
    send(&later, Op::Update, 2, "two");
    // A read of a slice, and the slice's end: a sweep would remove the row.
    send(&later, Op::Read, 3, "three");
    send(&table, Op::SnapshotEnd, 3, "");
    // It builds on the second.
    let change = table.partial(seq(4, 1), 1);
    world.send(&table, &change, 0, 1);
    // Of another key.
    world.send(&table, &table.change(Op::Insert, seq(5, 1), 9, "nine"), 0, 1);
    world.record(seq(5, 1), &[&table]);
    reader.changes(2).await.unwrap();
    assert_eq!(told(&reader.changes[1]).3, Some(9));
    reader.until("the letters", |reader| open(reader, &table) == Some(4)).await.unwrap();
    let complete = |reader: &Reader| reader.batches.iter().filter_map(|batch| batch.complete_until_us).max();
    reader.until("the record", |reader| complete(reader) == Some(5)).await.unwrap();
    reader.silence().await;
    let highest = reader.batches.iter().filter_map(|batch| batch.covered).max();
    assert_eq!(highest, Some(seq(1, 1)), "no grave may be forgotten while letters are open");
    let found = world.messages(&dead(&world));
    let reasons: Vec<_> = found.iter().map(|letter| header(letter, "walbrook.letter.reason").unwrap()).collect();
    assert_eq!(reasons, ["schema", "schema", "dependent", "dependent"]);

    // Not mended yet: all of them come back, in their order. What only builds on others is not given up.
    assert_eq!(replay(&world, Order::Send, false).await.sent, 4);
    reader.until("the same letters", |_| world.messages(&dead(&world)).len() == 8).await.unwrap();
    let checkpoint = settled(&mut reader, &world, &table).await;
    drop(reader);
    world.registry.remember(forgotten);
    assert_eq!(replay(&world, Order::Send, false).await.sent, 4);
    let mut reader = Reader::start(following(&world, &[&table.topic]), Some(checkpoint)).await.unwrap();
    reader.changes(4).await.unwrap();
    let seqs: Vec<Seq> = reader.changes.iter().map(|change| change.seq).collect();
    assert_eq!(seqs, [seq(2, 1), seq(3, 0), seq(3, 0), seq(4, 1)], "with the end of the slice behind its read");
    reader.until("no letter", |reader| open(reader, &table) == Some(0)).await.unwrap();
    world.record(seq(6, 1), &[&table]);
    reader.until("the watermark", |reader| covered(reader) == Some(seq(6, 1))).await.unwrap();
}

#[tokio::test]
async fn what_no_table_can_store_is_put_aside_before_the_sink_sees_it() {
    let Some(world) = World::new("unstorable") else { return };
    let table = world.table("orders", Format::Avro);
    world.create(&table.topic, 1).await;
    world.create(&format!("{}.checkpoints", world.prefix), 1).await;
    let change = |op, seq, id, name| table.change(op, seq, id, name);
    world.send(&table, &change(Op::Insert, seq(1, 1), 1, "one"), 0, 1);
    world.send_spoilt(&table, &change(Op::Update, seq(2, 1), 1, SPOILT), 0, 1);
    world.send_spoilt(&table, &change(Op::Read, seq(3, 0), 2, SPOILT), 0, 1);
    // Both build on what is missing: the end of a slice, and an update that leaves the name out.
    world.send(&table, &change(Op::SnapshotEnd, seq(3, 0), 2, ""), 0, 1);
    world.send(&table, &table.partial(seq(4, 1), 1), 0, 1);
    // Another row; and the same one, put right at the source.
    world.send(&table, &change(Op::Insert, seq(5, 1), 9, "nine"), 0, 1);
    world.send(&table, &change(Op::Update, seq(6, 1), 1, "right"), 0, 1);
    world.record(seq(6, 1), &[&table]);
    let mut reader = Reader::start(following(&world, &[&table.topic]), None).await.unwrap();
    reader.changes(3).await.unwrap();
    reader.until("the letters", |reader| open(reader, &table) == Some(4)).await.unwrap();
    let seqs = |reader: &Reader| reader.changes.iter().map(|change| change.seq).collect::<Vec<Seq>>();
    assert_eq!(seqs(&reader), [seq(1, 1), seq(5, 1), seq(6, 1)]);
    let complete = |reader: &Reader| reader.batches.iter().filter_map(|batch| batch.complete_until_us).max();
    reader.until("the record", |reader| complete(reader) == Some(6)).await.unwrap();
    let covered = |reader: &Reader| reader.batches.iter().filter_map(|batch| batch.covered).max();
    assert!(covered(&reader) < Some(seq(2, 1)), "no grave may be forgotten while letters are open");
    assert!(reader.batches.iter().all(|batch| batch.stopped.is_empty()));
    let found = world.messages(&dead(&world));
    let reasons: Vec<_> = found.iter().map(|letter| header(letter, "walbrook.letter.reason").unwrap()).collect();
    assert_eq!(reasons, ["value", "value", "dependent", "dependent"]);
    let error = header(&found[0], "walbrook.letter.error").unwrap();
    assert!(error.starts_with("column name: "), "{error}");
    let status = reader.source.status().topics().remove(&table.topic).unwrap();
    assert_eq!((status.undecodable, status.letters[&Reason::Value]), (4, 2));

    // Sent again as they are, they come back in their order. The schema that says what the cells are is put right.
    assert_eq!(replay(&world, Order::Send, false).await.sent, 4);
    reader.until("the same letters", |_| world.messages(&dead(&world)).len() == 8).await.unwrap();
    let checkpoint = settled(&mut reader, &world, &table).await;
    drop(reader);
    world
        .registry
        .edit_values(r#"{"name":"name","type":["null","string"]"#, r#"{"name":"name","type":["null","bytes"]"#);
    assert_eq!(replay(&world, Order::Send, false).await.sent, 4);
    let mut reader = Reader::start(following(&world, &[&table.topic]), Some(checkpoint)).await.unwrap();
    reader.changes(4).await.unwrap();
    assert_eq!(seqs(&reader), [seq(2, 1), seq(3, 0), seq(3, 0), seq(4, 1)], "late, for the guard to judge");
    reader.until("no letter", |reader| open(reader, &table) == Some(0)).await.unwrap();
    world.record(seq(7, 1), &[&table]);
    reader.until("the watermark", |reader| covered(reader) == Some(seq(7, 1))).await.unwrap();
}

#[tokio::test]
async fn a_topic_with_too_many_letters_stops_until_the_bound_is_raised() {
    let Some(world) = World::new("too many") else { return };
    let table = world.table("orders", Format::Avro);
    world.create(&table.topic, 1).await;
    for n in 0..15 {
        world.send_bytes(&table.topic, 0, Some(b"k"), Some(n.to_string().as_bytes()));
    }
    world.flush();
    let mut reader = Reader::start(bounded(&world, &[&table.topic], 10), None).await.unwrap();
    let stopped = |reader: &Reader| reader.batches.iter().any(|batch| !batch.stopped.is_empty());
    reader.until("the stop", stopped).await.unwrap();
    let stop = reader.batches.iter().find_map(|batch| batch.stopped.first()).unwrap();
    assert!(stop.error.to_string().contains("dead_letters_max"), "{}", stop.error);
    assert_eq!((world.messages(&dead(&world)).len(), open(&reader, &table)), (10, Some(10)));
    drop(reader);

    // At its bound a topic takes back what comes again.
    let mut reader = Reader::start(bounded(&world, &[&table.topic], 15), None).await.unwrap();
    reader.until("the letters", |reader| open(reader, &table) == Some(15)).await.unwrap();
    let before = world.messages(&dead(&world)).len();
    assert_eq!(replay(&world, Order::Send, false).await.sent, 15);
    reader.until("the same letters", |_| world.messages(&dead(&world)).len() == before + 15).await.unwrap();
    assert!(!stopped(&reader));
    // The topic of letters is gone; what is missing is known without it.
    let missing = crate::open_letters(&settled(&mut reader, &world, &table).await).unwrap();
    world.delete(&dead(&world)).await;
    let client = world.settings(&[]).client;
    let give_up = move || Replay { client: &client, group: "g".to_owned(), again: false }.give_up(&missing);
    assert_eq!(tokio::task::spawn_blocking(give_up).await.unwrap().unwrap(), 15);
    reader.until("no letter", |reader| open(reader, &table) == Some(0)).await.unwrap();
    world.send(&table, &table.change(Op::Insert, seq(1, 1), 1, "n"), 0, 1);
    world.flush();
    reader.changes(1).await.unwrap();
}

#[tokio::test]
async fn a_half_goes_on_where_its_other_half_is_a_letter() {
    let Some(world) = World::new("half a letter") else { return };
    let table = world.table("orders", Format::Avro);
    world.create(&table.topic, 2).await;
    world.create(&format!("{}.checkpoints", world.prefix), 1).await;
    let later = of_the_future(&world);
    let forgotten = world.registry.forget("later");
    let [delete, insert] = table.moved(seq(5, 1), 1, 2);
    world.send(&table, &table.change(Op::Insert, seq(4, 1), 1, "n"), 0, 2);
    world.send(&table, &delete, 0, 2);
    world.send(&later, &later.moved(seq(5, 1), 1, 2)[1], 1, 2);
    world.send(&table, &table.change(Op::Insert, seq(6, 1), 3, "n"), 0, 2);
    world.record(seq(6, 1), &[&table]);
    let mut reader = Reader::start(following(&world, &[&table.topic]), None).await.unwrap();
    reader.changes(3).await.unwrap();
    reader.until("the letter", |reader| open(reader, &table) == Some(1)).await.unwrap();
    let seqs: Vec<Seq> = reader.changes.iter().map(|change| change.seq).collect();
    assert_eq!(seqs, [seq(4, 1), seq(5, 1), seq(6, 1)]);
    let checkpoint = settled(&mut reader, &world, &table).await;
    let covered = |reader: &Reader| reader.batches.iter().filter_map(|batch| batch.covered).max();
    assert_eq!(covered(&reader), Some(Seq::ZERO), "a letter is open");
    drop(reader);

    world.registry.remember(forgotten);
    assert_eq!(replay(&world, Order::Send, false).await.sent, 1);
    let mut reader = Reader::start(following(&world, &[&table.topic]), Some(checkpoint)).await.unwrap();
    reader.changes(1).await.unwrap();
    assert_eq!((reader.changes[0].seq, reader.changes[0].op), (insert.seq, Op::Insert), "late, for the guard to judge");
    reader.until("no letter", |reader| open(reader, &table) == Some(0)).await.unwrap();
    world.record(seq(7, 1), &[&table]);
    reader.until("the watermark", |reader| covered(reader) == Some(seq(7, 1))).await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_only_added_to_has_no_letters() {
    let Some(world) = World::new("append") else { return };
    let table = world.table("orders", Format::Avro);
    world.create(&table.topic, 1).await;
    world.create(&format!("{}.checkpoints", world.prefix), 1).await;
    let later = of_the_future(&world);
    let forgotten = world.registry.forget("later");
    world.send(&table, &table.change(Op::Insert, seq(1, 1), 1, "n"), 0, 1);
    world.send(&later, &later.change(Op::Insert, seq(2, 1), 2, "n"), 0, 1);
    world.record(seq(2, 1), &[&table]);
    let appended = || following(&world, &[&table.topic]).with_whole_slices(|_| true);
    let stop = |reader: &Reader| reader.batches.iter().flat_map(|batch| &batch.stopped).map(|stop| stop.since).next();
    let mut reader = Reader::start(appended(), None).await.unwrap();
    reader.until("the stop", |reader| stop(reader).is_some()).await.unwrap();
    assert_eq!((stop(&reader), reader.changes.len()), (Some(Some(seq(2, 1))), 1));
    assert!(world.messages(&dead(&world)).is_empty());
    drop(reader);

    // One from before the table was such a one, or was known to be: it is not taken for a repeat.
    let mut reader = Reader::start(following(&world, &[&table.topic]), None).await.unwrap();
    reader.until("the letter", |reader| open(reader, &table) == Some(1)).await.unwrap();
    let checkpoint = settled(&mut reader, &world, &table).await;
    drop(reader);
    world.registry.remember(forgotten);
    assert_eq!(replay(&world, Order::Send, false).await.sent, 1);
    let mut reader = Reader::start(appended(), Some(checkpoint)).await.unwrap();
    reader.until("the stop", |reader| stop(reader).is_some()).await.unwrap();
    let error = reader.batches.iter().flat_map(|batch| &batch.stopped).map(|stop| stop.error.to_string()).next();
    assert!(error.as_ref().is_some_and(|error| error.contains("only added to")), "{error:?}");
    assert!(reader.changes.is_empty());
}
