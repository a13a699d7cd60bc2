//! `[sink.kafka]`

use std::path::PathBuf;
use std::time::Duration;

use crate::definition::{Foreign, Kind, Presence, Section, Setting, Unset};
use crate::document::Document;
use crate::kafka::client::{self, ClientSections};
use crate::kafka::{KafkaClient, MessageFormat, Messages, NewTopics, Registry, SubjectStrategy};
use crate::kafka::{librdkafka, messages, registry, sasl, source, tls, topics};
use crate::load::Environment;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::{form, secret};

/// `[sink.kafka]`: change topics.
#[derive(Clone, Debug)]
pub struct KafkaSink {
    /// How to reach the brokers.
    pub client: KafkaClient,
    /// `[sink.kafka.registry]`; always there for Avro.
    pub registry: Option<Registry>,
    /// Subjects of schemas in the registry.
    pub subject_strategy: SubjectStrategy,
    /// `{prefix}` of `topic_name`, first part of the names of topics that are no table's, and what messages call their source.
    pub topic_prefix: String,
    /// How the topics of tables are named: a pattern with `{table}`, and perhaps `{schema}` and `{prefix}`.
    pub topic_name: String,
    /// How messages are written.
    pub messages: Messages,
    /// Topics that walbrook makes.
    pub topics: NewTopics,
    /// Compacted topic that holds the checkpoint.
    pub checkpoint_topic: String,
    /// Whether messages and checkpoint share the transactions of Kafka.
    pub exactly_once: bool,
    /// How batches are compressed.
    pub compression: Compression,
    /// How long a message waits for others to share its batch.
    pub linger: Duration,
    /// How often a heartbeat is written; zero: never.
    pub heartbeat_interval: Duration,
    /// Messages that wait for their delivery, bytes.
    pub buffer_bytes: u64,
    /// Largest message, bytes.
    pub message_bytes_max: u64,
    /// What becomes of a larger one.
    pub oversize: Oversize,
}

/// How batches of messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
    /// Snappy.
    Snappy,
    /// Gzip.
    Gzip,
    /// Not at all.
    None,
}

impl Compression {
    /// Its name in Kafka.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::Gzip => "gzip",
            Self::None => "none",
        }
    }
}

/// What becomes of a message that is too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// Its table stops; the others go on.
    Stop,
    /// It goes to a topic of dead letters.
    DeadLetter {
        /// The topic.
        topic: String,
    },
    /// It goes to a file.
    SplitOff {
        /// Folder of the files.
        folder: PathBuf,
    },
}

/// Debezium's strategies, and what routers of Kafka Connect do to their names.
const NAMING: &str = "unknown key; write the names as a pattern, such as topic_name = \"{prefix}-{schema}-{table}\"";

