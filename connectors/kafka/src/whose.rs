//! Whose changes a topic has.
//!
//! Only its messages and the records of the capture tell: names of topics are chosen by whoever writes them, and routers of
//! Kafka Connect put several tables into one.

use serde::{Deserialize, Serialize};
use walbrook_model::TableId;

/// The table of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Whose {
    /// No message has told it yet.
    #[default]
    Unknown,
    /// One table's.
    One(TableId),
    /// Those of more than one.
    Several,
}

impl Whose {
    /// Takes what a message says.
    pub(crate) fn told(&mut self, table: &TableId) {
        match self {
            Self::Unknown => *self = Self::One(table.clone()),
            Self::One(known) if known != table => *self = Self::Several,
            Self::One(_) | Self::Several => {}
        }
    }

    /// The table, if it is one.
    pub(crate) fn table(&self) -> Option<&TableId> {
        match self {
            Self::One(table) => Some(table),
            Self::Unknown | Self::Several => None,
        }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// What stands for the table of a topic, where that is not one that is known.
pub(crate) fn stand_in(topic: &str) -> TableId {
    TableId::new("topic", topic)
}
