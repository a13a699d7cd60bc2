//! What an operator set, as the clients and the envelope want it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use walbrook_config as config;
use walbrook_config::Pipeline;
use walbrook_envelope as envelope;
use walbrook_envelope::SourceInfo;

use crate::cluster::Making;
use crate::journal::{RECORD_BYTES_MAX, in_sync};

/// How long a message may take until it is given up and the run ends.
const DELIVERY_TIMEOUT: Duration = Duration::from_mins(2);
/// After how long the brokers abort a transaction of a process that is gone. Until then it hides what lies behind it from
/// readers of committed messages.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_mins(1);
/// What batches and their headers add to the largest message. With the default of `message_bytes_max` the sum is below the
/// default of brokers, 1,048,588.
const BATCH_OVERHEAD: u64 = 32 * 1024;
/// What the largest batch may take in a topic that we make.
const TOPIC_OVERHEAD: u64 = 48_588;

/// The largest dead letter: brokers close connections on which more comes (`socket.request.max.bytes`).
pub(crate) const LETTER_BYTES_MAX: u64 = 100_000_000;

/// Everything that shapes the sink.
pub(crate) struct Settings {
    pub(crate) sink: config::KafkaSink,
    pub(crate) pipeline: Pipeline,
    pub(crate) envelope: Arc<envelope::Settings>,
    pub(crate) info: Arc<SourceInfo>,
}

impl Settings {
    pub(crate) fn new(sink: config::KafkaSink, pipeline: Pipeline, info: SourceInfo) -> Self {
        let envelope = Arc::new(envelope_settings(&sink));
        Self { sink, pipeline, envelope, info: Arc::new(info) }
    }

    /// Of every client.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        self.sink.client.apply(|key, value| {
            settings.set(key, value);
        });
        // A topic that was deleted must not come back by itself.
        settings.set("allow.auto.create.topics", "false");
        settings.set("client.id", format!("walbrook.{}", self.pipeline.name));
        settings.set_log_level(RDKafkaLogLevel::Warning);
        settings
    }

    /// Of the producer of messages, which is the producer of checkpoints too if it is transactional.
    pub(crate) fn producer(&self, transactional: bool) -> ClientConfig {
        let mut settings = self.strict();
        // In one producer with the messages, a record of the checkpoint topic must fit as well.
        let record = if transactional { u64::from(RECORD_BYTES_MAX) } else { 0 };
        let letter = if self.has_letters() { LETTER_BYTES_MAX } else { 0 };
        let largest = (self.sink.message_bytes_max + BATCH_OVERHEAD).max(record).max(letter);
        let linger = self.sink.linger.as_secs_f64() * 1000.0;
        settings
            .set("linger.ms", linger.to_string())
            .set("compression.type", self.sink.compression.as_str())
            .set("message.max.bytes", largest.min(1_000_000_000).to_string())
            .set("message.timeout.ms", millis(DELIVERY_TIMEOUT));
        if transactional {
            self.set_transactional(&mut settings);
        }
        if transactional || self.has_letters() {
            // The limit above is for records of the checkpoint topic and for letters; change topics may take less.
            let wanted = settings.get("batch.size").and_then(|size| size.parse().ok()).unwrap_or(1_000_000);
            settings.set("batch.size", wanted.min(self.sink.message_bytes_max + BATCH_OVERHEAD).to_string());
        }
        settings
    }

    /// Of the producer of checkpoints alone.
    pub(crate) fn checkpoint_producer(&self) -> ClientConfig {
        let mut settings = self.strict();
        settings
            .set("linger.ms", "0")
            .set("compression.type", "lz4")
            .set("message.max.bytes", RECORD_BYTES_MAX.to_string());
        self.set_transactional(&mut settings);
        settings
    }

    /// Whether messages that are too large go to a topic of dead letters.
    fn has_letters(&self) -> bool {
        matches!(self.sink.oversize, config::Oversize::DeadLetter { .. })
    }

    fn strict(&self) -> ClientConfig {
        let letter = if self.has_letters() { LETTER_BYTES_MAX / 512 } else { 0 };
        let queue = (self.sink.buffer_bytes / 512).max(letter).clamp(4096, 2_097_151);
        let mut settings = self.client();
        settings
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("max.in.flight", "5")
            // Our own bound in bytes comes first.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", queue.to_string());
        settings
    }

    fn set_transactional(&self, settings: &mut ClientConfig) {
        settings
            .set("transactional.id", transactional_id(&self.pipeline.name))
            .set("transaction.timeout.ms", millis(TRANSACTION_TIMEOUT))
            .set("message.timeout.ms", millis(TRANSACTION_TIMEOUT));
    }

    /// How a missing change topic is made.
    pub(crate) fn change_topic(&self, partitions: u32) -> Making {
        let topics = &self.sink.topics;
        let settings = [
            // Compaction could remove a tombstone that a merge has not read.
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", topics.retention.as_millis().to_string()),
            ("max.message.bytes", (self.sink.message_bytes_max + TOPIC_OVERHEAD).to_string()),
            ("min.insync.replicas", in_sync(topics.replication_factor).to_string()),
        ];
        Making { partitions, replication_factor: topics.replication_factor, settings: settings.into() }
    }

    /// How a missing topic of dead letters is made.
    pub(crate) fn letter_topic(&self) -> Making {
        let replication_factor = self.sink.topics.replication_factor;
        let in_sync = ("min.insync.replicas", in_sync(replication_factor).to_string());
        let settings = walbrook_letters::settings().into_iter().chain([in_sync]).collect();
        Making { partitions: 1, replication_factor, settings }
    }
}

