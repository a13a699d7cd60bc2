//! A real broker for tests, a table to write, and a reader of topics.
//!
//! The broker is taken from `WALBROOK_TEST_KAFKA` (`host:port`), the registry from `WALBROOK_TEST_REGISTRY` (its address).
//! Without them the tests say that they were skipped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use walbrook_config::{
    Compat, Compression, KafkaClient, KafkaSink as Config, MessageFormat, Messages, NewTopics, Oversize, Pipeline,
    Registry, SubjectStrategy,
};
use walbrook_envelope::SourceInfo;
use walbrook_model::{
    Batch, Cell, Change, Checkpoint, Column, ColumnType, Error, Lineage, Op, Origin, Result, RowBuilder, Seq, TableId,
    TableSchema, Transaction, Value,
};

use crate::cluster::Cluster;
use crate::faults::Listener;
use crate::settings::Settings;
use crate::{Instance, KafkaSink};

/// The broker; says that the test was skipped if there is none.
pub(crate) fn broker(test: &str) -> Option<String> {
    let broker = std::env::var("WALBROOK_TEST_KAFKA").ok();
    if broker.is_none() {
        println!("{test}: skipped, WALBROOK_TEST_KAFKA is not set");
    }
    broker
}

/// The registry; says that the test was skipped if there is none.
pub(crate) fn registry(test: &str) -> Option<Registry> {
    let url = std::env::var("WALBROOK_TEST_REGISTRY").ok();
    if url.is_none() {
        println!("{test}: skipped, WALBROOK_TEST_REGISTRY is not set");
    }
    url.map(|url| Registry { url, username: None, password: None, ca_file: None, timeout: Duration::from_secs(10) })
}

/// A name that no other test uses, at any time.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_micros();
    format!("{name}-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A pipeline of its own at the broker.
pub(crate) struct World {
    pub(crate) broker: String,
    pub(crate) config: Config,
    pub(crate) pipeline: Pipeline,
}

impl World {
    /// JSON, two partitions.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let broker = broker(test)?;
        let name = unique(test);
        Some(Self { config: config(&broker, &name), pipeline: pipeline(&name), broker })
    }

    pub(crate) fn sink(&self) -> KafkaSink {
        self.sink_of(&Instance::new(unique("instance")))
    }

    pub(crate) fn sink_of(&self, instance: &Instance) -> KafkaSink {
        KafkaSink::new(self.config.clone(), self.pipeline.clone(), info(), instance.clone())
    }

    pub(crate) fn topic(&self, table: &str) -> String {
        format!("{}.public.{table}", self.config.topic_prefix)
    }

    pub(crate) fn cluster(&self) -> Cluster {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.broker).set("allow.auto.create.topics", "false");
        Cluster::new(&settings, &Listener::default()).unwrap()
    }

    /// All messages of a topic that readers of committed messages see.
    pub(crate) async fn read(&self, topic: &str) -> Vec<Read> {
        self.read_as(topic, "read_committed").await
    }

    /// All messages of a topic, those of open and aborted transactions among them if `isolation` lets them through.
    pub(crate) async fn read_as(&self, topic: &str, isolation: &str) -> Vec<Read> {
        let partitions = self.cluster().partitions(topic).await.unwrap().expect("the topic");
        let (broker, topic, isolation) = (self.broker.clone(), topic.to_owned(), isolation.to_owned());
        tokio::task::spawn_blocking(move || read(&broker, &topic, partitions, &isolation)).await.unwrap()
    }
}

fn pipeline(name: &str) -> Pipeline {
    Pipeline { name: name.to_owned(), buffer_bytes: 1 << 20, parked_bytes: 1000, grace_period: Duration::from_secs(10) }
}

/// What messages say of their source.
pub(crate) fn info() -> SourceInfo {
    SourceInfo {
        version: "1".to_owned(),
        connector: "postgresql".to_owned(),
        database: "shop".to_owned(),
        task: "0".to_owned(),
        run: "run".to_owned(),
    }
}

/// Settings of a sink, for tests without a broker.
pub(crate) fn settings(broker: &str, name: &str) -> Settings {
    Settings::new(config(broker, name), pipeline(name), info())
}

fn config(broker: &str, name: &str) -> Config {
    Config {
        client: KafkaClient { brokers: vec![broker.to_owned()], tls: None, sasl: None, librdkafka: BTreeMap::new() },
        registry: None,
        subject_strategy: SubjectStrategy::Topic,
        topic_prefix: name.to_owned(),
        topic_name: "{prefix}.{schema}.{table}".to_owned(),
        messages: Messages {
            compat: Compat::Native,
            format: MessageFormat::Json,
            tombstones: true,
            transactions: false,
            decimal: None,
            time: None,
            binary: None,
            interval: None,
            hstore: None,
            unknown_types: None,
            schema_names: None,
            field_names: None,
            unavailable_placeholder: None,
        },
        topics: NewTopics { partitions: 2, replication_factor: 1, retention: Duration::from_hours(1) },
        checkpoint_topic: format!("{name}.checkpoints"),
        exactly_once: false,
        compression: Compression::Lz4,
        linger: Duration::from_millis(1),
        heartbeat_interval: Duration::ZERO,
        buffer_bytes: 4 << 20,
        message_bytes_max: 1_000_000,
        oversize: Oversize::Stop,
    }
}

