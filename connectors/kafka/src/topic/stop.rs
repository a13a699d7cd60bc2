//! A topic that has stopped: its messages are left out, and counted, until its table is read again.

use std::sync::Arc;

use walbrook_model::{Change, Error, ErrorKind, Lineage, Seq, TableId, TableStop};

use super::Topic;
use crate::events;
use crate::raw::Raw;
use crate::readers::seq_of;

/// Why the topic's messages are left out.
#[derive(Debug)]
pub(super) struct Stopped {
    table: TableId,
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
        if let Some(stopped) = &mut self.stopped {
            stopped.bytes += raw.bytes();
        }
    }

    /// Its messages are left out from this one on.
    pub(super) fn stop(&mut self, raw: &Raw<'_>, error: Error) {
        let mut place = format!("topic {}, partition {}, offset {}", self.name, raw.partition, raw.offset);
        if let Some(object) = error.object() {
            place = format!("{place}, {object}");
        }
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
            error.remedy(
                "if it is no change topic, leave it out of source.kafka.topics; if its schema can be put right, do that and \
                 start walbrook again; else the table has a gap once pipeline.parked_bytes is exceeded",
            )
        };
        events::table_stopped(&self.name, &error);
        self.counts.undecodable += 1;
        self.stopped = Some(Stopped {
            table: self.readers.table(),
            // Without a token of its own: the last one before it.
            since: raw.headers.and_then(seq_of).unwrap_or(self.newest),
            error: Arc::new(error),
            told: false,
            bytes: 0,
        });
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
