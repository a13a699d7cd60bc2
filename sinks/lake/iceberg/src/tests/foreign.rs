//! Tables that another writer changed.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use serde_json::{Value, json};
use walbrook_lake_merge::format::{LakeCatalog, Outcome, TableFormat};
use walbrook_model::{ErrorKind, Seq};

use super::oracle;
use super::support::{Warehouse, append, commit, data_file, name, property};
use crate::manifest::{Content, ContentFile, Entry, ManifestWriter, Status, read_manifest_list, write_manifest_list};
use crate::table::Table;

/// Publishes the next version as another tool would.
fn publish(table: &Table, edit: impl FnOnce(&mut Value)) {
    let version = table.loaded.version;
    let json = std::fs::read(table.folder.version_path(version)).unwrap();
    let mut metadata = serde_json::from_slice(&json).unwrap();
    edit(&mut metadata);
    std::fs::write(table.folder.version_path(version + 1), metadata.to_string()).unwrap();
}

/// Adds a snapshot of one more manifest, with nothing of ours in its summary.
fn add_snapshot(table: &Table, content: Content, file: &ContentFile) {
    let metadata = &table.loaded.metadata;
    let (id, sequence) = (77, metadata.last_sequence_number + 1);
    let mut writer = ManifestWriter::new(content, id, sequence);
    writer.push(Status::Added, &Entry::added(file, id, sequence));
    let folder = table.folder.metadata();
    let path = |name: &str| format!("{}/metadata/{name}", metadata.location);
    let schema = serde_json::to_string(metadata.schema().unwrap().as_ref()).unwrap();
    let (bytes, mut manifest) = writer.finish(path("foreign-m0.avro"), 0, 0, &schema);
    std::fs::write(folder.join("foreign-m0.avro"), bytes).unwrap();
    manifest.first_row_id = (content == Content::Data).then_some(metadata.next_row_id);
    let list = crate::folder::local_path(&metadata.current_snapshot().unwrap().manifest_list).unwrap();
    let mut manifests = read_manifest_list(&std::fs::read(list).unwrap()).unwrap();
    manifests.push(manifest);
    let list = write_manifest_list(manifests.iter(), id, metadata.current_snapshot_id, sequence, metadata.next_row_id);
    std::fs::write(folder.join("foreign-list.avro"), list).unwrap();
    publish(table, |json| {
        json["snapshots"].as_array_mut().unwrap().push(json!({
            "snapshot-id": id, "parent-snapshot-id": metadata.current_snapshot_id, "sequence-number": sequence,
            "timestamp-ms": metadata.last_updated_ms, "manifest-list": path("foreign-list.avro"), "schema-id": 0,
            "first-row-id": metadata.next_row_id, "added-rows": file.records, "summary": {"operation": "append"},
        }));
        json["snapshot-log"].as_array_mut().unwrap().push(json!({
            "snapshot-id": id, "timestamp-ms": metadata.last_updated_ms,
        }));
        json["current-snapshot-id"] = json!(id);
        json["refs"]["main"]["snapshot-id"] = json!(id);
        json["last-sequence-number"] = json!(sequence);
        json["next-row-id"] = json!(metadata.next_row_id + file.records);
        json["unknown-to-us"] = json!({"kept": true});
    });
}

fn foreign_file(table: &Table) -> ContentFile {
    let file = data_file(table, 7, 9);
    ContentFile {
        path: file.path,
        format: "parquet".to_owned(),
        records: file.rows,
        bytes: file.bytes,
        nan_counts: vec![(1, 0)],
        key_metadata: Some(vec![1, 2, 3]),
        ..ContentFile::default()
    }
}

#[tokio::test]
async fn a_snapshot_of_another_writer_is_the_table() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    let first = append(vec![data_file(&table, 3, 1)]);
    commit(&mut table, first).await;
    let file = foreign_file(&table);
    add_snapshot(&table, Content::Data, &file);
    let ours = append(vec![data_file(&table, 1, 2)]);
    assert_eq!(table.commit(ours.clone()).await.unwrap(), Outcome::Conflict);
    let live = table.state().files.iter().find(|live| live.file.path == file.path).unwrap();
    assert_eq!((live.file.seq_min, live.file.seq_max), (Seq::ZERO, Seq::MAX), "a file without bounds may hold any");
    // Our next commits keep the file, and what only its writer knows of it.
    let mut next = ours;
    next.deleted.insert(file.path.clone(), RoaringBitmap::from_iter([2]));
    commit(&mut table, next).await;
    for number in 0..60 {
        let next = append(vec![data_file(&table, 1, number + 3)]);
        commit(&mut table, next).await;
    }
    oracle::check(&table);
    let path = table.loaded.tree.files[file.path.as_str()].manifest;
    let manifest = &table.loaded.tree.data[&path].file;
    let bytes = std::fs::read(crate::folder::local_path(&manifest.path).unwrap()).unwrap();
    let entries = crate::manifest::read_manifest(&bytes, manifest).unwrap();
    assert!(entries.len() > 1, "its manifest was merged");
    let kept = entries.into_iter().find(|entry| entry.file.path == file.path).unwrap().file;
    assert_eq!((kept.key_metadata, kept.nan_counts), (file.key_metadata, file.nan_counts));
    assert_eq!(table.loaded.metadata.rest["unknown-to-us"], json!({"kept": true}));
}

