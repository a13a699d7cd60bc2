//! One connection's worth of the log: from the judge's word to a stop, an error or a table that must be read first.
//!
//! # Why a reconnect loses and doubles nothing
//!
//! `handed` is the progress at the last boundary that was handed over. A new connection resumes there:
//!
//! - Whole transactions below it were handed over; when the slot sends them again they are dropped whole, by where their
//!   commit record begins.
//! - Every other transaction is handed over again whole. If a part of it was handed over before the break, these
//!   changes come twice, each with the order token that it had: the tokens depend on the log alone. The guard of the
//!   sink drops the repeats, and no checkpoint lies between the two, since only boundaries are checkpoints.
//! - What was assembled but not handed over is forgotten with the connection and comes again.
//!
//! The server is acknowledged only what lies inside the sink's durable checkpoint, never what was merely handed over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use walbrook_config::{Postgres, SnapshotMode};
use walbrook_model::{Batch, Change, Error, ErrorKind, Result, Seq, TableSchema, TableStop};

use crate::assemble::{Assembler, Boundary, Cut, Limits, Step};
use crate::catalog::{Catalog, Fault, Found};
use crate::checkpoint::{Progress, TablesJson};
use crate::connection::error::sqlstate;
use crate::connection::{Frame, ReplicationConnection, ReplicationStream};
use crate::continuity::{self, gap};
use crate::events;
use crate::monitor::Monitor;
use crate::relations::{Entry, Stopped};
use crate::sql::{quote_ident, quote_literal};
use crate::status::{Events, State};
use crate::undecodable::{is_internal, undecodable};
use crate::wire::Lsn;
use crate::wire::pgoutput;
use crate::worker::Context;

/// Row data of a batch, bytes.
pub(crate) const BATCH_BYTES: usize = 1024 * 1024;
/// Changes of a batch.
pub(crate) const BATCH_CHANGES: usize = 8192;
/// How long changes of whole transactions may wait for more to share their batch.
const LINGER: Duration = Duration::from_millis(5);
/// How long the stream may be quiet before the loop looks at its clock.
const WAIT: Duration = Duration::from_millis(50);
/// How long what was handed over may take to be read again, for [`prove`].
const PROOF_TIMEOUT: Duration = Duration::from_mins(5);
/// How long a server that is to show that it can decode may say nothing.
const DECODE_TIMEOUT: Duration = Duration::from_secs(5);
/// A fault of the server that shows each time is none that passes.
const PROOF_ATTEMPTS: u32 = 3;
const PROOF_PAUSE: Duration = Duration::from_secs(1);
/// A server that says so often that it is idle at one position wants it confirmed: it may be shutting down.
const REPEATS_URGENT: u32 = 3;

/// Tables are compared with their fingerprints at every heartbeat, but not more often than this.
const JUDGE_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How long the stream waits for that.
const JUDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a stream ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A stop was asked for.
    Stopped,
    /// Other tables are published than before, or a captured one was never read.
    TablesChanged,
}

/// Streams until something ends it. `handed` moves with every boundary that is handed over.
pub(crate) async fn run(context: &Context, catalog: &mut Catalog, handed: &mut Progress) -> Result<Ended> {
    let settings = &context.settings;
    let mut connection = ReplicationConnection::connect(settings).await?;
    let server = continuity::identify(&mut connection).await?;
    let slot = continuity::slot(&mut connection, &settings.slot).await?;
    let publication = continuity::publication(&mut connection, &settings.publication).await?;
    let resume = continuity::judge(handed, &server, slot.as_ref(), publication)?;
    handed.timeline = server.timelines.current();
    handed.history = server.timelines.ancestors().to_vec();
    handed.position = resume.covered;
    let assembler = Assembler::new(handed.generation, server.timelines, &resume, handed.last_commit, limits(settings));
    catalog.judge_all(handed).await?;
    let stream = connection.start(&start_command(settings, resume.start)).await?;
    events::stream_started(&settings.slot, resume.start, resume.covered);
    context.status.set_state(State::Streaming);
    let members = (settings.snapshot.mode != SnapshotMode::Never).then(|| catalog.members().clone());
    let monitor = Monitor::start(context, members);
    let tables = handed.tables_json()?;
    let mut reader = Reader {
        context,
        tables,
        catalog,
        handed,
        assembler,
        monitor,
        confirmed: Lsn::default(),
        pending_since: None,
        idle_sent: Instant::now(),
        repeats: (Lsn::default(), 0),
        judged: Instant::now(),
        untold: HashSet::new(),
    };
    reader.stop_untold().await?;
    reader.read(stream).await
}

