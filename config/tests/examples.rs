//! The examples can be used as they are, and the reference is as the definitions are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use walbrook_config::{Config, example, reference};

#[test]
fn every_example_is_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["password", "kafka-password", "kafka-client-secret", "registry-password"] {
        let password = dir.path().join(name);
        fs::write(&password, "hunter2").unwrap();
        fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // The one thing of an example that is not on this machine.
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("/run/secrets/walbrook", dir.path().to_str().unwrap());
        if let Err(problems) = Config::parse(&text, &name, &|_| None) {
            let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}", shown.join("\n"));
        }
        names.push(name);
    }
    names.sort();
    let expected = [
        "append.toml",
        "capture.toml",
        "dead-letters.toml",
        "exactly-once.toml",
        "merge.toml",
        "minimal.toml",
        "oauthbearer.toml",
        "oversize.toml",
        "postgres-to-iceberg.toml",
        "quickstart.toml",
        "sasl.toml",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_example_is_one_of_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/postgres-to-iceberg.toml");
    assert_eq!(example(), fs::read_to_string(path).unwrap());
}

#[test]
fn the_reference_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, reference()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference(), "stale: walbrook config > config/reference.md");
}
