//! What is remembered of a table so that a change of its stored values is noticed that is no change of rows to the log.
//!
//! The server rewrites, adds and renames without an event for the rows that are there. The catalogs show that it did, so
//! an [`Imprint`] of them is taken when a table is read, at the same slice, and is kept in the checkpoint. Whenever the
//! catalogs are looked at again they are compared with it: at every description of the table in the log, at the start of
//! each stream, and now and then while nothing is heard. What the comparison cannot explain stops the table.
//!
//! # Values of added columns
//!
//! Of a column that is not in the imprint, old rows have
//!
//! 1. its `attmissingval`, if it has one: it was added since the last rewrite, with a constant default;
//! 2. NULL, if some heap has the file that the imprint knows: that heap was not rewritten since, so its old rows end
//!    before the column, and there is no constant to be put in their place;
//! 3. nobody knows what otherwise. The rewrite was for the column (a volatile default, an identity, a stored expression),
//!    or it came later and wrote a constant into the rows and out of the catalog (`VACUUM FULL`, `CLUSTER`), or it has
//!    nothing to do with it. A column that has no default now may have had one.
//!
//! So the rule is never wrong: 1 and 2 are proofs, 3 is never guessed. It is a false alarm only if a column without a
//! default is added and the table is rewritten or truncated between two looks. What a look has told stays in the imprint
//! ([`Earlier::Told`]): a rewrite after it takes nothing away, however far the stream lags behind.
//!
//! # Rewrites of the same shape
//!
//! `ALTER COLUMN .. TYPE .. USING` and `SET EXPRESSION` write another file, renew the row of the column in the catalog, or
//! its default if it has one, and make a new heap for long values if there are columns for them. All three are asked for:
//!
//! | statement | file | long values | columns |
//! |---|---|---|---|
//! | `ALTER COLUMN .. TYPE .. USING`, `SET EXPRESSION` | new | new | renewed |
//! | `ALTER COLUMN .. TYPE` without a rewrite | | | renewed |
//! | `VACUUM FULL`, `CLUSTER` | new | | renewed, if a constant default was written into the rows: but not its default |
//! | `TRUNCATE`, `SET TABLESPACE` | new | | |
//! | `SET LOGGED`, `SET ACCESS METHOD`, a volatile `ADD COLUMN` | new | new | |
//! | `SET NOT NULL`, `SET STATISTICS`, `SET STORAGE`, `RENAME` | | | renewed |
//! | `SET DEFAULT`, `DROP DEFAULT` | | | renewed |
//! | `ANALYZE`, `VACUUM (FREEZE)`, `CREATE INDEX`, `GRANT`, constraints, comments, `REPLICA IDENTITY` | | | |
//!
//! A false alarm needs two statements between two looks: one of the second column and one of the last, on a table without
//! long values, or a mere rewrite by `ALTER TABLE` with the other.
//!
//! # Names, types, partitions
//!
//! A name that another column has now (dropped and added again, or swapped) looks to the log as if nothing had happened.
//! So does another label of an enum, or another field of a composite type, for the rows that are there. A partition that
//! is attached with rows brings rows that no event tells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::sight::{SeenColumn, SeenHeap, Shapes, Sight};

/// What is remembered of a table. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Imprint {
    /// The highest number that a column ever had.
    numbers: i16,
    columns: Vec<ColumnImprint>,
    heaps: Vec<HeapImprint>,
    types: Shapes,
}

/// A column: its number, its name, and what the rows have that were there before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ColumnImprint(i16, String, Earlier);

/// What the rows have of a column that were there before it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Earlier {
    /// It was read with the table: every row has its value.
    Held,
    /// The same value all of them; `None` is NULL.
    Told(Option<String>),
    /// Nobody knows.
    Untold,
}

/// A heap: its number, its file, the heap of its long values, and a digest of the evidence of its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HeapImprint(u32, u32, u32, u64);

impl Imprint {
    /// Of a table that is read with the columns that `held` says.
    pub(crate) fn of(sight: &Sight, held: impl Fn(&str) -> bool) -> Self {
        let mut imprint = Self { numbers: 0, columns: Vec::new(), heaps: Vec::new(), types: Shapes::new() };
        for (number, column) in &sight.columns {
            if let Some(name) = column.name.as_ref().filter(|_| !column.computed) {
                let earlier = if held(name) { Earlier::Held } else { Earlier::Untold };
                imprint.columns.push(ColumnImprint(*number, name.clone(), earlier));
            }
        }
        imprint.renew(sight);
        imprint
    }

    /// The imprint of what is seen now, with the columns that were added. Of those that are not `captured` nothing is
    /// told: their values come and go without us.
    ///
    /// # Errors
    /// What happened to stored values that the log does not hold.
    pub(crate) fn follow(&self, sight: &Sight, captured: impl Fn(&str) -> bool) -> Result<Self, String> {
        self.check_names(sight)?;
        self.check_types(sight)?;
        self.check_heaps(sight)?;
        let mut next = self.clone();
        for (number, column) in &sight.columns {
            let known = |name: &String| {
                self.columns.iter().any(|ColumnImprint(before, called, _)| before == number || called == name)
            };
            if let Some(name) = column.name.as_ref().filter(|name| !column.computed && !known(name)) {
                let earlier =
                    if captured(name) { self.earlier_of_added(*number, name, sight) } else { Earlier::Untold };
                next.columns.push(ColumnImprint(*number, name.clone(), earlier));
            }
        }
        next.renew(sight);
        Ok(next)
    }

