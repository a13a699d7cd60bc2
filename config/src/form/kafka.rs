//! Forms of Kafka: brokers, topics, groups, and the address of a registry.

use super::{Form, NAME_BYTES_MAX, host, length, printable};

/// The longest name of a topic that Kafka keeps, in bytes.
const TOPIC_BYTES_MAX: usize = 249;

pub(crate) static BROKER: Form =
    Form { expected: "host:port texts such as \"kafka.example.com:9092\" or \"[::1]:9092\"", check: broker };

pub(crate) static ACCOUNT: Form =
    Form { expected: "a name of 1 to 255 bytes without control characters", check: |text| text_of(text, 255) };

pub(crate) static GROUP: Form =
    Form { expected: "a name of 1 to 255 bytes without control characters", check: |text| text_of(text, 255) };

pub(crate) static PLACEHOLDER: Form =
    Form { expected: "a text of 1 to 255 bytes without control characters", check: |text| text_of(text, 255) };

pub(crate) static TOPIC: Form =
    Form { expected: "a name of 1 to 249 characters out of A-Z, a-z, 0-9, ., _ and -", check: topic };

pub(crate) static TOPIC_PREFIX: Form = Form {
    expected: "a name of 1 to 100 characters out of A-Z, a-z, 0-9, ., _ and -",
    check: |text| length(text, 100).and_then(|()| topic(text)),
};

pub(crate) static TOPIC_NAME: Form = Form {
    expected: "{table}, and {schema} and {prefix} where wanted, such as \"{prefix}.{schema}.{table}\"; beside them A-Z, a-z, 0-9, \
               ., _ and -",
    check: topic_name,
};

pub(crate) static TOPIC_PATTERN: Form = Form {
    expected: "topics such as \"shop.public.orders\" or \"shop.public.*\"",
    check: |text| match text {
        "" | "." | ".." => topic(text),
        _ => length(text, TOPIC_BYTES_MAX).and_then(|()| topic_characters(&text.replace('*', ""))),
    },
};

pub(crate) static HTTP_URL: Form = Form {
    expected: "an address such as \"https://registry.example.com\" or \"http://127.0.0.1:8081\"",
    check: http_url,
};

pub(crate) static TOKEN_URL: Form =
    Form { expected: "an address such as \"https://login.example.com/oauth2/token\"", check: http_url };

pub(crate) static SCOPE: Form =
    Form { expected: "names of scopes, 1 to 1000 bytes in all, with one space between two", check: scope };

/// Whether a URL is one of those whose requests everyone on the way can read.
pub(crate) fn is_plain_http(url: &str) -> bool {
    url.starts_with("http://")
}

/// The host of a URL, without the brackets around an address.
pub(crate) fn url_host(url: &str) -> &str {
    let authority = authority(url);
    let end = authority.rfind(']').map_or_else(|| authority.find(':'), |at| Some(at + 1));
    authority.get(..end.unwrap_or(authority.len())).unwrap_or(authority).trim_matches(['[', ']'])
}

/// Checks the name of a key of librdkafka.
pub(crate) fn librdkafka_key(text: &str) -> Result<(), &'static str> {
    length(text, 100)?;
    if text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_')) {
        Ok(())
    } else {
        Err("not a key of librdkafka")
    }
}

/// Checks a value that is passed through to librdkafka.
pub(crate) fn passed_through(text: &str) -> Result<(), &'static str> {
    length(text, 4096)?;
    printable(text)?;
    if text.contains("${") { Err("environment variables are not filled in here") } else { Ok(()) }
}

fn broker(text: &str) -> Result<(), &'static str> {
    length(text, 300)?;
    printable(text)?;
    if text.contains("://") || text.contains('@') {
        return Err("a URL; write host:port, and tls and sasl in their sections");
    }
    if text.contains(',') {
        return Err("more than one broker; write each for itself");
    }
    let (name, port) = text.rsplit_once(':').ok_or("its port is missing")?;
    let name = match name.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or("holds half a pair of brackets")?,
        None if name.contains(':') => return Err("an address of IP version 6 stands in brackets"),
        None => name,
    };
    if name.starts_with('/') {
        return Err("a path; brokers have no Unix sockets");
    }
    host(name)?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(1..) if digits => Ok(()),
        _ => Err("its port is not a number from 1 to 65535"),
    }
}

