//! What happened in the lake, as log lines and figures of [`Status`].

use std::time::Duration;

use tracing::{debug, error, info, warn};
use walbrook_model::Error;

use crate::status::{Status, Stopped};
use crate::table::Committed;

/// A table was taken in hand.
pub(crate) fn opened(table: &str, created: bool, live_rows: u64, took: Duration) {
    info!(table, created, live_rows, took_ms = took.as_millis(), "lake table opened");
}

/// A table took changes.
pub(crate) fn taken(status: &Status, table: &str, changes: u64) {
    status.table(table, |table| table.changes += changes);
}

/// A commit of a table is durable.
pub(crate) fn committed(status: &Status, table: &str, done: &Committed, took: Duration) {
    debug!(
        table,
        rows = done.rows_written,
        deleted = done.rows_deleted,
        bytes = done.bytes_written,
        conflicts = done.conflicts,
        took_ms = took.as_millis(),
        "lake table committed"
    );
    let below_horizon = done.dropped.get("below_horizon").copied().unwrap_or(0);
    if below_horizon > 0 {
        warn!(table, changes = below_horizon, "changes of unknown keys at or below the grave horizon were dropped");
    }
    status.table(table, |table| {
        table.rows_written += done.rows_written;
        table.rows_deleted += done.rows_deleted;
        table.rows_read += done.rows_read;
        table.bytes_written += done.bytes_written;
        table.incomplete_rows += done.incomplete_rows;
        table.commits += done.commits;
        table.conflicts += done.conflicts;
        for (reason, count) in &done.dropped {
            *table.dropped.entry(reason).or_default() += count;
        }
        table.last_commit = Some(took);
        (table.live_rows, table.index_bytes, table.graves) = (done.live_rows, done.index_bytes, done.graves);
    });
}

/// A table takes no changes any more; the others go on, and the checkpoint waits.
pub(crate) fn stopped(status: &Status, table: &str, why: &Error) {
    error!(table, kind = %why.kind(), error = %why, "lake table stopped");
    let stopped =
        Stopped { reason: reason(why), remedy: why.remedy_text().map(str::to_owned), parked_bytes: 0, gap: false };
    status.table(table, |table| table.stopped = Some(stopped));
}

/// The source cannot read a table as it is. Nothing of it is missed: it is read whole when it can be.
pub(crate) fn unread(status: &Status, table: &str, why: &Error) {
    error!(table, kind = %why.kind(), error = %why, "the table cannot be read");
    let stopped =
        Stopped { reason: reason(why), remedy: why.remedy_text().map(str::to_owned), parked_bytes: 0, gap: false };
    status.table(table, |table| table.stopped = Some(stopped));
}

/// A table was read whole.
pub(crate) fn read(status: &Status, table: &str) {
    status.table(table, |table| table.stopped = None);
}

/// A change came for a stopped table.
pub(crate) fn parked(status: &Status, table: &str, bytes: u64) {
    status.table(table, |table| {
        if let Some(stopped) = &mut table.stopped {
            stopped.parked_bytes += bytes;
        }
    });
}

/// A table has missed changes that the checkpoint covers, or will cover.
pub(crate) fn gap(status: &Status, table: &str, reason: &str, remedy: Option<&str>) {
    error!(table, reason, "lake table has a gap: the checkpoint goes on without it");
    status.table(table, |table| {
        let stopped = table.stopped.get_or_insert_with(|| Stopped {
            reason: reason.to_owned(),
            remedy: remedy.map(str::to_owned),
            parked_bytes: 0,
            gap: true,
        });
        stopped.gap = true;
    });
}

/// The reason of an error, without its remedy.
pub(crate) fn reason(error: &Error) -> String {
    let text = error.to_string();
    match error.remedy_text() {
        Some(remedy) => text.replace(&format!(" (remedy: {remedy})"), ""),
        None => text,
    }
}
