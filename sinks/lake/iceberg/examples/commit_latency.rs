//! Measures commits: `cargo run --release -p walbrook-lake-iceberg --example commit_latency -- WAREHOUSE [FILES]`.
//!
//! A table of FILES data files (1,000), each with a deletion vector, takes 200 commits of each kind. Only the commit is
//! timed: data files are placeholders, written before.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that fails has no result")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use roaring::RoaringBitmap;
use uuid::Uuid;
use walbrook_lake_iceberg::FolderCatalog;
use walbrook_lake_merge::format::{Commit, DataFile, LakeCatalog, LakeName, Outcome, TableFormat};
use walbrook_lake_merge::layout::{LakeField, LakeType, Layout};
use walbrook_model::Seq;

const ROWS: u32 = 1_000_000;
const COMMITS: u32 = 200;
const KEEP_SNAPSHOTS: u32 = 20;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let warehouse = arguments.next().expect("usage: commit_latency WAREHOUSE [FILES]");
    let files: u32 = arguments.next().map_or(1000, |files| files.parse().unwrap());
    let catalog = FolderCatalog::new(Path::new(&warehouse), KEEP_SNAPSHOTS).unwrap();
    let name = LakeName { namespace: "lake".to_owned(), name: format!("latency_{}", Uuid::new_v4().simple()) };
    let mut table = catalog.create(&name, &layout(), BTreeMap::new()).await.unwrap();
    let mut base = commit_of((0..files).map(|_| data_file(table.as_ref())).collect());
    base.deleted = base.added.iter().map(|file| (file.path.clone(), RoaringBitmap::from_iter([0, 70_000]))).collect();
    time(table.as_mut(), base).await;
    for touched in [1, 100, files] {
        let kind = format!("1 file added, {touched} deletion vectors replaced");
        measure(table.as_mut(), &kind, |table, number| replace(table, touched, number)).await;
    }
    measure(table.as_mut(), "1 file added", |table, _| commit_of(vec![data_file(table)])).await;
    measure(table.as_mut(), "property only", |_, number| {
        let properties = BTreeMap::from([("walbrook.checkpoint".to_owned(), number.to_string())]);
        Commit { properties, ..commit_of(Vec::new()) }
    })
    .await;
    let start = Instant::now();
    let table = catalog.open(&name).await.unwrap().unwrap();
    println!("{:55} {:8.1} ms", format!("open, {} files", table.state().files.len()), ms(start.elapsed()));
}

async fn measure(table: &mut dyn TableFormat, kind: &str, mut next: impl FnMut(&dyn TableFormat, u32) -> Commit) {
    let mut times = Vec::new();
    for number in 0..COMMITS {
        let commit = next(table, number);
        times.push(time(table, commit).await);
    }
    times.sort_unstable();
    let at = |share: usize| ms(times[times.len() * share / 100]);
    println!("{kind:55} median {:6.1} ms   p95 {:6.1} ms   max {:6.1} ms", at(50), at(95), ms(times[times.len() - 1]));
}

async fn time(table: &mut dyn TableFormat, commit: Commit) -> Duration {
    let start = Instant::now();
    assert_eq!(table.commit(commit).await.unwrap(), Outcome::Committed);
    start.elapsed()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Deletes ten more rows in each of some files, spread over the table.
fn replace(table: &dyn TableFormat, touched: u32, number: u32) -> Commit {
    let files = &table.state().files;
    let mut commit = commit_of(vec![data_file(table)]);
    for file in 0..touched as usize {
        let live = &files[(file * 7919 + number as usize * 104_729) % files.len()];
        let mut deleted = live.deleted.clone();
        deleted.extend((0..10).map(|row| (number * 7919 + row * 99_991) % ROWS));
        commit.deleted.insert(live.file.path.clone(), deleted);
    }
    commit
}

fn commit_of(added: Vec<DataFile>) -> Commit {
    Commit { id: Uuid::new_v4(), added, ..Commit::default() }
}

/// The metadata of a file as large as those of a merge; the file itself is empty.
fn data_file(table: &dyn TableFormat) -> DataFile {
    let (folder, prefix) = table.data_folder();
    let name = format!("{}.parquet", Uuid::new_v4());
    std::fs::write(folder.join(&name), b"").unwrap();
    let columns = 1..=layout().last_id;
    DataFile {
        path: format!("{prefix}/{name}"),
        bytes: 0,
        rows: u64::from(ROWS),
        seq_min: Seq::ZERO,
        seq_max: Seq::MAX,
        null_counts: columns.clone().map(|id| (id, 17)).collect(),
        column_bytes: columns.clone().map(|id| (id, 1_000_000)).collect(),
        bounds: columns.map(|id| (id, (vec![1; 8], vec![2; 8]))).collect(),
        split_offsets: vec![4],
    }
}

fn layout() -> Layout {
    let column = |id| LakeField {
        id,
        name: format!("column_{id}"),
        ty: LakeType::Long,
        required: id == 1,
        initial_default: None,
    };
    Layout { schema_id: 0, fields: (1..=12).map(column).collect(), key: vec![1], last_id: 12 }
}
