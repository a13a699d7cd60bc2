//! What a table format must offer: the state of a table, and one atomic commit.
//!
//! The merge knows rows, keys and order; a format (Iceberg, Delta) knows metadata files and catalogs. This is the line
//! between them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use roaring::RoaringBitmap;
use uuid::Uuid;
use walbrook_model::{Result, Seq};

use crate::layout::Layout;

/// The name of a table in the lake.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LakeName {
    /// Namespace (one level).
    pub namespace: String,
    /// Table name inside it.
    pub name: String,
}

impl LakeName {
    /// The lake table of a source table.
    pub fn of(settings: &walbrook_config::Lake, table: &walbrook_model::TableId) -> Self {
        let namespace = settings.namespace.clone().unwrap_or_else(|| table.schema.clone());
        Self { namespace, name: table.name.clone() }
    }
}

impl std::fmt::Display for LakeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// A Parquet file that is durable but, until a commit names it, not part of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFile {
    /// Absolute location, in the form that the table's metadata uses (`file:///...`).
    pub path: String,
    /// Size of the file.
    pub bytes: u64,
    /// Rows in it, deleted ones included. Below 2^32.
    pub rows: u64,
    /// Lowest `_seq` in it.
    pub seq_min: Seq,
    /// Highest `_seq` in it.
    pub seq_max: Seq,
    /// NULLs per field id.
    pub null_counts: BTreeMap<i32, u64>,
    /// Bytes on disk per field id.
    pub column_bytes: BTreeMap<i32, u64>,
    /// Lowest and highest value per field id, in the single-value encoding of the Iceberg spec (appendix D); only where
    /// both are known.
    pub bounds: BTreeMap<i32, (Vec<u8>, Vec<u8>)>,
    /// Offsets of the row groups.
    pub split_offsets: Vec<i64>,
}

/// A data file of the current table version, and the rows of it that are deleted.
#[derive(Clone, Debug)]
pub struct LiveFile {
    /// The file.
    pub file: DataFile,
    /// Deleted row positions.
    pub deleted: RoaringBitmap,
}

/// A table as of one commit.
#[derive(Clone, Debug)]
pub struct TableState {
    /// The table's own identity, for ever.
    pub uuid: Uuid,
    /// The version that this state is of; `None` before the first one with data.
    pub snapshot: Option<i64>,
    /// Columns with their field ids.
    pub layout: Layout,
    /// Live data files.
    pub files: Vec<LiveFile>,
    /// Table properties, ours among them (`walbrook.*`).
    pub properties: BTreeMap<String, String>,
}

/// One atomic change of a table.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Names this commit for ever: what is looked for when its outcome is unknown.
    pub id: Uuid,
    /// New data files, durable already.
    pub added: Vec<DataFile>,
    /// Paths of data files that leave the table whole.
    pub removed: Vec<String>,
    /// Path of a data file that stays -> all its deleted rows, old and new.
    pub deleted: BTreeMap<String, RoaringBitmap>,
    /// The new columns, if they change.
    pub layout: Option<Layout>,
    /// Properties to set. They go into the snapshot summary as well, since others may expire our snapshots.
    pub properties: BTreeMap<String, String>,
    /// The rows stay what they are, only files are merged (Iceberg `replace`, Delta `dataChange: false`): readers of
    /// changes skip such a commit.
    pub rewrite: bool,
}

impl Commit {
    /// Whether it changes rows, and so makes a snapshot.
    pub fn changes_rows(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty() && self.deleted.is_empty())
    }
}

/// What became of a [`Commit`]. An outcome that was unknown at first has been settled by looking for the commit's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The table holds it; [`TableFormat::state`] is of it or later.
    Committed,
    /// Another writer was first; nothing of it is in the table. [`TableFormat::state`] is the newest: guard again.
    Conflict,
}

/// A table, opened by its one owner.
#[async_trait]
pub trait TableFormat: Send {
    /// The table as of the newest commit that this handle knows.
    fn state(&self) -> &TableState;

    /// Looks for commits of others.
    async fn reload(&mut self) -> Result<()>;

    /// Makes `commit` the next version of the table, or says why not. Everything that it names is durable when this
    /// returns [`Outcome::Committed`].
    async fn commit(&mut self, commit: Commit) -> Result<Outcome>;

    /// The folder, as a path of the local file system, for new data files; and the prefix that their
    /// [`DataFile::path`] has.
    fn data_folder(&self) -> (std::path::PathBuf, String);

    /// The folder for files of ours that are no part of the format (graves), outside of the reach of other engines'
    /// clean-up.
    fn state_folder(&self) -> std::path::PathBuf;

    /// The local path of a location in the table's metadata.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if the location is not on a storage that we can read.
    fn local_path(&self, location: &str) -> Result<std::path::PathBuf>;
}

/// Opens and creates tables.
#[async_trait]
pub trait LakeCatalog: Send + Sync {
    /// Opens a table; `None` if there is none of that name.
    async fn open(&self, name: &LakeName) -> Result<Option<Box<dyn TableFormat>>>;

    /// Creates an empty table.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if it exists.
    async fn create(
        &self,
        name: &LakeName,
        layout: &Layout,
        properties: BTreeMap<String, String>,
    ) -> Result<Box<dyn TableFormat>>;
}
