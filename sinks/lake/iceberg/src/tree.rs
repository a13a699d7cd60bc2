//! The files of the current snapshot, as a commit needs them: which manifest holds which entry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use walbrook_lake_merge::format::{DataFile, LiveFile, TableState};

use crate::manifest::{Entry, ManifestFile};

/// Names a manifest in memory; later ones have higher numbers.
pub(crate) type ManifestId = u64;

/// Manifests and entries of the current snapshot.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Live data files by path.
    pub(crate) files: HashMap<Arc<str>, Tracked>,
    /// Manifests of data files.
    pub(crate) data: BTreeMap<ManifestId, Manifest>,
    /// Manifests of deletion vectors; their entries are named by the data file they are of.
    pub(crate) vectors: BTreeMap<ManifestId, Manifest>,
    /// Puffin files and how many live deletion vectors each holds.
    pub(crate) puffins: HashMap<Arc<str>, u64>,
    pub(crate) totals: Totals,
    pub(crate) next_manifest: ManifestId,
}

/// A live data file.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// Its place in [`TableState::files`].
    pub(crate) slot: usize,
    pub(crate) entry: Entry,
    pub(crate) manifest: ManifestId,
    pub(crate) vector: Option<Vector>,
}

/// The deletion vector of a data file.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) entry: Entry,
    pub(crate) manifest: ManifestId,
    pub(crate) puffin: Arc<str>,
}

/// A manifest of the current snapshot.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) file: ManifestFile,
    /// Data files whose entry, or whose vector's entry, lives here.
    pub(crate) live: Vec<Arc<str>>,
    /// Vectors of data files that are gone, left behind by another writer.
    pub(crate) dangling: Vec<Entry>,
}

/// Sums over the current snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) data_files: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) vectors: u64,
    pub(crate) deleted_records: u64,
}

/// What a snapshot does to the tree.
#[derive(Debug)]
pub(crate) struct Change {
    /// Manifests that the snapshot does not have any more.
    pub(crate) dropped: Vec<ManifestId>,
    /// Its new manifests. Entries that move into one are named in `live`.
    pub(crate) data: Vec<(ManifestId, Manifest)>,
    /// Likewise.
    pub(crate) vectors: Vec<(ManifestId, Manifest)>,
    pub(crate) added: Vec<(DataFile, Entry)>,
    pub(crate) removed: Vec<Arc<str>>,
    /// Data file, entry, Puffin file.
    pub(crate) new_vectors: Vec<(Arc<str>, Entry, Arc<str>)>,
    /// First row ids of manifests that had none.
    pub(crate) first_row_ids: Vec<(ManifestId, u64)>,
    pub(crate) totals: Totals,
    pub(crate) next_manifest: ManifestId,
}

impl Tree {
    /// Follows a snapshot that was published.
    pub(crate) fn apply(&mut self, change: Change, state: &mut TableState) {
        for path in &change.removed {
            self.remove(path, state);
        }
        for (file, entry) in change.added {
            let path: Arc<str> = file.path.as_str().into();
            let slot = state.files.len();
            state.files.push(LiveFile { file, deleted: roaring::RoaringBitmap::new() });
            self.files.insert(path, Tracked { slot, entry, manifest: 0, vector: None });
        }
        for (path, entry, puffin) in change.new_vectors {
            *self.puffins.entry(Arc::clone(&puffin)).or_default() += 1;
            let file = self.files.get_mut(&path);
            if let Some(old) = file.and_then(|file| file.vector.replace(Vector { entry, manifest: 0, puffin })) {
                release(&mut self.puffins, &old.puffin);
            }
        }
        for id in change.dropped {
            self.data.remove(&id);
            self.vectors.remove(&id);
        }
        for (id, manifest) in change.data {
            for path in &manifest.live {
                if let Some(file) = self.files.get_mut(path) {
                    file.manifest = id;
                }
            }
            self.data.insert(id, manifest);
        }
        for (id, manifest) in change.vectors {
            for path in &manifest.live {
                if let Some(vector) = self.files.get_mut(path).and_then(|file| file.vector.as_mut()) {
                    vector.manifest = id;
                }
            }
            self.vectors.insert(id, manifest);
        }
        self.assign_row_ids(&change.first_row_ids);
        self.totals = change.totals;
        self.next_manifest = change.next_manifest;
    }

    fn remove(&mut self, path: &Arc<str>, state: &mut TableState) {
        let Some(file) = self.files.remove(path) else { return };
        if let Some(vector) = &file.vector {
            release(&mut self.puffins, &vector.puffin);
        }
        state.files.swap_remove(file.slot);
        if let Some(moved) = state.files.get(file.slot)
            && let Some(tracked) = self.files.get_mut(moved.file.path.as_str())
        {
            tracked.slot = file.slot;
        }
    }

    /// Data files take the ids of their manifest in the order of its entries; those that had ids keep them.
    fn assign_row_ids(&mut self, first: &[(ManifestId, u64)]) {
        for (id, first_row_id) in first {
            let Some(manifest) = self.data.get_mut(id) else { continue };
            manifest.file.first_row_id = Some(*first_row_id);
            let mut next = *first_row_id;
            for path in &manifest.live {
                if let Some(file) = self.files.get_mut(path)
                    && file.entry.first_row_id.is_none()
                {
                    file.entry.first_row_id = Some(next);
                    next += file.entry.records;
                }
            }
        }
    }
}

fn release(puffins: &mut HashMap<Arc<str>, u64>, puffin: &Arc<str>) {
    if let Some(count) = puffins.get_mut(puffin) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            puffins.remove(puffin);
        }
    }
}
