//! Measures the key index: bytes a key, nanoseconds an operation, and what the process really keeps in memory.
//!
//! `cargo run --release -p walbrook-lake-merge --example index_memory [millions of keys, default 10]`

#![allow(dead_code, missing_docs, unreachable_pub, reason = "the index is private to the crate and compiled in here")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "figures to print")]

use std::time::{Duration, Instant};

#[path = "../src/index.rs"]
mod index;
#[path = "../src/key.rs"]
mod key;

use index::{KeyIndex, Location};
use key::{KeyId, KeyKind};

fn main() {
    let millions: u64 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(10);
    let count = millions * 1_000_000;
    println!(
        "width keys_M  B/key peak_B/key rss_growth_MB  insert_ns  worst_insert_us  hit_ns touched_hit_ns miss_ns update_ns remove_ns sized_insert_ns"
    );
    for kind in [KeyKind::Small, KeyKind::Wide] {
        measure(kind, count);
    }
}

fn measure(kind: KeyKind, count: u64) {
    let before = resident_bytes();
    let mut index = KeyIndex::with_room(kind, 0);
    let (mut peak, mut resident, mut worst) = (0.0f64, 0, Duration::ZERO);
    let start = Instant::now();
    let mut spent = Duration::ZERO;
    for number in 0..count {
        let began = (number % 64 == 0).then(Instant::now);
        index.insert(key(kind, number), Location { file: 0, row: number as u32 });
        if let Some(began) = began {
            worst = worst.max(began.elapsed());
        }
        if number % 100_000 == 99_999 {
            let began = Instant::now();
            if number > 1_000_000 {
                peak = peak.max(index.memory_bytes() as f64 / number as f64);
            }
            resident = resident.max(resident_bytes());
            spent += began.elapsed();
        }
    }
    let insert = start.elapsed().saturating_sub(spent).as_nanos() as f64 / count as f64;
    let hit = time(count, |number| index.get(key(kind, shuffled(number, count))).is_some());
    let miss = time(count, |number| index.get(key(kind, count + number)).is_none());
    let touched = {
        let start = Instant::now();
        let mut found = 0;
        for chunk in (0..count).step_by(32) {
            let keys: [KeyId; 32] = std::array::from_fn(|next| key(kind, shuffled(chunk + next as u64, count)));
            index.touch(keys.iter().copied());
            found += keys.iter().filter(|key| index.get(**key).is_some()).count() as u64;
        }
        assert_eq!(found, count, "the index lost or invented keys");
        start.elapsed().as_nanos() as f64 / count as f64
    };
    let update = {
        let at = |number| Location { file: 1, row: number as u32 };
        time(count, |number| index.insert(key(kind, shuffled(number, count)), at(number)).is_some())
    };
    let sized = {
        let mut index = KeyIndex::with_room(kind, count);
        time(count, |number| index.insert(key(kind, number), Location { file: 0, row: number as u32 }).is_none())
    };
    let bytes = index.memory_bytes() as f64 / count as f64;
    let remove = time(count, |number| index.remove(key(kind, shuffled(number, count))).is_some());
    println!(
        "{kind:?} {} {bytes:.1} {peak:.1} {} {insert:.0} {} {hit:.0} {touched:.0} {miss:.0} {update:.0} {remove:.0} {sized:.0}",
        count / 1_000_000,
        resident.saturating_sub(before) >> 20,
        worst.as_micros(),
    );
}

/// Nanoseconds per call; every call must say `true`.
fn time(count: u64, mut call: impl FnMut(u64) -> bool) -> f64 {
    let start = Instant::now();
    let done = (0..count).filter(|number| call(*number)).count() as u64;
    assert_eq!(done, count, "the index lost or invented keys");
    start.elapsed().as_nanos() as f64 / count as f64
}

/// A permutation of `0..count` that jumps about.
fn shuffled(number: u64, count: u64) -> u64 {
    (number * 7_368_787) % count
}

fn key(kind: KeyKind, number: u64) -> KeyId {
    let mix = |bits: u64| {
        let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    let low = u128::from(mix(number ^ 0x5eed));
    KeyId::from_u128(match kind {
        KeyKind::Small => low,
        KeyKind::Wide => (u128::from(mix(number ^ 0xfeed)) << 64) | low,
    })
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
