//! Cells that the log did not carry, filled in from the newest older value of the row.
//!
//! An update that leaves an out-of-line value (`TOAST`) alone does not repeat it. The value is then that of the row before: of the
//! change before it in the same commit, or of the stored row, whichever is newer: repeats may be in the commit. The insert half
//! of a key change takes it from the row that the old key had. Where there is no such row the change is refused; a missing
//! cell never becomes NULL.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_select::interleave::interleave;
use walbrook_model::{Error, Result, Seq};

use crate::buffer::{Rows, repeat};
use crate::data_file;
use crate::index::Location;
use crate::key::KeyId;
use crate::layout::{LakeField, Layout, SEQ};
use crate::scd1::Scd1;
use crate::stored::{Files, seq_column, to_seq};

/// The row that a partial row takes its missing cells from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// A row of the buffer, unless a stored row of its key is newer.
    Row { number: u32, key: KeyId, seq: Seq },
    /// The stored row of a key, if it is not older than `since`.
    Stored { key: KeyId, since: Seq },
    /// There is none: the key was deleted or never seen.
    Nothing,
}

/// A buffered row with cells left open.
#[derive(Clone, Debug)]
pub(crate) struct PartialRow {
    /// Places of the cells in the layout.
    pub(crate) cells: Box<[usize]>,
    /// Where they come from.
    pub(crate) base: Base,
    /// The key of the row.
    pub(crate) key: KeyId,
    /// The token of the change.
    pub(crate) seq: Seq,
}

/// Partial rows by their number in the buffer.
pub(crate) type PartialRows = HashMap<u32, PartialRow>;

/// What a table knows when it commits.
pub(crate) struct Known<'a> {
    /// Buffered rows.
    pub(crate) rows: &'a Rows,
    /// Which of them are partial.
    pub(crate) partial: &'a PartialRows,
    /// Where stored rows lie, and how new those of a file can be.
    pub(crate) scd1: &'a Scd1,
    /// The files that they lie in.
    pub(crate) files: &'a Files,
    /// Stored rows below it were truncated or swept.
    pub(crate) floor: Seq,
    /// The columns.
    pub(crate) layout: &'a Layout,
    /// Name of the table at the source.
    pub(crate) table: &'a str,
}

/// One cell to fill in.
struct Gap {
    /// Row among those selected.
    at: usize,
    /// Place in the layout.
    place: usize,
    from: Origin,
}

/// The first stored row whose token is in its range; else a row of the buffer.
struct Origin {
    stored: Vec<(Location, Range<Seq>)>,
    row: Option<u32>,
}

/// A column and a place in it.
type Found = (ArrayRef, usize);

impl Known<'_> {
    /// The buffer rows of these numbers, which ascend, every cell filled.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if no earlier value of a cell is known.
    pub(crate) fn select(&self, numbers: &[u32]) -> Result<Vec<RecordBatch>> {
        let batches = self.rows.select(numbers, self.layout)?;
        if self.partial.is_empty() {
            return Ok(batches);
        }
        let gaps = self.gaps(numbers);
        let stored = self.read(&gaps)?;
        let mut by_place: BTreeMap<usize, Vec<(usize, Found)>> = BTreeMap::new();
        let mut defaults: HashMap<usize, ArrayRef> = HashMap::new();
        for gap in &gaps {
            let field = self.field(gap.place)?;
            let found = match (stored.cell(&gap.from.stored, field)?, gap.from.row) {
                (Stored::Cell(found), _) => Some(found),
                (Stored::Older, _) => None,
                (Stored::Nothing, Some(number)) => self.rows.cell(number, field.id)?,
                (Stored::Nothing, None) => return Err(self.missing(field)),
            };
            let found = match (found, defaults.get(&gap.place)) {
                (Some(found), _) => found,
                (None, Some(default)) => (default.clone(), 0),
                (None, None) => (defaults.entry(gap.place).or_insert(repeat(field, 1)?).clone(), 0),
            };
            by_place.entry(gap.place).or_default().push((gap.at, found));
        }
        let mut first = 0;
        batches
            .into_iter()
            .map(|batch| {
                let rows = first..first + batch.num_rows();
                first = rows.end;
                patch(&batch, rows.start, rows.end, &by_place)
            })
            .collect()
    }

    /// The cells of the selected rows that are open, and where each comes from.
    fn gaps(&self, numbers: &[u32]) -> Vec<Gap> {
        let mut gaps = Vec::new();
        for (at, number) in numbers.iter().enumerate() {
            let Some(partial) = self.partial.get(number) else { continue };
            for &place in &partial.cells {
                gaps.push(Gap { at, place, from: self.origin(partial, place) });
            }
        }
        gaps
    }

    /// Follows partial rows back to one that has the cell, or to the stored row before them.
    fn origin(&self, newest: &PartialRow, place: usize) -> Origin {
        let mut stored = Vec::new();
        let mut candidate = |key: KeyId, tokens: Range<Seq>| {
            let tokens = tokens.start.max(self.floor)..tokens.end;
            let at = self.scd1.index().get(key).filter(|at| self.scd1.newest_in(at.file) >= Some(tokens.start));
            stored.extend(at.map(|at| (at, tokens)));
        };
        let (mut oldest, mut end) = (newest, newest.seq);
        let row = loop {
            let older = match oldest.base {
                Base::Row { number, .. } => self.partial.get(&number).filter(|older| older.cells.contains(&place)),
                Base::Stored { .. } | Base::Nothing => None,
            };
            if older.is_none_or(|older| older.key != oldest.key) {
                // In a replay the table may be further than the buffer: among these rows, all of which keep the cell.
                candidate(oldest.key, oldest.seq..end);
                end = oldest.seq;
            }
            match (older, oldest.base) {
                (Some(older), _) => oldest = older,
                (None, Base::Row { number, key, seq }) => {
                    candidate(key, seq..oldest.seq);
                    break Some(number);
                }
                (None, Base::Stored { key, since }) => {
                    candidate(key, since..oldest.seq);
                    break None;
                }
                (None, Base::Nothing) => break None,
            }
        };
        Origin { stored, row }
    }

    fn read(&self, gaps: &[Gap]) -> Result<StoredCells> {
        let mut wanted: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut ids: Vec<i32> = vec![self.layout.field(SEQ).map_or(0, |field| field.id)];
        for gap in gaps {
            for (at, _) in &gap.from.stored {
                wanted.entry(at.file).or_default().push(at.row);
            }
            if !gap.from.stored.is_empty() {
                ids.push(self.field(gap.place)?.id);
            }
        }
        ids[1..].sort_unstable();
        ids.dedup();
        let mut files = HashMap::new();
        for (file, mut rows) in wanted {
            rows.sort_unstable();
            rows.dedup();
            let columns = data_file::pick(&self.files.get(file)?.path, &ids, &rows)?;
            files.insert(file, (rows, columns));
        }
        Ok(StoredCells { ids, files })
    }

    fn missing(&self, field: &LakeField) -> Error {
        let what = "the log does not carry the unchanged value, and no earlier one is known";
        Error::data(what).on(format!("table {}, column {}", self.table, field.name)).remedy(format!(
            "ALTER TABLE {} REPLICA IDENTITY FULL, then drop the lake table and take a new snapshot of this table",
            self.table
        ))
    }

    fn field(&self, place: usize) -> Result<&LakeField> {
        self.layout.fields.get(place).ok_or_else(|| Error::bug("a cell outside of the layout"))
    }
}

