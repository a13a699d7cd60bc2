//! Sessions against real servers, and against servers that misbehave.
//!
//! A real server is taken from `WALBROOK_TEST_PG15` and `WALBROOK_TEST_PG18` (`host:port`): a throw-away one on this
//! machine with the superuser `postgres`, trust authentication and `wal_level = logical`. Without them these tests say
//! that they were skipped.

mod authentication;
mod copy;
mod hostile;
mod sql;
mod stream;
mod tls;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::Client;
use walbrook_config::{Postgres, Snapshot, SnapshotMode, Tables, Tls, TlsMode};

/// The real servers, or none with a word about it.
fn servers(test: &str) -> Vec<Postgres> {
    let servers: Vec<Postgres> = ["WALBROOK_TEST_PG15", "WALBROOK_TEST_PG18"]
        .iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .map(|address| {
            let (host, port) = address.rsplit_once(':').expect("host:port");
            settings(host, port.parse().expect("a port"))
        })
        .collect();
    if servers.is_empty() {
        println!("{test}: skipped, neither WALBROOK_TEST_PG15 nor WALBROOK_TEST_PG18 is set");
    }
    servers
}

fn settings(host: &str, port: u16) -> Postgres {
    Postgres {
        host: host.to_owned(),
        port,
        database: "postgres".to_owned(),
        user: "postgres".to_owned(),
        password: None,
        tls: Tls { mode: TlsMode::Disable, ca_file: None, cert_file: None, key_file: None },
        tables: Tables { include: Vec::new(), exclude: Vec::new(), exclude_columns: Vec::new() },
        slot: unique("slot"),
        publication: unique("publication"),
        create_publication: true,
        snapshot: Snapshot { mode: SnapshotMode::Never, sessions: 1, range_bytes: 1 << 27 },
        heartbeat_interval: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        message_bytes_max: 256 << 20,
        transaction_bytes_max: 64 << 20,
    }
}

/// Held by a test that changes the configuration of the servers.
static CONFIGURATION: Mutex<()> = Mutex::const_new(());

/// Puts rules for roles of our own before the others of `pg_hba.conf`, where they disturb nobody. Returns the old file.
async fn add_rules(admin: &Client, rules: &str) -> String {
    let before = value(admin, "SELECT pg_read_file(current_setting('hba_file'))").await;
    write_rules(admin, &format!("{rules}{before}")).await;
    before
}

async fn write_rules(admin: &Client, content: &str) {
    let file = value(admin, "SHOW hba_file").await;
    write_file(admin, &file, &content.replace('\t', " ")).await;
    reload(admin).await;
}

/// Writes a file of the server, readable for the server alone; relative paths lie in its data folder.
async fn write_file(admin: &Client, path: &str, content: &str) {
    // Each line is a row of one cell, which `COPY` writes as it is: there are no backslashes or tabs in these files.
    let lines: Vec<String> = content.lines().map(|line| format!("({})", crate::sql::quote_literal(line))).collect();
    let sql =
        format!("COPY (SELECT * FROM (VALUES {}) AS _) TO PROGRAM 'umask 077; cat > \"{path}\"'", lines.join(", "));
    run(admin, &sql).await;
}

async fn reload(admin: &Client) {
    run(admin, "SELECT pg_reload_conf()").await;
    // The postmaster acts on the signal when it gets to it.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// A name that no other test uses.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("walbrook_{name}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A session that may write.
async fn admin(settings: &Postgres) -> Client {
    let client = crate::sql::connect(settings).await.expect("an sql session");
    run(&client, "SET default_transaction_read_only = off").await;
    client
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// The first cell of the first row.
async fn value(client: &Client, sql: &str) -> String {
    let row = client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    row.get(0)
}
