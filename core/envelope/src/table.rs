//! The envelope of one version of a table: schemas and encoder, compiled.
//!
//! ```text
//! key    {key columns}
//! value  {before, after, source, transaction, op, ts_ms, ts_us, ts_ns}, or null: a tombstone, a control message
//! ```
//!
//! - A row goes from the bytes of the log to the bytes of the message; nothing is built between.
//! - What Debezium has no place for travels in headers ([`crate::headers`]), on tombstones too.

use std::ops::Range;
use std::sync::Arc;

use walbrook_model::{Change, Error, Lineage, Op, Result, Row, TableSchema};

use crate::connect::{Field, Kind, Schema};
use crate::encode::avro::AvroOut;
use crate::encode::emit::Emit;
use crate::encode::json::JsonOut;
use crate::encode::row::{self, ColumnPlan, Image};
use crate::messages::Messages;
use crate::settings::{Compat, Format, NameAdjustment, Settings};
use crate::source::{self, Names, SourceInfo, TransactionBlock};
use crate::sql_type::SqlType;
use crate::text::{Alphabet, base64};
use crate::wire::write_wire_header;
use crate::{columns, defaults, headers, names, schemas};

/// Schemas and encoder of one version of a table.
#[derive(Debug)]
pub struct TableEnvelope {
    settings: Arc<Settings>,
    info: Arc<SourceInfo>,
    schema: Arc<TableSchema>,
    topic: String,
    names: Names,
    columns: Vec<ColumnPlan>,
    key: Vec<ColumnPlan>,
    left_out: Vec<String>,
    key_text: Option<schemas::Texts>,
    value_text: schemas::Texts,
    shape: Vec<u8>,
    /// The value of [`headers::TABLE`].
    table: Vec<u8>,
    initial: Vec<u8>,
}

/// What a registry calls the two schemas; only Avro needs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchemaIds {
    /// Of the key's schema.
    pub key: u32,
    /// Of the value's schema.
    pub value: u32,
}

/// What the change alone does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The ids of the schemas.
    pub ids: SchemaIds,
    /// The log that the change comes from.
    pub lineage: Option<&'a Lineage>,
    /// Its place in its transaction, if `transactions` is on and it comes from one.
    pub transaction: Option<TransactionBlock<'a>>,
    /// The clock now, nanoseconds since 1970 UTC: `ts_ms`, `ts_us` and `ts_ns`.
    pub processed_at_ns: i64,
    /// How many partitions get the message: the end of a slice only.
    pub partitions: u32,
}

impl TableEnvelope {
    /// Compiles a version of a table.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if names do not go with the format.
    pub fn new(settings: &Arc<Settings>, info: &Arc<SourceInfo>, schema: &Arc<TableSchema>) -> Result<Self> {
        let compiled = Compiled::new(settings, schema)?;
        let topic = names::table_topic(settings, &schema.table);
        let record = |part: &str| names::record(settings.schema_names, &format!("{topic}.{part}"));
        let key_fields: Vec<Field> = compiled.key.iter().map(|(_, field)| field.clone()).collect();
        let key_schema = Schema::record(record("Key"), None, key_fields);
        let row_schema = Schema::record(record("Value"), None, compiled.fields);
        let key_text = (!compiled.key.is_empty()).then(|| schemas::Texts::new(&key_schema));
        let key_names: Vec<&str> = compiled.key.iter().map(|(_, field)| field.name.as_str()).collect();
        let shape = schemas::shape_header(&schema.table, &key_names, &row_schema);
        let value_schema = envelope_schema(record("Envelope"), row_schema);
        let mut envelope = Self {
            settings: settings.clone(),
            info: info.clone(),
            schema: schema.clone(),
            topic,
            names: Names::new(info, &settings.topic_prefix, &schema.table.schema, &schema.table.name),
            columns: compiled.columns,
            key: compiled.key.into_iter().map(|(plan, _)| plan).collect(),
            left_out: compiled.left_out,
            key_text,
            value_text: schemas::Texts::new(&value_schema),
            shape,
            table: headers::table(&schema.table),
            initial: Vec::new(),
        };
        envelope.initial = envelope.initial_header()?;
        if settings.format == Format::Avro {
            schemas::check_avro_names(&value_schema).map_err(|error| error.on(format!("table {}", schema.table)))?;
        }
        Ok(envelope)
    }

    /// The topic of the table.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The version that this envelope is of.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The Avro schema of keys; `None`: keys are null.
    pub fn key_schema(&self) -> Option<&str> {
        self.key_text.as_ref().map(|texts| texts.avro.as_str())
    }

