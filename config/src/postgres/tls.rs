//! `[source.postgres.tls]`
//!
//! An option that would have no effect is an error: whoever names a certificate authority believes that it is checked.

use std::path::PathBuf;

use crate::definition::{Foreign, Kind, Presence, Section, Setting, Unset};
use crate::problem::Problem;
use crate::reader::Reader;
use crate::{form, secret};

/// `[source.postgres.tls]`
#[derive(Clone, Debug)]
pub struct Tls {
    /// How much is checked.
    pub mode: TlsMode,
    /// PEM file of the certificate authorities to trust. `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate chain; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's private key; needs `cert_file`.
    pub key_file: Option<PathBuf>,
}

/// How much of the server's certificate is checked, as `libpq` names it. There is no `prefer`: it can be downgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS, no certificate check.
    Require,
    /// The chain is checked, the host name is not.
    VerifyCa,
    /// Chain and host name are checked.
    VerifyFull,
}

pub(crate) static TLS: Section = Section {
    path: &["source", "postgres", "tls"],
    doc: "Transport security of the connections to the database.",
    presence: Presence::Optional,
    settings: &[
        Setting {
            name: "mode",
            kind: Kind::Word {
                words: &["disable", "require", "verify-ca", "verify-full"],
                unset: Unset::Derived("`verify-full`; `disable` for a Unix socket or a loopback host"),
            },
            doc: "`verify-full` checks the server's certificate and its name, `verify-ca` the certificate alone, \
                  `require` nothing, `disable` sends all in the clear.",
            change: "Lower it only where the network itself is trusted.",
            since: "0.1",
        },
        Setting {
            name: "ca_file",
            kind: Kind::Text { form: &form::PATH, unset: Unset::Derived("the authorities of the system") },
            doc: "PEM file of the certificate authorities to trust.",
            change: "Set it where the server's certificate comes from an authority of your own or of the cloud.",
            since: "0.1",
        },
        Setting {
            name: "cert_file",
            kind: Kind::Text { form: &form::PATH, unset: Unset::Derived("no client certificate") },
            doc: "PEM file of the client certificate chain; only with `key_file`.",
            change: "Set it where the server asks for client certificates.",
            since: "0.1",
        },
        Setting {
            name: "key_file",
            kind: Kind::Text { form: &form::PATH, unset: Unset::Derived("no client certificate") },
            doc: "PEM file of the client's private key; only with `cert_file`. Others must not be able to read it.",
            change: "Set it where the server asks for client certificates.",
            since: "0.1",
        },
    ],
    foreign: &[
        ("sslmode", Foreign::Named("mode")),
        ("sslrootcert", Foreign::Named("ca_file")),
        ("sslcert", Foreign::Named("cert_file")),
        ("sslkey", Foreign::Named("key_file")),
        ("enabled", Foreign::Named("mode")),
    ],
};

impl Tls {
    pub(crate) fn read(reader: &Reader<'_>, host: &str) -> Self {
        let modes = [TlsMode::Disable, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull];
        let default = if form::is_local(host) { TlsMode::Disable } else { TlsMode::VerifyFull };
        let tls = Self {
            mode: reader.word("mode", &modes).unwrap_or(default),
            ca_file: reader.text("ca_file").map(PathBuf::from),
            cert_file: reader.text("cert_file").map(PathBuf::from),
            key_file: reader.text("key_file").map(PathBuf::from),
        };
        tls.check_pair(reader);
        tls.check_effect(reader, host);
        tls.check_files(reader);
        tls
    }

    fn check_pair(&self, reader: &Reader<'_>) {
        let pairs = [("cert_file", &self.cert_file, "key_file"), ("key_file", &self.key_file, "cert_file")];
        for (name, path, other) in pairs {
            if path.is_some() && !reader.is_set(other) {
                reader.complain(name, Problem::new(format!("needs {other} beside it")).expected("both or none"));
            }
        }
    }

    fn check_effect(&self, reader: &Reader<'_>, host: &str) {
        if self.mode != TlsMode::Disable && form::is_socket(host) {
            let what = "a Unix socket carries no TLS";
            reader.complain("mode", Problem::new(what).expected("\"disable\", or a host that is no socket"));
        }
        let files = [("ca_file", &self.ca_file), ("cert_file", &self.cert_file), ("key_file", &self.key_file)];
        for (name, path) in files {
            let what = match self.mode {
                TlsMode::Disable if reader.is_set("mode") => "has no effect: mode is disable",
                TlsMode::Disable => "has no effect: for a local host mode is disable unless it is set",
                TlsMode::Require if name == "ca_file" => "has no effect: mode require checks no certificate",
                _ => continue,
            };
            if path.is_some() {
                let expected = "mode = \"verify-full\" or \"verify-ca\", or no such file";
                reader.complain(name, Problem::new(what).expected(expected));
            }
        }
    }

    fn check_files(&self, reader: &Reader<'_>) {
        for (name, path) in [("ca_file", &self.ca_file), ("cert_file", &self.cert_file)] {
            if let Some(Err(problem)) = path.as_deref().map(secret::check_readable) {
                reader.complain(name, problem);
            }
        }
        if let Some(path) = &self.key_file {
            match secret::check_secret(path) {
                Ok(Some(problem)) | Err(problem) => reader.complain("key_file", problem),
                Ok(None) => {}
            }
        }
    }
}
