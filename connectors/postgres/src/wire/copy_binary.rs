//! Rows of `COPY .. TO STDOUT` in binary format.
//!
//! A row is the number of its cells (16 bits), then each cell with its length (32 bits, -1 for NULL). Before the first one
//! comes a header, after the last one -1 in place of a number of cells. The server sends each row as a message of its own,
//! the header with the first. Source: "Binary Format" on the documentation's page of `COPY`.

use bytes::Bytes;
use walbrook_model::{Result, Row, RowBuilder};

use super::malformed;

/// Reads messages as rows.
pub(crate) struct Tuples {
    columns: usize,
    row: RowBuilder,
    begun: bool,
    ended: bool,
}

/// Rows that share a block of places.
const BLOCK_ROWS: usize = 1024;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

impl Tuples {
    /// A reader of rows with so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns, row: RowBuilder::with_capacity(columns * BLOCK_ROWS, 0), begun: false, ended: false }
    }

    /// The row of a message; `None`: the end of them all.
    pub(crate) fn row(&mut self, message: Bytes) -> Result<Option<Row>> {
        let mut cursor = Cursor { bytes: &message, at: 0 };
        if !std::mem::replace(&mut self.begun, true) {
            header(&mut cursor)?;
        }
        let cells = i16::from_be_bytes(cursor.take()?);
        if self.ended {
            return Err(malformed("a row of a copy comes behind its end"));
        }
        if cells == -1 {
            self.ended = true;
            return if cursor.is_at_end() { Ok(None) } else { Err(malformed("a copy goes on behind its end")) };
        }
        if usize::try_from(cells) != Ok(self.columns) {
            return Err(malformed(&format!("a row of a copy has {cells} cells instead of {}", self.columns)));
        }
        self.row.clear();
        for _ in 0..cells {
            match i32::from_be_bytes(cursor.take()?) {
                -1 => self.row.push_null(),
                len => {
                    let start = cursor.at;
                    let len = usize::try_from(len).map_err(|_| malformed("a cell of a copy has no length"))?;
                    cursor.skip(len)?;
                    self.row.push_place(start, len);
                }
            }
        }
        if cursor.is_at_end() {
            Ok(Some(self.row.finish_over(message)))
        } else {
            Err(malformed("a row of a copy goes on behind its cells"))
        }
    }
}

/// The signature, flags, and an extension that may be skipped.
fn header(cursor: &mut Cursor<'_>) -> Result<()> {
    const CRITICAL: u32 = 0xFFFF_0000;
    let rest = cursor.bytes.get(cursor.at..).unwrap_or_default();
    if !rest.starts_with(SIGNATURE) {
        return Err(malformed("a binary copy does not begin with its signature"));
    }
    cursor.skip(SIGNATURE.len())?;
    if u32::from_be_bytes(cursor.take()?) & CRITICAL != 0 {
        return Err(malformed("a binary copy has a flag that must be understood"));
    }
    let extension = u32::from_be_bytes(cursor.take()?);
    cursor.skip(extension as usize)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.first_chunk().ok_or_else(short)?;
        self.at += N;
        Ok(*taken)
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or_else(short)?;
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cold]
fn short() -> walbrook_model::Error {
    malformed("a row of a copy is cut off")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use walbrook_model::Cell;

    type Cells = Vec<Option<Vec<u8>>>;

    fn head() -> Vec<u8> {
        [SIGNATURE, &[0; 8]].concat()
    }

    fn tuple(row: &Cells) -> Vec<u8> {
        let mut sent = i16::try_from(row.len()).unwrap().to_be_bytes().to_vec();
        for cell in row {
            match cell {
                None => sent.extend((-1_i32).to_be_bytes()),
                Some(bytes) => {
                    sent.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
                    sent.extend(bytes);
                }
            }
        }
        sent
    }

    fn cells(row: &Row) -> Cells {
        let cell = |index| match row.cell(index) {
            Cell::Null => None,
            Cell::Data(bytes) => Some(bytes.to_vec()),
            Cell::Unchanged => panic!("a copy carries every cell"),
        };
        (0..row.len()).map(cell).collect()
    }

    fn read(columns: usize, messages: Vec<Vec<u8>>) -> Result<Vec<Option<Cells>>> {
        let mut reader = Tuples::new(columns);
        messages.into_iter().map(|message| Ok(reader.row(message.into())?.map(|row| cells(&row)))).collect()
    }

    fn rows() -> impl Strategy<Value = (usize, Vec<Cells>)> {
        let cell = prop::option::of(prop::collection::vec(any::<u8>(), 0..12));
        (0..5_usize).prop_flat_map(move |columns| {
            let row = prop::collection::vec(cell.clone(), columns);
            (Just(columns), prop::collection::vec(row, 0..8))
        })
    }

    proptest! {
        #[test]
        fn any_cells_come_back((columns, rows) in rows()) {
            let mut sent: Vec<Vec<u8>> = rows.iter().map(tuple).chain([(-1_i16).to_be_bytes().to_vec()]).collect();
            sent[0].splice(..0, head());
            let expected: Vec<_> = rows.into_iter().map(Some).chain([None]).collect();
            prop_assert_eq!(read(columns, sent).unwrap(), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(columns in 0..4_usize, messages: Vec<Vec<u8>>) {
            let mut behind_a_header = messages.clone();
            if let Some(first) = behind_a_header.first_mut() {
                first.splice(..0, head());
            }
            let _ = (read(columns, messages), read(columns, behind_a_header));
        }
    }

    #[test]
    fn what_no_server_sends_is_an_error() {
        let row = tuple(&vec![Some(b"a".to_vec())]);
        let first = [head(), row.clone()].concat();
        assert!(read(1, vec![first.clone(), row.clone()]).is_ok());
        let mut critical = first.clone();
        critical[SIGNATURE.len()] = 1;
        let end = vec![0xFF, 0xFF];
        for (what, columns, sent) in [
            ("no header", 1, vec![row.clone()]),
            ("a critical flag", 1, vec![critical]),
            ("another number of cells", 2, vec![first.clone()]),
            ("cut off", 1, vec![first[..first.len() - 1].to_vec()]),
            ("too long", 1, vec![[first.clone(), vec![0]].concat()]),
            ("a row behind the end", 1, vec![first.clone(), end.clone(), row]),
            ("bytes behind the end", 1, vec![first, [end, vec![0]].concat()]),
        ] {
            assert!(read(columns, sent).is_err(), "{what}");
        }
    }
}
