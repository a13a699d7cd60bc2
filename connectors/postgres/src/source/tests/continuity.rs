//! Lost logs of real servers are gaps, and an accepted gap goes on.

use super::*;
use crate::gap::{accept_gap, find_gap};

/// A source that has read a table and streamed a row; with `hold` the row's transaction is not durable.
async fn streaming(bench: &Bench, sink: &mut Sink, hold: bool) -> PostgresSource {
    bench.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'old')").await;
    let mut source = started(bench, sink).await;
    drive(&mut source, sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
    sink.hold = hold;
    bench.run("INSERT INTO t VALUES (2, 'streamed')").await;
    drive(&mut source, sink, |sink| sink.has("t", 2)).await;
    source
}

async fn is_gap(bench: &Bench, sink: &mut Sink, cause: &str) {
    let mut source = bench.source();
    let error = match source.start(sink.durable.clone()).await {
        Err(error) => error,
        Ok(()) => drive_to_error(&mut source, sink).await,
    };
    assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
    assert!(error.to_string().contains(cause), "{error}");
    assert!(error.to_string().contains("walbrook gap accept"), "{error}");
    assert_eq!(source.status().state(), State::Gap);
    drop(source);
    bench.slot_is_free().await;
    let found = find_gap(&bench.settings, sink.durable.as_ref()).await.unwrap().expect("the same gap");
    assert!(found.to_string().contains(cause), "{found}");
    bench.slot_is_free().await;
}

