//! `[sink.lake]`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::definition::{Foreign, Kind, Presence, Section, Setting, Unset};
use crate::document::Document;
use crate::form;
use crate::postgres::Tables;
use crate::problem::Problem;

/// `[sink.lake]`: Iceberg tables in a folder.
#[derive(Clone, Debug)]
pub struct Lake {
    /// Folder that holds the tables: `<warehouse>/<namespace>/<table>`.
    pub warehouse: PathBuf,
    /// Namespace of the tables. `None`: the schema of the source table.
    pub namespace: Option<String>,
    /// How changes are applied, unless a table says otherwise.
    pub mode: TableMode,
    /// Longest time from a change to its commit.
    pub commit_interval: Duration,
    /// Changes held in memory, waiting or being committed, bytes.
    pub commit_bytes: u64,
    /// Snapshots that a table keeps; older ones are expired with each commit.
    pub keep_snapshots: u32,
    /// `[sink.lake.table."schema.name"]`: exceptions by source table.
    pub tables: BTreeMap<String, LakeTable>,
}

/// `[sink.lake.table."schema.name"]`
#[derive(Clone, Debug, Default)]
pub struct LakeTable {
    /// How changes of this table are applied.
    pub mode: Option<TableMode>,
}

/// How changes are applied to a lake table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableMode {
    /// One row per key: the current state (SCD1).
    Upsert,
    /// One row per change: the change log.
    Append,
}

const MODE_WORDS: &[&str] = &["upsert", "append"];
const MODES: [TableMode; 2] = [TableMode::Upsert, TableMode::Append];

pub(crate) static LAKE: Section = Section {
    path: &["sink", "lake"],
    doc: "The Iceberg tables, in a folder, and how often they are committed.",
    presence: Presence::Choice,
    settings: &[
        Setting {
            name: "warehouse",
            kind: Kind::Text {
                form: &form::FOLDER,
                unset: Unset::Refused { example: "\"/var/lib/walbrook/warehouse\"" },
            },
            doc: "Folder of the tables: `<warehouse>/<namespace>/<table>`.",
            change: "Chosen once: the tables and the checkpoint lie there.",
            since: "0.1",
        },
        Setting {
            name: "namespace",
            kind: Kind::Text { form: &form::NAMESPACE, unset: Unset::Derived("the schema of the source table") },
            doc: "Namespace of all tables.",
            change: "Set it to keep several databases apart in one warehouse.",
            since: "0.1",
        },
        Setting {
            name: "mode",
            kind: Kind::Word { words: MODE_WORDS, unset: Unset::Default("upsert") },
            doc: "`upsert`: one row per key, the current state. `append`: one row per change, the log.",
            change: "Set `append` where every change is to be kept, as for an audit.",
            since: "0.1",
        },
        Setting {
            name: "commit_interval",
            kind: Kind::Duration {
                default: Duration::from_secs(1),
                min: Duration::from_millis(100),
                max: Duration::from_hours(1),
            },
            doc: "Longest time from a change to its commit; the first change after a pause waits a tenth of it.",
            change: "Raise it for fewer and larger files; lower it for fresher tables.",
            since: "0.1",
        },
        Setting {
            name: "commit_bytes",
            kind: Kind::Size { default: 48_000_000, min: 1_000_000, max: 4_000_000_000 },
            doc: "Changes held in memory, waiting or being committed; half of it begins a commit, even before its time has come.",
            change: "Raise it to load a large snapshot in larger files, if memory is free.",
            since: "0.1",
        },
        Setting {
            name: "keep_snapshots",
            kind: Kind::Integer { default: 20, min: 1, max: 10_000 },
            doc: "Snapshots that a table keeps; older ones are expired with each commit.",
            change: "Raise it where queries run longer than that many commits, or look back in time.",
            since: "0.1",
        },
    ],
    foreign: &[
        ("path", Foreign::Named("warehouse")),
        ("location", Foreign::Named("warehouse")),
        ("database", Foreign::Named("namespace")),
        ("tables", Foreign::Refused("unknown key; an exception for one table is [sink.lake.table.\"schema.name\"]")),
        ("catalog", Foreign::Refused("catalogs are not supported yet; tables lie in the folder warehouse")),
        ("format", Foreign::Refused("unknown key; tables are Iceberg, other formats are not supported yet")),
    ],
};

pub(crate) static TABLE: Section = Section {
    path: &["sink", "lake", "table", crate::definition::ANY],
    doc: "Exceptions for one source table, named as it is in the database, in quotes.",
    presence: Presence::Optional,
    settings: &[Setting {
        name: "mode",
        kind: Kind::Word { words: MODE_WORDS, unset: Unset::Derived("`mode` of `[sink.lake]`") },
        doc: "How changes of this table are applied.",
        change: "Set it for the one table that is a log among tables that are states, or the other way round.",
        since: "0.1",
    }],
    foreign: &[],
};

impl Lake {
    /// How changes of a source table (`schema.name`) are applied.
    pub fn mode_of(&self, table: &str) -> TableMode {
        self.tables.get(table).and_then(|table| table.mode).unwrap_or(self.mode)
    }

    pub(crate) fn read(document: &Document<'_>, captured: Option<&Tables>) -> Self {
        let reader = document.section(&LAKE);
        // A pattern that could not be read may have been meant for the table.
        let known = !document.has_problem_below("source.postgres.tables");
        let tables = document.sections(&TABLE).into_iter().inspect(|(name, reader)| {
            let other = |(schema, table)| captured.is_some_and(|tables| !tables.captures(schema, table));
            if known && name.split_once('.').is_some_and(other) {
                let what = "has no effect: this table is not captured";
                reader.complain_whole(Problem::new(what).expected("a table that source.postgres.tables includes"));
            }
        });
        Self {
            warehouse: reader.text("warehouse").unwrap_or_default().into(),
            namespace: reader.text("namespace"),
            mode: reader.word("mode", &MODES).unwrap_or(TableMode::Upsert),
            commit_interval: reader.duration("commit_interval"),
            commit_bytes: reader.size("commit_bytes"),
            keep_snapshots: reader.integer("keep_snapshots"),
            tables: tables.map(|(name, reader)| (name, LakeTable { mode: reader.word("mode", &MODES) })).collect(),
        }
    }
}
