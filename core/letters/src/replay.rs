//! Letters sent again, or given up.
//!
//! A letter goes back to the topic and the partition that it is of, behind what is there. The reader's guard judges it by
//! its order token, so it does not matter how much has come since, nor how often it is sent. A letter that cannot be read
//! even now comes back as a new one.
//!
//! What is done is remembered after the brokers have acknowledged it: a crash in between sends the last letters twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{IsError, KafkaError};
use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use walbrook_config::KafkaClient;
use walbrook_envelope::headers::CONTROL;
use walbrook_model::{Error, Result};
use walbrook_oauth::Tokens;

use crate::folder::{Folder, Stored};
use crate::letter::{ANSWERS, Answers, DISCARDED, Letter, Reason, headers_of, is_ours};
use crate::sender::{self, MESSAGE_BYTES_MAX, Place, Sender};

/// How long a question to the brokers may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// How long nothing may be heard of letters that are there.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Letters between two times that what is done is remembered.
const STRETCH: u64 = 500;

/// What to do with the letters of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Count them, and change nothing.
    Look,
    /// Send them again.
    Send,
    /// Give them up: whoever waits for them need not. Those that only build on others are sent again.
    Discard,
}

/// The letters of a pipeline.
#[derive(Debug)]
pub struct Replay<'a> {
    /// How to reach the brokers.
    pub client: &'a KafkaClient,
    /// Consumer group whose position says which letters were dealt with.
    pub group: String,
    /// Begin at the first letter that is there, and not behind those that were dealt with.
    pub again: bool,
}

/// What was found and done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Letters that were found, by the topic that they are of and why they are letters.
    pub found: BTreeMap<(String, Reason), u64>,
    /// Of these, how many went back to their topics.
    pub sent: u64,
    /// Of these, how many were given up.
    pub given_up: u64,
    /// Every letter that was found and is of a place in its topic, by that topic.
    pub seen: BTreeSet<(String, Answers)>,
    /// The same letter, found once more.
    pub repeated: u64,
    /// Messages among the letters that are none, and letters that cannot go back, each with its place and why; the first
    /// hundred of them.
    pub left_out: Vec<String>,
    /// How many those are.
    pub left_out_count: u64,
}

impl Report {
    fn leave_out(&mut self, place: &str, why: &str) {
        self.left_out_count += 1;
        if self.left_out.len() < 100 {
            self.left_out.push(format!("{place}: {why}"));
        }
    }
}

/// Where reading a partition of letters begins and ends.
#[derive(Clone, Copy, Debug)]
struct Span {
    next: i64,
    end: i64,
}

/// Answers when the consumer asks for a token.
struct Context(Tokens);

type Consumer = BaseConsumer<Context>;

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.0.answer()
    }
}

impl ConsumerContext for Context {}

