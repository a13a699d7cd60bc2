//! What a look at a pipeline's ends finds before it runs.

use std::fmt;

use crate::Error;

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The pipeline would not run, or would lose something.
    Error,
    /// It runs, but look at this first.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word that is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: a table, a topic, a setting.
    pub object: String,
    /// What is the matter.
    pub what: String,
    /// What mends it, SQL or a setting, if there is something to mend.
    pub remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity.as_str(), self.object, self.what)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n    {remedy}"),
            None => Ok(()),
        }
    }
}

impl Finding {
    /// A finding whose severity depends.
    pub fn new(
        severity: Severity,
        object: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { severity, object: object.into(), what: what.into(), remedy: Some(remedy.into()) }
    }

    /// The pipeline would not run, or would lose something.
    pub fn error(object: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Error, object, what, remedy)
    }

    /// It runs, but look at this first.
    pub fn warning(object: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, object, what, remedy)
    }

    /// Good to know.
    pub fn info(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Info, object: object.into(), what: what.into(), remedy: None }
    }

    /// An error that ended the look, with its causes; it is about `object` unless it says of what.
    pub fn from_error(error: &Error, object: &str) -> Self {
        let mut what = error.message().to_owned();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            what = format!("{what}: {error}");
            cause = error.source();
        }
        let object = error.object().unwrap_or(object).to_owned();
        Self { severity: Severity::Error, object, what, remedy: error.remedy_text().map(str::to_owned) }
    }
}
