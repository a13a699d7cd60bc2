//! `walbrook verify`: is the lake what the source is?
//!
//! The source is read at one position `C` (a snapshot that a temporary slot exports; nothing is written there). The lake
//! is read once its checkpoint has passed `C`: then everything that the snapshot saw is in it. If the source goes on
//! meanwhile the lake may be ahead, so keys that differ are looked at again at a later position, and only keys that
//! differ every time are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use walbrook_config::{Config, SnapshotMode, TableMode};
use walbrook_lake_merge::compare::{Comparison, Difference};
use walbrook_lake_merge::format::{LakeCatalog as _, LakeName, TableFormat};
use walbrook_model::{Change, Checkpoint, Error, Op, Result, Sink as _, Source as _, TableId, TableSchema};
use walbrook_source_postgres::{PostgresSource, checkpoint_position};

use crate::exit;
use crate::progress::grouped;
use crate::run::{LOOK, Pipeline};

/// Positions at which a key must differ to be reported.
const ROUNDS: usize = 4;
/// Keys printed for a table.
const KEYS_SHOWN: usize = 20;

/// Compares and prints; fails if something differs.
pub(crate) async fn verify(config: Config, tables: &[String], wait: Duration) -> ExitCode {
    let result = match Pipeline::new(config) {
        Ok(pipeline) => compare(&pipeline, tables, wait).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::FAILED),
        Err(error) => exit::report(&error),
    }
}

/// Compares `only` these tables, or all; prints a line for each and says whether all are equal.
///
/// # Errors
/// If the source cannot be read, or the lake does not reach the source's position within `wait`.
pub(crate) async fn compare(pipeline: &Pipeline, only: &[String], wait: Duration) -> Result<bool> {
    let mut reports = round(pipeline, only, &BTreeMap::new(), wait).await?;
    if reports.is_empty() {
        return Err(Error::config("no upsert table to compare").on("source.postgres.tables"));
    }
    let mut suspects: BTreeMap<TableId, BTreeSet<Difference>> = BTreeMap::new();
    for again in 0..ROUNDS {
        let buckets: BTreeMap<TableId, Vec<usize>> = reports
            .iter()
            .filter(|(_, report)| !report.buckets.is_empty())
            .map(|(table, report)| (table.clone(), report.buckets.clone()))
            .collect();
        if buckets.is_empty() {
            break;
        }
        let tables: Vec<String> = buckets.keys().map(ToString::to_string).collect();
        let found = round(pipeline, &tables, &buckets, wait).await?;
        if let Some(missing) = buckets.keys().find(|table| !found.contains_key(table)) {
            return Err(Error::transient("the table went away while it was compared").on(format!("table {missing}")));
        }
        for (table, report) in found {
            let seen: BTreeSet<Difference> = report.differences.iter().cloned().collect();
            let suspect = suspects.entry(table.clone()).or_default();
            *suspect = if again == 0 { seen } else { suspect.intersection(&seen).cloned().collect() };
            let settled = suspect.is_empty();
            if let Some(first) = reports.get_mut(&table).filter(|_| settled) {
                first.buckets.clear();
            }
        }
    }
    let mut equal = true;
    for (table, report) in &reports {
        let keys = suspects.remove(table).unwrap_or_default();
        equal &= keys.is_empty();
        print(table, report, &keys);
    }
    Ok(equal)
}

/// What one round found of a table.
struct Report {
    source_rows: u64,
    lake_rows: u64,
    buckets: Vec<usize>,
    differences: Vec<Difference>,
}

fn print(table: &TableId, report: &Report, keys: &BTreeSet<Difference>) {
    let Report { source_rows, lake_rows, .. } = report;
    if keys.is_empty() {
        println!("equal    {table}: {} rows, all digests agree", grouped(*source_rows));
        return;
    }
    println!(
        "DIFFERS  {table}: {} rows in the source, {} in the lake, {} keys differ",
        grouped(*source_rows),
        grouped(*lake_rows),
        keys.len()
    );
    for Difference { key, what } in keys.iter().take(KEYS_SHOWN) {
        println!("         {key}: {what}");
    }
    if keys.len() > KEYS_SHOWN {
        println!("         ... and {} more", keys.len() - KEYS_SHOWN);
    }
}

