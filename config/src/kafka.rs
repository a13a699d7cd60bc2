//! `[source.kafka]`, `[sink.kafka]`, and what both have: brokers, transport security, login, registry.
//!
//! ```text
//! [source.kafka] ── source ─┐            ┌─ tls, sasl
//!                           ├─ client ───┤
//! [sink.kafka] ──── sink ───┘            └─ librdkafka: keys that are passed through
//!                    └─ messages, topics
//! ```

mod client;
mod librdkafka;
mod messages;
mod registry;
mod sasl;
mod sink;
mod source;
mod tls;
mod topics;

#[cfg(test)]
mod tests;

pub use client::KafkaClient;
pub use messages::{
    BinaryMode, Compat, DecimalMode, HstoreMode, IntervalMode, MessageFormat, Messages, NameAdjustment, TimeMode,
    UnknownTypes,
};
pub use registry::{Registry, SubjectStrategy};
pub use sasl::{KafkaSasl, SaslMechanism, TokenEndpoint};
pub use sink::{Compression, KafkaSink, Oversize};
pub use source::{DEAD_LETTERS, DeadLetters, KafkaSource};
pub use tls::{KafkaTls, TlsCheck};
pub use topics::NewTopics;

pub(crate) use sink::{SECTIONS as SINK_SECTIONS, SINK};
pub(crate) use source::{SECTIONS as SOURCE_SECTIONS, SOURCE};
