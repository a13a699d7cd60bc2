//! What shows that rows changed without a change in the log: by a command that rewrote the table, or that gave the labels of
//! an enum other names.
//!
//! Such commands send no rows. So of each table a [`Fingerprint`] is kept in the checkpoint and compared with what the
//! catalogs show: whenever the log describes the table, when a stream begins, and now and then. The catalogs show the
//! present while the log is read later; a fingerprint is only ever compared with an earlier one, so each command lies
//! between two of them, wherever the log is.
//!
//! # The rules
//!
//! **A column was added.** What rows from before it have there:
//!
//! - The catalogs hold a value for them (`atthasmissing`): that one, however the default changed since.
//! - They do not, and the table's file is the same, or that of some partition: NULL. To give rows anything else, the server
//!   has to write them anew or to hold the value, and does so in all partitions.
//! - They do not, and the file is another: unknown. A default like `random()`, a serial, an identity, a stored generated
//!   column and a constrained domain make the server write the rows anew. Whether the column has a default now proves
//!   nothing, since it may have been dropped again. A constant default whose value a later `VACUUM FULL` put into the rows
//!   looks the same. It is a false alarm if a column without default was added and the table was rewritten for another
//!   reason, both between two looks.
//! - The catalogs held a value at an earlier look: that one. It is kept with the fingerprint, since it may be gone when the
//!   log comes to the column.
//! - A column came and went between two looks: unknown, also of later ones, since the log may speak of it by their name.
//!   The same where the log names a column that no look ever showed.
//!
//! **Values of a column were computed anew** (`ALTER COLUMN .. TYPE .. USING`, `SET EXPRESSION`): the file is another **and**
//! the catalog's row of the column was written by another transaction **and** the heap of long values is another, where there
//! is one: `ALTER TABLE` makes a new one, a command that only moves rows keeps it. Each alone is harmless: `VACUUM FULL`, `CLUSTER`,
//! `TRUNCATE` and `SET TABLESPACE` make a new file and leave the rows of columns alone; `RENAME`,
//! `SET STATISTICS`, `SET DEFAULT`, `SET NOT NULL` and `GRANT` write such a row and leave the file; `ANALYZE` and freezing
//! touch neither. One exception: `VACUUM FULL` writes the row of a column when it puts the value that the catalogs held into
//! the rows. But a command that computes values anew always makes the column's default anew as well; if that has kept its
//! number, the column's values are the same. It is a false alarm if a harmless command of each kind ran between two looks, and
//! the table has no long values.
//!
//! **A label of an enum has another name, or a composite type other fields**: the lake holds the old ones. New labels and a
//! new order of them are harmless.
//!
//! **A name belongs to another column** (dropped and added again, or swapped): to the log it looks as if nothing had happened.
//! Columns are therefore remembered by the first name that they were seen with, also when they are gone.
//!
//! **A column is captured that was left out before**: what its rows had until now was never read.
//!
//! **A partition was attached with rows**: no change brings them. Such a partition is not empty, and it, or a table between
//! it and the captured one, became a partition by another transaction than the one that made it. It is a false alarm if it
//! was empty then and got its first rows before the look. Partitions that were detached or dropped only leave rows behind.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use walbrook_config::Postgres;
use walbrook_model::{Error, Result, TableId};

use super::facts;
use crate::publication::Publication;
use crate::sql;

/// What the catalogs show of a table that changes when its rows are written anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fingerprint {
    /// The table, or each partition that holds rows -> its file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<u32, u32>,
    /// Column -> the transaction that last wrote its row in the catalog.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    columns: BTreeMap<i16, u32>,
    /// Column -> the number of its default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    defaults: BTreeMap<i16, u32>,
    /// Column that was added since the table was read -> what the catalogs held, at some look, for rows from before it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    held: BTreeMap<i16, String>,
    /// Columns that are not captured.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    left_out: BTreeSet<i16>,
    /// Of the enums that its columns are made of: label -> its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<u32, String>,
    /// Of the composite types that its columns are made of: type -> the types of its fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<u32, String>,
    /// As `files` -> the heap of its long values, where there is one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    long: BTreeMap<u32, u32>,
    /// Column -> the first name that it was seen with. Those that are gone stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    names: BTreeMap<i16, String>,
}

/// A table as it looks now.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) oid: u32,
    table: TableId,
    /// Numbers of columns that are gone.
    dropped: BTreeSet<i16>,
    /// Partitions that were tables before -> their names.
    attached: BTreeMap<u32, TableId>,
    now: Fingerprint,
}

