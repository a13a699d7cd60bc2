//! Which timeline holds a position of the WAL.
//!
//! A promotion begins a new timeline at a switch point: records that begin below it belong to the old timeline on every
//! server, records at or above it belong to the new one. So a commit that a promoted server sends again keeps the branch,
//! and with it the order token, that it had before.

use walbrook_model::{Error, Result};

use crate::wire::Lsn;

/// The ancestors of a server's timeline, oldest first, and the timeline itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timelines {
    current: u32,
    ancestors: Vec<Switch>,
}

/// A timeline that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switch {
    /// The timeline.
    pub(crate) timeline: u32,
    /// The first position that is not on it.
    pub(crate) end: Lsn,
}

impl Timelines {
    pub(crate) fn new(current: u32, ancestors: Vec<Switch>) -> Self {
        Self { current, ancestors }
    }

    /// Reads the history file of timeline `current`, as `TIMELINE_HISTORY` returns it.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Gap`] if the file is not one: which timeline holds a commit is then unknown.
    pub(crate) fn parse(current: u32, history: &str) -> Result<Self> {
        let mut ancestors: Vec<Switch> = Vec::new();
        for line in history.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let bad = || Error::gap("the server's timeline history cannot be read").on(format!("timeline {current}"));
            let mut fields = line.split_ascii_whitespace();
            let timeline: u32 = fields.next().and_then(|field| field.parse().ok()).ok_or_else(bad)?;
            let end: Lsn = fields.next().and_then(|field| field.parse().ok()).ok_or_else(bad)?;
            let rises = ancestors.last().is_none_or(|last| last.timeline < timeline && last.end <= end);
            if !rises || timeline >= current {
                return Err(bad());
            }
            ancestors.push(Switch { timeline, end });
        }
        Ok(Self { current, ancestors })
    }

    pub(crate) fn current(&self) -> u32 {
        self.current
    }

    pub(crate) fn ancestors(&self) -> &[Switch] {
        &self.ancestors
    }

    /// The timeline that holds the record which begins at `position`.
    pub(crate) fn holding(&self, position: Lsn) -> u32 {
        self.ancestors.iter().find(|switch| position < switch.end).map_or(self.current, |switch| switch.timeline)
    }

    /// Where `timeline` ended; `None` if it is the current one or no ancestor.
    pub(crate) fn end_of(&self, timeline: u32) -> Option<Lsn> {
        self.ancestors.iter().find(|switch| switch.timeline == timeline).map(|switch| switch.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    #[test]
    fn a_switch_point_belongs_to_the_new_timeline() {
        let history = "1\t0/3000060\tno recovery target specified\n\n3\t0/5000000\tbefore 2000-01-01\n";
        let timelines = Timelines::parse(4, history).unwrap();
        for (position, timeline) in
            [("0/1", 1), ("0/300005F", 1), ("0/3000060", 3), ("0/4FFFFFF", 3), ("0/5000000", 4), ("FF/0", 4)]
        {
            assert_eq!(timelines.holding(lsn(position)), timeline, "{position}");
        }
        assert_eq!(timelines.end_of(3), Some(lsn("0/5000000")));
        assert_eq!(timelines.end_of(2), None);
        assert_eq!(timelines.end_of(4), None);
    }

    #[test]
    fn a_file_that_is_no_history_is_a_gap() {
        for history in ["x\t0/1", "1", "1\tzz", "2\t0/2\n1\t0/3", "1\t0/3\n2\t0/2", "4\t0/1"] {
            let error = Timelines::parse(4, history).unwrap_err();
            assert_eq!(error.kind(), walbrook_model::ErrorKind::Gap, "{history}");
        }
        assert_eq!(Timelines::parse(1, "").unwrap().holding(lsn("0/1")), 1);
    }
}
