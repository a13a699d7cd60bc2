//! The captured tables as they are known, and the session that asks the server's catalog when the log says something new.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::Client;
use walbrook_config::{Postgres, SnapshotMode};
use walbrook_model::{Error, Result, Seq, TableId};

use crate::checkpoint::Progress;
use crate::connection::error::sqlstate;
use crate::connection::pins;
use crate::events;
use crate::publication::{self, Publication};
use crate::relations::{Captured, Entry, Stopped};
use crate::schema::type_map::TypeMap;
use crate::sql;
use crate::tables::fingerprint::{self, Fingerprint, Look};
use crate::tables::{self, Described, TableInfo};
use crate::visibility;
use crate::wire::pgoutput::{Relation, ReplicaIdentity};

/// SQLSTATE `lock_not_available`.
const LOCKED: &str = "55P03";

/// The captured tables by number.
#[derive(Debug)]
pub(crate) struct Catalog {
    settings: Arc<Postgres>,
    session: Option<Client>,
    types: TypeMap,
    tables: HashMap<u32, Arc<TableInfo>>,
    /// Captured tables that cannot be described or read as they are, and why.
    faults: HashMap<u32, Fault>,
    /// Tables whose rows changed in a way that no change tells.
    untold: HashMap<u32, Fault>,
    members: Members,
    /// As it was when a table with another shape than before was last described. To look at it locks its tables, so nobody
    /// looks again while nothing changes: a command that holds a table for long would hold the stream.
    published: Option<Publication>,
    /// Of [`Self::load`].
    looks: Vec<Look>,
    /// Tables whose fingerprint changed since they were described: their columns may have other defaults or labels, which
    /// the log does not tell.
    aged: HashSet<u32>,
    /// Whether fingerprints changed since [`Self::fingerprints_changed`].
    changed: bool,
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
}

impl Catalog {
    pub(crate) fn new(settings: Arc<Postgres>) -> Self {
        Self {
            settings,
            session: None,
            types: TypeMap::default(),
            tables: HashMap::new(),
            faults: HashMap::new(),
            untold: HashMap::new(),
            members: Members::default(),
            published: None,
            looks: Vec::new(),
            aged: HashSet::new(),
            changed: false,
            seen: None,
        }
    }

