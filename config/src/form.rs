//! The forms that a text may have: names, hosts, paths.
//!
//! A check answers with what is wrong, never with the text itself.

mod kafka;

use std::net::{IpAddr, SocketAddr};

use crate::pattern;

pub(crate) use kafka::{
    ACCOUNT, BROKER, GROUP, HTTP_URL, PLACEHOLDER, SCOPE, TOKEN_URL, TOPIC, TOPIC_NAME, TOPIC_PATTERN, TOPIC_PREFIX,
    is_plain_http, librdkafka_key, passed_through, too_long_topic, url_host,
};

/// The longest name that `PostgreSQL` keeps (`NAMEDATALEN - 1`), in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 63;

/// The levels of a log line, least first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What a text must look like.
#[derive(Debug)]
pub(crate) struct Form {
    /// What is accepted, as a phrase that can follow "expected".
    pub(crate) expected: &'static str,
    /// What is wrong with a text.
    pub(crate) check: fn(&str) -> Result<(), &'static str>,
}

pub(crate) static PIPELINE_NAME: Form =
    Form { expected: "a name of 1 to 40 characters out of a-z, 0-9 and _", check: |text| lower_name(text, 40) };

pub(crate) static SLOT_NAME: Form = Form {
    expected: "a slot name of 1 to 63 characters out of a-z, 0-9 and _",
    check: |text| lower_name(text, NAME_BYTES_MAX),
};

pub(crate) static IDENTIFIER: Form =
    Form { expected: "a name of 1 to 63 bytes without quotes or control characters", check: identifier };

pub(crate) static HOST: Form =
    Form { expected: "a host name, an IP address, or the folder of a Unix socket beginning with /", check: host };

pub(crate) static PATH: Form =
    Form { expected: "a path, absolute or from the folder in which walbrook is started", check: path };

pub(crate) static FOLDER: Form =
    Form { expected: "a folder, absolute or from the folder in which walbrook is started", check: path };

pub(crate) static NAMESPACE: Form =
    Form { expected: "a namespace of 1 to 63 characters out of A-Z, a-z, 0-9, _ and -", check: namespace };

pub(crate) static ADDRESS: Form = Form {
    expected: "an IP address and a port such as \"127.0.0.1:9187\" or \"[::1]:9187\"",
    check: |text| text.parse::<SocketAddr>().map(drop).map_err(|_| "not an IP address with a port"),
};

pub(crate) static VARIABLE: Form =
    Form { expected: "the name of an environment variable, such as \"WALBROOK_PASSWORD\"", check: variable };

pub(crate) static TABLE_PATTERN: Form = Form {
    expected: "schema.table patterns such as \"public.orders\" or \"public.*\"",
    check: |text| pattern::check(text, 2),
};

pub(crate) static COLUMN_PATTERN: Form = Form {
    expected: "schema.table.column patterns such as \"public.users.password\" or \"public.*.ssn\"",
    check: |text| pattern::check(text, 3),
};

pub(crate) static LOG_FILTER: Form = Form {
    expected: "off, error, warn, info, debug or trace; for one part target=level; several separated by commas",
    check: log_filter,
};

/// Whether a connection to `host` stays on this machine.
pub(crate) fn is_local(host: &str) -> bool {
    is_socket(host)
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether `host` is the folder of a Unix socket.
pub(crate) fn is_socket(host: &str) -> bool {
    host.starts_with('/')
}

/// Checks the name of one table, `schema.table`.
pub(crate) fn table_name(text: &str) -> Result<(), &'static str> {
    if text.contains('*') { Err("a pattern; it must name one table") } else { pattern::check(text, 2) }
}

fn lower_name(text: &str, max: usize) -> Result<(), &'static str> {
    length(text, max)?;
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("holds a capital letter");
    }
    if text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        Ok(())
    } else {
        Err("holds a character that is not allowed")
    }
}

fn namespace(text: &str) -> Result<(), &'static str> {
    length(text, NAME_BYTES_MAX)?;
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        Ok(())
    } else {
        Err("holds a character that is not allowed")
    }
}

fn identifier(text: &str) -> Result<(), &'static str> {
    length(text, NAME_BYTES_MAX)?;
    printable(text)?;
    if text.contains('"') { Err("holds a quote; write the name without quotes") } else { Ok(()) }
}

