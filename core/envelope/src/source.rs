//! The `source` block: where a change comes from.

use walbrook_model::Origin;

use crate::connect::{Field, Kind, Literal, Schema, name};
use crate::encode::avro::AvroOut;
use crate::encode::emit::{Emit, Prepared};
use crate::encode::json::JsonOut;

/// What is the same for every change of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInfo {
    /// `source.version`: the version of what writes the message.
    pub version: String,
    /// `source.connector`: `postgresql`.
    pub connector: String,
    /// `source.db`: the database.
    pub database: String,
    /// `__debezium.context.taskId`.
    pub task: String,
    /// `__debezium.context.runId`: a UUID of this run.
    pub run: String,
}

/// The place of a change in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionBlock<'a> {
    /// The transaction's number and the change's place in the log, with a colon between.
    pub id: &'a str,
    /// The change's number in the transaction, from 1.
    pub total_order: i64,
    /// The change's number among those of its table, from 1.
    pub table_order: i64,
}

/// The block's schema.
pub(crate) fn schema() -> Schema {
    let text = || Schema::new(Kind::Text);
    let long = || Schema::new(Kind::Int64).optional();
    let snapshot = Schema {
        default: Some(Literal::Text("false".to_owned())),
        ..Schema::named(Kind::Text, name::ENUM)
            .optional()
            .parameter("allowed", "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental")
    };
    Schema::record(
        "io.debezium.connector.postgresql.Source",
        Some(1),
        vec![
            Field::new("version", text()),
            Field::new("connector", text()),
            Field::new("name", text()),
            Field::new("ts_ms", Schema::new(Kind::Int64)),
            Field::new("snapshot", snapshot),
            Field::new("db", text()),
            Field::new("sequence", text().optional()),
            Field::new("ts_us", long()),
            Field::new("ts_ns", long()),
            Field::new("schema", text()),
            Field::new("table", text()),
            Field::new("txId", long()),
            Field::new("lsn", long()),
            Field::new("xmin", long()),
            Field::new("origin", text().optional()),
            Field::new("origin_lsn", long()),
        ],
    )
}

/// The schema of the `transaction` block.
pub(crate) fn transaction_schema() -> Schema {
    let fields = vec![
        Field::new("id", Schema::new(Kind::Text)),
        Field::new("total_order", Schema::new(Kind::Int64)),
        Field::new("data_collection_order", Schema::new(Kind::Int64)),
    ];
    Schema::record("event.block", Some(1), fields).optional()
}

/// What does not change within a table, written in advance.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// version, connector, name
    head: Prepared,
    db: Prepared,
    /// schema, table
    table: Prepared,
}

impl Names {
    pub(crate) fn new(info: &SourceInfo, name: &str, schema: &str, table: &str) -> Self {
        let pairs = |first: usize, pairs: &[(&str, &str)]| {
            let mut prepared = Prepared::default();
            write_pairs(first, pairs, &mut AvroOut(&mut prepared.avro));
            write_pairs(first, pairs, &mut JsonOut::new(&mut prepared.json));
            prepared
        };
        let (version, connector) = (info.version.as_str(), info.connector.as_str());
        Self {
            head: pairs(0, &[("\"version\"", version), ("\"connector\"", connector), ("\"name\"", name)]),
            db: pairs(5, &[("\"db\"", &info.database)]),
            table: pairs(9, &[("\"schema\"", schema), ("\"table\"", table)]),
        }
    }
}

fn write_pairs<E: Emit>(first: usize, pairs: &[(&str, &str)], out: &mut E) {
    for (index, (name, text)) in pairs.iter().enumerate() {
        out.field(first + index, name);
        out.text(text);
    }
}

/// Writes the block. `at_us` is the commit's time.
pub(crate) fn write<E: Emit>(names: &Names, at_us: i64, origin: &Origin, out: &mut E) {
    let transaction = origin.transaction.as_deref();
    let replayed_from = transaction.and_then(|transaction| transaction.replayed_from.as_ref());
    out.record();
    out.prepared(&names.head);
    out.field(3, "\"ts_ms\"");
    out.int(at_us.div_euclid(1000));
    out.field(4, "\"snapshot\"");
    out.some(0);
    out.text(origin.snapshot.as_str());
    out.prepared(&names.db);
    out.field(6, "\"sequence\"");
    sequence(origin, out);
    out.field(7, "\"ts_us\"");
    long(Some(at_us), out);
    out.field(8, "\"ts_ns\"");
    long(Some(at_us.saturating_mul(1000)), out);
    out.prepared(&names.table);
    out.field(11, "\"txId\"");
    long(transaction.and_then(|transaction| transaction.id), out);
    out.field(12, "\"lsn\"");
    long(origin.position.map(u64::cast_signed), out);
    out.field(13, "\"xmin\"");
    long(transaction.and_then(|transaction| transaction.oldest_kept), out);
    out.field(14, "\"origin\"");
    match replayed_from {
        Some((name, _)) => {
            out.some(1);
            out.text(name);
        }
        None => out.null(0),
    }
    out.field(15, "\"origin_lsn\"");
    long(replayed_from.and_then(|(_, position)| *position).map(u64::cast_signed), out);
    out.record_end();
}

/// Writes the `transaction` block.
pub(crate) fn write_transaction<E: Emit>(block: Option<&TransactionBlock<'_>>, out: &mut E) {
    let Some(block) = block else { return out.null(0) };
    out.some(1);
    out.record();
    out.field(0, "\"id\"");
    out.text(block.id);
    out.field(1, "\"total_order\"");
    out.int(block.total_order);
    out.field(2, "\"data_collection_order\"");
    out.int(block.table_order);
    out.record_end();
}

/// Writes an optional number.
pub(crate) fn long<E: Emit>(value: Option<i64>, out: &mut E) {
    match value {
        Some(value) => {
            out.some(1);
            out.int(value);
        }
        None => out.null(0),
    }
}

/// `["<last commit>","<this record>"]`, the first null after a start.
fn sequence<E: Emit>(origin: &Origin, out: &mut E) {
    let Some(lsn) = origin.position else { return out.null(0) };
    let mut text = [0; 64];
    let mut len = 0;
    let mut push = |bytes: &[u8]| {
        if let Some(place) = text.get_mut(len..len + bytes.len()) {
            place.copy_from_slice(bytes);
            len += bytes.len();
        }
    };
    let mut digits = itoa::Buffer::new();
    match origin.transaction.as_ref().and_then(|transaction| transaction.previous_commit) {
        Some(commit) => {
            push(b"[\"");
            push(digits.format(commit).as_bytes());
            push(b"\",\"");
        }
        None => push(b"[null,\""),
    }
    push(digits.format(lsn).as_bytes());
    push(b"\"]");
    out.some(1);
    out.text(std::str::from_utf8(text.get(..len).unwrap_or_default()).unwrap_or_default());
}
