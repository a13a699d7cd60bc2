//! One commit of an SCD1 table.
//!
//! Invariants:
//! - What a commit names is durable before it is made; what it makes obsolete is removed after.
//! - The index is of the table version that the store knows. After a lost race it is built anew, and the sealed changes
//!   are judged again.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use walbrook_model::{Error, Result, Seq};

use crate::buffer::Rows;
use crate::cells::Cells;
use crate::data_file;
use crate::durable;
use crate::fill::{Known, PartialRows};
use crate::format::{Commit, DataFile, Outcome};
use crate::graves::GravesFile;
use crate::index::Location;
use crate::key::KeyReader;
use crate::layout::{Layout, SEQ};
use crate::pending::Pending;
use crate::properties::{GravesName, Record};
use crate::scd1::{Dropped, FileEntry, Plan, Scd1};
use crate::store::{ATTEMPTS, Store, blocking, discard, new_commit};
use crate::stored::{Files, Seqs};
use crate::table::{Committed, Context};

/// The table as it is in the lake.
pub(super) struct Merged {
    pub(super) store: Store,
    keys: KeyReader,
    scd1: Scd1,
    files: Files,
    /// Graves were forgotten that the graves file still has.
    forgot: bool,
}

/// Changes that a commit makes part of the table, and the table.
pub(crate) struct Sealed {
    pub(super) merged: Box<Merged>,
    pub(super) rows: Rows,
    pub(super) partial: PartialRows,
    pub(super) pending: Pending,
    /// The columns of `rows`.
    pub(super) layout: Arc<Layout>,
    pub(super) evolved_at: Seq,
    pub(super) complete_up_to: Seq,
    pub(super) slice_up_to: Seq,
    /// Bytes that the changes take in memory.
    pub(super) bytes: usize,
}

/// A commit with its files, which are durable.
struct Prepared {
    commit: Commit,
    record: Record,
    file: Option<(DataFile, PathBuf)>,
    graves: Option<PathBuf>,
}

impl Sealed {
    /// Makes the changes part of the table.
    ///
    /// # Errors
    /// Of any kind; the changes are not in the table then, or may not be.
    pub(crate) async fn commit(&mut self, context: &Context) -> Result<Committed> {
        let merged = &mut *self.merged;
        merged.forgot |= merged.scd1.forget_graves(context.covered, &self.pending) > 0;
        let mut done = Committed::default();
        for _ in 0..ATTEMPTS {
            let planned = blocking(|| {
                let (plan, read) = self.plan()?;
                done.rows_read += read;
                let prepared = self.prepare(&plan, context)?;
                Ok((plan, prepared))
            });
            let (plan, prepared) = planned.map_err(|error| self.store().on(error))?;
            let Some(Prepared { commit, record, file, graves }) = prepared else {
                done.count_dropped(plan.dropped);
                return Ok(self.described(done));
            };
            let old_graves = self.store().record().graves.clone();
            match self.merged.store.commit(commit, record).await? {
                Outcome::Committed => {
                    done.count(&plan, file.as_ref().map(|(file, _)| file));
                    blocking(|| self.merged.fold(plan, file)).map_err(|error| self.store().on(error))?;
                    if let (Some(_), Some(old)) = (&graves, old_graves) {
                        discard(&self.store().state_folder()?.join(old.file));
                    }
                    self.merged.forgot &= graves.is_none();
                    return Ok(self.described(done));
                }
                Outcome::Conflict => {
                    done.conflicts += 1;
                    file.iter().map(|(_, path)| path).chain(&graves).for_each(|path| discard(path));
                    self.catch_up().await.map_err(|error| self.store().on(error))?;
                }
            }
        }
        Err(self.store().on(Error::transient("other writers were faster, again and again")))
    }

    /// The plan, and how many stored rows had to be looked at for it.
    fn plan(&self) -> Result<(Plan, u64)> {
        let mut seqs = Seqs::new(&self.merged.files, seq_field(&self.layout)?);
        let plan = self.merged.scd1.plan(&self.pending, &mut seqs)?;
        Ok((plan, seqs.rows()))
    }

