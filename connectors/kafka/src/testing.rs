//! Topics of a real broker for tests, and messages in them as the sink writes them.
//!
//! The broker is taken from `WALBROOK_TEST_KAFKA` (`host:port`): a throw-away one with transactions, that makes no topics by
//! itself. Without it the tests say that they were skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use walbrook_config::{KafkaClient, KafkaSource as Settings};
use walbrook_envelope::{
    Context, Format, Messages, PublishedCheckpoint, PublishedTopic, SchemaIds, Settings as Shape, SourceInfo,
    TableEnvelope,
};
use walbrook_model::{
    Batch, Cell, Change, Checkpoint, Column, ColumnFacts, ColumnType, Error, Lineage, Op, Result, Row, RowBuilder, Seq,
    Source as _, TableId, TableSchema, Value,
};

use crate::schemas::Schemas;
use crate::source::KafkaSource;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A name that [`World::send_spoilt`] writes as something else.
pub(crate) const SPOILT: &str = "spoilt";

/// The address of the broker; `None` says that the test is skipped.
pub(crate) fn broker(test: &str) -> Option<String> {
    let address = std::env::var("WALBROOK_TEST_KAFKA").ok();
    if address.is_none() {
        println!("{test}: skipped, WALBROOK_TEST_KAFKA is not set");
    }
    address
}

/// A registry in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) down: AtomicBool,
    pub(crate) calls: AtomicU32,
    /// By number, with their subject.
    all: Mutex<BTreeMap<u32, (String, Arc<str>)>>,
}

impl Memory {
    pub(crate) fn register(&self, subject: &str, schema: &str) -> u32 {
        let mut all = self.all.lock().unwrap();
        if let Some((id, _)) = all.iter().find(|(_, (known, text))| known == subject && **text == *schema) {
            return *id;
        }
        let id = u32::try_from(all.len()).unwrap() + 1;
        all.insert(id, (subject.to_owned(), schema.into()));
        id
    }

    /// Loses the schemas of subjects with this word.
    pub(crate) fn forget(&self, word: &str) -> BTreeMap<u32, (String, Arc<str>)> {
        let mut all = self.all.lock().unwrap();
        let (lost, kept) = std::mem::take(&mut *all).into_iter().partition(|(_, (subject, _))| subject.contains(word));
        *all = kept;
        lost
    }

    pub(crate) fn remember(&self, schemas: BTreeMap<u32, (String, Arc<str>)>) {
        self.all.lock().unwrap().extend(schemas);
    }

    /// Says something else of every value's schema from now on.
    pub(crate) fn edit_values(&self, from: &str, to: &str) {
        for (subject, text) in self.all.lock().unwrap().values_mut().filter(|(subject, _)| subject.ends_with("-value"))
        {
            let edited = text.replace(from, to);
            assert_ne!(edited, **text, "{subject}");
            *text = edited.into();
        }
    }

    fn answer<T>(&self, answer: impl FnOnce(&BTreeMap<u32, (String, Arc<str>)>) -> Result<T>) -> Result<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.down.load(Ordering::Relaxed) {
            return Err(Error::transient("the registry is down"));
        }
        answer(&self.all.lock().unwrap())
    }
}

#[async_trait]
impl Schemas for Memory {
    async fn schema(&self, id: u32) -> Result<Arc<str>> {
        self.answer(|all| all.get(&id).map(|(_, text)| text.clone()).ok_or_else(|| Error::data("no such schema")))
    }

    async fn latest(&self, subject: &str) -> Result<Option<(u32, Arc<str>)>> {
        self.answer(|all| {
            Ok(all.iter().rev().find(|(_, (known, _))| known == subject).map(|(id, (_, text))| (*id, text.clone())))
        })
    }
}

/// Settings to read these topics.
pub(crate) fn settings(address: &str, prefix: &str, topics: &[&str]) -> Settings {
    Settings {
        client: KafkaClient { brokers: vec![address.to_owned()], tls: None, sasl: None, librdkafka: BTreeMap::new() },
        registry: None,
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        group: prefix.to_owned(),
        capture: None,
        checkpoint_topic: format!("{prefix}.checkpoints"),
        buffer_bytes: 32_000_000,
        dead_letters: None,
    }
}

/// One test's topics.
pub(crate) struct World {
    pub(crate) prefix: String,
    pub(crate) address: String,
    admin: AdminClient<DefaultClientContext>,
    producer: BaseProducer,
    pub(crate) registry: Arc<Memory>,
    /// A real one.
    pub(crate) real: Option<walbrook_registry::Registry>,
}

/// A table and its envelope.
pub(crate) struct Table {
    envelope: TableEnvelope,
    schema: Arc<TableSchema>,
    ids: SchemaIds,
    pub(crate) topic: String,
    pub(crate) log: &'static str,
}

