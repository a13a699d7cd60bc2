//! The captured tables as they are known, and the session that asks the server's catalog when the log says something new.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio_postgres::Client;
use walbrook_config::{Postgres, SnapshotMode};
use walbrook_model::{Error, Result, Seq, TableId};

use crate::checkpoint::Progress;
use crate::events;
use crate::publication::{self, Publication};
use crate::relations::{Captured, Entry, Stopped};
use crate::schema::type_map::TypeMap;
use crate::sql;
use crate::tables::imprint::Imprint;
use crate::tables::sight::{self, Sight};
use crate::tables::{self, Described, TableInfo};
use crate::visibility;
use crate::wire::pgoutput::{Relation, ReplicaIdentity};

/// The captured tables by number.
#[derive(Debug)]
pub(crate) struct Catalog {
    settings: Arc<Postgres>,
    session: Option<Client>,
    types: TypeMap,
    tables: HashMap<u32, Arc<TableInfo>>,
    /// Captured tables that cannot be described or read as they are, and why.
    faults: HashMap<u32, Fault>,
    members: Members,
    /// Whether something was remembered of a table since it was asked.
    remembered: bool,
    /// The last transaction that was found to be visible.
    seen: Option<u32>,
}

/// Why a captured table cannot be captured as it is.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) table: TableId,
    pub(crate) error: Arc<Error>,
}

/// The publication and its tables by numbers of the server that are not used again: one that was dropped and created,
/// or taken out and put back, has another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// `None`: there is no such publication.
    pub(crate) publication: Option<u32>,
    /// Table -> its membership. Those that are published with their schema, or with all tables, have none.
    pub(crate) tables: BTreeMap<u32, u32>,
}

/// What a relation of the log is.
#[derive(Debug)]
pub(crate) enum Found {
    /// What is known of tables from here on, by number.
    Entries(Vec<(u32, Entry)>),
    /// A captured table that was never read.
    New(TableId),
    /// A captured table whose changes cannot be handed over any more.
    Stopped(Stop),
}

/// Why a table cannot go on: what the lake has of it is not what the source has, and no change will tell.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) oid: u32,
    pub(crate) table: TableId,
    /// Of kind data, on the table, with the way on.
    pub(crate) error: Error,
}

impl Stop {
    fn new(oid: u32, table: &TableId, what: String) -> Self {
        let error = Error::data(what).on(format!("table {table}")).remedy(
            "`walbrook gap accept FILE --reason \"...\"` reads the tables again in a new snapshot; exclude the table \
             (source.postgres.tables.exclude) to go on without it",
        );
        Self { oid, table: table.clone(), error }
    }
}

impl Catalog {
    pub(crate) fn new(settings: Arc<Postgres>) -> Self {
        Self {
            settings,
            session: None,
            types: TypeMap::default(),
            tables: HashMap::new(),
            faults: HashMap::new(),
            members: Members::default(),
            remembered: false,
            seen: None,
        }
    }

    /// Looks at all captured tables, in order of their names. Those that cannot be captured as they are become
    /// [`Catalog::faults`].
    pub(crate) async fn load(&mut self) -> Result<Vec<Arc<TableInfo>>> {
        let client = self.session().await?;
        // The members are looked at first: what changes after that is noticed by who compares them later.
        let members = members(&client, &self.settings.publication).await?;
        let publication = self.publication(&client).await?;
        let described = tables::describe_each(&client, &self.settings, publication.as_ref(), &mut self.types).await?;
        self.session = Some(client);
        self.members = members;
        self.faults.clear();
        let mut tables: Vec<Arc<TableInfo>> = Vec::with_capacity(described.len());
        for (facts, table) in described {
            match table {
                Ok(table) => tables.push(Arc::new(table)),
                Err(error) if tables::is_fault(&error) => self.add_fault(facts.oid, facts.id, error),
                Err(error) => return Err(error),
            }
        }
        self.tables = tables.iter().map(|table| (table.oid, table.clone())).collect();
        Ok(tables)
    }

    /// Captured tables that cannot be captured as they are, by number.
    pub(crate) fn faults(&self) -> &HashMap<u32, Fault> {
        &self.faults
    }

    /// A table could not be captured. It is looked at again when all are.
    pub(crate) fn add_fault(&mut self, oid: u32, table: TableId, error: Error) {
        self.faults.insert(oid, Fault { table, error: Arc::new(error) });
    }

