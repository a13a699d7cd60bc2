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
//! ranges of all tables -> N sessions: COPY -> rows -> Read changes -> borders -> outbox
//!                         last range of a table: SnapshotEnd and the checkpoint that says so
//! ```

mod borders;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use walbrook_config::SnapshotMode;
use walbrook_model::{
    Batch, Change, Error, ErrorKind, Lineage, Op, Origin, Result, Row, Seq, SnapshotMarker, TableSchema, Transaction,
};

use self::borders::{Borders, End};
use crate::checkpoint::{Phase, Progress};
use crate::connection::{CopyConnection, ReplicationConnection};
use crate::events;
use crate::sql::{quote_ident, quote_literal};
use crate::stream::{BATCH_BYTES, BATCH_CHANGES, count};
use crate::tables::{LogColumn, TableInfo, is_fault};
use crate::wire::Lsn;
use crate::wire::copy::Lines;
use crate::wire::copy_binary::Tuples;
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
    let mut first = open(context, &slice).await?;
    let taken_at_us = first.number(CLOCK).await?;
    let xid = first.number(XID).await?;
    let (jobs, ranges) = plan(context, &mut first, tables).await?;
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
        transaction: Arc::new(Transaction { id: Some(xid), ..Transaction::default() }),
        told: Mutex::new(Told { progress: handed.clone(), borders: Borders::new(jobs.len()) }),
        jobs,
        ranges,
        next: AtomicUsize::new(0),
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
    handed.clone_from(&shared.told.lock().await.progress);
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
    /// What all reads point at.
    transaction: Arc<Transaction>,
    jobs: Vec<Job>,
    ranges: Vec<Range>,
    /// The next range that no session has taken.
    next: AtomicUsize,
    /// Locked until what follows from it is handed over.
    told: Mutex<Told>,
}

/// What was handed over.
struct Told {
    progress: Progress,
    borders: Borders,
}

/// One table.
struct Job {
    /// Its place among the jobs.
    number: usize,
    table: Arc<TableInfo>,
    /// Of its reads.
    schema: Arc<TableSchema>,
    /// Whether they come in binary format.
    binary: bool,
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
async fn open(context: &Context, slice: &Slice) -> Result<CopyConnection> {
    let mut client = CopyConnection::connect(&context.settings).await?;
    let begin = format!(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}; {SAVEPOINT}",
        quote_literal(&slice.snapshot)
    );
    // The snapshot is gone when its exporter is: a new slice is needed.
    client.query(&begin).await.map_err(|error| error.with_kind(ErrorKind::Transient))?;
    Ok(client)
}

/// The server's clock, microseconds since 1970.
const CLOCK: &str = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint";
/// The number that a transaction which began at the slice would get. Debezium takes one, which the server would have to
/// write down.
const XID: &str = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint";

