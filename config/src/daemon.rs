//! `[pipeline]`, `[http]`, `[log]`, and the whole file.

use std::net::SocketAddr;
use std::time::Duration;

use crate::{Lake, Postgres};

/// One configuration file: one pipeline, from one source into one sink.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[pipeline]`
    pub pipeline: Pipeline,
    /// `[source.postgres]`
    pub postgres: Postgres,
    /// `[sink.lake]`
    pub lake: Lake,
    /// `[http]`
    pub http: Http,
    /// `[log]`
    pub log: Log,
}

/// `[pipeline]`
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Name of the pipeline: `[a-z0-9_]`, at most 40 characters. Names the checkpoint in the lake, and by default the
    /// slot and the publication.
    pub name: String,
    /// Changes in memory between source and sink, bytes. Default 32 MB; 1 MB to 4 GB.
    pub buffer_bytes: u64,
    /// Changes of one stopped table that may wait for a repair (the checkpoint waits with them), bytes; beyond, the
    /// table alone becomes a gap. Default 256 MB.
    pub parked_bytes: u64,
    /// How long a shutdown may drain before it gives up (nothing is lost then, only done again). Default 25 s, below
    /// the 30 s of Kubernetes.
    pub grace_period: Duration,
}

/// `[http]`: metrics and health.
#[derive(Clone, Debug)]
pub struct Http {
    /// Address of `/metrics`, `/livez` and `/readyz`. Loopback unless told otherwise. Default `127.0.0.1:9187`.
    pub listen: SocketAddr,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// `text` (default) or `json`.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` (default) or `walbrook=debug`.
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
