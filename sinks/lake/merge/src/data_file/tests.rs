use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int64Type};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use walbrook_config::TableMode;
use walbrook_model::{ColumnType, Result, Seq};

use super::*;
use crate::buffer::{Buffer, Stamp};
use crate::format::DataFile;
use crate::layout::Layout;
use crate::testing::{column, row, schema};

fn seq(n: u64) -> Seq {
    Seq::new(0, 1, n, 1).unwrap()
}

fn every_type() -> Vec<(ColumnType, [&'static str; 3])> {
    let list = |ty| ColumnType::List(Box::new(ty));
    vec![
        (ColumnType::Int64, ["5", "-7", "1"]),
        (ColumnType::Bool, ["t", "f", "~"]),
        (ColumnType::Int16, ["-3", "~", "12"]),
        (ColumnType::Int32, ["1", "2", "3"]),
        (ColumnType::Float32, ["1.5", "NaN", "~"]),
        (ColumnType::Float64, ["-0.0", "inf", "2"]),
        (ColumnType::Decimal { precision: 7, scale: 2 }, ["-1.50", "99999.99", "~"]),
        (ColumnType::Decimal { precision: 18, scale: 0 }, ["1", "-2", "~"]),
        (ColumnType::Decimal { precision: 38, scale: 10 }, ["-0.0000000001", "~", "1.0000000000"]),
        (ColumnType::Text, ["a string that is longer than sixteen bytes", "", "~"]),
        (ColumnType::Json, ["{}", "~", "[1]"]),
        (ColumnType::Bytes, ["x", "", "~"]),
        (ColumnType::Uuid, ["f79c3e09-677c-4bbd-a479-3f349cb785e7", "~", "00000000-0000-0000-0000-000000000001"]),
        (ColumnType::Date, ["2147483647", "-1", "~"]),
        (ColumnType::Time, ["86400000000", "1", "~"]),
        (ColumnType::Timestamp, ["9223372036854775807", "0", "~"]),
        (ColumnType::TimestampTz, ["-9223372036854775807", "~", "5"]),
        (list(ColumnType::Text), ["a|b", "", "~"]),
        (list(ColumnType::Int32), ["1|~", "~", ""]),
    ]
}

struct Written {
    folder: tempfile::TempDir,
    path: std::path::PathBuf,
    file: DataFile,
    layout: Layout,
    names: BTreeMap<String, i32>,
}

/// A file with three rows of every type, at order tokens 10, 30 and 20.
fn written() -> Written {
    let columns = every_type();
    let shape = columns.iter().enumerate().map(|(i, (ty, _))| column(&format!("c{i}"), ty.clone())).collect();
    let shape = schema("public.t", shape, &[0]);
    let layout = Layout::of(&shape, TableMode::Upsert).unwrap();
    let mut buffer = Buffer::new(Arc::new(layout.clone()));
    for (i, seq_no) in [10, 30, 20].into_iter().enumerate() {
        let cells: Vec<_> = columns.iter().map(|(_, cells)| cells[i]).collect();
        let stamp = Stamp { seq: seq(seq_no), committed_at_us: 7, op: None };
        assert_eq!(buffer.push(&shape, Some(&row(&cells)), stamp).unwrap(), u32::try_from(i).unwrap());
    }
    let batches = buffer.take().unwrap().select(&[0, 1, 2], &layout).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "file:///lake/t/data/", "a-0.parquet", &layout, &batches).unwrap();
    let names = layout.fields.iter().map(|field| (field.name.clone(), field.id)).collect();
    Written { path: folder.path().join("a-0.parquet"), folder, file, layout, names }
}

