//! The publication: what it must be, and how it is made.
//!
//! It must publish every captured table, whole (no row filter), with all four kinds of change, partitioned tables under
//! their root. Made by us it names exactly the captured tables; a publication for all tables would need a superuser, and
//! would make every UPDATE of a table without a key fail.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::{Client, Row};
use walbrook_config::Postgres;
use walbrook_model::{Error, ErrorKind, Result, TableId};

use crate::connection::error::sqlstate;
use crate::schema::type_map::TypeMap;
use crate::sql::{self, quote_ident};
use crate::tables;
use crate::tables::selection::{self, Selection};

/// A publication as the catalog shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publication {
    pub(crate) name: String,
    /// What it publishes, of `insert`, `update`, `delete`, `truncate`.
    pub(crate) operations: Vec<String>,
    /// The changes of partitions come under their root.
    pub(crate) via_root: bool,
    /// Stored generated columns are published (since version 18).
    pub(crate) generated: bool,
    members: HashMap<u32, Member>,
}

/// A published table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    /// Numbers of the published columns; `None`: all.
    pub(crate) columns: Option<Vec<i16>>,
    /// Rows that do not pass a filter are not published.
    pub(crate) filtered: bool,
}

/// Something about a publication that makes captured changes not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The table, if it is about one.
    pub(crate) table: Option<TableId>,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];

// Columns that the server's version does not have are read through `to_jsonb`, where they are merely missing.
const PUBLICATION: &str = "\
    SELECT p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot, \
        coalesce(to_jsonb(p) ->> 'pubgencols', 'n') = 's' \
    FROM pg_publication p WHERE p.pubname = $1::text";

const MEMBERS: &str = "\
    SELECT g.relid::oid, coalesce(to_jsonb(r) ->> 'prqual', '') <> '', \
        CASE jsonb_typeof(to_jsonb(r) -> 'prattrs') WHEN 'array' THEN \
            (SELECT array_agg(a::int2) FROM jsonb_array_elements_text(to_jsonb(r) -> 'prattrs') a) END \
    FROM pg_publication p CROSS JOIN LATERAL pg_get_publication_tables(p.pubname::text) g \
    LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = g.relid::oid \
    WHERE p.pubname = $1::text";

/// Looks a publication up.
pub(crate) async fn load(client: &Client, name: &str) -> Result<Option<Publication>> {
    let Some(row) = client.query_opt(PUBLICATION, &[&name]).await.map_err(sql::error)? else { return Ok(None) };
    let mut publication = from_row(name, &row).map_err(sql::error)?;
    for row in client.query(MEMBERS, &[&name]).await.map_err(sql::error)? {
        let member =
            Member { filtered: row.try_get(1).map_err(sql::error)?, columns: row.try_get(2).map_err(sql::error)? };
        publication.members.insert(row.try_get(0).map_err(sql::error)?, member);
    }
    Ok(Some(publication))
}

fn from_row(name: &str, row: &Row) -> Result<Publication, tokio_postgres::Error> {
    let mut operations = Vec::new();
    for (index, operation) in OPERATIONS.iter().enumerate() {
        if row.try_get(index)? {
            operations.push((*operation).to_owned());
        }
    }
    let (via_root, generated) = (row.try_get(4)?, row.try_get(5)?);
    Ok(Publication { name: name.to_owned(), operations, via_root, generated, members: HashMap::new() })
}

