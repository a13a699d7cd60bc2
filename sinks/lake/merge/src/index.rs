//! The key index: where the live row of each key lies.
//!
//! ```text
//! identity -> part (top 8 bits) -> home slot (the bits below, scaled to the part) -> first slot with an identity >= it
//! ```
//!
//! A part is an ordered open-addressing table: its slots are sorted by identity, so a search for an absent key ends at
//! the first greater one, and it can be 90 % full. It grows by a sixteenth, a page of slots at a time, one part after the
//! other: the index never holds a second copy of more than one of its 256 parts.
//!
//! Measured with 10 M keys by `cargo run --release -p walbrook-lake-merge --example index_memory` on two shared cores.
//! The bytes are the same in every run; the times are of the quietest of several (they are cache misses, and a busy
//! neighbour multiplies them):
//!
//! | identities | bytes a key, most while growing | insert | insert, room made before | found | found, touched before | absent |
//! |---|---|---|---|---|---|---|
//! | 64 bit | 19.1, 19.8 | 330 ns | 190 ns | 120 ns | 85 ns | 110 ns |
//! | 128 bit | 28.7, 29.7 | 430 ns | 230 ns | 170 ns | 115 ns | 140 ns |
//!
//! Those were measured when parts grew by an eighth and moved their slots in place; growing by a sixteenth takes 18.1
//! bytes a key at 10 M, by count.
//!
//! Invariants (of each part):
//! - Occupied slots are in strictly ascending order of identity.
//! - Every identity lies at or after its home, and no slot between them is empty.

use crate::key::{KeyId, KeyKind};

/// Where a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Location {
    /// Dense id of the data file; `u32::MAX` is no file.
    pub(crate) file: u32,
    /// Position of the row in it.
    pub(crate) row: u32,
}

/// Key -> location of its live row.
pub(crate) struct KeyIndex(Width);

enum Width {
    Small(Table<u64>),
    Wide(Table<[u64; 2]>),
}

/// Runs the same expression on the table of either width.
macro_rules! either {
    ($index:expr, $table:ident => $body:expr) => {
        match $index {
            Width::Small($table) => $body,
            Width::Wide($table) => $body,
        }
    };
}

impl KeyIndex {
    /// An empty index for identities of this width, which takes about `keys` keys before it grows.
    pub(crate) fn with_room(kind: KeyKind, keys: u64) -> Self {
        Self(match kind {
            KeyKind::Small => Width::Small(Table::with_room(keys)),
            KeyKind::Wide => Width::Wide(Table::with_room(keys)),
        })
    }

    /// The width of its identities.
    pub(crate) fn kind(&self) -> KeyKind {
        match self.0 {
            Width::Small(_) => KeyKind::Small,
            Width::Wide(_) => KeyKind::Wide,
        }
    }

    /// Where the row of `key` lies.
    pub(crate) fn get(&self, key: KeyId) -> Option<Location> {
        either!(&self.0, table => table.get(key))
    }

    /// Loads the slots where `keys` lie into the processor's cache. The loads overlap, so that the searches that follow
    /// do not wait for memory one after the other; of use for some dozens of keys at a time.
    pub(crate) fn touch(&self, keys: impl Iterator<Item = KeyId>) {
        either!(&self.0, table => keys.for_each(|key| table.touch(key)));
    }

    /// Says where the row of `key` lies; returns where it lay before. `at.file` is not `u32::MAX`.
    pub(crate) fn insert(&mut self, key: KeyId, at: Location) -> Option<Location> {
        either!(&mut self.0, table => table.insert(key, at))
    }

    /// Forgets `key`; returns where its row lay.
    pub(crate) fn remove(&mut self, key: KeyId) -> Option<Location> {
        either!(&mut self.0, table => table.remove(key))
    }

    /// Keeps the keys for which `keep` says so.
    pub(crate) fn retain(&mut self, keep: impl FnMut(KeyId, Location) -> bool) {
        either!(&mut self.0, table => table.retain(keep));
    }

    /// Keys in it.
    pub(crate) fn len(&self) -> u64 {
        either!(&self.0, table => table.len)
    }

    /// Bytes that it keeps in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        either!(&self.0, table => table.parts.iter().map(Part::memory_bytes).sum())
    }

    /// All keys, in order of identity.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (KeyId, Location)> + '_> {
        either!(&self.0, table => Box::new(table.iter()))
    }
}

/// An identity as a table stores it.
trait Identity: Copy + Ord {
    const ZERO: Self;
    /// The bits that give its place, in the order of `Ord`.
    fn head(self) -> u64;
    fn of(key: KeyId) -> Self;
    fn key(self) -> KeyId;
}

impl Identity for u64 {
    const ZERO: Self = 0;

    fn head(self) -> u64 {
        self
    }

    fn of(key: KeyId) -> Self {
        key.low()
    }

    fn key(self) -> KeyId {
        KeyId::from_u128(u128::from(self))
    }
}

/// High half first. Not a `u128`, which would be aligned to 16 bytes and make the slot 32 instead of 24 bytes long.
impl Identity for [u64; 2] {
    const ZERO: Self = [0, 0];

