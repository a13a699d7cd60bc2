//! Properties: an envelope that is read back is the change that was written, for every type and format; `apache-avro` reads
//! what we write and writes the same; no bytes make a reader panic.

use std::fmt::Write as _;
use std::sync::Arc;

use apache_avro::types::Value as Avro;
use bytes::Bytes;
use proptest::prelude::*;
use walbrook_model::{
    Cell, Change, ColumnType, Decimal, Lineage, Op, Row, RowBuilder, Seq, TableId, TableSchema, Value,
};

use super::postgres;
use crate::*;

const FORMATS: [Format; 3] = [Format::Avro, Format::Json, Format::JsonWithSchemas];

/// A type, and three values of it, any of which may be null or, by the mask, unchanged.
type ColumnCase = (ColumnType, [Option<Value<'static>>; 2]);

fn scalar() -> impl Strategy<Value = ColumnType> {
    prop_oneof![
        Just(ColumnType::Bool),
        Just(ColumnType::Int16),
        Just(ColumnType::Int32),
        Just(ColumnType::Int64),
        Just(ColumnType::Float32),
        Just(ColumnType::Float64),
        (1_u8..=38)
            .prop_flat_map(|precision| (0..=precision).prop_map(move |scale| ColumnType::Decimal { precision, scale })),
        Just(ColumnType::Text),
        Just(ColumnType::Json),
        Just(ColumnType::Bytes),
        Just(ColumnType::Uuid),
        Just(ColumnType::Date),
        Just(ColumnType::Time),
        Just(ColumnType::Timestamp),
        Just(ColumnType::TimestampTz),
    ]
}

fn column_type() -> impl Strategy<Value = ColumnType> {
    prop_oneof![4 => scalar(), 1 => scalar().prop_map(|ty| ColumnType::List(Box::new(ty)))]
}

fn value(ty: &ColumnType) -> BoxedStrategy<Value<'static>> {
    let micros =
        || prop_oneof![Just(i64::MAX), Just(-i64::MAX), any::<i64>().prop_filter("a number", |n| *n > -i64::MAX)];
    match ty {
        ColumnType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        ColumnType::Int16 => any::<i16>().prop_map(|n| Value::Int(n.into())).boxed(),
        ColumnType::Int32 => any::<i32>().prop_map(|n| Value::Int(n.into())).boxed(),
        ColumnType::Int64 => any::<i64>().prop_map(Value::Int).boxed(),
        ColumnType::Float32 => prop_oneof![any::<f32>(), Just(f32::NAN), Just(-0.0), Just(f32::INFINITY)]
            .prop_map(|n| Value::Float32(if n.is_nan() { f32::NAN } else { n }))
            .boxed(),
        ColumnType::Float64 => prop_oneof![any::<f64>(), Just(f64::NAN), Just(-0.0), Just(f64::NEG_INFINITY)]
            .prop_map(|n| Value::Float64(if n.is_nan() { f64::NAN } else { n }))
            .boxed(),
        ColumnType::Decimal { precision, scale } => {
            let (limit, scale) = (10_i128.pow(u32::from(*precision)), *scale);
            (1 - limit..limit).prop_map(move |unscaled| Value::Decimal(Decimal { unscaled, scale })).boxed()
        }
        ColumnType::Text | ColumnType::Json => ".{0,12}".prop_map(|text| Value::Text(text.into())).boxed(),
        ColumnType::Bytes => {
            proptest::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| Value::Bytes(bytes.into())).boxed()
        }
        ColumnType::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        ColumnType::Date => {
            prop_oneof![Just(i32::MAX), Just(-i32::MAX), -2_440_588..2_145_042_905_i32].prop_map(Value::Date).boxed()
        }
        ColumnType::Time => (0..=86_400_000_000_i64).prop_map(Value::Time).boxed(),
        ColumnType::Timestamp => micros().prop_map(Value::Timestamp).boxed(),
        ColumnType::TimestampTz => micros().prop_map(Value::TimestampTz).boxed(),
        ColumnType::List(element) => {
            let element = prop_oneof![1 => Just(Value::Null), 5 => value(element)];
            proptest::collection::vec(element, 0..4).prop_map(Value::List).boxed()
        }
    }
}