/// Makes sure that the publication is there and publishes what is captured. Creates it if it is missing and the settings
/// allow it.
///
/// # Errors
/// Config, with the SQL that mends it.
pub(crate) async fn ensure(settings: &Postgres) -> Result<()> {
    let client = sql::connect(settings).await?;
    let selection = selection::select(&client, &settings.tables).await?;
    if selection.captured.is_empty() {
        return Err(Error::config("no table of the database is captured").on("source.postgres.tables.include"));
    }
    if let Some(publication) = load(&client, &settings.publication).await? {
        return refuse(&publication, faults(&client, &publication, &selection).await?);
    }
    let create = create_statement(&settings.publication, &selection);
    let object = format!("publication {}", settings.publication);
    for table in tables::describe(&client, settings, None, &mut TypeMap::default(), &BTreeMap::new()).await? {
        // We do not break the application that writes the table.
        if let Some((what, remedy)) = table.identity_fault() {
            return Err(Error::config(what).on(format!("table {}", table.schema.table)).remedy(remedy));
        }
    }
    if !settings.create_publication {
        return Err(Error::config("the publication does not exist").on(object).remedy(create));
    }
    // The session reads only; this is the one statement of ours that writes.
    let made = client.batch_execute(&format!("BEGIN READ WRITE; {create}; COMMIT")).await.map_err(sql::error);
    match made {
        Ok(()) => {
            tracing::info!(
                publication = settings.publication,
                tables = selection.captured.len(),
                "publication created"
            );
            Ok(())
        }
        Err(error) if matches!(sqlstate(&error), Some("42501")) => {
            let remedy = format!("as a superuser or the owner of the tables: {create}");
            Err(error.with_kind(ErrorKind::Config).on(object).remedy(remedy))
        }
        Err(error) => Err(error.on(object)),
    }
}

/// What makes captured changes not arrive.
pub(crate) async fn faults(client: &Client, publication: &Publication, selection: &Selection) -> Result<Vec<Fault>> {
    const PARTITIONED: &str = "SELECT oid FROM pg_class WHERE oid = ANY($1) AND relkind = 'p'";
    let oids: Vec<u32> = selection.captured.iter().map(|(oid, _)| *oid).collect();
    let rows = client.query(PARTITIONED, &[&oids]).await.map_err(sql::error)?;
    let partitioned = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<u32>, _>>().map_err(sql::error)?;
    Ok(judge(publication, selection, &partitioned))
}

fn judge(publication: &Publication, selection: &Selection, partitioned: &[u32]) -> Vec<Fault> {
    let name = quote_ident(&publication.name);
    let mut faults = Vec::new();
    let missing: Vec<&str> =
        OPERATIONS.into_iter().filter(|operation| !publication.operations.iter().any(|o| o == operation)).collect();
    if !missing.is_empty() {
        faults.push(Fault {
            table: None,
            what: format!("the publication does not publish {}", missing.join(", ")),
            remedy: format!("ALTER PUBLICATION {name} SET (publish = '{}')", OPERATIONS.join(", ")),
        });
    }
    for (oid, id) in &selection.captured {
        let fault = |what: &str, remedy: String| Fault { table: Some(id.clone()), what: what.to_owned(), remedy };
        if partitioned.contains(oid) && !publication.via_root {
            faults.push(fault(
                "the publication sends the changes of its partitions under their own names",
                format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = true)"),
            ));
            continue;
        }
        match publication.member(*oid) {
            None => faults.push(fault(
                "the table is not in the publication, its changes do not arrive",
                format!("ALTER PUBLICATION {name} ADD TABLE {}", quote_table(id)),
            )),
            Some(member) if member.filtered => faults.push(fault(
                "the publication has a row filter on the table, some of its changes do not arrive",
                format!(
                    "ALTER PUBLICATION {name} DROP TABLE {0}; ALTER PUBLICATION {name} ADD TABLE {0}",
                    quote_table(id)
                ),
            )),
            Some(_) => {}
        }
    }
    faults
}

fn refuse(publication: &Publication, faults: Vec<Fault>) -> Result<()> {
    let more = faults.len().saturating_sub(1);
    let Some(first) = faults.into_iter().next() else { return Ok(()) };
    let what = if more == 0 { first.what } else { format!("{} (and {more} more, see `walbrook check`)", first.what) };
    let object = match first.table {
        Some(table) => format!("table {table}"),
        None => format!("publication {}", publication.name),
    };
    Err(Error::config(what).on(object).remedy(first.remedy))
}

