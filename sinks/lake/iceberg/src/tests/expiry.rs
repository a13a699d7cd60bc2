//! Snapshots expire with every commit, and so do the files that only they need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use roaring::RoaringBitmap;
use serde_json::json;
use walbrook_lake_merge::format::{Commit, TableFormat};

use super::oracle;
use super::support::{KEEP, Warehouse, append, commit, data_file};
use crate::folder::local_path;
use crate::manifest::{Status, read_manifest, read_manifest_list};
use crate::table::Table;

/// All files that the kept snapshots of a table need.
fn needed(table: &Table) -> BTreeSet<PathBuf> {
    let mut needed = BTreeSet::new();
    for snapshot in &table.loaded.metadata.snapshots {
        let list = local_path(&snapshot.manifest_list).unwrap();
        for manifest in read_manifest_list(&std::fs::read(&list).unwrap()).unwrap() {
            let path = local_path(&manifest.path).unwrap();
            for entry in read_manifest(&std::fs::read(&path).unwrap(), &manifest).unwrap() {
                if entry.status != Status::Deleted {
                    needed.insert(local_path(&entry.file.path).unwrap());
                }
            }
            needed.insert(path);
        }
        needed.insert(list);
    }
    needed
}

/// What lies in the folder besides metadata versions and the hint.
fn present(warehouse: &Warehouse) -> BTreeSet<PathBuf> {
    let all = warehouse.files("metadata").into_iter().chain(warehouse.files("data"));
    let is_version =
        |path: &PathBuf| path.to_str().unwrap().ends_with(".metadata.json") || path.ends_with("version-hint.text");
    all.filter(|path| !is_version(path)).collect()
}

/// A commit like those of a merge: a new file, deleted rows in most others, now and then two less.
fn work(table: &Table, number: u64) -> Commit {
    let mut next = append(vec![data_file(table, 20, number + 1)]);
    let mut paths: Vec<_> = table.state().files.iter().map(|live| live.file.path.clone()).collect();
    paths.sort();
    if number % 3 == 2 {
        next.removed = paths.drain(..2.min(paths.len())).collect();
    }
    // A Puffin file stays as long as one of its vectors does.
    let paths: Vec<_> = (number..).zip(paths).filter(|(place, _)| place % 3 > 0).map(|(_, path)| path).collect();
    for live in table.state().files.iter().filter(|live| paths.contains(&live.file.path)) {
        let mut deleted = live.deleted.clone();
        deleted.insert(u32::try_from(number % 20).unwrap());
        next.deleted.insert(live.file.path.clone(), deleted);
    }
    next
}

#[tokio::test]
async fn the_folder_holds_what_kept_snapshots_need_and_nothing_else() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    for number in 0..25 {
        if number % 7 == 6 {
            // What was retired before a restart is found in the manifests.
            table = warehouse.open().await;
        }
        let next = work(&table, number);
        commit(&mut table, next).await;
        assert!(table.loaded.metadata.snapshots.len() <= KEEP as usize);
        assert_eq!(present(&warehouse), needed(&table), "after commit {number}");
        oracle::check(&table);
    }
    let versions =
        warehouse.files("metadata").iter().filter(|p| p.to_str().unwrap().ends_with(".metadata.json")).count();
    assert_eq!(versions, 11, "the newest and its log");
    assert_eq!(table.loaded.metadata.metadata_log.len(), 10);
    assert_eq!(table.loaded.metadata.snapshot_log.len(), KEEP as usize);
}

#[tokio::test]
async fn garbage_of_a_commit_that_died_is_collected_by_the_next() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    for number in 0..8 {
        let next = work(&table, number);
        commit(&mut table, next).await;
    }
    // The commit is published, its garbage is not deleted.
    let next = work(&table, 8);
    let saved: Vec<_> = present(&warehouse).into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    commit(&mut table, next).await;
    for (bytes, path) in saved {
        std::fs::write(path, bytes).unwrap();
    }
    let mut table = warehouse.open().await;
    assert_ne!(present(&warehouse), needed(&table));
    let next = work(&table, 9);
    commit(&mut table, next).await;
    assert_eq!(present(&warehouse), needed(&table));
}

