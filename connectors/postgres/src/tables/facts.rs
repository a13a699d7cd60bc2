//! What the catalogs say about tables: one query for the tables, one for their columns, one for their unique indexes.
//!
//! The queries do not share a snapshot unless the caller's transaction has one. What they say together may so be a mix of
//! before and after a change of the table; the stream compares it with what the log says.

use std::collections::HashMap;

use tokio_postgres::{Client, Row};
use walbrook_model::{Error, Result, TableId};

use super::fingerprint::Fingerprint;
use crate::schema::key::Index;
use crate::schema::type_map::Declared;
use crate::sql;
use crate::values::single_element;
use crate::wire::pgoutput::ReplicaIdentity;

/// A table as the catalogs show it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) oid: u32,
    pub(crate) id: TableId,
    pub(crate) identity: ReplicaIdentity,
    pub(crate) partitioned: bool,
    /// Policies hide rows from our role.
    pub(crate) row_security: bool,
    pub(crate) pages: i64,
    /// Cells may lie out of line: the table or a partition of it has room for them.
    pub(crate) toasted: bool,
    /// A partition whose old rows carry its primary key alone, although the table's identity is full.
    pub(crate) weak_partition: Option<TableId>,
    /// A partition whose old rows carry other columns than the table's identity says.
    pub(crate) strange_partition: Option<TableId>,
    /// A partition that is not in the log, being unlogged or foreign.
    pub(crate) unlogged_partition: Option<TableId>,
    /// In the order of their numbers.
    pub(crate) columns: Vec<CatalogColumn>,
    /// The unique ones.
    pub(crate) indexes: Vec<Index>,
}

/// A column as the catalogs show it.
#[derive(Clone, Debug)]
pub(crate) struct CatalogColumn {
    pub(crate) number: i16,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) typmod: i32,
    /// No row has NULL there.
    pub(crate) not_null: bool,
    /// Its type is a domain that forbids NULL.
    pub(crate) domain_not_null: bool,
    /// The expression of its default.
    pub(crate) default: Option<String>,
    /// `s`, `v` or nothing.
    pub(crate) generated: String,
    /// Its cells may lie out of line.
    pub(crate) toastable: bool,
    /// What the rows have that were there before the column.
    pub(crate) missing: Option<Vec<u8>>,
}

const TABLES: &str = "\
    SELECT c.oid, n.nspname::text, c.relname::text, c.relreplident::text, c.relkind = 'p', row_security_active(c.oid), \
        l.pages, l.toasted, \
        (SELECT ARRAY[m.nspname::text, p.relname::text] FROM pg_class p JOIN pg_namespace m ON m.oid = p.relnamespace \
         WHERE p.oid = l.weak), \
        (SELECT ARRAY[m.nspname::text, p.relname::text] FROM pg_class p JOIN pg_namespace m ON m.oid = p.relnamespace \
         WHERE p.oid = l.strange), \
        (SELECT ARRAY[m.nspname::text, p.relname::text] FROM pg_class p JOIN pg_namespace m ON m.oid = p.relnamespace \
         WHERE p.oid = l.unlogged) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL ( \
        SELECT sum(greatest(p.relpages, 0))::bigint AS pages, bool_or(p.reltoastrelid <> 0) AS toasted, \
            min(p.oid) FILTER (WHERE p.relreplident = 'd' AND c.relreplident = 'f') AS weak, \
            min(p.oid) FILTER (WHERE p.relreplident = 'd' AND c.relreplident = 'i' OR p.relreplident = 'i' AND NOT EXISTS ( \
                SELECT FROM pg_index i JOIN pg_index r ON r.indrelid = c.oid AND r.indisreplident \
                WHERE i.indrelid = p.oid AND i.indisreplident AND c.relreplident = 'i' \
                    AND (i.indexrelid = r.indexrelid OR r.indexrelid IN (SELECT pg_partition_ancestors(i.indexrelid))))) \
                AS strange, \
            min(p.oid) FILTER (WHERE p.relkind = 'f' OR p.relpersistence <> 'p') AS unlogged \
        FROM (SELECT c.oid UNION SELECT t.relid FROM pg_partition_tree(c.oid) t WHERE t.isleaf) part \
        JOIN pg_class p ON p.oid = part.oid \
    ) l \
    WHERE c.oid = ANY($1) AND c.relkind IN ('r', 'p') ORDER BY n.nspname, c.relname";

// A partitioned table has no rows of its own: its partitions tell what old rows have. A constraint that was not validated
// (since version 18) promises nothing about old rows. With the table's number, the expression of a default would be printed
// under a lock of the table since version 17; it names no column, so it can do without.
const COLUMNS: &str = "\
    SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, \
        a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' \
            AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated), \
        a.attgenerated::text, a.attlen = -1 AND t.typstorage <> 'p', \
        CASE WHEN a.atthasmissing THEN a.attmissingval::text WHEN c.relkind = 'p' THEN \
            (SELECT p.attmissingval::text FROM pg_partition_tree(c.oid) l JOIN pg_attribute p ON p.attrelid = l.relid \
             WHERE p.attname = a.attname AND p.atthasmissing ORDER BY p.attrelid LIMIT 1) END, \
        t.typnotnull, CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, 0) END \
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = a.attrelid \
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum";