pub(crate) static SINK: Section = Section {
    path: &["sink", "kafka"],
    doc: "Change topics, one a table, named by `topic_name`.",
    presence: Presence::Choice,
    settings: &[
        client::BROKERS,
        Setting {
            name: "topic_prefix",
            kind: Kind::Text { form: &form::TOPIC_PREFIX, unset: Unset::Derived("`pipeline.name`") },
            doc: "First part of the names of topics and schemas, and what messages call their source.",
            change: "Chosen once. Set what `topic.prefix` was where walbrook takes the place of Debezium.",
            since: "0.1",
        },
        Setting {
            name: "topic_name",
            kind: Kind::Text { form: &form::TOPIC_NAME, unset: Unset::Default("{prefix}.{schema}.{table}") },
            doc: "How the topic of a table is named, and with it its schemas: `{prefix}` is `topic_prefix`, and `_` takes the place of \
                  what Kafka does not allow. A table whose topic another has already stops; `check` names both.",
            change: "Chosen once: under other names nothing goes on before `walbrook gap accept`, which reads all tables again. Set it \
                     where consumers expect other names, as from a RegexRouter of Kafka Connect.",
            since: "0.1",
        },
        messages::COMPAT,
        messages::FORMAT,
        Setting {
            name: "exactly_once",
            kind: Kind::Flag { default: false },
            doc: "Whether messages and checkpoint share transactions of Kafka, so that a consumer that reads what is \
                  committed sees each change once. Without, the last changes are repeated after a crash.",
            change: "Set it where consumers cannot tell a repeated change by its header; it costs latency.",
            since: "0.1",
        },
        topics::PARTITIONS,
        topics::REPLICATION_FACTOR,
        topics::RETENTION,
        Setting {
            name: "compression",
            kind: Kind::Word { words: &["lz4", "zstd", "snappy", "gzip", "none"], unset: Unset::Default("lz4") },
            doc: "How batches of messages are compressed.",
            change: "Set `zstd` where the network or the brokers' disks are dear; it takes more time.",
            since: "0.1",
        },
        Setting {
            name: "linger",
            kind: Kind::Duration {
                default: Duration::from_millis(1),
                min: Duration::ZERO,
                max: Duration::from_secs(10),
            },
            doc: "How long a message waits for others to share its batch. Under load batches fill by themselves.",
            change: "Raise it for larger batches at a low rate; `0s` takes a millisecond off, and a fifth more CPU under load.",
            since: "0.1",
        },
        Setting {
            name: "buffer_bytes",
            kind: Kind::Size { default: 64_000_000, min: 1_000_000, max: 2_000_000_000 },
            doc: "Messages in memory that wait for their delivery; when it is full, the pipeline waits.",
            change: "Raise it for brokers that are far away, if memory is free.",
            since: "0.1",
        },
        Setting {
            name: "message_bytes_max",
            kind: Kind::Size { default: 1_000_000, min: 1_000, max: 1_000_000_000 },
            doc: "Largest message. The brokers (`message.max.bytes`) and topics (`max.message.bytes`) have their own bound.",
            change: "Raise it together with theirs where rows are large.",
            since: "0.1",
        },
        Setting {
            name: "oversize",
            kind: Kind::Word { words: &["stop", "dead_letter", "split_off"], unset: Unset::Default("stop") },
            doc: "What becomes of a larger message. `stop`: its table stops, the others go on. `dead_letter`: it goes to \
                  `dead_letter_topic`, `split_off`: to a file in `oversize_folder`; in its place the topic has a message \
                  that names key and whereabouts.",
            change: "Set another than `stop` where one large row must not hold its table up, and consumers know that message.",
            since: "0.1",
        },
        Setting {
            name: "dead_letter_topic",
            kind: Kind::Text { form: &form::TOPIC, unset: Unset::Derived("`walbrook.dead_letters.<pipeline.name>`") },
            doc: "Topic of such messages, one a pipeline; made when it is missing, with one partition, for messages of 64 MB, \
                  kept for ever.",
            change: "Set it where rights are given by names of topics.",
            since: "0.1",
        },
        Setting {
            name: "oversize_folder",
            kind: Kind::Text { form: &form::FOLDER, unset: Unset::Default("walbrook-oversize") },
            doc: "Folder of such files, one a message; made when it is missing. Nothing removes them.",
            change: "Set it to where consumers can read, and what is kept is kept safe.",
            since: "0.1",
        },
        messages::TRANSACTIONS,
        Setting {
            name: "heartbeat_interval",
            kind: Kind::Duration { default: Duration::ZERO, min: Duration::ZERO, max: Duration::from_hours(24) },
            doc: "How often a sign of life goes to the topic `__debezium-heartbeat.<topic_prefix>`; `0s`: never.",
            change: "Set it where something watches that topic. Slots and checkpoints move without it.",
            since: "0.1",
        },
        messages::TOMBSTONES,
        Setting {
            name: "checkpoint_topic",
            kind: Kind::Text { form: &form::TOPIC, unset: Unset::Default(client::CHECKPOINT_TOPIC) },
            doc: "Compacted topic that holds the checkpoints of pipelines, each under its name; made when it is missing.",
            change: "Chosen once: under another name walbrook begins from nothing.",
            since: "0.1",
        },
        messages::DECIMAL,
        messages::TIME,
        messages::BINARY,
        messages::INTERVAL,
        messages::HSTORE,
        messages::UNKNOWN_TYPES,
        messages::SCHEMA_NAMES,
        messages::FIELD_NAMES,
        messages::UNAVAILABLE_PLACEHOLDER,
    ],
    foreign: &[
        ("bootstrap_servers", Foreign::Named("brokers")),
        ("servers", Foreign::Named("brokers")),
        ("hosts", Foreign::Named("brokers")),
        ("database_server_name", Foreign::Named("topic_prefix")),
        ("server_name", Foreign::Named("topic_prefix")),
        ("provide_transaction_metadata", Foreign::Named("transactions")),
        ("tombstones_on_delete", Foreign::Named("tombstones")),
        ("decimal_handling_mode", Foreign::Named("decimal")),
        ("time_precision_mode", Foreign::Named("time")),
        ("binary_handling_mode", Foreign::Named("binary")),
        ("interval_handling_mode", Foreign::Named("interval")),
        ("hstore_handling_mode", Foreign::Named("hstore")),
        ("include_unknown_datatypes", Foreign::Named("unknown_types")),
        ("schema_name_adjustment_mode", Foreign::Named("schema_names")),
        ("field_name_adjustment_mode", Foreign::Named("field_names")),
        ("unavailable_value_placeholder", Foreign::Named("unavailable_placeholder")),
        ("key_converter", Foreign::Named("format")),
        ("value_converter", Foreign::Named("format")),
        ("converter", Foreign::Named("format")),
        ("key_converter_schemas_enable", Foreign::Named("format")),
        ("value_converter_schemas_enable", Foreign::Named("format")),
        ("schema_registry_url", Foreign::Named("registry.url")),
        ("key_converter_schema_registry_url", Foreign::Named("registry.url")),
        ("value_converter_schema_registry_url", Foreign::Named("registry.url")),
        ("value_subject_name_strategy", Foreign::Named("registry.subject_strategy")),
        ("compression_type", Foreign::Named("compression")),
        ("linger_ms", Foreign::Named("linger")),
        ("buffer_memory", Foreign::Named("buffer_bytes")),
        ("max_request_size", Foreign::Named("message_bytes_max")),
        ("message_max_bytes", Foreign::Named("message_bytes_max")),
        ("max_message_bytes", Foreign::Named("message_bytes_max")),
        ("num_partitions", Foreign::Named("partitions")),
        ("topic_creation_default_partitions", Foreign::Named("partitions")),
        ("topic_creation_default_replication_factor", Foreign::Named("replication_factor")),
        ("retention_ms", Foreign::Named("retention")),
        ("offset_storage_topic", Foreign::Named("checkpoint_topic")),
        ("exactly_once_support", Foreign::Named("exactly_once")),
        ("security_protocol", Foreign::Named("tls.mode")),
        ("ssl", Foreign::Named("tls")),
        ("ssl_ca_location", Foreign::Named("tls.ca_file")),
        ("ssl_truststore_location", Foreign::Refused(tls::STORE)),
        ("ssl_keystore_location", Foreign::Refused(tls::STORE)),
        ("ssl_key_password", Foreign::Refused(tls::KEY_PASSWORD)),
        ("sasl_mechanism", Foreign::Named("sasl.mechanism")),
        ("sasl_username", Foreign::Named("sasl.username")),
        ("sasl_password", Foreign::Refused(secret::LITERAL)),
        ("sasl_jaas_config", Foreign::Refused(sasl::JAAS)),
        ("basic_auth_user_info", Foreign::Refused(registry::USER_INFO)),
        ("acks", Foreign::Refused("unknown key; a message is always awaited from all copies that are in sync")),
        ("enable_idempotence", Foreign::Refused("unknown key; messages are always written idempotently")),
        ("transactional_id", Foreign::Refused("unknown key; it follows from pipeline.name")),
        ("batch_size", Foreign::Refused("unknown key; \"batch.size\" belongs in [sink.kafka.librdkafka]")),
        ("topic", Foreign::Refused("unknown key; each table has its topic, named by topic_name")),
        ("topic_naming_strategy", Foreign::Refused(NAMING)),
        ("topic_delimiter", Foreign::Refused(NAMING)),
        ("topic_regex", Foreign::Refused(NAMING)),
        ("topic_replacement", Foreign::Refused(NAMING)),
        ("topic_pattern", Foreign::Named("topic_name")),
        ("topic_format", Foreign::Named("topic_name")),
        ("heartbeat_interval_ms", Foreign::Named("heartbeat_interval")),
        ("snapshot_mode", Foreign::Refused("unknown key; it is mode in [source.postgres.snapshot]")),
        ("table_include_list", Foreign::Refused("unknown key; it is include in [source.postgres.tables]")),
        (
            "transforms",
            Foreign::Refused("transforms of Kafka Connect are not supported; topics are named by topic_name"),
        ),
    ],
};

