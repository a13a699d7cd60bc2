//! The settings that every session of ours has, whatever the server, the database or the role is set to.
//!
//! Cells are text that the server prints under the session's settings: an unpinned one would change values in silence.
//! They go with the startup message, which wins over the server's own, and are read back, since a connection pooler may
//! drop them.

use walbrook_model::{Error, Result};

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Queries and `COPY`.
    Sql,
    /// Replication commands and the stream.
    Replication,
}

/// As the server shows them.
const PINS: &[(&str, &str)] = &[
    // How values are printed.
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
    ("lc_monetary", "C"),
    // Names in values (`regclass`) always carry their schema, and no function of another schema gets into our queries.
    ("search_path", ""),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    // Rows that a policy hides are an error, not missing.
    ("row_security", "off"),
    // Nothing is ever written to the source.
    ("default_transaction_read_only", "on"),
    // A snapshot takes its time.
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("application_name", "walbrook"),
];

/// Sets what a session of SQL has.
pub(crate) const LOCK_TIMEOUT: &str = "SET lock_timeout = '10s'";

const SQL_PINS: &[(&str, &str)] = &[
    // A read that waits for an exclusive lock gives way instead of queueing for ever.
    ("lock_timeout", "10s"),
];

const REPLICATION_PINS: &[(&str, &str)] = &[
    // A new slot waits for every running transaction, and that is a lock.
    ("lock_timeout", "0"),
    // The server does not look at its clock or at our status while it prints one huge row: with its default of a minute
    // it would close the connection there, at every retry again. A client that is gone is noticed by TCP.
    ("wal_sender_timeout", "5min"),
];

fn pins(purpose: Purpose) -> impl Iterator<Item = (&'static str, &'static str)> {
    let own = match purpose {
        Purpose::Sql => SQL_PINS,
        Purpose::Replication => REPLICATION_PINS,
    };
    PINS.iter().chain(own).copied()
}

/// The parameters of the startup message.
pub(crate) fn startup<'a>(purpose: Purpose, user: &'a str, database: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut parameters: Vec<(&'a str, &'a str)> = vec![("user", user), ("database", database)];
    if purpose == Purpose::Replication {
        parameters.push(("replication", "database"));
    }
    parameters.extend(pins(purpose).map(|(name, value)| (name, value) as (&'a str, &'a str)));
    parameters
}

/// Reads the pinned settings back, in one row; [`check`] judges it. Also lifts `transaction_timeout`, which servers
/// before 17 do not know.
pub(crate) fn query(purpose: Purpose) -> String {
    use std::fmt::Write;
    let mut sql = "SELECT current_setting('server_version_num')".to_owned();
    for (name, _) in pins(purpose) {
        let _ = write!(sql, ", current_setting('{name}')");
    }
    sql.push_str(", (SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout')");
    sql
}

/// Whether the row of [`query`] says what was asked for.
pub(crate) fn check(purpose: Purpose, row: &[Option<String>]) -> Result<()> {
    let pooler = "connect to the server itself, not through a connection pooler that drops settings";
    let version = row.first().and_then(Option::as_deref).and_then(|version| version.parse::<u32>().ok());
    match version {
        None => return Err(Error::config("the server does not tell its version").remedy(pooler)),
        Some(version) if version < 140_000 => {
            return Err(Error::config("the server is older than PostgreSQL 14").remedy("upgrade the server"));
        }
        Some(_) => {}
    }
    for (index, (name, value)) in pins(purpose).enumerate() {
        if row.get(index + 1).and_then(Option::as_deref) != Some(value) {
            return Err(Error::config("the server did not take a setting of the session")
                .on(format!("setting {name}"))
                .remedy(pooler));
        }
    }
    Ok(())
}

/// Whether a parameter that the server reports on its own still has the pinned value.
pub(crate) fn check_reported(purpose: Purpose, name: &str, value: &str) -> Result<()> {
    match pins(purpose).find(|(pin, _)| *pin == name) {
        Some((_, pinned)) if pinned != value => {
            Err(Error::bug("a pinned setting of the session changed").on(format!("setting {name}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(purpose: Purpose, version: &str) -> Vec<Option<String>> {
        let values = pins(purpose).map(|(_, value)| value);
        std::iter::once(version).chain(values).map(|value| Some(value.to_owned())).collect()
    }

    #[test]
    fn the_row_must_say_what_was_asked_for() {
        for purpose in [Purpose::Sql, Purpose::Replication] {
            check(purpose, &row(purpose, "140000")).unwrap();
            check(purpose, &row(purpose, "139999")).unwrap_err();
            check(purpose, &[]).unwrap_err();
            for index in 1..row(purpose, "").len() {
                let mut changed = row(purpose, "180000");
                changed[index] = Some("other".to_owned());
                check(purpose, &changed).unwrap_err();
            }
        }
    }

    #[test]
    fn a_reported_change_of_a_pin_is_noticed() {
        check_reported(Purpose::Sql, "TimeZone", "UTC").unwrap();
        check_reported(Purpose::Sql, "in_hot_standby", "on").unwrap();
        check_reported(Purpose::Sql, "TimeZone", "Europe/Paris").unwrap_err();
    }
}
