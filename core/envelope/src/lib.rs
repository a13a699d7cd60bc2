//! Change <-> message: the only place that knows Debezium's shapes. Pure functions: no I/O, no clock, no Kafka.
//!
//! ```text
//! TableSchema + Settings ── TableEnvelope ── key and value schemas
//! Change + Context       ── TableEnvelope::encode ── Messages { key, value, headers }
//! ```

mod avro_schema;
mod bits;
mod calendar;
mod checkpoint;
mod columns;
mod connect;
mod connect_schema;
mod decimal;
mod decode;
mod defaults;
mod encode;
mod events;
pub mod headers;
mod hstore;
mod interval;
mod messages;
mod names;
mod schemas;
mod settings;
mod source;
mod sql_type;
mod table;
mod text;
mod wire;

#[cfg(test)]
mod tests;

pub use checkpoint::{PublishedCheckpoint, PublishedTopic, TableGap};
pub use decode::{Decoded, Incoming, TableReader};
pub use events::{EventEnvelope, EventKind, LogicalMessage, MESSAGES, TransactionBorder};
pub use messages::{Message, Messages};
pub use names::{record_names, table_topic};
pub use schemas::check_topic;
pub use settings::{
    BinaryMode, Compat, DecimalMode, Format, HstoreMode, IntervalMode, NameAdjustment, Settings, TimeMode, UNAVAILABLE,
    UnknownTypes,
};
pub use source::{SourceInfo, TransactionBlock};
pub use table::{Context, SchemaIds, TableEnvelope};
pub use wire::split_wire_header;
