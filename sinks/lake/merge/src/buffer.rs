//! Rows of one table between two commits, as Arrow columns.
//!
//! A row is decoded once, straight from the bytes of the log into the column builders. Builders are sealed into chunks
//! of bounded size, so that no column outgrows Arrow's 32-bit offsets and growing a builder never copies much. Rows are
//! numbered across chunks in the order of their arrival; at a commit the rows that won are selected by number.
//!
//! Measured with `examples/write_rows.rs` on a busy machine with 2 cores, 12 columns and 333 bytes a row: decoding and
//! building 0.4-0.5 us a row, selecting half of the rows 0.05-0.1 us, encoding, compressing and syncing the file
//! 0.65-0.8 us; 43 bytes a row on disk. `examples/merge_rows.rs`, the whole sink with guard and index, 1 M rows: 2.1 us
//! an insert or random update, 0.6 us an update of a hot key, 0.9 us a delete; 4-6 M keys/s read back at a start.
//!
//! Invariant: all columns have the same length. A row that cannot be decoded keeps its number and is never selected.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_select::take::take;
use walbrook_model::{Cell, Decimal, Error, Result, Row, Seq, TableSchema, Value};

use crate::column::ColumnBuilder;
use crate::evolve::default_value;
use crate::layout::{LakeField, Layout};

/// Bytes of row data in a chunk. A single row may be larger, up to the source's bound of 1 GB.
const CHUNK_BYTES: usize = 8 << 20;

/// What our own columns say about a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// `_seq`
    pub(crate) seq: Seq,
    /// `_committed_at`, microseconds since 1970 UTC
    pub(crate) committed_at_us: i64,
    /// `_op`, in an append table; `None` in an upsert table.
    pub(crate) op: Option<char>,
}

/// Rows of one table between two commits.
pub(crate) struct Buffer {
    layout: Arc<Layout>,
    columns: Vec<ColumnBuilder>,
    cells: Option<CellMap>,
    open_rows: usize,
    open_bytes: usize,
    unfilled: Vec<usize>,
    rows: Rows,
}

/// Sealed rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    chunks: Vec<Chunk>,
    refused: Vec<u32>,
    len: usize,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Chunk {
    first: usize,
    rows: usize,
    /// Of the fields of `layout`; a required one may have a NULL in a row that was refused.
    columns: Vec<ArrayRef>,
    layout: Arc<Layout>,
}

/// What becomes of a cell that the log does not carry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Refuse,
    Null,
    Later,
}

/// Where the cells of one version of a table's shape go.
struct CellMap {
    schema: Arc<TableSchema>,
    cells: Vec<Origin>,
}

enum Origin {
    Column {
        index: usize,
        required: bool,
    },
    /// The column is newer than the row.
    Default(Value<'static>),
}

impl Buffer {
    /// An empty buffer for rows of `layout`.
    pub(crate) fn new(layout: Arc<Layout>) -> Self {
        let columns = builders(&layout);
        Self { layout, columns, cells: None, open_rows: 0, open_bytes: 0, unfilled: Vec::new(), rows: Rows::default() }
    }

    /// The columns that rows are written in.
    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Rows so far.
    pub(crate) fn len(&self) -> usize {
        self.rows.len + self.open_rows
    }

    /// Bytes of row data so far.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes + self.open_bytes
    }

    /// Appends a row and returns its number. `row` is `None` for a change that carries none (a truncate). A cell that the
    /// log does not carry is NULL in an append table, and its name is in `_unchanged`.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if a cell cannot be represented, or is not carried by a row of an upsert table.
    pub(crate) fn push(&mut self, schema: &Arc<TableSchema>, row: Option<&Row>, stamp: Stamp) -> Result<u32> {
        let absent = if stamp.op.is_some() { Absent::Null } else { Absent::Refuse };
        self.push_row(schema, row, stamp, absent)
    }

    /// Like [`Buffer::push`], but a cell that the log does not carry is left to be filled in; [`Buffer::unfilled`] says
    /// which.
    pub(crate) fn push_partial(&mut self, schema: &Arc<TableSchema>, row: &Row, stamp: Stamp) -> Result<u32> {
        self.push_row(schema, Some(row), stamp, Absent::Later)
    }

    /// Places in the layout of the cells that the last [`Buffer::push_partial`] left open.
    pub(crate) fn unfilled(&self) -> &[usize] {
        &self.unfilled
    }

