//! Compares a lake table with the rows of its source: rows and a digest per key bucket, whatever their order, and then,
//! in the buckets that differ, the keys.
//!
//! Both sides go through the same columns: a source row is decoded into the buffer that the merge itself uses, a lake
//! row is read from its data file. So this finds what was lost, doubled or left behind; whether a cell is decoded right
//! is a matter for tests that do not share the decoder.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use walbrook_config::TableMode;
use walbrook_model::{Change, Error, Op, Result, Seq, Value};
use xxhash_rust::xxh3::xxh3_128;

use crate::buffer::{Buffer, Stamp};
use crate::cells::Cells;
use crate::data_file;
use crate::evolve::default_value;
use crate::format::TableFormat;
use crate::layout::Layout;

/// Buckets of keys.
pub const BUCKETS: usize = 1024;

/// Source rows in memory at a time, bytes.
const SOURCE_BYTES: usize = 4 << 20;

/// One comparison of one table.
pub struct Comparison {
    layout: Arc<Layout>,
    /// Places of the key's columns among the source's columns.
    key: Vec<usize>,
    buffer: Buffer,
    /// Only these buckets, with their rows one by one.
    focus: Option<BTreeSet<usize>>,
    source: Side,
    lake: Side,
}

/// What one side holds.
struct Side {
    buckets: Vec<Bucket>,
    rows: HashMap<u128, Digested>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    rows: u64,
    digest: u128,
}

struct Digested {
    digest: u128,
    rows: u64,
    key: String,
    seq: Option<Seq>,
}

/// A key that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The key, printed.
    pub key: String,
    /// What is wrong with it.
    pub what: &'static str,
    /// The token of its row in the lake, the highest of several; `None` if it has none.
    pub seq: Option<Seq>,
}

impl Comparison {
    /// Compares everything by bucket.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] for an append table, which holds changes and not rows.
    pub fn new(layout: Layout) -> Result<Self> {
        Self::over(layout, None)
    }

    /// Compares only some buckets, by key.
    ///
    /// # Errors
    /// As [`Comparison::new`].
    pub fn of_buckets(layout: Layout, buckets: impl IntoIterator<Item = usize>) -> Result<Self> {
        Self::over(layout, Some(buckets.into_iter().collect()))
    }

    fn over(layout: Layout, focus: Option<BTreeSet<usize>>) -> Result<Self> {
        if layout.mode() != TableMode::Upsert {
            return Err(Error::config("an append table holds changes, which cannot be compared with rows"));
        }
        let place = |id: &i32| layout.fields.iter().position(|field| field.id == *id);
        let key = layout.key.iter().filter_map(place).collect();
        let layout = Arc::new(layout);
        let side = || Side { buckets: vec![Bucket::default(); BUCKETS], rows: HashMap::new() };
        Ok(Self { buffer: Buffer::new(Arc::clone(&layout)), layout, key, focus, source: side(), lake: side() })
    }

    /// Takes rows of the source: the reads among `changes`.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if a cell cannot be represented.
    pub fn add_source(&mut self, changes: &[Change]) -> Result<()> {
        for change in changes.iter().filter(|change| change.op == Op::Read) {
            let stamp = Stamp { seq: Seq::ZERO, committed_at_us: 0, op: None };
            self.buffer.push(&change.schema, change.after.as_ref(), stamp)?;
            if self.buffer.bytes() >= SOURCE_BYTES {
                self.digest_source()?;
            }
        }
        Ok(())
    }

    fn digest_source(&mut self) -> Result<()> {
        let rows = self.buffer.take()?;
        let count = u32::try_from(rows.len()).map_err(|_| Error::bug("more than 2^32 rows at a time"))?;
        let numbers: Vec<u32> = (0..count).collect();
        for batch in rows.select(&numbers, &self.layout)? {
            let columns = batch.columns().get(..self.layout.source_fields()).unwrap_or_default();
            self.source.add(columns, None, &self.key, self.focus.as_ref(), |_| true)?;
        }
        Ok(())
    }

