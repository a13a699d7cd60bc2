//! The Avro schemas of manifests and manifest lists of Iceberg v3: names, types and field ids as the spec has them.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// Schema of a manifest of an unpartitioned table.
pub(crate) static MANIFEST: LazyLock<String> = LazyLock::new(|| manifest().to_string());
/// Schema of a manifest list.
pub(crate) static MANIFEST_LIST: LazyLock<String> = LazyLock::new(|| manifest_list().to_string());

fn required(name: &str, ty: &Value, id: i32) -> Value {
    json!({"name": name, "type": ty, "field-id": id})
}

fn optional(name: &str, ty: &Value, id: i32) -> Value {
    json!({"name": name, "type": ["null", ty], "default": null, "field-id": id})
}

fn record(name: &str, fields: &[Value]) -> Value {
    json!({"type": "record", "name": name, "fields": fields})
}

/// A map with an integer key, which Avro does not have.
fn by_id(name: &str, value: &str, id: i32, key_id: i32, value_id: i32) -> Value {
    let pair = record(
        &format!("k{key_id}_v{value_id}"),
        &[required("key", &json!("int"), key_id), required("value", &json!(value), value_id)],
    );
    optional(name, &json!({"type": "array", "logicalType": "map", "items": pair}), id)
}

fn array(items: &Value, element_id: i32) -> Value {
    json!({"type": "array", "items": items, "element-id": element_id})
}

fn manifest() -> Value {
    let (int, long, string, bytes) = (json!("int"), json!("long"), json!("string"), json!("bytes"));
    let data_file = record(
        "r2",
        &[
            required("content", &int, 134),
            required("file_path", &string, 100),
            required("file_format", &string, 101),
            required("partition", &record("r102", &[]), 102),
            required("record_count", &long, 103),
            required("file_size_in_bytes", &long, 104),
            by_id("column_sizes", "long", 108, 117, 118),
            by_id("value_counts", "long", 109, 119, 120),
            by_id("null_value_counts", "long", 110, 121, 122),
            by_id("nan_value_counts", "long", 137, 138, 139),
            by_id("lower_bounds", "bytes", 125, 126, 127),
            by_id("upper_bounds", "bytes", 128, 129, 130),
            optional("key_metadata", &bytes, 131),
            optional("split_offsets", &array(&long, 133), 132),
            optional("equality_ids", &array(&int, 136), 135),
            optional("sort_order_id", &int, 140),
            optional("first_row_id", &long, 142),
            optional("referenced_data_file", &string, 143),
            optional("content_offset", &long, 144),
            optional("content_size_in_bytes", &long, 145),
        ],
    );
    record(
        "manifest_entry",
        &[
            required("status", &int, 0),
            optional("snapshot_id", &long, 1),
            optional("sequence_number", &long, 3),
            optional("file_sequence_number", &long, 4),
            required("data_file", &data_file, 2),
        ],
    )
}

fn manifest_list() -> Value {
    let (int, long, string, bytes) = (json!("int"), json!("long"), json!("string"), json!("bytes"));
    let summary = record(
        "r508",
        &[
            required("contains_null", &json!("boolean"), 509),
            optional("contains_nan", &json!("boolean"), 518),
            optional("lower_bound", &bytes, 510),
            optional("upper_bound", &bytes, 511),
        ],
    );
    record(
        "manifest_file",
        &[
            required("manifest_path", &string, 500),
            required("manifest_length", &long, 501),
            required("partition_spec_id", &int, 502),
            required("content", &int, 517),
            required("sequence_number", &long, 515),
            required("min_sequence_number", &long, 516),
            required("added_snapshot_id", &long, 503),
            required("added_files_count", &int, 504),
            required("existing_files_count", &int, 505),
            required("deleted_files_count", &int, 506),
            required("added_rows_count", &long, 512),
            required("existing_rows_count", &long, 513),
            required("deleted_rows_count", &long, 514),
            optional("partitions", &array(&summary, 508), 507),
            optional("key_metadata", &bytes, 519),
            optional("first_row_id", &long, 520),
        ],
    )
}
