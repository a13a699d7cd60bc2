//! What a broker or librdkafka says, as an [`Error`] with a kind.
//!
//! | what | kind |
//! |---|---|
//! | another producer has our transactional id | fenced |
//! | a setting that librdkafka does not take, a message or topic that the cluster will never take | config |
//! | all else, a login or a right that is refused too: it may be given back, and the pipeline tries again | transient |

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tracing::{debug, error, warn};
use walbrook_config::KafkaClient;
use walbrook_model::{Error, ErrorKind, Result};
use walbrook_oauth::Tokens;

/// In what librdkafka says when it has asked for a token and got none.
const NO_TOKEN: &str = "SASL OAUTHBEARER token";

/// Hears what the clients complain of, so that an error that only says that time was up can say why, and answers when they
/// ask for a token. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listener {
    reason: Arc<Mutex<Option<String>>>,
    tokens: Tokens,
}

impl Listener {
    /// Of clients with these settings.
    pub(crate) fn of(settings: &KafkaClient) -> Self {
        Self { reason: Arc::default(), tokens: Tokens::of(settings) }
    }

    /// Sees that a client has a token, where the brokers want one, though nobody has polled it yet. Blocks.
    ///
    /// # Errors
    /// As [`Tokens::prove`].
    pub(crate) fn log_in<C: ClientContext>(&self, client: &Client<C>) -> Result<()> {
        self.tokens.log_in(client)
    }

    /// Whether the brokers want tokens.
    pub(crate) fn has_tokens(&self) -> bool {
        self.tokens.are_wanted()
    }

    fn note(&self, reason: &str) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// What was complained of last.
    fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that acknowledgements take long.
    pub(crate) fn slow(&self, messages: u64, bytes: usize, waited: Duration) {
        warn!(
            messages,
            bytes,
            seconds = waited.as_secs(),
            last_from_brokers = self.reason().as_deref().unwrap_or("nothing"),
            "messages wait for their acknowledgement, and the source with them: see that all brokers run, and that each \
             topic has as many replicas in sync as its min.insync.replicas"
        );
    }

    /// An error of Kafka: `what` could not be done.
    pub(crate) fn fault(&self, what: &str, error: &KafkaError) -> Error {
        let code = code(error);
        let kind = code.map_or_else(|| kind_without_code(error), kind);
        let text = describe(error);
        let waited =
            matches!(code, Some(Code::OperationTimedOut | Code::MessageTimedOut | Code::BrokerTransportFailure));
        let reason = self.reason().filter(|_| waited);
        let message = match &reason {
            Some(reason) => format!("{what}: {text}; last from the brokers: {reason}"),
            None => format!("{what}: {text}"),
        };
        let error = Error::new(kind, message).on("kafka");
        match code.and_then(remedy).or_else(|| reason.as_deref().and_then(remedy_of_refusal)) {
            Some(remedy) => error.remedy(remedy),
            None => error,
        }
    }
}

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.tokens.answer()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                error!(facility, message, "librdkafka");
            }
            // A lost connection, or a login that is refused: it is tried again.
            RDKafkaLogLevel::Error => {
                warn!(facility, message, "librdkafka");
                self.note(message);
            }
            RDKafkaLogLevel::Warning if facility != "CONFWARN" => warn!(facility, message, "librdkafka"),
            _ => debug!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if reason.contains(NO_TOKEN) {
            // Nothing else tells it while the last token is good; librdkafka repeats no complaint.
            warn!(reason, "no token for the brokers");
        } else {
            debug!(error = %describe(&error), reason, "kafka");
        }
        // That all are down says nothing of why.
        if code(&error) != Some(Code::AllBrokersDown) {
            self.note(reason);
        }
    }
}

impl ConsumerContext for Listener {}

/// The code of any error that has one.
pub(crate) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The code in words.
pub(crate) fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.string(),
        KafkaError::ClientConfig(_, description, key, _) => format!("{key}: {description}"),
        other => code(other).map_or_else(|| other.to_string(), |code| code.to_string()),
    }
}

fn kind(code: Code) -> ErrorKind {
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => ErrorKind::Fenced,
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidPartitions
        | Code::InvalidConfig
        | Code::PolicyViolation
        | Code::InvalidTransactionTimeout
        | Code::UnsupportedVersion => ErrorKind::Config,
        // A name that Kafka does not take: too long, most likely.
        Code::InvalidTopic => ErrorKind::Data,
        _ => ErrorKind::Transient,
    }
}

fn kind_without_code(error: &KafkaError) -> ErrorKind {
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => ErrorKind::Config,
        _ => ErrorKind::Transient,
    }
}

fn remedy(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => {
            "run one process per pipeline; if this is the one that should run, stop the other and start it again"
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            "raise max.message.bytes of the topic to sink.kafka.message_bytes_max at least"
        }
        // Also while a broker is being restarted.
        Code::InvalidReplicationFactor => "start more brokers, or set sink.kafka.replication_factor to their number",
        Code::TopicAuthorizationFailed => "grant DESCRIBE, CREATE, WRITE and READ on the topic",
        Code::ClusterAuthorizationFailed => "grant IDEMPOTENT_WRITE on the cluster, and CREATE for topics to be made",
        Code::TransactionalIdAuthorizationFailed => {
            "grant DESCRIBE and WRITE on the transactional id walbrook.<pipeline name>"
        }
        Code::SaslAuthenticationFailed | Code::Authentication => "check sink.kafka.sasl",
        _ => return None,
    })
}

/// What to do where brokers do not let us in: of that the client only says that no broker is to be reached, and why.
fn remedy_of_refusal(reason: &str) -> Option<&'static str> {
    if reason.contains("SASL authentication error") || reason.contains(NO_TOKEN) {
        return Some("check sink.kafka.sasl");
    }
    // Of the handshake, or an alert behind it: a broker looks at our certificate last.
    let tls = reason.contains("SSL ");
    tls.then_some("check sink.kafka.tls: ca_file, and cert_file where the brokers want a client certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_kind_of_what_is_to_be_done() {
        let listener = Listener::default();
        let kind = |code| listener.fault("x", &KafkaError::MessageProduction(code)).kind();
        assert_eq!(kind(Code::Fenced), ErrorKind::Fenced);
        assert_eq!(kind(Code::MessageSizeTooLarge), ErrorKind::Config);
        assert_eq!(kind(Code::NotEnoughReplicas), ErrorKind::Transient);
        assert_eq!(kind(Code::InvalidReplicationFactor), ErrorKind::Transient);
        assert_eq!(kind(Code::TopicAuthorizationFailed), ErrorKind::Transient);
    }

    #[test]
    fn a_timeout_says_what_the_brokers_said() {
        let listener = Listener::default();
        ClientContext::error(&listener, KafkaError::Global(Code::Authentication), "login refused");
        let error = listener.fault("no answer", &KafkaError::MetadataFetch(Code::OperationTimedOut)).to_string();
        assert!(error.contains("login refused"), "{error}");
        ClientContext::error(&listener, KafkaError::Global(Code::Authentication), "b: SASL authentication error: no");
        let error = listener.fault("no answer", &KafkaError::MetadataFetch(Code::BrokerTransportFailure));
        assert_eq!(error.remedy_text(), Some("check sink.kafka.sasl"));
        assert!(!listener.fault("x", &KafkaError::AdminOp(Code::PolicyViolation)).to_string().contains("login"));
    }
}
