//! Slots beside which the catalog changes, the known way for a server to decode wrongly from a new one.

use super::*;
use crate::connection::ReplicationConnection;
use crate::gap::find_gap;
use crate::{slot, stream};

/// Two that make slots at once, and wait for the other's to begin, would wait for each other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Makes a slot while `t` is truncated in a transaction that begins when the server has noted what runs, and ends before
/// the slot is there.
async fn truncate_beside<T>(bench: &Bench, making: impl Future<Output = T>) -> T {
    let (first, second) = (open(bench).await, open(bench).await);
    run(&first, "BEGIN; INSERT INTO other VALUES (1)").await;
    let running = value(&first, XID).await;
    let beside = async {
        is_waited_for(&second, &running).await;
        run(&second, "BEGIN; TRUNCATE t").await;
        let truncating = value(&second, XID).await;
        run(&first, "COMMIT").await;
        is_waited_for(&first, &truncating).await;
        // For this one the server makes its first view of the catalog, and keeps it.
        run(&first, "INSERT INTO other VALUES (2)").await;
        run(&second, "COMMIT").await;
    };
    tokio::join!(making, beside).0
}

/// Waits until the making of this bench's slot waits for a transaction.
async fn is_waited_for(client: &Client, xid: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) \
         WHERE NOT granted AND transactionid = '{xid}' AND datname = current_database()"
    );
    let begun = Instant::now();
    while value(client, &sql).await == "0" {
        assert!(begun.elapsed() < PATIENCE, "nobody makes a slot");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const XID: &str = "SELECT pg_current_xact_id()::xid";

async fn open(bench: &Bench) -> Client {
    connect(&bench.settings, &bench.settings.database).await
}

async fn value(client: &Client, sql: &str) -> String {
    client.query_one(&format!("SELECT ({sql})::text"), &[]).await.expect("a value").get(0)
}

const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'before'); \
                      CREATE TABLE other (id int PRIMARY KEY)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_not_made_beside_a_change_of_the_catalog() {
    on_servers("beside", async |bench| {
        let _alone = ALONE.lock().await;
        bench.run(TABLES).await;
        let mut sink = Sink::default();
        let mut source = bench.source();
        let reading = async {
            source.start(None).await.unwrap();
            drive(&mut source, &mut sink, |sink| sink.count(Op::SnapshotEnd) == 2).await;
        };
        truncate_beside(bench, reading).await;
        bench.run("INSERT INTO t VALUES (2, 'after')").await;
        drive(&mut source, &mut sink, |sink| sink.has("t", 1)).await;
        bench.check(&sink, "t").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_the_server_cannot_decode_is_a_gap() {
    on_servers("undecodable", async |bench| {
        let _alone = ALONE.lock().await;
        bench.run(TABLES).await;
        let mut settings = bench.settings.clone();
        settings.snapshot.mode = walbrook_config::SnapshotMode::Never;
        let mut sink = Sink::default();
        let mut source = PostgresSource::new(settings.clone());
        source.start(None).await.unwrap();
        drive(&mut source, &mut sink, source_streams).await;
        source.stop(sink.durable.clone()).await.unwrap();
        bench.run(&format!("SELECT pg_drop_replication_slot('{}')", settings.slot)).await;
        let mut connection = ReplicationConnection::connect(&settings).await.unwrap();
        let made = truncate_beside(bench, slot::create_once(&mut connection, &settings.slot, true)).await.unwrap();
        bench.run("INSERT INTO t VALUES (2, 'after')").await;
        let progress = Progress::from_checkpoint(sink.durable.as_ref().unwrap()).unwrap();
        let progress = Progress { position: made.position, last_commit: None, ..progress };
        let error = stream::prove(&settings, &progress).await.expect_err("a server that decodes");
        assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
        let found = find_gap(&settings, Some(&progress.to_checkpoint().unwrap())).await.unwrap();
        assert!(found.is_some_and(|gap| gap.to_string().contains("cannot be decoded")));
    })
    .await;
}

/// Whether the source is past its slot's beginning.
fn source_streams(sink: &Sink) -> bool {
    let progress = sink.durable.as_ref().map(|checkpoint| Progress::from_checkpoint(checkpoint).unwrap());
    progress.is_some_and(|progress| progress.phase == crate::checkpoint::Phase::Stream)
}
