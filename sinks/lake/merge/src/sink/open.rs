//! Tables on their way into our hands: at the start those that the checkpoint knows, then each at its first change.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use uuid::Uuid;
use walbrook_config::TableMode;
use walbrook_model::{Change, Checkpoint, Error, ErrorKind, Lineage, Result, Seq, TableId, TableSchema};

use super::{Entry, Run, Setup, Stop};
use crate::control::{Control, TableGap, TableMark};
use crate::events;
use crate::format::LakeName;
use crate::properties::Owner;
use crate::store::{ATTEMPTS, Store};
use crate::table::Table;

/// Namespace of the control table where `[sink.lake] namespace` is not set.
const CONTROL_NAMESPACE: &str = "walbrook";

impl Setup {
    /// Opens the control table and looks at every table that it knows.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Gap`] if a table is gone, another one, or further back than the checkpoint.
    pub(super) async fn start(&self) -> Result<Run> {
        self.status.restart();
        let control = self.open_control().await?;
        let progress = control.as_ref().map(|control| control.progress().clone());
        let mut stores = HashMap::new();
        if let (Some(progress), Some(uuid)) = (&progress, control.as_ref().map(Control::uuid)) {
            for (label, mark) in &progress.tables {
                stores.insert(label.clone(), self.reopen(mark, &self.owner(uuid, label)).await?);
            }
            for (label, TableGap { reason, remedy, .. }) in &progress.gaps {
                events::gap(&self.status, label, reason, remedy.as_deref());
            }
        }
        let progress = progress.unwrap_or_default();
        Ok(Run {
            resumed: progress.source.is_some(),
            logs: progress.logs,
            through: progress.covered,
            control,
            tables: Vec::new(),
            places: HashMap::new(),
            unordered: BTreeSet::new(),
            last: None,
            stores,
            tail: Vec::new(),
            tail_bytes: 0,
            mid_transaction: false,
            candidate: None,
            durable: None,
            complete_until_us: None,
            urgent: false,
            first_uncommitted: None,
            committed_at: None,
            checkpoint_at: Instant::now(),
            bytes: 0,
            flight: None,
        })
    }

    pub(super) async fn open_control(&self) -> Result<Option<Control>> {
        Control::open(&*self.catalog, &self.control_name(), &self.pipeline.name, self.sharing).await
    }

    fn control_name(&self) -> LakeName {
        let namespace = self.settings.namespace.clone().unwrap_or_else(|| CONTROL_NAMESPACE.to_owned());
        LakeName { namespace, name: format!("walbrook_{}", self.pipeline.name) }
    }

