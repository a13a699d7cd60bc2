//! The topic of dead letters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode as Code};
use tokio::task::spawn_blocking;
use walbrook_config::KafkaClient;
use walbrook_model::{Error, Result};
use walbrook_oauth::Tokens;

use crate::sender::{client, refused};

/// What the topic takes if walbrook makes it, bytes.
pub const TOPIC_BYTES_MAX: u64 = 64 << 20;
/// How long a question to the brokers may take, and a new topic to have a leader.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether it has.
const POLL: Duration = Duration::from_millis(50);

/// Settings of the topic if walbrook makes it: nothing removes a letter before an operator does.
pub fn settings() -> [(&'static str, String); 3] {
    [
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", "-1".to_owned()),
        ("max.message.bytes", TOPIC_BYTES_MAX.to_string()),
    ]
}

/// Makes the topic unless it exists: one partition, so that letters keep their order, and as many replicas as the brokers
/// give by themselves.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Transient`] if the brokers do not answer or refuse; a right may still be given.
pub async fn prepare(settings: &KafkaClient, topic: &str) -> Result<()> {
    let admin = Arc::new(connect(settings).await?);
    let made = make(&admin, topic).await;
    // It waits for its thread.
    spawn_blocking(move || drop(admin));
    made.map_err(|error| {
        Error::transient("the topic of dead letters cannot be made")
            .because(error)
            .on(format!("topic {topic}"))
            .remedy(format!(
                "grant CREATE on it, or make it: kafka-topics.sh --create --topic {topic} --partitions 1 --config retention.ms=-1"
            ))
    })
}

type Admin = Arc<AdminClient<DefaultClientContext>>;

/// Nobody polls it, so it has one token, where the brokers want any.
async fn connect(settings: &KafkaClient) -> Result<AdminClient<DefaultClientContext>> {
    let (config, tokens) = (client(settings), Tokens::of(settings));
    let made = spawn_blocking(move || {
        let admin: AdminClient<DefaultClientContext> = config.create().map_err(|error| refused(&error))?;
        tokens.log_in(admin.inner())?;
        Ok(admin)
    });
    made.await.unwrap_or_else(|error| Err(Error::bug("the making of a client panicked").because(error)))
}

async fn make(admin: &Admin, topic: &str) -> Result<(), KafkaError> {
    if exists(admin, topic).await? {
        return Ok(());
    }
    let settings = self::settings();
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(-1));
    let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    for result in admin.create_topics([&new], &options).await? {
        match result {
            Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code)),
        }
    }
    tracing::info!(topic, "topic of dead letters made");
    let begun = Instant::now();
    loop {
        let found = exists(admin, topic).await;
        if matches!(found, Ok(true)) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return found.and(Err(KafkaError::MetadataFetch(Code::LeaderNotAvailable)));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether there is such a topic, whose partitions have leaders.
async fn exists(admin: &Admin, topic: &str) -> Result<bool, KafkaError> {
    let (admin, name) = (admin.clone(), topic.to_owned());
    let asked = spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(Some(&name), PATIENCE)?;
        let there = metadata.topics().iter().any(|topic| {
            let well = topic.error().is_none_or(|error| !error.is_error());
            well && !topic.partitions().is_empty() && topic.partitions().iter().all(|each| each.leader() >= 0)
        });
        Ok(there)
    });
    asked.await.unwrap_or(Err(KafkaError::Canceled))
}