    /// Writes the files of a commit. `None` if there is nothing to commit.
    fn prepare(&self, plan: &Plan, context: &Context) -> Result<Option<Prepared>> {
        let files = &self.merged.files;
        let evolved = !self.layout.has_columns_of(&self.store().state().layout);
        if plan.is_empty() && !evolved {
            return Ok(None);
        }
        let mut commit = new_commit();
        let mut record = Record {
            complete_up_to: self.complete_up_to,
            slice_up_to: self.slice_up_to,
            evolved_at: self.evolved_at,
            logs: context.logs.clone(),
            ..self.store().record().clone()
        };
        commit.layout = evolved.then(|| Layout::clone(&self.layout));
        for (id, deleted) in &plan.deleted {
            commit.deleted.insert(files.get(*id)?.location.clone(), deleted.clone());
        }
        for id in &plan.removed {
            commit.removed.push(files.get(*id)?.location.clone());
        }
        let file = if plan.rows.is_empty() { None } else { Some(self.write_rows(plan, commit.id)?) };
        commit.added.extend(file.iter().map(|(file, _)| file.clone()));
        let graves = self.merged.write_graves(plan, &mut record, commit.id)?;
        Ok(Some(Prepared { commit, record, file, graves }))
    }

    fn write_rows(&self, plan: &Plan, commit: Uuid) -> Result<(DataFile, PathBuf)> {
        let known = Known {
            rows: &self.rows,
            partial: &self.partial,
            scd1: &self.merged.scd1,
            files: &self.merged.files,
            floor: plan.marks.floor(),
            layout: &self.layout,
            table: &self.store().record().owner.source_table,
        };
        let batches = known.select(&plan.rows)?;
        let (folder, prefix) = self.store().data_folder();
        durable::create_folder(&folder)?;
        let name = format!("{commit}-0.parquet");
        let file = data_file::write(&folder, &prefix, &name, &self.layout, &batches)?;
        Ok((file, folder.join(name)))
    }

    /// Another writer's commit is in the table: what we know of it is void.
    async fn catch_up(&mut self) -> Result<()> {
        for _ in 1..ATTEMPTS {
            match self.read_again() {
                // Files may go away while they are read, if the other one commits again.
                Err(error) if !self.merged.store.reload().await? => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
        self.read_again()
    }

    fn read_again(&mut self) -> Result<()> {
        let is_ours = |id: i32| self.layout.fields.iter().any(|field| field.id == id);
        if !self.store().state().layout.fields.iter().all(|field| is_ours(field.id)) {
            return Err(Error::data("another writer changed the columns of the table")
                .remedy("undo that change, or drop the lake table and take a new snapshot of it"));
        }
        let Merged { store, keys, scd1, files, .. } = &mut *self.merged;
        (*scd1, *files) = blocking(|| read_table(store, keys))?;
        Ok(())
    }

    /// The table, as of the newest commit known.
    pub(crate) fn store(&self) -> &Store {
        &self.merged.store
    }

    /// Bytes that the changes take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn described(&self, mut done: Committed) -> Committed {
        let scd1 = &self.merged.scd1;
        done.live_rows = scd1.index().len();
        done.index_bytes = scd1.index().memory_bytes() as u64;
        done.graves = scd1.graves().len() as u64;
        done
    }
}

impl Merged {
    /// Takes a table in hand: reads the graves and builds the index.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Gap`] if graves or data files are gone or damaged.
    pub(super) fn load(store: Store, mut keys: KeyReader) -> Result<Self> {
        let (scd1, files) = read_table(&store, &mut keys).map_err(|error| store.on(error))?;
        Ok(Self { store, keys, scd1, files, forgot: false })
    }

    pub(super) fn live_rows(&self) -> u64 {
        self.scd1.index().len()
    }

    /// Writes graves and marks, if they are others than those that the last commit names.
    fn write_graves(&self, plan: &Plan, record: &mut Record, commit: Uuid) -> Result<Option<PathBuf>> {
        let scd1 = &self.scd1;
        let lives_again = || plan.keys.iter().any(|(key, _)| scd1.graves().get(*key).is_some());
        let same = plan.deletes() == 0 && plan.marks == *scd1.marks() && !self.forgot;
        if same && (scd1.graves().len() == 0 || !lives_again()) {
            return Ok(None);
        }
        let bytes = scd1.graves_file(plan).encode();
        let name =
            GravesName { file: format!("graves-{commit}.bin"), crc: checksum(&bytes), bytes: bytes.len() as u64 };
        let path = self.store.state_folder()?.join(&name.file);
        durable::write(&path, &bytes)?;
        record.graves = Some(name);
        Ok(Some(path))
    }

