//! Commands that change rows without a change in the log: the table stops, stays stopped, and a new snapshot mends it.

use super::*;
use crate::{accept_gap, sql};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)";
const REWRITE: &str = "ALTER TABLE t ALTER v TYPE int USING v + 100";

/// A source that has read the table and streams.
async fn streaming(bench: &Bench, sink: &mut Sink) -> PostgresSource {
    bench.run(TABLE).await;
    let mut source = started(bench, sink).await;
    drive(&mut source, sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
    bench.run("INSERT INTO t VALUES (3, 3)").await;
    drive(&mut source, sink, |sink| sink.has("t", 3)).await;
    source
}

async fn check_stopped(source: &mut PostgresSource, sink: &mut Sink, what: &str) {
    drive(source, sink, |sink| !sink.stopped.is_empty()).await;
    let stop = &sink.stopped[0];
    let error = &stop.error;
    assert!(stop.lost && stop.table.name == "t" && error.kind() == ErrorKind::Data, "{error}");
    assert!(error.to_string().contains(what) && error.to_string().contains("table public.t"), "{error}");
    assert!(error.remedy_text().is_some_and(|remedy| remedy.contains("gap accept")));
}

/// The next start meets it again.
async fn check_stopped_again(bench: &Bench, sink: &mut Sink, what: &str) {
    bench.slot_is_free().await;
    sink.stopped.clear();
    let mut source = started(bench, sink).await;
    check_stopped(&mut source, sink, what).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_stops_the_table_before_its_next_row_and_a_new_snapshot_mends_it() {
    on_servers("rewrite", async |bench| {
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink).await;
        bench.run(&format!("BEGIN; {REWRITE}; INSERT INTO t VALUES (4, 4); COMMIT")).await;
        check_stopped(&mut source, &mut sink, "column v altered").await;
        assert!(sink.has("t", 3), "{:?}", sink.tables);
        drop(source);
        check_stopped_again(bench, &mut sink, "column v altered").await;
        bench.slot_is_free().await;
        let accepted = accept_gap(&bench.settings, sink.durable.as_ref(), "rewritten").await.unwrap();
        sink.durable = Some(accepted.checkpoint);
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 2).await;
        bench.check(&sink, "t").await;
        bench.run("VACUUM FULL t").await;
        bench.run("INSERT INTO t VALUES (5, 5)").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 5)).await;
        source.stop(sink.durable.clone()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_row_follows_is_noticed_too() {
    let labels = "ALTER TYPE color RENAME VALUE 'red' TO 'crimson'";
    let cases = [
        (REWRITE, "column v altered"),
        ("ALTER TABLE t ADD c float8 DEFAULT random()", "column c was added"),
        (labels, "a label of an enum was renamed"),
    ];
    for (sql, what) in cases {
        on_servers("quiet", async |bench| {
            bench.run("CREATE TYPE color AS ENUM ('red')").await;
            bench
                .run("CREATE TABLE t (id int PRIMARY KEY, v int, shade color); INSERT INTO t VALUES (1, 1, 'red')")
                .await;
            let mut sink = Sink::default();
            let mut source = started(bench, &sink).await;
            drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
            bench.run(sql).await;
            check_stopped(&mut source, &mut sink, what).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_while_nobody_reads_is_noticed_at_the_start() {
    on_servers("away", async |bench| {
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink).await;
        source.stop(sink.durable.clone()).await.unwrap();
        drop(source);
        bench.run(REWRITE).await;
        bench.run("INSERT INTO t VALUES (4, 4)").await;
        check_stopped_again(bench, &mut sink, "column v altered").await;
        assert!(sink.has("t", 3), "{:?}", sink.tables);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_has_another_name_before_the_log_speaks_of_it_stops_its_table() {
    on_servers("renamed", async |bench| {
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink).await;
        bench
            .run(
                "BEGIN; ALTER TABLE t ADD c int DEFAULT 5; INSERT INTO t VALUES (4, 4, 4); \
                 ALTER TABLE t RENAME c TO x; COMMIT",
            )
            .await;
        check_stopped(&mut source, &mut sink, "column c was added and is gone again").await;
        assert!(sink.has("t", 3), "{:?}", sink.tables);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_published_from_now_on_is_read() {
    on_servers("listed", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY, v int, w int); INSERT INTO t VALUES (1, 1, 1)").await;
        let name = &bench.settings.publication;
        bench.run(&format!("CREATE PUBLICATION {name} FOR TABLE t (id, v)")).await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        bench.run(&format!("ALTER PUBLICATION {name} SET TABLE t")).await;
        bench.run("INSERT INTO t VALUES (2, 2, 2)").await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 2 && sink.has("t", 2)).await;
        assert!(sink.stopped.is_empty(), "{:?}", sink.stopped);
        bench.check(&sink, "t").await;
        source.stop(sink.durable.clone()).await.unwrap();
    })
    .await;
}

/// A command may hold a table for hours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_locked_holds_nothing() {
    on_servers("locked", async |bench| {
        bench.run("CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)").await;
        bench.run("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)").await;
        bench.run("CREATE TABLE u (id int PRIMARY KEY)").await;
        let mut sink = Sink::default();
        bench.run(TABLE).await;
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 3).await;
        // A start needs the tables.
        bench.run("INSERT INTO u VALUES (0)").await;
        drive(&mut source, &mut sink, |sink| sink.has("u", 1)).await;
        let other = connect(&bench.settings, &bench.settings.database).await;
        run(&other, "BEGIN; LOCK TABLE t, p IN ACCESS EXCLUSIVE MODE").await;
        for n in 1..=4 {
            let begun = Instant::now();
            bench.run(&format!("INSERT INTO u VALUES ({n})")).await;
            drive(&mut source, &mut sink, |sink| sink.has("u", n + 1)).await;
            assert!(begun.elapsed() < Duration::from_secs(2), "{n}: {:?}", begun.elapsed());
            drive_for(&mut source, &mut sink, Duration::from_millis(700)).await;
            if n == 2 {
                bench.kill_walsender().await;
            }
        }
        source.stop(sink.durable.clone()).await.unwrap();
        run(&other, "ROLLBACK").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_checkpoint_is_taken_up_as_the_tables_are() {
    on_servers("older", async |bench| {
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink).await;
        source.stop(sink.durable.clone()).await.unwrap();
        drop(source);
        let older = Progress {
            fingerprints: BTreeMap::new(),
            ..Progress::from_checkpoint(sink.durable.as_ref().unwrap()).unwrap()
        };
        let json = older.to_checkpoint().unwrap().as_str().replace("\"version\":2", "\"version\":1");
        sink.durable = Some(Checkpoint::new(json));
        bench.slot_is_free().await;
        let mut source = started(bench, &sink).await;
        bench.run("INSERT INTO t VALUES (4, 4)").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 4)).await;
        bench.run(REWRITE).await;
        check_stopped(&mut source, &mut sink, "column v altered").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_snapshot_the_first_change_is_the_beginning() {
    on_servers("never", async |bench| {
        bench.run(TABLE).await;
        let mut settings = bench.settings.clone();
        settings.snapshot.mode = SnapshotMode::Never;
        let mut sink = Sink::default();
        let mut source = PostgresSource::new(settings);
        source.start(None).await.unwrap();
        let streams =
            |sink: &Sink| sink.durable.as_ref().is_some_and(|durable| durable.as_str().contains("\"stream\""));
        drive(&mut source, &mut sink, streams).await;
        bench.run(REWRITE).await;
        bench.run("INSERT INTO t VALUES (3, 3)").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 1)).await;
        bench.run(REWRITE).await;
        check_stopped(&mut source, &mut sink, "column v altered").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_that_a_rewrite_hides_is_told_all_the_same() {
    on_servers("hidden", async |bench| {
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink).await;
        bench.run("ALTER TABLE t ADD c int DEFAULT 7").await;
        let held = |sink: &Sink| {
            sink.durable.as_ref().is_some_and(|durable| durable.as_str().contains("\"held\":{\"3\":\"7\"}"))
        };
        drive(&mut source, &mut sink, held).await;
        source.stop(sink.durable.clone()).await.unwrap();
        drop(source);
        bench.run("VACUUM FULL t").await;
        bench.slot_is_free().await;
        let mut source = started(bench, &sink).await;
        bench.run("INSERT INTO t VALUES (4, 4, 4)").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 4)).await;
        let schema = &sink.streamed().last().unwrap().schema;
        assert_eq!(schema.columns[2].initial_default.as_deref(), Some(&b"7"[..]));
        source.stop(sink.durable.clone()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_a_command_holds_does_not_hold_up_the_others() {
    on_servers("held", async |bench| {
        bench.run("CREATE TABLE other (id int PRIMARY KEY)").await;
        let mut sink = Sink::default();
        let mut source = streaming(bench, &mut sink).await;
        let holder = sql::connect(&bench.settings).await.unwrap();
        holder.batch_execute("BEGIN READ WRITE; LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let begun = std::time::Instant::now();
        drive(&mut source, &mut sink, |_| begun.elapsed().as_secs() >= 4).await;
        let begun = std::time::Instant::now();
        bench.run("INSERT INTO other VALUES (1)").await;
        drive(&mut source, &mut sink, |sink| sink.has("other", 1)).await;
        assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
        holder.batch_execute("COMMIT").await.unwrap();
        bench.run(REWRITE).await;
        check_stopped(&mut source, &mut sink, "column v altered").await;
    })
    .await;
}