    /// Takes the live rows of the lake table; reads files, so it belongs on a thread that may block.
    ///
    /// # Errors
    /// If a file is gone or damaged.
    pub fn add_lake(&mut self, table: &dyn TableFormat) -> Result<()> {
        // The first of our own is the token.
        let fields = self.layout.fields.get(..=self.layout.source_fields()).unwrap_or_default();
        let ids: Vec<i32> = fields.iter().map(|field| field.id).collect();
        for live in &table.state().files {
            let path: PathBuf = table.local_path(&live.file.path)?;
            let mut first = 0u32;
            for columns in data_file::scan_present(&path, &ids)? {
                let columns = columns?;
                let rows = columns.iter().flatten().next().map_or(0, Array::len);
                let fill = |(column, field): (&Option<ArrayRef>, &crate::layout::LakeField)| match column {
                    Some(column) => Ok(Arc::clone(column)),
                    None => repeat(field, rows),
                };
                let columns = columns.iter().zip(fields).map(fill).collect::<Result<Vec<_>>>()?;
                let Some((seq, columns)) = columns.split_last() else { continue };
                let deleted = |row: usize| u32::try_from(row).is_ok_and(|row| live.deleted.contains(first + row));
                self.lake.add(columns, Some(seq), &self.key, self.focus.as_ref(), |row| !deleted(row))?;
                first += u32::try_from(rows).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Ends the comparison: rows of the source, rows of the lake, and the buckets that differ.
    ///
    /// # Errors
    /// As [`Comparison::add_source`].
    pub fn finish(&mut self) -> Result<(u64, u64, Vec<usize>)> {
        self.digest_source()?;
        let rows = |side: &Side| side.buckets.iter().map(|bucket| bucket.rows).sum();
        let both = self.source.buckets.iter().zip(&self.lake.buckets);
        let differing = both.enumerate().filter(|(_, (source, lake))| source != lake).map(|(index, _)| index).collect();
        Ok((rows(&self.source), rows(&self.lake), differing))
    }

    /// After [`Comparison::finish`], in a comparison of some buckets: the keys that differ, in order.
    pub fn differences(&self) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (key, source) in &self.source.rows {
            let (what, seq) = match self.lake.rows.get(key) {
                None => ("missing in the lake", None),
                Some(lake) if lake.rows > source.rows => ("doubled in the lake", lake.seq),
                Some(lake) if lake.digest != source.digest => ("another row in the lake", lake.seq),
                Some(_) => continue,
            };
            differences.push(Difference { key: source.key.clone(), what, seq });
        }
        let only = self.lake.rows.iter().filter(|(key, _)| !self.source.rows.contains_key(key));
        let not_in_source =
            |(_, lake): (_, &Digested)| Difference { key: lake.key.clone(), what: "not in the source", seq: lake.seq };
        differences.extend(only.map(not_in_source));
        differences.sort();
        differences
    }
}

impl Side {
    fn add(
        &mut self,
        columns: &[ArrayRef],
        seq: Option<&ArrayRef>,
        key: &[usize],
        focus: Option<&BTreeSet<usize>>,
        live: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let cells = columns.iter().map(|column| Cells::new(column.as_ref())).collect::<Result<Vec<_>>>()?;
        let seq = seq.map(|column| Cells::new(column.as_ref())).transpose()?;
        let key: Vec<&Cells<'_>> = key.iter().filter_map(|place| cells.get(*place)).collect();
        let (mut key_bytes, mut row_bytes) = (Vec::new(), Vec::new());
        for row in (0..columns.first().map_or(0, Array::len)).filter(|row| live(*row)) {
            key_bytes.clear();
            for cell in &key {
                canonical(&cell.value(row)?, &mut key_bytes);
            }
            let key_digest = xxh3_128(&key_bytes);
            let bucket = (key_digest % BUCKETS as u128) as usize;
            if focus.is_some_and(|focus| !focus.contains(&bucket)) {
                continue;
            }
            row_bytes.clear();
            for cell in &cells {
                canonical(&cell.value(row)?, &mut row_bytes);
            }
            let digest = xxh3_128(&row_bytes);
            if let Some(sums) = self.buckets.get_mut(bucket) {
                sums.rows += 1;
                sums.digest = sums.digest.wrapping_add(digest);
            }
            if focus.is_some() {
                let text = || key.iter().map(|cell| Ok(print(&cell.value(row)?))).collect::<Result<Vec<_>>>();
                let key = text()?.join(", ");
                let seq = match &seq {
                    Some(seq) => token(&seq.value(row)?),
                    None => None,
                };
                let digested = self.rows.entry(key_digest).or_insert(Digested { digest: 0, rows: 0, key, seq: None });
                digested.rows += 1;
                digested.seq = digested.seq.max(seq);
                digested.digest = digested.digest.wrapping_add(digest);
            }
        }
        Ok(())
    }
}

fn repeat(field: &crate::layout::LakeField, rows: usize) -> Result<ArrayRef> {
    let value = default_value(field)?;
    let mut column = crate::column::ColumnBuilder::new(&field.ty, rows);
    (0..rows).try_for_each(|_| column.push(&value))?;
    column.finish()
}

/// The order token in a cell of its column.
fn token(value: &Value<'_>) -> Option<Seq> {
    match value {
        Value::Decimal(number) => u128::try_from(number.unscaled).ok().and_then(Seq::from_u128),
        _ => None,
    }
}

/// Appends a form of the value that no other value has.
fn canonical(value: &Value<'_>, out: &mut Vec<u8>) {
    let mut sized = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Null | Value::Unchanged => out.push(0),
        Value::Bool(v) => sized(1, &[u8::from(*v)]),
        Value::Int(v) => sized(2, &v.to_le_bytes()),
        Value::Float32(v) => sized(3, &v.to_bits().to_le_bytes()),
        Value::Float64(v) => sized(4, &v.to_bits().to_le_bytes()),
        Value::Decimal(v) => sized(5, &v.unscaled.to_le_bytes()),
        Value::Text(v) => sized(6, v.as_bytes()),
        Value::Bytes(v) => sized(7, v),
        Value::Uuid(v) => sized(8, v),
        Value::Date(v) => sized(9, &v.to_le_bytes()),
        Value::Time(v) => sized(10, &v.to_le_bytes()),
        Value::Timestamp(v) => sized(11, &v.to_le_bytes()),
        Value::TimestampTz(v) => sized(12, &v.to_le_bytes()),
        Value::List(items) => {
            out.push(13);
            out.extend_from_slice(&(items.len() as u64).to_le_bytes());
            for item in items {
                canonical(item, out);
            }
        }
    }
}

/// A key cell for people.
fn print(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Int(number) => number.to_string(),
        Value::Decimal(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).to_string(),
        Value::Bytes(bytes) => bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
        other => format!("{other:?}"),
    }
}
