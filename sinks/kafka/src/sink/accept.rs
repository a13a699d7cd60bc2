//! Gaps that the topics show, and the way on that an operator chose.

use std::collections::BTreeMap;
use std::sync::Arc;

use walbrook_envelope::{PublishedCheckpoint, PublishedTopic};
use walbrook_model::{Checkpoint, Error, ErrorKind, Lineage, Result};

use super::Setup;
use crate::claims::{Claims, check_name};
use crate::cluster::Cluster;
use crate::keeper::Recorder;
use crate::producer::Producer;
use crate::topics;

/// How often the transactional id is taken to accept a gap.
const ATTEMPTS: u32 = 10;

impl Setup {
    /// See [`super::KafkaSink::find_gap`].
    pub(super) async fn find_gap(&self) -> Result<Option<Error>> {
        let journal = self.journal()?;
        let record = match journal.newest().await {
            Ok(record) => record.unwrap_or_else(PublishedCheckpoint::empty),
            Err(error) if error.kind() == ErrorKind::Gap => return Ok(Some(error)),
            Err(error) => return Err(error),
        };
        if let Err(error) = Claims::new(&self.settings).resume(&record.topics, &self.settings) {
            return if error.kind() == ErrorKind::Gap { Ok(Some(error)) } else { Err(error) };
        }
        for (name, known) in &record.topics {
            match topics::check(&journal.cluster, name, known).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Gap => return Ok(Some(error)),
                Err(error) => return Err(error),
            }
        }
        let missed = record.gaps.iter().chain(&record.stopped).next();
        Ok(missed.map(|(label, gap)| Error::gap(gap.reason.clone()).on(format!("table {label}"))))
    }

    /// See [`super::KafkaSink::accept_gap`]. A daemon that waits in the gap takes the transactional id at each of its looks:
    /// then it is taken again.
    pub(super) async fn accept_gap(
        &self,
        checkpoint: Option<Checkpoint>,
        lineage: &Lineage,
        generation: u16,
    ) -> Result<()> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.write_accepted(checkpoint.as_ref(), lineage, generation).await {
                Err(error) if error.kind() == ErrorKind::Fenced && attempts < ATTEMPTS => {}
                result => return result,
            }
        }
    }

    async fn write_accepted(&self, checkpoint: Option<&Checkpoint>, lineage: &Lineage, generation: u16) -> Result<()> {
        let journal = self.journal()?;
        journal.prepare(self.settings.sink.topics.replication_factor).await?;
        let settings = self.settings.checkpoint_producer();
        let producer = Arc::new(Producer::new(&settings, &self.listener, self.settings.sink.buffer_bytes)?);
        producer.init_transactions().await?;
        let mut record = match journal.newest().await {
            Ok(record) => record.unwrap_or_else(PublishedCheckpoint::empty),
            // A damaged record is a gap too, and this is the way out of it.
            Err(error) if error.kind() == ErrorKind::Gap => PublishedCheckpoint::empty(),
            Err(error) => return Err(error),
        };
        let later = record.logs.values().flatten().find(|known| **known > generation);
        if let Some(later) = later {
            return Err(Error::config(format!("messages of generation {later} were written, later than {generation}"))
                .on(format!("pipeline {}", self.settings.pipeline.name))
                .remedy("accept the gap with the checkpoint that the checkpoint topic has"));
        }
        record.source = checkpoint.map(|checkpoint| checkpoint.as_str().to_owned());
        record.gaps.clear();
        record.stopped.clear();
        record.logs.entry(lineage.as_str().to_owned()).or_default().insert(generation);
        // Nothing is written to those that have another name now; readers need not wait for them.
        let is_left = |name: &str, topic: &PublishedTopic| {
            topic.table.as_ref().is_some_and(|table| check_name(name, table, &self.settings).is_err())
        };
        record.topics.retain(|name, topic| !is_left(name, topic));
        record.topics = as_they_are(&journal.cluster, record.topics).await?;
        let recorder = Recorder {
            place: producer.add_places(&[0])?,
            producer: producer.clone(),
            topic: journal.topic,
            pipeline: journal.pipeline,
            instance: record.instance.clone(),
        };
        producer.begin()?;
        recorder.write_record(&record).await?;
        producer.commit().await
    }
}

/// The topics that are there, with the partitions that they were known with as far as they have them. Every table is read
/// again, and takes its topic then.
async fn as_they_are(
    cluster: &Cluster,
    known: BTreeMap<String, PublishedTopic>,
) -> Result<BTreeMap<String, PublishedTopic>> {
    let mut found = BTreeMap::new();
    for (name, topic) in known {
        let Some(partitions) = cluster.partitions(&name).await? else { continue };
        let partitions = partitions.min(topic.partitions);
        let ends = cluster.reach(&name, partitions).await?.into_iter().map(|reach| reach.high).collect();
        found.insert(name, PublishedTopic { partitions, ends, ..PublishedTopic::default() });
    }
    Ok(found)
}
