//! [`Registry`]: register a schema, read one back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry::SrSettings;
use schema_registry_converter::schema_registry_common::{RegisteredSchema, SchemaType};
use walbrook_config::Registry as Settings;
use walbrook_model::{Error, Result};

use crate::answer::{Answer, Refusal};
use crate::cache::Cache;
use crate::client::{self, Request, path_segment};
use crate::difference::differences;
use crate::retry;
use crate::status::{Counters, Status, count};

/// The largest schema that is taken from a registry. A table of 1,600 columns has about a tenth of it.
const SCHEMA_BYTES_MAX: usize = 8 << 20;

/// The status for a schema that does not go with those before.
const CONFLICT: u16 = 409;

/// Codes of the registry: there is no such subject, no such version, no such schema; it may only be read.
const NO_SUBJECT: u32 = 40401;
const NO_VERSION: u32 = 40402;
const NO_SCHEMA: u32 = 40403;
const READ_ONLY: u32 = 42205;

/// A client of a schema registry with the interface of Confluent's, for Avro. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    client: SrSettings,
    url: String,
    /// Time for one call, with all its repeats.
    timeout: Duration,
    cache: Cache,
    counters: Counters,
}

impl Registry {
    /// A client that is not connected yet. Reads the file of authorities, or those of the system.
    ///
    /// # Errors
    /// Of kind config, if there is no authority to trust.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            client: client::build(settings)?,
            url: settings.url.clone(),
            timeout: settings.timeout,
            cache: Cache::default(),
            counters: Counters::default(),
        })))
    }

    /// Registers an Avro schema under a subject, or finds that it is there, and gives its id. A schema that was registered
    /// before is answered from memory.
    ///
    /// # Errors
    /// - transient: no usable answer in the time limit; the caller waits and tries again, nothing is wrong with the schema;
    /// - data: the registry refuses the schema, for instance as incompatible with the one before; names what differs;
    /// - config: the login, the address or the certificate is wrong, or the registry may only be read.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let Inner { cache, counters, .. } = &*self.0;
        if let Some(id) = cache.id(subject, schema) {
            count(&counters.cached);
            return Ok(id);
        }
        let path = path_segment(subject)?;
        let request = Request::Register { subject: &path, schema };
        let mut answer = self.call(&request).await;
        if matches!(answer, Err(Answer::Refused(Refusal { status: CONFLICT, .. }))) {
            // Some registries answer so to the slower of two that register the same at once.
            answer = self.call(&request).await;
        }
        match answer {
            Ok(registered) => {
                cache.put_id(subject, schema, registered.id);
                Ok(registered.id)
            }
            Err(Answer::Refused(refusal)) if refusal.status == CONFLICT => {
                Err(self.incompatible(subject, schema, &refusal).await)
            }
            Err(Answer::Refused(refusal)) if matches!(refusal.status, 413 | 422) && refusal.code != READ_ONLY => {
                Err(Error::data("the schema registry refuses the schema")
                    .on(format!("subject {subject}"))
                    .because(self.said(&refusal))
                    .remedy("look at the rules of the registry for this subject, or leave the table out"))
            }
            Err(failure) => Err(self.error(failure, format!("subject {subject}"))),
        }
    }

    /// The text of the Avro schema with this id. One that was read before is answered from memory.
    ///
    /// # Errors
    /// - transient: no usable answer in the time limit;
    /// - data: there is no such schema, or it is not Avro, refers to others, or is larger than 8 MiB;
    /// - config: the login, the address or the certificate is wrong.
    pub async fn schema(&self, id: u32) -> Result<Arc<str>> {
        let Inner { cache, counters, .. } = &*self.0;
        if let Some(text) = cache.text(id) {
            count(&counters.cached);
            return Ok(text);
        }
        match self.call(&Request::ById(id)).await {
            Ok(registered) => {
                let text = text(registered, &format!("schema {id}"))?;
                cache.put_text(id, &text);
                Ok(text)
            }
            Err(Answer::Refused(refusal)) if refusal.code == NO_SCHEMA => {
                Err(Error::data("the schema registry has no such schema")
                    .on(format!("schema {id} at {}", self.0.url))
                    .remedy("name the registry that the writer of the topic uses"))
            }
            Err(failure) => Err(self.error(failure, format!("schema {id}"))),
        }
    }

    /// The newest schema of a subject with its id; `None` if it has none. Never from memory.
    ///
    /// # Errors
    /// As [`Registry::schema`].
    pub async fn latest(&self, subject: &str) -> Result<Option<(u32, Arc<str>)>> {
        let path = path_segment(subject)?;
        match self.call(&Request::Latest { subject: &path }).await {
            Ok(registered) => {
                let id = registered.id;
                Ok(Some((id, text(registered, &format!("subject {subject}"))?)))
            }
            Err(Answer::Refused(Refusal { code: NO_SUBJECT | NO_VERSION, .. })) => Ok(None),
            Err(failure) => Err(self.error(failure, format!("subject {subject}"))),
        }
    }

    /// What the calls came to.
    pub fn status(&self) -> Status {
        self.0.counters.status()
    }

    async fn call(&self, request: &Request<'_>) -> std::result::Result<RegisteredSchema, Answer> {
        let Inner { client, timeout, counters, .. } = &*self.0;
        retry::call(request, client, *timeout, counters).await
    }

    /// The error for a schema that does not go with those before: what differs from the newest is worked out here, since
    /// each registry says it in its own way, and some not at all.
    async fn incompatible(&self, subject: &str, schema: &str, refusal: &Refusal) -> Error {
        let before = self.latest(subject).await.ok().flatten();
        let differences = before.map(|(_, before)| differences(&before, schema)).unwrap_or_default();
        let differing = if differences.is_empty() { String::new() } else { format!(": {}", differences.join("; ")) };
        Error::data(format!("the schema is not compatible with the one before{differing}"))
            .on(format!("subject {subject}"))
            .because(self.said(refusal))
            .remedy(format!(
                "undo the change of the table, or accept it: PUT {}/config/{subject} with {{\"compatibility\": \"NONE\"}}",
                self.0.url
            ))
    }

    /// The error for a call that failed for no reason of its own.
    fn error(&self, failure: Answer, object: String) -> Error {
        let refusal = match failure {
            Answer::Unavailable(cause) => {
                return Error::transient("no usable answer of the schema registry")
                    .on(object)
                    .because(format!("{}: {cause}", self.0.url))
                    .remedy("nothing is lost: walbrook goes on when the registry answers");
            }
            Answer::Untrusted(reason) => {
                return Error::config("the certificate of the schema registry is refused")
                    .on(object)
                    .because(format!("{}: {reason}", self.0.url))
                    .remedy("set registry.ca_file to the authority that signed it, and registry.url to a name in it");
            }
            Answer::Refused(refusal) => refusal,
        };
        let (what, remedy) = match refusal {
            Refusal { status: 401, .. } => {
                ("the schema registry refuses the login", "check registry.username and its password")
            }
            Refusal { status: 403, .. } => {
                ("the schema registry refuses the right", "grant the account what it needs for this subject")
            }
            Refusal { status: 300..=399, .. } => {
                ("the schema registry sends us to another address", "set registry.url to that address")
            }
            Refusal { code: READ_ONLY, .. } => {
                ("the schema registry may only be read", "set its mode, or that of the subject, to READWRITE")
            }
            Refusal { status: 404 | 405, .. } => {
                ("there is no schema registry at this address", "set registry.url to it, with the whole path")
            }
            _ => ("the schema registry refuses the request", "check registry.url"),
        };
        Error::config(what).on(object).because(self.said(&refusal)).remedy(remedy)
    }

    /// The registry's own words.
    fn said(&self, refusal: &Refusal) -> String {
        let colon = if refusal.message.is_empty() { "" } else { ": " };
        format!("{} answers with status {}{colon}{}", self.0.url, refusal.status, refusal.message)
    }
}

/// Without the login.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("url", &self.0.url).field("status", &self.status()).finish_non_exhaustive()
    }
}

/// The text of a schema, if it is one that we can read.
fn text(registered: RegisteredSchema, object: &str) -> Result<Arc<str>> {
    let refused = |what: &str| Err(Error::data(what).on(object));
    if registered.schema_type != SchemaType::Avro {
        return refused("the schema is not Avro");
    }
    if !registered.references.is_empty() {
        return refused("the schema refers to other subjects, which is not supported yet");
    }
    if registered.schema.len() > SCHEMA_BYTES_MAX {
        return refused("the schema is larger than 8 MiB");
    }
    Ok(registered.schema.into())
}
