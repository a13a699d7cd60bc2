//! What one commit writes: planned in memory, from the state of the table and a [`Commit`]. No I/O.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;
use walbrook_lake_merge::format::{Commit, DataFile, TableState};
use walbrook_lake_merge::layout::Layout;
use walbrook_model::{Error, Result};

use crate::draft::{self, Draft};
use crate::expire::{self, Expired, Retired};
use crate::folder::{Folder, NewFile};
use crate::manifest::{Content, ContentFile, Entry, ManifestFile, write_manifest_list};
use crate::metadata::{COMMIT_ID, Metadata, MetadataLog, Snapshot};
use crate::puffin::{self, Puffin};
use crate::schema::{self, KEY_IDS, Schema};
use crate::summary::{Moved, summary};
use crate::tree::{Change, Manifest, Tree};

/// Properties that are fields of the table metadata.
const RESERVED: [&str; 9] = [
    "format-version",
    "uuid",
    "snapshot-count",
    "current-snapshot-summary",
    "current-snapshot-id",
    "current-snapshot-timestamp-ms",
    "current-schema",
    "default-partition-spec",
    "default-sort-order",
];

/// The table that a commit is planned on.
pub(crate) struct Base<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) version: u64,
    pub(crate) metadata: &'a Metadata,
    pub(crate) tree: &'a Tree,
    pub(crate) state: &'a TableState,
    pub(crate) keep_snapshots: u32,
    pub(crate) now_ms: i64,
}

/// What a commit writes and what follows from it.
pub(crate) struct Plan {
    /// Everything that the new version names.
    pub(crate) files: Vec<NewFile>,
    pub(crate) metadata: Metadata,
    pub(crate) json: Vec<u8>,
    pub(crate) change: Option<Change>,
    /// What the new snapshot, if there is one, does not need any more.
    pub(crate) retired: Option<(i64, Retired)>,
    pub(crate) expired: Expired,
    /// Metadata files that are no longer kept, oldest first.
    pub(crate) old_metadata: Vec<PathBuf>,
}

/// Plans a commit.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Bug`] if the commit contradicts the table.
pub(crate) fn plan(base: &Base, commit: &Commit) -> Result<Plan> {
    check(base, commit)?;
    let mut metadata = base.metadata.clone();
    let now_ms = base.now_ms.max(metadata.last_updated_ms);
    metadata.last_updated_ms = now_ms;
    set_properties(&mut metadata, &commit.properties)?;
    metadata.properties.insert(COMMIT_ID.to_owned(), commit.id.to_string());
    if let Some(layout) = &commit.layout {
        set_layout(&mut metadata, base.state, layout)?;
    }
    let mut files = Vec::new();
    let mut change = None;
    let mut retired = None;
    if commit.changes_rows() {
        let assembly = Assembly::new(base, &metadata, commit)?;
        let (snapshot, made, gone) = assembly.finish(commit, now_ms, &mut files)?;
        retired = Some((snapshot.snapshot_id, gone));
        change = Some(made);
        metadata.push_snapshot(snapshot);
    }
    let expired = expire::expire(&mut metadata, base.keep_snapshots);
    let previous = base.folder.version_path(base.version);
    let old_metadata = metadata.push_metadata_log(MetadataLog {
        timestamp_ms: base.metadata.last_updated_ms,
        metadata_file: format!("file://{}", previous.display()),
    });
    let old_metadata = old_metadata.iter().filter_map(|log| base.folder.own_path(&log.metadata_file)).collect();
    let old_metadata = if metadata.deletes_old_metadata() { old_metadata } else { Vec::new() };
    let json = metadata.to_json()?;
    Ok(Plan { files, metadata, json, change, retired, expired, old_metadata })
}

/// Sets properties, but not those that are fields of the metadata.
pub(crate) fn set_properties(metadata: &mut Metadata, properties: &BTreeMap<String, String>) -> Result<()> {
    if let Some(key) = properties.keys().find(|key| RESERVED.contains(&key.as_str())) {
        return Err(Error::bug("a reserved table property cannot be set").on(key.as_str()));
    }
    metadata.properties.extend(properties.clone());
    Ok(())
}

