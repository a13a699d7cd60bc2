//! The checkpoint topic: one record a pipeline, in a compacted topic of one partition, which pipelines share.
//!
//! It is written in transactions under the pipeline's transactional id only, and what a run begins with is read after that
//! id was taken: so a process that lost the id cannot write a record that the reader misses. A look before that only
//! judges whether the id may be taken.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use walbrook_envelope::PublishedCheckpoint;
use walbrook_model::{Error, Result};

use crate::cluster::{Cluster, Making, Reach, on};
use crate::faults::Listener;
use crate::producer::CALL_TIMEOUT;
use crate::settings::Settings;

/// The only partition.
pub(crate) const PARTITION: u32 = 0;
/// A record grows with the number of tables.
pub(crate) const RECORD_BYTES_MAX: u32 = 16 << 20;
/// How many offsets before the end are read first: the record is nearly always among them.
const TAIL: i64 = 2000;
/// How long transactions of other pipelines may be waited for: as long as a dead one can stay open, and more.
const OPEN_TRANSACTIONS: Duration = Duration::from_secs(90);
/// Between two looks.
const POLL: Duration = Duration::from_millis(100);

/// Where the checkpoint lies.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) topic: String,
    pub(crate) pipeline: String,
    client: ClientConfig,
    pub(crate) cluster: Cluster,
    listener: Listener,
}

/// The last record of a pipeline in a part of the topic.
enum Newest {
    /// It lies before that part, if there is one.
    Before,
    Value(Vec<u8>),
    /// An operator wrote a null in its place.
    Removed,
}

impl Journal {
    /// Where the checkpoint of these settings lies.
    pub(crate) fn new(settings: &Settings, cluster: Cluster, listener: Listener) -> Self {
        Self {
            topic: settings.sink.checkpoint_topic.clone(),
            pipeline: settings.pipeline.name.clone(),
            client: settings.client(),
            cluster,
            listener,
        }
    }

    /// Makes the topic unless it exists.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if it exists with more than one partition: one record could then lie in two.
    pub(crate) async fn prepare(&self, replication_factor: u16) -> Result<()> {
        let partitions = match self.cluster.partitions(&self.topic).await? {
            Some(partitions) => partitions,
            None => self.cluster.make(&self.topic, &making(replication_factor)).await?,
        };
        if partitions == 1 {
            return Ok(());
        }
        Err(Error::config(format!("the checkpoint topic has {partitions} partitions; it must have one"))
            .on(on(&self.topic))
            .remedy("name another topic in sink.kafka.checkpoint_topic: walbrook makes it"))
    }

    /// The newest record of the pipeline; `None` if there is none, or no topic.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] or [`walbrook_model::ErrorKind::Gap`] if it cannot be understood.
    pub(crate) async fn newest(&self) -> Result<Option<PublishedCheckpoint>> {
        if self.cluster.partitions(&self.topic).await?.is_none() {
            return Ok(None);
        }
        let reach = self.cluster.reach(&self.topic, 1).await?;
        let Some(Reach { low, high }) = reach.first().copied() else { return Ok(None) };
        let reader = self.clone();
        let found = tokio::task::spawn_blocking(move || reader.search(low, high)).await;
        let found = found.map_err(|error| Error::bug("the search for a checkpoint panicked").because(error))??;
        let parsed = found.map(|value| PublishedCheckpoint::from_json(&value)).transpose();
        parsed.map_err(|error| error.on(format!("pipeline {} in topic {}", self.pipeline, self.topic)))
    }

    /// The pipeline's last value before `high`: from a tail that grows.
    fn search(&self, low: i64, high: i64) -> Result<Option<Vec<u8>>> {
        let mut settings = self.client.clone();
        settings
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            // The end is told by an answer without messages, which is held back for so long.
            .set("fetch.wait.max.ms", "10")
            // Without one librdkafka gives no messages; nothing is stored under it.
            .set("group.id", format!("walbrook.{}.checkpoint", self.pipeline));
        let reader: BaseConsumer<Listener> =
            settings.create_with_context(self.listener.clone()).map_err(|error| self.fault(&error))?;
        self.listener.log_in(reader.client())?;
        self.wait_for_open_transactions(&reader, high)?;
        let mut tail = TAIL;
        loop {
            let from = low.max(high.saturating_sub(tail));
            match self.read(&reader, from)? {
                Newest::Value(value) => return Ok(Some(value)),
                Newest::Removed => return Ok(None),
                Newest::Before if from <= low => return Ok(None),
                Newest::Before => tail = tail.saturating_mul(16),
            }
        }
    }

    /// A transaction of another pipeline hides all that lies behind its beginning.
    fn wait_for_open_transactions(&self, reader: &BaseConsumer<Listener>, high: i64) -> Result<()> {
        let begun = Instant::now();
        loop {
            let (_, stable) =
                reader.fetch_watermarks(&self.topic, 0, CALL_TIMEOUT).map_err(|error| self.fault(&error))?;
            if stable >= high {
                return Ok(());
            }
            if begun.elapsed() >= OPEN_TRANSACTIONS {
                return Err(Error::transient("a transaction in the checkpoint topic stays open").on(on(&self.topic)));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The pipeline's last record from an offset to the end.
    fn read(&self, reader: &BaseConsumer<Listener>, from: i64) -> Result<Newest> {
        let mut place = TopicPartitionList::new();
        place
            .add_partition_offset(&self.topic, 0, Offset::Offset(from))
            .and_then(|()| reader.assign(&place))
            .map_err(|error| self.fault(&error))?;
        let mut found = Newest::Before;
        let mut heard = Instant::now();
        while heard.elapsed() < CALL_TIMEOUT {
            match reader.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    if message.key() == Some(self.pipeline.as_bytes()) {
                        found = message.payload().map_or(Newest::Removed, |value| Newest::Value(value.to_vec()));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
                // What goes on for long ends in the timeout, which says it.
                Some(Err(_)) | None => {}
            }
        }
        let timeout = KafkaError::MessageConsumption(rdkafka::error::RDKafkaErrorCode::OperationTimedOut);
        Err(self.fault(&timeout))
    }

    fn fault(&self, error: &KafkaError) -> Error {
        self.listener.fault("the checkpoint cannot be read", error).on(on(&self.topic))
    }
}

/// Small segments, cleaned soon: the topic is read at every start, and all but its newest records are of no use.
fn making(replication_factor: u16) -> Making {
    let settings = [
        ("cleanup.policy", "compact".to_owned()),
        ("segment.bytes", (16 << 20).to_string()),
        ("segment.ms", (60 * 60 * 1000).to_string()),
        ("min.cleanable.dirty.ratio", "0.1".to_owned()),
        ("max.message.bytes", RECORD_BYTES_MAX.to_string()),
        ("min.insync.replicas", in_sync(replication_factor).to_string()),
    ];
    Making { partitions: 1, replication_factor, settings: settings.into() }
}

/// How many replicas must have a message before it is acknowledged: one may be away, if there are three.
pub(crate) fn in_sync(replication_factor: u16) -> u16 {
    replication_factor.saturating_sub(1).clamp(1, 2)
}
