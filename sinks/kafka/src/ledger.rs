//! Which messages are acknowledged, how many bytes wait, and where each partition ends: a state machine without I/O.
//!
//! ```text
//! messages   | stretch 7: 2 wait | stretch 8: all acknowledged | stretch 9: grows
//!            ^ first             ^ mark 8                      ^ mark 9
//! ```
//!
//! A mark lies between two stretches. It is reached when every message before it is acknowledged, whatever their order was
//! and however many came after it, so that a checkpoint never waits for the messages behind it. A message carries its
//! stretch, its place and its size in its [`Tag`], so that nothing is kept for each message.

use std::collections::VecDeque;

/// What a message carries until it is acknowledged: its stretch, the place of its partition and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(pub(crate) usize);

const _: () = assert!(usize::BITS == 64, "a tag needs 64 bits");

/// 24, 18 and 22 bits.
const STRETCHES: u64 = 1 << 24;
const PLACES: usize = 1 << PLACE_BITS;
const SIZES: usize = 1 << SIZE_BITS;
const PLACE_BITS: u32 = 18;
const SIZE_BITS: u32 = 22;
/// Sizes are counted in units of so many bytes: up to 1 GiB, more than the largest message.
const UNIT: usize = 256;

impl Tag {
    #[allow(clippy::cast_possible_truncation, reason = "a remainder of 24 bits")]
    fn new(stretch: u64, place: u32, units: usize) -> Self {
        let stretch = (stretch % STRETCHES) as usize;
        Self((stretch << (PLACE_BITS + SIZE_BITS)) | ((place as usize) << SIZE_BITS) | units)
    }

    fn stretch(self) -> u64 {
        (self.0 >> (PLACE_BITS + SIZE_BITS)) as u64
    }

    fn place(self) -> usize {
        (self.0 >> SIZE_BITS) % PLACES
    }

    fn bytes(self) -> usize {
        self.0 % SIZES * UNIT
    }
}

/// Between two messages: everything before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(u64);

/// What is known of produced messages.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Number of the first stretch of `waiting`.
    first: u64,
    /// Messages that wait, by stretch; the last stretch grows. Only the last may be empty at the front.
    waiting: VecDeque<u64>,
    messages: u64,
    bytes: usize,
    /// The offset behind the last message, by place.
    ends: Vec<i64>,
    /// Whether a message was acknowledged, by place.
    proven: Vec<bool>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { first: 0, waiting: VecDeque::from([0]), messages: 0, bytes: 0, ends: Vec::new(), proven: Vec::new() }
    }
}

impl Ledger {
    /// Places for partitions that end at `ends`; the first one's number. `None`: there are more than a tag can tell apart.
    pub(crate) fn add_places(&mut self, ends: &[i64]) -> Option<u32> {
        let first = u32::try_from(self.ends.len()).ok()?;
        if self.ends.len() + ends.len() > PLACES {
            return None;
        }
        self.ends.extend_from_slice(ends);
        self.proven.resize(self.ends.len(), false);
        Some(first)
    }

    /// A message is about to be produced.
    pub(crate) fn add(&mut self, place: u32, bytes: usize) -> Tag {
        let units = bytes.div_ceil(UNIT).min(SIZES - 1);
        let tag = Tag::new(self.current(), place, units);
        if let Some(last) = self.waiting.back_mut() {
            *last += 1;
        }
        self.messages += 1;
        self.bytes += tag.bytes();
        tag
    }

    /// A message is in its partition, at `offset`; or, with `None`, is in none. Whether a mark was reached by it, or it is the
    /// first of its place.
    pub(crate) fn settle(&mut self, tag: Tag, offset: Option<i64>) -> bool {
        let behind = tag.stretch().wrapping_sub(self.first) % STRETCHES;
        let Some(waiting) = usize::try_from(behind).ok().and_then(|index| self.waiting.get_mut(index)) else {
            return false;
        };
        *waiting = waiting.saturating_sub(1);
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(tag.bytes());
        if let (Some(offset), Some(end)) = (offset, self.ends.get_mut(tag.place())) {
            *end = (*end).max(offset + 1);
        }
        let proven = self.proven.get_mut(tag.place()).filter(|_| offset.is_some());
        let first = proven.is_some_and(|proven| !std::mem::replace(proven, true));
        self.advance() || first
    }

    /// Whether a message of a place was acknowledged since all were forgotten.
    pub(crate) fn is_proven(&self, place: u32) -> bool {
        self.proven.get(place as usize).copied().unwrap_or_default()
    }

    /// Forgets that messages were acknowledged.
    pub(crate) fn forget_proofs(&mut self) {
        self.proven.fill(false);
    }

    /// Whether a message is said to be where an earlier one of its partition was: that one is there no more.
    pub(crate) fn goes_back(&self, tag: Tag, offset: i64) -> bool {
        self.ends.get(tag.place()).is_some_and(|end| offset < *end)
    }

