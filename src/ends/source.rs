//! Where changes come from.

use std::sync::Arc;

use walbrook_config::{Config, KafkaSource as TopicsSettings, Lake, Postgres, SinkConfig, SourceConfig, TableMode};
use walbrook_model::{Error, Result, Source};
use walbrook_registry::Registry;
use walbrook_source_kafka::KafkaSource;
use walbrook_source_postgres::PostgresSource;

/// Topics that are read.
#[derive(Clone)]
pub(crate) struct TopicsEnd {
    pub(crate) settings: TopicsSettings,
    /// Kept over restarts of the source: it knows the schemas that were read.
    pub(crate) registry: Option<Registry>,
    /// Where their changes go.
    lake: Option<Lake>,
}

/// Where changes come from.
#[derive(Clone)]
pub(crate) enum SourceEnd {
    Postgres(Box<Postgres>),
    Topics(Box<TopicsEnd>),
}

/// What a source shows of itself.
#[derive(Clone)]
pub(crate) enum SourceStatus {
    Postgres(Arc<walbrook_source_postgres::Status>),
    Topics(Arc<walbrook_source_kafka::Status>),
}

impl SourceEnd {
    /// The source of a configuration.
    ///
    /// # Errors
    /// Of kind config, if the client of the registry cannot be made.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        Ok(match &config.source {
            SourceConfig::Postgres(settings) => Self::Postgres(Box::new(settings.clone())),
            SourceConfig::Kafka(settings) => {
                let registry = settings.registry.as_ref().map(Registry::new).transpose()?;
                let lake = match &config.sink {
                    SinkConfig::Lake(lake) => Some(lake.clone()),
                    SinkConfig::Kafka(_) => None,
                };
                Self::Topics(Box::new(TopicsEnd { settings: settings.clone(), registry, lake }))
            }
        })
    }

    /// A source that has not begun, and what it will show of itself.
    pub(crate) fn source(&self) -> (Box<dyn Source>, SourceStatus) {
        match self {
            Self::Postgres(settings) => {
                let source = PostgresSource::new((**settings).clone());
                let status = SourceStatus::Postgres(source.status());
                (Box::new(source), status)
            }
            Self::Topics(topics) => {
                let lake = topics.lake.clone();
                let source = KafkaSource::new(topics.settings.clone(), topics.registry.clone()).with_whole_slices(
                    move |table| {
                        lake.as_ref().is_some_and(|lake| lake.mode_of(&table.to_string()) == TableMode::Append)
                    },
                );
                let status = SourceStatus::Topics(source.status());
                (Box::new(source), status)
            }
        }
    }

    /// The database.
    ///
    /// # Errors
    /// Of kind config, if changes come from topics.
    pub(crate) fn postgres(&self) -> Result<&Postgres> {
        match self {
            Self::Postgres(settings) => Ok(settings),
            Self::Topics(_) => Err(Error::config("this needs the database itself")
                .on("[source.kafka]")
                .remedy("use [source.postgres]")),
        }
    }
}

impl SourceStatus {
    /// What it is doing, as a word.
    pub(crate) fn state(&self) -> &'static str {
        match self {
            Self::Postgres(status) => status.state().as_str(),
            Self::Topics(status) => status.state().as_str(),
        }
    }
}
