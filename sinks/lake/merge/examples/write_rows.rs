//! Measures what a row costs between the bytes of the log and a durable Parquet file, stage by stage.
//!
//! `cargo run --release -p walbrook-lake-merge --features testing --example write_rows [rows, default 300000]`
//!
//! The table is that of `testing::bench_schema`.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "figures to print"
)]

use std::time::{Duration, Instant};

use walbrook_lake_merge::testing::{Stages, bench_row, bench_schema};
use walbrook_model::{Row, Seq};

fn main() {
    let count: u32 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(300_000);
    let schema = bench_schema();
    let rows: Vec<Row> = (0..count).map(|n| bench_row(u64::from(n), 0)).collect();
    let bytes: usize = rows.iter().map(Row::memory_bytes).sum();
    println!("{count} rows of {} bytes", bytes / rows.len());
    let folder = std::env::temp_dir().join(format!("walbrook-write-rows-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let all: Vec<u32> = (0..count).collect();
    let half: Vec<u32> = (0..count).filter(|n| n % 2 == 0).collect();
    println!("decode+buffer     seal  select half  select all+parquet  in all   file bytes/row");
    for round in 0..5 {
        let mut stages = Stages::new(&schema).unwrap();
        let push = time(|| {
            for (n, row) in (1..).zip(&rows) {
                stages.push(&schema, row, Seq::new(0, 1, 0x1_0000_0000, n).unwrap(), 1_700_000_000_000_000).unwrap();
            }
        });
        let seal = time(|| stages.seal().unwrap());
        let select = time(|| assert!(stages.select(&half).unwrap() > 0));
        let mut file = None;
        let write = time(|| file = Some(stages.write(&all, &folder, &format!("{round}.parquet")).unwrap()));
        let per_row = |time: Duration| time.as_nanos() as f64 / f64::from(count);
        println!(
            "{:8.0} ns/row {:8.0} {:12.0} {:19.0} {:7.0} {:12.1}",
            per_row(push),
            per_row(seal),
            per_row(select),
            per_row(write),
            per_row(push + seal + write),
            file.unwrap().bytes as f64 / f64::from(count),
        );
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn time(what: impl FnOnce()) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}