/// The statement that makes a publication of exactly the captured tables.
pub(crate) fn create_statement(name: &str, selection: &Selection) -> String {
    let tables: Vec<String> = selection.captured.iter().map(|(_, id)| quote_table(id)).collect();
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = '{}', publish_via_partition_root = true)",
        quote_ident(name),
        // Children by inheritance are tables of their own.
        tables.iter().map(|table| format!("ONLY {table}")).collect::<Vec<_>>().join(", "),
        OPERATIONS.join(", "),
    )
}

/// `"schema"."table"`.
pub(crate) fn quote_table(id: &TableId) -> String {
    format!("{}.{}", quote_ident(&id.schema), quote_ident(&id.name))
}

impl Publication {
    /// The table, if it is published under its own name.
    pub(crate) fn member(&self, oid: u32) -> Option<&Member> {
        self.members.get(&oid)
    }

    /// Whether a column of a member is in the rows of the log. `generated` is `s` for a stored generated column, `v` for a
    /// virtual one, which no version publishes.
    pub(crate) fn publishes(&self, member: &Member, column: i16, generated: &str) -> bool {
        match (&member.columns, generated) {
            (_, "v") => false,
            (Some(columns), _) => columns.contains(&column),
            (None, "s") => self.generated,
            (None, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection() -> Selection {
        let captured = vec![(1, TableId::new("public", "a")), (2, TableId::new("Sh\"op", "F 1"))];
        Selection { captured, ..Selection::default() }
    }

    fn publication() -> Publication {
        Publication {
            name: "p".to_owned(),
            operations: OPERATIONS.map(str::to_owned).to_vec(),
            via_root: true,
            generated: false,
            members: HashMap::from([(1, Member::default()), (2, Member::default())]),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Publication), partitioned: &[u32], remedies: &[&str]) {
        let mut publication = publication();
        change(&mut publication);
        let faults = judge(&publication, &selection(), partitioned);
        assert_eq!(faults.iter().map(|fault| fault.remedy.as_str()).collect::<Vec<_>>(), remedies);
        assert_eq!(refuse(&publication, faults).is_err(), !remedies.is_empty());
    }

    #[test]
    fn a_publication_must_publish_all_of_the_captured_tables() {
        check(|_| {}, &[2], &[]);
        check(
            |p| p.operations.retain(|operation| operation != "truncate"),
            &[],
            &["ALTER PUBLICATION \"p\" SET (publish = 'insert, update, delete, truncate')"],
        );
        check(|p| p.via_root = false, &[], &[]);
        check(|p| p.via_root = false, &[2], &["ALTER PUBLICATION \"p\" SET (publish_via_partition_root = true)"]);
        check(|p| drop(p.members.remove(&2)), &[], &["ALTER PUBLICATION \"p\" ADD TABLE \"Sh\"\"op\".\"F 1\""]);
        check(
            |p| p.members.get_mut(&1).unwrap().filtered = true,
            &[],
            &[
                "ALTER PUBLICATION \"p\" DROP TABLE \"public\".\"a\"; ALTER PUBLICATION \"p\" ADD TABLE \"public\".\"a\"",
            ],
        );
    }

    #[test]
    fn the_publication_names_the_captured_tables() {
        assert_eq!(
            create_statement("my pub", &selection()),
            "CREATE PUBLICATION \"my pub\" FOR TABLE ONLY \"public\".\"a\", ONLY \"Sh\"\"op\".\"F 1\" \
             WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
        );
    }

    #[test]
    fn published_columns() {
        let check = |generated, columns: Option<&[i16]>, column, kind, expected| {
            let publication = Publication { generated, ..publication() };
            let member = Member { columns: columns.map(<[i16]>::to_vec), filtered: false };
            assert_eq!(publication.publishes(&member, column, kind), expected, "{columns:?} {column} {kind:?}");
        };
        check(false, None, 1, "", true);
        check(false, None, 1, "s", false);
        check(true, None, 1, "s", true);
        check(true, None, 1, "v", false);
        check(false, Some(&[1, 2]), 2, "s", true);
        check(false, Some(&[1, 2]), 3, "", false);
    }
}
