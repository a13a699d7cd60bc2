//! One change, or one message of the log, on its way into its topic.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use walbrook_envelope::{
    Compat, Context, LogicalMessage as Envelope, MESSAGES, Message, Messages, TableEnvelope, TransactionBlock,
};
use walbrook_model::{Change, Error, ErrorKind, Lineage, LogicalMessage, Op, Result};

use super::oversize::Diverted;
use super::{Run, Setup, Stop};
use crate::borders::Event;
use crate::claims::Writer;
use crate::events;
use crate::partitioner;
use crate::producer::size;
use crate::schemas::Version;
use crate::topics::Topic;

/// Where the messages of a change go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the key; without one, to this partition.
    Keyed(u32),
    /// To every partition, each of which may be read alone.
    Everywhere,
}

impl Setup {
    /// Produces the messages of a change, or parks it if its table has stopped.
    pub(super) async fn produce_change(
        &self,
        run: &mut Run,
        place: usize,
        change: &Change,
        lineage: Option<&Lineage>,
    ) -> Result<()> {
        let Some(entry) = run.tables.get_mut(place) else { return Err(Error::bug("a table without a place")) };
        entry.taken.changes += 1;
        let bytes = change.bytes() as u64;
        if let Some(stop) = &mut entry.stopped {
            stop.parked_bytes += bytes;
            events::parked(&self.status, &entry.label, bytes);
            return Ok(());
        }
        let produced = match self.version(run, place, change).await {
            Ok((topic, version)) => self.produce(run, place, change, lineage, &topic, &version).await,
            Err(fault) => Err(fault),
        };
        match produced {
            Ok(()) => {
                if change.op == Op::SnapshotEnd
                    && let Some(entry) = run.tables.get(place)
                {
                    events::read(&self.status, &entry.label);
                }
                Ok(())
            }
            Err(Fault::All(error)) => Err(error),
            Err(Fault::Table(error)) => {
                let Some(entry) = run.tables.get_mut(place) else { return Err(error) };
                entry.stop(Stop::new(&error, change.seq, bytes), error, &self.status)
            }
        }
    }

    /// Topic and version of a change's table, ready.
    async fn version(&self, run: &mut Run, place: usize, change: &Change) -> Result<(Arc<Topic>, Arc<Version>), Fault> {
        let Some(entry) = run.tables.get_mut(place) else {
            return Err(Fault::All(Error::bug("a table without a place")));
        };
        if let (Some(topic), Some(version)) = (&entry.topic, entry.versions.get(&change.schema)) {
            return Ok((topic.clone(), version));
        }
        let envelope = TableEnvelope::new(&self.settings.envelope, &self.settings.info, &change.schema);
        let envelope = envelope.map_err(Fault::Table)?;
        // Else the schema of a table that is refused would lie under the name of another's.
        let writer = Writer::Table(change.schema.table.clone());
        run.topics.claim(envelope.topic(), &writer).map_err(Fault::of)?;
        let version = run.schemas.version(envelope).await;
        self.status.set_registry(run.schemas.status());
        let version = Arc::new(version.map_err(Fault::of)?);
        let topic = if let Some(topic) = &entry.topic {
            topic.clone()
        } else {
            let (name, partitions) = (version.envelope.topic(), self.settings.sink.topics.partitions);
            let opened = run.topics.open(name, &writer, partitions, &self.settings, &run.producer).await;
            opened.map_err(Fault::of)?
        };
        events::ready(&self.status, &entry.label, &topic, &version);
        entry.topic = Some(topic.clone());
        entry.versions.put(change.schema.clone(), version.clone());
        Ok((topic, version))
    }

    async fn produce(
        &self,
        run: &mut Run,
        place: usize,
        change: &Change,
        lineage: Option<&Lineage>,
        topic: &Topic,
        version: &Version,
    ) -> Result<(), Fault> {
        let mut messages = std::mem::take(&mut run.messages);
        let encoded = self.encode(run, change, lineage, topic, version, &mut messages).await;
        let sent = match encoded {
            Ok(()) => {
                let way = self.way(run, change, topic);
                self.send(run, place, topic, way, &messages).await.map_err(Fault::All)
            }
            Err(fault) => Err(fault),
        };
        run.messages = messages;
        sent
    }

