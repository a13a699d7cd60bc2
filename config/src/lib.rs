//! Everything an operator can set: one struct per section of the TOML file, with unit, default and bound of each option.
//!
//! ```text
//! text ── document (TOML with offsets) ── names ── reader (type, form, bound) ──> Config
//!                        └──────────── report (every problem, with its place) ──> Vec<Problem>
//! ```
//!
//! An option is defined once, in the `Section` (`definition.rs`) beside the struct that it fills: the parser takes default
//! and bound from there, and [`reference()`] its text.

mod amount;
mod daemon;
mod definition;
mod document;
mod dotted;
mod ends;
mod form;
mod kafka;
mod key;
mod lake;
mod load;
mod names;
mod nearest;
mod pattern;
mod postgres;
mod problem;
mod reader;
mod reference;
mod report;
mod secret;
mod syntax;

pub use daemon::{Config, Http, Log, LogFormat, Pipeline};
pub use ends::{SinkConfig, SourceConfig};
pub use kafka::{
    BinaryMode, Compat, Compression, DEAD_LETTERS, DeadLetters, DecimalMode, HstoreMode, IntervalMode, KafkaClient,
    KafkaSasl, KafkaSink, KafkaSource, KafkaTls, MessageFormat, Messages, NameAdjustment, NewTopics, Oversize,
    Registry, SaslMechanism, SubjectStrategy, TimeMode, TlsCheck, TokenEndpoint, UnknownTypes,
};
pub use lake::{Lake, LakeTable, TableMode};
pub use postgres::{Postgres, Snapshot, SnapshotMode, Tables, Tls, TlsMode};
pub use problem::{EXIT_CONFIG, Problem};
pub use reference::{example, reference};
