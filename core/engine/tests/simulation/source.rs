//! A log with a slot, read in random batches.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::sleep;
use walbrook_model::{
    Batch, Cell, Change, Checkpoint, Error, Lineage, Op, Result, Row, RowBuilder, Seq, Source, TableSchema,
};

use crate::world::{Bug, Slot, World, position_of, schema};

pub(crate) struct SimSource {
    world: World,
    schema: Arc<TableSchema>,
    incarnation: u64,
    /// Everything that ends at or below it has been handed out.
    position: u64,
    /// Changes of the transaction in hand that are not handed out yet, and where it ends.
    rest: Option<(Vec<Change>, u64)>,
    /// The slot is made when this checkpoint is durable.
    intent: Option<Checkpoint>,
}

impl SimSource {
    pub(crate) fn new(world: &World) -> Self {
        let world = world.clone();
        Self { world, schema: schema(), incarnation: 0, position: 1_000, rest: None, intent: None }
    }

    fn checkpoint(&self, position: u64) -> Checkpoint {
        Checkpoint::new(format!("{} {position}", self.incarnation))
    }

    /// The next transaction behind `position`, as changes.
    fn read_transaction(&self) -> Option<(Vec<Change>, u64)> {
        let inner = self.world.lock();
        let skip_equal = inner.bug == Some(Bug::SkipAtCheckpoint);
        let slot = inner.slot?;
        let is_new = |commit: u64| if skip_equal { commit > self.position } else { commit >= self.position };
        let transaction = inner.log.iter().find(|it| it.end > slot.confirmed && is_new(it.commit))?;
        let changes = (1..)
            .zip(&transaction.rows)
            .map(|(ordinal, (key, value))| Change {
                before: value.is_none().then(|| row(*key, None)),
                after: value.map(|value| row(*key, Some(value))),
                ..Change::new(
                    if value.is_some() { Op::Update } else { Op::Delete },
                    self.schema.clone(),
                    Seq::new(0, 1, transaction.commit, ordinal).expect("small"),
                    transaction.commit.cast_signed(),
                )
            })
            .collect();
        Some((changes, transaction.end))
    }

    /// Appends a piece of the log to `batch`; with a checkpoint where it ends at a boundary.
    fn fill(&mut self, batch: &mut Batch, rows: usize) {
        let Some((mut changes, end)) = self.rest.take().or_else(|| self.read_transaction()) else {
            return;
        };
        let tail = changes.split_off(rows.min(changes.len()));
        batch.changes.extend(changes);
        let inside = !tail.is_empty();
        if inside {
            self.rest = Some((tail, end));
        } else {
            self.position = end;
        }
        let leaks = self.world.lock().bug == Some(Bug::CheckpointInsideTransaction);
        batch.checkpoint = (!inside || leaks).then(|| self.checkpoint(end));
    }
}

#[async_trait]
impl Source for SimSource {
    async fn start(&mut self, from: Option<Checkpoint>) -> Result<()> {
        sleep(Duration::from_millis(1)).await;
        let mut inner = self.world.lock();
        let Some(from) = from else {
            if inner.slot.is_some() {
                return Err(Error::gap("a slot exists, but no checkpoint"));
            }
            drop(inner);
            self.intent = Some(self.checkpoint(1_000));
            return Ok(());
        };
        self.position = position_of(from.as_str()).expect("our own checkpoint");
        let known = from.as_str().split(' ').next().and_then(|it| it.parse().ok()).expect("our own checkpoint");
        match inner.slot {
            None if known == 0 && !inner.broken => {
                // The crash came between the first checkpoint and the slot.
                drop(inner);
                self.intent = Some(from);
            }
            // The crash came between the slot and the next checkpoint: nothing was read yet.
            Some(slot) if known == 0 && slot.confirmed <= self.position => self.incarnation = slot.incarnation,
            Some(slot) if slot.incarnation == known && slot.confirmed <= self.position => self.incarnation = known,
            _ if inner.bug == Some(Bug::NoGap) => {
                let next = self.position;
                let slot = inner.slot.get_or_insert(Slot { incarnation: 9, confirmed: next, persisted: next });
                self.incarnation = slot.incarnation;
            }
            _ => return Err(Error::gap("the slot is not the one that the checkpoint knows")),
        }
        Ok(())
    }

    async fn next_batch(&mut self, durable: Option<Checkpoint>) -> Result<Batch> {
        let pause = self.world.lock().random.random_range(0..30);
        sleep(Duration::from_millis(pause)).await;
        if let Some(intent) = self.intent.clone() {
            if durable.as_ref() != Some(&intent) {
                return Ok(Batch { checkpoint: Some(intent), urgent: true, ..Batch::default() });
            }
            self.intent = None;
            self.incarnation = 1;
            self.world.lock().slot = Some(Slot { incarnation: 1, confirmed: 1_000, persisted: 1_000 });
            return Ok(Batch { checkpoint: Some(self.checkpoint(1_000)), ..Batch::default() });
        }
        if let Some(durable) = durable {
            self.world.acknowledge(position_of(durable.as_str()).expect("our own checkpoint"));
        }
        let (grows, fails, pieces, rows) = {
            let mut inner = self.world.lock();
            let faulty = inner.faulty;
            let random = &mut inner.random;
            (
                random.random_range(0..3),
                faulty && random.random_bool(0.01),
                random.random_range(0..4),
                random.random_range(1..9),
            )
        };
        for _ in 0..grows {
            self.world.commit_transaction();
        }
        if fails {
            return Err(Error::transient("the connection broke"));
        }
        let mut batch = Batch { lineage: Some(Lineage::new("sim")), ..Batch::default() };
        for _ in 0..pieces {
            self.fill(&mut batch, rows);
        }
        let mut inner = self.world.lock();
        inner.in_flight_bytes += batch.bytes();
        inner.in_flight_bytes_max = inner.in_flight_bytes_max.max(inner.in_flight_bytes);
        // The queue's bound, the batch that waits for room, and the one that the sink is taking.
        let bound = 4_096 + 2 * 40 * 400;
        assert!(inner.in_flight_bytes <= bound, "{} bytes in flight", inner.in_flight_bytes);
        Ok(batch)
    }

    async fn stop(&mut self, durable: Option<Checkpoint>) -> Result<()> {
        sleep(Duration::from_millis(1)).await;
        if let Some(durable) = durable {
            self.world.acknowledge(position_of(durable.as_str()).expect("our own checkpoint"));
        }
        Ok(())
    }
}

fn row(key: u64, value: Option<u64>) -> Row {
    let mut row = RowBuilder::default();
    row.push(Cell::Data(key.to_string().as_bytes()));
    match value {
        Some(value) => row.push(Cell::Data(value.to_string().as_bytes())),
        None => row.push(Cell::Unchanged),
    }
    row.finish()
}
