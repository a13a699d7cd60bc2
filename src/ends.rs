//! The ends of a pipeline: which source and which sink its configuration means, and what each shows of itself.

mod source;

use std::sync::Arc;

use uuid::Uuid;
use walbrook_config::{Config, KafkaSink as KafkaSettings, Lake, Pipeline, SinkConfig, SourceConfig};
use walbrook_envelope::SourceInfo;
use walbrook_lake_iceberg::FolderCatalog;
use walbrook_lake_merge::LakeSink;
use walbrook_model::{Checkpoint, Error, Lineage, MergeCheckpoints, Result, Sink};
use walbrook_sink_kafka::{Instance, KafkaSink};

pub(crate) use self::source::{SourceEnd, SourceStatus};

/// A lake that is written to.
#[derive(Clone)]
pub(crate) struct LakeEnd {
    pub(crate) settings: Lake,
    pub(crate) catalog: Arc<FolderCatalog>,
    pipeline: Pipeline,
    /// How checkpoints of several processes become one, if the source can share its tables out.
    sharing: Option<MergeCheckpoints>,
}

/// Topics that are written to.
#[derive(Clone)]
pub(crate) struct KafkaEnd {
    pub(crate) settings: KafkaSettings,
    pub(crate) info: SourceInfo,
    pipeline: Pipeline,
    instance: Instance,
}

/// Where changes go to.
#[derive(Clone)]
pub(crate) enum SinkEnd {
    Lake(Box<LakeEnd>),
    Kafka(Box<KafkaEnd>),
}

/// What a sink shows of itself.
#[derive(Clone)]
pub(crate) enum SinkStatus {
    Lake(Arc<walbrook_lake_merge::Status>),
    Kafka(Arc<walbrook_sink_kafka::Status>),
}

impl SinkEnd {
    /// The sink of a configuration.
    ///
    /// # Errors
    /// Of kind config, if the warehouse cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let pipeline = config.pipeline.clone();
        Ok(match &config.sink {
            SinkConfig::Lake(settings) => {
                let catalog = Arc::new(FolderCatalog::new(settings.warehouse.clone(), settings.keep_snapshots)?);
                let sharing: Option<MergeCheckpoints> = match &config.source {
                    SourceConfig::Postgres(_) => None,
                    SourceConfig::Kafka(_) => Some(walbrook_source_kafka::merge_checkpoints),
                };
                Self::Lake(Box::new(LakeEnd { settings: settings.clone(), catalog, pipeline, sharing }))
            }
            SinkConfig::Kafka(settings) => {
                let run = Uuid::now_v7().to_string();
                let instance = Instance::new(run.clone());
                let info = SourceInfo {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    connector: "postgresql".to_owned(),
                    database: database(config)?,
                    task: "0".to_owned(),
                    run,
                };
                Self::Kafka(Box::new(KafkaEnd { settings: settings.clone(), info, pipeline, instance }))
            }
        })
    }

    /// A sink that has not begun, and what it will show of itself.
    pub(crate) fn sink(&self) -> (Box<dyn Sink>, SinkStatus) {
        match self.open() {
            OpenSink::Lake(sink) => {
                let status = SinkStatus::Lake(sink.status());
                (Box::new(sink), status)
            }
            OpenSink::Kafka(sink) => {
                let status = SinkStatus::Kafka(sink.status());
                (Box::new(sink), status)
            }
        }
    }

    /// The same, with all that it can be asked for.
    pub(crate) fn open(&self) -> OpenSink {
        match self {
            Self::Lake(lake) => OpenSink::Lake(lake.sink()),
            Self::Kafka(kafka) => OpenSink::Kafka(KafkaSink::new(
                kafka.settings.clone(),
                kafka.pipeline.clone(),
                kafka.info.clone(),
                kafka.instance.clone(),
            )),
        }
    }
}

/// The database that messages name.
///
/// # Errors
/// Of kind config, if there is none: topics are not read into topics.
fn database(config: &Config) -> Result<String> {
    match &config.source {
        SourceConfig::Postgres(postgres) => Ok(postgres.database.clone()),
        SourceConfig::Kafka(_) => {
            Err(Error::config("topics cannot be read into topics").on("[sink.kafka]").remedy("use [sink.lake]"))
        }
    }
}

impl LakeEnd {
    /// A sink of this lake.
    pub(crate) fn sink(&self) -> LakeSink {
        let sink = LakeSink::new(self.catalog.clone(), self.settings.clone(), self.pipeline.clone());
        match self.sharing {
            Some(sharing) => sink.shared(sharing),
            None => sink,
        }
    }
}

/// A sink, and what only an operator asks of it.
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum OpenSink {
    Lake(LakeSink),
    Kafka(KafkaSink),
}

impl OpenSink {
    /// The durable checkpoint, also where there is a gap.
    pub(crate) async fn recorded_checkpoint(&self) -> Result<Option<Checkpoint>> {
        match self {
            Self::Lake(sink) => sink.recorded_checkpoint().await,
            Self::Kafka(sink) => sink.recorded_checkpoint().await,
        }
    }

    /// A gap that the sink shows.
    pub(crate) async fn find_gap(&self) -> Result<Option<Error>> {
        match self {
            Self::Lake(sink) => sink.find_gap().await,
            Self::Kafka(sink) => sink.find_gap().await,
        }
    }

    /// Goes on at `checkpoint` where `seen` was, with order tokens as they are.
    pub(crate) async fn go_on_at(&mut self, seen: Option<Checkpoint>, checkpoint: Checkpoint) -> Result<()> {
        match self {
            Self::Lake(sink) => sink.go_on_at(seen, checkpoint).await,
            Self::Kafka(_) => Err(Error::bug("topics are not read into topics")),
        }
    }

    /// Goes on at `checkpoint`, in a new generation.
    pub(crate) async fn accept_gap(
        &mut self,
        checkpoint: Checkpoint,
        lineage: &Lineage,
        generation: u16,
    ) -> Result<()> {
        match self {
            Self::Lake(sink) => sink.accept_gap(Some(checkpoint), lineage, generation).await,
            Self::Kafka(sink) => sink.accept_gap(Some(checkpoint), lineage, generation).await,
        }
    }
}

impl SinkStatus {
    /// Everything that committed at the source before this moment (microseconds since 1970 UTC) is in the sink.
    pub(crate) fn complete_until_us(&self) -> Option<i64> {
        match self {
            Self::Lake(status) => status.complete_until_us(),
            Self::Kafka(status) => status.complete_until_us(),
        }
    }
}
