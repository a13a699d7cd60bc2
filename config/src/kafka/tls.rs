//! `[source.kafka.tls]`, `[sink.kafka.tls]`
//!
//! An option that would have no effect is an error: whoever names a certificate authority believes that it is checked.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::definition::{Foreign, Kind, Setting, Unset};
use crate::problem::Problem;
use crate::reader::Reader;
use crate::{form, secret};

/// `[source.kafka.tls]`, `[sink.kafka.tls]`: TLS to the brokers.
#[derive(Clone, Debug)]
pub struct KafkaTls {
    /// What is checked of a broker's certificate.
    pub check: TlsCheck,
    /// PEM file of the certificate authorities to trust. `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate chain; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's private key; needs `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Password of the private key, from `key_password_file`.
    pub key_password: Option<SecretString>,
}

/// What is checked of a broker's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsCheck {
    /// Nothing: `require`.
    Nothing,
    /// The chain, not the host name: `verify-ca`.
    Authority,
    /// Chain and host name: `verify-full`.
    Name,
}

const CERTIFICATE: &str = "no client certificate";

pub(crate) const DOC: &str = "Transport security of the connections to the brokers.";

pub(crate) static SETTINGS: [Setting; 5] = [
    Setting {
        name: "mode",
        kind: Kind::Word {
            words: &["disable", "require", "verify-ca", "verify-full"],
            unset: Unset::Derived("`verify-full`; `disable` if every broker is a loopback host"),
        },
        doc: "`verify-full` checks each broker's certificate and its name, `verify-ca` the certificate alone, \
              `require` nothing, `disable` sends all in the clear.",
        change: "Set `disable` for brokers without TLS, where the network itself is trusted.",
        since: "0.1",
    },
    Setting {
        name: "ca_file",
        kind: Kind::Text { form: &form::PATH, unset: Unset::Derived("the authorities of the system") },
        doc: "PEM file of the certificate authorities to trust.",
        change: "Set it where the brokers' certificates come from an authority of your own or of the cloud.",
        since: "0.1",
    },
    Setting {
        name: "cert_file",
        kind: Kind::Text { form: &form::PATH, unset: Unset::Derived(CERTIFICATE) },
        doc: "PEM file of the client certificate chain; only with `key_file`.",
        change: "Set it where the brokers ask for client certificates.",
        since: "0.1",
    },
    Setting {
        name: "key_file",
        kind: Kind::Text { form: &form::PATH, unset: Unset::Derived(CERTIFICATE) },
        doc: "PEM file of the client's private key; only with `cert_file`. Others must not be able to read it.",
        change: "Set it where the brokers ask for client certificates.",
        since: "0.1",
    },
    Setting {
        name: "key_password_file",
        kind: Kind::Text { form: &form::PATH, unset: Unset::Derived("the key has no password") },
        doc: "File that holds the password of the private key. Others must not be able to read it.",
        change: "Set it where `key_file` is encrypted.",
        since: "0.1",
    },
];

pub(crate) const FOREIGN: &[(&str, Foreign)] = &[
    ("security_protocol", Foreign::Named("mode")),
    ("ssl_endpoint_identification_algorithm", Foreign::Named("mode")),
    ("enabled", Foreign::Named("mode")),
    ("ssl_ca_location", Foreign::Named("ca_file")),
    ("ssl_certificate_location", Foreign::Named("cert_file")),
    ("ssl_key_location", Foreign::Named("key_file")),
    ("key_password", Foreign::Refused(KEY_PASSWORD)),
    ("password", Foreign::Refused(KEY_PASSWORD)),
    ("ssl_key_password", Foreign::Refused(KEY_PASSWORD)),
    ("truststore", Foreign::Refused(STORE)),
    ("keystore", Foreign::Refused(STORE)),
    ("ssl_truststore_location", Foreign::Refused(STORE)),
    ("ssl_keystore_location", Foreign::Refused(STORE)),
];

