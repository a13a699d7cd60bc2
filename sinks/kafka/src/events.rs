//! What happened to tables, as log lines and figures of [`Status`].

use tracing::{error, info, warn};
use walbrook_model::Error;

use crate::schemas::Version;
use crate::status::{Status, Stopped};
use crate::topics::Topic;

/// What a batch brought to a table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) changes: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) oversize: u64,
}

/// A version of a table is ready.
pub(crate) fn ready(status: &Status, table: &str, topic: &Topic, version: &Version) {
    let (key_id, value_id) = (version.ids.key, version.ids.value);
    info!(table, topic = topic.name, partitions = topic.partitions, key_id, value_id, "table version ready");
    let left_out = version.envelope.left_out();
    if !left_out.is_empty() {
        warn!(table, columns = left_out.join(", "), "columns whose type has no form are in no message");
    }
    status.table(table, |table| table.versions += 1);
}

/// A table took changes.
pub(crate) fn taken(status: &Status, table: &str, taken: Taken) {
    status.table(table, |table| {
        table.changes += taken.changes;
        table.messages += taken.messages;
        table.bytes += taken.bytes;
        table.oversize += taken.oversize;
    });
}

/// A message went elsewhere, since it is larger than a message may be.
pub(crate) fn oversize(topic: &Topic, partition: u32, bytes: usize, at: &str) {
    warn!(
        topic = topic.name,
        partition, bytes, at, "a message is too large for its topic, which has a notice in its place"
    );
}

/// A table takes no changes any more; the others go on, and the checkpoint waits.
pub(crate) fn stopped(status: &Status, table: &str, why: &Error) {
    error!(table, kind = %why.kind(), error = %why, "table stopped");
    set_stopped(status, table, why);
}

/// The source cannot read a table as it is. Nothing of it is missed: it is read whole when it can be.
pub(crate) fn unread(status: &Status, table: &str, why: &Error) {
    error!(table, kind = %why.kind(), error = %why, "the table cannot be read");
    set_stopped(status, table, why);
}

fn set_stopped(status: &Status, table: &str, why: &Error) {
    let stopped =
        Stopped { reason: reason(why), remedy: why.remedy_text().map(str::to_owned), parked_bytes: 0, gap: false };
    status.table(table, |table| table.stopped = Some(stopped));
}

/// A table was read whole.
pub(crate) fn read(status: &Status, table: &str) {
    status.table(table, |table| table.stopped = None);
}

/// A change came for a stopped table.
pub(crate) fn parked(status: &Status, table: &str, bytes: u64) {
    status.table(table, |table| {
        if let Some(stopped) = &mut table.stopped {
            stopped.parked_bytes += bytes;
        }
    });
}

/// A table has missed changes that the checkpoint covers, or will cover.
pub(crate) fn gap(status: &Status, table: &str, reason: &str, remedy: Option<&str>) {
    error!(table, reason, "table has a gap: the checkpoint goes on without it");
    status.table(table, |table| {
        let stopped = table.stopped.get_or_insert_with(|| Stopped {
            reason: reason.to_owned(),
            remedy: remedy.map(str::to_owned),
            parked_bytes: 0,
            gap: true,
        });
        stopped.gap = true;
    });
}

/// The reason of an error, without its remedy.
pub(crate) fn reason(error: &Error) -> String {
    let text = error.to_string();
    match error.remedy_text() {
        Some(remedy) => text.replace(&format!(" (remedy: {remedy})"), ""),
        None => text,
    }
}
