//! Commits of tables, side by side, while the sink takes the changes that come next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use walbrook_model::{Error, Result};

use super::Candidate;
use crate::control::TableGap;
use crate::table::{Committed, Context, Job};

/// Tables that commit at the same time: while one waits for the disk another encodes.
const SIDE_BY_SIDE: usize = 4;

/// Commits that were begun together.
pub(super) struct Flight {
    jobs: JoinSet<Done>,
    landed: Vec<Done>,
    side_by_side: Arc<Semaphore>,
    /// The checkpoint that the changes reach; `None` inside of a transaction.
    pub(super) candidate: Option<Candidate>,
    /// Tables that the checkpoint goes on without.
    pub(super) gaps: Vec<(String, TableGap)>,
    /// Everything before it is in the lake when all have landed.
    pub(super) complete_until_us: Option<i64>,
    /// Memory that the changes keep until then.
    pub(super) bytes: usize,
}

/// A commit that has come to its end.
pub(super) struct Done {
    /// Of the table, in the run.
    pub(super) place: usize,
    pub(super) job: Job,
    pub(super) result: Result<Committed>,
    pub(super) took: Duration,
}

impl Flight {
    pub(super) fn new(candidate: Option<Candidate>, gaps: Vec<(String, TableGap)>) -> Self {
        Self {
            jobs: JoinSet::new(),
            landed: Vec::new(),
            side_by_side: Arc::new(Semaphore::new(SIDE_BY_SIDE)),
            candidate,
            gaps,
            complete_until_us: None,
            bytes: 0,
        }
    }

    /// Begins the commit of the table at `place`.
    pub(super) fn add(&mut self, place: usize, mut job: Job, context: Context) {
        self.bytes += job.bytes();
        let side_by_side = Arc::clone(&self.side_by_side);
        self.jobs.spawn(async move {
            // It is never closed.
            let _turn = side_by_side.acquire().await;
            let began = Instant::now();
            let result = job.run(&context).await;
            Done { place, job, result, took: began.elapsed() }
        });
    }

    /// Whether all have come to their end. Does not wait.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if one panicked.
    pub(super) fn is_over(&mut self) -> Result<bool> {
        while let Some(done) = self.jobs.try_join_next() {
            self.landed.push(done.map_err(panicked)?);
        }
        Ok(self.jobs.is_empty())
    }

    /// Waits for all.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if one panicked.
    pub(super) async fn wait(&mut self) -> Result<Vec<Done>> {
        while let Some(done) = self.jobs.join_next().await {
            self.landed.push(done.map_err(panicked)?);
        }
        self.landed.sort_unstable_by_key(|done| done.place);
        Ok(std::mem::take(&mut self.landed))
    }

    /// Ends the commits, finished or not: none of them writes anything after this.
    pub(super) async fn end(mut self) {
        self.jobs.shutdown().await;
    }
}

fn panicked(error: tokio::task::JoinError) -> Error {
    Error::bug("a table commit panicked").because(error)
}
