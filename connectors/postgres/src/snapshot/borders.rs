//! Which reads of a snapshot are the first and the last, of their table and of all, as Debezium marks them.
//!
//! Several sessions read, a table in any number of ranges, and which read is a table's last is known only when all of it is
//! read. So one read of each table is held back. The last of all is the last one of the table that ends last of those
//! that have rows: a table's end is told at once while another that is not read whole has shown a row, and waits as long as
//! the others may turn out to be empty.
//!
//! A table that cannot be read has no last read. If others had ended by then, there may be no last of all.

use walbrook_model::{Change, SnapshotMarker};

/// The tables by number.
#[derive(Debug)]
pub(super) struct Borders {
    tables: Vec<Table>,
    /// The first read of all was told.
    begun: bool,
    /// Whose end waits.
    waiting: Option<usize>,
}

#[derive(Debug, Default)]
struct Table {
    held: Option<Change>,
    /// Its first read was told.
    begun: bool,
    /// It is read whole, or will not be.
    closed: bool,
}

/// A table is read whole.
#[derive(Debug)]
pub(super) struct End {
    pub(super) table: usize,
    /// To be told before.
    pub(super) last: Option<Change>,
}

impl Borders {
    pub(super) fn new(tables: usize) -> Self {
        Self { tables: (0..tables).map(|_| Table::default()).collect(), begun: false, waiting: None }
    }

    /// Takes reads of a table and leaves those that can be told now. The end, of another table, is to be told before.
    pub(super) fn read(&mut self, table: usize, reads: &mut Vec<Change>) -> Option<End> {
        let last = reads.pop()?;
        let end = self.waiting.take().map(|waiting| self.end_of(waiting, SnapshotMarker::LastInTable));
        let table = self.tables.get_mut(table)?;
        reads.extend(table.held.replace(last));
        if let Some(first) = reads.first_mut().filter(|_| !table.begun) {
            first.origin.snapshot = if self.begun { SnapshotMarker::FirstInTable } else { SnapshotMarker::First };
            (table.begun, self.begun) = (true, true);
        }
        end
    }

    /// A table is read whole. The ends that can be told now, in order.
    pub(super) fn end(&mut self, table: usize) -> Vec<End> {
        self.close(table);
        let mut ends = Vec::new();
        let is_empty = self.tables.get(table).is_none_or(|table| table.held.is_none());
        if is_empty || self.tables.iter().any(|other| !other.closed && other.held.is_some()) {
            ends.push(self.end_of(table, SnapshotMarker::LastInTable));
        } else {
            self.waiting = Some(table);
        }
        ends.extend(self.last_end());
        ends
    }

    /// A table cannot be read. The end of another that can be told now.
    pub(super) fn fail(&mut self, table: usize) -> Option<End> {
        self.close(table);
        self.last_end()
    }

    fn close(&mut self, table: usize) {
        if let Some(table) = self.tables.get_mut(table) {
            table.closed = true;
        }
    }

    /// The end that waits, if no table can come after it.
    fn last_end(&mut self) -> Option<End> {
        if self.tables.iter().any(|table| !table.closed) {
            return None;
        }
        self.waiting.take().map(|waiting| self.end_of(waiting, SnapshotMarker::Last))
    }

