//! `[source.kafka.sasl]`, `[sink.kafka.sasl]`

use secrecy::SecretString;

use crate::definition::{Foreign, Kind, Setting, Unset};
use crate::load::Environment;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::{form, secret};

/// `[source.kafka.sasl]`, `[sink.kafka.sasl]`: login at the brokers.
#[derive(Clone, Debug)]
pub struct KafkaSasl {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// Name of the account; with tokens, the client id.
    pub username: String,
    /// From `password_file` or `password_env`, never from the file itself; with tokens, the client secret.
    pub password: SecretString,
    /// Where tokens are fetched: with [`SaslMechanism::OauthBearer`], and only then.
    pub tokens: Option<TokenEndpoint>,
}

/// Where tokens are fetched, by the client credentials grant (RFC 6749, 4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// `https://`, or `http://` on this machine; without a login in it.
    pub url: String,
    /// What the token is asked to allow, names with a space between two. `None`: what the endpoint gives by itself.
    pub scope: Option<String>,
}

/// How the password is proven to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// It is sent as it is.
    Plain,
    /// SCRAM with SHA-256; it is not sent.
    ScramSha256,
    /// SCRAM with SHA-512; it is not sent.
    ScramSha512,
    /// It is proven elsewhere, for a token, which is sent as it is.
    OauthBearer,
}

