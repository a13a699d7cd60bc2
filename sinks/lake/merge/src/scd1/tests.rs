//! Properties of the merge, each with the domain that it permutes; and faults, each of which must turn one red.

mod history;
mod simulation;

use history::{History, Mix, Random, anything, log};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use simulation::{Delivery, Weather, run};

use super::*;
use crate::pending::Pushed;

/// A fault of the merge, of its restart, or of the source: planted to see that the properties would find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Everything at or below the highest token so far counts as applied.
    FloorIsJudge,
    /// `>=` for `>`: a repeat is applied again.
    EqualIsNewer,
    /// A read at the slice that finished counts as older than it.
    ReadAtMarkIsStale,
    /// Changes older than a mark are applied.
    MarksIgnored,
    /// Changes older than a grave are applied.
    GravesIgnored,
    /// Changes of unknown keys are applied at or below the horizon.
    HorizonIgnored,
    /// A mark deletes no stored rows.
    NoSweep,
    /// A change not above the highest token of its file is taken for stale without a look at the row.
    FileMaxDecides,
    /// A change of a stored row is taken for newer without a look at the row.
    StoredIsOld,
    /// The first change of a transaction has the ordinal of a read.
    FirstOrdinalIsZero,
    /// A restart forgets the graves.
    GravesLost,
    /// A restart forgets the horizon.
    HorizonLost,
    /// A restart forgets truncates and slices.
    MarksLost,
    /// A restart forgets the open slices (and the source does not tell them again).
    OpenSlicesLost,
    /// The source says nothing of a slice before its first read.
    SlicesUntold,
    /// Graves are forgotten although a slice is open or pending.
    ForgetsWhileSliceIsOpen,
    /// Graves are forgotten that no checkpoint covers.
    ForgetsUncovered,
    /// Forgetting a grave does not raise the horizon.
    HorizonStays,
    /// The state takes in a plan whose commit failed.
    FailedCommitStays,
}

impl Fault {
    /// The verdict of a guard with this fault; `None` where it judges as the sound one.
    pub(super) fn verdict(self, state: &Scd1, seq: Seq, known: Known, floor: Seq) -> Option<Verdict> {
        let horizon = state.graves.horizon();
        match self {
            Self::FloorIsJudge => {
                let rows = state.files.values().map(|entry| entry.seq_max);
                let applied = rows.chain(state.graves.iter().map(|(_, seq)| seq)).max()?;
                (seq <= applied).then_some(Verdict::BelowMark)
            }
            Self::EqualIsNewer if known == Known::Row(seq) || known == Known::Grave(seq) => Some(Verdict::Newer),
            Self::ReadAtMarkIsStale if seq == floor => Some(Verdict::BelowMark),
            Self::MarksIgnored => Some(judge(seq, known, Seq::ZERO, horizon)),
            Self::GravesIgnored if matches!(known, Known::Grave(_)) => Some(judge(seq, Known::Nothing, floor, horizon)),
            Self::HorizonIgnored => Some(judge(seq, known, floor, Seq::ZERO)),
            _ => None,
        }
    }
}

/// A domain of histories and what happens to them.
#[derive(Clone, Copy, Debug)]
struct Profile {
    make: fn(&mut Random, &Mix) -> History,
    mix: Mix,
    delivery: Delivery,
    weather: Weather,
    cases: u32,
}

const MIX: Mix = Mix { keys: 5, transactions: 14, deletes: 40, truncates: 5, slices: 20, aborts: 40 };
const WEATHER: Weather = Weather { commit: 25, fail: 5, race: 5, crash: 6, forget: 25, repeat: 30 };

/// Any set of changes, in any order.
const ANYTHING: Profile =
    Profile { make: anything, mix: MIX, delivery: Delivery::Permuted, weather: WEATHER, cases: 1000 };

/// The log of a database with its slices, in any order.
const PERMUTED_LOG: Profile =
    Profile { make: log, mix: MIX, delivery: Delivery::Permuted, weather: WEATHER, cases: 1000 };

/// The log in its order, reads of slices late.
const STREAMED_LOG: Profile =
    Profile { make: log, mix: MIX, delivery: Delivery::Streamed, weather: WEATHER, cases: 1000 };

/// Two keys that are deleted and come back, graves forgotten as early as may be, and many restarts far back.
const GRAVES: Profile = Profile {
    make: log,
    mix: Mix { keys: 2, transactions: 20, deletes: 60, truncates: 0, slices: 5, aborts: 0 },
    delivery: Delivery::Streamed,
    weather: Weather { commit: 50, fail: 0, race: 0, crash: 15, forget: 60, repeat: 0 },
    cases: 1000,
};

