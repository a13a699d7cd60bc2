use std::time::Duration;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;
use crate::definition::{ANY, Kind, SECTIONS, Section, Unset};
use crate::{Lake, LogFormat, Postgres, SnapshotMode, TableMode, TlsMode};

const MINIMAL: &str = include_str!("../../examples/minimal.toml");

fn parse_plain(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, "w.toml", &|name| (name == "KAFKA_PASSWORD").then(|| "hunter2".to_owned()))
}

fn postgres(config: Config) -> Postgres {
    let SourceConfig::Postgres(postgres) = config.source else { panic!("{:?}", config.source) };
    postgres
}

fn lake(config: Config) -> Lake {
    let SinkConfig::Lake(lake) = config.sink else { panic!("{:?}", config.sink) };
    lake
}

/// A configuration in which every option of `section` can have an effect.
fn base(section: &Section) -> String {
    let client = |side: &str| {
        format!(
            "[{side}.kafka]\nbrokers = [\"127.0.0.1:9092\"]\n\
             [{side}.kafka.sasl]\nmechanism = \"scram-sha-512\"\nusername = \"u\"\npassword_env = \"KAFKA_PASSWORD\"\n\
             [{side}.kafka.registry]\nurl = \"https://127.0.0.1\"\n"
        )
    };
    match section.path {
        ["sink", "kafka", ..] => {
            let (before, _) = MINIMAL.split_once("[sink.lake]").unwrap();
            format!("{before}{}", client("sink").replace("[sink.kafka]\n", "[sink.kafka]\nbuffer_bytes = \"2GB\"\n"))
        }
        ["source", "kafka", ..] => {
            let source = client("source").replace("[source.kafka]\n", "[source.kafka]\ntopics = [\"a\"]\n");
            format!("[pipeline]\nname = \"shop\"\n{source}[sink.lake]\nwarehouse = \"warehouse\"\n")
        }
        _ => MINIMAL.to_owned(),
    }
}

