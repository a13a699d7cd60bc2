//! What topics show that are written to.

use std::fmt;

use super::{Page, flag, number};

/// Writes the metrics of a sink for Kafka.
pub(super) fn write(page: &mut Page<'_>, sink: &walbrook_sink_kafka::Status) -> fmt::Result {
    page.gauge(
        "kafka_waiting_messages",
        "Messages that wait for their delivery",
        Some(number(sink.waiting_messages())),
    )?;
    page.gauge("buffered_bytes", "Bytes of messages that wait for their delivery", Some(number(sink.waiting_bytes())))?;
    page.gauge(
        "kafka_delivery_seconds",
        "Time from the last message before the last checkpoint to the delivery of all before it",
        sink.delivery().map(|time| time.as_secs_f64()),
    )?;
    page.gauge(
        "kafka_commit_seconds",
        "Duration of the last checkpoint's transaction",
        sink.commit().map(|time| time.as_secs_f64()),
    )?;
    page.counters("checkpoints", "Checkpoints written", [(Vec::new(), sink.checkpoints())])?;
    page.counters(
        "registry_calls",
        "Calls of the schema registry by what they came to",
        sink.registry().into_iter().flat_map(|calls| {
            [
                ("cached", calls.cached),
                ("accepted", calls.accepted),
                ("refused", calls.refused),
                ("unavailable", calls.unavailable),
                ("repeated", calls.repeats),
            ]
            .map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count))
        }),
    )?;
    let tables = sink.tables();
    let counts = |value: fn(&walbrook_sink_kafka::TableStatus) -> u64| {
        tables.iter().map(move |(table, status)| (vec![("table", table.clone())], value(status))).collect::<Vec<_>>()
    };
    page.counters("table_changes", "Changes taken for the table", counts(|table| table.changes))?;
    page.counters("table_messages", "Messages produced for the table", counts(|table| table.messages))?;
    page.counters(
        "table_message_bytes",
        "Bytes of keys, values and headers produced, before compression",
        counts(|table| table.bytes),
    )?;
    page.counters(
        "table_oversize_messages",
        "Messages that stand for one that was too large for its topic, and went elsewhere",
        counts(|table| table.oversize),
    )?;
    page.counters("table_versions", "Versions of the table that were made ready", counts(|table| table.versions))?;
    page.gauges(
        "table_stopped",
        "1 if the table has stopped; the others go on",
        tables.iter().map(|(table, status)| (vec![("table", table.clone())], flag(status.stopped.is_some()))),
    )
}
