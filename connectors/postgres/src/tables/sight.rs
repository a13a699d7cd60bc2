//! What the catalogs show of a table that no row of the log tells: one query for its heaps, one for their columns, one
//! for the types that are made by users. See [`super::imprint`] for what it is compared with.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::{Client, Row};
use walbrook_model::{Result, TableId};

use crate::sql;
use crate::values::single_element;

/// A table at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) oid: u32,
    pub(crate) id: TableId,
    /// By number; those that were dropped have no name.
    pub(crate) columns: BTreeMap<i16, SeenColumn>,
    /// Where its rows lie: itself, or its partitions.
    pub(crate) heaps: Vec<SeenHeap>,
}

/// A column at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenColumn {
    /// `None`: it was dropped.
    pub(crate) name: Option<String>,
    /// Computed when it is read: never in the log.
    pub(crate) computed: bool,
    /// The shapes of the types made by users that its values are made of.
    pub(crate) types: Shapes,
}

/// Type -> what its values look like as text: the labels of an enum by their numbers, the fields of a composite type in
/// one entry with the number 0.
pub(crate) type Shapes = BTreeMap<u32, BTreeMap<u32, String>>;

/// A heap at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenHeap {
    pub(crate) oid: u32,
    pub(crate) name: TableId,
    /// Another one after each rewrite, whatever for.
    pub(crate) file: u32,
    /// Where its long values lie, or 0. `ALTER TABLE` makes a new one when it rewrites; `VACUUM FULL`, `CLUSTER`,
    /// `TRUNCATE` and `SET TABLESPACE` keep it.
    pub(crate) toast: u32,
    /// It was a table before it was a partition, and is not empty.
    pub(crate) attached: bool,
    /// By name.
    pub(crate) columns: BTreeMap<String, HeapColumn>,
}

/// A column of a heap at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeapColumn {
    /// The number of its default; of a column without one, the transaction that wrote its row of the catalog. A change of
    /// its values by `ALTER TABLE` renews it; so do harmless statements.
    pub(crate) evidence: String,
    /// What the rows have that were there before the column.
    pub(crate) missing: Option<String>,
}

// Of a partition and all above it, the row type is made with the table and the inheritance with the attachment.
const HEAPS: &str = "\
    SELECT c.oid, n.nspname::text, c.relname::text, p.oid, m.nspname::text, p.relname::text, p.relfilenode, \
        p.reltoastrelid, p.oid <> c.oid AND pg_relation_size(p.oid) > 0 AND EXISTS ( \
            SELECT FROM pg_partition_ancestors(p.oid) a JOIN pg_inherits i ON i.inhrelid = a.relid \
            JOIN pg_type t ON t.typrelid = a.relid WHERE a.relid <> c.oid AND i.xmin::text <> t.xmin::text) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL ( \
        SELECT c.oid AS oid UNION SELECT t.relid FROM pg_partition_tree(c.oid) t WHERE t.isleaf) part \
    LEFT JOIN pg_class p ON p.oid = part.oid AND p.relkind = 'r' LEFT JOIN pg_namespace m ON m.oid = p.relnamespace \
    WHERE c.oid = ANY($1) ORDER BY n.nspname, c.relname, p.oid";

const COLUMNS: &str = "\
    SELECT c.oid, a.attrelid, a.attnum, CASE WHEN NOT a.attisdropped THEN a.attname::text END, a.attgenerated = 'v', \
        CASE WHEN a.atthasmissing THEN a.attmissingval::text END, a.atttypid, coalesce('d' || d.oid, 'x' || a.xmin) \
    FROM pg_class c CROSS JOIN LATERAL ( \
        SELECT c.oid AS oid UNION SELECT t.relid FROM pg_partition_tree(c.oid) t WHERE t.isleaf) part \
    JOIN pg_attribute a ON a.attrelid = part.oid AND a.attnum > 0 \
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE c.oid = ANY($1)";

// Domains, arrays, ranges and composite types lead on to others.
const TYPES: &str = "\
    WITH RECURSIVE used AS ( \
        SELECT seed, seed AS oid FROM unnest($1::oid[]) seed \
        UNION \
        SELECT u.seed, n.next FROM used u JOIN pg_type t ON t.oid = u.oid CROSS JOIN LATERAL ( \
            SELECT t.typbasetype UNION ALL SELECT t.typelem \
            UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid) \
            UNION ALL SELECT a.atttypid FROM pg_attribute a \
                WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) n(next) \
        WHERE n.next <> 0 \
    ) \
    SELECT u.seed, u.oid, e.oid, e.enumlabel::text FROM used u JOIN pg_enum e ON e.enumtypid = u.oid \
    UNION ALL \
    SELECT u.seed, u.oid, 0::oid, string_agg(a.atttypid || ':' || a.atttypmod, ' ' ORDER BY a.attnum) \
    FROM used u JOIN pg_type t ON t.oid = u.oid AND t.typtype = 'c' \
    JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped GROUP BY u.seed, u.oid";

