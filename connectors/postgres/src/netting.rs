//! One net change per key and transaction, for tables whose key is deferrable.
//!
//! Inside a transaction two rows of such a table may share a key: after `UPDATE t SET id = 3 - id` the log says that 1
//! became 2 and then that 2 became 1, and the second old row is *not* the one that the first update wrote. So, per key,
//! the images that the transaction wrote are kept: an old row equal to one of them cancels it, any other means the row
//! that was there before the transaction. The key is unique again at commit: one image or none is left.
//!
//! A net change is told where its key was last touched. It does not say what its row's key was before
//! ([`Change::moved`]): which row became which is not known when keys are exchanged.
//!
//! A table that cannot be netted gives none of the transaction's changes, and takes nothing from the others. Beyond the
//! bound that is the largest one, whichever table the row belongs to that crosses it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use walbrook_model::{Cell, Change, Error, Op, Origin, Result, Row, Seq, TableSchema};

use crate::wire::Lsn;

/// The keys that the open transaction touched.
#[derive(Debug)]
pub(crate) struct Netting {
    tables: HashMap<u32, Table>,
    bytes: usize,
    bytes_max: usize,
    /// Tables that had to make room for others.
    evicted: Vec<Unsettled>,
}

#[derive(Debug)]
struct Table {
    schema: Arc<TableSchema>,
    keys: HashMap<Box<[u8]>, Net>,
    /// Its first change.
    first: Seq,
    bytes: usize,
}

/// A table whose changes cannot be netted.
#[derive(Debug)]
pub(crate) struct Unsettled {
    pub(crate) oid: u32,
    /// What of it is left out.
    pub(crate) left: Left,
    pub(crate) error: Error,
}

/// Changes that were taken and will not be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// The first of them.
    pub(crate) since: Seq,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Net {
    /// The row that the key had before the transaction, once the transaction removed it.
    earlier: Option<Row>,
    /// What the transaction wrote and did not remove.
    images: Vec<Row>,
    /// Where it was last touched.
    last: (Seq, Lsn),
}

