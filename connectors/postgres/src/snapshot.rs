//! Reads tables at one slice: an exported snapshot that several sessions import.
//!
//! Large ordinary tables are read in ranges of pages. That is sound because a row's version keeps its place under one
//! snapshot as long as the table is not rewritten, and every session that has read a range keeps its lock on the table
//! until the whole slice is read. A table that was rewritten between the slice and the first lock looks empty or
//! different to the slice; that is detected and the whole slice fails, to be taken anew.
//!
//! A table that cannot be read (a right is missing, a row is too long) ends with its error, and the others are read: what
//! was handed over of it is a slice without an end, which a later one replaces.
//!
//! ```text
//! ranges of all tables -> N sessions: COPY -> rows -> Read changes -> outbox
//!                         last range of a table: SnapshotEnd and the checkpoint that says so
//! ```

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use futures_util::{StreamExt, pin_mut};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::Client;
use walbrook_config::SnapshotMode;
use walbrook_model::{Batch, Change, Error, Lineage, Op, Result, Row, Seq};

use crate::checkpoint::{Phase, Progress};
use crate::connection::ReplicationConnection;
use crate::events;
use crate::sql::{self, quote_ident, quote_literal};
use crate::stream::{BATCH_BYTES, BATCH_CHANGES, count};
use crate::tables::{TableInfo, is_fault};
use crate::wire::Lsn;
use crate::wire::copy::Splitter;
use crate::worker::Context;

/// One consistent read.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// The token of its reads.
    pub(crate) seq: Seq,
    pub(crate) position: Lsn,
    /// The name of the exported snapshot.
    pub(crate) snapshot: String,
}

/// Reads `tables` and moves `handed` with each table that is read whole. The exporter keeps the snapshot alive until
/// every session has imported it. Returns the tables that could not be read.
///
/// # Errors
/// Transient when a session broke or a table was rewritten: the tables that are not finished must be read at a new slice.
pub(crate) async fn read(
    context: &Context,
    handed: &mut Progress,
    exporter: ReplicationConnection,
    slice: Slice,
    tables: Vec<Arc<TableInfo>>,
) -> Result<Vec<(Arc<TableInfo>, Error)>> {
    let begun = Instant::now();
    let wanted = usize::from(context.settings.snapshot.sessions).max(1);
    let first = open(context, &slice).await?;
    let taken_at_us = clock(&first).await?;
    let (jobs, ranges) = plan(context, &first, tables).await?;
    let mut sessions = vec![first];
    while sessions.len() < wanted.min(ranges.len()) {
        sessions.push(open(context, &slice).await?);
    }
    drop(exporter);
    events::snapshot_started(jobs.len(), slice.position, sessions.len());
    let shared = Arc::new(Shared {
        context: context.clone(),
        lineage: handed.lineage(),
        slice,
        taken_at_us,
        jobs,
        ranges,
        next: AtomicUsize::new(0),
        progress: Mutex::new(handed.clone()),
    });
    let mut tasks = JoinSet::new();
    for client in sessions {
        tasks.spawn(work(shared.clone(), client));
    }
    // All sessions stay until all are done: their locks protect the ranges that others still read.
    let mut clients = Vec::new();
    while let Some(done) = tasks.join_next().await {
        clients.push(done.map_err(|error| Error::bug("a snapshot session failed").because(error))??);
    }
    drop(clients);
    handed.clone_from(&*shared.progress.lock().await);
    events::snapshot_finished(begun.elapsed());
    let unread = shared.jobs.iter().filter_map(|job| {
        let error = job.error.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((job.table.clone(), error))
    });
    Ok(unread.collect())
}

/// What the sessions share.
struct Shared {
    context: Context,
    lineage: Lineage,
    slice: Slice,
    taken_at_us: i64,
    jobs: Vec<Job>,
    ranges: Vec<Range>,
    /// The next range that no session has taken.
    next: AtomicUsize,
    /// Locked from the change of a table's entry until the checkpoint that says so is handed over.
    progress: Mutex<Progress>,
}

/// One table.
struct Job {
    table: Arc<TableInfo>,
    ranges_left: AtomicUsize,
    rows: AtomicU64,
    /// Why it cannot be read.
    error: std::sync::Mutex<Option<Error>>,
}

