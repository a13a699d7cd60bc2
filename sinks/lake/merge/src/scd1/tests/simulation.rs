//! A table, a process that merges into it, and everything that can happen to both.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Event, History, Random, What, model};
use super::*;
use crate::key::KeyKind;

/// What is durable: data files, deletion vectors, the graves file.
#[derive(Clone)]
struct Lake {
    files: BTreeMap<u32, DataFile>,
    next_file: u32,
    graves: Vec<u8>,
}

#[derive(Clone, Default)]
struct DataFile {
    rows: Vec<(u8, Seq, u32)>,
    deleted: RoaringBitmap,
}

/// Reads `_seq` as the sink would from Parquet.
struct Reader<'a>(&'a Lake, Option<Fault>);

impl Stored for Reader<'_> {
    fn seq_at(&mut self, at: Location) -> Result<Seq> {
        Ok(match self.1 {
            Some(Fault::FileMaxDecides) => Seq::MAX,
            Some(Fault::StoredIsOld) => Seq::ZERO,
            _ => self.0.files.get(&at.file).ok_or_else(|| Error::bug("no such file"))?.rows[at.row as usize].1,
        })
    }

    fn older_than(&mut self, file: u32, floor: Seq) -> Result<RoaringBitmap> {
        let rows = self.0.files.get(&file).ok_or_else(|| Error::bug("no such file"))?.rows.iter().zip(0..);
        Ok(rows.filter(|((_, seq, _), _)| *seq < floor).map(|(_, row)| row).collect())
    }
}

fn key_id(key: u8) -> KeyId {
    KeyId::from_u128(u128::from(u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// How changes reach the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// In any order and repeatedly. A grave may be forgotten when everything at or below it is merged.
    Permuted,
    /// In the order of the log, the reads of a slice some time after it began. The source's checkpoint, up to which
    /// graves may be forgotten, speaks of the log alone.
    Streamed,
}

/// How much happens besides, in percent per delivered change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) commit: usize,
    pub(super) fail: usize,
    pub(super) race: usize,
    pub(super) crash: usize,
    pub(super) forget: usize,
    pub(super) repeat: usize,
}

/// One run. `queue` names changes by their place in the history.
pub(super) struct Simulation<'a> {
    events: &'a [Event],
    delivery: Delivery,
    fault: Option<Fault>,
    queue: Vec<usize>,
    next: usize,
    next_durable: usize,
    crashes_left: usize,
    lake: Lake,
    merged: BTreeSet<usize>,
    state: Scd1,
    pending: Pending,
    buffer: Vec<(u8, Seq, u32)>,
    delivered: BTreeSet<usize>,
}

/// Runs a history to its end, and says what went wrong.
pub(super) fn run(
    random: &mut Random,
    history: &History,
    delivery: Delivery,
    weather: Weather,
    fault: Option<Fault>,
) -> std::result::Result<(), String> {
    let mut queue: Vec<usize> = (0..history.events.len()).collect();
    match delivery {
        Delivery::Permuted => {
            queue.extend((0..history.events.len()).filter(|_| random.percent(weather.repeat)));
            random.shuffle(&mut queue);
        }
        Delivery::Streamed => delay_slices(random, &history.events, &mut queue),
    }
    let empty = GravesFile::empty(KeyKind::Small);
    let mut simulation = Simulation {
        events: &history.events,
        delivery,
        fault,
        queue,
        next: 0,
        next_durable: 0,
        crashes_left: 3,
        lake: Lake { files: BTreeMap::new(), next_file: 0, graves: empty.encode() },
        merged: BTreeSet::new(),
        state: Scd1::with_room(empty, 0),
        pending: Pending::default(),
        buffer: Vec::new(),
        delivered: BTreeSet::new(),
    };
    simulation.state.fault = fault;
    simulation.run(random, weather)?;
    let rows: BTreeMap<_, _> = simulation.rows()?.into_iter().map(|(key, (_, row))| (key, row)).collect();
    if history.database.as_ref().is_some_and(|database| *database != rows) {
        return Err(format!("the database holds {:?}, the table {rows:?}", history.database));
    }
    simulation.repeat_all(random)
}

