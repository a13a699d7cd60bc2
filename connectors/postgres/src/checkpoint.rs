//! What our checkpoint holds: how far the source is, as versioned JSON.
//!
//! - `position` is the end of a commit record (or an idle position that the server reported): the source resumes with
//!   the transactions whose commit record begins **at or after** it. Commits lie back to back, so a transaction that
//!   begins to commit exactly at `position` is new.
//! - A version or a field that this build does not know is refused: half of a checkpoint is no checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use walbrook_model::{Checkpoint, Error, Lineage, Result, Seq, TableId};

use crate::tables::fingerprint::Fingerprint;
use crate::timeline::Switch;
use crate::wire::Lsn;

const VERSION: u32 = 2;
/// The oldest version that is read: it has no `fingerprints`.
const VERSION_MIN: u32 = 1;

/// How far the source is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    pub(crate) version: u32,
    /// Of the cluster, as `IDENTIFY_SYSTEM` prints it; empty before the server was asked.
    pub(crate) system_id: String,
    pub(crate) database: String,
    pub(crate) slot: String,
    pub(crate) publication: String,
    /// Its number at the server: a publication that was dropped and created again has another.
    pub(crate) publication_oid: u32,
    /// Raised by each accepted gap.
    pub(crate) generation: u16,
    pub(crate) timeline: u32,
    /// The ancestors of `timeline`.
    pub(crate) history: Vec<Switch>,
    pub(crate) phase: Phase,
    pub(crate) position: Lsn,
    /// The last transaction with rows that was handed over.
    pub(crate) last_commit: Option<Commit>,
    /// The highest order token that was handed over up to here.
    pub(crate) emitted_max: Seq,
    /// What operators accepted, oldest first.
    pub(crate) gaps: Vec<AcceptedGap>,
    /// Written by [`Progress::checkpoint_with`].
    #[serde(skip_serializing)]
    pub(crate) tables: Vec<TableProgress>,
    /// How tables looked, by number. Written by [`Progress::checkpoint_with`].
    #[serde(default, skip_serializing)]
    pub(crate) fingerprints: BTreeMap<u32, Fingerprint>,
}

/// The tables' part of a checkpoint, as fields of its object, written once for many: it is large and seldom changes.
#[derive(Clone, Debug)]
pub(crate) struct TablesJson(String);

/// What the source does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The slot is about to be made; a slot that exists was made by us and nothing was read from it.
    Intent,
    /// Tables are read; the slot holds the log from `position` on.
    Snapshot,
    /// All tables are read.
    Stream,
}

/// A transaction's end: enough to recognise it when the server sends it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commit {
    /// Where the commit record begins.
    pub(crate) final_lsn: Lsn,
    /// Where it ends.
    pub(crate) end_lsn: Lsn,
    pub(crate) xid: u32,
    pub(crate) committed_at_us: i64,
}

/// One table's part of the snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableProgress {
    pub(crate) oid: u32,
    pub(crate) table: TableId,
    /// The slice that the table is or was read at: streamed changes at or below it are not handed over.
    pub(crate) slice: Seq,
    /// Whether all of it was read.
    pub(crate) finished: bool,
    /// Its membership in the publication: another one means that changes were not published in between.
    pub(crate) member: Option<u32>,
}

/// A gap that an operator accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcceptedGap {
    pub(crate) reason: String,
    pub(crate) at_us: i64,
    /// The generation that it began.
    pub(crate) generation: u16,
    /// Where the log was left.
    pub(crate) left_at: Lsn,
}

impl Progress {
    /// A pipeline that has not begun.
    pub(crate) fn intent(settings: &walbrook_config::Postgres) -> Self {
        Self {
            version: VERSION,
            system_id: String::new(),
            database: settings.database.clone(),
            slot: settings.slot.clone(),
            publication: settings.publication.clone(),
            publication_oid: 0,
            generation: 0,
            timeline: 0,
            history: Vec::new(),
            phase: Phase::Intent,
            position: Lsn::default(),
            last_commit: None,
            emitted_max: Seq::ZERO,
            gaps: Vec::new(),
            tables: Vec::new(),
            fingerprints: BTreeMap::new(),
        }
    }

    /// As the checkpoint that the sink keeps.
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub(crate) fn to_checkpoint(&self) -> Result<Checkpoint> {
        self.checkpoint_with(&self.tables_json()?)
    }

    /// The tables' part of [`Progress::to_checkpoint`].
    pub(crate) fn tables_json(&self) -> Result<TablesJson> {
        let mut json = String::from(",\"tables\":");
        json.push_str(&serde_json::to_string(&self.tables).map_err(no_json)?);
        if !self.fingerprints.is_empty() {
            json.push_str(",\"fingerprints\":");
            json.push_str(&serde_json::to_string(&self.fingerprints).map_err(no_json)?);
        }
        Ok(TablesJson(json))
    }

