//! The whole source against real servers, with a collecting sink that acknowledges.
//!
//! A server is taken from `WALBROOK_TEST_PG15` and `WALBROOK_TEST_PG18` (`host:port`): a throw-away one with the superuser
//! `postgres`, trust authentication and `wal_level = logical`. Without them these tests say that they were skipped.

mod column_facts;
mod continuity;
mod origin;
mod rewrites;
mod snapshot;
mod stops;
mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Client, SimpleQueryMessage};
use walbrook_config::Snapshot;
use walbrook_model::{Change, LogicalMessage, Op, Row, Seq, TableId, TableStop, Value};

use super::*;
use crate::testing::{settings, unique};

const PATIENCE: Duration = Duration::from_mins(3);

/// A database of its own on each server that there is.
struct Bench {
    settings: Postgres,
    admin: Client,
    /// In the database `postgres`, to drop the bench.
    outside: Client,
}

/// Runs a test on every server.
async fn on_servers(test: &str, body: impl AsyncFn(&Bench)) {
    let mut any = false;
    for variable in ["WALBROOK_TEST_PG15", "WALBROOK_TEST_PG18"] {
        let Ok(address) = std::env::var(variable) else { continue };
        any = true;
        let bench = Bench::new(test, &address).await;
        body(&bench).await;
        bench.end().await;
    }
    if !any {
        println!("{test}: skipped, neither WALBROOK_TEST_PG15 nor WALBROOK_TEST_PG18 is set");
    }
}

impl Bench {
    async fn new(test: &str, address: &str) -> Self {
        let name = unique(test);
        let (host, port) = address.rsplit_once(':').expect("host:port");
        let mut settings = settings(host, port.parse().expect("a port"), &name);
        settings.tables.exclude = vec!["*.hidden".into()];
        settings.snapshot.sessions = 2;
        settings.heartbeat_interval = Duration::from_secs(1);
        let outside = connect(&settings, "postgres").await;
        // The other strategy writes all of it into the log, which every slot of the other tests has to read.
        run(&outside, &format!("CREATE DATABASE {name} STRATEGY file_copy")).await;
        let admin = connect(&settings, &name).await;
        Self { settings, admin, outside }
    }

    fn source(&self) -> PostgresSource {
        PostgresSource::new(self.settings.clone())
    }

    async fn run(&self, sql: &str) {
        run(&self.admin, sql).await;
    }

    async fn value(&self, sql: &str) -> String {
        self.rows(sql).await.concat().concat()
    }

    /// The rows of a query as text; NULL is `~`.
    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let messages = self.admin.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|index| row.get(index).unwrap_or("~").to_owned()).collect())
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }

    /// The table of the replica is the table of the database.
    async fn check(&self, sink: &Sink, table: &str) {
        let mut wanted = self.rows(&format!("SELECT * FROM {table}")).await;
        wanted.sort();
        let mut rows = sink.rows(table);
        rows.sort();
        let differs = rows.iter().zip(&wanted).find(|(have, wanted)| have != wanted);
        assert_eq!((rows.len(), differs), (wanted.len(), None), "table {table}");
    }

    async fn confirmed(&self) -> crate::wire::Lsn {
        let sql = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE database = current_database()";
        self.value(sql).await.parse().expect("a position")
    }

    /// A dropped source ends its session; the server notices a moment later.
    async fn slot_is_free(&self) {
        let active = "SELECT count(*) FROM pg_replication_slots WHERE active AND database = current_database()";
        for _ in 0..200 {
            if self.value(active).await == "0" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the slot stays in use");
    }

    async fn kill_walsender(&self) {
        self.run(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
             WHERE active_pid IS NOT NULL AND database = current_database()",
        )
        .await;
    }

    async fn end(self) {
        let slots = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '{}'",
            self.settings.database
        );
        run(&self.outside, &slots).await;
        let drop = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{}'",
            self.settings.database
        );
        for _ in 0..50 {
            if self.outside.batch_execute(&drop).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        run(&self.outside, &format!("DROP DATABASE {} WITH (FORCE)", self.settings.database)).await;
    }
}