/// Moves the reads and the end of each slice, together, to some later place.
fn delay_slices(random: &mut Random, events: &[Event], queue: &mut Vec<usize>) {
    let mut slices: BTreeMap<Seq, Vec<usize>> = BTreeMap::new();
    queue.retain(|event| {
        let slice = events[*event].seq.ordinal() == 0;
        if slice {
            slices.entry(events[*event].seq).or_default().push(*event);
        }
        !slice
    });
    let mut earliest = 0;
    for (seq, reads) in slices {
        earliest = earliest.max(queue.iter().position(|event| events[*event].seq > seq).unwrap_or(queue.len()));
        for read in reads {
            earliest = (earliest + random.below(3)).min(queue.len());
            queue.insert(earliest, read);
            earliest += 1;
        }
    }
}

impl Simulation<'_> {
    fn run(&mut self, random: &mut Random, weather: Weather) -> std::result::Result<(), String> {
        while self.next < self.queue.len() {
            self.deliver(self.queue[self.next]);
            self.next += 1;
            if random.percent(weather.fail) {
                self.fail_commit()?;
            }
            if random.percent(weather.race) {
                self.lose_race()?;
            }
            if random.percent(weather.commit) || self.next == self.queue.len() {
                self.commit()?;
            }
            if random.percent(weather.forget) {
                self.forget();
            }
            if self.crashes_left > 0 && random.percent(weather.crash) {
                self.crashes_left -= 1;
                let back = if random.percent(30) { self.next_durable } else { random.below(4) };
                self.crash(self.next_durable - back.min(self.next_durable))?;
            }
        }
        Ok(())
    }

    /// The token as the source gives it.
    fn seq_of(&self, event: usize) -> Seq {
        let seq = self.events[event].seq;
        match self.fault {
            Some(Fault::FirstOrdinalIsZero) if seq.ordinal() > 0 => seq.with_ordinal(seq.ordinal() - 1).unwrap(),
            _ => seq,
        }
    }

    fn deliver(&mut self, event: usize) {
        self.open_slices();
        let seq = self.seq_of(event);
        match self.events[event].what {
            What::Write { key, row } => {
                let place = u32::try_from(self.buffer.len()).unwrap();
                if self.pending.push(key_id(key), seq, Some(place)) != Pushed::Stale {
                    self.buffer.push((key, seq, row));
                }
            }
            What::Delete { key } => {
                self.pending.push(key_id(key), seq, None);
            }
            What::Mark => {
                self.pending.sweep(seq);
            }
        }
        self.delivered.insert(event);
    }

    /// A source that reads the log in order says when it begins a slice, before anything that is newer.
    fn open_slices(&mut self) {
        if self.delivery == Delivery::Streamed && self.fault != Some(Fault::SlicesUntold) {
            let coming = self.queue[self.next..].iter().map(|event| self.events[*event].seq);
            let now = self.queue[..=self.next].iter().map(|event| self.events[*event].seq).max().unwrap();
            for slice in coming.filter(|seq| seq.ordinal() == 0 && *seq < now) {
                self.pending.open_slice(slice);
            }
        }
    }

    fn plan(&self) -> std::result::Result<Plan, String> {
        self.state.plan(&self.pending, &mut Reader(&self.lake, self.fault)).map_err(|error| error.to_string())
    }

    fn fail_commit(&mut self) -> std::result::Result<(), String> {
        let plan = self.plan()?;
        if self.fault == Some(Fault::FailedCommitStays) {
            let file = self.new_file(&plan);
            let _ = self.state.fold(plan, file.map(|(id, _, entry)| (id, entry)));
        }
        Ok(())
    }

    fn new_file(&self, plan: &Plan) -> Option<(u32, DataFile, FileEntry)> {
        let rows: Vec<_> = plan.rows.iter().map(|row| self.buffer[*row as usize]).collect();
        let seqs = || rows.iter().map(|(_, seq, _)| *seq);
        let entry = FileEntry {
            rows: u32::try_from(rows.len()).unwrap(),
            seq_min: seqs().min()?,
            seq_max: seqs().max()?,
            deleted: RoaringBitmap::new(),
        };
        Some((self.lake.next_file, DataFile { rows, ..DataFile::default() }, entry))
    }

    /// Makes the pending changes durable, as far as there is anything to it.
    fn commit(&mut self) -> std::result::Result<(), String> {
        let plan = self.plan()?;
        if !plan.is_empty() {
            self.write(plan)?;
        }
        self.merged.append(&mut self.delivered);
        self.next_durable = self.next;
        self.pending = Pending::default();
        self.buffer.clear();
        self.check()
    }

    fn write(&mut self, plan: Plan) -> std::result::Result<(), String> {
        let file = self.new_file(&plan);
        for (id, deleted) in &plan.deleted {
            let stored = self.lake.files.get_mut(id).ok_or("rows deleted in a file that is not there")?;
            if !stored.deleted.is_subset(deleted) || *deleted == stored.deleted {
                return Err("a deletion vector did not grow".into());
            }
            stored.deleted = deleted.clone();
        }
        for id in &plan.removed {
            self.lake.files.remove(id).ok_or("a file removed that is not there")?;
        }
        self.lake.graves = self.state.graves_file(&plan).encode();
        let entry = file.map(|(id, file, entry)| {
            self.lake.files.insert(id, file);
            self.lake.next_file += 1;
            (id, entry)
        });
        self.state.fold(plan, entry).map_err(|error| error.to_string())
    }

    /// Forgets graves as far as the contract allows.
    fn forget(&mut self) {
        let streamed = self.delivery == Delivery::Streamed;
        let of_the_source = |seq: Seq| !streamed || seq.ordinal() > 0;
        let seqs = self.events.iter().enumerate().filter(|(_, event)| of_the_source(event.seq));
        let missing = seqs.clone().filter(|(event, _)| !self.merged.contains(event)).map(|(_, event)| event.seq).min();
        let merged = seqs.map(|(event, _)| self.seq_of(event));
        let covered = merged.filter(|seq| missing.is_none_or(|missing| *seq < missing)).max().unwrap_or(Seq::ZERO);
        let (open, horizon) = (self.state.marks.clone(), self.state.graves.horizon());
        match self.fault {
            Some(Fault::ForgetsWhileSliceIsOpen) => {
                self.state.marks = Marks::new(open.truncate(), open.finished(), []);
                self.state.forget_graves(covered, &Pending::default());
                self.state.marks = open;
            }
            Some(Fault::ForgetsUncovered) => drop(self.state.forget_graves(Seq::MAX, &Pending::default())),
            Some(Fault::HorizonStays) => {
                self.state.forget_graves(covered, &self.pending);
                self.state.graves = Graves::new(self.state.graves.iter().collect::<Vec<_>>(), horizon);
            }
            _ => drop(self.state.forget_graves(covered, &self.pending)),
        }
    }

    /// Another writer committed first: the state is read anew, the pending changes stay.
    fn lose_race(&mut self) -> std::result::Result<(), String> {
        self.plan()?;
        self.state = self.read_state()?;
        Ok(())
    }

    /// The process dies and another one reads the table; the source resumes at `from`.
    fn crash(&mut self, from: usize) -> std::result::Result<(), String> {
        self.state = self.read_state()?;
        self.pending = Pending::default();
        self.buffer.clear();
        self.delivered.clear();
        self.next = from;
        Ok(())
    }

    /// The state as the lake has it.
    fn read_state(&self) -> std::result::Result<Scd1, String> {
        let mut file = GravesFile::decode(&self.lake.graves).map_err(|error| error.to_string())?;
        match self.fault {
            Some(Fault::GravesLost) => file.graves.clear(),
            Some(Fault::HorizonLost) => file.horizon = Seq::ZERO,
            Some(Fault::MarksLost) => file.marks = Marks::default(),
            Some(Fault::OpenSlicesLost) => file.marks = Marks::new(file.marks.truncate(), file.marks.finished(), []),
            _ => {}
        }
        let mut state = Scd1::with_room(file, 0);
        state.fault = self.fault;
        for (id, file) in &self.lake.files {
            let seqs = || file.rows.iter().map(|(_, seq, _)| *seq);
            let entry = FileEntry {
                rows: u32::try_from(file.rows.len()).unwrap(),
                seq_min: seqs().min().unwrap(),
                seq_max: seqs().max().unwrap(),
                deleted: file.deleted.clone(),
            };
            state.add_file(*id, entry).map_err(|error| error.to_string())?;
            for ((key, ..), row) in file.rows.iter().zip(0..).filter(|(_, row)| !file.deleted.contains(*row)) {
                state.add_row(key_id(*key), Location { file: *id, row }).map_err(|error| error.to_string())?;
            }
        }
        if self.fault.is_none() {
            self.check_rebuilt(&state)?;
        }
        Ok(state)
    }

    /// What a new process reads is what the old one knew, but for graves that were forgotten since the last commit and
    /// slices that were opened since.
    fn check_rebuilt(&self, new: &Scd1) -> std::result::Result<(), String> {
        let old = &self.state;
        let rows = |state: &Scd1| state.index.iter().collect::<Vec<_>>();
        let graves = |state: &Scd1| state.graves.iter().collect::<BTreeMap<_, _>>();
        let (had, has) = (graves(old), graves(new));
        let same = rows(old) == rows(new)
            && old.files == new.files
            && old.marks.floor() == new.marks.floor()
            && new.marks.open().is_subset(old.marks.open())
            && new.graves.horizon() <= old.graves.horizon()
            && had.iter().all(|(key, seq)| has.get(key) == Some(seq))
            && has.values().all(|seq| had.values().any(|had| had == seq) || *seq <= old.graves.horizon());
        if same { Ok(()) } else { Err("a new process knows another state than the old one".into()) }
    }

    /// The live rows of the table.
    fn rows(&self) -> std::result::Result<BTreeMap<u8, (Seq, u32)>, String> {
        let mut rows = BTreeMap::new();
        for file in self.lake.files.values() {
            for ((key, seq, row), _) in file.rows.iter().zip(0..).filter(|(_, row)| !file.deleted.contains(*row)) {
                if rows.insert(*key, (*seq, *row)).is_some() {
                    return Err(format!("two live rows of key {key}"));
                }
            }
        }
        Ok(rows)
    }

    /// The table is the model's, and the state is the table's.
    fn check(&self) -> std::result::Result<(), String> {
        let rows = self.rows()?;
        let want = model(self.merged.iter().map(|event| &self.events[*event]));
        let same =
            rows.len() == want.len() && rows.iter().all(|(key, (_, row))| want.get(key).is_some_and(|w| w.1 == *row));
        if !same {
            return Err(format!("the table holds {rows:?} instead of {want:?}"));
        }
        if rows != want && self.fault != Some(Fault::FirstOrdinalIsZero) {
            return Err(format!("tokens differ: {rows:?} instead of {want:?}"));
        }
        let index: BTreeMap<_, _> = self.state.index.iter().collect();
        for key in rows.keys() {
            let at = index.get(&key_id(*key)).ok_or("a live row is not in the index")?;
            if self.lake.files[&at.file].rows[at.row as usize].0 != *key {
                return Err("the index points at another key's row".into());
            }
        }
        if index.len() != rows.len() || self.state.graves.iter().any(|(key, _)| index.contains_key(&key)) {
            return Err("index, graves and rows do not fit together".into());
        }
        Ok(())
    }

    /// A second delivery of everything, in any order, is no commit at all.
    fn repeat_all(&mut self, random: &mut Random) -> std::result::Result<(), String> {
        self.queue = (0..self.events.len()).collect();
        random.shuffle(&mut self.queue);
        for next in 0..self.queue.len() {
            let event = self.queue[next];
            let (seq, what) = (self.seq_of(event), self.events[event].what);
            match what {
                What::Write { key, .. } => drop(self.pending.push(key_id(key), seq, Some(0))),
                What::Delete { key } => drop(self.pending.push(key_id(key), seq, None)),
                What::Mark => drop(self.pending.sweep(seq)),
            }
            if random.percent(20) || next + 1 == self.queue.len() {
                if !self.plan()?.is_empty() {
                    return Err(format!("a repeat did something: {:?}", self.plan()?));
                }
                self.pending = Pending::default();
            }
        }
        Ok(())
    }
}
