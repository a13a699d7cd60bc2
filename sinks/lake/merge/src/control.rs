//! The control table: an empty table whose properties hold the checkpoint of a pipeline and what goes with it.
//!
//! It is written after every table commit that it covers, so it is never ahead of the data. The tables may be ahead of
//! it, after a crash in between: then the source sends again, and the guard drops what is there already.
//!
//! Where the source can share its tables out ([`MergeCheckpoints`]), several processes write it, each what it has moved
//! (`control/merge.rs`). One of them that moves what another has moved since is refused.

mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use uuid::Uuid;
use walbrook_model::{Checkpoint, Error, MergeCheckpoints, Result, Seq};

use crate::format::{LakeCatalog, LakeName, Outcome, TableFormat};
use crate::layout::{LakeField, LakeType, Layout};
use crate::store::{ATTEMPTS, Store, new_commit};

const CHECKPOINT: &str = "walbrook.checkpoint";
const PIPELINE: &str = "walbrook.pipeline";
const VERSION: u32 = 1;
/// Between two attempts to write it while others do: longer with each, and another for each process.
const PAUSE: Duration = Duration::from_millis(10);

/// Generations by the lineage that they belong to.
pub(crate) type Logs = BTreeMap<String, BTreeSet<u16>>;

/// What the control table says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    version: u32,
    /// Name of the pipeline.
    pub(crate) pipeline: String,
    /// The source's checkpoint, opaque to us.
    pub(crate) source: Option<String>,
    /// Every change of the log up to it is covered by `source`, for all tables.
    pub(crate) covered: Seq,
    /// Tables by `schema.name`.
    pub(crate) tables: BTreeMap<String, TableMark>,
    /// Tables that did not take changes which `source` covers.
    pub(crate) gaps: BTreeMap<String, TableGap>,
    /// Tables that did not take changes which `source` does not cover yet: it waits for them. A restart tries again; it is
    /// kept so that an operator can accept the gap that would come of it.
    #[serde(default)]
    pub(crate) stopped: BTreeMap<String, TableGap>,
    /// All logs whose changes are known.
    pub(crate) logs: Logs,
}

/// How far a table was when the checkpoint was written; it can only be further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableMark {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uuid: Uuid,
    pub(crate) commits: u64,
    pub(crate) complete_up_to: Seq,
    /// Every change of the table up to it is covered by `source`: further than what holds for all tables, where several
    /// processes share them.
    #[serde(default)]
    pub(crate) covered: Seq,
}

impl TableMark {
    /// How far a table is now.
    pub(crate) fn of(store: &Store, covered: Seq) -> Self {
        Self {
            namespace: store.name().namespace.clone(),
            name: store.name().name.clone(),
            uuid: store.state().uuid,
            commits: store.record().commits,
            complete_up_to: store.record().complete_up_to,
            covered,
        }
    }
}

/// A table that missed changes. It takes no more until an operator accepts the gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableGap {
    /// The first change that it missed, or the last one before it.
    pub(crate) since: Seq,
    pub(crate) reason: String,
    pub(crate) remedy: Option<String>,
}

/// The control table of one pipeline.
pub(crate) struct Control {
    format: Box<dyn TableFormat>,
    /// What the table says, as this process knows it: as it began, with what it has written since.
    progress: Progress,
    /// `None`: one process writes it.
    sharing: Option<MergeCheckpoints>,
}

impl Control {
    /// Opens the control table; `None` if there is none.
    pub(crate) async fn open(
        catalog: &dyn LakeCatalog,
        name: &LakeName,
        pipeline: &str,
        sharing: Option<MergeCheckpoints>,
    ) -> Result<Option<Self>> {
        let Some(format) = catalog.open(name).await? else { return Ok(None) };
        let on = |error: Error| error.on(format!("lake table {name}"));
        let progress = read(&format.state().properties, pipeline).map_err(on)?;
        Ok(Some(Self { format, progress, sharing }))
    }

    /// Creates the control table, without a checkpoint in it. One that another process has made meanwhile is as good: this
    /// one knows nothing of what it says.
    pub(crate) async fn create(
        catalog: &dyn LakeCatalog,
        name: &LakeName,
        pipeline: &str,
        sharing: Option<MergeCheckpoints>,
    ) -> Result<Self> {
        // A format may not like a table without columns.
        let unused = LakeField {
            id: 1,
            name: "unused".to_owned(),
            ty: LakeType::String,
            required: false,
            initial_default: None,
        };
        let layout = Layout { schema_id: 0, fields: vec![unused], key: Vec::new(), last_id: 1 };
        let properties = BTreeMap::from([(PIPELINE.to_owned(), pipeline.to_owned())]);
        match catalog.create(name, &layout, properties).await {
            Ok(format) => Ok(Self { format, progress: empty(pipeline), sharing }),
            Err(error) if sharing.is_none() => Err(error),
            Err(error) => {
                let made = Self::open(catalog, name, pipeline, sharing).await?.ok_or(error)?;
                Ok(Self { progress: empty(pipeline), ..made })
            }
        }
    }

    /// The identity that tables name as their owner.
    pub(crate) fn uuid(&self) -> Uuid {
        self.format.state().uuid
    }