/// A message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, Vec<u8>>,
}

impl Read {
    /// The order token.
    pub(crate) fn seq(&self) -> u128 {
        String::from_utf8(self.headers["walbrook.seq"].clone()).unwrap().parse().unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.value.as_ref().expect("a value")).unwrap()
    }
}

fn read(broker: &str, topic: &str, partitions: u32, isolation: &str) -> Vec<Read> {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", broker)
        .set("group.id", "walbrook-tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation);
    let reader: BaseConsumer = settings.create().unwrap();
    let mut place = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions).unwrap() {
        place.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    reader.assign(&place).unwrap();
    let (mut found, mut open, begun) = (Vec::new(), partitions, Instant::now());
    while open > 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "{topic} is not read");
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => found.push(Read {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: message
                    .headers()
                    .into_iter()
                    .flat_map(rdkafka::message::Headers::iter)
                    .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                    .collect(),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    found
}

fn decode<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let text = std::str::from_utf8(bytes).map_err(|error| Error::data("text").because(error))?;
    match ty {
        ColumnType::Int64 => text.parse().map(Value::Int).map_err(|error| Error::data("not a number").because(error)),
        _ => Ok(Value::Text(text.into())),
    }
}

/// `id bigint primary key, note text`.
pub(crate) fn table(name: &str) -> Arc<TableSchema> {
    let column = |name: &str, ty, source_type: &str| Column {
        name: name.to_owned(),
        ty,
        nullable: name != "id",
        source_type: source_type.to_owned(),
        initial_default: None,
        facts: Arc::default(),
        decoder: decode,
    };
    let columns = vec![column("id", ColumnType::Int64, "bigint"), column("note", ColumnType::Text, "text")];
    Arc::new(TableSchema { table: TableId::new("public", name), columns, key: vec![0] })
}

/// The same with other columns.
pub(crate) fn reshaped(table: &TableSchema, reshape: impl FnOnce(&mut TableSchema)) -> Arc<TableSchema> {
    let mut table = table.clone();
    reshape(&mut table);
    Arc::new(table)
}

/// The change at `position` of the log with this ordinal.
pub(crate) fn change(op: Op, table: &Arc<TableSchema>, position: u64, ordinal: u64, cells: &[&str]) -> Change {
    let mut change = Change::new(op, table.clone(), Seq::new(0, 1, position, ordinal).unwrap(), 1_700_000_000_000_000);
    let mut builder = RowBuilder::default();
    for cell in cells {
        builder.push(Cell::Data(cell.as_bytes()));
    }
    let row = (!cells.is_empty()).then(|| builder.finish());
    match op {
        Op::Delete => change.before = row,
        _ => change.after = row,
    }
    change.origin = Origin { position: Some(position + ordinal), ..Origin::default() };
    change
}

/// An insert.
pub(crate) fn insert(table: &Arc<TableSchema>, position: u64, id: u64) -> Change {
    change(Op::Insert, table, position, 1, &[&id.to_string(), "note"])
}

/// Changes of a transaction of the source.
pub(crate) fn in_transaction(number: i64, mut changes: Vec<Change>) -> Vec<Change> {
    let transaction = Arc::new(Transaction { id: Some(number), ..Transaction::default() });
    for change in &mut changes {
        change.origin.transaction = Some(transaction.clone());
    }
    changes
}

/// A batch of the log `log` that ends at `checkpoint`.
pub(crate) fn batch(changes: Vec<Change>, checkpoint: Option<&str>) -> Batch {
    Batch {
        changes,
        checkpoint: checkpoint.map(Checkpoint::new),
        lineage: Some(Lineage::new("log")),
        ..Batch::heartbeat()
    }
}

/// Sets how strict the registry is with a subject.
pub(crate) async fn set_compatibility(world: &World, subject: &str, level: &str) {
    let url = &world.config.registry.as_ref().unwrap().url;
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let body = format!("{{\"compatibility\":\"{level}\"}}");
    let request = format!(
        "PUT /{path}/config/{subject} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

impl Cluster {
    /// Deletes a topic, and waits until it is gone.
    pub(crate) async fn delete(&self, topic: &str) {
        self.admin().await.unwrap().delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
        while self.partitions(topic).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Changes a setting of a topic.
    pub(crate) async fn set(&self, topic: &str, key: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        let results = self.admin().await.unwrap().alter_configs([&change], &AdminOptions::new()).await.unwrap();
        assert!(results.iter().all(std::result::Result::is_ok), "{results:?}");
    }

    /// Gives a topic more partitions, and waits until they are there.
    pub(crate) async fn add_partitions(&self, topic: &str, count: usize) {
        let results = self
            .admin()
            .await
            .unwrap()
            .create_partitions([&NewPartitions::new(topic, count)], &AdminOptions::new())
            .await;
        assert!(results.unwrap().iter().all(std::result::Result::is_ok));
        while self.partitions(topic).await.ok().flatten() != u32::try_from(count).ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