impl Job {
    fn has_failed(&self) -> bool {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Nothing more is read of the table; the first error counts.
    fn fail(&self, error: Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Pages `from..to` of a table; all of it if both are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    job: usize,
    from: Option<u64>,
    to: Option<u64>,
}

/// A table that fails must not end the session's transaction. Its locks outlive a savepoint that is released.
const SAVEPOINT: &str = "SAVEPOINT walbrook_table";
const NEXT_SAVEPOINT: &str = "RELEASE SAVEPOINT walbrook_table; SAVEPOINT walbrook_table";
const BACK_TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT walbrook_table";

/// Opens a session that sees the slice.
async fn open(context: &Context, slice: &Slice) -> Result<Client> {
    let client = sql::connect(&context.settings).await?;
    let begin = format!(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}; {SAVEPOINT}",
        quote_literal(&slice.snapshot)
    );
    // The snapshot is gone when its exporter is: a new slice is needed.
    let lost = |error| sql::error(error).with_kind(walbrook_model::ErrorKind::Transient);
    client.batch_execute(&begin).await.map_err(lost)?;
    Ok(client)
}

async fn clock(client: &Client) -> Result<i64> {
    const QUERY: &str = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint";
    client.query_one(QUERY, &[]).await.and_then(|row| row.try_get(0)).map_err(sql::error)
}

/// Divides the tables into ranges, the largest tables first.
async fn plan(context: &Context, client: &Client, tables: Vec<Arc<TableInfo>>) -> Result<(Vec<Job>, Vec<Range>)> {
    const QUERY: &str = "SELECT (SELECT coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0)::bigint \
         FROM (SELECT relid FROM pg_catalog.pg_partition_tree($1::oid) UNION SELECT $1::oid) t), \
         pg_catalog.current_setting('block_size')::bigint";
    let mut sized = Vec::with_capacity(tables.len());
    for table in tables {
        let row = client.query_one(QUERY, &[&table.oid]).await.map_err(sql::error)?;
        let bytes: i64 = row.try_get(0).map_err(sql::error)?;
        let page: i64 = row.try_get(1).map_err(sql::error)?;
        sized.push((u64::try_from(bytes).unwrap_or(0), u64::try_from(page).unwrap_or(8192).max(1), table));
    }
    sized.sort_by_key(|(bytes, _, _)| std::cmp::Reverse(*bytes));
    let (mut jobs, mut ranges) = (Vec::new(), Vec::new());
    for (bytes, page, table) in sized {
        context.status.begin_table(&table.schema.table, bytes, false);
        let step = (context.settings.snapshot.range_bytes / page).max(1);
        let pages = if table.partitioned { 0 } else { bytes / page };
        let cuts = divide(jobs.len(), pages, step);
        jobs.push(Job {
            table,
            ranges_left: AtomicUsize::new(cuts.len()),
            rows: AtomicU64::new(0),
            error: std::sync::Mutex::default(),
        });
        ranges.extend(cuts);
    }
    Ok((jobs, ranges))
}

/// Ranges of `step` pages; the last has no end, since the table may have grown.
fn divide(job: usize, pages: u64, step: u64) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut from = 0;
    while from + step < pages {
        ranges.push(Range { job, from: Some(from), to: Some(from + step) });
        from += step;
    }
    let from = (from > 0).then_some(from);
    ranges.push(Range { job, from, to: None });
    ranges
}

/// Reads ranges until none is left. The session is returned open: it holds the locks.
async fn work(shared: Arc<Shared>, client: Client) -> Result<Client> {
    while let Some(range) = shared.ranges.get(shared.next.fetch_add(1, Relaxed)).copied() {
        let Some(job) = shared.jobs.get(range.job) else { return Err(Error::bug("a range of no table")) };
        if job.has_failed() {
            continue;
        }
        let read = async {
            lock(&client, &job.table).await?;
            shared.read_range(&client, job, range).await
        };
        if let Err(error) = read.await {
            let error = error.on(format!("table {}", job.table.schema.table));
            // Nothing comes after a snapshot without a stream: it must not look whole.
            if !is_fault(&error) || shared.context.settings.snapshot.mode == SnapshotMode::Only {
                return Err(error);
            }
            client.batch_execute(BACK_TO_SAVEPOINT).await.map_err(sql::error)?;
            job.fail(error);
            continue;
        }
        // Every row of this range is handed over; whoever finishes the last range sees all of them handed over.
        if job.ranges_left.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
            shared.finish(job).await?;
        }
    }
    Ok(client)
}

/// Keeps the table from being rewritten until the session ends.
async fn lock(client: &Client, table: &TableInfo) -> Result<()> {
    let lock = format!("{NEXT_SAVEPOINT}; LOCK TABLE {}{} IN ACCESS SHARE MODE", only(table), name(table));
    client.batch_execute(&lock).await.map_err(sql::error)?;
    check_not_rewritten(client, table.oid).await
}

