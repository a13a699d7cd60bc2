//! One topic: its partitions, its readers, and what becomes of each message.

mod aside;
mod pause;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use walbrook_envelope::{Decoded, headers};
use walbrook_letters::{Answers, DISCARDED, OVERSIZE, Reason};
use walbrook_model::{Change, Error, ErrorKind, Lineage, Op, Result, Seq, TableId, TableSchema};

use crate::arena::Arena;
use crate::hold::{Hold, InSlices, Place};
use crate::letters::{Letters, oversize, reason_of, standing_alone};
use crate::logs::Logs;
use crate::merge::Merge;
use crate::positions::{Position, SchemaIds, Seen, TopicPositions};
use crate::raw::Raw;
use crate::readers::{Lookup, Readers};
use crate::slices::Slices;
use crate::status::TopicStatus;
use crate::watermark::Record;
use crate::whose::Whose;
use crate::{continuity, events};
use aside::too_late;
use pause::{Blocked, Waits};
use stop::Stopped;

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is dealt with; its change, if it has one, is handed over.
    Read,
    /// A schema is not to be had, or a log is not let in: the message has to be taken again when the topic's pause is over.
    Waits,
    /// It cannot be handed over, and may be put aside: [`Topic::is_aside`] or [`Topic::leave_out`] goes past it.
    Undecodable(Reason, Error),
}

/// A topic that is read.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    partitions: Vec<Partition>,
    /// Which message is next.
    pub(crate) merge: Merge,
    hold: Hold,
    slices: BTreeMap<String, Slices>,
    readers: Readers,
    stopped: Option<Stopped>,
    waits: Option<Waits>,
    letters: Letters,
    /// How many messages that cannot be handed over may be missing, before the next one stops the table.
    letters_max: usize,
    blocked: Option<Blocked>,
    /// The highest token that was handed over.
    newest: Seq,
    /// Whether it was said that the order is weak.
    weak: bool,
    in_slices: InSlices,
    /// Of the last read's table.
    shows: Option<(Arc<TableSchema>, bool)>,
    /// Tables whose changes come in any order, and those of them that the sink has not heard of.
    unordered: BTreeSet<TableId>,
    untold: Vec<TableId>,
    whose: Whose,
    /// The table that the capture says.
    recorded: Option<TableId>,
    /// Since they were told.
    counts: TopicStatus,
}

#[derive(Debug, Default)]
struct Partition {
    position: Position,
    /// The last message before the position, until it was seen to be there still.
    unproven: Option<Seen>,
    /// The token of the last message, if it was a delete.
    deleted: Option<Seq>,
}

impl Topic {
    /// A topic from these positions on. `low` are the first offsets that its partitions still have.
    pub(crate) fn new(name: &str, positions: TopicPositions, low: impl Fn(usize) -> i64) -> Self {
        let schemas = positions.partitions.iter().map(|position| position.schemas).max_by_key(|ids| ids.value);
        let partition = |(index, position): (usize, Position)| Partition {
            position,
            // What retention has removed since it was read proves nothing any more.
            unproven: position.last.filter(|last| last.offset >= low(index)),
            deleted: None,
        };
        Self {
            name: name.to_owned(),
            merge: Merge::new(positions.partitions.iter().map(|position| position.next)),
            hold: Hold::default(),
            partitions: positions.partitions.into_iter().enumerate().map(partition).collect(),
            slices: positions.slices,
            letters: positions.letters,
            letters_max: 0,
            readers: Readers::new(name, schemas.unwrap_or_default(), positions.whose.table().cloned()),
            whose: positions.whose,
            recorded: None,
            stopped: None,
            waits: None,
            blocked: None,
            newest: Seq::ZERO,
            weak: false,
            in_slices: InSlices::default(),
            shows: None,
            unordered: BTreeSet::new(),
            untold: Vec::new(),
            counts: TopicStatus::default(),
        }
    }

    /// Puts messages aside that cannot be handed over, as long as no more than `letters_max` are missing, instead of
    /// stopping the table.
    pub(crate) fn putting_aside(mut self, letters_max: usize) -> Self {
        self.letters_max = letters_max;
        // Without letters the sink finds out what it cannot store, and stops the table as well.
        self.readers.check_cells(letters_max > 0);
        self
    }