    fn end_of(&mut self, table: usize, marker: SnapshotMarker) -> End {
        let mut last = self.tables.get_mut(table).and_then(|table| table.held.take());
        if let Some(last) = &mut last {
            // Of a table with one row it is the first as well.
            let first = !self.begun && marker != SnapshotMarker::Last;
            last.origin.snapshot = if first { SnapshotMarker::First } else { marker };
            self.begun = true;
        }
        End { table, last }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use walbrook_model::{Op, Origin, Seq, TableId, TableSchema};

    use super::*;

    fn reads(schema: &Arc<TableSchema>, count: usize, next: &mut u64) -> Vec<Change> {
        let read = |_| {
            *next += 1;
            let origin = Origin { position: Some(*next), snapshot: SnapshotMarker::True, transaction: None };
            Change { origin, ..Change::new(Op::Read, schema.clone(), Seq::ZERO, 0) }
        };
        (0..count).map(read).collect()
    }

    /// What was told: the table, and the marker of a read or `None` for the end.
    type Told = Vec<(usize, Option<SnapshotMarker>)>;

    fn tell(told: &mut Told, end: End) {
        told.extend(end.last.map(|last| (end.table, Some(last.origin.snapshot))));
        told.push((end.table, None));
    }

    /// Reads tables in batches of these sizes; `picks` says whose turn it is. A failing table never ends.
    fn run(tables: &[(Vec<usize>, bool)], picks: &[usize]) -> Told {
        let schema = Arc::new(TableSchema { table: TableId::new("public", "t"), columns: vec![], key: vec![] });
        let (mut borders, mut told, mut next) = (Borders::new(tables.len()), Told::new(), 0);
        let mut left: Vec<(usize, usize)> = (0..tables.len()).map(|table| (table, 0)).collect();
        let mut picks = picks.iter().cycle();
        while !left.is_empty() {
            let at = picks.next().unwrap() % left.len();
            let (table, batch) = &mut left[at];
            let (table, (batches, fails)) = (*table, &tables[*table]);
            if let Some(size) = batches.get(*batch) {
                *batch += 1;
                let mut batch = reads(&schema, *size, &mut next);
                borders.read(table, &mut batch).into_iter().for_each(|end| tell(&mut told, end));
                told.extend(batch.iter().map(|read| (table, Some(read.origin.snapshot))));
                continue;
            }
            left.swap_remove(at);
            let ends = if *fails { borders.fail(table).into_iter().collect() } else { borders.end(table) };
            for end in ends {
                tell(&mut told, end);
            }
        }
        assert!(borders.waiting.is_none());
        told
    }

    fn schedules() -> impl Strategy<Value = (Vec<(Vec<usize>, bool)>, Vec<usize>)> {
        let table = (prop::collection::vec(1..4_usize, 0..4), prop::bool::weighted(0.1));
        (prop::collection::vec(table, 1..6), prop::collection::vec(any::<usize>(), 1..40))
    }

    proptest! {
        #[test]
        fn borders_are_where_they_belong((tables, picks) in schedules()) {
            use SnapshotMarker::{First, FirstInTable, Last, LastInTable, True};
            let told = run(&tables, &picks);
            let markers: Vec<SnapshotMarker> = told.iter().filter_map(|(_, marker)| *marker).collect();
            let fails = tables.iter().any(|(_, fails)| *fails);
            let total: usize = tables.iter().flat_map(|(batches, _)| batches).sum();
            for (index, marker) in markers.iter().enumerate() {
                let (first, last) = (index == 0, index + 1 == markers.len());
                match marker {
                    First => prop_assert!(first),
                    Last => prop_assert!(last),
                    _ => prop_assert!(!first && (fails || !last)),
                }
            }
            if !fails {
                prop_assert_eq!(markers.len(), total);
                prop_assert_eq!(markers.last(), if total > 0 { Some(&Last) } else { None });
            }
            for (table, (batches, fails)) in tables.iter().enumerate() {
                let of: Vec<Option<SnapshotMarker>> =
                    told.iter().filter(|(of, _)| *of == table).map(|(_, marker)| *marker).collect();
                let ends = of.iter().filter(|marker| marker.is_none()).count();
                prop_assert_eq!(ends, usize::from(!fails));
                let Some((None, reads)) = of.split_last() else { continue };
                prop_assert_eq!(reads.len(), batches.iter().sum::<usize>());
                for (index, marker) in reads.iter().flatten().enumerate() {
                    let wanted: &[SnapshotMarker] = match (index == 0, index + 1 == reads.len()) {
                        (true, true) => &[First, LastInTable, Last],
                        (true, false) => &[First, FirstInTable],
                        (false, true) => &[LastInTable, Last],
                        (false, false) => &[True],
                    };
                    prop_assert!(wanted.contains(marker), "{:?} at {} of {}", marker, index, reads.len());
                }
            }
        }
    }

    #[test]
    fn an_end_waits_only_while_the_others_may_be_empty() {
        use SnapshotMarker::{First, FirstInTable, Last, LastInTable, True};
        let full = |batches: &[usize]| (batches.to_vec(), false);
        let (some, none) = (Some, None::<SnapshotMarker>);
        // The second has shown a row: the first ends at once.
        let told = run(&[full(&[2]), full(&[2])], &[0, 1, 0, 0]);
        let wanted: Told = vec![(0, some(First)), (1, some(FirstInTable)), (0, some(LastInTable)), (0, none)];
        assert_eq!((&told[..4], &told[4..]), (&wanted[..], &[(1, some(Last)), (1, none)][..]));
        // It turns out to be empty.
        let told = run(&[full(&[3]), full(&[])], &[0, 0, 0]);
        assert_eq!(told, [(0, some(First)), (0, some(True)), (1, none), (0, some(Last)), (0, none)]);
        // It turns out to have a row.
        let told = run(&[full(&[1]), full(&[1])], &[0]);
        assert_eq!(told, [(0, some(First)), (0, none), (1, some(Last)), (1, none)]);
    }
}
