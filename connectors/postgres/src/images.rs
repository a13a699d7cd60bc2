//! Images that the open transaction wrote, to fill cells that a later update of the same row does not carry.
//!
//! An update does not carry a cell that lies out of line (TOAST) and did not change. If the transaction itself wrote the
//! row before, its last image has the cell. Only the newest image of a row is kept, and only of rows that can have cells
//! out of line; when they exceed the bound all are forgotten, and such cells stay unchanged.
//!
//! An image of a row that is gone does no harm: before a row can have its key again the transaction has written it, and
//! that replaces the image.

use std::collections::HashMap;

use walbrook_model::Row;

use crate::relations::Captured;

/// A row is stored out of line only above `toast_tuple_target`, about 2,000 bytes by default; the text of a value may
/// be shorter than what is stored, by less than this factor.
const LARGE_BYTES: usize = 2_000 / 8;

/// The newest image of each row that the transaction wrote.
#[derive(Debug)]
pub(crate) struct Images {
    tables: HashMap<u32, HashMap<Box<[u8]>, Row>>,
    bytes: usize,
    bytes_max: usize,
}

impl Images {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { tables: HashMap::new(), bytes: 0, bytes_max }
    }

    /// Fills `new` from the image that its row had; `old` is there if the key changed.
    pub(crate) fn fill(&self, oid: u32, table: &Captured, old: Option<&Row>, new: Row) -> Row {
        if !new.has_unchanged() {
            return new;
        }
        let Some(images) = self.tables.get(&oid) else { return new };
        let key = table.key_of(old.unwrap_or(&new));
        match images.get(&key) {
            Some(image) => new.filled_from(image),
            None => new,
        }
    }

    /// The row was written. A small one is kept only if it may replace an image.
    pub(crate) fn wrote(&mut self, oid: u32, table: &Captured, row: &Row) {
        let large = row.memory_bytes() >= LARGE_BYTES;
        if table.schema.key.is_empty() || (!large && self.tables.get(&oid).is_none_or(HashMap::is_empty)) {
            return;
        }
        let key = table.key_of(row);
        self.bytes += row.memory_bytes() + key.len();
        if self.bytes > self.bytes_max {
            self.clear();
            return;
        }
        self.tables.entry(oid).or_default().insert(key, row.clone());
    }

    /// The rows of the table have another shape now.
    pub(crate) fn forget(&mut self, oid: u32) {
        self.tables.remove(&oid);
    }

    /// The transaction is over.
    pub(crate) fn clear(&mut self) {
        self.tables.clear();
        self.bytes = 0;
    }
}