fn topic(text: &str) -> Result<(), &'static str> {
    length(text, TOPIC_BYTES_MAX)?;
    if text == "." || text == ".." {
        return Err("not the name of a topic");
    }
    topic_characters(text)
}

/// Whether names of topics can be made by this pattern. What is beside the placeholders must be what a name may hold.
fn topic_name(text: &str) -> Result<(), &'static str> {
    length(text, TOPIC_BYTES_MAX)?;
    let half = "holds half a pair of braces";
    let (mut rest, mut has_table) = (text, false);
    while let Some((beside, opened)) = rest.split_once('{') {
        let (placeholder, behind) = opened.split_once('}').ok_or(half)?;
        match placeholder {
            _ if beside.contains('}') || placeholder.contains('{') => return Err(half),
            "table" => has_table = true,
            "schema" | "prefix" => {}
            _ => return Err("holds an unknown placeholder"),
        }
        topic_characters(beside)?;
        rest = behind;
    }
    if rest.contains('}') {
        return Err(half);
    }
    topic_characters(rest)?;
    if !has_table {
        return Err("lacks {table}: tables do not share a topic");
    }
    if text.starts_with("__") { Err("begins with __, as Kafka's own topics do") } else { Ok(()) }
}

/// The length of the longest name of a topic that a table can get by a pattern that [`TOPIC_NAME`] takes, in bytes; `None`:
/// Kafka takes it.
pub(crate) fn too_long_topic(pattern: &str, prefix: &str) -> Option<usize> {
    // What a name holds that no topic may is replaced character by character, so it never becomes longer.
    let longest = "x".repeat(NAME_BYTES_MAX);
    let name = pattern.replace("{prefix}", prefix).replace("{schema}", &longest).replace("{table}", &longest);
    Some(name.len()).filter(|bytes| *bytes > TOPIC_BYTES_MAX)
}

fn topic_characters(text: &str) -> Result<(), &'static str> {
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        Ok(())
    } else {
        Err("holds a character that no topic has")
    }
}

fn text_of(text: &str, max: usize) -> Result<(), &'static str> {
    length(text, max)?;
    printable(text)
}

/// RFC 6749, 3.3.
fn scope(text: &str) -> Result<(), &'static str> {
    length(text, 1000)?;
    let named = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    if text.split(' ').all(named) { Ok(()) } else { Err("holds a character that no scope has, or spaces in a row") }
}

fn http_url(text: &str) -> Result<(), &'static str> {
    length(text, 2048)?;
    printable(text)?;
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err("does not begin with http:// or https://");
    }
    if text.contains(',') {
        return Err("more than one address is not supported yet");
    }
    if text.contains(['?', '#']) {
        return Err("holds more than an address and a path");
    }
    if text.contains('@') {
        return Err("holds a login; write username and password_file");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['\\', '"', '<', '>', '{', '}', '|', '^', '`']) {
        return Err("holds a character that no address has");
    }
    host(url_host(text))?;
    let authority = authority(text);
    let port = authority.get(authority.rfind(']').unwrap_or(0)..).and_then(|rest| rest.split_once(':'));
    match port.map(|(_, port)| port.parse::<u16>()) {
        None | Some(Ok(1..)) => Ok(()),
        Some(_) => Err("its port is not a number from 1 to 65535"),
    }
}

