//! A table and its commits.
//!
//! ```text
//! plan (memory) -> files durable -> version N+1 published -> hint -> in memory -> garbage deleted
//!                                   `- taken or unclear: whose commit id does it hold?
//! ```
//!
//! Memory follows the table, never the other way: it changes only after a version was published, and is read anew when
//! another writer was first.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::task::JoinHandle;
use uuid::Uuid;
use walbrook_lake_merge::format::{Commit, Outcome, TableFormat, TableState};
use walbrook_model::{Error, Result};

use crate::expire::{self, Expired, History};
use crate::folder::{self, Folder, Stamp};
use crate::load::{self, Loaded};
use crate::metadata::Metadata;
use crate::plan::{self, Base, Plan};

/// A table in a folder.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) folder: Folder,
    state_folder: PathBuf,
    keep_snapshots: u32,
    pub(crate) loaded: Loaded,
    history: History,
    /// Files that are not needed any more go while the table goes on.
    deleting: Option<JoinHandle<()>>,
}

/// What became of an attempt to publish a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    /// It follows the version that it was planned on.
    Newest,
    /// Other versions did; whether ours is among their ancestors, they say themselves.
    Others,
}

impl Table {
    /// A table that was read.
    pub(crate) fn new(folder: Folder, warehouse: &Path, keep_snapshots: u32, loaded: Loaded) -> Self {
        let state_folder = warehouse.join(".walbrook").join(loaded.state.uuid.to_string());
        Self { folder, state_folder, keep_snapshots, loaded, history: History::default(), deleting: None }
    }

    async fn load_newest(&mut self) -> Result<()> {
        let folder = self.folder.clone();
        let loaded = blocking(move || load::newest(&folder)).await?;
        let dropped = |what: &str| Error::gap(what).on(self.folder.location());
        let loaded = loaded.ok_or_else(|| dropped("the table was dropped"))?;
        if loaded.state.uuid != self.loaded.state.uuid {
            return Err(dropped("the table was dropped and created anew"));
        }
        self.loaded = loaded;
        self.history = History::default();
        Ok(())
    }

    fn plan(&self, commit: &Commit) -> Result<Plan> {
        let base = Base {
            folder: &self.folder,
            version: self.loaded.version,
            metadata: &self.loaded.metadata,
            tree: &self.loaded.tree,
            state: &self.loaded.state,
            keep_snapshots: self.keep_snapshots,
            now_ms: now_ms(),
        };
        plan::plan(&base, commit)
    }

    /// Follows a plan that was published.
    fn follow(&mut self, plan: Plan, commit: Commit) -> (Expired, Vec<PathBuf>) {
        let Loaded { version, stamp, metadata, tree, state, pending } = &mut self.loaded;
        *version += 1;
        *stamp = self.folder.stamp(*version);
        *metadata = plan.metadata;
        state.snapshot = metadata.current_snapshot_id;
        state.properties.clone_from(&metadata.properties);
        if let Some(mut layout) = commit.layout {
            layout.schema_id = metadata.current_schema_id;
            layout.last_id = metadata.last_column_id;
            state.layout = layout;
        }
        if let Some(change) = plan.change {
            tree.apply(change, state);
            for (path, deleted) in commit.deleted {
                if let Some(live) = tree.files.get(path.as_str()).and_then(|file| state.files.get_mut(file.slot)) {
                    live.deleted = deleted;
                }
            }
        }
        if let Some((snapshot, retired)) = plan.retired {
            self.history.insert(snapshot, retired);
        }
        let mut expired = plan.expired;
        expired.snapshots.splice(0..0, std::mem::take(&mut pending.snapshots));
        (expired, plan.old_metadata)
    }

    /// Deletes what only expired snapshots and old versions need. Failure leaves files behind, nothing else.
    async fn delete_garbage(&mut self, expired: Expired, old_metadata: Vec<PathBuf>) {
        let mut garbage = Vec::new();
        let metadata = &self.loaded.metadata;
        if expired.one_line && metadata.may_delete_files() && !expired.snapshots.is_empty() {
            let unknown = self.history.unknown(&expired, metadata);
            let found =
                if unknown.is_empty() { Ok(Vec::new()) } else { blocking(move || expire::read_back(&unknown)).await };
            match found {
                Ok(found) => {
                    self.history.learn(found, &self.loaded.tree);
                    garbage = self.history.garbage(&expired, &self.loaded.metadata, &self.folder);
                }
                Err(error) => {
                    tracing::warn!(table = %self.folder.location(), %error, "files of expired snapshots not deleted");
                    self.loaded.pending = expired;
                }
            }
        } else if !expired.snapshots.is_empty() {
            tracing::info!(
                table = %self.folder.location(),
                snapshots = expired.snapshots.len(),
                "files of expired snapshots stay: the table has branches, tags or gc.enabled=false"
            );
        }
        garbage.extend(old_metadata);
        if !garbage.is_empty() {
            // One after the other: old versions go in ascending order.
            self.finish_deleting().await;
            self.deleting = Some(tokio::task::spawn_blocking(move || {
                for path in &garbage {
                    folder::delete(path);
                }
            }));
        }
    }

    /// Waits for files that are being deleted.
    pub(crate) async fn finish_deleting(&mut self) {
        if let Some(deleting) = self.deleting.take()
            && let Err(error) = deleting.await
        {
            tracing::warn!(table = %self.folder.location(), %error, "files of expired snapshots not deleted");
        }
    }
}

