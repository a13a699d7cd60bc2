//! Reads a version of a table: metadata, manifests, deletion vectors.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use roaring::RoaringBitmap;
use walbrook_lake_merge::format::{DataFile, LiveFile, TableState};
use walbrook_lake_merge::layout::Layout;
use walbrook_lake_merge::vector;
use walbrook_model::{Error, Result, Seq};

use crate::expire::Expired;
use crate::folder::{self, Folder, Stamp};
use crate::manifest::{Content, ContentFile, ManifestFile, ReadEntry, Status, read_manifest, read_manifest_list};
use crate::metadata::{COMMIT_ID, Metadata, Snapshot};
use crate::schema::KEY_IDS;
use crate::tree::{Manifest, Tracked, Tree, Vector};

/// The column that holds the order token.
pub(crate) const SEQ: &str = "_seq";

/// A version of a table, in memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) version: u64,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) metadata: Metadata,
    pub(crate) tree: Tree,
    pub(crate) state: TableState,
    /// Snapshots that this version expired; their files may still be there.
    pub(crate) pending: Expired,
}

/// Reads the newest version; `None` if there is no table.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if a file is missing or damaged, [`walbrook_model::ErrorKind::Config`] if the
/// table uses what we cannot keep right.
pub(crate) fn newest(folder: &Folder) -> Result<Option<Loaded>> {
    // A version can be deleted between finding and reading it, if others commit often.
    for _ in 0..3 {
        let Some(version) = folder.newest()? else { return Ok(None) };
        match load(folder, version) {
            Err(_) if folder.newest()? != Some(version) => {}
            loaded => return loaded.map(Some),
        }
    }
    Err(Error::transient("the table changes faster than it can be read").on(folder.location()))
}

fn load(folder: &Folder, version: u64) -> Result<Loaded> {
    let path = folder.version_path(version);
    let stamp = folder.stamp(version);
    if stamp.is_none() && folder.exists(version)? {
        return Err(Error::config("compressed table metadata is not supported")
            .on(folder.location())
            .remedy("ALTER TABLE ... UNSET TBLPROPERTIES ('write.metadata.compression-codec')"));
    }
    let metadata = Metadata::parse(&folder::read(&path)?).map_err(|error| error.on(path.display().to_string()))?;
    if folder::local_path(&metadata.location)? != *folder.root() {
        return Err(Error::config("the table was moved: its metadata names another folder")
            .on(folder.location())
            .remedy(format!("move it back to {}", metadata.location)));
    }
    let layout =
        metadata.schema()?.layout(metadata.properties.get(KEY_IDS).map(String::as_str), metadata.last_column_id);
    let state = TableState {
        uuid: metadata.table_uuid,
        snapshot: metadata.current_snapshot_id,
        layout: layout.map_err(|error| error.on(folder.location()))?,
        files: Vec::new(),
        properties: metadata.properties.clone(),
    };
    let pending = pending(&metadata);
    let mut loaded = Loaded { version, stamp, metadata, tree: Tree::default(), state, pending };
    if let Some(snapshot) = loaded.metadata.current_snapshot().cloned() {
        loaded.read_snapshot(&snapshot)?;
    }
    Ok(loaded)
}

/// Snapshots that the last commit expired. Whoever made it may have died before it deleted their files.
fn pending(metadata: &Metadata) -> Expired {
    let previous = || {
        let path = folder::local_path(&metadata.metadata_log.last()?.metadata_file).ok()?;
        Metadata::parse(&std::fs::read(path).ok()?).ok()
    };
    let Some(previous) = previous().filter(|previous| previous.table_uuid == metadata.table_uuid) else {
        return Expired::default();
    };
    let gone = previous.snapshots.iter().filter(|old| metadata.snapshot(old.snapshot_id).is_none());
    let mut snapshots: Vec<_> = gone.cloned().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number);
    // They must be the direct ancestors of what is kept.
    let mut child = metadata.ancestors().last().cloned();
    let one_line = snapshots.iter().rev().all(|snapshot| {
        let parent = child.replace(Arc::clone(snapshot)).and_then(|child| child.parent_snapshot_id);
        parent == Some(snapshot.snapshot_id)
    });
    if one_line { Expired { snapshots, one_line } } else { Expired::default() }
}

