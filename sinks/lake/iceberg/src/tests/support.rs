//! A warehouse in a temporary folder, and real data files for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use tempfile::TempDir;
use uuid::Uuid;
use walbrook_lake_merge::format::{Commit, DataFile, LakeCatalog, LakeName, Outcome, TableFormat};
use walbrook_lake_merge::layout::{LakeField, LakeType, Layout};
use walbrook_model::Seq;

use crate::FolderCatalog;
use crate::table::Table;

pub(super) const KEEP: u32 = 4;

pub(super) struct Warehouse {
    pub(super) folder: TempDir,
    catalog: FolderCatalog,
}

impl Warehouse {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = FolderCatalog::new(folder.path(), KEEP).unwrap();
        Self { folder, catalog }
    }

    pub(super) fn catalog(&self) -> &FolderCatalog {
        &self.catalog
    }

    pub(super) async fn create(&self, properties: BTreeMap<String, String>) -> Table {
        self.catalog.create(&name(), &layout(), properties).await.unwrap();
        self.open().await
    }

    pub(super) async fn open(&self) -> Table {
        self.catalog.open_table(&name()).await.unwrap().unwrap()
    }

    /// Files of the table below `metadata` or `data`.
    pub(super) fn files(&self, below: &str) -> Vec<PathBuf> {
        let folder = self.folder.path().canonicalize().unwrap().join("lake/orders").join(below);
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }
}

pub(super) fn name() -> LakeName {
    LakeName { namespace: "lake".to_owned(), name: "orders".to_owned() }
}

pub(super) fn layout() -> Layout {
    let field = |id, name: &str, ty| LakeField { id, name: name.to_owned(), ty, required: true, initial_default: None };
    let seq = LakeType::Decimal { precision: 38, scale: 0 };
    let fields = vec![field(1, "id", LakeType::Long), field(2, "_seq", seq)];
    Layout { schema_id: 0, fields, key: vec![1], last_id: 2 }
}

/// A data file with `rows` rows, durable or not: a test does not lose power.
pub(super) fn data_file(table: &impl TableFormat, rows: u32, seq: u64) -> DataFile {
    let (folder, prefix) = table.data_folder();
    let name = format!("{}.parquet", Uuid::new_v4());
    let path = folder.join(&name);
    write_parquet(&path, rows, seq);
    let token = |ordinal: u32| Seq::new(0, 1, seq, u64::from(ordinal)).unwrap();
    let id_bytes = |id: u32| i64::from(id).to_le_bytes().to_vec();
    let seq_bytes = |ordinal| token(ordinal).to_u128().to_be_bytes().to_vec();
    DataFile {
        path: format!("{prefix}/{name}"),
        bytes: path.metadata().unwrap().len(),
        rows: u64::from(rows),
        seq_min: token(1),
        seq_max: token(rows),
        null_counts: BTreeMap::from([(1, 0), (2, 0)]),
        column_bytes: BTreeMap::from([(1, 8 * u64::from(rows)), (2, 16 * u64::from(rows))]),
        bounds: BTreeMap::from([(1, (id_bytes(0), id_bytes(rows - 1))), (2, (seq_bytes(1), seq_bytes(rows)))]),
        split_offsets: vec![4],
    }
}

fn write_parquet(path: &Path, rows: u32, seq: u64) {
    let field = |name: &str, ty, id: i32| {
        let id = std::collections::HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        Field::new(name, ty, false).with_metadata(id)
    };
    let schema =
        Arc::new(Schema::new(vec![field("id", DataType::Int64, 1), field("_seq", DataType::Decimal128(38, 0), 2)]));
    let token = |row| Seq::new(0, 1, seq, u64::from(row) + 1).unwrap().to_u128().cast_signed();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(i64::from)));
    let seqs = Decimal128Array::from_iter_values((0..rows).map(token)).with_precision_and_scale(38, 0).unwrap();
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ids, Arc::new(seqs)]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A commit of new data files.
pub(super) fn append(added: Vec<DataFile>) -> Commit {
    Commit { id: Uuid::new_v4(), added, ..Commit::default() }
}

/// A commit of one property.
pub(super) fn property(key: &str, value: &str) -> Commit {
    let properties = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Commit { id: Uuid::new_v4(), properties, ..Commit::default() }
}

/// Commits what must not fail.
pub(super) async fn commit(table: &mut Table, commit: Commit) {
    assert_eq!(table.commit(commit).await.unwrap(), Outcome::Committed);
    table.finish_deleting().await;
}