    /// How many messages were put aside and are missing still.
    pub(crate) fn open_letters(&self) -> usize {
        self.letters.count()
    }

    /// Whether changes at or below `token` were read and are not in what was handed over.
    pub(crate) fn lacks_below(&self, token: Seq) -> bool {
        !self.letters.is_empty() || self.hold.awaits().is_some_and(|second| second <= token)
    }

    /// With the tables whose reads the sink shows at the end of their slice.
    pub(crate) fn with_slices(self, in_slices: InSlices) -> Self {
        Self { in_slices, ..self }
    }

    /// How far it is: where to begin again after what was handed over.
    pub(crate) fn positions(&self) -> TopicPositions {
        self.hold.positions(self.read_to())
    }

    fn read_to(&self) -> TopicPositions {
        TopicPositions {
            partitions: self.partitions.iter().map(|partition| partition.position).collect(),
            slices: self.slices.clone(),
            letters: self.letters.clone(),
            whose: self.whose.clone(),
        }
    }

    /// The table whose changes these are; `None` where nobody can say it, or they are those of several.
    fn table(&self) -> Option<&TableId> {
        let recorded = self.recorded.as_ref().filter(|_| self.whose.is_unknown());
        self.whose.table().or(recorded)
    }

    /// The number of partitions that are read.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Where each partition has to be fetched from.
    pub(crate) fn fetch_from(&self) -> impl Iterator<Item = i64> {
        self.partitions
            .iter()
            .map(|Partition { position, unproven, .. }| unproven.map_or(position.next, |seen| seen.offset))
    }

    /// The next offset of a partition that was not handed over; 0 for one that is not read.
    pub(crate) fn next(&self, partition: usize) -> i64 {
        self.hold.next(partition, self.partitions.get(partition).map_or(0, |partition| partition.position.next))
    }

    /// Everything of a partition without a head was seen below `offset`: what is no message, such as the end of a
    /// transaction, too.
    pub(crate) fn passed(&mut self, number: usize, offset: i64) {
        if let Some(partition) = self.partitions.get_mut(number)
            && partition.unproven.is_none()
            && !self.merge.has_head(number)
        {
            partition.position.next = partition.position.next.max(offset);
            self.merge.passed(number, partition.position.next);
        }
    }

    /// Takes a record of the capture.
    pub(crate) fn take_record(&mut self, record: &Record) {
        let through = record.written.get(&self.name).map_or(record.through, |written| *written.max(&record.through));
        self.merge.record(through, record.ends.get(&self.name).map(Vec::as_slice));
        self.recorded = record.tables.get(&self.name).cloned();
    }

    /// Whether a message was not taken before. The first of a partition may be there to prove that the topic is the same.
    ///
    /// # Errors
    /// [`ErrorKind::Gap`] if it is not.
    pub(crate) fn is_new(&mut self, raw: &Raw<'_>) -> Result<bool> {
        let Some(partition) = self.partitions.get_mut(raw.partition) else { return Ok(false) };
        match partition.unproven.take() {
            Some(expected) if expected == raw.seen() => Ok(false),
            Some(expected) => Err(continuity::another(&self.name, raw.partition, expected)),
            None => Ok(raw.offset >= partition.position.next),
        }
    }

    /// Takes the head that may go, and hands over the changes that may be handed over then.
    ///
    /// # Errors
    /// As [`Topic::take`].
    pub(crate) fn take_head(
        &mut self,
        lookup: &Lookup,
        logs: &Logs,
        arena: &mut Arena,
        raw: &Raw<'_>,
        mut hand_over: impl FnMut(Change, Option<Lineage>),
    ) -> Result<Taken> {
        let before = self.partitions.get(raw.partition).map(|partition| partition.position).unwrap_or_default();
        let mut found = None;
        let taken = self.take(lookup, logs, arena, raw, |change, lineage| found = Some((change, lineage)))?;
        if !matches!(taken, Taken::Read) {
            return Ok(taken);
        }
        self.merge.took(raw.offset + 1);
        if let Some((change, lineage)) = found {
            self.note_order(&change, lineage.as_ref());
            let moves = |headers: &[(&str, &[u8])]| headers.iter().any(|(name, _)| *name == headers::NEW_KEY);
            let is_half = lineage.is_some() && !self.merge.is_free() && raw.headers.is_some_and(moves);
            let in_slices = change.op == Op::Read && self.is_in_slice(&change);
            let place = Place { partition: raw.partition, before, is_half, in_slices };
            let mut hold = std::mem::take(&mut self.hold);
            if !hold.pass(change, lineage, place, || self.read_to(), hand_over) {
                self.counts.redundant += 1;
            }
            self.hold = hold;
        } else if self.stopped.is_some() {
            self.hold.let_go(&mut hand_over);
        }
        Ok(taken)
    }

