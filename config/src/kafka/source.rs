//! `[source.kafka]`

use crate::definition::{Foreign, Kind, Presence, Section, Setting, Unset};
use crate::document::Document;
use crate::kafka::client::{self, ClientSections};
use crate::kafka::{KafkaClient, Registry};
use crate::kafka::{librdkafka, registry, sasl, tls};
use crate::load::Environment;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::{form, pattern, secret};

/// `[source.kafka]`: change topics to read.
#[derive(Clone, Debug)]
pub struct KafkaSource {
    /// How to reach the brokers.
    pub client: KafkaClient,
    /// `[source.kafka.registry]`. `None`: no message is in Avro.
    pub registry: Option<Registry>,
    /// Topics to read: names, with `*` for any run of characters.
    pub topics: Vec<String>,
    /// Consumer group, which shares the tables out among its instances. It does not hold positions.
    pub group: String,
    /// Name of the pipeline that writes the topics. `None`: another tool does, or nobody wants to know how complete the
    /// tables are, nor to have their changes in order.
    pub capture: Option<String>,
    /// Compacted topic that holds the checkpoint of that pipeline.
    pub checkpoint_topic: String,
    /// Messages that are fetched ahead, bytes.
    pub buffer_bytes: u64,
    /// Where messages go that cannot be decoded or stored. `None`: the first of them stops its table.
    pub dead_letters: Option<DeadLetters>,
}

/// Where messages go that cannot be decoded or stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// Their topic.
    pub topic: String,
    /// The pipeline that puts them there, as they name it.
    pub pipeline: String,
    /// How many of one topic may be missing at a time; at the next one its table stops.
    pub max: usize,
}

/// Begins the names of topics for dead letters, unless they have others; the pipeline's name follows.
pub const DEAD_LETTERS: &str = "walbrook.dead_letters.";

pub(crate) static SOURCE: Section = Section {
    path: &["source", "kafka"],
    doc: "Change topics to read: those of another pipeline's `[sink.kafka]`, or Debezium's for PostgreSQL.",
    presence: Presence::Choice,
    settings: &[
        client::BROKERS,
        Setting {
            name: "topics",
            kind: Kind::Texts { form: &form::TOPIC_PATTERN, unset: Unset::Refused { example: "[\"shop.public.*\"]" } },
            doc: "Change topics to read. Their messages say whose changes they are, whatever the topics are called; rows without an \
                  envelope, as ExtractNewRecordState of Kafka Connect leaves them, are refused.",
            change: "Name them one by one where new tables should not come along by themselves.",
            since: "0.1",
        },
        Setting {
            name: "group",
            kind: Kind::Text { form: &form::GROUP, unset: Unset::Derived("`walbrook_<pipeline.name>`") },
            doc: "Consumer group. It shares the tables out among instances; positions are in the checkpoint of the sink.",
            change: "Set it where rights are given by names of groups, or where pipelines of one name write several lakes: in one group each lake would get some of the tables.",
            since: "0.1",
        },
        Setting {
            name: "capture",
            kind: Kind::Text {
                form: &form::PIPELINE_NAME,
                unset: Unset::Derived("none: how complete tables are is unknown"),
            },
            doc: "Name of the pipeline that writes the topics. Its checkpoint says how far the topics are complete, so that the \
                  partitions of a topic are read in the order of the log. Without it they are read in any order: append tables \
                  stop.",
            change: "Set it for topics that walbrook writes; topics of another tool have no such checkpoint.",
            since: "0.1",
        },
        Setting {
            name: "checkpoint_topic",
            kind: Kind::Text { form: &form::TOPIC, unset: Unset::Default(client::CHECKPOINT_TOPIC) },
            doc: "Topic that holds the checkpoint of that pipeline.",
            change: "Set what `checkpoint_topic` is in `[sink.kafka]` of that pipeline.",
            since: "0.1",
        },
        Setting {
            name: "buffer_bytes",
            kind: Kind::Size { default: 32_000_000, min: 1_000_000, max: 2_000_000_000 },
            doc: "Messages that are fetched ahead, shared out evenly among the partitions; where a share is full, no more are \
                  fetched.",
            change: "Raise it for brokers that are far away, if memory is free.",
            since: "0.1",
        },
        Setting {
            name: "dead_letters",
            kind: Kind::Word { words: &["stop", "topic"], unset: Unset::Default("stop") },
            doc: "What becomes of a message that cannot be decoded, or has a cell that no table can store, such as a number with \
                  more digits than its column has. `stop`: its table stops, the others go on. `topic`: it goes unchanged to \
                  `dead_letter_topic`, and its table goes on without it; an `append` table stops all the same, since it \
                  takes what comes late for a repeat.",
            change: "Set `topic` where one bad message must not hold a table up; until `walbrook replay`, that table lacks \
                     what it says.",
            since: "0.1",
        },
        Setting {
            name: "dead_letter_topic",
            kind: Kind::Text { form: &form::TOPIC, unset: Unset::Derived("`walbrook.dead_letters.<pipeline.name>`") },
            doc: "Topic of such messages, one a pipeline; made when it is missing, with one partition, kept for ever.",
            change: "Set it where rights are given by names of topics.",
            since: "0.1",
        },
        Setting {
            name: "dead_letters_max",
            kind: Kind::Integer { default: 1000, min: 1, max: 20_000 },
            doc: "How many dead letters of one topic may be open: neither sent again with success nor given up. At the next \
                  one its table stops.",
            change: "Raise it to get on where the bound is met, then deal with the letters.",
            since: "0.1",
        },
    ],
    foreign: &[
        ("errors_deadletterqueue_topic_name", Foreign::Named("dead_letter_topic")),
        ("dead_letter_queue", Foreign::Named("dead_letters")),
        ("errors_tolerance", Foreign::Named("dead_letters")),
        ("bootstrap_servers", Foreign::Named("brokers")),
        ("servers", Foreign::Named("brokers")),
        ("hosts", Foreign::Named("brokers")),
        ("topic", Foreign::Named("topics")),
        ("topics_regex", Foreign::Named("topics")),
        ("group_id", Foreign::Named("group")),
        ("consumer_group", Foreign::Named("group")),
        ("pipeline", Foreign::Named("capture")),
        ("schema_registry_url", Foreign::Named("registry.url")),
        ("value_converter_schema_registry_url", Foreign::Named("registry.url")),
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
        ("format", Foreign::Refused("unknown key; each message shows whether it is Avro or JSON")),
        (
            "auto_offset_reset",
            Foreign::Refused("unknown key; topics are read from their beginning, then from the checkpoint"),
        ),
        ("isolation_level", Foreign::Refused("unknown key; only what is committed is read")),
        ("enable_auto_commit", Foreign::Refused("unknown key; positions are in the checkpoint, not with the brokers")),
    ],
};

