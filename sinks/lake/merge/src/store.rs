//! A lake table in our hands: the format's handle, and the record of ours that each commit carries.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use walbrook_config::TableMode;
use walbrook_model::{Error, Result, TableSchema};

use crate::durable;
use crate::format::{Commit, LakeCatalog, LakeName, Outcome, TableFormat, TableState};
use crate::layout::Layout;
use crate::properties::{Owner, Record};

/// How often a commit is planned again after another writer was faster.
pub(crate) const ATTEMPTS: u32 = 8;

/// A table that belongs to this pipeline.
pub(crate) struct Store {
    format: Box<dyn TableFormat>,
    record: Record,
    name: LakeName,
}

impl Store {
    /// Opens the table; `None` if there is none.
    ///
    /// # Errors
    /// As for [`Record::check_owner`]; [`walbrook_model::ErrorKind::Config`] if walbrook did not make the table.
    pub(crate) async fn open(catalog: &dyn LakeCatalog, name: &LakeName, owner: &Owner) -> Result<Option<Self>> {
        let Some(format) = catalog.open(name).await? else { return Ok(None) };
        let on = |error: Error| error.on(format!("lake table {name}"));
        let record = read_record(format.state(), owner).map_err(on)?;
        Ok(Some(Self { format, record, name: name.clone() }))
    }

    /// Creates the table.
    pub(crate) async fn create(
        catalog: &dyn LakeCatalog,
        name: &LakeName,
        owner: Owner,
        schema: &TableSchema,
        mode: TableMode,
    ) -> Result<Self> {
        let record = Record::new(owner);
        let format = catalog.create(name, &Layout::of(schema, mode)?, record.write()?).await?;
        Ok(Self { format, record, name: name.clone() })
    }

    /// The table as of the newest commit known.
    pub(crate) fn state(&self) -> &TableState {
        self.format.state()
    }

    /// Its name in the lake.
    pub(crate) fn name(&self) -> &LakeName {
        &self.name
    }

    /// What the newest commit known says of the table.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Commits, with `record` as the new one. After [`Outcome::Conflict`] the state and the record are those of the
    /// winner.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Transient`] also if the commit is in the table and another one of ours behind it.
    pub(crate) async fn commit(&mut self, mut commit: Commit, mut record: Record) -> Result<Outcome> {
        record.commits = self.record.commits + 1;
        commit.properties = record.write()?;
        let outcome = self.format.commit(commit).await.map_err(|error| self.on(error))?;
        self.record = read_record(self.format.state(), &self.record.owner).map_err(|error| self.on(error))?;
        if outcome == Outcome::Committed && self.record != record {
            // It was long until the outcome was known: what is known of the rows is older than the table.
            return Err(self.on(Error::transient("another process of this pipeline wrote into the table")));
        }
        Ok(outcome)
    }

    /// Looks for commits of others. Whether there are any.
    pub(crate) async fn reload(&mut self) -> Result<bool> {
        self.format.reload().await.map_err(|error| self.on(error))?;
        let known = self.record.commits;
        self.record = read_record(self.format.state(), &self.record.owner).map_err(|error| self.on(error))?;
        Ok(self.record.commits != known)
    }

    /// Folder and prefix of data files.
    pub(crate) fn data_folder(&self) -> (PathBuf, String) {
        self.format.data_folder()
    }

    /// The folder for graves; it is there when this returns.
    pub(crate) fn state_folder(&self) -> Result<PathBuf> {
        let folder = self.format.state_folder();
        durable::create_folder(&folder)?;
        Ok(folder)
    }

    /// The local path of a data file.
    pub(crate) fn local_path(&self, location: &str) -> Result<PathBuf> {
        self.format.local_path(location)
    }

    /// Says which table an error is about, unless it says more than that.
    pub(crate) fn on(&self, error: Error) -> Error {
        if error.object().is_some() { error } else { error.on(format!("lake table {}", self.name)) }
    }
}

fn read_record(state: &TableState, owner: &Owner) -> Result<Record> {
    let record = Record::read(&state.properties)?.ok_or_else(|| {
        Error::config("a table of this name exists already, and walbrook did not make it")
            .remedy("rename or drop it, or set another [sink.lake] namespace")
    })?;
    record.check_owner(owner)?;
    Ok(record)
}

/// A new commit.
pub(crate) fn new_commit() -> Commit {
    Commit { id: Uuid::now_v7(), ..Commit::default() }
}

/// Runs blocking work without holding up other tasks, where the runtime has threads for them.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Removes a file that no commit names. One that stays is only waste.
pub(crate) fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "a file that no commit names was left behind");
    }
}
