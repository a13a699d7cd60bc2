//! Messages that are no change of a row: logical messages (an outbox without a table), the borders of transactions,
//! heartbeats.

use std::sync::Arc;

use walbrook_model::{Origin, Result};

use crate::connect::{Field, Kind, Schema};
use crate::encode::avro::AvroOut;
use crate::encode::conversion::Conversion;
use crate::encode::emit::Emit;
use crate::encode::json::JsonOut;
use crate::messages::Messages;
use crate::names;
use crate::schemas::Texts;
use crate::settings::{BinaryMode, Format, Settings};
use crate::source::{self, Names, SourceInfo, TransactionBlock};
use crate::table::{SchemaIds, framed};
use crate::wire::write_wire_header;

/// Which messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// What `pg_logical_emit_message` wrote into the log.
    LogicalMessages,
    /// Begin and end of transactions.
    Transactions,
    /// Signs of life.
    Heartbeats,
}

impl EventKind {
    /// The topic of such messages.
    pub fn topic(self, settings: &Settings) -> String {
        let prefix = &settings.topic_prefix;
        names::sanitized(&match self {
            Self::LogicalMessages => format!("{prefix}.message"),
            Self::Transactions => format!("{prefix}.transaction"),
            Self::Heartbeats => format!("__debezium-heartbeat.{prefix}"),
        })
    }
}

/// The topic of such messages: schemas and encoder.
#[derive(Debug)]
pub struct EventEnvelope {
    settings: Arc<Settings>,
    info: Arc<SourceInfo>,
    topic: String,
    key: Texts,
    value: Texts,
}

/// A message of the log that is no change of a row.
#[derive(Clone, Copy, Debug)]
pub struct LogicalMessage<'a> {
    /// Its prefix, by which its readers know it.
    pub prefix: &'a str,
    /// What it says.
    pub content: &'a [u8],
    /// When its transaction committed; without one, when it was written. Microseconds since 1970 UTC.
    pub committed_at_us: i64,
    /// Its place in the log.
    pub origin: &'a Origin,
    /// Its place in its transaction, if it has one and `transactions` is on.
    pub transaction: Option<TransactionBlock<'a>>,
    /// The clock now, milliseconds since 1970 UTC.
    pub processed_at_ms: i64,
}

/// What stands for a table where the messages of a transaction are counted.
pub const MESSAGES: &str = "LOGICAL_DECODING_MESSAGE";

/// A border of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct TransactionBorder<'a> {
    /// The transaction's number and a place in the log, with a colon between: for the begin that of the first change, for
    /// the end that of the commit.
    pub id: &'a str,
    /// When it committed, milliseconds since 1970 UTC.
    pub committed_at_ms: i64,
    /// For the end: how many changes each table (`schema.name`) has; messages of the log are [`MESSAGES`].
    pub end: Option<&'a [(String, i64)]>,
}

impl EventEnvelope {
    /// Compiles the messages of a kind.
    pub fn new(kind: EventKind, settings: &Arc<Settings>, info: &Arc<SourceInfo>) -> Self {
        let (key, value) = match kind {
            EventKind::LogicalMessages => (message_key(), message_value(settings.binary)),
            EventKind::Transactions => (transaction_key(), transaction_value()),
            EventKind::Heartbeats => (heartbeat_key(), heartbeat_value()),
        };
        let topic = kind.topic(settings);
        Self { settings: settings.clone(), info: info.clone(), topic, key: Texts::new(&key), value: Texts::new(&value) }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The Avro schema of keys.
    pub fn key_schema(&self) -> &str {
        &self.key.avro
    }

    /// The Avro schema of values.
    pub fn value_schema(&self) -> &str {
        &self.value.avro
    }

    /// The full names of the key's and the value's record, for subjects that are named after them.
    pub fn record_names(&self) -> (&str, &str) {
        (&self.key.name, &self.value.name)
    }

    /// Appends a logical message. For [`EventKind::LogicalMessages`] alone.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if the envelope is broken.
    pub fn encode_message(&self, message: &LogicalMessage<'_>, ids: SchemaIds, out: &mut Messages) -> Result<()> {
        self.push(&Event::Message(message, &self.info, &self.settings), ids, out)
    }

    /// Appends a begin or an end. For [`EventKind::Transactions`] alone.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if the envelope is broken.
    pub fn encode_border(&self, border: &TransactionBorder<'_>, ids: SchemaIds, out: &mut Messages) -> Result<()> {
        self.push(&Event::Border(border), ids, out)
    }

    /// Appends a heartbeat. For [`EventKind::Heartbeats`] alone.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if the envelope is broken.
    pub fn encode_heartbeat(&self, now_ms: i64, ids: SchemaIds, out: &mut Messages) -> Result<()> {
        self.push(&Event::Heartbeat(now_ms, &self.settings), ids, out)
    }

    fn push(&self, event: &Event<'_>, ids: SchemaIds, out: &mut Messages) -> Result<()> {
        let headers_from = out.headers_len();
        let format = self.settings.format;
        let (key, written) = out.part(|buffer| match format {
            Format::Avro => {
                write_wire_header(ids.key, buffer);
                event.key(&mut AvroOut(buffer));
                Ok(())
            }
            format => framed(format, &self.key, buffer, |buffer| {
                event.key(&mut JsonOut::new(buffer));
                Ok(())
            }),
        });
        written?;
        let (value, written) = out.part(|buffer| match format {
            Format::Avro => {
                write_wire_header(ids.value, buffer);
                event.value(&mut AvroOut(buffer))
            }
            format => framed(format, &self.value, buffer, |buffer| event.value(&mut JsonOut::new(buffer))),
        });
        written?;
        out.finish(headers_from, Some(key), Some(value));
        Ok(())
    }
}

enum Event<'a> {
    Message(&'a LogicalMessage<'a>, &'a SourceInfo, &'a Settings),
    Border(&'a TransactionBorder<'a>),
    Heartbeat(i64, &'a Settings),
}

impl Event<'_> {
    fn key<E: Emit>(&self, out: &mut E) {
        out.record();
        match self {
            Self::Message(message, ..) => {
                out.field(0, "\"prefix\"");
                out.some(1);
                out.text(message.prefix);
            }
            Self::Border(border) => {
                out.field(0, "\"id\"");
                out.text(border.id);
            }
            Self::Heartbeat(_, settings) => {
                out.field(0, "\"serverName\"");
                out.text(&settings.topic_prefix);
            }
        }
        out.record_end();
    }

