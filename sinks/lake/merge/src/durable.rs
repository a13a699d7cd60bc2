//! Files that survive a power cut: the bytes are synced, then the folder that names them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use walbrook_model::{Error, Result};

/// Creates a file that must not exist yet.
pub(crate) fn create(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).read(true).create_new(true).open(path);
    file.map_err(|error| failed("create", path, error))
}

/// Makes a written file and its name durable.
pub(crate) fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(|error| failed("sync", path, error))?;
    let Some(folder) = path.parent() else { return Err(Error::bug("a file without a folder")) };
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed("sync", folder, error))
}

/// Creates a folder and its parents, durably.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folder(parent)?;
    }
    match std::fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create", folder, error)),
    }
    folder.parent().map_or(Ok(()), sync_folder)
}

/// Writes a whole new file, durably.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes).map_err(|error| failed("write", path, error))?;
    sync(&file, path)
}

/// An error of the file system. It is worth another try: disks get space again, mounts come back.
pub(crate) fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::transient(format!("could not {what} the file")).on(path.display().to_string()).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("a/b");
        create_folder(&nested).unwrap();
        create_folder(&nested).unwrap();
        let path = nested.join("f");
        write(&path, b"first").unwrap();
        let error = write(&path, b"second").unwrap_err();
        assert_eq!(error.kind(), walbrook_model::ErrorKind::Transient);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
    }
}
