//! `[source.postgres.tables]`

use crate::definition::{Foreign, Kind, Presence, Section, Setting, Unset};
use crate::reader::Reader;
use crate::{form, pattern};

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
    presence: Presence::Required,
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
    /// Whether a table is captured: an include pattern matches it and no exclude pattern does.
    pub fn captures(&self, schema: &str, table: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| pattern::matches(pattern, &[schema, table]));
        any(&self.include) && !any(&self.exclude)
    }

    /// Whether a column of a captured table is left out.
    pub fn leaves_out(&self, schema: &str, table: &str, column: &str) -> bool {
        self.exclude_columns.iter().any(|pattern| pattern::matches(pattern, &[schema, table, column]))
    }

    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            include: reader.texts("include"),
            exclude: reader.texts("exclude"),
            exclude_columns: reader.texts("exclude_columns"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excluded_table_is_not_captured() {
        let list = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let tables = Tables {
            include: list(&["public.*", "billing.invoices"]),
            exclude: list(&["public.tmp_*"]),
            exclude_columns: list(&["public.users.password", "*.*.ssn"]),
        };
        assert!(tables.captures("public", "orders") && tables.captures("billing", "invoices"));
        assert!(!tables.captures("public", "tmp_1") && !tables.captures("billing", "items"));
        assert!(tables.leaves_out("public", "users", "password") && tables.leaves_out("billing", "invoices", "ssn"));
        assert!(!tables.leaves_out("public", "orders", "password"));
    }
}