    /// The members of the publication when the tables were loaded.
    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    /// What `relation` is, at the place of the log where it was sent, in the transaction `xid`.
    pub(crate) async fn entries(
        &mut self,
        relation: &Relation,
        xid: Option<u32>,
        handed: &mut Progress,
    ) -> Result<Found> {
        let oid = relation.oid;
        let seen = self.sees(xid).await?;
        let same = self.tables.get(&oid).filter(|table| table.same_shape(relation)).cloned();
        // The root of many partitions is described with each of them: that it is looked at now and then is enough.
        // So is it for a commit that is not visible yet.
        let looked_at =
            same.as_ref().is_some_and(|table| table.partitioned || !seen) && handed.imprints.contains_key(&oid);
        // A full identity does not show a change of the key.
        if let Some(table) = same.filter(|table| table.replica_identity != ReplicaIdentity::Full) {
            return self.captured(table, handed, !looked_at).await;
        }
        if !seen {
            return Err(Error::transient("the transaction that the log describes a table in is not visible yet")
                .on(format!("table {}.{}", relation.namespace, relation.name)));
        }
        let client = self.session().await?;
        let known = self.tables.get(&oid).map(Arc::as_ref);
        let described = tables::describe_relation(&client, &self.settings, &mut self.types, relation, known).await?;
        self.session = Some(client);
        match described {
            Described::Faulty(error) => {
                let table = TableId::new(&relation.namespace, &relation.name);
                Ok(self.faulty(oid, &Fault { table, error: Arc::new(error) }, handed))
            }
            Described::Ignored => Ok(Found::Entries(vec![(oid, Entry::Ignored)])),
            Described::Partition(root) => self.partition(relation, root, handed).await,
            Described::Captured(table) => {
                // The same version of the shape stays the same object.
                let table = match self.tables.get(&oid) {
                    Some(known) if known.schema == table.schema => {
                        Arc::new(TableInfo { schema: known.schema.clone(), ..table })
                    }
                    _ => Arc::new(table),
                };
                self.captured(table, handed, !looked_at).await
            }
        }
    }

    /// The rows of a partition come under its root, whose old rows may say less from here on.
    async fn partition(&mut self, relation: &Relation, root: u32, handed: &mut Progress) -> Result<Found> {
        let ignored = (relation.oid, Entry::Ignored);
        let found = match (self.tables.get(&root), self.faults.get(&root)) {
            (Some(table), _) => match table.admits(relation) {
                Ok(None) => return Ok(Found::Entries(vec![ignored])),
                Ok(Some(weaker)) => self.captured(Arc::new(weaker), handed, false).await?,
                Err(error) => {
                    let fault = Fault { table: table.schema.table.clone(), error: Arc::new(error) };
                    self.faulty(root, &fault, handed)
                }
            },
            (None, Some(fault)) => self.faulty(root, fault, handed),
            (None, None) => Found::New(TableId::new(&relation.namespace, &relation.name)),
        };
        Ok(match found {
            Found::Entries(mut entries) => {
                entries.push(ignored);
                Found::Entries(entries)
            }
            other => other,
        })
    }

    /// A table that cannot be captured as it is. One that was read stops at its next change; one that was not is read
    /// whole when it can be, so nothing of it is missed.
    fn faulty(&self, oid: u32, fault: &Fault, handed: &Progress) -> Found {
        let Fault { table, error } = fault.clone();
        let start = match handed.table(oid) {
            Some(known) if known.finished => known.slice,
            _ if !self.reads() => Seq::ZERO,
            _ if self.faults.contains_key(&oid) => return Found::Entries(vec![(oid, Entry::Ignored)]),
            _ => return Found::New(table),
        };
        Found::Entries(vec![(oid, Entry::Stopped(Stopped { table, start, error, lost: false }))])
    }

    fn reads(&self) -> bool {
        self.settings.snapshot.mode != SnapshotMode::Never
    }

    async fn captured(&mut self, table: Arc<TableInfo>, handed: &mut Progress, look: bool) -> Result<Found> {
        let oid = table.oid;
        self.tables.insert(oid, table.clone());
        if self.reads() && !handed.table(oid).is_some_and(|known| known.finished) {
            if self.faults.contains_key(&oid) {
                return Ok(Found::Entries(vec![(oid, Entry::Ignored)]));
            }
            let client = self.session().await?;
            let publication = self.publication(&client).await?;
            self.session = Some(client);
            // A table that is not published any more is read when it is published again.
            return Ok(match publication {
                Some(publication) if publication.member(oid).is_none() => Found::Entries(vec![(oid, Entry::Ignored)]),
                _ => Found::New(table.schema.table.clone()),
            });
        }
        let table = if look {
            let id = table.schema.table.clone();
            match self.look_at(table, handed).await? {
                Ok(table) => table,
                // Other columns are published than before: the table is read again.
                Err(_) if self.reads() && self.members_changed().await? => return Ok(Found::New(id)),
                Err(stop) => return Ok(Found::Stopped(stop)),
            }
        } else {
            table
        };
        let captured = Captured {
            schema: table.schema.clone(),
            start: handed.table(oid).map_or(Seq::ZERO, |known| known.slice),
            projection: table.projection(),
            old_cells: table.old_cells(),
            weak_old_rows: table.weak_old_rows,
            nets: table.deferrable_key,
            fills: table.partial_updates && !table.deferrable_key,
        };
        Ok(Found::Entries(vec![(oid, Entry::Captured(captured))]))
    }

