//! Sets of changes to merge, and what the table must hold after them.

use std::collections::BTreeMap;

use walbrook_model::Seq;

/// A change as the guard sees it. Rows are numbers; every write has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) seq: Seq,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Write {
        key: u8,
        row: u32,
    },
    Delete {
        key: u8,
    },
    /// A truncate, or the end of a slice: what is older is gone.
    Mark,
}

/// The table as a function of the set of changes: the whole contract.
pub(super) fn model<'a>(set: impl Iterator<Item = &'a Event> + Clone) -> BTreeMap<u8, (Seq, u32)> {
    let floor = set.clone().filter(|event| event.what == What::Mark).map(|event| event.seq).max().unwrap_or(Seq::ZERO);
    let mut newest: BTreeMap<u8, &Event> = BTreeMap::new();
    for event in set.filter(|event| event.seq >= floor) {
        let (What::Write { key, .. } | What::Delete { key }) = event.what else { continue };
        let held = newest.entry(key).or_insert(event);
        if event.seq > held.seq {
            *held = event;
        }
    }
    let row = |(key, event): (u8, &Event)| match event.what {
        What::Write { row, .. } => Some((key, (event.seq, row))),
        _ => None,
    };
    newest.into_iter().filter_map(row).collect()
}

/// A small random number generator: a failing case is named by its seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) % (end.max(1) as u64)).unwrap()
    }

    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// What kind of history, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pub(super) keys: usize,
    pub(super) transactions: usize,
    pub(super) deletes: usize,
    pub(super) truncates: usize,
    pub(super) slices: usize,
    pub(super) aborts: usize,
}

/// Changes in the order of their tokens, and the rows of the database after the last of them (where there is one).
pub(super) struct History {
    pub(super) events: Vec<Event>,
    pub(super) database: Option<BTreeMap<u8, u32>>,
}

/// What a database does: transactions on rows that it holds, and slices that read them. The first slice reads all rows
/// that were there before the log. A transaction may commit at the very position of a slice.
pub(super) fn log(random: &mut Random, mix: &Mix) -> History {
    let mut log = Log { events: Vec::new(), rows: BTreeMap::new(), next_row: 0, position: 1, at_slice: false };
    for key in 0..mix.keys {
        if random.percent(50) {
            let row = log.fresh_row();
            log.rows.insert(u8::try_from(key).unwrap(), row);
        }
    }
    if random.percent(mix.aborts) {
        log.slice(random, true);
    }
    log.slice(random, false);
    for _ in 0..mix.transactions {
        if random.percent(mix.slices) {
            let aborted = random.percent(mix.aborts);
            log.slice(random, aborted);
        } else {
            log.transaction(random, mix);
        }
    }
    History { events: log.events, database: Some(log.rows) }
}

struct Log {
    events: Vec<Event>,
    rows: BTreeMap<u8, u32>,
    next_row: u32,
    position: u64,
    at_slice: bool,
}

impl Log {
    fn fresh_row(&mut self) -> u32 {
        self.next_row += 1;
        self.next_row
    }

    fn slice(&mut self, random: &mut Random, aborted: bool) {
        self.position += 1;
        self.at_slice = true;
        let seq = Seq::new(0, 1, self.position, 0).unwrap();
        for (key, row) in &self.rows {
            if !aborted || random.percent(50) {
                self.events.push(Event { seq, what: What::Write { key: *key, row: *row } });
            }
        }
        if !aborted {
            self.events.push(Event { seq, what: What::Mark });
        }
    }

    fn transaction(&mut self, random: &mut Random, mix: &Mix) {
        if !self.at_slice || random.percent(50) {
            self.position += 1;
        }
        self.at_slice = false;
        let mut ordinal = 0;
        for _ in 0..=random.below(3) {
            // A filter may have taken some rows of the transaction, never the count of them.
            ordinal += if random.percent(80) { 1 } else { 2 };
            let seq = Seq::new(0, 1, self.position, ordinal).unwrap();
            let key = u8::try_from(random.below(mix.keys)).unwrap();
            let what = if random.percent(mix.truncates) {
                self.rows.clear();
                What::Mark
            } else if self.rows.contains_key(&key) && random.percent(mix.deletes) {
                self.rows.remove(&key);
                What::Delete { key }
            } else {
                let row = self.fresh_row();
                self.rows.insert(key, row);
                What::Write { key, row }
            };
            self.events.push(Event { seq, what });
        }
    }
}

/// Any changes at all: deletes of absent rows, slices that read what was never written, marks without reads. Only one
/// change has a token, except that the reads of a slice (one for a key) share theirs.
pub(super) fn anything(random: &mut Random, mix: &Mix) -> History {
    let mut events: BTreeMap<(Seq, Option<u8>), What> = BTreeMap::new();
    for row in 0..u32::try_from(mix.transactions * 2).unwrap() {
        let key = u8::try_from(random.below(mix.keys)).unwrap();
        let position = 1 + random.below(mix.transactions) as u64;
        let read = random.percent(mix.slices);
        let ordinal = if read { 0 } else { 1 + random.below(3) as u64 };
        let seq = Seq::new(0, 1, position, ordinal).unwrap();
        let mark = random.percent(if read { 100 - mix.aborts } else { mix.truncates });
        let (of, what) = match (read, mark) {
            (true, true) => (Some(u8::MAX), What::Mark),
            (true, false) => (Some(key), What::Write { key, row }),
            (false, true) => (None, What::Mark),
            (false, false) if random.percent(mix.deletes) => (None, What::Delete { key }),
            (false, false) => (None, What::Write { key, row }),
        };
        events.entry((seq, of)).or_insert(what);
    }
    let events = events.into_iter().map(|((seq, _), what)| Event { seq, what }).collect();
    History { events, database: None }
}