/// What no change tells.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Untold {
    /// What a column has in rows from before it.
    Added(i16),
    /// What a column had while it was not captured.
    LeftOut(i16),
    /// The values of a column, which were computed anew.
    Computed(i16),
    /// The values of a column that has the name of another.
    Replaced(i16),
    /// Which rows have a label that was renamed.
    Renamed,
    /// The values of a type that has other fields.
    Fields,
    /// The rows of a partition.
    Attached(TableId),
}

// The row type of a table is made with it, and its inheritance with its attachment. Nothing here waits for a lock on a table:
// the server's own functions for partitions would.
const FILES: &str = "\
    WITH RECURSIVE part(root, oid) AS ( \
        SELECT oid, oid FROM unnest($1::oid[]) oid \
        UNION SELECT part.root, i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid \
            JOIN pg_class k ON k.oid = i.inhrelid AND k.relispartition) \
    SELECT c.oid, n.nspname::text, c.relname::text, p.oid, p.relfilenode, p.reltoastrelid, m.nspname::text, \
        p.relname::text, p.oid <> c.oid AND EXISTS ( \
            SELECT FROM pg_partition_ancestors(p.oid) a JOIN pg_inherits i ON i.inhrelid = a.relid \
            JOIN pg_type r ON r.typrelid = a.relid WHERE a.relid <> c.oid AND i.xmin::text <> r.xmin::text) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN part ON part.root = c.oid \
    JOIN pg_class p ON p.oid = part.oid JOIN pg_namespace m ON m.oid = p.relnamespace \
    WHERE c.oid = ANY($1) AND c.relkind IN ('r', 'p') ORDER BY c.oid, p.oid";

const COLUMNS: &str = "\
    WITH RECURSIVE part(root, oid) AS ( \
        SELECT oid, oid FROM unnest($1::oid[]) oid \
        UNION SELECT part.root, i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid \
            JOIN pg_class k ON k.oid = i.inhrelid AND k.relispartition) \
    SELECT a.attrelid, a.attnum, a.attname::text, a.attgenerated::text, a.xmin::text::bigint, d.oid, \
        CASE WHEN a.atthasmissing THEN a.attmissingval::text WHEN c.relkind = 'p' THEN \
            (SELECT p.attmissingval::text FROM part l JOIN pg_attribute p ON p.attrelid = l.oid \
             WHERE l.root = c.oid AND p.attname = a.attname AND p.atthasmissing ORDER BY p.attrelid LIMIT 1) END, a.attisdropped \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE a.attrelid = ANY($1) AND a.attnum > 0";

// The types that a value of a column holds: of a domain what it is based on, of an array its elements, of a range its
// bounds, of a row its fields.
const LABELS: &str = "\
    WITH RECURSIVE used(attrelid, attnum, type) AS ( \
        SELECT attrelid, attnum, atttypid FROM pg_attribute WHERE attrelid = ANY($1) AND attnum > 0 AND NOT attisdropped \
        UNION SELECT u.attrelid, u.attnum, i.type FROM used u JOIN pg_type t ON t.oid = u.type CROSS JOIN LATERAL ( \
            SELECT t.typbasetype UNION ALL SELECT t.typelem \
            UNION ALL SELECT rngsubtype FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid) \
            UNION ALL SELECT f.atttypid FROM pg_attribute f \
                WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped) i(type) \
        WHERE i.type <> 0) \
    SELECT u.attrelid, u.attnum, e.oid, e.enumlabel::text, false FROM used u JOIN pg_enum e ON e.enumtypid = u.type \
    UNION ALL \
    SELECT u.attrelid, u.attnum, t.oid, string_agg(f.atttypid || ':' || f.atttypmod, ' ' ORDER BY f.attnum), true \
    FROM used u JOIN pg_type t ON t.oid = u.type AND t.typtype = 'c' \
    JOIN pg_attribute f ON f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped \
    GROUP BY u.attrelid, u.attnum, t.oid";

/// Looks at tables. Those that do not exist or are not published are left out: no changes of them will come, and one that is
/// published again is read again. A session that it fails on is left in a transaction. Waits for no lock, but for that of a
/// partition that was attached since `known`.
pub(crate) async fn look(
    client: &Client,
    settings: &Postgres,
    publication: &Publication,
    oids: &[u32],
    known: &BTreeMap<u32, Fingerprint>,
) -> Result<Vec<Look>> {
    // A file from before a command and columns from after it would hide the command for good.
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(sql::error)?;
    let mut looks = look_at_once(client, settings, publication, oids).await?;
    for look in &mut looks {
        let Some(before) = known.get(&look.oid) else { continue };
        let attached: Vec<u32> =
            look.attached.keys().filter(|part| !before.files.contains_key(*part)).copied().collect();
        for part in attached {
            const EMPTY: &str = "SELECT coalesce(pg_relation_size($1::oid), 0) = 0";
            let row = client.query_one(EMPTY, &[&part]).await.map_err(sql::error)?;
            if row.try_get(0).map_err(sql::error)? {
                look.attached.remove(&part);
            }
        }
    }
    client.batch_execute("COMMIT").await.map_err(sql::error)?;
    Ok(looks)
}

