//! Where a source can resume, and which log that is.

use std::fmt;
use std::sync::Arc;

/// A place where a source can resume: always a boundary between transactions. Opaque to all but its source, which writes
/// a versioned JSON object into it and refuses a version that it does not know.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint(Arc<str>);

impl Checkpoint {
    /// Wraps the source's own JSON.
    pub fn new(json: impl Into<Arc<str>>) -> Self {
        Self(json.into())
    }

    /// The source's own JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({})", self.0)
    }
}

/// The identity of a log, such as a `PostgreSQL` system identifier with its database. Order tokens of two lineages do
/// not compare, except through the generation that an operator raised when he accepted the change of log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lineage(Arc<str>);

impl Lineage {
    /// Wraps the source's name for its log.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The source's name for its log.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
