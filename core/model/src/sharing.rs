//! How several processes of a pipeline, each with tables of its own, keep one record of how far all of them are.
//!
//! Whoever writes merges three records: `base`, which it last knew of its own part, `mine`, and `theirs`, which is there
//! now. What it moved between `base` and `mine` must be in `theirs` as in `base`: then nobody else has moved it since, and
//! it goes on from there. Everything else is taken from `theirs`. So no entry that was written is undone, two processes that
//! move the same entry cannot both succeed, and nobody needs to say who owns what.
//!
//! `base` must stay this process's own view: the record that it began at, with what it wrote since. If it took in what
//! others wrote meanwhile, an old value of theirs in `mine` would look like a move of ours.

use std::collections::BTreeMap;

use crate::{Checkpoint, Error, Result};

/// Merges the checkpoints of a source that can share its tables out: `base`, `mine` and `theirs`.
///
/// # Errors
/// [`crate::ErrorKind::Transient`] as for [`merge_entries`].
pub type MergeCheckpoints = fn(Option<&Checkpoint>, &Checkpoint, Option<&Checkpoint>) -> Result<Checkpoint>;

/// Merges entries by name; `what` says what they are.
///
/// # Errors
/// [`crate::ErrorKind::Transient`] if another process has moved an entry that this one moves: it belongs to that one now.
pub fn merge_entries<V: Clone + PartialEq>(
    what: &str,
    base: &BTreeMap<String, V>,
    mine: &BTreeMap<String, V>,
    theirs: &BTreeMap<String, V>,
) -> Result<BTreeMap<String, V>> {
    let mut merged = theirs.clone();
    for name in base.keys().chain(mine.keys()) {
        let (before, now) = (base.get(name), mine.get(name));
        if before == now {
            continue;
        }
        if theirs.get(name) != before {
            return Err(taken(format!("{what} {name}")));
        }
        match now {
            Some(now) => merged.insert(name.clone(), now.clone()),
            None => merged.remove(name),
        };
    }
    Ok(merged)
}

/// Another process of the pipeline has moved what this one moves.
pub fn taken(what: String) -> Error {
    Error::transient("another process of this pipeline has gone on with it")
        .on(what)
        .remedy("nothing is lost: this process begins again, with the tables that are its own now")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorKind;

    /// One process: what it knows, and what it has done since.
    #[derive(Clone, Debug, Default)]
    struct Process {
        base: BTreeMap<String, u64>,
        mine: BTreeMap<String, u64>,
        /// Naively: how often each entry had been written when this process last read or wrote it.
        known: BTreeMap<String, u64>,
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Moves an entry, whoever owns it by then.
        Move(usize, usize),
        Remove(usize, usize),
        Write(usize),
        /// Begins again from what is there.
        Restart(usize),
    }

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (process, name) = (0..3_usize, 0..NAMES.len());
        let step = prop_oneof![
            6 => (process.clone(), name.clone()).prop_map(|(process, name)| Step::Move(process, name)),
            1 => (process.clone(), name).prop_map(|(process, name)| Step::Remove(process, name)),
            4 => process.clone().prop_map(Step::Write),
            1 => process.prop_map(Step::Restart),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        /// Against a model that counts the writes of each entry: who has not seen the last of them is refused.
        #[test]
        fn what_is_moved_goes_on_and_what_is_not_stays(steps in steps()) {
            let mut there: BTreeMap<String, u64> = BTreeMap::new();
            let mut writes: BTreeMap<String, u64> = BTreeMap::new();
            let mut processes = vec![Process::default(); 3];
            for (value, step) in (1..).zip(steps) {
                match step {
                    Step::Move(process, name) => {
                        processes[process].mine.insert(NAMES[name].to_owned(), value);
                    }
                    Step::Remove(process, name) => {
                        processes[process].mine.remove(NAMES[name]);
                    }
                    Step::Restart(process) => {
                        processes[process] = Process { base: there.clone(), mine: there.clone(), known: writes.clone() };
                    }
                    Step::Write(process) => {
                        let Process { base, mine, known } = &mut processes[process];
                        let moved: Vec<String> =
                            NAMES.map(str::to_owned).into_iter().filter(|name| base.get(name) != mine.get(name)).collect();
                        // An entry that came and went is as it was.
                        let is_gone = |name: &String| !base.contains_key(name) && !there.contains_key(name);
                        let is_zombie =
                            moved.iter().any(|name| writes.get(name) != known.get(name) && !is_gone(name));
                        match merge_entries("table", base, mine, &there) {
                            Ok(merged) => {
                                prop_assert!(!is_zombie, "{moved:?}");
                                for name in NAMES {
                                    let expected = if moved.iter().any(|moved| moved == name) { &*mine } else { &there };
                                    prop_assert_eq!(merged.get(name), expected.get(name));
                                }
                                there = merged;
                                base.clone_from(mine);
                                for name in moved {
                                    let count = writes.entry(name.clone()).or_default();
                                    *count += 1;
                                    known.insert(name, *count);
                                }
                            }
                            Err(error) => {
                                prop_assert!(is_zombie, "{error}");
                                prop_assert_eq!(error.kind(), ErrorKind::Transient);
                                processes[process] =
                                    Process { base: there.clone(), mine: there.clone(), known: writes.clone() };
                            }
                        }
                    }
                }
            }
        }
    }
}