pub(crate) static SECTIONS: ClientSections = ClientSections {
    tls: Section {
        path: &["source", "kafka", "tls"],
        doc: tls::DOC,
        presence: Presence::Optional,
        settings: &tls::SETTINGS,
        foreign: tls::FOREIGN,
    },
    sasl: Section {
        path: &["source", "kafka", "sasl"],
        doc: sasl::DOC,
        presence: Presence::Optional,
        settings: &sasl::SETTINGS,
        foreign: sasl::FOREIGN,
    },
    registry: Section {
        path: &["source", "kafka", "registry"],
        doc: "Schema registry; needed where messages are Avro.",
        presence: Presence::Optional,
        settings: &[
            registry::URL,
            registry::USERNAME,
            registry::PASSWORD_FILE,
            registry::PASSWORD_ENV,
            registry::CA_FILE,
            registry::TIMEOUT,
        ],
        foreign: registry::FOREIGN,
    },
    librdkafka: Section {
        path: &["source", "kafka", "librdkafka"],
        doc: librdkafka::DOC,
        presence: Presence::Open,
        settings: &[],
        foreign: &[],
    },
};

impl KafkaSource {
    /// Whether a topic is one of those to read.
    pub fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| pattern::matches_name(pattern, topic))
    }

    pub(crate) fn read(document: &Document<'_>, pipeline: &str, env: Environment<'_>) -> Self {
        let reader = document.section(&SOURCE);
        let checkpoint_topic = reader.text("checkpoint_topic").unwrap_or_default();
        Self {
            client: KafkaClient::read(document, &reader, &SECTIONS, env),
            registry: document.optional_section(&SECTIONS.registry).map(|reader| Registry::read(&reader, env)),
            topics: reader.texts("topics"),
            group: reader.text("group").unwrap_or_else(|| format!("walbrook_{pipeline}")),
            capture: reader.text("capture"),
            dead_letters: DeadLetters::read(&reader, pipeline, &checkpoint_topic),
            checkpoint_topic,
            buffer_bytes: reader.size("buffer_bytes"),
        }
    }
}

impl DeadLetters {
    fn read(reader: &Reader<'_>, pipeline: &str, checkpoint_topic: &str) -> Option<Self> {
        let set_aside = reader.word("dead_letters", &[false, true]).unwrap_or(false);
        let topic = dead_letter_topic(reader, checkpoint_topic);
        if !set_aside && topic.is_some() {
            let problem = Problem::new("has no effect: a message that cannot be decoded or stored stops its table");
            reader.complain("dead_letter_topic", problem.expected("dead_letters = \"topic\", or no such option"));
        }
        let topic = topic.unwrap_or_else(|| format!("{DEAD_LETTERS}{pipeline}"));
        let max = reader.integer("dead_letters_max");
        set_aside.then(|| Self { topic, pipeline: pipeline.to_owned(), max })
    }
}

/// The topic for dead letters that a section names.
pub(crate) fn dead_letter_topic(reader: &Reader<'_>, checkpoint_topic: &str) -> Option<String> {
    let topic = reader.text("dead_letter_topic");
    if topic.as_deref() == Some(checkpoint_topic) {
        let problem = Problem::new("is the topic of checkpoints");
        reader.complain("dead_letter_topic", problem.expected("a topic of its own"));
    }
    topic
}
