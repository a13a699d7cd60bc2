//! A table that stops, and the others that go on.

use super::*;

/// A delete whose old row does not carry its key.
fn keyless_delete(oid: u32) -> Message {
    let row = text(&[Cell::Unchanged, Cell::Null, Cell::Null]);
    Message::Delete { relation: oid, old: Old { key_only: false, row } }
}

/// What was told of a table: the ordinal of its first change that was left out, and the error.
fn told(cut: &Cut) -> Vec<(String, u64, String)> {
    let one = |stop: &TableStop| {
        assert!(stop.bytes > 0 && stop.error.remedy_text().is_some(), "{stop:?}");
        (stop.table.name.clone(), stop.since.unwrap().ordinal(), stop.error.message().to_owned())
    };
    cut.stopped.iter().map(one).collect()
}

fn tables(cut: &Cut) -> Vec<(&str, u64)> {
    cut.changes.iter().map(|change| (change.schema.table.name.as_str(), change.seq.ordinal())).collect()
}

fn cut_of(limits: Limits, messages: &[Message]) -> (Assembler, Cut) {
    let mut assembler = assembler(&from_start(), None, limits, Seq::ZERO);
    push_all(&mut assembler, messages, &mut Vec::new());
    let cut = assembler.cut(true).unwrap();
    assert!(assembler.is_idle() && assembler.pending.bytes == 0);
    (assembler, cut)
}

#[test]
fn a_row_that_cannot_be_handled_stops_its_table_alone() {
    #[track_caller]
    fn check(limits: Limits, rows: Vec<Message>, changes: &[(&str, u64)], table: &str, since: u64, error: &str) {
        let (mut assembler, cut) = cut_of(limits, &transaction(rows));
        assert_eq!(tables(&cut), changes);
        let told = told(&cut);
        assert!(told[0].2.contains(error), "{told:?}");
        assert_eq!((told.len(), told[0].0.as_str(), told[0].1), (1, table, since));
        assert!(cut.boundary.is_some());
        // It stays stopped, also when it is described again, and the others go on.
        let oid = table[1..].parse().unwrap();
        assembler.describe(oid, captured(oid, Seq::ZERO));
        let truncate = Message::Truncate { relations: vec![oid, FULL], cascade: false, restart_identity: false };
        let rows = vec![insert(oid, &stored(3, 3, 3)), truncate, insert(FULL, &stored(4, 4, 4))];
        push_all(&mut assembler, &at(0x1030, 8, rows), &mut Vec::new());
        let cut = assembler.cut(true).unwrap();
        assert_eq!(tables(&cut), [("t20", 3), ("t20", 4)]);
        assert_eq!(cut.stopped.len(), 1);
        assert_eq!(cut.stopped[0].since.map(|seq| (seq.position(), seq.ordinal())), Some((0x1030, 1)));
        let bytes = stored(3, 3, 3).row().memory_bytes() + 2 * size_of::<Change>();
        assert_eq!(cut.stopped[0].bytes, bytes as u64);
    }
    let row = |n| stored(n, n, n);
    let short = Message::Insert { relation: DEFAULT, new: text(&[Cell::Data(b"1")]) };
    let rows = vec![insert(DEFAULT, &row(1)), insert(FULL, &row(1)), short, insert(DEFAULT, &row(2))];
    check(LIMITS, rows, &[("t10", 1), ("t20", 2)], "t10", 3, "other columns");
    let rows = vec![keyless_delete(DEFAULT), insert(FULL, &row(1))];
    check(LIMITS, rows, &[("t20", 2)], "t10", 1, "does not carry the old key");
    // What of a transaction was to be netted is left out as a whole.
    let rows = vec![insert(DEFERRABLE, &row(1)), insert(FULL, &row(1)), keyless_delete(DEFERRABLE)];
    check(LIMITS, rows, &[("t20", 2)], "t30", 1, "does not carry the old key");
    let rows = vec![insert(DEFERRABLE, &row(1)), insert(FULL, &row(1)), insert(DEFERRABLE, &row(1))];
    check(LIMITS, rows, &[("t20", 2)], "t30", 1, "two rows share a key");
    let limits = Limits { transaction_bytes: 1200, ..LIMITS };
    let rows = (0..9).map(|id| insert(DEFERRABLE, &stored(id, 1, 1))).chain([insert(FULL, &row(1))]).collect();
    check(limits, rows, &[("t20", 10)], "t30", 1, "a transaction changes more than 1200 bytes");
}

