//! `walbrook verify`: is the lake what the source is?
//!
//! The source is read at one position `C` (a snapshot that a temporary slot exports; nothing is written there). The lake
//! is read once its checkpoint has passed `C`: then everything that the snapshot saw is in it. Where topics lie between,
//! the record of the capture that has passed `C` says how far they reached then, and the lake's checkpoint must have
//! passed those ends. If the source goes on meanwhile the lake may be ahead, so keys that differ are looked at again at a
//! later position, and only keys that differ every time are reported.

mod mirror;
mod pair;
mod reading;
mod suspects;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tracing::warn;
use walbrook_config::Config;
use walbrook_lake_merge::compare::{Comparison, Difference};
use walbrook_lake_merge::format::{LakeCatalog as _, LakeName, TableFormat};
use walbrook_model::{Error, ErrorKind, Result, Seq, TableId};

use self::pair::Deadline;
pub(crate) use self::pair::Pair;
use self::reading::Reading;
use self::suspects::Suspects;
use crate::exit;
use crate::progress::grouped;
use crate::run::Pipeline;

/// Positions at which a key must differ to be reported.
const ROUNDS: usize = 4;
/// How often the source is read before a fault that may pass is reported.
const READS: usize = 3;
/// Keys printed for a table.
const KEYS_SHOWN: usize = 20;

/// Compares and prints; fails if something differs. `capture` writes the topics that the pipeline of `config` reads.
pub(crate) async fn verify(config: Config, capture: Option<Config>, tables: &[String], wait: Duration) -> ExitCode {
    match between(config, capture, tables, wait).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::FAILED),
        Err(error) => exit::report(&error),
    }
}

async fn between(config: Config, capture: Option<Config>, tables: &[String], wait: Duration) -> Result<bool> {
    let pipeline = Pipeline::new(config)?;
    let capture = capture.map(Pipeline::new).transpose()?;
    compare(&Pair::new(&pipeline, capture.as_ref())?, tables, wait).await
}

/// Compares `only` these tables, or all; prints a line for each and says whether all are equal.
///
/// # Errors
/// If the source cannot be read, or the lake does not reach the source's position within `wait`.
pub(crate) async fn compare(pair: &Pair<'_>, only: &[String], wait: Duration) -> Result<bool> {
    let mut reports = round(pair, only, &BTreeMap::new(), wait).await?;
    if reports.is_empty() {
        return Err(Error::config("no upsert table to compare").on("source.postgres.tables"));
    }
    let mut suspects: BTreeMap<TableId, Suspects> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let buckets: BTreeMap<TableId, Vec<usize>> = reports
            .iter()
            .filter(|(_, report)| !report.buckets.is_empty())
            .map(|(table, report)| (table.clone(), report.buckets.clone()))
            .collect();
        if buckets.is_empty() {
            break;
        }
        let tables: Vec<String> = buckets.keys().map(ToString::to_string).collect();
        let found = round(pair, &tables, &buckets, wait).await?;
        if let Some(missing) = buckets.keys().find(|table| !found.contains_key(table)) {
            return Err(Error::transient("the table went away while it was compared").on(format!("table {missing}")));
        }
        for (table, report) in found {
            let suspect = suspects.entry(table.clone()).or_default();
            suspect.narrow(&report.differences, report.position);
            let settled = suspect.len() == 0;
            if let Some(first) = reports.get_mut(&table).filter(|_| settled) {
                first.buckets.clear();
            }
        }
    }
    let mut equal = true;
    for (table, report) in &reports {
        let keys = suspects.remove(table).unwrap_or_default();
        equal &= keys.len() == 0;
        print(table, report, &keys);
    }
    for (topic, letters) in pair.open_letters().await? {
        println!("letters  topic {topic}: {letters} messages are not in the lake; `walbrook replay` sends them again");
    }
    Ok(equal)
}

/// What one round found of a table.
struct Report {
    /// Of the source, when it was read.
    position: Seq,
    source_rows: u64,
    lake_rows: u64,
    buckets: Vec<usize>,
    differences: Vec<Difference>,
}

fn print(table: &TableId, report: &Report, keys: &Suspects) {
    let Report { source_rows, lake_rows, .. } = report;
    if keys.len() == 0 {
        println!("equal    {table}: {} rows, all digests agree", grouped(*source_rows));
        return;
    }
    println!(
        "DIFFERS  {table}: {} rows in the source, {} in the lake, {} keys differ",
        grouped(*source_rows),
        grouped(*lake_rows),
        keys.len()
    );
    for (key, what) in keys.iter().take(KEYS_SHOWN) {
        println!("         {key}: {what}");
    }
    if keys.len() > KEYS_SHOWN {
        println!("         ... and {} more", keys.len() - KEYS_SHOWN);
    }
}

/// One side by side reading: by bucket, or by key in the buckets given.
async fn round(
    pair: &Pair<'_>,
    only: &[String],
    buckets: &BTreeMap<TableId, Vec<usize>>,
    wait: Duration,
) -> Result<BTreeMap<TableId, Report>> {
    let (position, tables) = read(pair, only, buckets).await?;
    pair.until_covered(position.position(), Deadline::after(wait)).await?;
    let mut reports = BTreeMap::new();
    for (table, comparison) in tables {
        let stored = pair.lake.catalog.open(&LakeName::of(&pair.lake.settings, &table)).await?;
        let report = spawn_blocking(move || finish(comparison, stored.as_deref(), position)).await;
        let report = report.map_err(|error| Error::bug("a comparison panicked").because(error))??;
        reports.insert(table, report);
    }
    Ok(reports)
}

/// Reads the source; again, if something came between, such as a table that was truncated when its read began.
async fn read(
    pair: &Pair<'_>,
    only: &[String],
    buckets: &BTreeMap<TableId, Vec<usize>>,
) -> Result<(Seq, BTreeMap<TableId, Comparison>)> {
    let mut reads = 1;
    loop {
        match Reading::new(pair, buckets).read(only).await {
            Err(error) if error.kind() == ErrorKind::Transient && reads < READS => warn!(%error, "read again"),
            read => return read,
        }
        reads += 1;
    }
}

fn finish(mut comparison: Comparison, lake: Option<&dyn TableFormat>, position: Seq) -> Result<Report> {
    if let Some(lake) = lake {
        comparison.add_lake(lake)?;
    }
    let (source_rows, lake_rows, buckets) = comparison.finish()?;
    Ok(Report { position, source_rows, lake_rows, buckets, differences: comparison.differences() })
}