async fn no_gap(bench: &Bench, sink: &Sink) {
    let found = find_gap(&bench.settings, sink.durable.as_ref()).await.unwrap();
    assert!(found.is_none(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_slot_is_a_gap_until_it_is_accepted() {
    on_servers("dropped", async |bench| {
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink, false).await;
        source.stop(sink.durable.clone()).await.unwrap();
        let slot = &bench.settings.slot;
        bench.run(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
        bench.run("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3, 'unseen')").await;
        is_gap(bench, &mut sink, "does not exist").await;
        let accepted = accept_gap(&bench.settings, sink.durable.as_ref(), "the slot was dropped").await.unwrap();
        sink.durable = Some(accepted.checkpoint);
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 2).await;
        bench.check(&sink, "t").await;
        bench.run("UPDATE t SET v = 'after' WHERE id = 2").await;
        drive(&mut source, &mut sink, |sink| sink.rows("t").iter().any(|row| row[1] == "after")).await;
        let generations: Vec<u16> = sink.changes.iter().map(|change| change.seq.generation()).collect();
        assert!(generations.is_sorted() && generations.first() == Some(&0) && generations.last() == Some(&1));
        let progress = Progress::from_checkpoint(sink.newest.as_ref().unwrap()).unwrap();
        let reasons: Vec<&str> = progress.gaps.iter().map(|gap| gap.reason.as_str()).collect();
        assert_eq!(reasons, ["the slot was dropped"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_was_recreated_or_moved_on_is_a_gap() {
    on_servers("moved", async |bench| {
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink, false).await;
        source.stop(sink.durable.clone()).await.unwrap();
        let slot = &bench.settings.slot;
        bench.run("INSERT INTO t VALUES (3, 'skipped')").await;
        bench.run(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")).await;
        is_gap(bench, &mut sink, "moved on or recreated").await;
        for (plugin, cause) in [("pgoutput", "moved on or recreated"), ("test_decoding", "recreated as another")] {
            bench.run(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
            bench.run(&format!("SELECT pg_create_logical_replication_slot('{slot}', '{plugin}')")).await;
            is_gap(bench, &mut sink, cause).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_was_dropped_is_a_gap() {
    on_servers("publication", async |bench| {
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink, false).await;
        let publication = &bench.settings.publication;
        bench.run(&format!("DROP PUBLICATION {publication}")).await;
        bench.run("INSERT INTO t VALUES (3, 'unpublished')").await;
        // While it runs: version 15 fails, version 18 says no more than a warning.
        let error = drive_to_error(&mut source, &mut sink).await;
        assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
        assert!(error.to_string().contains("walbrook gap accept"), "{error}");
        drop(source);
        bench.slot_is_free().await;
        is_gap(bench, &mut sink, "publication").await;
        bench.run(&format!("CREATE PUBLICATION {publication} FOR TABLE t")).await;
        is_gap(bench, &mut sink, "dropped and created again").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_without_a_checkpoint_is_a_gap() {
    on_servers("foreign", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY)").await;
        bench.run(&format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", bench.settings.slot)).await;
        is_gap(bench, &mut Sink::default(), "the sink has no checkpoint").await;
        let accepted = accept_gap(&bench.settings, None, "the warehouse was lost").await.unwrap();
        assert_eq!(accepted.generation, 1);
        let mut sink = Sink { durable: Some(accepted.checkpoint), ..Sink::default() };
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        bench.run("INSERT INTO t VALUES (1)").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 1)).await;
        assert!(sink.changes.iter().all(|change| change.seq.generation() == 1));
        // A slot that is in use is not taken away.
        let error = accept_gap(&bench.settings, None, "again").await.unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_before_the_intent_is_durable() {
    on_servers("intent", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
        let mut source = bench.source();
        source.start(None).await.unwrap();
        let first = source.next_batch(None).await.unwrap();
        assert!(first.urgent && first.changes.is_empty());
        let intent = first.checkpoint.unwrap();
        assert_eq!(Progress::from_checkpoint(&intent).unwrap().phase, Phase::Intent);
        for _ in 0..10 {
            let batch = source.next_batch(None).await.unwrap();
            assert!(batch.changes.is_empty() && batch.checkpoint.is_none());
        }
        let made = "SELECT (SELECT count(*) FROM pg_publication) \
                    + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())";
        assert_eq!(bench.value(made).await, "0");
        drop(source);
        // An interrupted first start: the slot was made, nothing of it is in a checkpoint.
        bench.run(&format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", bench.settings.slot)).await;
        let mut sink = Sink { durable: Some(intent), ..Sink::default() };
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        bench.check(&sink, "t").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_another_last_transaction_is_a_gap() {
    on_servers("content", async |bench| {
        let mut sink = Sink::default();
        let source = streaming(bench, &mut sink, true).await;
        drop(source);
        bench.slot_is_free().await;
        // As if the checkpoint of the last transaction had become durable and was never confirmed.
        let newest = Progress::from_checkpoint(sink.newest.as_ref().unwrap()).unwrap();
        let last = newest.last_commit.expect("a transaction");
        assert!(bench.confirmed().await <= last.final_lsn);
        let other = crate::checkpoint::Commit { xid: last.xid + 1, ..last };
        sink.durable = Some(Progress { last_commit: Some(other), ..newest.clone() }.to_checkpoint().unwrap());
        is_gap(bench, &mut sink, "another log answers").await;
        assert!(bench.confirmed().await <= last.final_lsn, "acknowledged before it was known to be the log");
        sink.durable = Some(newest.to_checkpoint().unwrap());
        // The log that it was: read again, and nothing of it is acknowledged.
        let confirmed = bench.confirmed().await;
        no_gap(bench, &sink).await;
        bench.slot_is_free().await;
        assert_eq!(bench.confirmed().await, confirmed);
        let mut source = started(bench, &sink).await;
        bench.run("INSERT INTO t VALUES (3, 'more')").await;
        let before = sink.streamed().len();
        drive(&mut source, &mut sink, |sink| sink.has("t", 3)).await;
        assert_eq!(sink.streamed().len(), before + 1, "a covered transaction was handed over again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_names_are_a_gap() {
    on_servers("names", async |bench| {
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink, false).await;
        source.stop(sink.durable.clone()).await.unwrap();
        let settings = Postgres { slot: "another".into(), ..bench.settings.clone() };
        let error = PostgresSource::new(settings).start(sink.durable.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gap);
        assert!(error.to_string().contains("source.postgres.slot"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_is_well_has_no_gap_at_any_time() {
    on_servers("well", async |bench| {
        let mut sink = Sink::default();
        no_gap(bench, &sink).await;
        bench.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'old')").await;
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.durable.is_some()).await;
        no_gap(bench, &sink).await;
        // The snapshot is on its way: its slot is there and not in use.
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        let snapshot = Sink { durable: sink.durable.clone(), ..Sink::default() };
        // Meanwhile it begins to stream, perhaps between two steps of such a look.
        for _ in 0..8 {
            no_gap(bench, &snapshot).await;
        }
        for id in 2..6 {
            bench.run(&format!("INSERT INTO t VALUES ({id}, 'streamed')")).await;
            drive(&mut source, &mut sink, |sink| sink.rows("t").len() == id).await;
            // While it streams, too.
            no_gap(bench, &sink).await;
        }
        drop(source);
        bench.slot_is_free().await;
        no_gap(bench, &sink).await;
    })
    .await;
}
