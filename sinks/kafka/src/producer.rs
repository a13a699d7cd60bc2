//! A producer that never loses its place: idempotent, acks from all replicas, and gapless, since the first message that
//! cannot be delivered ends it.
//!
//! Deliveries are counted in a [`Ledger`], not answered one by one. Waiting is on what the ledger says: for room within the
//! bound in bytes, or for a [`Mark`].
//!
//! Brokers take any sequence number from a producer that they do not know in a partition. If its first batch there fails
//! and the second, on its way already, does not, then librdkafka takes the first for delivered, and it is missing. So the
//! first message to a partition goes alone. A delivery without an offset is one that was only concluded: it ends the run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use tokio::sync::Notify;
use walbrook_envelope::Message;
use walbrook_model::{Error, Result};

use crate::cluster::on;
use crate::faults::{Listener, code};
use crate::ledger::{Ledger, Mark, Tag};

/// What a message costs in memory beside its bytes, about.
const MESSAGE_OVERHEAD: usize = 256;
/// How long a full queue of librdkafka is waited for before it is tried again, should no delivery wake us.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);
/// Brokers forget a producer that is idle for `producer.id.expiration.ms`, a day by default.
const PROVEN_FOR: Duration = Duration::from_hours(12);
/// An acknowledgement that takes longer is worth a warning: the client tries again in silence.
const SLOW: Duration = Duration::from_secs(5);
/// How long a call to the brokers may take.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    /// The partition's place in the ledger.
    pub(crate) place: u32,
}

/// Writes messages into topics. Dropping it drops what waits.
pub(crate) struct Producer {
    /// `None` only while it is dropped.
    inner: Option<Arc<ThreadedProducer<Deliveries>>>,
    shared: Arc<Shared>,
    listener: Listener,
    bytes_max: usize,
}

/// What the threads of librdkafka and ours share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    failed: Option<Failure>,
    /// Somebody waits until no more bytes than this wait.
    room_wanted: Option<usize>,
    /// Until when brokers know us where a message was acknowledged.
    proofs_until: Option<Instant>,
}

impl State {
    fn add(&mut self, place: u32, bytes: usize) -> (Tag, bool) {
        let now = Instant::now();
        if self.proofs_until.is_none_or(|until| until < now) {
            self.ledger.forget_proofs();
            self.proofs_until = Some(now + PROVEN_FOR);
        }
        (self.ledger.add(place, bytes), self.ledger.is_proven(place))
    }
}

/// Why a message was not delivered.
#[derive(Clone, Debug)]
enum Failure {
    /// With the topic that it was to go to; `None`: the producer itself has failed.
    Undelivered(KafkaError, Option<String>),
    /// The client takes it for delivered to this topic, since a later one was.
    Concluded(String),
    /// It is in its topic, at an offset of its partition that an earlier one had.
    WentBack { topic: String, partition: i32, offset: i64 },
}

