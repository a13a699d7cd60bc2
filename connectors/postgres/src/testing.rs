//! Databases of real servers for tests, and both ways in which a row is read.
//!
//! A server is taken from `WALBROOK_TEST_PG15` and `WALBROOK_TEST_PG18` (`host:port`): a throw-away one with the superuser
//! `postgres`, trust authentication and `wal_level = logical`. Without them the tests say that they were skipped.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::Client;
use walbrook_config::{Postgres, Snapshot, SnapshotMode, Tables, Tls, TlsMode};
use walbrook_model::Row;

use crate::connection::CopyConnection;
use crate::sql;
use crate::wire::copy::Lines;
use crate::wire::copy_binary::Tuples;
use crate::wire::pgoutput::{self, Message};

/// A database of its own.
pub(crate) struct Database {
    /// Captures every table of the schema `public`.
    pub(crate) settings: Postgres,
    /// A session that may write.
    pub(crate) admin: Client,
}

/// Runs a test in a new database of every server.
pub(crate) async fn on_servers(test: &str, body: impl AsyncFn(&Database)) {
    let mut any = false;
    for variable in ["WALBROOK_TEST_PG15", "WALBROOK_TEST_PG18"] {
        let Ok(address) = std::env::var(variable) else { continue };
        any = true;
        let database = Database::create(test, &address).await;
        body(&database).await;
        database.drop().await;
    }
    if !any {
        println!("{test}: skipped, neither WALBROOK_TEST_PG15 nor WALBROOK_TEST_PG18 is set");
    }
}

/// Settings that capture every table of the schema `public`.
pub(crate) fn settings(host: &str, port: u16, name: &str) -> Postgres {
    Postgres {
        host: host.to_owned(),
        port,
        database: name.to_owned(),
        user: "postgres".to_owned(),
        password: None,
        tls: Tls { mode: TlsMode::Disable, ca_file: None, cert_file: None, key_file: None },
        tables: Tables { include: vec!["public.*".to_owned()], exclude: Vec::new(), exclude_columns: Vec::new() },
        slot: name.to_owned(),
        publication: name.to_owned(),
        create_publication: true,
        snapshot: Snapshot { mode: SnapshotMode::Initial, sessions: 1, range_bytes: 1 << 27 },
        heartbeat_interval: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        message_bytes_max: 256 << 20,
        transaction_bytes_max: 64 << 20,
    }
}

/// A name that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("walbrook_{name}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Database {
    async fn create(test: &str, address: &str) -> Self {
        let name = unique(&test.replace(' ', "_"));
        let (host, port) = address.rsplit_once(':').expect("host:port");
        let settings = settings(host, port.parse().expect("a port"), &name);
        let outside = outside(&settings).await;
        // The other strategy writes all of it into the log, which every slot of the other tests has to read.
        run(&outside, &format!("CREATE DATABASE {name} STRATEGY file_copy")).await;
        let admin = connect(&settings).await;
        run(&admin, "SET search_path = public").await;
        Self { settings, admin }
    }

    async fn drop(self) {
        let slots =
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()";
        self.run(slots).await;
        let outside = outside(&self.settings).await;
        drop(self.admin);
        run(&outside, &format!("DROP DATABASE {} WITH (FORCE)", self.settings.database)).await;
    }

    /// Runs statements that return nothing.
    pub(crate) async fn run(&self, sql: &str) {
        run(&self.admin, sql).await;
    }

    /// The first cell of the first row.
    pub(crate) async fn text(&self, sql: &str) -> Option<String> {
        let row = self.admin.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        row.get(0)
    }

    /// The major version of the server.
    pub(crate) async fn version(&self) -> i32 {
        let number = self.text("SELECT current_setting('server_version_num')").await;
        number.unwrap().parse::<i32>().unwrap() / 10_000
    }

    /// A session as the snapshot has it.
    pub(crate) async fn reader(&self) -> Client {
        sql::connect(&self.settings).await.expect("an sql session")
    }

    /// The rows of a query by `COPY`, as the snapshot reads them.
    pub(crate) async fn copied(&self, query: &str, columns: usize) -> Vec<Row> {
        let mut reader = Lines::new(columns);
        let lines = self.copy(&format!("COPY ({query}) TO STDOUT")).await;
        lines.into_iter().map(|line| reader.row(line).expect("a row")).collect()
    }

    /// The same in binary format.
    pub(crate) async fn copied_binary(&self, query: &str, columns: usize) -> Vec<Row> {
        let mut reader = Tuples::new(columns);
        let messages = self.copy(&format!("COPY ({query}) TO STDOUT (FORMAT binary)")).await;
        messages.into_iter().filter_map(|message| reader.row(message).expect("a row")).collect()
    }

    async fn copy(&self, command: &str) -> Vec<Bytes> {
        let mut session = CopyConnection::connect(&self.settings).await.expect("a session");
        session.copy_out(command).await.expect("a copy");
        let mut messages = Vec::new();
        while session.lines(&mut messages).await.expect("rows") {}
        messages
    }

    /// Makes a slot that goes with the session; what is written from here on is [`Database::streamed`].
    pub(crate) async fn slot(&self) {
        self.run("SELECT pg_create_logical_replication_slot('walbrook_' || pg_backend_pid(), 'pgoutput', true)").await;
    }

    /// The messages of the log since the slot, or the last call, through a publication.
    pub(crate) async fn streamed(&self, publication: &str) -> Vec<Message> {
        let sql = "SELECT data FROM pg_logical_slot_get_binary_changes(('walbrook_' || pg_backend_pid())::name, NULL, NULL, \
                   'proto_version', '1', 'publication_names', quote_ident($1::text))";
        self.run("SET search_path = ''").await;
        let rows = self.admin.query(sql, &[&publication]).await.expect("the log");
        self.run("SET search_path = public").await;
        rows.iter().map(|row| pgoutput::decode(&Bytes::from(row.get::<_, Vec<u8>>(0))).expect("a message")).collect()
    }
}

async fn outside(settings: &Postgres) -> Client {
    connect(&Postgres { database: "postgres".to_owned(), ..settings.clone() }).await
}

async fn connect(settings: &Postgres) -> Client {
    let client = sql::connect(settings).await.expect("an sql session");
    run(&client, "SET default_transaction_read_only = off").await;
    client
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{:?} in {sql}", error.as_db_error()));
}
