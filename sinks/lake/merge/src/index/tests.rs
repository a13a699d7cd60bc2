use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn at(file: u32, row: u32) -> Location {
    Location { file, row }
}

impl<I: Identity> Part<I> {
    /// The invariants of the module doc.
    fn check(&self) {
        let places: Vec<_> = (0..self.pages.len() * PAGE).map(|place| *self.at(place).unwrap()).collect();
        let occupied: Vec<_> = self.slots().collect();
        assert_eq!(occupied.len(), self.len);
        assert!(occupied.is_sorted_by(|a, b| a.identity < b.identity), "not in order");
        for (place, slot) in places.iter().enumerate().filter(|(_, slot)| !slot.is_empty()) {
            let home = self.home(slot.identity);
            assert!(home <= place, "before its home");
            assert!(places[home..place].iter().all(|slot| !slot.is_empty()), "a hole before it");
        }
    }
}

fn check_parts(index: &KeyIndex) {
    either!(&index.0, table => table.parts.iter().for_each(Part::check));
}

/// Identities that differ, spread or crowded: `shape` 0 is spread, 1 shares its high bits, 2 lies at the very top.
fn key(kind: KeyKind, shape: u8, number: u64) -> KeyId {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let head = match shape {
        0 => spread,
        1 => (1 << 63) | number,
        _ => u64::MAX - number,
    };
    KeyId::from_u128(match kind {
        KeyKind::Small => u128::from(head),
        KeyKind::Wide => (u128::from(head >> 3) << 67) | u128::from(number),
    })
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u64),
    Remove(u64),
    InsertRange(u64, u64),
    RemoveRange(u64, u64),
    RetainEvery(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0u64..3000;
    let step = prop_oneof![
        8 => number.clone().prop_map(Step::Insert),
        8 => number.clone().prop_map(Step::Remove),
        4 => (number.clone(), 1u64..800).prop_map(|(from, len)| Step::InsertRange(from, len)),
        2 => (number, 1u64..800).prop_map(|(from, len)| Step::RemoveRange(from, len)),
        1 => (1u32..9).prop_map(Step::RetainEvery),
    ];
    prop::collection::vec(step, 1..60)
}

fn run(kind: KeyKind, shape: u8, steps: &[Step]) {
    let (mut index, mut model) = (KeyIndex::with_room(kind, 0), HashMap::new());
    let mut row = 0;
    for step in steps {
        row += 1;
        match *step {
            Step::Insert(number) => {
                let key = key(kind, shape, number);
                assert_eq!(index.insert(key, at(1, row)), model.insert(key, at(1, row)));
            }
            Step::Remove(number) => {
                let key = key(kind, shape, number);
                assert_eq!(index.remove(key), model.remove(&key));
            }
            Step::InsertRange(from, len) => {
                for number in from..from + len {
                    let key = key(kind, shape, number);
                    assert_eq!(index.insert(key, at(2, row)), model.insert(key, at(2, row)));
                }
            }
            Step::RemoveRange(from, len) => {
                for number in from..from + len {
                    let key = key(kind, shape, number);
                    assert_eq!(index.remove(key), model.remove(&key));
                }
            }
            Step::RetainEvery(every) => {
                index.retain(|_, at| at.row % every == 0);
                model.retain(|_, at| at.row % every == 0);
            }
        }
        assert_eq!(index.len(), model.len() as u64);
    }
    check_parts(&index);
    let all: HashMap<_, _> = index.iter().collect();
    assert_eq!(all, model);
    for number in 0..4000 {
        let key = key(kind, shape, number);
        assert_eq!(index.get(key), model.get(&key).copied());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn it_is_a_map(steps in steps(), shape in 0u8..3, wide: bool) {
        run(if wide { KeyKind::Wide } else { KeyKind::Small }, shape, &steps);
    }
}

#[test]
fn it_is_a_map_across_the_split_into_parts() {
    for kind in [KeyKind::Small, KeyKind::Wide] {
        let mut index = KeyIndex::with_room(kind, 0);
        let count = SPLIT_LEN + SPLIT_LEN / 2;
        for number in 0..count {
            assert_eq!(index.insert(key(kind, 0, number), at(0, u32::try_from(number).unwrap())), None);
        }
        assert_eq!(index.len(), count);
        either!(&index.0, table => assert_eq!(table.parts.len(), 256));
        check_parts(&index);
        for number in (0..count).step_by(2) {
            assert_eq!(index.remove(key(kind, 0, number)), Some(at(0, u32::try_from(number).unwrap())));
        }
        check_parts(&index);
        for number in 0..count {
            let there = (number % 2 == 1).then(|| at(0, u32::try_from(number).unwrap()));
            assert_eq!(index.get(key(kind, 0, number)), there);
        }
        assert_eq!(index.iter().count() as u64, index.len());
        assert!(index.iter().map(|(key, _)| key).is_sorted());
    }
}

#[test]
fn it_stays_small_while_it_grows_and_gives_memory_back() {
    for (kind, slot) in [(KeyKind::Small, 16.0), (KeyKind::Wide, 24.0)] {
        let mut index = KeyIndex::with_room(kind, 0);
        let mut worst = 0.0f64;
        for number in 0..800_000u32 {
            index.insert(key(kind, 0, u64::from(number)), at(0, number));
            if number > 400_000 && number % 10_000 == 0 {
                #[allow(clippy::cast_precision_loss, reason = "a ratio")]
                let bytes = index.memory_bytes() as f64 / f64::from(number);
                worst = worst.max(bytes / slot);
            }
        }
        assert!(worst < 1.31, "{worst} slots a key");
        let full = index.memory_bytes();
        index.retain(|_, at| at.row < 1000);
        assert_eq!(index.len(), 1000);
        assert!(index.memory_bytes() < full / 10);
        check_parts(&index);
    }
}

#[test]
fn an_index_with_room_does_not_grow() {
    for (kind, count) in [(KeyKind::Small, 1000u32), (KeyKind::Small, 300_000), (KeyKind::Wide, 300_000)] {
        let mut index = KeyIndex::with_room(kind, u64::from(count));
        let before = index.memory_bytes();
        for number in 0..count {
            index.insert(key(kind, 0, u64::from(number)), at(0, number));
        }
        assert_eq!(index.memory_bytes(), before);
        check_parts(&index);
    }
}