impl Shared {
    /// Counters stay right after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears of deliveries.
struct Deliveries {
    shared: Arc<Shared>,
    listener: Listener,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, settings: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.listener.generate_oauth_token(settings)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.listener.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Fatal errors come only here if nothing waits for delivery.
        if code(&error) == Some(Code::Fatal) {
            self.shared.lock().failed.get_or_insert_with(|| Failure::Undelivered(error.clone(), None));
            self.shared.changed.notify_waiters();
        }
        ClientContext::error(&self.listener, error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let mut state = self.shared.lock();
        let mut wake = match result {
            Ok(message) if message.offset() < 0 => {
                state.ledger.settle(Tag(tag), None);
                state.failed.get_or_insert_with(|| Failure::Concluded(message.topic().to_owned()));
                true
            }
            Ok(message) if state.ledger.goes_back(Tag(tag), message.offset()) => {
                state.ledger.settle(Tag(tag), None);
                let failure = || Failure::WentBack {
                    topic: message.topic().to_owned(),
                    partition: message.partition(),
                    offset: message.offset(),
                };
                state.failed.get_or_insert_with(failure);
                true
            }
            Ok(message) => state.ledger.settle(Tag(tag), Some(message.offset())),
            Err((error, message)) => {
                state.ledger.settle(Tag(tag), None);
                let failure = || Failure::Undelivered(error.clone(), Some(message.topic().to_owned()));
                state.failed.get_or_insert_with(failure);
                true
            }
        };
        if state.room_wanted.is_some_and(|bytes| state.ledger.bytes() <= bytes) {
            state.room_wanted = None;
            wake = true;
        }
        wake |= state.ledger.messages() == 0;
        drop(state);
        if wake {
            self.shared.changed.notify_waiters();
        }
    }
}

impl Producer {
    /// A producer of `settings`. At most `bytes_max` bytes of messages wait in it, or one message.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if librdkafka does not take the settings.
    pub(crate) fn new(settings: &ClientConfig, listener: &Listener, bytes_max: u64) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let context = Deliveries { shared: shared.clone(), listener: listener.clone() };
        let inner = settings
            .create_with_context::<_, ThreadedProducer<_>>(context)
            .map_err(|error| listener.fault("the producer cannot be made", &error))?;
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Ok(Self { inner: Some(Arc::new(inner)), shared, listener: listener.clone(), bytes_max })
    }

    /// Places for the partitions of a topic, which end at `ends`.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if there are too many partitions.
    pub(crate) fn add_places(&self, ends: &[i64]) -> Result<u32> {
        let first = self.shared.lock().ledger.add_places(ends);
        first.ok_or_else(|| Error::config("the topics have more than 262,144 partitions in all"))
    }

    /// The offsets behind the last messages of a topic.
    pub(crate) fn ends(&self, first: u32, count: u32) -> Vec<i64> {
        self.shared.lock().ledger.ends(first, count).to_vec()
    }

    /// Messages and bytes that wait.
    pub(crate) fn waiting(&self) -> (u64, usize) {
        let state = self.shared.lock();
        (state.ledger.messages(), state.ledger.bytes())
    }

    /// A mark behind all messages so far.
    pub(crate) fn mark(&self) -> Mark {
        self.shared.lock().ledger.mark()
    }

