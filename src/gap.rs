//! `walbrook gap accept`: the operator's way out of a gap, and only that: without a gap it is refused.

use std::process::ExitCode;

use tracing::info;
use walbrook_config::{Config, SnapshotMode};
use walbrook_lake_merge::LakeSink;
use walbrook_model::{Checkpoint, Error, Result};

use crate::exit;
use crate::run::Pipeline;

/// Writes a checkpoint of a new generation into the sink. A daemon that waits in the gap sees it and goes on; else the
/// next `walbrook run` does.
pub(crate) async fn accept(config: Config, reason: &str) -> ExitCode {
    match write(config, reason).await {
        Ok(()) => {
            println!(
                "accepted: every table is read again in a new generation, and what the source no longer has is swept"
            );
            ExitCode::SUCCESS
        }
        Err(error) => exit::report(&error),
    }
}

async fn write(config: Config, reason: &str) -> Result<()> {
    let pipeline = Pipeline::new(config)?;
    let mut sink = pipeline.lake_sink();
    // What the sink calls a gap of its own is accepted as well: only the record of the checkpoint counts here.
    let checkpoint = loop {
        let checkpoint = sink.recorded_checkpoint().await?;
        // Accepting drops the slot, also under a daemon whose first snapshot is on its way.
        let Some(cause) = gap(&pipeline, &sink, checkpoint.as_ref()).await? else {
            return Err(no_gap(&pipeline.config));
        };
        // A daemon that goes on meanwhile moves slot and tables past a checkpoint that is not the newest.
        if sink.recorded_checkpoint().await? == checkpoint {
            info!(%cause, "the gap");
            break checkpoint;
        }
    };
    let accepted = walbrook_source_postgres::accept_gap(&pipeline.config.postgres, checkpoint.as_ref(), reason).await?;
    sink.accept_gap(Some(accepted.checkpoint), &accepted.lineage, accepted.generation).await?;
    info!(reason, "gap accepted");
    Ok(())
}

/// The gap, if there is one. Without a checkpoint nothing has begun that could be harmed, but the lake may hold data of
/// which nobody knows how far it is; a snapshot without a stream has no log to be judged by.
async fn gap(pipeline: &Pipeline, sink: &LakeSink, checkpoint: Option<&Checkpoint>) -> Result<Option<Error>> {
    let postgres = &pipeline.config.postgres;
    if checkpoint.is_none() {
        return Ok(Some(Error::gap("the lake has no checkpoint of this pipeline")));
    }
    if postgres.snapshot.mode == SnapshotMode::Only {
        return Ok(Some(Error::gap("a snapshot without a stream knows nothing of later changes")));
    }
    if let Some(gap) = sink.find_gap().await? {
        return Ok(Some(gap));
    }
    walbrook_source_postgres::find_gap(postgres, checkpoint).await
}

fn no_gap(config: &Config) -> Error {
    let Config { pipeline, postgres, .. } = config;
    Error::config("there is no gap to accept: the log goes on where the lake is, and no table has missed a change; nothing was changed")
        .on(format!("pipeline {}", pipeline.name))
        .remedy(format!(
            "to read one table again: ALTER PUBLICATION \"{0}\" DROP TABLE t; ALTER PUBLICATION \"{0}\" ADD TABLE t. To read \
             all again: stop walbrook, SELECT pg_drop_replication_slot('{1}'), then accept the gap that this makes",
            postgres.publication, postgres.slot
        ))
}
