//! Whether a table can store the cells of a change: found without keeping a value, by the code of the decoders that a sink
//! will use.

use walbrook_model::{Cell, Change, Op, Result, Row};

use super::TableReader;
use crate::decode::input::malformed;

impl TableReader {
    /// Takes a message with a cell that no table can store for one that cannot be read; the error's object is the column.
    /// Looked at is what a table of the newest rows takes: the new row, and the key of a deleted one.
    pub fn check_cells(&mut self, check: bool) {
        self.checks_cells = check;
    }

    pub(super) fn check_change(&self, change: &Change) -> Result<()> {
        if !self.checks_cells {
            return Ok(());
        }
        match (change.op, &change.before, &change.after) {
            (Op::Delete, Some(before), _) => {
                self.key_columns.iter().try_for_each(|index| self.check_cell(change, before, *index))
            }
            (_, _, Some(after)) => (0..self.columns.len()).try_for_each(|index| self.check_cell(change, after, index)),
            _ => Ok(()),
        }
    }

    fn check_cell(&self, change: &Change, row: &Row, index: usize) -> Result<()> {
        let Some(column) = self.columns.get(index) else { return Ok(()) };
        let (Some(check), Cell::Data(bytes)) = (column.check, row.cell(index)) else { return Ok(()) };
        if check(&column.meaning.ty, bytes) {
            return Ok(());
        }
        // The decoder says why.
        let decoded = change.schema.columns.get(index).map(|column| column.decode(bytes));
        Err(decoded.and_then(Result::err).unwrap_or_else(malformed))
    }
}
