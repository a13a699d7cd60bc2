//! `[sink.kafka]`: topics that walbrook makes.

use std::time::Duration;

use crate::definition::{Kind, Setting};
use crate::reader::Reader;

/// How a change topic is made that is missing. Topics that are there stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopics {
    /// Partitions of a change topic.
    pub partitions: u32,
    /// Copies of each partition, of the checkpoint topic too.
    pub replication_factor: u16,
    /// How long a message is kept: `retention.ms`.
    pub retention: Duration,
}

pub(crate) const PARTITIONS: Setting = Setting {
    name: "partitions",
    kind: Kind::Integer { default: 4, min: 1, max: 10_000 },
    doc: "Partitions of a topic that walbrook makes. Changes of one key are always in one of them.",
    change: "Raise it for many consumers of one table; partitions added later are not used.",
    since: "0.1",
};

pub(crate) const REPLICATION_FACTOR: Setting = Setting {
    name: "replication_factor",
    kind: Kind::Integer { default: 3, min: 1, max: 100 },
    doc: "Copies of each partition of a topic that walbrook makes. With fewer than three, the loss of one broker stops \
          the pipeline or loses changes, so a cluster with fewer brokers must say so here.",
    change: "Set 1 for a single broker, to try things out.",
    since: "0.1",
};

pub(crate) const RETENTION: Setting = Setting {
    name: "retention",
    kind: Kind::Duration {
        default: Duration::from_hours(7 * 24),
        min: Duration::from_mins(1),
        max: Duration::from_hours(36_500 * 24),
    },
    doc: "How long the messages of a topic are kept that walbrook makes.",
    change: "Keep it above the longest time that a consumer may be away: what it has not read by then is lost to it.",
    since: "0.1",
};

impl NewTopics {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            partitions: reader.integer("partitions"),
            replication_factor: reader.integer("replication_factor"),
            retention: reader.duration("retention"),
        }
    }
}
