use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use walbrook_config::TableMode;
use walbrook_model::{ColumnType, ErrorKind};

use super::*;
use crate::testing::{column, row, schema};

fn stamp(n: u64) -> Stamp {
    Stamp { seq: Seq::new(0, 1, n, 1).unwrap(), committed_at_us: 0, op: None }
}

fn two_columns() -> Arc<TableSchema> {
    schema("public.t", vec![column("id", ColumnType::Int64), column("v", ColumnType::Text)], &[0])
}

fn buffer(schema: &TableSchema, mode: TableMode) -> Buffer {
    Buffer::new(Arc::new(Layout::of(schema, mode).unwrap()))
}

/// The first two columns of batches, as text.
fn shown(batches: &[RecordBatch]) -> Vec<(i64, String)> {
    let rows = batches.iter().flat_map(|batch| {
        let (ids, texts) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
        ids.values().iter().zip(texts).map(|(id, text)| (*id, text.unwrap_or("~").to_owned()))
    });
    rows.collect()
}

#[test]
fn rows_are_numbered_and_selected_across_chunks() {
    let schema = two_columns();
    let mut buffer = buffer(&schema, TableMode::Upsert);
    let long = "x".repeat(CHUNK_BYTES / 2);
    for n in 0..7u32 {
        let cells = [n.to_string(), if n % 3 == 0 { long.clone() } else { "y".to_owned() }];
        let cells: Vec<_> = cells.iter().map(String::as_str).collect();
        assert_eq!(buffer.push(&schema, Some(&row(&cells)), stamp(1)).unwrap(), n);
    }
    let layout = Arc::clone(buffer.layout());
    assert_eq!(buffer.len(), 7);
    assert!(buffer.bytes() > 3 * long.len());
    let rows = buffer.take().unwrap();
    assert!(rows.chunks.len() > 1, "the test needs more than one chunk");
    assert_eq!((buffer.len(), buffer.bytes(), rows.numbers().len()), (0, 0, 7));
    let ids = |numbers: &[u32]| {
        let batches = rows.select(numbers, &layout).unwrap();
        shown(&batches).into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[0, 1, 2, 3, 4, 5, 6]), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(ids(&[1, 4, 6]), [1, 4, 6]);
    assert_eq!(ids(&[]), Vec::<i64>::new());
    assert_eq!(rows.select(&[7], &layout).unwrap_err().kind(), ErrorKind::Bug);
}

#[test]
fn a_row_that_cannot_be_written_is_refused_and_harms_no_other() {
    let schema = schema(
        "public.t",
        vec![
            column("id", ColumnType::Int64),
            column("v", ColumnType::Text),
            column("n", ColumnType::Int32),
            column("l", ColumnType::List(Box::new(ColumnType::Int32))),
        ],
        &[0],
    );
    let mut buffer = buffer(&schema, TableMode::Upsert);
    let mut refuse = |cells: &[&str], expected: &str| {
        let error = buffer.push(&schema, Some(&row(cells)), stamp(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("secret"), "a cell value in an error: {text}");
    };
    refuse(&["1", "?", "1", ""], "column v: the log does not carry this cell");
    refuse(&["~", "a", "1", ""], "column id: NULL in a key column");
    refuse(&["1", "a", "4294967296", ""], "column n: integer outside of the range");
    refuse(&["1", "a", "secret", ""], "column n");
    refuse(&["1", "a", "1", "1|4294967296|2"], "column l: integer outside");
    refuse(&["1", "a"], "column n: the log does not carry");
    let kept = buffer.push(&schema, Some(&row(&["7", "kept", "~", "1|2"])), stamp(2)).unwrap();
    let layout = Arc::clone(buffer.layout());
    let rows = buffer.take().unwrap();
    assert_eq!(rows.numbers(), [kept]);
    let batches = rows.select(&[kept], &layout).unwrap();
    assert_eq!(shown(&batches), [(7, "kept".to_owned())]);
    assert_eq!(batches[0].column(3).as_list::<i32>().value(0).len(), 2, "items of a refused list went astray");
}

#[test]
fn an_append_table_names_the_cells_that_the_log_did_not_carry() {
    let schema = two_columns();
    let mut buffer = buffer(&schema, TableMode::Append);
    let mut push = |op: char, cells: Option<&[&str]>| {
        let row = cells.map(row);
        buffer.push(&schema, row.as_ref(), Stamp { op: Some(op), ..stamp(1) }).unwrap();
    };
    push('c', Some(&["1", "a"]));
    push('d', Some(&["1", "?"]));
    push('t', None);
    let layout = Arc::clone(buffer.layout());
    let batch = buffer.take().unwrap().select(&[0, 1, 2], &layout).unwrap().remove(0);
    let ops: Vec<_> = batch.column(2).as_string::<i32>().iter().map(Option::unwrap).collect();
    assert_eq!(ops, ["c", "d", "t"]);
    let unchanged = batch.column(3).as_list::<i32>();
    assert_eq!((0..3).map(|i| unchanged.is_null(i)).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(unchanged.value(1).as_string::<i32>().value(0), "v");
}

#[test]
fn rows_of_an_older_shape_take_the_default_of_a_newer_column() {
    let old = two_columns();
    let mut added = column("d", ColumnType::Int32);
    added.initial_default = Some(Arc::from(&b"42"[..]));
    let columns = vec![column("id", ColumnType::Int64), added, column("v", ColumnType::Text)];
    let new = schema("public.t", columns, &[0]);
    let mut buffer = buffer(&old, TableMode::Upsert);
    buffer.push(&old, Some(&row(&["1", "before"])), stamp(1)).unwrap();
    let wider = crate::evolve::evolve(buffer.layout(), &new, stamp(2).seq, Seq::ZERO).unwrap().unwrap();
    buffer.set_layout(Arc::new(wider)).unwrap();
    buffer.push(&new, Some(&row(&["2", "7", "after"])), stamp(2)).unwrap();
    buffer.push(&old, Some(&row(&["3", "replayed"])), stamp(1)).unwrap();
    let layout = Arc::clone(buffer.layout());
    let batches = buffer.take().unwrap().select(&[0, 1, 2], &layout).unwrap();
    let names: Vec<_> = batches[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["id", "v", "d", "_seq", "_committed_at"]);
    let texts: Vec<_> = shown(&batches).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["before", "after", "replayed"]);
    let defaults = batches.iter().flat_map(|b| b.column(2).as_primitive::<arrow_array::types::Int32Type>().iter());
    assert_eq!(defaults.map(Option::unwrap).collect::<Vec<_>>(), [42, 7, 42]);
}
