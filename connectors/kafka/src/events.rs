//! What happens in this source, as log lines.

use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use tracing::{debug, error, info, warn};
use walbrook_letters::Reason;
use walbrook_model::{Error, Seq};

pub(crate) fn started(topics: usize, partitions: usize, resumed: bool) {
    info!(topics, partitions, resumed, "topics are read");
}

pub(crate) fn topic_found(topic: &str, partitions: usize) {
    info!(topic, partitions, "topic appeared, it is read from its beginning");
}

pub(crate) fn topic_missing(name: &str) {
    warn!(topic = name, "no such topic yet, it is read once it is there");
}

pub(crate) fn slice_complete(topic: &str, slice: Seq) {
    info!(topic, %slice, "the end of the snapshot is in all partitions");
}

pub(crate) fn table_stopped(topic: &str, error: &Error) {
    error!(topic, %error, "a message cannot be decoded or stored: the table stops, other topics go on");
}

pub(crate) fn put_aside(topic: &str, place: (usize, i64), reason: Reason, error: &Error, open: usize) {
    let (partition, offset) = place;
    error!(
        topic,
        partition,
        offset,
        %reason,
        error = error.message(),
        about = error.object(),
        open,
        "a message is put aside among the dead letters: its table lacks it until walbrook replay"
    );
}

pub(crate) fn letters_open(topic: &str, open: usize) {
    warn!(topic, open, "dead letters are missing: the table is not complete");
}

pub(crate) fn letters_closed(topic: &str) {
    info!(topic, "no dead letter of the topic is missing any more");
}

pub(crate) fn waits(topic: &str, error: &Error, pause: Duration) {
    warn!(topic, %error, pause_ms = pause.as_millis(), "the topic waits, others go on");
}

pub(crate) fn waits_for_records(topic: &str) {
    warn!(
        topic,
        "changes wait for a checkpoint of the capture, which must say that nothing older is to come: look whether it runs, \
         whether a table of it has stopped, and whether source.kafka.capture is its name"
    );
}

pub(crate) fn record_refused(topic: &str, error: &Error) {
    warn!(topic, %error, "a checkpoint of the capture is not understood: how complete the tables are is not known");
}

pub(crate) fn order_is_weak(topic: &str) {
    warn!(
        topic,
        "messages without an order token of ours: order comes from their source block, which does not show a failover, and \
         a second snapshot does not repair rows"
    );
}

pub(crate) fn gap_found(error: &Error) {
    error!(%error, "continuity of a topic is not proven");
}

pub(crate) fn client_says(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            warn!(facility, "client: {message}");
        }
        _ => debug!(facility, "client: {message}"),
    }
}

pub(crate) fn client_error(error: &KafkaError, reason: &str) {
    warn!(%error, "brokers: {reason}");
}

pub(crate) fn gap_accepted(topic: &str, gap: &Error) {
    warn!(topic, %gap, "gap accepted, the topic is read on from what it has");
}

pub(crate) fn assigned(group: &str, topics: usize) {
    info!(group, topics, "the consumer group has given us topics");
}

pub(crate) fn not_released(group: &str) {
    warn!(group, "the sink takes long: the consumer group may have given our topics to another process");
}
