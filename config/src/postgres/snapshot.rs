//! `[source.postgres.snapshot]`

use crate::definition::{Kind, Presence, Section, Setting, Unset};
use crate::reader::Reader;

/// `[source.postgres.snapshot]`
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When to read the tables.
    pub mode: SnapshotMode,
    /// Sessions that read in parallel.
    pub sessions: u16,
    /// A table larger than this is read in ranges of about this size, bytes on the server's disk.
    pub range_bytes: u64,
}

/// When the tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Once, before the stream.
    Initial,
    /// Not at all: only changes from now on.
    Never,
    /// Once, and then stop.
    Only,
}

pub(crate) static SNAPSHOT: Section = Section {
    path: &["source", "postgres", "snapshot"],
    doc: "How the rows are read that were there before the first change.",
    presence: Presence::Optional,
    settings: &[
        Setting {
            name: "mode",
            kind: Kind::Word { words: &["initial", "never", "only"], unset: Unset::Default("initial") },
            doc: "`initial`: once, before the stream. `never`: only changes from now on. `only`: once, and then stop.",
            change: "Set `never` where earlier rows are of no use; `only` for a single copy.",
            since: "0.1",
        },
        Setting {
            name: "sessions",
            kind: Kind::Integer { default: 2, min: 1, max: 32 },
            doc: "Sessions that read in parallel.",
            change: "Raise it where the server has processors to spare; lower it where it serves users meanwhile.",
            since: "0.1",
        },
        Setting {
            name: "range_bytes",
            kind: Kind::Size { default: 128_000_000, min: 1_000_000, max: 1_000_000_000_000 },
            doc: "A table larger than this on the server's disk is read in ranges of about this size.",
            change: "Lower it so that a broken connection repeats less.",
            since: "0.1",
        },
    ],
    foreign: &[],
};

impl Snapshot {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let modes = [SnapshotMode::Initial, SnapshotMode::Never, SnapshotMode::Only];
        Self {
            mode: reader.word("mode", &modes).unwrap_or(SnapshotMode::Initial),
            sessions: reader.integer("sessions"),
            range_bytes: reader.size("range_bytes"),
        }
    }
}