    /// The Avro schema of values.
    pub fn value_schema(&self) -> &str {
        &self.value_text.avro
    }

    /// The full names of the key's and the value's record, for subjects that are named after them.
    pub fn record_names(&self) -> (Option<&str>, &str) {
        (self.key_text.as_ref().map(|texts| texts.name.as_str()), &self.value_text.name)
    }

    /// The JSON schema of keys, as messages with schemas carry it; `None`: keys are null.
    pub fn key_json_schema(&self) -> Option<&str> {
        self.key_text.as_ref().map(|texts| texts.json.as_str())
    }

    /// The JSON schema of values, as messages with schemas carry it.
    pub fn value_json_schema(&self) -> &str {
        &self.value_text.json
    }

    /// Columns whose type has no form: they are in no message.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Appends the messages of a change, in the order in which they must be produced: one, and a tombstone after a delete.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if a value has no form in the message; nothing is appended then.
    pub fn encode(&self, change: &Change, context: &Context<'_>, out: &mut Messages) -> Result<()> {
        let mark = out.mark();
        let encoded = self.push(change, context, out);
        encoded.map_err(|error| {
            out.rewind(&mark);
            error.on(format!("table {}", self.schema.table))
        })
    }

    fn push(&self, change: &Change, context: &Context<'_>, out: &mut Messages) -> Result<()> {
        if change.op == Op::SnapshotEnd {
            self.push_snapshot_end(change, context, out);
            return Ok(());
        }
        let headers_from = out.headers_len();
        self.push_headers(change, context, out)?;
        let key = match change.key_row() {
            Some(row) => self.push_key(row, context.ids.key, out)?,
            None => None,
        };
        let (value, written) = out.part(|buffer| self.write_value(change, context, buffer));
        written?;
        let headers = out.headers_from(headers_from);
        out.finish(headers_from, key.clone(), Some(value));
        if change.op == Op::Delete && self.settings.tombstones {
            let tombstone_from = out.headers_len();
            for (name, range) in headers {
                out.repeat(name, range);
            }
            self.push_shape(Format::JsonWithSchemas, out);
            self.push_table(out);
            push_number(out, headers::COMMITTED_AT, change.committed_at_us);
            out.finish(tombstone_from, key, None);
        }
        Ok(())
    }

    /// The end of a slice: nobody but a merge needs it, so it has no value.
    fn push_snapshot_end(&self, change: &Change, context: &Context<'_>, out: &mut Messages) {
        let headers_from = out.headers_len();
        self.push_own_headers(change, context, out);
        self.push_table(out);
        out.header(headers::CONTROL, |buffer| buffer.extend_from_slice(headers::SNAPSHOT_END.as_bytes()));
        push_number(out, headers::PARTITIONS, i64::from(context.partitions));
        push_number(out, headers::COMMITTED_AT, change.committed_at_us);
        out.finish(headers_from, None, None);
    }

    fn push_headers(&self, change: &Change, context: &Context<'_>, out: &mut Messages) -> Result<()> {
        if let Some(moved) = &change.moved {
            let name = if change.op == Op::Delete { headers::NEW_KEY } else { headers::OLD_KEY };
            let write = |buffer: &mut Vec<u8>| {
                row::write(&self.key, &self.schema, moved, Image::After, &mut JsonOut::for_header(buffer))
            };
            let mut written = Ok(());
            out.header(name, |buffer| written = write(buffer));
            written?;
        }
        if self.settings.context_headers {
            let pairs = [
                (headers::CONTEXT_NAME, &self.settings.topic_prefix),
                (headers::CONTEXT_TASK, &self.info.task),
                (headers::CONTEXT_CONNECTOR, &self.info.connector),
                (headers::CONTEXT_RUN, &self.info.run),
            ];
            for (name, value) in pairs {
                out.header(name, |buffer| buffer.extend_from_slice(value.as_bytes()));
            }
        }
        self.push_own_headers(change, context, out);
        Ok(())
    }

