//! What the server's errors mean for us. SQLSTATE decides, since the text may come in any language.
//!
//! No cell value passes: the text of errors that may quote one is withheld.

use std::fmt;

use tokio_postgres::error::DbError;
use walbrook_config::Postgres;
use walbrook_model::{Error, ErrorKind};

use crate::sql::quote_ident;

/// The longest text of the server that we repeat, characters.
const TEXT_MAX: usize = 1_000;

/// What the server said, without data. The cause of the [`Error`]s that come from it.
#[derive(Debug)]
pub(crate) struct ServerError {
    severity: String,
    code: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    routine: Option<String>,
}

impl ServerError {
    /// From the fields of an error or notice on the wire.
    pub(crate) fn from_fields(fields: Vec<(u8, String)>) -> Self {
        let mut error = Self::default();
        let mut localized = String::new();
        for (kind, text) in fields {
            match kind {
                b'S' => localized = text,
                b'V' => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b'R' => error.routine = Some(text),
                _ => {}
            }
        }
        if error.severity.is_empty() {
            error.severity = localized;
        }
        error.without_data()
    }

    fn from_db(error: &DbError) -> Self {
        Self {
            severity: error.severity().to_owned(),
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
            routine: error.routine().map(str::to_owned),
        }
        .without_data()
    }

    /// `ERROR`, `WARNING` and so on, in English.
    pub(crate) fn severity(&self) -> &str {
        &self.severity
    }

    /// The SQLSTATE.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The text, fit for a log.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The error that it means.
    pub(crate) fn into_error(self) -> Error {
        let (kind, remedy) = judge(&self.code, &self.message, self.routine.as_deref().unwrap_or_default());
        let error = Error::new(kind, self.message.clone()).because(self);
        match remedy {
            Some(remedy) => error.remedy(remedy),
            None => error,
        }
    }

    fn without_data(mut self) -> Self {
        if may_quote_data(&self.code) {
            self.message = String::from("the server met a value that it cannot handle (its text is withheld)");
            self.detail = None;
            self.hint = None;
        }
        self.severity = printable(&self.severity);
        self.code = printable(&self.code);
        self.message = printable(&self.message);
        self.detail = self.detail.as_deref().map(printable);
        self.hint = self.hint.as_deref().map(printable);
        self.routine = self.routine.as_deref().map(printable);
        self
    }
}

impl Default for ServerError {
    fn default() -> Self {
        let message = "the server gave no reason".to_owned();
        Self { severity: String::new(), code: String::new(), message, detail: None, hint: None, routine: None }
    }
}

impl fmt::Display for ServerError {
    /// What the message of the error does not say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.severity, self.code)?;
        for text in [&self.detail, &self.hint].into_iter().flatten() {
            write!(f, ", {text}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

/// The SQLSTATE of an error, if it came from the server.
pub(crate) fn sqlstate(error: &Error) -> Option<&str> {
    std::error::Error::source(error)?.downcast_ref::<ServerError>().map(ServerError::code)
}

/// What an error of `tokio-postgres` means.
pub(crate) fn from_sql(error: tokio_postgres::Error) -> Error {
    if let Some(db) = error.as_db_error() {
        return ServerError::from_db(db).into_error();
    }
    let source = std::error::Error::source(&error);
    let broken = error.is_closed() || source.is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
    // The kinds are not public; this one is the server's doing, the rest (a wrong type of a column, say) is ours.
    let foreign = source.is_none() && error.to_string().starts_with("unexpected message");
    if broken || foreign {
        Error::transient("the connection to the server broke").because(error)
    } else {
        Error::bug("a query was used wrongly").because(error)
    }
}

/// What an error of the socket means.
pub(crate) fn from_io(error: std::io::Error) -> Error {
    Error::transient("the connection to the server broke").because(error)
}

/// An error while a session starts: some codes mean something else there, and the remedies name the role.
pub(crate) fn at_startup(error: Error, settings: &Postgres) -> Error {
    let (role, database) = (quote_ident(&settings.user), quote_ident(&settings.database));
    let (kind, remedy) = match sqlstate(&error) {
        Some("28P01") => {
            let remedy = format!("ALTER ROLE {role} PASSWORD '...', or correct source.postgres.password_file");
            (ErrorKind::Config, remedy)
        }
        Some("28000") => {
            let rule = format!("hostssl {database} {role} <our address> scram-sha-256");
            let remedy = format!("ALTER ROLE {role} LOGIN, and let the role in with a line of pg_hba.conf: {rule}");
            (ErrorKind::Config, remedy)
        }
        Some("42501") => {
            let remedy = format!("ALTER ROLE {role} REPLICATION; GRANT CONNECT ON DATABASE {database} TO {role}");
            (ErrorKind::Config, remedy)
        }
        Some("3D000") => (ErrorKind::Config, "correct source.postgres.database".to_owned()),
        Some("42704" | "22023" | "08P01" | "0A000") => {
            let remedy = "connect to the server itself (PostgreSQL 14 or later), not through a connection pooler";
            (ErrorKind::Config, remedy.to_owned())
        }
        _ => return error,
    };
    error.with_kind(kind).remedy(remedy)
}

/// What the caller should do, and the operator. Codes: appendix A of the server's manual.
fn judge(code: &str, message: &str, routine: &str) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind::{Bug, Config, Data, Gap, Transient};
    let wal_level = "ALTER SYSTEM SET wal_level = 'logical', then restart the server";
    let slots = "raise max_replication_slots, or drop a slot that nobody reads: SELECT pg_drop_replication_slot('...')";
    let sessions = "raise max_connections and max_wal_senders, or the role's CONNECTION LIMIT";
    let pooler = "connect to the server itself, not through a connection pooler";
    let in_use = "if it does not end by itself: SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
                  WHERE slot_name = '...'";
    match code {
        "55006" => (Transient, Some(in_use)),
        "53300" => (Transient, Some(sessions)),
        "53400" => (Transient, Some(slots)),
        // Names of settings are the same in every language. All else in this state is about the slot: invalidated,
        // of another database, physical.
        "55000" if message.contains("wal_level") => (Config, Some(wal_level)),
        // 42704: a slot or a publication that is not there.
        "55000" | "42704" => (Gap, None),
        // A file that is not there: of the log, or else a library of an extension.
        "58P01" if message.contains("WAL") || routine.contains("egment") => (Gap, None),
        "26000" | "34000" => (Config, Some(pooler)),
        // 57P04: the database was dropped. 22023: an option of ours.
        "58P01" | "57P04" | "22023" => (Config, None),
        // The catalog moved between our look at it and our use of it, or another process of ours was faster; 25P0x: a
        // time limit.
        "42P01" | "42703" | "42710" | "25P03" | "25P04" => (Transient, None),
        _ => match code.get(..2).unwrap_or_default() {
            "22" | "23" | "P0" | "38" | "39" => (Data, None),
            "25" => (Bug, None),
            "0A" | "0L" | "0P" | "28" | "3D" | "3F" | "42" | "54" | "F0" => (Config, None),
            _ => (Transient, None),
        },
    }
}

/// Whether the text of an error with this code may quote a cell.
fn may_quote_data(code: &str) -> bool {
    // 22023 speaks of settings and options, which are ours.
    code != "22023" && matches!(code.get(..2), Some("21" | "22" | "23" | "38" | "39" | "44" | "HV" | "P0"))
}

/// Text of the server, fit for a terminal and a log: bounded, on one line, without control characters.
fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(TEXT_MAX));
    for (count, char) in text.chars().enumerate() {
        if count == TEXT_MAX {
            clean.push_str("...");
            break;
        }
        match char {
            '\n' | '\t' => clean.push(' '),
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}' => {
                clean.extend(char.escape_unicode());
            }
            char if char.is_control() => clean.extend(char.escape_unicode()),
            char => clean.push(char),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(code: &str, message: &str) -> ServerError {
        let fields = [(b'S', "FEHLER"), (b'V', "ERROR"), (b'C', code), (b'M', message), (b'D', "detail")];
        ServerError::from_fields(fields.map(|(kind, text)| (kind, text.to_owned())).into())
    }

