//! What happens in this source, as log lines.

use std::time::Duration;

use tracing::{error, info, warn};
use walbrook_model::{Error, TableId};

use crate::wire::Lsn;

pub(crate) fn slot_created(slot: &str, position: Lsn, failover: bool) {
    info!(slot, %position, failover, "replication slot created");
}

pub(crate) fn slot_made_again(slot: &str, relation: &str) {
    info!(slot, relation, "the catalog changed while the slot was made, which servers lose track of: it is made again");
}

pub(crate) fn slot_beside_change(slot: &str, relation: &str) {
    warn!(
        slot,
        relation,
        "the catalog changes all the time: the slot was made beside such a change, after which rows may be decoded as if \
         it had not been. Make it again (drop the slot, accept the gap) when no DDL or TRUNCATE runs"
    );
}

pub(crate) fn unused_slot_dropped(slot: &str) {
    warn!(slot, "replication slot of an interrupted first start dropped, nothing was read from it");
}

pub(crate) fn snapshot_started(tables: usize, position: Lsn, sessions: usize) {
    info!(tables, %position, sessions, "snapshot started");
}

pub(crate) fn table_read(table: &TableId, rows: u64) {
    info!(%table, rows, "table read");
}

pub(crate) fn snapshot_finished(elapsed: Duration) {
    info!(seconds = elapsed.as_secs_f64(), "snapshot finished");
}

pub(crate) fn stream_started(slot: &str, start: Lsn, covered: Lsn) {
    info!(slot, %start, %covered, "stream started");
}

pub(crate) fn server_notice(severity: &str, code: &str, message: &str) {
    warn!(severity, code, "server: {message}");
}

pub(crate) fn no_fingerprint(table: &TableId) {
    warn!(%table, "how the table looked before is not in the checkpoint: rewrites are noticed from here on");
}

pub(crate) fn new_table(table: &TableId) {
    info!(%table, "table appeared, it is read before the stream goes on");
}

pub(crate) fn membership_changed(table: &TableId) {
    warn!(%table, "table was taken out of the publication, it is read again once it is back");
}

pub(crate) fn publication_changed() {
    info!("the tables of the publication changed");
}

pub(crate) fn stream_interrupted(error: &Error, pause: Duration) {
    warn!(%error, pause_ms = pause.as_millis(), "stream interrupted, connecting again");
}

pub(crate) fn gap_found(error: &Error) {
    error!(%error, "continuity of the log is not proven");
}

pub(crate) fn gap_accepted(slot: &str, generation: u16, reason: &str) {
    warn!(slot, generation, reason, "gap accepted, all tables are read again");
}

pub(crate) fn slot_unseen(error: &Error) {
    warn!(%error, "the state of the replication slot could not be read");
}
