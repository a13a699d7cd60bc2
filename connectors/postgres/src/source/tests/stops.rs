//! A table that cannot be captured, and the others that go on.

use super::*;

/// Has a table that can be captured, with a row, and commits a row of it after each step.
const GOOD: &str = "CREATE TABLE good (id int PRIMARY KEY); INSERT INTO good VALUES (1)";

/// The first change that was left out, and the error, of each stop that was told of a table.
fn stops(sink: &Sink, table: &str) -> Vec<(Option<Seq>, String)> {
    let of_table = sink.stopped.iter().filter(|stop| stop.table == TableId::new("public", table));
    of_table.map(|stop| (stop.since, stop.error.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_cannot_be_netted_stops_its_table_at_every_replay() {
    on_servers("netting", async |bench| {
        let settings = Postgres { transaction_bytes_max: 20_000, ..bench.settings.clone() };
        let source = || PostgresSource::new(settings.clone());
        bench.run(GOOD).await;
        bench.run("CREATE TABLE d (id int PRIMARY KEY DEFERRABLE); ALTER TABLE d REPLICA IDENTITY FULL").await;
        let mut sink = Sink::default();
        let mut first = source();
        first.start(None).await.unwrap();
        drive(&mut first, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 2).await;
        bench.run("INSERT INTO d VALUES (1)").await;
        drive(&mut first, &mut sink, |sink| sink.has("d", 1)).await;
        // As the sink does: the checkpoint stays before what a table did not take.
        sink.hold = true;
        bench.run("BEGIN; INSERT INTO d SELECT generate_series(2, 2000); INSERT INTO good VALUES (2); COMMIT").await;
        bench.run("INSERT INTO d VALUES (3000); INSERT INTO good VALUES (3)").await;
        drive(&mut first, &mut sink, |sink| sink.has("good", 3)).await;
        assert!(sink.has("d", 1), "a part of a transaction that cannot be netted was handed over");
        let told = stops(&sink, "d");
        assert_eq!(told[0].0.map(Seq::ordinal), Some(1));
        assert!(told[0].1.contains("transaction_bytes_max"), "{told:?}");
        assert!(sink.stopped.iter().map(|stop| stop.bytes).sum::<u64>() > 2000, "{:?}", sink.stopped);
        drop(first);
        bench.slot_is_free().await;
        let before = std::mem::take(&mut sink.stopped);
        let mut again = source();
        again.start(sink.durable.clone()).await.unwrap();
        drive(&mut again, &mut sink, |sink| !sink.stopped.is_empty()).await;
        assert_eq!(sink.stopped[0].since, before[0].since);
        drop(again);
        bench.slot_is_free().await;
        // With what the remedy says nothing is missing.
        let mut mended = started(bench, &sink).await;
        drive(&mut mended, &mut sink, |sink| sink.has("d", 2001)).await;
        bench.check(&sink, "d").await;
        bench.check(&sink, "good").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_does_not_fit_stops_its_table() {
    on_servers("strange", async |bench| {
        bench.run(GOOD).await;
        bench.run("CREATE TABLE p (id int PRIMARY KEY, u int NOT NULL) PARTITION BY RANGE (id)").await;
        bench.run("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100); INSERT INTO p VALUES (1, 1)").await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 2).await;
        bench.run("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200)").await;
        bench.run("CREATE UNIQUE INDEX pu ON p2 (u); ALTER TABLE p2 REPLICA IDENTITY USING INDEX pu").await;
        sink.hold = true;
        bench.run("INSERT INTO p VALUES (2, 2)").await;
        bench.run("INSERT INTO p VALUES (101, 1); UPDATE p SET id = 102 WHERE id = 101").await;
        bench.run("INSERT INTO good VALUES (2)").await;
        drive(&mut source, &mut sink, |sink| sink.has("good", 2)).await;
        let told = stops(&sink, "p");
        assert!(told.first().is_some_and(|(since, error)| since.is_some() && error.contains("p2")), "{told:?}");
        assert!(sink.has("p", 2), "{:?}", sink.tables);
        drop(source);
        bench.slot_is_free().await;
        // The catalog says it at a start too: the table was read before, so the log says where it stops.
        sink.stopped.clear();
        sink.hold = false;
        let mut source = started(bench, &sink).await;
        bench.run("INSERT INTO good VALUES (3); INSERT INTO p VALUES (103, 3)").await;
        drive(&mut source, &mut sink, |sink| sink.has("good", 3) && !stops(sink, "p").is_empty()).await;
        assert!(stops(&sink, "p").iter().all(|(since, _)| since.is_some()));
        assert!(progress_knows(&sink, "p"));
    })
    .await;
}

fn progress_knows(sink: &Sink, table: &str) -> bool {
    let progress = Progress::from_checkpoint(sink.newest.as_ref().unwrap()).unwrap();
    progress.tables.iter().any(|known| known.table.name == table && known.finished)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_cannot_be_read_is_read_when_it_can_be() {
    on_servers("unread", async |bench| {
        bench.run(GOOD).await;
        bench.run("CREATE TABLE wide (id int PRIMARY KEY, v text)").await;
        bench.run("INSERT INTO wide SELECT i, 'v' FROM generate_series(1, 5) i").await;
        bench.run("INSERT INTO wide VALUES (6, repeat('x', 3000000))").await;
        bench.run("CREATE TABLE keyless (id int PRIMARY KEY, v text)").await;
        let mut settings = bench.settings.clone();
        settings.message_bytes_max = 1 << 20;
        settings.tables.exclude_columns = vec!["public.keyless.id".into()];
        // The publication of a first start is made for tables that all can be captured.
        bench.run(&format!("CREATE PUBLICATION {} FOR TABLE good, wide, keyless", settings.publication)).await;
        let mut sink = Sink::default();
        let mut source = PostgresSource::new(settings.clone());
        source.start(None).await.unwrap();
        drive(&mut source, &mut sink, |sink| sink.has("good", 1) && sink.stopped.len() >= 2).await;
        for (table, wanted) in [("wide", "more than 1048576 bytes"), ("keyless", "is left out")] {
            let told = stops(&sink, table);
            assert!(told.iter().all(|(since, error)| since.is_none() && error.contains(wanted)), "{told:?}");
            assert!(!told.is_empty(), "{table}");
        }
        // Their changes are not handed over, the checkpoint moves, and the others go on.
        bench.run("INSERT INTO wide VALUES (7, 'v'); INSERT INTO keyless VALUES (1, 'v')").await;
        bench.run("INSERT INTO good VALUES (2)").await;
        drive(&mut source, &mut sink, |sink| sink.has("good", 2)).await;
        assert!(sink.streamed().iter().all(|change| change.schema.table.name == "good"));
        assert!(!progress_knows(&sink, "wide") && progress_knows(&sink, "good"));
        source.stop(sink.durable.clone()).await.unwrap();
        bench.slot_is_free().await;
        bench.run("UPDATE wide SET v = 'short' WHERE id = 6").await;
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 3).await;
        bench.run("INSERT INTO wide VALUES (8, 'v')").await;
        drive(&mut source, &mut sink, |sink| sink.has("wide", 8)).await;
        for table in ["good", "wide", "keyless"] {
            bench.check(&sink, table).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_without_a_stream_fails_with_a_table_that_cannot_be_read() {
    on_servers("only", async |bench| {
        bench.run(GOOD).await;
        bench.run("CREATE TABLE wide (id int PRIMARY KEY, v text)").await;
        bench.run("INSERT INTO wide VALUES (6, repeat('x', 3000000))").await;
        let mut settings = bench.settings.clone();
        settings.message_bytes_max = 1 << 20;
        settings.snapshot.mode = SnapshotMode::Only;
        let mut sink = Sink::default();
        let mut source = PostgresSource::new(settings);
        source.start(None).await.unwrap();
        let error = drive_to_error(&mut source, &mut sink).await;
        assert!(error.to_string().contains("public.wide"), "{error}");
    })
    .await;
}
