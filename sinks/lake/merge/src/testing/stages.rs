//! The stages between a row of the log and a data file, one by one, for the benchmark.

use std::path::Path;
use std::sync::Arc;

use walbrook_config::TableMode;
use walbrook_model::{Result, Row, Seq, TableSchema};

use crate::buffer::{Buffer, Rows, Stamp};
use crate::data_file;
use crate::format::DataFile;
use crate::layout::Layout;

/// Decodes rows into a buffer, then writes a selection of them as a data file.
pub struct Stages {
    layout: Arc<Layout>,
    buffer: Buffer,
    rows: Rows,
}

impl Stages {
    /// For rows of an upsert table.
    pub fn new(schema: &TableSchema) -> Result<Self> {
        let layout = Arc::new(Layout::of(schema, TableMode::Upsert)?);
        Ok(Self { buffer: Buffer::new(Arc::clone(&layout)), layout, rows: Rows::default() })
    }

    /// Decodes one row into the builders.
    pub fn push(&mut self, schema: &Arc<TableSchema>, row: &Row, seq: Seq, committed_at_us: i64) -> Result<u32> {
        self.buffer.push(schema, Some(row), Stamp { seq, committed_at_us, op: None })
    }

    /// Seals the builders.
    pub fn seal(&mut self) -> Result<()> {
        self.rows = self.buffer.take()?;
        Ok(())
    }

    /// Selects rows by number and writes them.
    pub fn write(&self, numbers: &[u32], folder: &Path, name: &str) -> Result<DataFile> {
        let batches = self.rows.select(numbers, &self.layout)?;
        data_file::write(folder, "file:///bench", name, &self.layout, &batches)
    }

    /// Selects rows by number, only to see what that costs.
    pub fn select(&self, numbers: &[u32]) -> Result<usize> {
        Ok(self.rows.select(numbers, &self.layout)?.len())
    }
}