    fn push_row(&mut self, schema: &Arc<TableSchema>, row: Option<&Row>, stamp: Stamp, absent: Absent) -> Result<u32> {
        let row_bytes = row.map_or(0, Row::memory_bytes) + size_of::<Stamp>();
        if self.open_rows > 0 && self.open_bytes + row_bytes > CHUNK_BYTES {
            self.seal()?;
        }
        let number = u32::try_from(self.len()).map_err(|_| Error::bug("more than 2^32 rows in one commit"))?;
        self.map_cells(schema)?;
        self.open_rows += 1;
        self.open_bytes += row_bytes;
        let source = self.push_cells(row, absent);
        let ours = self.push_stamp(schema, row, stamp);
        let result = source.and(ours);
        if result.is_err() {
            self.rows.refused.push(number);
        }
        result.map(|()| number)
    }

    /// Every column gets exactly one entry, also after an error.
    fn push_cells(&mut self, row: Option<&Row>, absent: Absent) -> Result<()> {
        self.unfilled.clear();
        let mut result = Ok(());
        let Some(CellMap { schema, cells }) = &self.cells else { return Err(Error::bug("row without a schema")) };
        for (place, (column, origin)) in self.columns.iter_mut().zip(cells).enumerate() {
            let pushed = match (origin, row) {
                (Origin::Default(value), Some(_)) => column.push(value),
                (Origin::Column { index, required }, Some(row)) => match row.cell(*index) {
                    Cell::Data(bytes) => push_data(column, schema, *index, bytes),
                    Cell::Null if *required => column.push(&Value::Null).and(Err(Error::data("NULL in a key column"))),
                    Cell::Unchanged if absent == Absent::Refuse || *required => column.push(&Value::Unchanged),
                    Cell::Unchanged if absent == Absent::Later => {
                        self.unfilled.push(place);
                        column.push(&Value::Null)
                    }
                    Cell::Null | Cell::Unchanged => column.push(&Value::Null),
                },
                (_, None) => column.push(&Value::Null),
            };
            if let Err(error) = pushed
                && result.is_ok()
            {
                let name = self.layout.fields.get(place).map_or("", |field| field.name.as_str());
                result = Err(error.on(format!("table {}, column {name}", schema.table)));
            }
        }
        result
    }

    fn push_stamp(&mut self, schema: &TableSchema, row: Option<&Row>, stamp: Stamp) -> Result<()> {
        let first = self.layout.source_fields();
        let mut ours = self.columns.get_mut(first..).unwrap_or_default().iter_mut();
        let mut push = |value: &Value<'_>| match ours.next() {
            Some(column) => column.push(value),
            None => Err(Error::bug("a layout without columns of ours")),
        };
        let mut result = Ok(());
        if let Some(op) = stamp.op {
            let mut letter = [0; 4];
            result = push(&Value::Text((&*op.encode_utf8(&mut letter)).into()));
            result = result.and(push(&unchanged(schema, row)));
        }
        let unscaled = i128::try_from(stamp.seq.to_u128()).map_err(|_| Error::bug("order token above 2^127"));
        let seq = unscaled.map_or(Value::Null, |unscaled| Value::Decimal(Decimal { unscaled, scale: 0 }));
        result = result.and(push(&seq));
        result.and(push(&Value::TimestampTz(stamp.committed_at_us)))
    }

    /// Rows from now on have the columns of `layout`, which adds columns to those of now.
    pub(crate) fn set_layout(&mut self, layout: Arc<Layout>) -> Result<()> {
        self.seal()?;
        self.columns = builders(&layout);
        self.cells = None;
        self.layout = layout;
        Ok(())
    }

    /// Hands the rows over; the buffer is empty then.
    pub(crate) fn take(&mut self) -> Result<Rows> {
        self.seal()?;
        Ok(std::mem::take(&mut self.rows))
    }

    fn seal(&mut self) -> Result<()> {
        if self.open_rows == 0 {
            return Ok(());
        }
        let columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        // The next chunk is probably as large as this one.
        let alike = self.layout.fields.iter().zip(&columns);
        self.columns = alike.map(|(field, column)| ColumnBuilder::with_room_of(&field.ty, column)).collect();
        let chunk = Chunk { first: self.rows.len, rows: self.open_rows, columns, layout: Arc::clone(&self.layout) };
        self.rows.chunks.push(chunk);
        self.rows.len += self.open_rows;
        self.rows.bytes += self.open_bytes;
        (self.open_rows, self.open_bytes) = (0, 0);
        Ok(())
    }

    /// Looks up where the cells of `schema` go; the answer is kept while the schema stays the same.
    fn map_cells(&mut self, schema: &Arc<TableSchema>) -> Result<()> {
        if self.cells.as_ref().is_some_and(|cells| Arc::ptr_eq(&cells.schema, schema)) {
            return Ok(());
        }
        let fields = self.layout.fields.iter().take(self.layout.source_fields());
        let cells = fields.map(|field| match schema.column(&field.name) {
            Some(index) => Ok(Origin::Column { index, required: field.required }),
            None => default_value(field).map(Origin::Default),
        });
        self.cells = Some(CellMap { schema: Arc::clone(schema), cells: cells.collect::<Result<_>>()? });
        Ok(())
    }
}

