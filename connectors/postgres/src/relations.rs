//! The shape of each table at the place of the log that is being read.
//!
//! Rows name their table by number; a lookup is one comparison while the table stays the same.

use std::sync::Arc;

use walbrook_model::{Cell, Column, Error, Row, RowBuilder, Seq, TableId, TableSchema};

use crate::wire::pgoutput::Old;

/// A table whose changes are handed over.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) schema: Arc<TableSchema>,
    /// Changes at or below were seen by the slice that the table was read at. [`Seq::ZERO`]: it was not read.
    pub(crate) start: Seq,
    /// The cell of the log's row behind each column; `None`: they are the same.
    pub(crate) projection: Option<Box<[usize]>>,
    /// By cell of the log's row, whether every old row carries it.
    pub(crate) old_cells: Box<[bool]>,
    /// Old rows that are marked as whole may carry no more than [`Self::old_cells`].
    pub(crate) weak_old_rows: bool,
    /// Two rows may share a key inside a transaction: its changes are netted per key.
    pub(crate) nets: bool,
    /// New rows may lack cells that only earlier images hold.
    pub(crate) fills: bool,
}

impl Captured {
    /// Whether a row of the log has the cells that the table was described with.
    pub(crate) fn fits(&self, row: &Row) -> bool {
        row.len() == self.old_cells.len()
    }

    /// Whether rows of both versions of the schema are the same. What the catalogs say of the columns besides may differ.
    pub(crate) fn same_shape(&self, schema: &TableSchema) -> bool {
        let known = &self.schema;
        let same =
            |(known, column): (&Column, &Column)| *known == Column { facts: known.facts.clone(), ..column.clone() };
        known.table == schema.table
            && known.key == schema.key
            && known.columns.len() == schema.columns.len()
            && known.columns.iter().zip(&schema.columns).all(same)
    }

    /// A row of the log as a row of the schema.
    pub(crate) fn row(&self, row: Row) -> Row {
        let Some(projection) = &self.projection else { return row };
        let mut builder = RowBuilder::with_capacity(projection.len(), row.memory_bytes());
        for index in projection {
            builder.push(row.cell(*index));
        }
        builder.finish()
    }

    /// An old row of the log as a row of the schema. The server sends NULL for cells that it does not carry.
    pub(crate) fn old_row(&self, old: Old) -> Row {
        if !old.key_only && !self.weak_old_rows {
            return self.row(old.row);
        }
        let mut builder = RowBuilder::with_capacity(self.schema.columns.len(), 0);
        for column in 0..self.schema.columns.len() {
            let index = self.projection.as_ref().map_or(Some(column), |places| places.get(column).copied());
            match index {
                Some(index) if self.old_cells.get(index) == Some(&true) => builder.push(old.row.cell(index)),
                _ => builder.push(Cell::Unchanged),
            }
        }
        builder.finish()
    }

    /// Whether both rows have the same key, byte for byte. A cell that a row does not carry did not change.
    pub(crate) fn same_key(&self, old: &Row, new: &Row) -> bool {
        self.schema.key.iter().all(|index| match (old.cell(*index), new.cell(*index)) {
            (Cell::Unchanged, _) | (_, Cell::Unchanged) => true,
            (old, new) => old == new,
        })
    }

    /// Whether the row carries all of its key.
    pub(crate) fn has_key(&self, row: &Row) -> bool {
        self.schema.key.iter().all(|index| row.cell(*index) != Cell::Unchanged)
    }

    /// The key as bytes, equal exactly for equal keys.
    pub(crate) fn key_of(&self, row: &Row) -> Box<[u8]> {
        let mut key = Vec::with_capacity(16 * self.schema.key.len());
        for index in &self.schema.key {
            match row.cell(*index) {
                Cell::Null => key.push(0),
                Cell::Unchanged => key.push(1),
                Cell::Data(bytes) => {
                    key.push(2);
                    key.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                    key.extend_from_slice(bytes);
                }
            }
        }
        key.into_boxed_slice()
    }
}

/// What is known of a table.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Its changes are handed over.
    Captured(Captured),
    /// It is published but not captured: its rows are counted and dropped.
    Ignored,
    /// It cannot be captured from here on: its rows are left out, and that is told.
    Stopped(Stopped),
}

