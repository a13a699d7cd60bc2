//! The table metadata file (`vN.metadata.json`), format version 3.
//!
//! The model keeps what it does not understand (`rest`), and column defaults as the JSON that they were: what other
//! writers put into a table survives our commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;
use walbrook_model::{Error, Result};

use crate::schema::Schema;

/// The branch that readers see.
pub(crate) const MAIN: &str = "main";
/// Names the last commit of ours, as a table property and in the summary of its snapshot.
pub(crate) const COMMIT_ID: &str = "walbrook.commit-id";
const VERSIONS_MAX: &str = "write.metadata.previous-versions-max";
const VERSIONS_MAX_DEFAULT: usize = 100;

/// Table metadata.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::struct_field_names, reason = "names of the spec")]
pub(crate) struct Metadata {
    pub(crate) format_version: u8,
    pub(crate) table_uuid: Uuid,
    pub(crate) location: String,
    pub(crate) last_sequence_number: i64,
    pub(crate) last_updated_ms: i64,
    pub(crate) last_column_id: i32,
    pub(crate) current_schema_id: i32,
    pub(crate) schemas: Vec<Arc<Schema>>,
    pub(crate) default_spec_id: i32,
    pub(crate) partition_specs: Vec<PartitionSpec>,
    pub(crate) last_partition_id: i32,
    pub(crate) default_sort_order_id: i64,
    pub(crate) sort_orders: Vec<Value>,
    #[serde(default)]
    pub(crate) properties: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current_snapshot_id: Option<i64>,
    pub(crate) next_row_id: u64,
    #[serde(default)]
    pub(crate) refs: BTreeMap<String, Reference>,
    #[serde(default)]
    pub(crate) snapshots: Vec<Arc<Snapshot>>,
    #[serde(default)]
    pub(crate) snapshot_log: Vec<SnapshotLog>,
    #[serde(default)]
    pub(crate) metadata_log: Vec<MetadataLog>,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// A partition spec; ours has no fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PartitionSpec {
    pub(crate) spec_id: i32,
    pub(crate) fields: Vec<Value>,
}

/// A branch or a tag.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Reference {
    pub(crate) snapshot_id: i64,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// One version of the table's rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::struct_field_names, reason = "names of the spec")]
pub(crate) struct Snapshot {
    pub(crate) snapshot_id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent_snapshot_id: Option<i64>,
    #[serde(default)]
    pub(crate) sequence_number: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) manifest_list: String,
    #[serde(default)]
    pub(crate) summary: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema_id: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_row_id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) added_rows: Option<u64>,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// When a snapshot became current.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SnapshotLog {
    pub(crate) timestamp_ms: i64,
    pub(crate) snapshot_id: i64,
}

/// An earlier metadata file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MetadataLog {
    pub(crate) timestamp_ms: i64,
    pub(crate) metadata_file: String,
}

impl Metadata {
    /// Metadata of an empty table.
    pub(crate) fn new(location: String, schema: Schema, last_column_id: i32, now_ms: i64) -> Self {
        Self {
            format_version: 3,
            table_uuid: Uuid::new_v4(),
            location,
            last_sequence_number: 0,
            last_updated_ms: now_ms,
            last_column_id,
            current_schema_id: schema.schema_id,
            schemas: vec![Arc::new(schema)],
            default_spec_id: 0,
            partition_specs: vec![PartitionSpec { spec_id: 0, fields: Vec::new() }],
            last_partition_id: 999,
            default_sort_order_id: 0,
            sort_orders: vec![serde_json::json!({"order-id": 0, "fields": []})],
            properties: BTreeMap::new(),
            current_snapshot_id: None,
            next_row_id: 0,
            refs: BTreeMap::new(),
            snapshots: Vec::new(),
            snapshot_log: Vec::new(),
            metadata_log: Vec::new(),
            rest: Map::new(),
        }
    }

    /// Reads a metadata file.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if it is damaged, [`walbrook_model::ErrorKind::Config`] if it uses what we
    /// cannot keep right.
    pub(crate) fn parse(file: &[u8]) -> Result<Self> {
        let version: FormatVersion = serde_json::from_slice(file).map_err(damaged)?;
        if version.format_version != 3 {
            return Err(Error::config(format!("format version {} is not supported", version.format_version))
                .remedy("ALTER TABLE ... SET TBLPROPERTIES ('format-version'='3')"));
        }
        let mut metadata: Self = serde_json::from_slice(file).map_err(damaged)?;
        // The form of "none" that older writers use.
        metadata.current_snapshot_id = metadata.current_snapshot_id.filter(|id| *id != -1);
        metadata.check()?;
        Ok(metadata)
    }

    /// Refuses what we cannot keep right.
    pub(crate) fn check(&self) -> Result<()> {
        self.schema()?;
        if let Some(id) = self.current_snapshot_id
            && self.snapshot(id).is_none()
        {
            return Err(Error::data("the current snapshot is not in the table metadata"));
        }
        if self.partition_specs.iter().any(|spec| spec.spec_id == self.default_spec_id && !spec.fields.is_empty()) {
            return Err(Error::config("partitioned tables are not supported")
                .remedy("ALTER TABLE ... DROP PARTITION FIELD, for each of its partition fields"));
        }
        if self.rest.get("encryption-keys").and_then(Value::as_array).is_some_and(|keys| !keys.is_empty()) {
            return Err(Error::config("encrypted tables are not supported"));
        }
        let codec = self.properties.get("write.metadata.compression-codec");
        if codec.is_some_and(|codec| codec != "none") {
            return Err(Error::config("compressed table metadata is not supported")
                .remedy("ALTER TABLE ... UNSET TBLPROPERTIES ('write.metadata.compression-codec')"));
        }
        Ok(())
    }

