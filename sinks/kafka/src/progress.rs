//! How checkpoints become durable: beside the messages, or in one transaction with them.

use walbrook_model::{Checkpoint, Result};

use crate::candidate::Candidate;
use crate::keeper::Keeper;
use crate::producer::Producer;
use crate::transactions::Transactions;

/// The way of a run.
pub(crate) enum Progress {
    /// After a crash the last messages come again.
    Beside(Keeper),
    /// Readers of committed messages see each once.
    Within(Box<Transactions>),
}

impl Progress {
    /// A message is about to be produced.
    pub(crate) fn enter(&mut self) -> Result<()> {
        match self {
            Self::Beside(_) => Ok(()),
            Self::Within(transactions) => transactions.enter(),
        }
    }

    /// A newer checkpoint to write.
    pub(crate) fn submit(&mut self, candidate: Candidate) {
        match self {
            Self::Beside(keeper) => keeper.submit(candidate),
            Self::Within(transactions) => transactions.submit(candidate),
        }
    }

    /// Lets time pass: commits what is due, tells what went wrong.
    pub(crate) async fn proceed(&mut self) -> Result<()> {
        match self {
            Self::Beside(keeper) => keeper.check(),
            Self::Within(transactions) => transactions.proceed().await,
        }
    }

    /// Returns when the messages of `producer` and the checkpoint that was submitted last are durable. Within transactions,
    /// those that no checkpoint covers are taken back.
    pub(crate) async fn settle(&mut self, producer: &Producer) -> Result<()> {
        match self {
            Self::Beside(keeper) => {
                keeper.settle().await?;
                producer.reach(producer.mark()).await
            }
            Self::Within(transactions) => transactions.settle().await,
        }
    }

    /// The newest durable checkpoint.
    pub(crate) fn durable(&self) -> Option<Checkpoint> {
        match self {
            Self::Beside(keeper) => keeper.durable(),
            Self::Within(transactions) => transactions.durable(),
        }
    }
}