    fn push_own_headers(&self, change: &Change, context: &Context<'_>, out: &mut Messages) {
        out.header(headers::SEQ, |buffer| headers::write_seq(change.seq, buffer));
        if let Some(lineage) = context.lineage {
            out.header(headers::LINEAGE, |buffer| buffer.extend_from_slice(lineage.as_str().as_bytes()));
        }
        if let Some(after) = change.after.as_ref().filter(|row| row.has_unchanged()) {
            out.header(headers::UNCHANGED, |buffer| self.write_unchanged(after, buffer));
        }
        if let Some(before) = change.before.as_ref().filter(|row| row.has_unchanged()) {
            out.header(headers::UNCHANGED_BEFORE, |buffer| {
                let keyed = self.key.iter().all(|plan| plan.carried(before));
                let carried = self.columns.iter().filter(|plan| plan.carried(before)).count();
                if keyed && carried == self.key.len() && !self.key.is_empty() {
                    buffer.push(b'*');
                } else {
                    self.write_unchanged(before, buffer);
                }
            });
        }
        self.push_shape(Format::Json, out);
        if change.key_row().is_none() {
            // A message without a key does not bring the key's schema along.
            self.push_shape(Format::JsonWithSchemas, out);
        }
        if !self.initial.is_empty() {
            out.header(headers::INITIAL, |buffer| buffer.extend_from_slice(&self.initial));
        }
    }

    /// The table's shape, if messages are of this format.
    fn push_shape(&self, format: Format, out: &mut Messages) {
        if self.settings.format == format && self.settings.shape_header {
            out.header(headers::SHAPE, |buffer| buffer.extend_from_slice(&self.shape));
        }
    }

    /// The table, where neither a value nor the shape says it.
    fn push_table(&self, out: &mut Messages) {
        if self.settings.format == Format::Avro {
            out.header(headers::TABLE, |buffer| buffer.extend_from_slice(&self.table));
        }
    }

    fn write_unchanged(&self, row: &Row, out: &mut Vec<u8>) {
        out.push(b'[');
        let mut first = true;
        for plan in self.columns.iter().filter(|plan| !plan.carried(row)) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(plan.json_name().as_bytes());
        }
        out.push(b']');
    }

    /// `{"column":"<base64>"}` of what rows hold that were there before their column; empty if there is no such column.
    fn initial_header(&self) -> Result<Vec<u8>> {
        let mut header = Vec::new();
        for plan in &self.columns {
            let mut value = Vec::new();
            let written = match self.settings.format {
                Format::Avro => plan.write_initial(&self.schema, &mut AvroOut(&mut value)),
                _ => plan.write_initial(&self.schema, &mut JsonOut::new(&mut value)),
            };
            if written? {
                header.push(if header.is_empty() { b'{' } else { b',' });
                header.extend_from_slice(plan.json_name().as_bytes());
                header.extend_from_slice(b":\"");
                base64(&mut header, &value, Alphabet::Standard);
                header.push(b'"');
            }
        }
        if !header.is_empty() {
            header.push(b'}');
        }
        Ok(header)
    }

    fn push_key(&self, row: &Row, id: u32, out: &mut Messages) -> Result<Option<Range<usize>>> {
        let Some(texts) = &self.key_text else { return Ok(None) };
        let (range, written) = out.part(|buffer| match self.settings.format {
            Format::Avro => {
                write_wire_header(id, buffer);
                row::write(&self.key, &self.schema, row, Image::After, &mut AvroOut(buffer))
            }
            format => framed(format, texts, buffer, |buffer| {
                row::write(&self.key, &self.schema, row, Image::After, &mut JsonOut::new(buffer))
            }),
        });
        written?;
        Ok(Some(range))
    }

    fn write_value(&self, change: &Change, context: &Context<'_>, buffer: &mut Vec<u8>) -> Result<()> {
        match self.settings.format {
            Format::Avro => {
                write_wire_header(context.ids.value, buffer);
                self.write_envelope(change, context, &mut AvroOut(buffer))
            }
            format => framed(format, &self.value_text, buffer, |buffer| {
                self.write_envelope(change, context, &mut JsonOut::new(buffer))
            }),
        }
    }

    fn write_envelope<E: Emit>(&self, change: &Change, context: &Context<'_>, out: &mut E) -> Result<()> {
        let letter = change.op.letter().ok_or_else(|| Error::bug("a change without a form was encoded"))?;
        out.record();
        out.field(0, "\"before\"");
        self.write_image(change.before.as_ref(), Image::Before, out)?;
        out.field(1, "\"after\"");
        self.write_image(change.after.as_ref(), Image::After, out)?;
        out.field(2, "\"source\"");
        source::write(&self.names, change.committed_at_us, &change.origin, out);
        out.field(3, "\"transaction\"");
        source::write_transaction(context.transaction.as_ref(), out);
        out.field(4, "\"op\"");
        out.text(letter.encode_utf8(&mut [0; 4]));
        let now = context.processed_at_ns;
        out.field(5, "\"ts_ms\"");
        source::long(Some(now.div_euclid(1_000_000)), out);
        out.field(6, "\"ts_us\"");
        source::long(Some(now.div_euclid(1000)), out);
        out.field(7, "\"ts_ns\"");
        source::long(Some(now), out);
        out.record_end();
        Ok(())
    }

    fn write_image<E: Emit>(&self, row: Option<&Row>, image: Image, out: &mut E) -> Result<()> {
        let Some(row) = row else {
            out.null(0);
            return Ok(());
        };
        out.some(1);
        row::write(&self.columns, &self.schema, row, image, out)
    }
}