async fn look_at_once(
    client: &Client,
    settings: &Postgres,
    publication: &Publication,
    oids: &[u32],
) -> Result<Vec<Look>> {
    let mut looks: BTreeMap<u32, Look> = BTreeMap::new();
    for row in client.query(FILES, &[&oids]).await.map_err(sql::error)? {
        let oid: u32 = row.try_get(0).map_err(sql::error)?;
        if publication.member(oid).is_none() {
            continue;
        }
        let table = TableId { schema: row.try_get(1).map_err(sql::error)?, name: row.try_get(2).map_err(sql::error)? };
        let empty =
            || Look { oid, table, dropped: BTreeSet::new(), attached: BTreeMap::new(), now: Fingerprint::default() };
        looks.entry(oid).or_insert_with(empty).part(&row).map_err(sql::error)?;
    }
    for row in client.query(COLUMNS, &[&oids]).await.map_err(sql::error)? {
        let oid: u32 = row.try_get(0).map_err(sql::error)?;
        if let Some((look, member)) = looks.get_mut(&oid).zip(publication.member(oid)) {
            let generated: &str = row.try_get(3).map_err(sql::error)?;
            let published = |number| publication.publishes(member, number, generated);
            look.column(&row, published, settings)?;
        }
    }
    for row in client.query(LABELS, &[&oids]).await.map_err(sql::error)? {
        let (oid, column): (u32, i16) = (row.try_get(0).map_err(sql::error)?, row.try_get(1).map_err(sql::error)?);
        if let Some(look) = looks.get_mut(&oid).filter(|look| !look.now.left_out.contains(&column)) {
            let fields: bool = row.try_get(4).map_err(sql::error)?;
            let shapes = if fields { &mut look.now.fields } else { &mut look.now.labels };
            shapes.insert(row.try_get(2).map_err(sql::error)?, row.try_get(3).map_err(sql::error)?);
        }
    }
    Ok(looks.into_values().collect())
}

impl Look {
    fn part(&mut self, row: &tokio_postgres::Row) -> Result<(), tokio_postgres::Error> {
        let (part, file, long): (u32, u32, u32) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        // What has partitions has no file.
        if file != 0 {
            self.now.files.insert(part, file);
        }
        if long != 0 {
            self.now.long.insert(part, long);
        }
        if row.try_get(8)? {
            self.attached.insert(part, TableId { schema: row.try_get(6)?, name: row.try_get(7)? });
        }
        Ok(())
    }

    fn column(
        &mut self,
        row: &tokio_postgres::Row,
        published: impl Fn(i16) -> bool,
        settings: &Postgres,
    ) -> Result<()> {
        let (number, name): (i16, String) = (row.try_get(1).map_err(sql::error)?, row.try_get(2).map_err(sql::error)?);
        if row.try_get(7).map_err(sql::error)? {
            self.dropped.insert(number);
            return Ok(());
        }
        let written: i64 = row.try_get(4).map_err(sql::error)?;
        let written = u32::try_from(written).map_err(|error| Error::bug("a transaction's number").because(error))?;
        self.now.columns.insert(number, written);
        if let Some(default) = row.try_get::<_, Option<u32>>(5).map_err(sql::error)? {
            self.now.defaults.insert(number, default);
        }
        if let Some(value) = facts::missing(row.try_get(6).map_err(sql::error)?)? {
            let value = String::from_utf8(value).map_err(|_| Error::bug("the catalog's text is not UTF-8"))?;
            self.now.held.insert(number, value);
        }
        if !published(number) || settings.tables.leaves_out(&self.table.schema, &self.table.name, &name) {
            self.now.left_out.insert(number);
        }
        self.now.names.insert(number, name);
        Ok(())
    }

    pub(crate) fn table(&self) -> &TableId {
        &self.table
    }

    /// The fingerprint of a table that is about to be read: whatever its rows have, it is read.
    pub(crate) fn read(self) -> Fingerprint {
        Fingerprint { held: BTreeMap::new(), ..self.now }
    }

    /// The fingerprint that takes the place of `before`; `None`: the table was never looked at.
    ///
    /// # Errors
    /// Data if rows changed in a way that no change tells. This is where a table stops for that.
    pub(crate) fn judge(self, before: Option<&Fingerprint>) -> Result<Fingerprint> {
        let Some(before) = before else { return Ok(self.now) };
        match self.untold_since(before) {
            None => Ok(self.now.and_kept(before)),
            Some(untold) => Err(self.stop(untold)),
        }
    }

