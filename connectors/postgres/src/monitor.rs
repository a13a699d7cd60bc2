//! Looks at the server from a session of its own: the slot's state, and proofs of how complete the stream is.
//!
//! A proof is a moment of the server's clock and the end of its log just after it: once the stream has passed that end,
//! everything that was visible at that moment was handed over. Commit times alone prove less: they need not rise with
//! the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use walbrook_config::Postgres;
use walbrook_model::{Error, Result};

use crate::catalog::{self, Members};
use crate::events;
use crate::sql;
use crate::status::{SlotStatus, Status};
use crate::wire::Lsn;
use crate::worker::Context;

/// How often the end of the log is asked for.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The page of a log begins with a header of one of these sizes; the server's insert position may lie behind it while
/// the last record ends before it.
const PAGE_BYTES: u64 = 8192;
const PAGE_HEADERS: [u64; 2] = [24, 40];

/// The monitor's task; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    probes: watch::Receiver<Option<Probe>>,
    /// The newest moment that was proven.
    proven_us: i64,
    /// The probe that waits for the stream to pass it.
    awaited: Option<Probe>,
    /// Set once other tables are published than were told at the start.
    changed: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    at_us: i64,
    end: Lsn,
}

impl Monitor {
    /// Starts to look. `members` are those of the publication, if it matters whether they change.
    pub(crate) fn start(context: &Context, members: Option<Members>) -> Self {
        let (probe_sender, probes) = watch::channel(None);
        let (change_sender, changed) = watch::channel(false);
        let watcher = Watcher {
            settings: context.settings.clone(),
            status: context.status.clone(),
            probes: probe_sender,
            changed: change_sender,
            members,
            session: None,
            slot_due: Instant::now(),
        };
        let task = tokio::spawn(watcher.run());
        Self { probes, proven_us: 0, awaited: None, changed, task }
    }

    /// Whether other tables are published than at the start.
    pub(crate) fn tables_changed(&self) -> bool {
        *self.changed.borrow()
    }

    /// The moment up to which everything is complete now that the stream has passed `position`; `None` if that is not
    /// news.
    pub(crate) fn complete_until(&mut self, position: Lsn) -> Option<i64> {
        if self.awaited.is_none() {
            self.awaited = *self.probes.borrow_and_update();
        }
        let probe = self.awaited.filter(|probe| probe.end <= position)?;
        self.awaited = None;
        let news = probe.at_us > self.proven_us;
        self.proven_us = self.proven_us.max(probe.at_us);
        news.then_some(probe.at_us)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task.
struct Watcher {
    settings: Arc<Postgres>,
    status: Arc<Status>,
    probes: watch::Sender<Option<Probe>>,
    changed: watch::Sender<bool>,
    members: Option<Members>,
    session: Option<Client>,
    slot_due: Instant,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            if let Err(error) = self.look().await {
                self.session = None;
                events::slot_unseen(&error);
                sleep(self.settings.heartbeat_interval).await;
            }
            sleep(PROBE_INTERVAL).await;
        }
    }

    async fn look(&mut self) -> Result<()> {
        let client = match &self.session {
            Some(client) => client,
            None => self.session.insert(sql::connect(&self.settings).await?),
        };
        let probe = probe(client).await?;
        self.status.set_server_end(probe.end);
        self.probes.send_replace(Some(probe));
        if Instant::now() >= self.slot_due {
            if let Some(slot) = slot(client, &self.settings.slot, probe.end).await? {
                self.status.set_slot(slot);
            }
            if let Some(before) = &self.members
                && *before != catalog::members(client, &self.settings.publication).await?
            {
                self.changed.send_replace(true);
            }
            self.slot_due = Instant::now() + self.settings.heartbeat_interval;
        }
        Ok(())
    }
}

async fn probe(client: &Client) -> Result<Probe> {
    const QUERY: &str = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint, \
         (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
          ELSE pg_catalog.pg_current_wal_insert_lsn() END)::text";
    let row = client.query_one(QUERY, &[]).await.map_err(sql::error)?;
    let at_us = row.try_get(0).map_err(sql::error)?;
    let end: String = row.try_get(1).map_err(sql::error)?;
    Ok(Probe { at_us, end: before_page_header(lsn(&end)?) })
}

async fn slot(client: &Client, name: &str, end: Lsn) -> Result<Option<SlotStatus>> {
    const QUERY: &str = "SELECT coalesce(restart_lsn::text, '0/0'), coalesce(confirmed_flush_lsn::text, '0/0'), \
         coalesce(wal_status, 'lost'), safe_wal_size, active \
         FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
    let Some(row) = client.query_opt(QUERY, &[&name]).await.map_err(sql::error)? else { return Ok(None) };
    let behind = |position: String| lsn(&position).map(|position| end.0.saturating_sub(position.0));
    Ok(Some(SlotStatus {
        retained_bytes: behind(row.try_get(0).map_err(sql::error)?)?,
        lag_bytes: behind(row.try_get(1).map_err(sql::error)?)?,
        wal_status: row.try_get(2).map_err(sql::error)?,
        safe_wal_bytes: row.try_get(3).map_err(sql::error)?,
        active: row.try_get(4).map_err(sql::error)?,
    }))
}

fn lsn(text: &str) -> Result<Lsn> {
    text.parse().map_err(|error| Error::transient("the server printed no log position").because(error))
}

/// The end of the last record, if the position is the first place behind a page's header.
fn before_page_header(end: Lsn) -> Lsn {
    let offset = end.0 % PAGE_BYTES;
    if PAGE_HEADERS.contains(&offset) { Lsn(end.0 - offset) } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_behind_a_page_header_is_the_end_of_the_page_before() {
        for (end, expected) in
            [(0x2000, 0x2000), (0x2018, 0x2000), (0x2028, 0x2000), (0x2030, 0x2030), (0x1FFF, 0x1FFF)]
        {
            assert_eq!(before_page_header(Lsn(end)), Lsn(expected), "{end:x}");
        }
    }
}
