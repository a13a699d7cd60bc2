//! The folder of a table: durable files, and the exclusive publication of a metadata version.
//!
//! ```text
//! <warehouse>/<namespace>/<table>/metadata/vN.metadata.json     version N: complete and durable as soon as it is there
//!                                 metadata/version-hint.text    N, or a little less
//!                                 metadata/...avro              manifests and manifest lists
//!                                 data/...                      data files and deletion vectors
//! ```
//!
//! A version is published by a hard link, which fails if the version exists: of two writers one wins, and no reader
//! ever sees half a file (Hadoop's own catalog looks before it renames, so that of two writers at the same moment, one of
//! them Spark, the other one's commit can be lost: schedule its maintenance while the daemon rests). Old versions are deleted in ascending order, so as long as version N is there after N + 1 was
//! published, N + 1 followed the newest version.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use walbrook_model::{Error, Result};

/// How many files of a commit are written at a time.
const THREADS_MAX: usize = 8;

/// Inode, length and time of change of a file.
pub(crate) type Stamp = (u64, u64, i64, i64);

/// A file to be written.
pub(crate) type NewFile = (PathBuf, Vec<u8>);

/// Where a commit can be interrupted by a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All files are durable but the version.
    BeforePublish,
    /// The version is there, but the folder is not synced.
    AfterPublish,
    /// The version is durable, the hint is old.
    BeforeHint,
}

/// The folder of one table.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    #[cfg(test)]
    pub(crate) fault: std::sync::Arc<std::sync::Mutex<Option<Step>>>,
}

impl Folder {
    /// The folder at `root`, an absolute path without symbolic links, which need not exist.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            #[cfg(test)]
            fault: std::sync::Arc::default(),
        }
    }

    /// The table's location, as its metadata has it.
    pub(crate) fn location(&self) -> String {
        format!("file://{}", self.root.display())
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder for data files.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The folder for metadata.
    pub(crate) fn metadata(&self) -> PathBuf {
        self.root.join("metadata")
    }

    /// The local path of a location, if it is below this folder.
    pub(crate) fn own_path(&self, location: &str) -> Option<PathBuf> {
        let path = local_path(location).ok()?;
        let plain = |part: Component| matches!(part, Component::RootDir | Component::Normal(_));
        (path.starts_with(&self.root) && path.components().all(plain)).then_some(path)
    }

    /// The metadata file of a version.
    pub(crate) fn version_path(&self, version: u64) -> PathBuf {
        self.metadata().join(format!("v{version}.metadata.json"))
    }

    /// Creates the folders, durably.
    pub(crate) fn create(&self, warehouse: &Path) -> Result<()> {
        let create = || {
            fs::create_dir_all(self.data())?;
            fs::create_dir_all(self.metadata())?;
            let below = self.root.ancestors().take_while(|path| path.starts_with(warehouse));
            below.into_iter().try_for_each(sync)
        };
        create().map_err(|error| failed(error, &self.root))
    }

    /// Tells a version's file from any other that may take its place; `None` if it is gone.
    pub(crate) fn stamp(&self, version: u64) -> Option<Stamp> {
        let file = fs::metadata(self.version_path(version)).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    }

    /// The newest version; `None` if there is no table.
    pub(crate) fn newest(&self) -> Result<Option<u64>> {
        if let Some(hint) = self.hint()
            && self.exists(hint)?
        {
            return self.newest_from(hint).map(Some);
        }
        self.highest()
    }

    /// The newest version, which is `version` or one behind it.
    pub(crate) fn newest_from(&self, mut version: u64) -> Result<u64> {
        while self.exists(version + 1)? {
            version += 1;
        }
        Ok(version)
    }

    /// The highest version that the folder holds.
    pub(crate) fn highest(&self) -> Result<Option<u64>> {
        let folder = self.metadata();
        let list = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            list => list.map_err(|error| failed(error, &folder))?,
        };
        let mut highest = None;
        for file in list {
            let name = file.map_err(|error| failed(error, &folder))?.file_name();
            highest = highest.max(name.to_str().and_then(version_of));
        }
        Ok(highest)
    }

    /// Whether a version exists, in the form that other tools give compressed ones too.
    pub(crate) fn exists(&self, version: u64) -> Result<bool> {
        let compressed = self.metadata().join(format!("v{version}.gz.metadata.json"));
        for path in [self.version_path(version), compressed] {
            if path.try_exists().map_err(|error| failed(error, &path))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn hint(&self) -> Option<u64> {
        let mut text = String::new();
        File::open(self.metadata().join("version-hint.text")).ok()?.take(64).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// Where a version is written before it is published.
    pub(crate) fn draft_path(&self) -> PathBuf {
        self.metadata().join(format!("{}.draft", uuid::Uuid::new_v4()))
    }

    /// Publishes a draft as a version; false if the version exists. After an error the version may exist or not.
    pub(crate) fn publish(&self, version: u64, draft: &Path) -> Result<bool> {
        let path = self.version_path(version);
        let linked = self.step(Step::BeforePublish).and_then(|()| fs::hard_link(draft, &path));
        let _ = fs::remove_file(draft);
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(error, &path)),
            Ok(()) => {
                self.step(Step::AfterPublish).map_err(|error| failed(error, &path))?;
                sync(&self.metadata()).map_err(|error| failed(error, &path)).map(|()| true)
            }
        }
    }

    /// Makes sure that a version, which is there, is durable.
    pub(crate) fn sync_version(&self, version: u64) -> Result<()> {
        let path = self.version_path(version);
        sync(&path).and_then(|()| sync(&self.metadata())).map_err(|error| failed(error, &path))
    }

    /// Notes the newest version for readers that do not list the folder. They look ahead from it, so failure is fine.
    pub(crate) fn write_hint(&self, version: u64) {
        let draft = self.draft_path();
        let written = self
            .step(Step::BeforeHint)
            .and_then(|()| fs::write(&draft, version.to_string()))
            .and_then(|()| fs::rename(&draft, self.metadata().join("version-hint.text")));
        if let Err(error) = written {
            let _ = fs::remove_file(&draft);
            tracing::warn!(folder = %self.root.display(), version, %error, "version hint not written");
        }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests interrupt here")]
    fn step(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self, step: Step) -> io::Result<()> {
        let mut fault = self.fault.lock().unwrap();
        if *fault == Some(step) {
            *fault = None;
            return Err(io::Error::other("interrupted"));
        }
        Ok(())
    }
}

/// Makes files durable, their names too. The disk takes them all at once: it is the waiting that costs.
pub(crate) fn write_all(files: &[(&Path, &[u8])]) -> Result<()> {
    at_once(files, |(path, bytes)| write(path, bytes).map_err(|error| failed(error, path)))?;
    let mut folders: Vec<_> = files.iter().filter_map(|(path, _)| path.parent()).collect();
    folders.sort_unstable();
    folders.dedup();
    at_once(&folders, |folder| sync(folder).map_err(|error| failed(error, folder)))
}

fn at_once<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    let share = items.len().div_ceil(THREADS_MAX).max(1);
    std::thread::scope(|scope| {
        let threads = items.chunks(share).skip(1).map(|items| scope.spawn(move || items.iter().try_for_each(work)));
        let threads: Vec<_> = threads.collect();
        let own = items.iter().take(share).try_for_each(work);
        let panicked = |_| Err(Error::bug("a thread that writes files panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).fold(own, Result::and)
    })
}

/// The local path of a location.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Config`] if it is not a path of the local file system.
pub(crate) fn local_path(location: &str) -> Result<PathBuf> {
    let path = match location.strip_prefix("file:") {
        Some(path) => path.strip_prefix("//").unwrap_or(path),
        None => location,
    };
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(Error::config("not a location in the local file system").on(location))
}

/// The whole of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| failed(error, path))
}

/// Parts of a file of a known size: offset and length.
pub(crate) fn read_parts(path: &Path, whole: u64, parts: &[(u64, u64)]) -> Result<Vec<Vec<u8>>> {
    let file = File::open(path).map_err(|error| failed(error, path))?;
    let size = file.metadata().map_err(|error| failed(error, path))?.len();
    let wrong_size = || Error::data("a file of another size than the table says").on(path.display().to_string());
    if size != whole {
        return Err(wrong_size());
    }
    let read = |(offset, bytes): &(u64, u64)| {
        if offset.checked_add(*bytes).is_none_or(|end| end > size) {
            return Err(wrong_size());
        }
        let mut part = vec![0; usize::try_from(*bytes).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut part, *offset).map_err(|error| failed(error, path))?;
        Ok(part)
    };
    parts.iter().map(read).collect()
}

/// Deletes a file; one that is gone already is fine, and so is failure.
pub(crate) fn delete(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "file that is not needed any more not deleted");
    }
}

