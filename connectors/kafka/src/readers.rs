//! Messages of one topic -> changes: a reader for each pair of schemas that they name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::timeout;
use walbrook_envelope::{Decoded, Incoming, TableReader, headers, record_names, split_wire_header};
use walbrook_model::{Error, Result, Seq, TableId};

use crate::positions::SchemaIds;
use crate::schemas::Schemas;

/// Readers that are kept: a topic whose tables change their shape all day keeps the newest.
const READERS_MAX: usize = 64;
/// How long a topic may hold up the others with a question to the registry.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// How schemas are found.
#[derive(Clone)]
pub(crate) struct Lookup {
    /// `None`: the topics are JSON.
    pub(crate) schemas: Option<Arc<dyn Schemas>>,
    /// Runs the registry's calls; the reading thread waits for them.
    pub(crate) runtime: Handle,
}

impl Lookup {
    fn schemas(&self) -> Result<&Arc<dyn Schemas>> {
        self.schemas.as_ref().ok_or_else(|| {
            Error::config("its messages are Avro, and no registry is set").remedy("set source.kafka.registry.url")
        })
    }

    fn schema(&self, id: u32) -> Result<Arc<str>> {
        let schemas = self.schemas()?.clone();
        self.ask(async move { schemas.schema(id).await }).map_err(|error| about(error, || format!("schema {id}")))
    }

    /// The newest schema of a topic's keys or values. Which strategy names its subject is not known here.
    fn latest(&self, topic: &str, part: &str, record: &str) -> Result<Option<u32>> {
        let of_record = |record: String| [format!("{topic}-{record}"), record];
        let of_records = record_names(topic, record).into_iter().flat_map(of_record);
        for subject in std::iter::once(format!("{topic}-{part}")).chain(of_records) {
            let (schemas, asked) = (self.schemas()?.clone(), subject.clone());
            let found = self.ask(async move { schemas.latest(&asked).await });
            if let Some((id, _)) = found.map_err(|error| about(error, || format!("subject {subject}")))? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Waits for an answer, but not for long: the other topics wait as well. A call that takes longer goes on, and its
    /// answer is there when it is asked for again.
    fn ask<T: Send + 'static>(&self, call: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let call = self.runtime.spawn(call);
        match self.runtime.block_on(async { timeout(ANSWER_MAX, call).await }) {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(Error::transient("a call of the registry failed").because(error)),
            Err(_) => Err(Error::transient("the registry does not answer")),
        }
    }
}

/// Readers of one topic.
#[derive(Debug)]
pub(crate) struct Readers {
    topic: String,
    /// Schemas for the messages of a partition that has not named any.
    ids: SchemaIds,
    /// Whether the keys of the topic are known to be null.
    keyless: bool,
    avro: Vec<AvroReader>,
    /// The reader of the last message.
    last: usize,
    json: TableReader,
    checks_cells: bool,
    /// The table of the messages so far.
    table: Option<TableId>,
}

#[derive(Debug)]
struct AvroReader {
    key: Option<u32>,
    value: u32,
    reader: TableReader,
}

/// The first byte of Avro behind a schema's number. JSON begins otherwise.
const AVRO: u8 = 0;

impl Readers {
    /// `table`: what messages before told, for one that tells none.
    pub(crate) fn new(topic: &str, ids: SchemaIds, table: Option<TableId>) -> Self {
        let json = TableReader::json(table.clone());
        let topic = topic.to_owned();
        Self { topic, ids, keyless: false, avro: Vec::new(), last: 0, json, table, checks_cells: false }
    }

    /// Whether a message with a cell that no table can store is one that cannot be read.
    pub(crate) fn check_cells(&mut self, check: bool) {
        self.checks_cells = check;
        self.json.check_cells(check);
        self.avro.iter_mut().for_each(|found| found.reader.check_cells(check));
    }