fn host(text: &str) -> Result<(), &'static str> {
    length(text, 253)?;
    printable(text)?;
    if is_socket(text) || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if text.contains("://") || text.contains('@') {
        return Err("a URL; write host, port, database and user each for itself");
    }
    if text.contains(',') {
        return Err("more than one host is not supported yet");
    }
    if text.starts_with('[') {
        return Err("an address in brackets; write it without");
    }
    if text.contains(':') {
        return Err("holds a port; write that as port = ...");
    }
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
        Ok(())
    } else {
        Err("holds a character that no host name has")
    }
}

fn path(text: &str) -> Result<(), &'static str> {
    length(text, 4096)?;
    printable(text)?;
    if text.starts_with('~') {
        return Err("begins with ~, which is not filled in; write the whole path");
    }
    if text.contains("://") { Err("a URL; only files of this machine are supported yet") } else { Ok(()) }
}

fn variable(text: &str) -> Result<(), &'static str> {
    length(text, 255)?;
    if text.starts_with('$') {
        return Err("begins with $; write the name alone");
    }
    let named = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if named && !text.starts_with(|c: char| c.is_ascii_digit()) { Ok(()) } else { Err("not the name of a variable") }
}

fn log_filter(text: &str) -> Result<(), &'static str> {
    length(text, 1024)?;
    for part in text.split(',').map(str::trim) {
        let (target, level) = part.rsplit_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err("not a level");
        }
        let named = |target: &str| {
            !target.is_empty() && target.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-'))
        };
        if target.is_some_and(|target| !named(target)) {
            return Err("holds a target that is not a module");
        }
    }
    Ok(())
}

pub(crate) fn length(text: &str, max: usize) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("empty")
    } else if text.len() > max {
        Err("too long")
    } else {
        Ok(())
    }
}

pub(crate) fn printable(text: &str) -> Result<(), &'static str> {
    if text.chars().any(char::is_control) {
        Err("holds a control character")
    } else if text.trim() != text {
        Err("begins or ends with a blank")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: &Form, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!((form.check)(text), Ok(()), "{text}");
        }
        for text in bad {
            assert!((form.check)(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        let (at_most, too_long) = ("s".repeat(63), "s".repeat(64));
        check(&SLOT_NAME, &["walbrook_shop", "s1", &at_most], &["", "Shop", "a-b", "a b", "\u{e9}", &too_long]);
        check(&PIPELINE_NAME, &["shop", &"p".repeat(40)], &["", &"p".repeat(41), "shop.eu", "shop\n"]);
        check(&IDENTIFIER, &["Shop", "my pub", "caf\u{e9}", &at_most], &["", "a\"b", "a\0b", " a", &too_long]);
        check(&NAMESPACE, &["raw", "Raw-2"], &["", "a.b", "a/b", "..", "\u{e9}"]);
        check(&VARIABLE, &["PGPASSWORD", "_x1"], &["", "$PGPASSWORD", "1x", "a-b", "a=b"]);
    }

    #[test]
    fn hosts() {
        let good = ["db", "db-1.example.com", "10.0.0.7", "::1", "fe80::1", "/var/run/postgresql"];
        let bad = ["", "db:5432", "[::1]", "postgres://u:p@db/shop", "u@db", "a,b", "d b", "db\n", " db"];
        check(&HOST, &good, &bad);
    }

    #[test]
    fn local_hosts() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "/run"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "0.0.0.0", "::", "db"] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn paths_and_addresses() {
        check(&PATH, &["/a/b", "a/b", "../a"], &["", "~/a", "s3://bucket/a", "a\0b"]);
        check(&ADDRESS, &["127.0.0.1:9187", "[::1]:0", "0.0.0.0:80"], &["", "localhost:80", "127.0.0.1", ":80"]);
    }

    #[test]
    fn log_filters() {
        check(
            &LOG_FILTER,
            &["info", "WARN", "walbrook=debug", "info, walbrook_engine::pipeline=trace"],
            &["", "inof", "walbrook", "walbrook=loud", "=info", "info,", "a[b]=info", "3"],
        );
    }
}
