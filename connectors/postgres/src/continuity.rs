//! Whether the server still holds the log that the checkpoint speaks of.
//!
//! The judge is pure: what the checkpoint says and what the server shows go in, the way to resume or a gap comes out.
//! Whatever cannot be proven is a gap: nothing is repaired, nothing is acknowledged.
//!
//! Positions alone do not prove that a log is ours: a restored copy may have grown past them. So, where the slot still
//! reaches back to it, the last transaction of the checkpoint must come again with the same xid and commit time
//! ([`Resume::expect`], checked by [`crate::assemble`]).

use walbrook_config::Postgres;
use walbrook_model::{Error, ErrorKind, Result};

use crate::checkpoint::{Commit, Progress};
use crate::connection::ReplicationConnection;
use crate::sql::quote_literal;
use crate::timeline::Timelines;
use crate::wire::Lsn;

/// What a server shows of itself.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) system_id: String,
    pub(crate) database: String,
    pub(crate) timelines: Timelines,
    /// The end of its log.
    pub(crate) current: Lsn,
}

/// A row of `pg_replication_slots`; a column that the server's version does not have reads as its default.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Slot {
    pub(crate) plugin: Option<String>,
    #[serde(rename = "slot_type")]
    pub(crate) kind: String,
    pub(crate) database: Option<String>,
    pub(crate) temporary: bool,
    pub(crate) active: bool,
    pub(crate) active_pid: Option<i32>,
    pub(crate) restart_lsn: Option<Lsn>,
    pub(crate) confirmed_flush_lsn: Option<Lsn>,
    pub(crate) wal_status: Option<String>,
    pub(crate) safe_wal_size: Option<i64>,
    /// Since version 16.
    pub(crate) conflicting: Option<bool>,
    /// Since version 17.
    pub(crate) invalidation_reason: Option<String>,
}

/// How to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    /// Where the server shall begin.
    pub(crate) start: Lsn,
    /// Transactions whose commit record begins below this were handed over.
    pub(crate) covered: Lsn,
    /// The transaction that must be seen before any that is not covered.
    pub(crate) expect: Option<Commit>,
}

/// A gap, with the way on.
pub(crate) fn gap(cause: impl Into<String>) -> Error {
    Error::gap(cause).remedy(WAY_ON)
}

/// Completes a gap that the server's own words told.
pub(crate) fn with_way_on(error: Error) -> Error {
    if error.kind() == ErrorKind::Gap && error.remedy_text().is_none() { error.remedy(WAY_ON) } else { error }
}

const WAY_ON: &str =
    "find out what happened; then `walbrook gap accept FILE --reason \"...\"` takes a new snapshot in a new generation";