impl SaslMechanism {
    /// Its registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}

pub(crate) const DOC: &str = "Login at the brokers; without this section there is none.";

pub(crate) static SETTINGS: [Setting; 6] = [
    Setting {
        name: "mechanism",
        kind: Kind::Word {
            words: &["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"],
            unset: Unset::Refused { example: "\"scram-sha-512\"" },
        },
        doc: "How the password is proven. `plain` sends it, so that needs TLS. With `oauthbearer` it is sent to `token_url` alone, \
              and the brokers get the token that comes for it; that needs TLS too.",
        change: "Set what the brokers offer; of those the last in this list.",
        since: "0.1",
    },
    Setting {
        name: "username",
        kind: Kind::Text { form: &form::ACCOUNT, unset: Unset::Refused { example: "\"walbrook\"" } },
        doc: "Name of the account; with `oauthbearer` the client id.",
        change: "Give walbrook an account of its own, with rights on its topics alone.",
        since: "0.1",
    },
    Setting {
        name: "password_file",
        kind: Kind::Text { form: &form::PATH, unset: Unset::Derived("**required**, or `password_env`") },
        doc: "File that holds the password, with `oauthbearer` the client secret; a line end after it is left off. Others must \
              not be able to read it.",
        change: "The usual way: a mounted secret, or a file with mode 600.",
        since: "0.1",
    },
    Setting {
        name: "password_env",
        kind: Kind::Text { form: &form::VARIABLE, unset: Unset::Derived("**required**, or `password_file`") },
        doc: "Environment variable that holds the password; not together with `password_file`.",
        change: "Where files cannot be mounted; the environment of a process is easier to read than a file.",
        since: "0.1",
    },
    Setting {
        name: "token_url",
        kind: Kind::Text { form: &form::TOKEN_URL, unset: Unset::Derived("**required** with `oauthbearer`") },
        doc: "Where tokens are fetched, by the client credentials grant (RFC 6749, 4.4); only with `oauthbearer`. Its certificate \
              must come from an authority of the system; plain `http` is for this machine alone.",
        change: "Set it to the token endpoint that your identity provider names (`token_endpoint` in its discovery document).",
        since: "0.1",
    },
    Setting {
        name: "scope",
        kind: Kind::Text { form: &form::SCOPE, unset: Unset::Derived("none is asked for") },
        doc: "What the token is asked to allow; only with `oauthbearer`.",
        change: "Set it where the identity provider wants one.",
        since: "0.1",
    },
];

const TOKEN_URL_MISSING: &str = "token_url = \"https://login.example.com/oauth2/token\"";

pub(crate) const FOREIGN: &[(&str, Foreign)] = &[
    ("password", Foreign::Refused(secret::LITERAL)),
    ("sasl_password", Foreign::Refused(secret::LITERAL)),
    ("secret", Foreign::Refused(secret::LITERAL)),
    ("user", Foreign::Named("username")),
    ("sasl_username", Foreign::Named("username")),
    ("mechanisms", Foreign::Named("mechanism")),
    ("sasl_mechanism", Foreign::Named("mechanism")),
    ("sasl_mechanisms", Foreign::Named("mechanism")),
    ("jaas_config", Foreign::Refused(JAAS)),
    ("sasl_jaas_config", Foreign::Refused(JAAS)),
    ("oauthbearer", Foreign::Refused(OAUTHBEARER)),
    ("token", Foreign::Refused(OAUTHBEARER)),
    ("client_id", Foreign::Named("username")),
    ("oauthbearer_client_id", Foreign::Named("username")),
    ("sasl_oauthbearer_client_id", Foreign::Named("username")),
    ("client_secret", Foreign::Refused(secret::LITERAL)),
    ("oauthbearer_client_secret", Foreign::Refused(secret::LITERAL)),
    ("sasl_oauthbearer_client_secret", Foreign::Refused(secret::LITERAL)),
    ("token_endpoint_url", Foreign::Named("token_url")),
    ("oauthbearer_token_endpoint_url", Foreign::Named("token_url")),
    ("sasl_oauthbearer_token_endpoint_url", Foreign::Named("token_url")),
    ("oauthbearer_scope", Foreign::Named("scope")),
    ("sasl_oauthbearer_scope", Foreign::Named("scope")),
    ("kerberos", Foreign::Refused(KERBEROS)),
];

pub(crate) const JAAS: &str =
    "no JAAS here; write sasl.mechanism, sasl.username, and sasl.password_file = \"/path/to/file\"";
const OAUTHBEARER: &str = "tokens are fetched; write mechanism = \"oauthbearer\", token_url, username, and \
                           password_file = \"/path/to/file\"";
const KERBEROS: &str = "Kerberos is not supported";

impl KafkaSasl {
    /// `None`: something is missing, and that is reported. `private`: what is sent cannot be read on its way.
    pub(crate) fn read(reader: &Reader<'_>, private: bool, env: Environment<'_>) -> Option<Self> {
        use SaslMechanism::{OauthBearer, Plain, ScramSha256, ScramSha512};
        let mechanism = reader.word("mechanism", &[Plain, ScramSha256, ScramSha512, OauthBearer]);
        let username = reader.text("username");
        let password = secret::password(reader, env);
        // That a password stands in the file itself is said already.
        if !["password_file", "password_env", "password"].iter().any(|name| reader.is_set(name)) {
            let problem = Problem::new("missing").expected("password_file = \"/path/to/file\", or password_env");
            reader.complain_missing("password_file", problem);
        }
        let in_the_clear = match mechanism {
            Some(Plain) => Some("plain would send the password in the clear, since tls.mode is disable"),
            Some(OauthBearer) => Some("oauthbearer would send the token in the clear, since tls.mode is disable"),
            _ => None,
        };
        if let Some(what) = in_the_clear.filter(|_| !private) {
            reader.complain("mechanism", Problem::new(what).expected("a scram mechanism, or TLS"));
        }
        let tokens = TokenEndpoint::read(reader, mechanism);
        if mechanism == Some(OauthBearer) && tokens.is_none() {
            return None;
        }
        Some(Self { mechanism: mechanism?, username: username?, password: password?, tokens })
    }
}

impl TokenEndpoint {
    /// `None` too where it must not be set, or is wrong; that is reported.
    fn read(reader: &Reader<'_>, mechanism: Option<SaslMechanism>) -> Option<Self> {
        let (url, scope) = (reader.text("token_url"), reader.text("scope"));
        match mechanism {
            Some(SaslMechanism::OauthBearer) if !reader.is_set("token_url") => {
                reader.complain_missing("token_url", Problem::new("missing").expected(TOKEN_URL_MISSING));
            }
            Some(SaslMechanism::OauthBearer) | None => {}
            Some(_) => {
                for name in ["token_url", "scope"].into_iter().filter(|name| reader.is_set(name)) {
                    let problem = Problem::new("has no effect: this mechanism has no token");
                    reader.complain(name, problem.expected("mechanism = \"oauthbearer\", or no such option"));
                }
                return None;
            }
        }
        let url = url?;
        if form::is_plain_http(&url) && !form::is_local(form::url_host(&url)) {
            let what = "the client secret would be sent in the clear, since the url begins with http";
            reader.complain("token_url", Problem::new(what).expected("an https url"));
        }
        Some(Self { url, scope })
    }
}
