//! How we prove who we are: SCRAM-SHA-256, bound to the TLS session where there is one.
//!
//! A password goes over the wire as it is only where nobody can listen; MD5 never.

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;
use secrecy::ExposeSecret;
use walbrook_config::Postgres;
use walbrook_model::{Error, Result};

use super::session::Session;
use crate::sql::quote_ident;
use crate::wire::frame::Authentication;

/// Answers what the server asks for until it is content.
pub(super) async fn authenticate(session: &mut Session, settings: &Postgres) -> Result<()> {
    match session.authentication().await? {
        Authentication::Ok => return Ok(()),
        Authentication::Cleartext => {
            if !session.is_private() {
                return Err(Error::config("the server asks for the password in clear text over an open connection")
                    .remedy("use scram-sha-256 in pg_hba.conf, or set source.postgres.tls.mode = \"verify-full\""));
            }
            let password = password(settings)?;
            session.send(|out| frontend::password_message(password, out)).await?;
        }
        Authentication::Sasl(mechanisms) => scram(session, settings, &mechanisms).await?,
        Authentication::Md5 => {
            let role = quote_ident(&settings.user);
            return Err(Error::config("the server asks for an MD5 password, which protects nothing").remedy(format!(
                "SET password_encryption = 'scram-sha-256'; ALTER ROLE {role} PASSWORD '...'; \
                 and scram-sha-256 in pg_hba.conf"
            )));
        }
        Authentication::Other(_) | Authentication::SaslContinue(_) | Authentication::SaslFinal(_) => {
            return Err(Error::config("the server asks for a way of authentication that walbrook does not speak")
                .remedy("use scram-sha-256 or cert in pg_hba.conf"));
        }
    }
    match session.authentication().await? {
        Authentication::Ok => Ok(()),
        _ => Err(out_of_turn()),
    }
}

/// The exchange proves both sides: a server that does not know the password is refused too. The number of iterations
/// that a server may ask for is bounded by `ScramSha256`.
async fn scram(session: &mut Session, settings: &Postgres, mechanisms: &[String]) -> Result<()> {
    let offers = |mechanism: &str| mechanisms.iter().any(|offered| offered == mechanism);
    let (mechanism, binding) = match session.channel_binding() {
        Some(hash) if offers(SCRAM_SHA_256_PLUS) => (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash)),
        // Tells the server that we could have: it refuses if its own offer was taken out on the way.
        Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
    };
    if !offers(mechanism) {
        return Err(Error::config("the server offers no SCRAM-SHA-256").remedy("use scram-sha-256 in pg_hba.conf"));
    }
    let mut scram = ScramSha256::new(password(settings)?, binding);
    session.send(|out| frontend::sasl_initial_response(mechanism, scram.message(), out)).await?;
    let Authentication::SaslContinue(challenge) = session.authentication().await? else {
        return Err(out_of_turn());
    };
    scram
        .update(&challenge)
        .map_err(|error| Error::config("the server's SCRAM challenge is refused").because(error))?;
    session.send(|out| frontend::sasl_response(scram.message(), out)).await?;
    let Authentication::SaslFinal(proof) = session.authentication().await? else {
        return Err(out_of_turn());
    };
    scram.finish(&proof).map_err(|_| {
        Error::config("the server could not prove that it knows the password")
            .remedy("make sure that source.postgres.host is the right server")
    })
}

fn password(settings: &Postgres) -> Result<&[u8]> {
    settings.password.as_ref().map(|password| password.expose_secret().as_bytes()).ok_or_else(|| {
        Error::config("the server asks for a password and there is none").remedy("set source.postgres.password_file")
    })
}

fn out_of_turn() -> Error {
    Error::config("the server broke the rules of authentication")
        .remedy("make sure that source.postgres.host is a PostgreSQL server")
}
