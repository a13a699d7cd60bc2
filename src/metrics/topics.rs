//! What topics show that are read.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use walbrook_letters::Reason;
use walbrook_source_kafka::{SourceState, Status, TopicStatus};

use super::{Labels, Page, flag, number};
use crate::progress::seconds_since;

/// Writes the metrics of a source of topics.
pub(super) fn write(page: &mut Page<'_>, source: &Status) -> fmt::Result {
    let state = source.state();
    page.gauges(
        "source_state",
        "1 for the state that the source is in",
        SourceState::ALL.map(|known| (vec![("state", known.as_str().to_owned())], flag(known == state))),
    )?;
    page.gauge(
        "source_lag_seconds",
        "Age of the newest moment up to which everything was read from the source",
        source.complete_until_us().map(seconds_since),
    )?;
    let topics = source.topics();
    let label = |topic: &str| -> Labels { vec![("topic", topic.to_owned())] };
    let counts = |value: fn(&TopicStatus) -> u64| {
        topics.iter().map(|(topic, status)| (label(topic), value(status))).collect::<Vec<_>>()
    };
    page.counters("topic_messages", "Messages read", counts(|topic| topic.messages))?;
    page.counters("topic_message_bytes", "Bytes of keys and values read", counts(|topic| topic.bytes))?;
    page.counters(
        "topic_redundant_messages",
        "Messages that said nothing new: tombstones behind their delete, ends of slices that came again",
        counts(|topic| topic.redundant),
    )?;
    page.counters(
        "topic_undecodable_messages",
        "Messages that could not be decoded or stored; the first of a topic stops its table, unless they are put aside",
        counts(|topic| topic.undecodable),
    )?;
    page.counters(
        "topic_dead_letters",
        "Messages that were put aside among the dead letters, by reason",
        topics.iter().flat_map(|(topic, status)| {
            let of_reason = |(reason, count): (&Reason, &u64)| {
                (vec![("topic", topic.clone()), ("reason", reason.as_str().to_owned())], *count)
            };
            status.letters.iter().map(of_reason)
        }),
    )?;
    page.counters(
        "topic_left_out_messages",
        "Messages that were left out because their table has stopped",
        counts(|topic| topic.left_out),
    )?;
    page.counters(
        "topic_waits",
        "Pauses of the topic: for a schema, or for the record that lets a log in",
        counts(|topic| topic.waits),
    )?;
    let gauges = |value: &dyn Fn(&TopicStatus) -> Option<u64>| {
        let all = topics.iter().filter_map(|(topic, status)| Some((label(topic), number(value(status)?))));
        all.collect::<Vec<_>>()
    };
    page.gauges(
        "topic_open_letters",
        "Dead letters that have not come again and were not given up: with one, the table is not complete",
        gauges(&|topic| topic.open_letters),
    )?;
    page.gauges(
        "topic_lag_messages",
        "Messages that are in the topic and not read yet",
        gauges(&|topic| topic.lag_messages),
    )?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    #[allow(clippy::cast_precision_loss, reason = "seconds, for graphs")]
    page.gauges(
        "topic_lag_seconds",
        "Age of the newest message read, while there are others that are not; 0 if there are none",
        topics.iter().map(|(topic, status)| (label(topic), status.lag_ms(now_ms) as f64 / 1e3)),
    )?;
    page.gauges(
        "topic_reserve_messages",
        "The fewest messages that retention may remove from a partition before one is lost; absent where all are read",
        gauges(&|topic| topic.reserve_messages),
    )
}
