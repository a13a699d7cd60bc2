//! What a lake shows.

use std::fmt;

use super::{Page, flag, number};

/// Writes the metrics of a lake.
pub(super) fn write(page: &mut Page<'_>, sink: &walbrook_lake_merge::Status) -> fmt::Result {
    page.gauge("buffered_bytes", "Changes that wait for a commit", Some(number(sink.buffered_bytes())))?;
    let tables = sink.tables();
    let of = |value: fn(&walbrook_lake_merge::TableStatus) -> f64| {
        tables.iter().map(move |(table, status)| (vec![("table", table.clone())], value(status))).collect::<Vec<_>>()
    };
    let counts = |value: fn(&walbrook_lake_merge::TableStatus) -> u64| {
        tables.iter().map(move |(table, status)| (vec![("table", table.clone())], value(status))).collect::<Vec<_>>()
    };
    page.counters("table_changes", "Changes taken for the table", counts(|table| table.changes))?;
    page.counters("table_rows_written", "Rows written to data files of the table", counts(|table| table.rows_written))?;
    page.counters("table_bytes_written", "Bytes of data files written", counts(|table| table.bytes_written))?;
    page.counters("table_commits", "Commits of the table", counts(|table| table.commits))?;
    page.gauges(
        "table_commit_seconds",
        "Duration of the last commit",
        of(|table| table.last_commit.unwrap_or_default().as_secs_f64()),
    )?;
    page.gauges("table_rows", "Live rows", of(|table| number(table.live_rows)))?;
    page.gauges("table_index_bytes", "Memory of the key index", of(|table| number(table.index_bytes)))?;
    page.gauges("table_graves", "Deleted keys that are remembered", of(|table| number(table.graves)))?;
    page.gauges(
        "table_stopped",
        "1 if the table has stopped; the others go on",
        of(|table| flag(table.stopped.is_some())),
    )?;
    page.counters(
        "table_dropped",
        "Changes that the guard did not apply, by reason",
        tables.iter().flat_map(|(table, status)| {
            status
                .dropped
                .iter()
                .map(move |(reason, count)| (vec![("table", table.clone()), ("reason", (*reason).to_owned())], *count))
        }),
    )
}
