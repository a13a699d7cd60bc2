//! Letters and what builds on them, in any order: what is handed over is what a reader without bad messages would see.

use proptest::prelude::*;

use super::*;

fn at(partition: u32, offset: i64) -> Answers {
    Answers { partition, offset }
}

fn seq(n: i64) -> Seq {
    Seq::new(0, 1, u64::try_from(n).unwrap() + 1, 1).unwrap()
}

fn about(key: Option<u32>, oversize: Option<Seq>) -> About {
    About { key, moves: None, oversize }
}

#[test]
fn a_row_that_moves_takes_its_letters_along() {
    let (removal, other) = (Base::Removal(seq(2)), Base::Removal(seq(9)));
    let mut letters = Letters::default();
    letters.open(at(0, 10), None, about(Some(1), None));
    // The removal of the old key becomes a letter; its tombstone and the new row only with it.
    assert!(
        letters.concern(0, None, (seq(2), Some(1)), Base::Row(1))
            && !letters.concern(0, None, (seq(2), Some(1)), removal)
    );
    letters.open(at(0, 11), None, About { moves: Some(seq(2)), ..about(Some(1), None) });
    assert!(
        letters.concern(0, None, (seq(2), Some(1)), removal) && !letters.concern(0, None, (seq(9), Some(1)), other)
    );
    letters.open(at(0, 12), None, about(Some(1), None));
    // The new row lies in another partition.
    assert!(
        letters.concern(3, None, (seq(3), Some(1)), removal)
            && !letters.concern(3, None, (seq(3), Some(1)), Base::Row(2))
    );
    letters.open(at(3, 5), None, about(Some(2), None));
    // All of them again, whichever partition is read first.
    assert!(letters.concern(3, Some(at(3, 5)), (seq(3), Some(1)), removal), "the removal is missing");
    letters.close(at(0, 10));
    assert!(!letters.concern(0, Some(at(0, 11)), (seq(2), Some(1)), Base::Row(1)));
    letters.close(at(0, 11));
    assert!(!letters.concern(0, Some(at(0, 12)), (seq(2), Some(1)), removal));
    assert!(!letters.concern(3, Some(at(3, 5)), (seq(3), Some(1)), removal));
}

#[test]
fn a_letter_concerns_its_key_and_what_comes_behind_it() {
    let mut letters = Letters::default();
    letters.open(at(0, 10), None, about(Some(1), None));
    assert!(
        letters.concern(0, None, (seq(1), Some(1)), Base::Row(1))
            && letters.concern(0, None, (seq(1), Some(1)), Base::Everything)
    );
    assert!(
        !letters.concern(0, None, (seq(1), Some(1)), Base::Row(2))
            && !letters.concern(1, None, (seq(1), Some(1)), Base::Row(1))
    );
    letters.open(at(0, 12), None, about(Some(1), None));
    // The first one again: the second lies behind it.
    assert!(!letters.concern(0, Some(at(0, 10)), (seq(1), Some(1)), Base::Row(1)));
    assert!(letters.concern(0, Some(at(0, 12)), (seq(2), Some(1)), Base::Row(1)));
    // It failed again, further behind: it keeps its place.
    letters.open(at(0, 50), Some(at(0, 10)), about(Some(1), None));
    assert_eq!(letters.count(), 2);
    assert!(letters.concern(0, Some(at(0, 12)), (seq(2), Some(1)), Base::Row(1)));
    assert!(!letters.concern(0, Some(at(0, 50)), (seq(1), Some(1)), Base::Row(1)));
    assert!(letters.close(at(0, 50)) && !letters.close(at(0, 50)) && !letters.is_open(at(0, 10)));
    assert!(!letters.concern(0, Some(at(0, 12)), (seq(2), Some(1)), Base::Row(1)));
}

#[test]
fn a_letter_without_a_key_concerns_no_row() {
    let mut letters = Letters::default();
    letters.open(at(3, 1), None, about(None, None));
    assert!(
        !letters.concern(3, None, (seq(1), Some(1)), Base::Row(9))
            && !letters.concern(2, None, (seq(1), Some(1)), Base::Everything)
    );
    assert!(letters.concern(3, None, (seq(1), Some(1)), Base::Everything));
}

