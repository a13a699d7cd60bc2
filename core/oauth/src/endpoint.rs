//! One request to the token endpoint: TLS by rustls with ring, the client's login, a time limit.

use std::fmt::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use walbrook_config::{KafkaSasl, TokenEndpoint};
use walbrook_model::ErrorKind;

use crate::failure::Failure;
use crate::grant::Grant;

/// A request is given up after this time: whoever polls the client waits for it.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Far more than a token has.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Where tokens come from, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    url: String,
    client: String,
    secret: SecretString,
    scope: Option<String>,
}

impl Endpoint {
    pub(crate) fn new(sasl: &KafkaSasl, endpoint: &TokenEndpoint) -> Self {
        Self {
            url: endpoint.url.clone(),
            client: sasl.username.clone(),
            secret: sasl.password.clone(),
            scope: endpoint.scope.clone(),
        }
    }

    /// The client id.
    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    /// Whether both ask the same for the same client.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let rest = |this: &'_ Self| (this.url.clone(), this.client.clone(), this.scope.clone());
        rest(self) == rest(other) && self.secret.expose_secret() == other.secret.expose_secret()
    }

    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }

    /// Fetches a token. It may be called on any thread, one of a runtime too, and blocks it: the request has its own.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn fetch(&self) -> Result<Grant, Failure> {
        let no_thread = |error: std::io::Error| Failure::transient(format!("no thread to fetch a token: {error}"));
        let fetched = thread::scope(|scope| {
            let builder = thread::Builder::new().name("kafka-token".to_owned());
            let thread = builder.spawn_scoped(scope, || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
                let fetched = runtime.block_on(self.request());
                // A name that is being looked up would be waited for.
                runtime.shutdown_background();
                fetched
            });
            Ok(thread.map_err(no_thread)?.join())
        })?;
        fetched.unwrap_or_else(|_| Err(bug("the request for a token panicked")))
    }

    async fn request(&self) -> Result<Grant, Failure> {
        let failed = |error: reqwest::Error| Failure::of_request(self.host(), &error);
        let asked = SystemTime::now();
        let request = http(&self.url)?
            .post(&self.url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, self.login()?)
            .body(self.form());
        let mut answer = request.send().await.map_err(failed)?;
        let mut body = Zeroizing::new(Vec::new());
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len() + part.len() > BODY_BYTES_MAX {
                return Err(Failure::of_answer(self.host(), "the answer is too large"));
            }
            body.extend_from_slice(&part);
        }
        let status = answer.status();
        if !status.is_success() {
            return Err(Failure::of_status(self.host(), status.as_u16(), &body));
        }
        Grant::parse(&body, asked).map_err(|what| Failure::of_answer(self.host(), what))
    }

    /// RFC 6749, 2.3.1: both are encoded as in a form before they are joined.
    fn login(&self) -> Result<HeaderValue, Failure> {
        let mut both = Zeroizing::new(String::new());
        encode(&self.client, &mut both);
        both.push(':');
        encode(self.secret.expose_secret(), &mut both);
        let login = Zeroizing::new(format!("Basic {}", STANDARD.encode(both.as_bytes())));
        let mut value = HeaderValue::from_str(&login).map_err(|_| bug("a login is no header"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn form(&self) -> String {
        let mut form = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.scope {
            form.push_str("&scope=");
            encode(scope, &mut form);
        }
        form
    }
}

/// `application/x-www-form-urlencoded`.
fn encode(text: &str, form: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => form.push(char::from(byte)),
            b' ' => form.push('+'),
            // Writing into a string cannot fail.
            _ => drop(write!(form, "%{byte:02X}")),
        }
    }
}

fn http(url: &str) -> Result<reqwest::Client, Failure> {
    let mut roots = RootCertStore::empty();
    if url.starts_with("https://") {
        // A file of the system that cannot be read does not matter while others can.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| bug("TLS has no protocol version"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // Another host has no business with the secret.
        .redirect(Policy::none())
        // The environment decides nothing that the configuration does not name.
        .no_proxy()
        .connect_timeout(REQUEST_MAX / 2)
        .timeout(REQUEST_MAX)
        .user_agent(concat!("walbrook/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| bug("no HTTP client could be made"))
}

fn bug(what: &str) -> Failure {
    Failure { kind: ErrorKind::Bug, what: what.to_owned(), remedy: "please report it" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded() {
        let encoded = |text: &str| {
            let mut form = String::new();
            encode(text, &mut form);
            form
        };
        assert_eq!(encoded("aZ0-._~"), "aZ0-._~");
        assert_eq!(encoded("a b&c=\u{e9}:%"), "a+b%26c%3D%C3%A9%3A%25");
    }
}
