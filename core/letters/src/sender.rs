//! A producer for letters: idempotent, acks from all replicas, and one that waits: letters are few, and their sender must
//! know that they are there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, ProducerContext};
use tracing::{debug, warn};
use walbrook_config::KafkaClient;
use walbrook_model::{Error, ErrorKind, Result};
use walbrook_oauth::Tokens;

/// How long a message may take until it is given up.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// A little longer: then librdkafka has said what became of everything.
const WAIT_MAX: Duration = Duration::from_secs(35);
/// Between two looks while nothing is heard of deliveries.
const POLL: Duration = Duration::from_millis(10);
/// Largest message that is handed to the client. Brokers close connections on which more comes (`socket.request.max.bytes`).
pub(crate) const MESSAGE_BYTES_MAX: usize = 100_000_000;
/// Messages that wait in the client, kB: one of the largest.
const QUEUE_KBYTES: usize = 131_072;

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) topic: &'a str,
    /// `None`: any.
    pub(crate) partition: Option<u32>,
}

/// Writes messages and waits for them.
pub(crate) struct Sender {
    producer: BaseProducer<Deliveries>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: u64,
    failed: Option<(KafkaError, String)>,
    /// The newest reason why a broker could not be reached.
    reason: Option<String>,
}

struct Deliveries {
    state: Arc<Mutex<State>>,
    tokens: Tokens,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.tokens.answer()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                warn!(facility, "client of letters: {message}");
            }
            _ => debug!(facility, "client of letters: {message}"),
        }
    }

    fn error(&self, _: KafkaError, reason: &str) {
        lock(&self.state).reason = Some(reason.to_owned());
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut state = lock(&self.state);
        state.waiting = state.waiting.saturating_sub(1);
        if let Err((error, message)) = result {
            state.failed.get_or_insert_with(|| (error.clone(), message.topic().to_owned()));
        }
    }
}

/// Counters stay right after a panic elsewhere.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Settings of every client here.
pub(crate) fn client(settings: &KafkaClient) -> ClientConfig {
    let mut config = ClientConfig::new();
    settings.apply(|key, value| {
        config.set(key, value);
    });
    config.set("client.id", "walbrook.letters").set("allow.auto.create.topics", "false");
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// librdkafka has not taken the settings. It names the key, and its value only if that is none that it keeps secret.
pub(crate) fn refused(error: &KafkaError) -> Error {
    Error::config(format!("librdkafka refuses a setting: {error}")).on("kafka")
}

impl Sender {
    /// # Errors
    /// [`ErrorKind::Config`] for a setting that librdkafka refuses.
    pub(crate) fn connect(settings: &KafkaClient) -> Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let mut config = client(settings);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES.to_string())
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        let context = Deliveries { state: state.clone(), tokens: Tokens::of(settings) };
        let producer = config.create_with_context(context).map_err(|error| refused(&error))?;
        Ok(Self { producer, state })
    }

    /// Hands a message over.
    ///
    /// # Errors
    /// As [`Sender::settle`], of this message or an earlier one.
    pub(crate) fn send(
        &self,
        place: Place<'_>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: OwnedHeaders,
    ) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8]>::to(place.topic).headers(headers);
        record.partition = place.partition.and_then(|partition| i32::try_from(partition).ok());
        record.key = key;
        record.payload = value;
        let begun = Instant::now();
        loop {
            self.check()?;
            // Before it is handed over: its delivery could be told before that returns.
            lock(&self.state).waiting += 1;
            let Err((error, back)) = self.producer.send(record) else { return Ok(()) };
            lock(&self.state).waiting -= 1;
            if error.rdkafka_error_code() != Some(Code::QueueFull) || begun.elapsed() > WAIT_MAX {
                return Err(self.failure(error, place.topic));
            }
            record = back;
            self.producer.poll(POLL);
        }
    }

    /// Waits until everything is acknowledged.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] if a topic does not take a message of its size, else [`ErrorKind::Transient`].
    pub(crate) fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        while lock(&self.state).waiting > 0 {
            if begun.elapsed() > WAIT_MAX {
                return Err(Error::transient("the brokers do not acknowledge").on("kafka"));
            }
            self.producer.poll(POLL);
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        let failed = lock(&self.state).failed.take();
        failed.map_or(Ok(()), |(error, topic)| Err(self.failure(error, &topic)))
    }

    fn failure(&self, error: KafkaError, topic: &str) -> Error {
        let code = error.rdkafka_error_code();
        let too_large = matches!(code, Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge));
        let kind = if too_large { ErrorKind::Data } else { ErrorKind::Transient };
        let reason = lock(&self.state).reason.clone().filter(|_| !too_large);
        let what = match reason {
            Some(reason) => format!("a message was not taken; last from the brokers: {reason}"),
            None => "a message was not taken".to_owned(),
        };
        let error = Error::new(kind, what).because(error).on(format!("topic {topic}"));
        if too_large {
            return error.remedy(format!("raise max.message.bytes of topic {topic}"));
        }
        error
    }
}
