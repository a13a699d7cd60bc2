//! What stands between the settings and a running pipeline, at the brokers and at the registry: each finding names its
//! object and what mends it.
//!
//! Only looks, changes nothing. Each check is a function of what was looked up, so that it can be tried without a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use walbrook_config::{KafkaSink, Oversize, Pipeline};
use walbrook_envelope::{EventKind, SourceInfo, check_topic as check_schema_names, table_topic};
use walbrook_model::{Finding, Result, Severity, TableId};
use walbrook_registry::Registry;

use crate::claims::{Claims, Writer};
use crate::cluster::{Cluster, on};
use crate::faults::Listener;
use crate::journal::Journal;
use crate::settings::Settings;
use crate::topics;

/// What a topic is like that exists.
#[derive(Clone, Debug, Default)]
struct Existing {
    partitions: u32,
    settings: BTreeMap<String, String>,
}

/// Looks at the names of the topics of `tables`, at the brokers, the topics that exist already, and the registry. Errors come
/// first.
pub async fn preflight(sink: &KafkaSink, pipeline: &Pipeline, info: SourceInfo, tables: &[TableId]) -> Vec<Finding> {
    let settings = Settings::new(sink.clone(), pipeline.clone(), info);
    let (names, mut findings) = check_names(&settings, tables);
    if let Err(error) = look(&settings, &names, &mut findings).await {
        findings.push(Finding::from_error(&error, "kafka"));
    }
    if let Err(error) = look_at_registry(&settings).await {
        findings.push(Finding::from_error(&error, "schema registry"));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// The topics of tables, each of which has one alone.
fn check_names(settings: &Settings, tables: &[TableId]) -> (BTreeSet<String>, Vec<Finding>) {
    let (mut claims, mut names, mut findings) = (Claims::new(settings), BTreeSet::new(), Vec::new());
    for table in tables {
        let topic = table_topic(&settings.envelope, table);
        let claimed = claims.claim(&topic, &Writer::Table(table.clone()));
        if let Err(error) = claimed.and_then(|()| check_schema_names(&settings.envelope, &topic)) {
            findings.push(Finding::from_error(&error, &format!("table {table}")));
        }
        names.insert(topic);
    }
    (names, findings)
}

async fn look(settings: &Settings, tables: &BTreeSet<String>, findings: &mut Vec<Finding>) -> Result<()> {
    let listener = Listener::of(&settings.sink.client);
    let cluster = Cluster::new(&settings.client(), &listener)?;
    let (brokers, topics) = cluster.overview().await?;
    findings.extend(check_brokers(brokers, settings));
    let checkpoint_topic = &settings.sink.checkpoint_topic;
    let dead_letters = match &settings.sink.oversize {
        Oversize::DeadLetter { topic } => Some(topic),
        Oversize::SplitOff { folder } => {
            findings.extend(check_folder(folder));
            None
        }
        Oversize::Stop => None,
    };
    if let Some(topic) = dead_letters.filter(|topic| !topics.contains_key(*topic)) {
        findings.push(Finding::info(
            on(topic),
            "it does not exist yet; walbrook makes it, for messages that are too large",
        ));
    }
    let beside = [EventKind::LogicalMessages, EventKind::Transactions, EventKind::Heartbeats];
    let beside = beside.map(|kind| kind.topic(&settings.envelope));
    let ours = |name: &String| {
        let named = [Some(checkpoint_topic), dead_letters];
        tables.contains(name) || beside.contains(name) || named.into_iter().flatten().any(|topic| topic == name)
    };
    let names: Vec<String> = topics.keys().filter(|name| ours(name)).cloned().collect();
    let mut described = if names.is_empty() { BTreeMap::new() } else { cluster.settings(&names).await? };
    for name in names {
        let partitions = topics.get(&name).copied().unwrap_or_default();
        let existing = Existing { partitions, settings: described.remove(&name).unwrap_or_default() };
        findings.extend(if name == *checkpoint_topic {
            check_checkpoint_topic(&name, &existing)
        } else if dead_letters == Some(&name) {
            check_dead_letters(&name, &existing, settings)
        } else {
            check_topic(&name, &existing, settings)
        });
    }
    look_at_checkpoint(&Journal::new(settings, cluster, listener), settings, findings).await
}

/// Whether the topics are as the checkpoint had them. Only reads: a daemon that runs is not disturbed.
async fn look_at_checkpoint(journal: &Journal, settings: &Settings, findings: &mut Vec<Finding>) -> Result<()> {
    let Some(record) = journal.newest().await? else { return Ok(()) };
    if let Err(error) = Claims::new(settings).resume(&record.topics, settings) {
        findings.push(Finding::from_error(&error, "topics"));
    }
    for (name, known) in &record.topics {
        if let Err(error) = topics::check(&journal.cluster, name, known).await {
            findings.push(Finding::from_error(&error, name));
        }
    }
    for (table, gap) in record.gaps.iter().chain(&record.stopped) {
        let remedy = gap.remedy.clone().unwrap_or_else(|| "walbrook gap accept --reason \"...\"".to_owned());
        findings.push(Finding::new(Severity::Error, format!("table {table}"), gap.reason.clone(), remedy));
    }
    Ok(())
}

/// An answer to any question shows that it is there and lets us in.
async fn look_at_registry(settings: &Settings) -> Result<()> {
    let Some(registry) = &settings.sink.registry else { return Ok(()) };
    let subject = format!("{}.walbrook-check", settings.sink.topic_prefix);
    Registry::new(registry)?.latest(&subject).await.map(drop)
}

fn check_brokers(brokers: usize, settings: &Settings) -> Option<Finding> {
    let wanted = settings.sink.topics.replication_factor;
    (brokers < usize::from(wanted)).then(|| {
        Finding::new(
            Severity::Error,
            "brokers".to_owned(),
            format!("there are {brokers}, fewer than the {wanted} copies that new topics are to have"),
            format!("set replication_factor = {brokers} in [sink.kafka], or add brokers"),
        )
    })
}

fn check_topic(name: &str, existing: &Existing, settings: &Settings) -> Vec<Finding> {
    let alter = |setting: &str| {
        format!("kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {setting}")
    };
    let number = |key: &str| existing.settings.get(key).and_then(|value| value.parse::<i64>().ok());
    let mut findings = Vec::new();
    if existing.settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        findings.push(Finding::new(
            Severity::Error,
            on(name),
            "it is compacted: a merge could miss a tombstone that compaction removed, and messages without a key are refused"
                .to_owned(),
            alter("cleanup.policy=delete"),
        ));
    }
    let largest = i64::try_from(settings.sink.message_bytes_max).unwrap_or(i64::MAX);
    if let Some(max) = number("max.message.bytes").filter(|max| *max < largest) {
        findings.push(Finding::new(
            Severity::Error,
            on(name),
            format!("it takes messages of {max} bytes, less than sink.kafka.message_bytes_max, {largest}"),
            alter(&format!("max.message.bytes={}", largest + 48_588)),
        ));
    }
    let retention = i64::try_from(settings.sink.topics.retention.as_millis()).unwrap_or(i64::MAX);
    if let Some(kept) = number("retention.ms").filter(|kept| (0..retention).contains(kept)) {
        findings.push(Finding::new(
            Severity::Warning,
            on(name),
            format!("it keeps messages for {kept} ms, less than sink.kafka.retention: a reader that is away longer has a gap"),
            alter(&format!("retention.ms={retention}")),
        ));
    }
    if existing.partitions != settings.sink.topics.partitions {
        let Existing { partitions, .. } = existing;
        findings.push(Finding {
            severity: Severity::Info,
            object: on(name),
            what: format!("it has {partitions} partitions; those that it had at its first message are written to"),
            remedy: None,
        });
    }
    findings
}

/// Letters must stay until somebody has dealt with them, and be larger than what change topics take.
fn check_dead_letters(name: &str, existing: &Existing, settings: &Settings) -> Vec<Finding> {
    let alter = |setting: &str| {
        format!("kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {setting}")
    };
    let number = |key: &str| existing.settings.get(key).and_then(|value| value.parse::<i64>().ok());
    let mut findings = Vec::new();
    if existing.settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        let what = "it is compacted: a dead letter is removed when another of its key comes";
        findings.push(Finding::error(on(name), what, alter("cleanup.policy=delete")));
    }
    if number("retention.ms").is_some_and(|kept| kept >= 0) {
        let what = "it forgets messages that nobody has dealt with in time";
        findings.push(Finding::warning(on(name), what, alter("retention.ms=-1")));
    }
    let least = i64::try_from(settings.sink.message_bytes_max).unwrap_or(i64::MAX);
    if let Some(max) = number("max.message.bytes").filter(|max| *max <= least.saturating_add(4096)) {
        let what = format!(
            "it takes messages of {max} bytes, hardly more than change topics do: larger ones stop their table"
        );
        let wanted = walbrook_letters::TOPIC_BYTES_MAX;
        findings.push(Finding::warning(on(name), what, alter(&format!("max.message.bytes={wanted}"))));
    }
    findings
}

