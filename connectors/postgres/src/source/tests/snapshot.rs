//! Slices: ranges, interruptions, tables that come later.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_tables_are_read_in_ranges_under_load() {
    on_servers("ranges", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
        bench.run("INSERT INTO t SELECT i, repeat('v', 100) FROM generate_series(1, 20000) i").await;
        bench.run("CREATE TABLE empty (id int PRIMARY KEY)").await;
        bench.run("CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY HASH (id)").await;
        bench.run("CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0)").await;
        bench.run("CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1)").await;
        bench.run("INSERT INTO p SELECT i, 'p' FROM generate_series(1, 100) i").await;
        let mut settings = bench.settings.clone();
        settings.snapshot = Snapshot { sessions: 4, range_bytes: 1 << 18, ..settings.snapshot };
        let mut source = PostgresSource::new(settings);
        let mut sink = Sink::default();
        source.start(None).await.unwrap();
        drive(&mut source, &mut sink, |sink| sink.count(Op::Read) > 0).await;
        bench.run("UPDATE t SET v = 'changed' WHERE id % 7 = 0; DELETE FROM t WHERE id % 11 = 0").await;
        bench.run("UPDATE p SET v = 'q' WHERE id < 5").await;
        bench.run("INSERT INTO t VALUES (99999, 'last')").await;
        drive(&mut source, &mut sink, |sink| sink.rows("t").iter().any(|row| row[0] == "99999")).await;
        for table in ["t", "p", "empty"] {
            bench.check(&sink, table).await;
        }
        assert_eq!(sink.count(Op::Read), 20_100);
        let ends: Vec<_> = sink.changes.iter().enumerate().filter(|(_, change)| change.op == Op::SnapshotEnd).collect();
        assert_eq!(ends.len(), 3);
        for (at, end) in ends {
            let of_table = |change: &&Change| change.schema.table == end.schema.table && change.op == Op::Read;
            assert!(!sink.changes[at..].iter().any(|change| of_table(&change)), "a read after its end");
        }
        assert!(source.status().snapshot().values().all(|table| table.finished));
        let slot = "SELECT to_jsonb(s) ->> 'failover' FROM pg_replication_slots s WHERE database = current_database()";
        let version: u32 = bench.value("SELECT current_setting('server_version_num')").await.parse().unwrap();
        assert_eq!(bench.value(slot).await, if version >= 170_000 { "true" } else { "~" });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_snapshot_reads_only_what_is_not_finished() {
    on_servers("interrupted", async |bench| {
        bench.run("CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1), (2)").await;
        bench.run("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
        bench.run("INSERT INTO t SELECT i, repeat('v', 1000) FROM generate_series(1, 60000) i").await;
        let mut source = bench.source();
        let mut sink = Sink::default();
        source.start(None).await.unwrap();
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1 && sink.count(Op::Read) > 3000).await;
        drop(source);
        assert_eq!(sink.count(Op::SnapshotEnd), 1, "it was too fast to be interrupted");
        let first = sink.changes.iter().find(|change| change.op == Op::SnapshotEnd).unwrap();
        assert_eq!(first.schema.table.name, "small");
        bench.run("UPDATE small SET id = 3 WHERE id = 1; DELETE FROM t WHERE id <= 1000").await;
        bench.run("UPDATE t SET v = 'between' WHERE id <= 2000").await;
        let reads = sink.count(Op::Read);
        let mut source = started(bench, &sink).await;
        bench.run("INSERT INTO t VALUES (99999, 'last')").await;
        drive(&mut source, &mut sink, |sink| {
            sink.count(Op::SnapshotEnd) == 2 && sink.rows("t").iter().any(|row| row[0] == "99999")
        })
        .await;
        drive(&mut source, &mut sink, |sink| sink.rows("small").concat() == ["2", "3"]).await;
        for table in ["small", "t"] {
            bench.check(&sink, table).await;
        }
        let of_small = |change: &&Change| change.op == Op::Read && change.schema.table.name == "small";
        assert_eq!(sink.changes.iter().filter(of_small).count(), 2);
        assert!(sink.count(Op::Read) - reads >= 59_000);
        // What the second slice saw does not come again from the log.
        let slice = sink.changes.iter().rfind(|change| change.op == Op::SnapshotEnd).unwrap().seq;
        let above = |change: &&Change| change.schema.table.name == "small" || change.seq > slice;
        assert!(sink.streamed().iter().all(above));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_during_the_start_is_noticed() {
    on_servers("rewrite", async |bench| {
        bench
            .run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i")
            .await;
        let mut connection = ReplicationConnection::connect(&bench.settings).await.unwrap();
        let name = format!("{}_x", bench.settings.slot);
        let rows = connection
            .query(&format!("CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT"))
            .await
            .unwrap();
        let snapshot = rows[0][2].clone().unwrap();
        let mut old = crate::connection::CopyConnection::connect(&bench.settings).await.unwrap();
        let import = format!("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT '{snapshot}'");
        old.query(&import).await.unwrap();
        let oid: u32 = bench.value("SELECT 't'::regclass::oid").await.parse().unwrap();
        crate::snapshot::check_not_rewritten(&mut old, oid).await.unwrap();
        bench.run("ALTER TABLE t ALTER v TYPE bigint").await;
        let seen = old.query("SELECT * FROM public.t").await.unwrap().len();
        assert_eq!(seen, 0, "a rewrite hides all rows from an older snapshot");
        let error = crate::snapshot::check_not_rewritten(&mut old, oid).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_reads_and_ends_without_a_slot() {
    on_servers("only", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)").await;
        let mut settings = bench.settings.clone();
        settings.snapshot.mode = SnapshotMode::Only;
        let mut sink = Sink::default();
        for _ in 0..2 {
            let mut source = PostgresSource::new(settings.clone());
            source.start(sink.durable.clone()).await.unwrap();
            while !source.finished() {
                sink.take(source.next_batch(sink.durable.clone()).await.unwrap());
            }
            source.stop(sink.durable.clone()).await.unwrap();
        }
        assert_eq!((sink.count(Op::Read), sink.count(Op::SnapshotEnd)), (10, 1));
        let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
        assert_eq!(bench.value(slots).await, "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_reads_nothing() {
    on_servers("never", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)").await;
        let mut settings = bench.settings.clone();
        settings.snapshot.mode = SnapshotMode::Never;
        let mut sink = Sink::default();
        let mut source = PostgresSource::new(settings);
        source.start(None).await.unwrap();
        let streams = |durable: &Checkpoint| Progress::from_checkpoint(durable).unwrap().phase == Phase::Stream;
        drive(&mut source, &mut sink, |sink| sink.durable.as_ref().is_some_and(streams)).await;
        bench.run("INSERT INTO t VALUES (11)").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 1)).await;
        assert_eq!(sink.changes.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_joins_the_publication_is_read() {
    on_servers("joins", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY)").await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        bench.run("CREATE TABLE late (id int PRIMARY KEY, v text)").await;
        bench.run("INSERT INTO late SELECT i, 'old' FROM generate_series(1, 10) i").await;
        bench.run(&format!("ALTER PUBLICATION {} ADD TABLE late", bench.settings.publication)).await;
        bench.run("INSERT INTO late VALUES (11, 'new'); UPDATE late SET v = 'changed' WHERE id = 1").await;
        bench.run("INSERT INTO t VALUES (1)").await;
        drive(&mut source, &mut sink, |sink| sink.has("late", 11) && sink.has("t", 1)).await;
        bench.check(&sink, "late").await;
        assert_eq!(sink.count(Op::SnapshotEnd), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_not_published_for_a_while_is_read_again() {
    on_servers("unpublished", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
        bench.run("CREATE TABLE other (id int PRIMARY KEY)").await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 2).await;
        let publication = &bench.settings.publication;
        // While it runs.
        bench.run(&format!("ALTER PUBLICATION {publication} DROP TABLE t")).await;
        bench.run("DELETE FROM t WHERE id = 1").await;
        bench.run(&format!("ALTER PUBLICATION {publication} ADD TABLE t")).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 3).await;
        bench.check(&sink, "t").await;
        // While it does not.
        source.stop(sink.durable.clone()).await.unwrap();
        bench.run(&format!("ALTER PUBLICATION {publication} DROP TABLE t")).await;
        bench.run("UPDATE t SET v = 'unseen'").await;
        bench.run(&format!("ALTER PUBLICATION {publication} ADD TABLE t")).await;
        bench.run("INSERT INTO t VALUES (3, 'c'); INSERT INTO other VALUES (7)").await;
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 2) && sink.has("other", 1)).await;
        bench.check(&sink, "t").await;
        // The other table was read once.
        let of_other = |change: &&Change| change.op == Op::SnapshotEnd && change.schema.table.name == "other";
        assert_eq!(sink.changes.iter().filter(of_other).count(), 1);
        // Taken out for good: the stream of the other goes on.
        bench.run(&format!("ALTER PUBLICATION {publication} DROP TABLE t")).await;
        bench.run("INSERT INTO t VALUES (4, 'unseen'); INSERT INTO other VALUES (8)").await;
        drive(&mut source, &mut sink, |sink| sink.has("other", 2)).await;
        assert!(sink.has("t", 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_snapshot_session_is_transient() {
    on_servers("killedread", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
        bench.run("INSERT INTO t SELECT i, repeat('v', 1000) FROM generate_series(1, 60000) i").await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::Read) > 100).await;
        bench
            .run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%' \
                 AND pid <> pg_backend_pid() AND datname = current_database()",
            )
            .await;
        let error = drive_to_error(&mut source, &mut sink).await;
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        bench.check(&sink, "t").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_waits_for_a_transaction_beats_on() {
    on_servers("waits", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY)").await;
        let other = connect(&bench.settings, &bench.settings.database).await;
        run(&other, "BEGIN; INSERT INTO t VALUES (1)").await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        for _ in 0..20 {
            let begun = Instant::now();
            sink.take(source.next_batch(sink.durable.clone()).await.unwrap());
            assert!(begun.elapsed() < Duration::from_secs(1));
        }
        assert!(sink.changes.is_empty());
        run(&other, "COMMIT").await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        bench.check(&sink, "t").await;
    })
    .await;
}
