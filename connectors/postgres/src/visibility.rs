//! Whether other sessions see a commit that the log already told.
//!
//! A commit is in the log before it is visible: the server sends it as soon as its record is flushed, and the session
//! that commits may still wait, for a standby say. Whoever asks the catalogs too early sees them as they were before.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use walbrook_model::{Error, Result};

use crate::sql;

/// How long a commit may stay unseen.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Waits until a new session sees the transaction; whether it did in time.
pub(crate) async fn wait(client: &Client, xid: u32) -> Result<bool> {
    const QUERY: &str = "SELECT pg_catalog.pg_current_snapshot()::text";
    let (begun, mut pause) = (Instant::now(), PAUSE_FIRST);
    loop {
        let row = client.query_one(QUERY, &[]).await.map_err(sql::error)?;
        let snapshot: &str = row.try_get(0).map_err(sql::error)?;
        if sees(snapshot, xid).ok_or_else(|| Error::bug("the server printed no snapshot"))? {
            return Ok(true);
        }
        if begun.elapsed() >= PATIENCE {
            return Ok(false);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Whether the snapshot `xmin:xmax:running,...` sees an ended transaction. The log's numbers lack the upper half: it is
/// the one nearest to the snapshot's.
fn sees(snapshot: &str, xid: u32) -> Option<bool> {
    const HALF: u64 = 1 << 31;
    let mut parts = snapshot.splitn(3, ':');
    let (_, next, running) = (parts.next()?, parts.next()?.parse::<u64>().ok()?, parts.next()?);
    let same_epoch = (next & !u64::from(u32::MAX)) | u64::from(xid);
    let whole = if same_epoch > next.saturating_add(HALF) {
        same_epoch.saturating_sub(2 * HALF)
    } else if same_epoch.saturating_add(HALF) < next {
        same_epoch.saturating_add(2 * HALF)
    } else {
        same_epoch
    };
    let mut runs = running.split(',').filter(|number| !number.is_empty()).map(str::parse::<u64>);
    Some(whole < next && !runs.any(|number| number == Ok(whole)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_servers;

    #[test]
    fn a_snapshot_sees_what_ended_before_it() {
        let epoch = 1_u64 << 32;
        let cases = [
            ("10:20:10,15".to_owned(), 9, Some(true)),
            ("10:20:10,15".to_owned(), 10, Some(false)),
            ("10:20:10,15".to_owned(), 12, Some(true)),
            ("10:20:10,15".to_owned(), 15, Some(false)),
            ("10:20:10,15".to_owned(), 20, Some(false)),
            ("20:20:".to_owned(), 19, Some(true)),
            // The numbers have just begun anew, or are about to.
            (format!("{0}:{0}:", epoch + 5), u32::MAX, Some(true)),
            (format!("{0}:{0}:", epoch + 5), 4, Some(true)),
            (format!("{0}:{0}:", epoch - 5), 3, Some(false)),
            (format!("{}:{}:{}", epoch - 5, epoch + 5, epoch - 3), u32::MAX - 2, Some(false)),
            ("what".to_owned(), 3, None),
        ];
        for (snapshot, xid, expected) in cases {
            assert_eq!(sees(&snapshot, xid), expected, "{snapshot} {xid}");
        }
    }

    #[tokio::test]
    async fn what_has_ended_is_seen_and_what_runs_is_not() {
        on_servers("visible", async |database| {
            let reader = database.reader().await;
            database.run("BEGIN").await;
            let xid = database.text("SELECT pg_current_xact_id()::xid::text").await.unwrap().parse().unwrap();
            assert!(!wait(&reader, xid).await.unwrap());
            database.run("COMMIT").await;
            assert!(wait(&reader, xid).await.unwrap());
        })
        .await;
    }
}
