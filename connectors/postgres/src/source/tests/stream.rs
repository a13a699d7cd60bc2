//! The log: order tokens, boundaries, acknowledgement, resumption.

use super::*;
use crate::wire::Lsn;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, big text)";

fn progress(checkpoint: Option<&Checkpoint>) -> Progress {
    Progress::from_checkpoint(checkpoint.expect("a checkpoint")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_the_changes_after_it_arrive() {
    on_servers("both", async |bench| {
        bench.run(TABLE).await;
        bench.run("INSERT INTO t SELECT i, 'v' || i, repeat(md5(i::text), 9) FROM generate_series(1, 500) i").await;
        bench.run("CREATE TABLE hidden (id int PRIMARY KEY)").await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        assert_eq!(sink.count(Op::Read), 500);
        bench.check(&sink, "t").await;
        bench.run("INSERT INTO t VALUES (1001, 'new', 'x'); UPDATE t SET v = 'changed' WHERE id <= 10").await;
        bench.run("INSERT INTO hidden VALUES (1)").await;
        bench.run("UPDATE t SET id = 2000 WHERE id = 11; DELETE FROM t WHERE id > 490 AND id <= 500").await;
        bench.run("INSERT INTO t VALUES (3000, 'last', NULL)").await;
        drive(&mut source, &mut sink, |sink| sink.rows("t").iter().any(|row| row[0] == "3000")).await;
        bench.check(&sink, "t").await;
        assert!(!sink.tables.contains_key(&TableId::new("public", "hidden")));
        assert!(sink.streamed().is_sorted_by(|a, b| a.seq < b.seq));
        source.stop(sink.durable.clone()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_at_the_durable_checkpoint() {
    on_servers("restart", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        for round in 0..6 {
            // While it holds nothing becomes durable, so a restart must bring it again, with the same tokens.
            sink.hold = round % 2 == 0;
            let (from, to) = (round * 10, round * 10 + 9);
            bench.run(&format!("INSERT INTO t SELECT i, 'r{round}', NULL FROM generate_series({from}, {to}) i")).await;
            bench.run(&format!("UPDATE t SET v = v || '+' WHERE id >= {from}")).await;
            drive(&mut source, &mut sink, |sink| {
                sink.has("t", to + 1) && sink.rows("t").iter().all(|row| row[1].ends_with('+'))
            })
            .await;
            if round == 3 {
                source.stop(sink.durable.clone()).await.unwrap();
            }
            drop(source);
            bench.slot_is_free().await;
            source = started(bench, &sink).await;
        }
        sink.hold = false;
        bench.run("INSERT INTO t VALUES (999, 'last', NULL)").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 61)).await;
        bench.check(&sink, "t").await;
        // A change that came twice has one token, and one token has one change.
        let mut seen = BTreeMap::new();
        for change in sink.streamed() {
            let row = change.after.as_ref().expect("a new row");
            let shape = (change.op, text(change, row, 0), text(change, row, 1));
            assert_eq!(seen.entry(change.seq).or_insert(shape.clone()), &shape);
        }
        assert_eq!(seen.len(), 121);
        assert!(sink.streamed().len() > 121, "nothing was repeated");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_one_copy_and_prepared_transactions_keep_their_order() {
    on_servers("order", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        // The five rows share one position of the log.
        bench.run("COPY t FROM PROGRAM 'seq 1 5 | sed \"s/$/,copy/\"' WITH (FORMAT csv)").await;
        // The prepared transaction writes its rows first and commits last.
        bench.run("BEGIN; UPDATE t SET v = 'prepared' WHERE id = 1; INSERT INTO t VALUES (6, 'prepared')").await;
        let name = &bench.settings.database;
        bench.run(&format!("PREPARE TRANSACTION '{name}'")).await;
        bench.run("UPDATE t SET v = 'between' WHERE id = 2").await;
        bench.run(&format!("COMMIT PREPARED '{name}'")).await;
        bench.run("UPDATE t SET v = 'after' WHERE id = 1").await;
        drive(&mut source, &mut sink, |sink| sink.rows("t").iter().any(|row| row[1] == "after")).await;
        bench.check(&sink, "t").await;
        let streamed = sink.streamed();
        let ordinals: Vec<u64> = streamed.iter().map(|change| change.seq.ordinal()).collect();
        assert_eq!(ordinals, [1, 2, 3, 4, 5, 2, 2, 3, 2]);
        assert!(streamed.is_sorted_by(|a, b| a.seq < b.seq));
        let positions: Vec<u64> = streamed.iter().map(|change| change.seq.position()).collect();
        assert!(positions[..5].iter().all(|position| *position == positions[0]));
        let values: Vec<String> =
            streamed[5..].iter().map(|change| text(change, change.after.as_ref().unwrap(), 1)).collect();
        assert_eq!(values, ["between", "prepared", "prepared", "after"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transactions_come_in_pieces_and_end_with_their_checkpoint() {
    on_servers("pieces", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        let batches = sink.batches;
        bench.run("INSERT INTO t SELECT i, 'v', 'b' FROM generate_series(1, 50000) i").await;
        drive(&mut source, &mut sink, |sink| sink.streamed().len() >= 10_000).await;
        // No checkpoint lies inside the transaction.
        let commit = Lsn(sink.streamed()[0].seq.position());
        assert!(progress(sink.newest.as_ref()).position <= commit);
        drive(&mut source, &mut sink, |sink| sink.has("t", 50_000)).await;
        drive(&mut source, &mut sink, |sink| progress(sink.newest.as_ref()).position > commit).await;
        assert!(sink.batches - batches > 3);
        let events = source.status().events();
        let inserts = events[&TableId::new("public", "t")].iter().find(|(op, _)| *op == Op::Insert);
        assert_eq!(inserts, Some((Op::Insert, 50_000)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_out_of_line_truncates_and_moved_keys() {
    on_servers("toast", async |bench| {
        bench.run(TABLE).await;
        bench.run("CREATE TABLE f (id int PRIMARY KEY, v text, big text); ALTER TABLE f REPLICA IDENTITY FULL").await;
        bench.run("CREATE TABLE d (id int PRIMARY KEY DEFERRABLE, v text, big text)").await;
        bench.run("ALTER TABLE d REPLICA IDENTITY FULL").await;
        for table in ["t", "f", "d"] {
            bench.run(&format!("ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL")).await;
        }
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 3).await;
        let big = "repeat('x', 5000)";
        // One transaction each.
        bench
            .run(&format!(
                "INSERT INTO t VALUES (0, 'gone', {big}); TRUNCATE t; INSERT INTO t VALUES (1, 'a', {big}); \
                 UPDATE t SET v = 'b'; UPDATE t SET id = 2"
            ))
            .await;
        bench.run(&format!("INSERT INTO f VALUES (1, 'a', {big})")).await;
        bench.run("UPDATE f SET v = 'b'").await;
        bench.run("UPDATE f SET id = 2").await;
        bench.run(&format!("INSERT INTO d VALUES (1, 'one', {big}), (2, 'two', {big})")).await;
        bench.run("UPDATE d SET id = 3 - id").await;
        bench.run("INSERT INTO t VALUES (9, 'last', '')").await;
        drive(&mut source, &mut sink, |sink| sink.rows("t").iter().any(|row| row[0] == "9")).await;
        for table in ["t", "f", "d"] {
            bench.check(&sink, table).await;
        }
        // A row that an earlier transaction wrote: the cell is not carried, which is not NULL.
        bench.run("UPDATE t SET v = 'c' WHERE id = 2").await;
        drive(&mut source, &mut sink, |sink| sink.rows("t").iter().any(|row| row[1] == "c")).await;
        assert!(sink.rows("t").contains(&vec!["2".into(), "c".into(), "?".into()]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_durable_is_acknowledged_and_idle_slots_move() {
    on_servers("ack", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        sink.hold = true;
        let durable = progress(sink.durable.as_ref()).position;
        bench.run("INSERT INTO t VALUES (1, '', '')").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 1)).await;
        drive_for(&mut source, &mut sink, Duration::from_millis(1500)).await;
        assert!(bench.confirmed().await <= durable);
        sink.hold = false;
        sink.durable.clone_from(&sink.newest);
        let held = progress(sink.newest.as_ref()).position;
        drive_for(&mut source, &mut sink, Duration::from_millis(1500)).await;
        assert!(bench.confirmed().await >= held);
        // The log grows by what is not captured: the slot follows.
        bench.run("CREATE TABLE hidden (id int); INSERT INTO hidden SELECT generate_series(1, 1000)").await;
        let end: Lsn = bench.value("SELECT pg_current_wal_lsn()").await.parse().unwrap();
        let begun = Instant::now();
        while bench.confirmed().await < end {
            assert!(begun.elapsed() < PATIENCE, "the slot does not follow");
            drive_for(&mut source, &mut sink, Duration::from_millis(100)).await;
        }
        let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let before: i64 = bench.value(now).await.parse().unwrap();
        drive(&mut source, &mut sink, |sink| sink.complete_until_us.is_some_and(|until| until > before)).await;
        assert!(source.status().slot().is_some_and(|slot| slot.active && slot.wal_status == "reserved"));
        source.stop(sink.durable.clone()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_session_is_opened_again() {
    on_servers("killed", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        for round in 0..5 {
            let (from, to) = (round * 3000, round * 3000 + 2999);
            bench.run(&format!("INSERT INTO t SELECT i, 'v', '' FROM generate_series({from}, {to}) i")).await;
            bench.kill_walsender().await;
            drive(&mut source, &mut sink, |sink| sink.has("t", to + 1)).await;
        }
        bench.check(&sink, "t").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shapes_change_between_rows() {
    on_servers("shapes", async |bench| {
        bench.run("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        bench.run("BEGIN; INSERT INTO t VALUES (1, 'a'); ALTER TABLE t ADD w int; INSERT INTO t VALUES (2, 'b', 5); COMMIT").await;
        bench.run("ALTER TABLE t DROP v; INSERT INTO t VALUES (3, 7)").await;
        // The log says nothing of a name that the catalogs do not have any more.
        drive(&mut source, &mut sink, |sink| sink.has("t", 3)).await;
        bench.run("ALTER TABLE t RENAME w TO x; INSERT INTO t VALUES (4, 8)").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 4)).await;
        let names = |change: &&Change| -> Vec<String> {
            change.schema.columns.iter().map(|column| column.name.clone()).collect()
        };
        let shapes: Vec<Vec<String>> = sink.streamed().iter().map(names).collect();
        assert_eq!(shapes, [vec!["id", "v"], vec!["id", "v", "w"], vec!["id", "w"], vec!["id", "x"]]);
        for change in sink.streamed() {
            assert_eq!(change.after.as_ref().unwrap().len(), change.schema.columns.len());
            assert_eq!(change.schema.key, [0]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_soon_although_nobody_takes_batches() {
    on_servers("stop", async |bench| {
        bench.run(TABLE).await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 1).await;
        bench.run("INSERT INTO t SELECT i, repeat('v', 1000), '' FROM generate_series(1, 50000) i").await;
        bench.run("INSERT INTO t SELECT -i, repeat('v', 1000), '' FROM generate_series(1, 50000) i").await;
        // The channel is full long before that.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let durable = progress(sink.durable.as_ref()).position;
        let begun = Instant::now();
        source.stop(sink.durable.clone()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(bench.confirmed().await <= durable);
        bench.slot_is_free().await;
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 100_000)).await;
    })
    .await;
}
