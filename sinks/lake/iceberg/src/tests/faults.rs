//! Two writers, crashes, and outcomes that are not known.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use walbrook_lake_merge::format::{Commit, LakeCatalog, Outcome, TableFormat};
use walbrook_model::ErrorKind;

use super::oracle;
use super::support::{Warehouse, append, commit, data_file, layout, name, property};
use crate::folder::Step;

fn files(table: &impl TableFormat) -> Vec<String> {
    let mut files: Vec<_> = table.state().files.iter().map(|live| live.file.path.clone()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn of_two_handles_one_commits_and_the_other_sees_it() {
    let warehouse = Warehouse::new();
    let mut first = warehouse.create(BTreeMap::new()).await;
    let mut second = warehouse.open().await;
    let file = data_file(&first, 3, 1);
    commit(&mut first, append(vec![file.clone()])).await;
    let late = append(vec![data_file(&second, 3, 2)]);
    let staged = warehouse.files("metadata").len();
    assert_eq!(second.commit(late.clone()).await.unwrap(), Outcome::Conflict);
    assert_eq!(files(&second), [file.path]);
    assert_eq!(warehouse.files("metadata").len(), staged, "a lost commit leaves nothing behind");
    assert_eq!(second.commit(late).await.unwrap(), Outcome::Committed);
    first.reload().await.unwrap();
    assert_eq!(files(&first), files(&second));
    oracle::check(&first);
}

#[tokio::test]
async fn a_repeated_commit_is_one_commit() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    let once = append(vec![data_file(&table, 3, 1)]);
    commit(&mut table, once.clone()).await;
    commit(&mut table, once.clone()).await;
    let mut reopened = warehouse.open().await;
    commit(&mut reopened, property("walbrook.test", "x")).await;
    commit(&mut reopened, once).await;
    assert_eq!(reopened.state().files.len(), 1);
    assert_eq!(reopened.loaded.version, 3);
}

/// A commit that is interrupted at a step, and whether it is in the table afterwards.
async fn check_crash(step: Step, published: bool) {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    let first = data_file(&table, 10, 1);
    commit(&mut table, append(vec![first.clone()])).await;
    *table.folder.fault.lock().unwrap() = Some(step);
    let mut next = append(vec![data_file(&table, 5, 2)]);
    next.deleted.insert(first.path.clone(), RoaringBitmap::from_iter([1, 4]));
    match table.commit(next.clone()).await {
        Ok(outcome) => assert_eq!((outcome, published), (Outcome::Committed, true)),
        Err(error) => assert_eq!((error.kind(), published), (ErrorKind::Transient, false)),
    }
    // The process dies: what is known is what is on the disk.
    drop(table);
    let mut table = warehouse.open().await;
    assert_eq!(table.state().files.len(), if published { 2 } else { 1 });
    assert_eq!(table.state().files.iter().map(|live| live.deleted.len()).sum::<u64>(), if published { 2 } else { 0 });
    // The next process repeats it.
    commit(&mut table, next).await;
    assert_eq!(table.state().files.len(), 2);
    oracle::check(&table);
}

#[tokio::test]
async fn a_crash_before_the_version_is_there_changes_nothing() {
    check_crash(Step::BeforePublish, false).await;
}

#[tokio::test]
async fn an_outcome_that_is_not_known_is_settled() {
    check_crash(Step::AfterPublish, true).await;
}

#[tokio::test]
async fn a_version_without_its_hint_is_found() {
    check_crash(Step::BeforeHint, true).await;
}

#[tokio::test]
async fn a_hint_that_lies_or_is_missing_is_only_a_hint() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    for number in 0..3 {
        commit(&mut table, property("walbrook.test", &number.to_string())).await;
    }
    let hint = warehouse.folder.path().join("lake/orders/metadata/version-hint.text");
    assert_eq!(std::fs::read_to_string(&hint).unwrap(), "4");
    for text in ["1", "77", "", "nonsense"] {
        std::fs::write(&hint, text).unwrap();
        assert_eq!(warehouse.open().await.loaded.version, 4, "hint {text:?}");
    }
    std::fs::remove_file(&hint).unwrap();
    assert_eq!(warehouse.open().await.loaded.version, 4);
}

