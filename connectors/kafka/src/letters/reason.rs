//! Why a message is a letter: it cannot be read or stored, it stands for one that was too large, or it builds on a letter.

use walbrook_envelope::Decoded;
use walbrook_envelope::headers::{NEW_KEY, OLD_KEY};
use walbrook_letters::{Answers, OVERSIZE, OVERSIZE_BYTES, OVERSIZE_FILE, OVERSIZE_TOPIC, Reason};
use walbrook_model::{Error, Op, Result, Row};

use super::{Base, Letters, checksum};
use crate::raw::Raw;

/// The message stands for one that was too large.
pub(crate) fn oversize(raw: &Raw<'_>) -> Error {
    // Anybody may write such a header, and this is logged.
    let plain = |text: &&str| text.len() <= 400 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let text = |name: &str| raw.header(name).and_then(|value| std::str::from_utf8(value).ok()).filter(plain);
    let bytes = text(OVERSIZE_BYTES).unwrap_or("too many");
    let at = text(OVERSIZE_TOPIC).map(|topic| format!(": it lies in topic {topic}"));
    let at = at.or_else(|| text(OVERSIZE_FILE).map(|file| format!(": it lies in file {file}"))).unwrap_or_default();
    Error::data(format!("the message of this place was too large for the topic, of {bytes} bytes{at}")).remedy(
        "raise max.message.bytes of the topic, then send it again with walbrook replay FILE, with the file of the pipeline \
         that writes the topic",
    )
}

/// Why a message cannot be read or stored, as a kind.
pub(crate) fn reason_of(raw: &Raw<'_>, error: &Error) -> Reason {
    let about = |what: &[&str]| error.object().is_some_and(|object| what.iter().any(|of| object.starts_with(of)));
    if raw.headers.is_none() {
        Reason::Headers
    } else if raw.is_control(OVERSIZE) {
        Reason::Oversize
    } else if about(&["schema ", "subject "]) {
        Reason::Schema
    } else if about(&["column "]) {
        Reason::Value
    } else {
        Reason::Bytes
    }
}

/// Whether a message means the same without the letters that are open.
pub(crate) fn standing_alone(
    letters: &Letters,
    raw: &Raw<'_>,
    answers: Option<Answers>,
    decoded: Decoded,
) -> Result<Decoded, (Reason, Error)> {
    if letters.is_empty() {
        return Ok(decoded);
    }
    let key = raw.key.map(checksum);
    let (seq, base) = match (&decoded, key) {
        (Decoded::SnapshotEnd(change, ..), _) => (change.seq, Base::Everything),
        (Decoded::Tombstone(change, _), _) => (change.seq, Base::Removal(change.seq)),
        (Decoded::Change(change, _), Some(key)) if change.op == Op::Delete && raw.header(NEW_KEY).is_some() => {
            (change.seq, Base::Row(key))
        }
        (Decoded::Change(change, _), Some(key)) if change.after.as_ref().is_some_and(Row::has_unchanged) => {
            // Its removal has the ordinal before its own.
            let removal = change.seq.ordinal().checked_sub(1).and_then(|ordinal| change.seq.with_ordinal(ordinal).ok());
            let removal = removal.filter(|_| raw.header(OLD_KEY).is_some());
            (change.seq, removal.map_or(Base::Row(key), Base::Removal))
        }
        _ => return Ok(decoded),
    };
    if letters.concern(raw.partition(), answers, (seq, key), base) {
        return Err((Reason::Dependent, Error::data("it builds on a message that is among the dead letters")));
    }
    Ok(decoded)
}