    fn head(self) -> u64 {
        self[0]
    }

    fn of(key: KeyId) -> Self {
        [key.high(), key.low()]
    }

    fn key(self) -> KeyId {
        KeyId::from_u128((u128::from(self[0]) << 64) | u128::from(self[1]))
    }
}

/// One part while small, then 256 of them: a part that grows stays within the processor's cache.
struct Table<I> {
    parts: Vec<Part<I>>,
    /// How many top bits of the identity choose the part.
    bits: u32,
    len: u64,
}

const PART_BITS: u32 = 8;
/// A table of this many keys is split into parts.
const SPLIT_LEN: u64 = 1 << 18;

impl<I: Identity> Table<I> {
    fn with_room(keys: u64) -> Self {
        let bits = if keys < SPLIT_LEN { 0 } else { PART_BITS };
        // Parts differ a little: one in 64 more than the mean is room for nearly all of them.
        let of_part = usize::try_from((keys + (keys >> 6)) >> bits).unwrap_or(0);
        let parts = std::iter::repeat_with(|| Part::with_room(bits, of_part)).take(1 << bits);
        Self { parts: parts.collect(), bits, len: 0 }
    }

    fn part_of(&self, identity: I) -> usize {
        part_of(identity, self.bits)
    }

    fn get(&self, key: KeyId) -> Option<Location> {
        let identity = I::of(key);
        let part = self.parts.get(self.part_of(identity))?;
        part.at(part.find(identity)).filter(|slot| slot.is_of(identity)).map(|slot| slot.at)
    }

    /// Reads the home and the cache line after it, where most slots lie that are not at home.
    fn touch(&self, key: KeyId) {
        let identity = I::of(key);
        if let Some(part) = self.parts.get(self.part_of(identity)) {
            let home = part.home(identity);
            let row = |place| part.at(place).map_or(0, |slot| slot.at.row);
            std::hint::black_box(row(home) ^ row(home + 4));
        }
    }

    fn insert(&mut self, key: KeyId, at: Location) -> Option<Location> {
        let identity = I::of(key);
        let index = self.part_of(identity);
        let old = self.parts.get_mut(index)?.insert(Slot { identity, at });
        if old.is_none() {
            self.len += 1;
            if self.bits == 0 && self.len >= SPLIT_LEN {
                self.split();
            }
        }
        old
    }

    fn remove(&mut self, key: KeyId) -> Option<Location> {
        let identity = I::of(key);
        let index = self.part_of(identity);
        let old = self.parts.get_mut(index)?.remove(identity);
        self.len -= u64::from(old.is_some());
        old
    }

    fn retain(&mut self, mut keep: impl FnMut(KeyId, Location) -> bool) {
        for part in &mut self.parts {
            part.retain(|slot| keep(slot.identity.key(), slot.at));
        }
        self.len = self.parts.iter().map(|part| part.len as u64).sum();
    }

    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = (KeyId, Location)> {
        self.parts.iter().flat_map(Part::slots).map(|slot| (slot.identity.key(), slot.at))
    }

    fn split(&mut self) {
        let mut lens = [0usize; 1 << PART_BITS];
        for slot in self.parts.iter().flat_map(Part::slots) {
            lens[part_of(slot.identity, PART_BITS)] += 1;
        }
        let mut parts: Vec<_> = lens.iter().map(|len| Part::with_room(PART_BITS, *len)).collect();
        for slot in self.parts.iter().flat_map(Part::slots) {
            parts[part_of(slot.identity, PART_BITS)].insert(*slot);
        }
        self.parts = parts;
        self.bits = PART_BITS;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "at most 8 bits are left")]
fn part_of<I: Identity>(identity: I, bits: u32) -> usize {
    identity.head().checked_shr(u64::BITS - bits).unwrap_or(0) as usize
}

#[derive(Clone, Copy)]
struct Slot<I> {
    identity: I,
    at: Location,
}

const NO_FILE: u32 = u32::MAX;

impl<I: Identity> Slot<I> {
    const EMPTY: Self = Self { identity: I::ZERO, at: Location { file: NO_FILE, row: 0 } };

    fn is_empty(&self) -> bool {
        self.at.file == NO_FILE
    }

    fn is_of(&self, identity: I) -> bool {
        self.identity == identity && !self.is_empty()
    }
}

const PAGE: usize = 256;
/// Slots behind the last home, for what is pushed beyond it. Where they do not suffice, pages are added.
const SLACK: usize = 64;

struct Part<I> {
    pages: Vec<Box<[Slot<I>; PAGE]>>,
    /// Homes: the first so many slots.
    homes: usize,
    len: usize,
    /// Bits above those that give the home.
    bits: u32,
}

impl<I: Identity> Part<I> {
    fn with_room(bits: u32, len: usize) -> Self {
        let mut part = Self { pages: Vec::new(), homes: 0, len: 0, bits };
        part.add_pages((len + len / 8 + 1 + SLACK).div_ceil(PAGE));
        part
    }

    /// The number of keys at which it grows: 90 % of its homes.
    fn len_max(&self) -> usize {
        self.homes / 10 * 9
    }