fn column_case() -> impl Strategy<Value = ColumnCase> {
    column_type().prop_flat_map(|ty| {
        let cell = || proptest::option::weighted(0.8, value(&ty));
        let pair = (cell(), cell()).prop_map(|(before, after)| [before, after]);
        (Just(ty.clone()), pair)
    })
}

/// A value as the server prints it, near enough for the decoder of the tests.
fn print(value: &Value<'_>) -> String {
    match value {
        Value::Bool(value) => if *value { "t" } else { "f" }.to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float32(number) => format!("{number:?}"),
        Value::Float64(number) => format!("{number:?}"),
        Value::Decimal(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Bytes(bytes) => {
            let mut out = b"\\x".to_vec();
            crate::text::hex(&mut out, bytes);
            String::from_utf8(out).unwrap()
        }
        Value::Uuid(uuid) => {
            let mut out = Vec::new();
            crate::text::hex(&mut out, uuid);
            String::from_utf8(out).unwrap()
        }
        Value::Date(i32::MAX) | Value::Timestamp(i64::MAX) | Value::TimestampTz(i64::MAX) => "infinity".to_owned(),
        Value::Date(days) if *days == -i32::MAX => "-infinity".to_owned(),
        Value::Timestamp(micros) | Value::TimestampTz(micros) if *micros == -i64::MAX => "-infinity".to_owned(),
        Value::Date(days) => crate::calendar::date(i64::from(*days)).as_str().to_owned(),
        Value::Time(86_400_000_000) => "24:00:00".to_owned(),
        Value::Time(micros) => crate::calendar::time(*micros).as_str().to_owned(),
        Value::Timestamp(micros) | Value::TimestampTz(micros) => {
            crate::calendar::timestamp(*micros, crate::calendar::Fraction::Needed).as_str().to_owned()
        }
        Value::List(values) => {
            let element = |value: &Value<'_>| match value {
                Value::Null => "NULL".to_owned(),
                value => format!("\"{}\"", print(value).replace('\\', "\\\\").replace('"', "\\\"")),
            };
            format!("{{{}}}", values.iter().map(element).collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Unchanged => panic!("no text"),
    }
}

/// The server's name of the type.
fn source_type(ty: &ColumnType) -> String {
    let name = match ty {
        ColumnType::Bool => "boolean",
        ColumnType::Int16 => "smallint",
        ColumnType::Int32 => "integer",
        ColumnType::Int64 => "bigint",
        ColumnType::Float32 => "real",
        ColumnType::Float64 => "double precision",
        ColumnType::Decimal { precision, scale } => return format!("numeric({precision},{scale})"),
        ColumnType::Text => "text",
        ColumnType::Json => "jsonb",
        ColumnType::Bytes => "bytea",
        ColumnType::Uuid => "uuid",
        ColumnType::Date => "date",
        ColumnType::Time => "time without time zone",
        ColumnType::Timestamp => "timestamp without time zone",
        ColumnType::TimestampTz => "timestamp with time zone",
        ColumnType::List(element) => return format!("{}[]", source_type(element)),
    };
    name.to_owned()
}

/// A table with a key of a text and a number, which no case may lack.
fn schema(cases: &[ColumnCase]) -> Arc<TableSchema> {
    let mut columns = vec![postgres::column("k1", "text", "text"), postgres::column("k2", "integer", "integer")];
    for (index, (ty, _)) in cases.iter().enumerate() {
        let source_type = source_type(ty);
        let mut column = postgres::column(&format!("c{index}"), &source_type, &source_type);
        column.ty = ty.clone();
        columns.push(column);
    }
    for key in [0, 1] {
        columns[key].nullable = false;
    }
    Arc::new(TableSchema { table: TableId::new("public", "t"), columns, key: vec![1, 0] })
}

fn row(key: i32, cases: &[ColumnCase], image: usize, unchanged: u32) -> Row {
    let mut builder = RowBuilder::default();
    builder.push(Cell::Data(b"k\"y"));
    builder.push(Cell::Data(key.to_string().as_bytes()));
    for (index, (_, values)) in cases.iter().enumerate() {
        match &values[image] {
            _ if unchanged >> (index % 32) & 1 == 1 => builder.push_unchanged(),
            Some(value) => builder.push(Cell::Data(print(value).as_bytes())),
            None => builder.push_null(),
        }
    }
    builder.finish()
}

fn envelope(settings: Settings, schema: &Arc<TableSchema>) -> TableEnvelope {
    let info = SourceInfo {
        version: "0.1.0".to_owned(),
        connector: "postgresql".to_owned(),
        database: "shop".to_owned(),
        task: "0".to_owned(),
        run: "run".to_owned(),
    };
    TableEnvelope::new(&Arc::new(settings), &Arc::new(info), schema).unwrap()
}

/// The messages of a change, read back.
fn read_back(envelope: &TableEnvelope, format: Format, messages: &Messages) -> Vec<Decoded> {
    let mut reader = reader(envelope, format);
    let read = |message: Message<'_>| {
        let own = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
        let headers: Vec<(&str, &[u8])> = message.headers().collect();
        let (mut key, mut value) = (own(message.key), own(message.value));
        if format == Format::Avro {
            let strip = |bytes: &mut Bytes, id: u32| {
                let (found, rest) = split_wire_header(bytes).unwrap();
                assert_eq!(found, id);
                *bytes = rest;
            };
            if let Some(key) = &mut key {
                strip(key, 11);
            }
            if let Some(value) = &mut value {
                strip(value, 12);
            }
        }
        reader.read(&Incoming { key, value, headers: &headers }).unwrap_or_else(|error| panic!("{error}"))
    };
    messages.iter().map(read).collect()
}

fn reader(envelope: &TableEnvelope, format: Format) -> TableReader {
    match format {
        Format::Avro => TableReader::avro(envelope.key_schema(), envelope.value_schema(), None).unwrap(),
        _ => TableReader::json(None),
    }
}

#[test]
fn a_message_without_a_value_tells_its_table() {
    let schema = schema(&[]);
    let before = Some(row(1, &[], 0, 0));
    let delete = Change { before, ..Change::new(Op::Delete, schema.clone(), Seq::ZERO, 7) };
    let end = Change::new(Op::SnapshotEnd, schema.clone(), Seq::ZERO, 7);
    let lineage = Lineage::new("log");
    for format in FORMATS {
        for settings in [Settings::native("shop", format), Settings::debezium("shop", format)] {
            // The name of the topic says nothing of it.
            let envelope = envelope(Settings { topic_name: "{table}".to_owned(), ..settings }, &schema);
            let mut messages = Messages::default();
            envelope.encode(&delete, &context(&lineage), &mut messages).unwrap();
            envelope.encode(&end, &context(&lineage), &mut messages).unwrap();
            for message in messages.iter().filter(|message| message.value.is_none()) {
                let mut reader = reader(&envelope, format);
                let skip = if format == Format::Avro { 5 } else { 0 };
                let key = message.key.map(|key| Bytes::copy_from_slice(&key[skip..]));
                let headers: Vec<(&str, &[u8])> = message.headers().collect();
                let read = reader.read(&Incoming { key, value: None, headers: &headers }).unwrap();
                let (Decoded::Tombstone(change, _) | Decoded::SnapshotEnd(change, ..)) = &read else {
                    panic!("{read:?}")
                };
                assert_eq!(change.schema.table, schema.table, "{format:?}");
                assert_eq!(reader.table(), Some(&schema.table));
            }
        }
    }
}

fn context(lineage: &Lineage) -> Context<'_> {
    Context {
        ids: SchemaIds { key: 11, value: 12 },
        lineage: Some(lineage),
        processed_at_ns: 1_795_255_527_476_784_146,
        partitions: 4,
        ..Context::default()
    }
}

