//! Signs of life for what watches the topics: `heartbeat.interval.ms` of Debezium, in its topic and form.

use std::sync::Arc;
use std::time::Instant;

use walbrook_envelope::EventKind;
use walbrook_model::Result;

use super::produce::now_ms;
use super::{Run, Setup};
use crate::claims::Writer;
use crate::schemas::Events;
use crate::topics::Topic;

/// Debezium's has one as well; there is no key to spread.
const PARTITIONS: u32 = 1;

/// The topic of heartbeats, and when the last one was written.
pub(super) struct Heartbeats {
    events: Events,
    topic: Arc<Topic>,
    last: Instant,
}

impl Setup {
    /// Writes a heartbeat, if one is due. Only right before a checkpoint is offered: with `exactly_once` it is that which ends
    /// the transaction of Kafka.
    pub(super) async fn beat(&self, run: &mut Run) -> Result<()> {
        let interval = self.settings.sink.heartbeat_interval;
        let waits = |heartbeats: &Heartbeats| heartbeats.last.elapsed() < interval;
        if interval.is_zero() || run.heartbeats.as_ref().is_some_and(waits) {
            return Ok(());
        }
        let heartbeats = match run.heartbeats.take() {
            Some(heartbeats) => heartbeats,
            None => self.heartbeats(run).await?,
        };
        let Heartbeats { events, topic, .. } = &heartbeats;
        run.messages.clear();
        events.envelope.encode_heartbeat(now_ms(), events.ids, &mut run.messages)?;
        run.progress.enter()?;
        for message in run.messages.iter() {
            run.producer.send(topic.target(0), &message).await?;
        }
        run.heartbeats = Some(Heartbeats { last: Instant::now(), ..heartbeats });
        Ok(())
    }

    async fn heartbeats(&self, run: &mut Run) -> Result<Heartbeats> {
        let events = run.schemas.events(&self.settings, EventKind::Heartbeats).await?;
        let name = events.envelope.topic().to_owned();
        let topic = run.topics.open(&name, &Writer::HEARTBEATS, PARTITIONS, &self.settings, &run.producer).await?;
        Ok(Heartbeats { events, topic, last: Instant::now() })
    }
}
