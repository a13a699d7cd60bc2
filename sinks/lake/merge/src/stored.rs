//! The data files of a table: ids for the index, and the columns that the guard and the index ask for.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array as _, ArrayRef, Decimal128Array};
use roaring::RoaringBitmap;
use walbrook_model::{Error, Result, Seq};

use crate::data_file::{self, Scan};
use crate::index::Location;
use crate::scd1::Stored;

/// Ids of data files. An id names a path and is never given again.
#[derive(Debug, Default)]
pub(crate) struct Files {
    ids: HashMap<String, u32>,
    names: BTreeMap<u32, Named>,
    next: u32,
}

/// A data file by its two names.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// As the table's metadata has it.
    pub(crate) location: String,
    /// In the local file system.
    pub(crate) path: PathBuf,
}

impl Files {
    /// Gives a file an id.
    pub(crate) fn add(&mut self, location: &str, path: PathBuf) -> Result<u32> {
        let id = self.next;
        self.next = id.checked_add(1).filter(|next| *next < u32::MAX).ok_or_else(|| Error::bug("out of file ids"))?;
        if self.ids.insert(location.to_owned(), id).is_some() {
            return Err(Error::bug("a data file was added twice").on(location));
        }
        self.names.insert(id, Named { location: location.to_owned(), path });
        Ok(id)
    }

    /// Forgets a file.
    pub(crate) fn remove(&mut self, id: u32) {
        if let Some(named) = self.names.remove(&id) {
            self.ids.remove(&named.location);
        }
    }

    /// The names of a file.
    pub(crate) fn get(&self, id: u32) -> Result<&Named> {
        self.names.get(&id).ok_or_else(|| Error::bug(format!("no data file has the id {id}")))
    }
}

/// Reads the `_seq` column of the files of a table.
pub(crate) struct Seqs<'a> {
    files: &'a Files,
    seq_field: i32,
    cursor: Option<Cursor>,
    rows: u64,
}

/// A place in a file, moving forward.
struct Cursor {
    file: u32,
    scan: Scan,
    first: usize,
    seqs: Decimal128Array,
}

impl<'a> Seqs<'a> {
    /// A reader of the column with this field id.
    pub(crate) fn new(files: &'a Files, seq_field: i32) -> Self {
        Self { files, seq_field, cursor: None, rows: 0 }
    }

    /// How many rows were asked for one by one.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    fn open(&self, file: u32) -> Result<Cursor> {
        let scan = data_file::scan(&self.files.get(file)?.path, &[self.seq_field])?;
        Ok(Cursor { file, scan, first: 0, seqs: Decimal128Array::new_null(0) })
    }
}

impl Cursor {
    /// Moves on to the next rows; `false` at the end of the file.
    fn advance(&mut self) -> Result<bool> {
        let Some(columns) = self.scan.next().transpose()? else { return Ok(false) };
        self.first += self.seqs.len();
        self.seqs = seq_column(columns.first())?;
        Ok(true)
    }
}

impl Stored for Seqs<'_> {
    fn seq_at(&mut self, at: Location) -> Result<Seq> {
        self.rows += 1;
        let row = at.row as usize;
        let mut cursor = match self.cursor.take() {
            Some(cursor) if cursor.file == at.file && cursor.first <= row => cursor,
            _ => self.open(at.file)?,
        };
        while row >= cursor.first + cursor.seqs.len() {
            if !cursor.advance()? {
                return Err(Error::bug("the index names a row behind the end of its data file"));
            }
        }
        let seq = to_seq(cursor.seqs.value(row - cursor.first))?;
        self.cursor = Some(cursor);
        Ok(seq)
    }

    fn older_than(&mut self, file: u32, floor: Seq) -> Result<RoaringBitmap> {
        let mut cursor = self.open(file)?;
        let mut older = RoaringBitmap::new();
        while cursor.advance()? {
            for (row, unscaled) in (cursor.first..).zip(cursor.seqs.values()) {
                if to_seq(*unscaled)? < floor {
                    older.insert(u32::try_from(row).map_err(|_| Error::bug("a data file of more than 2^32 rows"))?);
                }
            }
        }
        Ok(older)
    }
}

/// A `_seq` column, which has no NULL.
pub(crate) fn seq_column(column: Option<&ArrayRef>) -> Result<Decimal128Array> {
    let seqs = column.and_then(|column| column.as_primitive_opt::<Decimal128Type>().cloned());
    seqs.filter(|seqs| seqs.null_count() == 0).ok_or_else(not_ours)
}

/// The order token that is stored as this number.
pub(crate) fn to_seq(unscaled: i128) -> Result<Seq> {
    u128::try_from(unscaled).ok().and_then(Seq::from_u128).ok_or_else(not_ours)
}

fn not_ours() -> Error {
    Error::data("a row of the lake table has no order token, so another writer wrote it")
        .remedy("let nobody but walbrook write rows into the table, then drop it and take a new snapshot of it")
}
