//! Makes and drops replication slots.

use walbrook_model::{Error, Result};

use crate::connection::ReplicationConnection;
use crate::continuity::{self, gap};
use crate::events;
use crate::sql::quote_ident;
use crate::wire::Lsn;

/// A slot that was just made.
#[derive(Debug)]
pub(crate) struct Created {
    /// Where it begins: commits whose record begins at or after it are streamed, all others are in the snapshot.
    pub(crate) position: Lsn,
    /// The exported snapshot; it lives as long as its connection runs no further command.
    pub(crate) snapshot: Option<String>,
}

/// Makes the slot of the stream; waits for every transaction that runs now. Since version 17 it goes along with a
/// failover, if the server's standbys are set up for that.
pub(crate) async fn create(connection: &mut ReplicationConnection, name: &str, export: bool) -> Result<Created> {
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
