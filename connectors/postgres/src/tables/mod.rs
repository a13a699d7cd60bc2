//! The captured tables: which they are ([`selection`]), what the catalogs say about them ([`facts`]), what the reader of
//! snapshot and log must know of each ([`TableInfo`]), and whether their rows changed unseen ([`fingerprint`]).
//!
//! The log is read later than it was written, the catalogs show the present. So what the log itself says of a table (its
//! name, columns, types, identity) always counts for the rows that follow; the catalogs only add what it does not say.

mod build;
pub(crate) mod facts;
pub(crate) mod fingerprint;
pub(crate) mod selection;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::Client;
use walbrook_config::Postgres;
use walbrook_model::{Column, DecodeCell, Error, ErrorKind, Result, TableId, TableSchema};

use self::facts::Facts;
use self::fingerprint::Fingerprint;
use crate::publication::{Publication, quote_table};
use crate::schema::type_map::TypeMap;
use crate::wire::pgoutput::{Relation, ReplicaIdentity};

/// A captured table.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct TableInfo {
    /// The number by which the log names it.
    pub(crate) oid: u32,
    /// The captured columns.
    pub(crate) schema: Arc<TableSchema>,
    /// What the log holds of old rows.
    pub(crate) replica_identity: ReplicaIdentity,
    /// Its rows lie in partitions and come under its name.
    pub(crate) partitioned: bool,
    /// Two rows may share a key inside a transaction.
    pub(crate) deferrable_key: bool,
    /// An updated row may come without cells that did not change and without an old row that has them.
    pub(crate) partial_updates: bool,
    /// An old row that is marked as whole may carry no more than the key: a partition of the table, whose identity is
    /// full, has the identity of its primary key.
    pub(crate) weak_old_rows: bool,
    /// Policies hide rows from our role.
    pub(crate) row_security: bool,
    /// Its size on disk when it was last analyzed, pages.
    pub(crate) pages: i64,
    /// The decoders of binary cells, one a column of the schema, where there is one.
    pub(crate) binary: Arc<[Option<DecodeCell>]>,
    /// The cells of its rows in the log.
    pub(crate) log_columns: Vec<LogColumn>,
}

/// A cell of a row in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogColumn {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) typmod: i32,
    /// The log marks it as part of the identity; all are if that is full.
    pub(crate) identity: bool,
    /// Its column in the schema; `None`: the settings leave it out.
    pub(crate) place: Option<usize>,
}

/// What the description of a table in the log is about.
#[derive(Debug)]
pub(crate) enum Described {
    /// A captured table.
    Captured(TableInfo),
    /// A partition: its rows come under the captured table with this number. See [`TableInfo::admits`].
    Partition(u32),
    /// A captured table whose rows cannot be captured as they are.
    Faulty(Error),
    /// A captured table with a column of which nobody knows what earlier rows have there.
    Untold(Error),
    /// A table that is not captured.
    Ignored,
}

/// Describes the captured tables, in order of their names. `fingerprints` are those of tables that were read.
///
/// # Errors
/// Config if a table cannot be captured as it is.
pub(crate) async fn describe(
    client: &Client,
    settings: &Postgres,
    publication: Option<&Publication>,
    types: &mut TypeMap,
    fingerprints: &BTreeMap<u32, Fingerprint>,
) -> Result<Vec<TableInfo>> {
    let tables = describe_each(client, settings, publication, types, fingerprints).await?;
    tables.into_iter().map(|(_, table)| table).collect()
}

/// The captured tables, in order of their names; each is described, or says why it cannot be captured as it is. With a
/// publication, those that it does not have are left out with a warning: their changes would not arrive.
pub(crate) async fn describe_each(
    client: &Client,
    settings: &Postgres,
    publication: Option<&Publication>,
    types: &mut TypeMap,
    fingerprints: &BTreeMap<u32, Fingerprint>,
) -> Result<Vec<(Facts, Result<TableInfo>)>> {
    let selection = selection::select(client, &settings.tables).await?;
    let published = |oid: u32| publication.is_none_or(|publication| publication.member(oid).is_some());
    let mut oids = Vec::with_capacity(selection.captured.len());
    for (oid, table) in selection.captured {
        if published(oid) {
            oids.push(oid);
        } else {
            warn_unpublished(settings, &table);
        }
    }
    look_up(client, settings, publication, types, &oids, fingerprints).await
}

