//! A session that takes one command at a time, by the simple protocol.

use postgres_protocol::message::frontend;
use walbrook_config::Postgres;
use walbrook_model::{Error, Result};

use super::error::{ServerError, at_startup};
use super::pins::{self, Purpose};
use super::session::Session;
use crate::wire::frame::{self, Message};

/// The largest answer to a command.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A session that waits for a command. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Commands {
    pub(super) session: Session,
    purpose: Purpose,
}

impl Commands {
    /// Opens the session and makes sure that its settings are the pinned ones.
    pub(super) async fn connect(settings: &Postgres, purpose: Purpose) -> Result<Self> {
        let session = Session::open(settings, purpose).await?;
        let mut commands = Self { session, purpose };
        let limit = settings.connect_timeout;
        let prepared = tokio::time::timeout(limit, commands.prepare()).await;
        let prepared = prepared.unwrap_or_else(|_| Err(Error::transient(format!("no session within {limit:?}"))));
        prepared.map_err(|error| at_startup(error, settings))?;
        Ok(commands)
    }

    async fn prepare(&mut self) -> Result<()> {
        self.rows().await?;
        let settings = self.query(&pins::query(self.purpose)).await?;
        pins::check(self.purpose, settings.first().map_or(&[], Vec::as_slice))
    }

    /// Runs a command or SQL statements and returns their rows as text. Not safe to cancel.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.send(sql).await?;
        self.rows().await
    }

    pub(super) async fn send(&mut self, sql: &str) -> Result<()> {
        self.session.send(|out| frontend::query(sql, out)).await
    }

    /// Sends a command that opens a copy, and waits until it has begun.
    pub(super) async fn begin_copy(&mut self, sql: &str, response: u8) -> Result<()> {
        self.send(sql).await?;
        loop {
            let Message { kind, body } = self.session.receive(ANSWER_BYTES_MAX).await?;
            match kind {
                kind if kind == response => return Ok(()),
                b'E' => {
                    let error = ServerError::from_fields(frame::fields(&body)?).into_error();
                    // The session takes the next command, unless that was a fatal error.
                    let _ = self.rows().await;
                    return Err(error);
                }
                _ => self.aside(kind, &body)?,
            }
        }
    }

    /// The rows up to where the server is ready for the next command.
    pub(super) async fn rows(&mut self) -> Result<Vec<Vec<Option<String>>>> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut failure = None;
        loop {
            let Message { kind, body } = match self.session.receive(ANSWER_BYTES_MAX).await {
                Ok(message) => message,
                // After a fatal error the server closes; the error is the cause.
                Err(closed) => return Err(failure.unwrap_or(closed)),
            };
            match kind {
                b'D' => {
                    bytes += body.len();
                    if bytes > ANSWER_BYTES_MAX {
                        return Err(Error::config(format!("the answer to a command exceeds {ANSWER_BYTES_MAX} bytes")));
                    }
                    rows.push(frame::data_row(&body)?);
                }
                b'E' => failure = Some(ServerError::from_fields(frame::fields(&body)?).into_error()),
                b'Z' => return failure.map_or(Ok(rows), Err),
                // Description and end of a result, an empty query, the key to cancel.
                b'T' | b'C' | b'I' | b'K' => {}
                _ => self.aside(kind, &body)?,
            }
        }
    }

    /// Messages that may come at any time.
    pub(super) fn aside(&self, kind: u8, body: &[u8]) -> Result<()> {
        match kind {
            b'N' => {
                let notice = ServerError::from_fields(frame::fields(body)?);
                tracing::warn!(severity = notice.severity(), code = notice.code(), "server: {}", notice.message());
                Ok(())
            }
            b'S' => {
                let (name, value) = frame::parameter(body)?;
                pins::check_reported(self.purpose, &name, &value)
            }
            b'A' => Ok(()),
            other => Err(Error::transient(format!("the server sent a message out of turn: {:?}", char::from(other)))),
        }
    }
}
