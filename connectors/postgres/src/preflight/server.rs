//! The server, our role, and the replication slot.

use tokio_postgres::Client;
use walbrook_config::{Postgres, SnapshotMode};
use walbrook_model::{Finding, Result};

use crate::continuity::Slot;
use crate::sql::{self, quote_ident, quote_literal};

/// The newest major version that walbrook is tested with.
const VERSION_MAX: i32 = 18;
/// A bound on kept WAL below this ends a pipeline that pauses for a short while on a busy server.
const KEEP_MB_MIN: i64 = 1024;

/// The server and our role, as they show themselves.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Server {
    /// As in `server_version_num`.
    pub(super) version: i32,
    pub(super) wal_level: String,
    pub(super) standby: bool,
    pub(super) slots_max: i64,
    pub(super) slots_used: i64,
    pub(super) senders_max: i64,
    pub(super) senders_used: i64,
    /// `max_slot_wal_keep_size`; -1 for no bound.
    pub(super) keep_mb: i64,
    /// `idle_replication_slot_timeout` (since version 18); 0 for none.
    pub(super) idle_timeout_seconds: i64,
    pub(super) superuser: bool,
    pub(super) replication: bool,
    pub(super) bypasses_row_security: bool,
    /// May make a publication in the database.
    pub(super) creates: bool,
    pub(super) slot_exists: bool,
}

const QUERY: &str = "\
    SELECT current_setting('server_version_num')::int, current_setting('wal_level'), pg_is_in_recovery(), \
        current_setting('max_replication_slots')::bigint, (SELECT count(*) FROM pg_replication_slots), \
        current_setting('max_wal_senders')::bigint, (SELECT count(*) FROM pg_stat_get_wal_senders()), \
        (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), \
        coalesce((SELECT setting::bigint FROM pg_settings WHERE name = 'idle_replication_slot_timeout'), 0), \
        r.rolsuper, r.rolreplication, r.rolbypassrls, has_database_privilege(current_database(), 'CREATE'), \
        EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1::text) \
    FROM pg_roles r WHERE r.rolname = current_user";

/// Looks at the server.
pub(super) async fn look(client: &Client, settings: &Postgres) -> Result<Server> {
    let row = client.query_one(QUERY, &[&settings.slot]).await.map_err(sql::error)?;
    let read = || -> Result<Server, tokio_postgres::Error> {
        Ok(Server {
            version: row.try_get(0)?,
            wal_level: row.try_get(1)?,
            standby: row.try_get(2)?,
            slots_max: row.try_get(3)?,
            slots_used: row.try_get(4)?,
            senders_max: row.try_get(5)?,
            senders_used: row.try_get(6)?,
            keep_mb: row.try_get(7)?,
            idle_timeout_seconds: row.try_get(8)?,
            superuser: row.try_get(9)?,
            replication: row.try_get(10)?,
            bypasses_row_security: row.try_get(11)?,
            creates: row.try_get(12)?,
            slot_exists: row.try_get(13)?,
        })
    };
    read().map_err(sql::error)
}

impl Server {
    /// Whether our role may open a replication connection.
    pub(super) fn may_replicate(&self) -> bool {
        self.superuser || self.replication
    }
}

/// All checks of the server and the role.
pub(super) fn check(server: &Server, settings: &Postgres) -> Vec<Finding> {
    let checks = [
        check_version(server),
        check_standby(server),
        check_wal_level(server),
        check_free_slots(server, settings),
        check_replication_right(server, settings),
        check_too_many_rights(server, settings),
        check_kept_wal(server),
        check_idle_timeout(server),
    ];
    checks.into_iter().flatten().collect()
}

/// An older one refuses the connection already.
fn check_version(server: &Server) -> Option<Finding> {
    let major = server.version / 10_000;
    (major > VERSION_MAX).then(|| {
        let what = format!("the server is PostgreSQL {major}, newer than any that walbrook was tested with");
        Finding::warning("server", what, "upgrade walbrook")
    })
}

fn check_standby(server: &Server) -> Option<Finding> {
    let remedy = "name the primary in source.postgres.host";
    server.standby.then(|| Finding::error("server", "the server is a standby: it cannot export a snapshot", remedy))
}

fn check_wal_level(server: &Server) -> Option<Finding> {
    (server.wal_level != "logical").then(|| {
        let what = format!("wal_level is {}, the log does not hold what is needed to decode it", server.wal_level);
        Finding::error("setting wal_level", what, "ALTER SYSTEM SET wal_level = 'logical'; then restart the server")
    })
}

/// One slot for the stream unless it is there, and a temporary one while tables are read later on.
fn check_free_slots(server: &Server, settings: &Postgres) -> Option<Finding> {
    let own = i64::from(!server.slot_exists || settings.snapshot.mode == SnapshotMode::Only);
    let free = server.slots_max - server.slots_used;
    let object = "setting max_replication_slots";
    let remedy = format!("ALTER SYSTEM SET max_replication_slots = {}; then restart the server", server.slots_used + 2);
    if free < own {
        return Some(Finding::error(object, format!("all {} replication slots are in use", server.slots_max), remedy));
    }
    let later = own + i64::from(settings.snapshot.mode == SnapshotMode::Initial);
    let what = "no replication slot is left for a table that must be read later on";
    (free < later).then(|| Finding::warning(object, what, remedy))
}

