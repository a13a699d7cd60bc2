//! What is compared: a lake, the database that its rows come from, and the capture between them if there is one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use walbrook_config::{KafkaSource as TopicsSettings, MessageFormat, Postgres, SinkConfig};
use walbrook_envelope::{PublishedCheckpoint, PublishedTopic};
use walbrook_model::{Checkpoint, Error, Result, Sink as _, TableSchema};
use walbrook_sink_kafka::KafkaSink;
use walbrook_source_postgres::checkpoint_position;

use crate::ends::{LakeEnd, OpenSink, SourceEnd};
use crate::run::{LOOK, Pipeline};
use crate::verify::mirror::Mirror;

/// Between two looks at the record of a capture: each reads a piece of its topic.
const LOOK_AT_RECORD: Duration = Duration::from_millis(500);

/// A lake, and where its rows come from.
pub(crate) struct Pair<'a> {
    pub(super) lake: &'a LakeEnd,
    pub(super) postgres: &'a Postgres,
    /// `None`: the lake's own pipeline reads the database.
    through: Option<Through<'a>>,
}

/// The topics between.
struct Through<'a> {
    capture: KafkaSink,
    topics: &'a TopicsSettings,
    is_avro: bool,
}

/// How the rows of a table come to the lake.
pub(super) enum Way {
    Direct,
    Messages(Box<Mirror>),
    /// Its topic is not read.
    None,
}

/// Until when to wait.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    wait: Duration,
    end: Instant,
}

impl<'a> Pair<'a> {
    /// Of a pipeline into a lake and, if that reads topics, of the one that writes them.
    ///
    /// # Errors
    /// Of kind config, if these cannot be compared.
    pub(crate) fn new(pipeline: &'a Pipeline, capture: Option<&'a Pipeline>) -> Result<Self> {
        let lake = pipeline.lake()?;
        match (&pipeline.source, capture) {
            (SourceEnd::Postgres(postgres), None) => Ok(Self { lake, postgres, through: None }),
            (SourceEnd::Postgres(_), Some(_)) => Err(Error::config("this pipeline reads the database itself")
                .on("--capture")
                .remedy("leave --capture out, or verify the pipeline that merges the topics")),
            (SourceEnd::Topics(_), None) => {
                Err(Error::config("the rows come from topics, and nothing says which pipeline writes them")
                    .on("[source.kafka]")
                    .remedy("walbrook verify MERGE --capture CAPTURE, both the files of their pipelines"))
            }
            (SourceEnd::Topics(topics), Some(capture)) => {
                let through = Through::new(&topics.settings, capture)?;
                Ok(Self { lake, postgres: capture.source.postgres()?, through: Some(through) })
            }
        }
    }

    /// Waits until the lake holds everything that committed before a position of the source.
    ///
    /// # Errors
    /// If that takes too long, or the lake or the topics have something wrong.
    pub(super) async fn until_covered(&self, position: u64, deadline: Deadline) -> Result<()> {
        // This looks at all tables, and says what is wrong with them: once is enough.
        let mut lake = begun(self.lake.sink().last_checkpoint().await?)?;
        let published = match &self.through {
            Some(through) => Some(through.until_published(position, deadline).await?),
            None => None,
        };
        loop {
            let behind = match (&self.through, &published) {
                (Some(through), Some(published)) => {
                    walbrook_source_kafka::not_covered(through.topics, &lake, published)?
                        .map(|name| format!("topic {name}"))
                }
                _ => (checkpoint_position(&lake)? < position).then(|| "lake".to_owned()),
            };
            let Some(behind) = behind else { return Ok(()) };
            deadline.check("the lake is not at the source's position", behind, "walbrook run")?;
            tokio::time::sleep(LOOK).await;
            lake = begun(self.lake.sink().recorded_checkpoint().await?)?;
        }
    }

    /// Messages that the lake lacks since they were put aside, by topic.
    ///
    /// # Errors
    /// If the lake cannot be read.
    pub(super) async fn open_letters(&self) -> Result<BTreeMap<String, usize>> {
        if self.through.is_none() {
            return Ok(BTreeMap::new());
        }
        let lake = begun(self.lake.sink().recorded_checkpoint().await?)?;
        let open = walbrook_source_kafka::open_letters(&lake)?;
        Ok(open.into_iter().map(|(topic, letters)| (topic, letters.len())).filter(|(_, count)| *count > 0).collect())
    }

    /// How rows of this table come to the lake.
    ///
    /// # Errors
    /// Of kind config, if the table has no form in messages.
    pub(super) fn way(&self, schema: &Arc<TableSchema>) -> Result<Way> {
        let Some(through) = &self.through else { return Ok(Way::Direct) };
        let envelope = through.capture.envelope(schema)?;
        if !through.topics.reads(envelope.topic()) {
            return Ok(Way::None);
        }
        Mirror::new(envelope, through.is_avro).map(|mirror| Way::Messages(Box::new(mirror)))
    }
}

impl<'a> Through<'a> {
    fn new(topics: &'a TopicsSettings, capture: &'a Pipeline) -> Result<Self> {
        let (OpenSink::Kafka(sink), SinkConfig::Kafka(settings)) = (capture.sink.open(), &capture.config.sink) else {
            return Err(Error::config("the pipeline of this file writes no topics")
                .on("--capture")
                .remedy("name the file of the pipeline that writes the topics which are merged"));
        };
        let (given, name) = (&capture.config.pipeline.name, topics.capture.as_ref());
        if let Some(name) = name.filter(|name| *name != given) {
            return Err(Error::config(format!("the topics are written by pipeline {name}, this is {given}"))
                .on("--capture")
                .remedy("name the file of that pipeline, or correct source.kafka.capture"));
        }
        Ok(Self { capture: sink, topics, is_avro: settings.messages.format == MessageFormat::Avro })
    }

    /// Waits until everything that committed before the position is in the topics; gives how far they reach then.
    async fn until_published(&self, position: u64, deadline: Deadline) -> Result<BTreeMap<String, PublishedTopic>> {
        loop {
            let record = self.capture.published().await?.unwrap_or_else(PublishedCheckpoint::empty);
            let reached = record.checkpoint().as_ref().map(checkpoint_position).transpose()?;
            if reached.is_some_and(|reached| reached >= position) {
                return Ok(record.topics);
            }
            let (what, object) = match record.stopped.first_key_value() {
                Some((table, _)) => ("the capture waits for a table that has stopped", format!("table {table}")),
                None => ("the capture is not at the source's position", "capture".to_owned()),
            };
            deadline.check(what, object, "walbrook run, of the capture")?;
            tokio::time::sleep(LOOK_AT_RECORD).await;
        }
    }
}

fn begun(checkpoint: Option<Checkpoint>) -> Result<Checkpoint> {
    checkpoint.ok_or_else(|| {
        Error::config("this pipeline has not written to the lake yet").on("lake").remedy("walbrook run FILE")
    })
}

impl Deadline {
    pub(super) fn after(wait: Duration) -> Self {
        Self { wait, end: Instant::now() + wait }
    }

    fn check(&self, what: &str, object: String, command: &str) -> Result<()> {
        if Instant::now() <= self.end {
            return Ok(());
        }
        Err(Error::transient(format!("{what} after {} s", self.wait.as_secs()))
            .on(object)
            .remedy(format!("let `{command}` catch up, or raise --wait")))
    }
}