/// Looks tables up, in order of their names; each is described, or says why it cannot be captured as it is.
pub(crate) async fn look_up(
    client: &Client,
    settings: &Postgres,
    publication: Option<&Publication>,
    types: &mut TypeMap,
    oids: &[u32],
    fingerprints: &BTreeMap<u32, Fingerprint>,
) -> Result<Vec<(Facts, Result<TableInfo>)>> {
    let mut tables = facts::load(client, oids).await?;
    for facts in &mut tables {
        if let Some(fingerprint) = fingerprints.get(&facts.oid) {
            facts.recall(fingerprint);
        }
    }
    types.load(client, &tables.iter().flat_map(Facts::declared).collect::<Vec<_>>()).await?;
    let describe = |facts: Facts| {
        let info = build::from_catalog(&facts, settings, publication, types);
        (facts, info)
    };
    Ok(tables.into_iter().map(describe).collect())
}

/// A table of the same shape with what the catalogs say of its columns now: defaults, labels. `None`: that is as it was.
pub(crate) async fn refresh(client: &Client, types: &mut TypeMap, known: &TableInfo) -> Result<Option<TableInfo>> {
    let Some(facts) = facts::load(client, &[known.oid]).await?.pop() else { return Ok(None) };
    types.load(client, &facts.declared().collect::<Vec<_>>()).await?;
    Ok(build::refreshed(known, &facts, types))
}

/// Describes a table as the log says it was, with what the catalogs and its fingerprint add. `known` is what was known of it
/// before, in case that it does not exist any more.
pub(crate) async fn describe_relation(
    client: &Client,
    settings: &Postgres,
    types: &mut TypeMap,
    relation: &Relation,
    known: Option<&TableInfo>,
    fingerprint: Option<&Fingerprint>,
) -> Result<Described> {
    let selection = selection::select(client, &settings.tables).await?;
    if let Some(root) = selection.partitions.get(&relation.oid) {
        return Ok(Described::Partition(*root));
    }
    let mut facts = facts::load(client, &[relation.oid]).await?.pop();
    if let (Some(facts), Some(fingerprint)) = (&mut facts, fingerprint) {
        facts.recall(fingerprint);
    }
    let facts = facts.as_ref();
    let captured = settings.tables.captures(&relation.namespace, &relation.name);
    // Of a table that is gone and was never read there is nothing to keep up to date.
    if !captured || (facts.is_none() && known.is_none()) {
        return Ok(Described::Ignored);
    }
    let declared: Vec<_> = relation.columns.iter().map(|column| (column.type_oid, column.typmod)).collect();
    types.load(client, &declared).await?;
    let table = match build::from_log(relation, facts, known, settings, types) {
        Ok(table) => table,
        Err(error) if is_fault(&error) => return Ok(Described::Faulty(error)),
        Err(error) => return Err(error),
    };
    let Some((facts, fingerprint)) = facts.zip(fingerprint) else { return Ok(Described::Captured(table)) };
    Ok(match table.with_gone_columns(facts, fingerprint) {
        Ok(table) => Described::Captured(table),
        Err(column) => Described::Untold(fingerprint::stop(
            &facts.id,
            format!("column {column} was added and is gone again: what earlier rows have there is not in the log"),
        )),
    })
}

/// Whether the error is one of a table as it is; the other tables can go on.
pub(crate) fn is_fault(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::Data)
}

fn warn_unpublished(settings: &Postgres, table: &TableId) {
    let remedy = format!(
        "ALTER PUBLICATION {} ADD TABLE {}",
        crate::sql::quote_ident(&settings.publication),
        quote_table(table)
    );
    tracing::warn!(%table, publication = settings.publication, remedy, "table is not published, so it is not captured");
}

impl TableInfo {
    /// The schema for rows in binary format; `None`: a type has none that is known, or a column has a value for rows that
    /// were there before it, which the catalog shows as text.
    pub(crate) fn binary_schema(&self) -> Option<Arc<TableSchema>> {
        let mut schema = TableSchema::clone(&self.schema);
        if schema.columns.len() != self.binary.len() {
            return None;
        }
        for (column, decoder) in schema.columns.iter_mut().zip(&*self.binary) {
            column.decoder = (*decoder).filter(|_| column.initial_default.is_none())?;
        }
        Some(Arc::new(schema))
    }

    /// Whether the log describes the table just as it is known. A full identity does not show a change of the key: then
    /// the catalog must be asked, whenever the log describes the table again.
    pub(crate) fn same_shape(&self, relation: &Relation) -> bool {
        let id = &self.schema.table;
        self.oid == relation.oid
            && id.schema == relation.namespace
            && id.name == relation.name
            && self.replica_identity == relation.identity
            && self.log_columns.len() == relation.columns.len()
            && self.log_columns.iter().zip(&relation.columns).all(|(known, column)| {
                known.name == column.name
                    && known.type_oid == column.type_oid
                    && known.typmod == column.typmod
                    && known.identity == column.key
            })
    }

