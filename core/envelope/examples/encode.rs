//! Nanoseconds to encode one update of the bench table (12 columns, both images), key and value, as Avro; to read it back;
//! and to see whether a table can store its cells, as is done where letters are put aside.
//!
//! `cargo run --release -p walbrook-envelope --example encode`

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use walbrook_envelope::{
    Context, Format, Incoming, Messages, SchemaIds, Settings, SourceInfo, TableEnvelope, TableReader, split_wire_header,
};
use walbrook_model::{
    Cell, Change, Column, ColumnType, Decimal, DecodeCell, Error, Lineage, Op, Origin, Result, Row, RowBuilder, Seq,
    TableId, TableSchema, Transaction, Value,
};

const ROWS: u32 = 1_000_000;

fn main() -> Result<()> {
    let schema = Arc::new(schema());
    let transaction = Transaction { id: Some(10_784), previous_commit: Some(1_488_119_300), ..Transaction::default() };
    let change = Change {
        op: Op::Update,
        schema: schema.clone(),
        before: Some(row("new", "5531.18", "2026-02-01 00:11:40+00")),
        after: Some(row("paid", "5532.18", "2026-03-05 10:20:30.123456+00")),
        seq: Seq::new(0, 1, 0x16B_3748, 7).map_err(|error| Error::bug("no token").because(error))?,
        committed_at_us: 1_795_255_526_956_526,
        origin: Origin { position: Some(1_488_119_400), transaction: Some(Arc::new(transaction)), ..Origin::default() },
        moved: None,
    };
    let lineage = Lineage::new("7412345678901234567/shop");
    let context = Context {
        ids: SchemaIds { key: 1, value: 2 },
        lineage: Some(&lineage),
        processed_at_ns: 1_795_255_527_476_784_146,
        ..Context::default()
    };
    for (name, settings) in
        [("native", Settings::native("shop", Format::Avro)), ("debezium", Settings::debezium("shop", Format::Avro))]
    {
        measure(name, settings, &schema, &change, &context)?;
    }
    let settings = Settings { shape_header: false, ..Settings::native("shop", Format::Json) };
    measure("native json", settings, &schema, &change, &context)?;
    Ok(())
}

fn measure(
    name: &str,
    settings: Settings,
    schema: &Arc<TableSchema>,
    change: &Change,
    context: &Context<'_>,
) -> Result<()> {
    let info = SourceInfo {
        version: "0.1.0".to_owned(),
        connector: "postgresql".to_owned(),
        database: "shop".to_owned(),
        task: "0".to_owned(),
        run: "01a1fd91-5373-7e21-b9a5-c6d7b42ec860".to_owned(),
    };
    let is_avro = settings.format == Format::Avro;
    let envelope = TableEnvelope::new(&Arc::new(settings), &Arc::new(info), schema)?;
    let mut messages = Messages::default();
    let mut encode = || {
        messages.clear();
        envelope.encode(change, context, &mut messages)
    };
    let encoded = best(&mut encode)?;
    let bytes = messages.bytes();
    println!("{name}: {encoded:.0} ns a row to encode, {bytes} bytes of key, value and headers");
    if is_avro { read_back(name, &envelope, &messages) } else { Ok(()) }
}

fn read_back(name: &str, envelope: &TableEnvelope, messages: &Messages) -> Result<()> {
    let message = messages.iter().next().ok_or_else(|| Error::bug("no message"))?;
    let body = |bytes: Option<&[u8]>| -> Result<Option<Bytes>> {
        bytes.map(|bytes| Ok(split_wire_header(&Bytes::copy_from_slice(bytes))?.1)).transpose()
    };
    let (key, value) = (body(message.key)?, body(message.value)?);
    let headers: Vec<(&str, &[u8])> = message.headers().collect();
    let incoming = Incoming { key, value, headers: &headers };
    let mut reader = TableReader::avro(envelope.key_schema(), envelope.value_schema(), None)?;
    let read = best(&mut || reader.read(&incoming).map(drop))?;
    reader.check_cells(true);
    let checked = best(&mut || reader.read(&incoming).map(drop))?;
    println!("{name}: {read:.0} ns a row to read, {checked:.0} ns with its cells checked");
    Ok(())
}

