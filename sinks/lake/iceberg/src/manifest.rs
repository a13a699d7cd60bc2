//! Manifests: the files that list data files and deletion vectors.
//!
//! An entry is kept as the bytes that it has in our manifests, so that a manifest is rewritten by copying, and what
//! other writers know of a file survives that.

use walbrook_model::{Error, Result};

use crate::avro;
use crate::avro_read::{self, Record, unexpected};
use crate::avro_schema;

/// Field id of the path in a position delete: its bounds tell readers which data file a deletion vector is of.
const DELETE_FILE_PATH: i32 = 2_147_483_546;

/// What a manifest lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Data files.
    Data,
    /// Deletion vectors.
    Deletes,
}

impl Content {
    fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Deletes => "deletes",
        }
    }
}

/// What happened to an entry in the snapshot that wrote its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It was there before.
    Existing = 0,
    /// It is new.
    Added = 1,
    /// It left the table.
    Deleted = 2,
}

/// A data file or a deletion vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ContentFile {
    /// 0 data, 1 position deletes, 2 equality deletes.
    pub(crate) content: i64,
    pub(crate) path: String,
    /// In capitals.
    pub(crate) format: String,
    /// Rows, or the cardinality of a deletion vector.
    pub(crate) records: u64,
    /// Size of the whole file.
    pub(crate) bytes: u64,
    pub(crate) column_sizes: Vec<(i32, i64)>,
    pub(crate) value_counts: Vec<(i32, i64)>,
    pub(crate) null_counts: Vec<(i32, i64)>,
    pub(crate) nan_counts: Vec<(i32, i64)>,
    pub(crate) lower_bounds: Vec<(i32, Vec<u8>)>,
    pub(crate) upper_bounds: Vec<(i32, Vec<u8>)>,
    pub(crate) key_metadata: Option<Vec<u8>>,
    pub(crate) split_offsets: Option<Vec<i64>>,
    pub(crate) equality_ids: Option<Vec<i64>>,
    pub(crate) sort_order_id: Option<i64>,
    pub(crate) first_row_id: Option<u64>,
    pub(crate) referenced_data_file: Option<String>,
    pub(crate) content_offset: Option<u64>,
    pub(crate) content_size: Option<u64>,
}

impl ContentFile {
    /// A deletion vector inside a Puffin file.
    pub(crate) fn vector(puffin: &str, puffin_bytes: u64, blob: (u64, u64), data_file: &str, cardinality: u64) -> Self {
        let bound = vec![(DELETE_FILE_PATH, data_file.as_bytes().to_vec())];
        Self {
            content: 1,
            path: puffin.to_owned(),
            format: "PUFFIN".to_owned(),
            records: cardinality,
            bytes: puffin_bytes,
            lower_bounds: bound.clone(),
            upper_bounds: bound,
            referenced_data_file: Some(data_file.to_owned()),
            content_offset: Some(blob.0),
            content_size: Some(blob.1),
            ..Self::default()
        }
    }

    /// The bytes that readers fetch for it.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.content_size.unwrap_or(self.bytes)
    }

    fn read(mut record: Record) -> Result<Self> {
        let need = unexpected;
        Ok(Self {
            content: record.long("content")?.unwrap_or(0),
            path: record.string("file_path")?.ok_or_else(|| need("file_path"))?,
            format: record.string("file_format")?.ok_or_else(|| need("file_format"))?.to_ascii_uppercase(),
            records: record.count("record_count")?.ok_or_else(|| need("record_count"))?,
            bytes: record.count("file_size_in_bytes")?.ok_or_else(|| need("file_size_in_bytes"))?,
            column_sizes: record.by_id("column_sizes", Record::long)?,
            value_counts: record.by_id("value_counts", Record::long)?,
            null_counts: record.by_id("null_value_counts", Record::long)?,
            nan_counts: record.by_id("nan_value_counts", Record::long)?,
            lower_bounds: record.by_id("lower_bounds", Record::bytes)?,
            upper_bounds: record.by_id("upper_bounds", Record::bytes)?,
            key_metadata: record.bytes("key_metadata")?,
            split_offsets: record.longs("split_offsets")?,
            equality_ids: record.longs("equality_ids")?,
            sort_order_id: record.long("sort_order_id")?,
            first_row_id: record.count("first_row_id")?,
            referenced_data_file: record.string("referenced_data_file")?,
            content_offset: record.count("content_offset")?,
            content_size: record.count("content_size_in_bytes")?,
        })
    }
}

