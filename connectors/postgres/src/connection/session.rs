//! A session: a socket on which messages are sent and received, from startup on.

use std::fmt;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use walbrook_config::Postgres;
use walbrook_model::{Error, Result};

use super::authentication::authenticate;
use super::error::{ServerError, at_startup, from_io};
use super::pins::{self, Purpose};
use super::socket::Socket;
use crate::wire::frame::{self, Authentication, Message, Next};

/// Room made for one read.
const READ_BYTES: usize = 256 * 1024;
/// Below this a new buffer is taken rather than the rest of the old one filled.
const READ_BYTES_MIN: usize = 16 * 1024;
/// The largest message before authentication.
const STARTUP_BYTES_MAX: usize = 64 * 1024;

/// A socket, and what came from it and is not yet taken.
pub(crate) struct Session {
    socket: Socket,
    received: BytesMut,
}

impl fmt::Debug for Session {
    /// Without what was received, which may hold cells.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Connects and authenticates, within the time limit of the settings. What follows the server's consent is still to
    /// be received.
    pub(crate) async fn open(settings: &Postgres, purpose: Purpose) -> Result<Self> {
        let limit = settings.connect_timeout;
        let opened = tokio::time::timeout(limit, Self::start(settings, purpose)).await;
        let address = || format!("server {}:{}", settings.host, settings.port);
        let opened = opened.unwrap_or_else(|_| Err(Error::transient(format!("no connection within {limit:?}"))));
        opened.map_err(|error| {
            let error = at_startup(error, settings);
            if error.object().is_none() { error.on(address()) } else { error }
        })
    }

    async fn start(settings: &Postgres, purpose: Purpose) -> Result<Self> {
        let mut session = Self { socket: Socket::open(settings).await?, received: BytesMut::new() };
        let parameters = pins::startup(purpose, &settings.user, &settings.database);
        session.send(|out| frontend::startup_message(parameters, out)).await?;
        authenticate(&mut session, settings).await?;
        Ok(session)
    }

    pub(super) fn is_private(&self) -> bool {
        self.socket.is_private()
    }

    pub(super) fn channel_binding(&self) -> Option<Vec<u8>> {
        self.socket.channel_binding()
    }

    /// The next request of the server for authentication.
    pub(super) async fn authentication(&mut self) -> Result<Authentication> {
        loop {
            let Message { kind, body } = self.receive(STARTUP_BYTES_MAX).await?;
            match kind {
                b'R' => return frame::authentication(&body),
                b'E' => return Err(ServerError::from_fields(frame::fields(&body)?).into_error()),
                b'N' => {}
                _ => {
                    return Err(Error::config("this is no PostgreSQL server, or one of another protocol version")
                        .remedy("correct source.postgres.host and source.postgres.port"));
                }
            }
        }
    }

    /// Sends what `encode` writes.
    pub(super) async fn send(&mut self, encode: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<()> {
        let mut out = BytesMut::new();
        encode(&mut out).map_err(|error| Error::config("a text cannot be sent to the server").because(error))?;
        self.send_bytes(&out).await
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).await.map_err(from_io)?;
        self.socket.flush().await.map_err(from_io)
    }

    /// The next message. Safe to cancel.
    pub(super) async fn receive(&mut self, body_bytes_max: usize) -> Result<Message> {
        loop {
            match frame::next(&mut self.received, body_bytes_max)? {
                Next::Message(message) => return Ok(message),
                Next::Missing => self.fill().await?,
            }
        }
    }

    /// Takes a message that is already here.
    pub(super) fn take(&mut self, body_bytes_max: usize) -> Result<Next> {
        frame::next(&mut self.received, body_bytes_max)
    }

    /// Takes all whole messages that are already here, in one piece.
    pub(super) fn take_whole(&mut self, body_bytes_max: usize) -> Result<Option<Bytes>> {
        frame::take_whole(&mut self.received, body_bytes_max)
    }

    /// Drops the first message, whatever its size, without keeping it.
    pub(super) async fn skip_message(&mut self) -> Result<()> {
        let mut left = loop {
            match frame::message_bytes(&self.received)? {
                Some(bytes) => break bytes,
                None => self.fill().await?,
            }
        };
        loop {
            let here = left.min(self.received.len());
            self.received.advance(here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// Reads once. Safe to cancel.
    pub(super) async fn fill(&mut self) -> Result<()> {
        if self.received.capacity() - self.received.len() < READ_BYTES_MIN {
            // Grows with what has really come: a length alone allocates nothing.
            self.received.reserve(self.received.len().max(READ_BYTES));
        }
        match self.socket.read_buf(&mut self.received).await {
            Ok(0) => Err(Error::transient("the server closed the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(from_io(error)),
        }
    }

    /// The socket and what came from it, for another client of the protocol.
    pub(crate) fn into_parts(self) -> (Socket, BytesMut) {
        (self.socket, self.received)
    }

    /// Says goodbye, if the socket still takes it.
    pub(super) async fn close(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        let _ = self.send_bytes(&out).await;
        let _ = self.socket.shutdown().await;
    }
}