    fn value<E: Emit>(&self, out: &mut E) -> Result<()> {
        out.record();
        match self {
            Self::Message(message, info, settings) => write_message(message, info, settings, out)?,
            Self::Border(border) => write_border(border, out),
            Self::Heartbeat(now_ms, _) => {
                out.field(0, "\"ts_ms\"");
                out.int(*now_ms);
            }
        }
        out.record_end();
        Ok(())
    }
}

fn write_message<E: Emit>(
    message: &LogicalMessage<'_>,
    info: &SourceInfo,
    settings: &Settings,
    out: &mut E,
) -> Result<()> {
    out.field(0, "\"op\"");
    out.text("m");
    out.field(1, "\"ts_ms\"");
    source::long(Some(message.processed_at_ms), out);
    out.field(2, "\"source\"");
    let names = Names::new(info, &settings.topic_prefix, "", "");
    source::write(&names, message.committed_at_us, message.origin, out);
    out.field(3, "\"transaction\"");
    source::write_transaction(message.transaction.as_ref(), out);
    out.field(4, "\"message\"");
    out.record();
    out.field(0, "\"prefix\"");
    out.some(1);
    out.text(message.prefix);
    out.field(1, "\"content\"");
    out.some(1);
    Conversion::Bytes(settings.binary).write(&walbrook_model::Value::Bytes(message.content.into()), out)?;
    out.record_end();
    Ok(())
}

fn write_border<E: Emit>(border: &TransactionBorder<'_>, out: &mut E) {
    out.field(0, "\"status\"");
    out.text(if border.end.is_some() { "END" } else { "BEGIN" });
    out.field(1, "\"id\"");
    out.text(border.id);
    out.field(2, "\"event_count\"");
    source::long(border.end.map(|tables| tables.iter().map(|(_, count)| count).sum()), out);
    out.field(3, "\"data_collections\"");
    match border.end {
        None => out.null(0),
        Some(tables) => {
            out.some(1);
            out.list(tables.len());
            for (index, (table, count)) in tables.iter().enumerate() {
                out.item(index);
                out.some(1);
                out.record();
                out.field(0, "\"data_collection\"");
                out.text(table);
                out.field(1, "\"event_count\"");
                out.int(*count);
                out.record_end();
            }
            out.list_end(tables.len());
        }
    }
    out.field(4, "\"ts_ms\"");
    out.int(border.committed_at_ms);
}

fn record(name: &str, fields: Vec<Field>) -> Schema {
    Schema::record(name, Some(1), fields)
}

fn text() -> Schema {
    Schema::new(Kind::Text)
}

fn long() -> Schema {
    Schema::new(Kind::Int64)
}

fn message_key() -> Schema {
    record("io.debezium.connector.postgresql.MessageKey", vec![Field::new("prefix", text().optional())])
}

fn message_value(binary: BinaryMode) -> Schema {
    let content = if binary == BinaryMode::Bytes { Schema::new(Kind::Bytes) } else { text() };
    let message = record(
        "io.debezium.connector.postgresql.Message",
        vec![Field::new("prefix", text().optional()), Field::new("content", content.optional())],
    );
    let fields = vec![
        Field::new("op", text()),
        Field::new("ts_ms", long().optional()),
        Field::new("source", source::schema()),
        Field::new("transaction", source::transaction_schema()),
        Field::new("message", message),
    ];
    record("io.debezium.connector.postgresql.MessageValue", fields)
}

fn transaction_key() -> Schema {
    record("io.debezium.connector.common.TransactionMetadataKey", vec![Field::new("id", text())])
}

fn transaction_value() -> Schema {
    let table =
        record("event.collection", vec![Field::new("data_collection", text()), Field::new("event_count", long())]);
    let fields = vec![
        Field::new("status", text()),
        Field::new("id", text()),
        Field::new("event_count", long().optional()),
        Field::new("data_collections", Schema::new(Kind::List(Box::new(table.optional()))).optional()),
        Field::new("ts_ms", long()),
    ];
    record("io.debezium.connector.common.TransactionMetadataValue", fields)
}

fn heartbeat_key() -> Schema {
    record("io.debezium.connector.common.ServerNameKey", vec![Field::new("serverName", text())])
}

fn heartbeat_value() -> Schema {
    record("io.debezium.connector.common.Heartbeat", vec![Field::new("ts_ms", long())])
}