async fn connect(settings: &Postgres, database: &str) -> Client {
    let settings = Postgres { database: database.to_owned(), ..settings.clone() };
    let client = crate::sql::connect(&settings).await.expect("a session");
    run(&client, "SET default_transaction_read_only = off; SET search_path = public").await;
    client
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

type Key = Vec<String>;
/// The newest token of a key and its row, if it is there.
type Stored = (Seq, Option<Vec<String>>);

/// Collects everything, keeps a guarded replica by key, and makes every checkpoint durable at once unless told to hold.
#[derive(Default)]
struct Sink {
    changes: Vec<Change>,
    /// `after` counts from the first change of all.
    messages: Vec<LogicalMessage>,
    stopped: Vec<TableStop>,
    batches: usize,
    durable: Option<Checkpoint>,
    newest: Option<Checkpoint>,
    hold: bool,
    tables: BTreeMap<TableId, BTreeMap<Key, Stored>>,
    complete_until_us: Option<i64>,
}

impl Sink {
    fn take(&mut self, batch: Batch) {
        for change in &batch.changes {
            self.apply(change);
        }
        self.batches += usize::from(!batch.changes.is_empty());
        assert!(batch.changes.is_empty() || batch.lineage.is_some());
        let after = |message: LogicalMessage| LogicalMessage { after: self.changes.len() + message.after, ..message };
        self.messages.extend(batch.messages.into_iter().map(after));
        self.changes.extend(batch.changes);
        self.stopped.extend(batch.stopped);
        self.complete_until_us = self.complete_until_us.max(batch.complete_until_us);
        if let Some(checkpoint) = batch.checkpoint {
            self.newest = Some(checkpoint);
            if !self.hold || batch.urgent {
                self.durable.clone_from(&self.newest);
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        let table = self.tables.entry(change.schema.table.clone()).or_default();
        match change.op {
            Op::Truncate => table.retain(|_, (seq, _)| *seq > change.seq),
            Op::SnapshotEnd => table.retain(|_, (seq, _)| *seq >= change.seq),
            op => {
                let row = change.key_row().expect("a row");
                let key: Key = change.schema.key.iter().map(|index| text(change, row, *index)).collect();
                let cells = (op != Op::Delete).then(|| (0..row.len()).map(|index| text(change, row, index)).collect());
                let stored = table.entry(key).or_insert((Seq::ZERO, None));
                if change.seq > stored.0 {
                    *stored = (change.seq, cells);
                }
            }
        }
    }

    fn rows(&self, table: &str) -> Vec<Vec<String>> {
        let table = self.tables.get(&TableId::new("public", table));
        table.into_iter().flatten().filter_map(|(_, (_, cells))| cells.clone()).collect()
    }

    fn has(&self, table: &str, rows: usize) -> bool {
        self.rows(table).len() == rows
    }

    /// The changes of the log, without reads.
    fn streamed(&self) -> Vec<&Change> {
        self.changes.iter().filter(|change| change.seq.ordinal() > 0).collect()
    }

    fn count(&self, op: Op) -> usize {
        self.changes.iter().filter(|change| change.op == op).count()
    }
}

/// A cell as the server prints it, whatever the format that it came in.
fn text(change: &Change, row: &Row, index: usize) -> String {
    match row.value(&change.schema, index).expect("a value") {
        Value::Null => "~".to_owned(),
        Value::Unchanged => "?".to_owned(),
        Value::Bool(value) => if value { "t" } else { "f" }.to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Float64(value) => value.to_string(),
        Value::Text(value) => value.into_owned(),
        value => panic!("{value:?}"),
    }
}

/// Moves batches until the sink holds what is wanted.
async fn drive(source: &mut PostgresSource, sink: &mut Sink, until: impl Fn(&Sink) -> bool) {
    let begun = Instant::now();
    while !until(sink) {
        assert!(begun.elapsed() < PATIENCE, "it never came: {} changes", sink.changes.len());
        let batch = source.next_batch(sink.durable.clone()).await.expect("a batch");
        sink.take(batch);
    }
}

/// Moves batches for a while.
async fn drive_for(source: &mut PostgresSource, sink: &mut Sink, time: Duration) {
    let begun = Instant::now();
    drive(source, sink, |_| begun.elapsed() >= time).await;
}

/// Moves batches until the source fails.
async fn drive_to_error(source: &mut PostgresSource, sink: &mut Sink) -> Error {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no error came");
        match source.next_batch(sink.durable.clone()).await {
            Ok(batch) => sink.take(batch),
            Err(error) => return error,
        }
    }
}

async fn started(bench: &Bench, sink: &Sink) -> PostgresSource {
    let mut source = bench.source();
    source.start(sink.durable.clone()).await.expect("a start");
    source
}