impl Loaded {
    fn read_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let path = folder::local_path(&snapshot.manifest_list)?;
        let on = |error: Error| error.on(path.display().to_string());
        let list = read_manifest_list(&folder::read(&path)?).map_err(on)?;
        let (data, deletes): (Vec<_>, Vec<_>) = list.into_iter().partition(|file| file.content == Content::Data);
        // The list has the newest manifests first.
        for file in data.into_iter().rev() {
            self.read_manifest(file, Self::add_data_file)?;
        }
        let mut vectors = Vec::new();
        for file in deletes.into_iter().rev() {
            self.read_manifest(file, |loaded, manifest, entry| loaded.add_vector(manifest, entry, &mut vectors))?;
        }
        self.check_totals(snapshot).map_err(on)?;
        self.read_vectors(vectors)
    }

    /// A cut manifest list is a valid, shorter one. What we wrote says how much there must be.
    fn check_totals(&self, snapshot: &Snapshot) -> Result<()> {
        if !snapshot.summary.contains_key(COMMIT_ID) {
            return Ok(());
        }
        let says = |key: &str, total: u64| snapshot.summary.get(key).is_some_and(|text| *text == total.to_string());
        let totals = &self.tree.totals;
        let right = says("total-data-files", totals.data_files)
            && says("total-records", totals.records)
            && says("total-delete-files", totals.vectors)
            && says("total-position-deletes", totals.deleted_records);
        if right { Ok(()) } else { Err(Error::data("the snapshot does not hold what its summary says")) }
    }

    fn read_manifest(
        &mut self,
        file: ManifestFile,
        mut add: impl FnMut(&mut Self, &mut Manifest, ReadEntry) -> Result<()>,
    ) -> Result<()> {
        if file.spec_id != self.metadata.default_spec_id {
            return Err(Error::config("files of an older partition spec are not supported")
                .on(file.path)
                .remedy("rewrite the table's data files with the current partition spec"));
        }
        let path = folder::local_path(&file.path)?;
        let on = |error: Error| error.on(path.display().to_string());
        let bytes = folder::read(&path)?;
        if bytes.len() as u64 != file.bytes {
            return Err(on(Error::data("a manifest of another length than listed")));
        }
        let entries = read_manifest(&bytes, &file).map_err(on)?;
        self.tree.next_manifest += 1;
        let content = file.content;
        let mut manifest = Manifest { file, live: Vec::new(), dangling: Vec::new() };
        for entry in entries.into_iter().filter(|entry| entry.status != Status::Deleted) {
            add(self, &mut manifest, entry).map_err(on)?;
        }
        match content {
            Content::Data => self.tree.data.insert(self.tree.next_manifest, manifest),
            Content::Deletes => self.tree.vectors.insert(self.tree.next_manifest, manifest),
        };
        Ok(())
    }

    fn add_data_file(&mut self, manifest: &mut Manifest, read: ReadEntry) -> Result<()> {
        if read.file.content != 0 || read.file.format != "PARQUET" {
            return Err(Error::config("a data file that is not Parquet").on(read.file.path));
        }
        let path: Arc<str> = read.file.path.as_str().into();
        self.tree.totals.data_files += 1;
        self.tree.totals.records += read.entry.records;
        self.tree.totals.bytes += read.entry.bytes;
        let slot = self.state.files.len();
        let id = self.tree.next_manifest;
        let tracked = Tracked { slot, entry: read.entry, manifest: id, vector: None };
        if self.tree.files.insert(Arc::clone(&path), tracked).is_some() {
            return Err(Error::data("a data file is listed twice").on(path.as_ref()));
        }
        let file = data_file(read.file, &self.state.layout);
        self.state.files.push(LiveFile { file, deleted: RoaringBitmap::new() });
        manifest.live.push(path);
        Ok(())
    }

    fn add_vector(&mut self, manifest: &mut Manifest, read: ReadEntry, found: &mut Vec<FoundVector>) -> Result<()> {
        let rewrite = "rewrite the table's data files with another engine, then drop its old snapshots";
        match (read.file.content, read.file.format.as_str()) {
            (1, "PUFFIN") => {}
            (1, _) => return Err(Error::config("position delete files of another writer").remedy(rewrite)),
            _ => return Err(Error::config("equality deletes of another writer").remedy(rewrite)),
        }
        let place = (read.file.content_offset, read.file.content_size, read.file.referenced_data_file);
        let (Some(offset), Some(bytes), Some(data_file)) = place else {
            return Err(Error::data("a deletion vector without its place"));
        };
        let Some((path, _)) = self.tree.files.get_key_value(data_file.as_str()) else {
            manifest.dangling.push(read.entry);
            return Ok(());
        };
        let path = Arc::clone(path);
        self.tree.totals.vectors += 1;
        self.tree.totals.deleted_records += read.entry.records;
        self.tree.totals.bytes += read.entry.bytes;
        manifest.live.push(Arc::clone(&path));
        let puffin: Arc<str> = read.file.path.into();
        *self.tree.puffins.entry(Arc::clone(&puffin)).or_default() += 1;
        found.push(FoundVector {
            data_file: Arc::clone(&path),
            place: (offset, bytes),
            puffin: Arc::clone(&puffin),
            puffin_bytes: read.file.bytes,
        });
        let vector = Vector { entry: read.entry, manifest: self.tree.next_manifest, puffin };
        let file = self.tree.files.get_mut(&path);
        if file.and_then(|file| file.vector.replace(vector)).is_some() {
            return Err(Error::data("a data file with two deletion vectors").on(path.as_ref()));
        }
        Ok(())
    }

    /// Reads the bitmaps, each Puffin file once.
    fn read_vectors(&mut self, found: Vec<FoundVector>) -> Result<()> {
        let mut by_puffin: HashMap<Arc<str>, Vec<FoundVector>> = HashMap::new();
        for vector in found {
            by_puffin.entry(Arc::clone(&vector.puffin)).or_default().push(vector);
        }
        for (puffin, vectors) in by_puffin {
            let path = folder::local_path(&puffin)?;
            let places: Vec<_> = vectors.iter().map(|vector| vector.place).collect();
            let whole = vectors.first().map_or(0, |vector| vector.puffin_bytes);
            let blobs = folder::read_parts(&path, whole, &places)?;
            for (vector, blob) in vectors.iter().zip(blobs) {
                self.set_deleted(vector, &blob, &path)?;
            }
        }
        Ok(())
    }

    fn set_deleted(&mut self, vector: &FoundVector, blob: &[u8], puffin: &Path) -> Result<()> {
        let deleted = vector::decode(blob).map_err(|error| error.on(puffin.display().to_string()))?;
        let tracked = self.tree.files.get(&vector.data_file);
        let live = tracked.and_then(|file| self.state.files.get_mut(file.slot));
        let cardinality = tracked.and_then(|file| file.vector.as_ref()).map(|vector| vector.entry.records);
        let Some(live) = live.filter(|_| cardinality == Some(deleted.len())) else {
            return Err(Error::data("a deletion vector of another size than listed").on(puffin.display().to_string()));
        };
        if deleted.max().is_some_and(|max| u64::from(max) >= live.file.rows) {
            return Err(Error::data("a deletion vector reaches behind its file").on(live.file.path.as_str()));
        }
        live.deleted = deleted;
        Ok(())
    }
}