/// Asks the server who it is and where its log ends.
pub(crate) async fn identify(connection: &mut ReplicationConnection) -> Result<Server> {
    let rows = connection.query("IDENTIFY_SYSTEM").await?;
    let cell = |index: usize| rows.first().and_then(|row| row.get(index)).and_then(Option::as_deref);
    let unreadable = || Error::transient("IDENTIFY_SYSTEM answers what cannot be read");
    let system_id = cell(0).ok_or_else(unreadable)?.to_owned();
    let timeline: u32 = cell(1).and_then(|text| text.parse().ok()).ok_or_else(unreadable)?;
    let current: Lsn = cell(2).and_then(|text| text.parse().ok()).ok_or_else(unreadable)?;
    let database = cell(3).ok_or_else(unreadable)?.to_owned();
    let timelines = if timeline > 1 {
        let rows = connection.query(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let history = rows.first().and_then(|row| row.get(1)).and_then(Option::as_deref).ok_or_else(unreadable)?;
        Timelines::parse(timeline, history)?
    } else {
        Timelines::new(timeline, Vec::new())
    };
    Ok(Server { system_id, database, timelines, current })
}

/// Looks at a slot; `None` if it does not exist.
pub(crate) async fn slot(connection: &mut ReplicationConnection, name: &str) -> Result<Option<Slot>> {
    let sql = format!(
        "SELECT pg_catalog.to_jsonb(s) FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = {}",
        quote_literal(name)
    );
    let rows = connection.query(&sql).await?;
    let Some(json) = rows.first().and_then(|row| row.first()).and_then(Option::as_deref) else { return Ok(None) };
    let slot = serde_json::from_str(json)
        .map_err(|error| Error::bug("pg_replication_slots has another shape than expected").because(error))?;
    Ok(Some(slot))
}

/// The number of a publication; `None` if it does not exist. A recreated one has another.
pub(crate) async fn publication(connection: &mut ReplicationConnection, name: &str) -> Result<Option<u32>> {
    let sql = format!("SELECT oid FROM pg_catalog.pg_publication WHERE pubname = {}", quote_literal(name));
    let rows = connection.query(&sql).await?;
    Ok(rows.first().and_then(|row| row.first()).and_then(Option::as_deref).and_then(|oid| oid.parse().ok()))
}

/// Judges the server's identity, its history and the slot against the checkpoint.
///
/// # Errors
/// A gap with its cause.
pub(crate) fn judge(
    progress: &Progress,
    server: &Server,
    slot: Option<&Slot>,
    publication: Option<u32>,
) -> Result<Resume> {
    let covered = judge_history(progress, server)?;
    let on_slot = |cause: String| gap(cause).on(format!("slot {}", progress.slot));
    let slot = slot.ok_or_else(|| on_slot("the replication slot does not exist".into()))?;
    let confirmed = judge_slot(server, slot).map_err(on_slot)?;
    if confirmed > covered {
        return Err(on_slot(format!(
            "the slot was moved on or recreated: it begins at {confirmed}, the checkpoint is at {covered}"
        )));
    }
    judge_publication(progress, publication)?;
    let expect = progress.last_commit.filter(|last| last.final_lsn >= confirmed && last.final_lsn < covered);
    Ok(Resume { start: confirmed, covered, expect })
}

/// Judges whether the server is the one of the checkpoint.
pub(crate) fn judge_identity(progress: &Progress, server: &Server) -> Result<()> {
    if progress.system_id != server.system_id {
        return Err(gap(format!(
            "another cluster answers: its system identifier is {}, the checkpoint's is {}",
            server.system_id, progress.system_id
        )));
    }
    if progress.database != server.database {
        return Err(gap(format!("the checkpoint is of database {}", progress.database))
            .on(format!("database {}", server.database)));
    }
    Ok(())
}

/// Judges whether the publication is the one of the checkpoint.
pub(crate) fn judge_publication(progress: &Progress, publication: Option<u32>) -> Result<()> {
    let cause = match publication {
        None => "the publication does not exist",
        Some(oid) if oid != progress.publication_oid => "the publication was dropped and created again",
        Some(_) => return Ok(()),
    };
    Err(gap(cause).on(format!("publication {}", progress.publication)))
}

/// Judges whether the settings still name what the checkpoint was made with.
pub(crate) fn judge_names(progress: &Progress, settings: &Postgres) -> Result<()> {
    for (setting, now, before) in [
        ("source.postgres.database", &settings.database, &progress.database),
        ("source.postgres.slot", &settings.slot, &progress.slot),
        ("source.postgres.publication", &settings.publication, &progress.publication),
    ] {
        if now != before {
            return Err(gap(format!("it is {now} now, the checkpoint was made with {before}")).on(setting));
        }
    }
    Ok(())
}

/// Returns the position below which everything was handed over, on the server's own history.
fn judge_history(progress: &Progress, server: &Server) -> Result<Lsn> {
    judge_identity(progress, server)?;
    let known = progress.history.len();
    let current = server.timelines.current();
    if current < progress.timeline {
        return Err(gap(format!(
            "an older copy answers: it is on timeline {current}, the checkpoint on timeline {}",
            progress.timeline
        )));
    }
    if server.timelines.ancestors().get(..known) != Some(progress.history.as_slice()) {
        return Err(gap("the server's timeline history is not a continuation of the checkpoint's"));
    }
    if current == progress.timeline {
        if server.current < progress.position {
            return Err(gap(format!(
                "an older copy answers: its log ends at {}, the checkpoint is at {}",
                server.current, progress.position
            )));
        }
        return Ok(progress.position);
    }
    let Some(fork) = server.timelines.end_of(progress.timeline) else {
        return Err(gap(format!(
            "the server's timeline {current} does not descend from the checkpoint's timeline {}",
            progress.timeline
        )));
    };
    let emitted = emitted_end(progress);
    if emitted > fork {
        return Err(gap(format!(
            "timeline {current} left timeline {} at {fork}, but changes up to {emitted} were handed over: the new primary \
             never had them",
            progress.timeline
        )));
    }
    // An idle position may lie beyond the fork although nothing was read there.
    Ok(progress.position.min(fork))
}

/// The end of everything that was handed over. Idle positions do not count.
fn emitted_end(progress: &Progress) -> Lsn {
    let slices = progress.tables.iter().map(|table| table.slice);
    let newest = slices.chain([progress.emitted_max]).map(|seq| {
        // A change lies in a commit record, which begins at its position; a read saw the log up to its position.
        Lsn(seq.position() + u64::from(seq.ordinal() > 0))
    });
    let commit = progress.last_commit.map_or(Lsn::default(), |commit| commit.end_lsn);
    newest.fold(commit, Ord::max)
}

/// Returns where the slot begins.
fn judge_slot(server: &Server, slot: &Slot) -> Result<Lsn, String> {
    let plugin = slot.plugin.as_deref().unwrap_or("none");
    if slot.kind != "logical" || plugin != "pgoutput" || slot.temporary {
        return Err(format!("the slot was recreated as another: {} with plugin {plugin}", slot.kind));
    }
    if slot.database.as_deref() != Some(server.database.as_str()) {
        return Err("the slot belongs to another database".into());
    }
    if let Some(reason) = &slot.invalidation_reason {
        return Err(format!("the server invalidated the slot: {reason}"));
    }
    if slot.wal_status.as_deref() == Some("lost") {
        return Err("the server removed WAL that the slot needs (wal_status is lost)".into());
    }
    if slot.conflicting == Some(true) {
        return Err("the server invalidated the slot: it conflicts with recovery".into());
    }
    slot.confirmed_flush_lsn.ok_or_else(|| "the slot has no confirmed position".into())
}

#[cfg(test)]
mod tests;