/// Adds a schema for the layout, or finds it, and makes it the current one.
fn set_layout(metadata: &mut Metadata, state: &TableState, layout: &Layout) -> Result<()> {
    schema::check_evolution(&state.layout, layout, !state.files.is_empty())?;
    let new = Schema::of(layout, Some(metadata.schema()?))?;
    let known =
        metadata.schemas.iter().find(|old| new.clone().with_id(old.schema_id) == ***old).map(|old| old.schema_id);
    let id = known.unwrap_or_else(|| metadata.schemas.iter().map(|old| old.schema_id).max().unwrap_or(-1) + 1);
    if known.is_none() {
        metadata.schemas.push(Arc::new(new.with_id(id)));
    }
    metadata.current_schema_id = id;
    metadata.last_column_id = metadata.last_column_id.max(layout.last_id);
    match schema::key_ids(layout) {
        Some(ids) => metadata.properties.insert(KEY_IDS.to_owned(), ids),
        None => metadata.properties.remove(KEY_IDS),
    };
    Ok(())
}

fn check(base: &Base, commit: &Commit) -> Result<()> {
    let refuse = |what: &str, path: &str| Err(Error::bug(what).on(path));
    if commit.id.is_nil() {
        return refuse("a commit without an id", &base.folder.location());
    }
    let mut added = HashMap::new();
    for file in &commit.added {
        if base.tree.files.contains_key(file.path.as_str()) || added.insert(file.path.as_str(), file.rows).is_some() {
            return refuse("a data file is added twice", &file.path);
        }
        if base.folder.own_path(&file.path).is_none() {
            return refuse("a data file outside of the table's folder", &file.path);
        }
        if u32::try_from(file.rows).is_err() {
            return refuse("a data file of too many rows", &file.path);
        }
    }
    let mut removed = HashSet::new();
    for path in &commit.removed {
        if !base.tree.files.contains_key(path.as_str()) || !removed.insert(path.as_str()) {
            return refuse("a data file is removed that is not in the table", path);
        }
    }
    for (path, deleted) in &commit.deleted {
        let live = base.tree.files.get(path.as_str()).and_then(|file| base.state.files.get(file.slot));
        let rows = live.map(|live| live.file.rows).or_else(|| added.get(path.as_str()).copied());
        let Some(rows) = rows.filter(|_| !removed.contains(path.as_str())) else {
            return refuse("rows are deleted of a data file that does not stay", path);
        };
        if deleted.max().is_some_and(|max| u64::from(max) >= rows) {
            return refuse("a deleted row lies behind the end of its data file", path);
        }
        // Readers that unite all vectors of a file rely on it.
        if live.is_some_and(|live| !live.deleted.is_subset(deleted)) {
            return refuse("a deleted row comes back", path);
        }
    }
    Ok(())
}

/// A snapshot in the making.
struct Assembly<'a> {
    base: &'a Base<'a>,
    metadata: &'a Metadata,
    snapshot_id: i64,
    sequence: i64,
    /// Unique prefix of the files of this attempt.
    prefix: String,
    added: Vec<(Arc<str>, Entry)>,
    vectors: Vec<(Arc<str>, Entry)>,
    puffin: Option<(Arc<str>, Vec<u8>)>,
    removed: HashSet<&'a str>,
}

impl<'a> Assembly<'a> {
    fn new(base: &'a Base, metadata: &'a Metadata, commit: &'a Commit) -> Result<Self> {
        let snapshot_id = new_snapshot_id(metadata);
        let sequence = metadata.last_sequence_number + 1;
        let prefix = format!("{}-{}", commit.id.simple(), &Uuid::new_v4().simple().to_string()[..8]);
        let layout = commit.layout.as_ref().unwrap_or(&base.state.layout);
        let entry = |file: &DataFile| {
            let content = content_file(file, layout);
            (Arc::from(file.path.as_str()), Entry::added(&content, snapshot_id, sequence))
        };
        let added = commit.added.iter().map(entry).collect();
        let removed = commit.removed.iter().map(String::as_str).collect();
        let mut assembly =
            Self { base, metadata, snapshot_id, sequence, prefix, added, vectors: Vec::new(), puffin: None, removed };
        assembly.write_vectors(commit)?;
        Ok(assembly)
    }

