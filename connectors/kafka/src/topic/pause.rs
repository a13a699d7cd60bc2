//! What a topic waits for: a schema, a log that is let in, or the capture's word on what its other partitions hold.

use std::time::{Duration, Instant};

use walbrook_model::{Error, Seq};

use super::Topic;
use crate::events;

const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A capture that runs writes its records more often.
const RECORDS_MAX: Duration = Duration::from_secs(30);

/// A schema was not to be had, or a log is not let in, and the message that needs it has not been read since.
#[derive(Debug)]
pub(super) struct Waits {
    /// `None`: it is tried again.
    until: Option<Instant>,
    pause: Duration,
}

/// Its least head may not go, since another partition might hold something older.
#[derive(Debug)]
pub(super) struct Blocked {
    head: Seq,
    since: Instant,
    told: bool,
}

impl Topic {
    /// Until when it is not read.
    pub(crate) fn waits_until(&self) -> Option<Instant> {
        self.waits.as_ref().and_then(|waits| waits.until)
    }

    /// Says it, if it has waited for long for a record of the capture.
    pub(crate) fn tell_waiting(&mut self, now: Instant) {
        let Some(head) = self.merge.blocked() else {
            self.blocked = None;
            return;
        };
        match &mut self.blocked {
            Some(blocked) if blocked.head == head => {
                if !blocked.told && now >= blocked.since + RECORDS_MAX {
                    blocked.told = true;
                    events::waits_for_records(&self.name);
                }
            }
            blocked => *blocked = Some(Blocked { head, since: now, told: false }),
        }
    }

    /// Lets it be read again, if its pause is over.
    pub(crate) fn try_again(&mut self, now: Instant) {
        if let Some(waits) = self.waits.as_mut().filter(|waits| waits.until.is_some_and(|until| until <= now)) {
            waits.until = None;
        }
    }

    pub(super) fn wait(&mut self, error: &Error) {
        let pause = self.waits.as_ref().map_or(PAUSE_FIRST, |waits| (waits.pause * 2).min(PAUSE_MAX));
        self.counts.waits += 1;
        events::waits(&self.name, error, pause);
        self.waits = Some(Waits { until: Some(Instant::now() + pause), pause });
    }
}
