//! Change topics in use: their partitions, pinned at the first message, and their places in the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use walbrook_envelope::PublishedTopic;
use walbrook_model::{Error, Result, TableId};

use crate::claims::{Claims, Writer};
use crate::cluster::{Cluster, Reach, on};
use crate::producer::{Producer, Target};
use crate::settings::Settings;

/// A topic that is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// How many partitions are written to: those that it had at the first message. Later ones are ignored, or keys would
    /// move between partitions.
    pub(crate) partitions: u32,
    /// The first one's place in the ledger.
    pub(crate) place: u32,
    /// Whose changes it has.
    pub(crate) table: Option<TableId>,
}

impl Topic {
    /// A partition of it.
    pub(crate) fn target(&self, partition: u32) -> Target<'_> {
        Target { topic: &self.name, partition, place: self.place + partition }
    }
}

/// Topics of a run.
pub(crate) struct Topics {
    cluster: Cluster,
    open: BTreeMap<String, Arc<Topic>>,
    claims: Claims,
    /// Whether there was a checkpoint at the start.
    resumed: bool,
}

impl Topics {
    /// Takes up the topics that the checkpoint knows.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Gap`] if one is gone, has less than the checkpoint says, or would be left for another;
    /// [`walbrook_model::ErrorKind::Config`] if the settings mean it for something else.
    pub(crate) async fn resume(
        cluster: Cluster,
        known: &BTreeMap<String, PublishedTopic>,
        resumed: bool,
        settings: &Settings,
        producer: &Producer,
    ) -> Result<Self> {
        let mut claims = Claims::new(settings);
        claims.resume(known, settings)?;
        let mut topics = Self { cluster, open: BTreeMap::new(), claims, resumed };
        for (name, known) in known {
            if check(&topics.cluster, name, known).await? {
                topics.add(name, known.table.clone(), &known.ends, producer)?;
            }
        }
        Ok(topics)
    }

    /// Notes that `writer` is to write to a topic of this name, before anything else knows of it.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if another has a topic of this name.
    pub(crate) fn claim(&mut self, name: &str, writer: &Writer) -> Result<()> {
        self.claims.claim(name, writer)
    }

    /// The topic of this name for `writer`, which is made if it is missing.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Gap`] if it holds messages although there was no checkpoint,
    /// [`walbrook_model::ErrorKind::Data`] if another has a topic of this name.
    pub(crate) async fn open(
        &mut self,
        name: &str,
        writer: &Writer,
        partitions: u32,
        settings: &Settings,
        producer: &Producer,
    ) -> Result<Arc<Topic>> {
        self.claim(name, writer)?;
        let table = writer.table();
        if let Some(topic) = self.open.get_mut(name) {
            if topic.table.as_ref() != table {
                // After a gap that was accepted the checkpoint says no table.
                *topic = Arc::new(Topic { table: table.cloned(), ..(**topic).clone() });
            }
            return Ok(topic.clone());
        }
        let ends = if let Some(partitions) = self.cluster.partitions(name).await? {
            let reach = self.cluster.reach(name, partitions).await?;
            // Without a checkpoint nobody knows what of the table the log will bring again.
            if !self.resumed && reach.iter().any(|reach| reach.high > reach.low) {
                return Err(Error::gap("the topic holds messages, but the pipeline has no checkpoint")
                    .on(on(name))
                    .remedy("delete the topic, or walbrook gap accept --reason \"...\" to take a snapshot into it"));
            }
            reach.iter().map(|reach| reach.high).collect()
        } else {
            let partitions = self.cluster.make(name, &settings.change_topic(partitions)).await?;
            tracing::info!(topic = name, partitions, "topic made");
            vec![0; partitions as usize]
        };
        self.add(name, table.cloned(), &ends, producer)
    }

    /// The topic of dead letters, beside those of changes: the checkpoint says nothing of it.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if another has a topic of this name.
    pub(crate) async fn open_beside(
        &mut self,
        name: &str,
        settings: &Settings,
        producer: &Producer,
    ) -> Result<Arc<Topic>> {
        self.claim(name, &Writer::LETTERS)?;
        let partitions = match self.cluster.partitions(name).await? {
            Some(partitions) => partitions,
            None => self.cluster.make(name, &settings.letter_topic()).await?,
        };
        let place = producer.add_places(&vec![0; partitions as usize])?;
        Ok(Arc::new(Topic { name: name.to_owned(), partitions, place, table: None }))
    }

    /// A setting of a topic; `None` if the brokers do not say it.
    pub(crate) async fn setting(&self, topic: &str, setting: &str) -> Result<Option<String>> {
        let mut all = self.cluster.settings(&[topic.to_owned()]).await?;
        Ok(all.remove(topic).and_then(|mut settings| settings.remove(setting)))
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.open.values().cloned().collect()
    }

    /// How many there are, and of how many the table is known.
    pub(crate) fn count(&self) -> [usize; 2] {
        [self.open.len(), self.open.values().filter(|topic| topic.table.is_some()).count()]
    }

    fn add(&mut self, name: &str, table: Option<TableId>, ends: &[i64], producer: &Producer) -> Result<Arc<Topic>> {
        let place = producer.add_places(ends)?;
        let partitions = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        let topic = Arc::new(Topic { name: name.to_owned(), partitions, place, table });
        self.open.insert(name.to_owned(), topic.clone());
        Ok(topic)
    }
}

/// Looks whether a topic is as the checkpoint had it, or further; `false`: it is gone, but nothing had been written to it.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Gap`] if it is not.
pub(crate) async fn check(cluster: &Cluster, name: &str, known: &PublishedTopic) -> Result<bool> {
    let gap = |what: String| {
        Error::gap(format!("the checkpoint knows this topic, but {what}"))
            .on(on(name))
            .remedy("walbrook gap accept --reason \"...\" takes a new snapshot")
    };
    let Some(partitions) = cluster.partitions(name).await? else {
        return if known.ends.iter().all(|end| *end == 0) { Ok(false) } else { Err(gap("it is gone".to_owned())) };
    };
    if partitions < known.partitions {
        return Err(gap(format!("it has {partitions} partitions, not {}", known.partitions)));
    }
    let reach = cluster.reach(name, known.partitions).await?;
    let back = reach.iter().zip(&known.ends).position(|(Reach { high, .. }, end)| high < end);
    match back {
        None => Ok(true),
        Some(partition) => {
            Err(gap(format!("partition {partition} ends before what was written: it was made anew or lost")))
        }
    }
}
