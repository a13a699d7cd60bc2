//! Random transactions against a naive database, and the rules one by one.

mod messages;
mod origin;
mod stops;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use walbrook_model::{Cell, Column, ColumnFacts, ColumnType, ErrorKind, RowBuilder, TableId, TableSchema, Value};

use super::*;
use crate::timeline::Switch;

const LIMITS: Limits = Limits { cut_bytes: 1 << 20, cut_changes: 1000, transaction_bytes: 1 << 20 };

/// Key only in old rows.
const DEFAULT: u32 = 10;
/// Whole old rows.
const FULL: u32 = 20;
/// Whole old rows and a deferrable key.
const DEFERRABLE: u32 = 30;
const IGNORED: u32 = 40;
/// Like `DEFAULT`, read at a slice.
const SLICED: u32 = 50;
const TABLES: [u32; 5] = [DEFAULT, FULL, DEFERRABLE, IGNORED, SLICED];

fn schema(name: &str) -> Arc<TableSchema> {
    let column = |name: &str| Column {
        name: name.into(),
        ty: ColumnType::Text,
        nullable: true,
        source_type: "text".into(),
        initial_default: None,
        facts: Arc::default(),
        decoder: |_, bytes| Ok(Value::Bytes(bytes.into())),
    };
    let columns = vec![column("id"), column("small"), column("big")];
    Arc::new(TableSchema { table: TableId::new("public", name), columns, key: vec![0] })
}

fn captured(oid: u32, start: Seq) -> Entry {
    if oid == IGNORED {
        return Entry::Ignored;
    }
    Entry::Captured(Captured {
        schema: schema(&format!("t{oid}")),
        start,
        projection: None,
        old_cells: [true, oid == FULL || oid == DEFERRABLE, oid == FULL || oid == DEFERRABLE].into(),
        weak_old_rows: false,
        nets: oid == DEFERRABLE,
        fills: oid == DEFAULT || oid == SLICED,
    })
}

fn text(cells: &[Cell<'_>]) -> Row {
    let mut row = RowBuilder::default();
    for cell in cells {
        row.push(*cell);
    }
    row.finish()
}

/// A row of the database: key, small cell, and a cell that is stored out of line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    id: String,
    small: String,
    big: String,
}

impl Stored {
    fn row(&self) -> Row {
        text(&[Cell::Data(self.id.as_bytes()), Cell::Data(self.small.as_bytes()), Cell::Data(self.big.as_bytes())])
    }

    fn key(&self) -> Old {
        Old { key_only: true, row: text(&[Cell::Data(self.id.as_bytes()), Cell::Null, Cell::Null]) }
    }

    fn whole(&self) -> Old {
        Old { key_only: false, row: self.row() }
    }
}

fn stored(id: u8, small: u8, big: u8) -> Stored {
    Stored { id: id.to_string(), small: small.to_string(), big: format!("{big}").repeat(400) }
}

/// What a transaction does, as far as the database lets it.
#[derive(Clone, Debug)]
struct Action {
    table: usize,
    kind: u8,
    pick: usize,
    row: (u8, u8, u8),
    keep_big: bool,
}

fn actions() -> impl Strategy<Value = Vec<Vec<Action>>> {
    let action = (0..TABLES.len(), 0..12_u8, 0..100_usize, (0..6_u8, 0..4_u8, 0..4_u8), any::<bool>())
        .prop_map(|(table, kind, pick, row, keep_big)| Action { table, kind, pick, row, keep_big });
    prop::collection::vec(prop::collection::vec(action, 0..14), 1..8)
}

type Tables = BTreeMap<u32, Vec<Stored>>;

/// A log with the state of the database after each of its transactions.
struct Log {
    messages: Vec<Vec<Message>>,
    commits: Vec<Commit>,
    states: Vec<Tables>,
    /// Rows that each transaction counted.
    ordinals: Vec<u64>,
}