/// Values, cell by cell; NaN is itself.
fn cells(row: Option<&Row>, schema: &TableSchema) -> Vec<String> {
    let Some(row) = row else { return vec!["no row".to_owned()] };
    assert_eq!(row.len(), schema.columns.len());
    (0..row.len()).map(|index| format!("{:?}", row.value(schema, index).unwrap())).collect()
}

fn same(ours: &Change, read: &Change) {
    assert_eq!((read.op, read.seq, read.committed_at_us), (ours.op, ours.seq, ours.committed_at_us));
    assert_eq!(read.schema.table, ours.schema.table);
    assert_eq!(read.schema.key, ours.schema.key);
    for (read, ours) in read.schema.columns.iter().zip(&ours.schema.columns) {
        assert_eq!((&read.name, &read.ty, read.nullable), (&ours.name, &ours.ty, ours.nullable));
    }
    assert_eq!(cells(read.before.as_ref(), &read.schema), cells(ours.before.as_ref(), &ours.schema));
    assert_eq!(cells(read.after.as_ref(), &read.schema), cells(ours.after.as_ref(), &ours.schema));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_change_reads_back_as_it_was(
        cases in proptest::collection::vec(column_case(), 0..7),
        op in prop_oneof![Just(Op::Insert), Just(Op::Update), Just(Op::Delete), Just(Op::Read)],
        key in any::<i32>(),
        masks in any::<[u32; 2]>(),
        with_before in any::<bool>(),
        seq in any::<u64>(),
        at in -10_i64.pow(15)..10_i64.pow(16),
    ) {
        let schema = schema(&cases);
        let has_before = op == Op::Delete || (op == Op::Update && with_before);
        let change = Change {
            before: has_before.then(|| row(key, &cases, 0, masks[0])),
            after: (op != Op::Delete).then(|| row(key, &cases, 1, masks[1] & masks[0])),
            ..Change::new(op, schema.clone(), Seq::from_u128(u128::from(seq) << 60).unwrap(), at)
        };
        let lineage = Lineage::new("log");
        let all = FORMATS.into_iter().flat_map(|format| {
            [Settings::native("shop", format), Settings::debezium("shop", format)].map(|settings| (format, settings))
        });
        for (format, settings) in all {
            let compat = settings.compat;
            let envelope = envelope(settings, &schema);
            let mut messages = Messages::default();
            envelope.encode(&change, &context(&lineage), &mut messages).unwrap();
            let read = read_back(&envelope, format, &messages);
            let Decoded::Change(found, Some(log)) = &read[0] else { panic!("{read:?}") };
            same(&change, found);
            assert_eq!(*log, lineage);
            assert_eq!(read.len(), if op == Op::Delete { 2 } else { 1 });
            if let Some(tombstone) = read.get(1) {
                let Decoded::Tombstone(found, Some(_)) = tombstone else { panic!("{tombstone:?}") };
                let key_only = RowBuilder::default();
                let mut wanted = (0..schema.columns.len()).fold(key_only, |mut row, index| {
                    let before = change.before.as_ref().unwrap();
                    row.push(if index < 2 { before.cell(index) } else { Cell::Unchanged });
                    row
                });
                let wanted = std::mem::take(&mut wanted).finish();
                same(&Change { before: Some(wanted), ..change.clone() }, found);
            }
            if format == Format::Avro && compat == Compat::Native {
                check_with_apache(&envelope, &messages, &change, &cases);
            }
        }
    }

    #[test]
    fn the_compiled_encoder_agrees_with_apache_avro_in_the_shapes_of_debezium(
        cases in proptest::collection::vec(column_case(), 0..7),
        key in any::<i32>(),
    ) {
        let schema = schema(&cases);
        let change = Change {
            before: Some(row(key, &cases, 0, 0)),
            after: Some(row(key, &cases, 1, 0)),
            ..Change::new(Op::Update, schema.clone(), Seq::ZERO, 7)
        };
        let lineage = Lineage::new("log");
        let times = [TimeMode::Adaptive, TimeMode::IsoString, TimeMode::Microseconds];
        for time in times {
            let envelope = envelope(Settings { time, ..Settings::debezium("shop", Format::Avro) }, &schema);
            let mut messages = Messages::default();
            // Some values have no form: instants beyond what Debezium prints are fine, decimals are too.
            envelope.encode(&change, &context(&lineage), &mut messages).unwrap();
            for message in messages.iter() {
                let parsed = apache_avro::Schema::parse_str(envelope.value_schema()).unwrap();
                reencode(&parsed, message.value.unwrap().get(5..).unwrap());
            }
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        cases in proptest::collection::vec(column_case(), 1..6),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        edit_header in any::<bool>(),
    ) {
        let schema = schema(&cases);
        let before = Some(row(1, &cases, 0, 0));
        let delete = Change { before: before.clone(), ..Change::new(Op::Delete, schema.clone(), Seq::ZERO, 7) };
        let read = Change { after: before, ..Change::new(Op::Read, schema.clone(), Seq::ZERO, 7) };
        let lineage = Lineage::new("log");
        let shapes = FORMATS.map(|format| [Settings::native("shop", format), Settings::debezium("shop", format)]);
        for (settings, change) in shapes.into_iter().flatten().flat_map(|each| [(each.clone(), &delete), (each, &read)]) {
            let format = settings.format;
            let envelope = envelope(settings, &schema);
            let mut messages = Messages::default();
            envelope.encode(change, &context(&lineage), &mut messages).unwrap();
            let (mut reader, mut checking) = (self::reader(&envelope, format), self::reader(&envelope, format));
            checking.check_cells(true);
            for message in messages.iter() {
                let skip = if format == Format::Avro { 5 } else { 0 };
                let edited = |bytes: &[u8], skip: usize| {
                    let mut bytes = bytes[skip..].to_vec();
                    for (place, byte) in &edits {
                        if !bytes.is_empty() {
                            let at = place.index(bytes.len());
                            bytes[at] = *byte;
                        }
                    }
                    bytes
                };
                let headers: Vec<(&str, Vec<u8>)> = message
                    .headers()
                    .map(|(name, value)| (name, if edit_header { edited(value, 0) } else { value.to_vec() }))
                    .collect();
                let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, &value[..])).collect();
                let key = message.key.map(|key| edited(key, skip));
                let value = message.value.map(|value| edited(value, skip));
                let shorter = value.as_ref().map(|value| value[..cut.index(value.len() + 1)].to_vec());
                for value in [value, shorter, Some(noise.clone()), None] {
                    for key in [key.clone(), Some(noise.clone()), None] {
                        let (key, value) = (key.map(Bytes::from), value.clone().map(Bytes::from));
                        let incoming = Incoming { key, value, headers: &headers };
                        let (read, checked) = (reader.read(&incoming), checking.read(&incoming));
                        assert_eq!(checked.is_ok(), read.is_ok_and(|decoded| touch(&decoded)));
                    }
                }
            }
        }
    }

    #[test]
    fn no_schema_makes_a_reader_panic(text in "[\\[\\]{}\":,a-z0-9 ]{0,60}", edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<char>()), 1..4)) {
        let _ = TableReader::avro(None, &text, None);
        let envelope = envelope(Settings::native("shop", Format::Avro), &schema(&[]));
        let mut chars: Vec<char> = envelope.value_schema().chars().collect();
        for (place, c) in edits {
            let at = place.index(chars.len());
            chars[at] = c;
        }
        let edited: String = chars.into_iter().collect();
        let _ = TableReader::avro(Some(&edited), envelope.value_schema(), None);
        let _ = TableReader::avro(None, &edited, None);
    }
}

