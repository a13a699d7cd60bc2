//! The tables, our rights on them, and the publication.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::Client;
use walbrook_config::{Postgres, SnapshotMode, Tables};
use walbrook_model::{Finding, Result, TableId};

use super::server::Server;
use crate::publication::{self, Publication, quote_table};
use crate::schema::type_map::TypeMap;
use crate::sql::{self, quote_ident};
use crate::tables::facts::Facts;
use crate::tables::selection::{self, Selection};
use crate::tables::{self, TableInfo};
use crate::wire::pgoutput::ReplicaIdentity;

/// What our role may do with a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    pub(super) reads: bool,
    pub(super) uses_schema: bool,
    pub(super) owns: bool,
}

const RIGHTS: &str = "\
    SELECT c.oid, has_table_privilege(c.oid, 'SELECT'), has_schema_privilege(c.relnamespace, 'USAGE'), \
        pg_has_role(c.relowner, 'USAGE') \
    FROM pg_class c WHERE c.oid = ANY($1)";

/// Looks at the tables that the settings name, and at the publication.
pub(super) async fn look(
    client: &Client,
    settings: &Postgres,
    server: &Server,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let selection = selection::select(client, &settings.tables).await?;
    findings.extend(check_selection(&selection, &settings.tables));
    let publication = match settings.snapshot.mode {
        SnapshotMode::Only => None,
        _ => publication::load(client, &settings.publication).await?,
    };
    let oids: Vec<u32> = selection.captured.iter().map(|(oid, _)| *oid).collect();
    let rights = rights(client, &oids).await?;
    let mut types = TypeMap::default();
    let described =
        tables::look_up(client, settings, publication.as_ref(), &mut types, &oids, &BTreeMap::new()).await?;
    match &publication {
        Some(publication) => {
            let faults = publication::faults(client, publication, &selection).await?;
            findings.extend(faults.into_iter().map(|fault| from_fault(fault, &publication.name)));
        }
        None if settings.snapshot.mode == SnapshotMode::Only => {}
        None => findings.extend(check_creation(&selection, &rights, server, settings)),
    }
    for (facts, info) in &described {
        let rights = rights.get(&facts.oid).copied();
        findings.extend(check_select(facts, rights, settings));
        match info {
            Err(error) => findings.push(Finding::from_error(error, &object(&facts.id))),
            Ok(info) => findings.extend(check_table(facts, info, publication.as_ref(), server, settings)),
        }
    }
    let facts: Vec<&Facts> = described.iter().map(|(facts, _)| facts).collect();
    findings.extend(check_left_out_columns(&facts, &settings.tables));
    findings.extend(types.unknown().map(|name| {
        Finding::info(format!("type {name}"), "walbrook does not know the type, its values are stored as text")
    }));
    Ok(())
}

async fn rights(client: &Client, oids: &[u32]) -> Result<HashMap<u32, Rights>> {
    let mut rights = HashMap::new();
    for row in client.query(RIGHTS, &[&oids]).await.map_err(sql::error)? {
        let read = || -> Result<(u32, Rights), tokio_postgres::Error> {
            let of_table = Rights { reads: row.try_get(1)?, uses_schema: row.try_get(2)?, owns: row.try_get(3)? };
            Ok((row.try_get(0)?, of_table))
        };
        let (oid, of_table) = read().map_err(sql::error)?;
        rights.insert(oid, of_table);
    }
    Ok(rights)
}

fn object(id: &TableId) -> String {
    format!("table {id}")
}

/// Patterns that match nothing, and what is named but not in the log.
pub(super) fn check_selection(selection: &Selection, tables: &Tables) -> Vec<Finding> {
    let mut findings = Vec::new();
    if selection.captured.is_empty() {
        let remedy = "correct source.postgres.tables.include";
        findings.push(Finding::error("source.postgres.tables", "no table of the database is captured", remedy));
    }
    for pattern in &selection.unmatched {
        let (what, remedy) = ("the pattern matches no table", "correct source.postgres.tables.include");
        findings.push(named_or_wild(pattern, what, remedy));
    }
    for (id, refused) in &selection.refused {
        let what = format!("{}: it is not in the log, so it is not captured", refused.as_str());
        let named = tables.include.iter().any(|pattern| *pattern == id.to_string());
        findings.push(if named {
            Finding::error(object(id), what, "take it out of source.postgres.tables.include")
        } else {
            Finding::info(object(id), what)
        });
    }
    findings
}

