//! Which topic is whose: each has one writer, for good.
//!
//! Two tables in one topic could not be told apart by their keys, so the second one is refused. What the names of two topics
//! must not differ by alone is Kafka's own rule: brokers take `.` and `_` for the same when they make a topic.

use std::collections::BTreeMap;
use std::fmt;

use walbrook_config::Oversize;
use walbrook_envelope::{EventKind, PublishedTopic, table_topic};
use walbrook_model::{Error, Result, TableId};

use crate::cluster::on;
use crate::settings::Settings;

/// What writes to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// Changes of a table.
    Table(TableId),
    /// Something else of ours, such as its heartbeats.
    Ours(&'static str),
}

impl Writer {
    pub(crate) const MESSAGES: Self = Self::Ours("messages of the log");
    pub(crate) const TRANSACTIONS: Self = Self::Ours("borders of transactions");
    pub(crate) const HEARTBEATS: Self = Self::Ours("heartbeats");
    pub(crate) const LETTERS: Self = Self::Ours("dead letters");
    const CHECKPOINTS: Self = Self::Ours("checkpoints");

    /// The table, if it is one.
    pub(crate) fn table(&self) -> Option<&TableId> {
        match self {
            Self::Table(table) => Some(table),
            Self::Ours(_) => None,
        }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {table}"),
            Self::Ours(what) => write!(f, "walbrook, for {what},"),
        }
    }
}

/// The writers of topics.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    /// By the name as brokers compare it, with the name itself.
    writers: BTreeMap<String, (String, Writer)>,
    prefix: String,
}

impl Claims {
    /// With the topics that are not for tables.
    pub(crate) fn new(settings: &Settings) -> Self {
        let (sink, envelope) = (&settings.sink, &settings.envelope);
        let mut claims = Self { writers: BTreeMap::new(), prefix: sink.topic_prefix.clone() };
        let letters = match &sink.oversize {
            Oversize::DeadLetter { topic } => Some(topic.clone()),
            Oversize::Stop | Oversize::SplitOff { .. } => None,
        };
        let ours = [
            (Some(sink.checkpoint_topic.clone()), Writer::CHECKPOINTS),
            (Some(EventKind::LogicalMessages.topic(envelope)), Writer::MESSAGES),
            (envelope.transactions.then(|| EventKind::Transactions.topic(envelope)), Writer::TRANSACTIONS),
            ((!sink.heartbeat_interval.is_zero()).then(|| EventKind::Heartbeats.topic(envelope)), Writer::HEARTBEATS),
            (letters, Writer::LETTERS),
        ];
        for (topic, writer) in ours {
            if let Some(topic) = topic {
                claims.writers.entry(compared(&topic)).or_insert((topic, writer));
            }
        }
        claims
    }

    /// Takes in what the checkpoint says of tables.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Gap`] if a table's topic has another name now,
    /// [`walbrook_model::ErrorKind::Config`] if something of ours is to write to it.
    pub(crate) fn resume(&mut self, known: &BTreeMap<String, PublishedTopic>, settings: &Settings) -> Result<()> {
        for (name, known) in known {
            let Some(table) = &known.table else { continue };
            check_name(name, table, settings)?;
            let claimed = self.claim(name, &Writer::Table(table.clone()));
            claimed.map_err(|error| error.with_kind(walbrook_model::ErrorKind::Config))?;
        }
        Ok(())
    }

    /// Notes that `writer` writes to a topic from now on.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if it may not.
    pub(crate) fn claim(&mut self, topic: &str, writer: &Writer) -> Result<()> {
        if writer.table().is_some() {
            self.check_allowed(topic)?;
        }
        let (name, owner) = self.writers.entry(compared(topic)).or_insert_with(|| (topic.to_owned(), writer.clone()));
        if owner == writer && name == topic {
            return Ok(());
        }
        let same = if name == topic { "it" } else { name.as_str() };
        let but = if name == topic { "" } else { ", and brokers do not let names differ by . and _ alone" };
        let what = format!("{writer} is to write to this topic, but {owner} writes to {same}{but}");
        let error = if writer.table().is_some() { Error::data(what) } else { Error::config(what) };
        Err(error.on(on(topic)).remedy(match owner {
            Writer::Table(_) => {
                "capture one of the two only, or give topics other names with sink.kafka.topic_name: {schema} in it tells schemas apart, \
                 while what Kafka does not allow in a name does not"
            }
            Writer::Ours(_) => "give one of the two another name: see topic_name, topic_prefix and checkpoint_topic in [sink.kafka]",
        }))
    }

    /// A table could have any name, also that of a topic of Kafka's own.
    fn check_allowed(&self, topic: &str) -> Result<()> {
        let of_kafka = topic.starts_with("__") && !topic.starts_with(&self.prefix);
        let what = match topic {
            "." | ".." => "no topic can have this name",
            _ if of_kafka => "names that begin with __ are those of Kafka's own topics, and merges do not read them",
            _ => return Ok(()),
        };
        Err(Error::data(what).on(on(topic)).remedy("put something before {table} in sink.kafka.topic_name"))
    }
}

