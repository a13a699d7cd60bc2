//! A gap, looked for and accepted: what `walbrook gap accept` needs of this source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;
use walbrook_config::KafkaSource as Settings;
use walbrook_model::{Checkpoint, Error, ErrorKind, Result};

use crate::client::{self, Consumer};
use crate::continuity::{self, Bounds};
use crate::positions::{Positions, Seen, TopicPositions};
use crate::raw::Raw;
use crate::{events, reading};

/// How long the last message of a partition may take to come.
const PROOF_TIMEOUT: Duration = Duration::from_secs(20);

/// What was found of a topic that the settings name.
struct Found {
    known: Option<TopicPositions>,
    /// `None`: it does not exist.
    bounds: Option<Vec<Bounds>>,
    /// Partitions whose last message is another one now, with the one that was read.
    others: Vec<(usize, Seen)>,
}

/// The first topic that does not go on where the checkpoint ends; `None` if all do.
///
/// # Errors
/// If the brokers cannot be asked.
pub async fn find_gap(settings: &Settings, checkpoint: Option<&Checkpoint>) -> Result<Option<Error>> {
    let (_, found) = look(settings, checkpoint).await?;
    let mut gaps = found.iter().filter_map(|(topic, found)| found.gap(topic));
    Ok(gaps.next())
}

/// A checkpoint with which every topic goes on from what it has: where it ends in the checkpoint, if that is there still, and
/// all of them from their beginning if `again`: after a gap of the sink's own, which what is read again may fill. What the
/// topics do not have stays missing until the capture reads the tables again.
///
/// # Errors
/// If the brokers cannot be asked.
pub async fn accept_gap(settings: &Settings, checkpoint: Option<&Checkpoint>, again: bool) -> Result<Checkpoint> {
    let (mut positions, found) = look(settings, checkpoint).await?;
    for (topic, found) in found {
        let gap = found.gap(&topic);
        if let Some(gap) = &gap {
            events::gap_accepted(&topic, gap);
        }
        let others: Vec<usize> = found.others.iter().map(|(partition, _)| *partition).collect();
        let known = found.known.as_ref().filter(|_| !again);
        match found.bounds {
            Some(bounds) if gap.is_some() || again => {
                positions.topics.insert(topic, continuity::accept(known, &bounds, &others));
            }
            Some(_) => {}
            None => {
                positions.topics.remove(&topic);
            }
        }
    }
    positions.to_checkpoint()
}

impl Found {
    fn gap(&self, topic: &str) -> Option<Error> {
        let judged = continuity::judge(topic, self.known.as_ref(), self.bounds.as_deref());
        let gap = judged.err().filter(|error| error.kind() == ErrorKind::Gap);
        let other = || self.others.first().map(|(partition, seen)| continuity::another(topic, *partition, *seen));
        gap.or_else(other).map(continuity::with_way_on)
    }
}

async fn look(settings: &Settings, checkpoint: Option<&Checkpoint>) -> Result<(Positions, BTreeMap<String, Found>)> {
    let positions = checkpoint.map(Positions::from_checkpoint).transpose()?.unwrap_or_default();
    let settings = settings.clone();
    let looked = spawn_blocking(move || {
        let consumer = client::connect_to_ask(&settings, &Arc::default())?;
        let found = look_at(&consumer, &settings, &positions)?;
        Ok((positions, found))
    });
    looked.await.unwrap_or_else(|error| Err(Error::bug("the look at the topics failed").because(error)))
}

fn look_at(consumer: &Consumer, settings: &Settings, positions: &Positions) -> Result<BTreeMap<String, Found>> {
    let there: BTreeMap<String, usize> = client::topics(consumer)?.into_iter().collect();
    let names = there.keys().chain(positions.topics.keys()).filter(|name| reading::is_read(settings, name));
    let mut found = BTreeMap::new();
    for name in names {
        if found.contains_key(name) {
            continue;
        }
        let bounds = there.get(name).map(|partitions| client::bounds(consumer, name, *partitions)).transpose()?;
        let known = positions.topics.get(name).cloned();
        found.insert(name.clone(), Found { known, bounds, others: Vec::new() });
    }
    prove(consumer, &mut found)?;
    Ok(found)
}

/// Reads the last message of each partition again, where it is there still.
fn prove(consumer: &Consumer, found: &mut BTreeMap<String, Found>) -> Result<()> {
    let mut waiting: BTreeMap<(String, usize), Seen> = BTreeMap::new();
    for (topic, Found { known, bounds, .. }) in found.iter() {
        let (Some(known), Some(bounds)) = (known, bounds) else { continue };
        for (partition, (position, bounds)) in known.partitions.iter().zip(bounds).enumerate() {
            let there = |last: &Seen| (bounds.low..bounds.high).contains(&last.offset);
            if let Some(last) = position.last.filter(there) {
                waiting.insert((topic.clone(), partition), last);
            }
        }
    }
    if !waiting.is_empty() {
        assign(consumer, &waiting)?;
    }
    let begun = Instant::now();
    while !waiting.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let place = (message.topic().to_owned(), usize::try_from(message.partition()).unwrap_or(usize::MAX));
                let Some(last) = waiting.remove(&place) else { continue };
                if Raw::new(&message, None).seen() != last
                    && let Some(found) = found.get_mut(&place.0)
                {
                    found.others.push((place.1, last));
                }
            }
            Some(Err(error)) => {
                if let Some(error) = client::failure(error) {
                    return Err(error);
                }
            }
            None if begun.elapsed() > PROOF_TIMEOUT => {
                return Err(Error::transient("the last messages that were read could not be read again"));
            }
            None => {}
        }
    }
    Ok(())
}

fn assign(consumer: &Consumer, waiting: &BTreeMap<(String, usize), Seen>) -> Result<()> {
    let mut list = TopicPartitionList::new();
    let added = waiting.iter().try_for_each(|((topic, partition), last)| {
        let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
        list.add_partition_offset(topic, partition, Offset::Offset(last.offset))
    });
    let assigned = added.and_then(|()| consumer.assign(&list));
    assigned.map_err(|error| Error::transient("the topics cannot be assigned").because(error))
}