/// A writer that slept while the others published so many versions that the one after its own is deleted again.
#[tokio::test]
async fn a_zombie_cannot_publish_behind_the_newest_version() {
    let warehouse = Warehouse::new();
    let mut zombie = warehouse.create(BTreeMap::new()).await;
    let mut owner = warehouse.open().await;
    for number in 0..30 {
        commit(&mut owner, property("walbrook.test", &number.to_string())).await;
    }
    assert!(!owner.folder.exists(2).unwrap(), "the test needs deleted versions");
    let before = warehouse.files("metadata");
    let late = append(vec![data_file(&zombie, 1, 1)]);
    assert_eq!(zombie.commit(late).await.unwrap(), Outcome::Conflict);
    assert_eq!(warehouse.files("metadata"), before);
    assert_eq!(zombie.loaded.version, 31);
}

#[tokio::test]
async fn a_table_that_was_dropped_or_made_anew_is_a_gap() {
    let warehouse = Warehouse::new();
    let root = warehouse.folder.path().join("lake/orders");
    let mut table = warehouse.create(BTreeMap::new()).await;
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(table.commit(property("walbrook.test", "x")).await.unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(table.reload().await.unwrap_err().kind(), ErrorKind::Gap);
    assert!(!root.exists());
    warehouse.create(BTreeMap::new()).await;
    assert_eq!(table.commit(property("walbrook.test", "x")).await.unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(table.reload().await.unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(warehouse.open().await.loaded.version, 1);
}

#[tokio::test]
async fn a_table_is_created_once() {
    let warehouse = Warehouse::new();
    assert!(warehouse.catalog().open(&name()).await.unwrap().is_none());
    warehouse.create(BTreeMap::from([("walbrook.owner".to_owned(), "a".to_owned())])).await;
    let again = warehouse.catalog().create(&name(), &layout(), BTreeMap::new()).await;
    assert_eq!(again.err().unwrap().kind(), ErrorKind::Config);
    let table = warehouse.open().await;
    assert_eq!(table.state().properties["walbrook.owner"], "a");
    assert_eq!(table.state().layout, layout());
    assert_eq!(table.state().snapshot, None);
    oracle::check(&table);
}

/// What contradicts the table is refused before anything is written.
#[tokio::test]
async fn a_commit_that_contradicts_the_table_is_refused() {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    let file = data_file(&table, 10, 1);
    let mut first = append(vec![file.clone()]);
    first.deleted.insert(file.path.clone(), RoaringBitmap::from_iter([3]));
    commit(&mut table, first).await;
    let deleted = |path: &str, rows: &[u32]| {
        let mut commit = append(vec![]);
        commit.deleted.insert(path.to_owned(), rows.iter().copied().collect());
        commit
    };
    let mut elsewhere = data_file(&table, 1, 2);
    elsewhere.path = format!("file://{}", warehouse.folder.path().join("x.parquet").display());
    let mut cut = data_file(&table, 1, 2);
    cut.bytes += 1;
    let mut both = deleted(&file.path, &[3, 4]);
    both.removed = vec![file.path.clone()];
    let bad: Vec<(&str, Commit)> = vec![
        ("added twice", append(vec![file.clone()])),
        ("outside of the folder", append(vec![elsewhere])),
        ("not whole", append(vec![cut])),
        ("removed, not there", Commit { removed: vec!["file:///x".to_owned()], ..append(vec![]) }),
        ("deleted, not there", deleted("file:///x", &[1])),
        ("deleted and removed", both),
        ("behind the end", deleted(&file.path, &[3, 10])),
        ("a row comes back", deleted(&file.path, &[4])),
        ("reserved property", property("format-version", "2")),
        ("no id", Commit { id: uuid::Uuid::nil(), ..append(vec![data_file(&table, 1, 2)]) }),
    ];
    let before = warehouse.files("metadata");
    for (what, commit) in bad {
        assert_eq!(table.commit(commit).await.unwrap_err().kind(), ErrorKind::Bug, "{what}");
        assert_eq!(warehouse.files("metadata"), before, "{what}");
    }
}