pub(crate) const KEY_PASSWORD: &str =
    "a password does not belong in this file; use tls.key_password_file = \"/path/to/file\"";

pub(crate) const STORE: &str =
    "Java's key stores are not read; write PEM files: tls.ca_file, and tls.cert_file with tls.key_file";

impl KafkaTls {
    /// `None`: no TLS.
    pub(crate) fn read(reader: &Reader<'_>, local: bool) -> Option<Self> {
        let modes = [None, Some(TlsCheck::Nothing), Some(TlsCheck::Authority), Some(TlsCheck::Name)];
        let default = if local { None } else { Some(TlsCheck::Name) };
        let mode = reader.word("mode", &modes).unwrap_or(default);
        let path = |name| reader.text(name).map(PathBuf::from);
        let (ca_file, cert_file, key_file) = (path("ca_file"), path("cert_file"), path("key_file"));
        for (name, path) in [("ca_file", &ca_file), ("cert_file", &cert_file)] {
            check_file(reader, name, path.as_deref(), |path| secret::check_readable(path).map(|()| None));
        }
        check_file(reader, "key_file", key_file.as_deref(), secret::check_secret);
        let key_password = secret::from_file(reader, "key_password_file");
        let read = [
            ("ca_file", ca_file.is_some()),
            ("cert_file", cert_file.is_some()),
            ("key_file", key_file.is_some()),
            ("key_password_file", key_password.is_some()),
        ];
        for (name, _) in read.into_iter().filter(|(_, is_read)| *is_read) {
            check_together(reader, name);
            check_effect(reader, name, mode);
        }
        mode.map(|check| Self { check, ca_file, cert_file, key_file, key_password })
    }

    /// The keys of librdkafka for it.
    pub(crate) fn apply(&self, set: &mut impl FnMut(&str, &str)) {
        set("enable.ssl.certificate.verification", if self.check == TlsCheck::Nothing { "false" } else { "true" });
        set("ssl.endpoint.identification.algorithm", if self.check == TlsCheck::Name { "https" } else { "none" });
        // The library may have been built for a system that keeps its authorities elsewhere: `probe` looks around.
        let ca_file = self.ca_file.as_ref().map_or("probe".into(), |path| path.to_string_lossy());
        set("ssl.ca.location", &ca_file);
        let files = [("ssl.certificate.location", &self.cert_file), ("ssl.key.location", &self.key_file)];
        for (key, path) in files {
            if let Some(path) = path {
                set(key, &path.to_string_lossy());
            }
        }
        if let Some(password) = &self.key_password {
            set("ssl.key.password", password.expose_secret());
        }
    }
}

fn check_together(reader: &Reader<'_>, name: &str) {
    let (other, expected) = match name {
        "cert_file" => ("key_file", "both or none"),
        "key_file" => ("cert_file", "both or none"),
        "key_password_file" => ("key_file", "the file of the key"),
        _ => return,
    };
    if !reader.is_set(other) {
        reader.complain(name, Problem::new(format!("needs {other} beside it")).expected(expected));
    }
}

fn check_effect(reader: &Reader<'_>, name: &str, mode: Option<TlsCheck>) {
    let what = match mode {
        None if reader.is_set("mode") => "has no effect: mode is disable",
        None => "has no effect: for local brokers mode is disable unless it is set",
        Some(TlsCheck::Nothing) if name == "ca_file" => "has no effect: mode require checks no certificate",
        Some(_) => return,
    };
    reader.complain(name, Problem::new(what).expected("mode = \"verify-full\" or \"verify-ca\", or no such file"));
}

fn check_file(
    reader: &Reader<'_>,
    name: &str,
    path: Option<&Path>,
    check: fn(&Path) -> Result<Option<Problem>, Problem>,
) {
    if let Some(Ok(Some(problem)) | Err(problem)) = path.map(check) {
        reader.complain(name, problem);
    }
}
