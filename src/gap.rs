//! `walbrook gap accept`: the operator's way out of a gap.

use std::process::ExitCode;

use tracing::info;
use walbrook_config::Config;
use walbrook_model::Result;

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
    let checkpoint = sink.recorded_checkpoint().await?;
    let accepted = walbrook_source_postgres::accept_gap(&pipeline.config.postgres, checkpoint.as_ref(), reason).await?;
    sink.accept_gap(Some(accepted.checkpoint), &accepted.lineage, accepted.generation).await?;
    info!(reason, "gap accepted");
    Ok(())
}
