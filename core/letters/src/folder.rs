//! A folder of messages that were too large for their topic: two files a message, durable before they are named anywhere.
//!
//! `<topic>/<name>.value` holds the value as it would be in the topic, `<topic>/<name>.json` all else. The second is there
//! only if the first is whole. The name comes from the order token, so that what is sent again after a crash is written over
//! itself. `<topic>/<name>.sent` says that the message was sent again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use walbrook_model::{Error, ErrorKind, Result};

const VERSION: u32 = 1;
/// What one file of JSON may hold: key and headers.
const HEAD_BYTES_MAX: u64 = 64 << 20;

/// A folder of such messages.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// A message that was too large.
#[derive(Debug)]
pub struct Large<'a> {
    /// Its name among those of its topic.
    pub name: &'a str,
    /// The topic that it is of.
    pub topic: &'a str,
    /// The partition of that topic.
    pub partition: u32,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    topic: String,
    partition: u32,
    /// Base64.
    key: Option<String>,
    /// Bytes of the value; `None` is null.
    value_bytes: Option<u64>,
    /// Names, and values in base64.
    headers: Vec<(String, String)>,
}

/// A message out of its files.
pub(crate) struct Stored {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Folder {
    /// The folder at `path`, which is made at the first message.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Writes a message, and returns when it is durable. Gives the path of its value within the folder.
    ///
    /// # Errors
    /// [`ErrorKind::Transient`] if the disk does not take it: a full one may have room again.
    pub fn write(&self, large: &Large<'_>) -> Result<String> {
        let folder = self.0.join(large.topic);
        let write = || -> io::Result<()> {
            if !folder.is_dir() {
                fs::create_dir_all(&folder)?;
                sync(&self.0)?;
            }
            let encode = |bytes: &[u8]| BASE64.encode(bytes);
            let head = Head {
                version: VERSION,
                topic: large.topic.to_owned(),
                partition: large.partition,
                key: large.key.map(encode),
                value_bytes: large.value.map(|value| value.len() as u64),
                headers: large.headers.iter().map(|(name, value)| ((*name).to_owned(), encode(value))).collect(),
            };
            put(&folder, &format!("{}.value", large.name), large.value.unwrap_or_default())?;
            put(&folder, &format!("{}.json", large.name), &serde_json::to_vec(&head)?)
        };
        write().map_err(|error| disk(&folder, &error))?;
        Ok(format!("{}/{}.value", large.topic, large.name))
    }

    /// The files of all messages, in the order of their names' numbers. With `again` those that were sent too.
    ///
    /// # Errors
    /// [`ErrorKind::Transient`] if the folder cannot be read.
    pub(crate) fn all(&self, again: bool) -> Result<Vec<PathBuf>> {
        let list = |folder: &Path| -> Result<Vec<PathBuf>> {
            let entries = match fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries.map_err(|error| disk(folder, &error))?,
            };
            let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(|error| disk(folder, &error)));
            paths.collect()
        };
        let mut found = Vec::new();
        for topic in list(&self.0)?.into_iter().filter(|path| path.is_dir()) {
            let head = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
            let open = |path: &PathBuf| again || !path.with_extension("sent").exists();
            found.extend(list(&topic)?.into_iter().filter(head).filter(open));
        }
        found.sort_by_cached_key(|path| (path.parent().map(Path::to_path_buf), numbers(path)));
        Ok(found)
    }

    /// Reads a message. `None`: its value has more than `bytes_max` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for files that are not ours, [`ErrorKind::Transient`] if they cannot be read.
    pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<(String, Option<Stored>)> {
        let no_head = |what: &str| Error::data(what).on(format!("file {}", path.display()));
        let size = |path: &Path| fs::metadata(path).map(|meta| meta.len()).map_err(|error| disk(path, &error));
        if size(path)? > HEAD_BYTES_MAX {
            return Err(no_head("it is too large to be ours"));
        }
        let json = fs::read(path).map_err(|error| disk(path, &error))?;
        // What the parser says may quote it.
        let head: Head = serde_json::from_slice(&json).map_err(|_| no_head("it is none of ours, or damaged"))?;
        if head.version != VERSION {
            return Err(no_head("it is of a version that this walbrook does not read"));
        }
        if head.value_bytes.is_some_and(|bytes| bytes > bytes_max) {
            return Ok((head.topic, None));
        }
        let decode = |text: &str| BASE64.decode(text).map_err(|_| no_head("it is damaged"));
        let body = path.with_extension("value");
        let value = match head.value_bytes {
            Some(bytes) if size(&body)? == bytes => Some(fs::read(&body).map_err(|error| disk(&body, &error))?),
            Some(_) => return Err(no_head("the file beside it does not have its size")),
            None => None,
        };
        let headers = head.headers.iter().map(|(name, value)| Ok((name.clone(), decode(value)?)));
        let stored = Stored {
            topic: head.topic.clone(),
            partition: head.partition,
            key: head.key.as_deref().map(decode).transpose()?,
            value,
            headers: headers.collect::<Result<_>>()?,
        };
        Ok((head.topic, Some(stored)))
    }

    /// Remembers that a message was sent again.
    pub(crate) fn mark_sent(path: &Path) -> Result<()> {
        let mark = path.with_extension("sent");
        let write = || {
            File::create(&mark)?.sync_all()?;
            mark.parent().map_or(Ok(()), sync)
        };
        write().map_err(|error| disk(&mark, &error))
    }
}

