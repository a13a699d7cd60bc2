//! Which manifests a snapshot rewrites. No I/O.
//!
//! Cost follows the change: only manifests that hold a touched entry are rewritten. New data files get a manifest of
//! their own, and small manifests are merged when there are many; deletion vectors live in few manifests of bounded
//! size, since most commits replace many of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::manifest::{Content, Entry, ManifestWriter, Status};
use crate::tree::{Manifest, ManifestId, Tree};

/// When and how far manifests of one kind are merged.
struct Limits {
    /// Entries that a manifest is filled up to.
    entries: usize,
    /// Small manifests that may be there before they are merged.
    small_manifests: usize,
}

const DATA: Limits = Limits { entries: 1000, small_manifests: 50 };
const VECTORS: Limits = Limits { entries: 500, small_manifests: 4 };

impl Limits {
    fn is_small(&self, entries: usize) -> bool {
        entries <= self.entries / 2
    }
}

/// A manifest to be written.
#[derive(Default)]
pub(crate) struct Draft<'a> {
    existing: Vec<(&'a Arc<str>, &'a Entry)>,
    added: Vec<(&'a Arc<str>, &'a Entry)>,
    deleted: Vec<&'a Entry>,
}

impl<'a> Draft<'a> {
    fn live(&self) -> usize {
        self.existing.len() + self.added.len()
    }

    /// The manifest, still without a path.
    pub(crate) fn writer(&self, content: Content, snapshot_id: i64, sequence: i64) -> (ManifestWriter, Vec<Arc<str>>) {
        let mut writer = ManifestWriter::new(content, snapshot_id, sequence);
        self.existing.iter().for_each(|(_, entry)| writer.push(Status::Existing, entry));
        self.added.iter().for_each(|(_, entry)| writer.push(Status::Added, entry));
        self.deleted.iter().for_each(|entry| writer.push(Status::Deleted, entry));
        let live = self.existing.iter().chain(&self.added).map(|(path, _)| Arc::clone(path));
        (writer, live.collect())
    }

    /// Takes over a manifest as it is, but for the entries that leave it.
    fn take(
        &mut self,
        manifest: &'a Manifest,
        entry: impl Fn(&'a Arc<str>) -> Option<&'a Entry>,
        gone: &HashSet<&str>,
    ) {
        for path in &manifest.live {
            let Some(entry) = entry(path) else { continue };
            if gone.contains(path.as_ref()) {
                self.deleted.push(entry);
            } else {
                self.existing.push((path, entry));
            }
        }
        self.deleted.extend(&manifest.dangling);
    }
}

/// The drafts of one kind of manifest, and the manifests that they replace.
pub(crate) struct Drafts<'a> {
    pub(crate) drafts: Vec<Draft<'a>>,
    pub(crate) dropped: Vec<ManifestId>,
}

/// Drafts the data manifests of a snapshot.
pub(crate) fn data<'a>(tree: &'a Tree, added: &'a [(Arc<str>, Entry)], removed: &HashSet<&str>) -> Drafts<'a> {
    let entry = |path: &Arc<str>| tree.files.get(path).map(|file| &file.entry);
    let touched: BTreeSet<_> =
        removed.iter().filter_map(|path| tree.files.get(*path)).map(|file| file.manifest).collect();
    let mut drafts = Drafts::rewrite(&tree.data, &touched, removed, entry);
    if !added.is_empty() {
        let added = added.iter().map(|(path, entry)| (path, entry)).collect();
        drafts.drafts.push(Draft { added, ..Draft::default() });
    }
    drafts.merge_small(&tree.data, &DATA, entry);
    drafts
}

/// Drafts the manifests of deletion vectors of a snapshot. `added` are the new vectors by data file; the old vectors of
/// those files and of `removed` ones leave.
pub(crate) fn vectors<'a>(tree: &'a Tree, added: &'a [(Arc<str>, Entry)], removed: &HashSet<&str>) -> Drafts<'a> {
    let vector = |path: &str| tree.files.get(path).and_then(|file| file.vector.as_ref());
    let entry = |path: &'a Arc<str>| vector(path).map(|vector| &vector.entry);
    let gone: HashSet<&str> = added.iter().map(|(path, _)| path.as_ref()).chain(removed.iter().copied()).collect();
    let touched: BTreeSet<_> = gone.iter().filter_map(|path| vector(path)).map(|vector| vector.manifest).collect();
    let mut drafts = Drafts::rewrite(&tree.vectors, &touched, &gone, entry);
    let mut fresh = Vec::new();
    let place: BTreeMap<_, _> = touched.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    for (path, new) in added {
        match vector(path).and_then(|old| place.get(&old.manifest)) {
            Some(at) => drafts.drafts[*at].added.push((path, new)),
            None => fresh.push((path, new)),
        }
    }
    drafts.place(fresh, &tree.vectors, &VECTORS, entry);
    drafts.merge_small(&tree.vectors, &VECTORS, entry);
    drafts
}