/// A deletion vector that is still to be read.
struct FoundVector {
    data_file: Arc<str>,
    place: (u64, u64),
    puffin: Arc<str>,
    puffin_bytes: u64,
}

/// Our form of a manifest entry. A file without bounds of `_seq` may hold any.
fn data_file(file: ContentFile, layout: &Layout) -> DataFile {
    let counts = |list: Vec<(i32, i64)>| {
        list.into_iter().filter_map(|(id, count)| Some((id, u64::try_from(count).ok()?))).collect()
    };
    let mut upper: HashMap<_, _> = file.upper_bounds.into_iter().collect();
    let both = |(id, lower)| upper.remove(&id).map(|upper| (id, (lower, upper)));
    let bounds: std::collections::BTreeMap<_, _> = file.lower_bounds.into_iter().filter_map(both).collect();
    let seq = layout.fields.iter().find(|field| field.name == SEQ).and_then(|field| bounds.get(&field.id));
    let seq = seq.and_then(|(lower, upper)| Some((seq_of(lower)?, seq_of(upper)?)));
    let (seq_min, seq_max) = seq.unwrap_or((Seq::ZERO, Seq::MAX));
    DataFile {
        path: file.path,
        bytes: file.bytes,
        rows: file.records,
        seq_min,
        seq_max,
        null_counts: counts(file.null_counts),
        column_bytes: counts(file.column_sizes),
        bounds,
        split_offsets: file.split_offsets.unwrap_or_default(),
    }
}

/// A bound of `_seq`: a decimal of scale 0, as big-endian two's complement.
fn seq_of(bound: &[u8]) -> Option<Seq> {
    let negative = bound.first()? & 0x80 != 0;
    if negative || bound.len() > 16 {
        return None;
    }
    Seq::from_u128(bound.iter().fold(0, |number, byte| (number << 8) | u128::from(*byte)))
}
