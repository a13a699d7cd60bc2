//! Everything an operator can set: one struct per section of the TOML file, with unit, default and bound of each option.

mod daemon;
mod lake;
mod postgres;

pub use daemon::{Config, Http, Log, LogFormat, Pipeline};
pub use lake::{Lake, LakeTable, TableMode};
pub use postgres::{Postgres, Snapshot, SnapshotMode, Tables, Tls, TlsMode};
