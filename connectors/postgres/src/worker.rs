//! The task that reads the server: intent, snapshot, stream, and the stream again after a fault.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use walbrook_config::{Postgres, SnapshotMode};
use walbrook_model::{Batch, Checkpoint, Error, Result, Seq, TableStop};

use crate::catalog::{Catalog, Fault};
use crate::checkpoint::{Phase, Progress, TableProgress};
use crate::connection::ReplicationConnection;
use crate::continuity::{self, Server};
use crate::outbox::Outbox;
use crate::snapshot::{self, Slice};
use crate::status::{State, Status};
use crate::stream::{self, Ended, is_transient};
use crate::tables::TableInfo;
use crate::undecodable::Undecodable;
use crate::wire::Lsn;
use crate::{events, publication, slot};

const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A stream that lasted this long was well: the next pause is short again.
const WELL_AFTER: Duration = Duration::from_mins(1);

/// What every part of the worker shares.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) settings: Arc<Postgres>,
    pub(crate) status: Arc<Status>,
    pub(crate) outbox: Outbox,
    pub(crate) durable: watch::Receiver<Durable>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// The newest checkpoint that is durable in the sink.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable {
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) position: Lsn,
}

impl Context {
    pub(crate) fn stop_asked(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) fn durable_position(&self) -> Lsn {
        self.durable.borrow().position
    }

    /// Hands a batch over.
    ///
    /// # Errors
    /// Transient when nobody takes it any more.
    pub(crate) async fn send(&self, batch: Batch) -> Result<()> {
        self.outbox.send(batch).await.map_err(|_| Error::transient("the source was dropped"))
    }

    /// Waits until the checkpoint is durable.
    async fn wait_for(&self, checkpoint: &Checkpoint) -> Result<()> {
        let mut durable = self.durable.clone();
        let arrived = durable.wait_for(|durable| durable.checkpoint.as_ref() == Some(checkpoint)).await;
        arrived.map(|_| ()).map_err(|_| Error::transient("the source was dropped"))
    }
}

/// The task's state.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) context: Context,
    pub(crate) catalog: Catalog,
    /// The progress at the last boundary that was handed over.
    pub(crate) handed: Progress,
    /// Whether `handed` is durable already: it came from the sink.
    pub(crate) resumed: bool,
}

impl Worker {
    /// Reads until a stop, the end of a snapshot without a stream, or an error that no new connection mends.
    pub(crate) async fn run(mut self) -> Result<()> {
        let result = self.read().await.map_err(continuity::with_way_on);
        match &result {
            Ok(()) => self.context.status.set_state(State::Stopped),
            Err(error) if error.kind() == walbrook_model::ErrorKind::Gap => {
                self.context.status.set_state(State::Gap);
                events::gap_found(error);
            }
            Err(_) => {}
        }
        result
    }

    async fn read(&mut self) -> Result<()> {
        let mode = self.context.settings.snapshot.mode;
        if self.handed.phase == Phase::Intent {
            self.begin(mode).await?;
        }
        if mode != SnapshotMode::Never {
            self.read_tables().await?;
        }
        if mode == SnapshotMode::Only { Ok(()) } else { self.stream().await }
    }

    /// Makes the slot, once the intent to do so is durable.
    async fn begin(&mut self, mode: SnapshotMode) -> Result<()> {
        if !self.resumed {
            let checkpoint = self.handed.to_checkpoint()?;
            let batch = Batch { checkpoint: Some(checkpoint.clone()), urgent: true, ..Batch::heartbeat() };
            self.context.send(batch).await?;
            self.context.wait_for(&checkpoint).await?;
        }
        let settings = self.context.settings.clone();
        let mut connection = ReplicationConnection::connect(&settings).await?;
        if mode != SnapshotMode::Only {
            publication::ensure(&settings).await?;
            let oid = continuity::publication(&mut connection, &settings.publication).await?;
            self.handed.publication_oid = oid.ok_or_else(|| {
                Error::config("the publication does not exist").on(format!("publication {}", settings.publication))
            })?;
            slot::drop_unused(&mut connection, &settings.slot).await?;
        }
        let server = continuity::identify(&mut connection).await?;
        self.adopt(&server);
        if mode == SnapshotMode::Only {
            // A temporary slot fixes the slice; see `read_tables`.
            self.handed.phase = Phase::Snapshot;
            return Ok(());
        }
        let export = mode == SnapshotMode::Initial;
        let slot = slot::create(&mut connection, &settings, export).await?;
        self.handed.position = slot.position;
        self.handed.phase = if export { Phase::Snapshot } else { Phase::Stream };
        if let Some(snapshot) = slot.snapshot {
            let tables = self.catalog.load(&self.handed).await?;
            self.tell_unread().await?;
            self.read_slice(connection, &server, tables, slot.position, &snapshot).await
        } else {
            let checkpoint = Some(self.handed.to_checkpoint()?);
            self.context.send(Batch { checkpoint, ..Batch::heartbeat() }).await
        }
    }