/// Slices upon slices, many of them aborted, around deletes; graves forgotten as early as may be.
const SLICES: Profile = Profile {
    make: log,
    mix: Mix { keys: 3, transactions: 16, deletes: 60, truncates: 3, slices: 50, aborts: 50 },
    delivery: Delivery::Streamed,
    weather: Weather { commit: 50, fail: 5, race: 5, crash: 8, forget: 60, repeat: 0 },
    cases: 1000,
};

/// One key, one slice after the other, in any order: everything meets at the marks.
const ONE_KEY: Profile = Profile {
    make: anything,
    mix: Mix { keys: 1, transactions: 7, deletes: 40, truncates: 15, slices: 50, aborts: 60 },
    delivery: Delivery::Permuted,
    weather: Weather { commit: 40, fail: 5, race: 5, crash: 10, forget: 30, repeat: 60 },
    cases: 1000,
};

impl Profile {
    fn run(&self, seed: u64, fault: Option<Fault>) -> std::result::Result<(), String> {
        let mut random = Random::new(seed);
        let history = (self.make)(&mut random, &self.mix);
        run(&mut random, &history, self.delivery, self.weather, fault)
    }

    fn check(&self) {
        let config = ProptestConfig::default();
        let cases = config.cases.max(self.cases);
        let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..config });
        let result = runner.run(&any::<u64>().no_shrink(), |seed| {
            self.run(seed, None).map_err(|error| TestCaseError::fail(format!("seed {seed}: {error}")))
        });
        if let Err(TestError::Fail(reason, _)) = result {
            panic!("{reason}");
        }
    }

    /// Whether the cases of the usual budget find the fault.
    fn finds(&self, fault: Fault) -> bool {
        (0..u64::from(self.cases)).any(|seed| self.run(seed, Some(fault)).is_err())
    }
}

#[test]
fn any_set_of_changes_in_any_order_gives_one_table() {
    ANYTHING.check();
}

#[test]
fn a_log_in_any_order_gives_the_database() {
    PERMUTED_LOG.check();
}

#[test]
fn a_log_with_late_reads_gives_the_database() {
    STREAMED_LOG.check();
}

#[test]
fn forgotten_graves_stay_closed() {
    GRAVES.check();
}

#[test]
fn slices_over_slices_give_the_database() {
    SLICES.check();
}

#[test]
fn one_key_at_the_marks() {
    ONE_KEY.check();
}

#[test]
fn every_planted_fault_is_found() {
    let check = |fault: Fault, profiles: &[Profile]| {
        for profile in profiles {
            assert!(profile.finds(fault), "{fault:?} was not found by {profile:?}");
        }
    };
    check(Fault::FloorIsJudge, &[ANYTHING, PERMUTED_LOG, STREAMED_LOG, SLICES]);
    check(Fault::EqualIsNewer, &[ANYTHING, STREAMED_LOG, GRAVES, ONE_KEY]);
    check(Fault::ReadAtMarkIsStale, &[ANYTHING, PERMUTED_LOG, SLICES, ONE_KEY]);
    check(Fault::MarksIgnored, &[ANYTHING, PERMUTED_LOG, STREAMED_LOG, SLICES, ONE_KEY]);
    check(Fault::GravesIgnored, &[ANYTHING, PERMUTED_LOG, STREAMED_LOG, GRAVES, SLICES, ONE_KEY]);
    check(Fault::HorizonIgnored, &[ANYTHING, STREAMED_LOG, GRAVES, SLICES, ONE_KEY]);
    check(Fault::NoSweep, &[ANYTHING, PERMUTED_LOG, STREAMED_LOG, SLICES, ONE_KEY]);
    check(Fault::FileMaxDecides, &[ANYTHING, PERMUTED_LOG, STREAMED_LOG, SLICES]);
    check(Fault::StoredIsOld, &[ANYTHING, STREAMED_LOG, GRAVES, ONE_KEY]);
    check(Fault::FirstOrdinalIsZero, &[PERMUTED_LOG, STREAMED_LOG, GRAVES, SLICES]);
    check(Fault::GravesLost, &[ANYTHING, PERMUTED_LOG, STREAMED_LOG, GRAVES, SLICES, ONE_KEY]);
    check(Fault::HorizonLost, &[STREAMED_LOG, GRAVES, SLICES]);
    check(Fault::MarksLost, &[ANYTHING, PERMUTED_LOG, STREAMED_LOG, SLICES, ONE_KEY]);
    check(Fault::OpenSlicesLost, &[STREAMED_LOG, SLICES]);
    check(Fault::SlicesUntold, &[STREAMED_LOG, SLICES]);
    check(Fault::ForgetsWhileSliceIsOpen, &[STREAMED_LOG, GRAVES, SLICES]);
    check(Fault::ForgetsUncovered, &[ANYTHING, PERMUTED_LOG]);
    check(Fault::HorizonStays, &[ANYTHING, STREAMED_LOG, GRAVES, SLICES]);
    check(Fault::FailedCommitStays, &[ANYTHING, PERMUTED_LOG, STREAMED_LOG, SLICES]);
}