    /// As [`Progress::to_checkpoint`], if `tables` are still the ones of this progress.
    pub(crate) fn checkpoint_with(&self, tables: &TablesJson) -> Result<Checkpoint> {
        let mut json = serde_json::to_string(self).map_err(no_json)?;
        // The object is not closed yet.
        json.truncate(json.len().saturating_sub(1));
        json.reserve_exact(tables.0.len() + 1);
        json.push_str(&tables.0);
        json.push('}');
        Ok(Checkpoint::new(json))
    }

    /// From the sink's checkpoint.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if this build does not know its version or it is no checkpoint of this
    /// source.
    pub(crate) fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let unreadable = |error| {
            Error::config("the sink's checkpoint is not one of a PostgreSQL source")
                .because(error)
                .remedy("run the version of walbrook that wrote it, or name another pipeline")
        };
        let Versioned { version } = serde_json::from_str(checkpoint.as_str()).map_err(unreadable)?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(Error::config(format!(
                "the sink's checkpoint has version {version}, this walbrook knows version {VERSION}"
            ))
            .remedy("run the version of walbrook that wrote it, or a newer one"));
        }
        let progress: Self = serde_json::from_str(checkpoint.as_str()).map_err(unreadable)?;
        Ok(Self { version: VERSION, ..progress })
    }

    /// The log that it speaks of.
    pub(crate) fn lineage(&self) -> Lineage {
        Lineage::new(format!("postgresql/{}/{}", self.system_id, self.database))
    }

    /// The entry of a table.
    pub(crate) fn table(&self, oid: u32) -> Option<&TableProgress> {
        self.tables.iter().find(|table| table.oid == oid)
    }
}

fn no_json(error: serde_json::Error) -> Error {
    Error::bug("a checkpoint has no JSON").because(error)
}

/// The position of a checkpoint, as a byte of the log: every transaction that committed before it is covered.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Config`] if it is no checkpoint of this source or of another version.
pub fn checkpoint_position(checkpoint: &Checkpoint) -> Result<u64> {
    Progress::from_checkpoint(checkpoint).map(|progress| progress.position.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use walbrook_model::ErrorKind;

    pub(crate) fn progress() -> Progress {
        Progress {
            version: VERSION,
            system_id: "7301".into(),
            database: "shop".into(),
            slot: "walbrook_a".into(),
            publication: "walbrook_a".into(),
            publication_oid: 16_500,
            generation: 2,
            timeline: 3,
            history: vec![Switch { timeline: 1, end: Lsn(0x100) }],
            phase: Phase::Stream,
            position: Lsn(0x2_0000_0500),
            last_commit: Some(Commit {
                final_lsn: Lsn(0x2_0000_0400),
                end_lsn: Lsn(0x2_0000_0430),
                xid: 77,
                committed_at_us: 1_700_000_000_000_000,
            }),
            emitted_max: Seq::new(2, 3, 0x2_0000_0400, 9).unwrap(),
            tables: vec![TableProgress {
                oid: 16_384,
                table: TableId::new("public", "order \"x\""),
                slice: Seq::new(2, 3, 0x2_0000_0300, 0).unwrap(),
                finished: true,
                member: Some(16_501),
            }],
            fingerprints: BTreeMap::from([(16_384, Fingerprint::default())]),
            gaps: vec![AcceptedGap { reason: "restored".into(), at_us: 5, generation: 2, left_at: Lsn(0x50) }],
        }
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was_written() {
        for phase in [Phase::Intent, Phase::Snapshot, Phase::Stream] {
            let written = Progress { phase, ..progress() };
            assert_eq!(Progress::from_checkpoint(&written.to_checkpoint().unwrap()).unwrap(), written);
        }
    }

    #[test]
    fn a_checkpoint_of_the_version_before_is_read() {
        let without = Progress { fingerprints: BTreeMap::new(), ..progress() };
        let json = without.to_checkpoint().unwrap().as_str().replace("\"version\":2", "\"version\":1");
        assert!(!json.contains("fingerprints"));
        assert_eq!(Progress::from_checkpoint(&Checkpoint::new(json)).unwrap(), without);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let json = progress().to_checkpoint().unwrap().as_str().to_owned();
        let cases = [
            (json.replace("\"version\":2", "\"version\":3"), "version 3"),
            (json.replace("\"version\":2", "\"version\":2,\"shard\":4"), "unknown field"),
            (json.replace("\"stream\"", "\"rewind\""), "unknown variant"),
            ("{}".to_owned(), "missing field"),
            ("gtid".to_owned(), "not one of a PostgreSQL source"),
        ];
        for (json, wanted) in cases {
            let error = Progress::from_checkpoint(&Checkpoint::new(json.clone())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{json}");
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}