/// The version that a metadata file is of.
fn version_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix('v')?.strip_suffix(".metadata.json")?;
    number.strip_suffix(".gz").unwrap_or(number).parse().ok()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The error of a file that cannot be read or written.
pub(crate) fn failed(error: io::Error, path: &Path) -> Error {
    let on = path.display().to_string();
    match error.kind() {
        ErrorKind::NotFound => Error::data("a file of the table is missing").on(on).because(error),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::config("access refused")
            .on(on)
            .remedy("let the user of the daemon read and write the warehouse folder")
            .because(error),
        ErrorKind::Unsupported => Error::config("the file system has no hard links")
            .on(on)
            .remedy("put the warehouse on a local file system")
            .because(error),
        _ => Error::transient("file access failed").on(on).because(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn of_many_writers_of_a_version_one_publishes() {
        let warehouse = tempfile::tempdir().unwrap();
        let root = warehouse.path().canonicalize().unwrap();
        let folder = Folder::new(root.join("lake/orders"));
        folder.create(&root).unwrap();
        for version in 1..=50 {
            let start = Barrier::new(4);
            let publish = |writer: u8| {
                let draft = folder.draft_path();
                write_all(&[(&draft, &[writer; 1000])]).unwrap();
                start.wait();
                folder.publish(version, &draft).unwrap().then_some(writer)
            };
            let winners: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|writer| scope.spawn(move || publish(writer))).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(winners.len(), 1);
            assert_eq!(read(&folder.version_path(version)).unwrap(), [winners[0]; 1000]);
        }
        assert_eq!(folder.newest().unwrap(), Some(50));
    }

    #[test]
    fn a_location_is_a_local_path_or_an_error() {
        let check = |location: &str, path: &str| assert_eq!(local_path(location).unwrap(), Path::new(path));
        check("file:///a/b", "/a/b");
        check("file:/a/b", "/a/b");
        check("/a/b%20c", "/a/b%20c");
        for location in ["s3://bucket/a", "a/b", "file:a", "", "hdfs://host/a", "file://host/a"] {
            assert!(local_path(location).is_err(), "{location}");
        }
    }

    /// What lies outside of the table's folder is never deleted.
    #[test]
    fn only_files_below_the_folder_are_its_own() {
        let folder = Folder::new(PathBuf::from("/wh/ns/t"));
        assert!(folder.own_path("file:///wh/ns/t/data/x").is_some());
        for location in ["/wh/ns/t2/x", "/wh/ns/t/../t2/x", "/wh/ns", "s3://wh/ns/t/x", "/wh/ns/t/./../../x"] {
            assert!(folder.own_path(location).is_none(), "{location}");
        }
    }
}