/// Looks at every cell. Whether all that a table of the newest rows takes of a message are values of its columns.
fn touch(decoded: &Decoded) -> bool {
    let Some(change) = decoded.change() else { return true };
    let holds = |row: &Row, index: usize| match row.value(&change.schema, index) {
        Ok(value) => value == Value::Unchanged || change.schema.columns[index].ty.holds(&value),
        Err(_) => false,
    };
    let all = |row: &Option<Row>| -> Vec<bool> {
        row.as_ref().map(|row| (0..row.len()).map(|index| holds(row, index)).collect()).unwrap_or_default()
    };
    let (before, after) = (all(&change.before), all(&change.after));
    match change.op {
        Op::Delete => change.schema.key.iter().all(|index| before[*index]),
        _ => after.into_iter().all(|holds| holds),
    }
}

#[test]
fn schemas_that_would_grow_without_end_are_refused() {
    let mut fields = String::new();
    for level in 1..30 {
        let last = level - 1;
        let _ = write!(
            fields,
            r#",{{"name":"f{level}","type":{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":"R{last}"}},{{"name":"b","type":"R{last}"}}]}}}}"#
        );
    }
    let bomb = format!(
        r#"{{"type":"record","name":"E","fields":[{{"name":"f0","type":{{"type":"record","name":"R0","fields":[]}}}}{fields}]}}"#
    );
    assert!(TableReader::avro(None, &bomb, None).is_err());
    let deep = "[".repeat(10_000);
    assert!(TableReader::avro(None, &deep, None).is_err());
    let nested = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(100), "}".repeat(100));
    assert!(TableReader::avro(None, &nested, None).is_err());
    let empty = r#"{"type":"array","items":{"type":"record","name":"N","fields":[]}}"#;
    let empty = format!(r#"{{"type":"record","name":"E","fields":[{{"name":"after","type":{empty}}}]}}"#);
    assert!(TableReader::avro(None, &empty, None).is_err());
    let inside_itself = r#"{"type":"record","name":"E","fields":[{"name":"after","type":["null","E"]}]}"#;
    assert!(TableReader::avro(None, inside_itself, None).is_err());
}

