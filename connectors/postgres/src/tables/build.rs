//! [`TableInfo`] from the catalogs, or from what the log says with what the catalogs add.

use std::sync::Arc;

use walbrook_config::Postgres;
use walbrook_model::{Column, ColumnFacts, Error, Result, TableId, TableSchema};

use super::facts::{CatalogColumn, Facts};
use super::{LogColumn, TableInfo};
use crate::publication::{Publication, quote_table};
use crate::schema::key;
use crate::schema::type_map::{Resolved, TypeMap};
use crate::sql::quote_ident;
use crate::wire::pgoutput::{Relation, RelationColumn, ReplicaIdentity};

/// A column of the log's rows, and what the catalogs know of it.
struct Draft<'a> {
    name: &'a str,
    type_oid: u32,
    typmod: i32,
    identity: bool,
    facts: Option<&'a CatalogColumn>,
}

/// The columns of the key by name.
struct Key<'a> {
    columns: Vec<&'a str>,
    deferrable: bool,
}

/// As the catalogs show it.
pub(super) fn from_catalog(
    facts: &Facts,
    settings: &Postgres,
    publication: Option<&Publication>,
    types: &TypeMap,
) -> Result<TableInfo> {
    if let Some(partition) = &facts.unlogged_partition {
        return Err(Error::config(format!("its partition {partition} is not in the log, being unlogged or foreign"))
            .on(format!("table {}", facts.id))
            .remedy(format!("ALTER TABLE {} SET LOGGED, or detach it", quote_table(partition))));
    }
    if let Some(partition) = &facts.strange_partition {
        return Err(strange_partition(&facts.id, partition));
    }
    let identity = key::identity(facts.identity, &facts.indexes);
    let member = publication.and_then(|publication| Some((publication, publication.member(facts.oid)?)));
    let published = |column: &&CatalogColumn| match member {
        Some((publication, member)) => publication.publishes(member, column.number, &column.generated),
        None => column.generated.is_empty(),
    };
    let draft = |column| draft_of(column, facts.identity == ReplicaIdentity::Full || identity.contains(&column.number));
    let drafts: Vec<Draft<'_>> = facts.columns.iter().filter(published).map(draft).collect();
    let key = catalog_key(facts, facts.identity, |column| {
        column.not_null
            && drafts.iter().any(|draft| draft.name == column.name)
            && !settings.tables.leaves_out(&facts.id.schema, &facts.id.name, &column.name)
    })?;
    let info = build(facts.oid, &facts.id, facts.identity, &drafts, &key, settings, types)?;
    Ok(with_facts(info, facts))
}

/// As the log says it is.
pub(super) fn from_log(
    relation: &Relation,
    facts: Option<&Facts>,
    known: Option<&TableInfo>,
    settings: &Postgres,
    types: &TypeMap,
) -> Result<TableInfo> {
    let id = TableId::new(&relation.namespace, &relation.name);
    let drafts: Vec<Draft<'_>> = relation.columns.iter().map(|column| logged(column, facts)).collect();
    let has = |name: &&str| drafts.iter().any(|draft| draft.name == *name);
    let hint = match (facts, known) {
        (Some(facts), _) => catalog_key(facts, relation.identity, |column| {
            column.not_null
                && has(&column.name.as_str())
                && !settings.tables.leaves_out(&id.schema, &id.name, &column.name)
        })?,
        (None, Some(known)) => Key { columns: known_key(known), deferrable: known.deferrable_key },
        (None, None) => Key { columns: Vec::new(), deferrable: false },
    };
    let key = match relation.identity {
        ReplicaIdentity::Full | ReplicaIdentity::Nothing => hint,
        ReplicaIdentity::Default | ReplicaIdentity::Index => log_key(&drafts, hint),
    };
    // Columns that were dropped or renamed since the log was written.
    let key = if key.columns.iter().all(has) { key } else { Key { columns: Vec::new(), deferrable: false } };
    let info = build(relation.oid, &id, relation.identity, &drafts, &key, settings, types)?;
    Ok(match (facts, known) {
        (Some(facts), _) => with_facts(info, facts),
        (None, Some(known)) => TableInfo { partitioned: known.partitioned, pages: known.pages, ..info },
        (None, None) => info,
    })
}

