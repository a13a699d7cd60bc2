//! Expiry of snapshots, and of the files that only expired snapshots name.
//!
//! In a history that is one line, a file that left the table with snapshot S is needed by the snapshots before S only:
//! it is deleted when S is the oldest one that is kept. What left with S is remembered by the commit that made S; for
//! snapshots of others, or from before a restart, it is read back from the manifests that S wrote. In a history that is
//! not one line (branches, tags, a rollback) nothing is deleted: which files are needed is not known without reading
//! everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use walbrook_model::Result;

use crate::folder::{self, Folder};
use crate::manifest::{ManifestFile, Status, read_manifest, read_manifest_list};
use crate::metadata::{MAIN, Metadata, Snapshot};
use crate::tree::Tree;

/// What a snapshot does not need any more, but those before it do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retired {
    pub(crate) manifests: Vec<String>,
    /// Data files and Puffin files.
    pub(crate) files: Vec<String>,
}

/// Snapshots that a version of the table does not have any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expired {
    /// Oldest first.
    pub(crate) snapshots: Vec<Arc<Snapshot>>,
    /// Whether the snapshots form one line, so that their files can be deleted.
    pub(crate) one_line: bool,
}

/// Keeps the newest `keep` snapshots of the main branch, and what other branches and tags name.
pub(crate) fn expire(metadata: &mut Metadata, keep: u32) -> Expired {
    let line: Vec<_> = metadata.ancestors().map(|snapshot| snapshot.snapshot_id).collect();
    let kept = &line[..line.len().min(keep.max(1) as usize)];
    let Some(oldest) = kept.last().and_then(|id| metadata.snapshot(*id)).map(|snapshot| snapshot.timestamp_ms) else {
        return Expired::default();
    };
    let named = named_elsewhere(metadata);
    let is_expired = |snapshot: &&Arc<Snapshot>| {
        let id = snapshot.snapshot_id;
        let in_line = line.contains(&id);
        // What a rollback left behind stays until its time is over, so that the rollback can be undone.
        !kept.contains(&id) && !named.contains(&id) && (in_line || snapshot.timestamp_ms < oldest)
    };
    let mut snapshots: Vec<_> = metadata.snapshots.iter().filter(is_expired).cloned().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number);
    // The expired ones too: what a snapshot that was rolled back took away is live.
    let one_line = named.is_empty() && metadata.snapshots.iter().all(|snapshot| line.contains(&snapshot.snapshot_id));
    let ids: Vec<_> = snapshots.iter().map(|snapshot| snapshot.snapshot_id).collect();
    metadata.remove_snapshots(&ids);
    Expired { snapshots, one_line }
}

/// Snapshots that branches and tags other than the main branch name, with all their ancestors.
fn named_elsewhere(metadata: &Metadata) -> BTreeSet<i64> {
    let mut named = BTreeSet::new();
    for (_, reference) in metadata.refs.iter().filter(|(name, _)| name.as_str() != MAIN) {
        let mut next = Some(reference.snapshot_id);
        while let Some(id) = next.filter(|id| named.insert(*id)) {
            next = metadata.snapshot(id).and_then(|snapshot| snapshot.parent_snapshot_id);
        }
    }
    named
}

/// What is known of each snapshot's retired files.
#[derive(Debug, Default)]
pub(crate) struct History(HashMap<i64, Retired>);

impl History {
    /// Remembers what a new snapshot retired.
    pub(crate) fn insert(&mut self, snapshot_id: i64, retired: Retired) {
        self.0.insert(snapshot_id, retired);
    }

    /// Snapshots of which it is not known, among the expired and the kept ones, oldest first; empty if none of them is
    /// asked for now.
    pub(crate) fn unknown(&self, expired: &Expired, metadata: &Metadata) -> Vec<Arc<Snapshot>> {
        let line = line(expired, metadata);
        let asked = line.iter().skip(1).take(expired.snapshots.len());
        if asked.clone().all(|snapshot| self.0.contains_key(&snapshot.snapshot_id)) {
            return Vec::new();
        }
        let known = line.iter().skip(1).take_while(|snapshot| !self.0.contains_key(&snapshot.snapshot_id));
        let count = known.count() + 1;
        line.into_iter().take(count).collect()
    }

