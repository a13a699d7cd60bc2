//! What stands between the settings and a running pipeline: each finding names its object and what mends it.
//!
//! Only looks, changes nothing. Each check is a function of what was looked up, so that it can be tried without a broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use tokio::task::spawn_blocking;
use walbrook_config::KafkaSource as Settings;
use walbrook_model::{Error, Finding, Result, Severity};
use walbrook_oauth::Tokens;
use walbrook_registry::Registry;

use crate::client::{self, ASK_TIMEOUT};
use crate::continuity::Bounds;
use crate::reading;
use crate::schemas::Schemas;

/// Shorter than this, an outage over a weekend is a gap.
const RETENTION_MIN: Duration = Duration::from_hours(72);

/// What the brokers say of a topic that is read.
#[derive(Clone, Debug, Default)]
struct Existing {
    bounds: Vec<Bounds>,
    /// Its settings, by name.
    settings: BTreeMap<String, String>,
}

/// Looks at the brokers, the topics and the registry. Errors come first.
pub async fn preflight(settings: &Settings) -> Vec<Finding> {
    match settings.registry.as_ref().map(Registry::new).transpose() {
        Ok(registry) => look(settings, registry.map(|registry| Arc::new(registry) as Arc<dyn Schemas>)).await,
        Err(error) => vec![Finding::from_error(&error, "schema registry")],
    }
}