fn check_folder(folder: &Path) -> Option<Finding> {
    let object = || format!("folder {}", folder.display());
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(Finding::error(object(), "it is no folder", "set another sink.kafka.oversize_folder")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some(Finding::info(object(), "it does not exist yet; walbrook makes it, for messages that are too large"))
        }
        Err(error) => Some(Finding::error(object(), format!("it cannot be used: {error}"), "look at its rights")),
    }
}

fn check_checkpoint_topic(name: &str, existing: &Existing) -> Vec<Finding> {
    let mut findings = Vec::new();
    if existing.partitions != 1 {
        findings.push(Finding::new(
            Severity::Error,
            on(name),
            format!("the checkpoint topic has {} partitions; it must have one", existing.partitions),
            "name another topic in sink.kafka.checkpoint_topic: walbrook makes it",
        ));
    }
    if existing.settings.get("cleanup.policy").is_some_and(|policy| policy != "compact") {
        findings.push(Finding::new(
            Severity::Error,
            on(name),
            "the checkpoint topic is not compacted: the checkpoint of a pipeline that is stopped would expire"
                .to_owned(),
            format!(
                "kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config cleanup.policy=compact"
            ),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn existing(partitions: u32, settings: &[(&str, &str)]) -> Existing {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Existing { partitions, settings }
    }

    #[test]
    fn a_topic_that_could_lose_something_is_refused() {
        let settings = testing::settings("b:9092", "p");
        let found = |topic: &Existing| -> Vec<_> {
            check_topic("p.s.t", topic, &settings).into_iter().map(|found| (found.severity, found.what)).collect()
        };
        assert!(found(&existing(2, &[("cleanup.policy", "delete"), ("retention.ms", "-1")])).is_empty());
        let found = found(&existing(
            3,
            &[("cleanup.policy", "compact,delete"), ("max.message.bytes", "1000"), ("retention.ms", "1000")],
        ));
        let severities: Vec<_> = found.iter().map(|(severity, _)| *severity).collect();
        assert_eq!(severities, [Severity::Error, Severity::Error, Severity::Warning, Severity::Info], "{found:?}");
    }

    #[test]
    fn tables_that_would_share_a_topic_are_told() {
        use walbrook_config::MessageFormat::{Avro, Json};
        let base = testing::settings("b:9092", "p");
        let found = |pattern: &str, format, tables: &[(&str, &str)]| -> Vec<String> {
            let mut sink = KafkaSink { topic_name: pattern.to_owned(), ..base.sink.clone() };
            (sink.messages.format, sink.messages.compat) = (format, walbrook_config::Compat::Debezium);
            let tables: Vec<_> = tables.iter().map(|(schema, table)| TableId::new(*schema, *table)).collect();
            let settings = Settings::new(sink, base.pipeline.clone(), testing::info());
            check_names(&settings, &tables).1.iter().map(ToString::to_string).collect()
        };
        let tables = [("shop", "orders"), ("archive", "orders"), ("shop", "items")];
        assert!(found("{prefix}.{schema}.{table}", Avro, &tables).is_empty());
        let shared = found("{prefix}.{table}", Json, &tables);
        assert_eq!(shared.len(), 1, "{shared:?}");
        let named = ["error: topic p.orders", "table shop.orders", "table archive.orders", "{schema}"];
        assert!(named.iter().all(|word| shared[0].contains(word)), "{shared:?}");
        assert!(found("cdc-{schema}-{table}", Json, &tables).is_empty());
        assert_eq!(found("cdc-{schema}-{table}", Avro, &tables).len(), 3, "names that Avro does not take");
    }

    #[test]
    fn the_checkpoint_topic_is_compacted_and_of_one_partition() {
        assert!(check_checkpoint_topic("c", &existing(1, &[("cleanup.policy", "compact")])).is_empty());
        assert_eq!(check_checkpoint_topic("c", &existing(2, &[("cleanup.policy", "delete")])).len(), 2);
    }

    #[test]
    fn where_large_messages_go_is_looked_at() {
        let settings = testing::settings("b:9092", "p");
        let found = |topic: &Existing| -> Vec<_> {
            check_dead_letters("d", topic, &settings).into_iter().map(|found| found.severity).collect()
        };
        let good = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("max.message.bytes", "67108864")];
        assert!(found(&existing(1, &good)).is_empty());
        let bad = [("cleanup.policy", "compact"), ("retention.ms", "1"), ("max.message.bytes", "1000000")];
        assert_eq!(found(&existing(1, &bad)), [Severity::Error, Severity::Warning, Severity::Warning]);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check_folder(dir.path()), None);
        assert_eq!(check_folder(&dir.path().join("new")).unwrap().severity, Severity::Info);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(check_folder(&file).unwrap().severity, Severity::Error);
    }

    #[test]
    fn too_few_brokers_are_told() {
        let settings = testing::settings("b:9092", "p");
        assert!(check_brokers(1, &settings).is_none());
        assert!(check_brokers(0, &settings).is_some());
    }

    #[tokio::test]
    async fn a_cluster_that_is_ready_has_no_finding() {
        let Some(world) = testing::World::new("ready") else { return };
        let tables = [TableId::new("public", "orders")];
        let found = preflight(&world.config, &world.pipeline, testing::info(), &tables).await;
        assert!(found.is_empty(), "{found:?}");
    }
}
