//! What stands between the settings and a running pipeline: each finding names its object and what mends it.
//!
//! Only looks, changes nothing. Each check is a function of what was looked up, so that it can be tried without a server.

mod server;
mod tables;

use std::fmt;

use walbrook_config::Postgres;
use walbrook_model::{Error, Result};

use crate::connection::ReplicationConnection;
use crate::{continuity, sql};

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The pipeline would not run, or would lose something.
    Error,
    /// It runs, but look at this first.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word that is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: a table, the slot, a setting.
    pub object: String,
    /// What is the matter.
    pub what: String,
    /// The exact SQL or setting that mends it, if there is something to mend.
    pub remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity.as_str(), self.object, self.what)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n    {remedy}"),
            None => Ok(()),
        }
    }
}

impl Finding {
    fn error(object: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { severity: Severity::Error, object: object.into(), what: what.into(), remedy }
    }

    fn warning(object: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(object, what, remedy) }
    }

    fn info(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Info, object: object.into(), what: what.into(), remedy: None }
    }

    fn from_error(error: &Error, object: &str) -> Self {
        let mut what = error.message().to_owned();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            what = format!("{what}: {error}");
            cause = error.source();
        }
        let object = error.object().unwrap_or(object).to_owned();
        Self { severity: Severity::Error, object, what, remedy: error.remedy_text().map(str::to_owned) }
    }
}

/// Looks at the server, the role, the tables, the publication and the slot. Errors come first.
pub async fn preflight(settings: &Postgres) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = look(settings, &mut findings).await {
        findings.push(Finding::from_error(&error, &format!("server {}", settings.host)));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
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