/// The database: it runs the actions and writes the log as the server would.
fn run(transactions: &[Vec<Action>]) -> Log {
    let mut tables: Tables = TABLES.iter().map(|oid| (*oid, Vec::new())).collect();
    let mut log = Log { messages: vec![], commits: vec![], states: vec![], ordinals: vec![] };
    let mut position = 0x1000;
    for (index, actions) in transactions.iter().enumerate() {
        let xid = 700 + u32::try_from(index).unwrap();
        let at = 1_000_000 * i64::try_from(index + 1).unwrap();
        // Commits lie back to back.
        let commit = Commit { final_lsn: Lsn(position), end_lsn: Lsn(position + 0x30), xid, committed_at_us: at };
        position += 0x30;
        let mut messages = vec![Message::Begin { final_lsn: commit.final_lsn, committed_at_us: at, xid }];
        let mut ordinals = 0;
        for action in actions {
            act(&mut tables, action, &mut messages, &mut ordinals);
        }
        settle(&mut tables, &mut messages, &mut ordinals);
        messages.push(Message::Commit { commit_lsn: commit.final_lsn, end_lsn: commit.end_lsn, committed_at_us: at });
        log.messages.push(messages);
        log.commits.push(commit);
        log.states.push(tables.clone());
        log.ordinals.push(ordinals);
    }
    log
}

fn act(tables: &mut Tables, action: &Action, messages: &mut Vec<Message>, ordinals: &mut u64) {
    let oid = TABLES[action.table];
    let full = oid == FULL || oid == DEFERRABLE;
    let rows = tables.get_mut(&oid).unwrap();
    let (id, small, big) = action.row;
    let new = stored(id, small, big);
    let taken = |rows: &[Stored], id: &str| oid != DEFERRABLE && rows.iter().any(|row| row.id == id);
    match action.kind {
        0..=3 if !taken(rows, &new.id) => {
            messages.push(Message::Insert { relation: oid, new: new.row() });
            rows.push(new);
            *ordinals += 1;
        }
        4..=8 if !rows.is_empty() => {
            let index = action.pick % rows.len();
            let old = rows[index].clone();
            // Kinds 7 and 8 move the key.
            let id = if action.kind < 7 || taken(rows, &new.id) { old.id.clone() } else { new.id };
            let big = if action.keep_big { old.big.clone() } else { new.big };
            let new = Stored { id, small: new.small, big };
            let carried = if action.keep_big { Cell::Unchanged } else { Cell::Data(new.big.as_bytes()) };
            let image = text(&[Cell::Data(new.id.as_bytes()), Cell::Data(new.small.as_bytes()), carried]);
            let before = if full { Some(old.whole()) } else { (old.id != new.id).then(|| old.key()) };
            messages.push(Message::Update { relation: oid, old: before, new: image });
            rows[index] = new;
            *ordinals += 2;
        }
        9..=10 if !rows.is_empty() => {
            let old = rows.remove(action.pick % rows.len());
            messages.push(Message::Delete { relation: oid, old: if full { old.whole() } else { old.key() } });
            *ordinals += 1;
        }
        11 if action.pick < 20 => {
            let relations = vec![oid, IGNORED];
            messages.push(Message::Truncate { relations, cascade: false, restart_identity: false });
            rows.clear();
            tables.get_mut(&IGNORED).unwrap().clear();
            *ordinals += 2;
        }
        _ => {}
    }
}

/// The deferred check: a transaction must end with unique keys, so it deletes the rows that are in the way.
fn settle(tables: &mut Tables, messages: &mut Vec<Message>, ordinals: &mut u64) {
    let rows = tables.get_mut(&DEFERRABLE).unwrap();
    let mut index = 0;
    while index < rows.len() {
        if rows[index + 1..].iter().any(|row| row.id == rows[index].id) {
            let old = rows.remove(index).whole();
            messages.push(Message::Delete { relation: DEFERRABLE, old });
            *ordinals += 1;
        } else {
            index += 1;
        }
    }
}

