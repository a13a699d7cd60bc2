//! What a dead letter says about itself: headers beside those that the message had.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use walbrook_model::{Error, Result};

/// On a message that is sent again: the letter that it is, `<partition>/<offset>` of where it was read first.
pub const ANSWERS: &str = "walbrook.letter";
/// The value of `walbrook.control` on the message that gives a letter up.
pub const DISCARDED: &str = "letter_discarded";
/// The value of `walbrook.control` on the message in the place of one that was too large.
pub const OVERSIZE: &str = "oversize";
/// On such a message: the key of the one that was too large.
pub const KEY: &str = "walbrook.key";
/// On such a message: the size of the one that was too large.
pub const OVERSIZE_BYTES: &str = "walbrook.oversize.bytes";
/// On such a message: the topic of dead letters that has the whole one.
pub const OVERSIZE_TOPIC: &str = "walbrook.oversize.topic";
/// On such a message: the file that has the whole one's value.
pub const OVERSIZE_FILE: &str = "walbrook.oversize.file";

const TOPIC: &str = "walbrook.letter.topic";
const PARTITION: &str = "walbrook.letter.partition";
const OFFSET: &str = "walbrook.letter.offset";
const REASON: &str = "walbrook.letter.reason";
const ERROR: &str = "walbrook.letter.error";
const PIPELINE: &str = "walbrook.letter.pipeline";
const TIME: &str = "walbrook.letter.ts_ms";

/// Why a message is a dead letter: a closed set, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Its schema is not to be had or not to be used.
    Schema,
    /// Its bytes are not what its schema says, or no envelope.
    Bytes,
    /// A cell is no value of its column's type, so that no table can store it.
    Value,
    /// Its headers cannot be read.
    Headers,
    /// It builds on another dead letter: it leaves cells out, or it ends a slice.
    Dependent,
    /// It is larger than a message may be.
    Oversize,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [Self::Schema, Self::Bytes, Self::Value, Self::Headers, Self::Dependent, Self::Oversize];

    /// The name used in headers, logs and the `reason` label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Bytes => "bytes",
            Self::Value => "value",
            Self::Headers => "headers",
            Self::Dependent => "dependent",
            Self::Oversize => "oversize",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is said about a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The topic that it is of.
    pub topic: String,
    /// The partition of that topic.
    pub partition: u32,
    /// Where it lies there; `None`: it never came so far.
    pub offset: Option<i64>,
    /// Why it is a dead letter, as a kind.
    pub reason: Reason,
    /// The same in words; no cell value is in it.
    pub error: String,
    /// The pipeline that put it aside.
    pub pipeline: String,
    /// When it was put aside, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

/// A letter that a message answers: where it was read first in the topic of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answers {
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: i64,
}

impl Answers {
    /// From the value of the header [`ANSWERS`].
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (partition, offset) = std::str::from_utf8(value).ok()?.split_once('/')?;
        Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok().filter(|offset| *offset >= 0)? })
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

impl Letter {
    /// The letter's own headers, by name.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![(TOPIC, self.topic.clone()), (PARTITION, self.partition.to_string())];
        headers.extend(self.offset.map(|offset| (OFFSET, offset.to_string())));
        headers.extend([
            (REASON, self.reason.as_str().to_owned()),
            (ERROR, self.error.clone()),
            (PIPELINE, self.pipeline.clone()),
            (TIME, self.at_ms.to_string()),
        ]);
        headers
    }

    /// Adds the letter's headers behind those of the message.
    #[must_use]
    pub fn add_to(&self, mut headers: OwnedHeaders) -> OwnedHeaders {
        for (key, value) in self.headers() {
            headers = headers.insert(Header { key, value: Some(&value) });
        }
        headers
    }

    /// What the headers of a dead letter say.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if the message is no dead letter.
    pub fn of(headers: &[ReadHeader<'_>]) -> Result<Self> {
        // The last one: a letter that became one again keeps none of the earlier ones, but other tools may.
        let find = |name: &str| {
            let found = headers.iter().flatten().rfind(|(known, _)| *known == name);
            found.and_then(|(_, value)| std::str::from_utf8((*value)?).ok())
        };
        let no_letter = |header: &str| Error::data(format!("it is no dead letter of walbrook: its header {header}"));
        let topic = find(TOPIC).filter(|name| is_topic(name)).ok_or_else(|| no_letter(TOPIC))?;
        let partition =
            find(PARTITION).and_then(|text| text.parse().ok()).filter(|number| i32::try_from(*number).is_ok());
        let offset = match find(OFFSET) {
            Some(text) => {
                let offset = text.parse().ok().filter(|offset| *offset >= 0);
                Some(offset.ok_or_else(|| no_letter(OFFSET))?)
            }
            None => None,
        };
        Ok(Self {
            topic: topic.to_owned(),
            partition: partition.ok_or_else(|| no_letter(PARTITION))?,
            offset,
            reason: find(REASON).and_then(Reason::from_name).ok_or_else(|| no_letter(REASON))?,
            error: find(ERROR).unwrap_or_default().to_owned(),
            pipeline: find(PIPELINE).unwrap_or_default().to_owned(),
            at_ms: find(TIME).and_then(|text| text.parse().ok()).unwrap_or_default(),
        })
    }

    /// The letter as the message that answers it names it; `None` if it never was in its topic.
    pub fn answers(&self) -> Option<Answers> {
        self.offset.map(|offset| Answers { partition: self.partition, offset })
    }
}