/// Below are the numbers of what the server comes with; nobody changes the labels of such types.
const FIRST_OF_USERS: u32 = 16_384;

/// Looks at tables; those that do not exist are left out.
pub(crate) async fn look(client: &Client, oids: &[u32]) -> Result<Vec<Sight>> {
    let mut tables: Vec<Sight> = Vec::with_capacity(oids.len());
    for row in client.query(HEAPS, &[&oids]).await.map_err(sql::error)? {
        add_heap(&mut tables, &row).map_err(sql::error)?;
    }
    let places: HashMap<u32, usize> = tables.iter().enumerate().map(|(place, table)| (table.oid, place)).collect();
    let mut of_type: HashMap<u32, Vec<(usize, i16)>> = HashMap::new();
    for row in client.query(COLUMNS, &[&oids]).await.map_err(sql::error)? {
        let place = row.try_get(0).map(|oid: u32| places.get(&oid).copied()).map_err(sql::error)?;
        let Some((place, table)) = place.and_then(|place| Some((place, tables.get_mut(place)?))) else { continue };
        if let Some((number, ty)) = add_column(table, &row)? {
            of_type.entry(ty).or_default().push((place, number));
        }
    }
    of_type.retain(|ty, _| *ty >= FIRST_OF_USERS);
    let seeds: Vec<u32> = of_type.keys().copied().collect();
    if seeds.is_empty() {
        return Ok(tables);
    }
    for row in client.query(TYPES, &[&seeds]).await.map_err(sql::error)? {
        let read = || Ok::<_, tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let (seed, ty, number): (u32, u32, u32) = read().map_err(sql::error)?;
        let label: String = row.try_get(3).map_err(sql::error)?;
        for (place, column) in of_type.get(&seed).into_iter().flatten() {
            if let Some(column) = tables.get_mut(*place).and_then(|table| table.columns.get_mut(column)) {
                column.types.entry(ty).or_default().insert(number, label.clone());
            }
        }
    }
    Ok(tables)
}

fn add_heap(tables: &mut Vec<Sight>, row: &Row) -> Result<(), tokio_postgres::Error> {
    let oid = row.try_get(0)?;
    if tables.last().is_none_or(|table| table.oid != oid) {
        let id = TableId { schema: row.try_get(1)?, name: row.try_get(2)? };
        tables.push(Sight { oid, id, columns: BTreeMap::new(), heaps: Vec::new() });
    }
    let heap: Option<u32> = row.try_get(3)?;
    if let (Some(heap), Some(table)) = (heap, tables.last_mut()) {
        table.heaps.push(SeenHeap {
            oid: heap,
            name: TableId { schema: row.try_get(4)?, name: row.try_get(5)? },
            file: row.try_get(6)?,
            toast: row.try_get(7)?,
            attached: row.try_get::<_, Option<bool>>(8)?.unwrap_or(false),
            columns: BTreeMap::new(),
        });
    }
    Ok(())
}

/// Adds a column of the table or of one of its partitions; of the table itself, its number and type come back.
fn add_column(table: &mut Sight, row: &Row) -> Result<Option<(i16, u32)>> {
    let read = || Ok::<_, tokio_postgres::Error>((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(7)?));
    let (relation, number, name, evidence): (u32, i16, Option<String>, String) = read().map_err(sql::error)?;
    let missing: Option<&str> = row.try_get(5).map_err(sql::error)?;
    let missing = missing.map(|array| single_element(array.as_bytes())).transpose()?.flatten();
    let missing = missing.map(|text| String::from_utf8_lossy(&text).into_owned());
    if let (Some(name), Some(heap)) = (&name, table.heaps.iter_mut().find(|heap| heap.oid == relation)) {
        heap.columns.insert(name.clone(), HeapColumn { evidence, missing });
    }
    if relation != table.oid {
        return Ok(None);
    }
    let live = name.is_some();
    let computed = row.try_get(4).map_err(sql::error)?;
    table.columns.insert(number, SeenColumn { name, computed, types: Shapes::new() });
    let ty = row.try_get(6).map_err(sql::error)?;
    Ok(live.then_some((number, ty)))
}

impl Sight {
    /// The number of the column that has this name now.
    pub(crate) fn number(&self, name: &str) -> Option<i16> {
        let of_name = |(_, column): &(&i16, &SeenColumn)| column.name.as_deref() == Some(name);
        self.columns.iter().find(of_name).map(|(number, _)| *number)
    }

    /// What rows have that were there before the column: the same in all heaps that know it.
    pub(crate) fn missing(&self, name: &str) -> Option<&str> {
        self.heaps.iter().find_map(|heap| heap.columns.get(name)?.missing.as_deref())
    }
}
