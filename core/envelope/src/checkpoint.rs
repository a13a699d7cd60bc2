//! What the sink for Kafka keeps in the checkpoint topic: one record a pipeline, its key the pipeline's name, its value JSON.
//!
//! It is written after every message that it covers is in its topic, so it is never ahead of the messages. The topics may
//! be ahead of it, after a crash in between: then the source sends again. A reader that has read every partition up to
//! [`PublishedTopic::ends`] has everything at or below [`PublishedCheckpoint::through`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use walbrook_model::{Checkpoint, Error, Result, Seq, TableId};

const VERSION: u32 = 1;

/// How far a pipeline into Kafka is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedCheckpoint {
    /// Of this form.
    pub version: u32,
    /// The source's checkpoint, opaque to all but the source; `None` if it gave none yet.
    pub source: Option<String>,
    /// Every change of the log up to it is in the topics.
    pub through: Seq,
    /// Everything that committed at the source before this moment (microseconds since 1970 UTC) is in the topics.
    pub complete_until_us: Option<i64>,
    /// All logs whose changes are in the topics: generations by the lineage that they belong to.
    pub logs: BTreeMap<String, BTreeSet<u16>>,
    /// Topics by name.
    pub topics: BTreeMap<String, PublishedTopic>,
    /// Tables (`schema.name`) that did not take changes which `source` does not cover yet: it waits for them. A restart
    /// tries again.
    pub stopped: BTreeMap<String, TableGap>,
    /// Tables (`schema.name`) that did not take changes which `source` covers.
    pub gaps: BTreeMap<String, TableGap>,
    /// Which process wrote it: a random name that it took at its start.
    pub instance: String,
}

/// How far a topic is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedTopic {
    /// How many partitions are written to: those that the topic had at its first message. Later ones stay empty.
    pub partitions: u32,
    /// For each of them the offset behind the last message.
    pub ends: Vec<i64>,
    /// The table whose changes are in it, for good; `None`: they are no changes of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableId>,
    /// Every change of this topic up to it is there, where that is further than [`PublishedCheckpoint::through`], which waits for
    /// other tables that have stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Seq>,
}

/// A table that missed changes. It takes no more until an operator accepts the gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableGap {
    /// The first change that it missed, or the last one before it.
    pub since: Seq,
    /// What happened.
    pub reason: String,
    /// What an operator can do.
    pub remedy: Option<String>,
}

impl PublishedCheckpoint {
    /// Of a pipeline that has not begun.
    pub fn empty() -> Self {
        Self {
            version: VERSION,
            source: None,
            through: Seq::ZERO,
            complete_until_us: None,
            logs: BTreeMap::new(),
            topics: BTreeMap::new(),
            stopped: BTreeMap::new(),
            gaps: BTreeMap::new(),
            instance: String::new(),
        }
    }

    /// The source's checkpoint.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.source.as_deref().map(Checkpoint::new)
    }

    /// As the value of a record.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if it has no form as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::bug("a checkpoint has no form as JSON").because(error))
    }

    /// From the value of a record.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if it is of a version that this walbrook does not know,
    /// [`walbrook_model::ErrorKind::Gap`] if it is damaged.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |error: serde_json::Error| {
            // What the parser says may quote the record; where it stopped says enough.
            let place = format!("at line {} column {}", error.line(), error.column());
            Error::gap(format!("the checkpoint of the pipeline is damaged {place}"))
                .remedy("walbrook gap accept --reason \"...\" takes a new snapshot")
        };
        let Version { version } = serde_json::from_slice(json).map_err(damaged)?;
        if version != VERSION {
            return Err(Error::config(format!(
                "the checkpoint is of version {version}; this walbrook reads {VERSION}"
            ))
            .remedy("run the version of walbrook that wrote it, or a later one"));
        }
        let record: Self = serde_json::from_slice(json).map_err(damaged)?;
        let odd = record.topics.iter().find(|(_, topic)| topic.ends.len() != topic.partitions as usize);
        match odd {
            None => Ok(record),
            Some((topic, _)) => {
                Err(Error::gap("the checkpoint of the pipeline is damaged: it knows ends of other partitions")
                    .on(format!("topic {topic}"))
                    .remedy("walbrook gap accept --reason \"...\" takes a new snapshot"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use walbrook_model::ErrorKind;

    fn record() -> PublishedCheckpoint {
        let gap = TableGap { since: Seq::ZERO, reason: "r".into(), remedy: None };
        let topic = PublishedTopic {
            partitions: 2,
            ends: vec![0, 7],
            table: Some(TableId::new("s", "t")),
            written: Some(Seq::MAX),
        };
        PublishedCheckpoint {
            source: Some("{\"lsn\":\"0/1\"}".to_owned()),
            through: Seq::MAX,
            complete_until_us: Some(-1),
            logs: BTreeMap::from([("log".to_owned(), [0, 1].into())]),
            topics: BTreeMap::from([("p.s.t".to_owned(), topic)]),
            stopped: BTreeMap::from([("s.u".to_owned(), gap.clone())]),
            gaps: BTreeMap::from([("s.t".to_owned(), gap)]),
            instance: "one".to_owned(),
            ..PublishedCheckpoint::empty()
        }
    }

    #[test]
    fn a_checkpoint_comes_back() {
        for record in [record(), PublishedCheckpoint::empty()] {
            assert_eq!(PublishedCheckpoint::from_json(&record.to_json().unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let known = String::from_utf8(record().to_json().unwrap()).unwrap();
        let refused = |json: &str, kind: ErrorKind, expected: &str| {
            let error = PublishedCheckpoint::from_json(json.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        };
        refused(&known.replace("\"version\":1", "\"version\":2"), ErrorKind::Config, "version 2");
        refused(&known.replace("\"version\":1", "\"version\":1,\"more\":1"), ErrorKind::Gap, "damaged");
        refused(&known.replace("\"partitions\":2", "\"partitions\":3"), ErrorKind::Gap, "p.s.t");
        refused("{", ErrorKind::Gap, "damaged");
        refused("{\"version\":1}", ErrorKind::Gap, "damaged");
        refused("\u{0}", ErrorKind::Gap, "damaged");
    }
}