/// Makes sure that the table was not rewritten since the slice: catalog rows are read at the slice, the function looks
/// at the present.
pub(crate) async fn check_not_rewritten(client: &Client, oid: u32) -> Result<()> {
    const QUERY: &str = "SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND c.oid IN \
         (SELECT relid FROM pg_catalog.pg_partition_tree($1::oid) UNION SELECT $1::oid) \
         AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)";
    let rewritten: i64 = client.query_one(QUERY, &[&oid]).await.and_then(|row| row.try_get(0)).map_err(sql::error)?;
    if rewritten == 0 {
        return Ok(());
    }
    Err(Error::transient("the table was rewritten while the snapshot began, it is read again"))
}

fn name(table: &TableInfo) -> String {
    let id = &table.schema.table;
    format!("{}.{}", quote_ident(&id.schema), quote_ident(&id.name))
}

/// Rows of inheritance children belong to the children; those of partitions to the root.
fn only(table: &TableInfo) -> &'static str {
    if table.partitioned { "" } else { "ONLY " }
}

fn copy(table: &TableInfo, range: Range) -> String {
    let columns: Vec<String> = table.schema.columns.iter().map(|column| quote_ident(&column.name)).collect();
    let mut query = format!("COPY (SELECT {} FROM {}{}", columns.join(", "), only(table), name(table));
    if let Some(from) = range.from {
        let _ = write!(query, " WHERE ctid >= '({from},0)'::tid");
    }
    if let Some(to) = range.to {
        let _ = write!(query, " AND ctid < '({to},0)'::tid");
    }
    query.push_str(") TO STDOUT");
    query
}

impl Shared {
    async fn read_range(&self, client: &Client, job: &Job, range: Range) -> Result<()> {
        let table = &job.table;
        let stream = client.copy_out(&copy(table, range)).await.map_err(sql::error)?;
        pin_mut!(stream);
        let row_bytes_max = usize::try_from(self.context.settings.message_bytes_max).unwrap_or(usize::MAX);
        let mut splitter = Splitter::new(table.schema.columns.len(), row_bytes_max);
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(sql::error)?;
            bytes += chunk.len();
            splitter.push(&chunk, &mut rows)?;
            if bytes >= BATCH_BYTES || rows.len() >= BATCH_CHANGES {
                self.hand_over(job, &mut rows, &mut bytes).await?;
            }
        }
        splitter.finish()?;
        self.hand_over(job, &mut rows, &mut bytes).await
    }

    async fn hand_over(&self, job: &Job, rows: &mut Vec<Row>, bytes: &mut usize) -> Result<()> {
        if self.context.stop_asked() {
            return Err(Error::transient("a stop was asked for"));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let read = |row| self.change(job, Op::Read, Some(row));
        let changes: Vec<Change> = rows.drain(..).map(read).collect();
        let count_rows = changes.len() as u64;
        job.rows.fetch_add(count_rows, Relaxed);
        count(&self.context, &changes);
        self.context.send(Batch { changes, lineage: Some(self.lineage.clone()), ..Batch::heartbeat() }).await?;
        self.context.status.read(&job.table.schema.table, count_rows, std::mem::take(bytes) as u64);
        Ok(())
    }

    /// Says that the table is read whole.
    async fn finish(&self, job: &Job) -> Result<()> {
        let mut progress = self.progress.lock().await;
        if let Some(entry) = progress.tables.iter_mut().find(|entry| entry.oid == job.table.oid) {
            entry.finished = true;
        }
        if progress.tables.iter().all(|table| table.finished) {
            progress.phase = Phase::Stream;
        }
        let changes = vec![self.change(job, Op::SnapshotEnd, None)];
        count(&self.context, &changes);
        let checkpoint = Some(progress.to_checkpoint()?);
        let lineage = Some(self.lineage.clone());
        self.context.send(Batch { changes, checkpoint, lineage, ..Batch::heartbeat() }).await?;
        drop(progress);
        self.context.status.finish_table(&job.table.schema.table);
        events::table_read(&job.table.schema.table, job.rows.load(Relaxed));
        Ok(())
    }

    fn change(&self, job: &Job, op: Op, after: Option<Row>) -> Change {
        let schema = job.table.schema.clone();
        Change { op, schema, before: None, after, seq: self.slice.seq, committed_at_us: self.taken_at_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_and_the_last_has_no_end() {
        for (pages, step, count) in
            [(0, 10, 1), (1, 10, 1), (10, 10, 1), (11, 10, 2), (20, 10, 2), (21, 10, 3), (5, 1, 5)]
        {
            let ranges = divide(7, pages, step);
            assert_eq!(ranges.len(), count, "{pages} pages by {step}");
            let mut from = None;
            for range in &ranges {
                assert_eq!((range.job, range.from.filter(|from| *from > 0)), (7, from));
                assert!(range.to.is_none_or(|to| to - from.unwrap_or(0) == step));
                from = range.to;
            }
            assert_eq!(from, None);
        }
    }
}
