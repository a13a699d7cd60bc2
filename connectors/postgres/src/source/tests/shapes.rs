//! Changes of stored values that no row of the log tells.

use super::*;

const TABLE: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, v int, m mood); \
    INSERT INTO t SELECT i, i, 'ok' FROM generate_series(1, 20) i; CREATE TABLE u (id int PRIMARY KEY, v int)";

async fn read_whole(bench: &Bench, sink: &mut Sink) -> PostgresSource {
    let mut source = started(bench, sink).await;
    drive(&mut source, sink, |sink| sink.count(Op::SnapshotEnd) == 2).await;
    source
}

/// Moves batches until a table is stopped; why.
async fn drive_to_stop(source: &mut PostgresSource, sink: &mut Sink) -> Arc<Error> {
    sink.stopped.clear();
    drive(source, sink, |sink| !sink.stopped.is_empty()).await;
    let stop = &sink.stopped[0];
    assert!(stop.lost && stop.since.is_some() && stop.table.name == "t", "{stop:?}");
    stop.error.clone()
}

/// The table stops alone, at every start again, until a new snapshot has read its rows.
async fn check_stops_until_read_again(bench: &Bench, mut source: PostgresSource, mut sink: Sink, what: &str) {
    for round in 1..3 {
        let error = drive_to_stop(&mut source, &mut sink).await;
        assert_eq!((error.kind(), error.object()), (ErrorKind::Data, Some("table public.t")), "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.remedy_text().is_some_and(|remedy| remedy.contains("walbrook gap accept")));
        bench.run(&format!("INSERT INTO u VALUES ({round}, 0); UPDATE t SET v = 0 WHERE id = {round}")).await;
        let changes = sink.changes.len();
        drive(&mut source, &mut sink, |sink| sink.has("u", round)).await;
        assert!(sink.changes[changes..].iter().all(|change| change.schema.table.name == "u"));
        // The stop is told with a checkpoint, although nothing else happens.
        assert!(sink.durable.is_some());
        drop(source);
        bench.slot_is_free().await;
        source = started(bench, &sink).await;
    }
    drop(source);
    bench.slot_is_free().await;
    let accepted = crate::accept_gap(&bench.settings, sink.durable.as_ref(), "read again").await.unwrap();
    sink.durable = Some(accepted.checkpoint);
    let ends = sink.count(Op::SnapshotEnd);
    let mut source = started(bench, &sink).await;
    sink.stopped.clear();
    drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == ends + 2).await;
    bench.check(&sink, "t").await;
    bench.run("INSERT INTO t (id) VALUES (1000)").await;
    drive(&mut source, &mut sink, |sink| sink.rows("t").iter().any(|row| row[0] == "1000")).await;
    bench.check(&sink, "t").await;
    assert!(sink.stopped.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_whose_old_values_nobody_tells_stops_its_table() {
    on_servers("untold", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let source = read_whole(bench, &mut sink).await;
        bench.run("ALTER TABLE t ADD c uuid DEFAULT gen_random_uuid(); INSERT INTO t (id) VALUES (21)").await;
        check_stops_until_read_again(bench, source, sink, "column c was added").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_was_renamed_before_the_log_speaks_of_it_stops_its_table() {
    on_servers("renamed", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let source = read_whole(bench, &mut sink).await;
        bench
            .run("BEGIN; ALTER TABLE t ADD c int DEFAULT 5; INSERT INTO t (id) VALUES (21); ALTER TABLE t RENAME c TO d; COMMIT")
            .await;
        check_stops_until_read_again(bench, source, sink, "column c was added").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_of_an_idle_table_is_noticed() {
    on_servers("idle_rewrite", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let source = read_whole(bench, &mut sink).await;
        bench.run("ALTER TABLE t ALTER v TYPE int USING v + 1").await;
        check_stops_until_read_again(bench, source, sink, "rewritten by ALTER TABLE").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_while_nobody_looks_is_noticed_at_the_start() {
    on_servers("unseen_rewrite", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let source = read_whole(bench, &mut sink).await;
        drop(source);
        bench.slot_is_free().await;
        bench.run("ALTER TABLE t ALTER v TYPE int USING v + 1; UPDATE t SET v = 0 WHERE id = 1").await;
        let source = started(bench, &sink).await;
        check_stops_until_read_again(bench, source, sink, "rewritten by ALTER TABLE").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_is_renamed_stops_its_table_and_a_new_one_does_not() {
    on_servers("label", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let mut source = read_whole(bench, &mut sink).await;
        bench.run("ALTER TYPE mood ADD VALUE 'glad'").await;
        bench.run("INSERT INTO t VALUES (21, 21, 'glad')").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 21)).await;
        // Longer than the looks lie apart.
        drive_for(&mut source, &mut sink, Duration::from_secs(5)).await;
        bench.run("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'").await;
        check_stops_until_read_again(bench, source, sink, "a label of an enum in column m").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_look_has_told_stays_told() {
    on_servers("told", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let mut source = read_whole(bench, &mut sink).await;
        bench.run("ALTER TABLE t ADD c text NOT NULL DEFAULT 'x'").await;
        drive_for(&mut source, &mut sink, Duration::from_secs(5)).await;
        // The checkpoint that has it comes with the next position.
        bench.run("INSERT INTO u VALUES (1, 1)").await;
        drive(&mut source, &mut sink, |sink| sink.has("u", 1)).await;
        drop(source);
        bench.slot_is_free().await;
        bench.run("ALTER TABLE t ALTER c DROP DEFAULT").await;
        bench.run("VACUUM FULL t").await;
        bench.run("INSERT INTO t VALUES (21, 21, 'ok', 'y')").await;
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 21)).await;
        let change = sink.streamed().into_iter().rfind(|change| change.schema.table.name == "t").unwrap();
        assert_eq!(change.schema.columns[3].initial_default.as_deref(), Some(&b"x"[..]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_without_imprints_gets_them_at_the_start() {
    on_servers("no_imprints", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let source = read_whole(bench, &mut sink).await;
        drop(source);
        bench.slot_is_free().await;
        let mut old = Progress::from_checkpoint(sink.durable.as_ref().unwrap()).unwrap();
        assert_eq!(old.imprints.len(), 2);
        old.imprints.clear();
        sink.durable = Some(old.to_checkpoint().unwrap());
        let mut source = started(bench, &sink).await;
        bench.run("INSERT INTO u VALUES (1, 1)").await;
        drive(&mut source, &mut sink, |sink| sink.has("u", 1)).await;
        let now = Progress::from_checkpoint(sink.durable.as_ref().unwrap()).unwrap();
        assert_eq!(now.imprints.len(), 2);
        bench.run("DELETE FROM u").await;
        drive(&mut source, &mut sink, |sink| sink.has("u", 0)).await;
        bench.run("ALTER TABLE t ALTER v TYPE int USING v + 1").await;
        check_stops_until_read_again(bench, source, sink, "rewritten by ALTER TABLE").await;
    })
    .await;
}

/// Tables that are not read, and columns that are left out, are not in the lake: nothing of them can be wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_captured_stops_nothing() {
    on_servers("left_out_shapes", async |bench| {
        bench.run(TABLE).await;
        bench.run("CREATE TABLE hidden (id int PRIMARY KEY, v int)").await;
        let settings = Postgres {
            tables: walbrook_config::Tables {
                exclude_columns: vec!["public.t.secret".into()],
                ..bench.settings.tables.clone()
            },
            ..bench.settings.clone()
        };
        let mut source = PostgresSource::new(settings);
        let mut sink = Sink::default();
        source.start(None).await.unwrap();
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 2).await;
        bench.run("ALTER TABLE t ADD secret float8 DEFAULT random()").await;
        bench.run("ALTER TABLE t ADD g int GENERATED ALWAYS AS (v + 1) STORED").await;
        bench.run("ALTER TABLE t ALTER secret TYPE float8 USING 1").await;
        bench
            .run("ALTER TABLE hidden ALTER v TYPE int USING v + 1; INSERT INTO t (id, v, m) VALUES (21, 21, 'ok')")
            .await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 21)).await;
        drive_for(&mut source, &mut sink, Duration::from_secs(5)).await;
        drop(source);
        bench.slot_is_free().await;
        // From here on it is to be captured, but the rows that were there were read without it.
        bench.run("UPDATE t SET v = 1 WHERE id = 1").await;
        let mut source = started(bench, &sink).await;
        let error = drive_to_stop(&mut source, &mut sink).await;
        assert!(error.to_string().contains("column secret was added"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_snapshot_tables_are_remembered_from_their_first_row() {
    on_servers("never_shapes", async |bench| {
        bench.run(TABLE).await;
        let mut settings = bench.settings.clone();
        settings.snapshot.mode = SnapshotMode::Never;
        let mut source = PostgresSource::new(settings);
        let mut sink = Sink::default();
        source.start(None).await.unwrap();
        drive(&mut source, &mut sink, |sink| {
            sink.durable
                .as_ref()
                .is_some_and(|durable| Progress::from_checkpoint(durable).unwrap().phase == Phase::Stream)
        })
        .await;
        bench.run("INSERT INTO t VALUES (21, 21, 'ok')").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 1)).await;
        bench.run("ALTER TABLE t ALTER v TYPE int USING v + 1; INSERT INTO t VALUES (22, 22, 'ok')").await;
        let error = drive_to_stop(&mut source, &mut sink).await;
        assert!(error.to_string().contains("rewritten by ALTER TABLE"), "{error}");
    })
    .await;
}