/// What [`TableEnvelope::new`] gathers from the columns.
struct Compiled {
    fields: Vec<Field>,
    columns: Vec<ColumnPlan>,
    key: Vec<(ColumnPlan, Field)>,
    left_out: Vec<String>,
}

impl Compiled {
    fn new(settings: &Settings, schema: &TableSchema) -> Result<Self> {
        let mut compiled = Self { fields: Vec::new(), columns: Vec::new(), key: Vec::new(), left_out: Vec::new() };
        let mut keyed = Vec::new();
        for (index, column) in schema.columns.iter().enumerate() {
            let facts = &column.facts;
            let is_key = schema.key.contains(&index);
            let Some(shape) = columns::shape(column, settings) else {
                if is_key {
                    return Err(Error::config(format!("key column {} has a type without a form", column.name))
                        .on(format!("table {}", schema.table))
                        .remedy("choose another mode of unknown types"));
                }
                compiled.left_out.push(column.name.clone());
                continue;
            };
            let debezium = settings.compat == Compat::Debezium;
            let default = facts.default.as_deref().filter(|_| debezium && !is_key).and_then(|expression| {
                let sql = SqlType::parse(facts.base_type.as_deref().unwrap_or(&column.source_type));
                defaults::literal(expression, &column.ty, &sql, facts.labels.is_some(), &shape)
            });
            let optional = match facts.not_null {
                Some(not_null) if debezium => !not_null && !is_key,
                _ => column.nullable && !is_key,
            };
            let (schema, conversion) = shape;
            let field = Field::new(
                names::field(settings.field_names, &column.name),
                Schema { optional, default, ..schema.clone() },
            );
            if compiled.fields.iter().any(|other: &Field| other.name == field.name) {
                return Err(same_name(settings, &field.name));
            }
            let placeholder = settings.unavailable_placeholder.as_deref();
            compiled.columns.push(ColumnPlan::new(index, &field, conversion.clone(), placeholder));
            if is_key {
                keyed.push((index, ColumnPlan::new(index, &field, conversion, None), field.clone()));
            }
            compiled.fields.push(field);
        }
        for index in &schema.key {
            let found = keyed.iter().find(|(column, ..)| column == index);
            let (_, plan, field) = found.ok_or_else(|| Error::bug("a key names a column that is not there"))?;
            compiled.key.push((plan.clone(), field.clone()));
        }
        Ok(compiled)
    }
}

fn same_name(settings: &Settings, name: &str) -> Error {
    let error = Error::config(format!("two columns become the field {name}"));
    match settings.field_names {
        NameAdjustment::Avro => error.remedy("choose the adjustment avro_unicode, which keeps names apart"),
        _ => error,
    }
}

/// The schema of values.
fn envelope_schema(name: String, row: Schema) -> Schema {
    let row = row.optional();
    let long = || Schema::new(Kind::Int64).optional();
    let fields = vec![
        Field::new("before", row.clone()),
        Field::new("after", row),
        Field::new("source", source::schema()),
        Field::new("transaction", source::transaction_schema()),
        Field::new("op", Schema::new(Kind::Text)),
        Field::new("ts_ms", long()),
        Field::new("ts_us", long()),
        Field::new("ts_ns", long()),
    ];
    Schema::record(name, Some(2), fields)
}

/// The payload, or `{"schema":..,"payload":..}`.
pub(crate) fn framed(
    format: Format,
    texts: &schemas::Texts,
    out: &mut Vec<u8>,
    payload: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    if format != Format::JsonWithSchemas {
        return payload(out);
    }
    out.extend_from_slice(b"{\"schema\":");
    out.extend_from_slice(texts.json.as_bytes());
    out.extend_from_slice(b",\"payload\":");
    payload(out)?;
    out.push(b'}');
    Ok(())
}

fn push_number(out: &mut Messages, name: &'static str, number: i64) {
    out.header(name, |buffer| buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()));
}
