//! A table with a row guard, whose data and checkpoint become durable one after the other.

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::{Instant, sleep};
use walbrook_model::{Batch, Change, Checkpoint, Error, Result, Sink, Value};

use crate::world::{Bug, Inner, Stored, World};

pub(crate) struct SimSink {
    world: World,
    pending: Vec<Change>,
    checkpoint: Option<Checkpoint>,
    durable: Option<Checkpoint>,
    due: Instant,
    /// Part of a transaction has come, its end has not.
    inside: bool,
    /// What this process put in flight; a crash takes it away.
    bytes: usize,
}

impl SimSink {
    pub(crate) fn new(world: &World) -> Self {
        world.lock().in_flight_bytes = 0;
        let world = world.clone();
        Self {
            world,
            pending: Vec::new(),
            checkpoint: None,
            durable: None,
            due: Instant::now(),
            inside: false,
            bytes: 0,
        }
    }

    async fn pause(&self) {
        let pause = self.world.lock().random.random_range(0..200);
        sleep(Duration::from_millis(pause)).await;
    }

    async fn commit(&mut self) -> Result<()> {
        let (bug, fails) = {
            let mut inner = self.world.lock();
            let faulty = inner.faulty;
            (inner.bug, faulty && inner.random.random_bool(0.02))
        };
        if fails {
            return Err(Error::transient("the disk is full"));
        }
        if bug == Some(Bug::CheckpointBeforeData) {
            self.publish_checkpoint();
            self.pause().await;
        }
        {
            let mut inner = self.world.lock();
            for change in self.pending.drain(..) {
                apply(&mut inner, &change);
            }
        }
        self.pause().await;
        self.publish_checkpoint();
        self.pause().await;
        self.durable.clone_from(&self.checkpoint);
        self.due = Instant::now() + Duration::from_millis(self.world.lock().random.random_range(1..300));
        Ok(())
    }

    fn publish_checkpoint(&self) {
        if let Some(checkpoint) = &self.checkpoint {
            self.world.lock().checkpoint = Some(checkpoint.as_str().to_owned());
        }
    }
}

fn apply(inner: &mut Inner, change: &Change) {
    let row = change.key_row().expect("a row");
    let number = |index| match row.value(&change.schema, index).expect("decodes") {
        Value::Int(number) => Some(number.cast_unsigned()),
        _ => None,
    };
    let key = number(0).expect("a key");
    let value = change.after.is_some().then(|| number(1)).flatten();
    if inner.table.get(&key).is_none_or(|stored| change.seq > stored.seq) {
        inner.table.insert(key, Stored { seq: change.seq, value });
    }
}

#[async_trait]
impl Sink for SimSink {
    async fn last_checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        sleep(Duration::from_millis(1)).await;
        let inner = self.world.lock();
        if inner.checkpoint.is_none() && !inner.table.is_empty() {
            return Err(Error::gap("the table holds data, but there is no checkpoint"));
        }
        Ok(inner.checkpoint.as_deref().map(Checkpoint::new))
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        let bytes = batch.bytes();
        self.bytes += bytes;
        self.world.lock().in_flight_bytes -= bytes;
        if batch.checkpoint.is_some() {
            self.inside = false;
            self.checkpoint = batch.checkpoint;
            if self.world.lock().bug == Some(Bug::AckBeforeDurable) {
                self.durable.clone_from(&self.checkpoint);
            }
        } else {
            self.inside |= !batch.changes.is_empty();
        }
        self.pending.extend(batch.changes);
        if self.inside {
            // A transaction that is larger than the bound is written without its checkpoint.
            if self.pending.len() > 20 {
                let mut inner = self.world.lock();
                for change in self.pending.drain(..) {
                    apply(&mut inner, &change);
                }
            }
            return Ok(());
        }
        if batch.urgent || (Instant::now() >= self.due && self.durable != self.checkpoint) {
            return self.commit().await;
        }
        Ok(())
    }

    fn durable(&self) -> Option<Checkpoint> {
        self.durable.clone()
    }

    async fn flush(&mut self) -> Result<()> {
        self.commit().await
    }
}