fn check_replication_right(server: &Server, settings: &Postgres) -> Option<Finding> {
    let role = quote_ident(&settings.user);
    (!server.may_replicate()).then(|| {
        let what = "the role may not open a replication connection";
        Finding::error(format!("role {}", settings.user), what, format!("ALTER ROLE {role} REPLICATION"))
    })
}

fn check_too_many_rights(server: &Server, settings: &Postgres) -> Option<Finding> {
    let role = quote_ident(&settings.user);
    let (what, remedy) = if server.superuser {
        let remedy = format!(
            "CREATE ROLE walbrook LOGIN REPLICATION, GRANT SELECT on the captured tables, and name it instead of {role} \
             in source.postgres.user"
        );
        ("the role is a superuser, which is far more than walbrook needs", remedy)
    } else if server.bypasses_row_security {
        ("the role bypasses row level security in every table", format!("ALTER ROLE {role} NOBYPASSRLS"))
    } else {
        return None;
    };
    Some(Finding::warning(format!("role {}", settings.user), what, remedy))
}

fn check_kept_wal(server: &Server) -> Option<Finding> {
    let what = match server.keep_mb {
        -1 => "no bound is set: while walbrook is stopped, WAL is kept until the server's disk is full".to_owned(),
        megabytes if megabytes < KEEP_MB_MIN => {
            format!("only {megabytes} MB of WAL are kept for a slot: a short pause of walbrook ends in a gap")
        }
        _ => return None,
    };
    let remedy = "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB' (what the disk can spare); SELECT pg_reload_conf()";
    Some(Finding::warning("setting max_slot_wal_keep_size", what, remedy))
}

fn check_idle_timeout(server: &Server) -> Option<Finding> {
    let seconds = server.idle_timeout_seconds;
    (seconds > 0).then(|| {
        let what = format!("the server invalidates a slot that nobody reads for {seconds} s: a longer stop is a gap");
        let remedy =
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0, or longer than any stop; SELECT pg_reload_conf()";
        Finding::warning("setting idle_replication_slot_timeout", what, remedy)
    })
}

/// All checks of the slot. `slot` was seen by a replication connection of ours, which took a WAL sender itself.
pub(super) fn check_slot(server: &Server, slot: Option<&Slot>, settings: &Postgres) -> Vec<Finding> {
    let active = slot.is_some_and(|slot| slot.active);
    let mut findings: Vec<Finding> = check_free_senders(server, active).into_iter().collect();
    if let Some(slot) = slot {
        findings.extend(check_kind_of_slot(slot, settings));
        findings.push(check_state_of_slot(slot, settings));
    }
    findings
}

fn check_free_senders(server: &Server, active: bool) -> Option<Finding> {
    // The stream, and the connection that exports a snapshot meanwhile.
    let wanted = if active { 1 } else { 2 };
    (server.senders_max - server.senders_used < wanted).then(|| {
        let what = format!("{} of {} WAL senders are in use", server.senders_used, server.senders_max);
        let remedy =
            format!("ALTER SYSTEM SET max_wal_senders = {}; then restart the server", server.senders_used + wanted);
        Finding::warning("setting max_wal_senders", what, remedy)
    })
}

fn check_kind_of_slot(slot: &Slot, settings: &Postgres) -> Option<Finding> {
    let plugin = slot.plugin.as_deref().unwrap_or("no plugin");
    let foreign = slot.database.as_deref() != Some(settings.database.as_str());
    (slot.kind != "logical" || plugin != "pgoutput" || slot.temporary || foreign).then(|| {
        let database = slot.database.as_deref().unwrap_or("no database");
        let what = format!("a {} slot with {plugin} of {database} has this name", slot.kind);
        Finding::error(format!("slot {}", settings.slot), what, "name another in source.postgres.slot")
    })
}

fn check_state_of_slot(slot: &Slot, settings: &Postgres) -> Finding {
    let object = format!("slot {}", settings.slot);
    let drop = format!("SELECT pg_drop_replication_slot({})", quote_literal(&settings.slot));
    let wal_status = slot.wal_status.as_deref().unwrap_or("unknown");
    if wal_status == "lost" || slot.invalidation_reason.is_some() || slot.conflicting == Some(true) {
        let reason = slot.invalidation_reason.as_deref().unwrap_or(wal_status);
        let remedy = format!("walbrook gap accept FILE --reason \"...\"; before a first start: {drop}");
        return Finding::error(object, format!("the server invalidated the slot: {reason}"), remedy);
    }
    if wal_status == "unreserved" {
        let remedy = "start walbrook now, and raise max_slot_wal_keep_size";
        return Finding::error(object, "the server will soon remove WAL that the slot needs", remedy);
    }
    match slot.active_pid {
        Some(pid) => Finding::info(object, format!("the slot is read by the session with pid {pid}")),
        None => Finding::info(object, format!("the slot exists and nobody reads it, its wal_status is {wal_status}")),
    }
}