#[async_trait]
impl TableFormat for Table {
    fn state(&self) -> &TableState {
        &self.loaded.state
    }

    async fn reload(&mut self) -> Result<()> {
        let (folder, version, stamp) = (self.folder.clone(), self.loaded.version, self.loaded.stamp);
        let current = blocking(move || Ok(folder.stamp(version) == stamp && !folder.exists(version + 1)?)).await?;
        if current { Ok(()) } else { self.load_newest().await }
    }

    async fn commit(&mut self, commit: Commit) -> Result<Outcome> {
        if !commit.id.is_nil() && self.loaded.metadata.holds(commit.id) {
            return Ok(Outcome::Committed);
        }
        let mut plan = self.plan(&commit)?;
        let attempt = Attempt {
            folder: self.folder.clone(),
            base: self.loaded.version,
            base_stamp: self.loaded.stamp,
            commit: commit.id,
            added: commit.added.iter().map(|file| (file.path.clone(), file.bytes)).collect(),
            files: std::mem::take(&mut plan.files),
            json: std::mem::take(&mut plan.json),
        };
        if blocking(move || attempt.run()).await? == Published::Newest {
            let (expired, old_metadata) = self.follow(plan, commit);
            self.delete_garbage(expired, old_metadata).await;
            return Ok(Outcome::Committed);
        }
        self.load_newest().await?;
        Ok(if self.loaded.metadata.holds(commit.id) { Outcome::Committed } else { Outcome::Conflict })
    }

    fn data_folder(&self) -> (PathBuf, String) {
        (self.folder.data(), format!("{}/data", self.loaded.metadata.location))
    }

    fn state_folder(&self) -> PathBuf {
        self.state_folder.clone()
    }

    fn local_path(&self, location: &str) -> Result<PathBuf> {
        folder::local_path(location)
    }
}

/// A plan on its way to the disk.
struct Attempt {
    folder: Folder,
    base: u64,
    base_stamp: Option<Stamp>,
    commit: Uuid,
    /// New data files and their sizes.
    added: Vec<(String, u64)>,
    files: Vec<folder::NewFile>,
    json: Vec<u8>,
}

impl Attempt {
    fn run(&self) -> Result<Published> {
        let version = self.base + 1;
        if !self.base_is_there() || self.folder.exists(version)? {
            return Ok(Published::Others);
        }
        self.check_added()?;
        let draft = self.folder.draft_path();
        let files = self.files.iter().map(|(path, bytes)| (path.as_path(), bytes.as_slice()));
        let files: Vec<_> = files.chain([(draft.as_path(), self.json.as_slice())]).collect();
        folder::write_all(&files).inspect_err(|_| {
            folder::delete(&draft);
            self.discard();
        })?;
        let published = match self.folder.publish(version, &draft) {
            Ok(true) => true,
            Ok(false) => self.is_ours(version)?,
            // Nothing can be said until the version is looked at.
            Err(error) => {
                if !self.folder.exists(version)? {
                    return Err(error);
                }
                tracing::warn!(table = %self.folder.location(), version, %error, "outcome of a commit was unclear");
                self.is_ours(version)?
            }
        };
        if !published {
            if self.folder.version_path(version).exists() {
                self.discard();
            }
            return Ok(Published::Others);
        }
        if !self.base_is_there() {
            return self.settle(version).map(|()| Published::Others);
        }
        self.folder.write_hint(version);
        Ok(Published::Newest)
    }

    fn base_is_there(&self) -> bool {
        self.base_stamp.is_some() && self.folder.stamp(self.base) == self.base_stamp
    }

    /// New data files are complete: a commit must not name what is not there.
    fn check_added(&self) -> Result<()> {
        for (location, bytes) in &self.added {
            let path = folder::local_path(location)?;
            let size = std::fs::metadata(&path).map_err(|error| folder::failed(error, &path))?.len();
            if size != *bytes {
                return Err(Error::bug("a new data file has another size than said").on(location.as_str()));
            }
        }
        Ok(())
    }

    /// Whether a version is the one that we published; if so it is durable.
    fn is_ours(&self, version: u64) -> Result<bool> {
        let path = self.folder.version_path(version);
        let ours = path.exists() && folder::read(&path)? == self.json;
        if ours {
            self.folder.sync_version(version)?;
        }
        Ok(ours)
    }

    /// We published, but what we planned on is gone: either we slept while others published many versions and deleted
    /// old ones, and ours is a stray that nobody follows; or all that happened after it. The newest version tells.
    fn settle(&self, version: u64) -> Result<()> {
        let newest = self.folder.highest()?.filter(|newest| *newest != version);
        let is_followed = match newest.map(|newest| self.folder.version_path(newest)) {
            Some(path) => Metadata::parse(&folder::read(&path)?)?.holds(self.commit),
            None => false,
        };
        if !is_followed {
            folder::delete(&self.folder.version_path(version));
        }
        Ok(())
    }

    /// Deletes the files of an attempt that is known not to be in the table.
    fn discard(&self) {
        self.files.iter().for_each(|(path, _)| folder::delete(path));
    }
}

/// Runs what waits for the disk where it may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::transient("interrupted").because(error)),
    }
}

/// The clock.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
