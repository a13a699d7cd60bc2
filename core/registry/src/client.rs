//! One HTTP request: TLS by rustls with ring, login, time limit.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_schema_by_id, get_schema_by_subject_and_version, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RegisteredSchema, SchemaType, SuppliedSchema};
use secrecy::ExposeSecret;
use walbrook_config::Registry as Settings;
use walbrook_model::{Error, Result};

/// One request is given up after this time, or that of the whole call if it is shorter.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(10);

/// One request; subjects are [escaped](path_segment) already.
#[derive(Debug)]
pub(crate) enum Request<'a> {
    /// Register a schema, or find it.
    Register { subject: &'a str, schema: &'a str },
    /// The schema with this id.
    ById(u32),
    /// The newest schema of a subject.
    Latest { subject: &'a str },
}

impl Request<'_> {
    /// Sends it once.
    pub(crate) async fn send(&self, client: &SrSettings) -> Result<RegisteredSchema, SRCError> {
        match *self {
            Request::Register { subject, schema } => {
                let supplied = SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
                post_schema(client, subject.to_owned(), supplied).await
            }
            Request::ById(id) => get_schema_by_id(id, client).await,
            Request::Latest { subject } => get_schema_by_subject_and_version(client, subject, None).await,
        }
    }
}

/// The longest subject: a topic, a record's name, and what stands between.
const SUBJECT_BYTES_MAX: usize = 1024;

/// A subject as a part of a path. The library escapes nothing but `/`.
pub(crate) fn path_segment(subject: &str) -> Result<String> {
    // A path of dots would be taken for the way up.
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX || matches!(subject, "." | "..") {
        return Err(Error::config("no name for a subject of a schema registry").on(format!("subject {subject:.64}")));
    }
    let mut path = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            // Writing into a string cannot fail.
            _ => drop(write!(path, "%{byte:02X}")),
        }
    }
    Ok(path)
}

/// A client for the registry of `settings`. Reads the files of authorities; makes no connection.
///
/// # Errors
/// Of kind config, if there is no authority to trust.
pub(crate) fn build(settings: &Settings) -> Result<SrSettings> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(settings)?)
        // A redirected registration would become a look-up, and another host has no business with the login.
        .redirect(Policy::none())
        // The environment decides nothing that the configuration does not name.
        .no_proxy()
        .connect_timeout(settings.timeout.min(REQUEST_MAX) / 2)
        .user_agent(concat!("walbrook/", env!("CARGO_PKG_VERSION")));
    let mut client = SrSettings::new_builder(settings.url.clone());
    client.set_timeout(settings.timeout.min(REQUEST_MAX));
    if let Some(username) = &settings.username {
        client.set_basic_authorization(username, settings.password.as_ref().map(ExposeSecret::expose_secret));
    }
    client.build_with(builder).map_err(|error| Error::bug("no HTTP client could be made").because(error))
}

fn tls(settings: &Settings) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::bug("TLS has no protocol version").because(error))?;
    // The client library asks for a configuration of TLS although it will not use it.
    let needed = settings.url.starts_with("https://");
    let roots = if needed { roots(settings.ca_file.as_deref())? } else { RootCertStore::empty() };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let unreadable = |what: &str| Error::config(what).on(format!("file {}", path.display()));
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, pem::Error>>)
            .map_err(|error| unreadable("cannot be read").because(error))?;
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| unreadable("holds a certificate that is no authority").because(error))?;
        }
    } else {
        // A file of the system that cannot be read does not matter while others can.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(Error::config("there is no certificate authority to trust")
            .on("registry.ca_file")
            .remedy("set it to the file of the authority that signed the registry's certificate"));
    }
    Ok(roots)
}
