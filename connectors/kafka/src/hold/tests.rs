//! Changes as a merge gives them: in order, with repeats between them.

use proptest::prelude::*;
use walbrook_model::TableSchema;

use super::*;

const PARTITIONS: usize = 2;

/// What is in the log at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Insert,
    /// A change of the key: two tokens.
    Move,
    /// One whose second half the capture left out.
    HalfMove,
    Read,
    End,
}

#[derive(Clone, Debug)]
struct Event {
    kind: Kind,
    /// Of the first half, and of the second.
    partitions: (usize, usize),
    /// So many events before it come again, behind it or between its halves.
    again: usize,
    between: bool,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let kind = prop_oneof![
        3 => Just(Kind::Insert), 3 => Just(Kind::Move), 1 => Just(Kind::HalfMove), 2 => Just(Kind::Read), 1 => Just(Kind::End)
    ];
    let event = (kind, (0..PARTITIONS, 0..PARTITIONS), prop_oneof![4 => Just(0_usize), 1 => 1..6_usize], any::<bool>())
        .prop_map(|(kind, partitions, again, between)| Event { kind, partitions, again, between });
    prop::collection::vec(event, 0..30)
}

/// A message.
#[derive(Clone, Copy, Debug)]
struct Sent {
    op: Op,
    seq: Seq,
    is_half: bool,
    partition: usize,
}

fn seq(position: usize, ordinal: u64) -> Seq {
    Seq::new(0, 1, position as u64, ordinal).unwrap()
}

/// The messages of an event.
fn messages(position: usize, event: &Event) -> Vec<Sent> {
    let (first, second) = event.partitions;
    let one = |op, ordinal, partition| Sent { op, seq: seq(position, ordinal), is_half: false, partition };
    let half = Sent { is_half: true, ..one(Op::Delete, 1, first) };
    match event.kind {
        Kind::Insert => vec![one(Op::Insert, 1, first)],
        Kind::Move => vec![half, one(Op::Insert, 2, second)],
        Kind::HalfMove => vec![half],
        Kind::Read => vec![one(Op::Read, 0, first)],
        Kind::End => vec![one(Op::SnapshotEnd, 0, first)],
    }
}

fn stream(events: &[Event]) -> Vec<Sent> {
    let mut all: Vec<Sent> = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let own = messages(n + 1, event);
        let from = n - event.again.min(n);
        let again = (from..n).flat_map(|n| messages(n + 1, &events[n]));
        let at = if event.between { own.len().min(1) } else { own.len() };
        all.extend(&own[..at]);
        all.extend(again);
        // What comes again ends with what came before it.
        if at < own.len() && event.again > 0 {
            all.extend(&own[..at]);
        }
        all.extend(&own[at..]);
    }
    all
}

fn change(sent: &Sent) -> Change {
    let schema = TableSchema { table: TableId::new("s", "t"), columns: Vec::new(), key: Vec::new() };
    Change::new(sent.op, Arc::new(schema), sent.seq, 0)
}

fn now(next: [i64; PARTITIONS]) -> TopicPositions {
    let partitions = next.iter().map(|next| Position { next: *next, ..Position::default() }).collect();
    TopicPositions { partitions, ..TopicPositions::default() }
}

proptest! {
    #[test]
    fn halves_are_neighbours_and_nothing_that_is_kept_back_is_behind_the_positions(
        events in events(),
        whole: bool,
    ) {
        let mut hold = Hold::default();
        let mut next = [0_i64; PARTITIONS];
        let mut handed = Vec::<Seq>::new();
        // Offsets that must be read again: what is kept back, and reads of a slice that has not ended.
        let mut ended = Seq::ZERO;
        let mut kept: Vec<(usize, i64, Sent)> = Vec::new();
        for sent in stream(&events) {
            let at = next[sent.partition];
            let before = Position { next: at, ..Position::default() };
            next[sent.partition] += 1;
            // A slice that has ended is told no more.
            let in_slices = whole && sent.seq > ended;
            let place = Place { partition: sent.partition, before, is_half: sent.is_half, in_slices };
            hold.pass(change(&sent), None, place, || now(next), |change, _| handed.push(change.seq));
            kept.push((sent.partition, at, sent));
            if sent.op == Op::SnapshotEnd {
                ended = ended.max(sent.seq);
            }
            let open = |read: &Sent| whole && read.op == Op::Read && read.seq > ended;
            kept.retain(|(.., sent)| open(sent) || !handed.contains(&sent.seq));
            let positions = hold.positions(now(next));
            for (partition, offset, sent) in &kept {
                prop_assert!(positions.partitions[*partition].next <= *offset, "{sent:?} would be lost");
            }
            for (partition, next) in next.into_iter().enumerate() {
                let waits = |(p, _, sent): &&(usize, i64, Sent)| *p == partition && !open(sent);
                let first = kept.iter().filter(waits).map(|kept| kept.1).min().unwrap_or(next);
                prop_assert!(hold.next(partition, next) <= first);
            }
            if kept.is_empty() && hold.awaits().is_none() {
                prop_assert_eq!(positions, now(next));
            }
        }
        hold.let_go(|change, _| handed.push(change.seq));
        for (position, event) in events.iter().enumerate().map(|(n, event)| (n + 1, event)) {
            for sent in messages(position, event) {
                prop_assert!(handed.contains(&sent.seq), "{sent:?} did not come");
            }
            if event.kind == Kind::Move {
                // Of the first that came.
                let at = |ordinal| handed.iter().position(|handed| *handed == seq(position, ordinal)).unwrap();
                prop_assert_eq!(at(1) + 1, at(2));
            }
        }
    }
}
