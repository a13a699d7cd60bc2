//! One token a login, for all clients of the process.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use rdkafka::client::{Client, ClientContext, OAuthToken};
use secrecy::ExposeSecret;
use walbrook_config::KafkaClient;
use walbrook_model::{Error, Result};

use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::grant::Grant;
use crate::handover::hand_over;

/// The logins of this process: its source's and its sink's.
static LOGINS: Mutex<Vec<Arc<Login>>> = Mutex::new(Vec::new());

/// Gives tokens to clients; where the brokers want none it does nothing. Clones share the token.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Option<Arc<Login>>);

#[derive(Debug)]
struct Login {
    endpoint: Endpoint,
    /// Locked while a token is fetched, so that all who need one wait for the same.
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    grant: Option<Grant>,
    failure: Option<(Instant, Failure)>,
}

impl Tokens {
    /// The tokens of a client with these settings.
    pub fn of(settings: &KafkaClient) -> Self {
        let Some(sasl) = &settings.sasl else { return Self(None) };
        let Some(endpoint) = &sasl.tokens else { return Self(None) };
        let endpoint = Endpoint::new(sasl, endpoint);
        let mut logins = LOGINS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = logins.iter().find(|login| login.endpoint.is(&endpoint)) {
            return Self(Some(known.clone()));
        }
        let login = Arc::new(Login { endpoint, last: Mutex::default() });
        logins.push(login.clone());
        Self(Some(login))
    }

    /// Whether the brokers want any.
    pub fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Sees that there is a token. It may be fetched for that, which blocks the thread for ten seconds at most.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if the token endpoint refuses the client or is none,
    /// [`walbrook_model::ErrorKind::Transient`] if it does not answer or fails.
    pub fn prove(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |login| Ok(login.grant().map(drop)?))
    }

    /// Gives a token to a client that nobody polls, or not yet, such as one for administration. Blocks as
    /// [`Tokens::prove`].
    ///
    /// # Errors
    /// As [`Tokens::prove`].
    pub fn log_in<C: ClientContext>(&self, client: &Client<C>) -> Result<()> {
        let Some(login) = &self.0 else { return Ok(()) };
        let grant = login.grant()?;
        hand_over(client, &grant, login.principal(&grant))
    }

    /// The answer to librdkafka's question for a token: what [`ClientContext::generate_oauth_token`] is to give. Blocks as
    /// [`Tokens::prove`].
    ///
    /// # Errors
    /// As [`Tokens::prove`]; librdkafka asks again after ten seconds.
    pub fn answer(&self) -> Result<OAuthToken, Box<dyn StdError>> {
        let login = self.0.as_ref().ok_or("there is no token for this login")?;
        let grant = login.grant().map_err(Error::from)?;
        Ok(OAuthToken {
            token: grant.token.expose_secret().to_owned(),
            principal_name: login.principal(&grant).to_owned(),
            lifetime_ms: grant.until_ms(),
        })
    }
}

impl Login {
    /// A token in the first half of its life.
    fn grant(&self) -> Result<Grant, Failure> {
        let asked = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grant) = last.grant.as_ref().filter(|grant| grant.is_fresh(SystemTime::now())) {
            return Ok(grant.clone());
        }
        // Those who waited meanwhile do not try one after the other.
        if let Some((_, failure)) = last.failure.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(failure.clone());
        }
        match self.endpoint.fetch() {
            Ok(grant) => {
                last.grant = Some(grant.clone());
                Ok(grant)
            }
            Err(failure) => {
                last.failure = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    fn principal<'a>(&'a self, grant: &'a Grant) -> &'a str {
        grant.principal.as_deref().unwrap_or_else(|| self.endpoint.client())
    }
}
