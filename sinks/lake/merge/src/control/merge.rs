//! What several processes of a pipeline write, as one record.
//!
//! - Entries (tables, gaps, stopped tables, and what the source's checkpoint has of each of its own) are merged one by one:
//!   see [`merge_entries`]. A table that moves is in the hands of one process at a time, and with its entry goes all that
//!   holds for it alone, up to where it is covered.
//! - What holds for all tables, `covered`, is raised by nobody: no process knows how far the others are.
//! - Logs are let in by the operator of the capture, for all: once known, always known.

use walbrook_model::{Checkpoint, MergeCheckpoints, Result, merge_entries, taken};

use super::Progress;

/// Merges `mine`, which began as `base`, into `theirs`, which is there.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Transient`] if another process has moved what this one moves.
pub(super) fn merge(
    base: &Progress,
    mine: &Progress,
    theirs: &Progress,
    checkpoints: MergeCheckpoints,
) -> Result<Progress> {
    let mut logs = theirs.logs.clone();
    for (lineage, generations) in &mine.logs {
        logs.entry(lineage.clone()).or_default().extend(generations);
    }
    Ok(Progress {
        source: source(base, mine, theirs, checkpoints)?,
        tables: merge_entries("table", &base.tables, &mine.tables, &theirs.tables)?,
        gaps: merge_entries("table", &base.gaps, &mine.gaps, &theirs.gaps)?,
        stopped: merge_entries("table", &base.stopped, &mine.stopped, &theirs.stopped)?,
        logs,
        ..theirs.clone()
    })
}

fn source(
    base: &Progress,
    mine: &Progress,
    theirs: &Progress,
    checkpoints: MergeCheckpoints,
) -> Result<Option<String>> {
    let checkpoint = |progress: &Progress| progress.source.as_deref().map(Checkpoint::new);
    match checkpoint(mine).filter(|_| mine.source != base.source) {
        Some(mine) => {
            let merged = checkpoints(checkpoint(base).as_ref(), &mine, checkpoint(theirs).as_ref())?;
            Ok(Some(merged.as_str().to_owned()))
        }
        None if mine.source == base.source || theirs.source == base.source => Ok(theirs.source.clone()),
        None => Err(taken("the checkpoint".to_owned())),
    }
}

#[cfg(test)]
mod tests;
