//! Makes and drops replication slots.
//!
//! # A slot that was made beside a change of the catalog
//!
//! A server that decodes from a new slot builds its view of the catalog anew, from the slot's `restart_lsn` on. It does not
//! note what a transaction did to the catalog before the server knows all that runs (only while a snapshot is to be
//! exported does it take every transaction for such a one), and keeps a view that was made before such a transaction ended
//! (`SnapBuildFindSnapshot`, `SnapBuildCommitTxn`). Rows that follow are decoded as if the change had never been, until
//! another one is noted: with the columns from before it, or, after a `TRUNCATE`, not at all (`could not map filenode`, for
//! ever). Versions 15 and 18 were seen to. A slot beside which the catalog changed is therefore dropped and made again.

use std::time::Duration;

use tokio::time::sleep;
use walbrook_config::Postgres;
use walbrook_model::{Error, Result};

use crate::connection::{CopyConnection, ReplicationConnection};
use crate::continuity::{self, gap};
use crate::events;
use crate::sql::{quote_ident, quote_literal};
use crate::wire::Lsn;

/// How often a slot is made before one is taken beside which the catalog changed.
const ATTEMPTS: u32 = 6;
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// A slot that was just made.
#[derive(Debug)]
pub(crate) struct Created {
    /// Where it begins: commits whose record begins at or after it are streamed, all others are in the snapshot.
    pub(crate) position: Lsn,
    /// The exported snapshot; it lives as long as its connection runs no further command.
    pub(crate) snapshot: Option<String>,
}

/// Makes the slot of the stream, beside no change of the catalog if that can be had; waits for every transaction that
/// runs now.
pub(crate) async fn create(
    connection: &mut ReplicationConnection,
    settings: &Postgres,
    export: bool,
) -> Result<Created> {
    let name = &settings.slot;
    let mut pause = PAUSE_FIRST;
    let mut attempt = 1;
    loop {
        let oldest = oldest_running(connection).await?;
        let made = create_once(connection, name, export).await?;
        let Some(relation) = changed_since(settings, &oldest, made.snapshot.as_deref()).await? else {
            return Ok(made);
        };
        if attempt == ATTEMPTS {
            events::slot_beside_change(name, &relation);
            return Ok(made);
        }
        events::slot_made_again(name, &relation);
        connection.query(&format!("DROP_REPLICATION_SLOT {}", quote_ident(name))).await?;
        sleep(pause).await;
        pause *= 2;
        attempt += 1;
    }
}

/// The oldest transaction that may still change something.
async fn oldest_running(connection: &mut ReplicationConnection) -> Result<String> {
    const QUERY: &str =
        "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint % 4294967296";
    let rows = connection.query(QUERY).await?;
    let cell = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
    cell.filter(|text| text.parse::<u32>().is_ok())
        .ok_or_else(|| Error::transient("the server does not tell its oldest transaction"))
}

/// A relation whose description a transaction changed that is not older than `oldest`: what the exported snapshot sees,
/// or else what is there now. Temporary ones are not in the log.
async fn changed_since(settings: &Postgres, oldest: &str, snapshot: Option<&str>) -> Result<Option<String>> {
    let mut client = CopyConnection::connect(settings).await?;
    let import = snapshot.map_or_else(String::new, |name| format!("SET TRANSACTION SNAPSHOT {};", quote_literal(name)));
    client.query(&format!("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; {import}")).await?;
    // Rows that were frozen long ago may bear any number, also one ahead of the present.
    let young = format!("BETWEEN 0 AND pg_catalog.age('{oldest}'::pg_catalog.xid)");
    let query = format!(
        "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c \
         WHERE c.relpersistence <> 't' AND (pg_catalog.age(c.xmin) {young} \
         OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND pg_catalog.age(a.xmin) {young}) \
         OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND pg_catalog.age(i.xmin) {young}) \
         OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel p WHERE p.prrelid = c.oid AND pg_catalog.age(p.xmin) {young})) \
         LIMIT 1"
    );
    Ok(client.query(&query).await?.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
}

/// Since version 17 the slot goes along with a failover, if the server's standbys are set up for that.
async fn create_once(connection: &mut ReplicationConnection, name: &str, export: bool) -> Result<Created> {
    const QUERY: &str =
        "SELECT current_setting('server_version_num')::int >= 170000 AND NOT pg_catalog.pg_is_in_recovery()";
    let rows = connection.query(QUERY).await?;
    let failover = rows.first().and_then(|row| row.first()).and_then(Option::as_deref) == Some("t");
    let options = match (failover, export) {
        (true, true) => "(SNAPSHOT 'export', FAILOVER true)",
        (true, false) => "(SNAPSHOT 'nothing', FAILOVER true)",
        // The form that version 14 knows.
        (false, true) => "EXPORT_SNAPSHOT",
        (false, false) => "NOEXPORT_SNAPSHOT",
    };
    let made = run(connection, name, &format!("LOGICAL pgoutput {options}")).await?;
    events::slot_created(name, made.position, failover);
    Ok(made)
}

/// Makes a slot that is gone with its connection, for the snapshot that it exports.
pub(crate) async fn create_temporary(connection: &mut ReplicationConnection, name: &str) -> Result<Created> {
    run(connection, name, "TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT").await
}

async fn run(connection: &mut ReplicationConnection, name: &str, how: &str) -> Result<Created> {
    let command = format!("CREATE_REPLICATION_SLOT {} {how}", quote_ident(name));
    let rows = connection.query(&command).await.map_err(|error| error.on(format!("slot {name}")))?;
    let cell = |index: usize| rows.first().and_then(|row| row.get(index)).and_then(Option::as_deref);
    let position: Lsn = cell(1)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::transient("the server does not tell where its new slot begins"))?;
    Ok(Created { position, snapshot: cell(2).map(str::to_owned) })
}

/// Drops the slot that an interrupted first start left: the durable intent says that it is ours, and that nothing which
/// was read from it is in a checkpoint.
pub(crate) async fn drop_unused(connection: &mut ReplicationConnection, name: &str) -> Result<()> {
    let Some(slot) = continuity::slot(connection, name).await? else { return Ok(()) };
    if slot.active {
        let error = Error::transient("the slot of an interrupted first start is still in use");
        return Err(error.on(format!("slot {name}")));
    }
    connection.query(&format!("DROP_REPLICATION_SLOT {}", quote_ident(name))).await?;
    events::unused_slot_dropped(name);
    Ok(())
}

/// Refuses a first start over a slot that somebody made.
pub(crate) fn refuse_foreign(name: &str) -> Error {
    gap("the replication slot exists, but the sink has no checkpoint: what was read from it is not known")
        .on(format!("slot {name}"))
}