/// One side by side reading: by bucket, or by key in the buckets given.
async fn round(
    pipeline: &Pipeline,
    only: &[String],
    buckets: &BTreeMap<TableId, Vec<usize>>,
    wait: Duration,
) -> Result<BTreeMap<TableId, Report>> {
    let mut reading = Reading { pipeline, buckets, tables: BTreeMap::new() };
    let position = reading.read_source(only).await?;
    let deadline = Instant::now() + wait;
    while lake_position(pipeline).await? < position {
        if Instant::now() > deadline {
            return Err(Error::transient(format!(
                "the lake is not at the source's position after {} s",
                wait.as_secs()
            ))
            .on("lake")
            .remedy("let `walbrook run` catch up, or raise --wait"));
        }
        tokio::time::sleep(LOOK).await;
    }
    let mut reports = BTreeMap::new();
    for (table, comparison) in reading.tables {
        let name = LakeName::of(&pipeline.config.lake, &table);
        let lake = pipeline.catalog().open(&name).await?;
        let report = spawn_blocking(move || finish(comparison, lake.as_deref())).await;
        let report = report.map_err(|error| Error::bug("a comparison panicked").because(error))??;
        reports.insert(table, report);
    }
    Ok(reports)
}

fn finish(mut comparison: Comparison, lake: Option<&dyn TableFormat>) -> Result<Report> {
    if let Some(lake) = lake {
        comparison.add_lake(lake)?;
    }
    let (source_rows, lake_rows, buckets) = comparison.finish()?;
    Ok(Report { source_rows, lake_rows, buckets, differences: comparison.differences() })
}

/// Where the lake's checkpoint stands.
async fn lake_position(pipeline: &Pipeline) -> Result<u64> {
    let checkpoint = pipeline.lake_sink().last_checkpoint().await?;
    let checkpoint = checkpoint.ok_or_else(|| {
        Error::config("this pipeline has not written to the lake yet").on("lake").remedy("walbrook run FILE")
    })?;
    checkpoint_position(&checkpoint)
}

struct Reading<'a> {
    pipeline: &'a Pipeline,
    buckets: &'a BTreeMap<TableId, Vec<usize>>,
    tables: BTreeMap<TableId, Comparison>,
}

impl Reading<'_> {
    /// Reads the tables of the source and returns the position of the read.
    async fn read_source(&mut self, only: &[String]) -> Result<u64> {
        let mut settings = self.pipeline.config.postgres.clone();
        settings.snapshot.mode = SnapshotMode::Only;
        if !only.is_empty() {
            settings.tables.include = only.to_vec();
        }
        let mut source = PostgresSource::new(settings);
        source.start(None).await?;
        let mut checkpoint: Option<Checkpoint> = None;
        let mut position = 0;
        while !source.finished() {
            // Nothing is kept, so everything counts as kept at once.
            let batch = source.next_batch(checkpoint.clone()).await?;
            if batch.checkpoint.is_some() {
                checkpoint = batch.checkpoint;
            }
            if let Some(stop) = batch.stopped.first() {
                // What was not read was not compared.
                return Err(Error::config(format!("the table cannot be compared: {}", stop.error))
                    .on(format!("table {}", stop.table)));
            }
            for run in batch.changes.chunk_by(|a, b| Arc::ptr_eq(&a.schema, &b.schema)) {
                position = position.max(self.take(run).await?);
            }
        }
        source.stop(None).await?;
        Ok(position)
    }

    /// Takes reads of one table, and gives the position of their slice.
    async fn take(&mut self, changes: &[Change]) -> Result<u64> {
        let Some(first) = changes.first() else { return Ok(0) };
        if !self.tables.contains_key(&first.schema.table) {
            let Some(comparison) = self.open(&first.schema).await? else { return Ok(first.seq.position()) };
            self.tables.insert(first.schema.table.clone(), comparison);
        }
        if let Some(comparison) = self.tables.get_mut(&first.schema.table)
            && changes.iter().any(|change| change.op == Op::Read)
        {
            comparison.add_source(changes)?;
        }
        Ok(first.seq.position())
    }

    /// The comparison of a table, in the columns that the lake has; `None` for a table that holds changes, not rows.
    async fn open(&self, schema: &TableSchema) -> Result<Option<Comparison>> {
        let lake = &self.pipeline.config.lake;
        let layout = match self.pipeline.catalog().open(&LakeName::of(lake, &schema.table)).await? {
            Some(table) => table.state().layout.clone(),
            None => walbrook_lake_merge::layout::Layout::of(schema, TableMode::Upsert)?,
        };
        if layout.mode() != TableMode::Upsert {
            return Ok(None);
        }
        match self.buckets.get(&schema.table) {
            Some(buckets) => Comparison::of_buckets(layout, buckets.iter().copied()).map(Some),
            None => Comparison::new(layout).map(Some),
        }
    }
}