/// A live entry of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The snapshot that added the file.
    pub(crate) snapshot_id: i64,
    /// The data sequence number.
    pub(crate) sequence: i64,
    /// The sequence number of the snapshot that added the file.
    pub(crate) file_sequence: i64,
    /// The `_row_id` of its first row; unknown until the snapshot that adds it is assembled.
    pub(crate) first_row_id: Option<u64>,
    /// See [`ContentFile::records`].
    pub(crate) records: u64,
    /// See [`ContentFile::content_bytes`].
    pub(crate) bytes: u64,
    head: Box<[u8]>,
    tail: Box<[u8]>,
}

impl Entry {
    /// The entry of a file that a snapshot adds.
    pub(crate) fn added(file: &ContentFile, snapshot_id: i64, sequence: i64) -> Self {
        let (head, tail) = encode(file);
        Self {
            snapshot_id,
            sequence,
            file_sequence: sequence,
            first_row_id: None,
            records: file.records,
            bytes: file.content_bytes(),
            head,
            tail,
        }
    }

    fn write(&self, out: &mut Vec<u8>, status: Status, snapshot_id: i64) {
        let inherits = status == Status::Added;
        avro::long(out, status as i64);
        avro::optional(out, Some(snapshot_id), avro::long);
        avro::optional(out, (!inherits).then_some(self.sequence), avro::long);
        avro::optional(out, (!inherits).then_some(self.file_sequence), avro::long);
        out.extend_from_slice(&self.head);
        avro::optional(out, self.first_row_id.filter(|_| !inherits), unsigned);
        out.extend_from_slice(&self.tail);
    }
}

fn unsigned(out: &mut Vec<u8>, value: u64) {
    avro::long(out, value.cast_signed());
}

/// The `data_file` record before and behind its `first_row_id`.
fn encode(file: &ContentFile) -> (Box<[u8]>, Box<[u8]>) {
    fn by_id<T>(out: &mut Vec<u8>, map: &[(i32, T)], encode: impl Fn(&mut Vec<u8>, &T)) {
        avro::optional(out, (!map.is_empty()).then_some(map), |out, map| {
            avro::array(out, map, |out, (id, value)| {
                avro::long(out, i64::from(*id));
                encode(out, value);
            });
        });
    }
    let long = |out: &mut Vec<u8>, value: &i64| avro::long(out, *value);
    let longs = |out: &mut Vec<u8>, values: &[i64]| avro::array(out, values, long);
    let bytes = |out: &mut Vec<u8>, value: &Vec<u8>| avro::bytes(out, value);
    let mut head = Vec::new();
    avro::long(&mut head, file.content);
    avro::bytes(&mut head, file.path.as_bytes());
    avro::bytes(&mut head, file.format.as_bytes());
    unsigned(&mut head, file.records);
    unsigned(&mut head, file.bytes);
    for counts in [&file.column_sizes, &file.value_counts, &file.null_counts, &file.nan_counts] {
        by_id(&mut head, counts, long);
    }
    by_id(&mut head, &file.lower_bounds, bytes);
    by_id(&mut head, &file.upper_bounds, bytes);
    avro::optional(&mut head, file.key_metadata.as_deref(), avro::bytes);
    avro::optional(&mut head, file.split_offsets.as_deref(), longs);
    avro::optional(&mut head, file.equality_ids.as_deref(), longs);
    avro::optional(&mut head, file.sort_order_id, avro::long);
    let mut tail = Vec::new();
    avro::optional(&mut tail, file.referenced_data_file.as_deref(), |out, path| avro::bytes(out, path.as_bytes()));
    avro::optional(&mut tail, file.content_offset, unsigned);
    avro::optional(&mut tail, file.content_size, unsigned);
    (head.into_boxed_slice(), tail.into_boxed_slice())
}