    fn stop(&self, untold: Untold) -> Error {
        let name = |number| self.now.names.get(&number).map_or("", String::as_str);
        let what = match untold {
            Untold::Added(number) => format!(
                "column {} was added and the table rewritten: what earlier rows have there is not in the log",
                name(number)
            ),
            Untold::LeftOut(number) => {
                format!("column {} was left out until now: what its rows have there was not read", name(number))
            }
            Untold::Computed(number) => format!(
                "the table was rewritten and its column {} altered: which values changed is not in the log",
                name(number)
            ),
            Untold::Replaced(number) => format!(
                "column {} is another one than before: what earlier rows have there is not in the log",
                name(number)
            ),
            Untold::Fields => {
                "a composite type has other fields: what rows have there now is not in the log".to_owned()
            }
            Untold::Attached(part) => format!("partition {part} was attached with rows: they are not in the log"),
            Untold::Renamed => "a label of an enum was renamed: which rows have it is not in the log".to_owned(),
        };
        stop(&self.table, what)
    }
}

/// Stops a table whose rows in the lake may be wrong from here on.
pub(crate) fn stop(table: &TableId, what: impl Into<String>) -> Error {
    Error::data(what)
        .on(format!("table {table}"))
        .remedy("`walbrook gap accept FILE --reason \"...\"` takes a new snapshot in a new generation")
}

impl Fingerprint {
    /// What the catalogs held, at some look, for rows from before a column that was added since the table was read.
    pub(super) fn held(&self, column: i16) -> Option<Vec<u8>> {
        self.held.get(&column).map(|value| value.clone().into_bytes())
    }

    /// The column that first had this name; `None` if no look ever showed it.
    pub(super) fn column(&self, name: &str) -> Option<i16> {
        self.names.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
    }

    /// With what was held and seen `before`; columns that were read whole hold nothing.
    fn and_kept(mut self, before: &Self) -> Self {
        self.held.retain(|number, _| !before.columns.contains_key(number) || before.left_out.contains(number));
        let known = before.held.iter().map(|(number, value)| (*number, value.clone()));
        self.held.extend(known);
        self.names.extend(before.names.clone());
        self
    }

    /// Whether `ALTER TABLE` wrote rows anew.
    fn rewritten_since(&self, before: &Self) -> bool {
        let rewritten = |(part, file): (&u32, &u32)| {
            let long = self.long.get(part);
            let moved = long.is_some() && long == before.long.get(part);
            self.files.get(part).is_some_and(|now| now != file) && !moved
        };
        before.files.iter().any(rewritten)
    }

    /// Whether rows of before are still where they were.
    fn in_place_since(&self, before: &Self) -> bool {
        self.files.is_empty() || before.files.iter().any(|(part, file)| self.files.get(part) == Some(file))
    }
}

impl Look {
    fn untold_since(&self, before: &Fingerprint) -> Option<Untold> {
        let now = &self.now;
        let (rewritten, in_place) = (now.rewritten_since(before), now.in_place_since(before));
        let newest = before.names.keys().chain(before.columns.keys()).max().copied().unwrap_or_default();
        let came_and_went = |number: i16| self.dropped.iter().any(|dropped| (newest + 1..number).contains(dropped));
        let untold = |(number, written): (&i16, &u32)| {
            if now.left_out.contains(number) {
                return None;
            }
            let name = now.names.get(number);
            let of_another =
                |(known, of): (&i16, &String)| known != number && Some(of) == name && !before.left_out.contains(known);
            if before.names.iter().any(of_another) {
                return Some(Untold::Replaced(*number));
            }
            let Some(known) = before.columns.get(number) else {
                let told = now.held.contains_key(number) || in_place;
                return (!told || came_and_went(*number)).then_some(Untold::Added(*number));
            };
            if before.left_out.contains(number) {
                return Some(Untold::LeftOut(*number));
            }
            let default = now.defaults.get(number);
            let kept = default.is_some() && default == before.defaults.get(number);
            (rewritten && written != known && !kept).then_some(Untold::Computed(*number))
        };
        let other = |shapes: &BTreeMap<u32, String>, known: &BTreeMap<u32, String>| {
            shapes.iter().any(|(shape, text)| known.get(shape).is_some_and(|known| known != text))
        };
        let attached = || self.attached.iter().find(|(part, _)| !before.files.contains_key(*part));
        now.columns
            .iter()
            .find_map(untold)
            .or_else(|| other(&now.labels, &before.labels).then_some(Untold::Renamed))
            .or_else(|| other(&now.fields, &before.fields).then_some(Untold::Fields))
            .or_else(|| attached().map(|(_, name)| Untold::Attached(name.clone())))
    }
}

#[cfg(test)]
mod tests;