    /// Hands over the half of a key change whose other half cannot come any more.
    pub(crate) fn let_go(&mut self, hand_over: impl FnMut(Change, Option<Lineage>)) {
        if let Some(second) = self.hold.awaits()
            && (self.merge.is_free() || self.merge.is_past(second))
        {
            self.hold.let_go(hand_over);
        }
    }

    /// Whether the sink shows a read at the end of its slice, which has not come.
    fn is_in_slice(&mut self, read: &Change) -> bool {
        let known = self.shows.as_ref().filter(|(schema, _)| Arc::ptr_eq(schema, &read.schema));
        let shows = known.map_or_else(|| self.in_slices.of(&read.schema.table), |(_, shows)| *shows);
        if known.is_none() {
            self.shows = Some((read.schema.clone(), shows));
        }
        let slices = || self.slices.get(&read.schema.table.to_string());
        shows && !slices().is_some_and(|slices| slices.is_finished(read.seq))
    }

    /// Notes a table whose changes do not come in the order of their log.
    fn note_order(&mut self, change: &Change, lineage: Option<&Lineage>) {
        if (lineage.is_none() || self.merge.is_free()) && !self.unordered.contains(&change.schema.table) {
            self.unordered.insert(change.schema.table.clone());
            self.untold.push(change.schema.table.clone());
        }
    }

    /// Takes a message, and hands its change over with the log that it comes from, if the message says it.
    ///
    /// # Errors
    /// Those that concern more than this topic: a gap, or a registry that is not set.
    pub(crate) fn take(
        &mut self,
        lookup: &Lookup,
        logs: &Logs,
        arena: &mut Arena,
        raw: &Raw<'_>,
        hand_over: impl FnOnce(Change, Option<Lineage>),
    ) -> Result<Taken> {
        if self.waits_until().is_some() {
            return Ok(Taken::Waits);
        }
        if !self.is_new(raw)? {
            return Ok(Taken::Read);
        }
        if self.stopped.is_some() {
            self.pass_stopped(raw);
            return Ok(Taken::Read);
        }
        let answers = raw.answers();
        if raw.is_control(DISCARDED) {
            self.went_past(raw);
            self.counts.redundant += 1;
            self.answered(answers, raw, None);
            return Ok(Taken::Read);
        }
        let Some(partition) = self.partitions.get_mut(raw.partition) else { return Ok(Taken::Read) };
        let schemas = &mut partition.position.schemas;
        let read =
            read(&mut self.readers, lookup, arena, schemas, raw).map_err(|error| (reason_of(raw, &error), error));
        let read = read.and_then(|decoded| let_in(decoded, logs).map_err(|error| (Reason::Bytes, error)));
        match read.and_then(|decoded| standing_alone(&self.letters, raw, answers, decoded)) {
            Ok(decoded) if self.is_too_late(answers, raw, &decoded) => self.leave_out(raw, too_late()),
            Ok(decoded) => self.hand_over(raw, answers, decoded, hand_over),
            Err((_, error)) if error.kind() == ErrorKind::Transient => {
                self.wait(&error);
                return Ok(Taken::Waits);
            }
            Err((_, error)) if error.kind() == ErrorKind::Config => {
                return Err(error.on(format!("topic {}", self.name)));
            }
            // It came again twice, or another reader's letter: ours was read, or has a place of its own.
            Err(_) if answers.is_some_and(|answers| !self.letters.is_open(answers)) => {
                self.waits = None;
                self.went_past(raw);
                self.counts.redundant += 1;
            }
            // One that comes back takes its own place.
            Err((reason, error)) if self.letters.count() < self.room(answers) => {
                return Ok(Taken::Undecodable(reason, error));
            }
            Err((_, error)) => self.leave_out(raw, error),
        }
        Ok(Taken::Read)
    }

