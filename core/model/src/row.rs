//! A row as the log holds it: bytes, and where each cell lies in them.

use bytes::{Bytes, BytesMut};

use crate::{Result, TableSchema, Value};

/// One cell, not yet decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// The log does not carry this cell: unchanged TOAST, or a column outside the before image. Never NULL.
    Unchanged,
    /// The bytes of the log; the column's decoder reads them.
    Data(&'a [u8]),
}

/// A row: the bytes of the log plus the place of each cell. Nothing is decoded before it is asked for.
#[derive(Clone)]
pub struct Row {
    data: Bytes,
    /// A [`Place`] a cell. Shares its memory with the rows that were built with it.
    places: Bytes,
}

/// Where a cell lies in the bytes of its row.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    start: u32,
    len: u32,
}

const PLACE_BYTES: usize = size_of::<u64>();

/// Lengths that are none.
const NULL: u32 = u32::MAX;
const UNCHANGED: u32 = u32::MAX - 1;

impl Place {
    fn to_bytes(self) -> [u8; PLACE_BYTES] {
        (u64::from(self.len) << 32 | u64::from(self.start)).to_ne_bytes()
    }

    #[allow(clippy::cast_possible_truncation, reason = "each half is what is asked for")]
    fn from_bytes(bytes: [u8; PLACE_BYTES]) -> Self {
        let both = u64::from_ne_bytes(bytes);
        Self { start: both as u32, len: (both >> 32) as u32 }
    }
}

impl Row {
    /// The number of cells.
    pub fn len(&self) -> usize {
        self.places.len() / PLACE_BYTES
    }

    /// Whether the row has no cells.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The cell at `index`; a row that is shorter than its schema has no such cell and reads as unchanged.
    pub fn cell(&self, index: usize) -> Cell<'_> {
        match self.place(index) {
            Some(Place { len: NULL, .. }) => Cell::Null,
            Some(Place { len: UNCHANGED, .. }) | None => Cell::Unchanged,
            Some(Place { start, len }) => {
                let start = start as usize;
                self.data.get(start..start + len as usize).map_or(Cell::Unchanged, Cell::Data)
            }
        }
    }

    fn place(&self, index: usize) -> Option<Place> {
        let (places, _) = self.places.as_chunks::<PLACE_BYTES>();
        places.get(index).copied().map(Place::from_bytes)
    }

    /// The cell at `index`, decoded by the column of `schema`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Data`] if the bytes are not a value of the column's type.
    pub fn value(&self, schema: &TableSchema, index: usize) -> Result<Value<'_>> {
        match self.cell(index) {
            Cell::Null => Ok(Value::Null),
            Cell::Unchanged => Ok(Value::Unchanged),
            Cell::Data(bytes) => schema.columns[index].decode(bytes),
        }
    }

    /// Whether a cell is carried by neither this image nor, so far, any other.
    pub fn has_unchanged(&self) -> bool {
        let (places, _) = self.places.as_chunks::<PLACE_BYTES>();
        places.iter().any(|place| Place::from_bytes(*place).len == UNCHANGED)
    }

    /// This row with its unchanged cells taken from `older`. Copies only if there is one.
    #[must_use]
    pub fn filled_from(self, older: &Self) -> Self {
        if !self.has_unchanged() {
            return self;
        }
        let mut filled = RowBuilder::with_capacity(self.len(), self.data.len() + older.data.len());
        for index in 0..self.len() {
            match self.cell(index) {
                Cell::Unchanged => filled.push(older.cell(index)),
                cell => filled.push(cell),
            }
        }
        filled.finish()
    }

    /// Bytes that this row keeps in memory.
    pub fn memory_bytes(&self) -> usize {
        self.data.len() + self.places.len()
    }
}

impl PartialEq for Row {
    /// Cell by cell; where the cells lie does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && (0..self.len()).all(|index| self.cell(index) == other.cell(index))
    }
}

impl Eq for Row {}

impl std::fmt::Debug for Row {
    /// Never prints a cell's bytes: rows end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({} cells, {} bytes)", self.len(), self.data.len())
    }
}

