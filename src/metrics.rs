//! What `/metrics` shows: read from the pipeline at each scrape, so nothing is counted twice or kept up on the hot path.
//!
//! Names follow Prometheus: base units, `_total` for counters. Labels are table names and closed sets, never values.

mod kafka;
mod lake;
mod postgres;
mod topics;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use walbrook_engine::health::State;

use crate::ends::{SinkStatus, SourceStatus};
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

fn source(page: &mut Page<'_>, pipeline: &Pipeline) -> fmt::Result {
    match pipeline.watched().source {
        SourceStatus::Postgres(status) => postgres::write(page, &status),
        SourceStatus::Topics(status) => topics::write(page, &status),
    }
}

fn sink(page: &mut Page<'_>, pipeline: &Pipeline) -> fmt::Result {
    let sink = pipeline.watched().sink;
    page.gauge(
        "freshness_timestamp_seconds",
        "Everything that committed at the source before this moment is in the sink; where several processes share the tables, in those of this one",
        sink.complete_until_us().map(|moment| {
            #[allow(clippy::cast_precision_loss, reason = "seconds, for graphs")]
            let seconds = moment as f64 / 1e6;
            seconds
        }),
    )?;
    page.gauge(
        "freshness_lag_seconds",
        "Age of the moment before which everything is in the sink",
        sink.complete_until_us().map(seconds_since),
    )?;
    let (age, held) = match &sink {
        SinkStatus::Lake(lake) => (lake.checkpoint_age(), lake.checkpoint_held()),
        SinkStatus::Kafka(kafka) => (kafka.checkpoint_age(), kafka.checkpoint_held()),
    };
    page.gauge("checkpoint_age_seconds", "Time since the last durable checkpoint", age.map(|age| age.as_secs_f64()))?;
    page.gauge(
        "checkpoint_held",
        "1 while the checkpoint, and with it the source's log, waits for a stopped table",
        Some(flag(held)),
    )?;
    match sink {
        SinkStatus::Lake(status) => lake::write(page, &status),
        SinkStatus::Kafka(status) => kafka::write(page, &status),
    }
}