    /// The messages of a change, after the borders of transactions that lie before it are produced.
    async fn encode(
        &self,
        run: &mut Run,
        change: &Change,
        lineage: Option<&Lineage>,
        topic: &Topic,
        version: &Version,
        messages: &mut Messages,
    ) -> Result<(), Fault> {
        let label = if self.settings.envelope.transactions { change.schema.table.to_string() } else { String::new() };
        let event = Event {
            table: &label,
            origin: &change.origin,
            committed_at_us: change.committed_at_us,
            commit: Some(change.seq.position()),
        };
        let of_transaction = self.enter_transaction(run, &event).await.map_err(Fault::All)?;
        messages.clear();
        let transaction =
            if of_transaction { run.borders.as_mut().and_then(|borders| borders.block(&event)) } else { None };
        let context =
            Context { ids: version.ids, lineage, transaction, processed_at_ns: now_ns(), partitions: topic.partitions };
        version.envelope.encode(change, &context, messages).map_err(Fault::Table)?;
        for message in messages.iter() {
            if let Err(error) = self.check_size(&message, topic) {
                self.prepare_diversion(run, &message, error).await.map_err(Fault::of)?;
            }
        }
        if of_transaction && let Some(borders) = &mut run.borders {
            borders.count(&event);
        }
        Ok(())
    }

    fn check_size(&self, message: &Message<'_>, topic: &Topic) -> Result<()> {
        let (bytes, max) = (size(message) as u64, self.settings.sink.message_bytes_max);
        if bytes <= max {
            return Ok(());
        }
        Err(Error::data(format!("a message of {bytes} bytes is larger than sink.kafka.message_bytes_max, {max}"))
            .on(crate::cluster::on(&topic.name))
            .remedy(format!(
                "raise message_bytes_max, and max.message.bytes of the topic above it; or set oversize; or leave the large column out with \
                 source.postgres.tables.exclude_columns: then start walbrook again before pipeline.parked_bytes of changes \
                 have come for the table ({} now)",
                self.settings.pipeline.parked_bytes
            )))
    }

    async fn send(&self, run: &mut Run, place: usize, topic: &Topic, way: Way, messages: &Messages) -> Result<()> {
        run.progress.enter()?;
        let (mut count, mut bytes, mut oversize) = (0, 0, 0);
        for (number, message) in messages.iter().enumerate() {
            let partitions = match (way, message.key) {
                (Way::Everywhere, _) => 0..topic.partitions,
                (Way::Keyed(_), Some(key)) => one(partitioner::of_key(key, topic.partitions)),
                (Way::Keyed(partition), None) => one(partition),
            };
            let too_large = size(&message) as u64 > self.settings.sink.message_bytes_max;
            for partition in partitions {
                count += 1;
                if too_large {
                    bytes += self.divert(run, Diverted { topic, partition, number }, &message).await?;
                    oversize += 1;
                    continue;
                }
                run.producer.send(topic.target(partition), &message).await?;
                bytes += size(&message) as u64;
            }
        }
        if let Some(entry) = run.tables.get_mut(place) {
            entry.taken.messages += count;
            entry.taken.bytes += bytes;
            entry.taken.oversize += oversize;
        }
        Ok(())
    }

    /// A slice's end concerns every partition; so does a truncate, whose order among the rows of a partition only a message
    /// in that partition can tell. Debezium sends one truncate.
    fn way(&self, run: &mut Run, change: &Change, topic: &Topic) -> Way {
        match change.op {
            Op::SnapshotEnd => Way::Everywhere,
            Op::Truncate if self.settings.envelope.compat == Compat::Native => Way::Everywhere,
            Op::Truncate => Way::Keyed(0),
            _ if change.schema.key.is_empty() => {
                run.reads = run.reads.wrapping_add(1);
                Way::Keyed(partitioner::of_change(change, run.reads, topic.partitions))
            }
            _ => Way::Keyed(0),
        }
    }