    /// Adds what [`read_back`] found, but for the files that are live or that leave with a later snapshot.
    pub(crate) fn learn(&mut self, found: Vec<(i64, Retired)>, tree: &Tree) {
        let later: BTreeSet<_> = self.0.values().flat_map(|retired| retired.files.clone()).collect();
        for (id, mut retired) in found {
            retired.files.retain(|path| {
                let live = tree.files.contains_key(path.as_str()) || tree.puffins.contains_key(path.as_str());
                !live && !later.contains(path)
            });
            self.0.insert(id, retired);
        }
    }

    /// The files that nobody needs after `expired` is gone: first those that manifests name, then manifests, then
    /// manifest lists, so that what is left after a crash can be found again.
    pub(crate) fn garbage(&mut self, expired: &Expired, metadata: &Metadata, folder: &Folder) -> Vec<PathBuf> {
        let line = line(expired, metadata);
        let due = line.iter().skip(1).take(expired.snapshots.len());
        let due: Vec<_> = due.filter_map(|snapshot| self.0.remove(&snapshot.snapshot_id)).collect();
        let files = due.iter().flat_map(|retired| &retired.files);
        let manifests = due.iter().flat_map(|retired| &retired.manifests);
        let lists = expired.snapshots.iter().map(|snapshot| &snapshot.manifest_list);
        for snapshot in &expired.snapshots {
            self.0.remove(&snapshot.snapshot_id);
        }
        files.chain(manifests).chain(lists).filter_map(|location| folder.own_path(location)).collect()
    }
}

/// Expired and kept snapshots, oldest first.
fn line(expired: &Expired, metadata: &Metadata) -> Vec<Arc<Snapshot>> {
    let mut line: Vec<_> = metadata.ancestors().cloned().collect();
    line.extend(expired.snapshots.iter().rev().cloned());
    line.reverse();
    line
}

/// Reads from manifests what each snapshot of a line retired, but the first one of it.
///
/// # Errors
/// If a manifest cannot be read.
pub(crate) fn read_back(line: &[Arc<Snapshot>]) -> Result<Vec<(i64, Retired)>> {
    let mut found: Vec<(i64, Retired)> = Vec::new();
    let mut last_place: BTreeMap<String, usize> = BTreeMap::new();
    let mut before: Option<Vec<ManifestFile>> = None;
    for snapshot in line {
        let path = folder::local_path(&snapshot.manifest_list)?;
        // A list that is gone was deleted with all that it named before a crash.
        let manifests = if path.exists() { read_manifest_list(&folder::read(&path)?)? } else { Vec::new() };
        if let Some(before) = before.replace(manifests.clone()) {
            let stays = |old: &&ManifestFile| !manifests.iter().any(|manifest| manifest.path == old.path);
            let dropped = before.iter().filter(stays).map(|manifest| manifest.path.clone()).collect();
            for file in retired_files(snapshot, &manifests)? {
                last_place.insert(file, found.len());
            }
            found.push((snapshot.snapshot_id, Retired { manifests: dropped, files: Vec::new() }));
        }
    }
    for (file, place) in last_place {
        if let Some((_, retired)) = found.get_mut(place) {
            retired.files.push(file);
        }
    }
    Ok(found)
}

fn retired_files(snapshot: &Snapshot, manifests: &[ManifestFile]) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    let own = |manifest: &&ManifestFile| manifest.snapshot_id == snapshot.snapshot_id && manifest.files[2] > 0;
    for manifest in manifests.iter().filter(own) {
        let bytes = folder::read(&folder::local_path(&manifest.path)?)?;
        for entry in read_manifest(&bytes, manifest)? {
            if entry.status == Status::Deleted && entry.entry.snapshot_id == snapshot.snapshot_id {
                files.insert(entry.file.path);
            }
        }
    }
    Ok(files)
}