fn draft_of(column: &CatalogColumn, identity: bool) -> Draft<'_> {
    Draft { name: &column.name, type_oid: column.type_oid, typmod: column.typmod, identity, facts: Some(column) }
}

fn logged<'a>(column: &'a RelationColumn, facts: Option<&'a Facts>) -> Draft<'a> {
    let same = |known: &&CatalogColumn| {
        known.name == column.name && known.type_oid == column.type_oid && known.typmod == column.typmod
    };
    Draft {
        name: &column.name,
        type_oid: column.type_oid,
        typmod: column.typmod,
        identity: column.key,
        facts: facts.and_then(|facts| facts.columns.iter().find(same)),
    }
}

/// The columns that the log marks are the key; the catalogs know their order, if they still have them.
fn log_key<'a>(drafts: &[Draft<'a>], hint: Key<'a>) -> Key<'a> {
    let marked: Vec<&str> = drafts.iter().filter(|draft| draft.identity).map(|draft| draft.name).collect();
    let same = marked.len() == hint.columns.len() && hint.columns.iter().all(|name| marked.contains(name));
    // A deferrable primary key is none to the server.
    if same || (marked.is_empty() && hint.deferrable) { hint } else { Key { columns: marked, deferrable: false } }
}

fn known_key(known: &TableInfo) -> Vec<&str> {
    let name = |index: &usize| known.schema.columns.get(*index).map(|column| column.name.as_str());
    known.schema.key.iter().filter_map(name).collect()
}

fn catalog_key(facts: &Facts, identity: ReplicaIdentity, usable: impl Fn(&CatalogColumn) -> bool) -> Result<Key<'_>> {
    let column = |number: i16| facts.columns.iter().find(|column| column.number == number);
    let index = key::choose(identity, &facts.indexes, |number| column(number).is_some_and(&usable));
    let Some(index) = index else { return Ok(Key { columns: Vec::new(), deferrable: false }) };
    let names: Option<Vec<&str>> =
        index.columns.iter().map(|number| column(*number).map(|column| column.name.as_str())).collect();
    let columns = names.ok_or_else(|| {
        Error::transient("the table changed while it was looked up").on(format!("table {}", facts.id))
    })?;
    Ok(Key { columns, deferrable: !index.immediate })
}