impl World {
    pub(crate) fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let address = broker(test)?;
        let prefix = format!("src-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &address);
        Some(Self {
            admin: config.create().unwrap(),
            producer: producer(&address, None),
            registry: Arc::default(),
            real: None,
            prefix,
            address,
        })
    }

    pub(crate) fn settings(&self, topics: &[&str]) -> Settings {
        settings(&self.address, &self.prefix, topics)
    }

    pub(crate) fn source(&self, topics: &[&str]) -> KafkaSource {
        KafkaSource::with_schemas(self.settings(topics), Some(self.registry.clone()))
    }

    /// Settings to read these topics in order, as the records of their capture allow.
    pub(crate) fn with_records(&self, topics: &[&str]) -> Settings {
        Settings { capture: Some(self.prefix.clone()), ..self.settings(topics) }
    }

    pub(crate) fn following(&self, topics: &[&str]) -> KafkaSource {
        KafkaSource::with_schemas(self.with_records(topics), Some(self.registry.clone()))
    }

    pub(crate) fn table(&self, name: &str, format: Format) -> Table {
        self.shaped(name, Shape::native(&self.prefix, format))
    }

    /// A table whose topic is named by a pattern.
    pub(crate) fn named(&self, name: &str, pattern: &str, shape: Shape) -> Table {
        self.shaped(name, Shape { topic_name: pattern.to_owned(), ..shape })
    }

    fn shaped(&self, name: &str, shape: Shape) -> Table {
        let schema = schema(name);
        let shape = Arc::new(shape);
        let info = SourceInfo {
            version: "1".to_owned(),
            connector: "postgresql".to_owned(),
            database: "db".to_owned(),
            task: "0".to_owned(),
            run: "r".to_owned(),
        };
        let envelope = TableEnvelope::new(&shape, &Arc::new(info), &schema).unwrap();
        let topic = envelope.topic().to_owned();
        let register = |part: &str, schema: &str| self.registry.register(&format!("{topic}-{part}"), schema);
        let key = envelope.key_schema().map_or(0, |schema| register("key", schema));
        let ids = SchemaIds { key, value: register("value", envelope.value_schema()) };
        Table { envelope, schema, ids, topic, log: "log" }
    }

    /// An Avro table whose schemas the real registry has.
    pub(crate) async fn registered(&self, name: &str) -> Table {
        let mut table = self.table(name, Format::Avro);
        let registry = self.real.as_ref().unwrap();
        let subject = |part: &str| format!("{}-{part}", table.topic);
        let key = registry.register(&subject("key"), table.envelope.key_schema().unwrap()).await.unwrap();
        let value = registry.register(&subject("value"), table.envelope.value_schema()).await.unwrap();
        table.ids = SchemaIds { key, value };
        table
    }

    pub(crate) async fn create(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for result in self.admin.create_topics([&new], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
        wait_for("the topic", || self.partitions(topic) == usize::try_from(partitions).unwrap());
    }

    pub(crate) async fn delete(&self, topic: &str) {
        for result in self.admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
        wait_for("the end of the topic", || self.partitions(topic) == 0);
    }

    pub(crate) async fn add_partitions(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        for result in self.admin.create_partitions([&new], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
        wait_for("the partitions", || self.partitions(topic) == partitions);
    }

    /// Removes what lies before the offset, as retention does.
    pub(crate) async fn remove_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        self.admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    fn partitions(&self, topic: &str) -> usize {
        let metadata = self.producer.client().fetch_metadata(Some(topic), PATIENCE).unwrap();
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        found.map_or(0, |found| found.partitions().len())
    }

    /// Sends the messages of a change; the end of a slice to all partitions.
    pub(crate) fn send(&self, table: &Table, change: &Change, partition: i32, partitions: u32) {
        Self::send_by(&self.producer, table, change, partition, partitions);
    }

    /// The same, with bytes that are no UTF-8 in the place of [`SPOILT`].
    pub(crate) fn send_spoilt(&self, table: &Table, change: &Change, partition: i32, partitions: u32) {
        let spoil = |value: &[u8]| {
            let mut value = value.to_vec();
            let place = value.windows(SPOILT.len()).rposition(|found| found == SPOILT.as_bytes()).unwrap();
            value[place..place + SPOILT.len()].fill(0xFF);
            value
        };
        Self::send_edited(&self.producer, table, change, (partition, partitions), spoil);
    }

    pub(crate) fn send_by(producer: &BaseProducer, table: &Table, change: &Change, partition: i32, partitions: u32) {
        Self::send_edited(producer, table, change, (partition, partitions), <[u8]>::to_vec);
    }

    fn send_edited(
        producer: &BaseProducer,
        table: &Table,
        change: &Change,
        (partition, partitions): (i32, u32),
        edit: impl Fn(&[u8]) -> Vec<u8>,
    ) {
        let lineage = Lineage::new(table.log);
        let context = Context { ids: table.ids, lineage: Some(&lineage), partitions, ..Context::default() };
        let mut messages = Messages::default();
        table.envelope.encode(change, &context, &mut messages).unwrap();
        for message in messages.iter() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in message.headers() {
                headers = headers.insert(Header { key, value: Some(value) });
            }
            let value = message.value.map(&edit);
            send_raw(producer, &table.topic, partition, message.key, value.as_deref(), headers);
        }
    }

    /// Sends bytes.
    pub(crate) fn send_bytes(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        send_raw(&self.producer, topic, partition, key, value, OwnedHeaders::new());
    }

    /// Sends bytes with headers.
    pub(crate) fn send_with(
        &self,
        (topic, partition): (&str, i32),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) {
        let add = |all: OwnedHeaders, (key, value): &(&str, &[u8])| all.insert(Header { key, value: Some(*value) });
        let headers = headers.iter().fold(OwnedHeaders::new(), add);
        send_raw(&self.producer, topic, partition, key, value, headers);
    }

    /// The messages of a topic with one partition, whole.
    pub(crate) fn messages(&self, topic: &str) -> Vec<OwnedMessage> {
        let end = self.end(topic, 0);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("group.id", "walbrook-tests");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let (mut found, begun) = (Vec::new(), Instant::now());
        while i64::try_from(found.len()).unwrap() < end {
            assert!(begun.elapsed() < PATIENCE, "{topic} is not read");
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                found.push(message.detach());
            }
        }
        found
    }