/// Collects the entries of a new manifest.
pub(crate) struct ManifestWriter {
    content: Content,
    snapshot_id: i64,
    sequence: i64,
    entries: usize,
    body: Vec<u8>,
    file: ManifestFile,
}

impl ManifestWriter {
    /// A manifest that a snapshot adds.
    pub(crate) fn new(content: Content, snapshot_id: i64, sequence: i64) -> Self {
        let file = ManifestFile {
            path: String::new(),
            bytes: 0,
            spec_id: 0,
            content,
            sequence,
            min_sequence: i64::MAX,
            snapshot_id,
            files: [0; 3],
            rows: [0; 3],
            first_row_id: None,
        };
        Self { content, snapshot_id, sequence, entries: 0, body: Vec::new(), file }
    }

    /// Appends an entry.
    pub(crate) fn push(&mut self, status: Status, entry: &Entry) {
        let (snapshot_id, sequence) = match status {
            Status::Existing => (entry.snapshot_id, Some(entry.sequence)),
            Status::Added => (self.snapshot_id, Some(self.sequence)),
            Status::Deleted => (self.snapshot_id, None),
        };
        entry.write(&mut self.body, status, snapshot_id);
        self.entries += 1;
        self.file.files[status as usize] += 1;
        self.file.rows[status as usize] += entry.records;
        self.file.min_sequence = self.file.min_sequence.min(sequence.unwrap_or(i64::MAX));
    }

    /// The bytes of the manifest, and its line in the manifest list.
    pub(crate) fn finish(
        mut self,
        path: String,
        spec_id: i32,
        schema_id: i32,
        schema: &str,
    ) -> (Vec<u8>, ManifestFile) {
        let metadata = [
            ("schema", schema.to_owned()),
            ("schema-id", schema_id.to_string()),
            ("partition-spec", "[]".to_owned()),
            ("partition-spec-id", spec_id.to_string()),
            ("format-version", "3".to_owned()),
            ("content", self.content.as_str().to_owned()),
        ];
        let bytes = avro::container(&avro_schema::MANIFEST, &metadata, self.entries, &self.body);
        self.file.path = path;
        self.file.spec_id = spec_id;
        self.file.bytes = bytes.len() as u64;
        if self.file.min_sequence == i64::MAX {
            self.file.min_sequence = self.sequence;
        }
        (bytes, self.file)
    }
}

/// An entry as it was read.
pub(crate) struct ReadEntry {
    pub(crate) status: Status,
    pub(crate) entry: Entry,
    pub(crate) file: ContentFile,
}

/// Reads a manifest; what its entries inherit comes from `list`, its line in the manifest list.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if it is damaged.
pub(crate) fn read_manifest(bytes: &[u8], list: &ManifestFile) -> Result<Vec<ReadEntry>> {
    let mut next_row_id = list.first_row_id;
    let mut entries = Vec::new();
    for mut record in avro_read::records(bytes)? {
        let status = match record.long("status")? {
            Some(0) => Status::Existing,
            Some(1) => Status::Added,
            Some(2) => Status::Deleted,
            _ => return Err(unexpected("status")),
        };
        let inherited = (status == Status::Added).then_some(list.sequence);
        let sequence = |number: Option<i64>, name| number.or(inherited).ok_or_else(|| unexpected(name));
        let snapshot_id = record.long("snapshot_id")?.unwrap_or(list.snapshot_id);
        let data = sequence(record.long("sequence_number")?, "sequence_number")?;
        let file_sequence = sequence(record.long("file_sequence_number")?, "file_sequence_number")?;
        let file = ContentFile::read(record.record("data_file")?)?;
        let mut entry = Entry { sequence: data, file_sequence, ..Entry::added(&file, snapshot_id, data) };
        entry.first_row_id = file.first_row_id.filter(|_| list.first_row_id.is_some());
        if list.content == Content::Data && status != Status::Deleted && file.first_row_id.is_none() {
            entry.first_row_id = next_row_id;
            next_row_id = next_row_id.map(|id| id.saturating_add(file.records));
        }
        entries.push(ReadEntry { status, entry, file });
    }
    Ok(entries)
}