    /// # Errors
    /// If a message was not delivered.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_state(&self.shared.lock())
    }

    fn check_state(&self, state: &State) -> Result<()> {
        match &state.failed {
            None => Ok(()),
            Some(Failure::Undelivered(error, topic)) => Err(self.failure(error, topic.as_deref())),
            Some(Failure::Concluded(topic)) => {
                Err(Error::transient("a message counts as delivered only since a later one was: it may be missing")
                    .on(on(topic)))
            }
            Some(Failure::WentBack { topic, partition, offset }) => Err(Error::gap(format!(
                "a message came to offset {offset} of partition {partition}, where others were before: the topic was made \
                 anew or cut off"
            ))
            .on(on(topic))
            .remedy("walbrook gap accept --reason \"...\" takes a new snapshot")),
        }
    }

    fn failure(&self, error: &KafkaError, topic: Option<&str>) -> Error {
        let what = "a message was not delivered";
        // What a fatal error is about is known to the client only; what waits then is purged.
        let told = matches!(code(error), Some(Code::Fatal | Code::PurgeQueue | Code::PurgeInflight));
        let fatal = if told { self.fatal() } else { None };
        let error = self.listener.fault(what, fatal.as_ref().unwrap_or(error));
        match topic {
            Some(topic) => error.on(on(topic)),
            None => error,
        }
    }

    fn fatal(&self) -> Option<KafkaError> {
        let (code, _) = self.inner().ok()?.client().fatal_error()?;
        Some(KafkaError::MessageProduction(code))
    }

    fn inner(&self) -> Result<&Arc<ThreadedProducer<Deliveries>>> {
        self.inner.as_ref().ok_or_else(|| Error::bug("a producer was used after its end"))
    }

    /// Hands a message over, when there is room for it.
    ///
    /// # Errors
    /// If this or an earlier message cannot be delivered.
    pub(crate) async fn send(&self, target: Target<'_>, message: &Message<'_>) -> Result<()> {
        self.hand_over(target, record(target, message), size(message) + MESSAGE_OVERHEAD).await
    }

    /// The same for a key and a value.
    pub(crate) async fn send_pair(&self, target: Target<'_>, key: &[u8], value: &[u8]) -> Result<()> {
        let mut record = BaseRecord::with_opaque_to(target.topic, 0);
        record.partition = i32::try_from(target.partition).ok();
        record.key = Some(key);
        record.payload = Some(value);
        self.hand_over(target, record, key.len() + value.len() + MESSAGE_OVERHEAD).await
    }

    /// The same for key and value, which may be null, and headers.
    pub(crate) async fn send_parts(
        &self,
        target: Target<'_>,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: &[(&str, &[u8])],
    ) -> Result<()> {
        let mut record = BaseRecord::with_opaque_to(target.topic, 0);
        record.partition = i32::try_from(target.partition).ok();
        record.key = key;
        record.payload = value;
        let add = |all: OwnedHeaders, (key, value): &(&str, &[u8])| all.insert(Header { key, value: Some(*value) });
        record.headers = Some(headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), add));
        let of_headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + of_headers;
        self.hand_over(target, record, bytes + MESSAGE_OVERHEAD).await
    }

    async fn hand_over(
        &self,
        target: Target<'_>,
        mut record: BaseRecord<'_, [u8], [u8], usize>,
        bytes: usize,
    ) -> Result<()> {
        loop {
            // Before it is handed over: its delivery could be told before that returns.
            let (tag, proven) = self.add(target.place, bytes).await?;
            record.delivery_opaque = tag.0;
            let Err((error, back)) = self.inner()?.send(record) else {
                return if proven { Ok(()) } else { self.prove(target.place).await };
            };
            self.shared.lock().ledger.settle(Tag(back.delivery_opaque), None);
            if code(&error) != Some(Code::QueueFull) {
                return Err(self.failure(&error, Some(target.topic)));
            }
            record = back;
            tokio::time::sleep(QUEUE_FULL_PAUSE).await;
        }
    }

    /// Waits until a message of a place is acknowledged.
    async fn prove(&self, place: u32) -> Result<()> {
        self.wait(|state| state.ledger.is_proven(place).then_some(())).await
    }

    /// Enters a message of so many bytes, when they fit the bound. One that is larger than it goes alone. Says too whether
    /// one of its place was acknowledged already.
    async fn add(&self, place: u32, bytes: usize) -> Result<(Tag, bool)> {
        {
            let mut state = self.shared.lock();
            self.check_state(&state)?;
            if state.ledger.messages() == 0 || state.ledger.bytes() + bytes <= self.bytes_max {
                return Ok(state.add(place, bytes));
            }
        }
        // Three quarters: not a wake-up for every delivery.
        let wanted = (self.bytes_max / 4 * 3).saturating_sub(bytes);
        self.wait(|state| {
            if state.ledger.messages() == 0 || state.ledger.bytes() <= wanted {
                return Some(state.add(place, bytes));
            }
            state.room_wanted = Some(wanted);
            None
        })
        .await
    }

    /// Waits until everything before the mark is acknowledged.
    ///
    /// # Errors
    /// If a message was not delivered.
    pub(crate) async fn reach(&self, mark: Mark) -> Result<()> {
        self.wait(|state| state.ledger.is_reached(mark).then_some(())).await
    }

    async fn wait<T>(&self, mut done: impl FnMut(&mut State) -> Option<T>) -> Result<T> {
        let begun = Instant::now();
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.shared.lock();
                self.check_state(&state)?;
                if let Some(result) = done(&mut state) {
                    return Ok(result);
                }
            }
            if tokio::time::timeout(SLOW, changed).await.is_err() {
                let (messages, bytes) = self.waiting();
                self.listener.slow(messages, bytes, begun.elapsed());
            }
        }
    }

    /// Takes over the transactional id: a producer that had it before can write no more under it.
    ///
    /// # Errors
    /// If the brokers do not answer in time or refuse.
    pub(crate) async fn init_transactions(&self) -> Result<()> {
        self.blocking("the transactional id cannot be taken", |inner| inner.init_transactions(CALL_TIMEOUT)).await
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) -> Result<()> {
        let begun = self.inner()?.begin_transaction();
        begun.map_err(|error| self.listener.fault("a transaction cannot be begun", &error))
    }

    /// Commits the transaction. Call it when all its messages are acknowledged: librdkafka waits for them in steps.
    pub(crate) async fn commit(&self) -> Result<()> {
        self.blocking("a transaction was not committed", |inner| inner.commit_transaction(CALL_TIMEOUT)).await
    }

    /// Aborts the transaction: readers of committed messages see nothing of it.
    pub(crate) async fn abort(&self) -> Result<()> {
        self.blocking("a transaction was not aborted", |inner| inner.abort_transaction(CALL_TIMEOUT)).await
    }

    async fn blocking(
        &self,
        what: &str,
        call: impl FnOnce(&ThreadedProducer<Deliveries>) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<()> {
        let inner = self.inner()?.clone();
        let done = tokio::task::spawn_blocking(move || call(&inner)).await;
        let done = done.map_err(|error| Error::bug("a call of librdkafka panicked").because(error))?;
        done.map_err(|error| self.listener.fault(what, &error))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        inner.purge(PurgeConfig::default().queue().inflight());
        // It waits for its threads.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn_blocking(move || drop(inner));
            }
            Err(_) => drop(inner),
        }
    }
}

