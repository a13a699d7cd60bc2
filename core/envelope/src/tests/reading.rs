//! Messages that Debezium 3.6.1 wrote, read: the changes that the source itself would give.

use bytes::Bytes;
use serde_json::Value as Json;
use walbrook_model::{Op, Row, Seq, TableId, TableSchema};

use super::debezium::{RUNS, Recorded};
use crate::*;

/// Columns of which Debezium's messages say less than the log, with its default settings: scales of numbers without one,
/// zones of times, months of intervals, lengths of bit strings, the notation of hstore, or a boolean for a bit.
const LOSSY: [&str; 16] = [
    "c_num",
    "a_num",
    "c_num_neg",
    "c_timetz",
    "a_timetz",
    "a_time",
    "c_interval",
    "c_interval_y",
    "d_interval",
    "c_varbit",
    "c_bit1",
    "d_bit1",
    "c_hstore",
    "a_hstore",
    "d_hstore",
    "h",
];

#[test]
fn what_debezium_wrote_reads_as_the_source_would() {
    let recorded = Recorded::new(&RUNS[0]);
    for format in [Format::Avro, Format::JsonWithSchemas] {
        let mut compared = 0;
        let mut last = Seq::ZERO;
        for message in recorded.rows() {
            let table = recorded.table(message);
            if table.name.starts_with("We") {
                continue;
            }
            let Some(value) = message["value"].as_str() else {
                let reader = &mut recorded.reader(message, format);
                assert!(matches!(read(&recorded, reader, message, format), Decoded::Nothing));
                continue;
            };
            let value: Json = serde_json::from_str(value).unwrap();
            if value["op"] == "t" {
                continue;
            }
            let Decoded::Change(change, None) = read(&recorded, &mut recorded.reader(message, format), message, format)
            else {
                panic!("{message}")
            };
            assert!(change.seq >= last, "{message}");
            last = change.seq;
            assert_eq!(change.op.letter().unwrap().to_string(), value["op"].as_str().unwrap());
            assert_eq!(change.committed_at_us, value["source"]["ts_us"].as_i64().unwrap());
            assert_eq!(change.schema.table, TableId::new("public", &table.name));
            let keys = |schema: &TableSchema| -> Vec<String> {
                schema.key.iter().map(|index| schema.columns[*index].name.clone()).collect()
            };
            let (before, after) = recorded.images(&table, &value);
            assert_eq!(keys(&change.schema), keys(&table.schema()));
            for (ours, theirs, is_before) in [(before, change.before, true), (after, change.after, false)] {
                assert_eq!(ours.is_some(), theirs.is_some());
                let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
                compared += compare_rows(&table.schema(), &ours, &change.schema, &theirs, is_before);
            }
        }
        assert!(compared > 700, "{compared}");
    }
}

#[test]
fn what_is_no_change_of_a_row_is_passed_over() {
    for run in &RUNS {
        let recorded = Recorded::new(run);
        let mut found = 0;
        for message in recorded.all["messages"].as_array().unwrap() {
            let topic = message["topic"].as_str().unwrap();
            if !["pre.message", "pre.transaction"].contains(&topic) {
                continue;
            }
            found += 1;
            for format in [Format::Avro, Format::JsonWithSchemas] {
                let mut reader = recorded.reader(message, format);
                assert!(matches!(read(&recorded, &mut reader, message, format), Decoded::Nothing), "{message}");
            }
            let value = Some(Bytes::copy_from_slice(message["value"].as_str().unwrap().as_bytes()));
            let plain = TableReader::json(None).read(&Incoming { key: None, value, headers: &[] }).unwrap();
            assert!(matches!(plain, Decoded::Nothing), "{message}");
        }
        assert!(found > 0);
    }
    let mut reader = TableReader::json(None);
    for row in [r#"{"id":1,"op":"x","source":"y","message":"z"}"#, r#"{"status":"END","id":1}"#, "{}"] {
        let value = Some(Bytes::copy_from_slice(row.as_bytes()));
        assert!(reader.read(&Incoming { key: None, value, headers: &[] }).is_err(), "a row of somebody else: {row}");
    }
}

