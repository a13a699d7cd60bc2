//! `walbrook gap accept`: the operator's way out of a gap, and only that: without a gap it is refused.

use std::process::ExitCode;

use tracing::info;
use walbrook_config::{Config, KafkaSource, Postgres, SnapshotMode};
use walbrook_model::{Checkpoint, Error, Result};

use crate::ends::{OpenSink, SourceEnd};
use crate::exit;
use crate::run::Pipeline;

/// Writes a checkpoint into the sink from which the pipeline can go on. A daemon that waits in the gap sees it and goes on; else the
/// next `walbrook run` does.
pub(crate) async fn accept(config: Config, reason: &str) -> ExitCode {
    let written = match Pipeline::new(config) {
        Ok(pipeline) => match &pipeline.source {
            SourceEnd::Postgres(postgres) => database(&pipeline, postgres, reason).await,
            SourceEnd::Topics(topics) => self::topics(&pipeline, &topics.settings, reason).await,
        },
        Err(error) => Err(error),
    };
    match written {
        Ok(accepted) => {
            println!("accepted: {accepted}");
            ExitCode::SUCCESS
        }
        Err(error) => exit::report(&error),
    }
}

async fn database(pipeline: &Pipeline, postgres: &Postgres, reason: &str) -> Result<&'static str> {
    let mut sink = pipeline.sink.open();
    // What the sink calls a gap of its own is accepted as well: only the record of the checkpoint counts here.
    let checkpoint = loop {
        let checkpoint = sink.recorded_checkpoint().await?;
        // Accepting drops the slot, also under a daemon whose first snapshot is on its way.
        let Some(cause) = gap(postgres, &sink, checkpoint.as_ref()).await? else {
            return Err(no_gap(&pipeline.config.pipeline.name, postgres));
        };
        // A daemon that goes on meanwhile moves slot and tables past a checkpoint that is not the newest.
        if sink.recorded_checkpoint().await? == checkpoint {
            info!(%cause, "the gap");
            break checkpoint;
        }
    };
    let accepted = walbrook_source_postgres::accept_gap(postgres, checkpoint.as_ref(), reason).await?;
    sink.accept_gap(accepted.checkpoint, &accepted.lineage, accepted.generation).await?;
    info!(reason, "gap accepted");
    Ok("every table is read again in a new generation, and what the source no longer has is swept")
}

async fn topics(pipeline: &Pipeline, settings: &KafkaSource, reason: &str) -> Result<&'static str> {
    let mut sink = pipeline.sink.open();
    let checkpoint = sink.recorded_checkpoint().await?;
    // What the sink has missed may be in the topics still.
    let of_sink = match &checkpoint {
        Some(_) => sink.find_gap().await?,
        None => None,
    };
    let of_topics = walbrook_source_kafka::find_gap(settings, checkpoint.as_ref()).await?;
    let again = of_sink.is_some();
    let Some(cause) = of_sink.or(of_topics) else {
        return Err(Error::config(
            "there is no gap to accept: every topic goes on where the sink is, and no table has missed a change; nothing was changed",
        )
        .on(format!("pipeline {}", pipeline.config.pipeline.name)));
    };
    info!(%cause, "the gap");
    let accepted = walbrook_source_kafka::accept_gap(settings, checkpoint.as_ref(), again).await?;
    sink.go_on_at(checkpoint, accepted).await?;
    info!(reason, "gap accepted");
    Ok(if again {
        "every topic is read again from its beginning; what it no longer has is missing until the capture reads the tables again"
    } else {
        "topics are read on from what they have; what is missing stays so until the capture reads the tables again"
    })
}

/// The gap, if there is one. Without a checkpoint nothing has begun that could be harmed, but the sink may hold data of
/// which nobody knows how far it is; a snapshot without a stream has no log to be judged by.
async fn gap(postgres: &Postgres, sink: &OpenSink, checkpoint: Option<&Checkpoint>) -> Result<Option<Error>> {
    if checkpoint.is_none() {
        return Ok(Some(Error::gap("the sink has no checkpoint of this pipeline")));
    }
    if postgres.snapshot.mode == SnapshotMode::Only {
        return Ok(Some(Error::gap("a snapshot without a stream knows nothing of later changes")));
    }
    if let Some(gap) = sink.find_gap().await? {
        return Ok(Some(gap));
    }
    walbrook_source_postgres::find_gap(postgres, checkpoint).await
}

fn no_gap(pipeline: &str, postgres: &Postgres) -> Error {
    Error::config("there is no gap to accept: the log goes on where the sink is, and no table has missed a change; nothing was changed")
        .on(format!("pipeline {pipeline}"))
        .remedy(format!(
            "to read one table again: ALTER PUBLICATION \"{0}\" DROP TABLE t; ALTER PUBLICATION \"{0}\" ADD TABLE t. To read \
             all again: stop walbrook, SELECT pg_drop_replication_slot('{1}'), then accept the gap that this makes",
            postgres.publication, postgres.slot
        ))
}
