//! The consumer: how it is set up, what it says beside messages, and what the brokers say of topics.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use walbrook_model::{Error, Result};
use walbrook_oauth::Tokens;

use crate::continuity::Bounds;
use crate::status::Status;
use walbrook_config::KafkaSource;

pub(crate) type Consumer = BaseConsumer<Context>;

/// How long a question to the brokers may take.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long complaints are waited for, once something failed. Without a time a poll brings one.
const COMPLAINTS: Duration = Duration::from_millis(20);

/// Hears what librdkafka says beside messages.
pub(crate) struct Context {
    status: Arc<Status>,
    /// The newest reason why a broker could not be reached: the calls that fail for it do not know it.
    reason: Mutex<Option<String>>,
    tokens: Tokens,
}

impl Context {
    fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.tokens.answer()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::events::client_says(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.status.take_statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        crate::events::client_error(&error, reason);
        // That all are down says nothing of why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Context {}

/// What may be fetched ahead of a partition, though there are many of them.
const SHARE_MIN: u64 = 16 * 1024;

/// Connects a consumer that is only asked. One that fetches answers late: its question waits behind a fetch.
///
/// # Errors
/// As [`connect`].
pub(crate) fn connect_to_ask(settings: &KafkaSource, status: &Arc<Status>) -> Result<Consumer> {
    connect(settings, status, 0)
}

/// Connects a consumer that fetches what it is assigned, and nothing else: so many partitions, which share the buffer.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Config`] for a setting that librdkafka refuses; and as [`Tokens::prove`], where the brokers
/// want a token. It blocks until there is one.
pub(crate) fn connect(settings: &KafkaSource, status: &Arc<Status>, partitions: usize) -> Result<Consumer> {
    let mut config = ClientConfig::new();
    settings.client.apply(|key, value| {
        config.set(key, value);
    });
    let share = (settings.buffer_bytes / (partitions.max(1) as u64)).max(SHARE_MIN);
    // One answer comes on top of what is queued.
    let queued_kb = (share / 2 / 1024).clamp(1, 2_097_151);
    let ours = [
        ("client.id", "walbrook"),
        ("group.id", settings.group.as_str()),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        // A position that the topic does not have is a gap, never a reason to begin elsewhere.
        ("auto.offset.reset", "error"),
        ("isolation.level", "read_committed"),
        ("check.crcs", "true"),
        // A queue for each partition, bounded in bytes.
        ("queued.max.messages.kbytes", &queued_kb.to_string()),
        ("queued.min.messages", "100000"),
        // By default a fetcher sleeps for a second when the queue is full.
        ("fetch.queue.backoff.ms", "20"),
        ("statistics.interval.ms", if partitions == 0 { "0" } else { "2000" }),
    ];
    for (key, value) in ours {
        config.set(key, value);
    }
    if config.get("max.partition.fetch.bytes").or(config.get("fetch.message.max.bytes")).is_none() {
        config.set("max.partition.fetch.bytes", (share / 2).clamp(1, 1_048_576).to_string());
    }
    // A fetch for partitions that have nothing new holds up those of the same broker whose queues were full when it began.
    // With the default of 500 ms a backlog came at a third of its speed.
    if config.get("fetch.wait.max.ms").is_none() {
        config.set("fetch.wait.max.ms", "50");
    }
    if config.get("fetch.max.bytes").is_none() {
        config.set("fetch.max.bytes", (settings.buffer_bytes / 2).clamp(1_000_000, 50_000_000).to_string());
    }
    config.set_log_level(RDKafkaLogLevel::Warning);
    let tokens = Tokens::of(&settings.client);
    let context = Context { status: status.clone(), reason: Mutex::default(), tokens: tokens.clone() };
    let consumer: Consumer = config.create_with_context(context).map_err(|error| refused(&error))?;
    tokens.log_in(consumer.client())?;
    Ok(consumer)
}

/// librdkafka has not taken the settings.
pub(crate) fn refused(error: &KafkaError) -> Error {
    // It names the key, and its value only if that is none that it keeps secret.
    Error::config(format!("librdkafka refuses a setting: {error}"))
        .on("source.kafka")
        .remedy("correct it in source.kafka or source.kafka.librdkafka")
}

/// Topics by name, with the number of their partitions.
pub(crate) fn topics(consumer: &Consumer) -> Result<Vec<(String, usize)>> {
    renew_token(consumer)?;
    let metadata = consumer.fetch_metadata(None, ASK_TIMEOUT).map_err(|error| unreachable(consumer, error))?;
    // One that is being made may have no partition yet.
    let there = metadata.topics().iter().filter(|topic| topic.error().is_none() && !topic.partitions().is_empty());
    Ok(there.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
}

/// The bounds of the partitions of a topic.
pub(crate) fn bounds(consumer: &Consumer, topic: &str, partitions: usize) -> Result<Vec<Bounds>> {
    renew_token(consumer)?;
    let of = |partition: usize| {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, ASK_TIMEOUT)
            .map_err(|error| unreachable(consumer, error).on(format!("topic {topic}")))?;
        Ok(Bounds { low, high })
    };
    (0..partitions).map(of).collect()
}

/// One that is only asked is polled by nobody, so librdkafka's question for a token is not answered.
fn renew_token(consumer: &Consumer) -> Result<()> {
    consumer.context().tokens.log_in(consumer.client())
}

fn unreachable(consumer: &Consumer, error: KafkaError) -> Error {
    // Complaints come when they are fetched, which would take messages too.
    if consumer.assignment().is_ok_and(|assigned| assigned.count() == 0) {
        while consumer.poll(COMPLAINTS).is_some() {}
    }
    let Some(reason) = consumer.context().reason() else {
        return Error::transient("the brokers do not answer").because(error);
    };
    let failed = Error::transient(format!("the brokers do not answer: {reason}")).because(error);
    match remedy_of_refusal(&reason) {
        Some(remedy) => failed.remedy(remedy),
        None => failed,
    }
}

/// What to do where brokers do not let us in.
fn remedy_of_refusal(reason: &str) -> Option<&'static str> {
    if reason.contains("SASL authentication error") || reason.contains("SASL OAUTHBEARER token") {
        return Some("check source.kafka.sasl");
    }
    // Of the handshake, or an alert behind it: a broker looks at our certificate last.
    let tls = reason.contains("SSL ");
    tls.then_some("check source.kafka.tls: ca_file, and cert_file where the brokers want a client certificate")
}

/// What an error in the place of a message means; `None`: librdkafka goes on by itself.
pub(crate) fn failure(error: KafkaError) -> Option<Error> {
    use RDKafkaErrorCode as Code;
    let lost = |what: &str| Some(Error::transient(what));
    match &error {
        // The next start looks at the topics, and says what it is.
        KafkaError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
            lost("a position is not in its topic")
        }
        KafkaError::MessageConsumption(
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId,
        ) => lost("a topic is gone"),
        KafkaError::MessageConsumptionFatal(_) => Some(Error::transient("the consumer failed").because(error)),
        _ => None,
    }
}
