//! Where changes and messages come from, against what the server itself says of them.

use std::sync::Arc;

use bytes::Bytes;
use walbrook_model::{Origin, SnapshotMarker, Transaction};

use super::*;
use crate::wire::pgoutput::{self, Message};

const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY); \
     CREATE TABLE empty (id int PRIMARY KEY); \
     CREATE TABLE d (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED); ALTER TABLE d REPLICA IDENTITY FULL";

/// A record of the log: the letter of its message, its place, its transaction's number, and where the commit before ends.
type Place = (char, u64, Option<i64>, Option<u64>);

/// The log since a slot was made, as the server shows it.
async fn log(bench: &Bench, slot: &str) -> Vec<Place> {
    let sql = format!(
        "SELECT lsn, xid::text, encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, \
         'proto_version', '1', 'publication_names', '{}', 'messages', 'true')",
        bench.settings.publication
    );
    let (mut places, mut last_commit) = (Vec::new(), None);
    let mut xid = None;
    for row in bench.rows(&sql).await {
        let lsn = row[0].parse::<crate::wire::Lsn>().unwrap().0;
        let data: Vec<u8> =
            (0..row[2].len()).step_by(2).map(|at| u8::from_str_radix(&row[2][at..at + 2], 16).unwrap()).collect();
        match pgoutput::decode(&Bytes::from(data)).unwrap() {
            Message::Begin { .. } => xid = row[1].parse().ok(),
            Message::Commit { end_lsn, .. } => last_commit = Some(end_lsn.0),
            Message::Insert { .. } => places.push(('I', lsn, xid, last_commit)),
            Message::Update { .. } => places.push(('U', lsn, xid, last_commit)),
            Message::Delete { .. } => places.push(('D', lsn, xid, last_commit)),
            Message::Truncate { relations, .. } => {
                places.extend(relations.iter().map(|_| ('T', lsn, xid, last_commit)));
            }
            Message::Message(message) if message.transactional => places.push(('M', lsn, xid, last_commit)),
            Message::Message(_) => {
                last_commit = Some(lsn);
                places.push(('M', lsn, None, last_commit));
            }
            Message::Origin { .. } | Message::Relation(_) | Message::Type { .. } => {}
        }
    }
    places
}