#[test]
fn a_table_beyond_the_bound_of_netting_gives_its_room_back() {
    const OTHER: u32 = 60;
    let limits = Limits { transaction_bytes: 1800, ..LIMITS };
    let mut assembler = assembler(&from_start(), None, limits, Seq::ZERO);
    let Entry::Captured(other) = captured(DEFERRABLE, Seq::ZERO) else { panic!() };
    assembler.describe(OTHER, Entry::Captured(Captured { schema: schema("t60"), ..other }));
    let rows = (0..9).map(|id| insert(DEFERRABLE, &stored(id, 1, 1))).chain([insert(OTHER, &stored(1, 1, 1))]);
    push_all(&mut assembler, &transaction(rows.collect()), &mut Vec::new());
    let cut = assembler.cut(true).unwrap();
    assert_eq!(tables(&cut), [("t60", 10)]);
    assert_eq!(told(&cut).len(), 1);
}

#[test]
fn the_largest_table_stops_at_the_bound_of_netting_not_the_one_that_crosses_it() {
    const OTHER: u32 = 60;
    let limits = Limits { transaction_bytes: 1800, ..LIMITS };
    let mut assembler = assembler(&from_start(), None, limits, Seq::ZERO);
    let Entry::Captured(other) = captured(DEFERRABLE, Seq::ZERO) else { panic!() };
    assembler.describe(OTHER, Entry::Captured(Captured { schema: schema("t60"), ..other }));
    let large = |id| insert(DEFERRABLE, &stored(id, 1, 1));
    let small = |id| insert(OTHER, &Stored { big: String::new(), ..stored(id, 1, 1) });
    let rows = [small(1), large(1), large(2), large(3)].into_iter();
    let rows = rows.chain((2..6).map(small)).chain([large(4), insert(FULL, &stored(1, 1, 1))]);
    push_all(&mut assembler, &transaction(rows.collect()), &mut Vec::new());
    let cut = assembler.cut(true).unwrap();
    assert_eq!(tables(&cut), [("t20", 10), ("t60", 1), ("t60", 5), ("t60", 6), ("t60", 7), ("t60", 8)]);
    let told = told(&cut);
    assert_eq!((told.len(), told[0].0.as_str(), told[0].1), (1, "t30", 2));
    assert!(told[0].2.contains("a transaction changes more than 1800 bytes"), "{told:?}");
    // All of it is counted, also what came after.
    assert!(cut.stopped[0].bytes > 3 * 400);
    push_all(&mut assembler, &at(0x1030, 8, vec![large(5), small(6)]), &mut Vec::new());
    assert_eq!(tables(&assembler.cut(true).unwrap()), [("t60", 2)]);
}

#[test]
fn a_stop_belongs_to_its_transaction() {
    // The stop of the open transaction is not told with the transactions before it, whose boundary is a checkpoint.
    let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    push_all(&mut assembler, &transaction(vec![insert(FULL, &stored(1, 1, 1))]), &mut Vec::new());
    let rows = at(0x1030, 8, vec![keyless_delete(DEFAULT)]);
    push_all(&mut assembler, &rows[..2], &mut Vec::new());
    let before = assembler.cut(true).unwrap();
    assert!(before.stopped.is_empty() && before.boundary.is_some_and(|boundary| boundary.position == Lsn(0x1030)));
    assert!(assembler.cut(true).is_none() && !assembler.has_whole());
    push_all(&mut assembler, &rows[2..], &mut Vec::new());
    // No change came, but the checkpoint must not pass it in silence.
    assert!(assembler.has_whole() && !assembler.is_idle());
    let cut = assembler.cut(true).unwrap();
    assert!(cut.changes.is_empty() && cut.boundary.is_some());
    assert_eq!(told(&cut).len(), 1);
}

#[test]
fn what_was_handed_over_or_read_before_stops_nothing() {
    let known = Commit { final_lsn: Lsn(0x1000), end_lsn: Lsn(0x1030), xid: 7, committed_at_us: 5 };
    let resume = Resume { start: Lsn(0x1000), covered: Lsn(0x1030), expect: Some(known) };
    let slice = Seq::new(0, 1, 0x1030, 9).unwrap();
    let mut assembler = assembler(&resume, Some(known), LIMITS, slice);
    push_all(&mut assembler, &transaction(vec![keyless_delete(DEFAULT)]), &mut Vec::new());
    push_all(&mut assembler, &at(0x1030, 8, vec![keyless_delete(SLICED)]), &mut Vec::new());
    assert!(assembler.cut(true).is_none());
    push_all(&mut assembler, &at(0x1060, 9, vec![insert(DEFAULT, &stored(1, 1, 1))]), &mut Vec::new());
    assert_eq!(tables(&assembler.cut(true).unwrap()), [("t10", 1)]);
}

#[test]
fn a_replay_stops_at_the_same_change() {
    let rows = vec![insert(DEFAULT, &stored(1, 1, 1)), keyless_delete(DEFAULT), insert(DEFAULT, &stored(2, 2, 2))];
    let since = || cut_of(LIMITS, &transaction(rows.clone())).1.stopped[0].since;
    assert_eq!(since(), since());
    assert_eq!(since().map(Seq::ordinal), Some(2));
}
