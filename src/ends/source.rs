//! Where changes come from.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;

use walbrook_config::{Config, KafkaSource as TopicsSettings, Lake, Postgres, SinkConfig, SourceConfig, TableMode};
use walbrook_model::{Error, Result, Source};
use walbrook_registry::Registry;
use walbrook_source_kafka::{KafkaSource, Membership};
use walbrook_source_postgres::PostgresSource;

/// Topics that are read.
#[derive(Clone)]
pub(crate) struct TopicsEnd {
    pub(crate) settings: TopicsSettings,
    /// Kept over restarts of the source: it knows the schemas that were read.
    pub(crate) registry: Option<Registry>,
    /// Where their changes go.
    lake: Option<Lake>,
    /// Our place in the consumer group, while the pipeline runs.
    membership: Arc<Mutex<Option<Membership>>>,
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
                let membership = Arc::default();
                Self::Topics(Box::new(TopicsEnd { settings: settings.clone(), registry, lake, membership }))
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
                let source = match topics.membership() {
                    Some(membership) => source.shared_by(membership),
                    None => source,
                };
                let status = SourceStatus::Topics(source.status());
                (Box::new(source), status)
            }
        }
    }

    /// Takes a place among the processes that share the tables, before the first start. Without it all are ours.
    ///
    /// # Errors
    /// Of kind config, for a setting that the client refuses.
    pub(crate) fn join(&self) -> Result<()> {
        if let Self::Topics(topics) = self {
            let membership = Membership::join(&topics.settings)?;
            *topics.membership.lock().unwrap_or_else(PoisonError::into_inner) = Some(membership);
        }
        Ok(())
    }

    /// Gives back what the others wait for, since nothing works with it.
    pub(crate) fn let_go(&self) {
        if let Self::Topics(topics) = self
            && let Some(membership) = topics.membership()
        {
            membership.release();
        }
    }

    /// Leaves it to the others, after the sink has written what it had.
    pub(crate) async fn leave(&self) {
        if let Self::Topics(topics) = self {
            let membership = topics.membership.lock().unwrap_or_else(PoisonError::into_inner).take();
            // It takes a moment. If it fails the others wait until we have been silent for long enough.
            let _ = spawn_blocking(move || drop(membership)).await;
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

impl TopicsEnd {
    fn membership(&self) -> Option<Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
