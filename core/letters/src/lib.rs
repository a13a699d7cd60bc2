//! Dead letters of Kafka: messages that could not be decoded or stored, or were too large for their topic. Both ends of Kafka have them.
//!
//! ```text
//! source: undecodable ── outbox ──┐                       ┌── replay ──> topic and partition that it is of
//!                                 ├──> dead-letter topic ─┤              (bytes and headers as they were)
//! sink: too large ────────────────┘    or folder          └── discard ─> a message that says that it was none
//! ```
//!
//! - A letter holds key, value and headers as they were; what is said about it stands in headers of its own, which are taken
//!   off when it is sent again.
//! - Sending again is harmless: the merge's guard judges the message by its order token, or by its `source` block.
//! - What was sent again is remembered as the position of a consumer group, or as a file beside the letter's.

mod folder;
mod letter;
mod outbox;
mod replay;
mod sender;
mod topic;

pub use folder::{Folder, Large};
pub use letter::{
    ANSWERS, Answers, DISCARDED, KEY, Letter, OVERSIZE, OVERSIZE_BYTES, OVERSIZE_FILE, OVERSIZE_TOPIC, ReadHeader,
    Reason, headers_of,
};
pub use outbox::{Outbox, Refused};
pub use replay::{Order, Replay, Report};
pub use topic::{TOPIC_BYTES_MAX, prepare, settings};
