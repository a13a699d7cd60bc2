//! Letters that are open: messages of a topic that were put aside, and have neither come again nor been given up.
//!
//! While one is open its table is not complete. It holds back what builds on it, so that nothing becomes wrong that cannot
//! be put right later:
//!
//! - A change of the same key that leaves cells out would take them from a row that lacks the letter: it becomes a letter
//!   too. A letter without a key is no row of a table that has one, so that no row builds on it.
//! - The removal of a row whose key changes takes that row's values along for the new key: behind a letter of the old key it
//!   becomes a letter too, with its tombstone. The new row that leaves cells out waits for such a letter.
//! - The end of a slice would sweep the row whose read is a letter: it becomes a letter too.
//! - Nothing is covered, so that no grave is forgotten which must stand against the letter, and no horizon rises above it.
//!
//! A letter that comes again and fails again keeps its place among the others, so that they are judged in their first order.

mod reason;

use std::collections::BTreeMap;

use rdkafka::message::BorrowedMessage;
use serde::{Deserialize, Serialize};
use walbrook_config::DeadLetters;
use walbrook_letters::{Answers, Letter, Outbox, Reason, Refused};
use walbrook_model::{Change, Checkpoint, Error, Lineage, Result, Seq};

use crate::positions::Positions;
use crate::raw::Raw;
use crate::topic::Topic;

pub(crate) use self::reason::{oversize, reason_of, standing_alone};

/// Open letters of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<Entry>", from = "Vec<Entry>")]
pub(crate) struct Letters(BTreeMap<Answers, Open>);

/// Partition, offset, where it was read first, and the fields of [`About`].
type Entry = (u32, i64, i64, Option<u32>, Option<Seq>, Option<Seq>);

/// An open letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    /// Where it was read first.
    first: i64,
    about: About,
}

/// What has to be known of a letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// Checksum of its key; `None`: it has none.
    pub(crate) key: Option<u32>,
    /// It removes a row whose key changes, at this token.
    pub(crate) moves: Option<Seq>,
    /// It stands for a message that was too large, of this token.
    pub(crate) oversize: Option<Seq>,
}

impl About {
    /// Whether it stands for the message of this token and key, which was too large.
    fn stands_for(&self, seq: Seq, key: Option<u32>) -> bool {
        self.oversize == Some(seq) && self.key == key
    }
}

impl From<Letters> for Vec<Entry> {
    fn from(letters: Letters) -> Self {
        let entry = |(at, Open { first, about }): (Answers, Open)| {
            (at.partition, at.offset, first, about.key, about.moves, about.oversize)
        };
        letters.0.into_iter().map(entry).collect()
    }
}

impl From<Vec<Entry>> for Letters {
    fn from(entries: Vec<Entry>) -> Self {
        let open = |(partition, offset, first, key, moves, oversize)| {
            (Answers { partition, offset }, Open { first, about: About { key, moves, oversize } })
        };
        Self(entries.into_iter().map(open).collect())
    }
}

impl Letters {
    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_open(&self, letter: Answers) -> bool {
        self.0.contains_key(&letter)
    }

    /// The message at `at` was put aside; it answers `answers`, if it is one that came again.
    pub(crate) fn open(&mut self, at: Answers, answers: Option<Answers>, about: About) {
        let before = answers.and_then(|answers| self.0.remove(&answers));
        let first = before.map_or(at.offset, |before| before.first);
        self.0.insert(at, Open { first, about });
    }

    /// A letter has come again and is read, or is given up. Whether it was open.
    pub(crate) fn close(&mut self, letter: Answers) -> bool {
        self.0.remove(&letter).is_some()
    }

    /// The change of this token and key was read in a partition: nothing has to stand for it any more. Whether something
    /// did. (The reads of a slice have one token.)
    pub(crate) fn close_oversize(&mut self, partition: u32, seq: Seq, key: Option<u32>) -> bool {
        let before = self.0.len();
        self.0.retain(|at, open| at.partition != partition || !open.about.stands_for(seq, key));
        self.0.len() < before
    }

