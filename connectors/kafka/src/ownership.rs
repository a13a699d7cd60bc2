//! Which tables this process owns: a place in the consumer group.
//!
//! A table has one owner at a time, which reads all partitions of its topic. The group decides who: whoever is assigned one
//! certain partition of a topic owns the table; which one it is follows from the topic's name, so that the tables spread over
//! the members although topics have equal numbers of partitions.
//!
//! - The member fetches nothing. It takes its assignment, remembers it, and assigns itself no partition; another consumer
//!   reads the topics. So it always answers in time, however slow the sink is.
//! - What it loses it gives back only after the source has ended and the sink has written what it had, or after
//!   [`RELEASE_MAX`]: the next owner begins where the checkpoint then is.
//! - Where no topic is there yet, nothing is owned; the group has no assignment then.
//! - All of that is courtesy. A process that was stopped and wakes up is refused by the sink, which compares its checkpoint
//!   (`sharing.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::watch;
use tokio::time::timeout;
use walbrook_config::KafkaSource as Settings;
use walbrook_model::{Error, Result};
use walbrook_oauth::Tokens;

use crate::client::{self, ASK_TIMEOUT};
use crate::{events, reading};

/// How long the source and the sink may take to let go of what the group takes away.
const RELEASE_MAX: Duration = Duration::from_secs(30);
/// How long a start waits for the group.
const ASSIGNED_MAX: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(100);
/// How often the brokers are asked for topics that none of the names meant before.
const LOOK: Duration = Duration::from_secs(2);
/// How long a process that is silent keeps its tables.
const SILENT_MAX: Duration = Duration::from_secs(10);
/// How long the brokers may take to hear that a process leaves.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// A place in the consumer group, kept over restarts of the source. The last clone that is dropped leaves the group: drop it
/// after the sink has written what it had.
#[derive(Clone)]
pub struct Membership(Arc<Member>);

struct Member {
    shared: Arc<Shared>,
    owned: watch::Receiver<Option<Owned>>,
    /// `None` once it leaves.
    consumer: Option<Arc<BaseConsumer<Callbacks>>>,
    /// Closed once the group was left.
    left: Mutex<mpsc::Receiver<()>>,
}

/// What the group has given to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    /// Rises with each change.
    pub(crate) generation: u64,
    pub(crate) topics: BTreeSet<String>,
    /// Every topic that was there: each of them is somebody's.
    pub(crate) given_out: BTreeSet<String>,
}

impl Owned {
    /// Whether a topic is ours, or may yet become it: it was made after the group gave them out.
    pub(crate) fn awaits(&self, topic: &str) -> bool {
        self.topics.contains(topic) || !self.given_out.contains(topic)
    }
}

struct Shared {
    settings: Settings,
    tokens: Tokens,
    /// `None`: between two assignments.
    owned: watch::Sender<Option<Owned>>,
    generation: AtomicU64,
    /// Whether source or sink work with what was assigned.
    in_use: Mutex<bool>,
    release: Condvar,
    leaving: AtomicBool,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.leaving.store(true, Ordering::Relaxed);
        self.shared.release.notify_all();
        self.consumer = None;
        let left = self.left.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Else the others wait for it until it has been silent for long enough.
        let _ = left.recv_timeout(LEAVE_MAX);
    }
}