/// Changes the newest metadata as another tool would, as a new version.
async fn change(warehouse: &Warehouse, table: &mut Table, edit: impl Fn(&mut serde_json::Value)) {
    let version = table.loaded.version;
    let json = std::fs::read(table.folder.version_path(version)).unwrap();
    let mut metadata = serde_json::from_slice(&json).unwrap();
    edit(&mut metadata);
    std::fs::write(table.folder.version_path(version + 1), metadata.to_string()).unwrap();
    *table = warehouse.open().await;
}

#[tokio::test]
async fn a_tag_keeps_its_snapshot_and_its_files() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    for number in 0..3 {
        let next = append(vec![data_file(&table, 20, number + 1)]);
        commit(&mut table, next).await;
    }
    let tagged = table.state().snapshot.unwrap();
    change(&warehouse, &mut table, |metadata| {
        metadata["refs"]["audit"] = json!({"snapshot-id": tagged, "type": "tag"});
    })
    .await;
    for number in 3..12 {
        let mut next = append(vec![data_file(&table, 20, number + 1)]);
        next.removed = vec![table.state().files[0].file.path.clone()];
        commit(&mut table, next).await;
        assert!(needed(&table).is_subset(&present(&warehouse)), "after commit {number}");
    }
    assert!(table.loaded.metadata.snapshot(tagged).is_some());
    assert!(table.loaded.metadata.snapshots.len() <= KEEP as usize + 3);
    oracle::check(&table);
}

/// A snapshot that was rolled back took files away that are live again.
#[tokio::test]
async fn a_rollback_costs_no_file() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    for number in 0..2 {
        let next = append(vec![data_file(&table, 20, number + 1)]);
        commit(&mut table, next).await;
    }
    let good = table.state().snapshot.unwrap();
    let removed = table.state().files.iter().map(|live| live.file.path.clone()).collect();
    commit(&mut table, Commit { removed, ..append(vec![]) }).await;
    let bad = table.state().snapshot.unwrap();
    change(&warehouse, &mut table, |metadata| {
        metadata["current-snapshot-id"] = json!(good);
        metadata["refs"]["main"]["snapshot-id"] = json!(good);
        let log = metadata["snapshot-log"].as_array_mut().unwrap();
        log.push(json!({"snapshot-id": good, "timestamp-ms": log[2]["timestamp-ms"]}));
    })
    .await;
    assert_eq!(table.state().files.len(), 2);
    for number in 2..12 {
        std::thread::sleep(std::time::Duration::from_millis(2));
        let next = append(vec![data_file(&table, 20, number + 1)]);
        commit(&mut table, next).await;
        assert!(needed(&table).is_subset(&present(&warehouse)), "after commit {number}");
        oracle::check(&table);
    }
    assert!(table.loaded.metadata.snapshot(bad).is_none());
    assert_eq!(warehouse.open().await.state().files.len(), 12);
}

#[tokio::test]
async fn gc_enabled_false_keeps_files() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::from([("gc.enabled".to_owned(), "false".to_owned())])).await;
    let first = data_file(&table, 2, 1);
    commit(&mut table, append(vec![first.clone()])).await;
    commit(&mut table, Commit { removed: vec![first.path.clone()], ..append(vec![]) }).await;
    for number in 0..8 {
        let next = work(&table, number);
        commit(&mut table, next).await;
    }
    assert!(local_path(&first.path).unwrap().exists());
    assert_eq!(table.loaded.metadata.snapshots.len(), KEEP as usize);
}

/// Many small manifests become few.
#[tokio::test]
async fn manifests_are_merged() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    for number in 0..120u32 {
        let mut next = append(vec![data_file(&table, 5, u64::from(number) + 1)]);
        for live in table.state().files.iter().rev().take(2) {
            next.deleted.insert(live.file.path.clone(), &live.deleted | &RoaringBitmap::from_iter([number % 5]));
        }
        commit(&mut table, next).await;
        assert!(table.loaded.tree.data.len() <= 52);
        assert!(table.loaded.tree.vectors.len() <= 6);
    }
    assert_eq!(table.state().files.len(), 120);
    oracle::check(&table);
}