    /// Whether the change of this token and key is missing, which may answer a letter.
    pub(crate) fn lack(&self, answers: Option<Answers>, partition: u32, seq: Seq, key: Option<u32>) -> bool {
        let oversize = |(at, open): (&Answers, &Open)| at.partition == partition && open.about.stands_for(seq, key);
        answers.is_some_and(|answers| self.is_open(answers)) || self.0.iter().any(oversize)
    }

    /// Whether a letter lies before this message of a partition that concerns what it builds on. `answers`: the message is a
    /// letter itself; `seq`, `key`: its own.
    pub(crate) fn concern(
        &self,
        partition: u32,
        answers: Option<Answers>,
        (seq, key): (Seq, Option<u32>),
        base: Base,
    ) -> bool {
        let is_own = |(at, open): &(&Answers, &Open)| Some(**at) == answers || open.about.stands_for(seq, key);
        let first = self.0.iter().find(is_own).map_or(i64::MAX, |(_, own)| own.first);
        self.0.iter().filter(|each| !is_own(each)).any(|(at, Open { first: theirs, about })| {
            let before = at.partition == partition && *theirs < first;
            match base {
                Base::Row(key) => before && about.key == Some(key),
                // It may lie in any partition.
                Base::Removal(removal) => about.moves == Some(removal),
                Base::Everything => before,
            }
        })
    }
}

/// What a message builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The row of the key with this checksum.
    Row(u32),
    /// The removal, at this token, of a row whose key changes: it is the tombstone, or the row under its new key.
    Removal(Seq),
    /// All that lies before it.
    Everything,
}

/// The checksum by which the keys of letters are told apart; two keys of one checksum only make more letters. What names the
/// schema of an Avro key is left out: the same key may be written under another.
pub(crate) fn checksum(key: &[u8]) -> u32 {
    match key {
        [0, _, _, _, _, datum @ ..] => crc32fast::hash(datum),
        key => crc32fast::hash(key),
    }
}

/// Puts a message aside; where its topic of letters does not take it, its table stops.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Transient`] if the brokers do not take it now. It is not passed then.
pub(crate) fn put_aside(
    (settings, outbox): (&DeadLetters, &Outbox),
    topic: &mut Topic,
    message: &BorrowedMessage<'_>,
    raw: &Raw<'_>,
    (reason, error): (Reason, Error),
    hand_over: impl FnMut(Change, Option<Lineage>),
) -> Result<()> {
    let letter = Letter {
        topic: topic.name.clone(),
        partition: u32::try_from(raw.partition).unwrap_or(u32::MAX),
        offset: Some(raw.offset),
        reason,
        // Without the remedy, which is for those who stop.
        error: match error.object() {
            Some(object) => format!("{object}: {}", error.message()),
            None => error.message().to_owned(),
        },
        pipeline: settings.pipeline.clone(),
        at_ms: now_ms(),
    };
    match outbox.put(message, &letter) {
        Ok(()) => topic.is_aside(raw, reason, &error),
        Err(Refused::Large(why)) => topic.leave_head_out(raw, error.because(why), hand_over),
        Err(Refused::Now(why)) => return Err(why),
    }
    Ok(())
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Open letters by topic, as a checkpoint of this source says: of topics with none there is no entry. The tables of the
/// others are not complete.
///
/// # Errors
/// If it is none of this source.
pub fn open_letters(checkpoint: &Checkpoint) -> Result<BTreeMap<String, Vec<Answers>>> {
    let topics = Positions::from_checkpoint(checkpoint)?.topics.into_iter();
    let letters = topics.map(|(name, topic)| (name, topic.letters.0.into_keys().collect::<Vec<_>>()));
    Ok(letters.filter(|(_, letters)| !letters.is_empty()).collect())
}

#[cfg(test)]
mod tests;
