//! Writes a data file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use arrow_array::{Array as _, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
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

fn encode(file: &mut File, layout: &Layout, batches: &[RecordBatch]) -> parquet::errors::Result<ParquetMetaData> {
    let options = ArrowWriterOptions::new().with_properties(properties(layout)?).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(file, layout.arrow_schema(), options)?;
    for batch in batches {
        writer.write(batch)?;
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
