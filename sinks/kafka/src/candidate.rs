//! A checkpoint on its way into the checkpoint topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use walbrook_envelope::{PublishedCheckpoint, PublishedTopic, TableGap};
use walbrook_model::{Checkpoint, Seq};

use crate::ledger::Mark;
use crate::producer::Producer;
use crate::topics::Topic;

/// Generations by the lineage that they belong to.
pub(crate) type Logs = BTreeMap<String, BTreeSet<u16>>;

/// What a record says beside the checkpoint; it changes seldom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) logs: Logs,
    pub(crate) topics: Vec<Arc<Topic>>,
    pub(crate) stopped: BTreeMap<String, TableGap>,
    pub(crate) gaps: BTreeMap<String, TableGap>,
}

/// Topics of tables that go on while the checkpoint waits for others.
#[derive(Clone, Debug)]
pub(crate) struct Ahead {
    /// Every change of theirs up to it is in them.
    pub(crate) written: Seq,
    pub(crate) topics: Vec<Arc<Topic>>,
}

/// A checkpoint that is durable once every message before its mark is acknowledged and its record is committed.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) through: Seq,
    pub(crate) complete_until_us: Option<i64>,
    pub(crate) mark: Mark,
    /// What is further than `through`, which waits for tables that have stopped.
    pub(crate) ahead: Option<Ahead>,
    /// The source waits for it.
    pub(crate) urgent: bool,
    pub(crate) standing: Arc<Standing>,
}

impl Ahead {
    fn has(&self, topic: &Topic) -> bool {
        self.topics.iter().any(|ahead| ahead.place == topic.place)
    }
}

impl Candidate {
    /// The record to write, once the mark is reached: only then are the ends those of all that it covers.
    pub(crate) fn record(&self, producer: &Producer, instance: &str) -> PublishedCheckpoint {
        let ends = |topic: &Arc<Topic>| PublishedTopic {
            partitions: topic.partitions,
            ends: producer.ends(topic.place, topic.partitions),
            table: topic.table.clone(),
            written: self.ahead.as_ref().filter(|ahead| ahead.has(topic)).map(|ahead| ahead.written),
        };
        let standing = &self.standing;
        PublishedCheckpoint {
            source: self.checkpoint.as_ref().map(|checkpoint| checkpoint.as_str().to_owned()),
            through: self.through,
            complete_until_us: self.complete_until_us,
            logs: standing.logs.clone(),
            topics: standing.topics.iter().map(|topic| (topic.name.clone(), ends(topic))).collect(),
            stopped: standing.stopped.clone(),
            gaps: standing.gaps.clone(),
            instance: instance.to_owned(),
            ..PublishedCheckpoint::empty()
        }
    }
}
