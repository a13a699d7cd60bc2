//! What an answer of the registry that is no success means.
//!
//! The library's own word on it is not used: it takes a busy server (429, 500, 504) for a refusal.

use std::error::Error as StdError;

use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::RawError;

/// More of the registry's message is not shown: some repeat whole schemas.
const MESSAGE_CHARS_MAX: usize = 400;

/// An answer that is no success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// No answer, or one that may be another the next time; with the cause.
    Unavailable(String),
    /// The certificate is not trusted; with the reason.
    Untrusted(String),
    /// An answer that will be the same the next time.
    Refused(Refusal),
}

/// What the registry refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Status of HTTP.
    pub(crate) status: u16,
    /// Code of the registry, such as 40403; 0 if the answer holds none.
    pub(crate) code: u32,
    /// Message of the registry; empty if the answer holds none.
    pub(crate) message: String,
}

/// Status codes after which another try may succeed, besides those from 500.
const BUSY: [u16; 3] = [408, 425, 429];

/// Before the status in the library's message.
const STATUS: &str = "failed with status ";

impl Answer {
    pub(crate) fn of(error: &SRCError) -> Self {
        if let Some(status) = status(error) {
            let raw = error.source().and_then(|source| source.downcast_ref::<RawError>());
            let code = raw.map_or(0, |raw| raw.error_code);
            // The library's own text in the place of one that it could not read has the code 0.
            let message = raw.filter(|raw| raw.error_code != 0).map_or_else(String::new, |raw| shown(&raw.message));
            return if status >= 500 || BUSY.contains(&status) {
                let colon = if message.is_empty() { "" } else { ": " };
                Self::Unavailable(format!("status {status}{colon}{message}"))
            } else {
                Self::Refused(Refusal { status, code, message })
            };
        }
        let causes = causes(error);
        if let Some(reason) = causes.iter().find_map(|cause| untrusted(*cause)) {
            return Self::Untrusted(reason);
        }
        let timed_out =
            causes.iter().any(|cause| cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout));
        let cause = match causes.last() {
            _ if timed_out => "no answer in time".to_owned(),
            // A page of something else, a proxy's or a login's.
            _ if !error.retriable => "its answer is not one of a schema registry".to_owned(),
            Some(cause) => shown(&cause.to_string()),
            None => shown(&error.error),
        };
        Self::Unavailable(cause)
    }
}

/// The status that the library has put into its message.
fn status(error: &SRCError) -> Option<u16> {
    let (_, rest) = error.error.split_once(STATUS)?;
    rest.split(' ').next()?.parse().ok()
}

fn causes(error: &SRCError) -> Vec<&(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source()).take(16).collect()
}

/// Why TLS does not trust the server, if that is it. An I/O error holds the one of TLS, perhaps in another of its kind,
/// where no chain of sources leads.
fn untrusted(cause: &(dyn StdError + 'static)) -> Option<String> {
    let mut cause = cause;
    while let Some(io) = cause.downcast_ref::<std::io::Error>() {
        cause = io.get_ref()?;
    }
    let tls = cause.downcast_ref::<rustls::Error>()?;
    matches!(tls, rustls::Error::InvalidCertificate(_)).then(|| tls.to_string())
}

/// The beginning of a text that is not ours, on one line.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(MESSAGE_CHARS_MAX).collect();
    let dots = if start.len() < text.len() { "..." } else { "" };
    let line: Vec<&str> =
        start.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    format!("{}{dots}", line.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_one_short_line() {
        assert_eq!(shown("a\n  b\u{1b}[31m"), "a b [31m");
        let long = shown(&"\u{e9}".repeat(10_000));
        assert_eq!(long.chars().count(), MESSAGE_CHARS_MAX + 3);
    }
}
