//! A session that reads tables: SQL, and the rows of `COPY .. TO STDOUT` as slices of what was received.
//!
//! `tokio-postgres` takes each row off its buffer as a message and hands it on through a channel: a twelfth of the CPU
//! time of a snapshot.

use bytes::Bytes;
use walbrook_config::Postgres;
use walbrook_model::{Error, ErrorKind, Result};

use super::commands::Commands;
use super::error::ServerError;
use super::pins::Purpose;
use crate::wire::frame;

/// A session that takes commands, one of them a copy. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct CopyConnection {
    commands: Commands,
    row_bytes_max: usize,
    /// Whether the end of a copy is still to come.
    copying: bool,
    /// What went wrong in the copy; told at its end.
    failure: Option<Error>,
}

impl CopyConnection {
    /// Opens the session and makes sure that its settings are the pinned ones. It reads only.
    pub(crate) async fn connect(settings: &Postgres) -> Result<Self> {
        let commands = Commands::connect(settings, Purpose::Sql).await?;
        let row_bytes_max = usize::try_from(settings.message_bytes_max).unwrap_or(usize::MAX);
        Ok(Self { commands, row_bytes_max, copying: false, failure: None })
    }

    /// Runs SQL statements and returns their rows as text. Reads the rest of a copy that was left. Not safe to cancel.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let mut left = Vec::new();
        while self.copying {
            left.clear();
            match self.lines(&mut left).await {
                // Whoever left it knows why.
                Err(error) if self.copying => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        self.commands.query(sql).await
    }

    /// The first cell of the only row, as a number.
    pub(crate) async fn number<T: std::str::FromStr>(&mut self, sql: &str) -> Result<T> {
        let rows = self.query(sql).await?;
        let cell = rows.first().and_then(|row| row.first()?.as_deref());
        cell.and_then(|cell| cell.parse().ok()).ok_or_else(|| Error::bug("a query gave no number"))
    }

    /// Begins a `COPY .. TO STDOUT`; [`CopyConnection::lines`] gives its rows.
    pub(crate) async fn copy_out(&mut self, sql: &str) -> Result<()> {
        self.commands.begin_copy(sql, b'H').await?;
        (self.copying, self.failure) = (true, None);
        Ok(())
    }

    /// Appends rows that have come, each with its line feed; `false`, and none, when all were given. Not safe to cancel.
    ///
    /// # Errors
    /// When the server broke the copy off, or a row is larger than the settings allow; the session takes the next command
    /// unless it broke itself.
    pub(crate) async fn lines(&mut self, lines: &mut Vec<Bytes>) -> Result<bool> {
        while self.copying {
            let session = &mut self.commands.session;
            match session.take_whole(self.row_bytes_max) {
                Ok(Some(received)) => {
                    if let Some(more) = self.take(&received, lines)? {
                        return Ok(more);
                    }
                }
                // After a fatal error the server closes; the error is the cause.
                Ok(None) => session.fill().await.map_err(|closed| self.failure.take().unwrap_or(closed))?,
                Err(error) if error.kind() == ErrorKind::Config => {
                    let large = Error::config(format!("a row has more than {} bytes", self.row_bytes_max))
                        .remedy("raise source.postgres.message_bytes_max, or leave the large column out");
                    self.failure.get_or_insert(large);
                    session.skip_message().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Whether rows were appended; `None` if there were none and the copy goes on.
    fn take(&mut self, received: &Bytes, lines: &mut Vec<Bytes>) -> Result<Option<bool>> {
        let before = lines.len();
        for (kind, place) in frame::messages(received) {
            let body = received.get(place.clone()).unwrap_or_default();
            match kind {
                b'd' if self.failure.is_some() => {}
                b'd' => lines.push(received.slice(place)),
                // The end of the rows; that of the command follows.
                b'c' | b'C' => {}
                b'E' => {
                    let error = ServerError::from_fields(frame::fields(body)?).into_error();
                    self.failure.get_or_insert(error);
                }
                b'Z' => {
                    self.copying = false;
                    return self.failure.take().map_or(Ok(Some(lines.len() > before)), Err);
                }
                kind => self.commands.aside(kind, body)?,
            }
        }
        Ok((lines.len() > before).then_some(true))
    }
}
