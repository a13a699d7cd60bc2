//! What the `iceberg` crate reads of a table, against what we say of it.

use std::collections::BTreeMap;

use iceberg::spec::{DataContentType, FormatVersion, Manifest, ManifestContentType, ManifestList, TableMetadata};
use walbrook_lake_merge::format::TableFormat;

use crate::folder::local_path;
use crate::table::Table;

/// Checks a table file by file.
pub(super) fn check(table: &Table) {
    let json = std::fs::read(table.folder.version_path(table.loaded.version)).unwrap();
    let metadata: TableMetadata = serde_json::from_slice(&json).unwrap();
    assert_eq!(metadata.uuid(), table.state().uuid);
    assert_eq!(metadata.last_column_id(), table.state().layout.last_id);
    let properties: BTreeMap<_, _> = metadata.properties().clone().into_iter().collect();
    assert_eq!(properties, table.state().properties);
    let keys: Vec<_> = metadata.current_schema().identifier_field_ids().collect();
    assert_eq!(keys, table.state().layout.key);
    assert_eq!(metadata.current_snapshot_id(), table.state().snapshot);
    let Some(snapshot) = metadata.current_snapshot() else { return };
    let list = std::fs::read(local_path(snapshot.manifest_list()).unwrap()).unwrap();
    let list = ManifestList::parse_with_version(&list, FormatVersion::V3).unwrap();
    let (mut files, mut vectors) = (BTreeMap::new(), BTreeMap::new());
    let mut row_ids = Vec::new();
    for line in list.entries() {
        let bytes = std::fs::read(local_path(&line.manifest_path).unwrap()).unwrap();
        assert_eq!(i64::try_from(bytes.len()).unwrap(), line.manifest_length);
        let manifest = Manifest::parse_avro(&bytes).unwrap();
        let mut next_row_id = line.first_row_id;
        assert_eq!(next_row_id.is_some(), line.content == ManifestContentType::Data);
        for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
            let file = entry.data_file();
            if file.content_type() == DataContentType::Data {
                let first = file.first_row_id().map_or_else(
                    || {
                        let first = next_row_id.unwrap();
                        next_row_id = Some(first + file.record_count());
                        first
                    },
                    i64::cast_unsigned,
                );
                row_ids.push((first, file.record_count()));
                assert_eq!(first, table.loaded.tree.files[file.file_path()].entry.first_row_id.unwrap());
                assert!(files.insert(file.file_path().to_owned(), file.record_count()).is_none());
            } else {
                let of = file.referenced_data_file().unwrap();
                let bound: Vec<_> = file.lower_bounds().values().map(ToString::to_string).collect();
                assert_eq!(bound, [format!("\"{of}\"")]);
                assert!(vectors.insert(of, file.record_count()).is_none());
            }
        }
    }
    let state = table.state();
    let of_state = state.files.iter().map(|live| (live.file.path.clone(), live.file.rows)).collect();
    assert_eq!(files, of_state);
    let deleted = state.files.iter().filter(|live| !live.deleted.is_empty());
    assert_eq!(vectors, deleted.map(|live| (live.file.path.clone(), live.deleted.len())).collect());
    check_row_ids(row_ids, metadata.next_row_id());
    let total = |key: &str| snapshot.summary().additional_properties[key].parse::<u64>().unwrap();
    assert_eq!(total("total-data-files"), files.len() as u64);
    assert_eq!(total("total-records"), files.values().sum::<u64>());
    assert_eq!(total("total-delete-files"), vectors.len() as u64);
    assert_eq!(total("total-position-deletes"), vectors.values().sum::<u64>());
}

/// No two rows have one id.
fn check_row_ids(mut ranges: Vec<(u64, u64)>, next: u64) {
    ranges.sort_unstable();
    let ends = ranges.iter().map(|(first, rows)| first + rows);
    let starts = ranges.iter().skip(1).map(|(first, _)| *first).chain([next]);
    for (end, start) in ends.zip(starts) {
        assert!(end <= start, "rows share an id");
    }
}