    #[track_caller]
    fn check(code: &str, message: &str, kind: ErrorKind) {
        assert_eq!(server_error(code, message).into_error().kind(), kind, "{code} {message}");
    }

    #[test]
    fn sqlstate_decides_what_to_do() {
        use ErrorKind::{Bug, Config, Data, Gap, Transient};
        check("28P01", "password authentication failed", Config);
        check("42501", "permission denied for table t", Config);
        check("3D000", "database does not exist", Config);
        check("55006", "replication slot \"s\" is active for PID 1", Transient);
        check("57P01", "terminating connection due to administrator command", Transient);
        check("57P03", "the database system is starting up", Transient);
        check("08006", "connection failure", Transient);
        check("53300", "too many connections", Transient);
        check("53400", "all replication slots are in use", Transient);
        check("55P03", "canceling statement due to lock timeout", Transient);
        check("40001", "could not serialize access", Transient);
        check("XX000", "cache lookup failed", Transient);
        check("42704", "replication slot \"s\" does not exist", Gap);
        check("55000", "can no longer get changes from replication slot \"s\"", Gap);
        check("55000", "von Replikations-Slot »s« können keine Änderungen mehr gelesen werden", Gap);
        check("55000", "logical decoding requires wal_level >= logical", Config);
        check("58P01", "requested WAL segment 000000010000000000000001 has already been removed", Gap);
        check("58P01", "could not access file \"$libdir/postgis-3\": No such file or directory", Config);
        check("42601", "syntax error", Config);
        check("22P05", "character has no equivalent", Data);
        check("25006", "cannot execute INSERT in a read-only transaction", Bug);
        check("", "", Transient);
        check("é2", "not a code", Transient);
    }

    #[test]
    fn an_error_tells_the_servers_words_and_code() {
        let error = server_error("57P01", "bye").into_error();
        assert_eq!(error.to_string(), "bye: ERROR 57P01, detail");
        assert_eq!(sqlstate(&error), Some("57P01"));
        assert_eq!(sqlstate(&Error::config("other")), None);
    }

    #[test]
    fn a_text_that_may_quote_a_cell_is_withheld() {
        for code in ["22P02", "22021", "23505", "P0001"] {
            let error = server_error(code, "invalid input syntax for type integer: \"canary\"").into_error();
            assert!(!format!("{error} {error:?}").contains("canary"), "{code}");
            assert_eq!(sqlstate(&error), Some(code));
        }
    }

    #[test]
    fn text_is_fit_for_a_log() {
        assert_eq!(printable("two\nlines \u{1b}[31m red \u{202e}"), "two lines \\u{1b}[31m red \\u{202e}");
        assert_eq!(printable(&"x".repeat(5_000)).len(), TEXT_MAX + 3);
        assert_eq!(printable("été"), "été");
    }
}
