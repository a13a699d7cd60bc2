//! `[source.postgres.tables]`

use crate::definition::{Foreign, Kind, Section, Setting, Unset};
use crate::form;
use crate::reader::Reader;

/// `[source.postgres.tables]`: patterns are `schema.table`, with `*` for any run of characters.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Tables to capture.
    pub include: Vec<String>,
    /// Tables to leave out of those.
    pub exclude: Vec<String>,
    /// Columns to leave out, `schema.table.column`. Key columns cannot be left out.
    pub exclude_columns: Vec<String>,
}

pub(crate) static TABLES: Section = Section {
    path: &["source", "postgres", "tables"],
    doc: "Which tables and columns are captured.",
    settings: &[
        Setting {
            name: "include",
            kind: Kind::Texts { form: &form::TABLE_PATTERN, unset: Unset::Refused { example: "[\"public.*\"]" } },
            doc: "Tables to capture.",
            change: "Name the tables one by one where new tables should not come along by themselves.",
            since: "0.1",
        },
        Setting {
            name: "exclude",
            kind: Kind::Texts { form: &form::TABLE_PATTERN, unset: Unset::Derived("no table") },
            doc: "Tables to leave out of those.",
            change: "Set it for queues, caches and tables of a migration tool.",
            since: "0.1",
        },
        Setting {
            name: "exclude_columns",
            kind: Kind::Texts { form: &form::COLUMN_PATTERN, unset: Unset::Derived("no column") },
            doc: "Columns to leave out; the columns of a key cannot be left out.",
            change: "Set it for personal data and secrets that must not reach the lake.",
            since: "0.1",
        },
    ],
    foreign: &[
        ("table_include_list", Foreign::Named("include")),
        ("table_exclude_list", Foreign::Named("exclude")),
        ("column_exclude_list", Foreign::Named("exclude_columns")),
    ],
};

impl Tables {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            include: reader.texts("include"),
            exclude: reader.texts("exclude"),
            exclude_columns: reader.texts("exclude_columns"),
        }
    }
}