impl<'a> Drafts<'a> {
    /// A draft for each touched manifest, in order; manifests without live entries are not carried on.
    fn rewrite(
        manifests: &'a BTreeMap<ManifestId, Manifest>,
        touched: &BTreeSet<ManifestId>,
        gone: &HashSet<&str>,
        entry: impl Fn(&'a Arc<str>) -> Option<&'a Entry> + Copy,
    ) -> Self {
        let mut drafts = Vec::new();
        for manifest in touched.iter().filter_map(|id| manifests.get(id)) {
            let mut draft = Draft::default();
            draft.take(manifest, entry, gone);
            drafts.push(draft);
        }
        let empty = manifests.iter().filter(|(_, manifest)| manifest.live.is_empty() && manifest.dangling.is_empty());
        let dropped = touched.iter().copied().chain(empty.map(|(id, _)| *id)).collect();
        Self { drafts, dropped }
    }

    /// Puts new entries where there is room: drafts first, then the smallest manifest, then new ones.
    fn place(
        &mut self,
        mut fresh: Vec<(&'a Arc<str>, &'a Entry)>,
        manifests: &'a BTreeMap<ManifestId, Manifest>,
        limits: &Limits,
        entry: impl Fn(&'a Arc<str>) -> Option<&'a Entry> + Copy,
    ) {
        let mut fill = |draft: &mut Draft<'a>| {
            let room = limits.entries.saturating_sub(draft.live()).min(fresh.len());
            draft.added.extend(fresh.drain(..room));
            !fresh.is_empty()
        };
        if !self.drafts.iter_mut().all(&mut fill) {
            return;
        }
        let smallest = manifests.iter().filter(|(id, _)| !self.dropped.contains(id)).min_by_key(|(_, m)| m.live.len());
        let mut draft = Draft::default();
        if let Some((id, manifest)) = smallest.filter(|(_, manifest)| limits.is_small(manifest.live.len())) {
            draft.take(manifest, entry, &HashSet::new());
            self.dropped.push(*id);
        }
        while fill(&mut draft) {
            self.drafts.push(std::mem::take(&mut draft));
        }
        if draft.live() + draft.deleted.len() > 0 {
            self.drafts.push(draft);
        }
    }

    /// Merges small manifests into one another if there are too many.
    fn merge_small(
        &mut self,
        manifests: &'a BTreeMap<ManifestId, Manifest>,
        limits: &Limits,
        entry: impl Fn(&'a Arc<str>) -> Option<&'a Entry> + Copy,
    ) {
        let small = |(id, manifest): &(&ManifestId, &Manifest)| {
            !self.dropped.contains(id) && limits.is_small(manifest.live.len())
        };
        let small: Vec<_> = manifests.iter().filter(small).collect();
        let small_drafts = self.drafts.iter().filter(|draft| limits.is_small(draft.live())).count();
        if small.len() + small_drafts <= limits.small_manifests {
            return;
        }
        let (mut merged, large): (Vec<_>, _) =
            self.drafts.drain(..).partition(|draft: &Draft| limits.is_small(draft.live()));
        self.drafts = large;
        for (id, manifest) in small {
            let mut draft = Draft::default();
            draft.take(manifest, entry, &HashSet::new());
            merged.push(draft);
            self.dropped.push(*id);
        }
        let mut whole = Draft::default();
        for draft in merged {
            if whole.live() + draft.live() > limits.entries {
                self.drafts.push(std::mem::take(&mut whole));
            }
            whole.existing.extend(draft.existing);
            whole.added.extend(draft.added);
            whole.deleted.extend(draft.deleted);
        }
        self.drafts.push(whole);
    }
}
