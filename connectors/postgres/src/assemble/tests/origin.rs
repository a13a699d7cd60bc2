//! Where a change comes from: the place of its record, its transaction, and the other half of a change of its key.

use super::*;

fn known() -> Commit {
    Commit { final_lsn: Lsn(0x1000), end_lsn: Lsn(0x1030), xid: 7, committed_at_us: 5 }
}

/// Each message lies 0x10 behind the one before it, the first at `from`.
fn push_from(assembler: &mut Assembler, from: u64, messages: Vec<Message>) {
    for (position, message) in (from..).step_by(0x10).zip(messages) {
        assembler.push(Lsn(position), 1, message).unwrap();
    }
}

fn transaction_of(change: &Change) -> &Arc<Transaction> {
    change.origin.transaction.as_ref().unwrap()
}

#[test]
fn a_change_says_where_its_record_lies() {
    let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    let (old, new) = (stored(1, 1, 1), stored(2, 1, 1));
    let truncate = Message::Truncate { relations: vec![FULL, DEFAULT], cascade: false, restart_identity: false };
    let rows = vec![
        truncate,
        insert(FULL, &old),
        insert(IGNORED, &old),
        update(FULL, &old, &new),
        Message::Delete { relation: FULL, old: new.whole() },
    ];
    push_from(&mut assembler, 0x100, transaction(rows));
    let changes = assembler.cut(true).unwrap().changes;
    let places: Vec<_> = changes.iter().map(|change| (change.op, change.origin.position.unwrap())).collect();
    // Both halves of a change of the key, and all tables of a truncate, come from one record.
    assert_eq!(
        places,
        [
            (Op::Truncate, 0x110),
            (Op::Truncate, 0x110),
            (Op::Insert, 0x120),
            (Op::Delete, 0x140),
            (Op::Insert, 0x140),
            (Op::Delete, 0x150)
        ]
    );
    assert!(changes.iter().all(|change| change.origin.snapshot == SnapshotMarker::False));
}

#[test]
fn all_pieces_of_a_transaction_share_it() {
    let limits = Limits { cut_changes: 2, ..LIMITS };
    let mut assembler = assembler(&from_start(), None, limits, Seq::ZERO);
    let mut cuts = Vec::new();
    let rows = |n: u8| (0..n).map(|id| insert(FULL, &stored(id, 1, 1)));
    // Netted changes come at the end, from where their key was last touched.
    push_all(&mut assembler, &transaction(rows(3).chain([insert(DEFERRABLE, &stored(1, 1, 1))]).collect()), &mut cuts);
    push_all(&mut assembler, &at(0x1080, 8, rows(3).collect()), &mut cuts);
    cuts.extend(assembler.cut(true));
    assert!(cuts.len() > 2 && cuts[0].boundary.is_none());
    let changes: Vec<&Change> = cuts.iter().flat_map(|cut| &cut.changes).collect();
    assert_eq!(changes.len(), 7);
    let (first, second) = (transaction_of(changes[0]), transaction_of(changes[6]));
    assert!(changes[..4].iter().all(|change| Arc::ptr_eq(transaction_of(change), first)));
    assert!(changes[4..].iter().all(|change| Arc::ptr_eq(transaction_of(change), second)));
    assert!(changes.iter().all(|change| change.origin.position.is_some()));
    assert_eq!(**first, Transaction { id: Some(7), ..Transaction::default() });
    // Where the commit before it ends, as in Debezium's `sequence`.
    let wanted = Transaction { id: Some(8), previous_commit: Some(0x1030), ..Transaction::default() };
    assert_eq!(**second, wanted);
}