    pub(crate) fn flush(&self) {
        self.producer.flush(PATIENCE).unwrap();
    }

    pub(crate) fn end(&self, topic: &str, partition: i32) -> i64 {
        self.producer.client().fetch_watermarks(topic, partition, PATIENCE).unwrap().1
    }

    /// Writes the record of a capture that has written everything up to now.
    pub(crate) fn record(&self, through: Seq, topics: &[&Table]) {
        self.record_ahead(through, None, topics);
    }

    /// The same, with topics that are `written` further: a table of another has stopped.
    pub(crate) fn record_ahead(&self, through: Seq, written: Option<Seq>, topics: &[&Table]) {
        self.flush();
        let mut record = PublishedCheckpoint::empty();
        record.through = through;
        for table in topics {
            record.logs.insert(table.log.to_owned(), [0].into());
        }
        record.complete_until_us = Some(i64::try_from(through.position()).unwrap());
        for table in topics {
            let partitions = u32::try_from(self.partitions(&table.topic)).unwrap();
            let ends = (0..i32::try_from(partitions).unwrap()).map(|n| self.end(&table.topic, n)).collect();
            let id = Some(table.schema.table.clone());
            record.topics.insert(table.topic.clone(), PublishedTopic { partitions, ends, table: id, written });
        }
        let topic = format!("{}.checkpoints", self.prefix);
        self.send_bytes(&topic, 0, Some(b"another"), Some(b"{}"));
        self.send_bytes(&topic, 0, Some(self.prefix.as_bytes()), Some(&record.to_json().unwrap()));
        self.flush();
    }

    pub(crate) fn transactional(&self, id: &str) -> BaseProducer {
        let producer = producer(&self.address, Some(&format!("{}-{id}", self.prefix)));
        producer.init_transactions(PATIENCE).unwrap();
        producer
    }
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn producer(address: &str, transactional: Option<&str>) -> BaseProducer {
    let mut config = ClientConfig::new();
    // As the sink: what is tried again keeps its order.
    config.set("bootstrap.servers", address).set("linger.ms", "1").set("enable.idempotence", "true");
    if let Some(id) = transactional {
        config.set("transactional.id", id);
    }
    config.create_with_context(DefaultProducerContext).unwrap()
}

fn send_raw(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: OwnedHeaders,
) {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).headers(headers);
    record.key = key;
    record.payload = value;
    while let Err((error, back)) = producer.send(record) {
        assert!(error.to_string().contains("Queue full"), "{error}");
        producer.poll(Duration::from_millis(10));
        record = back;
    }
    producer.poll(Duration::ZERO);
}

fn schema(name: &str) -> Arc<TableSchema> {
    let column = |name: &str, ty: ColumnType, source_type: &str| Column {
        name: name.to_owned(),
        nullable: name != "id",
        source_type: source_type.to_owned(),
        initial_default: None,
        facts: Arc::new(ColumnFacts::default()),
        decoder: decode,
        ty,
    };
    let columns = vec![column("id", ColumnType::Int32, "integer"), column("name", ColumnType::Text, "text")];
    Arc::new(TableSchema { table: TableId::new("public", name), columns, key: vec![0] })
}

