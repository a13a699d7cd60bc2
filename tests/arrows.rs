//! The crates depend on each other as `ARCHITECTURE.md` draws it, and on one version of what must be one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The daemon: the only crate that knows connectors and sinks.
const DAEMON: &str = "walbrook";

/// What both ends of Kafka may depend on.
const END_OF_KAFKA: &[&str] = &[
    "walbrook-model",
    "walbrook-config",
    "walbrook-envelope",
    "walbrook-letters",
    "walbrook-oauth",
    "walbrook-registry",
];

/// Which of our crates a crate may depend on, in its tests too. Connectors and sinks do not appear in each other's rows.
const ARROWS: [(&str, &[&str]); 14] = [
    ("walbrook-model", &[]),
    ("walbrook-config", &[]),
    ("walbrook-engine", &["walbrook-model"]),
    ("walbrook-envelope", &["walbrook-model"]),
    ("walbrook-registry", &["walbrook-model", "walbrook-config"]),
    ("walbrook-oauth", &["walbrook-model", "walbrook-config"]),
    ("walbrook-letters", &["walbrook-model", "walbrook-config", "walbrook-envelope", "walbrook-oauth"]),
    ("walbrook-source-postgres", &["walbrook-model", "walbrook-config"]),
    ("walbrook-source-mysql", &["walbrook-model", "walbrook-config"]),
    ("walbrook-source-kafka", END_OF_KAFKA),
    ("walbrook-sink-kafka", END_OF_KAFKA),
    ("walbrook-lake-merge", &["walbrook-model", "walbrook-config"]),
    ("walbrook-lake-iceberg", &["walbrook-model", "walbrook-config", "walbrook-lake-merge"]),
    ("walbrook-lake-delta", &["walbrook-model", "walbrook-config", "walbrook-lake-merge"]),
];

/// Crates of which there is one version: their types cross the borders between ours.
const ONE_VERSION: [&str; 6] = ["arrow-array", "arrow-schema", "parquet", "bytes", "tokio", "rustls"];

/// Crates of the workspace, with those of ours that each depends on.
type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_arrows_are_as_drawn() {
    let graph = graph();
    assert!(graph.contains_key(DAEMON) && graph.len() >= ARROWS.len(), "{graph:?}");
    assert_eq!(wrong_arrows(&graph), [""; 0]);
}

#[test]
fn what_must_be_one_is_one() {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    assert_eq!(several_versions(&lock), [""; 0]);
}

fn wrong_arrows(graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    for (from, targets) in graph.iter().filter(|(from, _)| *from != DAEMON) {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == from) else {
            wrong.push(format!("{from} has no row in ARROWS: draw it here and in ARCHITECTURE.md"));
            continue;
        };
        for to in targets.iter().filter(|to| !allowed.contains(&to.as_str())) {
            wrong.push(format!("{from} -> {to}"));
        }
    }
    wrong
}

fn several_versions(lock: &str) -> Vec<String> {
    let count = |name: &str| lock.matches(&format!("name = \"{name}\"\n")).count();
    ONE_VERSION
        .iter()
        .filter(|name| count(name) != 1)
        .map(|name| format!("{} versions of {name}", count(name)))
        .collect()
}

/// The workspace as cargo sees it: dependencies of every kind, for every platform.
fn graph() -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let targets = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter().map(name);
        all.filter(|to| ours.contains(to)).collect()
    };
    packages.iter().map(|package| (name(package), targets(package))).collect()
}

fn graph_of(arrows: &[(&str, &[&str])]) -> Graph {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    arrows.iter().map(|(from, to)| ((*from).to_owned(), owned(to))).collect()
}

#[test]
fn a_wrong_arrow_is_found() {
    let check =
        |from: &str, to: &str| assert_eq!(wrong_arrows(&graph_of(&[(from, &[to])])), [format!("{from} -> {to}")]);
    check("walbrook-model", "walbrook-config");
    check("walbrook-config", "walbrook-model");
    check("walbrook-engine", "walbrook-config");
    check("walbrook-source-postgres", "walbrook-lake-merge");
    check("walbrook-source-kafka", "walbrook-sink-kafka");
    check("walbrook-lake-merge", "walbrook-source-postgres");
    check("walbrook-lake-merge", "walbrook-lake-iceberg");
    check("walbrook-lake-iceberg", "walbrook-engine");
    assert_eq!(wrong_arrows(&graph_of(&[(DAEMON, &["walbrook-source-postgres", "walbrook-lake-iceberg"])])), [""; 0]);
    assert_eq!(wrong_arrows(&graph_of(&[("walbrook-new", &[])])).len(), 1);
}

#[test]
fn no_row_lets_a_connector_meet_a_sink() {
    let side = |name: &str| match name {
        name if name.starts_with("walbrook-source-") => Some("connector"),
        name if name.starts_with("walbrook-sink-") || name.starts_with("walbrook-lake-") => Some("sink"),
        _ => None,
    };
    for (from, targets) in ARROWS {
        for to in targets {
            let allowed = side(to).is_none() || (from.starts_with("walbrook-lake-") && *to == "walbrook-lake-merge");
            assert!(allowed, "{from} -> {to}");
        }
    }
}

#[test]
fn a_second_version_is_found() {
    let one = ONE_VERSION.map(|name| format!("[[package]]\nname = \"{name}\"\n")).concat();
    assert_eq!(several_versions(&one), [""; 0]);
    assert_eq!(several_versions(&format!("{one}name = \"parquet\"\n")), ["2 versions of parquet"]);
    assert_eq!(several_versions("").len(), ONE_VERSION.len());
}