    /// What is durable, as far as this process knows: of what others write meanwhile it knows nothing.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether several processes may write it.
    pub(crate) fn is_shared(&self) -> bool {
        self.sharing.is_some()
    }

    /// Takes `checkpoint` for what this process knew last.
    pub(crate) fn know(&mut self, checkpoint: Option<&Checkpoint>) {
        self.progress.source = checkpoint.map(|checkpoint| checkpoint.as_str().to_owned());
    }

    /// Every change of a table up to it is covered by the durable checkpoint.
    pub(crate) fn covered(&self, table: &str) -> Seq {
        let own = self.progress.tables.get(table).map(|mark| mark.covered);
        self.progress.covered.max(own.unwrap_or_default())
    }

    /// The durable checkpoint of the source.
    pub(crate) fn checkpoint(&self) -> Option<Checkpoint> {
        self.progress.source.as_deref().map(Checkpoint::new)
    }

    /// Makes `progress` durable: all of it, or where the table is shared, what of it this process has moved.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Transient`] if another process wrote it, or has moved the same: the restart sees what is
    /// there.
    pub(crate) async fn write(&mut self, progress: Progress) -> Result<()> {
        let of_pipeline = |error: Error| error.on(format!("pipeline {}", progress.pipeline));
        for attempt in 1..=ATTEMPTS {
            let next = match self.sharing {
                Some(sharing) => {
                    // What the commit will follow. Behind our own last one may be others already.
                    let theirs = read(&self.format.state().properties, &progress.pipeline).map_err(of_pipeline)?;
                    merge::merge(&self.progress, &progress, &theirs, sharing)?
                }
                None => progress.clone(),
            };
            let mut commit = new_commit();
            let json = serde_json::to_string(&next).map_err(|error| Error::bug("checkpoint").because(error))?;
            let pause = PAUSE * attempt + Duration::from_millis(u64::from(commit.id.as_bytes()[15] % 32));
            commit.properties =
                BTreeMap::from([(PIPELINE.to_owned(), next.pipeline.clone()), (CHECKPOINT.to_owned(), json)]);
            match self.format.commit(commit).await? {
                Outcome::Committed => {
                    self.progress = progress;
                    return Ok(());
                }
                Outcome::Conflict if self.sharing.is_none() => {
                    return Err(of_pipeline(Error::transient("another process of this pipeline wrote its checkpoint"))
                        .remedy("run one process per pipeline"));
                }
                Outcome::Conflict => sleep(pause).await,
            }
        }
        let faster = "other processes of this pipeline wrote their checkpoints faster, again and again";
        Err(of_pipeline(Error::transient(faster)))
    }
}

fn empty(pipeline: &str) -> Progress {
    Progress { version: VERSION, pipeline: pipeline.to_owned(), ..Progress::default() }
}

fn read(properties: &BTreeMap<String, String>, pipeline: &str) -> Result<Progress> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    if properties.get(PIPELINE).is_none_or(|owner| owner != pipeline) {
        return Err(Error::config("a table has the name of this pipeline's checkpoint, and is something else")
            .remedy("rename it, or give the pipeline another name"));
    }
    let Some(json) = properties.get(CHECKPOINT) else { return Ok(empty(pipeline)) };
    let damaged = |error: serde_json::Error| {
        Error::gap("the checkpoint of the pipeline is damaged").because(error).remedy("restore the table's metadata")
    };
    let Version { version } = serde_json::from_str(json).map_err(damaged)?;
    if version != VERSION {
        return Err(Error::config(format!("the checkpoint is of version {version}; this walbrook reads {VERSION}"))
            .remedy("run the version of walbrook that wrote it, or a later one"));
    }
    serde_json::from_str(json).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use walbrook_model::ErrorKind;

    #[test]
    fn a_checkpoint_of_another_version_or_pipeline_is_refused() {
        let check = |pipeline: &str, json: &str, kind: ErrorKind, expected: &str| {
            let properties =
                BTreeMap::from([(PIPELINE.to_owned(), pipeline.to_owned()), (CHECKPOINT.to_owned(), json.to_owned())]);
            let error = read(&properties, "shop").unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(expected), "{error}");
        };
        let known = serde_json::to_string(&empty("shop")).unwrap();
        check("other", &known, ErrorKind::Config, "something else");
        check("shop", &known.replace("\"version\":1", "\"version\":2"), ErrorKind::Config, "version 2");
        check("shop", "{", ErrorKind::Gap, "damaged");
        check("shop", "{\"version\":1}", ErrorKind::Gap, "damaged");
    }

    #[test]
    fn progress_comes_back() {
        let mut progress = empty("shop");
        progress.source = Some("{\"lsn\":\"0/1\"}".to_owned());
        progress.covered = Seq::MAX;
        progress.logs.insert("log".to_owned(), [0, 1].into());
        let gap = TableGap { since: Seq::ZERO, reason: "r".into(), remedy: None };
        progress.gaps.insert("s.t".to_owned(), gap.clone());
        progress.stopped.insert("s.u".to_owned(), gap);
        let json = serde_json::to_string(&progress).unwrap();
        let properties = BTreeMap::from([(PIPELINE.to_owned(), "shop".to_owned()), (CHECKPOINT.to_owned(), json)]);
        assert_eq!(read(&properties, "shop").unwrap(), progress);
    }
}