/// A name that does not exist is a mistake; a pattern may be there for tables to come.
fn named_or_wild(pattern: &str, what: &str, remedy: &str) -> Finding {
    let object = format!("pattern {pattern}");
    if pattern.contains('*') { Finding::warning(object, what, remedy) } else { Finding::error(object, what, remedy) }
}

fn from_fault(fault: publication::Fault, publication: &str) -> Finding {
    let about = fault.table.map_or_else(|| format!("publication {publication}"), |id| object(&id));
    Finding::error(about, fault.what, fault.remedy)
}

/// The publication is missing: may we make it?
pub(super) fn check_creation(
    selection: &Selection,
    rights: &HashMap<u32, Rights>,
    server: &Server,
    settings: &Postgres,
) -> Option<Finding> {
    if selection.captured.is_empty() {
        return None;
    }
    let object = format!("publication {}", settings.publication);
    let create = publication::create_statement(&settings.publication, selection);
    if !settings.create_publication {
        return Some(Finding::error(object, "the publication does not exist", create));
    }
    let not_owned: Vec<String> = selection
        .captured
        .iter()
        .filter(|(oid, _)| !rights.get(oid).is_some_and(|rights| rights.owns))
        .map(|(_, id)| id.to_string())
        .collect();
    let what = match not_owned.first() {
        _ if server.superuser => None,
        Some(first) => Some(format!("it does not exist, and the role may not make it: it does not own {first}")),
        None if !server.creates => Some("it does not exist, and the role has no CREATE on the database".to_owned()),
        None => None,
    };
    Some(match what {
        Some(what) => Finding::error(object, what, format!("as a superuser or the owner of the tables: {create}")),
        None => Finding::info(
            object,
            format!("it does not exist, the first start makes it of {} tables", selection.captured.len()),
        ),
    })
}

/// The snapshot reads and locks the tables.
pub(super) fn check_select(facts: &Facts, rights: Option<Rights>, settings: &Postgres) -> Option<Finding> {
    let role = quote_ident(&settings.user);
    let rights = rights.filter(|_| settings.snapshot.mode != SnapshotMode::Never)?;
    let (what, remedy) = if !rights.uses_schema {
        let schema = quote_ident(&facts.id.schema);
        ("the role may not use its schema", format!("GRANT USAGE ON SCHEMA {schema} TO {role}"))
    } else if !rights.reads {
        ("the role may not read it", format!("GRANT SELECT ON {} TO {role}", quote_table(&facts.id)))
    } else {
        return None;
    };
    Some(Finding::error(object(&facts.id), what, remedy))
}

fn check_table(
    facts: &Facts,
    info: &TableInfo,
    publication: Option<&Publication>,
    server: &Server,
    settings: &Postgres,
) -> Vec<Finding> {
    let checks = [
        check_identity(info),
        check_weak_partition(facts),
        check_partial_updates(facts, info),
        check_key(facts, info),
        check_row_security(facts, settings),
        check_generated(facts, info, publication, server),
        check_column_list(facts, info),
    ];
    checks.into_iter().flatten().collect()
}

fn check_identity(info: &TableInfo) -> Option<Finding> {
    let (what, remedy) = info.identity_fault()?;
    Some(Finding::error(object(&info.schema.table), what, remedy))
}

/// New partitions do not inherit the identity of their table.
pub(super) fn check_weak_partition(facts: &Facts) -> Option<Finding> {
    let partition = facts.weak_partition.as_ref()?;
    let what = format!("its replica identity is full, but that of its partition {partition} is not");
    let remedy = format!("ALTER TABLE {} REPLICA IDENTITY FULL", quote_table(partition));
    Some(Finding::error(object(&facts.id), what, remedy))
}