/// Nanoseconds of one call, in the best of three runs.
fn best(call: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        for _ in 0..ROWS {
            call()?;
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best * 1e9 / f64::from(ROWS))
}

fn row(status: &str, amount: &str, updated_at: &str) -> Row {
    let cells = [
        "553118",
        "53118",
        status,
        "eu-38",
        amount,
        "0cc175b9c0f1b6a831c399e26977266192eb5ffee6ae2fec3ad71c777531",
        "{web,tag18}",
        "2026-01-07 09:38:38+00",
        updated_at,
        "t",
        "553.118",
        r#"{"note": "0cc175b9c0f1b6a831c399e2697726", "items": 4, "channel": "app"}"#,
    ];
    let mut builder = RowBuilder::with_capacity(cells.len(), 300);
    for cell in cells {
        builder.push(Cell::Data(cell.as_bytes()));
    }
    builder.finish()
}

fn schema() -> TableSchema {
    let column = |name: &str, ty: ColumnType, source_type: &str| Column {
        name: name.to_owned(),
        ty,
        nullable: name != "id",
        source_type: source_type.to_owned(),
        initial_default: None,
        facts: Arc::default(),
        decoder: decode as DecodeCell,
    };
    let text = |name, source_type| column(name, ColumnType::Text, source_type);
    let instant = |name| column(name, ColumnType::TimestampTz, "timestamp with time zone");
    let columns = vec![
        column("id", ColumnType::Int64, "bigint"),
        column("customer", ColumnType::Int64, "bigint"),
        text("status", "character varying(12)"),
        text("region", "character varying(8)"),
        column("amount", ColumnType::Decimal { precision: 12, scale: 2 }, "numeric(12,2)"),
        text("note", "text"),
        column("tags", ColumnType::List(Box::new(ColumnType::Text)), "text[]"),
        instant("created_at"),
        instant("updated_at"),
        column("paid", ColumnType::Bool, "boolean"),
        column("weight", ColumnType::Float64, "double precision"),
        column("details", ColumnType::Json, "jsonb"),
    ];
    TableSchema { table: TableId::new("public", "orders"), columns, key: vec![0] }
}

/// What a source does for these types, about as fast: text -> value.
fn decode<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let text = || std::str::from_utf8(bytes).map_err(|_| Error::data("not UTF-8"));
    Ok(match ty {
        ColumnType::Bool => Value::Bool(bytes == b"t"),
        ColumnType::Int64 => Value::Int(number(bytes)),
        ColumnType::Float64 => Value::Float64(text()?.parse().map_err(|_| Error::data("not a number"))?),
        ColumnType::Decimal { scale, .. } => {
            Value::Decimal(Decimal { unscaled: i128::from(number(bytes)), scale: *scale })
        }
        ColumnType::TimestampTz => Value::TimestampTz(timestamp(bytes)),
        ColumnType::List(_) => {
            let inner = text()?.trim_start_matches('{').trim_end_matches('}');
            Value::List(inner.split(',').map(|item| Value::Text(item.into())).collect())
        }
        _ => Value::Text(text()?.into()),
    })
}

/// The digits, whatever stands between them.
fn number(bytes: &[u8]) -> i64 {
    bytes.iter().filter(|byte| byte.is_ascii_digit()).fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'))
}

fn timestamp(bytes: &[u8]) -> i64 {
    let part = |from: usize, to: usize| number(bytes.get(from..to).unwrap_or_default());
    let (year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    let march = if month > 2 { month - 3 } else { month + 9 };
    let year = if month > 2 { year } else { year - 1 };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * march + 2) / 5 + day - 719_469;
    let seconds = part(11, 13) * 3600 + part(14, 16) * 60 + part(17, 19);
    let micros = if bytes.get(19) == Some(&b'.') { part(20, 26) } else { 0 };
    (days * 86_400 + seconds) * 1_000_000 + micros
}