#[allow(clippy::unnecessary_wraps, reason = "the model's own form")]
fn decode<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let text = std::str::from_utf8(bytes).unwrap();
    Ok(match ty {
        ColumnType::Int32 => Value::Int(text.parse().unwrap()),
        _ => Value::Text(text.into()),
    })
}

pub(crate) fn seq(position: u64, ordinal: u64) -> Seq {
    Seq::new(0, 1, position, ordinal).unwrap()
}

fn row(id: u32, name: Option<&str>) -> Row {
    let mut builder = RowBuilder::default();
    builder.push(Cell::Data(id.to_string().as_bytes()));
    match name {
        Some(name) => builder.push(Cell::Data(name.as_bytes())),
        None => builder.push_unchanged(),
    }
    builder.finish()
}

impl Table {
    /// The halves of a change of the key.
    pub(crate) fn moved(&self, seq: Seq, from: u32, to: u32) -> [Change; 2] {
        let next = seq.with_ordinal(seq.ordinal() + 1).unwrap();
        let mut halves = [self.change(Op::Delete, seq, from, ""), self.change(Op::Insert, next, to, "")];
        halves[0].moved = Some(Box::new(row(to, None)));
        halves[1].after = Some(row(to, None));
        halves[1].moved = Some(Box::new(row(from, None)));
        halves
    }

    pub(crate) fn change(&self, op: Op, seq: Seq, id: u32, name: &str) -> Change {
        let mut change = Change::new(op, self.schema.clone(), seq, 1_000);
        match op {
            Op::Delete => change.before = Some(row(id, None)),
            Op::Truncate | Op::SnapshotEnd => {}
            _ => change.after = Some(row(id, Some(name))),
        }
        change
    }
}

impl Table {
    /// An update that leaves the name out.
    pub(crate) fn partial(&self, seq: Seq, id: u32) -> Change {
        let mut change = Change::new(Op::Update, self.schema.clone(), seq, 1_000);
        change.after = Some(row(id, None));
        change
    }
}

/// A change, as it is told apart in tests: table, op, token, key, name.
pub(crate) type Told = (String, &'static str, Seq, Option<i64>, Option<String>);

pub(crate) fn told(change: &Change) -> Told {
    let value = |column: usize| change.key_row().map(|row| row.value(&change.schema, column).unwrap().into_owned());
    let id = match value(0) {
        Some(Value::Int(id)) => Some(id),
        _ => None,
    };
    let name = match value(1) {
        Some(Value::Text(name)) => Some(name.into_owned()),
        _ => None,
    };
    (change.schema.table.name.clone(), change.op.as_str(), change.seq, id, name)
}

/// Takes batches until a condition holds. Every checkpoint is kept, with how many changes came before it.
pub(crate) struct Reader {
    pub(crate) source: KafkaSource,
    pub(crate) changes: Vec<Change>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) checkpoints: Vec<(usize, Checkpoint)>,
}

impl Reader {
    pub(crate) async fn start(source: KafkaSource, from: Option<Checkpoint>) -> Result<Self> {
        let mut reader = Self { source, changes: Vec::new(), batches: Vec::new(), checkpoints: Vec::new() };
        reader.source.prepare().await?;
        reader.source.start(from).await?;
        Ok(reader)
    }

    pub(crate) async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !condition(self) {
            assert!(begun.elapsed() < PATIENCE, "waited for {what}; {} changes", self.changes.len());
            let durable = self.checkpoints.last().map(|(_, checkpoint)| checkpoint.clone());
            let batch = self.source.next_batch(durable).await?;
            self.changes.extend(batch.changes.iter().cloned());
            if let Some(checkpoint) = &batch.checkpoint {
                self.checkpoints.push((self.changes.len(), checkpoint.clone()));
            }
            self.batches.push(batch);
        }
        Ok(())
    }

    pub(crate) async fn changes(&mut self, count: usize) -> Result<()> {
        self.until("changes", |reader| reader.changes.len() >= count).await
    }

    /// Reads for a while: nothing more comes.
    pub(crate) async fn silence(&mut self) {
        let (before, begun) = (self.changes.len(), Instant::now());
        self.until("a while", |_| begun.elapsed() > Duration::from_millis(700)).await.unwrap();
        assert_eq!(self.changes.len(), before, "nothing more was expected");
    }

    pub(crate) fn told(&self) -> BTreeSet<Told> {
        self.changes.iter().map(told).collect()
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.checkpoints.last().unwrap().1.clone()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({} changes)", self.changes.len())
    }
}