#[test]
fn what_was_too_large_is_closed_by_its_own_token() {
    let mut letters = Letters::default();
    letters.open(at(0, 1), None, about(Some(1), Some(seq(7))));
    assert!(!letters.concern(0, None, (seq(7), Some(1)), Base::Row(1)), "it is that very change");
    assert!(letters.concern(0, None, (seq(8), Some(1)), Base::Row(1)));
    assert!(!letters.close_oversize(1, seq(7), Some(1)) && !letters.close_oversize(0, seq(8), Some(1)));
    assert!(!letters.close_oversize(0, seq(7), Some(2)), "another read of that slice");
    assert!(letters.close_oversize(0, seq(7), Some(1)) && letters.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    /// The next message of the log.
    Read,
    /// All letters that are open now are sent again.
    Replay,
    /// The schema, or whatever it is, is mended.
    Mend,
    /// Letters are written into a checkpoint and come back from it.
    Restart,
}

/// What a change of a key does: writes a whole row, or leaves cells out and builds on the row before.
#[derive(Clone, Copy, Debug)]
struct Written {
    key: u32,
    partial: bool,
    bad: bool,
}

fn log() -> impl Strategy<Value = Vec<Written>> {
    let written = (0..3_u32, any::<bool>(), prop::bool::weighted(0.3));
    prop::collection::vec(written.prop_map(|(key, partial, bad)| Written { key, partial, bad }), 1..25)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Read),
        1 => Just(Step::Replay),
        1 => Just(Step::Mend),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..60)
}

/// One partition of one topic, and a merge that takes a newer whole row, and puts a partial one on the row before.
struct World {
    log: Vec<Written>,
    /// Number of the change, and the letter that it answers.
    topic: Vec<(usize, Option<Answers>)>,
    next: usize,
    letters: Letters,
    /// Changes among the letters, with where they lie.
    dead: Vec<(usize, Answers)>,
    mended: bool,
    /// By key the changes that its row is made of, newest last.
    rows: BTreeMap<u32, Vec<usize>>,
}

impl World {
    fn step(&mut self) {
        let Some((number, answers)) = self.topic.get(self.next).copied() else { return };
        let place = at(0, i64::try_from(self.next).unwrap());
        self.next += 1;
        let Written { key, partial, bad } = self.log[number];
        let n = i64::try_from(number).unwrap();
        let concerned = partial && self.letters.concern(0, answers, (seq(n), Some(key)), Base::Row(key));
        if (bad && !self.mended) || concerned {
            if answers.is_none_or(|answers| self.letters.is_open(answers)) {
                self.letters.open(place, answers, about(Some(key), None));
                self.dead.push((number, place));
            }
            return;
        }
        if let Some(answers) = answers {
            self.letters.close(answers);
        }
        let row = self.rows.entry(key).or_default();
        if row.last().is_some_and(|newest| *newest >= number) {
            return;
        }
        if !partial {
            row.clear();
        }
        row.push(number);
    }

    fn replay(&mut self) {
        let letters = std::mem::take(&mut self.dead);
        self.topic.extend(letters.into_iter().map(|(number, answers)| (number, Some(answers))));
    }
}

proptest! {
    #[test]
    fn after_a_replay_every_row_is_what_it_would_have_been(log in log(), steps in steps()) {
        let mut world = World {
            topic: (0..log.len()).map(|number| (number, None)).collect(),
            log,
            next: 0,
            letters: Letters::default(),
            dead: Vec::new(),
            mended: false,
            rows: BTreeMap::new(),
        };
        for step in steps {
            match step {
                Step::Read => world.step(),
                Step::Replay => world.replay(),
                Step::Mend => world.mended = true,
                Step::Restart => {
                    let json = serde_json::to_string(&world.letters).unwrap();
                    world.letters = serde_json::from_str(&json).unwrap();
                }
            }
        }
        world.mended = true;
        // What is read behind the first replay may build on what comes back with it.
        for _ in 0..world.log.len() + 2 {
            while world.next < world.topic.len() {
                world.step();
            }
            world.replay();
        }
        prop_assert!(world.letters.is_empty(), "{:?}", world.letters);
        let mut expected: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (number, written) in world.log.iter().enumerate() {
            let row = expected.entry(written.key).or_default();
            if !written.partial {
                row.clear();
            }
            row.push(number);
        }
        prop_assert_eq!(world.rows, expected);
    }
}