/// Under which a pipeline writes its checkpoints: whoever has it last is the one that may.
pub(crate) fn transactional_id(pipeline: &str) -> String {
    format!("walbrook.{pipeline}")
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn envelope_settings(sink: &config::KafkaSink) -> envelope::Settings {
    let messages = &sink.messages;
    let format = match messages.format {
        config::MessageFormat::Avro => envelope::Format::Avro,
        config::MessageFormat::Json => envelope::Format::Json,
        config::MessageFormat::JsonWithSchemas => envelope::Format::JsonWithSchemas,
    };
    let mut settings = match messages.compat {
        config::Compat::Native => envelope::Settings::native(&sink.topic_prefix, format),
        config::Compat::Debezium => envelope::Settings::debezium(&sink.topic_prefix, format),
    };
    settings.topic_name.clone_from(&sink.topic_name);
    settings.tombstones = messages.tombstones;
    settings.transactions = messages.transactions;
    if let Some(mode) = messages.decimal {
        settings.decimal = decimal(mode);
    }
    if let Some(mode) = messages.time {
        settings.time = time(mode);
    }
    if let Some(mode) = messages.binary {
        settings.binary = binary(mode);
    }
    if let Some(mode) = messages.interval {
        settings.interval = match mode {
            config::IntervalMode::Source => envelope::IntervalMode::Source,
            config::IntervalMode::Numeric => envelope::IntervalMode::Numeric,
            config::IntervalMode::String => envelope::IntervalMode::String,
        };
    }
    if let Some(mode) = messages.hstore {
        settings.hstore = match mode {
            config::HstoreMode::Source => envelope::HstoreMode::Source,
            config::HstoreMode::Json => envelope::HstoreMode::Json,
            config::HstoreMode::Map => envelope::HstoreMode::Map,
        };
    }
    if let Some(mode) = messages.unknown_types {
        settings.unknown_types = match mode {
            config::UnknownTypes::LeaveOut => envelope::UnknownTypes::LeaveOut,
            config::UnknownTypes::Opaque => envelope::UnknownTypes::Opaque,
            config::UnknownTypes::Text => envelope::UnknownTypes::Text,
        };
    }
    if let Some(mode) = messages.schema_names {
        settings.schema_names = adjustment(mode);
    }
    if let Some(mode) = messages.field_names {
        settings.field_names = adjustment(mode);
    }
    if let Some(placeholder) = &messages.unavailable_placeholder {
        settings.unavailable_placeholder = Some(placeholder.clone());
    }
    settings
}

fn decimal(mode: config::DecimalMode) -> envelope::DecimalMode {
    match mode {
        config::DecimalMode::Precise => envelope::DecimalMode::Precise,
        config::DecimalMode::Double => envelope::DecimalMode::Double,
        config::DecimalMode::String => envelope::DecimalMode::String,
    }
}

fn time(mode: config::TimeMode) -> envelope::TimeMode {
    match mode {
        config::TimeMode::Logical => envelope::TimeMode::Logical,
        config::TimeMode::Adaptive => envelope::TimeMode::Adaptive,
        config::TimeMode::AdaptiveTimeMicroseconds => envelope::TimeMode::AdaptiveTimeMicroseconds,
        config::TimeMode::Connect => envelope::TimeMode::Connect,
        config::TimeMode::IsoString => envelope::TimeMode::IsoString,
        config::TimeMode::Microseconds => envelope::TimeMode::Microseconds,
        config::TimeMode::Nanoseconds => envelope::TimeMode::Nanoseconds,
    }
}

fn binary(mode: config::BinaryMode) -> envelope::BinaryMode {
    match mode {
        config::BinaryMode::Bytes => envelope::BinaryMode::Bytes,
        config::BinaryMode::Base64 => envelope::BinaryMode::Base64,
        config::BinaryMode::Base64UrlSafe => envelope::BinaryMode::Base64UrlSafe,
        config::BinaryMode::Hex => envelope::BinaryMode::Hex,
    }
}

fn adjustment(mode: config::NameAdjustment) -> envelope::NameAdjustment {
    match mode {
        config::NameAdjustment::None => envelope::NameAdjustment::None,
        config::NameAdjustment::Avro => envelope::NameAdjustment::Avro,
        config::NameAdjustment::AvroUnicode => envelope::NameAdjustment::AvroUnicode,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Listener;
    use crate::producer::Producer;
    use crate::testing;

    #[test]
    fn the_client_takes_every_setting() {
        let mut settings = testing::settings("127.0.0.1:1", "p");
        let compressions = [
            config::Compression::Lz4,
            config::Compression::Zstd,
            config::Compression::Snappy,
            config::Compression::Gzip,
            config::Compression::None,
        ];
        for compression in compressions {
            for (linger, buffer_bytes, message_bytes_max) in
                [(Duration::ZERO, 1_000_000, 1000), (Duration::from_micros(1500), 2_000_000_000, 1_000_000_000)]
            {
                settings.sink =
                    config::KafkaSink { compression, linger, buffer_bytes, message_bytes_max, ..settings.sink.clone() };
                let clients = [settings.producer(false), settings.producer(true), settings.checkpoint_producer()];
                for client in clients {
                    assert!(Producer::new(&client, &Listener::default(), buffer_bytes).is_ok(), "{compression:?}");
                }
            }
        }
    }

    #[test]
    fn batches_fit_the_topics_and_not_the_records() {
        let mut settings = testing::settings("127.0.0.1:1", "p");
        settings.sink.message_bytes_max = 20_000;
        let client = settings.producer(true);
        assert_eq!(client.get("batch.size"), Some("52768"));
        settings.sink.client.librdkafka.insert("batch.size".to_owned(), "1000".to_owned());
        assert_eq!(settings.producer(true).get("batch.size"), Some("1000"));
        assert_eq!(settings.producer(false).get("message.max.bytes"), Some("52768"));
        settings.sink.oversize = config::Oversize::DeadLetter { topic: "dead".to_owned() };
        settings.sink.client.librdkafka.clear();
        for transactional in [false, true] {
            let client = settings.producer(transactional);
            assert_eq!((client.get("batch.size"), client.get("message.max.bytes")), (Some("52768"), Some("100000000")));
            // One letter has room in the client's queue.
            assert!(client.get("queue.buffering.max.kbytes").unwrap().parse::<u64>().unwrap() > 100_000);
            assert!(Producer::new(&client, &Listener::default(), 1 << 20).is_ok());
        }
    }
}
