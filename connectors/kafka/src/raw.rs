//! A message as the client has it.

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use walbrook_envelope::headers::CONTROL;
use walbrook_letters::{ANSWERS, Answers};

use crate::positions::Seen;

/// A message as the client has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) partition: usize,
    pub(crate) offset: i64,
    /// Milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// `None`: one of them has a name that is no text.
    pub(crate) headers: Option<&'a [(&'a str, &'a [u8])]>,
}

impl<'a> Raw<'a> {
    pub(crate) fn new(message: &'a BorrowedMessage<'_>, headers: Option<&'a [(&'a str, &'a [u8])]>) -> Self {
        Self {
            partition: usize::try_from(message.partition()).unwrap_or(usize::MAX),
            offset: message.offset(),
            at_ms: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key(),
            value: message.payload(),
            headers,
        }
    }

    /// The letter that it answers: it is one that comes again.
    pub(crate) fn answers(&self) -> Option<Answers> {
        self.header(ANSWERS).and_then(Answers::parse)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers?.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Whether it is a message of ours that is no change, of this kind.
    pub(crate) fn is_control(&self, kind: &str) -> bool {
        self.key.is_none() && self.value.is_none() && self.header(CONTROL) == Some(kind.as_bytes())
    }

    pub(crate) fn partition(&self) -> u32 {
        u32::try_from(self.partition).unwrap_or(u32::MAX)
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)) as u64
    }

    /// What it takes to know it again.
    pub(crate) fn seen(&self) -> Seen {
        Seen { offset: self.offset, at_ms: self.at_ms, bytes: self.bytes() }
    }
}
