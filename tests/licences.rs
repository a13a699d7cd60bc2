//! Every crate that is built into walbrook has a licence that goes with ours, and none is banned: as `deny.toml` says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::process::Command;

const DENY: &str = include_str!("../deny.toml");
const LOCK: &str = include_str!("../Cargo.lock");

#[test]
fn every_licence_is_allowed() {
    let allowed = allowed(DENY);
    let crates = crates();
    assert!(crates.len() > 100, "only {} crates were found", crates.len());
    let refused: Vec<&String> = crates
        .iter()
        .filter(|line| !line.split_once('\t').is_some_and(|(_, licence)| satisfies(licence, &allowed)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn no_banned_crate_is_in_the_tree() {
    let banned = banned(DENY);
    assert!(banned.len() >= 5, "{banned:?}");
    assert_eq!(found(&banned, LOCK), [""; 0]);
}

/// The `deny` list of `[bans]`: crates, and those that may depend on them all the same.
fn banned(deny: &str) -> Vec<(&str, Vec<&str>)> {
    let list = deny.split_once("[bans]").and_then(|(_, rest)| rest.split_once("\ndeny = [")).unwrap().1;
    let list = list.split("\n]").next().unwrap();
    let entries = list.lines().filter_map(|line| {
        let name = line.split_once("crate = \"")?.1.split('"').next()?;
        let wrappers = line.split_once("wrappers = [").and_then(|(_, rest)| rest.split(']').next());
        let wrappers = wrappers.unwrap_or_default().split(',').map(|name| name.trim().trim_matches('"'));
        Some((name, wrappers.filter(|name| !name.is_empty()).collect()))
    });
    entries.collect()
}

/// The banned crates that a lock file holds, each with a crate that depends on it and may not.
fn found(banned: &[(&str, Vec<&str>)], lock: &str) -> Vec<String> {
    let mut found = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let quoted = |line: &'_ str| line.split('"').nth(1).unwrap_or_default().to_owned();
        let name = package.lines().find(|line| line.starts_with("name = ")).map(quoted).unwrap_or_default();
        let dependencies = package.split_once("dependencies = [").map_or("", |(_, rest)| rest);
        for line in dependencies.lines().filter(|line| line.starts_with(" \"")) {
            let dependency = quoted(line);
            let dependency = dependency.split(' ').next().unwrap_or_default();
            let ban = banned.iter().find(|(crate_name, _)| *crate_name == dependency);
            if ban.is_some_and(|(_, wrappers)| !wrappers.contains(&name.as_str())) {
                found.push(format!("{name} -> {dependency}"));
            }
        }
    }
    found
}

/// Name, version and licence of everything that is built for this platform, tests included, from what is downloaded.
fn crates() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--offline",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
            "--format",
            "{p}\t{l}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).filter(|line| !line.is_empty()).collect()
}

/// The `allow` list of `[licenses]`.
fn allowed(deny: &str) -> BTreeSet<&str> {
    let list = deny.split_once("[licenses]").and_then(|(_, rest)| rest.split_once("allow = [")).unwrap().1;
    let list = list.split(']').next().unwrap();
    list.lines().filter_map(|line| line.split('"').nth(1)).collect()
}

/// Whether an SPDX expression can be satisfied. `/` is the old way to write OR; AND binds tighter than OR.
fn satisfies(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &tokens[..];
    let satisfied = any_of(&mut rest, allowed);
    satisfied && rest.is_empty()
}

fn any_of(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut satisfied = all_of(rest, allowed);
    while let [first, tail @ ..] = *rest
        && *first == "OR"
    {
        *rest = tail;
        satisfied |= all_of(rest, allowed);
    }
    satisfied
}

fn all_of(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut satisfied = licence(rest, allowed);
    while let [first, tail @ ..] = *rest
        && *first == "AND"
    {
        *rest = tail;
        satisfied &= licence(rest, allowed);
    }
    satisfied
}

fn licence(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let Some((first, tail)) = rest.split_first() else { return false };
    *rest = tail;
    if *first == "(" {
        let satisfied = any_of(rest, allowed);
        let closed = rest.first() == Some(&")");
        *rest = rest.get(1..).unwrap_or_default();
        return satisfied && closed;
    }
    if let ["WITH", exception, tail @ ..] = *rest {
        *rest = tail;
        return allowed.contains(format!("{first} WITH {exception}").as_str());
    }
    allowed.contains(first)
}

#[test]
fn expressions() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]);
    let check = |expression, expected| assert_eq!(satisfies(expression, &allowed), expected, "{expression}");
    check("MIT", true);
    check("GPL-3.0-only", false);
    check("", false);
    check("MIT OR GPL-3.0-only", true);
    check("GPL-3.0-only/MIT", true);
    check("MIT AND GPL-3.0-only", false);
    check("MIT OR GPL-3.0-only AND MPL-2.0", true);
    check("(MIT OR GPL-3.0-only) AND MPL-2.0", false);
    check("(MPL-2.0 OR Apache-2.0) AND MIT", true);
    check("Apache-2.0 WITH LLVM-exception", true);
    check("MIT WITH LLVM-exception", false);
    check("(MIT", false);
    check("MIT)", false);
}

#[test]
fn the_list_is_read() {
    let list = allowed("allow = [\n\"GPL\",\n]\n[licenses]\nallow = [\n  # why\n  \"MIT\",\n  \"ISC\", # why\n]\n");
    assert_eq!(list, BTreeSet::from(["MIT", "ISC"]));
    assert!(!allowed(DENY).iter().any(|licence| licence.contains("GPL") || licence.starts_with("MPL")));
}

#[test]
fn a_banned_crate_is_found() {
    let deny = "[bans]\nskip = []\ndeny = [\n  # why\n  { crate = \"a\", reason = \"r\" },\n  \
                { crate = \"b\", wrappers = [\"c\", \"d\"] },\n]\n[sources]\n";
    let banned = banned(deny);
    assert_eq!(banned, [("a", vec![]), ("b", vec!["c", "d"])]);
    let package = |name: &str, dependency: &str| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\ndependencies = [\n \"{dependency}\",\n]\n\n")
    };
    let check = |name, dependency, expected: &[&str]| {
        assert_eq!(found(&banned, &package(name, dependency)), expected, "{name} {dependency}");
    };
    check("x", "a", &["x -> a"]);
    check("x", "a 1.2.3", &["x -> a"]);
    check("x", "ab", &[]);
    check("x", "b", &["x -> b"]);
    check("c", "b", &[]);
    check("d", "b", &[]);
}
