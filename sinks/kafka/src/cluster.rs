//! Questions to the cluster: which topics there are, how far they reach, how they are set; and topics made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode as Code};
use walbrook_model::{Error, Result};

use crate::faults::{Listener, code};
use crate::producer::CALL_TIMEOUT;

/// How long a new topic may take to have leaders everywhere.
const MAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks whether it has.
const MAKE_POLL: Duration = Duration::from_millis(50);

/// How long complaints are waited for, once something failed.
const COMPLAINTS: Duration = Duration::from_millis(20);

/// How long an idle client is polled at a time; it is dropped after that at the latest.
const SERVE_POLL: Duration = Duration::from_millis(100);
/// A broker that has been made the leader a moment ago does not know it yet: how often it is asked, and how far apart.
const LEADER_LOOKS: u32 = 50;
/// See [`LEADER_LOOKS`].
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// A client for questions.
#[derive(Clone)]
pub(crate) struct Cluster {
    settings: ClientConfig,
    /// It is asked, never reads: unlike the client for changes it tells what the brokers complain of.
    client: Arc<Asked>,
    listener: Listener,
}

struct Asked(Option<BaseConsumer<Listener>>);

impl Drop for Asked {
    fn drop(&mut self) {
        drop_aside(self.0.take());
    }
}

/// The first offset that a partition has, and the one behind its last. What is being written in a transaction counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// A topic to be made.
#[derive(Debug)]
pub(crate) struct Making {
    pub(crate) partitions: u32,
    pub(crate) replication_factor: u16,
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Cluster {
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if librdkafka does not take the settings.
    pub(crate) fn new(settings: &ClientConfig, listener: &Listener) -> Result<Self> {
        let mut settings = settings.clone();
        // Else an open transaction hides what lies behind its beginning.
        settings.set("isolation.level", "read_uncommitted");
        let client = settings
            .create_with_context(listener.clone())
            .map_err(|error| listener.fault("the client cannot be made", &error))?;
        let client = Arc::new(Asked(Some(client)));
        if listener.has_tokens() {
            serve(&client)?;
        }
        Ok(Self { settings, client, listener: listener.clone() })
    }

    /// How many partitions a topic has; `None` if there is no such topic.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Option<u32>> {
        let name = topic.to_owned();
        let found = self.ask("the topic cannot be described", Some(topic), move |client| {
            let metadata = client.fetch_metadata(Some(&name), CALL_TIMEOUT)?;
            let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
            match topic.error().filter(IsError::is_error).map(Code::from) {
                None => {}
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(None),
                Some(code) => return Err(KafkaError::MetadataFetch(code)),
            }
            let leaderless = topic.partitions().iter().any(|partition| partition.leader() < 0);
            if leaderless {
                return Err(KafkaError::MetadataFetch(Code::LeaderNotAvailable));
            }
            Ok(u32::try_from(topic.partitions().len()).ok())
        });
        found.await
    }

    /// How far the first `partitions` of a topic reach.
    pub(crate) async fn reach(&self, topic: &str, partitions: u32) -> Result<Vec<Reach>> {
        let name = topic.to_owned();
        let reach = self.ask("the topic's ends cannot be read", Some(topic), move |client| {
            let of = |partition| {
                let mut looks = 0;
                loop {
                    looks += 1;
                    match client.fetch_watermarks(&name, partition, CALL_TIMEOUT) {
                        Err(error) if code(&error) == Some(Code::NotLeaderForPartition) && looks < LEADER_LOOKS => {
                            std::thread::sleep(LEADER_PAUSE);
                        }
                        ends => return ends.map(|(low, high)| Reach { low, high }),
                    }
                }
            };
            (0..i32::try_from(partitions).unwrap_or(i32::MAX)).map(of).collect()
        });
        reach.await
    }

