//! The captured tables as they are known, and the session that asks the server's catalog when the log says something new.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio_postgres::Client;
use walbrook_config::{Postgres, SnapshotMode};
use walbrook_model::{Result, Seq, TableId};

use crate::checkpoint::Progress;
use crate::events;
use crate::publication::{self, Publication};
use crate::relations::{Captured, Entry};
use crate::schema::type_map::TypeMap;
use crate::sql;
use crate::tables::fingerprint::{self, Fingerprint, Look};
use crate::tables::{self, Described, TableInfo};
use crate::wire::pgoutput::{Relation, ReplicaIdentity};

/// The captured tables by number.
#[derive(Debug)]
pub(crate) struct Catalog {
    settings: Arc<Postgres>,
    session: Option<Client>,
    types: TypeMap,
    tables: HashMap<u32, Arc<TableInfo>>,
    members: Members,
    /// Of [`Self::load`].
    looks: Vec<Look>,
    /// Whether fingerprints changed since [`Self::fingerprints_changed`].
    changed: bool,
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
            members: Members::default(),
            looks: Vec::new(),
            changed: false,
        }
    }

    /// Looks at all captured tables, in order of their names.
    pub(crate) async fn load(&mut self, handed: &Progress) -> Result<Vec<Arc<TableInfo>>> {
        let client = self.session().await?;
        // The members are looked at first: what changes after that is noticed by who compares them later.
        let members = members(&client, &self.settings.publication).await?;
        let publication = self.publication(&client).await?;
        let tables =
            tables::describe(&client, &self.settings, publication.as_ref(), &mut self.types, &handed.fingerprints)
                .await?;
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        self.looks = match &publication {
            Some(publication) => fingerprint::look(&client, &self.settings, publication, &oids).await?,
            None => Vec::new(),
        };
        self.session = Some(client);
        self.members = members;
        let tables: Vec<Arc<TableInfo>> = tables.into_iter().map(Arc::new).collect();
        self.tables = tables.iter().map(|table| (table.oid, table.clone())).collect();
        Ok(tables)
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

    /// Compares every table that was read, or whose changes came, with its fingerprint.
    ///
    /// # Errors
    /// Data if rows of a table changed in a way that no change tells.
    pub(crate) async fn judge_all(&mut self, handed: &mut Progress) -> Result<()> {
        let read = handed.tables.iter().filter(|table| table.finished).map(|table| table.oid);
        let oids: BTreeSet<u32> =
            if self.reads() { read.collect() } else { handed.fingerprints.keys().copied().collect() };
        self.judge(&Vec::from_iter(oids), handed).await
    }

    /// Compares tables with their fingerprints, and keeps how they look now.
    async fn judge(&mut self, oids: &[u32], handed: &mut Progress) -> Result<()> {
        if oids.is_empty() {
            return Ok(());
        }
        let client = self.session().await?;
        let publication = self.publication(&client).await?;
        let looks = match &publication {
            Some(publication) => fingerprint::look(&client, &self.settings, publication, oids).await?,
            None => Vec::new(),
        };
        self.session = Some(client);
        for look in looks {
            let oid = look.oid;
            let before = handed.fingerprints.get(&oid);
            if before.is_none() && self.reads() {
                events::no_fingerprint(look.table());
            }
            let now = look.judge(before)?;
            if before != Some(&now) {
                handed.fingerprints.insert(oid, now);
                self.changed = true;
            }
        }
        Ok(())
    }

    /// Whether tables are read before their changes are handed over.
    fn reads(&self) -> bool {
        self.settings.snapshot.mode != SnapshotMode::Never
    }

    /// What `relation` is, at the place of the log where it was sent.
    pub(crate) async fn entries(&mut self, relation: &Relation, handed: &mut Progress) -> Result<Found> {
        let oid = relation.oid;
        self.judge_known(oid, handed).await?;
        // A full identity does not show a change of the key.
        let known = self
            .tables
            .get(&oid)
            .filter(|table| table.replica_identity != ReplicaIdentity::Full && table.same_shape(relation));
        if let Some(table) = known {
            return self.captured(&table.clone(), handed).await;
        }
        let client = self.session().await?;
        let known = self.tables.get(&oid).map(Arc::as_ref);
        let fingerprint = handed.fingerprints.get(&oid);
        let described =
            tables::describe_relation(&client, &self.settings, &mut self.types, relation, known, fingerprint).await?;
        self.session = Some(client);
        match described {
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

    /// The rows of a partition come under its root, whose old rows may say less from here on.
    async fn partition(&mut self, relation: &Relation, root: u32, handed: &mut Progress) -> Result<Found> {
        self.judge_known(root, handed).await?;
        let ignored = (relation.oid, Entry::Ignored);
        let Some(table) = self.tables.get(&root) else {
            return Ok(Found::New(TableId::new(&relation.namespace, &relation.name)));
        };
        let Some(weaker) = table.admits(relation)? else { return Ok(Found::Entries(vec![ignored])) };
        let weaker = Arc::new(weaker);
        self.tables.insert(root, weaker.clone());
        Ok(match self.captured(&weaker, handed).await? {
            Found::Entries(mut entries) => {
                entries.push(ignored);
                Found::Entries(entries)
            }
            new @ Found::New(_) => new,
        })
    }

    async fn captured(&mut self, table: &TableInfo, handed: &mut Progress) -> Result<Found> {
        if self.reads() && !handed.table(table.oid).is_some_and(|known| known.finished) {
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