impl Membership {
    /// Joins the group of the settings.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] for a setting that librdkafka refuses.
    pub fn join(settings: &Settings) -> Result<Self> {
        let (sender, owned) = watch::channel(None);
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            tokens: Tokens::of(&settings.client),
            owned: sender,
            generation: AtomicU64::new(0),
            in_use: Mutex::new(false),
            release: Condvar::new(),
            leaving: AtomicBool::new(false),
        });
        let mut config = ClientConfig::new();
        config.set("session.timeout.ms", SILENT_MAX.as_millis().to_string());
        settings.client.apply(|key, value| {
            config.set(key, value);
        });
        // By default all first partitions go to one member.
        let ours = [
            ("client.id", "walbrook"),
            ("group.id", settings.group.as_str()),
            ("partition.assignment.strategy", "roundrobin"),
            ("enable.auto.commit", "false"),
            // New topics of a pattern.
            ("topic.metadata.refresh.interval.ms", &LOOK.as_millis().to_string()),
        ];
        for (key, value) in ours {
            config.set(key, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        let consumer: BaseConsumer<Callbacks> =
            config.create_with_context(Callbacks(shared.clone())).map_err(|error| client::refused(&error))?;
        let consumer = Arc::new(consumer);
        let names: Vec<String> = settings.topics.iter().map(|pattern| expression(pattern)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| {
            Error::config("the topics cannot be subscribed to").because(error).on("source.kafka.topics")
        })?;
        let (leaves, left) = mpsc::channel();
        let (own, member) = (shared.clone(), consumer.clone());
        let run = move || {
            own.stay(&member);
            drop(member);
            drop(leaves);
        };
        let spawned = thread::Builder::new().name("kafka-group".to_owned()).spawn(run);
        spawned.map_err(|error| Error::transient("no thread for the consumer group").because(error))?;
        Ok(Self(Arc::new(Member { shared, owned, consumer: Some(consumer), left: Mutex::new(left) })))
    }

    /// Says that nobody works with what was assigned until now.
    pub fn release(&self) {
        self.0.shared.use_it(false);
    }

    /// Says that nobody works with earlier assignments, and waits for the next. The sink's checkpoint is to be read after
    /// that: the owner before us may have written it until then.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Transient`] if the group does not come to rest.
    pub(crate) async fn owned(&self) -> Result<Owned> {
        let Member { shared, owned, .. } = &*self.0;
        shared.use_it(false);
        let tokens = shared.tokens.clone();
        let proven = tokio::task::spawn_blocking(move || tokens.prove()).await;
        proven.unwrap_or_else(|error| Err(Error::bug("the look for a token failed").because(error)))?;
        let mut owned = owned.clone();
        let found = match timeout(ASSIGNED_MAX, owned.wait_for(Option::is_some)).await {
            Ok(Ok(owned)) => owned.clone(),
            _ => None,
        };
        let found = found.ok_or_else(|| {
            Error::transient("the consumer group has no assignment for us")
                .on(format!("group {}", shared.settings.group))
                .remedy("look at the group with kafka-consumer-groups.sh --describe --state")
        })?;
        // From here on it is taken away only after a release. One that went before that shows when the source looks.
        shared.use_it(true);
        Ok(found)
    }

    /// Shows the group how far these partitions are, for people who look there. Nothing is read from there.
    pub(crate) fn tell(&self, positions: &TopicPartitionList) {
        if let Some(consumer) = &self.0.consumer {
            // Between two assignments it is refused.
            let _ = consumer.commit(positions, CommitMode::Async);
        }
    }

    /// Whether this is still what we own.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.0.owned.borrow().as_ref().is_some_and(|owned| owned.generation == generation)
    }
}

impl Shared {
    /// Stays in the group until it is left.
    fn stay(&self, consumer: &BaseConsumer<Callbacks>) {
        let mut looked = Instant::now();
        while !self.leaving.load(Ordering::Relaxed) {
            // It has no partition, so what comes are errors; librdkafka goes on by itself.
            let _ = consumer.poll(POLL);
            if self.owned.borrow().is_none() && looked.elapsed() >= LOOK {
                if let Ok(found) = consumer.fetch_metadata(None, ASK_TIMEOUT)
                    && !found.topics().iter().any(|topic| reading::is_read(&self.settings, topic.name()))
                {
                    // Nobody is assigned anything while there is no topic.
                    self.give(BTreeSet::new(), BTreeSet::new());
                }
                looked = Instant::now();
            }
        }
    }

    fn use_it(&self, uses: bool) {
        *self.lock() = uses;
        self.release.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, topics: BTreeSet<String>, given_out: BTreeSet<String>) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        events::assigned(&self.settings.group, topics.len());
        self.owned.send_replace(Some(Owned { generation, topics, given_out }));
    }

    /// Takes everything away, and waits until nobody works with it.
    fn take_away(&self, lost: bool) {
        let before = self.owned.send_replace(None);
        let idle = before.is_none_or(|owned| owned.topics.is_empty());
        if lost || idle {
            return;
        }
        let is_used = |in_use: &mut bool| *in_use && !self.leaving.load(Ordering::Relaxed);
        let waited = self.release.wait_timeout_while(self.lock(), RELEASE_MAX, is_used);
        if waited.is_ok_and(|(_, waited)| waited.timed_out()) {
            events::not_released(&self.settings.group);
        }
    }
}

