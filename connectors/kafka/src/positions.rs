//! What our checkpoint holds: where each partition is read on, as versioned JSON.
//!
//! - Positions come from the sink's checkpoint alone, never from what a consumer group has committed.
//! - Any batch may end with a checkpoint: a transaction has its changes in several topics, each of which is read for itself.
//! - The number of partitions of a topic is pinned when it is first read.
//! - Beside the position stands the last message before it, so that the next start can prove that the topic is still the
//!   same: it may have been deleted and made again, or cut off by an unclean election, and offsets alone do not show that.
//! - A version or a field that this build does not know is refused: half of a checkpoint is no checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use walbrook_model::{Checkpoint, Error, Result};

use crate::letters::Letters;
use crate::slices::Slices;
use crate::whose::Whose;

const VERSION: u32 = 1;

/// How far the source is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Positions {
    version: u32,
    /// Topics by name.
    pub(crate) topics: BTreeMap<String, TopicPositions>,
    /// The checkpoint topic of the capture: the next offset of each partition, or that of the oldest record whose end
    /// offsets are not reached yet. Empty: it was not read.
    #[serde(default)]
    pub(crate) records: Vec<i64>,
}

/// How far a topic is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicPositions {
    /// As many as were pinned.
    pub(crate) partitions: Vec<Position>,
    /// Slices by table; more than one where a topic has several tables.
    pub(crate) slices: BTreeMap<String, Slices>,
    /// Messages that were put aside and are missing still.
    #[serde(default, skip_serializing_if = "Letters::is_empty")]
    pub(crate) letters: Letters,
    /// Whose changes they are.
    #[serde(default, skip_serializing_if = "Whose::is_unknown")]
    pub(crate) whose: Whose,
}

/// Where a partition is read on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    /// The next offset.
    pub(crate) next: i64,
    /// The last message that was handed over.
    pub(crate) last: Option<Seen>,
    /// The schemas that the partition's messages named last, for a message that names none.
    pub(crate) schemas: SchemaIds,
}

/// A message, as far as it takes to know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(i64, i64, u64)", from = "(i64, i64, u64)")]
pub(crate) struct Seen {
    pub(crate) offset: i64,
    /// The message's own time, milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Bytes of key and value.
    pub(crate) bytes: u64,
}

/// What a registry calls the schemas of keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchemaIds {
    pub(crate) key: Option<u32>,
    pub(crate) value: Option<u32>,
}

impl From<Seen> for (i64, i64, u64) {
    fn from(Seen { offset, at_ms, bytes }: Seen) -> Self {
        (offset, at_ms, bytes)
    }
}

impl From<(i64, i64, u64)> for Seen {
    fn from((offset, at_ms, bytes): (i64, i64, u64)) -> Self {
        Self { offset, at_ms, bytes }
    }
}

impl Default for Positions {
    fn default() -> Self {
        Self::new(BTreeMap::new(), Vec::new())
    }
}

impl Positions {
    pub(crate) fn new(topics: BTreeMap<String, TopicPositions>, records: Vec<i64>) -> Self {
        Self { version: VERSION, topics, records }
    }

    /// As the checkpoint that the sink keeps.
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub(crate) fn to_checkpoint(&self) -> Result<Checkpoint> {
        serde_json::to_string(self).map(Checkpoint::new).map_err(|error| Error::bug("a checkpoint").because(error))
    }

    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] for a version that this build does not read,
    /// [`walbrook_model::ErrorKind::Gap`] for what is no checkpoint of this source.
    pub(crate) fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |error: serde_json::Error| {
            Error::gap("the checkpoint is none of this source").because(error).remedy(
                "give the pipeline the name that it had, or another name and other tables: a pipeline keeps its source",
            )
        };
        let json = checkpoint.as_str();
        let Version { version } = serde_json::from_str(json).map_err(damaged)?;
        // Another source's checkpoint has a version too.
        let positions: Self = match (version, serde_json::from_str(json)) {
            (VERSION, parsed) => parsed.map_err(damaged)?,
            (version, _) => {
                return Err(Error::config(format!(
                    "the checkpoint is of version {version}; this walbrook reads {VERSION}"
                ))
                .remedy("run the version of walbrook that wrote it, or a later one"));
            }
        };
        Ok(positions)
    }
}

#[cfg(test)]
mod tests {
    use walbrook_letters::Answers;
    use walbrook_model::{ErrorKind, Seq, TableId};

    use super::*;
    use crate::letters::About;

    #[test]
    fn positions_come_back() {
        let mut slices = Slices::default();
        slices.arrived(Seq::new(0, 1, 7, 0).unwrap(), 1, 2);
        let seen = Seen { offset: 41, at_ms: 1_700_000_000_000, bytes: 117 };
        let mut letters = Letters::default();
        let at = Answers { partition: 1, offset: 40 };
        letters.open(
            at,
            None,
            About { key: Some(7), moves: Seq::new(0, 1, 8, 0).ok(), oversize: Seq::new(0, 1, 8, 1).ok() },
        );
        let topic = TopicPositions {
            letters,
            whose: Whose::One(TableId::new("public", "orders")),
            partitions: vec![
                Position::default(),
                Position { next: 43, last: Some(seen), schemas: SchemaIds { key: Some(1), value: Some(2) } },
            ],
            slices: [("public.orders".to_owned(), slices)].into(),
        };
        let positions = Positions::new([("shop.public.orders".to_owned(), topic)].into(), vec![9]);
        assert_eq!(Positions::from_checkpoint(&positions.to_checkpoint().unwrap()).unwrap(), positions);
    }

    #[test]
    fn another_version_or_source_is_refused() {
        let check = |json: &str, kind: ErrorKind, expected: &str| {
            let error = Positions::from_checkpoint(&Checkpoint::new(json)).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(r#"{"version":2,"topics":{}}"#, ErrorKind::Config, "version 2");
        check(r#"{"version":1,"slot":"s"}"#, ErrorKind::Gap, "none of this source");
        check(r#"{"version":1,"topics":{},"more":1}"#, ErrorKind::Gap, "none of this source");
        check("{", ErrorKind::Gap, "none of this source");
    }
}
