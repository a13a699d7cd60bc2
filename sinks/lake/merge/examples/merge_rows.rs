//! Measures the whole sink: changes into a table, commits included, with the table's metadata in memory.
//!
//! `cargo run --release -p walbrook-lake-merge --features testing --example merge_rows [rows, default 1000000]`
//!
//! The table is that of `testing::bench_schema`. Changes are made beforehand; what is timed is `Sink::write`.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "figures to print")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use walbrook_config::{Lake, Pipeline, TableMode};
use walbrook_lake_merge::LakeSink;
use walbrook_lake_merge::testing::{MemoryCatalog, bench_row, bench_schema};
use walbrook_model::{Batch, Change, Checkpoint, Op, Seq, Sink as _, TableSchema};

const BATCH: u64 = 1000;

/// The key of the n-th change.
type Keys<'a> = &'a dyn Fn(u64) -> u64;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let rows: u64 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let folder = std::env::temp_dir().join(format!("walbrook-merge-rows-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let catalog = MemoryCatalog::new(&folder);
    let schema = bench_schema();
    let mut sink = start(&catalog).await;
    let mut position = 0;
    let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % rows;
    let keep = |n: u64| n;
    let kinds: [(&str, Op, u64, Keys<'_>); 4] = [
        ("insert", Op::Insert, rows, &keep),
        ("update, random keys", Op::Update, rows / 5, &spread),
        ("update, one hot key in 1000", Op::Update, rows / 5, &|n| n % 1000),
        ("delete, random keys", Op::Delete, rows / 10, &spread),
    ];
    for (name, op, count, key) in kinds {
        let mut time = Duration::ZERO;
        for first in (0..count).step_by(1 << 17) {
            let last = count.min(first + (1 << 17));
            let batches: Vec<Batch> = (first..last)
                .step_by(1000)
                .map(|n| {
                    position += 1;
                    batch(&schema, op, position, (n..last.min(n + BATCH)).map(key))
                })
                .collect();
            let start = Instant::now();
            for batch in batches {
                sink.write(batch).await.unwrap();
            }
            if last == count {
                sink.flush().await.unwrap();
            }
            time += start.elapsed();
        }
        println!("{name:30} {:6.0} ns a change", time.as_nanos() as f64 / count as f64);
    }
    let status = sink.status().tables()["public.bench"].clone();
    println!(
        "{} commits, {:.1} bytes a written row, {} live rows, {:.1} bytes of index a key",
        status.commits,
        status.bytes_written as f64 / status.rows_written as f64,
        status.live_rows,
        status.index_bytes as f64 / status.live_rows as f64
    );
    drop(sink);
    let mut sink = start(&catalog).await;
    let begun = Instant::now();
    sink.write(batch(&schema, Op::Update, position + 1, 1..2)).await.unwrap();
    println!("restart: index of {} keys in {:.2} s", status.live_rows, begun.elapsed().as_secs_f64());
    std::fs::remove_dir_all(folder).unwrap();
}

async fn start(catalog: &MemoryCatalog) -> LakeSink {
    let settings = Lake {
        warehouse: PathBuf::new(),
        namespace: None,
        mode: TableMode::Upsert,
        commit_interval: Duration::from_secs(1),
        commit_bytes: 64 << 20,
        keep_snapshots: 1,
        tables: BTreeMap::new(),
    };
    let pipeline = Pipeline {
        name: "bench".to_owned(),
        buffer_bytes: 1 << 25,
        parked_bytes: 1 << 28,
        grace_period: Duration::from_secs(1),
    };
    let mut sink = LakeSink::new(Arc::new(catalog.clone()), settings, pipeline);
    sink.last_checkpoint().await.unwrap();
    sink
}

fn batch(schema: &Arc<TableSchema>, op: Op, position: u64, keys: impl Iterator<Item = u64>) -> Batch {
    let change = |(ordinal, key)| {
        let row = Some(bench_row(key, position));
        let (before, after) = if op == Op::Delete { (row, None) } else { (None, row) };
        let seq = Seq::new(0, 1, position, ordinal).unwrap();
        Change { before, after, ..Change::new(op, Arc::clone(schema), seq, 1_700_000_000_000_000) }
    };
    Batch {
        changes: (1..).zip(keys).map(change).collect(),
        checkpoint: Some(Checkpoint::new(position.to_string())),
        ..Batch::default()
    }
}