/// A table whose changes cannot be handed over any more.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    pub(crate) table: TableId,
    /// As [`Captured::start`].
    pub(crate) start: Seq,
    pub(crate) error: Arc<Error>,
}

/// The tables that the server has described on this connection, by number.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    /// Ordered by number.
    entries: Vec<(u32, Entry)>,
    /// Where the last lookup ended.
    last: usize,
}

impl Relations {
    /// Sets what is known of a table.
    pub(crate) fn insert(&mut self, oid: u32, entry: Entry) {
        match self.entries.binary_search_by_key(&oid, |(known, _)| *known) {
            Ok(index) => self.entries[index].1 = entry,
            Err(index) => self.entries.insert(index, (oid, entry)),
        }
        self.last = 0;
    }

    /// What is known of a table.
    pub(crate) fn get(&mut self, oid: u32) -> Option<&Entry> {
        if self.entries.get(self.last).is_none_or(|(known, _)| *known != oid) {
            self.last = self.entries.binary_search_by_key(&oid, |(known, _)| *known).ok()?;
        }
        self.entries.get(self.last).map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use walbrook_model::{Column, ColumnType, TableId, Value};

    use super::*;

    /// Key `id`, then `v`; the log's rows are `v`, `left out`, `id`.
    fn captured() -> Captured {
        let column = |name: &str| Column {
            name: name.into(),
            ty: ColumnType::Text,
            nullable: false,
            source_type: "text".into(),
            initial_default: None,
            facts: Arc::default(),
            decoder: |_, bytes| Ok(Value::Bytes(bytes.into())),
        };
        let columns = vec![column("id"), column("v")];
        Captured {
            schema: Arc::new(TableSchema { table: TableId::new("public", "t"), columns, key: vec![0] }),
            start: Seq::ZERO,
            projection: Some(Box::new([2, 0])),
            old_cells: Box::new([false, false, true]),
            weak_old_rows: false,
            nets: false,
            fills: false,
        }
    }

    fn row(cells: &[Cell<'_>]) -> Row {
        let mut row = RowBuilder::default();
        for cell in cells {
            row.push(*cell);
        }
        row.finish()
    }

    #[test]
    fn rows_of_the_log_become_rows_of_the_schema() {
        let (table, data) = (captured(), Cell::Data(b"1"));
        let log = row(&[Cell::Null, Cell::Data(b"secret"), data]);
        assert_eq!(table.row(log.clone()), row(&[data, Cell::Null]));
        let old = |key_only| Old { key_only, row: log.clone() };
        assert_eq!(table.old_row(old(false)), row(&[data, Cell::Null]));
        // NULL outside the key of a key-only row is not NULL.
        assert_eq!(table.old_row(old(true)), row(&[data, Cell::Unchanged]));
        let weak = Captured { weak_old_rows: true, ..captured() };
        assert_eq!(weak.old_row(old(false)), row(&[data, Cell::Unchanged]));
    }

    #[test]
    fn keys_are_equal_exactly_where_their_bytes_are() {
        let table = captured();
        let rows =
            [Cell::Null, Cell::Data(b""), Cell::Data(b"1"), Cell::Data(b"12")].map(|cell| row(&[cell, Cell::Null]));
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                assert_eq!(table.key_of(a) == table.key_of(b), i == j);
                assert_eq!(table.same_key(a, b), i == j);
            }
        }
        let lacks = row(&[Cell::Unchanged, Cell::Null]);
        assert!(!table.has_key(&lacks) && table.has_key(&rows[0]));
        assert!(table.same_key(&lacks, &rows[1]));
    }

    #[test]
    fn a_lookup_finds_what_was_inserted_last() {
        let mut relations = Relations::default();
        for oid in [7, 3, 9, 3] {
            relations.insert(oid, Entry::Ignored);
        }
        relations.insert(3, Entry::Captured(captured()));
        for oid in [9, 3, 3, 7, 9] {
            let found = relations.get(oid).unwrap();
            assert_eq!(matches!(found, Entry::Captured(_)), oid == 3);
        }
        assert!(relations.get(8).is_none());
        assert!(relations.get(7).is_some());
    }
}