    fn memory_bytes(&self) -> usize {
        self.pages.len() * size_of::<[Slot<I>; PAGE]>() + self.pages.capacity() * size_of::<Box<[Slot<I>; PAGE]>>()
    }

    fn add_pages(&mut self, count: usize) {
        self.extend_to(self.pages.len() + count);
        self.homes = self.pages.len() * PAGE - SLACK;
    }

    /// Adds pages without homes.
    fn extend_to(&mut self, pages: usize) {
        self.pages.resize_with(pages, || Box::new([Slot::EMPTY; PAGE]));
    }

    fn slots(&self) -> impl Iterator<Item = &Slot<I>> {
        self.pages.iter().flat_map(|page| page.iter()).filter(|slot| !slot.is_empty())
    }

    fn at(&self, place: usize) -> Option<&Slot<I>> {
        self.pages.get(place / PAGE).map(|page| &page[place % PAGE])
    }

    fn at_mut(&mut self, place: usize) -> Option<&mut Slot<I>> {
        self.pages.get_mut(place / PAGE).map(|page| &mut page[place % PAGE])
    }

    /// Monotone in the identity, which keeps the slots sorted.
    #[allow(clippy::cast_possible_truncation, reason = "below `homes`")]
    fn home(&self, identity: I) -> usize {
        ((u128::from(identity.head() << self.bits) * self.homes as u128) >> u64::BITS) as usize
    }

    /// The first place at or after the home that is empty or whose identity is not lower.
    fn find(&self, identity: I) -> usize {
        let mut place = self.home(identity);
        while let Some(page) = self.pages.get(place / PAGE) {
            let slots = &page[place % PAGE..];
            match slots.iter().position(|slot| slot.is_empty() || slot.identity >= identity) {
                Some(ahead) => return place + ahead,
                None => place += slots.len(),
            }
        }
        place
    }

    fn insert(&mut self, new: Slot<I>) -> Option<Location> {
        let mut place = self.find(new.identity);
        if let Some(slot) = self.at_mut(place).filter(|slot| slot.is_of(new.identity)) {
            return Some(std::mem::replace(&mut slot.at, new.at));
        }
        if self.len >= self.len_max() {
            self.grow();
            place = self.find(new.identity);
        }
        self.push_in(place, new);
        self.len += 1;
        None
    }

    /// Puts `new` at `place` and moves what is there up, to the next empty slot.
    fn push_in(&mut self, mut place: usize, new: Slot<I>) {
        let mut carried = new;
        loop {
            if place == self.pages.len() * PAGE {
                self.extend_to(self.pages.len() + 1);
            }
            let slots = &mut self.pages[place / PAGE][place % PAGE..];
            if let Some(empty) = slots.iter().position(Slot::is_empty) {
                slots.copy_within(..empty, 1);
                slots[0] = carried;
                return;
            }
            let last = slots[slots.len() - 1];
            slots.copy_within(..slots.len() - 1, 1);
            slots[0] = std::mem::replace(&mut carried, last);
            place += slots.len();
        }
    }

    fn remove(&mut self, identity: I) -> Option<Location> {
        let mut place = self.find(identity);
        let old = self.at(place).filter(|slot| slot.is_of(identity))?.at;
        // Slots that are not at their home move down, until one is.
        while let Some(next) = self.at(place + 1).filter(|slot| !slot.is_empty()).copied() {
            if self.home(next.identity) > place {
                break;
            }
            self.put(place, next);
            place += 1;
        }
        self.put(place, Slot::EMPTY);
        self.len -= 1;
        Some(old)
    }

    fn put(&mut self, place: usize, slot: Slot<I>) {
        if let Some(old) = self.at_mut(place) {
            *old = slot;
        }
    }

    /// Grows by a sixteenth.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.pages);
        self.add_pages(old.len() + (old.len() / 16).max(1));
        self.lay(old.iter().flat_map(|page| page.iter()).filter(|slot| !slot.is_empty()));
    }

    fn retain(&mut self, mut keep: impl FnMut(&Slot<I>) -> bool) {
        let kept: Vec<Slot<I>> = self.slots().filter(|slot| keep(slot)).copied().collect();
        let pages = if kept.len() < self.len_max() / 2 {
            Self::with_room(self.bits, kept.len()).pages.len()
        } else {
            self.pages.len()
        };
        self.pages.clear();
        self.add_pages(pages);
        self.lay(kept.iter());
    }

    /// Puts these slots, which are in order, into a part that is empty.
    fn lay<'a>(&mut self, slots: impl Iterator<Item = &'a Slot<I>>)
    where
        I: 'a,
    {
        let mut next = 0;
        self.len = 0;
        for slot in slots {
            let place = self.home(slot.identity).max(next);
            if place == self.pages.len() * PAGE {
                // So many identities crowd at the end that they need more than the usual slack.
                self.extend_to(self.pages.len() + 1);
            }
            self.put(place, *slot);
            next = place + 1;
            self.len += 1;
        }
    }
}

// The path is said because the example `index_memory` compiles this file in as well.
#[cfg(test)]
#[path = "index/tests.rs"]
mod tests;