/// Bytes of a message: key, value and headers.
pub(crate) fn size(message: &Message<'_>) -> usize {
    let headers: usize = message.headers().map(|(name, value)| name.len() + value.len()).sum();
    message.key.map_or(0, <[u8]>::len) + message.value.map_or(0, <[u8]>::len) + headers
}

fn record<'a>(target: Target<'a>, message: &Message<'a>) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut record = BaseRecord::with_opaque_to(target.topic, 0);
    record.partition = i32::try_from(target.partition).ok();
    record.key = message.key;
    record.payload = message.value;
    let headers = message.headers();
    if headers.len() > 0 {
        let mut owned = OwnedHeaders::new_with_capacity(headers.len());
        for (key, value) in headers {
            owned = owned.insert(Header { key, value: Some(value) });
        }
        record.headers = Some(owned);
    }
    record
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use walbrook_model::ErrorKind;

    use super::*;

    const MESSAGES: i64 = 5;

    /// Sends messages, each a batch of its own, to a partition that refuses the first batch; gives where it ends then.
    /// Unless `proven` they go as to a partition where the producer is not known.
    async fn first_batch_refused(proven: bool) -> Result<Vec<i64>> {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        // All would be on their way before the first is refused.
        cluster.broker_round_trip_time(1, Duration::from_millis(100)).unwrap();
        let mut settings = ClientConfig::new();
        settings
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("batch.num.messages", "1");
        let producer = Producer::new(&settings, &Listener::default(), 1 << 20).unwrap();
        let place = producer.add_places(&[0]).unwrap();
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
        cluster.request_errors(RDKafkaApiKey::Produce, &[refused]);
        if proven {
            let mut state = producer.shared.lock();
            let (tag, _) = state.add(place, 1);
            state.ledger.settle(tag, Some(-1));
        }
        for value in 0..MESSAGES {
            producer.send_pair(Target { topic: "t", partition: 0, place }, b"k", &value.to_be_bytes()).await?;
        }
        producer.reach(producer.mark()).await?;
        Ok(producer.ends(place, 1))
    }

    #[tokio::test]
    async fn the_first_message_of_a_partition_goes_alone() {
        assert_eq!(first_batch_refused(false).await.unwrap(), [MESSAGES]);
    }

    #[tokio::test]
    async fn what_was_only_concluded_is_not_delivered() {
        let error = first_batch_refused(true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains("may be missing"), "{error}");
    }
}
