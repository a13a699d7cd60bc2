use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use walbrook_config::{Lake, LakeTable, Pipeline, TableMode};
use walbrook_model::{Batch, Change, Checkpoint, ColumnType, Lineage, Op, Result, Row, Seq, Sink as _, TableSchema};

use crate::LakeSink;
use crate::format::LakeName;
use crate::testing::{MemoryCatalog, column, row, schema};

/// A lake in a folder that goes away with it.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) catalog: MemoryCatalog,
    pub(super) settings: Lake,
    pub(super) pipeline: Pipeline,
}

impl World {
    /// Commits with every batch; `public.log` is an append table.
    pub(super) fn new() -> Self {
        // In memory where there is such a folder: the tests sync thousands of files.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let append = LakeTable { mode: Some(TableMode::Append) };
        let settings = Lake {
            warehouse: PathBuf::from("unused"),
            namespace: None,
            mode: TableMode::Upsert,
            commit_interval: Duration::ZERO,
            commit_bytes: 1 << 30,
            keep_snapshots: 1,
            tables: BTreeMap::from([("public.log".to_owned(), append)]),
        };
        let pipeline = Pipeline {
            name: "shop".to_owned(),
            buffer_bytes: 1 << 20,
            parked_bytes: 1 << 20,
            grace_period: Duration::from_secs(1),
        };
        Self { catalog: MemoryCatalog::new(folder.path()), folder, settings, pipeline }
    }

    pub(super) fn sink(&self) -> LakeSink {
        LakeSink::new(Arc::new(self.catalog.clone()), self.settings.clone(), self.pipeline.clone())
    }

    /// A process that starts: its sink, and the checkpoint that it found.
    pub(super) async fn start(&self) -> Result<(LakeSink, Option<Checkpoint>)> {
        let mut sink = self.sink();
        let checkpoint = sink.last_checkpoint().await?;
        Ok((sink, checkpoint))
    }

    /// The rows of a table without `_committed_at`, sorted.
    pub(super) fn rows(&self, table: &str) -> Vec<BTreeMap<String, String>> {
        let mut rows = self.catalog.rows(&lake(table)).unwrap();
        for row in &mut rows {
            row.remove("_committed_at");
        }
        rows.sort();
        rows
    }

    /// Two columns of a table's rows, sorted.
    pub(super) fn pairs(&self, table: &str, first: &str, second: &str) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = self.rows(table).iter().map(|row| (row[first].clone(), row[second].clone())).collect();
        pairs.sort();
        pairs
    }
}

pub(super) fn lake(table: &str) -> LakeName {
    let (namespace, name) = table.split_once('.').unwrap();
    LakeName { namespace: namespace.to_owned(), name: name.to_owned() }
}

pub(super) fn control() -> LakeName {
    lake("walbrook.walbrook_shop")
}

/// `id` (the key), `a` and `b`.
pub(super) fn three(table: &str) -> Arc<TableSchema> {
    let columns = vec![column("id", ColumnType::Int64), column("a", ColumnType::Text), column("b", ColumnType::Text)];
    schema(table, columns, &[0])
}

pub(super) fn seq(position: u64, ordinal: u64) -> Seq {
    Seq::new(0, 1, position, ordinal).unwrap()
}

/// A change whose row has these cells; a delete's are those before it.
pub(super) fn change(op: Op, schema: &Arc<TableSchema>, seq: Seq, cells: &[&str]) -> Change {
    let row: Option<Row> = (!cells.is_empty()).then(|| row(cells));
    let (before, after) = if op == Op::Delete { (row, None) } else { (None, row) };
    Change { before, after, ..Change::new(op, Arc::clone(schema), seq, 7) }
}

/// A batch that ends at a boundary if it has a checkpoint.
pub(super) fn batch(changes: Vec<Change>, checkpoint: Option<&str>) -> Batch {
    Batch {
        changes,
        checkpoint: checkpoint.map(Checkpoint::new),
        lineage: Some(Lineage::new("log")),
        ..Batch::heartbeat()
    }
}

/// Gives commits that run the time to end, as heartbeats do.
pub(super) async fn settle(sink: &mut crate::LakeSink) {
    for _ in 0..20 {
        tokio::task::yield_now().await;
        sink.write(Batch::heartbeat()).await.unwrap();
    }
}

pub(super) fn text(checkpoint: Option<&Checkpoint>) -> Option<&str> {
    checkpoint.map(Checkpoint::as_str)
}