    /// The control table, which is created before anything else is.
    pub(super) async fn control<'a>(&self, control: &'a mut Option<Control>) -> Result<&'a mut Control> {
        if control.is_none() {
            let (name, pipeline) = (self.control_name(), &self.pipeline.name);
            *control = Some(Control::create(&*self.catalog, &name, pipeline, self.sharing).await?);
        }
        control.as_mut().ok_or_else(|| Error::bug("no control table"))
    }

    /// See [`super::LakeSink::find_gap`].
    pub(super) async fn find_gap(&self) -> Result<Option<Error>> {
        let run = match self.start().await {
            Ok(run) => run,
            // No other kind: under a daemon that commits, a file may go away while it is looked for.
            Err(error) if error.kind() == ErrorKind::Gap => return Ok(Some(error)),
            Err(error) => return Err(error),
        };
        let progress = run.control.as_ref().map(Control::progress);
        let missed = progress.and_then(|progress| progress.gaps.iter().chain(&progress.stopped).next());
        Ok(missed.map(|(label, gap)| Error::gap(gap.reason.clone()).on(format!("lake table {label}"))))
    }

    /// See [`super::LakeSink::accept_gap`] and [`super::LakeSink::go_on_at`].
    pub(super) async fn accept_gap(
        &self,
        seen: Option<&Checkpoint>,
        checkpoint: Option<Checkpoint>,
        log: Option<(&Lineage, u16)>,
    ) -> Result<()> {
        // Processes that go on meanwhile move what is read here.
        for _ in 1..ATTEMPTS {
            match self.accept_gap_once(seen, checkpoint.as_ref(), log).await {
                Err(error) if self.sharing.is_some() && error.kind() == ErrorKind::Transient => {}
                accepted => return accepted,
            }
        }
        self.accept_gap_once(seen, checkpoint.as_ref(), log).await
    }

    async fn accept_gap_once(
        &self,
        seen: Option<&Checkpoint>,
        checkpoint: Option<&Checkpoint>,
        log: Option<(&Lineage, u16)>,
    ) -> Result<()> {
        let mut control = self.open_control().await?;
        let control = self.control(&mut control).await?;
        if control.is_shared() {
            control.know(seen);
        }
        let mut progress = control.progress().clone();
        for (label, mark) in std::mem::take(&mut progress.tables) {
            let name = LakeName { namespace: mark.namespace, name: mark.name };
            let owner = self.owner(control.uuid(), &label);
            let Some(store) = Store::open(&*self.catalog, &name, &owner).await? else { continue };
            let later = |(_, generation): &(&Lineage, u16)| store.record().complete_up_to.generation() > *generation;
            if let Some((_, generation)) = log.filter(later) {
                return Err(store
                    .on(Error::config(format!("the table has rows of a later generation than {generation}"))
                        .remedy("drop the lake table, or accept the gap with the checkpoint that the lake has")));
            }
            progress.tables.insert(label, TableMark::of(&store, mark.covered));
        }
        progress.source = checkpoint.map(|checkpoint| checkpoint.as_str().to_owned());
        progress.gaps.clear();
        progress.stopped.clear();
        if let Some((lineage, generation)) = log {
            progress.logs.entry(lineage.as_str().to_owned()).or_default().insert(generation);
        }
        control.write(progress).await
    }

    async fn reopen(&self, mark: &TableMark, owner: &Owner) -> Result<Store> {
        let name = LakeName { namespace: mark.namespace.clone(), name: mark.name.clone() };
        let gap = |what: &str| {
            Error::gap(format!("the checkpoint knows this lake table, but {what}"))
                .on(format!("lake table {name}"))
                .remedy("restore the table, or walbrook gap accept --reason \"...\" to take a new snapshot")
        };
        let store = Store::open(&*self.catalog, &name, owner).await?.ok_or_else(|| gap("it is gone"))?;
        if store.state().uuid != mark.uuid {
            return Err(gap("it is another table of the same name"));
        }
        if store.record().commits < mark.commits || store.record().complete_up_to < mark.complete_up_to {
            return Err(gap("it is further back: it was restored from a backup or rolled back"));
        }
        Ok(store)
    }

    /// The place of a change's table, which is opened or created at its first change.
    pub(super) async fn place(&self, run: &mut Run, change: &Change) -> Result<usize> {
        let place = if let Some(place) = run.places.get(&change.schema.table) {
            *place
        } else {
            let mut entry = Entry::new(run, &change.schema.table);
            if entry.stopped.is_none() {
                match self.open_table(run, &change.schema, change.seq).await {
                    Ok(table) => entry.table = Some(table),
                    Err(error) => entry.stop(Stop::new(&error, change.seq, 0), error, &self.status)?,
                }
            }
            run.add(&change.schema.table, entry)
        };
        run.last = Some((change.schema.clone(), place));
        Ok(place)
    }

    async fn open_table(&self, run: &mut Run, schema: &std::sync::Arc<TableSchema>, seq: Seq) -> Result<Table> {
        let began = Instant::now();
        let label = schema.table.to_string();
        let mode = self.settings.mode_of(&label);
        let name = LakeName::of(&self.settings, &schema.table);
        if name == self.control_name() {
            return Err(Error::config("the source table has the name of this pipeline's checkpoint table")
                .on(label)
                .remedy("give the pipeline another name, or set another [sink.lake] namespace"));
        }
        let mut known = run.stores.remove(&label);
        // Without a checkpoint nobody knows what of the table the log will bring again.
        let orphan = !run.resumed && known.is_none();
        if let Some(store) = known.as_mut().filter(|_| self.sharing.is_some()) {
            // It may have been another's until a moment ago, or be thought so.
            store.reload().await?;
        }
        let owner = self.owner(self.control(&mut run.control).await?.uuid(), &label);
        let opened = match known {
            Some(store) => Some(store),
            None => Store::open(&*self.catalog, &name, &owner).await?,
        };
        let created = opened.is_none();
        let store = match opened {
            Some(store) if orphan && store.record().commits > 0 => {
                return Err(store
                    .on(Error::gap("the lake table holds data of this pipeline, but there is no checkpoint")
                        .remedy("drop the lake table, or restore the checkpoint table")));
            }
            Some(store) => store,
            None => match Store::create(&*self.catalog, &name, owner.clone(), schema, mode).await {
                // Another process that does not know yet that the table is not its own was first.
                Err(error) if self.sharing.is_some() => {
                    Store::open(&*self.catalog, &name, &owner).await?.ok_or(error)?
                }
                created => created?,
            },
        };
        check_mode(&store, mode)?;
        let commits = store.record().commits;
        let loaded = match Table::load(store, mode, schema, seq) {
            // Files may go away while they are read, if somebody else commits.
            Err(error) if self.sharing.is_some() => {
                let again = Store::open(&*self.catalog, &name, &owner).await?;
                let moved = again.filter(|store| store.record().commits != commits).ok_or(error)?;
                Table::load(moved, mode, schema, seq)
            }
            loaded => loaded,
        };
        let table = loaded?;
        events::opened(&label, created, table.live_rows(), began.elapsed());
        Ok(table)
    }

    fn owner(&self, control: Uuid, label: &str) -> Owner {
        Owner { pipeline: self.pipeline.name.clone(), control, source_table: label.to_owned() }
    }
}

impl Run {
    /// The place of a table that the source stops. If no change of it came yet, it is not opened for that.
    pub(super) fn place_of(&mut self, table: &TableId) -> usize {
        if let Some(place) = self.places.get(table) {
            return *place;
        }
        let entry = Entry::new(self, table);
        self.add(table, entry)
    }

    fn add(&mut self, table: &TableId, entry: Entry) -> usize {
        self.tables.push(entry);
        let place = self.tables.len() - 1;
        self.places.insert(table.clone(), place);
        place
    }
}

impl Entry {
    /// A table that is not open yet. A gap that the checkpoint knows stops it.
    fn new(run: &Run, table: &TableId) -> Self {
        let label = table.to_string();
        let gap = run.control.as_ref().and_then(|control| control.progress().gaps.get(&label).cloned());
        let stopped =
            gap.map(|TableGap { since, reason, remedy }| Stop { since, reason, remedy, parked_bytes: 0, gap: true });
        let unordered = run.unordered.contains(table);
        Self { label, table: None, stopped, unordered, touched: false, changes: 0 }
    }
}

fn check_mode(store: &Store, mode: TableMode) -> Result<()> {
    let is = store.state().layout.mode();
    if is == mode {
        return Ok(());
    }
    let name = |mode| if mode == TableMode::Append { "append" } else { "upsert" };
    Err(store.on(Error::config(format!("the lake table was made with mode {}, not {}", name(is), name(mode)))
        .remedy("set the mode back, or drop the lake table and take a new snapshot of this table")))
}
