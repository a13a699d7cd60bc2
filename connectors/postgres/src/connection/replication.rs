//! The replication connection while it is idle: one command at a time.

use postgres_protocol::message::frontend;
use walbrook_config::Postgres;
use walbrook_model::{Error, Result};

use super::error::{ServerError, at_startup};
use super::pins::{self, Purpose};
use super::session::Session;
use super::stream::ReplicationStream;
use crate::wire::frame::{self, Message};

/// The largest answer to a command.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A session in replication mode that waits for a command. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct ReplicationConnection {
    session: Session,
    message_bytes_max: u64,
}

impl ReplicationConnection {
    /// Opens the session and makes sure that its settings are the pinned ones.
    pub(crate) async fn connect(settings: &Postgres) -> Result<Self> {
        let session = Session::open(settings, Purpose::Replication).await?;
        let mut connection = Self { session, message_bytes_max: settings.message_bytes_max };
        let limit = settings.connect_timeout;
        let prepared = tokio::time::timeout(limit, connection.prepare()).await;
        let prepared = prepared.unwrap_or_else(|_| Err(Error::transient(format!("no session within {limit:?}"))));
        prepared.map_err(|error| at_startup(error, settings))?;
        Ok(connection)
    }

    async fn prepare(&mut self) -> Result<()> {
        self.rows().await?;
        let settings = self.query(&pins::query(Purpose::Replication)).await?;
        pins::check(Purpose::Replication, settings.first().map_or(&[], Vec::as_slice))
    }

    /// Runs a command or an SQL statement by the simple protocol and returns its rows as text. Not safe to cancel.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.session.send(|out| frontend::query(sql, out)).await?;
        self.rows().await
    }

    /// Starts to stream by a `START_REPLICATION` command.
    pub(crate) async fn start(mut self, command: &str) -> Result<ReplicationStream> {
        self.session.send(|out| frontend::query(command, out)).await?;
        loop {
            let Message { kind, body } = self.session.receive(ANSWER_BYTES_MAX).await?;
            match kind {
                b'W' => return Ok(ReplicationStream::spawn(self.session, self.message_bytes_max)),
                b'E' => return Err(ServerError::from_fields(frame::fields(&body)?).into_error()),
                _ => aside(kind, &body)?,
            }
        }
    }

    /// The rows up to where the server is ready for the next command.
    async fn rows(&mut self) -> Result<Vec<Vec<Option<String>>>> {
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
                _ => aside(kind, &body)?,
            }
        }
    }
}

/// Messages that may come at any time.
fn aside(kind: u8, body: &[u8]) -> Result<()> {
    match kind {
        b'N' => {
            let notice = ServerError::from_fields(frame::fields(body)?);
            tracing::warn!(severity = notice.severity(), code = notice.code(), "server: {}", notice.message());
            Ok(())
        }
        b'S' => {
            let (name, value) = frame::parameter(body)?;
            pins::check_reported(Purpose::Replication, &name, &value)
        }
        b'A' => Ok(()),
        other => Err(Error::transient(format!("the server sent a message out of turn: {:?}", char::from(other)))),
    }
}
