//! What a database shows that is captured.

use std::fmt;

use walbrook_source_postgres::{SlotStatus, SourceState, Status};

use super::{Page, flag, number};
use crate::progress::seconds_since;

/// Writes the metrics of a source for `PostgreSQL`.
pub(super) fn write(page: &mut Page<'_>, source: &Status) -> fmt::Result {
    slot(page, source)?;
    self::source(page, source)
}

fn slot(page: &mut Page<'_>, source: &Status) -> fmt::Result {
    let slot = source.slot();
    let of = |value: fn(&SlotStatus) -> f64| slot.as_ref().map(value);
    page.gauge("slot_lag_bytes", "WAL behind which the slot is", of(|slot| number(slot.lag_bytes)))?;
    page.gauge(
        "slot_retained_wal_bytes",
        "WAL that the server keeps for the slot",
        of(|slot| number(slot.retained_bytes)),
    )?;
    #[allow(clippy::cast_precision_loss, reason = "bytes, for graphs")]
    page.gauge(
        "slot_safe_wal_bytes",
        "WAL that can still be written before the slot is in danger; absent without a limit",
        slot.as_ref().and_then(|slot| slot.safe_wal_bytes).map(|bytes| bytes as f64),
    )?;
    page.gauge("slot_active", "Whether a session reads the slot", of(|slot| flag(slot.active)))?;
    let status = slot.as_ref().map_or("", |slot| slot.wal_status.as_str());
    page.gauges(
        "slot_wal_status",
        "1 for the wal_status that the server shows of the slot",
        ["reserved", "extended", "unreserved", "lost"]
            .map(|known| (vec![("status", known.to_owned())], flag(known == status))),
    )?;
    page.gauge(
        "source_lag_seconds",
        "Age of the newest moment up to which everything was read from the source",
        source.complete_until_us().map(seconds_since),
    )
}

fn source(page: &mut Page<'_>, source: &Status) -> fmt::Result {
    let state = source.state();
    page.gauges(
        "source_state",
        "1 for the state that the source is in",
        SourceState::ALL.map(|known| (vec![("state", known.as_str().to_owned())], flag(known == state))),
    )?;
    let events = source.events();
    page.counters(
        "source_events",
        "Changes read from the source",
        events.iter().flat_map(|(table, events)| {
            events
                .iter()
                .map(move |(op, count)| (vec![("table", table.to_string()), ("op", op.as_str().to_owned())], count))
        }),
    )?;
    let snapshot = source.snapshot();
    let tables = || snapshot.iter().map(|(table, read)| (vec![("table", table.to_string())], *read));
    page.gauges("snapshot_rows", "Rows read by the snapshot", tables().map(|(labels, it)| (labels, number(it.rows))))?;
    page.gauges(
        "snapshot_bytes",
        "Bytes read by the snapshot",
        tables().map(|(labels, it)| (labels, number(it.bytes))),
    )?;
    page.gauges(
        "snapshot_table_bytes",
        "Size of the table at the server when its snapshot began",
        tables().map(|(labels, it)| (labels, number(it.total_bytes))),
    )?;
    page.gauges(
        "snapshot_finished",
        "1 when all of the table was read",
        tables().map(|(labels, it)| (labels, flag(it.finished))),
    )
}