    /// Makes a topic, and waits until it can be written to. One that another process made meanwhile is as good.
    pub(crate) async fn make(&self, topic: &str, making: &Making) -> Result<u32> {
        let fault = |error: &KafkaError| self.listener.fault("the topic cannot be made", error).on(on(topic));
        let mut new = NewTopic::new(
            topic,
            i32::try_from(making.partitions).unwrap_or(i32::MAX),
            TopicReplication::Fixed(i32::from(making.replication_factor)),
        );
        for (key, value) in &making.settings {
            new = new.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(CALL_TIMEOUT)).request_timeout(Some(CALL_TIMEOUT));
        let admin = self.admin().await?;
        let results = admin.create_topics([&new], &options).await;
        drop_aside(admin);
        let results = results.map_err(|error| fault(&error))?;
        for result in results {
            match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(fault(&KafkaError::AdminOp(code))),
            }
        }
        let begun = Instant::now();
        loop {
            match self.partitions(topic).await {
                Ok(Some(partitions)) => return Ok(partitions),
                Err(error) if begun.elapsed() >= MAKE_TIMEOUT => return Err(error),
                Ok(None) | Err(_) => {}
            }
            if begun.elapsed() >= MAKE_TIMEOUT {
                return Err(Error::transient("the topic was made, but is not to be seen").on(on(topic)));
            }
            tokio::time::sleep(MAKE_POLL).await;
        }
    }

    /// The settings of topics that exist, by topic. What a broker says nothing of is left out.
    pub(crate) async fn settings(&self, topics: &[String]) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let specifiers: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let options = AdminOptions::new().request_timeout(Some(CALL_TIMEOUT));
        let admin = self.admin().await?;
        let described = admin.describe_configs(&specifiers, &options).await;
        drop_aside(admin);
        let described = described.map_err(|error| self.listener.fault("topics cannot be described", &error))?;
        let mut settings = BTreeMap::new();
        for described in described.into_iter().flatten() {
            let OwnedResourceSpecifier::Topic(topic) = described.specifier else { continue };
            let entries = described.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            settings.insert(topic, entries.collect());
        }
        Ok(settings)
    }

    /// How many brokers there are, and how many partitions each topic has.
    pub(crate) async fn overview(&self) -> Result<(usize, BTreeMap<String, u32>)> {
        let overview = self.ask("the brokers do not answer", None, |client| {
            let metadata = client.fetch_metadata(None, CALL_TIMEOUT)?;
            let count = |partitions: usize| u32::try_from(partitions).unwrap_or(u32::MAX);
            let topics =
                metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic.partitions().len())));
            Ok((metadata.brokers().len(), topics.collect()))
        });
        overview.await
    }

    /// A client for changes, which are rare. Nobody polls it, so it has one token and is not for long.
    pub(crate) async fn admin(&self) -> Result<AdminClient<Listener>> {
        let (settings, listener) = (self.settings.clone(), self.listener.clone());
        let made = tokio::task::spawn_blocking(move || {
            let admin: AdminClient<Listener> = settings
                .create_with_context(listener.clone())
                .map_err(|error| listener.fault("the client cannot be made", &error))?;
            listener.log_in(admin.inner())?;
            Ok(admin)
        });
        made.await.unwrap_or_else(|error| Err(Error::bug("the making of a client panicked").because(error)))
    }

    /// Asks the brokers, of a topic perhaps; `what` cannot be done without their answer. librdkafka waits for it: not on a
    /// thread of the runtime.
    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        topic: Option<&str>,
        question: impl FnOnce(&Client<Listener>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T> {
        let (client, listener) = (self.client.clone(), self.listener.clone());
        let answer = tokio::task::spawn_blocking(move || {
            let Some(client) = &client.0 else { return Ok::<_, Error>(Err(KafkaError::Canceled)) };
            listener.log_in(client.client())?;
            let answer = question(client.client());
            // Complaints come to the listener only when they are fetched; without a time a poll brings one.
            let time = if answer.is_err() { COMPLAINTS } else { Duration::ZERO };
            while client.poll(time).is_some() {}
            Ok(answer)
        });
        let answer = answer.await.unwrap_or(Ok(Err(KafkaError::Canceled)))?;
        answer.map_err(|error| {
            let error = self.listener.fault(what, &error);
            if let Some(topic) = topic { error.on(on(topic)) } else { error }
        })
    }
}

/// Polls a client until it is dropped: brokers may want its token anew though nobody asks them anything.
fn serve(client: &Arc<Asked>) -> Result<()> {
    let client = Arc::downgrade(client);
    let run = move || {
        while let Some(client) = client.upgrade() {
            let Some(client) = &client.0 else { return };
            let _ = client.poll(SERVE_POLL);
        }
    };
    let spawned = std::thread::Builder::new().name("kafka-asked".to_owned()).spawn(run);
    spawned.map(drop).map_err(|error| Error::transient("no thread for a client").because(error))
}

/// Drops a client, which waits for its threads, on another thread than those of the runtime.
fn drop_aside<T: Send + 'static>(client: T) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(move || drop(client));
    }
}

/// How a topic is named in an error.
pub(crate) fn on(topic: &str) -> String {
    format!("topic {topic}")
}