/// An unchanged cell that lies out of line is in the log only with a full identity. The merge fills it from the stored
/// row, at the cost of reading it.
pub(super) fn check_partial_updates(facts: &Facts, info: &TableInfo) -> Option<Finding> {
    let identified = !info.schema.key.is_empty() && !info.deferrable_key && facts.identity != ReplicaIdentity::Nothing;
    (info.partial_updates && identified && facts.weak_partition.is_none()).then(|| {
        let table = quote_table(&facts.id);
        let remedy = if facts.partitioned {
            format!("ALTER TABLE {table} REPLICA IDENTITY FULL, and the same for each of its partitions")
        } else {
            format!("ALTER TABLE {table} REPLICA IDENTITY FULL")
        };
        let what = "an update leaves large values that did not change out of the log: they are read from the lake's row, \
                    which costs time; a full identity brings them along";
        Finding { remedy: Some(remedy), ..Finding::info(object(&facts.id), what) }
    })
}

pub(super) fn check_key(facts: &Facts, info: &TableInfo) -> Option<Finding> {
    (info.schema.key.is_empty() && facts.identity == ReplicaIdentity::Full).then(|| {
        let remedy = format!(
            "give it a primary key, or a table of its own in the lake: [sink.lake.table.\"{}\"] mode = \"append\"",
            facts.id
        );
        Finding::warning(object(&facts.id), "it has no key: only mode = \"append\" can take it", remedy)
    })
}

pub(super) fn check_row_security(facts: &Facts, settings: &Postgres) -> Option<Finding> {
    (facts.row_security && settings.snapshot.mode != SnapshotMode::Never).then(|| {
        let (role, table) = (quote_ident(&settings.user), quote_table(&facts.id));
        let remedy = format!("ALTER ROLE {role} BYPASSRLS; or ALTER TABLE {table} DISABLE ROW LEVEL SECURITY");
        Finding::error(object(&facts.id), "row level security hides rows from the role, a snapshot would fail", remedy)
    })
}

pub(super) fn check_generated(
    facts: &Facts,
    info: &TableInfo,
    publication: Option<&Publication>,
    server: &Server,
) -> Option<Finding> {
    let missing = |kind: &str| missing(facts, info, |generated| generated == kind);
    let (stored, computed) = (missing("s"), missing("v"));
    let columns: Vec<&str> = stored.iter().chain(&computed).copied().collect();
    if columns.is_empty() {
        return None;
    }
    let what = format!("the log does not hold its generated columns {}", columns.join(", "));
    let remedy = publication.filter(|_| server.version >= 180_000 && !stored.is_empty()).map(|publication| {
        let name = quote_ident(&publication.name);
        format!("if they are wanted: ALTER PUBLICATION {name} SET (publish_generated_columns = stored)")
    });
    Some(Finding { remedy, ..Finding::info(object(&facts.id), what) })
}

pub(super) fn check_column_list(facts: &Facts, info: &TableInfo) -> Option<Finding> {
    let columns = missing(facts, info, str::is_empty);
    (!columns.is_empty()).then(|| {
        let what = format!("the publication has a list of its columns, {} are not captured", columns.join(", "));
        Finding::info(object(&facts.id), what)
    })
}

/// Columns that are not in the rows of the log.
fn missing<'a>(facts: &'a Facts, info: &TableInfo, kind: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let logged = |name: &str| info.log_columns.iter().any(|column| column.name == name);
    let columns = facts.columns.iter().filter(|column| kind(&column.generated) && !logged(&column.name));
    columns.map(|column| column.name.as_str()).collect()
}

/// A pattern with a slip of the pen would let through what must not reach the lake.
pub(super) fn check_left_out_columns(tables: &[&Facts], settings: &Tables) -> Vec<Finding> {
    let matches = |pattern: &String| {
        let alone = Tables { exclude_columns: vec![pattern.clone()], ..settings.clone() };
        tables.iter().any(|facts| {
            let TableId { schema, name } = &facts.id;
            facts.columns.iter().any(|column| alone.leaves_out(schema, name, &column.name))
        })
    };
    let unmatched = settings.exclude_columns.iter().filter(|pattern| !matches(pattern));
    let finding = |pattern: &String| {
        named_or_wild(pattern, "the pattern leaves out no column", "correct source.postgres.tables.exclude_columns")
    };
    unmatched.map(finding).collect()
}
