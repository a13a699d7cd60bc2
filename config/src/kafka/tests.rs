use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::{Config, SinkConfig, SourceConfig};

fn parse(text: &str) -> Config {
    let env = |name: &str| (name == "KAFKA_PASSWORD").then(|| "hunter2".to_owned());
    Config::parse(text, "w.toml", &env).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn sink(text: &str) -> KafkaSink {
    let source = "[pipeline]\nname = \"shop\"\n[source.postgres]\nhost = \"127.0.0.1\"\ndatabase = \"shop\"\n\
                  user = \"walbrook\"\n[source.postgres.tables]\ninclude = [\"public.*\"]\n";
    let SinkConfig::Kafka(sink) = parse(&format!("{source}{text}")).sink else { panic!("another sink") };
    sink
}

fn source(text: &str) -> KafkaSource {
    let sink = "[pipeline]\nname = \"merge\"\n[sink.lake]\nwarehouse = \"warehouse\"\n";
    let SourceConfig::Kafka(source) = parse(&format!("{sink}{text}")).source else { panic!("another source") };
    source
}

fn applied(client: &KafkaClient) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    client.apply(|key, value| drop(keys.insert(key.to_owned(), value.to_owned())));
    keys
}

fn keys(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

const JSON: &str = "[sink.kafka]\nbrokers = [\"127.0.0.1:9092\"]\nformat = \"json\"\n";

#[test]
fn a_sink_has_its_defaults() {
    let sink = sink(JSON);
    assert_eq!((sink.topic_prefix.as_str(), sink.checkpoint_topic.as_str()), ("shop", "walbrook.checkpoints"));
    assert_eq!(sink.topic_name, "{prefix}.{schema}.{table}");
    assert_eq!((sink.messages.compat, sink.messages.format), (Compat::Native, MessageFormat::Json));
    assert!(sink.messages.tombstones && !sink.messages.transactions && !sink.exactly_once);
    assert_eq!((sink.messages.decimal, sink.messages.field_names), (None, None));
    assert_eq!((sink.topics.partitions, sink.topics.replication_factor), (4, 3));
    assert_eq!(sink.topics.retention, Duration::from_hours(7 * 24));
    assert_eq!((sink.compression.as_str(), sink.linger), ("lz4", Duration::from_millis(1)));
    assert_eq!((sink.buffer_bytes, sink.message_bytes_max, sink.oversize), (64_000_000, 1_000_000, Oversize::Stop));
    assert_eq!((sink.registry.is_none(), sink.subject_strategy), (true, SubjectStrategy::Topic));
}

#[test]
fn what_a_sink_sets_is_kept() {
    let sink = sink(
        "[sink.kafka]\nbrokers = [\"a:1\", \"[::1]:2\"]\ntopic_prefix = \"Shop-1\"\ntopic_name = \"cdc-{schema}-{table}\"\ncompat = \"debezium\"\n\
         time = \"isostring\"\nbinary = \"base64-url-safe\"\nunknown_types = \"text\"\nschema_names = \"avro_unicode\"\n\
         unavailable_placeholder = \"__gone\"\nlinger = \"0ms\"\ncompression = \"none\"\nretention = \"36500d\"\n\
         [sink.kafka.registry]\nurl = \"http://[::1]:8081/apis/ccompat/v7/\"\nsubject_strategy = \"topic_record\"\n",
    );
    assert_eq!((sink.topic_prefix.as_str(), sink.messages.compat), ("Shop-1", Compat::Debezium));
    assert_eq!(sink.topic_name, "cdc-{schema}-{table}");
    assert_eq!(
        (sink.messages.time, sink.messages.binary),
        (Some(TimeMode::IsoString), Some(BinaryMode::Base64UrlSafe))
    );
    assert_eq!(sink.messages.unknown_types, Some(UnknownTypes::Text));
    assert_eq!(sink.messages.schema_names, Some(NameAdjustment::AvroUnicode));
    assert_eq!(sink.messages.unavailable_placeholder.as_deref(), Some("__gone"));
    assert_eq!((sink.linger, sink.compression), (Duration::ZERO, Compression::None));
    assert_eq!(sink.subject_strategy, SubjectStrategy::TopicRecord);
    let registry = sink.registry.unwrap();
    assert_eq!(
        (registry.url.as_str(), registry.timeout),
        ("http://[::1]:8081/apis/ccompat/v7", Duration::from_secs(30))
    );
}

#[test]
fn a_source_knows_its_topics() {
    let source = source("[source.kafka]\nbrokers = [\"127.0.0.1:9092\"]\ntopics = [\"shop.public.*\", \"a\"]\n");
    assert!(source.reads("shop.public.orders") && source.reads("a"));
    assert!(!source.reads("shop.public") && !source.reads("ab") && !source.reads("Shop.public.orders"));
    assert_eq!((source.group.as_str(), source.capture.as_deref()), ("walbrook_merge", None));
    assert_eq!((source.checkpoint_topic.as_str(), source.buffer_bytes), ("walbrook.checkpoints", 32_000_000));
}

#[test]
fn local_brokers_are_reached_in_the_clear() {
    let client = sink(JSON).client;
    assert!(client.tls.is_none() && client.sasl.is_none());
    assert_eq!(applied(&client), keys(&[("bootstrap.servers", "127.0.0.1:9092"), ("security.protocol", "plaintext")]));
    // One of them elsewhere is enough.
    let mixed = sink(&JSON.replace("9092\"", "9092\", \"kafka.example.com:9092\"")).client;
    assert_eq!(mixed.tls.unwrap().check, TlsCheck::Name);
}

#[test]
fn tls_and_login_become_keys_of_the_library() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, "secret\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, cert, key, password) = (file("ca"), file("cert"), file("key"), file("password"));
    let text = format!(
        "{}[sink.kafka.tls]\nca_file = {ca:?}\ncert_file = {cert:?}\nkey_file = {key:?}\nkey_password_file = {password:?}\n\
         [sink.kafka.sasl]\nmechanism = \"scram-sha-256\"\nusername = \"u\"\npassword_env = \"KAFKA_PASSWORD\"\n\
         [sink.kafka.librdkafka]\nsocket.keepalive.enable = true\n\"client.rack\" = \"eu\"\n\"socket.max.fails\" = 3\n",
        JSON.replace("127.0.0.1", "kafka.example.com")
    );
    let client = sink(&text).client;
    let expected = keys(&[
        ("bootstrap.servers", "kafka.example.com:9092"),
        ("security.protocol", "sasl_ssl"),
        ("enable.ssl.certificate.verification", "true"),
        ("ssl.endpoint.identification.algorithm", "https"),
        ("ssl.ca.location", &ca),
        ("ssl.certificate.location", &cert),
        ("ssl.key.location", &key),
        ("ssl.key.password", "secret"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "u"),
        ("sasl.password", "hunter2"),
        ("socket.keepalive.enable", "true"),
        ("client.rack", "eu"),
        ("socket.max.fails", "3"),
    ]);
    assert_eq!(applied(&client), expected);
    let shown = format!("{client:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("\"secret"), "{shown}");
}