/// Host and port of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
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
    fn brokers() {
        let good = ["kafka:9092", "b-1.example.com:9094", "10.0.0.7:1", "[::1]:65535", "[fe80::1]:9092"];
        let bad = [
            "",
            "kafka",
            "kafka:",
            "kafka:0",
            "kafka:+1",
            "kafka:65536",
            "::1:9092",
            "[::1:9092",
            ":9092",
            "a:1,b:2",
            "PLAINTEXT://kafka:9092",
            "u:p@kafka:9092",
            "/run/kafka:1",
            " kafka:9092",
        ];
        check(&BROKER, &good, &bad);
    }

    #[test]
    fn topics() {
        let (at_most, too_long) = ("t".repeat(249), "t".repeat(250));
        check(
            &TOPIC,
            &["shop.public.orders", "a", "A_b-c.1", &at_most],
            &["", ".", "..", "a b", "a*", "\u{e9}", &too_long],
        );
        check(&TOPIC_PREFIX, &["shop", &"p".repeat(100)], &["", ".", "a/b", &"p".repeat(101)]);
        check(&TOPIC_PATTERN, &["shop.*", "*", "a*b"], &["", ".", "..", "^shop", "a|b", "a.(b)", &too_long]);
    }

    #[test]
    fn addresses_of_a_registry() {
        let good = [
            "http://127.0.0.1:8081",
            "https://registry.example.com",
            "https://registry.example.com:443/apis/ccompat/v7",
            "http://[::1]:8081/",
        ];
        let bad = [
            "",
            "registry:8081",
            "ftp://registry",
            "http://",
            "http:///path",
            "https://u:p@registry",
            "https://registry?key=1",
            "https://registry#a",
            "https://a,https://b",
            "https://registry:0",
            "https://registry:port",
            "https://[::1",
            "https://reg istry",
            "https://registry/a\\b",
        ];
        check(&HTTP_URL, &good, &bad);
        assert_eq!(url_host("http://[::1]:8081/x"), "::1");
        assert_eq!(url_host("https://registry.example.com:8081"), "registry.example.com");
        assert_eq!(url_host("https://registry.example.com/a:b"), "registry.example.com");
        assert!(is_plain_http("http://a") && !is_plain_http("https://a"));
    }

    #[test]
    fn scopes() {
        check(
            &SCOPE,
            &["kafka", "kafka.read kafka.write", "api://a-b/.default"],
            &["", " a", "a ", "a  b", "a\tb", "a\"b", "\u{e9}"],
        );
        check(
            &TOKEN_URL,
            &["https://login.example.com/oauth2/token"],
            &["login.example.com", "https://a:b@login.example.com"],
        );
    }

    #[test]
    fn patterns_of_names() {
        let long = format!("{{table}}{}", "a".repeat(249));
        let good = ["{prefix}.{schema}.{table}", "{table}", "cdc-{schema}-{table}", "{table}.{table}", "_{table}"];
        let bad = [
            "",
            "orders",
            "{prefix}.{schema}",
            "{Table}",
            "{ table }",
            "{}.{table}",
            "{topic}.{table}",
            "{table",
            "table}",
            "{{table}}",
            "{schema{table}}",
            "{table}}",
            "{prefix}/{table}",
            "{prefix} {table}",
            "caf\u{e9}.{table}",
            "__{table}",
            &long,
        ];
        check(&TOPIC_NAME, &good, &bad);
        assert_eq!(too_long_topic("{prefix}.{schema}.{table}", &"p".repeat(100)), None);
        assert_eq!(too_long_topic("{schema}{schema}{schema}{table}", ""), Some(252));
    }

    #[test]
    fn keys_and_values_that_are_passed_through() {
        for key in ["socket.keepalive.enable", "log_level", "a1"] {
            assert_eq!(librdkafka_key(key), Ok(()));
        }
        for key in ["", "Socket", "a b", "a\0", &"k".repeat(101)] {
            assert!(librdkafka_key(key).is_err(), "{key}");
        }
        assert_eq!(passed_through("a, b"), Ok(()));
        for value in ["", "a\0b", "${HOME}", &"v".repeat(4097)] {
            assert!(passed_through(value).is_err());
        }
    }
}