fn shown(text: &str) -> String {
    let problems = parse_plain(text).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// [`base`] with one option set in one section, whether or not both are there already, and without what would hinder it.
fn with(section: &Section, name: &str, value: &str) -> String {
    let title: Vec<&str> = section.path.iter().map(|part| if *part == ANY { "\"public.a\"" } else { part }).collect();
    let header = format!("[{}]", title.join("."));
    let mut text = String::new();
    let mut inside = false;
    let replaced = if name == "password_file" { "password_env" } else { name };
    let without_registry = name == "format" && value.starts_with("\"json");
    let base = base(section);
    let base = if without_registry { base.split("[sink.kafka.registry]").next().unwrap() } else { &base };
    let with_token = matches!(name, "token_url" | "scope") || value == "\"oauthbearer\"";
    let tokens = "\"oauthbearer\"\ntoken_url = \"https://127.0.0.1\"";
    let base = if with_token { base.replace("\"scram-sha-512\"", tokens) } else { base.to_owned() };
    for line in base.lines() {
        inside = if line.starts_with('[') { line == header } else { inside };
        if !(inside && line.starts_with(&format!("{replaced} ="))) {
            text.extend([line, "\n"]);
        }
        if line == header {
            text.extend([name, " = ", value, "\n"]);
        }
    }
    if !text.contains(&header) {
        text.extend([header.as_str(), "\n", name, " = ", value, "\n"]);
    }
    text
}

#[test]
fn what_is_not_set_has_its_default() {
    let config = parse_plain(MINIMAL).unwrap();
    let (pipeline, http, log) = (config.pipeline.clone(), config.http.clone(), config.log.clone());
    let (postgres, lake) = (postgres(config.clone()), lake(config));
    assert_eq!(
        (pipeline.name.as_str(), pipeline.buffer_bytes, pipeline.parked_bytes),
        ("shop", 8_000_000, 256_000_000)
    );
    assert_eq!(pipeline.grace_period, Duration::from_secs(25));
    assert_eq!((postgres.port, postgres.create_publication), (5432, true));
    assert_eq!((postgres.slot.as_str(), postgres.publication.as_str()), ("walbrook_shop", "walbrook_shop"));
    assert!(postgres.password.is_none() && postgres.tls.ca_file.is_none() && postgres.tables.exclude.is_empty());
    assert_eq!(
        (postgres.heartbeat_interval, postgres.connect_timeout),
        (Duration::from_secs(10), Duration::from_secs(10))
    );
    assert_eq!((postgres.message_bytes_max, postgres.transaction_bytes_max), (256_000_000, 64_000_000));
    let snapshot = &postgres.snapshot;
    assert_eq!((snapshot.mode, snapshot.sessions, snapshot.range_bytes), (SnapshotMode::Initial, 2, 128_000_000));
    assert_eq!((lake.mode, lake.commit_interval), (TableMode::Upsert, Duration::from_secs(1)));
    assert_eq!((lake.commit_bytes, lake.keep_snapshots), (48_000_000, 20));
    assert!(lake.namespace.is_none() && lake.tables.is_empty());
    assert_eq!(http.listen.to_string(), "127.0.0.1:9187");
    assert_eq!((log.format, log.level.as_str()), (LogFormat::Text, "info"));
}

#[test]
fn tls_is_verified_unless_the_host_is_local() {
    let check = |host: &str, expected| {
        let text = MINIMAL.replace("127.0.0.1", host);
        assert_eq!(postgres(parse_plain(&text).unwrap()).tls.mode, expected, "{host}");
    };
    check("db.example.com", TlsMode::VerifyFull);
    check("10.0.0.1", TlsMode::VerifyFull);
    check("localhost", TlsMode::Disable);
    check("::1", TlsMode::Disable);
    check("/var/run/postgresql", TlsMode::Disable);
    let named = with(&crate::postgres::TLS, "mode", "\"verify-ca\"");
    assert_eq!(postgres(parse_plain(&named).unwrap()).tls.mode, TlsMode::VerifyCa);
}

#[test]
fn what_is_set_is_kept() {
    let config = parse_plain(include_str!("../../examples/append.toml")).unwrap();
    let (postgres, lake) = (postgres(config.clone()), lake(config));
    assert_eq!(lake.mode, TableMode::Append);
    assert_eq!(lake.tables["public.currencies"].mode, Some(TableMode::Upsert));
    assert_eq!(lake.namespace.as_deref(), Some("audit"));
    assert_eq!(lake.commit_interval, Duration::from_secs(10));
    assert_eq!(postgres.snapshot.mode, SnapshotMode::Never);
    assert_eq!(postgres.tables.include, ["public.orders", "public.payments", "public.currencies"]);
    let remote = format!("{MINIMAL}\n[http]\nlisten = \"0.0.0.0:80\"\nallow_remote = true\n");
    assert_eq!(parse_plain(&remote).unwrap().http.listen.to_string(), "0.0.0.0:80");
}

#[test]
fn every_option_is_read_and_its_type_checked() {
    let mut count = 0;
    for section in SECTIONS {
        for setting in section.settings {
            count += 1;
            // No option is a list of lists.
            let text = with(section, setting.name, "[[]]").replace("127.0.0.1", "db.example.com");
            let problems = parse_plain(&text).err().unwrap_or_default();
            let key = format!("{}.{}", section.title().replace("schema.name", "public.a"), setting.name);
            let hit = problems.iter().filter(|problem| problem.key() == key).count();
            assert_eq!((hit, problems.len()), (1, 1), "{key}: {}", shown(&text));
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn every_bound_is_the_first_and_last_that_is_accepted() {
    for section in SECTIONS {
        for setting in section.settings {
            let check = |value: String, good: bool| {
                let text = with(section, setting.name, &value);
                assert_eq!(shown(&text).is_empty(), good, "{} = {value}\n{}", setting.name, shown(&text));
            };
            match setting.kind {
                Kind::Integer { min, max, .. } => {
                    check(min.to_string(), true);
                    check(max.to_string(), true);
                    check(i128::from(min).saturating_sub(1).to_string(), false);
                    check((max + 1).to_string(), false);
                }
                Kind::Size { min, max, .. } => {
                    check(format!("\"{min}B\""), true);
                    check(format!("\"{max}B\""), true);
                    check(format!("\"{}B\"", min - 1), false);
                    check(format!("\"{}B\"", max + 1), false);
                    check(min.to_string(), false);
                }
                Kind::Duration { min, max, .. } => {
                    check(format!("\"{}ms\"", min.as_millis()), true);
                    check(format!("\"{}ms\"", max.as_millis()), true);
                    check(format!("\"{}ms\"", i128::try_from(min.as_millis()).unwrap() - 1), false);
                    check(format!("\"{}ms\"", max.as_millis() + 1), false);
                    check(min.as_millis().to_string(), false);
                }
                Kind::Word { words, .. } => {
                    for word in words {
                        check(format!("\"{word}\""), true);
                    }
                    check("\"other\"".to_owned(), false);
                }
                Kind::Flag { .. } | Kind::Text { .. } | Kind::Texts { .. } => {}
            }
        }
    }
}

#[test]
fn a_required_option_is_missed() {
    for section in SECTIONS {
        for setting in section.settings {
            if let Some(Unset::Refused { example }) = setting.kind.unset() {
                let key = format!("{}.{}", section.title(), setting.name);
                let text = with(section, setting.name, "0").replace(&format!("{} = 0\n", setting.name), "");
                assert_eq!(shown(&text).lines().count(), 2, "{key}: {}", shown(&text));
                assert!(shown(&text).contains(&format!("{key}: missing\n  expected {} = {example}", setting.name)));
                assert_eq!(shown(&with(section, setting.name, example)), "", "{key}: its example is wrong");
            }
        }
    }
}

#[test]
fn no_value_is_ever_shown() {
    let canary = "canary-7f3a/\u{b5} \" x";
    let quoted = format!("{canary:?}");
    let mut seen = 0;
    for section in SECTIONS {
        let names = section.settings.iter().map(|setting| setting.name);
        for name in names.chain(section.foreign.iter().map(|(name, _)| *name)).chain(["unknown"]) {
            for value in
                [&quoted, &format!("[{quoted}]"), &format!("{{ a = {quoted} }}"), &format!("{quoted} {quoted}")]
            {
                let text = with(section, name, value);
                for problem in parse_plain(&text).err().unwrap_or_default() {
                    seen += 1;
                    assert!(!format!("{problem}{problem:?}").contains("canary"), "{problem}");
                }
            }
        }
    }
    assert!(seen > 200, "{seen}");

    let text = with(&crate::postgres::POSTGRES, "password_env", "\"PASSWORD\"");
    let config = Config::parse(&text, "w.toml", &|_| Some(canary.to_owned())).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
    assert_eq!(postgres(config).password.unwrap().expose_secret(), canary);
}

#[test]
fn a_file_is_read_with_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("password");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let set_mode = |mode| {
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    let file = dir.path().join("walbrook.toml");
    let text = with(&crate::postgres::POSTGRES, "password_file", &format!("{:?}", secret.to_str().unwrap()));
    std::fs::write(&file, text).unwrap();

    set_mode(0o600);
    let (config, warnings) = Config::load_with_warnings(&file).unwrap();
    assert_eq!(postgres(config).password.unwrap().expose_secret(), "hunter2");
    assert!(warnings.is_empty());

    set_mode(0o640);
    let (_, warnings) = Config::load_with_warnings(&file).unwrap();
    assert!(warnings.len() == 1 && warnings[0].is_warning());
    assert!(Config::load(&file).is_ok());

    set_mode(0o644);
    assert!(Config::load(&file).is_err());
}

#[test]
fn a_file_that_is_no_configuration_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let check = |content: Option<&[u8]>, expected: &str| {
        let path = dir.path().join("w.toml");
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let start = std::time::Instant::now();
        let problems = Config::load(&path).unwrap_err();
        // A second on a machine that does nothing else; what grows with the square of the size takes minutes.
        assert!(start.elapsed() < Duration::from_secs(10), "{:?} {}", start.elapsed(), problems[0]);
        assert!(problems[0].to_string().contains(expected), "{}", problems[0]);
        assert!(problems.len() <= 101);
    };
    check(None, "cannot be read: no such file");
    check(Some(b"a = 1\n\xff"), "not UTF-8, first on line 2");
    check(Some(&vec![b'#'; 10 << 20]), "too large");
    check(Some(&vec![b'['; 10 << 20]), "too large");
    check(Some(format!("##{}", "\u{e9}".repeat(1 << 20)).as_bytes()), "too large");
    assert!(shown(&"#".repeat(FILE_BYTES_MAX + 1)).contains("too large"));
    assert!(!shown(&"#".repeat(FILE_BYTES_MAX)).contains("too large"));
    let largest = FILE_BYTES_MAX;
    check(Some(&vec![b'['; largest]), "not TOML");
    check(Some("a.".repeat(largest / 2).as_bytes()), "not TOML");
    check(Some("=\n".repeat(largest / 2).as_bytes()), "not TOML");
    check(Some("=\n".repeat(20_000).as_bytes()), "not TOML");
    check(Some("[[a]]\n".repeat(largest / 6).as_bytes()), "unknown key");
    check(Some(format!("a = {}1{}", "[".repeat(10_000), "]".repeat(10_000)).as_bytes()), "not TOML");
    check(Some(format!("a = {}", "{ a = ".repeat(10_000)).as_bytes()), "not TOML");
    let keys: Vec<String> = (0..largest / 13).map(|i| format!("a{i:07} = 1\n")).collect();
    check(Some(keys.concat().as_bytes()), "unknown key");
    check(Some("aaa = 1\n".repeat(5_000).as_bytes()), "duplicate key");
    assert!(Config::load(dir.path()).unwrap_err()[0].to_string().contains("a folder"));
}

/// Pieces of configurations, so that random texts get beyond the first character.
const PIECES: [&str; 41] = [
    "[pipeline]\n",
    "[source.postgres]\n",
    "[source.postgres.tls]\n",
    "[sink.lake.table.\"a.b\"]\n",
    "[[sink.lake]]\n",
    "[source.kafka]\n",
    "[sink.kafka]\n",
    "[sink.kafka.librdkafka]\n",
    "acks",
    "name",
    "mode",
    "port",
    "password",
    "include",
    " = ",
    ".",
    ",",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    "#",
    "\"shop\"",
    "\"1s\"",
    "\"64MB\"",
    "-5",
    "0x1f",
    "1e400",
    "nan",
    "true",
    "1979-05-27",
    "\\u",
    "\u{feff}",
    "\r",
    "\0",
    "\u{202e}",
    "\u{10ffff}",
];

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(&PIECES[..]).prop_map(str::to_owned), 1 => "\\PC{0,8}"]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = parse_plain(&text);
    }

    #[test]
    fn no_pieces_make_it_panic(pieces in prop::collection::vec(piece(), 0..40)) {
        let _ = parse_plain(&pieces.concat());
    }

    #[test]
    fn no_damage_makes_it_panic(cut in 0usize..2_000, len in 0usize..60, insert in piece()) {
        let text = crate::example();
        let chars: Vec<char> = text.chars().collect();
        let start = cut.min(chars.len());
        let end = (start + len).min(chars.len());
        let damaged: String = chars[..start].iter().chain(insert.chars().collect::<Vec<_>>().iter()).chain(&chars[end..]).collect();
        for problem in parse_plain(&damaged).err().unwrap_or_default() {
            let lines = damaged.matches('\n').count() + 1;
            prop_assert!(problem.line().is_none_or(|line| line <= lines), "{problem}");
        }
    }
}