    /// Looks at a table that the log describes: whether its stored values changed without an event, and what its added
    /// columns hold in the rows that were there. `Err`: the table cannot go on.
    async fn look_at(
        &mut self,
        table: Arc<TableInfo>,
        handed: &mut Progress,
    ) -> Result<std::result::Result<Arc<TableInfo>, Stop>> {
        let id = &table.schema.table;
        let sights = self.sights(&[table.oid]).await?;
        let sight = sights.first();
        if let Some(sight) = sight
            && let Err(stop) = self.follow(sight, handed)
        {
            return Ok(Err(stop));
        }
        let Some(imprint) = handed.imprints.get(&table.oid) else { return Ok(Ok(table)) };
        let told = match table.told(imprint, sight) {
            Ok(told) => told,
            Err(column) if sight.is_none() => {
                events::values_untold(id, &column);
                return Ok(Ok(table));
            }
            Err(column) => {
                let what = format!(
                    "column {column} was added with values that neither the log nor the catalogs hold for the rows that \
                     were there"
                );
                return Ok(Err(Stop::new(table.oid, id, what)));
            }
        };
        self.tables.insert(told.oid, told.clone());
        Ok(Ok(told))
    }

    /// Looks at all tables that are remembered: what is seen, and what cannot go on.
    pub(crate) async fn look(&mut self, handed: &mut Progress) -> Result<(Vec<Sight>, Vec<Stop>)> {
        let read = handed.tables.iter().filter(|table| table.finished).map(|table| table.oid);
        let oids: BTreeSet<u32> = read.chain(handed.imprints.keys().copied()).collect();
        let sights = self.sights(&oids.into_iter().collect::<Vec<_>>()).await?;
        let stops = sights.iter().filter_map(|sight| self.follow(sight, handed).err()).collect();
        Ok((sights, stops))
    }

    /// Whether something was remembered since the last call.
    pub(crate) fn remembered(&mut self) -> bool {
        std::mem::take(&mut self.remembered)
    }

    /// Whether the catalogs show what the transaction did.
    async fn sees(&mut self, xid: Option<u32>) -> Result<bool> {
        let Some(xid) = xid.filter(|xid| self.seen != Some(*xid)) else { return Ok(true) };
        let client = self.session().await?;
        let seen = visibility::wait(&client, xid).await?;
        self.session = Some(client);
        self.seen = seen.then_some(xid);
        Ok(seen)
    }

    async fn members_changed(&mut self) -> Result<bool> {
        let client = self.session().await?;
        let now = members(&client, &self.settings.publication).await?;
        self.session = Some(client);
        Ok(now != self.members)
    }

    async fn sights(&mut self, oids: &[u32]) -> Result<Vec<Sight>> {
        let client = self.session().await?;
        let sights = sight::look(&client, oids).await?;
        self.session = Some(client);
        Ok(sights)
    }

    /// Compares what is seen of a table with what is remembered, and remembers it. A table of which nothing is remembered
    /// was never read, or under a checkpoint that had no imprints: it counts as read now.
    fn follow(&mut self, sight: &Sight, handed: &mut Progress) -> std::result::Result<(), Stop> {
        let next = if let Some(imprint) = handed.imprints.get(&sight.oid) {
            let gone = imprint.gone(sight);
            if gone > 0 {
                events::partitions_gone(&sight.id, gone);
            }
            let captured = |name: &str| !self.settings.tables.leaves_out(&sight.id.schema, &sight.id.name, name);
            imprint.follow(sight, captured).map_err(|what| Stop::new(sight.oid, &sight.id, what))?
        } else {
            let Some(table) = self.tables.get(&sight.oid) else { return Ok(()) };
            Imprint::of(sight, |name| table.schema.column(name).is_some())
        };
        if handed.imprints.get(&sight.oid) != Some(&next) {
            handed.imprints.insert(sight.oid, next);
            self.remembered = true;
        }
        Ok(())
    }

    async fn publication(&self, client: &Client) -> Result<Option<Publication>> {
        match self.settings.snapshot.mode {
            SnapshotMode::Only => Ok(None),
            _ => publication::load(client, &self.settings.publication).await,
        }
    }

    /// Takes the session out; a call that fails does not put it back.
    async fn session(&mut self) -> Result<Client> {
        match self.session.take() {
            Some(client) if !client.is_closed() => Ok(client),
            _ => sql::connect(&self.settings).await,
        }
    }
}

/// The members of a publication.
pub(crate) async fn members(client: &Client, publication: &str) -> Result<Members> {
    const QUERY: &str = "SELECT p.oid, r.prrelid, r.oid FROM pg_catalog.pg_publication p \
         LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid WHERE p.pubname = $1::text";
    let mut members = Members::default();
    for row in client.query(QUERY, &[&publication]).await.map_err(sql::error)? {
        members.publication = Some(row.try_get(0).map_err(sql::error)?);
        let table: Option<u32> = row.try_get(1).map_err(sql::error)?;
        let member: Option<u32> = row.try_get(2).map_err(sql::error)?;
        members.tables.extend(table.zip(member));
    }
    Ok(members)
}
