//! Broken configurations and what is said about them, as data: `broken/*.txt`.
//!
//! A file holds cases: `### title`, the configuration, `---`, the expected output. Sections that a configuration cannot
//! do without and that the case does not speak of are put behind it, so that a case shows what is broken and no more;
//! those of Kafka, where it speaks of Kafka;
//! a title that ends with `(alone)` stays as it is. `{dir}` stands for a folder with secret files, see [`secrets`].
//!
//! `UPDATE=1 cargo test -p walbrook-config` writes the output of today into the files; read the difference.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use walbrook_config::Config;

const BASE: [(&str, &str); 7] = [
    ("pipeline", "[pipeline]\nname = \"shop\"\n"),
    ("source.postgres", "[source.postgres]\nhost = \"127.0.0.1\"\ndatabase = \"shop\"\nuser = \"walbrook\"\n"),
    ("source.postgres.tables", "[source.postgres.tables]\ninclude = [\"public.*\"]\n"),
    ("source.kafka", "[source.kafka]\nbrokers = [\"kafka.example.com:9092\"]\ntopics = [\"shop.public.*\"]\n"),
    ("sink.lake", "[sink.lake]\nwarehouse = \"warehouse\"\n"),
    ("sink.kafka", "[sink.kafka]\nbrokers = [\"kafka.example.com:9092\"]\n"),
    ("sink.kafka.registry", "[sink.kafka.registry]\nurl = \"https://registry.example.com\"\n"),
];

#[test]
fn every_broken_configuration_says_what_is_wrong() {
    let secrets = secrets();
    let mut count = 0;
    let mut stale = Vec::new();
    for file in files() {
        let old = fs::read_to_string(&file).unwrap();
        let mut new = String::new();
        for case in cases(&old) {
            count += 1;
            let shown = problems(case, secrets.path());
            assert!(!shown.is_empty(), "{}: {} is not broken", file.display(), case.title);
            write!(new, "### {}\n{}---\n{shown}\n", case.title, case.text).unwrap();
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, new.trim_end().to_owned() + "\n").unwrap();
        } else if new.trim_end() != old.trim_end() {
            stale.push(difference(&old, &new));
        }
    }
    assert!(count >= 60, "only {count} cases were found");
    assert!(stale.is_empty(), "UPDATE=1 accepts this:\n{}", stale.concat());
}

#[test]
fn what_stands_behind_each_case_is_not_broken() {
    for (source, sink) in [("postgres", "lake"), ("postgres", "kafka"), ("kafka", "lake")] {
        let text = format!("[source.{source}]\n[sink.{sink}]\n");
        let base: String =
            BASE.iter().filter(|(section, _)| is_spoken_of(section, &text)).map(|(_, text)| *text).collect();
        Config::parse(&base, "walbrook.toml", &|_| None).unwrap();
    }
}

#[derive(Clone, Copy)]
struct Case<'t> {
    title: &'t str,
    text: &'t str,
}

fn cases(file: &str) -> impl Iterator<Item = Case<'_>> {
    file.split("### ").skip(1).map(|block| {
        let (title, rest) = block.split_once('\n').unwrap();
        let end = rest.find("---\n").unwrap_or(rest.len());
        Case { title, text: &rest[..end] }
    })
}

fn problems(case: Case<'_>, secrets: &Path) -> String {
    let mut text = case.text.replace("{dir}", secrets.to_str().unwrap());
    if !case.title.ends_with("(alone)") {
        for (section, base) in BASE {
            if !case.text.contains(&format!("[{section}]")) && is_spoken_of(section, case.text) {
                text.push_str(base);
            }
        }
    }
    let env = |name: &str| match name {
        "PRESENT" => Some("hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let problems = Config::parse(&text, "walbrook.toml", &env).err().unwrap_or_default();
    problems.iter().fold(String::new(), |shown, problem| shown + &problem.to_string() + "\n")
}

/// Whether a section belongs to the source or the sink of a case.
fn is_spoken_of(section: &str, text: &str) -> bool {
    let side = section.split('.').next().unwrap_or_default();
    if section.ends_with("registry") && text.contains("\"json") {
        return false;
    }
    let is_kafka = text.contains(&format!("[{side}.kafka"));
    match section.split('.').nth(1) {
        None => true,
        Some("kafka") => is_kafka,
        Some(_) => !is_kafka,
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// `good` (mode 600), `group` (640), `open` (644), `empty`, `two-lines`, and the folder `folder`.
fn secrets() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("good", "hunter2\n", 0o600),
        ("group", "hunter2\n", 0o640),
        ("open", "hunter2\n", 0o644),
        ("empty", "\n", 0o600),
        ("two-lines", "hunter2\nhunter2\n", 0o600),
    ];
    for (name, content, mode) in files {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    fs::create_dir(dir.path().join("folder")).unwrap();
    dir
}

/// The first lines that differ.
fn difference(old: &str, new: &str) -> String {
    let at =
        old.lines().zip(new.lines()).position(|(a, b)| a != b).unwrap_or(old.lines().count().min(new.lines().count()));
    let show = |text: &str| text.lines().skip(at.saturating_sub(8)).take(12).collect::<Vec<_>>().join("\n");
    format!("was:\n{}\nis:\n{}\n\n", show(old), show(new))
}
