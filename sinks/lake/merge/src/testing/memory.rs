//! A catalog whose metadata lives in memory, and whose commits can be told to fail. Data files are real.
//!
//! It checks what a real format would rely on: that files are there, that deleted rows only grow, that a graves file is
//! the one that is named.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use roaring::RoaringBitmap;
use uuid::Uuid;
use walbrook_model::{Error, Result, Value};

use crate::cells::Cells;
use crate::data_file;
use crate::format::{Commit, LakeCatalog, LakeName, LiveFile, Outcome, TableFormat, TableState};
use crate::layout::{LakeField, Layout};
use crate::properties::Record;

/// What a commit is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the commit.
    CrashBefore,
    /// The process dies after it.
    CrashAfter,
    /// Another writer is first: it merges nothing, but makes a version.
    Conflict,
    /// The commit is made, and before that is known another process of the pipeline has made one behind it.
    Passed,
}

/// Decides on the fault of each commit, by the table's name and the number of commits tried so far.
pub type Plan = Box<dyn FnMut(&LakeName, usize) -> Option<Fault> + Send>;

/// A catalog in memory.
#[derive(Clone)]
pub struct MemoryCatalog(Arc<Mutex<Inner>>);

struct Inner {
    root: PathBuf,
    tables: HashMap<LakeName, TableState>,
    commits: usize,
    plan: Option<Plan>,
    log: Vec<LakeName>,
}

