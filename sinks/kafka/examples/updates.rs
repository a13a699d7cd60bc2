//! Updates of the bench table (12 columns, both images), pushed through the sink into a real broker: rows a second and CPU.
//!
//! `cargo run --release -p walbrook-sink-kafka --example updates -- ROWS`, with `WALBROOK_TEST_KAFKA` and, for Avro,
//! `WALBROOK_TEST_REGISTRY`; `exactly_once` and `json` as further arguments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use walbrook_config::{
    Compat, Compression, KafkaClient, KafkaSink as Config, MessageFormat, Messages, NewTopics, Oversize, Pipeline,
    Registry, SubjectStrategy,
};
use walbrook_envelope::SourceInfo;
use walbrook_model::{
    Batch, Cell, Change, Checkpoint, Column, ColumnType, Decimal, DecodeCell, Error, Lineage, Op, Origin, Result, Row,
    RowBuilder, Seq, Sink as _, TableId, TableSchema, Transaction, Value,
};
use walbrook_sink_kafka::{Instance, KafkaSink};

/// Rows of a batch, which is one transaction of the source.
const BATCH: u64 = 1000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rows: u64 = arguments.first().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let variable = |name: &str| std::env::var(name).map_err(|_| Error::config("not set").on(name.to_owned()));
    let name = format!("updates-{}", now().as_micros());
    let registry = if has("json") { None } else { Some(variable("WALBROOK_TEST_REGISTRY")?) };
    let config = config(&name, variable("WALBROOK_TEST_KAFKA")?, registry, has("exactly_once"));
    let pipeline = Pipeline {
        name: name.clone(),
        buffer_bytes: 64_000_000,
        parked_bytes: 64_000_000,
        grace_period: Duration::from_secs(10),
    };
    let info = SourceInfo {
        version: "0.1.0".to_owned(),
        connector: "postgresql".to_owned(),
        database: "shop".to_owned(),
        task: "0".to_owned(),
        run: name.clone(),
    };
    let mut sink = KafkaSink::new(config, pipeline, info, Instance::new(name));
    let opening = Instant::now();
    sink.last_checkpoint().await?;
    println!("opened in {:.2} s", opening.elapsed().as_secs_f64());
    let schema = Arc::new(schema());
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    for batch in 0..rows.div_ceil(BATCH) {
        sink.write(updates(&schema, batch)?).await?;
    }
    sink.flush().await?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let status = sink.status();
    let millis = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!(
        "{rows} rows in {seconds:.2} s: {:.0} rows/s, {cpu:.2} s of CPU; {} checkpoints, the last: delivery {:.1} ms, \
         commit {:.1} ms",
        f64::from(u32::try_from(rows).unwrap_or(u32::MAX)) / seconds,
        status.checkpoints(),
        millis(status.delivery()),
        millis(status.commit()),
    );
    Ok(())
}

fn config(name: &str, broker: String, registry: Option<String>, exactly_once: bool) -> Config {
    Config {
        client: KafkaClient { brokers: vec![broker], tls: None, sasl: None, librdkafka: BTreeMap::new() },
        subject_strategy: SubjectStrategy::Topic,
        topic_prefix: name.to_owned(),
        topic_name: "{prefix}.{schema}.{table}".to_owned(),
        messages: Messages {
            compat: Compat::Native,
            format: if registry.is_some() { MessageFormat::Avro } else { MessageFormat::Json },
            tombstones: true,
            transactions: false,
            decimal: None,
            time: None,
            binary: None,
            interval: None,
            hstore: None,
            unknown_types: None,
            schema_names: None,
            field_names: None,
            unavailable_placeholder: None,
        },
        registry: registry.map(|url| Registry {
            url,
            username: None,
            password: None,
            ca_file: None,
            timeout: Duration::from_secs(10),
        }),
        topics: NewTopics { partitions: 4, replication_factor: 1, retention: Duration::from_hours(1) },
        checkpoint_topic: "walbrook.checkpoints".to_owned(),
        exactly_once,
        compression: Compression::Lz4,
        linger: Duration::from_millis(5),
        heartbeat_interval: Duration::ZERO,
        buffer_bytes: 64_000_000,
        message_bytes_max: 1_000_000,
        oversize: Oversize::Stop,
    }
}

/// The updates of one transaction.
fn updates(schema: &Arc<TableSchema>, number: u64) -> Result<Batch> {
    let transaction = Arc::new(Transaction { id: i64::try_from(number).ok(), ..Transaction::default() });
    let mut builder = RowBuilder::with_capacity(24 * 1000, 600 * 1000);
    let mut changes = Vec::with_capacity(1000);
    for ordinal in 1..=BATCH {
        let id = (number * BATCH + ordinal).to_string();
        let token = Seq::new(0, 1, 0x16B_3748 + number, 2 * ordinal);
        changes.push(Change {
            op: Op::Update,
            schema: schema.clone(),
            before: Some(row(&mut builder, &id, "new", "5531.18", "2026-02-01 00:11:40+00")),
            after: Some(row(&mut builder, &id, "paid", "5532.18", "2026-03-05 10:20:30.123456+00")),
            seq: token.map_err(|error| Error::bug("no token").because(error))?,
            committed_at_us: 1_795_255_526_956_526,
            origin: Origin { position: Some(number), transaction: Some(transaction.clone()), ..Origin::default() },
            moved: None,
        });
    }
    Ok(Batch {
        changes,
        checkpoint: Some(Checkpoint::new(number.to_string())),
        lineage: Some(Lineage::new("7412345678901234567/shop")),
        ..Batch::heartbeat()
    })
}

fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// CPU time of this process so far, in its own code and in the kernel, to a hundredth of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn row(builder: &mut RowBuilder, id: &str, status: &str, amount: &str, updated_at: &str) -> Row {
    let cells = [
        id,
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
