//! What the answer of a token endpoint says (RFC 6749, 5.1), and what the token says of itself if it is a JWT (RFC 7519).
//!
//! The token is not verified: that is the brokers' business. Its claims are read only for what librdkafka wants to know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::Value;

/// No token is used for longer, whatever it says.
const LIFE_MAX: Duration = Duration::from_hours(30 * 24);
/// The longest name of a principal that is taken from a token, bytes.
const PRINCIPAL_BYTES_MAX: usize = 255;

/// A token.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) token: SecretString,
    /// Whom it names, if it is a JWT that does.
    pub(crate) principal: Option<String>,
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
}

impl Grant {
    /// Reads the body of an answer to a request that was sent at `now`.
    ///
    /// # Errors
    /// What is wrong, in words that hold nothing of the body.
    pub(crate) fn parse(body: &[u8], now: SystemTime) -> Result<Self, &'static str> {
        let answer: Value = serde_json::from_slice(body).map_err(|_| "the answer is not JSON")?;
        let token = answer.get("access_token").and_then(Value::as_str).ok_or("the answer holds no access_token")?;
        // librdkafka shows a token that holds anything else.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the access_token holds characters that no token has");
        }
        let kind = answer.get("token_type").map(|kind| kind.as_str().unwrap_or_default());
        if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err("the token is no bearer token");
        }
        let claims = claims(token);
        let claim = |name: &str| claims.as_ref().and_then(|claims| claims.get(name));
        let life = match (answer.get("expires_in").and_then(seconds), claim("exp").and_then(seconds)) {
            // By our own clock alone.
            (Some(life), _) => life,
            (None, Some(end)) => end.saturating_sub(now.duration_since(UNIX_EPOCH).unwrap_or_default()),
            (None, None) => return Err("neither expires_in nor the token itself says when it ends"),
        };
        if life.is_zero() {
            return Err("the token has ended already");
        }
        let until = now.checked_add(life.min(LIFE_MAX)).ok_or("the token ends beyond all time")?;
        let principal = claim("sub").and_then(Value::as_str).filter(|name| is_principal(name)).map(str::to_owned);
        Ok(Self { token: SecretString::from(token), principal, from: now, until })
    }

    /// Whether it can be given to one more client: less than half of its life is over.
    pub(crate) fn is_fresh(&self, now: SystemTime) -> bool {
        let life = self.until.duration_since(self.from).unwrap_or_default();
        now.duration_since(self.from).is_ok_and(|age| age < life / 2)
    }

    /// Its end in milliseconds since the epoch.
    pub(crate) fn until_ms(&self) -> i64 {
        let since = self.until.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 1000)
    }
}

fn is_principal(name: &str) -> bool {
    !name.is_empty() && name.len() <= PRINCIPAL_BYTES_MAX && !name.chars().any(char::is_control)
}

/// The claims of a JWT; `None` if it is none.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// A number of seconds; some servers write it as a text, some with a fraction.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn parse(body: &Value) -> Result<Grant, &'static str> {
        Grant::parse(body.to_string().as_bytes(), UNIX_EPOCH + NOW)
    }

    fn jwt(claims: &Value) -> String {
        format!("eyJhbGciOiJub25lIn0.{}.", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn life(body: &Value) -> Duration {
        parse(body).unwrap().until.duration_since(UNIX_EPOCH + NOW).unwrap()
    }

    #[test]
    fn an_answer_is_understood() {
        let grant = parse(&json!({"access_token": "opaque", "token_type": "bearer", "expires_in": 300})).unwrap();
        assert_eq!((grant.token.expose_secret(), grant.principal.as_deref()), ("opaque", None));
        assert_eq!(grant.until_ms(), 1_700_000_300_000);
        let token = jwt(&json!({"sub": "service-shop", "exp": 1_700_000_060}));
        let grant = parse(&json!({"access_token": token})).unwrap();
        assert_eq!((grant.principal.as_deref(), grant.until_ms()), (Some("service-shop"), 1_700_000_060_000));
        assert!(!format!("{grant:?}").contains(&token));
    }

    #[test]
    fn the_life_is_what_the_answer_says_or_else_the_token() {
        let token = jwt(&json!({"exp": 1_700_000_060}));
        assert_eq!(life(&json!({"access_token": token, "expires_in": 30})), Duration::from_secs(30));
        assert_eq!(life(&json!({"access_token": token, "expires_in": "45"})), Duration::from_secs(45));
        assert_eq!(life(&json!({"access_token": token, "expires_in": 1e300})), Duration::from_mins(1));
        assert_eq!(life(&json!({"access_token": token, "expires_in": 1e15})), LIFE_MAX);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let check = |body: &Value, said: &str| assert!(parse(body).unwrap_err().contains(said), "{body}");
        check(&json!([]), "no access_token");
        check(&json!({"access_token": 7}), "no access_token");
        check(&json!({"access_token": "", "expires_in": 1}), "characters");
        check(&json!({"access_token": "a b", "expires_in": 1}), "characters");
        check(&json!({"access_token": "a\u{0}", "expires_in": 1}), "characters");
        check(&json!({"access_token": "a", "expires_in": 1, "token_type": "mac"}), "no bearer");
        check(&json!({"access_token": "a"}), "when it ends");
        check(&json!({"access_token": "a.b.c"}), "when it ends");
        check(&json!({"access_token": "a", "expires_in": 0}), "ended already");
        check(&json!({"access_token": "a", "expires_in": -5}), "ended already");
        check(&json!({"access_token": jwt(&json!({"exp": 1_600_000_000}))}), "ended already");
        assert!(Grant::parse(b"<html>", UNIX_EPOCH).is_err());
    }

    #[test]
    fn a_token_is_handed_on_in_the_first_half_of_its_life() {
        let grant = parse(&json!({"access_token": "a", "expires_in": 100})).unwrap();
        let at = |seconds| UNIX_EPOCH + NOW + Duration::from_secs(seconds);
        assert!(grant.is_fresh(at(0)) && grant.is_fresh(at(49)));
        assert!(!grant.is_fresh(at(50)) && !grant.is_fresh(at(1000)));
        // The clock was set back.
        assert!(!grant.is_fresh(UNIX_EPOCH));
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("{\"access_token\":\"".to_owned()),
            Just("\",\"expires_in\":".to_owned()),
            Just("1e999}".to_owned()),
            Just("3600}".to_owned()),
            Just(".".to_owned()),
            Just(URL_SAFE_NO_PAD.encode("{\"exp\":-1e9,\"sub\":\"\\u0000\"}")),
            Just(URL_SAFE_NO_PAD.encode("{\"exp\":99999999999999999999}")),
            ".{0,8}",
        ]
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Grant::parse(&body, UNIX_EPOCH + NOW);
        }

        #[test]
        fn what_it_takes_can_be_given_to_librdkafka(pieces in proptest::collection::vec(piece(), 0..8)) {
            let now = UNIX_EPOCH + NOW;
            if let Ok(grant) = Grant::parse(pieces.concat().as_bytes(), now) {
                prop_assert!(grant.token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(grant.until > now && grant.until <= now + LIFE_MAX);
                prop_assert!(grant.principal.is_none_or(|name| !name.contains('\0')));
            }
        }
    }
}