#[test]
fn truncates_and_ends_of_slices_read_back() {
    let schema = schema(&[]);
    let lineage = Lineage::new("log");
    for format in FORMATS {
        let envelope = envelope(Settings::native("shop", format), &schema);
        for op in [Op::Truncate, Op::SnapshotEnd] {
            let seq = Seq::new(1, 2, 3, 4).unwrap();
            let change = Change::new(op, schema.clone(), seq, 1_234_567);
            let mut messages = Messages::default();
            envelope.encode(&change, &context(&lineage), &mut messages).unwrap();
            assert!(messages.iter().all(|message| message.key.is_none()));
            match (op, read_back(&envelope, format, &messages).as_slice()) {
                (Op::Truncate, [Decoded::Change(found, Some(_))])
                | (Op::SnapshotEnd, [Decoded::SnapshotEnd(found, Some(_), 4)]) => same(&change, found),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn what_rows_held_before_their_column_was_added_travels_too() {
    let mut table = (*schema(&[])).clone();
    let mut added = postgres::column("added", "numeric(6,2)", "numeric(6,2)");
    added.initial_default = Some(Arc::from(&b"12.50"[..]));
    table.columns.push(added);
    let table = Arc::new(table);
    let after = Some(postgres::row(&[Some("a".to_owned()), Some("1".to_owned()), None]));
    let change = Change { after, ..Change::new(Op::Insert, table.clone(), Seq::ZERO, 7) };
    let lineage = Lineage::new("log");
    for format in FORMATS {
        for settings in [Settings::native("shop", format), Settings::debezium("shop", format)] {
            let settings = Settings { shape_header: true, ..settings };
            let envelope = envelope(settings, &table);
            let mut messages = Messages::default();
            envelope.encode(&change, &context(&lineage), &mut messages).unwrap();
            let read = read_back(&envelope, format, &messages);
            let Decoded::Change(found, _) = &read[0] else { panic!("{read:?}") };
            let column = &found.schema.columns[2];
            let value = column.decode(column.initial_default.as_deref().unwrap()).unwrap();
            assert_eq!(value, Value::Decimal(Decimal { unscaled: 1250, scale: 2 }));
            assert_eq!(found.schema.columns[1].initial_default, None);
        }
    }
}

#[test]
fn an_error_leaves_no_half_message() {
    let table = schema(&[(ColumnType::Int32, [None, None])]);
    let bad = postgres::row(&[Some("a".to_owned()), Some("1".to_owned()), Some("x".to_owned())]);
    let change = Change { after: Some(bad), ..Change::new(Op::Insert, table.clone(), Seq::ZERO, 7) };
    let lineage = Lineage::new("log");
    let envelope = envelope(Settings::native("shop", Format::Avro), &table);
    let mut messages = Messages::default();
    let error = envelope.encode(&change, &context(&lineage), &mut messages).unwrap_err();
    assert!(error.object().unwrap().contains("public.t"), "{error}");
    assert_eq!((messages.len(), messages.bytes()), (0, 0));
}

/// `apache-avro` reads the bytes whole, and writes them back the same.
fn reencode(schema: &apache_avro::Schema, bytes: &[u8]) -> Avro {
    let mut rest = bytes;
    let value = apache_avro::from_avro_datum(schema, &mut rest, None).unwrap();
    assert!(rest.is_empty());
    assert_eq!(apache_avro::to_avro_datum(schema, value.clone()).unwrap(), bytes);
    value
}

fn check_with_apache(envelope: &TableEnvelope, messages: &Messages, change: &Change, cases: &[ColumnCase]) {
    let schema = apache_avro::Schema::parse_str(envelope.value_schema()).unwrap();
    let message = messages.iter().next().unwrap();
    let Avro::Record(fields) = reencode(&schema, &message.value.unwrap()[5..]) else { panic!("no record") };
    for (field, row, image) in [(&fields[0], &change.before, 0), (&fields[1], &change.after, 1)] {
        let Avro::Union(_, inner) = &field.1 else { panic!("no union") };
        let Some(row) = row else {
            assert_eq!(**inner, Avro::Null);
            continue;
        };
        let Avro::Record(columns) = &**inner else { panic!("no record") };
        for (index, (_, values)) in cases.iter().enumerate() {
            let Avro::Union(_, cell) = &columns[index + 2].1 else { panic!("no union") };
            match (row.cell(index + 2), &values[image]) {
                (Cell::Data(_), Some(value)) => assert!(means(cell, value), "{cell:?} {value:?}"),
                _ => assert_eq!(**cell, Avro::Null),
            }
        }
    }
    let key = apache_avro::Schema::parse_str(envelope.key_schema().unwrap()).unwrap();
    reencode(&key, &message.key.unwrap()[5..]);
}

/// Whether a value of `apache-avro` is this one.
fn means(avro: &Avro, value: &Value<'_>) -> bool {
    match (avro, value) {
        (Avro::Boolean(a), Value::Bool(b)) => a == b,
        (Avro::Int(a), Value::Int(b)) => i64::from(*a) == *b,
        (Avro::Float(a), Value::Float32(b)) => a.to_bits() == b.to_bits(),
        (Avro::Double(a), Value::Float64(b)) => a.to_bits() == b.to_bits(),
        (Avro::String(a), Value::Text(b)) => a == b,
        (Avro::Bytes(a), Value::Bytes(b)) => **a == **b,
        (Avro::Uuid(a), Value::Uuid(b)) => a.as_bytes() == b,
        (Avro::Date(a), Value::Date(b)) => a == b,
        (Avro::Long(a), Value::Int(b))
        | (Avro::TimeMicros(a), Value::Time(b))
        | (Avro::LocalTimestampMicros(a), Value::Timestamp(b))
        | (Avro::TimestampMicros(a), Value::TimestampTz(b)) => a == b,
        (Avro::Decimal(a), Value::Decimal(b)) => {
            let bytes: Vec<u8> = a.try_into().unwrap();
            crate::decimal::to_i128(&bytes) == Some(b.unscaled)
        }
        (Avro::Array(a), Value::List(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| match (a, b) {
                    (Avro::Union(_, inner), Value::Null) => **inner == Avro::Null,
                    (Avro::Union(_, inner), value) => means(inner, value),
                    _ => false,
                })
        }
        _ => false,
    }
}