/// Hears what the group decides.
struct Callbacks(Arc<Shared>);

impl ClientContext for Callbacks {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.0.tokens.answer()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        events::client_says(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        events::client_error(&error, reason);
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, assigned: &mut TopicPartitionList) {
        let answered = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let existing = self.existing(consumer);
            self.0.give(owned(&existing, assigned), existing.into_keys().collect());
            // The group is answered with no partition: none is fetched here.
            consumer.assign(&TopicPartitionList::new())
        } else {
            self.0.take_away(consumer.assignment_lost());
            consumer.unassign()
        };
        if let Err(error) = answered {
            events::client_error(&error, "the consumer group was not answered");
        }
    }
}

impl Callbacks {
    /// The topics that there are, with how many partitions they have; none if the brokers do not say it: the group does not
    /// hold without them for long either. One that the group has not given out yet makes it do so, in this moment.
    fn existing(&self, consumer: &BaseConsumer<Self>) -> BTreeMap<String, usize> {
        let found = (0..3).find_map(|_| consumer.fetch_metadata(None, ASK_TIMEOUT).ok());
        let topics = found.iter().flat_map(rdkafka::metadata::Metadata::topics);
        let read = topics.filter(|topic| reading::is_read(&self.0.settings, topic.name()));
        read.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect()
    }
}

/// The topics whose deciding partition is among these.
fn owned(existing: &BTreeMap<String, usize>, assigned: &TopicPartitionList) -> BTreeSet<String> {
    let elements = assigned.elements();
    let ours = elements.iter().filter(|element| {
        let partitions = existing.get(element.topic()).copied().unwrap_or_default();
        deciding(element.topic(), partitions) == Some(element.partition())
    });
    ours.map(|element| element.topic().to_owned()).collect()
}

/// The partition whose holder owns the table.
fn deciding(topic: &str, partitions: usize) -> Option<i32> {
    let partitions = u32::try_from(partitions).ok().filter(|count| *count > 0)?;
    i32::try_from(crc32fast::hash(topic.as_bytes()) % partitions).ok()
}

/// A pattern as librdkafka wants it.
fn expression(pattern: &str) -> String {
    if !pattern.contains('*') {
        return pattern.to_owned();
    }
    format!("^{}$", pattern.replace('.', "\\.").replace('*', ".*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_spread_over_partitions() {
        let count = |partition: i32| {
            let topics = (0..1_000).map(|n| format!("shop.public.table_{n}"));
            topics.filter(|topic| deciding(topic, 4) == Some(partition)).count()
        };
        for partition in 0..4 {
            assert!((200..300).contains(&count(partition)), "{}", count(partition));
        }
        assert_eq!((deciding("t", 1), deciding("t", 0)), (Some(0), None));
    }

    #[test]
    fn what_was_made_since_may_become_ours() {
        let names = ["t1", "t2", "t3"];
        let existing: BTreeMap<String, usize> = names.iter().map(|name| ((*name).to_owned(), 4)).collect();
        let mut assigned = TopicPartitionList::new();
        for (name, partition) in
            [("t1", deciding("t1", 4).unwrap()), ("t2", (deciding("t2", 4).unwrap() + 1) % 4), ("t9", 0)]
        {
            assigned.add_partition(name, partition);
        }
        let topics = owned(&existing, &assigned);
        assert_eq!(topics, ["t1".to_owned()].into());
        let owned = Owned { generation: 1, topics, given_out: existing.into_keys().collect() };
        assert_eq!(["t1", "t2", "t3", "t4"].map(|name| owned.awaits(name)), [true, false, false, true]);
    }

    #[test]
    fn a_pattern_is_an_expression() {
        assert_eq!(expression("shop.public.orders"), "shop.public.orders");
        assert_eq!(expression("shop.public.*"), "^shop\\.public\\..*$");
    }
}