    /// Looks at all captured tables, in order of their names. Those that cannot be captured as they are become
    /// [`Catalog::faults`].
    pub(crate) async fn load(&mut self, handed: &Progress) -> Result<Vec<Arc<TableInfo>>> {
        let client = self.session().await?;
        // The members are looked at first: what changes after that is noticed by who compares them later.
        let members = members(&client, &self.settings.publication).await?;
        let publication = self.publication(&client).await?;
        let known = &handed.fingerprints;
        let described =
            tables::describe_each(&client, &self.settings, publication.as_ref(), &mut self.types, known).await?;
        let oids: Vec<u32> = described.iter().filter(|(_, table)| table.is_ok()).map(|(facts, _)| facts.oid).collect();
        self.looks = match &publication {
            Some(publication) => fingerprint::look(&client, &self.settings, publication, &oids, known).await?,
            None => Vec::new(),
        };
        self.published = publication;
        self.session = Some(client);
        self.members = members;
        self.faults.clear();
        self.untold.clear();
        self.aged.clear();
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

    /// The fingerprint of a table that is about to be read, as it was loaded. What is rewritten between the slice and its
    /// first lock fails the slice, so it is that of the rows that are read.
    pub(crate) fn fingerprint(&self, oid: u32) -> Option<Fingerprint> {
        self.looks.iter().find(|look| look.oid == oid).cloned().map(Look::read)
    }

    /// Whether fingerprints changed since the last call.
    pub(crate) fn fingerprints_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Compares every table that was read, or whose changes came, with its fingerprint. Those whose rows changed in a way
    /// that no change tells become [`Self::untold`].
    pub(crate) async fn judge_all(&mut self, handed: &mut Progress) -> Result<()> {
        let read = handed.tables.iter().filter(|table| table.finished).map(|table| table.oid);
        let oids: BTreeSet<u32> =
            if self.reads() { read.collect() } else { handed.fingerprints.keys().copied().collect() };
        self.judge(&Vec::from_iter(oids), handed).await
    }

    /// Tables whose rows changed in a way that no change tells, as far as they were compared: each has to stop.
    pub(crate) fn untold(&self) -> &HashMap<u32, Fault> {
        &self.untold
    }

    /// Compares tables with their fingerprints, and keeps how they look now, unless they have to stop.
    async fn judge(&mut self, oids: &[u32], handed: &mut Progress) -> Result<()> {
        if oids.is_empty() {
            return Ok(());
        }
        let client = self.session().await?;
        let looks = match self.look(&client, oids, &handed.fingerprints).await {
            Ok(looks) => looks,
            // The session is given up with its transaction.
            Err(error) if sqlstate(&error) == Some(LOCKED) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.session = Some(client);
        for look in looks {
            let oid = look.oid;
            let before = handed.fingerprints.get(&oid);
            if before.is_none() && self.reads() {
                events::no_fingerprint(look.table());
            }
            let table = look.table().clone();
            let now = match look.judge(before) {
                Ok(now) => now,
                // Other columns are published than before, perhaps: the table is read again.
                Err(_) if self.reads() && self.members_changed().await? => continue,
                Err(error) => {
                    self.untold.entry(oid).or_insert(Fault { table, error: Arc::new(error) });
                    continue;
                }
            };
            if before.is_some_and(|before| *before != now) {
                self.aged.insert(oid);
            }
            if before != Some(&now) {
                handed.fingerprints.insert(oid, now);
                self.changed = true;
            }
        }
        Ok(())
    }

    /// Where it has to ask what waits for a lock, it gives up soon: a command may hold a table for hours, and the other
    /// tables go on. The next look tells what it did.
    async fn look(&mut self, client: &Client, oids: &[u32], known: &BTreeMap<u32, Fingerprint>) -> Result<Vec<Look>> {
        client.batch_execute("SET lock_timeout = '200ms'").await.map_err(sql::error)?;
        if self.published.is_none() {
            self.published = self.publication(client).await?;
        }
        let looks = match &self.published {
            Some(published) => fingerprint::look(client, &self.settings, published, oids, known).await?,
            None => Vec::new(),
        };
        client.batch_execute(pins::LOCK_TIMEOUT).await.map_err(sql::error)?;
        Ok(looks)
    }

    async fn members_changed(&mut self) -> Result<bool> {
        let client = self.session().await?;
        let now = members(&client, &self.settings.publication).await?;
        self.session = Some(client);
        Ok(now != self.members)
    }

    /// Whether tables are read before their changes are handed over.
    fn reads(&self) -> bool {
        self.settings.snapshot.mode != SnapshotMode::Never
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
        if !self.tables.get(&oid).is_some_and(|table| table.same_shape(relation)) {
            if !seen {
                return Err(Error::transient("the transaction that the log describes a table in is not visible yet")
                    .on(format!("table {}.{}", relation.namespace, relation.name)));
            }
            self.published = None;
        }
        self.judge_known(oid, handed).await?;
        if self.untold.contains_key(&oid) {
            return Ok(Found::Entries(Vec::new()));
        }
        // A full identity does not show a change of the key.
        let known = self
            .tables
            .get(&oid)
            .filter(|table| table.replica_identity != ReplicaIdentity::Full && table.same_shape(relation));
        if let Some(table) = known.cloned() {
            let table = self.refreshed(table).await?;
            return self.captured(&table, handed).await;
        }
        self.aged.remove(&oid);
        let client = self.session().await?;
        let known = self.tables.get(&oid).map(Arc::as_ref);
        let fingerprint = handed.fingerprints.get(&oid);
        let described =
            tables::describe_relation(&client, &self.settings, &mut self.types, relation, known, fingerprint).await?;
        self.session = Some(client);
        match described {
            Described::Faulty(error) => {
                let table = TableId::new(&relation.namespace, &relation.name);
                Ok(self.faulty(oid, &Fault { table, error: Arc::new(error) }, handed))
            }
            Described::Untold(error) => {
                let table = TableId::new(&relation.namespace, &relation.name);
                self.untold.entry(oid).or_insert(Fault { table, error: Arc::new(error) });
                Ok(Found::Entries(Vec::new()))
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
                self.tables.insert(oid, table.clone());
                self.captured(&table, handed).await
            }
        }
    }

    /// The table with what the catalogs say of its columns now, if that may be something else.
    async fn refreshed(&mut self, table: Arc<TableInfo>) -> Result<Arc<TableInfo>> {
        if !self.aged.contains(&table.oid) {
            return Ok(table);
        }
        let client = self.session().await?;
        let refreshed = tables::refresh(&client, &mut self.types, &table).await?;
        self.session = Some(client);
        self.aged.remove(&table.oid);
        let Some(refreshed) = refreshed.map(Arc::new) else { return Ok(table) };
        self.tables.insert(table.oid, refreshed.clone());
        Ok(refreshed)
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

    /// The rows of a partition come under its root, whose old rows may say less from here on.
    async fn partition(&mut self, relation: &Relation, root: u32, handed: &mut Progress) -> Result<Found> {
        self.judge_known(root, handed).await?;
        let ignored = (relation.oid, Entry::Ignored);
        let found = match (self.tables.get(&root), self.faults.get(&root)) {
            _ if self.untold.contains_key(&root) => Found::Entries(Vec::new()),
            (Some(table), _) => match table.admits(relation) {
                Ok(None) => return Ok(Found::Entries(vec![ignored])),
                Ok(Some(weaker)) => {
                    let weaker = Arc::new(weaker);
                    self.tables.insert(root, weaker.clone());
                    self.captured(&weaker, handed).await?
                }
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
            new @ Found::New(_) => new,
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
        Found::Entries(vec![(oid, Entry::Stopped(Stopped { table, start, error }))])
    }

    async fn captured(&mut self, table: &TableInfo, handed: &mut Progress) -> Result<Found> {
        if self.reads() && !handed.table(table.oid).is_some_and(|known| known.finished) {
            if self.faults.contains_key(&table.oid) {
                return Ok(Found::Entries(vec![(table.oid, Entry::Ignored)]));
            }
            let client = self.session().await?;
            let publication = self.publication(&client).await?;
            self.session = Some(client);
            // A table that is not published any more is read when it is published again.
            return Ok(match publication {
                Some(publication) if publication.member(table.oid).is_none() => {
                    Found::Entries(vec![(table.oid, Entry::Ignored)])
                }
                _ => Found::New(table.schema.table.clone()),
            });
        }
        if !handed.fingerprints.contains_key(&table.oid) {
            self.judge(&[table.oid], handed).await?;
        }
        let captured = Captured {
            schema: table.schema.clone(),
            start: handed.table(table.oid).map_or(Seq::ZERO, |known| known.slice),
            projection: table.projection(),
            old_cells: table.old_cells(),
            weak_old_rows: table.weak_old_rows,
            nets: table.deferrable_key,
            fills: table.partial_updates && !table.deferrable_key,
        };
        Ok(Found::Entries(vec![(table.oid, Entry::Captured(captured))]))
    }

    /// Compares a table with its fingerprint, unless it will be read anyway.
    async fn judge_known(&mut self, oid: u32, handed: &mut Progress) -> Result<()> {
        let unread = self.reads() && !handed.table(oid).is_some_and(|known| known.finished);
        if unread || !handed.fingerprints.contains_key(&oid) { Ok(()) } else { self.judge(&[oid], handed).await }
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
