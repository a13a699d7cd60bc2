//! Rows of `COPY .. TO STDOUT` in text format.
//!
//! A line is a row, a tab parts two cells, `\N` is NULL, a backslash escapes. The server sends each line as a message of its
//! own ("messages sent from the backend will always correspond to single data rows"), and a row is a slice of its message.

use bytes::Bytes;
use memchr::{memchr, memchr_iter};
use walbrook_model::{Cell, Result, Row, RowBuilder};

use super::malformed;

/// Reads lines as rows.
pub(crate) struct Lines {
    columns: usize,
    row: RowBuilder,
}

/// Rows that share a block of places.
const BLOCK_ROWS: usize = 1024;

impl Lines {
    /// A reader of rows with so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns, row: RowBuilder::with_capacity(columns * BLOCK_ROWS, 0) }
    }

    /// The row of a line, which ends with its line feed.
    pub(crate) fn row(&mut self, mut line: Bytes) -> Result<Row> {
        let Some((b'\n', cells)) = line.split_last() else { return Err(malformed("a row of a copy does not end")) };
        let row = if places(cells, self.columns, &mut self.row) {
            line.truncate(cells.len());
            self.row.finish_over(line)
        } else {
            self.row.clear();
            unescaped(cells, self.columns, &mut self.row)?;
            self.row.finish()
        };
        if row.len() == self.columns {
            return Ok(row);
        }
        Err(malformed(&format!("a row of a copy has {} cells instead of {}", row.len(), self.columns)))
    }
}

/// The cells of a line. A line of a table without columns has none.
fn cells(line: &[u8], columns: usize) -> impl Iterator<Item = (usize, &[u8])> {
    let ends = memchr_iter(b'\t', line).chain(std::iter::once(line.len()));
    let mut start = 0;
    let cells = ends.map(move |end| {
        let cell = (start, line.get(start..end).unwrap_or_default());
        start = end + 1;
        cell
    });
    cells.skip(usize::from(columns == 0 && line.is_empty()))
}

/// The row as places in `line`; `false` if a cell is escaped.
fn places(line: &[u8], columns: usize, row: &mut RowBuilder) -> bool {
    let may_escape = memchr(b'\\', line).is_some();
    for (start, cell) in cells(line, columns) {
        if may_escape && cell == br"\N" {
            row.push_null();
        } else if may_escape && memchr(b'\\', cell).is_some() {
            return false;
        } else {
            row.push_place(start, cell.len());
        }
    }
    true
}

/// The row as a copy, without escapes.
fn unescaped(line: &[u8], columns: usize, row: &mut RowBuilder) -> Result<()> {
    let mut text = Vec::new();
    for (_, cell) in cells(line, columns) {
        if cell == br"\N" {
            row.push_null();
        } else {
            text.clear();
            unescape(cell, &mut text)?;
            row.push(Cell::Data(&text));
        }
    }
    Ok(())
}

/// Appends `cell` without its escapes. The server escapes the backslash and six control characters, nothing else.
fn unescape(mut cell: &[u8], text: &mut Vec<u8>) -> Result<()> {
    while let Some(at) = memchr(b'\\', cell) {
        let (plain, escape) = cell.split_at(at);
        text.extend_from_slice(plain);
        let Some((&[_, letter], rest)) = escape.split_first_chunk::<2>() else {
            return Err(malformed("a cell of a copy ends inside an escape"));
        };
        text.push(match letter {
            b'\\' => b'\\',
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 0x0B,
            b'f' => 0x0C,
            b'r' => b'\r',
            _ => return Err(malformed("a cell of a copy has an unknown escape")),
        });
        cell = rest;
    }
    text.extend_from_slice(cell);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Cells = Vec<Option<Vec<u8>>>;

    /// As the server writes a row: `CopyAttributeOutText` escapes the backslash and these control characters.
    fn encode(row: &Cells) -> Vec<u8> {
        let cell = |cell: &Option<Vec<u8>>| match cell {
            None => br"\N".to_vec(),
            Some(bytes) => bytes
                .iter()
                .flat_map(|byte| match byte {
                    b'\\' => br"\\".to_vec(),
                    0x08 => br"\b".to_vec(),
                    b'\t' => br"\t".to_vec(),
                    b'\n' => br"\n".to_vec(),
                    0x0B => br"\v".to_vec(),
                    0x0C => br"\f".to_vec(),
                    b'\r' => br"\r".to_vec(),
                    byte => vec![*byte],
                })
                .collect(),
        };
        let mut line = row.iter().map(cell).collect::<Vec<_>>().join(&b'\t');
        line.push(b'\n');
        line
    }

    fn decode(row: &Row) -> Cells {
        let cell = |index| match row.cell(index) {
            Cell::Null => None,
            Cell::Data(bytes) => Some(bytes.to_vec()),
            Cell::Unchanged => panic!("a copy carries every cell"),
        };
        (0..row.len()).map(cell).collect()
    }

    fn read(columns: usize, lines: &[&[u8]]) -> Result<Vec<Cells>> {
        let mut reader = Lines::new(columns);
        lines.iter().map(|line| Ok(decode(&reader.row(Bytes::copy_from_slice(line))?))).collect()
    }

    #[track_caller]
    fn check(line: &[u8], expected: &[Option<&str>]) {
        let expected: Cells = expected.iter().map(|cell| cell.map(|text| text.as_bytes().to_vec())).collect();
        assert_eq!(read(expected.len(), &[line]).unwrap(), [expected]);
    }

    #[test]
    fn a_line_is_a_row() {
        check(b"1\tab\t\n", &[Some("1"), Some("ab"), Some("")]);
        check(b"\\N\tx\t\\N\n", &[None, Some("x"), None]);
        check(b"\\\\N\t\\\\.\n", &[Some("\\N"), Some("\\.")]);
        check(b"a\\tb\t\\N\tc\\nd\\\\\n", &[Some("a\tb"), None, Some("c\nd\\")]);
        check(b"\\b\\t\\n\\v\\f\\r\n", &[Some("\x08\t\n\x0B\x0C\r")]);
        check(b"\n", &[Some("")]);
        check(b"\n", &[]);
    }

    #[test]
    fn what_no_server_sends_is_an_error() {
        for (columns, line) in
            [(1, &b"a\tb\n"[..]), (3, b"a\tb\n"), (0, b"a\n"), (1, b"a\\\n"), (1, b"\\x41\n"), (1, b"no end")]
        {
            assert!(read(columns, &[line]).is_err(), "{line:?}");
        }
    }

    fn rows() -> impl Strategy<Value = (usize, Vec<Cells>)> {
        let byte = prop_oneof![prop::sample::select(b"\\\t\n\r\x08\x0B\x0CNnt.".to_vec()), any::<u8>()];
        let cell = prop::option::of(prop::collection::vec(byte, 0..12));
        (0..5_usize).prop_flat_map(move |columns| {
            let row = prop::collection::vec(cell.clone(), columns);
            (Just(columns), prop::collection::vec(row, 0..8))
        })
    }

    proptest! {
        #[test]
        fn any_cells_come_back((columns, rows) in rows()) {
            let lines: Vec<Vec<u8>> = rows.iter().map(encode).collect();
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(read(columns, &lines).unwrap(), rows);
        }

        #[test]
        fn no_bytes_make_it_panic(columns in 0..4_usize, lines: Vec<Vec<u8>>) {
            for line in &lines {
                let _ = read(columns, &[line]);
            }
        }
    }
}