    fn fold(&mut self, plan: Plan, file: Option<(DataFile, PathBuf)>) -> Result<()> {
        let removed = plan.removed.clone();
        let added = file
            .map(|(file, path)| Ok((self.files.add(&file.path, path)?, entry(&file, roaring::RoaringBitmap::new())?)));
        self.scd1.fold(plan, added.transpose()?)?;
        for id in removed {
            self.files.remove(id);
        }
        Ok(())
    }
}

/// The live rows of a table: which of them lie where, and what the guard knows.
fn read_table(store: &Store, keys: &mut KeyReader) -> Result<(Scd1, Files)> {
    let state = store.state();
    let live = state.files.iter().map(|live| live.file.rows.saturating_sub(live.deleted.len())).sum();
    let mut scd1 = Scd1::with_room(read_graves(store, keys)?, live);
    let mut files = Files::default();
    for live in &state.files {
        let path = store.local_path(&live.file.path)?;
        let id = files.add(&live.file.path, path.clone())?;
        scd1.add_file(id, entry(&live.file, live.deleted.clone())?)?;
        let mut first = 0u32;
        for columns in data_file::scan(&path, &state.layout.key)? {
            let columns = columns?;
            let cells = columns.iter().map(|column| Cells::new(column)).collect::<Result<Vec<_>>>()?;
            let rows = u32::try_from(columns.first().map_or(0, |column| column.len())).unwrap_or(u32::MAX);
            let mut key = Vec::with_capacity(cells.len());
            for row in (0..rows).filter(|row| !live.deleted.contains(first + row)) {
                key.clear();
                for cells in &cells {
                    key.push(cells.value(row as usize)?);
                }
                scd1.add_row(keys.id_of_values(&key)?, Location { file: id, row: first + row })?;
            }
            first += rows;
        }
    }
    scd1.check_invariant()?;
    Ok((scd1, files))
}

/// Graves and marks of the commit that the store knows. A name without its file is a gap: deleted rows could come back.
fn read_graves(store: &Store, keys: &KeyReader) -> Result<GravesFile> {
    let Some(name) = &store.record().graves else { return Ok(GravesFile::empty(keys.kind())) };
    let folder = store.state_folder()?;
    remove_old_graves(&folder, &name.file);
    let path = folder.join(&name.file);
    let damaged = |why: &str| {
        Error::gap(format!("the file that remembers deleted rows {why}"))
            .on(path.display().to_string())
            .remedy("restore the file, or drop the lake table and take a new snapshot of this table")
    };
    let bytes = std::fs::read(&path).map_err(|error| damaged("cannot be read").because(error))?;
    if bytes.len() as u64 != name.bytes || checksum(&bytes) != name.crc {
        return Err(damaged("is not the one that the table names"));
    }
    let file = GravesFile::decode(&bytes).map_err(|error| damaged("is damaged").because(error))?;
    if file.kind != keys.kind() {
        return Err(damaged("is of another key"));
    }
    Ok(file)
}

/// Removes graves files that a crash left behind. Not young ones: a commit of another process may be about to name them.
fn remove_old_graves(folder: &Path, named: &str) {
    let is_old = |path: &Path| {
        let age = path.metadata().and_then(|file| file.modified()).ok().and_then(|at| at.elapsed().ok());
        age.is_some_and(|age| age > Duration::from_hours(24))
    };
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let ours = files.filter(|path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with("graves-") && name != named
    });
    ours.filter(|path| is_old(path)).for_each(|path| discard(&path));
}

/// The CRC-32 that the file ends with, if it is whole. (Over the file with its own checksum every CRC is the same.)
pub(crate) fn checksum(graves_file: &[u8]) -> u32 {
    crc32fast::hash(graves_file.split_last_chunk::<4>().map_or(graves_file, |(content, _)| content))
}

fn entry(file: &DataFile, deleted: roaring::RoaringBitmap) -> Result<FileEntry> {
    let rows = u32::try_from(file.rows).map_err(|_| Error::bug("a data file of more than 2^32 rows"))?;
    Ok(FileEntry { rows, seq_min: file.seq_min, seq_max: file.seq_max, deleted })
}

fn seq_field(layout: &Layout) -> Result<i32> {
    layout.field(SEQ).map(|field| field.id).ok_or_else(|| Error::bug("a lake table without order tokens"))
}

impl Committed {
    fn count(&mut self, plan: &Plan, file: Option<&DataFile>) {
        self.commits += 1;
        self.rows_written += plan.rows.len() as u64;
        self.rows_deleted += plan.replaced;
        self.bytes_written += file.map_or(0, |file| file.bytes);
        self.count_dropped(plan.dropped);
    }

    fn count_dropped(&mut self, dropped: Dropped) {
        let Dropped { stale_row, stale_grave, below_mark, below_horizon } = dropped;
        for (reason, count) in [
            ("stale_row", stale_row),
            ("stale_grave", stale_grave),
            ("below_mark", below_mark),
            ("below_horizon", below_horizon),
        ] {
            *self.dropped.entry(reason).or_default() += count;
        }
    }
}
