//! A topic's dead letters: what is put aside, what comes again, and what comes too late.

use walbrook_envelope::Decoded;
use walbrook_envelope::headers::NEW_KEY;
use walbrook_letters::{Answers, KEY, Reason};
use walbrook_model::{Error, Seq};

use super::Topic;
use crate::events;
use crate::letters::{self, About};
use crate::raw::Raw;
use crate::readers::seq_of;

impl Topic {
    /// How many letters there may be with the next one. A table that the sink only adds to has none: it takes what comes late
    /// for a repeat, so that none could come again.
    pub(super) fn room(&self, answers: Option<Answers>) -> usize {
        let takes_late = self.letters_max > 0 && !self.table().is_some_and(|table| self.in_slices.of(table));
        if takes_late { self.letters_max + usize::from(answers.is_some()) } else { 0 }
    }

    /// Whether it is missing in such a table, which would take it for a repeat: it was not known of the topic's first letters
    /// what table they are of.
    pub(super) fn is_too_late(&self, answers: Option<Answers>, raw: &Raw<'_>, decoded: &Decoded) -> bool {
        let Some(change) = decoded.change().filter(|_| !self.letters.is_empty()) else { return false };
        self.letters.lack(answers, raw.partition(), change.seq, raw.key.map(letters::checksum))
            && self.in_slices.of(&change.schema.table)
    }

    /// A letter is not missing any more: it came again, was given up, or the message of this token came that it stood for.
    pub(super) fn answered(&mut self, answers: Option<Answers>, raw: &Raw<'_>, seq: Option<Seq>) {
        let closed = answers.is_some_and(|answers| self.letters.close(answers));
        let key = raw.key.map(letters::checksum);
        let closed = seq.is_some_and(|seq| self.letters.close_oversize(raw.partition(), seq, key)) || closed;
        if closed {
            self.counts.open_letters = Some(self.letters.count() as u64);
            if self.letters.is_empty() {
                events::letters_closed(&self.name);
            }
        }
    }

    /// A message lies among the dead letters now.
    pub(crate) fn is_aside(&mut self, raw: &Raw<'_>, reason: Reason, error: &Error) {
        self.waits = None;
        self.went_past(raw);
        self.merge.took(raw.offset + 1);
        let seq = raw.headers.and_then(seq_of);
        let oversize = seq.filter(|_| reason == Reason::Oversize);
        let moves = seq.filter(|_| raw.header(NEW_KEY).is_some());
        let key = if reason == Reason::Oversize { raw.header(KEY) } else { raw.key };
        let about = About { key: key.map(letters::checksum), moves, oversize };
        self.letters.open(Answers { partition: raw.partition(), offset: raw.offset }, raw.answers(), about);
        self.counts.undecodable += 1;
        *self.counts.letters.entry(reason).or_default() += 1;
        self.counts.open_letters = Some(self.letters.count() as u64);
        events::put_aside(&self.name, (raw.partition, raw.offset), reason, error, self.letters.count());
    }
}

pub(super) fn too_late() -> Error {
    let what = "a dead letter comes again to a table that is only added to, which would take it for a repeat";
    Error::data(what).remedy("the table has a gap once pipeline.parked_bytes is exceeded: then walbrook gap accept")
}