/// What we say, in the order of the log.
fn said(sink: &Sink) -> Vec<Place> {
    let place = |letter, origin: &Origin| {
        let transaction = origin.transaction.as_ref().unwrap();
        (letter, origin.position.unwrap(), transaction.id, transaction.previous_commit)
    };
    let mut places = Vec::new();
    let mut messages = sink.messages.iter().peekable();
    for (index, change) in sink.changes.iter().enumerate() {
        while let Some(message) = messages.next_if(|message| message.after <= index) {
            places.push(place('M', &message.origin));
        }
        match (change.op, &change.moved) {
            (Op::Insert, Some(_)) | (Op::Update, None) => places.push(place('U', &change.origin)),
            (Op::Insert, None) => places.push(place('I', &change.origin)),
            (Op::Delete, None) => places.push(place('D', &change.origin)),
            (Op::Truncate, None) => places.push(place('T', &change.origin)),
            _ => {}
        }
    }
    places.extend(messages.map(|message| place('M', &message.origin)));
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_lies_where_the_server_says() {
    on_servers("places", async |bench| {
        bench.run(TABLES).await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 4).await;
        let other = format!("{}_o", bench.settings.slot);
        bench.run(&format!("SELECT pg_create_logical_replication_slot('{other}', 'pgoutput')")).await;
        for statement in [
            "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20) i",
            "COPY u FROM PROGRAM 'seq 1 5'",
            "SELECT pg_logical_emit_message(false, 'alone', 'a')",
            "SELECT pg_logical_emit_message(false, 'alone', 'b')",
            "UPDATE t SET v = 'w' WHERE id < 4; UPDATE t SET id = 100 WHERE id = 4; DELETE FROM t WHERE id > 17",
            "BEGIN; SELECT pg_logical_emit_message(true, 'inside', 'c'); INSERT INTO u VALUES (7); \
             SELECT pg_logical_emit_message(true, 'inside', 'd'); UPDATE t SET v = 'x' WHERE id = 9; COMMIT",
            "SELECT pg_logical_emit_message(true, 'inside', 'e')",
            "TRUNCATE t, u",
            "INSERT INTO d VALUES (1)",
            "INSERT INTO t VALUES (999, 'last')",
        ] {
            bench.run(statement).await;
        }
        drive(&mut source, &mut sink, |sink| sink.rows("t").iter().any(|row| row[0] == "999")).await;
        let wanted = log(bench, &other).await;
        assert_eq!((said(&sink), wanted[0].3), (wanted, None));
        let contents: Vec<&[u8]> = sink.messages.iter().map(|message| &*message.content).collect();
        assert_eq!(contents, [b"a", b"b", b"c", b"d", b"e"]);
        for pair in sink.streamed().windows(2) {
            let [one, two] = pair else { unreachable!() };
            let transaction = |change: &Change| change.origin.transaction.clone().unwrap();
            let same = one.seq.position() == two.seq.position();
            assert_eq!(same, Arc::ptr_eq(&transaction(one), &transaction(two)));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_brings_no_message_twice_and_forgets_no_commit() {
    on_servers("messages", async |bench| {
        bench.run(TABLES).await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 4).await;
        bench.run("INSERT INTO u VALUES (1)").await;
        drive(&mut source, &mut sink, |sink| sink.has("u", 1)).await;
        for round in 0..3 {
            bench.run(&format!("SELECT pg_logical_emit_message(false, 'alone', '{round}')")).await;
            // What is written without a transaction is sent once something flushes it.
            bench.run(&format!("SELECT pg_logical_emit_message(true, 'inside', '{round}')")).await;
            drive(&mut source, &mut sink, |sink| sink.messages.len() == 2 * round + 2).await;
            if round == 1 {
                // Nothing but the durable checkpoint keeps what was handed over from coming again.
                source.stop(sink.durable.clone()).await.unwrap();
            }
            drop(source);
            bench.slot_is_free().await;
            source = started(bench, &sink).await;
        }
        bench.run("INSERT INTO u VALUES (2)").await;
        drive(&mut source, &mut sink, |sink| sink.has("u", 2)).await;
        let said: Vec<(&str, &[u8])> =
            sink.messages.iter().map(|message| (message.prefix.as_str(), &*message.content)).collect();
        let wanted: Vec<(&str, &[u8])> =
            [b"0", b"1", b"2"].iter().flat_map(|round| [("alone", &round[..]), ("inside", &round[..])]).collect();
        assert_eq!(said, wanted);
        let last = sink.changes.last().unwrap().origin.transaction.clone().unwrap();
        assert!(last.previous_commit.is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replicated_transaction_names_its_origin() {
    on_servers("replicated", async |bench| {
        bench.run(TABLES).await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 4).await;
        let name = &bench.settings.database;
        bench.run(&format!("SELECT pg_replication_origin_create('{name}')")).await;
        bench.run(&format!("SELECT pg_replication_origin_session_setup('{name}')")).await;
        bench
            .run("BEGIN; SELECT pg_replication_origin_xact_setup('0/77', now()); INSERT INTO u VALUES (1), (2); COMMIT")
            .await;
        bench.run("SELECT pg_replication_origin_session_reset()").await;
        bench.run("INSERT INTO u VALUES (3)").await;
        drive(&mut source, &mut sink, |sink| sink.has("u", 3)).await;
        let from: Vec<_> = sink
            .streamed()
            .iter()
            .map(|change| change.origin.transaction.as_ref().unwrap().replayed_from.clone())
            .collect();
        let upstream = Some((name.clone(), Some(0x77)));
        assert_eq!(from, [upstream.clone(), upstream, None]);
        bench.run(&format!("SELECT pg_replication_origin_drop('{name}')")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_know_their_slice_and_where_they_stand_in_it() {
    on_servers("reads", async |bench| {
        bench.run(TABLES).await;
        bench.run("INSERT INTO t SELECT i, repeat('v', 500) FROM generate_series(1, 20000) i").await;
        bench.run("INSERT INTO u SELECT generate_series(1, 3)").await;
        let mut settings = bench.settings.clone();
        settings.snapshot = Snapshot { sessions: 4, range_bytes: 1 << 20, ..settings.snapshot };
        let mut source = PostgresSource::new(settings);
        let mut sink = Sink::default();
        let xid = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
        let before: i64 = bench.value(xid).await.parse().unwrap();
        source.start(None).await.unwrap();
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 4).await;
        let after: i64 = bench.value(xid).await.parse().unwrap();
        let transaction: Arc<Transaction> = sink.changes[0].origin.transaction.clone().unwrap();
        assert!((before..=after).contains(&transaction.id.unwrap()));
        assert_eq!((transaction.previous_commit, &transaction.replayed_from), (None, &None));
        for change in &sink.changes {
            assert_eq!(change.origin.position, Some(change.seq.position()));
            assert!(Arc::ptr_eq(change.origin.transaction.as_ref().unwrap(), &transaction));
        }
        let reads: Vec<&Change> = sink.changes.iter().filter(|change| change.op == Op::Read).collect();
        let marker = |change: &Change| change.origin.snapshot;
        assert_eq!(marker(reads[0]), SnapshotMarker::First);
        assert_eq!(marker(reads[reads.len() - 1]), SnapshotMarker::Last);
        for (table, count) in [("t", 20_000), ("u", 3)] {
            let of: Vec<&&Change> = reads.iter().filter(|read| read.schema.table.name == table).collect();
            assert_eq!(of.len(), count);
            let inner = of.iter().filter(|read| marker(read) == SnapshotMarker::True).count();
            assert_eq!(inner, count - 2);
            assert!(matches!(marker(of[0]), SnapshotMarker::First | SnapshotMarker::FirstInTable));
            assert!(matches!(marker(of[count - 1]), SnapshotMarker::Last | SnapshotMarker::LastInTable));
        }
        for table in ["t", "u", "empty"] {
            bench.check(&sink, table).await;
        }
    })
    .await;
}