    /// One Puffin file for all vectors that change.
    fn write_vectors(&mut self, commit: &Commit) -> Result<()> {
        let changed = commit.deleted.iter().filter(|(path, deleted)| {
            let live = self.base.tree.files.get(path.as_str()).and_then(|file| self.base.state.files.get(file.slot));
            live.map_or(!deleted.is_empty(), |live| live.deleted != **deleted)
        });
        let changed: Vec<_> = changed.map(|(path, deleted)| (path.as_str(), deleted)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let Puffin { bytes, places } = puffin::write(&changed)?;
        let location: Arc<str> = format!("{}/data/{}.puffin", self.metadata.location, self.prefix).into();
        for ((path, deleted), place) in changed.into_iter().zip(places) {
            let file = ContentFile::vector(&location, bytes.len() as u64, place, path, deleted.len());
            self.vectors.push((path.into(), Entry::added(&file, self.snapshot_id, self.sequence)));
        }
        self.puffin = Some((location, bytes));
        Ok(())
    }

    fn finish(&self, commit: &Commit, now_ms: i64, files: &mut Vec<NewFile>) -> Result<(Snapshot, Change, Retired)> {
        let tree = self.base.tree;
        let data = draft::data(tree, &self.added, &self.removed);
        let vectors = draft::vectors(tree, &self.vectors, &self.removed);
        let mut next_manifest = tree.next_manifest;
        let schema = serde_json::to_string(self.metadata.schema()?.as_ref())
            .map_err(|error| Error::bug("the schema has no JSON form").because(error))?;
        let mut write = |content, drafts: &[Draft]| {
            let write = |draft: &Draft| {
                next_manifest += 1;
                let (writer, live) = draft.writer(content, self.snapshot_id, self.sequence);
                let name = format!("{}-m{}.avro", self.prefix, files.len());
                let location = format!("{}/metadata/{name}", self.metadata.location);
                let (spec, schema_id) = (self.metadata.default_spec_id, self.metadata.current_schema_id);
                let (bytes, file) = writer.finish(location, spec, schema_id, &schema);
                files.push((self.base.folder.metadata().join(name), bytes));
                (next_manifest, Manifest { file, live, dangling: Vec::new() })
            };
            drafts.iter().map(write).collect::<Vec<_>>()
        };
        let new_data = write(Content::Data, &data.drafts);
        let new_vectors = write(Content::Deletes, &vectors.drafts);
        let dropped = [data.dropped, vectors.dropped].concat();
        let (added, removed, retired_files) = self.moved();
        let mut change = Change {
            dropped,
            data: new_data,
            vectors: new_vectors,
            added: commit.added.iter().cloned().zip(self.added.iter().map(|(_, entry)| entry.clone())).collect(),
            removed: self.removed.iter().map(|path| Arc::from(*path)).collect(),
            new_vectors: self.new_vectors(),
            first_row_ids: Vec::new(),
            totals: tree.totals.after(&added, &removed),
            next_manifest,
        };
        let added_rows = self.assign_row_ids(&mut change);
        let list_name = format!("snap-{}-1-{}.avro", self.snapshot_id, self.prefix);
        let list = self.write_list(&change);
        files.push((self.base.folder.metadata().join(&list_name), list));
        if let Some((_, bytes)) = &self.puffin {
            files.push((self.base.folder.data().join(format!("{}.puffin", self.prefix)), bytes.clone()));
        }
        let manifests = self.paths(&change.dropped);
        let mut summary_map = commit.properties.clone();
        summary_map.insert(COMMIT_ID.to_owned(), commit.id.to_string());
        summary_map.extend(summary(operation(commit), &added, &removed, &change.totals));
        let snapshot = Snapshot {
            snapshot_id: self.snapshot_id,
            parent_snapshot_id: self.metadata.current_snapshot_id,
            sequence_number: self.sequence,
            timestamp_ms: now_ms,
            manifest_list: format!("{}/metadata/{list_name}", self.metadata.location),
            summary: summary_map,
            schema_id: Some(self.metadata.current_schema_id),
            first_row_id: Some(self.metadata.next_row_id),
            added_rows: Some(added_rows),
            rest: serde_json::Map::new(),
        };
        Ok((snapshot, change, Retired { manifests, files: retired_files }))
    }

    fn new_vectors(&self) -> Vec<(Arc<str>, Entry, Arc<str>)> {
        let Some((location, _)) = &self.puffin else { return Vec::new() };
        let each = self.vectors.iter().map(|(path, entry)| (Arc::clone(path), entry.clone(), Arc::clone(location)));
        each.collect()
    }

    /// Gives row ids to manifests that have none, as the spec counts them, and says how many.
    fn assign_row_ids(&self, change: &mut Change) -> u64 {
        let mut next = self.metadata.next_row_id;
        let mut assign = |id, file: &mut ManifestFile| {
            if file.first_row_id.is_none() {
                file.first_row_id = Some(next);
                change.first_row_ids.push((id, next));
                next = next.saturating_add(file.rows[0]).saturating_add(file.rows[1]);
            }
        };
        for (id, manifest) in &self.base.tree.data {
            if !change.dropped.contains(id) {
                assign(*id, &mut manifest.file.clone());
            }
        }
        for (id, manifest) in &mut change.data {
            assign(*id, &mut manifest.file);
        }
        next - self.metadata.next_row_id
    }

    fn write_list(&self, change: &Change) -> Vec<u8> {
        let assigned: HashMap<_, _> = change.first_row_ids.iter().copied().collect();
        let kept = self.base.tree.data.iter().chain(&self.base.tree.vectors);
        let kept = kept.filter(|(id, _)| !change.dropped.contains(id)).map(|(id, manifest)| {
            let first_row_id = manifest.file.first_row_id.or_else(|| assigned.get(id).copied());
            ManifestFile { first_row_id, ..manifest.file.clone() }
        });
        let new = change.data.iter().chain(&change.vectors).map(|(_, manifest)| manifest.file.clone());
        let all: Vec<_> = new.chain(kept).collect();
        let parent = self.metadata.current_snapshot_id;
        write_manifest_list(all.iter(), self.snapshot_id, parent, self.sequence, self.metadata.next_row_id)
    }

    /// What comes, what goes, and the files that nothing live names after it.
    fn moved(&self) -> (Moved, Moved, Vec<String>) {
        let (mut added, mut removed, mut retired) = (Moved::default(), Moved::default(), Vec::new());
        for (_, entry) in &self.added {
            added.data_files += 1;
            added.records += entry.records;
            added.bytes += entry.bytes;
        }
        for (_, entry) in &self.vectors {
            added.vectors += 1;
            added.deleted_records += entry.records;
            added.bytes += entry.bytes;
        }
        let tree = self.base.tree;
        for file in self.removed.iter().filter_map(|path| tree.files.get(*path)) {
            removed.data_files += 1;
            removed.records += file.entry.records;
            removed.bytes += file.entry.bytes;
        }
        retired.extend(self.removed.iter().map(|path| (*path).to_owned()));
        let touched = self.vectors.iter().map(|(path, _)| path.as_ref()).chain(self.removed.iter().copied());
        let mut released: HashMap<&Arc<str>, u64> = HashMap::new();
        for vector in touched.filter_map(|path| tree.files.get(path)?.vector.as_ref()) {
            removed.vectors += 1;
            removed.deleted_records += vector.entry.records;
            removed.bytes += vector.entry.bytes;
            *released.entry(&vector.puffin).or_default() += 1;
        }
        let empty = released.into_iter().filter(|(puffin, count)| tree.puffins.get(*puffin) == Some(count));
        retired.extend(empty.map(|(puffin, _)| puffin.to_string()));
        (added, removed, retired)
    }

    fn paths(&self, manifests: &[u64]) -> Vec<String> {
        let tree = self.base.tree;
        let manifest = |id| tree.data.get(id).or_else(|| tree.vectors.get(id));
        manifests.iter().filter_map(manifest).map(|manifest| manifest.file.path.clone()).collect()
    }
}

fn operation(commit: &Commit) -> &'static str {
    if commit.rewrite {
        "replace"
    } else if commit.added.is_empty() {
        "delete"
    } else if commit.removed.is_empty() && commit.deleted.is_empty() {
        "append"
    } else {
        "overwrite"
    }
}

