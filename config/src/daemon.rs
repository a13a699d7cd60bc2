//! `[pipeline]`, `[http]`, `[log]`, and the whole file.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::definition::{Foreign, Kind, Presence, Section, Setting, Unset};
use crate::form;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::{SinkConfig, SourceConfig};

/// One configuration file: one pipeline, from one source into one sink.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[pipeline]`
    pub pipeline: Pipeline,
    /// `[source.postgres]` or `[source.kafka]`
    pub source: SourceConfig,
    /// `[sink.lake]` or `[sink.kafka]`
    pub sink: SinkConfig,
    /// `[http]`
    pub http: Http,
    /// `[log]`
    pub log: Log,
}

/// `[pipeline]`
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Name of the pipeline. Names the checkpoint, and by default the slot, the publication, the topics and the consumer
    /// group.
    pub name: String,
    /// Changes in memory between source and sink, bytes.
    pub buffer_bytes: u64,
    /// Changes of one stopped table that may wait for a repair (the checkpoint waits with them), bytes; beyond, the
    /// table alone becomes a gap.
    pub parked_bytes: u64,
    /// How long a shutdown may drain before it gives up (nothing is lost then, only done again).
    pub grace_period: Duration,
}

/// `[http]`: metrics and health.
#[derive(Clone, Debug)]
pub struct Http {
    /// Address of `/metrics`, `/livez` and `/readyz`. Loopback unless the file says `allow_remote`.
    pub listen: SocketAddr,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Form of the lines.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `walbrook=debug`.
    pub level: String,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

pub(crate) static PIPELINE: Section = Section {
    path: &["pipeline"],
    doc: "What is moved, and how much of it may wait in memory.",
    presence: Presence::Required,
    settings: &[
        Setting {
            name: "name",
            kind: Kind::Text { form: &form::PIPELINE_NAME, unset: Unset::Refused { example: "\"shop\"" } },
            doc: "Names the checkpoint, and by default the slot, the publication, the topics and the consumer group.",
            change: "Chosen once: under another name walbrook is another pipeline and begins from nothing.",
            since: "0.1",
        },
        Setting {
            name: "buffer_bytes",
            kind: Kind::Size { default: 8_000_000, min: 1_000_000, max: 4_000_000_000 },
            doc: "Changes in memory between source and sink; when it is full, the source waits.",
            change: "Raise it when bursts stall the source and memory is free; lower it on a small machine.",
            since: "0.1",
        },
        Setting {
            name: "parked_bytes",
            kind: Kind::Size { default: 256_000_000, min: 1_000_000, max: 64_000_000_000 },
            doc: "Changes of one stopped table that may wait for its repair; beyond, that table alone becomes a gap.",
            change: "Raise it where a repair may take longer than the table's changes fit.",
            since: "0.1",
        },
        Setting {
            name: "grace_period",
            kind: Kind::Duration {
                default: Duration::from_secs(25),
                min: Duration::from_secs(1),
                max: Duration::from_mins(10),
            },
            doc: "How long a shutdown may drain before it gives up; what is left is done again at the next start.",
            change: "Keep it below the time after which whatever runs walbrook kills it (Kubernetes: 30s).",
            since: "0.1",
        },
    ],
    foreign: &[
        ("id", Foreign::Named("name")),
        (
            "mode",
            Foreign::Refused(
                "unknown key; how changes are applied is sink.lake.mode, when tables are read is source.postgres.snapshot.mode",
            ),
        ),
    ],
};

pub(crate) static HTTP: Section = Section {
    path: &["http"],
    doc: "Metrics and health: `/metrics`, `/livez` and `/readyz`. Nothing can be changed through it.",
    presence: Presence::Optional,
    settings: &[
        Setting {
            name: "listen",
            kind: Kind::Text { form: &form::ADDRESS, unset: Unset::Default("127.0.0.1:9187") },
            doc: "Address and port to listen on.",
            change: "Change it in a container, or when two pipelines run on one machine.",
            since: "0.1",
        },
        Setting {
            name: "allow_remote",
            kind: Kind::Flag { default: false },
            doc: "Says that `listen` is meant to be reached from other machines; without it only loopback is accepted.",
            change: "Set it where a Prometheus on another machine reads the metrics and the network is yours.",
            since: "0.1",
        },
    ],
    foreign: &[
        ("address", Foreign::Named("listen")),
        ("bind", Foreign::Named("listen")),
        ("port", Foreign::Named("listen")),
    ],
};

pub(crate) static LOG: Section = Section {
    path: &["log"],
    doc: "The log lines. They never hold a cell value or a secret.",
    presence: Presence::Optional,
    settings: &[
        Setting {
            name: "format",
            kind: Kind::Word { words: &["text", "json"], unset: Unset::Default("text") },
            doc: "`text` for people, `json` for one object a line.",
            change: "Set `json` where a log collector reads the lines.",
            since: "0.1",
        },
        Setting {
            name: "level",
            kind: Kind::Text { form: &form::LOG_FILTER, unset: Unset::Default("info") },
            doc: "A level, or levels by module such as `info,walbrook_source_postgres=debug`.",
            change: "Raise one module to `debug` while looking for a fault.",
            since: "0.1",
        },
    ],
    foreign: &[("filter", Foreign::Named("level"))],
};

impl Pipeline {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            name: reader.text("name").unwrap_or_default(),
            buffer_bytes: reader.size("buffer_bytes"),
            parked_bytes: reader.size("parked_bytes"),
            grace_period: reader.duration("grace_period"),
        }
    }
}

impl Http {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let listen = reader.text("listen").and_then(|text| text.parse().ok());
        let listen: SocketAddr = listen.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        let allow_remote = reader.flag("allow_remote");
        if !allow_remote && !listen.ip().to_canonical().is_loopback() {
            let what = "other machines could reach this address, and nobody is asked for a password";
            reader.complain(
                "listen",
                Problem::new(what).expected("a loopback address, or allow_remote = true beside it"),
            );
        }
        Self { listen }
    }
}

impl Log {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            format: reader.word("format", &[LogFormat::Text, LogFormat::Json]).unwrap_or(LogFormat::Text),
            level: reader.text("level").unwrap_or_default(),
        }
    }
}