    fn hand_over(
        &mut self,
        raw: &Raw<'_>,
        answers: Option<Answers>,
        decoded: Decoded,
        hand_over: impl FnOnce(Change, Option<Lineage>),
    ) {
        self.waits = None;
        self.went_past(raw);
        if let Some(change) = decoded.change() {
            self.whose.told(&change.schema.table);
        }
        if !self.letters.is_empty() {
            self.answered(answers, raw, decoded.change().map(|change| change.seq));
        }
        match self.judge(raw.partition, decoded) {
            Some((change, lineage)) => {
                self.newest = self.newest.max(change.seq);
                hand_over(change, lineage);
            }
            None => self.counts.redundant += 1,
        }
    }

    fn went_past(&mut self, raw: &Raw<'_>) {
        if let Some(partition) = self.partitions.get_mut(raw.partition) {
            partition.position = Position { next: raw.offset + 1, last: Some(raw.seen()), ..partition.position };
        }
        self.counts.messages += 1;
        self.counts.bytes += raw.bytes();
        self.counts.newest_at_ms = self.counts.newest_at_ms.max(Some(raw.at_ms));
    }

    fn judge(&mut self, partition: usize, decoded: Decoded) -> Option<(Change, Option<Lineage>)> {
        let deleted = self.partitions.get_mut(partition).and_then(|partition| partition.deleted.take());
        match decoded {
            // It says what the delete before it said.
            Decoded::Tombstone(change, _) if deleted == Some(change.seq) => None,
            Decoded::Tombstone(change, lineage) => Some((change, lineage)),
            Decoded::Change(change, lineage) => {
                if change.op == Op::Delete
                    && let Some(partition) = self.partitions.get_mut(partition)
                {
                    partition.deleted = Some(change.seq);
                }
                if lineage.is_none() && !std::mem::replace(&mut self.weak, true) {
                    events::order_is_weak(&self.name);
                }
                Some((change, lineage))
            }
            Decoded::SnapshotEnd(change, lineage, of) => {
                let table = change.schema.table.to_string();
                let slices = self.slices.entry(table).or_default();
                let whole = slices.arrived(change.seq, u32::try_from(partition).unwrap_or(u32::MAX), of);
                if whole {
                    events::slice_complete(&self.name, change.seq);
                }
                whole.then_some((change, lineage))
            }
            Decoded::Nothing => None,
        }
    }

    /// Tables whose changes come in any order, that were not told yet.
    pub(crate) fn tell_unordered(&mut self) -> Vec<TableId> {
        std::mem::take(&mut self.untold)
    }

    /// What was counted since the last call.
    pub(crate) fn tell_counts(&mut self) -> Option<TopicStatus> {
        (self.counts != TopicStatus::default()).then(|| std::mem::take(&mut self.counts))
    }
}

fn read(
    readers: &mut Readers,
    lookup: &Lookup,
    arena: &mut Arena,
    schemas: &mut SchemaIds,
    raw: &Raw<'_>,
) -> Result<Decoded> {
    let headers = raw.headers.ok_or_else(|| Error::data("the name of a header is no text"))?;
    if raw.is_control(OVERSIZE) {
        return Err(oversize(raw));
    }
    let (key, value) = (raw.key.map(|key| arena.copy(key)), raw.value.map(|value| arena.copy(value)));
    readers.read(lookup, schemas, key, value, headers)
}

fn let_in(decoded: Decoded, logs: &Logs) -> Result<Decoded> {
    if let Decoded::Change(change, lineage)
    | Decoded::Tombstone(change, lineage)
    | Decoded::SnapshotEnd(change, lineage, _) = &decoded
    {
        logs.check(lineage.as_ref(), change.seq)?;
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests;