fn build(
    oid: u32,
    id: &TableId,
    identity: ReplicaIdentity,
    drafts: &[Draft<'_>],
    key: &Key<'_>,
    settings: &Postgres,
    types: &TypeMap,
) -> Result<TableInfo> {
    let (mut columns, mut binary, mut log_columns) = (Vec::new(), Vec::new(), Vec::new());
    for draft in drafts {
        let captured = !settings.tables.leaves_out(&id.schema, &id.name, draft.name);
        let place = captured.then_some(columns.len());
        if captured {
            let resolved = types.resolve(draft.type_oid, draft.typmod);
            binary.push(resolved.binary);
            columns.push(column(draft, !key.columns.contains(&draft.name), resolved));
        }
        let Draft { name, type_oid, typmod, identity, .. } = *draft;
        log_columns.push(LogColumn { name: name.to_owned(), type_oid, typmod, identity, place });
    }
    let place = |name: &&str| columns.iter().position(|column: &Column| column.name == *name);
    let places: Option<Vec<usize>> = key.columns.iter().map(place).collect();
    let Some(key_places) = places else { return Err(key_left_out(id, drafts, key, settings)) };
    Ok(TableInfo {
        oid,
        schema: Arc::new(TableSchema { table: id.clone(), columns, key: key_places }),
        replica_identity: identity,
        partitioned: false,
        deferrable_key: key.deferrable,
        // The log tells nothing of how cells are stored.
        partial_updates: identity != ReplicaIdentity::Full,
        weak_old_rows: false,
        row_security: false,
        pages: 0,
        binary: binary.into(),
        log_columns,
    })
}

/// The same table with what the catalogs say of its columns now, as far as that decides nothing; `None`: it is as it was.
pub(super) fn refreshed(known: &TableInfo, facts: &Facts, types: &TypeMap) -> Option<TableInfo> {
    let mut schema = TableSchema::clone(&known.schema);
    for logged in &known.log_columns {
        let same = |column: &&CatalogColumn| {
            column.name == logged.name && column.type_oid == logged.type_oid && column.typmod == logged.typmod
        };
        let column = logged.place.and_then(|place| schema.columns.get_mut(place));
        if let Some((column, now)) = column.zip(facts.columns.iter().find(same)) {
            column.facts = Arc::new(facts_of(Some(now), &types.resolve(now.type_oid, now.typmod)));
        }
    }
    (schema != *known.schema).then(|| TableInfo { schema: Arc::new(schema), ..known.clone() })
}

/// What is told of a column beside its values.
fn facts_of(column: Option<&CatalogColumn>, resolved: &Resolved) -> ColumnFacts {
    ColumnFacts {
        base_type: resolved.base.clone(),
        not_null: column.map(|column| column.not_null || column.domain_not_null),
        default: column.and_then(|column| column.default.clone()),
        labels: resolved.labels.clone(),
    }
}

fn column(draft: &Draft<'_>, nullable: bool, resolved: Resolved) -> Column {
    let facts = Arc::new(facts_of(draft.facts, &resolved));
    let missing = draft.facts.and_then(|facts| facts.missing.as_deref());
    Column {
        name: draft.name.to_owned(),
        ty: resolved.ty,
        nullable,
        source_type: resolved.name,
        initial_default: missing.map(Arc::from),
        facts,
        decoder: resolved.decoder,
    }
}

fn with_facts(mut info: TableInfo, facts: &Facts) -> TableInfo {
    info.weak_old_rows = info.replica_identity == ReplicaIdentity::Full && facts.weak_partition.is_some();
    // A cell of the identity that lies out of line comes with an old row.
    let may_lack = |(column, carried): (&LogColumn, &bool)| {
        let toastable = |known: &CatalogColumn| known.name != column.name || known.toastable;
        !carried && column.place.is_some() && facts.columns.iter().all(toastable)
    };
    let carried = info.old_cells();
    info.partial_updates = facts.toasted && info.log_columns.iter().zip(&*carried).any(may_lack);
    info.partitioned = facts.partitioned;
    info.row_security = facts.row_security;
    info.pages = facts.pages;
    info
}

fn key_left_out(id: &TableId, drafts: &[Draft<'_>], key: &Key<'_>, settings: &Postgres) -> Error {
    let object = format!("table {id}");
    if let Some(name) = key.columns.iter().find(|name| settings.tables.leaves_out(&id.schema, &id.name, name)) {
        return Error::config(format!("its key column {name} is left out, but a key is needed whole"))
            .on(object)
            .remedy("correct source.postgres.tables.exclude_columns");
    }
    let unpublished = |name: &&&str| drafts.iter().all(|draft| draft.name != **name);
    let name = key.columns.iter().find(unpublished).copied().unwrap_or_default();
    let (publication, table) = (quote_ident(&settings.publication), quote_table(id));
    Error::config(format!("its key column {name} is not published")).on(object).remedy(format!(
        "ALTER PUBLICATION {publication} DROP TABLE {table}; ALTER PUBLICATION {publication} ADD TABLE {table}; \
         if the column is generated: ALTER TABLE {table} REPLICA IDENTITY USING INDEX, one without it"
    ))
}

/// Old rows of the partition do not carry what old rows of the table must.
pub(super) fn strange_partition(table: &TableId, partition: &TableId) -> Error {
    Error::data(format!("its partition {partition} has a replica identity that does not fit"))
        .on(format!("table {table}"))
        .remedy(format!("ALTER TABLE {} REPLICA IDENTITY FULL", quote_table(partition)))
}