impl Replay<'_> {
    /// Deals with the letters in a topic, up to where it ends now. Blocks.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Transient`] if the brokers do not answer, [`walbrook_model::ErrorKind::Config`] if there is no such topic, and
    /// [`walbrook_model::ErrorKind::Data`] if a topic does not take a letter of its size. What was sent before stays sent.
    pub fn topic(&self, topic: &str, order: Order) -> Result<Report> {
        let tokens = Tokens::of(self.client);
        let consumer: Consumer =
            self.consumer().create_with_context(Context(tokens.clone())).map_err(|error| sender::refused(&error))?;
        tokens.log_in(consumer.client())?;
        let mut spans = self.spans(&consumer, topic)?;
        let sender = Sender::connect(self.client)?;
        let mut report = Report::default();
        let mut list = TopicPartitionList::new();
        for (partition, span) in spans.iter().filter(|(_, span)| span.next < span.end) {
            list.add_partition_offset(topic, *partition, Offset::Offset(span.next))
                .map_err(|error| away(topic, error))?;
        }
        let open = |spans: &BTreeMap<i32, Span>| spans.values().any(|span| span.next < span.end);
        if !open(&spans) {
            return Ok(report);
        }
        consumer.assign(&list).map_err(|error| away(topic, error))?;
        let (mut heard, mut taken) = (Instant::now(), 0_u64);
        while open(&spans) {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let Some(span) = spans.get_mut(&message.partition()) else { continue };
                    if message.offset() < span.end {
                        take(&sender, &message, order, &mut report)?;
                        taken += 1;
                    }
                    span.next = span.next.max(message.offset() + 1);
                }
                // What lies before the end and is no message: ends of transactions, and what was aborted.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(span) = spans.get_mut(&partition) {
                        span.next = span.next.max(span.end);
                    }
                }
                Some(Err(_)) | None if heard.elapsed() > SILENCE_MAX => {
                    return Err(Error::transient("its letters cannot be read").on(format!("topic {topic}")));
                }
                Some(Err(_)) | None => {}
            }
            if order != Order::Look && (taken >= STRETCH || !open(&spans)) {
                taken = 0;
                sender.settle()?;
                remember(&consumer, topic, &spans)?;
            }
        }
        Ok(report)
    }

    /// Deals with the letters in a folder, one by one. Blocks.
    ///
    /// # Errors
    /// As [`Replay::topic`].
    pub fn folder(&self, folder: &Folder, order: Order) -> Result<Report> {
        let mut report = Report::default();
        Tokens::of(self.client).prove()?;
        let sender = Sender::connect(self.client)?;
        for path in folder.all(self.again)? {
            let place = format!("file {}", path.display());
            let (topic, stored) = match Folder::read(&path, MESSAGE_BYTES_MAX as u64) {
                Ok(read) => read,
                Err(error) => {
                    report.leave_out(&place, error.message());
                    continue;
                }
            };
            *report.found.entry((topic, Reason::Oversize)).or_default() += 1;
            match (order, stored) {
                (Order::Look, _) => continue,
                (Order::Send, None) => {
                    report.leave_out(&place, "no broker takes a message of its size");
                    continue;
                }
                (Order::Send, Some(stored)) => {
                    send_stored(&sender, &stored)?;
                    sender.settle()?;
                }
                // Nobody waits for it: whoever reads its topic has a letter of his own.
                (Order::Discard, _) => {
                    Folder::mark_sent(&path)?;
                    report.given_up += 1;
                    continue;
                }
            }
            Folder::mark_sent(&path)?;
            report.sent += 1;
        }
        Ok(report)
    }

    /// Gives letters up, whether they are anywhere still or not: by the topic that they are of. Blocks; gives how many.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Transient`] if the brokers do not take it.
    pub fn give_up(&self, letters: &BTreeMap<String, Vec<Answers>>) -> Result<u64> {
        Tokens::of(self.client).prove()?;
        let sender = Sender::connect(self.client)?;
        let mut sent = 0;
        for (topic, letters) in letters {
            for letter in letters {
                discard(&sender, Place { topic, partition: Some(letter.partition) }, &letter.to_string())?;
                sent += 1;
            }
        }
        sender.settle()?;
        Ok(sent)
    }

    fn consumer(&self) -> ClientConfig {
        let mut config = sender::client(self.client);
        config
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "50");
        config
    }

    /// What is to be read of each partition of the topic.
    fn spans(&self, consumer: &Consumer, topic: &str) -> Result<BTreeMap<i32, Span>> {
        let metadata = consumer.fetch_metadata(Some(topic), ASK_TIMEOUT).map_err(|error| away(topic, error))?;
        let found = metadata.topics().iter().find(|found| {
            found.name() == topic
                && found.error().is_none_or(|error| !error.is_error())
                && !found.partitions().is_empty()
        });
        let Some(found) = found else {
            return Err(Error::config("there is no such topic: the pipeline has put nothing aside")
                .on(format!("topic {topic}"))
                .remedy("correct dead_letter_topic if it has another name"));
        };
        let mut asked = TopicPartitionList::new();
        for partition in found.partitions() {
            asked.add_partition(topic, partition.id());
        }
        let done = consumer.committed_offsets(asked, ASK_TIMEOUT).map_err(|error| away(topic, error))?;
        let mut spans = BTreeMap::new();
        for element in done.elements() {
            let partition = element.partition();
            let (low, end) =
                consumer.fetch_watermarks(topic, partition, ASK_TIMEOUT).map_err(|error| away(topic, error))?;
            let next = match element.offset() {
                Offset::Offset(done) if !self.again && (low..=end).contains(&done) => done,
                _ => low,
            };
            spans.insert(partition, Span { next, end });
        }
        Ok(spans)
    }
}

