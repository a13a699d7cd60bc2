//! Messages of the log between the changes.

use super::*;

fn message(lsn: u64, transactional: bool, content: &'static [u8]) -> Message {
    let (lsn, prefix, content) = (Lsn(lsn), "outbox".to_owned(), Bytes::from_static(content));
    Message::Message(pgoutput::LogicalMessage { transactional, lsn, prefix, content })
}

fn row(id: u8) -> Message {
    insert(FULL, &stored(id, 1, 1))
}

/// What there is, in order: the key of a change, or the content of a message.
fn in_order(cuts: &[Cut]) -> Vec<String> {
    let mut all = Vec::new();
    for cut in cuts {
        let mut messages = cut.messages.iter().peekable();
        for (index, change) in cut.changes.iter().enumerate() {
            while let Some(message) = messages.next_if(|message| message.after == index) {
                all.push(String::from_utf8(message.content.to_vec()).unwrap());
            }
            let Cell::Data(key) = change.key_row().unwrap().cell(0) else { panic!() };
            all.push(String::from_utf8(key.to_vec()).unwrap());
        }
        for message in messages {
            assert_eq!(message.after, cut.changes.len());
            all.push(String::from_utf8(message.content.to_vec()).unwrap());
        }
    }
    all
}

#[test]
fn messages_keep_their_place_however_it_is_cut() {
    let log = [
        at(0x1000, 7, vec![message(0xff0, true, b"a"), row(1), row(2), message(0xff8, true, b"b")]),
        vec![message(0x1030, false, b"c"), message(0x1038, false, b"d")],
        at(0x1040, 8, vec![row(3), message(0x103f, true, b"e"), message(0x103f, true, b"f"), row(4), row(5)]),
        at(0x1070, 9, vec![message(0x106f, true, b"g")]),
    ];
    let wanted = ["a", "1", "2", "b", "c", "d", "3", "e", "f", "4", "5", "g"];
    for cut_changes in 1..=13 {
        let limits = Limits { cut_changes, ..LIMITS };
        let mut assembler = assembler(&from_start(), None, limits, Seq::ZERO);
        let mut cuts = Vec::new();
        for messages in &log {
            push_all(&mut assembler, messages, &mut cuts);
        }
        cuts.extend(assembler.cut(true));
        assert!(assembler.is_idle() && assembler.pending.bytes == 0);
        assert_eq!(in_order(&cuts), wanted, "{cut_changes} a cut");
        assert_eq!(assembler.boundary().position, Lsn(0x10a0));
        // No message takes an ordinal.
        let ordinals: Vec<u64> = cuts.iter().flat_map(|cut| &cut.changes).map(|change| change.seq.ordinal()).collect();
        assert_eq!(ordinals, [1, 2, 1, 2, 3]);
    }
}

#[test]
fn the_rest_of_a_cut_counts_from_its_own_start() {
    let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    push_all(&mut assembler, &at(0x1000, 7, vec![row(1), row(2)]), &mut Vec::new());
    let open = at(0x1030, 8, vec![row(3), message(0x1020, true, b"a"), row(4)]);
    push_all(&mut assembler, &open[..3], &mut Vec::new());
    let whole = assembler.cut(true).unwrap();
    assert_eq!(in_order(&[whole]), ["1", "2"]);
    push_all(&mut assembler, &open[3..], &mut Vec::new());
    let rest = assembler.cut(true).unwrap();
    assert_eq!(rest.messages[0].after, 1);
    assert_eq!(in_order(&[rest]), ["3", "a", "4"]);
}

