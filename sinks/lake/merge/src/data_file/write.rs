//! Writes a data file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowWriterOptions, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, FixedLenByteArray, FixedLenByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnPath;
use walbrook_model::{Error, Result, Seq};

use super::bounds::{self, Bound};
use crate::durable;
use crate::format::DataFile;
use crate::layout::{LakeType, Layout, SEQ};

/// A column whose distinct values are larger than this is written plain. Measured on the table of the benchmark: 12 %
/// smaller files than with the library's 1 MiB, as fast; without dictionaries 2 % larger. Zstandard level 3 instead of 1
/// took 1.7 times as long and saved 1 %.
const DICTIONARY_BYTES: usize = 64 << 10;

/// Bytes of a string that go into statistics and bounds.
const BOUND_BYTES: usize = 16;

/// Rows from which on a row group is closed.
const GROUP_ROWS: usize = 1 << 20;

/// Order tokens handed to the library at a time.
const SEQS_AT_ONCE: usize = 1024;

/// Writes `batches`, whose columns are those of `layout`, as the new file `folder/name`, durably. `prefix` is what the
/// table's metadata calls `folder`.
pub(crate) fn write(
    folder: &Path,
    prefix: &str,
    name: &str,
    layout: &Layout,
    batches: &[RecordBatch],
) -> Result<DataFile> {
    let path = folder.join(name);
    let mut file = durable::create(&path)?;
    let metadata = encode(&mut file, layout, batches).map_err(|error| {
        Error::transient("could not write the data file").on(path.display().to_string()).because(error)
    })?;
    durable::sync(&file, &path)?;
    let bytes = file.metadata().map_err(|error| durable::failed("look at", &path, error))?.len();
    describe(&metadata, layout, batches, bytes, format!("{}/{name}", prefix.trim_end_matches('/')))
}

/// Column after column, so that the encoded pages of one are held at a time.
fn encode(file: &mut File, layout: &Layout, batches: &[RecordBatch]) -> parquet::errors::Result<ParquetMetaData> {
    let options = ArrowWriterOptions::new().with_properties(properties(layout)?).with_skip_arrow_metadata(true);
    let schema = layout.arrow_schema();
    let writer = ArrowWriter::try_new_with_options(file, Arc::clone(&schema), options)?;
    let (mut file, factory) = writer.into_serialized_writer()?;
    for (number, rows) in row_groups(batches).enumerate() {
        let mut group = file.next_row_group()?;
        // A field is one leaf: lists are of scalars.
        let writers = factory.create_column_writers(number)?;
        for (place, (field, mut writer)) in schema.fields().iter().zip(writers).enumerate() {
            let columns = rows.iter().map(|batch| batch.column(place));
            if field.name() == SEQ {
                write_seqs(&mut group, columns)?;
                continue;
            }
            for column in columns {
                compute_leaves(field, column)?.iter().try_for_each(|leaf| writer.write(leaf))?;
            }
            writer.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
    }
    file.close()
}

/// Batches for one row group each. A batch is small beside a row group.
fn row_groups(batches: &[RecordBatch]) -> impl Iterator<Item = &[RecordBatch]> {
    let mut rest = batches;
    std::iter::from_fn(move || {
        let mut rows = 0;
        let full = |batch: &RecordBatch| {
            rows += batch.num_rows();
            rows >= GROUP_ROWS
        };
        let end = rest.iter().position(full).map_or(rest.len(), |last| last + 1);
        let (group, later) = rest.split_at(end);
        rest = later;
        (!group.is_empty()).then_some(group)
    })
}

/// The column of order tokens. The library's own way takes an allocation a value and holds all of them at once.
fn write_seqs<'a, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    columns: impl Iterator<Item = &'a ArrayRef>,
) -> parquet::errors::Result<()> {
    let Some(mut writer) = group.next_column()? else { return Err(ParquetError::EOF("no column left".to_owned())) };
    let typed = writer.typed::<FixedLenByteArrayType>();
    for column in columns {
        for tokens in column.as_primitive::<Decimal128Type>().values().chunks(SEQS_AT_ONCE) {
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_be_bytes()).collect();
            let bytes = Bytes::from(bytes);
            let value = |index: usize| ByteArray::from(bytes.slice(16 * index..16 * (index + 1))).into();
            let values: Vec<FixedLenByteArray> = (0..tokens.len()).map(value).collect();
            typed.write_batch(&values, None, None)?;
        }
    }
    writer.close()
}

fn properties(layout: &Layout) -> parquet::errors::Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("walbrook ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(BOUND_BYTES))
        .set_column_index_truncate_length(Some(BOUND_BYTES));
    for field in &layout.fields {
        let path = ColumnPath::from(field.name.clone());
        if field.name == SEQ {
            // Every value is another one.
            properties = properties.set_column_dictionary_enabled(path, false);
        } else if field.ty == LakeType::Uuid {
            // Readers disagree on the order of UUIDs; see `bounds`.
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(properties.build())
}

fn describe(
    metadata: &ParquetMetaData,
    layout: &Layout,
    batches: &[RecordBatch],
    bytes: u64,
    path: String,
) -> Result<DataFile> {
    let bounds = bounds::of_file(metadata, layout);
    let (seq_min, seq_max) = layout
        .field(SEQ)
        .and_then(|field| seqs(bounds.get(&field.id)?))
        .ok_or_else(|| Error::bug("the data file has no order tokens").on(path.clone()))?;
    let mut column_bytes = BTreeMap::new();
    for chunk in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
        let id = chunk.column_descr().self_type().get_basic_info().id();
        *column_bytes.entry(id).or_default() += u64::try_from(chunk.compressed_size()).unwrap_or(0);
    }
    let encoded = layout.fields.iter().filter_map(|field| {
        let (low, high) = bounds.get(&field.id)?;
        Some((field.id, (bounds::encode(low, &field.ty)?, bounds::encode(high, &field.ty)?)))
    });
    let starts = metadata.row_groups().iter().filter_map(|group| group.columns().first());
    Ok(DataFile {
        path,
        bytes,
        rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
        seq_min,
        seq_max,
        null_counts: null_counts(layout, batches),
        column_bytes,
        bounds: encoded.collect(),
        split_offsets: starts.map(|c| c.dictionary_page_offset().unwrap_or_else(|| c.data_page_offset())).collect(),
    })
}

fn seqs((low, high): &(Bound, Bound)) -> Option<(Seq, Seq)> {
    let seq = |bound: &Bound| match bound {
        Bound::Number(number) => Seq::from_u128(u128::try_from(*number).ok()?),
        Bound::Bytes(_) => None,
    };
    Some((seq(low)?, seq(high)?))
}

fn null_counts(layout: &Layout, batches: &[RecordBatch]) -> BTreeMap<i32, u64> {
    let nulls = |index: usize| batches.iter().map(|batch| batch.column(index).null_count() as u64).sum();
    let scalar = layout.fields.iter().enumerate().filter(|(_, field)| !matches!(field.ty, LakeType::List { .. }));
    scalar.map(|(index, field)| (field.id, nulls(index))).collect()
}