/// Whether changes of a table still go to the topic that has those before them.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Gap`] if not.
pub(crate) fn check_name(topic: &str, table: &TableId, settings: &Settings) -> Result<()> {
    let now = table_topic(&settings.envelope, table);
    if now == topic {
        return Ok(());
    }
    Err(Error::gap(format!("the changes of table {table} are in this topic, and would go to {now} from now on")).on(on(topic)).remedy(
        "set sink.kafka.topic_name and topic_prefix as they were; or let all readers come to the end of the old topics, then \
         walbrook gap accept --reason \"...\" takes a snapshot into the new ones",
    ))
}

/// As brokers compare names of topics.
fn compared(topic: &str) -> String {
    topic.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use walbrook_model::ErrorKind;

    use super::*;
    use crate::testing;

    fn settings(pattern: &str) -> Settings {
        let base = testing::settings("b:9092", "p");
        let sink = walbrook_config::KafkaSink {
            topic_name: pattern.to_owned(),
            heartbeat_interval: Duration::from_secs(1),
            oversize: Oversize::DeadLetter { topic: "dead".to_owned() },
            ..base.sink.clone()
        };
        Settings::new(sink, base.pipeline.clone(), testing::info())
    }

    #[track_caller]
    fn check(pattern: &str, tables: &[(&str, &str)], refused: Option<&[&str]>) {
        let settings = settings(pattern);
        let mut claims = Claims::new(&settings);
        let mut found = None;
        for (schema, table) in tables {
            let table = TableId::new(*schema, *table);
            let topic = table_topic(&settings.envelope, &table);
            found = claims.claim(&topic, &Writer::Table(table)).err().or(found);
        }
        match (found, refused) {
            (None, None) => {}
            (Some(error), Some(words)) => {
                assert_eq!(error.kind(), ErrorKind::Data);
                let text = error.to_string();
                assert!(words.iter().all(|word| text.contains(word)), "{text}");
            }
            (found, refused) => panic!("{found:?}, expected {refused:?}"),
        }
    }

    #[test]
    fn a_topic_has_one_writer() {
        let two = [("shop", "orders"), ("archive", "orders")];
        check("{prefix}.{schema}.{table}", &two, None);
        check("{table}", &[two[0], two[0]], None);
        check("{table}", &two, Some(&["topic orders", "table shop.orders", "table archive.orders"]));
        check("{table}", &[("s", "a b"), ("s", "a_b")], Some(&["topic a_b", "table s.a b", "table s.a_b"]));
        check("{schema}.{table}", &[("a", "b.c"), ("a.b", "c")], Some(&["topic a.b.c", "a.b.c"]));
        // Brokers refuse to make the second.
        check("{table}", &[("s", "a.b"), ("s", "a_b")], Some(&["topic a_b", "writes to a.b", "differ by . and _"]));
    }

    #[test]
    fn topics_of_our_own_are_not_for_tables() {
        check("{prefix}.{table}", &[("s", "message")], Some(&["topic p.message", "messages of the log"]));
        check("{prefix}.{table}", &[("s", "checkpoints")], Some(&["topic p.checkpoints", "for checkpoints"]));
        check("{table}", &[("s", "dead")], Some(&["topic dead", "dead letters"]));
        check("{table}", &[("s", "__debezium-heartbeat.p")], Some(&["begin with __"]));
        check("{table}", &[("s", "__consumer_offsets")], Some(&["topic __consumer_offsets", "Kafka's own"]));
        check("{table}", &[("s", "..")], Some(&["no topic can have this name"]));
        // Nothing is written there.
        check("{prefix}.{table}", &[("s", "transaction")], None);
    }

    #[test]
    fn a_table_keeps_its_topic() {
        let known = |table: &str| {
            let table = Some(TableId::new("s", table));
            BTreeMap::from([("p.s.t".to_owned(), PublishedTopic { table, ..PublishedTopic::default() })])
        };
        let resume = |pattern: &str, known: &BTreeMap<String, PublishedTopic>| {
            let settings = settings(pattern);
            let mut claims = Claims::new(&settings);
            claims.resume(known, &settings).map(|()| claims)
        };
        let mut claims = resume("{prefix}.{schema}.{table}", &known("t")).unwrap();
        assert!(claims.claim("p.s.t", &Writer::Table(TableId::new("s", "t"))).is_ok());
        assert!(claims.claim("p.s.t", &Writer::Table(TableId::new("p.s", "t"))).is_err(), "also after a restart");
        let error = resume("cdc-{table}", &known("t")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gap);
        let text = error.to_string();
        assert!(["topic p.s.t", "table s.t", "cdc-t", "topic_name"].iter().all(|word| text.contains(word)), "{text}");
        let reserved = BTreeMap::from([("dead".to_owned(), known("dead").remove("p.s.t").unwrap())]);
        assert_eq!(resume("{table}", &reserved).unwrap_err().kind(), ErrorKind::Config);
    }
}