/// A line of a manifest list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ManifestFile {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) spec_id: i32,
    pub(crate) content: Content,
    pub(crate) sequence: i64,
    pub(crate) min_sequence: i64,
    /// The snapshot that added the manifest.
    pub(crate) snapshot_id: i64,
    /// How many entries exist, are added, are deleted: by [`Status`].
    pub(crate) files: [u64; 3],
    /// How many rows they have: by [`Status`].
    pub(crate) rows: [u64; 3],
    pub(crate) first_row_id: Option<u64>,
}

/// A manifest list of a snapshot.
pub(crate) fn write_manifest_list<'a>(
    manifests: impl Iterator<Item = &'a ManifestFile>,
    snapshot_id: i64,
    parent: Option<i64>,
    sequence: i64,
    first_row_id: u64,
) -> Vec<u8> {
    let mut body = Vec::new();
    let mut lines = 0;
    for manifest in manifests {
        lines += 1;
        let [existing, added, deleted] = manifest.files;
        let [existing_rows, added_rows, deleted_rows] = manifest.rows;
        avro::bytes(&mut body, manifest.path.as_bytes());
        unsigned(&mut body, manifest.bytes);
        avro::long(&mut body, i64::from(manifest.spec_id));
        avro::long(&mut body, i64::from(manifest.content == Content::Deletes));
        for number in [manifest.sequence, manifest.min_sequence, manifest.snapshot_id] {
            avro::long(&mut body, number);
        }
        for count in [added, existing, deleted, added_rows, existing_rows, deleted_rows] {
            unsigned(&mut body, count);
        }
        // No partition fields, no encryption.
        avro::optional(&mut body, Some(&[][..]), |out, none: &[i64]| avro::array(out, none, |_, _| ()));
        avro::optional(&mut body, None, avro::long);
        avro::optional(&mut body, manifest.first_row_id, unsigned);
    }
    let metadata = [
        ("snapshot-id", snapshot_id.to_string()),
        ("parent-snapshot-id", parent.map_or_else(|| "null".to_owned(), |id| id.to_string())),
        ("sequence-number", sequence.to_string()),
        ("first-row-id", first_row_id.to_string()),
        ("format-version", "3".to_owned()),
    ];
    avro::container(&avro_schema::MANIFEST_LIST, &metadata, lines, &body)
}

/// Reads a manifest list.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if it is damaged.
pub(crate) fn read_manifest_list(bytes: &[u8]) -> Result<Vec<ManifestFile>> {
    let read = |mut record: Record| {
        let need = unexpected;
        if record.bytes("key_metadata")?.is_some() {
            return Err(Error::config("encrypted tables are not supported"));
        }
        let mut count = |name: &str, old_name: &str| match record.count(name)? {
            Some(count) => Ok(count),
            None => Ok(record.count(old_name)?.unwrap_or(0)),
        };
        let files = [
            count("existing_files_count", "existing_data_files_count")?,
            count("added_files_count", "added_data_files_count")?,
            count("deleted_files_count", "deleted_data_files_count")?,
        ];
        let rows =
            [count("existing_rows_count", "")?, count("added_rows_count", "")?, count("deleted_rows_count", "")?];
        let spec_id = record.long("partition_spec_id")?.and_then(|id| i32::try_from(id).ok());
        Ok(ManifestFile {
            path: record.string("manifest_path")?.ok_or_else(|| need("manifest_path"))?,
            bytes: record.count("manifest_length")?.ok_or_else(|| need("manifest_length"))?,
            spec_id: spec_id.ok_or_else(|| need("partition_spec_id"))?,
            content: match record.long("content")? {
                None | Some(0) => Content::Data,
                Some(1) => Content::Deletes,
                Some(_) => return Err(need("content")),
            },
            sequence: record.long("sequence_number")?.unwrap_or(0),
            min_sequence: record.long("min_sequence_number")?.unwrap_or(0),
            snapshot_id: record.long("added_snapshot_id")?.ok_or_else(|| need("added_snapshot_id"))?,
            files,
            rows,
            first_row_id: record.count("first_row_id")?,
        })
    };
    avro_read::records(bytes)?.into_iter().map(read).collect()
}