#[test]
fn a_message_has_the_origin_that_debezium_gives_it() {
    let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    let log = [
        vec![message(0xf00, false, b"0")],
        at(0x1000, 7, vec![message(0xff0, true, b"1"), row(1)]),
        vec![message(0x1040, false, b"2")],
        at(0x1060, 8, vec![message(0x1058, true, b"3")]),
    ];
    let mut cuts = Vec::new();
    for messages in &log {
        push_all(&mut assembler, messages, &mut cuts);
    }
    let cut = assembler.cut(true).unwrap();
    let origin = |index: usize| {
        let message = &cut.messages[index];
        let transaction = message.origin.transaction.as_deref().unwrap();
        (message.origin.position.unwrap(), transaction.id, transaction.previous_commit, message.committed_at_us)
    };
    // Outside of transactions a message is its own last commit, and that of those that come after.
    assert_eq!(origin(0), (0xf00, None, Some(0xf00), 1));
    assert_eq!(origin(1), (0xff0, Some(7), Some(0xf00), 5));
    assert_eq!(origin(2), (0x1040, None, Some(0x1040), 5));
    assert_eq!(origin(3), (0x1058, Some(8), Some(0x1040), 5));
    let shared = |message: &LogicalMessage| message.origin.transaction.clone().unwrap();
    assert!(Arc::ptr_eq(&shared(&cut.messages[1]), &cut.changes[0].origin.transaction.clone().unwrap()));
    assert!(cut.messages.iter().all(|message| message.prefix == "outbox"));
}

#[test]
fn a_message_outside_of_transactions_comes_once() {
    let log = [at(0x1000, 7, vec![row(1)]), vec![message(0x1030, false, b"a"), message(0x1050, false, b"b")]].concat();
    let mut whole = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    push_all(&mut whole, &log[..4], &mut Vec::new());
    // It is given out at once, and the checkpoint lies behind it.
    let cut = whole.cut(true).unwrap();
    assert_eq!(in_order(&[cut]), ["1", "a"]);
    let boundary = whole.boundary();
    assert_eq!(boundary.position, Lsn(0x1031));
    let resume = Resume { start: Lsn(0x1000), covered: boundary.position, expect: boundary.last_commit };
    let mut resumed = assembler(&resume, boundary.last_commit, LIMITS, Seq::ZERO);
    push_all(&mut resumed, &log, &mut Vec::new());
    let cut = resumed.cut(true).unwrap();
    assert_eq!(in_order(&[cut]), ["b"]);
    assert!(resumed.cut(true).is_none() && resumed.is_idle());
}

#[test]
fn messages_of_what_was_handed_over_do_not_come_again() {
    let known = Commit { final_lsn: Lsn(0x1000), end_lsn: Lsn(0x1030), xid: 7, committed_at_us: 5 };
    let resume = Resume { start: Lsn(0x1000), covered: Lsn(0x1030), expect: Some(known) };
    let mut seen = assembler(&resume, Some(known), LIMITS, Seq::ZERO);
    push_all(&mut seen, &at(0x1000, 7, vec![row(1), message(0xff0, true, b"a")]), &mut Vec::new());
    assert!(seen.cut(true).is_none());
    push_all(&mut seen, &[message(0x1030, false, b"b")], &mut Vec::new());
    assert_eq!(in_order(&[seen.cut(true).unwrap()]), ["b"]);
    // It is as good a proof as a transaction that what lies before it was read again.
    let mut other = assembler(&resume, Some(known), LIMITS, Seq::ZERO);
    let error = push(&mut other, message(0x1030, false, b"b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap);
}

#[test]
fn messages_are_bounded_like_rows() {
    let limits = Limits { cut_bytes: 1000, ..LIMITS };
    let mut assembler = assembler(&from_start(), None, limits, Seq::ZERO);
    push_all(&mut assembler, &transaction(vec![])[..1], &mut Vec::new());
    let mut cuts = Vec::new();
    let content = &[b'x'; 300];
    for _ in 0..20 {
        push_all(&mut assembler, &[message(0xff0, true, content)], &mut cuts);
        assert!(assembler.pending.bytes < 1000);
    }
    assert!(cuts.iter().all(|cut| cut.boundary.is_none()));
    assert!(cuts.iter().map(|cut| cut.messages.len()).sum::<usize>() >= 18);
}

#[test]
fn a_message_of_a_transaction_needs_one() {
    let mut assembler = assembler(&from_start(), None, LIMITS, Seq::ZERO);
    assert_eq!(push(&mut assembler, message(1, true, b"a")).unwrap_err().kind(), ErrorKind::Bug);
}