const INDEXES: &str = "\
    SELECT i.indrelid, i.indexrelid, \
        (SELECT array_agg(k.number ORDER BY k.place) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place) \
         WHERE k.place <= i.indnkeyatts), \
        i.indisprimary, i.indisreplident, i.indimmediate, i.indisvalid AND i.indisready AND i.indpred IS NULL \
    FROM pg_index i WHERE i.indrelid = ANY($1) AND i.indisunique ORDER BY i.indexrelid";

/// Looks tables up; those that do not exist are left out. In order of their names.
pub(crate) async fn load(client: &Client, oids: &[u32]) -> Result<Vec<Facts>> {
    let rows = client.query(TABLES, &[&oids]).await.map_err(sql::error)?;
    let mut tables = rows.iter().map(table).collect::<Result<Vec<Facts>>>()?;
    let places: HashMap<u32, usize> = tables.iter().enumerate().map(|(place, table)| (table.oid, place)).collect();
    let mut on = |oid: u32| places.get(&oid).copied();
    for row in client.query(COLUMNS, &[&oids]).await.map_err(sql::error)? {
        let place = row.try_get(0).map(&mut on).map_err(sql::error)?;
        if let Some(table) = place.and_then(|place| tables.get_mut(place)) {
            table.columns.push(column(&row)?);
        }
    }
    for row in client.query(INDEXES, &[&oids]).await.map_err(sql::error)? {
        let place = row.try_get(0).map(&mut on).map_err(sql::error)?;
        if let Some(table) = place.and_then(|place| tables.get_mut(place)) {
            table.indexes.push(index(&row).map_err(sql::error)?);
        }
    }
    Ok(tables)
}

fn table(row: &Row) -> Result<Facts> {
    let partition = |column: usize| -> Result<Option<TableId>> {
        let names: Option<Vec<String>> = row.try_get(column).map_err(sql::error)?;
        Ok(names.and_then(|names| match <[String; 2]>::try_from(names) {
            Ok([schema, name]) => Some(TableId { schema, name }),
            Err(_) => None,
        }))
    };
    let get = |column: usize| row.try_get::<_, bool>(column).map_err(sql::error);
    let identity: &str = row.try_get(3).map_err(sql::error)?;
    Ok(Facts {
        oid: row.try_get(0).map_err(sql::error)?,
        id: TableId { schema: row.try_get(1).map_err(sql::error)?, name: row.try_get(2).map_err(sql::error)? },
        identity: replica_identity(identity)?,
        partitioned: get(4)?,
        row_security: get(5)?,
        pages: row.try_get(6).map_err(sql::error)?,
        toasted: get(7)?,
        weak_partition: partition(8)?,
        strange_partition: partition(9)?,
        unlogged_partition: partition(10)?,
        columns: Vec::new(),
        indexes: Vec::new(),
    })
}

fn replica_identity(letter: &str) -> Result<ReplicaIdentity> {
    Ok(match letter {
        "d" => ReplicaIdentity::Default,
        "n" => ReplicaIdentity::Nothing,
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        _ => return Err(Error::bug("the catalog has an unknown replica identity")),
    })
}

fn column(row: &Row) -> Result<CatalogColumn> {
    let missing = missing(row.try_get(8).map_err(sql::error)?)?;
    let build = || -> Result<CatalogColumn, tokio_postgres::Error> {
        Ok(CatalogColumn {
            number: row.try_get(1)?,
            name: row.try_get(2)?,
            type_oid: row.try_get(3)?,
            typmod: row.try_get(4)?,
            not_null: row.try_get(5)?,
            generated: row.try_get(6)?,
            toastable: row.try_get(7)?,
            missing,
            domain_not_null: row.try_get(9)?,
            default: row.try_get(10)?,
        })
    };
    build().map_err(sql::error)
}

/// The value of rows from before a column, from `attmissingval`.
pub(super) fn missing(array: Option<&str>) -> Result<Option<Vec<u8>>> {
    array.map(|array| single_element(array.as_bytes())).transpose().map(Option::flatten)
}

fn index(row: &Row) -> Result<Index, tokio_postgres::Error> {
    let columns: Option<Vec<i16>> = row.try_get(2)?;
    Ok(Index {
        oid: row.try_get(1)?,
        columns: columns.unwrap_or_default(),
        primary: row.try_get(3)?,
        identity: row.try_get(4)?,
        immediate: row.try_get(5)?,
        whole: row.try_get(6)?,
    })
}

impl Facts {
    /// Fills in what the catalogs held at an earlier look: a rewrite of the table puts these values into the rows.
    pub(super) fn recall(&mut self, fingerprint: &Fingerprint) {
        for column in &mut self.columns {
            column.missing = column.missing.take().or_else(|| fingerprint.held(column.number));
        }
    }

    /// The types of its columns.
    pub(crate) fn declared(&self) -> impl Iterator<Item = Declared> {
        self.columns.iter().map(|column| (column.type_oid, column.typmod))
    }
}