/// What the stored rows say of a cell.
enum Stored {
    Cell(Found),
    /// The row is older than the column.
    Older,
    Nothing,
}

/// Rows of data files that cells are taken from.
struct StoredCells {
    /// Field ids of the columns; the first is that of `_seq`.
    ids: Vec<i32>,
    files: HashMap<u32, (Vec<u32>, Vec<Option<ArrayRef>>)>,
}

impl StoredCells {
    /// The cell of the first row whose token is in its range.
    fn cell(&self, rows: &[(Location, Range<Seq>)], field: &LakeField) -> Result<Stored> {
        let not_read = || Error::bug("a stored row was not read");
        for (at, range) in rows {
            let (rows, columns) = self.files.get(&at.file).ok_or_else(not_read)?;
            let row = rows.binary_search(&at.row).map_err(|_| not_read())?;
            let stored = to_seq(seq_column(columns.first().and_then(Option::as_ref))?.value(row))?;
            if range.contains(&stored) {
                let column = self.ids.iter().position(|id| *id == field.id).ok_or_else(not_read)?;
                let column = columns.get(column).and_then(Option::as_ref);
                return Ok(column.map_or(Stored::Older, |column| Stored::Cell((column.clone(), row))));
            }
        }
        Ok(Stored::Nothing)
    }
}

/// `batch`, which holds the selected rows `first..end`, with the cells of `by_place` put in.
fn patch(
    batch: &RecordBatch,
    first: usize,
    end: usize,
    by_place: &BTreeMap<usize, Vec<(usize, Found)>>,
) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    for (place, cells) in by_place {
        let here = &cells[cells.partition_point(|(at, _)| *at < first)..cells.partition_point(|(at, _)| *at < end)];
        let Some(column) = columns.get_mut(*place).filter(|_| !here.is_empty()) else { continue };
        let mut sources: Vec<ArrayRef> = vec![column.clone()];
        let mut picks: Vec<(usize, usize)> = (0..batch.num_rows()).map(|row| (0, row)).collect();
        for (at, (array, row)) in here {
            let known = sources.iter().skip(1).position(|source| std::ptr::addr_eq(source.as_ref(), array.as_ref()));
            let source = known.map_or(sources.len(), |known| known + 1);
            if source == sources.len() {
                sources.push(array.clone());
            }
            picks[at - first] = (source, *row);
        }
        let sources: Vec<_> = sources.iter().map(AsRef::as_ref).collect();
        *column =
            interleave(&sources, &picks).map_err(|error| Error::bug("cells do not fit their column").because(error))?;
    }
    RecordBatch::try_new(batch.schema(), columns).map_err(|error| Error::bug("filled rows").because(error))
}