impl MemoryCatalog {
    /// A catalog whose data files lie below `root`.
    pub fn new(root: &Path) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            root: root.to_owned(),
            tables: HashMap::new(),
            commits: 0,
            plan: None,
            log: Vec::new(),
        })))
    }

    /// Decides on the faults of the commits to come; counts them from 0.
    pub fn set_plan(&self, plan: impl FnMut(&LakeName, usize) -> Option<Fault> + Send + 'static) {
        let mut inner = self.lock();
        inner.commits = 0;
        inner.plan = Some(Box::new(plan));
    }

    /// No more faults.
    pub fn clear_plan(&self) {
        self.lock().plan = None;
    }

    /// Commits that were tried since the plan was set.
    pub fn commits(&self) -> usize {
        self.lock().commits
    }

    /// The tables that were committed, in order.
    pub fn log(&self) -> Vec<LakeName> {
        self.lock().log.clone()
    }

    /// A table as it is.
    pub fn state(&self, name: &LakeName) -> Option<TableState> {
        self.lock().tables.get(name).cloned()
    }

    /// Changes a table behind the sink's back.
    pub fn tamper(&self, name: &LakeName, change: impl FnOnce(&mut TableState)) {
        if let Some(state) = self.lock().tables.get_mut(name) {
            change(state);
        }
    }

    /// Takes a table away.
    pub fn drop_table(&self, name: &LakeName) {
        self.lock().tables.remove(name);
    }

    /// The live rows of a table, as text by column, in no order.
    pub fn rows(&self, name: &LakeName) -> Result<Vec<BTreeMap<String, String>>> {
        let Some(state) = self.state(name) else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        let ids: Vec<i32> = state.layout.fields.iter().map(|field| field.id).collect();
        for live in &state.files {
            let mut first = 0;
            for columns in data_file::scan_present(Path::new(&live.file.path), &ids)? {
                let columns = columns?;
                let count = columns.iter().flatten().map(|column| column.len()).max().unwrap_or(0);
                for row in (0..count).filter(|row| !live.deleted.contains(first + u32::try_from(*row).unwrap_or(0))) {
                    let cells = state.layout.fields.iter().zip(&columns);
                    rows.push(cells.map(|(field, column)| shown(field, column.as_ref(), row)).collect::<Result<_>>()?);
                }
                first += u32::try_from(count).unwrap_or(0);
            }
        }
        Ok(rows)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(field: &LakeField, column: Option<&arrow_array::ArrayRef>, row: usize) -> Result<(String, String)> {
    let value = match column {
        Some(column) => Cells::new(column)?.value(row)?.into_owned(),
        None => crate::evolve::default_value(field)?,
    };
    let text = match value {
        Value::Null => "~".to_owned(),
        Value::Text(text) => text.into_owned(),
        Value::Int(number) => number.to_string(),
        Value::Decimal(decimal) => decimal.to_string(),
        other => format!("{other:?}"),
    };
    Ok((field.name.clone(), text))
}

#[async_trait]
impl LakeCatalog for MemoryCatalog {
    async fn open(&self, name: &LakeName) -> Result<Option<Box<dyn TableFormat>>> {
        let state = self.state(name);
        Ok(state.map(|state| Box::new(MemoryTable { catalog: self.clone(), name: name.clone(), state }) as _))
    }

    async fn create(
        &self,
        name: &LakeName,
        layout: &Layout,
        properties: BTreeMap<String, String>,
    ) -> Result<Box<dyn TableFormat>> {
        let state =
            TableState { uuid: Uuid::new_v4(), snapshot: None, layout: layout.clone(), files: Vec::new(), properties };
        match self.lock().tables.entry(name.clone()) {
            Entry::Occupied(_) => return Err(Error::config("the table exists already")),
            Entry::Vacant(place) => place.insert(state),
        };
        self.open(name).await?.ok_or_else(|| Error::bug("a table that was just created is gone"))
    }
}

struct MemoryTable {
    catalog: MemoryCatalog,
    name: LakeName,
    state: TableState,
}

#[async_trait]
impl TableFormat for MemoryTable {
    fn state(&self) -> &TableState {
        &self.state
    }

    async fn reload(&mut self) -> Result<()> {
        self.state = self.catalog.state(&self.name).ok_or_else(|| Error::gap("the table is gone"))?;
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<Outcome> {
        let mut inner = self.catalog.lock();
        let number = inner.commits;
        inner.commits += 1;
        let fault = inner.plan.as_mut().and_then(|plan| plan(&self.name, number));
        let current = inner.tables.get(&self.name).cloned().ok_or_else(|| Error::gap("the table is gone"))?;
        match fault {
            Some(Fault::CrashBefore) => return Err(crash()),
            Some(Fault::Conflict) => {
                let mut other = current;
                other.snapshot = Some(other.snapshot.unwrap_or(0) + 1);
                inner.tables.insert(self.name.clone(), other.clone());
                self.state = other;
                return Ok(Outcome::Conflict);
            }
            _ if current.snapshot != self.state.snapshot || current.properties != self.state.properties => {
                self.state = current;
                return Ok(Outcome::Conflict);
            }
            _ => {}
        }
        let state_folder = inner.root.join("state").join(self.name.to_string());
        let mut next = apply(current, commit, &state_folder)?;
        if let (Some(Fault::Passed), Some(mut record)) = (fault, Record::read(&next.properties)?) {
            record.commits += 1;
            next.properties.extend(record.write()?);
        }
        inner.tables.insert(self.name.clone(), next.clone());
        inner.log.push(self.name.clone());
        if fault == Some(Fault::CrashAfter) {
            return Err(crash());
        }
        self.state = next;
        Ok(Outcome::Committed)
    }

    fn data_folder(&self) -> (PathBuf, String) {
        let folder = self.catalog.lock().root.join("data").join(self.name.to_string());
        let prefix = folder.display().to_string();
        (folder, prefix)
    }

    fn state_folder(&self) -> PathBuf {
        self.catalog.lock().root.join("state").join(self.name.to_string())
    }

    fn local_path(&self, location: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(location))
    }
}

fn crash() -> Error {
    Error::transient("the process died")
}

fn apply(mut state: TableState, commit: Commit, state_folder: &Path) -> Result<TableState> {
    if commit.changes_rows() {
        state.snapshot = Some(state.snapshot.unwrap_or(0) + 1);
    }
    for path in &commit.removed {
        let before = state.files.len();
        state.files.retain(|live| live.file.path != *path);
        check(state.files.len() + 1 == before, "a removed file is not in the table")?;
    }
    for (path, rows) in commit.deleted {
        let live = state.files.iter_mut().find(|live| live.file.path == path);
        let live = live.ok_or_else(|| Error::bug("rows of a file that is not in the table were deleted"))?;
        check(live.deleted.is_subset(&rows), "a deleted row came back")?;
        check(rows.max().is_none_or(|row| u64::from(row) < live.file.rows), "a row behind the end was deleted")?;
        live.deleted = rows;
    }
    for file in commit.added {
        check(Path::new(&file.path).is_file(), "an added file is not there")?;
        check(state.files.iter().all(|live| live.file.path != file.path), "a file was added twice")?;
        state.files.push(LiveFile { file, deleted: RoaringBitmap::new() });
    }
    state.layout = commit.layout.unwrap_or(state.layout);
    state.properties.extend(commit.properties);
    if let Some(Record { graves: Some(graves), .. }) = Record::read(&state.properties)? {
        let bytes =
            std::fs::read(state_folder.join(graves.file)).map_err(|error| Error::bug("graves").because(error))?;
        check(crate::upsert::checksum(&bytes) == graves.crc, "another graves file than the one that is named")?;
    }
    Ok(state)
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::bug(what)) }
}
