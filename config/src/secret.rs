//! Secrets: from a file or the environment, never from the configuration itself.
//!
//! Neither the secret nor the path or variable that was named for it appears in a problem: whoever writes the password
//! itself there by mistake must not find it in a log.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroize;

use crate::load::Environment;
use crate::problem::Problem;
use crate::reader::Reader;

/// What to say about a password that stands in the file.
pub(crate) const LITERAL: &str = "a password does not belong in this file; use password_file = \"/path/to/file\" or \
                                  password_env = \"VARIABLE\"";

/// Far more than a password has.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The password of a section with `password_file` and `password_env`; `None` if neither is set.
pub(crate) fn password(reader: &Reader<'_>, env: Environment<'_>) -> Option<SecretString> {
    let variable = reader.text("password_env");
    if reader.is_set("password_file") && reader.is_set("password_env") {
        let problem = Problem::new("not together with password_file").expected("one of the two");
        reader.complain("password_env", problem);
        return None;
    }
    if let Some(variable) = variable {
        let password = env(&variable).filter(|password| !password.is_empty());
        if password.is_none() {
            let what = "the environment variable named here is missing, empty or not UTF-8";
            reader.complain("password_env", Problem::new(what));
        }
        return password.map(SecretString::from);
    }
    from_file(reader, "password_file")
}

/// The secret in the file that an option names; `None` if the option is not set.
pub(crate) fn from_file(reader: &Reader<'_>, name: &str) -> Option<SecretString> {
    let path = reader.text(name)?;
    let path = Path::new(&path);
    match check_secret(path) {
        Ok(None) => {}
        Ok(Some(warning)) => reader.complain(name, warning),
        Err(problem) => {
            reader.complain(name, problem);
            return None;
        }
    }
    read(path).map_err(|problem| reader.complain(name, problem)).ok()
}

/// Checks that a file of secrets can be read by walbrook and not by everyone; a warning if its group can read it.
pub(crate) fn check_secret(path: &Path) -> Result<Option<Problem>, Problem> {
    let metadata = open(path)?.1;
    let mode = permissions(&metadata);
    if mode & 0o007 != 0 {
        let what = format!("everyone on this machine can use the file (mode {mode:03o})");
        return Err(Problem::new(what).expected("a file for its owner alone: chmod 600"));
    }
    if mode & 0o020 != 0 {
        let what = format!("the file's group can change it (mode {mode:03o})");
        return Err(Problem::new(what).expected("a file for its owner alone: chmod 600"));
    }
    Ok((mode & 0o040 != 0).then(|| {
        let what = format!("the file's group can read it (mode {mode:03o}); chmod 600 unless that is meant");
        Problem::new(what).into_warning()
    }))
}

/// Checks that a file can be read.
pub(crate) fn check_readable(path: &Path) -> Result<(), Problem> {
    open(path).map(drop)
}

/// The text of a file without its last line end.
fn read(path: &Path) -> Result<SecretString, Problem> {
    let (file, metadata) = open(path)?;
    if metadata.len() > SECRET_BYTES_MAX {
        return Err(Problem::new("the file is too large for a password").expected("at most 64 KiB"));
    }
    let mut text = String::new();
    let result = file.take(SECRET_BYTES_MAX).read_to_string(&mut text);
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    let password = match result {
        Err(error) => Err(Problem::unreadable(&error)),
        Ok(_) if line.is_empty() => Err(Problem::new("the file is empty").expected("a password in it")),
        Ok(_) if line.contains(['\n', '\0']) => {
            Err(Problem::new("the file holds more than a password").expected("the password alone, on one line"))
        }
        Ok(_) => Ok(SecretString::from(line)),
    };
    text.zeroize();
    password
}

fn open(path: &Path) -> Result<(File, Metadata), Problem> {
    // Looked at before it is opened: opening a named pipe would wait for its writer.
    let before = std::fs::metadata(path).map_err(|error| Problem::unreadable(&error))?;
    if !before.is_file() {
        return Err(Problem::new("what is named here is no file").expected("an ordinary file"));
    }
    let file = File::open(path).map_err(|error| Problem::unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| Problem::unreadable(&error))?;
    Ok((file, metadata))
}

fn permissions(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_secret_is_for_its_owner() {
        let check = |mode, expected: &str| {
            let (_dir, path) = file(b"x", mode);
            let found = match check_secret(&path) {
                Ok(None) => "fine".to_owned(),
                Ok(Some(problem)) | Err(problem) => problem.to_string(),
            };
            assert!(found.contains(expected), "{mode:o}: {found}");
        };
        check(0o600, "fine");
        check(0o400, "fine");
        check(0o640, "warning: the file's group can read it (mode 640)");
        check(0o440, "warning");
        check(0o660, "group can change it");
        check(0o644, "chmod 600");
        check(0o604, "everyone");
        check(0o602, "everyone");
    }

    #[test]
    fn a_line_end_is_no_part_of_a_password() {
        let check = |content: &[u8], expected| {
            let (_dir, path) = file(content, 0o600);
            assert_eq!(read(&path).unwrap().expose_secret(), expected);
        };
        check(b"hunter2", "hunter2");
        check(b"hunter2\n", "hunter2");
        check(b"hunter2\r\n", "hunter2");
        check(b" with blanks \n", " with blanks ");
    }

    #[test]
    fn what_is_no_password_is_refused_without_being_shown() {
        let check = |content: &[u8], expected: &str| {
            let (_dir, path) = file(content, 0o600);
            let shown = read(&path).unwrap_err().to_string();
            assert!(shown.contains(expected) && !shown.contains("hunter2"), "{shown}");
        };
        check(b"", "empty");
        check(b"\n", "empty");
        check(b"hunter2\nhunter2\n", "more than a password");
        check(b"hunter2\0", "more than a password");
        check(b"hunter2\xff", "invalid data");
        check(&vec![b'x'; 70_000], "too large");
    }

    #[test]
    fn only_an_ordinary_file_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_readable(dir.path()).unwrap_err().to_string().contains("no file"));
        assert!(check_readable(&dir.path().join("none")).unwrap_err().to_string().contains("no such file"));
        let target = dir.path().join("target");
        std::fs::write(&target, "x").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(check_readable(&link).is_ok(), "mounted secrets are links");
    }
}