fn seq(position: u64, ordinal: u64) -> Seq {
    Seq::new(0, 1, position, ordinal).unwrap()
}

fn key(number: u64) -> KeyId {
    KeyId::from_u128(u128::from(number))
}

/// Stored rows that nobody may ask for.
struct Unread;

impl Stored for Unread {
    fn seq_at(&mut self, _: Location) -> Result<Seq> {
        Err(Error::bug("read"))
    }

    fn older_than(&mut self, _: u32, _: Seq) -> Result<RoaringBitmap> {
        Err(Error::bug("read"))
    }
}

/// A table of one file with the rows of keys 0 to 9, at positions 1 to 10.
fn ten_rows() -> Scd1 {
    let mut table = Scd1::with_room(GravesFile::empty(crate::key::KeyKind::Small), 0);
    let entry = FileEntry { rows: 10, seq_min: seq(1, 1), seq_max: seq(10, 1), deleted: RoaringBitmap::new() };
    table.add_file(7, entry).unwrap();
    for row in 0..10 {
        table.add_row(key(u64::from(row)), Location { file: 7, row }).unwrap();
    }
    table
}

#[test]
fn changes_in_order_read_nothing_stored() {
    let table = ten_rows();
    let mut pending = Pending::default();
    pending.push(key(3), seq(11, 1), Some(0));
    pending.push(key(20), seq(11, 2), Some(1));
    pending.push(key(4), seq(11, 3), None);
    pending.push(key(5), seq(12, 1), Some(2));
    let plan = table.plan(&pending, &mut Unread).unwrap();
    assert_eq!(plan.rows, [0, 1, 2]);
    let keys: BTreeMap<u32, KeyId> = plan.keys.iter().map(|(key, row)| (*row, *key)).collect();
    assert_eq!(keys, BTreeMap::from([(0, key(3)), (1, key(20)), (2, key(5))]));
    assert_eq!(plan.replaced, 2);
    assert_eq!(plan.deleted, BTreeMap::from([(7, RoaringBitmap::from([3, 4, 5]))]));
    assert_eq!((plan.removed.len(), plan.deletes()), (0, 1));
    assert_eq!(plan.dropped, Dropped::default());
    assert_eq!(table.graves_file(&plan).graves, [(key(4), seq(11, 3))]);
    // The plan is of that state alone, and has changed nothing of it.
    assert_eq!((table.index().len(), table.graves().len()), (10, 0));
    assert_eq!(table.files[&7].deleted.len(), 0);
}

#[test]
fn a_mark_above_all_rows_removes_whole_files_unread() {
    let mut table = ten_rows();
    let mut pending = Pending::default();
    pending.sweep(seq(11, 4));
    pending.push(key(3), seq(11, 5), Some(0));
    pending.push(key(4), seq(11, 3), Some(1));
    let plan = table.plan(&pending, &mut Unread).unwrap();
    assert_eq!((plan.rows.as_slice(), plan.removed.as_slice()), (&[0][..], &[7][..]));
    assert_eq!(plan.replaced, 0, "no cell of a truncated row lives on");
    assert!(plan.deleted.is_empty());
    let entry = FileEntry { rows: 1, seq_min: seq(11, 5), seq_max: seq(11, 5), deleted: RoaringBitmap::new() };
    table.fold(plan, Some((8, entry))).unwrap();
    assert_eq!(table.index().iter().collect::<Vec<_>>(), [(key(3), Location { file: 8, row: 0 })]);
}

