//! `[source.kafka.registry]`, `[sink.kafka.registry]`

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::definition::{Foreign, Kind, Setting, Unset};
use crate::load::Environment;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::{form, secret};

/// `[source.kafka.registry]`, `[sink.kafka.registry]`: the schema registry, with the interface of Confluent's.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Where it is: `http://` or `https://`, without a login in it and without a slash at its end.
    pub url: String,
    /// Account for basic authentication; only with a password.
    pub username: Option<String>,
    /// From `password_file` or `password_env`; never from the file itself.
    pub password: Option<SecretString>,
    /// PEM file of the certificate authorities to trust. `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long one call may take, with all its repeats.
    pub timeout: Duration,
}

/// Under which subject the schema of a topic's keys or values is registered, as Confluent's serializers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectStrategy {
    /// `<topic>-key`, `<topic>-value`.
    Topic,
    /// Full name of the record.
    Record,
    /// `<topic>-<full name of the record>`.
    TopicRecord,
}

pub(crate) const URL: Setting = Setting {
    name: "url",
    kind: Kind::Text { form: &form::HTTP_URL, unset: Unset::Refused { example: "\"https://registry.example.com\"" } },
    doc: "Address of the registry; it speaks as Confluent's does (Apicurio: the path ends with `/apis/ccompat/v7`).",
    change: "It holds no login: that is `username` and `password_file`.",
    since: "0.1",
};

pub(crate) const USERNAME: Setting = Setting {
    name: "username",
    kind: Kind::Text { form: &form::ACCOUNT, unset: Unset::Derived("no login") },
    doc: "Account for basic authentication; only with a password.",
    change: "Set it where the registry asks for a login.",
    since: "0.1",
};

pub(crate) const PASSWORD_FILE: Setting = Setting {
    name: "password_file",
    kind: Kind::Text { form: &form::PATH, unset: Unset::Derived("no login") },
    doc: "File that holds the password; a line end after it is left off. Others must not be able to read it.",
    change: "The usual way: a mounted secret, or a file with mode 600.",
    since: "0.1",
};

pub(crate) const PASSWORD_ENV: Setting = Setting {
    name: "password_env",
    kind: Kind::Text { form: &form::VARIABLE, unset: Unset::Derived("no login") },
    doc: "Environment variable that holds the password; not together with `password_file`.",
    change: "Where files cannot be mounted; the environment of a process is easier to read than a file.",
    since: "0.1",
};

pub(crate) const CA_FILE: Setting = Setting {
    name: "ca_file",
    kind: Kind::Text { form: &form::PATH, unset: Unset::Derived("the authorities of the system") },
    doc: "PEM file of the certificate authorities to trust; only for `https`.",
    change: "Set it where the registry's certificate comes from an authority of your own.",
    since: "0.1",
};

pub(crate) const SUBJECT_STRATEGY: Setting = Setting {
    name: "subject_strategy",
    kind: Kind::Word { words: &["topic", "record", "topic_record"], unset: Unset::Default("topic") },
    doc: "Subject of a schema. `topic`: `<topic>-key` and `<topic>-value`. `record`: the record's full name. \
          `topic_record`: `<topic>-<record>`.",
    change: "Set what the consumers of the topics expect; most expect the default.",
    since: "0.1",
};

pub(crate) const TIMEOUT: Setting = Setting {
    name: "timeout",
    kind: Kind::Duration {
        default: Duration::from_secs(30),
        min: Duration::from_secs(1),
        max: Duration::from_mins(10),
    },
    doc: "How long one call may take, with all its repeats; after that the pipeline starts again from its checkpoint.",
    change: "Raise it where the registry is away for longer and its restarts are noise.",
    since: "0.1",
};

pub(crate) const FOREIGN: &[(&str, Foreign)] = &[
    ("password", Foreign::Refused(secret::LITERAL)),
    ("basic_auth_user_info", Foreign::Refused(USER_INFO)),
    ("schema_registry_basic_auth_user_info", Foreign::Refused(USER_INFO)),
    ("basic_auth_credentials_source", Foreign::Refused(USER_INFO)),
    ("user", Foreign::Named("username")),
    ("urls", Foreign::Named("url")),
    ("schema_registry_url", Foreign::Named("url")),
    ("apicurio_registry_url", Foreign::Named("url")),
    (
        "auto_register_schemas",
        Foreign::Refused("unknown key; schemas are always registered, before their first message"),
    ),
    ("normalize_schemas", Foreign::Refused("unknown key; schemas are registered as they are")),
    ("token", Foreign::Refused("bearer tokens are not supported yet; write username and password_file")),
];

pub(crate) const USER_INFO: &str =
    "a login does not belong in one text; write registry.username, and registry.password_file = \"/path/to/file\"";

impl Registry {
    pub(crate) fn read(reader: &Reader<'_>, env: Environment<'_>) -> Self {
        let url = reader.text("url").unwrap_or_default();
        let username = reader.text("username");
        let password = secret::password(reader, env);
        let ca_file = reader.text("ca_file").map(PathBuf::from);
        check_login(reader, &url, username.is_some(), password.is_some());
        if let Some(path) = &ca_file {
            if form::is_plain_http(&url) {
                let what = "has no effect: the url begins with http, which is sent in the clear";
                reader.complain("ca_file", Problem::new(what).expected("an https url, or no such file"));
            }
            if let Err(problem) = secret::check_readable(path) {
                reader.complain("ca_file", problem);
            }
        }
        let timeout = reader.duration("timeout");
        Self { url: url.trim_end_matches('/').to_owned(), username, password, ca_file, timeout }
    }
}

impl SubjectStrategy {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        reader.word("subject_strategy", &[Self::Topic, Self::Record, Self::TopicRecord]).unwrap_or(Self::Topic)
    }
}

fn check_login(reader: &Reader<'_>, url: &str, has_username: bool, has_password: bool) {
    if has_password && !reader.is_set("username") {
        let name = if reader.is_set("password_file") { "password_file" } else { "password_env" };
        reader.complain(name, Problem::new("needs username beside it").expected("both or none"));
    }
    if has_username && !reader.is_set("password_file") && !reader.is_set("password_env") {
        reader.complain("username", Problem::new("needs password_file beside it").expected("both or none"));
    }
    if has_username && form::is_plain_http(url) && !form::is_local(form::url_host(url)) {
        let what = "the password would be sent in the clear, since the url begins with http";
        reader.complain("username", Problem::new(what).expected("an https url, or no login"));
    }
}