fn assembler(resume: &Resume, known: Option<Commit>, limits: Limits, slice: Seq) -> Assembler {
    let timelines = Timelines::new(1, Vec::new());
    let mut assembler = Assembler::new(0, timelines, resume, known, limits);
    for oid in TABLES {
        assembler.describe(oid, captured(oid, if oid == SLICED { slice } else { Seq::ZERO }));
    }
    assembler
}

fn from_start() -> Resume {
    Resume { start: Lsn(0), covered: Lsn(0), expect: None }
}

/// Its record's place does not matter.
fn push(assembler: &mut Assembler, message: Message) -> Result<Step> {
    assembler.push(Lsn(1), 1, message)
}

fn push_all(assembler: &mut Assembler, messages: &[Message], cuts: &mut Vec<Cut>) {
    for message in messages {
        assert!(matches!(push(assembler, message.clone()).unwrap(), Step::Done));
        while let Some(cut) = assembler.cut(false) {
            cuts.push(cut);
        }
    }
}

/// A table of a naive consumer: the newest change of each key wins, cells that it does not carry are kept.
#[derive(Default)]
struct Replica(BTreeMap<TableId, BTreeMap<String, Vec<Option<String>>>>);

impl Replica {
    fn apply(&mut self, change: &Change) {
        let table = self.0.entry(change.schema.table.clone()).or_default();
        let cells = |row: &Row| -> Vec<Option<String>> {
            let cell = |index| match row.cell(index) {
                Cell::Data(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
                Cell::Unchanged => None,
                Cell::Null => panic!("no cell of the database is null"),
            };
            (0..row.len()).map(cell).collect()
        };
        let key = |row: &Row| cells(row)[0].clone().unwrap();
        match change.op {
            Op::Insert | Op::Update => {
                let row = change.after.as_ref().unwrap();
                let older = table.remove(&key(row));
                let filled = cells(row)
                    .into_iter()
                    .enumerate()
                    .map(|(index, cell)| cell.or_else(|| older.as_ref().and_then(|older| older[index].clone())));
                table.insert(key(row), filled.collect());
            }
            Op::Delete => {
                table.remove(&key(change.before.as_ref().unwrap()));
            }
            Op::Truncate => table.clear(),
            Op::Read | Op::SnapshotEnd => panic!("the log has no reads"),
        }
    }

    /// Cells that no change carried may be unknown; all others must be right.
    fn check(&self, oid: u32, rows: &[Stored]) {
        let id = TableId::new("public", format!("t{oid}"));
        let empty = BTreeMap::new();
        let table = self.0.get(&id).unwrap_or(&empty);
        let keys: Vec<&String> = table.keys().collect();
        let mut wanted: Vec<&String> = rows.iter().map(|row| &row.id).collect();
        wanted.sort();
        assert_eq!(keys, wanted, "table {oid}");
        for row in rows {
            let have = &table[&row.id];
            assert_eq!(have[1].as_ref(), Some(&row.small), "table {oid} row {}", row.id);
            assert!(have[2].as_ref().is_none_or(|big| *big == row.big), "table {oid} row {}", row.id);
            assert!(oid == DEFAULT || have[2].is_some(), "table {oid} row {} lost a cell", row.id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_changes_of_each_transaction_give_the_database(transactions in actions(), cut_changes in 1..9_usize) {
        let log = run(&transactions);
        let mut assembler = assembler(&from_start(), None, Limits { cut_changes, ..LIMITS }, Seq::ZERO);
        let mut replica = Replica::default();
        let mut newest: BTreeMap<TableId, Seq> = BTreeMap::new();
        for (index, messages) in log.messages.iter().enumerate() {
            let mut cuts = Vec::new();
            push_all(&mut assembler, messages, &mut cuts);
            cuts.extend(assembler.cut(true));
            let commit = log.commits[index];
            prop_assert_eq!(assembler.boundary().position, commit.end_lsn);
            prop_assert!(assembler.is_idle());
            prop_assert_eq!(assembler.pending.bytes, 0);
            for cut in &cuts {
                prop_assert!(!cut.changes.is_empty());
                prop_assert!(cut.boundary.is_none_or(|boundary| boundary.position == commit.end_lsn));
            }
            for change in cuts.iter().flat_map(|cut| &cut.changes) {
                prop_assert_eq!(change.seq.position(), commit.final_lsn.0);
                prop_assert!((1..=log.ordinals[index]).contains(&change.seq.ordinal()));
                prop_assert_eq!(change.committed_at_us, commit.committed_at_us);
                // Within a table the order tokens rise.
                let before = newest.insert(change.schema.table.clone(), change.seq);
                prop_assert!(before.is_none_or(|before| before < change.seq));
                replica.apply(change);
            }
            for oid in [DEFAULT, FULL, DEFERRABLE] {
                replica.check(oid, &log.states[index][&oid]);
            }
            let rows: u64 = log.ordinals[index];
            let last = assembler.boundary().last_commit;
            prop_assert_eq!(last == Some(commit), rows > 0);
        }
    }

    #[test]
    fn a_resumed_log_gives_what_was_not_handed_over_and_no_more(
        transactions in actions(), at: prop::sample::Index, from: prop::sample::Index, slice: prop::sample::Index,
    ) {
        let log = run(&transactions);
        let count = log.commits.len();
        // A slice exactly where a commit begins: that commit is not in it.
        let slice = Seq::new(0, 1, log.commits[slice.index(count)].final_lsn.0, 0).unwrap();
        let mut whole = assembler(&from_start(), None, LIMITS, slice);
        let mut all = Vec::new();
        let mut boundaries = vec![whole.boundary()];
        for messages in &log.messages {
            push_all(&mut whole, messages, &mut all);
            all.extend(whole.cut(true));
            boundaries.push(whole.boundary());
        }
        let at = at.index(count + 1);
        let from = from.index(at + 1);
        let boundary = boundaries[at];
        // The slot may have stepped back to any boundary before.
        let start = boundaries[from].position;
        let expect = boundary.last_commit.filter(|last| last.final_lsn >= start);
        let resume = Resume { start, covered: boundary.position, expect };
        let mut resumed = assembler(&resume, boundary.last_commit, LIMITS, slice);
        let mut again = Vec::new();
        for messages in &log.messages[from..] {
            push_all(&mut resumed, messages, &mut again);
        }
        again.extend(resumed.cut(true));
        let place = |boundary: Boundary| (boundary.position, boundary.last_commit);
        prop_assert_eq!(place(resumed.boundary()), place(boundaries[count]));
        let seqs = |cuts: &[Cut]| -> Vec<(Seq, Op, TableId)> {
            let changes = cuts.iter().flat_map(|cut| &cut.changes);
            changes.map(|change| (change.seq, change.op, change.schema.table.clone())).collect()
        };
        let all = seqs(&all);
        let new: Vec<_> = all.into_iter().filter(|(seq, ..)| seq.position() >= boundary.position.0).collect();
        let sliced = TableId::new("public", format!("t{SLICED}"));
        let above_slice = new.iter().all(|(seq, _, table)| *table != sliced || *seq > slice);
        prop_assert!(above_slice);
        prop_assert_eq!(seqs(&again), new);
    }
}

/// A transaction at `0x1000` with these rows.
fn transaction(rows: Vec<Message>) -> Vec<Message> {
    at(0x1000, 7, rows)
}

fn at(position: u64, xid: u32, rows: Vec<Message>) -> Vec<Message> {
    let (final_lsn, end_lsn, committed_at_us) = (Lsn(position), Lsn(position + 0x30), 5);
    let mut messages = vec![Message::Begin { final_lsn, committed_at_us, xid }];
    messages.extend(rows);
    messages.push(Message::Commit { commit_lsn: final_lsn, end_lsn, committed_at_us });
    messages
}

fn insert(oid: u32, row: &Stored) -> Message {
    Message::Insert { relation: oid, new: row.row() }
}

fn update(oid: u32, old: &Stored, new: &Stored) -> Message {
    Message::Update { relation: oid, old: Some(old.whole()), new: new.row() }
}

fn changes_of(messages: &[Message]) -> Vec<Change> {
    let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    let mut cuts = Vec::new();
    push_all(&mut assembler, messages, &mut cuts);
    cuts.extend(assembler.cut(true));
    cuts.into_iter().flat_map(|cut| cut.changes).collect()
}

fn shape(changes: &[Change]) -> Vec<(Op, u64, Option<String>, Option<String>)> {
    let key = |row: &Row| match row.cell(0) {
        Cell::Data(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => format!("{other:?}"),
    };
    changes
        .iter()
        .map(|change| {
            (change.op, change.seq.ordinal(), change.before.as_ref().map(key), change.after.as_ref().map(key))
        })
        .collect()
}

#[test]
fn a_swap_of_deferrable_keys_is_two_updates() {
    let (one, two) = (stored(1, 1, 1), stored(2, 2, 2));
    let swapped = (Stored { id: "2".into(), ..one.clone() }, Stored { id: "1".into(), ..two.clone() });
    let changes =
        changes_of(&transaction(vec![update(DEFERRABLE, &one, &swapped.0), update(DEFERRABLE, &two, &swapped.1)]));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(shape(&changes), [(Op::Update, 3, text("2"), text("2")), (Op::Update, 4, text("1"), text("1"))]);
    assert_eq!(changes[0].after.as_ref(), Some(&swapped.0.row()));
    assert_eq!(changes[1].after.as_ref(), Some(&swapped.1.row()));
}

#[test]
fn what_a_transaction_undoes_leaves_no_net_change() {
    let row = stored(1, 1, 1);
    let delete = Message::Delete { relation: DEFERRABLE, old: row.whole() };
    assert!(changes_of(&transaction(vec![insert(DEFERRABLE, &row), delete])).is_empty());
}

#[test]
fn a_change_of_the_key_is_a_delete_and_an_insert() {
    let (old, new) = (stored(1, 1, 1), Stored { id: "9".into(), ..stored(1, 2, 1) });
    let image = text(&[Cell::Data(b"9"), Cell::Data(b"2"), Cell::Unchanged]);
    let moved = Message::Update { relation: DEFAULT, old: Some(old.key()), new: image };
    let changes = changes_of(&transaction(vec![insert(IGNORED, &old), insert(DEFAULT, &old), moved]));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        shape(&changes),
        [(Op::Insert, 2, None, text("1")), (Op::Delete, 3, text("1"), None), (Op::Insert, 4, None, text("9"))]
    );
    // The cell that the log lacks comes from the image of the old key.
    assert_eq!(changes[2].after.as_ref(), Some(&new.row()));
    // Cells outside the key are not known, which is not NULL.
    assert_eq!(changes[1].before.as_ref().unwrap().cell(1), Cell::Unchanged);
}

#[test]
fn a_commit_that_begins_at_the_checkpoint_is_new() {
    let first = at(0x1000, 7, vec![insert(FULL, &stored(1, 1, 1))]);
    let second = at(0x1030, 8, vec![insert(FULL, &stored(2, 2, 2))]);
    let known = Commit { final_lsn: Lsn(0x1000), end_lsn: Lsn(0x1030), xid: 7, committed_at_us: 5 };
    let resume = Resume { start: Lsn(0x1000), covered: Lsn(0x1030), expect: Some(known) };
    let mut assembler = assembler(&resume, Some(known), LIMITS, Seq::ZERO);
    push_all(&mut assembler, &first, &mut Vec::new());
    assert!(assembler.is_idle());
    push_all(&mut assembler, &second, &mut Vec::new());
    let cut = assembler.cut(true).unwrap();
    assert_eq!(cut.changes.len(), 1);
    assert_eq!(cut.changes[0].seq.position(), 0x1030);
}

#[test]
fn another_log_is_a_gap() {
    let known = Commit { final_lsn: Lsn(0x1000), end_lsn: Lsn(0x1030), xid: 7, committed_at_us: 5 };
    let resume = Resume { start: Lsn(0x900), covered: Lsn(0x1100), expect: Some(known) };
    let row = || vec![insert(FULL, &stored(1, 1, 1))];
    let cases: [(&str, Vec<Message>, &str); 5] = [
        ("other xid", at(0x1000, 8, row()), "xid 8, it was xid 7"),
        ("missing before new", at(0x1100, 9, row()), "does not hold the transaction"),
        ("missing before a later covered one", at(0x1030, 9, row()), "was never handed over"),
        ("unknown after the last", [at(0x1000, 7, row()), at(0x1030, 9, row())].concat(), "was never handed over"),
        ("nothing, then idle", vec![], "does not hold the transaction"),
    ];
    for (name, messages, wanted) in cases {
        let mut assembler = assembler(&resume, Some(known), LIMITS, Seq::ZERO);
        let idle = messages.is_empty();
        let mut result = messages.into_iter().try_for_each(|message| push(&mut assembler, message).map(|_| ()));
        if idle {
            result = assembler.idle(Lsn(0x1200)).map(|_| ());
        }
        assert!(assembler.cut(true).is_none(), "{name}: something was handed over");
        let error = result.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Gap, "{name}");
        assert!(error.message().contains(wanted), "{name}: {error}");
    }
    // The log that it was: also older transactions and ones without rows come again.
    let mut assembler = assembler(&resume, Some(known), LIMITS, Seq::ZERO);
    let fine = [at(0x900, 6, row()), at(0x1000, 7, row()), at(0x1030, 9, vec![]), at(0x1100, 10, row())].concat();
    push_all(&mut assembler, &fine, &mut Vec::new());
    assert_eq!(assembler.cut(true).unwrap().changes.len(), 1);
}

#[test]
fn a_log_is_proven_once_all_that_was_handed_over_has_come_again() {
    let known = Commit { final_lsn: Lsn(0x1000), end_lsn: Lsn(0x1030), xid: 7, committed_at_us: 5 };
    let resume = Resume { start: Lsn(0x900), covered: Lsn(0x1100), expect: Some(known) };
    let row = || vec![insert(FULL, &stored(1, 1, 1))];
    let covered = [at(0x900, 6, row()), at(0x1000, 7, row()), at(0x1030, 9, vec![])].concat();
    let fresh = || assembler(&resume, Some(known), LIMITS, Seq::ZERO);
    let mut proven = fresh();
    for message in &covered {
        assert!(!proven.has_proven(Lsn::default()).unwrap());
        push(&mut proven, message.clone()).unwrap();
    }
    assert!(!proven.has_proven(Lsn(0x10ff)).unwrap() && proven.has_proven(Lsn(0x1100)).unwrap());
    push(&mut proven, at(0x1100, 10, row()).remove(0)).unwrap();
    assert!(proven.has_proven(Lsn::default()).unwrap());
    let mut other = fresh();
    push_all(&mut other, &at(0x900, 6, row()), &mut Vec::new());
    assert_eq!(other.has_proven(Lsn(0x1100)).unwrap_err().kind(), ErrorKind::Gap);
}

#[test]
fn the_branch_is_the_timeline_that_holds_the_commit() {
    let timelines = Timelines::new(4, vec![Switch { timeline: 2, end: Lsn(0x1030) }]);
    let mut assembler = Assembler::new(3, timelines, &from_start(), None, LIMITS);
    assembler.describe(FULL, captured(FULL, Seq::ZERO));
    for (position, branch) in [(0x1000, 2), (0x1030, 4)] {
        push_all(&mut assembler, &at(position, 7, vec![insert(FULL, &stored(1, 1, 1))]), &mut Vec::new());
        let cut = assembler.cut(true).unwrap();
        let seq = cut.changes[0].seq;
        assert_eq!((seq.generation(), seq.branch(), seq.position(), seq.ordinal()), (3, branch, position, 1));
    }
}

#[test]
fn idle_positions_move_the_boundary_only_between_transactions() {
    let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    assert!(assembler.idle(Lsn(0x500)).unwrap());
    let messages = at(0x1000, 7, vec![insert(FULL, &stored(1, 1, 1))]);
    push_all(&mut assembler, &messages[..2], &mut Vec::new());
    assert!(!assembler.idle(Lsn(0x2000)).unwrap());
    assert_eq!(assembler.boundary().position, Lsn(0x500));
    push_all(&mut assembler, &messages[2..], &mut Vec::new());
    assert!(!assembler.idle(Lsn(0x1020)).unwrap());
    assert_eq!(assembler.boundary().position, Lsn(0x1030));
}

#[test]
fn images_are_forgotten_beyond_their_bound_and_cells_stay_unchanged() {
    let limits = Limits { transaction_bytes: 1000, ..LIMITS };
    let mut assembler = assembler(&from_start(), None, limits, Seq::ZERO);
    let row = stored(1, 1, 1);
    let image = text(&[Cell::Data(b"1"), Cell::Data(b"2"), Cell::Unchanged]);
    let kept = Message::Update { relation: DEFAULT, old: None, new: image };
    let rows = vec![insert(DEFAULT, &row), kept.clone(), insert(DEFAULT, &stored(2, 2, 2)), kept];
    push_all(&mut assembler, &transaction(rows), &mut Vec::new());
    let changes = assembler.cut(true).unwrap().changes;
    let big = |index: usize| changes[index].after.as_ref().unwrap().cell(2);
    assert_eq!(big(1), Cell::Data(row.big.as_bytes()));
    assert_eq!(big(3), Cell::Unchanged);
}

#[test]
fn a_transaction_is_filled_from_itself_alone() {
    // Else its changes would depend on where the reading began.
    let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    let image = text(&[Cell::Data(b"1"), Cell::Data(b"2"), Cell::Unchanged]);
    let update = Message::Update { relation: DEFAULT, old: None, new: image };
    push_all(&mut assembler, &at(0x1000, 7, vec![insert(DEFAULT, &stored(1, 1, 1))]), &mut Vec::new());
    push_all(&mut assembler, &at(0x1030, 8, vec![update]), &mut Vec::new());
    let changes = assembler.cut(true).unwrap().changes;
    assert_eq!(changes[1].after.as_ref().unwrap().cell(2), Cell::Unchanged);
}

#[test]
fn messages_out_of_turn_are_errors() {
    let row = || insert(FULL, &stored(1, 1, 1));
    let begin = |position| Message::Begin { final_lsn: Lsn(position), committed_at_us: 5, xid: 7 };
    let commit = |from, to| Message::Commit { commit_lsn: Lsn(from), end_lsn: Lsn(to), committed_at_us: 5 };
    for messages in [
        vec![row()],
        vec![commit(1, 2)],
        vec![begin(1), begin(2)],
        vec![begin(1), commit(2, 3)],
        vec![begin(1), commit(1, 1)],
        vec![begin(1), insert(99, &stored(1, 1, 1))],
        vec![begin(1 << 56)],
    ] {
        let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
        let result = messages.into_iter().try_for_each(|message| push(&mut assembler, message).map(|_| ()));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Bug);
    }
}
