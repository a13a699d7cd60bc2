//! How to reach the brokers: the same for source and sink.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use crate::definition::{Kind, Section, Setting, Unset};
use crate::document::Document;
use crate::form;
use crate::kafka::librdkafka;
use crate::kafka::sasl::KafkaSasl;
use crate::kafka::tls::KafkaTls;
use crate::load::Environment;
use crate::reader::Reader;

/// How to reach the brokers.
#[derive(Clone, Debug)]
pub struct KafkaClient {
    /// Brokers to begin with, `host:port`; the others are learned from them.
    pub brokers: Vec<String>,
    /// Transport security. `None`: all is sent in the clear.
    pub tls: Option<KafkaTls>,
    /// Login. `None`: the brokers ask for none, or the client certificate is it.
    pub sasl: Option<KafkaSasl>,
    /// Further keys of librdkafka and their values; none of them is one that walbrook sets.
    pub librdkafka: BTreeMap<String, String>,
}

/// The sections of one side that say how to reach brokers and registry.
#[derive(Debug)]
pub(crate) struct ClientSections {
    pub(crate) tls: Section,
    pub(crate) sasl: Section,
    pub(crate) registry: Section,
    pub(crate) librdkafka: Section,
}

pub(crate) const BROKERS: Setting = Setting {
    name: "brokers",
    kind: Kind::Texts { form: &form::BROKER, unset: Unset::Refused { example: "[\"kafka.example.com:9092\"]" } },
    doc: "Brokers to begin with, each with its port; the others are learned from them.",
    change: "Name two or three, so that walbrook can start while one of them is away.",
    since: "0.1",
};

pub(crate) const CHECKPOINT_TOPIC: &str = "walbrook.checkpoints";

impl KafkaClient {
    pub(crate) fn read(
        document: &Document<'_>,
        reader: &Reader<'_>,
        sections: &'static ClientSections,
        env: Environment<'_>,
    ) -> Self {
        let brokers = reader.texts("brokers");
        let local = brokers.iter().all(|broker| is_local(broker));
        let tls = KafkaTls::read(&document.section(&sections.tls), local);
        let login = document.optional_section(&sections.sasl);
        Self {
            sasl: login.and_then(|reader| KafkaSasl::read(&reader, tls.is_some() || local, env)),
            librdkafka: librdkafka::read(&document.section(&sections.librdkafka)),
            brokers,
            tls,
        }
    }

    /// Gives `set` every key of librdkafka that this says, with its value: first those of the operator, so that ours win.
    /// The values hold secrets; they are for librdkafka alone.
    pub fn apply(&self, mut set: impl FnMut(&str, &str)) {
        for (key, value) in &self.librdkafka {
            set(key, value);
        }
        set("bootstrap.servers", &self.brokers.join(","));
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), None) => "ssl",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            tls.apply(&mut set);
        }
        if let Some(KafkaSasl { mechanism, username, password, tokens }) = &self.sasl {
            set("sasl.mechanism", mechanism.as_str());
            // The client secret is not for the brokers.
            if tokens.is_none() {
                set("sasl.username", username);
                set("sasl.password", password.expose_secret());
            }
        }
    }
}

/// Whether the way to a broker, `host:port`, stays on this machine.
fn is_local(broker: &str) -> bool {
    broker.rsplit_once(':').is_some_and(|(host, _)| form::is_local(host.trim_matches(['[', ']'])))
}
