//! `[source.postgres]`

mod snapshot;
mod tables;
mod tls;

use std::time::Duration;

use secrecy::SecretString;

use crate::definition::{Foreign, Kind, Presence, Section, Setting, Unset};
use crate::document::Document;
use crate::load::Environment;
use crate::{form, secret};

pub use snapshot::{Snapshot, SnapshotMode};
pub use tables::Tables;
pub use tls::{Tls, TlsMode};

pub(crate) use snapshot::SNAPSHOT;
pub(crate) use tables::TABLES;
pub(crate) use tls::TLS;

/// `[source.postgres]`: the database to capture.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Host name or address; a path beginning with `/` is the folder of a Unix socket.
    pub host: String,
    /// Port.
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
    /// Replication slot.
    pub slot: String,
    /// Publication.
    pub publication: String,
    /// Whether to create the publication (only the named tables) when it is missing.
    pub create_publication: bool,
    /// Initial snapshot.
    pub snapshot: Snapshot,
    /// How often an idle slot is moved on, and the slot's state looked at.
    pub heartbeat_interval: Duration,
    /// Time limit for a connection to be made.
    pub connect_timeout: Duration,
    /// A single message of the log (a row) may have this size, bytes.
    pub message_bytes_max: u64,
    /// A transaction that must be held whole (a table with a deferrable key) may have this size, bytes.
    pub transaction_bytes_max: u64,
}