impl Rows {
    /// How many there are, refused ones included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The numbers of all that were not refused.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        (0..).take(self.len).filter(|number| !self.refused.contains(number)).collect()
    }

    /// The rows of these numbers, which ascend, in the columns of `layout`.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if there is no such row.
    pub(crate) fn select(&self, numbers: &[u32], layout: &Layout) -> Result<Vec<RecordBatch>> {
        let schema = layout.arrow_schema();
        let mut selected = Vec::with_capacity(self.chunks.len());
        let mut rest = numbers;
        for chunk in &self.chunks {
            let end = chunk.first + chunk.rows;
            let (here, later) = rest.split_at(rest.partition_point(|&number| (number as usize) < end));
            rest = later;
            if !here.is_empty() {
                let columns = chunk.select(here, layout)?;
                let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
                selected
                    .push(batch.map_err(|error| Error::bug("buffered columns do not fit the table").because(error))?);
            }
        }
        if rest.is_empty() { Ok(selected) } else { Err(Error::bug("a row was selected that is not in the buffer")) }
    }
}

impl Rows {
    /// The column of a row and its place in it; `None` if the row is older than the column.
    pub(crate) fn cell(&self, number: u32, field: i32) -> Result<Option<(ArrayRef, usize)>> {
        let number = number as usize;
        let chunk = self.chunks.partition_point(|chunk| chunk.first + chunk.rows <= number);
        let chunk =
            self.chunks.get(chunk).ok_or_else(|| Error::bug("a cell was asked for that is not in the buffer"))?;
        Ok(chunk.column(field).map(|column| (Arc::clone(column), number - chunk.first)))
    }
}

impl Chunk {
    /// The rows of these numbers, with the columns of `layout`: those that the rows do not have at their defaults.
    fn select(&self, numbers: &[u32], layout: &Layout) -> Result<Vec<ArrayRef>> {
        // `first` and every number of a chunk are below 2^32.
        let first = u32::try_from(self.first).unwrap_or(u32::MAX);
        let whole = numbers.len() == self.rows;
        let indexes = UInt32Array::from_iter_values(numbers.iter().map(|number| number - first));
        let pick = |field: &LakeField| match self.column(field.id) {
            Some(column) if whole => Ok(Arc::clone(column)),
            Some(column) => take(column, &indexes, None).map_err(|error| Error::bug("row selection").because(error)),
            None => repeat(field, numbers.len()),
        };
        layout.fields.iter().map(pick).collect()
    }

    fn column(&self, id: i32) -> Option<&ArrayRef> {
        let index = self.layout.fields.iter().position(|field| field.id == id)?;
        self.columns.get(index)
    }
}

/// `rows` times the initial default of a column.
pub(crate) fn repeat(field: &LakeField, rows: usize) -> Result<ArrayRef> {
    let value = default_value(field)?;
    let mut column = ColumnBuilder::new(&field.ty, rows);
    (0..rows).try_for_each(|_| column.push(&value))?;
    column.finish()
}

fn push_data(column: &mut ColumnBuilder, schema: &TableSchema, index: usize, bytes: &[u8]) -> Result<()> {
    let decoded = match schema.columns.get(index) {
        Some(source) => (source.decoder)(&source.ty, bytes),
        None => Err(Error::bug("a row of another shape")),
    };
    match decoded {
        Ok(value) => column.push(&value),
        Err(error) => column.push(&Value::Null).and(Err(error)),
    }
}

fn builders(layout: &Layout) -> Vec<ColumnBuilder> {
    layout.fields.iter().map(|field| ColumnBuilder::new(&field.ty, 0)).collect()
}

/// The columns that the log did not carry, for `_unchanged`.
fn unchanged<'a>(schema: &'a TableSchema, row: Option<&Row>) -> Value<'a> {
    let Some(row) = row else { return Value::Null };
    let names = schema.columns.iter().enumerate().filter(|(index, _)| row.cell(*index) == Cell::Unchanged);
    let names: Vec<_> = names.map(|(_, column)| Value::Text(column.name.as_str().into())).collect();
    if names.is_empty() { Value::Null } else { Value::List(names) }
}

#[cfg(test)]
mod tests;