/// Rewriting a data file may leave its deletion vector behind: it means nothing, and goes when its manifest does.
#[tokio::test]
async fn a_vector_of_a_file_that_is_gone_does_no_harm() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    let file = data_file(&table, 9, 1);
    let mut first = append(vec![file.clone()]);
    first.deleted.insert(file.path.clone(), RoaringBitmap::from_iter([1]));
    commit(&mut table, first).await;
    let left = ContentFile::vector("file:///gone.puffin", 100, (4, 40), "file:///gone.parquet", 7);
    add_snapshot(&table, Content::Deletes, &left);
    table.reload().await.unwrap();
    assert_eq!((table.state().files.len(), table.loaded.tree.totals.deleted_records), (1, 1));
    for row in 2..6 {
        let mut next = append(vec![data_file(&table, 2, u64::from(row))]);
        next.deleted.insert(file.path.clone(), (1..row).collect());
        commit(&mut table, next).await;
        assert_eq!(warehouse.open().await.loaded.tree.totals, table.loaded.tree.totals);
    }
}

#[tokio::test]
async fn deletes_that_we_do_not_write_are_refused() {
    for (content, format, what) in [(1, "PARQUET", "position delete"), (2, "PARQUET", "equality delete")] {
        let warehouse = Warehouse::new();
        let mut table = warehouse.create(BTreeMap::new()).await;
        let first = append(vec![data_file(&table, 3, 1)]);
        commit(&mut table, first).await;
        let file = ContentFile { content, format: format.to_owned(), ..foreign_file(&table) };
        add_snapshot(&table, Content::Deletes, &file);
        let error = table.reload().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(table.commit(property("walbrook.test", "x")).await.unwrap_err().kind(), ErrorKind::Config);
    }
}

#[tokio::test]
async fn what_we_cannot_keep_right_is_refused() {
    type Edit = fn(&mut Value);
    let checks: [(&str, Edit); 7] = [
        ("format version 2", |json| json["format-version"] = json!(2)),
        ("partitioned", |json| {
            json["partition-specs"][0]["fields"] =
                json!([{"source-id": 1, "field-id": 1000, "name": "b", "transform": "bucket[4]"}]);
        }),
        ("not supported", |json| json["schemas"][0]["fields"][0]["type"] = json!("timestamp_ns")),
        ("compressed", |json| {
            json["properties"]["write.metadata.compression-codec"] = json!("gzip");
        }),
        ("encrypted", |json| json["encryption-keys"] = json!([{"key-id": "a"}])),
        ("moved", |json| json["location"] = json!("file:///elsewhere")),
        ("current schema", |json| json["current-schema-id"] = json!(5)),
    ];
    for (what, edit) in checks {
        let warehouse = Warehouse::new();
        let table = warehouse.create(BTreeMap::new()).await;
        publish(&table, edit);
        let error = warehouse.catalog().open(&name()).await.err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Data), "{what}: {error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
}

/// Every byte of every file, cut or changed: an error or the same table, never a panic.
#[tokio::test]
async fn damaged_files_are_errors() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    let file = data_file(&table, 30, 1);
    let mut next = append(vec![file.clone()]);
    next.deleted.insert(file.path.clone(), RoaringBitmap::from_iter([1, 2, 9]));
    commit(&mut table, next).await;
    let parquet = file.path.rsplit('/').next().unwrap().to_owned();
    let is_metadata = |path: &std::path::PathBuf| {
        let name = path.to_str().unwrap();
        !name.ends_with("v1.metadata.json") && !name.ends_with("version-hint.text") && !name.contains(&parquet)
    };
    let all = warehouse.files("metadata").into_iter().chain(warehouse.files("data"));
    for path in all.filter(is_metadata) {
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 60 + 1) {
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(warehouse.catalog().open(&name()).await.is_err(), "{path:?} cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            std::fs::write(&path, changed).unwrap();
            let _ = warehouse.catalog().open(&name()).await;
        }
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(warehouse.open().await.state().files.len(), 1);
}