#[test]
fn a_file_says_what_is_in_it() {
    let Written { file, path, names, layout, folder: _folder } = written();
    assert_eq!(file.path, "file:///lake/t/data/a-0.parquet");
    assert_eq!((file.rows, file.bytes), (3, std::fs::metadata(path).unwrap().len()));
    assert_eq!((file.seq_min, file.seq_max), (seq(10), seq(30)));
    assert_eq!(file.split_offsets, [4]);
    let nulls: Vec<u64> = (0..17).map(|i| file.null_counts[&names[&format!("c{i}")]]).collect();
    assert_eq!(nulls, [0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    let leaves = layout.fields.len();
    assert_eq!(file.column_bytes.len(), leaves, "one entry per leaf, a list under its element's id");
    assert!(file.column_bytes.values().all(|bytes| *bytes > 0));
}

#[test]
fn bounds_are_in_the_encoding_of_the_spec() {
    let Written { file, names, folder: _folder, .. } = written();
    let check = |column: usize, low: &[u8], high: &[u8]| {
        let bounds = &file.bounds[&names[&format!("c{column}")]];
        assert_eq!((bounds.0.as_slice(), bounds.1.as_slice()), (low, high), "column {column}");
    };
    check(0, &(-7i64).to_le_bytes(), &5i64.to_le_bytes());
    check(1, &[0], &[1]);
    check(2, &(-3i32).to_le_bytes(), &12i32.to_le_bytes());
    check(6, &[0xff, 0x6a], &[0x00, 0x98, 0x96, 0x7f]);
    check(7, &[0xfe], &[1]);
    check(8, &[0xff], &[0x02, 0x54, 0x0b, 0xe4, 0x00]);
    check(9, b"", b"a string that it");
    check(11, b"", b"x");
    check(13, &(-1i32).to_le_bytes(), &i32::MAX.to_le_bytes());
    check(14, b"00:00:00.000001", b"24:00:00");
    check(15, &0i64.to_le_bytes(), &i64::MAX.to_le_bytes());
    for column in [4, 5, 12, 17, 18] {
        assert!(!file.bounds.contains_key(&names[&format!("c{column}")]), "column {column} must have no bounds");
    }
}

#[test]
fn a_scan_gives_columns_in_the_order_asked_for() {
    let Written { path, names, folder: _folder, .. } = written();
    let ids = [names["_seq"], names["c0"]];
    let batches: Vec<_> = scan(&path, &ids).unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(batches.len(), 1);
    let seqs = batches[0][0].as_primitive::<Decimal128Type>();
    assert_eq!(seqs.value(1), i128::try_from(seq(30).to_u128()).unwrap());
    assert_eq!(batches[0][1].as_primitive::<Int64Type>().values(), &[5, -7, 1]);
}

#[test]
fn picked_rows_are_those_asked_for() {
    let Written { path, names, folder: _folder, .. } = written();
    let ids = [names["c0"], 999, names["c17"]];
    let columns = pick(&path, &ids, &[0, 2]).unwrap();
    assert_eq!(columns[0].as_ref().unwrap().as_primitive::<Int64Type>().values(), &[5, 1]);
    assert!(columns[1].is_none(), "a column that is newer than the file");
    assert_eq!(columns[2].as_ref().unwrap().as_list::<i32>().value(0).as_string::<i32>().value(1), "b");
    assert!(pick(&path, &ids, &[3]).is_err());
}

#[test]
fn the_parquet_schema_is_what_the_spec_asks_for() {
    let Written { path, folder: _folder, .. } = written();
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, reader.metadata().file_metadata().schema());
    let text = String::from_utf8(text).unwrap();
    for line in [
        "REQUIRED INT64 c0 [1];",
        "OPTIONAL INT32 c6 [7] (DECIMAL(7,2));",
        "OPTIONAL INT64 c7 [8] (DECIMAL(18,0));",
        "OPTIONAL FIXED_LEN_BYTE_ARRAY (16) c8 [9] (DECIMAL(38,10));",
        "OPTIONAL BYTE_ARRAY c9 [10] (STRING);",
        "OPTIONAL BYTE_ARRAY c11 [12];",
        "OPTIONAL FIXED_LEN_BYTE_ARRAY (16) c12 [13] (UUID);",
        "OPTIONAL INT32 c13 [14] (DATE);",
        "OPTIONAL BYTE_ARRAY c14 [15] (STRING);",
        "OPTIONAL INT64 c15 [16] (TIMESTAMP(MICROS,false));",
        "OPTIONAL INT64 c16 [17] (TIMESTAMP(MICROS,true));",
        "OPTIONAL group c17 [18] (LIST) {",
        "REPEATED group list {",
        "OPTIONAL BYTE_ARRAY element [19] (STRING);",
        "REQUIRED FIXED_LEN_BYTE_ARRAY (16) _seq",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn a_missing_or_damaged_file_is_a_gap() {
    let Written { path, names, folder: _folder, .. } = written();
    let kind = |result: Result<Scan>| result.err().unwrap().kind();
    assert_eq!(kind(scan(&path.with_extension("gone"), &[names["c0"]])), walbrook_model::ErrorKind::Gap);
    std::fs::write(&path, b"PAR1").unwrap();
    assert_eq!(kind(scan(&path, &[names["c0"]])), walbrook_model::ErrorKind::Gap);
}

#[test]
fn many_rows_are_several_row_groups() {
    const ROWS: u32 = 1 << 12;
    let schema = schema("public.t", vec![column("id", ColumnType::Int64)], &[0]);
    let layout = Layout::of(&schema, TableMode::Upsert).unwrap();
    let mut buffer = Buffer::new(Arc::new(layout.clone()));
    for n in 0..ROWS {
        let stamp = Stamp { seq: seq(u64::from(n) + 1), committed_at_us: 7, op: None };
        buffer.push(&schema, Some(&row(&[&n.to_string()])), stamp).unwrap();
    }
    let batch = buffer.take().unwrap().select(&(0..ROWS).collect::<Vec<_>>(), &layout).unwrap().remove(0);
    let full = (1 << 20) / ROWS as usize;
    let batches: Vec<_> =
        std::iter::repeat_n(batch.clone(), full).chain([batch.slice(7, 1), batch.slice(0, 0)]).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "file:///lake/t/data/", "a-0.parquet", &layout, &batches).unwrap();
    assert_eq!((file.rows, file.split_offsets.len()), ((1 << 20) + 1, 2));
    assert_eq!((file.seq_min, file.seq_max), (seq(1), seq(u64::from(ROWS))));
    let ids = [layout.field("_seq").unwrap().id, layout.field("id").unwrap().id];
    let columns = pick(&folder.path().join("a-0.parquet"), &ids, &[4095, 1 << 20]).unwrap();
    let seqs = columns[0].as_ref().unwrap().as_primitive::<Decimal128Type>().values().to_vec();
    assert_eq!(seqs, [4096, 8].map(|n| i128::try_from(seq(n).to_u128()).unwrap()));
    assert_eq!(columns[1].as_ref().unwrap().as_primitive::<Int64Type>().values(), &[4095, 7]);
}