    /// The cell of the log's row behind each column of the schema; `None`: they are the same.
    pub(crate) fn projection(&self) -> Option<Box<[usize]>> {
        let kept = |(cell, column): (usize, &LogColumn)| column.place.map(|_| cell);
        let cells: Box<[usize]> = self.log_columns.iter().enumerate().filter_map(kept).collect();
        (cells.len() != self.log_columns.len()).then_some(cells)
    }

    /// By cell of the log's row, whether every old row carries it, however the log marks the old row.
    pub(crate) fn old_cells(&self) -> Box<[bool]> {
        let in_key = |column: &LogColumn| column.place.is_some_and(|place| self.schema.key.contains(&place));
        let carried = |column: &LogColumn| if self.weak_old_rows { in_key(column) } else { column.identity };
        self.log_columns.iter().map(carried).collect()
    }

    /// The catalogs say nothing of a column that was dropped or renamed since the log was written: its fingerprint may.
    /// `Err` is a column that no look ever showed.
    fn with_gone_columns(mut self, facts: &Facts, fingerprint: &Fingerprint) -> Result<Self, String> {
        let gone = |column: &&Column| facts.columns.iter().all(|known| known.name != column.name);
        let mut values = Vec::new();
        for column in self.schema.columns.iter().filter(gone) {
            let number = fingerprint.column(&column.name).ok_or_else(|| column.name.clone())?;
            values.extend(fingerprint.held(number).map(|value| (column.name.clone(), value)));
        }
        for (name, value) in values {
            let mut columns = Arc::make_mut(&mut self.schema).columns.iter_mut();
            if let Some(column) = columns.find(|column| column.name == name) {
                column.initial_default = Some(value.into());
            }
        }
        Ok(self)
    }

    /// Why the log cannot hold updates and deletes of the table, and what mends it. The server refuses them then, as soon
    /// as the table is published.
    pub(crate) fn identity_fault(&self) -> Option<(String, String)> {
        let table = quote_table(&self.schema.table);
        let full = format!("ALTER TABLE {table} REPLICA IDENTITY FULL");
        let keyless = self.schema.key.is_empty();
        let (what, remedy) = match self.replica_identity {
            ReplicaIdentity::Nothing if keyless => ("its replica identity is nothing", full),
            ReplicaIdentity::Nothing => {
                ("its replica identity is nothing", format!("ALTER TABLE {table} REPLICA IDENTITY DEFAULT"))
            }
            ReplicaIdentity::Default if self.deferrable_key => {
                ("its primary key is deferrable, which is no replica identity", full)
            }
            ReplicaIdentity::Default if keyless => {
                ("it has no primary key and no other replica identity", format!("{full}; or give it a primary key"))
            }
            ReplicaIdentity::Index if keyless => ("the index of its replica identity is gone", full),
            _ => return None,
        };
        Some((format!("{what}: once it is published, the server refuses every UPDATE and DELETE of it"), remedy))
    }

    /// Whether the changes of a partition, as the log describes it, can come under this table; `Some` is what is known of
    /// the table from here on. The log marks old rows by the identity of the table, but fills them by that of the
    /// partition.
    ///
    /// # Errors
    /// Data if its old rows do not carry what they must.
    pub(crate) fn admits(&self, partition: &Relation) -> Result<Option<Self>> {
        let carried = |name: &str| partition.columns.iter().any(|column| column.key && column.name == name);
        let any = partition.columns.iter().any(|column| column.key);
        // Without an identity the server refuses updates and deletes.
        if !any || partition.identity == ReplicaIdentity::Full {
            return Ok(None);
        }
        let full = self.replica_identity == ReplicaIdentity::Full;
        let wanted = |column: &&LogColumn| {
            if full { column.place.is_some_and(|place| self.schema.key.contains(&place)) } else { column.identity }
        };
        if !self.log_columns.iter().filter(wanted).all(|column| carried(&column.name)) {
            let id = TableId::new(&partition.namespace, &partition.name);
            return Err(build::strange_partition(&self.schema.table, &id));
        }
        if !full || self.weak_old_rows {
            return Ok(None);
        }
        Ok(Some(Self { weak_old_rows: true, partial_updates: true, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests;