/// Builds rows one after the other, either over bytes that are already there or by copying cells. Rows of one builder
/// share blocks of memory, so that a row costs no allocation; a block is freed with the last of its rows.
#[derive(Debug, Default)]
pub struct RowBuilder {
    places: BytesMut,
    copied: BytesMut,
}

impl RowBuilder {
    /// A builder with room for `cells` cells and `bytes` copied bytes, of one row or of many.
    pub fn with_capacity(cells: usize, bytes: usize) -> Self {
        Self { places: BytesMut::with_capacity(cells * PLACE_BYTES), copied: BytesMut::with_capacity(bytes) }
    }

    /// Appends a cell, copying its bytes.
    pub fn push(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Null => self.push_null(),
            Cell::Unchanged => self.push_unchanged(),
            Cell::Data(bytes) => {
                let start = self.copied.len();
                self.copied.extend_from_slice(bytes);
                self.push_place(start, bytes.len());
            }
        }
    }

    /// Appends a NULL cell.
    pub fn push_null(&mut self) {
        self.put(Place { start: 0, len: NULL });
    }

    /// Appends a cell that the log does not carry.
    pub fn push_unchanged(&mut self) {
        self.put(Place { start: 0, len: UNCHANGED });
    }

    /// Appends a cell that lies at `start..start + len` of the bytes that [`RowBuilder::finish_over`] will get.
    /// A cell ends below 4 GiB, as every message of every source does.
    pub fn push_place(&mut self, start: usize, len: usize) {
        let place = |n: usize| u32::try_from(n).unwrap_or(0);
        self.put(Place { start: place(start), len: place(len) });
    }

    fn put(&mut self, place: Place) {
        self.places.extend_from_slice(&place.to_bytes());
    }

    /// The number of cells so far.
    pub fn len(&self) -> usize {
        self.places.len() / PLACE_BYTES
    }

    /// Whether there is no cell so far.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Forgets the cells so far.
    pub fn clear(&mut self) {
        self.places.clear();
        self.copied.clear();
    }

    /// The row over the bytes that were copied.
    pub fn finish(&mut self) -> Row {
        Row { data: self.copied.split().freeze(), places: self.places.split().freeze() }
    }

    /// The row over `data`, which holds the cells appended by [`RowBuilder::push_place`].
    pub fn finish_over(&mut self, data: Bytes) -> Row {
        Row { data, places: self.places.split().freeze() }
    }

    /// Like [`RowBuilder::finish_over`], with a copy of `data`.
    pub fn finish_copy(&mut self, data: &[u8]) -> Row {
        self.copied.extend_from_slice(data);
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Cell<'_>]) -> Row {
        let mut builder = RowBuilder::default();
        for cell in cells {
            builder.push(*cell);
        }
        builder.finish()
    }

    #[test]
    fn unchanged_is_not_null_and_is_filled_from_an_older_image() {
        let new = row(&[Cell::Data(b"1"), Cell::Unchanged, Cell::Null]);
        let old = row(&[Cell::Data(b"0"), Cell::Data(b"toast"), Cell::Data(b"x")]);
        assert!(new.has_unchanged());
        assert_eq!(new.clone().filled_from(&old), row(&[Cell::Data(b"1"), Cell::Data(b"toast"), Cell::Null]));
        assert_eq!(old.clone().filled_from(&new), old);
    }

    #[test]
    fn a_row_over_foreign_bytes_reads_its_places() {
        let mut builder = RowBuilder::default();
        builder.push_place(2, 3);
        builder.push_null();
        builder.push_place(5, 0);
        let row = builder.finish_over(Bytes::from_static(b"..abc"));
        builder.push_place(1, 1);
        let next = builder.finish_copy(b"ab");
        assert_eq!((next.len(), next.cell(0)), (1, Cell::Data(b"b")), "rows of one builder do not mix");
        assert_eq!([row.cell(0), row.cell(1), row.cell(2)], [Cell::Data(b"abc"), Cell::Null, Cell::Data(b"")]);
        assert_eq!(row.cell(3), Cell::Unchanged);
        assert_eq!(format!("{row:?}"), "Row(3 cells, 5 bytes)");
    }
}
