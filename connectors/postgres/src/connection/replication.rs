//! The replication connection while it is idle.

use walbrook_config::Postgres;
use walbrook_model::Result;

use super::commands::Commands;
use super::pins::Purpose;
use super::stream::ReplicationStream;

/// A session in replication mode that waits for a command. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct ReplicationConnection {
    commands: Commands,
    message_bytes_max: u64,
}

impl ReplicationConnection {
    /// Opens the session and makes sure that its settings are the pinned ones.
    pub(crate) async fn connect(settings: &Postgres) -> Result<Self> {
        let commands = Commands::connect(settings, Purpose::Replication).await?;
        Ok(Self { commands, message_bytes_max: settings.message_bytes_max })
    }

    /// Runs a command or an SQL statement by the simple protocol and returns its rows as text. Not safe to cancel.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.commands.query(sql).await
    }

    /// Starts to stream by a `START_REPLICATION` command.
    pub(crate) async fn start(mut self, command: &str) -> Result<ReplicationStream> {
        self.commands.begin_copy(command, b'W').await?;
        Ok(ReplicationStream::spawn(self.commands.session, self.message_bytes_max))
    }
}
