//! SQL sessions by `tokio-postgres`, and how names and texts are quoted.
//!
//! The session is opened and authenticated by [`crate::connection`], so that it has the same TLS, the same rules about
//! passwords and the same pinned settings; `tokio-postgres` takes it over from there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use walbrook_config::Postgres;
use walbrook_model::{Error, Result};

use crate::connection::error::{at_startup, from_sql};
use crate::connection::pins::{self, Purpose};
use crate::connection::session::Session;
use crate::connection::socket::Socket;

/// Opens a session. A task drives it until the client is dropped. It reads only, unless a transaction begins with
/// `BEGIN READ WRITE`.
pub(crate) async fn connect(settings: &Postgres) -> Result<Client> {
    let session = Session::open(settings, Purpose::Sql).await?;
    let limit = settings.connect_timeout;
    let client = tokio::time::timeout(limit, take_over(session)).await;
    let client = client.unwrap_or_else(|_| Err(Error::transient(format!("no session within {limit:?}"))));
    client.map_err(|error| at_startup(error, settings))
}

async fn take_over(session: Session) -> Result<Client> {
    let (socket, received) = session.into_parts();
    let mut config = tokio_postgres::Config::new();
    // The session is authenticated and encrypted already: this startup message never leaves us.
    config.user("walbrook").ssl_mode(SslMode::Disable);
    let (client, connection) = config.connect_raw(Authenticated::new(socket, &received), NoTls).await.map_err(error)?;
    tokio::spawn(async move {
        match connection.await {
            Ok(()) => tracing::debug!("an sql session ended"),
            Err(cause) => tracing::warn!(cause = %error(cause), "an sql session broke"),
        }
    });
    let messages = client.simple_query(&pins::query(Purpose::Sql)).await.map_err(error)?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect()),
        _ => None,
    });
    pins::check(Purpose::Sql, &row.unwrap_or_else(Vec::new))?;
    Ok(client)
}

/// What an error of `tokio-postgres` means.
pub(crate) fn error(error: tokio_postgres::Error) -> Error {
    from_sql(error)
}

/// `name` as an SQL identifier.
pub(crate) fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as an SQL string. A backslash is nothing special in it: `standard_conforming_strings` is pinned to on, and
/// replication commands know no other strings.
pub(crate) fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A socket past its authentication, for a client that expects to begin there: it is told at once that the server is
/// content, and its startup message goes nowhere.
struct Authenticated {
    socket: Socket,
    /// To be read before what the socket has.
    ahead: BytesMut,
    startup: Startup,
}

/// How much of the startup message, which begins with its length, is still to be swallowed.
enum Startup {
    Length(Vec<u8>),
    Body(usize),
}

/// The server's consent, as a message.
const AUTHENTICATION_OK: &[u8] = &[b'R', 0, 0, 0, 8, 0, 0, 0, 0];

impl Authenticated {
    fn new(socket: Socket, received: &[u8]) -> Self {
        let mut ahead = BytesMut::from(AUTHENTICATION_OK);
        ahead.extend_from_slice(received);
        Self { socket, ahead, startup: Startup::Length(Vec::new()) }
    }
}

impl Startup {
    /// How many of `bytes` belong to the startup message; zero when it is over.
    fn swallow(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Length(digits) => {
                let taken = bytes.len().min(4 - digits.len());
                digits.extend_from_slice(bytes.get(..taken).unwrap_or_default());
                if let Some(length) = digits.first_chunk::<4>() {
                    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                    *self = Self::Body(length.saturating_sub(4));
                }
                taken
            }
            Self::Body(missing) => {
                let taken = bytes.len().min(*missing);
                *missing -= taken;
                taken
            }
        }
    }
}

impl AsyncRead for Authenticated {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.socket).poll_read(context, into);
        }
        let len = this.ahead.len().min(into.remaining());
        into.put_slice(this.ahead.get(..len).unwrap_or_default());
        this.ahead.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Authenticated {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.startup.swallow(bytes) {
            0 => {
                let written = ready!(Pin::new(&mut this.socket).poll_write(context, bytes))?;
                Poll::Ready(Ok(written))
            }
            swallowed => Poll::Ready(Ok(swallowed)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quote_ident("F 1"), "\"F 1\"");
        assert_eq!(quote_ident("a\"; DROP TABLE t; --"), "\"a\"\"; DROP TABLE t; --\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("back\\slash"), "'back\\slash'");
    }

    proptest! {
        #[test]
        fn exactly_the_startup_message_is_swallowed(body: Vec<u8>, rest: Vec<u8>, step in 1..9_usize) {
            let mut message = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
            message.extend(&body);
            message.extend(&rest);
            let (mut startup, mut passed) = (Startup::Length(Vec::new()), Vec::<u8>::new());
            for mut chunk in message.chunks(step) {
                while !chunk.is_empty() {
                    match startup.swallow(chunk) {
                        0 => { passed.extend(chunk); break; }
                        taken => chunk = &chunk[taken..],
                    }
                }
            }
            prop_assert_eq!(passed, rest);
        }
    }
}
