//! From a file to a [`Config`], or to everything that is wrong with it.

use std::io::Read;
use std::path::Path;

use crate::daemon::{HTTP, LOG, PIPELINE};
use crate::document::{Document, FILE_BYTES_MAX};
use crate::problem::Problem;
use crate::{Config, Http, Log, Pipeline, SinkConfig, SourceConfig};

/// What a look-up in the environment answers.
pub(crate) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads a configuration file, and the secrets that it names.
    ///
    /// # Errors
    /// Every problem of the file, in its order. Warnings alone are no error, see [`Config::load_with_warnings`].
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        Self::load_with_warnings(path).map(|(config, _)| config)
    }

    /// [`Config::load`], with what is doubtful but can be used.
    ///
    /// # Errors
    /// Every problem of the file, in its order.
    pub fn load_with_warnings(path: &Path) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let file = path.display().to_string();
        let text = read(path).map_err(|problem| vec![problem.at(&file, None, "")])?;
        parse(&text, &file, &|name| std::env::var(name).ok())
    }

    /// [`Config::load`] of a text; `env` looks up environment variables, secret files are read.
    ///
    /// # Errors
    /// Every problem of the text, in its order.
    pub fn parse(text: &str, file_name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<Problem>> {
        parse(text, file_name, env).map(|(config, _)| config)
    }
}

fn parse(text: &str, file: &str, env: Environment<'_>) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let document = Document::parse(file, text);
    let pipeline = Pipeline::read(&document.section(&PIPELINE));
    let source = SourceConfig::read(&document, &pipeline.name, env);
    let sink = SinkConfig::read(&document, &pipeline.name, source.as_ref(), env);
    let http = Http::read(&document.section(&HTTP));
    let log = Log::read(&document.section(&LOG));
    let problems = document.into_report().into_problems();
    match (source, sink) {
        (Some(source), Some(sink)) if problems.iter().all(Problem::is_warning) => {
            Ok((Config { pipeline, source, sink, http, log }, problems))
        }
        // An end that is missing is one of the problems.
        _ => Err(problems),
    }
}

/// The text of the file; no more of it than a configuration can have.
fn read(path: &Path) -> Result<String, Problem> {
    let unreadable = |error| Problem::unreadable(&error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(Problem::new("cannot be read: a folder"));
    }
    let mut bytes = Vec::new();
    let bound = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Problem::new("too large").expected("a file of at most 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        Problem::new(format!("not UTF-8, first on line {line}")).expected("a text in UTF-8")
    })
}

#[cfg(test)]
mod tests;