    /// A mark behind all messages so far.
    pub(crate) fn mark(&mut self) -> Mark {
        if self.waiting.back().is_some_and(|last| *last > 0) {
            self.waiting.push_back(0);
        }
        Mark(self.current())
    }

    /// Whether everything before the mark is acknowledged.
    pub(crate) fn is_reached(&self, mark: Mark) -> bool {
        self.first >= mark.0
    }

    /// Messages that wait.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes of messages that wait, each rounded up.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The offset behind the last message of each of `count` places.
    pub(crate) fn ends(&self, first: u32, count: u32) -> &[i64] {
        self.ends.get(first as usize..(first + count) as usize).unwrap_or_default()
    }

    fn current(&self) -> u64 {
        self.first + self.waiting.len() as u64 - 1
    }

    fn advance(&mut self) -> bool {
        let before = self.first;
        while self.waiting.len() > 1 && self.waiting.front() == Some(&0) {
            self.waiting.pop_front();
            self.first += 1;
        }
        self.first > before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add { place: u32, bytes: usize },
        Settle { which: usize, lost: bool },
        Mark,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u32..3, 0_usize..1000).prop_map(|(place, bytes)| Step::Add { place, bytes }),
            4 => (any::<usize>(), any::<bool>()).prop_map(|(which, lost)| Step::Settle { which, lost: lost && which % 7 == 0 }),
            1 => Just(Step::Mark),
        ]
    }

    /// Remembers every message.
    #[derive(Default)]
    struct Model {
        produced: usize,
        /// Number, tag, place, bytes.
        waiting: Vec<(usize, Tag, u32, usize)>,
        ends: [i64; 3],
        next: [i64; 3],
        /// With how many messages were produced before each.
        marks: Vec<(Mark, usize)>,
    }

    proptest! {
        #[test]
        fn it_knows_what_a_list_of_all_messages_knows(
            first in prop_oneof![Just(0_u64), STRETCHES - 5..STRETCHES + 5],
            steps in proptest::collection::vec(step(), 0..400),
        ) {
            let mut ledger = Ledger { first, ..Ledger::default() };
            prop_assert_eq!(ledger.add_places(&[0, 0, 0]), Some(0));
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Add { place, bytes } => {
                        let tag = ledger.add(place, bytes);
                        model.waiting.push((model.produced, tag, place, bytes.div_ceil(UNIT) * UNIT));
                        model.produced += 1;
                    }
                    Step::Settle { which, lost } => {
                        if model.waiting.is_empty() { continue }
                        let (_, tag, place, _) = model.waiting.remove(which % model.waiting.len());
                        let place = place as usize;
                        let offset = model.next[place];
                        model.next[place] += 1;
                        ledger.settle(tag, (!lost).then_some(offset));
                        if !lost {
                            model.ends[place] = offset + 1;
                        }
                    }
                    Step::Mark => model.marks.push((ledger.mark(), model.produced)),
                }
                prop_assert_eq!(ledger.messages(), model.waiting.len() as u64);
                prop_assert_eq!(ledger.bytes(), model.waiting.iter().map(|(.., bytes)| bytes).sum::<usize>());
                prop_assert_eq!(ledger.ends(0, 3), &model.ends);
                for (mark, before) in &model.marks {
                    let reached = model.waiting.iter().all(|(number, ..)| number >= before);
                    prop_assert_eq!(ledger.is_reached(*mark), reached, "{:?}", mark);
                }
                prop_assert!(ledger.waiting.len() <= model.marks.len() + 1);
            }
        }
    }

    #[test]
    fn a_size_beyond_what_a_tag_holds_is_given_back_as_it_was_taken() {
        let mut ledger = Ledger::default();
        ledger.add_places(&[5]);
        let tag = ledger.add(0, usize::MAX);
        assert!(ledger.bytes() > 1_000_000_000);
        assert!(ledger.settle(tag, Some(9)), "the first");
        assert_eq!((ledger.bytes(), ledger.messages(), ledger.ends(0, 1)), (0, 0, &[10_i64][..]));
    }

    #[test]
    fn a_partition_that_begins_anew_shows() {
        let mut ledger = Ledger::default();
        ledger.add_places(&[5, 0]);
        let (tag, other) = (ledger.add(0, 1), ledger.add(1, 1));
        assert!(ledger.goes_back(tag, 4) && !ledger.goes_back(tag, 5) && !ledger.goes_back(other, 0));
        assert!(ledger.settle(tag, Some(7)) && ledger.is_proven(0) && !ledger.is_proven(1));
        assert!(ledger.goes_back(tag, 7) && !ledger.goes_back(tag, 8));
        ledger.settle(other, None);
        assert!(!ledger.is_proven(1));
        ledger.forget_proofs();
        assert!(!ledger.is_proven(0));
    }

    #[test]
    fn places_are_bounded() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.add_places(&vec![0; PLACES]), Some(0));
        assert_eq!(ledger.add_places(&[0]), None);
        assert_eq!(ledger.ends(7, 2), &[0, 0]);
    }
}
