//! Whether a topic is still the one that the positions speak of, and reaches back to them.

use walbrook_model::{Error, Result};

use crate::positions::{Position, Seen, TopicPositions};

/// What the broker says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The first offset that it still has.
    pub(crate) low: i64,
    /// The offset after its last.
    pub(crate) high: i64,
}

/// Judges a topic by the bounds of its partitions; `None`: it does not exist. `Ok` are the positions to go on from.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Gap`] if messages are lost to us, [`walbrook_model::ErrorKind::Transient`] if a topic that
/// was never read is not there yet.
pub(crate) fn judge(topic: &str, known: Option<&TopicPositions>, found: Option<&[Bounds]>) -> Result<TopicPositions> {
    let judged = match (known, found) {
        (None, None) => Err(Error::transient("the topic does not exist yet")
            .remedy("start the capture, or correct source.kafka.topics if it has another name")),
        (Some(known), None) if known.partitions.iter().all(|position| position.next == 0) => {
            Err(Error::transient("the topic does not exist any more; nothing was read from it"))
        }
        (Some(_), None) => Err(Error::gap("the topic was deleted")),
        (None, Some(found)) => begin(found),
        (Some(known), Some(found)) => go_on(known, found),
    };
    judged.map_err(|error| error.on(format!("topic {topic}")))
}

fn begin(found: &[Bounds]) -> Result<TopicPositions> {
    if let Some((partition, bounds)) = found.iter().enumerate().find(|(_, bounds)| bounds.low > 0) {
        return Err(Error::gap(format!(
            "partition {partition} begins at offset {}: what came before was removed before it was read",
            bounds.low
        )));
    }
    Ok(TopicPositions { partitions: vec![Position::default(); found.len()], ..TopicPositions::default() })
}

fn go_on(known: &TopicPositions, found: &[Bounds]) -> Result<TopicPositions> {
    let pinned = known.partitions.len();
    if found.len() < pinned {
        let found = found.len();
        return Err(Error::gap(format!("the topic has {found} partitions where it had {pinned}: it was made anew")));
    }
    for (partition, (position, bounds)) in known.partitions.iter().zip(found).enumerate() {
        let (next, Bounds { low, high }) = (position.next, *bounds);
        if next < low {
            return Err(Error::gap(format!(
                "partition {partition} begins at offset {low}: {} offsets were removed before they were read",
                low - next
            )));
        }
        if next > high {
            return Err(Error::gap(format!(
                "partition {partition} ends at offset {high} and was read to {next}: the topic was made anew or cut off"
            )));
        }
    }
    // Our own producer keeps to the partitions that it pinned, so that further ones stay empty.
    let further = found.iter().enumerate().skip(pinned).find(|(_, bounds)| bounds.high > 0);
    if let Some((partition, _)) = further {
        return Err(Error::gap(format!(
            "partitions were added: there are messages in partition {partition}, and {pinned} partitions are read"
        )));
    }
    Ok(known.clone())
}

/// The positions with which an operator goes on after a gap: as near to what was read as the topic allows, so that as little
/// as possible comes twice. `others` are the partitions whose last message is another one now.
pub(crate) fn accept(known: Option<&TopicPositions>, found: &[Bounds], others: &[usize]) -> TopicPositions {
    let begins = |bounds: &Bounds| Position { next: bounds.low, ..Position::default() };
    let same = known.filter(|known| {
        let fits = known.partitions.iter().zip(found).all(|(position, bounds)| position.next <= bounds.high);
        fits && found.len() >= known.partitions.len() && others.is_empty()
    });
    let Some(known) = same else {
        return TopicPositions { partitions: found.iter().map(begins).collect(), ..TopicPositions::default() };
    };
    let pinned = known.partitions.len();
    let go_on =
        |(position, bounds): (&Position, &Bounds)| Position { next: position.next.max(bounds.low), ..*position };
    let mut partitions: Vec<Position> = known.partitions.iter().zip(found).map(go_on).collect();
    let further = found.get(pinned..).unwrap_or_default();
    if further.iter().any(|bounds| bounds.high > 0) {
        partitions.extend(further.iter().map(begins));
    }
    TopicPositions {
        partitions,
        slices: known.slices.clone(),
        letters: known.letters.clone(),
        whose: known.whose.clone(),
    }
}

/// The gap that shows in the first message of a partition, if it is not the last one that was read before.
pub(crate) fn another(topic: &str, partition: usize, expected: Seen) -> Error {
    Error::gap(format!(
        "the message at offset {} of partition {partition} is not the one that was read there: the topic was made anew, \
         cut off or compacted",
        expected.offset
    ))
    .on(format!("topic {topic}"))
}