pub(crate) static POSTGRES: Section = Section {
    path: &["source", "postgres"],
    doc: "The PostgreSQL database to capture, and how walbrook logs in.",
    presence: Presence::Choice,
    settings: &[
        Setting {
            name: "host",
            kind: Kind::Text { form: &form::HOST, unset: Unset::Refused { example: "\"db.example.com\"" } },
            doc: "Host name or address; a path beginning with `/` is the folder of a Unix socket.",
            change: "Name the primary itself, not a pooler: poolers do not carry replication.",
            since: "0.1",
        },
        Setting {
            name: "port",
            kind: Kind::Integer { default: 5432, min: 1, max: 65_535 },
            doc: "Port of the server.",
            change: "Set it where the server listens elsewhere.",
            since: "0.1",
        },
        Setting {
            name: "database",
            kind: Kind::Text { form: &form::IDENTIFIER, unset: Unset::Refused { example: "\"shop\"" } },
            doc: "Database to capture.",
            change: "One pipeline captures one database; write one file for each.",
            since: "0.1",
        },
        Setting {
            name: "user",
            kind: Kind::Text { form: &form::IDENTIFIER, unset: Unset::Refused { example: "\"walbrook\"" } },
            doc: "Role with LOGIN, REPLICATION and SELECT on the captured tables.",
            change: "Give walbrook a role of its own, without superuser rights.",
            since: "0.1",
        },
        Setting {
            name: "password_file",
            kind: Kind::Text { form: &form::PATH, unset: Unset::Derived("no password is sent") },
            doc: "File that holds the password; a line end after it is left off. Others must not be able to read it.",
            change: "The usual way: a mounted secret, or a file with mode 600.",
            since: "0.1",
        },
        Setting {
            name: "password_env",
            kind: Kind::Text { form: &form::VARIABLE, unset: Unset::Derived("no password is sent") },
            doc: "Environment variable that holds the password; not together with `password_file`.",
            change: "Where files cannot be mounted; the environment of a process is easier to read than a file.",
            since: "0.1",
        },
        Setting {
            name: "slot",
            kind: Kind::Text { form: &form::SLOT_NAME, unset: Unset::Derived("`walbrook_<pipeline.name>`") },
            doc: "Logical replication slot; created at the first start.",
            change: "Set it where the slot was made beforehand or names have a scheme.",
            since: "0.1",
        },
        Setting {
            name: "publication",
            kind: Kind::Text { form: &form::IDENTIFIER, unset: Unset::Derived("`walbrook_<pipeline.name>`") },
            doc: "Publication that the tables are read through.",
            change: "Set it where a database administrator made the publication.",
            since: "0.1",
        },
        Setting {
            name: "create_publication",
            kind: Kind::Flag { default: true },
            doc: "Whether to create the publication, of exactly the captured tables, when it is missing.",
            change: "Set false where the role must own nothing.",
            since: "0.1",
        },
        Setting {
            name: "heartbeat_interval",
            kind: Kind::Duration {
                default: Duration::from_secs(10),
                min: Duration::from_secs(1),
                max: Duration::from_mins(5),
            },
            doc: "How often an idle slot is moved on, and the state of the slot looked at.",
            change: "Lower it where other databases of the server write much log while this one is idle.",
            since: "0.1",
        },
        Setting {
            name: "connect_timeout",
            kind: Kind::Duration {
                default: Duration::from_secs(10),
                min: Duration::from_secs(1),
                max: Duration::from_mins(5),
            },
            doc: "Time limit for a connection to be made, with TLS and login.",
            change: "Raise it on a slow link.",
            since: "0.1",
        },
        Setting {
            name: "message_bytes_max",
            kind: Kind::Size { default: 256_000_000, min: 1_000_000, max: 1 << 30 },
            doc: "Largest single message of the log, which is a row; a larger one is an error.",
            change: "Raise it for tables with very large cells, and give walbrook several times as much memory.",
            since: "0.1",
        },
        Setting {
            name: "transaction_bytes_max",
            kind: Kind::Size { default: 64_000_000, min: 1_000_000, max: 16_000_000_000 },
            doc: "Largest transaction that must be held whole, which is one on a table with a deferrable key.",
            change: "Raise it for bulk changes of such tables.",
            since: "0.1",
        },
    ],
    foreign: &[
        ("password", Foreign::Refused(secret::LITERAL)),
        ("passwd", Foreign::Refused(secret::LITERAL)),
        ("secret", Foreign::Refused(secret::LITERAL)),
        ("url", Foreign::Refused(URL)),
        ("uri", Foreign::Refused(URL)),
        ("dsn", Foreign::Refused(URL)),
        ("connection_string", Foreign::Refused(URL)),
        ("hostname", Foreign::Named("host")),
        ("dbname", Foreign::Named("database")),
        ("username", Foreign::Named("user")),
        ("role", Foreign::Named("user")),
        ("slot_name", Foreign::Named("slot")),
        ("publication_name", Foreign::Named("publication")),
        ("sslmode", Foreign::Named("tls.mode")),
        ("ssl", Foreign::Named("tls")),
        ("sslrootcert", Foreign::Named("tls.ca_file")),
        ("table_include_list", Foreign::Named("tables.include")),
        ("snapshot_mode", Foreign::Named("snapshot.mode")),
    ],
};

const URL: &str = "a connection URL is not read, since it may hold a password; write host, port, database and user";

impl Postgres {
    pub(crate) fn read(document: &Document<'_>, pipeline: &str, env: Environment<'_>) -> Self {
        let reader = document.section(&POSTGRES);
        let derived = || format!("walbrook_{pipeline}");
        let host = reader.text("host").unwrap_or_default();
        Self {
            port: reader.integer("port"),
            database: reader.text("database").unwrap_or_default(),
            user: reader.text("user").unwrap_or_default(),
            password: secret::password(&reader, env),
            tls: Tls::read(&document.section(&TLS), &host),
            tables: Tables::read(&document.section(&TABLES)),
            slot: reader.text("slot").unwrap_or_else(derived),
            publication: reader.text("publication").unwrap_or_else(derived),
            create_publication: reader.flag("create_publication"),
            snapshot: Snapshot::read(&document.section(&SNAPSHOT)),
            heartbeat_interval: reader.duration("heartbeat_interval"),
            connect_timeout: reader.duration("connect_timeout"),
            message_bytes_max: reader.size("message_bytes_max"),
            transaction_bytes_max: reader.size("transaction_bytes_max"),
            host,
        }
    }
}