    /// Reads a message of a partition whose messages named `ids` last.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Transient`] if a schema is not to be had now, [`walbrook_model::ErrorKind::Config`]
    /// without a registry, else of this message.
    pub(crate) fn read(
        &mut self,
        lookup: &Lookup,
        ids: &mut SchemaIds,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: &[(&str, &[u8])],
    ) -> Result<Decoded> {
        let has = |name: &str| headers.iter().any(|(known, _)| *known == name);
        if value.is_none() && !has(headers::SEQ) {
            return Ok(Decoded::Nothing);
        }
        let is_avro = match value.as_ref().or(key.as_ref()) {
            Some(bytes) => bytes.first() == Some(&AVRO),
            None => !has(headers::SHAPE),
        };
        if !is_avro {
            return self.json.read(&Incoming { key, value, headers });
        }
        let (key_id, key) = split(key)?;
        let (value_id, value) = split(value)?;
        let before = (*ids, self.ids);
        let reader = self.reader(lookup, ids, key_id, value_id);
        let read = reader.and_then(|reader| reader.read(&Incoming { key, value, headers }));
        if read.is_err() {
            // What cannot be read says nothing of those behind it.
            (*ids, self.ids) = before;
        }
        if let (Ok(Decoded::Change(change, _)), None) = (&read, key_id) {
            // Only rows tell: a truncate has no key in any topic.
            self.keyless |= change.key_row().is_some();
        }
        read
    }

    /// The reader of a pair of schemas. What a message does not name is what its partition named last, or any other, or
    /// the newest of the topic.
    fn reader(
        &mut self,
        lookup: &Lookup,
        ids: &mut SchemaIds,
        key: Option<u32>,
        value: Option<u32>,
    ) -> Result<&mut TableReader> {
        ids.key = key.or(ids.key).or(self.ids.key);
        if ids.key.is_none() && !self.keyless {
            ids.key = lookup.latest(&self.topic, "key", "Key")?;
        }
        ids.value = value.or(ids.value).or(self.ids.value);
        if ids.value.is_none() {
            ids.value = lookup.latest(&self.topic, "value", "Envelope")?;
        }
        self.ids = *ids;
        let key = ids.key;
        let value = ids.value.ok_or_else(|| {
            Error::data("a message does not name its schema, and the registry has none for the topic")
        })?;
        let is = |reader: &AvroReader| reader.key == key && reader.value == value;
        if !self.avro.get(self.last).is_some_and(is) {
            self.last = match self.avro.iter().position(is) {
                Some(place) => place,
                None => self.add(lookup, key, value)?,
            };
        }
        self.avro
            .get_mut(self.last)
            .map(|found| &mut found.reader)
            .ok_or_else(|| Error::bug("a reader without a place"))
    }

    fn add(&mut self, lookup: &Lookup, key: Option<u32>, value: u32) -> Result<usize> {
        let key_schema = key.map(|id| lookup.schema(id)).transpose()?;
        let value_schema = lookup.schema(value)?;
        let mut reader = TableReader::avro(key_schema.as_deref(), &value_schema, self.table())
            .map_err(|error| error.on(format!("schema {value}")))?;
        reader.check_cells(self.checks_cells);
        if self.avro.len() >= READERS_MAX {
            self.avro.remove(0);
        }
        self.avro.push(AvroReader { key, value, reader });
        Ok(self.avro.len() - 1)
    }

    /// The table of the newest message that told one. The topic's name is nothing to go by: whoever writes it chose it.
    pub(crate) fn table(&self) -> Option<TableId> {
        let newest = self.avro.get(self.last).map_or(&self.json, |found| &found.reader);
        newest.table().or(self.table.as_ref()).cloned()
    }
}

/// Names the object of an error that has none.
fn about(error: Error, object: impl FnOnce() -> String) -> Error {
    if error.object().is_some() { error } else { error.on(object()) }
}

/// The schema's number and what is behind it.
fn split(bytes: Option<Bytes>) -> Result<(Option<u32>, Option<Bytes>)> {
    let Some(bytes) = bytes else { return Ok((None, None)) };
    let (id, rest) = split_wire_header(&bytes)?;
    Ok((Some(id), Some(rest)))
}

/// The order token in a message's headers.
pub(crate) fn seq_of(headers: &[(&str, &[u8])]) -> Option<Seq> {
    headers.iter().find(|(name, _)| *name == headers::SEQ).and_then(|(_, bytes)| read_seq(bytes))
}

/// The order token that a header holds.
pub(crate) fn read_seq(bytes: &[u8]) -> Option<Seq> {
    std::str::from_utf8(bytes).ok()?.parse().ok().and_then(Seq::from_u128)
}