#[test]
fn the_commit_before_is_the_last_one_read_or_handed_over() {
    #[track_caller]
    fn check(resume: &Resume, known: Option<Commit>, messages: &[Message], wanted: Option<u64>) {
        let mut assembler = assembler(resume, known, LIMITS, Seq::ZERO);
        push_all(&mut assembler, messages, &mut Vec::new());
        let changes = assembler.cut(true).unwrap().changes;
        assert_eq!(transaction_of(changes.last().unwrap()).previous_commit, wanted);
    }
    let row = || vec![insert(FULL, &stored(1, 1, 1))];
    let new = at(0x2000, 9, row());
    check(&from_start(), None, &new, None);
    // A transaction without rows counts, and so does one of tables that are not captured.
    check(&from_start(), None, &[at(0x1000, 7, vec![]), new.clone()].concat(), Some(0x1030));
    let ignored = vec![insert(IGNORED, &stored(1, 1, 1))];
    check(&from_start(), None, &[at(0x1000, 7, ignored), new.clone()].concat(), Some(0x1030));
    let resume = Resume { start: Lsn(0x1030), covered: Lsn(0x1030), expect: None };
    check(&resume, Some(known()), &new, Some(0x1030));
    let resume = Resume { start: Lsn(0x1000), covered: Lsn(0x1800), expect: Some(known()) };
    check(&resume, Some(known()), &[at(0x1000, 7, row()), at(0x1100, 8, vec![]), new.clone()].concat(), Some(0x1130));
}

#[test]
fn a_replicated_transaction_says_where_it_comes_from() {
    #[track_caller]
    fn check(commit_lsn: u64, wanted: Option<u64>) {
        let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
        let origin = Message::Origin { commit_lsn: Lsn(commit_lsn), name: "upstream".into() };
        let rows = vec![origin, insert(FULL, &stored(1, 1, 1)), insert(FULL, &stored(2, 1, 1))];
        push_all(&mut assembler, &transaction(rows), &mut Vec::new());
        push_all(&mut assembler, &at(0x1030, 8, vec![insert(FULL, &stored(3, 1, 1))]), &mut Vec::new());
        let changes = assembler.cut(true).unwrap().changes;
        assert_eq!(transaction_of(&changes[0]).replayed_from, Some(("upstream".to_owned(), wanted)));
        assert!(Arc::ptr_eq(transaction_of(&changes[0]), transaction_of(&changes[1])));
        assert_eq!(transaction_of(&changes[2]).replayed_from, None);
    }
    check(0x77, Some(0x77));
    check(0, None);
}

#[test]
fn the_halves_of_a_change_of_the_key_know_each_other() {
    let (old, new) = (stored(1, 1, 1), stored(9, 2, 1));
    let image = text(&[Cell::Data(b"9"), Cell::Data(b"2"), Cell::Unchanged]);
    let moved = Message::Update { relation: DEFAULT, old: Some(old.key()), new: image };
    let changes = changes_of(&transaction(vec![insert(DEFAULT, &old), moved, update(FULL, &old, &old)]));
    assert_eq!(
        changes.iter().map(|change| change.op).collect::<Vec<_>>(),
        [Op::Insert, Op::Delete, Op::Insert, Op::Update]
    );
    assert_eq!(changes[1].moved.as_deref(), Some(&new.row()));
    assert_eq!(changes[2].moved.as_deref(), changes[1].before.as_ref());
    assert_eq!((&changes[0].moved, &changes[3].moved), (&None, &None));
    let netted = changes_of(&transaction(vec![update(DEFERRABLE, &old, &new)]));
    assert_eq!(netted.len(), 2);
    assert!(netted.iter().all(|change| change.moved.is_none() && change.origin.position == Some(1)));
}

#[test]
fn other_facts_of_a_column_are_no_other_shape() {
    // The catalogs show the present: a transaction of the past must not be cut in two by it.
    let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    let (one, two) = (stored(1, 1, 1), stored(2, 2, 2));
    let swapped = (Stored { id: "2".into(), ..one.clone() }, Stored { id: "1".into(), ..two.clone() });
    let messages = transaction(vec![update(DEFERRABLE, &one, &swapped.0), update(DEFERRABLE, &two, &swapped.1)]);
    push_all(&mut assembler, &messages[..2], &mut Vec::new());
    let Entry::Captured(mut entry) = captured(DEFERRABLE, Seq::ZERO) else { panic!() };
    let mut schema = TableSchema::clone(&entry.schema);
    schema.columns[1].facts = Arc::new(ColumnFacts { default: Some("7".into()), ..ColumnFacts::default() });
    entry.schema = Arc::new(schema);
    assembler.describe(DEFERRABLE, Entry::Captured(entry));
    push_all(&mut assembler, &messages[2..], &mut Vec::new());
    let cut = assembler.cut(true).unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(shape(&cut.changes), [(Op::Update, 3, text("2"), text("2")), (Op::Update, 4, text("1"), text("1"))]);
    assert!(cut.stopped.is_empty());
}
