//! Exit codes, and how an error is told to a person.

use std::process::ExitCode;

use walbrook_model::{Error, ErrorKind};

/// The source and the lake differ, or the pipeline stopped with an error.
pub(crate) const FAILED: u8 = 1;
/// A gap that only an operator can accept.
pub(crate) const GAP: u8 = 3;
/// Another process of the same pipeline has taken over.
pub(crate) const FENCED: u8 = 4;

/// The exit code for an error.
pub(crate) fn code(error: &Error) -> ExitCode {
    ExitCode::from(match error.kind() {
        ErrorKind::Config => walbrook_config::EXIT_CONFIG,
        ErrorKind::Gap => GAP,
        ErrorKind::Fenced => FENCED,
        ErrorKind::Transient | ErrorKind::Data | ErrorKind::Bug => FAILED,
    })
}

/// Prints an error and gives its exit code.
pub(crate) fn report(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    code(error)
}