    /// The file.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if it cannot be written as JSON.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::bug("table metadata has no JSON form").because(error))
    }

    /// The columns that are written.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if the metadata names a schema that it does not hold.
    pub(crate) fn schema(&self) -> Result<&Arc<Schema>> {
        self.schemas
            .iter()
            .find(|schema| schema.schema_id == self.current_schema_id)
            .ok_or_else(|| Error::data("the current schema is not in the table metadata"))
    }

    /// A snapshot.
    pub(crate) fn snapshot(&self, id: i64) -> Option<&Arc<Snapshot>> {
        self.snapshots.iter().find(|snapshot| snapshot.snapshot_id == id)
    }

    /// The version that readers see.
    pub(crate) fn current_snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.current_snapshot_id.and_then(|id| self.snapshot(id))
    }

    /// Whether a commit of ours is in this version of the table.
    pub(crate) fn holds(&self, commit: Uuid) -> bool {
        let named = |map: &BTreeMap<String, String>| {
            map.get(COMMIT_ID).and_then(|id| id.parse::<Uuid>().ok()).is_some_and(|id| id == commit)
        };
        named(&self.properties) || self.ancestors().any(|snapshot| named(&snapshot.summary))
    }

    /// The current snapshot, its parent, and so on, as far as they are kept.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &Arc<Snapshot>> {
        // A cycle cannot be longer than the list.
        std::iter::successors(self.current_snapshot(), |snapshot| {
            snapshot.parent_snapshot_id.and_then(|id| self.snapshot(id))
        })
        .take(self.snapshots.len())
    }

    /// Makes a snapshot the current one.
    pub(crate) fn push_snapshot(&mut self, snapshot: Snapshot) {
        let id = snapshot.snapshot_id;
        self.last_sequence_number = snapshot.sequence_number;
        self.next_row_id += snapshot.added_rows.unwrap_or(0);
        self.snapshot_log.push(SnapshotLog { timestamp_ms: snapshot.timestamp_ms, snapshot_id: id });
        self.snapshots.push(Arc::new(snapshot));
        self.current_snapshot_id = Some(id);
        let main = self.refs.entry(MAIN.to_owned()).or_insert_with(|| Reference {
            snapshot_id: id,
            rest: Map::from_iter([("type".to_owned(), Value::from("branch"))]),
        });
        main.snapshot_id = id;
    }

    /// Forgets snapshots, and the history that would have gaps without them.
    pub(crate) fn remove_snapshots(&mut self, ids: &[i64]) {
        if ids.is_empty() {
            return;
        }
        self.snapshots.retain(|snapshot| !ids.contains(&snapshot.snapshot_id));
        let known = |entry: &SnapshotLog| self.snapshots.iter().any(|s| s.snapshot_id == entry.snapshot_id);
        let start =
            self.snapshot_log.iter().rposition(|entry| !known(entry)).map_or(0, |last_unknown| last_unknown + 1);
        self.snapshot_log.drain(..start);
        for key in ["statistics", "partition-statistics"] {
            if let Some(Value::Array(files)) = self.rest.get_mut(key) {
                let of = |file: &Value| file.get("snapshot-id").and_then(Value::as_i64);
                files.retain(|file| of(file).is_none_or(|id| !ids.contains(&id)));
            }
        }
    }

    /// Notes the file of the version before this one, and takes out the files that are no longer kept.
    pub(crate) fn push_metadata_log(&mut self, previous: MetadataLog) -> Vec<MetadataLog> {
        self.metadata_log.push(previous);
        let max = self.properties.get(VERSIONS_MAX).and_then(|max| max.parse().ok()).unwrap_or(VERSIONS_MAX_DEFAULT);
        let excess = self.metadata_log.len().saturating_sub(max.max(1));
        self.metadata_log.drain(..excess).collect()
    }

    /// Whether other tools allow that files are deleted with the version that needed them.
    pub(crate) fn may_delete_files(&self) -> bool {
        self.properties.get("gc.enabled").is_none_or(|value| value != "false")
    }

    /// Whether old metadata files are deleted.
    pub(crate) fn deletes_old_metadata(&self) -> bool {
        self.properties.get("write.metadata.delete-after-commit.enabled").is_some_and(|value| value == "true")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FormatVersion {
    format_version: u8,
}

fn damaged(error: serde_json::Error) -> Error {
    Error::data("damaged table metadata").because(error)
}

/// The properties of a new table; what the caller sets wins.
pub(crate) fn default_properties(keep_snapshots: u32) -> BTreeMap<String, String> {
    let own = |(key, value): (&str, String)| (key.to_owned(), value);
    let merge_on_read = "merge-on-read".to_owned();
    BTreeMap::from_iter(
        [
            (VERSIONS_MAX, keep_snapshots.clamp(10, 100).to_string()),
            ("write.metadata.delete-after-commit.enabled", "true".to_owned()),
            ("write.parquet.compression-codec", "zstd".to_owned()),
            ("write.delete.mode", merge_on_read.clone()),
            ("write.update.mode", merge_on_read.clone()),
            ("write.merge.mode", merge_on_read),
        ]
        .map(own),
    )
}
