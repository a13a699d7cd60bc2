//! Rows of `COPY .. TO STDOUT` in text format.
//!
//! A line is a row, a tab parts two cells, `\N` is NULL, a backslash escapes. The server sends each line as a message of
//! its own; lines are copied into blocks of many rows, so that neither a row nor its message is an allocation, and the
//! client's buffer can be filled again.

use bytes::BytesMut;
use memchr::{memchr, memchr_iter};
use walbrook_model::{Cell, Error, Result, Row, RowBuilder};

use super::malformed;

/// Splits chunks, wherever they were cut, into rows.
pub(crate) struct Splitter {
    columns: usize,
    row_bytes_max: usize,
    /// The beginning of a row whose end has not come yet.
    partial: BytesMut,
    row: RowBuilder,
}

/// Bytes of a block of rows.
const BLOCK_BYTES: usize = 64 << 10;

impl Splitter {
    /// A splitter for rows of so many columns, none of which is longer than the limit.
    pub(crate) fn new(columns: usize, row_bytes_max: usize) -> Self {
        let row = RowBuilder::with_capacity(BLOCK_BYTES / 32, BLOCK_BYTES);
        Self { columns, row_bytes_max, partial: BytesMut::new(), row }
    }

    /// Appends the rows that end in `chunk` to `rows`.
    pub(crate) fn push(&mut self, mut chunk: &[u8], rows: &mut Vec<Row>) -> Result<()> {
        while let Some((line, rest)) = memchr(b'\n', chunk).and_then(|end| chunk.split_at_checked(end)) {
            if self.partial.is_empty() {
                rows.push(self.row(line)?);
            } else {
                self.hold(line)?;
                let line = self.partial.split();
                rows.push(self.row(&line)?);
            }
            chunk = rest.get(1..).unwrap_or_default();
        }
        self.hold(chunk)
    }

    /// Says that there is no further chunk.
    pub(crate) fn finish(self) -> Result<()> {
        if self.partial.is_empty() { Ok(()) } else { Err(malformed("the last row of a copy does not end")) }
    }

    fn hold(&mut self, piece: &[u8]) -> Result<()> {
        self.check_size(self.partial.len().saturating_add(piece.len()))?;
        self.partial.extend_from_slice(piece);
        Ok(())
    }

    fn check_size(&self, bytes: usize) -> Result<()> {
        if bytes <= self.row_bytes_max {
            return Ok(());
        }
        let limit = self.row_bytes_max;
        Err(Error::config(format!("a row has more than {limit} bytes"))
            .remedy("raise source.postgres.message_bytes_max, or leave the large column out"))
    }

    fn row(&mut self, line: &[u8]) -> Result<Row> {
        self.check_size(line.len())?;
        let row = if places(line, self.columns, &mut self.row) {
            self.row.finish_copy(line)
        } else {
            self.row.clear();
            unescaped(line, self.columns, &mut self.row)?;
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

    const LIMIT: usize = 1 << 20;

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

    fn split(columns: usize, chunks: &[&[u8]]) -> Result<Vec<Cells>> {
        let (mut splitter, mut rows) = (Splitter::new(columns, LIMIT), Vec::new());
        for chunk in chunks {
            splitter.push(chunk, &mut rows)?;
        }
        splitter.finish()?;
        Ok(rows.iter().map(decode).collect())
    }

    #[track_caller]
    fn check(line: &[u8], expected: &[Option<&str>]) {
        let expected: Cells = expected.iter().map(|cell| cell.map(|text| text.as_bytes().to_vec())).collect();
        assert_eq!(split(expected.len(), &[line]).unwrap(), [expected]);
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
            assert!(split(columns, &[line]).is_err(), "{line:?}");
        }
    }

    #[test]
    fn rows_are_bounded_also_while_they_come_in_pieces() {
        let splitter = || Splitter::new(1, 8);
        assert!(splitter().push(b"12345678\n", &mut Vec::new()).is_ok());
        assert!(splitter().push(b"123456789\n", &mut Vec::new()).is_err());
        let mut pieces = splitter();
        assert!(pieces.push(b"12345678", &mut Vec::new()).is_ok());
        assert!(pieces.push(b"9", &mut Vec::new()).is_err());
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
        fn any_cells_cut_anywhere_come_back((columns, rows) in rows(), cuts: Vec<prop::sample::Index>) {
            let stream: Vec<u8> = rows.iter().flat_map(encode).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            prop_assert_eq!(split(columns, &chunks).unwrap(), rows);
        }

        #[test]
        fn no_bytes_make_it_panic(columns in 0..4_usize, chunks: Vec<Vec<u8>>) {
            let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| &**chunk).collect();
            let _ = split(columns, &chunks);
        }
    }
}