fn new_snapshot_id(metadata: &Metadata) -> i64 {
    loop {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        let id = (high ^ low).cast_signed() & i64::MAX;
        if metadata.snapshot(id).is_none() {
            return id;
        }
    }
}

/// The manifest form of a data file. How many values a list has in all is not known.
fn content_file(file: &DataFile, layout: &Layout) -> ContentFile {
    let signed = |(id, count): (&i32, &u64)| (*id, i64::try_from(*count).unwrap_or(i64::MAX));
    let has_row_count = |id: &&i32| layout.fields.iter().any(|field| field.id == **id);
    ContentFile {
        content: 0,
        path: file.path.clone(),
        format: "PARQUET".to_owned(),
        records: file.rows,
        bytes: file.bytes,
        column_sizes: file.column_bytes.iter().map(signed).collect(),
        value_counts: file.null_counts.keys().filter(has_row_count).map(|id| signed((id, &file.rows))).collect(),
        null_counts: file.null_counts.iter().map(signed).collect(),
        lower_bounds: file.bounds.iter().map(|(id, (lower, _))| (*id, lower.clone())).collect(),
        upper_bounds: file.bounds.iter().map(|(id, (_, upper))| (*id, upper.clone())).collect(),
        split_offsets: (!file.split_offsets.is_empty()).then(|| file.split_offsets.clone()),
        sort_order_id: Some(0),
        ..ContentFile::default()
    }
}
