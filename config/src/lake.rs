//! `[sink.lake]`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// `[sink.lake]`: Iceberg tables in a folder.
#[derive(Clone, Debug)]
pub struct Lake {
    /// Folder that holds the tables: `<warehouse>/<namespace>/<table>`.
    pub warehouse: PathBuf,
    /// Namespace of the tables. `None` (default): the schema of the source table.
    pub namespace: Option<String>,
    /// How changes are applied, unless a table says otherwise. Default `upsert`.
    pub mode: TableMode,
    /// Longest time from a change to its commit. Default 1 s; 100 ms to 1 h.
    pub commit_interval: Duration,
    /// Changes held in memory before a commit, bytes. Default 64 MB; 1 MB to 4 GB.
    pub commit_bytes: u64,
    /// Snapshots that a table keeps; older ones are expired with each commit. Default 20; 1 to 10,000.
    pub keep_snapshots: u32,
    /// `[sink.lake.table."schema.name"]`: exceptions by source table.
    pub tables: BTreeMap<String, LakeTable>,
}

/// `[sink.lake.table."schema.name"]`
#[derive(Clone, Debug, Default)]
pub struct LakeTable {
    /// How changes of this table are applied.
    pub mode: Option<TableMode>,
}

/// How changes are applied to a lake table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableMode {
    /// One row per key: the current state (SCD1).
    Upsert,
    /// One row per change: the change log.
    Append,
}
