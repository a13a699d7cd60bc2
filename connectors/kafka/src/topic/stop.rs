//! A topic that has stopped: its messages are left out, and counted, until its table is read again.

use std::sync::Arc;

use walbrook_envelope::headers;
use walbrook_model::{Change, Error, ErrorKind, Lineage, Seq, TableId, TableStop};

use super::Topic;
use crate::events;
use crate::raw::Raw;
use crate::readers::seq_of;
use crate::whose::{self, Whose};

/// Why the topic's messages are left out.
#[derive(Debug)]
pub(super) struct Stopped {
    table: TableId,
    /// Nobody can say which tables miss what is left out: there must be no gap in one of them then, or they went on with others
    /// missing.
    is_held: bool,
    since: Seq,
    error: Arc<Error>,
    told: bool,
    /// Left out since that was told.
    bytes: u64,
}

impl Topic {
    /// Goes past the head, which cannot be handed over: the table stops.
    pub(crate) fn leave_head_out(
        &mut self,
        raw: &Raw<'_>,
        error: Error,
        hand_over: impl FnMut(Change, Option<Lineage>),
    ) {
        self.leave_out(raw, error);
        self.merge.took(raw.offset + 1);
        self.hold.let_go(hand_over);
    }

    pub(super) fn leave_out(&mut self, raw: &Raw<'_>, error: Error) {
        self.stop(raw, error);
        self.pass_stopped(raw);
    }

    pub(super) fn pass_stopped(&mut self, raw: &Raw<'_>) {
        self.went_past(raw);
        self.counts.left_out += 1;
        if let Some(stopped) = self.stopped.as_mut().filter(|stopped| !stopped.is_held) {
            stopped.bytes += raw.bytes();
        }
    }

    /// Its messages are left out from this one on.
    pub(super) fn stop(&mut self, raw: &Raw<'_>, error: Error) {
        let mut place = format!("topic {}, partition {}, offset {}", self.name, raw.partition, raw.offset);
        if let Some(object) = error.object() {
            place = format!("{place}, {object}");
        }
        let table = self.stopped_table(raw);
        let error = error.with_kind(ErrorKind::Data).on(place);
        let error = if self.letters_max > 0 && self.letters.count() >= self.letters_max {
            error.remedy(format!(
                "{} dead letters of the topic are open: raise source.kafka.dead_letters_max above that and start walbrook \
                 again, mend what they have in common, then walbrook replay FILE, or give them up with --discard",
                self.letters.count()
            ))
        } else if error.remedy_text().is_some() {
            error
        } else {
            let end = match &table {
                Some(_) => "the table has a gap once pipeline.parked_bytes is exceeded",
                None if self.whose.is_unknown() => "the checkpoint waits, for no message has told its table",
                None => {
                    "the checkpoint waits, for it has several tables, and nobody can say which of them miss something"
                }
            };
            error.remedy(format!(
                "if it is no change topic, leave it out of source.kafka.topics; if its schema can be put right, do that and \
                 start walbrook again; else {end}"
            ))
        };
        events::table_stopped(&self.name, &error);
        self.counts.undecodable += 1;
        self.stopped = Some(Stopped {
            is_held: table.is_none(),
            table: table.unwrap_or_else(|| whose::stand_in(&self.name)),
            // Without a token of its own: the last one before it.
            since: raw.headers.and_then(seq_of).unwrap_or(self.newest),
            error: Arc::new(error),
            told: false,
            bytes: 0,
        });
    }

    /// The table that the message says, or else those before it.
    fn stopped_table(&self, raw: &Raw<'_>) -> Option<TableId> {
        let said = raw.header(headers::TABLE).and_then(headers::read_table);
        match (&self.whose, said) {
            (Whose::Unknown, Some(said)) => Some(said),
            (Whose::One(known), Some(said)) if *known != said => None,
            (Whose::Unknown, None) => self.readers.table().or_else(|| self.table().cloned()),
            _ => self.table().cloned(),
        }
    }

    /// What was left out since the last call, as the sink must know it.
    pub(crate) fn tell_stop(&mut self) -> Option<TableStop> {
        let stopped = self.stopped.as_mut().filter(|stopped| !stopped.told || stopped.bytes > 0)?;
        stopped.told = true;
        Some(TableStop {
            table: stopped.table.clone(),
            since: Some(stopped.since),
            lost: false,
            error: stopped.error.clone(),
            bytes: std::mem::take(&mut stopped.bytes),
        })
    }
}
