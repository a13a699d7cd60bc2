//! Why there is no token. No secret, no token and nothing of an answer but its status and a code of the protocol is told.

use walbrook_model::{Error, ErrorKind};

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

/// Status codes after which another try may succeed, besides those from 500.
const BUSY: [u16; 3] = [408, 425, 429];

/// Codes of an answer that is no success (RFC 6749, 5.2). An answer's own text may repeat what was sent.
const CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

const WAIT: &str = "see that it runs and can be reached from here; it is asked again";
const CLIENT: &str = "check sasl.username (the client id), the client secret in sasl.password_file or password_env, and \
                      sasl.scope; the secret is read at the start";
const URL: &str = "check sasl.token_url: it is the token endpoint itself, not the address of the identity provider";
const AUTHORITY: &str = "add the authority that signed its certificate to those of the system";

impl Failure {
    /// An answer with a status that is no success.
    pub(crate) fn of_status(host: &str, status: u16, body: &[u8]) -> Self {
        let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let said = json.as_ref().and_then(|json| json.get("error")?.as_str());
        let code = said.and_then(|said| CODES.iter().find(|code| **code == said));
        let code = code.map_or_else(String::new, |code| format!(", {code}"));
        let (kind, what, remedy) = match status {
            500.. => (ErrorKind::Transient, "fails", WAIT),
            _ if BUSY.contains(&status) => (ErrorKind::Transient, "is busy", WAIT),
            300..=399 | 404 | 405 | 410 => (ErrorKind::Config, "is not at this address", URL),
            _ => (ErrorKind::Config, "refuses the client", CLIENT),
        };
        Self { kind, what: format!("the token endpoint at {host} {what} (status {status}{code})"), remedy }
    }

    /// No answer.
    pub(crate) fn of_request(host: &str, error: &reqwest::Error) -> Self {
        let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        // The error itself shows the address; the last cause says why, in words of TLS or of the system.
        let cause = causes.last().map(ToString::to_string).unwrap_or_default();
        if cause.contains("invalid peer certificate") {
            let what = format!("the token endpoint at {host} is not trusted: {cause}");
            return Self { kind: ErrorKind::Config, what, remedy: AUTHORITY };
        }
        let cause = if error.is_timeout() || cause.is_empty() { "no answer in time" } else { &cause };
        Self::transient(format!("the token endpoint at {host} does not answer: {cause}"))
    }

    /// An answer that says that it is a success, and is none.
    pub(crate) fn of_answer(host: &str, what: &str) -> Self {
        let what = format!("the token endpoint at {host} gives no token that can be used: {what}");
        Self { kind: ErrorKind::Config, what, remedy: URL }
    }

    pub(crate) fn transient(what: String) -> Self {
        Self { kind: ErrorKind::Transient, what, remedy: WAIT }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind, failure.what).remedy(failure.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_is_to_be_done() {
        let check = |status, body: &[u8], kind, said: &str| {
            let failure = Failure::of_status("login.example.com", status, body);
            assert_eq!(failure.kind, kind, "{status}");
            assert!(failure.what.contains(said) && failure.what.contains("login.example.com"), "{}", failure.what);
            assert!(!failure.what.contains("canary"), "{}", failure.what);
        };
        check(401, b"", ErrorKind::Config, "refuses the client (status 401)");
        check(400, br#"{"error":"invalid_scope"}"#, ErrorKind::Config, "(status 400, invalid_scope)");
        check(401, br#"{"error":"canary","error_description":"canary"}"#, ErrorKind::Config, "(status 401)");
        check(403, b"canary", ErrorKind::Config, "refuses the client");
        check(404, b"", ErrorKind::Config, "not at this address");
        check(302, b"", ErrorKind::Config, "not at this address");
        check(429, b"", ErrorKind::Transient, "busy");
        check(503, br#"{"error":7}"#, ErrorKind::Transient, "fails (status 503)");
    }
}