/// Whether a header is one that is said about a letter, or about its answer.
pub(crate) fn is_ours(name: &str) -> bool {
    name.strip_prefix(ANSWERS).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Such as Kafka allows.
fn is_topic(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(allowed)
}

/// A header's name, and its value if it has one; `None`: its name is no text.
pub type ReadHeader<'m> = Option<(&'m str, Option<&'m [u8]>)>;

/// The headers of a message in their order, with what has no value; in the place of one whose name is no text, on which the
/// client panics, stands `None`.
pub fn headers_of<'m>(message: &'m BorrowedMessage<'_>) -> Vec<ReadHeader<'m>> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let read = |index: usize| {
        let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok().flatten()?;
        Some((header.key, header.value))
    };
    (0..headers.count()).map(read).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letter() -> impl Strategy<Value = Letter> {
        let reason = prop::sample::select(Reason::ALL.to_vec());
        ("[a-zA-Z0-9_-]{1,20}", 0..1000_u32, prop::option::of(0..i64::MAX), reason, ".{0,40}", any::<i64>()).prop_map(
            |(topic, partition, offset, reason, error, at_ms)| Letter {
                topic,
                partition,
                offset,
                reason,
                error,
                pipeline: "shop".to_owned(),
                at_ms,
            },
        )
    }

    proptest! {
        #[test]
        fn a_letter_comes_back(letter in letter(), earlier in letter()) {
            let (all, before) = (letter.headers(), earlier.headers());
            // An offset of an earlier one would stand for none.
            let before = before.iter().filter(|(name, _)| *name != OFFSET);
            let headers = before.chain(&all).map(|(name, value)| Some((*name, Some(value.as_bytes()))));
            prop_assert_eq!(&Letter::of(&headers.collect::<Vec<_>>()).unwrap(), &letter);
            if let Some(answers) = letter.answers() {
                prop_assert_eq!(Answers::parse(answers.to_string().as_bytes()), Some(answers));
            }
            prop_assert!(all.iter().all(|(name, _)| is_ours(name)));
        }

        #[test]
        fn any_headers_are_a_letter_or_none(
            headers in prop::collection::vec(
                (prop::sample::select(vec![TOPIC, PARTITION, OFFSET, REASON, ERROR, TIME, "x"]), prop::collection::vec(any::<u8>(), 0..12)),
                0..9,
            )
        ) {
            let headers = headers.iter().map(|(name, value)| Some((*name, Some(value.as_slice()))));
            if let Ok(letter) = Letter::of(&headers.collect::<Vec<_>>()) {
                prop_assert!(is_topic(&letter.topic));
                prop_assert!(letter.offset.is_none_or(|offset| offset >= 0));
            }
        }
    }

    #[test]
    fn what_is_said_of_letters_is_told_from_what_messages_have() {
        assert!(is_ours("walbrook.letter") && is_ours("walbrook.letter.reason"));
        assert!(!is_ours("walbrook.letters") && !is_ours("walbrook.seq") && !is_ours("walbrook.key"));
        for text in ["", "/", "1", "1/", "1/-1", "-1/1", "1/2/3", "4294967296/1"] {
            assert_eq!(Answers::parse(text.as_bytes()), None, "{text}");
        }
    }
}