async fn look(settings: &Settings, schemas: Option<Arc<dyn Schemas>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match topics(settings).await {
        Ok(topics) => {
            findings.extend(check_names(settings, &topics));
            findings.extend(check_dead_letters(settings, &topics));
            for (name, existing) in topics.iter().filter(|(name, _)| reading::is_read(settings, name)) {
                findings.extend(check_topic(name, existing));
            }
            let first = topics.keys().find(|name| reading::is_read(settings, name));
            if let (Some(schemas), Some(topic)) = (&schemas, first)
                && let Err(error) = schemas.latest(&format!("{topic}-value")).await
            {
                findings.push(Finding::from_error(&error, "schema registry"));
            }
        }
        Err(error) => findings.push(Finding::from_error(&error, "kafka")),
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// The topics that are read, and that of the records.
async fn topics(settings: &Settings) -> Result<BTreeMap<String, Existing>> {
    let asked = settings.clone();
    let found = spawn_blocking(move || {
        let consumer = client::connect_to_ask(&asked, &Arc::default())?;
        let mut found = BTreeMap::new();
        for (name, partitions) in client::topics(&consumer)? {
            let of_letters = asked.dead_letters.as_ref().is_some_and(|letters| letters.topic == name);
            if reading::is_read(&asked, &name) || name == asked.checkpoint_topic || of_letters {
                let bounds = client::bounds(&consumer, &name, partitions)?;
                found.insert(name, Existing { bounds, settings: BTreeMap::new() });
            }
        }
        Ok(found)
    });
    let mut found =
        found.await.unwrap_or_else(|error| Err(Error::bug("the look at the topics failed").because(error)))?;
    let admin = admin(settings).await?;
    let names: Vec<String> = found.keys().cloned().collect();
    let asked: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    if asked.is_empty() {
        return Ok(found);
    }
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
    let described = admin.describe_configs(&asked, &options).await;
    let described =
        described.map_err(|error| Error::transient("the topics' settings are not to be had").because(error))?;
    // A topic that we may read and not describe is none to complain of.
    for resource in described.into_iter().flatten() {
        let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { continue };
        let Some(existing) = found.get_mut(name) else { continue };
        existing.settings = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect();
    }
    Ok(found)
}

/// A client that describes topics. Nobody polls it, so it has one token, where the brokers want any.
async fn admin(settings: &Settings) -> Result<AdminClient<DefaultClientContext>> {
    let mut config = ClientConfig::new();
    settings.client.apply(|key, value| {
        config.set(key, value);
    });
    let tokens = Tokens::of(&settings.client);
    let made = spawn_blocking(move || {
        let admin: AdminClient<DefaultClientContext> = config.create().map_err(|error| client::refused(&error))?;
        tokens.log_in(admin.inner())?;
        Ok(admin)
    });
    made.await.unwrap_or_else(|error| Err(Error::bug("the making of a client failed").because(error)))
}

fn check_names(settings: &Settings, topics: &BTreeMap<String, Existing>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pattern in &settings.topics {
        let mut one = settings.clone();
        one.topics = vec![pattern.clone()];
        if !topics.keys().any(|name| reading::is_read(&one, name)) {
            let what = if pattern.contains('*') { "no topic matches" } else { "there is no such topic" };
            findings.push(Finding::new(
                Severity::Warning,
                format!("topic {pattern}"),
                format!("{what} yet; it is read once it is there"),
                "start the capture, or correct source.kafka.topics",
            ));
        }
    }
    match &settings.capture {
        None => findings.push(Finding::new(
            Severity::Info,
            "source.kafka.capture",
            "not set, so that nobody knows how complete the tables are: deleted keys are never forgotten, and changes come in any \
             order, which stops append tables",
            "set it to the name of the pipeline that writes the topics; topics that Debezium wrote have none, and their order is \
             weaker: it does not show a failover, and a second snapshot does not repair rows",
        )),
        Some(_) if !topics.contains_key(&settings.checkpoint_topic) => findings.push(Finding::new(
            Severity::Warning,
            format!("topic {}", settings.checkpoint_topic),
            "there is no such topic yet: how complete the tables are is not known",
            "start the capture, or set source.kafka.checkpoint_topic to what its sink.kafka.checkpoint_topic is",
        )),
        Some(_) => {}
    }
    findings
}

/// Letters must stay until somebody has dealt with them, and the topic must take what the others take.
fn check_dead_letters(settings: &Settings, topics: &BTreeMap<String, Existing>) -> Vec<Finding> {
    let Some(letters) = &settings.dead_letters else { return Vec::new() };
    let name = &letters.topic;
    let object = format!("topic {name}");
    let Some(existing) = topics.get(name) else {
        return vec![Finding::info(object, "it does not exist yet; walbrook makes it, for dead letters")];
    };
    let alter = |setting: &str| {
        format!("kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {setting}")
    };
    let number = |topic: &Existing, key: &str| topic.settings.get(key).and_then(|text| text.parse::<i64>().ok());
    let mut findings = Vec::new();
    if existing.settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        let what = "it is compacted: a dead letter is removed when another of its key comes";
        findings.push(Finding::error(&object, what, alter("cleanup.policy=delete")));
    }
    if number(existing, "retention.ms").is_some_and(|kept| kept >= 0) {
        let what = "it forgets dead letters that nobody has dealt with in time";
        findings.push(Finding::warning(&object, what, alter("retention.ms=-1")));
    }
    let read = topics.iter().filter(|(name, _)| reading::is_read(settings, name));
    let largest = read.filter_map(|(_, topic)| number(topic, "max.message.bytes")).max();
    let takes = number(existing, "max.message.bytes");
    if let (Some(takes), Some(largest)) = (takes, largest)
        && takes < largest
    {
        let what = format!(
            "it takes messages of {takes} bytes, and there may be larger ones to put aside: they stop their table"
        );
        findings.push(Finding::warning(&object, what, alter(&format!("max.message.bytes={}", largest + 100_000))));
    }
    findings
}

fn check_topic(name: &str, existing: &Existing) -> Vec<Finding> {
    let object = format!("topic {name}");
    let mut findings = Vec::new();
    let setting = |name: &str| existing.settings.get(name).map(String::as_str);
    if setting("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        findings.push(Finding::new(
            Severity::Error,
            &object,
            "it is compacted: what a table needs may be removed before it is read",
            format!(
                "kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config cleanup.policy=delete"
            ),
        ));
    }
    let retention = setting("retention.ms").and_then(|text| text.parse().ok()).map(Duration::from_millis);
    if let Some(retention) = retention.filter(|retention| *retention < RETENTION_MIN) {
        findings.push(Finding::new(
            Severity::Warning,
            &object,
            format!("it keeps messages for {} hours: an outage that is longer is a gap", retention.as_secs() / 3600),
            format!(
                "kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config retention.ms=604800000"
            ),
        ));
    }
    if let Some((partition, bounds)) = existing.bounds.iter().enumerate().find(|(_, bounds)| bounds.low > 0) {
        findings.push(Finding::new(
            Severity::Warning,
            &object,
            format!(
                "partition {partition} begins at offset {}: a pipeline that has not read it yet has a gap",
                bounds.low
            ),
            "for a new pipeline: let the capture read the tables again, and accept the gap with walbrook gap accept",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;

    fn existing(low: i64, settings: &[(&str, &str)]) -> Existing {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Existing { bounds: vec![Bounds { low: 0, high: 9 }, Bounds { low, high: 9 }], settings }
    }

    #[track_caller]
    fn check(findings: &[Finding], expected: &[(Severity, &str)]) {
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, (severity, text)) in findings.iter().zip(expected) {
            assert_eq!(finding.severity, *severity, "{finding}");
            assert!(finding.to_string().contains(text), "{finding}");
        }
    }

    #[test]
    fn a_topic_is_judged_by_its_settings() {
        let topic = |low: i64, settings: &[(&str, &str)]| check_topic("t", &existing(low, settings));
        check(&topic(0, &[("cleanup.policy", "delete"), ("retention.ms", "604800000")]), &[]);
        check(&topic(0, &[("cleanup.policy", "delete"), ("retention.ms", "-1")]), &[]);
        check(&topic(0, &[("cleanup.policy", "compact,delete")]), &[(Severity::Error, "cleanup.policy=delete")]);
        check(&topic(0, &[("retention.ms", "3600000")]), &[(Severity::Warning, "for 1 hours")]);
        check(&topic(3, &[]), &[(Severity::Warning, "partition 1 begins at offset 3")]);
    }

    #[test]
    fn names_that_mean_nothing_are_told() {
        let mut asked = settings("127.0.0.1:1", "p", &["p.a", "p.b.*", "p.*"]);
        asked.capture = Some("p".to_owned());
        let topics = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Existing::default())).collect();
        let missing = [(Severity::Warning, "p.b.*"), (Severity::Warning, "p.checkpoints")];
        check(&check_names(&asked, &topics(&["p.a"])), &missing);
        check(&check_names(&asked, &topics(&["p.a", "p.b.c", "p.checkpoints"])), &[]);
        asked.capture = None;
        check(&check_names(&asked, &topics(&["p.a", "p.b.c"])), &[(Severity::Info, "weaker")]);
    }

    #[test]
    fn a_topic_of_letters_keeps_them() {
        let mut asked = settings("127.0.0.1:1", "p", &["p.*"]);
        let look = |asked: &Settings, letters: &[(&str, &str)]| {
            let of_changes = existing(0, &[("max.message.bytes", "2000000")]);
            let topics = [("p.a".to_owned(), of_changes), ("p.dead".to_owned(), existing(0, letters))].into();
            check_dead_letters(asked, &topics)
        };
        check(&look(&asked, &[]), &[]);
        let letters = |topic: &str| {
            Some(walbrook_config::DeadLetters { topic: topic.to_owned(), pipeline: "m".to_owned(), max: 9 })
        };
        asked.dead_letters = letters("p.none");
        check(&look(&asked, &[]), &[(Severity::Info, "walbrook makes it")]);
        asked.dead_letters = letters("p.dead");
        check(&look(&asked, &[("cleanup.policy", "delete"), ("retention.ms", "-1")]), &[]);
        let found =
            look(&asked, &[("cleanup.policy", "compact"), ("retention.ms", "1000"), ("max.message.bytes", "1000000")]);
        check(
            &found,
            &[(Severity::Error, "compacted"), (Severity::Warning, "forgets"), (Severity::Warning, "of 1000000 bytes")],
        );
    }

    #[tokio::test]
    async fn a_broker_is_asked() {
        let Some(world) = crate::testing::World::new("preflight") else { return };
        let table = world.table("orders", walbrook_envelope::Format::Avro);
        world.create(&table.topic, 1).await;
        let pattern = format!("{}.public.*", world.prefix);
        let findings = look(&world.with_records(&[&pattern]), Some(world.registry.clone())).await;
        check(&findings, &[(Severity::Warning, "checkpoints")]);
        world.registry.down.store(true, std::sync::atomic::Ordering::Relaxed);
        let findings = look(&world.with_records(&[&table.topic]), Some(world.registry.clone())).await;
        check(&findings, &[(Severity::Error, "registry is down"), (Severity::Warning, "checkpoints")]);
    }
}
