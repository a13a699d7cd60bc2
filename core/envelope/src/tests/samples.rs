//! Single messages that Debezium 3.6.1 wrote to Kafka as JSON with schemas, against ours for the same statements: text for
//! text, clocks and positions given.

use std::sync::Arc;

use serde_json::Value as Json;
use walbrook_model::{
    Change, Column, ColumnFacts, Op, Origin, Row, RowBuilder, Seq, SnapshotMarker, TableId, TableSchema, Transaction,
};

use super::postgres;
use crate::decode::document::Object;
use crate::*;

macro_rules! samples {
    ($($name:literal),*) => { [$(($name, include_str!(concat!("../../testdata/debezium/samples/pg-", $name, ".json")))),*] };
}

const ROWS: [(&str, &str); 14] = samples!(
    "nokey-insert",
    "nokey-update",
    "nokey-delete",
    "nokey-tombstone",
    "orders-snapshot",
    "orders-insert",
    "orders-update",
    "orders-delete",
    "orders-tombstone",
    "orders-insert2",
    "orders-delete2",
    "orders-truncate",
    "toasty-insert",
    "toasty-update"
);
const BORDERS: [(&str, &str); 4] =
    samples!("transaction-begin", "transaction-end", "transaction-begin2", "transaction-end2");

fn info() -> Arc<SourceInfo> {
    Arc::new(SourceInfo {
        version: "3.6.1.Final".to_owned(),
        connector: "postgresql".to_owned(),
        database: "shapes".to_owned(),
        task: "0".to_owned(),
        run: "01a1fd91-5373-7e21-b9a5-c6d7b42ec860".to_owned(),
    })
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings { transactions: true, ..Settings::debezium("shapespg", Format::JsonWithSchemas) })
}

/// Name, type, NOT NULL and default of each column.
type Columns = &'static [(&'static str, &'static str, bool, Option<&'static str>)];

const ORDERS: Columns = &[
    ("id", "bigint", true, None),
    ("customer_id", "bigint", true, None),
    ("status", "character varying(16)", true, Some("'new'::character varying")),
    ("amount", "numeric(12,2)", true, None),
    ("currency", "character(3)", true, None),
    ("note", "text", false, None),
    ("tags", "text[]", false, None),
    ("created_at", "timestamp with time zone", true, None),
    ("updated_at", "timestamp with time zone", true, None),
    ("is_gift", "boolean", true, None),
    ("weight", "double precision", false, None),
    ("payload", "jsonb", false, None),
];
const NOKEY: Columns = &[("a", "integer", false, None), ("b", "text", false, None)];
const TOASTY: Columns = &[("id", "integer", true, None), ("n", "integer", false, None), ("big", "text", false, None)];

fn table(name: &str) -> (Columns, Vec<usize>) {
    match name {
        "orders" => (ORDERS, vec![0]),
        "toasty" => (TOASTY, vec![0]),
        _ => (NOKEY, vec![]),
    }
}

fn envelope(name: &str) -> TableEnvelope {
    let (columns, key) = table(name);
    let column = |(name, ty, not_null, default): &(&str, &str, bool, Option<&str>)| {
        let default = default.map(str::to_owned);
        let facts = ColumnFacts { not_null: Some(*not_null), default, ..ColumnFacts::default() };
        Column { facts: Arc::new(facts), ..postgres::column(name, ty, ty) }
    };
    let columns = columns.iter().map(column).collect();
    let schema = TableSchema { table: TableId::new("public", name), columns, key };
    TableEnvelope::new(&settings(), &info(), &Arc::new(schema)).unwrap()
}

/// The row as the server prints it.
fn row(columns: Columns, image: &Json) -> Option<Row> {
    let cell = |(name, ty, ..): &(&str, &str, bool, Option<&str>)| -> Option<String> {
        let value = &image[*name];
        if value.is_null() {
            return None;
        }
        Some(match (*ty, value) {
            ("numeric(12,2)", Json::String(text)) => {
                decimal::to_text(&text::unbase64(text.as_bytes()).unwrap(), 2).unwrap()
            }
            ("timestamp with time zone", Json::String(text)) => text.replace('T', " ").replace('Z', "+00"),
            ("boolean", Json::Bool(value)) => if *value { "t" } else { "f" }.to_owned(),
            ("text[]", Json::Array(items)) => {
                let items: Vec<&str> = items.iter().map(|item| item.as_str().unwrap()).collect();
                format!("{{{}}}", items.join(","))
            }
            (_, Json::String(text)) => text.clone(),
            (_, value) => value.to_string(),
        })
    };
    let mut builder = RowBuilder::default();
    for column in columns {
        match cell(column) {
            Some(text) if text == UNAVAILABLE => builder.push_unchanged(),
            Some(text) => builder.push(walbrook_model::Cell::Data(text.as_bytes())),
            None => builder.push_null(),
        }
    }
    (!image.is_null()).then(|| builder.finish())
}