/// Deals with one letter.
fn take(sender: &Sender, message: &BorrowedMessage<'_>, order: Order, report: &mut Report) -> Result<()> {
    let place = format!("partition {}, offset {}", message.partition(), message.offset());
    let headers = headers_of(message);
    let letter = match Letter::of(&headers) {
        Ok(letter) => letter,
        Err(error) => {
            report.leave_out(&place, error.message());
            return Ok(());
        }
    };
    // After a crash a pipeline puts the last ones aside once more.
    if letter.answers().is_some_and(|answers| !report.seen.insert((letter.topic.clone(), answers))) {
        report.repeated += 1;
        return Ok(());
    }
    *report.found.entry((letter.topic.clone(), letter.reason)).or_default() += 1;
    let back = Place { topic: &letter.topic, partition: Some(letter.partition) };
    let answers = letter.answers().map(|answers| answers.to_string());
    let named = |headers: OwnedHeaders| match &answers {
        Some(answers) => headers.insert(Header { key: ANSWERS, value: Some(answers) }),
        None => headers,
    };
    match order {
        Order::Look => {}
        Order::Discard if letter.reason != Reason::Dependent => {
            // One that never was in its topic has a letter in its place there, which its readers discard.
            if let Some(answers) = &answers {
                discard(sender, back, answers)?;
            }
            report.given_up += 1;
        }
        Order::Send | Order::Discard if headers.contains(&None) => {
            report.leave_out(
                &place,
                "the name of a header is no text, so that nobody can read it: give it up, --discard --again",
            );
        }
        Order::Send | Order::Discard => {
            let theirs = headers.into_iter().flatten().filter(|(name, _)| !is_ours(name));
            let theirs = theirs.fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value }));
            sender.send(back, message.key(), message.payload(), named(theirs))?;
            report.sent += 1;
        }
    }
    Ok(())
}

/// Says in a letter's topic that it is given up.
fn discard(sender: &Sender, back: Place<'_>, answers: &str) -> Result<()> {
    let headers = OwnedHeaders::new().insert(Header { key: CONTROL, value: Some(DISCARDED) });
    sender.send(back, None, None, headers.insert(Header { key: ANSWERS, value: Some(answers) }))
}

fn send_stored(sender: &Sender, stored: &Stored) -> Result<()> {
    let headers = stored
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key: key.as_str(), value: Some(value) }));
    let place = Place { topic: &stored.topic, partition: Some(stored.partition) };
    sender.send(place, stored.key.as_deref(), stored.value.as_deref(), headers)
}

fn remember(consumer: &Consumer, topic: &str, spans: &BTreeMap<i32, Span>) -> Result<()> {
    let mut list = TopicPartitionList::new();
    let added = spans
        .iter()
        .try_for_each(|(partition, span)| list.add_partition_offset(topic, *partition, Offset::Offset(span.next)));
    added
        .and_then(|()| consumer.commit(&list, CommitMode::Sync))
        .map_err(|error| Error::transient("what was sent is not remembered: it will be sent again").because(error))
}

fn away(topic: &str, error: KafkaError) -> Error {
    Error::transient("the brokers do not answer").because(error).on(format!("topic {topic}"))
}