    /// Produces a message of the log.
    pub(super) async fn produce_message(&self, run: &mut Run, message: &LogicalMessage) -> Result<()> {
        self.log_messages(run).await?;
        let event =
            Event { table: MESSAGES, origin: &message.origin, committed_at_us: message.committed_at_us, commit: None };
        let of_transaction = self.enter_transaction(run, &event).await?;
        let mut messages = std::mem::take(&mut run.messages);
        messages.clear();
        let Some((events, topic)) = &run.log_messages else { return Err(Error::bug("no topic of messages")) };
        let block = if of_transaction { run.borders.as_mut().and_then(|borders| borders.block(&event)) } else { None };
        events.envelope.encode_message(&envelope(message, block), events.ids, &mut messages)?;
        let topic = topic.clone();
        for message in messages.iter() {
            // There is no table that could stop without it.
            self.check_size(&message, &topic).map_err(|error| error.with_kind(ErrorKind::Config))?;
        }
        if of_transaction && let Some(borders) = &mut run.borders {
            borders.count(&event);
        }
        run.progress.enter()?;
        for message in messages.iter() {
            let partition = partitioner::of_key(message.key.unwrap_or_default(), topic.partitions);
            run.producer.send(topic.target(partition), &message).await?;
        }
        run.messages = messages;
        Ok(())
    }

    /// Produces the borders that lie before an event; whether it is of a transaction.
    async fn enter_transaction(&self, run: &mut Run, event: &Event<'_>) -> Result<bool> {
        if !self.settings.envelope.transactions {
            return Ok(false);
        }
        self.borders(run).await?;
        self.border(run, |borders, out| borders.enter(event, out)).await
    }

    /// The log is between two transactions: produces the end of the one that is open.
    pub(super) async fn end_transaction(&self, run: &mut Run) -> Result<()> {
        if run.borders.is_none() {
            return Ok(());
        }
        self.border(run, crate::borders::Borders::end).await
    }

    async fn border<T>(
        &self,
        run: &mut Run,
        append: impl FnOnce(&mut crate::borders::Borders, &mut Messages) -> Result<T>,
    ) -> Result<T> {
        let mut messages = std::mem::take(&mut run.messages);
        messages.clear();
        let Some(borders) = &mut run.borders else { return Err(Error::bug("no transaction topic")) };
        let result = append(borders, &mut messages)?;
        if !messages.is_empty() {
            run.progress.enter()?;
        }
        for message in messages.iter() {
            run.producer.send(borders.topic.target(0), &message).await?;
        }
        run.messages = messages;
        Ok(result)
    }
}

/// Whom an error concerns.
enum Fault {
    /// The table, unless its kind says otherwise.
    Table(Error),
    /// The whole run.
    All(Error),
}

impl Fault {
    /// A cluster or a registry that refuses one table says so; all else that is wrong with them would stop every table.
    fn of(error: Error) -> Self {
        if error.kind() == ErrorKind::Data { Self::Table(error) } else { Self::All(error) }
    }
}

fn one(partition: u32) -> std::ops::Range<u32> {
    partition..partition + 1
}

fn envelope<'a>(message: &'a LogicalMessage, transaction: Option<TransactionBlock<'a>>) -> Envelope<'a> {
    Envelope {
        prefix: &message.prefix,
        content: &message.content,
        committed_at_us: message.committed_at_us,
        origin: &message.origin,
        transaction,
        processed_at_ms: now_ms(),
    }
}

/// The clock, nanoseconds since 1970 UTC.
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The clock, milliseconds since 1970 UTC.
pub(super) fn now_ms() -> i64 {
    now_ns().div_euclid(1_000_000)
}
