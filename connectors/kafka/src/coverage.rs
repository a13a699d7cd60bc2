//! Whether a checkpoint covers what a capture says is in its topics.

use std::collections::BTreeMap;

use walbrook_config::KafkaSource as Settings;
use walbrook_envelope::PublishedTopic;
use walbrook_model::{Checkpoint, Result};

use crate::positions::Positions;
use crate::reading;

/// The first topic of which `checkpoint` does not cover all up to the ends that a record of the capture gives; `None` if all
/// of those that are read are covered.
///
/// # Errors
/// If the checkpoint is none of this source.
pub fn not_covered(
    settings: &Settings,
    checkpoint: &Checkpoint,
    topics: &BTreeMap<String, PublishedTopic>,
) -> Result<Option<String>> {
    let positions = Positions::from_checkpoint(checkpoint)?;
    let covered = |name: &str, topic: &PublishedTopic| {
        let known = positions.topics.get(name);
        topic.ends.iter().enumerate().all(|(partition, end)| {
            let next = known.and_then(|known| known.partitions.get(partition)).map_or(0, |position| position.next);
            next >= *end
        })
    };
    let mut read = topics.iter().filter(|(name, _)| reading::is_read(settings, name));
    Ok(read.find(|(name, topic)| !covered(name, topic)).map(|(name, _)| name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::positions::{Position, TopicPositions};
    use crate::testing;

    #[test]
    fn all_partitions_of_all_topics_that_are_read_count() {
        let settings = testing::settings("", "p", &["p.s.*"]);
        let known = |next: &[i64]| {
            let partitions = next.iter().map(|next| Position { next: *next, ..Position::default() }).collect();
            TopicPositions { partitions, ..TopicPositions::default() }
        };
        let positions = [("p.s.a".to_owned(), known(&[3, 7])), ("p.s.b".to_owned(), known(&[0]))];
        let checkpoint = Positions::new(positions.into(), Vec::new()).to_checkpoint().unwrap();
        let lacks = |ends: &[(&str, &[i64])]| {
            let topic =
                |ends: &[i64]| PublishedTopic { partitions: 0, ends: ends.to_vec(), table: None, written: None };
            let topics = ends.iter().map(|(name, ends)| ((*name).to_owned(), topic(ends))).collect();
            not_covered(&settings, &checkpoint, &topics).unwrap()
        };
        assert_eq!(lacks(&[("p.s.a", &[3, 7]), ("p.s.b", &[0])]), None);
        assert_eq!(lacks(&[("p.s.a", &[2, 7]), ("p.s.c", &[0, 0])]), None);
        assert_eq!(lacks(&[("p.s.a", &[3, 8])]).as_deref(), Some("p.s.a"));
        assert_eq!(lacks(&[("p.s.a", &[0, 0, 1])]).as_deref(), Some("p.s.a"));
        assert_eq!(lacks(&[("p.s.a", &[3]), ("p.s.c", &[0, 1])]).as_deref(), Some("p.s.c"));
        // What is not read is not waited for.
        assert_eq!(lacks(&[("p.transaction", &[9])]), None);
    }
}