/// Says how an operator gets on.
pub(crate) fn with_way_on(error: Error) -> Error {
    if error.kind() != walbrook_model::ErrorKind::Gap || error.remedy_text().is_some() {
        return error;
    }
    error.remedy(
        "walbrook gap accept --reason \"...\" goes on with what the topics have; then let the capture read the tables again, \
         which repairs what was missed",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use walbrook_model::ErrorKind;

    use super::*;

    fn known(next: &[i64]) -> TopicPositions {
        let partitions = next.iter().map(|next| Position { next: *next, ..Position::default() }).collect();
        TopicPositions { partitions, ..TopicPositions::default() }
    }

    fn check(
        known: Option<&TopicPositions>,
        found: Option<&[(i64, i64)]>,
        expected: Result<&[i64], (ErrorKind, &str)>,
    ) {
        let found: Option<Vec<Bounds>> =
            found.map(|found| found.iter().map(|(low, high)| Bounds { low: *low, high: *high }).collect());
        match (judge("t", known, found.as_deref()), expected) {
            (Ok(positions), Ok(expected)) => {
                let next: Vec<i64> = positions.partitions.iter().map(|position| position.next).collect();
                assert_eq!(next, expected);
            }
            (Err(error), Err((kind, text))) => {
                assert_eq!(error.kind(), kind, "{error}");
                assert!(error.to_string().contains(text), "{error}");
            }
            (judged, expected) => panic!("{judged:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_topic_goes_on_only_where_nothing_is_missing() {
        use ErrorKind::{Gap, Transient};
        check(None, Some(&[(0, 0), (0, 7)]), Ok(&[0, 0]));
        check(Some(&known(&[0, 7])), Some(&[(0, 0), (7, 7)]), Ok(&[0, 7]));
        check(Some(&known(&[5, 7])), Some(&[(0, 9), (3, 7)]), Ok(&[5, 7]));
        check(None, None, Err((Transient, "does not exist yet")));
        check(Some(&known(&[0, 0])), None, Err((Transient, "nothing was read")));
        check(Some(&known(&[0, 1])), None, Err((Gap, "deleted")));
        check(None, Some(&[(0, 0), (3, 7)]), Err((Gap, "partition 1 begins at offset 3")));
        check(Some(&known(&[5, 7])), Some(&[(0, 9), (8, 9)]), Err((Gap, "1 offsets were removed")));
        check(Some(&known(&[5, 7])), Some(&[(0, 4), (0, 9)]), Err((Gap, "partition 0 ends at offset 4")));
        check(Some(&known(&[5, 7])), Some(&[(0, 9)]), Err((Gap, "1 partitions where it had 2")));
        // Further partitions are ignored as long as they are empty.
        check(Some(&known(&[5])), Some(&[(0, 9), (0, 0)]), Ok(&[5]));
        check(Some(&known(&[5])), Some(&[(0, 9), (0, 1)]), Err((Gap, "partition 1")));
    }

    proptest! {
        #[test]
        fn what_was_accepted_goes_on_and_misses_nothing_that_is_there(
            known in prop::option::of(prop::collection::vec(0..9_i64, 1..4)),
            found in prop::collection::vec((0..9_i64, 0..9_i64), 1..5),
            other in prop::option::of(0..3_usize),
        ) {
            let found: Vec<Bounds> =
                found.into_iter().map(|(low, more)| Bounds { low, high: low + more }).collect();
            let known = known.map(|next| self::known(&next));
            let others: Vec<usize> = other.into_iter().collect();
            let accepted = accept(known.as_ref(), &found, &others);
            let judged = judge("t", Some(&accepted), Some(&found)).unwrap();
            prop_assert_eq!(&judged, &accepted);
            let gap = judge("t", known.as_ref(), Some(&found)).is_err() || other.is_some();
            match known {
                Some(known) if !gap => prop_assert_eq!(&accepted, &known),
                _ => {}
            }
            for (partition, bounds) in found.iter().enumerate() {
                // What is not read was read before, or is in no partition that is read.
                let next = accepted.partitions.get(partition).map_or(bounds.high, |position| position.next);
                prop_assert!(bounds.low <= next && next <= bounds.high);
            }
        }
    }

    #[test]
    fn a_gap_says_the_way_on() {
        let error = with_way_on(another("t", 3, Seen { offset: 4, at_ms: 17, bytes: 100 }));
        assert_eq!(error.kind(), ErrorKind::Gap);
        assert!(error.to_string().contains("offset 4 of partition 3") && error.to_string().contains("gap accept"));
        assert!(with_way_on(Error::transient("t")).remedy_text().is_none());
    }
}