/// Divides the tables into ranges, the largest tables first.
async fn plan(
    context: &Context,
    client: &mut CopyConnection,
    tables: Vec<Arc<TableInfo>>,
) -> Result<(Vec<Job>, Vec<Range>)> {
    let page: u64 = client.number("SELECT pg_catalog.current_setting('block_size')").await?;
    let page = page.max(1);
    let mut sized = Vec::with_capacity(tables.len());
    for table in tables {
        let size = format!(
            "SELECT coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0)::bigint FROM {} t",
            with_partitions(table.oid)
        );
        let bytes: u64 = client.number(&size).await?;
        sized.push((bytes, table));
    }
    sized.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let (mut jobs, mut ranges) = (Vec::new(), Vec::new());
    for (bytes, table) in sized {
        context.status.begin_table(&table.schema.table, bytes, false);
        let step = (context.settings.snapshot.range_bytes / page).max(1);
        let pages = if table.partitioned { 0 } else { bytes / page };
        let cuts = divide(jobs.len(), pages, step);
        let binary = table.binary_schema();
        jobs.push(Job {
            number: jobs.len(),
            binary: binary.is_some(),
            schema: binary.unwrap_or_else(|| table.schema.clone()),
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
async fn work(shared: Arc<Shared>, mut client: CopyConnection) -> Result<CopyConnection> {
    while let Some(range) = shared.ranges.get(shared.next.fetch_add(1, Relaxed)).copied() {
        let Some(job) = shared.jobs.get(range.job) else { return Err(Error::bug("a range of no table")) };
        if job.has_failed() {
            continue;
        }
        let read = async {
            lock(&mut client, &job.table).await?;
            shared.read_range(&mut client, job, range).await
        };
        if let Err(error) = read.await {
            let error = error.on(format!("table {}", job.table.schema.table));
            // Nothing comes after a snapshot without a stream: it must not look whole.
            if !is_fault(&error) || shared.context.settings.snapshot.mode == SnapshotMode::Only {
                return Err(error);
            }
            client.query(BACK_TO_SAVEPOINT).await?;
            job.fail(error);
            shared.fail(job).await?;
            continue;
        }
        // Every row of this range is handed over; whoever finishes the last range sees all of them handed over.
        if job.ranges_left.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
            shared.end(job).await?;
        }
    }
    Ok(client)
}

/// Keeps the table from being rewritten until the session ends.
async fn lock(client: &mut CopyConnection, table: &TableInfo) -> Result<()> {
    let lock = format!("{NEXT_SAVEPOINT}; LOCK TABLE {}{} IN ACCESS SHARE MODE", only(table), name(table));
    client.query(&lock).await?;
    check_not_rewritten(client, table.oid).await?;
    check_types(client, table).await
}

/// Makes sure that the slice sees the columns that the decoders were chosen for: eight bytes are a number or an instant.
async fn check_types(client: &mut CopyConnection, table: &TableInfo) -> Result<()> {
    let query = format!(
        "SELECT attname, atttypid, atttypmod FROM pg_catalog.pg_attribute \
         WHERE attrelid = {} AND attnum > 0 AND NOT attisdropped",
        table.oid
    );
    let seen = client.query(&query).await?;
    let is_seen = |column: &LogColumn| {
        let wanted = [column.name.clone(), column.type_oid.to_string(), column.typmod.to_string()];
        seen.iter().any(|row| row.iter().map(Option::as_deref).eq(wanted.iter().map(|cell| Some(cell.as_str()))))
    };
    if table.log_columns.iter().filter(|column| column.place.is_some()).all(is_seen) {
        return Ok(());
    }
    Err(Error::transient("the table's columns changed while the snapshot began, it is read again"))
}

/// Makes sure that the table was not rewritten since the slice: catalog rows are read at the slice, the function looks
/// at the present.
pub(crate) async fn check_not_rewritten(client: &mut CopyConnection, oid: u32) -> Result<()> {
    let query = format!(
        "SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND c.oid IN {} \
         AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)",
        with_partitions(oid)
    );
    if client.number::<u64>(&query).await? == 0 {
        return Ok(());
    }
    Err(Error::transient("the table was rewritten while the snapshot began, it is read again"))
}

/// The table and what it is made of, as a subquery.
fn with_partitions(oid: u32) -> String {
    format!("(SELECT relid FROM pg_catalog.pg_partition_tree({oid}::oid) UNION SELECT {oid}::oid)")
}

fn name(table: &TableInfo) -> String {
    let id = &table.schema.table;
    format!("{}.{}", quote_ident(&id.schema), quote_ident(&id.name))
}

/// Rows of inheritance children belong to the children; those of partitions to the root.
fn only(table: &TableInfo) -> &'static str {
    if table.partitioned { "" } else { "ONLY " }
}

fn copy(table: &TableInfo, range: Range, binary: bool) -> String {
    let columns: Vec<String> = table.schema.columns.iter().map(|column| quote_ident(&column.name)).collect();
    let mut query = format!("COPY (SELECT {} FROM {}{}", columns.join(", "), only(table), name(table));
    if let Some(from) = range.from {
        let _ = write!(query, " WHERE ctid >= '({from},0)'::tid");
    }
    if let Some(to) = range.to {
        let _ = write!(query, " AND ctid < '({to},0)'::tid");
    }
    query.push_str(if binary { ") TO STDOUT (FORMAT binary)" } else { ") TO STDOUT" });
    query
}

/// Reads the rows of a copy.
enum Rows {
    Text(Lines),
    Binary(Tuples),
}

impl Rows {
    fn new(job: &Job) -> Self {
        let columns = job.schema.columns.len();
        if job.binary { Self::Binary(Tuples::new(columns)) } else { Self::Text(Lines::new(columns)) }
    }

    fn row(&mut self, message: Bytes) -> Result<Option<Row>> {
        match self {
            Self::Text(lines) => lines.row(message).map(Some),
            Self::Binary(tuples) => tuples.row(message),
        }
    }
}

impl Shared {
    async fn read_range(&self, client: &mut CopyConnection, job: &Job, range: Range) -> Result<()> {
        let table = &job.table;
        client.copy_out(&copy(table, range, job.binary)).await?;
        let mut reader = Rows::new(job);
        let (mut lines, mut rows) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        while client.lines(&mut lines).await? {
            for line in lines.drain(..) {
                bytes += line.len();
                rows.extend(reader.row(line)?);
                if bytes >= BATCH_BYTES || rows.len() >= BATCH_CHANGES {
                    self.hand_over(job, &mut rows, &mut bytes).await?;
                }
            }
        }
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
        let mut changes: Vec<Change> = rows.drain(..).map(read).collect();
        let mut told = self.told.lock().await;
        if let Some(end) = told.borders.read(job.number, &mut changes) {
            self.finish(&mut told.progress, end).await?;
        }
        self.send(job, changes, std::mem::take(bytes)).await
    }

    /// Hands reads of a table over, which take so many bytes in the `COPY`.
    async fn send(&self, job: &Job, changes: Vec<Change>, bytes: usize) -> Result<()> {
        let rows = changes.len() as u64;
        if rows > 0 {
            job.rows.fetch_add(rows, Relaxed);
            count(&self.context, &changes);
            self.context.send(Batch { changes, lineage: Some(self.lineage.clone()), ..Batch::heartbeat() }).await?;
        }
        self.context.status.read(&job.table.schema.table, rows, bytes as u64);
        Ok(())
    }

    /// The table is read whole.
    async fn end(&self, job: &Job) -> Result<()> {
        let mut told = self.told.lock().await;
        for end in told.borders.end(job.number) {
            self.finish(&mut told.progress, end).await?;
        }
        Ok(())
    }

    /// The table cannot be read.
    async fn fail(&self, job: &Job) -> Result<()> {
        let mut told = self.told.lock().await;
        match told.borders.fail(job.number) {
            Some(end) => self.finish(&mut told.progress, end).await,
            None => Ok(()),
        }
    }

    /// Says that a table is read whole, after its last read.
    async fn finish(&self, progress: &mut Progress, end: End) -> Result<()> {
        let Some(job) = self.jobs.get(end.table) else { return Err(Error::bug("an end of no table")) };
        self.send(job, end.last.into_iter().collect(), 0).await?;
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
        self.context.status.finish_table(&job.table.schema.table);
        events::table_read(&job.table.schema.table, job.rows.load(Relaxed));
        Ok(())
    }

    fn change(&self, job: &Job, op: Op, after: Option<Row>) -> Change {
        let schema = job.schema.clone();
        let origin = Origin {
            position: Some(self.slice.position.0),
            snapshot: SnapshotMarker::True,
            transaction: Some(self.transaction.clone()),
        };
        Change { after, origin, ..Change::new(op, schema, self.slice.seq, self.taken_at_us) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::schema::type_map::TypeMap;
    use crate::tables;
    use crate::testing::on_servers;

    #[tokio::test]
    async fn columns_that_are_not_those_of_the_decoders_are_noticed() {
        on_servers("types", async |database| {
            let reader = database.reader().await;
            let (settings, mut types) = (&database.settings, TypeMap::default());
            let mut client = CopyConnection::connect(settings).await.unwrap();
            for change in [
                "ALTER COLUMN v TYPE timestamptz USING to_timestamp(v)",
                "ALTER COLUMN n TYPE numeric(7,4)",
                "RENAME COLUMN v TO w",
                "DROP COLUMN v",
            ] {
                database.run("CREATE TABLE t (id int8 PRIMARY KEY, v int8, n numeric(5,2))").await;
                let described = tables::describe(&reader, settings, None, &mut types, &BTreeMap::new()).await.unwrap();
                check_types(&mut client, &described[0]).await.unwrap();
                database.run(&format!("ALTER TABLE t {change}")).await;
                let error = check_types(&mut client, &described[0]).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Transient, "{change}");
                database.run("DROP TABLE t").await;
            }
        })
        .await;
    }

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
