//! What is wrong with a configuration, where, and what to write instead.
//!
//! Invariant: a problem never holds the text of a value. A value may be a secret that stands in the wrong place, so
//! only its type is named; the place says which one it is.

use std::fmt;

/// The exit status that says "the configuration is wrong": `EX_CONFIG` of `sysexits.h`.
pub const EXIT_CONFIG: u8 = 78;

/// One thing that is wrong (or, as a warning, doubtful) in a configuration file.
///
/// Prints as `file:line:column: key: what`, with what was expected on a second line where that helps:
///
/// ```text
/// walbrook.toml:14:1: source.postgres.hots: unknown key; did you mean host?
/// walbrook.toml:31:19: sink.lake.commit_interval: found a bare number; its unit is missing
///   expected a duration with its unit such as "1s", from 100ms to 1h
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Inner {
    file: String,
    place: Option<Place>,
    key: String,
    what: String,
    expected: Option<String>,
    warning: bool,
}

/// A place in a file; both counts begin at 1, columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Problem {
    /// A problem that still has to be placed in its file.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(Box::new(Inner { what: what.into(), ..Inner::default() }))
    }

    /// A file that cannot be read; its path is not said.
    pub(crate) fn unreadable(error: &std::io::Error) -> Self {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            kind => kind.to_string(),
        };
        Self::new(format!("cannot be read: {why}"))
    }

    /// Says what to write instead.
    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.0.expected = Some(expected.into());
        self
    }

    /// Makes it a warning: the configuration can be used.
    pub(crate) fn into_warning(mut self) -> Self {
        self.0.warning = true;
        self
    }

    /// Names the file, the place in it and the key.
    pub(crate) fn at(mut self, file: &str, place: Option<Place>, key: &str) -> Self {
        file.clone_into(&mut self.0.file);
        self.0.place = place;
        key.clone_into(&mut self.0.key);
        self
    }

    pub(crate) fn place(&self) -> Option<Place> {
        self.0.place
    }

    /// The file's name, as it was given.
    pub fn file(&self) -> &str {
        &self.0.file
    }

    /// Line, from 1; `None` where the problem is the whole file.
    pub fn line(&self) -> Option<usize> {
        self.0.place.map(|place| place.line)
    }

    /// Column in characters, from 1; `None` where the problem is the whole file.
    pub fn column(&self) -> Option<usize> {
        self.0.place.map(|place| place.column)
    }

    /// The path of the key, such as `source.postgres.host`; empty where there is none.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// Whether the configuration can be used all the same.
    pub fn is_warning(&self) -> bool {
        self.0.warning
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { file, place, key, what, expected, warning } = &*self.0;
        f.write_str(file)?;
        if let Some(Place { line, column }) = place {
            write!(f, ":{line}:{column}")?;
        }
        if *warning {
            f.write_str(": warning")?;
        }
        if !key.is_empty() {
            write!(f, ": {key}")?;
        }
        write!(f, ": {what}")?;
        match expected {
            Some(expected) => write!(f, "\n  expected {expected}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_where_what_and_what_instead() {
        let place = Some(Place { line: 14, column: 3 });
        let problem = Problem::new("found an integer").expected("a name").at("w.toml", place, "pipeline.name");
        assert_eq!(problem.to_string(), "w.toml:14:3: pipeline.name: found an integer\n  expected a name");
        assert_eq!((problem.line(), problem.column(), problem.key()), (Some(14), Some(3), "pipeline.name"));

        let whole_file = Problem::new("not UTF-8").at("w.toml", None, "").into_warning();
        assert_eq!(whole_file.to_string(), "w.toml: warning: not UTF-8");
        assert!(whole_file.is_warning() && !problem.is_warning());
    }
}
