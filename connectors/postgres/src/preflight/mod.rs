//! What stands between the settings and a running pipeline: each finding names its object and what mends it.
//!
//! Only looks, changes nothing. Each check is a function of what was looked up, so that it can be tried without a server.

mod server;
mod tables;

use walbrook_config::Postgres;
use walbrook_model::{Finding, Result, TableId};

use crate::connection::ReplicationConnection;
use crate::tables::selection;
use crate::{continuity, sql};

/// Looks at the server, the role, the tables, the publication and the slot. Errors come first.
pub async fn preflight(settings: &Postgres) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = look(settings, &mut findings).await {
        findings.push(Finding::from_error(&error, &format!("server {}", settings.host)));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// The tables that the settings name, in order of their names.
///
/// # Errors
/// If the server cannot be asked.
pub async fn captured_tables(settings: &Postgres) -> Result<Vec<TableId>> {
    let client = sql::connect(settings).await?;
    let selection = selection::select(&client, &settings.tables).await?;
    Ok(selection.captured.into_iter().map(|(_, table)| table).collect())
}

async fn look(settings: &Postgres, findings: &mut Vec<Finding>) -> Result<()> {
    let client = sql::connect(settings).await?;
    let server = server::look(&client, settings).await?;
    findings.extend(server::check(&server, settings));
    if server.may_replicate() {
        match look_at_slot(settings).await {
            Ok(slot) => findings.extend(server::check_slot(&server, slot.as_ref(), settings)),
            Err(error) => findings.push(Finding::from_error(&error, "replication connection")),
        }
    }
    tables::look(&client, settings, &server, findings).await
}

/// By a replication connection, which shows that the server lets one in.
async fn look_at_slot(settings: &Postgres) -> Result<Option<continuity::Slot>> {
    let mut connection = ReplicationConnection::connect(settings).await?;
    continuity::slot(&mut connection, &settings.slot).await
}

#[cfg(test)]
mod tests;