    /// Reads the tables that were never read whole, at a slice of their own.
    async fn read_tables(&mut self) -> Result<()> {
        let mode = self.context.settings.snapshot.mode;
        let tables = self.catalog.load(&self.handed).await?;
        let captured: HashSet<u32> =
            tables.iter().map(|table| table.oid).chain(self.catalog.faults().keys().copied()).collect();
        let members = self.catalog.members();
        if mode == SnapshotMode::Initial {
            continuity::judge_publication(&self.handed, members.publication)?;
        }
        // A table that is not captured now, or was not published for a while, misses changes: it is read again.
        self.handed.tables.retain(|table| {
            let same = table.member == members.tables.get(&table.oid).copied();
            if !same {
                events::membership_changed(&table.table);
            }
            same && captured.contains(&table.oid)
        });
        let known: HashSet<u32> = self.handed.tables.iter().map(|table| table.oid).collect();
        self.handed.fingerprints.retain(|oid, _| known.contains(oid));
        for table in &self.handed.tables {
            self.context.status.begin_table(&table.table, 0, table.finished);
        }
        let unread = |table: &TableInfo| !self.handed.table(table.oid).is_some_and(|known| known.finished);
        let unread: HashSet<u32> = tables.iter().filter(|table| unread(table)).map(|table| table.oid).collect();
        if unread.is_empty() {
            self.tell_unread().await?;
            self.handed.phase = Phase::Stream;
            return Ok(());
        }
        let mut connection = ReplicationConnection::connect(&self.context.settings).await?;
        let server = continuity::identify(&mut connection).await?;
        let slot = &self.context.settings.slot;
        let name = format!("{}_slice_{:08x}", slot.get(..48).unwrap_or(slot), random());
        let slot = slot::create_temporary(&mut connection, &name).await?;
        let snapshot = slot.snapshot.ok_or_else(|| Error::bug("the server exported no snapshot"))?;
        // Looked up again: a column that was added and filled before the slice is in none of the changes to come.
        let mut tables = self.catalog.load(&self.handed).await?;
        self.tell_unread().await?;
        tables.retain(|table| unread.contains(&table.oid));
        self.read_slice(connection, &server, tables, slot.position, &snapshot).await
    }

    /// Says which tables cannot be read as they are. What was read of them does not count: it is read again when it can
    /// be. A table that was read whole before is another matter: it stops where the log has a change of it.
    async fn tell_unread(&mut self) -> Result<()> {
        let faults = self.catalog.faults();
        self.handed.tables.retain(|table| table.finished || !faults.contains_key(&table.oid));
        let unread = faults.iter().filter(|(oid, _)| self.handed.table(**oid).is_none());
        let stopped: Vec<TableStop> = unread
            .map(|(_, Fault { table, error })| TableStop {
                table: table.clone(),
                since: None,
                lost: false,
                error: error.clone(),
                bytes: 0,
            })
            .collect();
        if stopped.is_empty() {
            return Ok(());
        }
        if self.context.settings.snapshot.mode == SnapshotMode::Only
            && let Some(fault) = faults.values().next()
        {
            // Nothing comes after the snapshot: it must not look whole.
            return Err(Error::config("the table cannot be read")
                .on(format!("table {}", fault.table))
                .because(fault.error.clone()));
        }
        self.context.send(Batch { stopped, ..Batch::heartbeat() }).await
    }

    async fn read_slice(
        &mut self,
        exporter: ReplicationConnection,
        server: &Server,
        tables: Vec<Arc<TableInfo>>,
        position: Lsn,
        snapshot: &str,
    ) -> Result<()> {
        self.context.status.set_state(State::Snapshot);
        let seq = Seq::new(self.handed.generation, server.timelines.holding(position), position.0, 0)
            .map_err(|error| Error::bug("a position does not fit").because(error))?;
        for table in &tables {
            self.handed.tables.retain(|known| known.oid != table.oid);
            let (oid, id) = (table.oid, table.schema.table.clone());
            let member = self.catalog.members().tables.get(&oid).copied();
            self.handed.tables.push(TableProgress { oid, table: id, slice: seq, finished: false, member });
            match self.catalog.fingerprint(oid) {
                Some(fingerprint) => self.handed.fingerprints.insert(oid, fingerprint),
                None => self.handed.fingerprints.remove(&oid),
            };
        }
        self.handed.emitted_max = self.handed.emitted_max.max(seq);
        let checkpoint = Some(self.handed.to_checkpoint()?);
        self.context.send(Batch { checkpoint, ..Batch::heartbeat() }).await?;
        let slice = Slice { seq, position, snapshot: snapshot.to_owned() };
        for (table, error) in snapshot::read(&self.context, &mut self.handed, exporter, slice, tables).await? {
            self.catalog.add_fault(table.oid, table.schema.table.clone(), error);
        }
        self.tell_unread().await?;
        if self.handed.tables.iter().all(|table| table.finished) {
            self.handed.phase = Phase::Stream;
        }
        Ok(())
    }

    async fn stream(&mut self) -> Result<()> {
        let mut pause = PAUSE_FIRST;
        let mut undecodable = Undecodable::default();
        loop {
            let begun = Instant::now();
            match stream::run(&self.context, &mut self.catalog, &mut self.handed).await {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::TablesChanged) => self.read_tables().await?,
                Err(error) if is_transient(&error) => {
                    undecodable.judge(&error, self.handed.position)?;
                    if begun.elapsed() >= WELL_AFTER {
                        pause = PAUSE_FIRST;
                    }
                    self.context.status.set_state(State::Reconnecting);
                    events::stream_interrupted(&error, pause);
                    if self.pause(pause).await {
                        return Ok(());
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits, with jitter; whether a stop was asked for meanwhile.
    async fn pause(&mut self, pause: Duration) -> bool {
        let share = random() % 512;
        let jittered = pause / 2 + pause * share / 512 / 2;
        let mut stop = self.context.stop.clone();
        tokio::select! {
            () = sleep(jittered) => self.context.stop_asked(),
            _ = stop.wait_for(|asked| *asked) => true,
        }
    }

    fn adopt(&mut self, server: &Server) {
        self.handed.system_id.clone_from(&server.system_id);
        self.handed.timeline = server.timelines.current();
        self.handed.history = server.timelines.ancestors().to_vec();
    }
}

/// A number for names and jitter; nothing depends on its quality.
fn random() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.subsec_nanos() ^ std::process::id().rotate_left(16)
}
