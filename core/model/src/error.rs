//! One error type. Its kind says what the caller should do, its text what an operator should do.

use std::fmt;

/// `Result` with walbrook's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an error; not where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Try again after a pause: a connection broke, a server restarts.
    Transient,
    /// Stop and tell the operator: a setting, a right or a password is wrong.
    Config,
    /// One change or one table cannot be handled; the others go on.
    Data,
    /// Continuity of the log cannot be proven: stop, acknowledge nothing, wait for an operator.
    Gap,
    /// Another process of the same pipeline has taken over: stop at once, write nothing more, and do not try again.
    Fenced,
    /// An invariant of ours is broken: stop before it does harm.
    Bug,
}

impl ErrorKind {
    /// The name used in logs and in the `kind` label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Config => "config",
            Self::Data => "data",
            Self::Gap => "gap",
            Self::Fenced => "fenced",
            Self::Bug => "bug",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened, to which object, and what to do about it.
///
/// The message is short and lower case and never holds a cell value or a secret.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    object: Option<String>,
    remedy: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says what happened.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), object: None, remedy: None, source: None }))
    }

    /// Shorthand for [`ErrorKind::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// Shorthand for [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Shorthand for [`ErrorKind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// Shorthand for [`ErrorKind::Gap`].
    pub fn gap(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Gap, message)
    }

    /// Shorthand for [`ErrorKind::Fenced`].
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// Shorthand for [`ErrorKind::Bug`].
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    /// Names the object (table, slot, file, setting) that the error is about.
    #[must_use]
    pub fn on(mut self, object: impl Into<String>) -> Self {
        self.0.object = Some(object.into());
        self
    }

    /// Says what an operator can do, with the exact SQL or setting where there is one.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Attaches the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with another kind, for the caller that knows better what it means.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// To which object.
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// What to do.
    pub fn remedy_text(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.0.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.0.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        if let Some(remedy) = &self.0.remedy {
            write!(f, " (remedy: {remedy})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_why_and_what_to_do() {
        let error = Error::config("password rejected")
            .on("role cdc")
            .because(std::io::Error::other("28P01"))
            .remedy("ALTER ROLE cdc PASSWORD '...'");
        assert_eq!(error.to_string(), "role cdc: password rejected: 28P01 (remedy: ALTER ROLE cdc PASSWORD '...')");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