#[test]
fn rows_are_the_same_text() {
    for (name, sample) in ROWS {
        if !name.ends_with("tombstone") {
            let tombstone = match name {
                "orders-delete" => ROWS.iter().find(|(name, _)| *name == "orders-tombstone"),
                "nokey-delete" => ROWS.iter().find(|(name, _)| *name == "nokey-tombstone"),
                _ => None,
            };
            check(name, sample, tombstone.map(|(_, sample)| *sample));
        }
    }
}

#[track_caller]
fn check(name: &str, sample: &str, tombstone: Option<&str>) {
    let message: Json = serde_json::from_str(sample).unwrap();
    let value = &message["value"]["payload"];
    let source = &value["source"];
    let (columns, _) = table(source["table"].as_str().unwrap());
    let envelope = envelope(source["table"].as_str().unwrap());
    assert_eq!(envelope.topic(), message["topic"].as_str().unwrap());
    let op = match value["op"].as_str().unwrap() {
        "c" => Op::Insert,
        "u" => Op::Update,
        "d" => Op::Delete,
        "r" => Op::Read,
        _ => Op::Truncate,
    };
    let sequence: Vec<Option<String>> = serde_json::from_str(source["sequence"].as_str().unwrap()).unwrap();
    let markers = [SnapshotMarker::False, SnapshotMarker::LastInTable];
    let block = &value["transaction"];
    let change = Change {
        op,
        schema: envelope.schema().clone(),
        before: row(columns, &value["before"]),
        after: row(columns, &value["after"]),
        seq: Seq::ZERO,
        committed_at_us: source["ts_us"].as_i64().unwrap(),
        origin: Origin {
            snapshot: *markers.iter().find(|marker| source["snapshot"] == marker.as_str()).unwrap(),
            position: source["lsn"].as_u64(),
            transaction: Some(Arc::new(Transaction {
                id: source["txId"].as_i64(),
                previous_commit: sequence[0].as_ref().map(|lsn| lsn.parse().unwrap()),
                ..Transaction::default()
            })),
        },
        moved: moved(&message, columns).map(Box::new),
    };
    let context = Context {
        transaction: block["id"].as_str().map(|id| TransactionBlock {
            id,
            total_order: block["total_order"].as_i64().unwrap(),
            table_order: block["data_collection_order"].as_i64().unwrap(),
        }),
        processed_at_ns: value["ts_ns"].as_i64().unwrap(),
        ..Context::default()
    };
    let mut out = Messages::default();
    envelope.encode(&change, &context, &mut out).unwrap();
    let samples = [Some(sample), tombstone].into_iter().flatten();
    for (ours, sample) in out.iter().zip(samples) {
        same_text(name, ours, sample);
    }
}

/// The other half of a key change: of its key alone.
fn moved(message: &Json, columns: Columns) -> Option<Row> {
    let headers = message["headers"].as_array().unwrap();
    let header = headers.iter().find(|pair| pair[0].as_str().unwrap().ends_with("key"))?;
    row(columns, &serde_json::from_str(header[1].as_str().unwrap()).unwrap())
}

#[track_caller]
fn same_text(name: &str, ours: Message<'_>, sample: &str) {
    let theirs = Object::parse(sample.as_bytes()).unwrap();
    for (part, bytes) in [("key", ours.key), ("value", ours.value)] {
        let theirs = theirs.get(part).unwrap();
        let Some(bytes) = bytes else {
            assert_eq!(theirs, "null", "{part} of {name}");
            continue;
        };
        let (ours, theirs) = (Object::parse(bytes).unwrap(), Object::parse(theirs.as_bytes()).unwrap());
        assert_eq!(ours.get("payload"), theirs.get("payload"), "{part} of {name}");
        let schema = theirs.get("schema").unwrap();
        if !schema.contains("(cut: as in") {
            assert_eq!(ours.get("schema").unwrap(), schema, "schema of the {part} of {name}");
        }
    }
    let expected: Vec<(String, String)> = serde_json::from_str(theirs.get("headers").unwrap()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let debezium = ours.headers().filter(|(name, _)| name.starts_with("__debezium"));
    let found: Vec<(String, String)> = debezium.map(|(name, value)| (name.to_owned(), text(value))).collect();
    assert_eq!(found, expected, "headers of {name}");
}

#[test]
fn borders_are_the_same_text() {
    for (name, sample) in BORDERS {
        let message: Json = serde_json::from_str(sample).unwrap();
        let value = &message["value"]["payload"];
        let tables = [("public.orders".to_owned(), 1)];
        let border = TransactionBorder {
            id: value["id"].as_str().unwrap(),
            committed_at_ms: value["ts_ms"].as_i64().unwrap(),
            end: (value["status"] == "END").then_some(&tables[..]),
        };
        let envelope = EventEnvelope::new(EventKind::Transactions, &settings(), &info());
        assert_eq!(envelope.topic(), message["topic"].as_str().unwrap());
        let mut out = Messages::default();
        envelope.encode_border(&border, SchemaIds::default(), &mut out).unwrap();
        same_text(name, out.iter().next().unwrap(), sample);
    }
}
