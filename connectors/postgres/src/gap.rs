//! Gaps as an operator meets them: whether there is one, and what accepting it means.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;
use walbrook_config::{Postgres, SnapshotMode};
use walbrook_model::{Checkpoint, Error, ErrorKind, Lineage, Result};

use crate::catalog::{Catalog, Fault};
use crate::checkpoint::{AcceptedGap, Phase, Progress};
use crate::connection::ReplicationConnection;
use crate::continuity::Slot;
use crate::source::PostgresSource;
use crate::sql::quote_ident;
use crate::{continuity, events, stream};

/// How often, and how far apart, a slot in use is looked at again.
const ENDING_LOOKS: u32 = 20;
const ENDING_PAUSE: Duration = Duration::from_millis(100);

/// The gap that a pipeline would stand in which starts at `checkpoint`, if there is one. Nothing is changed at the server.
///
/// # Errors
/// What keeps that from being established, a connection that breaks for instance.
pub async fn find_gap(settings: &Postgres, checkpoint: Option<&Checkpoint>) -> Result<Option<Error>> {
    let proven = async {
        let from = checkpoint.map(Progress::from_checkpoint).transpose()?;
        let progress = PostgresSource::new(settings.clone()).prove(from).await?;
        if progress.phase == Phase::Intent || settings.snapshot.mode == SnapshotMode::Only {
            return Ok(());
        }
        stream::prove(settings, &progress).await?;
        untold(settings, progress).await
    };
    match proven.await {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Gap => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// What changed in the tables without a change in the log, since they were read or last looked at.
async fn untold(settings: &Postgres, mut progress: Progress) -> Result<()> {
    let mut catalog = Catalog::new(Arc::new(settings.clone()));
    catalog.judge_all(&mut progress).await?;
    match catalog.untold().values().next() {
        Some(Fault { table, error }) => Err(Error::gap(error.message()).on(format!("table {table}"))),
        None => Ok(()),
    }
}

/// What the sink must hear of an accepted gap.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Where the source begins anew.
    pub checkpoint: Checkpoint,
    /// The log that it reads from there.
    pub lineage: Lineage,
    /// The generation that its order tokens have from there.
    pub generation: u16,
}

/// The slot, in use only if it stays so: who looked at the log a moment ago, ourselves perhaps, is about to end.
async fn free_slot(connection: &mut ReplicationConnection, name: &str) -> Result<Option<Slot>> {
    for _ in 0..ENDING_LOOKS {
        match continuity::slot(connection, name).await? {
            Some(slot) if slot.active => sleep(ENDING_PAUSE).await,
            slot => return Ok(slot),
        }
    }
    continuity::slot(connection, name).await
}

/// Accepts a gap: returns the checkpoint of a new generation, in which every table is read again. The caller writes it
/// into the sink; until then the pipeline stays in its gap. The old slot is dropped, if it is there and not in use.
///
/// # Errors
/// Config if the slot is in use or all generations are used up.
pub async fn accept_gap(settings: &Postgres, checkpoint: Option<&Checkpoint>, reason: &str) -> Result<Accepted> {
    let old = checkpoint.map(Progress::from_checkpoint).transpose()?;
    let mut connection = ReplicationConnection::connect(settings).await?;
    let server = continuity::identify(&mut connection).await?;
    if let Some(slot) = free_slot(&mut connection, &settings.slot).await? {
        let on_slot = |error: Error| error.on(format!("slot {}", settings.slot));
        if slot.active {
            return Err(on_slot(Error::config("the slot is in use")).remedy("stop the walbrook that reads it"));
        }
        if slot.database.as_deref().is_some_and(|database| database != server.database) {
            return Err(on_slot(Error::config("the slot belongs to another database"))
                .remedy("name another in source.postgres.slot"));
        }
        connection.query(&format!("DROP_REPLICATION_SLOT {}", quote_ident(&settings.slot))).await?;
    }
    let (mut gaps, left, left_at, emitted_max) = match old {
        Some(old) => (old.gaps, old.generation, old.position, old.emitted_max),
        None => (Vec::new(), 0, crate::wire::Lsn::default(), walbrook_model::Seq::ZERO),
    };
    let generation = left.saturating_add(1);
    walbrook_model::Seq::new(generation, 0, 0, 0)
        .map_err(|error| Error::config("no generation is left, name another pipeline").because(error))?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_us = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
    gaps.push(AcceptedGap { reason: reason.to_owned(), at_us, generation, left_at });
    let progress =
        Progress { system_id: server.system_id, generation, gaps, emitted_max, ..Progress::intent(settings) };
    events::gap_accepted(&settings.slot, generation, reason);
    Ok(Accepted { checkpoint: progress.to_checkpoint()?, lineage: progress.lineage(), generation })
}