#[test]
fn a_mark_is_swept_once_and_only_where_older_rows_are() {
    let mut table = ten_rows();
    let mut pending = Pending::default();
    pending.sweep(seq(1, 1));
    let plan = table.plan(&pending, &mut Unread).unwrap();
    assert!(plan.removed.is_empty() && plan.deleted.is_empty() && !plan.is_empty());
    table.fold(plan, None).unwrap();
    let mut file = table.graves_file(&Plan::default());
    file.marks.truncated(seq(5, 1));
    let mut swept = Scd1::with_room(file, 0);
    swept.files.clone_from(&table.files);
    swept.index = table.index;
    assert!(swept.plan(&pending, &mut Unread).unwrap().is_empty(), "rows below a mark are gone already");
}

#[test]
fn a_file_whose_last_live_row_dies_is_removed() {
    let mut table = ten_rows();
    let mut pending = Pending::default();
    for number in 0..10 {
        pending.push(key(number), seq(11, 1 + number), None);
    }
    let plan = table.plan(&pending, &mut Unread).unwrap();
    assert_eq!((plan.removed.as_slice(), plan.deleted.len()), (&[7][..], 0));
    table.fold(plan, None).unwrap();
    assert_eq!((table.index().len(), table.graves().len(), table.files.len()), (0, 10, 0));
    pending = Pending::default();
    pending.push(key(1), seq(10, 0), Some(0));
    assert_eq!(table.forget_graves(seq(11, 4), &pending), 0, "a read waits that may be older than a grave");
    pending = Pending::default();
    assert_eq!(table.forget_graves(seq(11, 4), &pending), 4);
    assert_eq!(table.graves().horizon(), seq(11, 4));
}

#[test]
fn changes_that_do_nothing_are_counted_by_reason() {
    struct Exact(Vec<u32>);
    impl Stored for Exact {
        fn seq_at(&mut self, at: Location) -> Result<Seq> {
            self.0.push(at.row);
            Ok(seq(u64::from(at.row) + 1, 1))
        }

        fn older_than(&mut self, _: u32, floor: Seq) -> Result<RoaringBitmap> {
            Ok((0..10).filter(|row| seq(u64::from(*row) + 1, 1) < floor).collect())
        }
    }
    let mut table = ten_rows();
    table.graves = Graves::new([(key(30), seq(20, 1)), (key(31), seq(9, 1))], Seq::ZERO);
    assert_eq!(table.forget_graves(seq(9, 1), &Pending::default()), 1);
    let mut pending = Pending::default();
    pending.sweep(seq(3, 0));
    pending.push(key(8), seq(9, 1), Some(0)); // the stored row itself
    pending.push(key(8), seq(8, 1), Some(0)); // older than a pending change: not even kept
    pending.push(key(4), seq(7, 1), Some(1)); // newer than its row, though not than the file
    pending.push(key(30), seq(20, 1), None); // the grave itself
    pending.push(key(40), seq(9, 1), Some(2)); // unknown, at the horizon
    pending.push(key(41), seq(9, 2), Some(3)); // unknown, above it
    pending.push(key(1), seq(3, 0), Some(4)); // swept, and read again by the slice
    let mut stored = Exact(Vec::new());
    let plan = table.plan(&pending, &mut stored).unwrap();
    assert_eq!(plan.rows, [1, 3, 4]);
    assert_eq!(plan.dropped, Dropped { stale_row: 1, stale_grave: 1, below_mark: 0, below_horizon: 1 });
    assert_eq!(stored.0, [4, 8], "read in order, and only these");
    assert_eq!(plan.deleted[&7], RoaringBitmap::from([0, 1, 4]));
    let mut late = Pending::default();
    late.push(key(50), seq(2, 1), Some(0));
    table.marks.truncated(seq(2, 2));
    assert_eq!(table.plan(&late, &mut stored).unwrap().dropped.below_mark, 1);
}

#[test]
fn a_commit_that_does_not_fit_its_plan_is_refused() {
    let mut table = ten_rows();
    let mut pending = Pending::default();
    pending.push(key(3), seq(11, 1), Some(0));
    let entry = |rows| FileEntry { rows, seq_min: seq(11, 1), seq_max: seq(11, 1), deleted: RoaringBitmap::new() };
    for file in [None, Some((8, entry(2))), Some((7, entry(1)))] {
        let plan = table.plan(&pending, &mut Unread).unwrap();
        assert!(table.fold(plan, file).is_err());
    }
    assert!(table.add_row(key(5), Location { file: 7, row: 0 }).is_err());
    assert!(table.add_file(7, entry(1)).is_err());
    assert!(table.add_file(u32::MAX, entry(1)).is_err());
}
