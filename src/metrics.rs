//! What `/metrics` shows: read from the pipeline at each scrape, so nothing is counted twice or kept up on the hot path.
//!
//! Names follow Prometheus: base units, `_total` for counters. Labels are table names and closed sets, never values.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use walbrook_engine::health::State;
use walbrook_source_postgres::SourceState;

use crate::progress::seconds_since;
use crate::run::Pipeline;

/// A registry with every metric of the pipeline.
pub(crate) fn registry(pipeline: &Pipeline) -> Registry {
    let mut registry = Registry::with_prefix("walbrook");
    registry.register_collector(Box::new(PipelineMetrics(pipeline.clone())));
    registry
}

struct PipelineMetrics(Pipeline);

impl fmt::Debug for PipelineMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PipelineMetrics")
    }
}

type Labels = Vec<(&'static str, String)>;

/// Writes metrics, each with its help and its samples.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauges(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<f64>) -> fmt::Result {
        self.gauges(name, help, value.map(|value| (Labels::new(), value)))
    }

    fn counters(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for PipelineMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        health(&mut page, &self.0)?;
        slot(&mut page, &self.0)?;
        source(&mut page, &self.0)?;
        sink(&mut page, &self.0)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts and bytes, for graphs")]
fn number(value: u64) -> f64 {
    value as f64
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn health(page: &mut Page<'_>, pipeline: &Pipeline) -> fmt::Result {
    let (state, _) = pipeline.health.get();
    let states = [State::Starting, State::Running, State::Retrying, State::Gap, State::Stopped];
    page.gauges(
        "pipeline_state",
        "1 for the state that the pipeline is in",
        states.map(|known| (vec![("state", known.as_str().to_owned())], flag(known == state))),
    )?;
    page.gauge(
        "gap",
        "1 while continuity of the log is not proven and the pipeline waits for walbrook gap accept",
        Some(flag(state == State::Gap)),
    )?;
    page.counters(
        "errors",
        "Errors that interrupted the pipeline, by what had to be done about them",
        pipeline.health.errors().into_iter().map(|(kind, count)| (vec![("kind", kind.as_str().to_owned())], count)),
    )
}

fn slot(page: &mut Page<'_>, pipeline: &Pipeline) -> fmt::Result {
    let source = pipeline.watched().source;
    let slot = source.slot();
    let of = |value: fn(&walbrook_source_postgres::SlotStatus) -> f64| slot.as_ref().map(value);
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

fn source(page: &mut Page<'_>, pipeline: &Pipeline) -> fmt::Result {
    let source = pipeline.watched().source;
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

fn sink(page: &mut Page<'_>, pipeline: &Pipeline) -> fmt::Result {
    let sink = pipeline.watched().sink;
    page.gauge(
        "freshness_timestamp_seconds",
        "Everything that committed at the source before this moment is in the lake",
        sink.complete_until_us().map(|moment| {
            #[allow(clippy::cast_precision_loss, reason = "seconds, for graphs")]
            let seconds = moment as f64 / 1e6;
            seconds
        }),
    )?;
    page.gauge(
        "freshness_lag_seconds",
        "Age of the moment before which everything is in the lake",
        sink.complete_until_us().map(seconds_since),
    )?;
    page.gauge(
        "checkpoint_age_seconds",
        "Time since the last durable checkpoint",
        sink.checkpoint_age().map(|age| age.as_secs_f64()),
    )?;
    page.gauge(
        "checkpoint_held",
        "1 while the checkpoint, and with it the source's log, waits for a stopped table",
        Some(flag(sink.checkpoint_held())),
    )?;
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
