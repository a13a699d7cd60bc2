//! What the catalogs say of columns beside the log: it makes new versions of a shape and stops nothing.

use walbrook_model::ColumnFacts;

use super::*;

fn facts<'a>(change: &'a Change, column: &str) -> &'a ColumnFacts {
    &change.schema.columns[change.schema.column(column).unwrap()].facts
}

fn last(sink: &Sink) -> &Change {
    sink.changes.last().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_defaults_and_labels_make_a_new_version_and_stop_nothing() {
    on_servers("facts", async |bench| {
        bench.run("CREATE TYPE mood AS ENUM ('sad', 'ok')").await;
        bench.run("CREATE TABLE t (id int PRIMARY KEY, v int DEFAULT 1, m mood)").await;
        bench.run("CREATE TABLE f (LIKE t INCLUDING ALL); ALTER TABLE f REPLICA IDENTITY FULL").await;
        bench.run("CREATE TABLE u (id int PRIMARY KEY)").await;
        let mut sink = Sink::default();
        let mut source = started(bench, &sink).await;
        drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 3).await;
        let snapshot = sink.changes.iter().find(|change| change.schema.table.name == "t").unwrap().schema.clone();
        for table in ["t", "f"] {
            let insert = |id: u32| format!("INSERT INTO {table} VALUES ({id}, 0, 'ok')");
            bench.run(&insert(1)).await;
            drive(&mut source, &mut sink, |sink| sink.has(table, 1)).await;
            if table == "t" {
                // The stream has the version of the snapshot.
                assert_eq!(last(&sink).schema, snapshot);
            }
            let first = last(&sink).schema.clone();
            bench.run(&format!("ALTER TABLE {table} ALTER v SET DEFAULT 2")).await;
            bench.run(&insert(2)).await;
            drive(&mut source, &mut sink, |sink| sink.has(table, 2)).await;
            assert_eq!(facts(last(&sink), "v").default.as_deref(), Some("2"));
            assert_ne!(last(&sink).schema, first);
            // It was looked at meanwhile, at a heartbeat.
            bench.run(&format!("ALTER TABLE {table} ALTER v SET NOT NULL, ALTER m SET DEFAULT 'sad'")).await;
            drive_for(&mut source, &mut sink, Duration::from_millis(2500)).await;
            bench.run(&insert(3)).await;
            drive(&mut source, &mut sink, |sink| sink.has(table, 3)).await;
            assert_eq!(facts(last(&sink), "v").not_null, Some(true));
            assert_eq!(facts(last(&sink), "m").default.as_deref(), Some("'sad'::public.mood"));
            let same = last(&sink).schema.clone();
            bench.run(&format!("ANALYZE {table}; {}", insert(4))).await;
            drive(&mut source, &mut sink, |sink| sink.has(table, 4)).await;
            assert!(Arc::ptr_eq(&last(&sink).schema, &same), "the same version is the same object");
            bench.check(&sink, table).await;
        }
        bench.run("ALTER TYPE mood ADD VALUE 'happy'").await;
        bench.run("ALTER TABLE t ALTER v DROP DEFAULT; INSERT INTO t VALUES (5, 0, 'happy')").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 5)).await;
        let labels = facts(last(&sink), "m").labels.clone().unwrap();
        assert_eq!(labels, ["sad", "ok", "happy"]);
        assert_eq!(facts(last(&sink), "v").default, None);
        assert!(sink.stopped.is_empty(), "{:?}", sink.stopped);
        // A restart finds the version that there is.
        let known = last(&sink).schema.clone();
        source.stop(sink.durable.clone()).await.unwrap();
        let mut source = started(bench, &sink).await;
        bench.run("INSERT INTO t VALUES (6, 0, 'ok')").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 6)).await;
        assert_eq!(last(&sink).schema, known);
    })
    .await;
}