/// Reads again what was handed over and not acknowledged, where there is such: whether it is the log that it was, and
/// whether the server can decode it. Nothing is acknowledged.
///
/// # Errors
/// A gap if it is another log, or one that the server cannot decode.
pub(crate) async fn prove(settings: &Postgres, handed: &Progress) -> Result<()> {
    for _ in 1..PROOF_ATTEMPTS {
        match prove_once(settings, handed).await {
            // In use: a walbrook began to stream since the slot was looked at. The next look sees it.
            Err(error) if is_internal(&error) || is_in_use(&error) => sleep(PROOF_PAUSE).await,
            proven => return proven,
        }
    }
    prove_once(settings, handed).await.map_err(|error| if is_internal(&error) { undecodable(&error) } else { error })
}

/// Whether the server says that another connection has the slot (`object_in_use`).
fn is_in_use(error: &Error) -> bool {
    sqlstate(error) == Some("55006")
}

async fn prove_once(settings: &Postgres, handed: &Progress) -> Result<()> {
    let mut connection = ReplicationConnection::connect(settings).await?;
    let server = continuity::identify(&mut connection).await?;
    let slot = continuity::slot(&mut connection, &settings.slot).await?;
    let publication = continuity::publication(&mut connection, &settings.publication).await?;
    let resume = continuity::judge(handed, &server, slot.as_ref(), publication)?;
    // A walbrook that streams has seen it.
    if slot.is_some_and(|slot| slot.active) {
        return Ok(());
    }
    let assembler = Assembler::new(handed.generation, server.timelines, &resume, handed.last_commit, limits(settings));
    let mut stream = connection.start(&start_command(settings, resume.start)).await?;
    let proven = if resume.expect.is_some() {
        let proven = timeout(PROOF_TIMEOUT, read_again(&mut stream, assembler, settings)).await;
        proven.unwrap_or_else(|_| Err(Error::transient("the log was not read again in time")))
    } else {
        // There is nothing to compare; silence shows as much as what is decoded.
        timeout(DECODE_TIMEOUT, decodes(&mut stream, server.current)).await.unwrap_or(Ok(()))
    };
    // The slot is free when this has ended.
    let stopped = stream.stop(Lsn::default()).await;
    proven?;
    stopped
}

async fn read_again(stream: &mut ReplicationStream, mut assembler: Assembler, settings: &Postgres) -> Result<()> {
    loop {
        for frame in stream.next(WAIT).await? {
            let end = match frame {
                Frame::Data { start, sent_at_us, message, .. } => {
                    let step = assembler.push(start, sent_at_us, pgoutput::decode(&message)?)?;
                    if let Step::Describe(relation) = step {
                        assembler.describe(relation.oid, Entry::Ignored);
                    }
                    // A message says nothing of how far the server is.
                    Lsn::default()
                }
                Frame::Keepalive { end, .. } => end,
                Frame::Notice { code, message, .. } if leaves_out(&code) => return Err(left_out(settings, &message)),
                Frame::Notice { .. } => continue,
            };
            if assembler.has_proven(end)? {
                return Ok(());
            }
        }
    }
}

/// Waits for the first message of the log, or until there is none up to `end`.
async fn decodes(stream: &mut ReplicationStream, end: Lsn) -> Result<()> {
    let is_proof = |frame: &Frame| match frame {
        Frame::Data { .. } => true,
        Frame::Keepalive { end: reached, .. } => *reached >= end,
        Frame::Notice { .. } => false,
    };
    while !stream.next(WAIT).await?.iter().any(is_proof) {}
    Ok(())
}

fn limits(settings: &Postgres) -> Limits {
    Limits {
        cut_bytes: BATCH_BYTES,
        cut_changes: BATCH_CHANGES,
        transaction_bytes: usize::try_from(settings.transaction_bytes_max).unwrap_or(usize::MAX),
    }
}

fn start_command(settings: &Postgres, start: Lsn) -> String {
    format!(
        "START_REPLICATION SLOT {} LOGICAL {start} (proto_version '1', publication_names {}, messages 'true')",
        quote_ident(&settings.slot),
        quote_literal(&quote_ident(&settings.publication)),
    )
}

