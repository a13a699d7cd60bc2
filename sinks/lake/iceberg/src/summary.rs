//! The summary of a snapshot: what it added and took away, and what there is after it.

use std::collections::BTreeMap;

use crate::tree::Totals;

/// Data files and deletion vectors that come or go in a snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) data_files: u64,
    pub(crate) records: u64,
    pub(crate) vectors: u64,
    pub(crate) deleted_records: u64,
    /// Of data files and vectors.
    pub(crate) bytes: u64,
}

impl Totals {
    /// The sums after a snapshot.
    pub(crate) fn after(self, added: &Moved, removed: &Moved) -> Self {
        let sum = |total: u64, added: u64, removed: u64| (total + added).saturating_sub(removed);
        Self {
            data_files: sum(self.data_files, added.data_files, removed.data_files),
            records: sum(self.records, added.records, removed.records),
            bytes: sum(self.bytes, added.bytes, removed.bytes),
            vectors: sum(self.vectors, added.vectors, removed.vectors),
            deleted_records: sum(self.deleted_records, added.deleted_records, removed.deleted_records),
        }
    }
}

/// The summary's entries, named as all engines name them; those that are zero are left out, but totals.
pub(crate) fn summary(operation: &str, added: &Moved, removed: &Moved, totals: &Totals) -> BTreeMap<String, String> {
    let changes = [
        ("added-data-files", added.data_files),
        ("deleted-data-files", removed.data_files),
        ("added-records", added.records),
        ("deleted-records", removed.records),
        ("added-delete-files", added.vectors),
        ("removed-delete-files", removed.vectors),
        ("added-dvs", added.vectors),
        ("removed-dvs", removed.vectors),
        ("added-position-deletes", added.deleted_records),
        ("removed-position-deletes", removed.deleted_records),
        ("added-files-size", added.bytes),
        ("removed-files-size", removed.bytes),
    ];
    let totals = [
        ("changed-partition-count", 1),
        ("total-data-files", totals.data_files),
        ("total-records", totals.records),
        ("total-delete-files", totals.vectors),
        ("total-position-deletes", totals.deleted_records),
        ("total-equality-deletes", 0),
        ("total-files-size", totals.bytes),
    ];
    let text = |(key, value): (&str, u64)| (key.to_owned(), value.to_string());
    let mut summary: BTreeMap<_, _> =
        changes.into_iter().filter(|(_, value)| *value > 0).chain(totals).map(text).collect();
    summary.insert("operation".to_owned(), operation.to_owned());
    summary
}
