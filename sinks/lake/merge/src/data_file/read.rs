//! Reads columns of a data file back.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_select::concat::concat;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::file::metadata::PageIndexPolicy;
use walbrook_model::{Error, Result};

use crate::durable;

/// Rows in memory at a time.
const BATCH_ROWS: usize = 32 << 10;

/// Some columns of a file from its first row to its last.
pub(crate) struct Scan {
    reader: ParquetRecordBatchReader,
    columns: Vec<usize>,
    path: PathBuf,
}

/// The columns with these field ids, all rows, a bounded number at a time.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Gap`] if the file is gone or damaged.
pub(crate) fn scan(path: &Path, ids: &[i32]) -> Result<Scan> {
    let builder = open(path)?;
    let leaves = leaves(&builder, ids);
    if leaves.iter().any(Option::is_none) {
        return Err(damaged(path, "a column is missing"));
    }
    let leaves: Vec<usize> = leaves.into_iter().flatten().collect();
    let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves.iter().copied());
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|e| damaged(path, e))?;
    Ok(Scan { reader, columns: places(&leaves), path: path.to_owned() })
}

/// Like [`scan`], with `None` for a column that is newer than the file.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Gap`] if the file is gone or damaged.
pub(crate) fn scan_present(
    path: &Path,
    ids: &[i32],
) -> Result<impl Iterator<Item = Result<Vec<Option<ArrayRef>>>> + use<>> {
    let builder = open(path)?;
    let known: Vec<bool> = leaves(&builder, ids).iter().map(Option::is_some).collect();
    let present: Vec<i32> = ids.iter().zip(&known).filter(|(_, known)| **known).map(|(id, _)| *id).collect();
    let spread = move |columns: Vec<ArrayRef>| {
        let mut columns = columns.into_iter();
        known.iter().map(|known| if *known { columns.next() } else { None }).collect()
    };
    Ok(scan(path, &present)?.map(move |columns| columns.map(&spread)))
}

impl Iterator for Scan {
    /// The next rows, column by column in the order asked for.
    type Item = Result<Vec<ArrayRef>>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.map_err(|error| damaged(&self.path, error));
        Some(batch.map(|batch| self.columns.iter().map(|&index| batch.column(index).clone()).collect()))
    }
}

/// The columns with these field ids at these rows, which ascend; `None` for a column that is newer than the file.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Gap`] if the file is gone or damaged.
pub(crate) fn pick(path: &Path, ids: &[i32], rows: &[u32]) -> Result<Vec<Option<ArrayRef>>> {
    let builder = open(path)?;
    let leaves = leaves(&builder, ids);
    let present: Vec<usize> = leaves.iter().copied().flatten().collect();
    let mask = ProjectionMask::leaves(builder.parquet_schema(), present.iter().copied());
    let reader = builder
        .with_projection(mask)
        .with_row_selection(selection(rows))
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error| damaged(path, error))?;
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().map_err(|error| damaged(path, error))?;
    let mut columns = places(&present).into_iter().map(|index| {
        let parts: Vec<_> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        let column = concat(&parts).map_err(|error| damaged(path, error))?;
        if column.len() == rows.len() { Ok(column) } else { Err(damaged(path, "it has fewer rows than expected")) }
    });
    leaves.iter().map(|leaf| leaf.and_then(|_| columns.next()).transpose()).collect()
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => damaged(path, error),
        _ => durable::failed("open", path, error),
    })?;
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(|error| damaged(path, error))
}

/// The leaf column of each field id; only fields at the top, which a key and our own columns are, and lists by the id
/// of the list.
fn leaves(builder: &ParquetRecordBatchReaderBuilder<File>, ids: &[i32]) -> Vec<Option<usize>> {
    let schema = builder.parquet_schema();
    let id_of = |leaf: usize| schema.get_column_root(leaf).get_basic_info();
    ids.iter()
        .map(|&id| (0..schema.num_columns()).find(|&leaf| id_of(leaf).has_id() && id_of(leaf).id() == id))
        .collect()
}

/// Where each of these leaves comes in a batch that holds just them, in the order of the file.
fn places(leaves: &[usize]) -> Vec<usize> {
    leaves.iter().map(|leaf| leaves.iter().filter(|other| *other < leaf).count()).collect()
}

fn selection(rows: &[u32]) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = 0;
    for &row in rows {
        let row = row as usize;
        match selectors.last_mut() {
            Some(last) if row == next && !last.skip => last.row_count += 1,
            _ => {
                if row > next {
                    selectors.push(RowSelector::skip(row - next));
                }
                selectors.push(RowSelector::select(1));
            }
        }
        next = row + 1;
    }
    RowSelection::from(selectors)
}

fn damaged(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::gap("a data file of the lake table is gone or damaged")
        .on(path.display().to_string())
        .because(cause)
        .remedy("restore the file, or drop the lake table and take a new snapshot of this table")
}
