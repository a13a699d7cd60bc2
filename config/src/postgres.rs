//! `[source.postgres]`

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// `[source.postgres]`: the database to capture.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Host name or address; a path beginning with `/` is the folder of a Unix socket.
    pub host: String,
    /// Port. Default 5432.
    pub port: u16,
    /// Database to capture.
    pub database: String,
    /// Role with LOGIN, REPLICATION and SELECT on the captured tables.
    pub user: String,
    /// From `password_file` or `password_env`; never from the file itself. `None`: the server asks for none.
    pub password: Option<SecretString>,
    /// Transport security.
    pub tls: Tls,
    /// Which tables and columns.
    pub tables: Tables,
    /// Replication slot. Default `walbrook_<pipeline>`.
    pub slot: String,
    /// Publication. Default `walbrook_<pipeline>`.
    pub publication: String,
    /// Whether to create the publication (only the named tables) when it is missing. Default true.
    pub create_publication: bool,
    /// Initial snapshot.
    pub snapshot: Snapshot,
    /// How often an idle slot is moved on, and the slot's state looked at. Default 10 s; 1 s to 5 min.
    pub heartbeat_interval: Duration,
    /// Time limit for a connection to be made. Default 10 s.
    pub connect_timeout: Duration,
    /// A single message of the log (a row) may have this size, bytes. Default 256 MB, at most 1 GB.
    pub message_bytes_max: u64,
    /// A transaction that must be held whole (a table with a deferrable key) may have this size, bytes. Default 64 MB.
    pub transaction_bytes_max: u64,
}

/// `[source.postgres.tls]`
#[derive(Clone, Debug)]
pub struct Tls {
    /// Default `verify-full`, `disable` for a Unix socket or a loopback address.
    pub mode: TlsMode,
    /// PEM file of the certificate authorities to trust. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate chain; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's private key; needs `cert_file`.
    pub key_file: Option<PathBuf>,
}

/// How much of the server's certificate is checked, as `libpq` names it. There is no `prefer`: it can be downgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS, no certificate check.
    Require,
    /// The chain is checked, the host name is not.
    VerifyCa,
    /// Chain and host name are checked.
    VerifyFull,
}

/// `[source.postgres.tables]`: patterns are `schema.table`, with `*` for any run of characters.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Tables to capture.
    pub include: Vec<String>,
    /// Tables to leave out of those.
    pub exclude: Vec<String>,
    /// Columns to leave out, `schema.table.column`. Key columns cannot be left out.
    pub exclude_columns: Vec<String>,
}

/// `[source.postgres.snapshot]`
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When to read the tables. Default `initial`.
    pub mode: SnapshotMode,
    /// Sessions that read in parallel. Default 2; 1 to 32.
    pub sessions: u16,
    /// A table larger than this is read in ranges of about this size, bytes on the server's disk. Default 128 MB.
    pub range_bytes: u64,
}

/// When the tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Once, before the stream.
    Initial,
    /// Not at all: only changes from now on.
    Never,
    /// Once, and then stop.
    Only,
}