#[test]
fn a_truncate_before_the_first_row_does_not_take_the_key_away() {
    let recorded = Recorded::new(&RUNS[0]);
    let truncate = recorded.rows().find(|message| message["key"].is_null() && message["topic"] == "pre.public.orders");
    let truncate = truncate.unwrap();
    let mut reader = TableReader::json(None);
    let incoming = recorded.incoming(truncate, Format::JsonWithSchemas);
    assert!(reader.read(&Incoming { key: None, value: incoming.1.clone(), headers: &[] }).is_err());
    let insert = recorded.rows().find(|message| message["topic"] == "pre.public.orders").unwrap();
    read(&recorded, &mut reader, insert, Format::JsonWithSchemas);
    let Decoded::Change(change, _) = read(&recorded, &mut reader, truncate, Format::JsonWithSchemas) else { panic!() };
    assert_eq!((change.op, change.schema.key.as_slice()), (Op::Truncate, &[0][..]));
}

impl Recorded {
    fn reader(&self, message: &Json, format: Format) -> TableReader {
        let avro = |part: &str| self.schema_as_is(message, part);
        let (key, value) = (avro("key_avro_schema"), avro("value_avro_schema"));
        match (format, value) {
            (Format::Avro, Some(value)) => TableReader::avro(key.as_deref(), &value, None).unwrap(),
            _ => TableReader::json(None),
        }
    }

    fn schema_as_is(&self, message: &Json, part: &str) -> Option<String> {
        let index = usize::try_from(message[part].as_u64()?).unwrap();
        Some(self.all["schemas"][index].as_str().unwrap().to_owned())
    }

    /// Key and value of a recorded message.
    fn incoming(&self, message: &Json, format: Format) -> (Option<Bytes>, Option<Bytes>) {
        let part = |part: &str| -> Option<Bytes> {
            let text = message[part].as_str()?;
            if format == Format::Avro {
                return Some(text::unhex(message[format!("{part}_avro")].as_str()?.as_bytes()).unwrap().into());
            }
            let schema = self.schema_as_is(message, &format!("{part}_schema")).unwrap();
            Some(format!("{{\"schema\":{schema},\"payload\":{text}}}").into())
        };
        (part("key"), part("value"))
    }
}

fn read(recorded: &Recorded, reader: &mut TableReader, message: &Json, format: Format) -> Decoded {
    let (key, value) = recorded.incoming(message, format);
    reader.read(&Incoming { key, value, headers: &[] }).unwrap_or_else(|error| panic!("{error}: {message}"))
}

/// How many cells were compared.
fn compare_rows(ours: &TableSchema, row: &Row, theirs: &TableSchema, read: &Row, before: bool) -> usize {
    let mut compared = 0;
    for (index, column) in theirs.columns.iter().enumerate() {
        let place = ours.column(&column.name).unwrap();
        let wanted = row.value(ours, place).unwrap();
        let found = read.value(theirs, index).unwrap_or_else(|error| panic!("{error}"));
        let key = theirs.key.contains(&index);
        let lossy = LOSSY.contains(&column.name.as_str())
            // Infinity of a date is written as a finite day.
            || matches!(wanted, walbrook_model::Value::Date(i32::MAX))
            || (column.name == "c_name");
        if before && !key && wanted == walbrook_model::Value::Unchanged {
            // Where Debezium must not write null it writes the type's zero: nothing tells that from a value.
            continue;
        }
        if before && !key && wanted == walbrook_model::Value::Null {
            assert_eq!(found, walbrook_model::Value::Unchanged, "{}", column.name);
            continue;
        }
        if !lossy {
            assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "{}", column.name);
            assert_eq!(column.ty, ours.columns[place].ty, "{}", column.name);
            compared += 1;
        }
    }
    compared
}