impl Netting {
    /// `bytes_max` bounds the rows of one transaction.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { tables: HashMap::new(), bytes: 0, bytes_max, evicted: Vec::new() }
    }

    /// A table that had to make room for the row that was taken last. It must not be given another row.
    pub(crate) fn evicted(&mut self) -> Option<Unsettled> {
        self.evicted.pop()
    }

    /// A row was written at `key`.
    pub(crate) fn wrote(
        &mut self,
        oid: u32,
        schema: &Arc<TableSchema>,
        key: Box<[u8]>,
        row: Row,
        at: (Seq, Lsn),
    ) -> Result<()> {
        self.charge(oid, schema, &row, at.0)?;
        let net = self.net(oid, schema, key, at);
        net.images.push(row);
        Ok(())
    }

    /// The row `old` is gone from `key`.
    pub(crate) fn removed(
        &mut self,
        oid: u32,
        schema: &Arc<TableSchema>,
        key: Box<[u8]>,
        old: Row,
        at: (Seq, Lsn),
    ) -> Result<()> {
        self.charge(oid, schema, &old, at.0)?;
        let net = self.net(oid, schema, key, at);
        if let Some(index) = net.images.iter().rposition(|image| matches(image, &old)) {
            net.images.swap_remove(index);
        } else if net.earlier.is_none() {
            net.earlier = Some(old);
        } else {
            return Err(unclear(schema, "a key lost more rows in a transaction than it can have had"));
        }
        Ok(())
    }

    /// Drops what the transaction did to the table so far: it is void after a truncate.
    pub(crate) fn forget(&mut self, oid: u32) -> Option<Left> {
        let table = self.tables.remove(&oid)?;
        self.bytes = self.bytes.saturating_sub(table.bytes);
        Some(Left { since: table.first, bytes: table.bytes })
    }

    /// Ends the netting of one table. The server refuses to change a table's shape while a key check is pending, so no
    /// two rows share a key then.
    pub(crate) fn settle_table(&mut self, oid: u32) -> Result<Vec<Change>, Unsettled> {
        let Some(table) = self.tables.remove(&oid) else { return Ok(Vec::new()) };
        self.bytes = self.bytes.saturating_sub(table.bytes);
        table.settle(oid).map(in_order)
    }

    /// The net changes of the transaction, in order, and the tables that have none.
    pub(crate) fn settle(&mut self) -> (Vec<Change>, Vec<Unsettled>) {
        let (mut changes, mut unsettled) = (Vec::new(), Vec::new());
        for (oid, table) in self.tables.drain() {
            match table.settle(oid) {
                Ok(mut settled) => changes.append(&mut settled),
                Err(error) => unsettled.push(error),
            }
        }
        self.bytes = 0;
        unsettled.sort_unstable_by_key(|unsettled| unsettled.oid);
        (in_order(changes), unsettled)
    }

    fn table(&mut self, oid: u32, schema: &Arc<TableSchema>, seq: Seq) -> &mut Table {
        self.tables.entry(oid).or_insert_with(|| Table {
            schema: schema.clone(),
            keys: HashMap::new(),
            first: seq,
            bytes: 0,
        })
    }

    fn net(&mut self, oid: u32, schema: &Arc<TableSchema>, key: Box<[u8]>, at: (Seq, Lsn)) -> &mut Net {
        let table = self.table(oid, schema, at.0);
        let net = table.keys.entry(key).or_insert_with(|| Net { earlier: None, images: Vec::new(), last: at });
        net.last = at;
        net
    }

    fn charge(&mut self, oid: u32, schema: &Arc<TableSchema>, row: &Row, seq: Seq) -> Result<()> {
        let bytes = row.memory_bytes() + size_of::<Net>();
        while self.bytes.saturating_add(bytes) > self.bytes_max {
            match self.larger(oid, bytes) {
                Some(larger) => self.evict(larger),
                None => return Err(self.beyond_bound(schema)),
            }
        }
        self.table(oid, schema, seq).bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// The largest table, if it is larger than `oid` with so many more bytes. The same at every reading of the log.
    fn larger(&self, oid: u32, more: usize) -> Option<u32> {
        let own = self.tables.get(&oid).map_or(0, |table| table.bytes).saturating_add(more);
        let others = self.tables.iter().filter(|(other, table)| **other != oid && table.bytes > own);
        others.max_by_key(|(other, table)| (table.bytes, Reverse(**other))).map(|(other, _)| *other)
    }

    fn evict(&mut self, oid: u32) {
        let Some(schema) = self.tables.get(&oid).map(|table| table.schema.clone()) else { return };
        if let Some(left) = self.forget(oid) {
            let error = self.beyond_bound(&schema);
            self.evicted.push(Unsettled { oid, left, error });
        }
    }

    fn beyond_bound(&self, schema: &TableSchema) -> Error {
        Error::data(format!("a transaction changes more than {} bytes of tables with a deferrable key", self.bytes_max))
            .on(format!("table {}", schema.table))
            .remedy("raise source.postgres.transaction_bytes_max, or make the key NOT DEFERRABLE")
    }
}

impl Table {
    fn settle(self, oid: u32) -> Result<Vec<Change>, Unsettled> {
        let mut changes = Vec::with_capacity(self.keys.len());
        for net in self.keys.into_values() {
            let mut images = net.images;
            let after = images.pop();
            if !images.is_empty() {
                let error = unclear(&self.schema, "two rows share a key at the end of a transaction");
                return Err(Unsettled { oid, left: Left { since: self.first, bytes: self.bytes }, error });
            }
            let op = match (&net.earlier, &after) {
                (None, None) => continue,
                (None, Some(_)) => Op::Insert,
                (Some(_), Some(_)) => Op::Update,
                (Some(_), None) => Op::Delete,
            };
            let (schema, before, (seq, at)) = (self.schema.clone(), net.earlier, net.last);
            let origin = Origin { position: Some(at.0), ..Origin::default() };
            changes.push(Change { before, after, origin, ..Change::new(op, schema, seq, 0) });
        }
        Ok(changes)
    }
}

/// Whether `old` is the image, as far as it carries cells.
fn matches(image: &Row, old: &Row) -> bool {
    image.len() == old.len()
        && (0..old.len()).all(|index| old.cell(index) == Cell::Unchanged || old.cell(index) == image.cell(index))
}

fn in_order(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_unstable_by_key(|change| change.seq);
    changes
}

fn unclear(schema: &TableSchema, what: &str) -> Error {
    Error::data(what)
        .on(format!("table {}", schema.table))
        .remedy(format!("ALTER TABLE {} REPLICA IDENTITY FULL, or make the key NOT DEFERRABLE", schema.table))
}
