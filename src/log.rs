//! Log lines: text for people, JSON for machines, always on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use walbrook_config::{Log, LogFormat};
use walbrook_model::{Error, Result};

/// Starts logging.
///
/// # Errors
/// Of kind config, if the filter is not one.
pub(crate) fn start(settings: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|error| {
        Error::config("not a log filter").on("log.level").because(error).remedy("use one such as \"info\"")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
    }
    Ok(())
}