pub(crate) static SECTIONS: ClientSections = ClientSections {
    tls: Section {
        path: &["sink", "kafka", "tls"],
        doc: tls::DOC,
        presence: Presence::Optional,
        settings: &tls::SETTINGS,
        foreign: tls::FOREIGN,
    },
    sasl: Section {
        path: &["sink", "kafka", "sasl"],
        doc: sasl::DOC,
        presence: Presence::Optional,
        settings: &sasl::SETTINGS,
        foreign: sasl::FOREIGN,
    },
    registry: Section {
        path: &["sink", "kafka", "registry"],
        doc: "Schema registry; required for `format = \"avro\"`.",
        presence: Presence::Optional,
        settings: &[
            registry::URL,
            registry::USERNAME,
            registry::PASSWORD_FILE,
            registry::PASSWORD_ENV,
            registry::CA_FILE,
            registry::SUBJECT_STRATEGY,
            registry::TIMEOUT,
        ],
        foreign: registry::FOREIGN,
    },
    librdkafka: Section {
        path: &["sink", "kafka", "librdkafka"],
        doc: librdkafka::DOC,
        presence: Presence::Open,
        settings: &[],
        foreign: &[],
    },
};

impl KafkaSink {
    pub(crate) fn read(document: &Document<'_>, pipeline: &str, env: Environment<'_>) -> Self {
        let reader = document.section(&SINK);
        let messages = Messages::read(&reader);
        let registry = document.optional_section(&SECTIONS.registry);
        match (&registry, messages.format) {
            (None, MessageFormat::Avro) => {
                let what = "avro needs a schema registry, [sink.kafka.registry]";
                let expected = "[sink.kafka.registry] with url, or format = \"json\"";
                reader.complain_missing("format", Problem::new(what).expected(expected));
            }
            (Some(registry), MessageFormat::Json | MessageFormat::JsonWithSchemas) => {
                let what = "has no effect: only avro has its schemas in a registry";
                registry.complain_whole(Problem::new(what).expected("format = \"avro\", or no such section"));
            }
            _ => {}
        }
        let compressions =
            [Compression::Lz4, Compression::Zstd, Compression::Snappy, Compression::Gzip, Compression::None];
        let (buffer_bytes, message_bytes_max) = (reader.size("buffer_bytes"), reader.size("message_bytes_max"));
        if message_bytes_max > buffer_bytes {
            let what = "a message of this size does not fit into buffer_bytes";
            reader.complain("message_bytes_max", Problem::new(what).expected("at most buffer_bytes"));
        }
        let checkpoint_topic = reader.text("checkpoint_topic").unwrap_or_default();
        let topic_prefix = reader.text("topic_prefix").unwrap_or_else(|| pipeline.to_owned());
        let topic_name = reader.text("topic_name").unwrap_or_default();
        if let Some(bytes) = form::too_long_topic(&topic_name, &topic_prefix) {
            let what = format!("the topic of a table could get a name of {bytes} characters");
            reader.complain(
                "topic_name",
                Problem::new(what).expected("at most 249, with 63 for {schema} and {table} each"),
            );
        }
        Self {
            client: KafkaClient::read(document, &reader, &SECTIONS, env),
            oversize: Oversize::read(&reader, pipeline, &checkpoint_topic),
            subject_strategy: registry.as_ref().map_or(SubjectStrategy::Topic, SubjectStrategy::read),
            registry: registry.map(|reader| Registry::read(&reader, env)),
            topic_prefix,
            topic_name,
            messages,
            topics: NewTopics::read(&reader),
            checkpoint_topic,
            exactly_once: reader.flag("exactly_once"),
            compression: reader.word("compression", &compressions).unwrap_or(Compression::Lz4),
            linger: reader.duration("linger"),
            heartbeat_interval: reader.duration("heartbeat_interval"),
            buffer_bytes,
            message_bytes_max,
        }
    }
}

impl Oversize {
    fn read(reader: &Reader<'_>, pipeline: &str, checkpoint_topic: &str) -> Self {
        let topic = source::dead_letter_topic(reader, checkpoint_topic);
        let folder = reader.text("oversize_folder").unwrap_or_default();
        let named = [
            ("dead_letter_topic", topic.is_some(), "dead_letter"),
            ("oversize_folder", reader.is_set("oversize_folder") && !folder.is_empty(), "split_off"),
        ];
        let topic = topic.unwrap_or_else(|| format!("{}{pipeline}", source::DEAD_LETTERS));
        let policies = ["stop", "dead_letter", "split_off"];
        let policy = reader.word("oversize", &policies).unwrap_or("stop");
        for (option, _, of) in named.into_iter().filter(|(_, named, of)| *named && *of != policy) {
            let problem = Problem::new("has no effect: messages that are too large do not go there");
            reader.complain(option, problem.expected(format!("oversize = \"{of}\", or no such option")));
        }
        match policy {
            "dead_letter" => Self::DeadLetter { topic },
            "split_off" => Self::SplitOff { folder: folder.into() },
            _ => Self::Stop,
        }
    }
}
