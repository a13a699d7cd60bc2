//! Versions of tables: each compiled once, and its schemas known to the registry before its first message is produced.

use std::sync::Arc;

use walbrook_config::SubjectStrategy;
use walbrook_envelope::{EventEnvelope, EventKind, Format, SchemaIds, TableEnvelope};
use walbrook_model::{Result, TableSchema};
use walbrook_registry::Registry;

use crate::settings::Settings;

/// Versions of one table that are kept ready. A snapshot and the log can be at two versions at a time.
const VERSIONS_MAX: usize = 4;

/// Gives schemas their ids.
pub(crate) struct Schemas {
    /// `None`: messages bring their schemas along, or have none.
    registry: Option<Registry>,
    strategy: SubjectStrategy,
}

/// A version of a table, ready to be written.
pub(crate) struct Version {
    pub(crate) envelope: TableEnvelope,
    pub(crate) ids: SchemaIds,
}

/// Versions of one table, the newest last.
#[derive(Default)]
pub(crate) struct Versions(Vec<(Arc<TableSchema>, Arc<Version>)>);

/// The envelope of messages that are no change of a row, ready to be written.
pub(crate) struct Events {
    pub(crate) envelope: EventEnvelope,
    pub(crate) ids: SchemaIds,
}

impl Schemas {
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if the registry's settings cannot be used.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let wanted = settings.sink.registry.as_ref().filter(|_| settings.envelope.format == Format::Avro);
        Ok(Self { registry: wanted.map(Registry::new).transpose()?, strategy: settings.sink.subject_strategy })
    }

    /// What the calls came to.
    pub(crate) fn status(&self) -> Option<walbrook_registry::Status> {
        self.registry.as_ref().map(Registry::status)
    }

    /// Registers the schemas of a version of a table.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Transient`] if the registry does not answer; another kind if it refuses.
    pub(crate) async fn version(&self, envelope: TableEnvelope) -> Result<Version> {
        let (key_name, value_name) = envelope.record_names();
        let key = match (envelope.key_schema(), key_name) {
            (Some(schema), Some(name)) => self.register(envelope.topic(), "key", name, schema).await?,
            _ => 0,
        };
        let value = self.register(envelope.topic(), "value", value_name, envelope.value_schema()).await?;
        Ok(Version { ids: SchemaIds { key, value }, envelope })
    }

    /// The same for messages that are no change of a row.
    pub(crate) async fn events(&self, settings: &Settings, kind: EventKind) -> Result<Events> {
        let envelope = EventEnvelope::new(kind, &settings.envelope, &settings.info);
        let (key_name, value_name) = envelope.record_names();
        let key = self.register(envelope.topic(), "key", key_name, envelope.key_schema()).await?;
        let value = self.register(envelope.topic(), "value", value_name, envelope.value_schema()).await?;
        Ok(Events { ids: SchemaIds { key, value }, envelope })
    }

    async fn register(&self, topic: &str, part: &str, record: &str, schema: &str) -> Result<u32> {
        match &self.registry {
            None => Ok(0),
            Some(registry) => registry.register(&subject(self.strategy, topic, part, record), schema).await,
        }
    }
}

/// Under which name the registry keeps the versions of a schema.
fn subject(strategy: SubjectStrategy, topic: &str, part: &str, record: &str) -> String {
    match strategy {
        SubjectStrategy::Topic => format!("{topic}-{part}"),
        SubjectStrategy::Record => record.to_owned(),
        SubjectStrategy::TopicRecord => format!("{topic}-{record}"),
    }
}

impl Versions {
    /// The version that is ready. One that only was read anew from the catalog is the same.
    pub(crate) fn get(&mut self, schema: &Arc<TableSchema>) -> Option<Arc<Version>> {
        if let Some((_, version)) = self.0.iter().rev().find(|(known, _)| Arc::ptr_eq(known, schema)) {
            return Some(version.clone());
        }
        let (_, version) = self.0.iter().find(|(known, _)| known == schema && reads_alike(known, schema))?;
        let version = version.clone();
        self.put(schema.clone(), version.clone());
        Some(version)
    }

    /// Keeps a version; the oldest may be forgotten for it.
    pub(crate) fn put(&mut self, schema: Arc<TableSchema>, version: Arc<Version>) {
        if self.0.len() >= VERSIONS_MAX {
            self.0.remove(0);
        }
        self.0.push((schema, version));
    }
}

/// Whether cells of both have the same form: those of a snapshot may have another one than those of the log.
fn reads_alike(known: &TableSchema, schema: &TableSchema) -> bool {
    let mut columns = known.columns.iter().zip(&schema.columns);
    columns.all(|(known, column)| std::ptr::fn_addr_eq(known.decoder, column.decoder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_those_of_the_strategies() {
        let of = |strategy| subject(strategy, "p.s.t", "key", "p.s.t.Key");
        assert_eq!(of(SubjectStrategy::Topic), "p.s.t-key");
        assert_eq!(of(SubjectStrategy::Record), "p.s.t.Key");
        assert_eq!(of(SubjectStrategy::TopicRecord), "p.s.t-p.s.t.Key");
    }
}