#[test]
fn a_client_secret_is_not_for_the_brokers() {
    let text = format!(
        "{JSON}[sink.kafka.sasl]\nmechanism = \"oauthbearer\"\nusername = \"u\"\npassword_env = \"KAFKA_PASSWORD\"\n\
         token_url = \"http://[::1]:8080/token\"\nscope = \"kafka read\"\n"
    );
    let client = sink(&text).client;
    let expected = keys(&[
        ("bootstrap.servers", "127.0.0.1:9092"),
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "OAUTHBEARER"),
    ]);
    assert_eq!(applied(&client), expected);
    let tokens = client.sasl.unwrap().tokens.unwrap();
    assert_eq!((tokens.url.as_str(), tokens.scope.as_deref()), ("http://[::1]:8080/token", Some("kafka read")));
}

#[test]
fn less_is_checked_only_where_the_file_says_so() {
    let check = |mode: &str, verification: &str, name: &str| {
        let client = sink(&format!("{JSON}[sink.kafka.tls]\nmode = \"{mode}\"\n")).client;
        let keys = applied(&client);
        assert_eq!(keys["security.protocol"], "ssl");
        assert_eq!(keys["enable.ssl.certificate.verification"], verification, "{mode}");
        assert_eq!(keys["ssl.endpoint.identification.algorithm"], name, "{mode}");
        assert_eq!(keys["ssl.ca.location"], "probe");
    };
    check("require", "false", "none");
    check("verify-ca", "true", "none");
    check("verify-full", "true", "https");
}

#[test]
fn the_examples_say_what_they_set() {
    let config = parse(include_str!("../../examples/merge.toml"));
    let SourceConfig::Kafka(merge) = config.source else { panic!("another source") };
    assert!(merge.reads("shop.public.orders") && merge.capture.as_deref() == Some("shop"));
    let config = parse(include_str!("../../examples/exactly-once.toml"));
    let SinkConfig::Kafka(once) = config.sink else { panic!("another sink") };
    assert!(once.exactly_once && once.messages.transactions && once.topics.replication_factor == 1);
}

#[test]
fn letters_have_a_place() {
    let head = "[source.kafka]\nbrokers = [\"a:1\"]\ntopics = [\"a\"]\n";
    assert_eq!(source(head).dead_letters, None);
    let letters = source(&format!("{head}dead_letters = \"topic\"\n")).dead_letters.unwrap();
    assert_eq!((letters.topic.as_str(), letters.pipeline.as_str()), ("walbrook.dead_letters.merge", "merge"));
    assert_eq!(letters.max, 1000);
    let named = source(&format!("{head}dead_letters = \"topic\"\ndead_letter_topic = \"dead\"\n"));
    assert_eq!(named.dead_letters.unwrap().topic, "dead");

    let topic = "walbrook.dead_letters.shop".to_owned();
    assert_eq!(sink(&format!("{JSON}oversize = \"dead_letter\"\n")).oversize, Oversize::DeadLetter { topic });
    let folder = std::path::PathBuf::from("large");
    let text = format!("{JSON}oversize = \"split_off\"\noversize_folder = \"large\"\n");
    assert_eq!(sink(&text).oversize, Oversize::SplitOff { folder });
}
