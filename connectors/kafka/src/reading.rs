//! What is read: the topics, the records of the capture, and which of them exist.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use walbrook_envelope::PublishedCheckpoint;
use walbrook_model::{Error, Result, Seq};

use crate::client::{self, Consumer};
use crate::continuity::{self, Bounds};
use crate::events;
use crate::fetch::Wanted;
use crate::hold::InSlices;
use crate::logs::Logs;
use crate::ownership::Owned;
use crate::positions::{Positions, TopicPositions};
use crate::topic::Topic;
use crate::watermark::{Record, Watermark};
use walbrook_config::KafkaSource;

/// Everything that is read, with its positions.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) topics: Vec<Topic>,
    /// Topics of the checkpoint that are not read now: their positions stay.
    others: BTreeMap<String, TopicPositions>,
    /// Next offsets of the topic with the capture's records. Empty: it is not read.
    pub(crate) records: Vec<i64>,
    pub(crate) watermark: Watermark,
    /// The newest record that was read.
    newest: Option<Record>,
    pub(crate) logs: Logs,
    /// Tables whose reads the sink shows at the end of their slice.
    in_slices: InSlices,
    /// Names that were asked for and do not exist; told once.
    missing: Vec<String>,
    /// What the consumer group has given to us; `None`: all.
    owned: Option<Owned>,
}

impl Reading {
    /// Looks at every topic, and compares it with the positions.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Gap`] if a topic is not as the positions say,
    /// [`walbrook_model::ErrorKind::Transient`] if the brokers do not answer.
    pub(crate) fn open(
        consumer: &Consumer,
        settings: &KafkaSource,
        owned: Option<Owned>,
        in_slices: InSlices,
        from: Positions,
    ) -> Result<Self> {
        let logs = Logs::expected(settings.capture.is_some());
        let mut reading = Self { others: from.topics, owned, in_slices, logs, ..Self::default() };
        let found = client::topics(consumer)?;
        let is_there = |name: &str| found.iter().any(|(known, _)| known == name);
        // The group gives one that is gone to nobody, so it concerns all.
        if let Some(name) = reading.others.keys().find(|name| is_read(settings, name) && !is_there(name)) {
            continuity::judge(name, reading.others.get(name), None)?;
        }
        reading.look(consumer, settings, &found)?;
        reading.look_for_records(consumer, settings, &found, &from.records)?;
        Ok(reading)
    }

    /// Takes in topics that are new, and looks whether partitions were added to the others. Whether something is new.
    ///
    /// # Errors
    /// As [`Reading::open`].
    pub(crate) fn look_again(&mut self, consumer: &Consumer, settings: &KafkaSource) -> Result<bool> {
        let found = client::topics(consumer)?;
        for topic in &self.topics {
            match found.iter().find(|(name, _)| *name == topic.name) {
                Some((_, partitions)) if *partitions == topic.partitions() => {}
                Some((name, partitions)) => {
                    let bounds = client::bounds(consumer, name, *partitions)?;
                    continuity::judge(name, Some(&topic.positions()), Some(&bounds))?;
                }
                // The consumer's own error says more, and the next start looks closer.
                None => return Err(Error::transient("the topic is gone").on(format!("topic {}", topic.name))),
            }
        }
        let known = self.topics.len();
        self.look(consumer, settings, &found)?;
        for topic in &self.topics[known..] {
            events::topic_found(&topic.name, topic.partitions());
        }
        let records = self.look_for_records(consumer, settings, &found, &[])?;
        Ok(self.topics.len() > known || records)
    }

    /// Takes in the topic with the records of the capture, if it is there now.
    fn look_for_records(
        &mut self,
        consumer: &Consumer,
        settings: &KafkaSource,
        found: &[(String, usize)],
        from: &[i64],
    ) -> Result<bool> {
        let wanted = settings.capture.is_some() && self.records.is_empty();
        let Some((name, partitions)) = found.iter().find(|(name, _)| wanted && *name == settings.checkpoint_topic)
        else {
            return Ok(false);
        };
        let bounds = client::bounds(consumer, name, *partitions)?;
        let start = |(partition, bounds): (usize, &Bounds)| record_start(from.get(partition), *bounds);
        self.records = bounds.iter().enumerate().map(start).collect();
        Ok(true)
    }

    fn look(&mut self, consumer: &Consumer, settings: &KafkaSource, found: &[(String, usize)]) -> Result<()> {
        for (name, partitions) in found {
            if !self.reads(settings, name) || self.topics.iter().any(|topic| topic.name == *name) {
                continue;
            }
            let bounds = client::bounds(consumer, name, *partitions)?;
            let positions = continuity::judge(name, self.others.get(name), Some(&bounds))?;
            self.others.remove(name);
            let low = |partition: usize| bounds.get(partition).map_or(0, |bounds: &Bounds| bounds.low);
            let letters_max = settings.dead_letters.as_ref().map_or(0, |letters| letters.max);
            let topic = Topic::new(name, positions, low).with_slices(self.in_slices.clone());
            let mut topic = topic.putting_aside(letters_max);
            if settings.capture.is_none() {
                topic.merge.set_free();
            }
            if let Some(record) = &self.newest {
                topic.take_record(record);
            }
            self.topics.push(topic);
        }
        for pattern in &settings.topics {
            let there = found.iter().any(|(name, _)| name == pattern);
            if !pattern.contains('*') && !there && !self.missing.contains(pattern) {
                events::topic_missing(pattern);
                self.missing.push(pattern.clone());
            }
        }
        Ok(())
    }

