//! What the source shows of itself: for metrics, probes and people.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use walbrook_letters::Reason;
use walbrook_model::Seq;

/// What the source is doing, and how far it is. Shared by reference.
#[derive(Debug, Default)]
pub struct Status {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    covered: Option<Seq>,
    complete_until_us: Option<i64>,
    topics: BTreeMap<String, TopicStatus>,
}

/// What the source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Connects and checks the topics.
    #[default]
    Starting,
    /// Reads the topics.
    Streaming,
    /// Lost the brokers, or the registry, and tries again.
    Reconnecting,
    /// Continuity of a topic is not proven.
    Gap,
    /// Ended.
    Stopped,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Streaming, Self::Reconnecting, Self::Gap, Self::Stopped];

    /// The name used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Streaming => "streaming",
            Self::Reconnecting => "reconnecting",
            Self::Gap => "gap",
            Self::Stopped => "stopped",
        }
    }
}

/// How far a topic is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicStatus {
    /// Messages read since the start of the process.
    pub messages: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Tombstones among them that came behind their own delete, and control messages that said nothing new.
    pub redundant: u64,
    /// Messages that could not be decoded or stored, or build on one: the first of them stops the table, or all are put aside.
    pub undecodable: u64,
    /// Those that were put aside, by reason.
    pub letters: BTreeMap<Reason, u64>,
    /// Messages that were put aside and are missing still, not since the start of the process but in all; `None`: it has not
    /// been told.
    pub open_letters: Option<u64>,
    /// Messages that were left out because the table has stopped.
    pub left_out: u64,
    /// How often it had to wait: for a schema that the registry did not give, or for a log that no record lets in.
    pub waits: u64,
    /// Messages that are in the topic and not read yet; `None` before the brokers said it.
    pub lag_messages: Option<u64>,
    /// The time of the newest message read (milliseconds since 1970); `None` before the first.
    pub newest_at_ms: Option<i64>,
    /// The fewest messages that retention may remove from a partition before one is lost to us; `None` before the brokers
    /// said it.
    pub reserve_messages: Option<u64>,
}

impl TopicStatus {
    /// How old the newest message read is, while there are others that are not read; 0 if there are none.
    pub fn lag_ms(&self, now_ms: i64) -> u64 {
        match (self.lag_messages, self.newest_at_ms) {
            (Some(1..), Some(at_ms)) => u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0),
            _ => 0,
        }
    }
}

/// What librdkafka tells every two seconds, as far as it is needed.
#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow)]
    topics: HashMap<&'a str, TopicStatistics<'a>>,
}

#[derive(Deserialize)]
struct TopicStatistics<'a> {
    #[serde(borrow)]
    partitions: HashMap<&'a str, PartitionStatistics<'a>>,
}

#[derive(Deserialize)]
struct PartitionStatistics<'a> {
    fetch_state: &'a str,
    app_offset: i64,
    lo_offset: i64,
    /// The end of what is committed.
    ls_offset: i64,
}

impl Status {
    /// What the source is doing.
    pub fn state(&self) -> State {
        self.lock().state
    }

    /// Every change at or below it was handed over; `None` while that is not known.
    pub fn covered(&self) -> Option<Seq> {
        self.lock().covered
    }

    /// The clock of the log's source at the newest moment up to which everything was handed over, microseconds since 1970;
    /// `None` while that is not known.
    pub fn complete_until_us(&self) -> Option<i64> {
        self.lock().complete_until_us
    }

    /// How far each topic is.
    pub fn topics(&self) -> BTreeMap<String, TopicStatus> {
        self.lock().topics.clone()
    }

    pub(crate) fn set_state(&self, state: State) {
        self.lock().state = state;
    }

    pub(crate) fn set_watermark(&self, covered: Option<Seq>, complete_until_us: Option<i64>) {
        let mut inner = self.lock();
        inner.covered = covered;
        inner.complete_until_us = complete_until_us;
    }

    /// Adds what was read of a topic.
    pub(crate) fn count(&self, topic: &str, counts: &TopicStatus) {
        let mut inner = self.lock();
        if !inner.topics.contains_key(topic) {
            inner.topics.insert(topic.to_owned(), TopicStatus::default());
        }
        let Some(sum) = inner.topics.get_mut(topic) else { return };
        sum.messages += counts.messages;
        sum.bytes += counts.bytes;
        sum.redundant += counts.redundant;
        sum.undecodable += counts.undecodable;
        for (reason, count) in &counts.letters {
            *sum.letters.entry(*reason).or_default() += count;
        }
        sum.open_letters = counts.open_letters.or(sum.open_letters);
        sum.left_out += counts.left_out;
        sum.waits += counts.waits;
        sum.newest_at_ms = sum.newest_at_ms.max(counts.newest_at_ms);
    }

    pub(crate) fn take_statistics(&self, json: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics<'_>>(json) else { return };
        let mut inner = self.lock();
        for (name, topic) in statistics.topics {
            let Some(known) = inner.topics.get_mut(name) else { continue };
            let read = || topic.partitions.values().filter(|partition| partition.fetch_state == "active");
            let difference = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
            let told = |partition: &&PartitionStatistics<'_>| partition.app_offset >= 0 && partition.ls_offset >= 0;
            known.lag_messages = Some(read().filter(told).map(|p| difference(p.app_offset, p.ls_offset)).sum());
            let reserve = |p: &PartitionStatistics<'_>| difference(p.lo_offset, p.app_offset);
            known.reserve_messages = read().filter(told).filter(|p| p.app_offset < p.ls_offset).map(reserve).min();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_is_committed_and_not_read() {
        let status = Status::default();
        status.count("t", &TopicStatus { messages: 3, newest_at_ms: Some(1_000), ..TopicStatus::default() });
        let partition = |state: &str, app: i64, low: i64, end: i64| {
            format!(
                r#"{{"fetch_state":"{state}","app_offset":{app},"lo_offset":{low},"ls_offset":{end},"hi_offset":99,"more":[]}}"#
            )
        };
        let json = format!(
            r#"{{"name":"x","topics":{{"t":{{"topic":"t","partitions":{{"0":{},"1":{},"2":{},"-1":{}}}}},"u":{{"partitions":{{}}}}}}}}"#,
            partition("active", 7, 5, 9),
            partition("active", 9, 0, 9),
            partition("active", -1001, -1001, -1001),
            partition("none", -1001, -1001, -1001),
        );
        status.take_statistics(json.as_bytes());
        let topic = status.topics().remove("t").unwrap();
        assert_eq!((topic.lag_messages, topic.reserve_messages), (Some(2), Some(2)));
        assert_eq!((topic.lag_ms(1_500), topic.lag_ms(0)), (500, 0));
        status.take_statistics(b"{");
        assert_eq!(TopicStatus { lag_messages: Some(0), ..topic }.lag_ms(1_500), 0);
        assert!(!status.topics().contains_key("u"));
    }
}
