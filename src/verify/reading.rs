//! The source's side of a comparison.

use std::collections::BTreeMap;
use std::sync::Arc;

use walbrook_config::{SnapshotMode, TableMode};
use walbrook_lake_merge::compare::Comparison;
use walbrook_lake_merge::format::{LakeCatalog as _, LakeName};
use walbrook_lake_merge::layout::Layout;
use walbrook_model::{Change, Checkpoint, Error, Result, Seq, Source as _, TableId, TableSchema};
use walbrook_source_postgres::PostgresSource;

use super::pair::{Pair, Way};

/// Tables of the source that are being read.
pub(super) struct Reading<'a> {
    pair: &'a Pair<'a>,
    /// Only these buckets of these tables.
    buckets: &'a BTreeMap<TableId, Vec<usize>>,
    tables: BTreeMap<TableId, Side>,
    position: Seq,
}

/// One table.
struct Side {
    /// The version of the table that `way` is for.
    schema: Arc<TableSchema>,
    way: Way,
    /// `None`: the table is read in vain, since it does not come to the lake, or holds changes there and not rows.
    comparison: Option<Comparison>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(pair: &'a Pair<'a>, buckets: &'a BTreeMap<TableId, Vec<usize>>) -> Self {
        Self { pair, buckets, tables: BTreeMap::new(), position: Seq::ZERO }
    }

    /// Reads the tables, all or `only` these; gives the position of the read, and what was read by table.
    pub(super) async fn read(mut self, only: &[String]) -> Result<(Seq, BTreeMap<TableId, Comparison>)> {
        let mut settings = self.pair.postgres.clone();
        settings.snapshot.mode = SnapshotMode::Only;
        if !only.is_empty() {
            settings.tables.include = only.to_vec();
        }
        let mut source = PostgresSource::new(settings);
        source.start(None).await?;
        let mut checkpoint: Option<Checkpoint> = None;
        while !source.finished() {
            // Nothing is kept, so everything counts as kept at once.
            let batch = source.next_batch(checkpoint.clone()).await?;
            if batch.checkpoint.is_some() {
                checkpoint = batch.checkpoint;
            }
            if let Some(stop) = batch.stopped.first() {
                // What was not read was not compared.
                return Err(Error::config(format!("the table cannot be compared: {}", stop.error))
                    .on(format!("table {}", stop.table)));
            }
            for run in batch.changes.chunk_by(|a, b| Arc::ptr_eq(&a.schema, &b.schema)) {
                self.take(run).await?;
            }
        }
        source.stop(None).await?;
        let compared = self.tables.into_iter().filter_map(|(table, side)| Some((table, side.comparison?)));
        Ok((self.position, compared.collect()))
    }

    /// Takes reads of one table, all with the same schema.
    async fn take(&mut self, changes: &[Change]) -> Result<()> {
        let Some(first) = changes.first() else { return Ok(()) };
        self.position = self.position.max(first.seq);
        let schema = &first.schema;
        let mut side = match self.tables.remove(&schema.table) {
            Some(side) if Arc::ptr_eq(&side.schema, schema) => side,
            Some(side) => Side { schema: schema.clone(), way: self.pair.way(schema)?, ..side },
            None => self.open(first).await?,
        };
        if let Some(comparison) = &mut side.comparison {
            match &mut side.way {
                Way::Direct => comparison.add_source(changes)?,
                Way::Messages(mirror) => comparison.add_source(&mirror.reads(changes)?)?,
                Way::None => {}
            }
        }
        self.tables.insert(schema.table.clone(), side);
        Ok(())
    }

    /// Begins a table, in the columns that the lake has.
    async fn open(&self, first: &Change) -> Result<Side> {
        let schema = first.schema.clone();
        let mut way = self.pair.way(&schema)?;
        let comparison = match &mut way {
            Way::Direct => self.comparison(&schema, &schema).await?,
            Way::Messages(mirror) => {
                let read = mirror.reads(std::slice::from_ref(first))?.pop();
                self.comparison(&schema, read.as_ref().map_or(&schema, |read| &read.schema)).await?
            }
            Way::None => None,
        };
        Ok(Side { schema, way, comparison })
    }

    /// The comparison of a table that has this schema behind its way; `None` for one that holds changes, not rows.
    async fn comparison(&self, source: &TableSchema, schema: &TableSchema) -> Result<Option<Comparison>> {
        let lake = self.pair.lake;
        let layout = match lake.catalog.open(&LakeName::of(&lake.settings, &source.table)).await? {
            Some(table) => table.state().layout.clone(),
            None => Layout::of(schema, TableMode::Upsert)?,
        };
        if layout.mode() != TableMode::Upsert {
            return Ok(None);
        }
        match self.buckets.get(&source.table) {
            Some(buckets) => Comparison::of_buckets(layout, buckets.iter().copied()).map(Some),
            None => Comparison::new(layout).map(Some),
        }
    }
}