    /// What is to be fetched: the partitions of every topic in their order, then those of the records.
    pub(crate) fn wanted(&self, settings: &KafkaSource) -> Vec<Wanted> {
        let wanted = |topic: &str, partition, offset| Wanted { topic: topic.to_owned(), partition, offset };
        let mut all = Vec::new();
        for topic in &self.topics {
            all.extend(
                topic.fetch_from().enumerate().map(|(partition, offset)| wanted(&topic.name, partition, offset)),
            );
        }
        let records = self.records.iter().enumerate();
        all.extend(records.map(|(partition, offset)| wanted(&settings.checkpoint_topic, partition, *offset)));
        all
    }

    /// Everything of the partition at a place of [`Reading::wanted`] was seen below `offset`.
    pub(crate) fn passed(&mut self, place: usize, offset: i64) {
        let mut partition = place;
        for topic in &mut self.topics {
            if partition < topic.partitions() {
                topic.passed(partition, offset);
                return;
            }
            partition -= topic.partitions();
        }
    }

    fn reads(&self, settings: &KafkaSource, name: &str) -> bool {
        is_read(settings, name) && self.owned.as_ref().is_none_or(|owned| owned.topics.contains(name))
    }

    /// Takes a record of the capture. Whether the watermark may move.
    pub(crate) fn take_record(&mut self, settings: &KafkaSource, message: &BorrowedMessage<'_>) -> bool {
        let Some((partition, next)) = usize::try_from(message.partition())
            .ok()
            .and_then(|partition| Some((partition, self.records.get_mut(partition)?)))
        else {
            return false;
        };
        *next = message.offset() + 1;
        let of_capture = settings.capture.as_ref().is_some_and(|name| message.key() == Some(name.as_bytes()));
        let Some(json) = message.payload().filter(|_| of_capture) else { return false };
        match PublishedCheckpoint::from_json(json) {
            Ok(published) => {
                self.logs.let_in(&published.logs);
                let topics = || published.topics.iter().filter(|(name, _)| is_read(settings, name));
                let record = Record {
                    place: (partition, message.offset()),
                    through: published.through,
                    complete_until_us: published.complete_until_us,
                    ends: topics().map(|(name, topic)| (name.clone(), topic.ends.clone())).collect(),
                    tables: topics().filter_map(|(name, topic)| Some((name.clone(), topic.table.clone()?))).collect(),
                    written: topics().filter_map(|(name, topic)| Some((name.clone(), topic.written?))).collect(),
                };
                for topic in &mut self.topics {
                    topic.take_record(&record);
                }
                self.watermark.push(record.clone());
                self.newest = Some(record);
                true
            }
            Err(error) => {
                events::record_refused(&settings.checkpoint_topic, &error);
                false
            }
        }
    }

    /// Moves the watermark to what was read. Whether it moved.
    pub(crate) fn advance(&mut self, settings: &KafkaSource) -> bool {
        let Self { topics, watermark, owned, .. } = self;
        watermark.advance(|name, partition| {
            if let Some(topic) = topics.iter().find(|topic| topic.name == name) {
                return Some(topic.next(partition));
            }
            // It exists, since it was written to, and was not seen yet.
            let ours = owned.as_ref().is_none_or(|owned| owned.awaits(name));
            (ours && is_read(settings, name)).then_some(0)
        })
    }

    /// Every change at or below it was handed over; `None` while that is not known, or a letter is open: what must stand
    /// against it is not to be forgotten. A letter that came again may be kept back for a moment.
    pub(crate) fn covered(&self) -> Option<Seq> {
        let covered = self.watermark.covered()?;
        (!self.topics.iter().any(|topic| topic.lacks_below(covered))).then_some(covered)
    }

    /// How far everything is.
    pub(crate) fn positions(&self) -> Positions {
        let mut topics = self.others.clone();
        topics.extend(self.topics.iter().map(|topic| (topic.name.clone(), topic.positions())));
        let resume = |(partition, next): (usize, &i64)| self.watermark.resume_at(partition, *next);
        Positions::new(topics, self.records.iter().enumerate().map(resume).collect())
    }

    /// Lets topics be read whose pause is over.
    pub(crate) fn try_again(&mut self, now: Instant) {
        for topic in &mut self.topics {
            topic.try_again(now);
        }
    }

    /// Whether topics may still appear.
    pub(crate) fn is_whole(&self, settings: &KafkaSource) -> bool {
        // Where a group shares them out, it looks for them.
        (self.owned.is_some() || settings.topics.iter().all(|name| self.topics.iter().any(|topic| topic.name == *name)))
            && (settings.capture.is_none() || !self.records.is_empty())
    }
}

/// Whether a topic is one of those with changes to read. A pattern may mean those of Kafka and the capture too, of which it
/// cannot have been thought.
pub(crate) fn is_read(settings: &KafkaSource, name: &str) -> bool {
    let ours = settings.dead_letters.as_ref().is_some_and(|letters| letters.topic == name);
    let of_letters = ours || name.starts_with(walbrook_config::DEAD_LETTERS);
    settings.reads(name) && !name.starts_with("__") && name != settings.checkpoint_topic && !of_letters
}

/// Where a partition of records is read from: the topic is compacted, so what is missing was replaced by newer ones.
fn record_start(known: Option<&i64>, bounds: Bounds) -> i64 {
    match known {
        Some(next) if *next <= bounds.high => (*next).max(bounds.low),
        _ => bounds.low,
    }
}
