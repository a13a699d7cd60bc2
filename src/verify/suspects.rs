//! Keys that differ at every position that is looked at.
//!
//! The lake is read later than the source, so a key that changes all the time differs each time without being wrong. Such
//! a row has a token above the source's position, and another one each time. A row whose token is below it must be what
//! the source has; so must one that was in the lake before the source was read again.

use std::collections::BTreeMap;

use walbrook_lake_merge::compare::Difference;
use walbrook_model::Seq;

/// Keys of one table that differed each time so far.
#[derive(Debug, Default)]
pub(super) struct Suspects(Option<BTreeMap<(String, &'static str), Option<Seq>>>);

impl Suspects {
    /// Takes what differs when the source is read at `position`, and the lake after that.
    pub(super) fn narrow(&mut self, found: &[Difference], position: Seq) {
        let found = found.iter().map(|Difference { key, what, seq }| ((key.clone(), *what), *seq));
        self.0 = Some(match self.0.take() {
            None => found.collect(),
            Some(before) => found
                .filter(|(key, seq)| {
                    let moved_on = |before: &Option<Seq>| *seq > Some(position) && before != seq;
                    before.get(key).is_some_and(|before| !moved_on(before))
                })
                .collect(),
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, BTreeMap::len)
    }

    /// Each key, and what is wrong with it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.0.iter().flat_map(BTreeMap::keys).map(|(key, what)| (key.as_str(), *what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(position: u64) -> Seq {
        Seq::new(0, 1, position, 1).unwrap()
    }

    /// What remains of a key whose row has these tokens in the lake, with the source read at 10, 20, ...
    fn remains(tokens: &[Option<u64>]) -> bool {
        let mut suspects = Suspects::default();
        for (index, token) in tokens.iter().enumerate() {
            let found = Difference { key: "7".to_owned(), what: "another row in the lake", seq: token.map(seq) };
            suspects.narrow(&[found], seq(10 * (index as u64 + 1)));
        }
        suspects.len() == 1
    }

    #[test]
    fn a_row_that_moves_on_is_not_wrong() {
        assert!(remains(&[Some(5), Some(5), Some(5)]));
        assert!(remains(&[Some(15), Some(15)]));
        assert!(remains(&[None, None]));
        assert!(!remains(&[Some(15), Some(25)]));
        assert!(!remains(&[Some(5), Some(5), Some(35)]));
        // One of the future stays where it is.
        assert!(remains(&[Some(99), Some(99), Some(99)]));
    }

    #[test]
    fn what_differs_once_is_not_wrong() {
        let difference = |key: &str, what| Difference { key: key.to_owned(), what, seq: Some(seq(1)) };
        let mut suspects = Suspects::default();
        suspects.narrow(&[difference("1", "a"), difference("2", "a"), difference("3", "a")], seq(10));
        suspects.narrow(&[difference("1", "a"), difference("2", "b"), difference("4", "a")], seq(20));
        assert_eq!(suspects.iter().collect::<Vec<_>>(), [("1", "a")]);
        suspects.narrow(&[], seq(30));
        assert_eq!(suspects.len(), 0);
    }
}