    /// What the rows have of a column that were there before it, by the name that the log gives it. `sight` is the newest.
    pub(crate) fn earlier(&self, name: &str, sight: Option<&Sight>) -> &Earlier {
        let renamed = || {
            let number = sight?.number(name)?;
            self.columns.iter().find(|ColumnImprint(known, _, _)| *known == number)
        };
        let found = self.columns.iter().find(|ColumnImprint(_, known, _)| known == name).or_else(renamed);
        // It came and went since the table was last looked at.
        found.map_or(&Earlier::Untold, |ColumnImprint(_, _, earlier)| earlier)
    }

    fn earlier_of_added(&self, number: i16, name: &str, sight: &Sight) -> Earlier {
        // The log may speak of a column of this name that is gone, and whose values are not those of this one.
        let gone = |(dropped, column): (&i16, &SeenColumn)| {
            column.name.is_none() && (self.numbers.saturating_add(1)..number).contains(dropped)
        };
        if sight.columns.iter().any(gone) {
            return Earlier::Untold;
        }
        let untouched = |heap: &HeapImprint| sight.heaps.iter().any(|seen| (seen.oid, seen.file) == (heap.0, heap.1));
        match sight.missing(name) {
            Some(value) => Earlier::Told(Some(value.to_owned())),
            None if self.heaps.iter().any(untouched) => Earlier::Told(None),
            None => Earlier::Untold,
        }
    }

    /// Columns whose values the lake has, or may have.
    fn valued(&self) -> impl Iterator<Item = (i16, &str)> {
        let valued = |column: &&ColumnImprint| column.2 != Earlier::Untold;
        self.columns.iter().filter(valued).map(|ColumnImprint(number, name, _)| (*number, name.as_str()))
    }

    fn check_names(&self, sight: &Sight) -> Result<(), String> {
        let taken = |(number, name): &(i16, &str)| sight.number(name).is_some_and(|now| now != *number);
        self.valued().find(taken).map_or(Ok(()), |(_, name)| {
            Err(format!("another column has the name {name} now, with values of its own in the rows that were there"))
        })
    }

    fn check_types(&self, sight: &Sight) -> Result<(), String> {
        let now = self.types_of(sight);
        for (ty, before) in &self.types {
            let Some(now) = now.get(ty) else { continue };
            for (number, text) in before {
                if now.get(number).is_some_and(|now| now != text) {
                    let of_type = |column: &&SeenColumn| column.types.contains_key(ty);
                    let column = sight.columns.values().find(of_type).and_then(|column| column.name.as_deref());
                    let what = if *number == 0 { "the fields of a composite type" } else { "a label of an enum" };
                    return Err(format!(
                        "{what} in column {} changed, which changes the values of rows that were there",
                        column.unwrap_or_default()
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_heaps(&self, sight: &Sight) -> Result<(), String> {
        let before: BTreeMap<u32, &HeapImprint> = self.heaps.iter().map(|heap| (heap.0, heap)).collect();
        for seen in &sight.heaps {
            let Some(HeapImprint(_, file, toast, digest)) = before.get(&seen.oid) else {
                if seen.attached {
                    return Err(format!("partition {} was attached with rows", seen.name));
                }
                continue;
            };
            let kept = seen.file == *file || (*toast != 0 && seen.toast == *toast);
            if !kept && self.digest(sight, seen.oid) != *digest {
                return Err(
                    "its rows were rewritten by ALTER TABLE (ALTER COLUMN .. TYPE or SET EXPRESSION)".to_owned()
                );
            }
        }
        Ok(())
    }

    /// Partitions that are no more.
    pub(crate) fn gone(&self, sight: &Sight) -> usize {
        self.heaps.iter().filter(|heap| sight.heaps.iter().all(|seen| seen.oid != heap.0)).count()
    }

    /// Takes over what is seen, for the columns that are known.
    fn renew(&mut self, sight: &Sight) {
        let newest = sight.columns.keys().next_back().copied().unwrap_or_default();
        self.numbers = self.numbers.max(newest);
        self.types = self.types_of(sight);
        let heap = |seen: &SeenHeap| HeapImprint(seen.oid, seen.file, seen.toast, self.digest(sight, seen.oid));
        self.heaps = sight.heaps.iter().map(heap).collect();
    }

    fn types_of(&self, sight: &Sight) -> Shapes {
        let columns = self.valued().filter_map(|(number, _)| sight.columns.get(&number));
        columns.flat_map(|column| column.types.clone()).collect()
    }

    /// Of the evidence of the columns in a heap.
    fn digest(&self, sight: &Sight, heap: u32) -> u64 {
        let heap = sight.heaps.iter().find(|seen| seen.oid == heap);
        let mut hash = Sha256::new();
        for (number, _) in self.valued() {
            let name = sight.columns.get(&number).and_then(|column| column.name.as_deref());
            let column = heap.zip(name).and_then(|(heap, name)| heap.columns.get(name));
            hash.update(number.to_le_bytes());
            hash.update(column.map_or("", |column| &column.evidence));
            hash.update([0]);
        }
        let mut first = [0; 8];
        first.iter_mut().zip(hash.finalize()).for_each(|(byte, of_hash)| *byte = of_hash);
        u64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests;