/// Since version 18 the server leaves out the changes of a missing publication with no more than a notice.
fn leaves_out(code: &str) -> bool {
    matches!(code, "55000" | "42704")
}

fn left_out(settings: &Postgres, message: &str) -> Error {
    gap(format!("the server leaves changes out: {message}")).on(format!("publication {}", settings.publication))
}

struct Reader<'a> {
    context: &'a Context,
    catalog: &'a mut Catalog,
    handed: &'a mut Progress,
    /// Of `handed`; written anew when a fingerprint changes.
    tables: TablesJson,
    assembler: Assembler,
    monitor: Monitor,
    confirmed: Lsn,
    /// Since when whole transactions wait for others.
    pending_since: Option<Instant>,
    /// When an idle position last became a checkpoint.
    idle_sent: Instant,
    /// The last idle position of the server, and how often it said so.
    repeats: (Lsn, u32),
    /// When all tables were last compared with their fingerprints.
    judged: Instant,
    /// Tables that were stopped because of what no change tells.
    untold: HashSet<u32>,
}

impl Reader<'_> {
    async fn read(&mut self, mut stream: ReplicationStream) -> Result<Ended> {
        loop {
            self.confirm(&stream);
            if self.context.stop_asked() {
                stream.stop(self.confirmed).await?;
                return Ok(Ended::Stopped);
            }
            if self.monitor.tables_changed() {
                events::publication_changed();
                return Ok(Ended::TablesChanged);
            }
            for frame in stream.next(self.wait()).await? {
                if let Some(ended) = self.take(frame).await? {
                    return Ok(ended);
                }
            }
            let due = self.pending_since.is_some_and(|since| since.elapsed() >= LINGER);
            self.hand_over(due).await?;
            self.hand_over_idle().await?;
            self.judge_tables().await?;
        }
    }

    fn wait(&self) -> Duration {
        self.pending_since.map_or(WAIT, |since| LINGER.saturating_sub(since.elapsed()))
    }

    /// Acknowledges what is durable, once the log is known to be the one that it came from.
    fn confirm(&mut self, stream: &ReplicationStream) {
        let durable = self.context.durable_position();
        if durable > self.confirmed && self.assembler.is_proven() {
            stream.report(durable);
            self.confirmed = durable;
            self.context.status.set_confirmed(durable);
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<Option<Ended>> {
        match frame {
            Frame::Data { start, sent_at_us, message, .. } => {
                if let Step::Describe(relation) = self.assembler.push(start, sent_at_us, pgoutput::decode(&message)?)?
                    && self.describe(&relation).await?
                {
                    return Ok(Some(Ended::TablesChanged));
                }
                if self.assembler.is_full() {
                    self.hand_over(false).await?;
                }
            }
            Frame::Keepalive { end, .. } => {
                self.assembler.idle(end)?;
                let repeats = if self.repeats.0 == end { self.repeats.1 + 1 } else { 0 };
                self.repeats = (end, repeats);
            }
            Frame::Notice { severity, code, message } => {
                if leaves_out(&code) {
                    return Err(left_out(&self.context.settings, &message));
                }
                events::server_notice(&severity, &code, &message);
            }
        }
        Ok(None)
    }

    /// Looks now and then at what the log does not tell.
    async fn judge_tables(&mut self) -> Result<()> {
        if self.judged.elapsed() < self.context.settings.heartbeat_interval.max(JUDGE_INTERVAL_MIN) {
            return Ok(());
        }
        match timeout(JUDGE_TIMEOUT, self.catalog.judge_all(self.handed)).await {
            Ok(Err(error)) if !is_transient(&error) => return Err(error),
            // What could not be looked at now is looked at the next time.
            Ok(_) | Err(_) => {}
        }
        self.judged = Instant::now();
        self.keep_fingerprints()?;
        self.stop_untold().await
    }

    /// Stops tables whose rows changed in a way that no change tells, whether or not another change of them comes.
    async fn stop_untold(&mut self) -> Result<()> {
        let mut told = Vec::new();
        for (oid, Fault { table, error }) in self.catalog.untold() {
            if self.untold.insert(*oid) {
                let start = self.handed.table(*oid).map_or(Seq::ZERO, |known| known.slice);
                let stopped = Stopped { table: table.clone(), start, error: error.clone() };
                self.assembler.describe(*oid, Entry::Stopped(stopped));
                let since = Some(self.handed.emitted_max);
                told.push(TableStop { table: table.clone(), since, lost: true, error: error.clone(), bytes: 0 });
            }
        }
        if told.is_empty() {
            return Ok(());
        }
        self.context.send(Batch { stopped: told, ..Batch::heartbeat() }).await
    }

    fn keep_fingerprints(&mut self) -> Result<()> {
        if self.catalog.fingerprints_changed() {
            self.tables = self.handed.tables_json()?;
        }
        Ok(())
    }

    /// Sets the shape of a table; whether the table must be read before its changes can be handed over.
    async fn describe(&mut self, relation: &pgoutput::Relation) -> Result<bool> {
        let found = self.catalog.entries(relation, self.assembler.xid(), self.handed).await?;
        self.keep_fingerprints()?;
        self.stop_untold().await?;
        match found {
            Found::Entries(entries) => {
                for (oid, entry) in entries {
                    self.assembler.describe(oid, entry);
                }
                Ok(false)
            }
            Found::New(table) => {
                events::new_table(&table);
                Ok(true)
            }
        }
    }

    /// Hands over what is pending, in batches.
    async fn hand_over(&mut self, flush: bool) -> Result<()> {
        while let Some(Cut { changes, messages, stopped, boundary }) = self.assembler.cut(flush) {
            if let Some(last) = changes.last() {
                // Netted changes may come after later ones of other tables.
                let newest = changes.iter().map(|change| change.seq).max().unwrap_or(last.seq);
                self.handed.emitted_max = self.handed.emitted_max.max(newest);
            }
            let checkpoint = match boundary {
                Some(boundary) => {
                    self.move_to(boundary);
                    Some(self.handed.checkpoint_with(&self.tables)?)
                }
                None => None,
            };
            let complete_until_us = boundary.and_then(|boundary| boundary.committed_at_us);
            count(self.context, &changes);
            let lineage = Some(self.handed.lineage());
            let batch =
                Batch { changes, messages, stopped, checkpoint, lineage, complete_until_us, ..Batch::heartbeat() };
            self.context.send(batch).await?;
            if let Some(time) = complete_until_us {
                self.context.status.set_complete_until(time);
            }
        }
        self.context.status.set_received(self.assembler.boundary().position);
        let waiting = self.assembler.has_whole();
        self.pending_since = if waiting { self.pending_since.or_else(|| Some(Instant::now())) } else { None };
        Ok(())
    }

    /// Turns an idle position of the server into a checkpoint, now and then, so that the server may drop its log.
    async fn hand_over_idle(&mut self) -> Result<()> {
        if !self.assembler.is_idle() {
            return Ok(());
        }
        let boundary = self.assembler.boundary();
        let complete_until_us = self.monitor.complete_until(boundary.position);
        let urgent = self.repeats.1 >= REPEATS_URGENT && self.context.durable_position() < boundary.position;
        let interval = if urgent { LINGER } else { self.context.settings.heartbeat_interval };
        let due = boundary.position > self.handed.position && self.idle_sent.elapsed() >= interval;
        if !due && complete_until_us.is_none() {
            return Ok(());
        }
        let checkpoint = if due {
            self.idle_sent = Instant::now();
            self.repeats.1 = 0;
            self.move_to(boundary);
            Some(self.handed.checkpoint_with(&self.tables)?)
        } else {
            None
        };
        if let Some(time) = complete_until_us {
            self.context.status.set_complete_until(time);
        }
        self.context.send(Batch { checkpoint, urgent: urgent && due, complete_until_us, ..Batch::heartbeat() }).await
    }

    fn move_to(&mut self, boundary: Boundary) {
        self.handed.position = boundary.position;
        self.handed.last_commit = boundary.last_commit;
    }
}

/// Counts the changes of a batch by table and kind.
pub(crate) fn count(context: &Context, changes: &[Change]) {
    let mut counted: Vec<(&Arc<TableSchema>, Events)> = Vec::new();
    for change in changes {
        let same = counted.iter_mut().rfind(|(schema, _)| Arc::ptr_eq(schema, &change.schema));
        if let Some((_, events)) = same {
            events.count(change.op);
        } else {
            let mut events = Events::default();
            events.count(change.op);
            counted.push((&change.schema, events));
        }
    }
    context.status.count(counted.iter().map(|(schema, events)| (&schema.table, *events)));
}

/// Whether a new connection may mend the error.
pub(crate) fn is_transient(error: &Error) -> bool {
    error.kind() == ErrorKind::Transient
}
