//! A server that cannot decode its own log.
//!
//! Errors of class XX are the server's own faults. Most pass, a look at a catalog that moved for instance. One that comes
//! again at the same place of the log each time does not: the slot's view of the catalog is wrong or damaged
//! (`could not map filenode`), and no waiting mends it while the slot fills the disk.

use walbrook_model::{Error, Result};

use crate::connection::error::sqlstate;
use crate::continuity::gap;
use crate::wire::Lsn;

/// Failures in a row, over about half a minute, until they count as a gap.
const FAILURES: u32 = 9;

/// What failed so far at one place.
#[derive(Debug, Default)]
pub(crate) struct Undecodable {
    position: Lsn,
    failures: u32,
}

impl Undecodable {
    /// Counts a failure of the stream after `position`.
    ///
    /// # Errors
    /// A gap when the server has failed by itself too often at one place.
    pub(crate) fn judge(&mut self, error: &Error, position: Lsn) -> Result<()> {
        if !is_internal(error) || position != self.position {
            *self = Self { position, failures: 0 };
        }
        self.failures += u32::from(is_internal(error));
        if self.failures < FAILURES { Ok(()) } else { Err(undecodable(error)) }
    }
}

/// Whether the server calls an error its own.
pub(crate) fn is_internal(error: &Error) -> bool {
    sqlstate(error).is_some_and(|code| code.starts_with("XX"))
}

/// The gap of a log that is there and cannot be decoded.
pub(crate) fn undecodable(error: &Error) -> Error {
    let words = error.message();
    gap(format!("the log cannot be decoded, the server fails each time at one place for a fault of its own: {words}"))
}

#[cfg(test)]
mod tests {
    use walbrook_model::ErrorKind;

    use super::*;
    use crate::connection::error::ServerError;

    fn server_error(code: &str) -> Error {
        let fields = [(b'C', code), (b'M', "could not map filenode")];
        ServerError::from_fields(fields.map(|(kind, text)| (kind, text.to_owned())).into()).into_error()
    }

    #[test]
    fn only_faults_of_the_server_at_one_place_add_up() {
        let (internal, broken) = (server_error("XX000"), server_error("57P01"));
        let mut seen = Undecodable::default();
        for failure in 0..30 {
            seen.judge(&internal, Lsn(failure)).unwrap();
            seen.judge(&broken, Lsn(7)).unwrap();
        }
        for _ in 1..FAILURES {
            seen.judge(&internal, Lsn(8)).unwrap();
        }
        // Another fault between them says that the server restarts, say.
        seen.judge(&broken, Lsn(8)).unwrap();
        for _ in 1..FAILURES {
            seen.judge(&internal, Lsn(8)).unwrap();
        }
        assert_eq!(seen.judge(&internal, Lsn(8)).unwrap_err().kind(), ErrorKind::Gap);
    }
}