/// The numbers of a name, so that 10 comes behind 9.
fn numbers(path: &Path) -> Vec<u128> {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('-').map(|part| part.parse().unwrap_or(u128::MAX)).collect()
}

/// Writes a whole file: under another name first, so that one of this name is never half.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part = folder.join(format!("{name}.part"));
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, folder.join(name))?;
    sync(folder)
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn disk(path: &Path, error: &io::Error) -> Error {
    let what = format!("it cannot be used: {error}");
    Error::new(ErrorKind::Transient, what)
        .on(path.display().to_string())
        .remedy("look at its rights and at the room on its disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large<'a>(name: &'a str, value: Option<&'a [u8]>) -> Large<'a> {
        let headers = vec![("walbrook.seq", &b"7"[..]), ("odd", &[0xff, 0][..])];
        Large { name, topic: "p.s.t", partition: 3, key: Some(b"\0\xffkey"), value, headers }
    }

    #[test]
    fn a_message_comes_back_and_is_remembered_as_sent() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("large"));
        assert!(folder.all(false).unwrap().is_empty(), "no folder yet");
        let value = vec![0xfe; 3 << 20];
        for name in ["10-0", "9-1", "9-0"] {
            // Twice, as after a crash.
            for _ in 0..2 {
                let path = folder.write(&large(name, Some(&value))).unwrap();
                assert_eq!(fs::read(folder.0.join(path)).unwrap(), value);
            }
        }
        folder.write(&large("11-0", None)).unwrap();
        let all = folder.all(false).unwrap();
        let names: Vec<&str> = all.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["9-0", "9-1", "10-0", "11-0"]);
        let (topic, stored) = Folder::read(&all[0], 4 << 20).unwrap();
        let stored = stored.unwrap();
        assert_eq!((topic.as_str(), stored.topic.as_str(), stored.partition), ("p.s.t", "p.s.t", 3));
        assert_eq!((stored.key.as_deref(), stored.value), (Some(&b"\0\xffkey"[..]), Some(value)));
        assert_eq!(stored.headers[1], ("odd".to_owned(), vec![0xff, 0]));
        assert!(Folder::read(&all[0], 1 << 20).unwrap().1.is_none(), "too large");
        assert!(Folder::read(&all[3], 1).unwrap().1.unwrap().value.is_none());
        Folder::mark_sent(&all[0]).unwrap();
        assert_eq!((folder.all(false).unwrap().len(), folder.all(true).unwrap().len()), (3, 4));
    }

    #[test]
    fn what_is_damaged_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        folder.write(&large("1-0", Some(b"value"))).unwrap();
        let path = &folder.all(false).unwrap()[0];
        fs::write(path.with_extension("value"), b"valu").unwrap();
        assert!(Folder::read(path, 100).err().unwrap().to_string().contains("size"));
        fs::write(path, b"{\"key\":\"secret").unwrap();
        let error = Folder::read(path, 100).err().unwrap();
        assert!(error.kind() == ErrorKind::Data && !error.to_string().contains("secret"), "{error}");
    }
}
