//! `[source.kafka.librdkafka]`, `[sink.kafka.librdkafka]`: keys of the client library that are passed through.
//!
//! Keys on which what walbrook promises depends are its own: they are refused, with the option to write instead.

use std::collections::BTreeMap;

use toml::de::DeValue;

use crate::dotted::Entry;
use crate::form;
use crate::problem::Problem;
use crate::reader::{Reader, type_name};

pub(crate) const DOC: &str = "Further keys of librdkafka, the client library, with the values that its documentation \
                              gives, such as `\"socket.keepalive.enable\" = true`. Keys that walbrook sets are refused.";

/// What to say about a key that walbrook sets.
#[derive(Clone, Copy, Debug)]
enum Owned {
    /// There is an option for it, by its path below `[source.kafka]` or `[sink.kafka]`.
    Option(&'static str),
    /// There is none, for this reason.
    Always(&'static str),
}

const DURABLE: &str = "it is always as strict as can be, or messages could be lost, doubled or out of order";
const TRANSACTIONS: &str = "a second instance is told by it, so it follows from pipeline.name";
const LATE: &str = "walbrook must know how late a message of a dead instance can still arrive";
const POSITIONS: &str = "where to read on is in the checkpoint, not with the brokers";
const GROUP: &str = "which instance owns a table depends on it";
const TOPICS: &str = "walbrook makes topics itself, with stated settings";
const REPORTS: &str = "the checkpoint waits for every report";
const FETCHING: &str = "how the source fetches and what it measures of it depend on it";
const TOKENS: &str = "tokens come from sasl.token_url, for sasl.username and its password";
const KEYS: &str = "the partition follows from the key alone, as with Java's clients";

/// Keys that walbrook sets; one that ends with a dot stands for all that begin with it.
const OWNED: [(&str, Owned); 65] = [
    ("bootstrap.servers", Owned::Option("brokers")),
    ("metadata.broker.list", Owned::Option("brokers")),
    ("client.id", Owned::Always("the brokers know walbrook by it")),
    ("log_level", Owned::Always("which lines are shown follows from log.level")),
    ("security.protocol", Owned::Option("tls.mode")),
    ("enable.ssl.certificate.verification", Owned::Option("tls.mode")),
    ("ssl.endpoint.identification.algorithm", Owned::Option("tls.mode")),
    ("ssl.ca.", Owned::Option("tls.ca_file")),
    ("ssl.certificate.", Owned::Option("tls.cert_file")),
    ("ssl.keystore.", Owned::Option("tls.cert_file")),
    ("ssl.key.password", Owned::Option("tls.key_password_file")),
    ("ssl.key.", Owned::Option("tls.key_file")),
    ("sasl.mechanism", Owned::Option("sasl.mechanism")),
    ("sasl.mechanisms", Owned::Option("sasl.mechanism")),
    ("sasl.username", Owned::Option("sasl.username")),
    ("sasl.password", Owned::Option("sasl.password_file")),
    ("sasl.oauthbearer.client.id", Owned::Option("sasl.username")),
    ("sasl.oauthbearer.client.secret", Owned::Option("sasl.password_file")),
    ("sasl.oauthbearer.token.endpoint.url", Owned::Option("sasl.token_url")),
    ("sasl.oauthbearer.scope", Owned::Option("sasl.scope")),
    ("sasl.oauthbearer.", Owned::Always(TOKENS)),
    ("sasl.", Owned::Always("Kerberos is not supported")),
    ("enable.sasl.oauthbearer.unsecure.jwt", Owned::Always(TOKENS)),
    ("transactional.id", Owned::Always(TRANSACTIONS)),
    ("transaction.timeout.ms", Owned::Always(LATE)),
    ("enable.idempotence", Owned::Always(DURABLE)),
    ("enable.gapless.guarantee", Owned::Always(DURABLE)),
    ("acks", Owned::Always(DURABLE)),
    ("request.required.acks", Owned::Always(DURABLE)),
    ("max.in.flight", Owned::Always(DURABLE)),
    ("max.in.flight.requests.per.connection", Owned::Always(DURABLE)),
    ("retries", Owned::Always(DURABLE)),
    ("message.send.max.retries", Owned::Always(DURABLE)),
    ("queuing.strategy", Owned::Always(DURABLE)),
    ("delivery.timeout.ms", Owned::Always(LATE)),
    ("message.timeout.ms", Owned::Always(LATE)),
    ("request.timeout.ms", Owned::Always(LATE)),
    ("delivery.report.only.error", Owned::Always(REPORTS)),
    ("produce.offset.report", Owned::Always(REPORTS)),
    ("partitioner", Owned::Always(KEYS)),
    ("allow.auto.create.topics", Owned::Always(TOPICS)),
    ("compression.type", Owned::Option("compression")),
    ("compression.codec", Owned::Option("compression")),
    ("linger.ms", Owned::Option("linger")),
    ("queue.buffering.max.ms", Owned::Option("linger")),
    ("queue.buffering.max.messages", Owned::Option("buffer_bytes")),
    ("queue.buffering.max.kbytes", Owned::Option("buffer_bytes")),
    ("queued.max.messages.kbytes", Owned::Option("buffer_bytes")),
    ("queued.min.messages", Owned::Always(FETCHING)),
    ("fetch.queue.backoff.ms", Owned::Always(FETCHING)),
    ("check.crcs", Owned::Always("a damaged message is always noticed")),
    ("statistics.interval.ms", Owned::Always(FETCHING)),
    ("topic.metadata.refresh.interval.ms", Owned::Always(FETCHING)),
    ("message.max.bytes", Owned::Option("message_bytes_max")),
    ("group.id", Owned::Option("group")),
    ("group.protocol", Owned::Always(GROUP)),
    ("group.remote.assignor", Owned::Always(GROUP)),
    ("partition.assignment.strategy", Owned::Always(GROUP)),
    ("enable.auto.commit", Owned::Always(POSITIONS)),
    ("enable.auto.offset.store", Owned::Always(POSITIONS)),
    ("auto.commit.", Owned::Always(POSITIONS)),
    ("auto.offset.reset", Owned::Always(POSITIONS)),
    ("offset.store.", Owned::Always(POSITIONS)),
    ("isolation.level", Owned::Always("only what is committed is read")),
    ("enable.partition.eof", Owned::Always("how far a partition has been read is told by it")),
];

/// The keys of the section that can be passed through, with their values.
pub(crate) fn read(reader: &Reader<'_>) -> BTreeMap<String, String> {
    let entries = reader.entries();
    entries.iter().filter_map(|entry| Some((entry.name.clone(), value(reader, entry)?))).collect()
}

fn value(reader: &Reader<'_>, entry: &Entry<'_>) -> Option<String> {
    if let Some(problem) = refusal(reader, &entry.name) {
        reader.complain_entry(entry, problem);
        return None;
    }
    let text = match entry.value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        DeValue::Integer(integer) if integer.radix() == 10 => Ok(integer.as_str().to_owned()),
        other => Err(format!("found {}", type_name(other))),
    };
    let text = text.and_then(|text| form::passed_through(&text).map(|()| text).map_err(str::to_owned));
    let expected = "a text, a decimal whole number, true or false";
    text.map_err(|what| reader.complain_value(entry, Problem::new(what).expected(expected))).ok()
}

/// Why a key cannot be set here.
fn refusal(reader: &Reader<'_>, key: &str) -> Option<Problem> {
    if let Err(what) = form::librdkafka_key(key) {
        return Some(Problem::new(what).expected("a key of librdkafka, such as \"socket.keepalive.enable\""));
    }
    if key.ends_with("_cb") {
        return Some(Problem::new("a callback, which has no value in a file"));
    }
    let owned = OWNED.iter().find(|(owned, _)| *owned == key || (owned.ends_with('.') && key.starts_with(owned)));
    match owned?.1 {
        Owned::Always(why) => Some(Problem::new(format!("set by walbrook: {why}"))),
        Owned::Option(option) if reader.has_sibling(option) => {
            let parent = reader.parent();
            Some(Problem::new("set by walbrook").expected(format!("{option} in [{parent}]")))
        }
        Owned::Option(_) => Some(Problem::new("has no effect on this side")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{SINK, SINK_SECTIONS, SOURCE, SOURCE_SECTIONS};

    #[test]
    fn an_option_to_write_instead_exists() {
        let sides = [(&SINK, &SINK_SECTIONS), (&SOURCE, &SOURCE_SECTIONS)];
        for (key, owned) in OWNED {
            let Owned::Option(option) = owned else { continue };
            let exists = sides.iter().any(|(section, sections)| match option.split_once('.') {
                None => section.setting(option).is_some(),
                Some(("tls", name)) => sections.tls.setting(name).is_some(),
                Some(("sasl", name)) => sections.sasl.setting(name).is_some(),
                Some(_) => false,
            });
            assert!(exists, "{key}: {option}");
        }
    }
}
