//! Messages of one table -> changes.

mod checks;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;
use walbrook_model::{
    Change, Column, ColumnType, Error, Lineage, Op, Result, Row, RowBuilder, Seq, TableId, TableSchema,
};

use super::avro::AvroIn;
use super::cells::{self, CheckCell, Notation};
use super::document::{self, Object};
use super::envelope::{self, Found};
use super::input::{Input as _, malformed};
use super::json::JsonIn;
use super::message::{Decoded, Incoming};
use super::node::{self, Kind, Node};
use super::rewrite::rewrite;
use super::shape::{self, Meaning};
use super::{order, passed_over, placeholder};
use crate::encode::avro::AvroOut;
use crate::encode::json::JsonOut;
use crate::headers;
use crate::text::unbase64;

/// Reads the messages of a table that have the same schemas. Rows point into their message.
#[derive(Debug)]
pub struct TableReader {
    notation: Notation,
    value: Option<Node>,
    key: Option<Node>,
    columns: Vec<ColumnReader>,
    key_columns: Vec<usize>,
    /// What `columns` were made of, where messages bring it along: a value's and a key's schema, or a header.
    brought: Brought,
    table: Option<TableId>,
    /// Whether a row was read since `brought` changed.
    seen_row: bool,
    checks_cells: bool,
    /// Its messages are no changes of rows.
    is_passed_over: bool,
    /// The schema, and the header with initial defaults that it was made with.
    schema: Option<(Vec<u8>, Arc<TableSchema>)>,
}

#[derive(Debug, PartialEq)]
enum Brought {
    Nothing,
    Schemas { value: Vec<u8>, key: Vec<u8> },
    Shape(Vec<u8>),
}

#[derive(Clone, Debug)]
struct ColumnReader {
    name: String,
    meaning: Meaning,
    source_type: String,
    placeholders: Vec<Vec<u8>>,
    /// `None`: every cell is one that its decoder can read.
    check: Option<CheckCell>,
}

impl TableReader {
    /// A reader of Avro. Without a key schema the table has no key: for a message with a null key, such as a truncate, give
    /// the newest key schema of the topic. `table`: of messages that do not name it.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if the schemas are not of an envelope.
    pub fn avro(key_schema: Option<&str>, value_schema: &str, table: Option<TableId>) -> Result<Self> {
        let value = node::from_avro(value_schema)?;
        let key = key_schema.map(node::from_avro).transpose()?;
        let mut reader = Self::new(Notation::Avro, table);
        if passed_over::by_schema(&value) {
            reader.is_passed_over = true;
            return Ok(reader);
        }
        reader.compile(row_node(&value)?, key_names(key.as_ref())?.as_deref())?;
        (reader.value, reader.key) = (Some(value), key);
        reader.check_key()?;
        Ok(reader)
    }

    /// A reader of JSON. Messages bring their schema along, or the header that says it. `table`: of messages that do not name it.
    pub fn json(table: Option<TableId>) -> Self {
        Self::new(Notation::Json, table)
    }

    fn new(notation: Notation, table: Option<TableId>) -> Self {
        Self {
            notation,
            value: None,
            key: None,
            columns: Vec::new(),
            key_columns: Vec::new(),
            brought: Brought::Nothing,
            table,
            seen_row: false,
            checks_cells: false,
            is_passed_over: false,
            schema: None,
        }
    }

    /// The table's schema, once a message or [`TableReader::avro`] told it.
    pub fn schema(&self) -> Option<&Arc<TableSchema>> {
        self.schema.as_ref().map(|(_, schema)| schema)
    }

    /// The table of the messages that were read, or the one that was given.
    pub fn table(&self) -> Option<&TableId> {
        self.schema().map(|schema| &schema.table).or(self.table.as_ref())
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Data`] if it is none of this table's envelope: it belongs to the dead letters.
    pub fn read(&mut self, message: &Incoming<'_>) -> Result<Decoded> {
        if self.is_passed_over {
            return Ok(Decoded::Nothing);
        }
        let seq = match message.header(headers::SEQ) {
            Some(bytes) => Some(headers::read_seq(bytes).ok_or_else(|| Error::data("a header is no order token"))?),
            None => None,
        };
        let lineage = message.header(headers::LINEAGE).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let lineage = lineage.map(Lineage::new);
        if let Some(shape) = message.header(headers::SHAPE).filter(|_| self.notation == Notation::Json) {
            self.take_shape(shape)?;
        }
        if let Some(table) = message.header(headers::TABLE) {
            self.table = Some(headers::read_table(table).ok_or_else(|| Error::data("a header is no table"))?);
        }
        match (&message.value, seq, message.header(headers::CONTROL)) {
            (None, Some(seq), Some(kind)) => self.read_control(message, kind, seq, lineage),
            (None, Some(seq), None) if message.key.is_some() => self.read_tombstone(message, seq, lineage),
            (None, ..) => Ok(Decoded::Nothing),
            (Some(value), seq, _) => match self.read_value(message, value, seq, lineage) {
                Err(_) if self.notation == Notation::Json && passed_over::by_json(value) => Ok(Decoded::Nothing),
                read => read,
            },
        }
    }

    fn read_control(
        &mut self,
        message: &Incoming<'_>,
        kind: &[u8],
        seq: Seq,
        lineage: Option<Lineage>,
    ) -> Result<Decoded> {
        let partitions = message.number(headers::PARTITIONS).filter(|count| *count > 0);
        match partitions {
            Some(partitions) if kind == headers::SNAPSHOT_END.as_bytes() => {
                let change = self.bare(message, Op::SnapshotEnd, seq)?;
                Ok(Decoded::SnapshotEnd(change, lineage, partitions))
            }
            _ => Err(Error::data("a control message is not understood")),
        }
    }

    fn read_tombstone(&mut self, message: &Incoming<'_>, seq: Seq, lineage: Option<Lineage>) -> Result<Decoded> {
        let Some(key) = &message.key else { return Ok(Decoded::Nothing) };
        let key = key.clone();
        let mut change = self.bare(message, Op::Delete, seq)?;
        change.before = Some(self.key_row(&key)?);
        self.check_change(&change)?;
        Ok(Decoded::Tombstone(change, lineage))
    }

    /// A change of which a message without a value tells.
    fn bare(&mut self, message: &Incoming<'_>, op: Op, seq: Seq) -> Result<Change> {
        let committed_at_us =
            message.number(headers::COMMITTED_AT).ok_or_else(|| Error::data("a header is missing"))?;
        let initial = message.header(headers::INITIAL);
        let schema = self.schema_of(self.table.clone(), initial)?;
        Ok(Change::new(op, schema, seq, committed_at_us))
    }

    fn read_value(
        &mut self,
        message: &Incoming<'_>,
        value: &Bytes,
        seq: Option<Seq>,
        lineage: Option<Lineage>,
    ) -> Result<Decoded> {
        let parts = match self.notation {
            Notation::Avro => {
                let schema = self.value.as_ref().ok_or_else(|| Error::bug("a reader without its schema"))?;
                envelope::avro(value, schema, &self.names())?
            }
            Notation::Json => {
                let payload = self.take_payload(message, value)?;
                envelope::json(value, payload, &self.names())?
            }
        };
        let op = match parts.op {
            Some('c') => Op::Insert,
            Some('u') => Op::Update,
            Some('d') => Op::Delete,
            Some('r') => Op::Read,
            Some('t') => Op::Truncate,
            _ => return Err(Error::data("a message is no change of a row")),
        };
        if op == Op::Truncate && self.key_is_unknown() {
            return Err(Error::data("a truncate comes before the first row, and does not say the table's key"));
        }
        let ours = seq.is_some();
        let seq = match seq {
            Some(seq) => seq,
            None => order::seq(&parts.source.place)?,
        };
        let committed_at_us = parts.source.committed_at_us().ok_or_else(malformed)?;
        let schema = self.schema_of(parts.source.table(), message.header(headers::INITIAL))?;
        let before = self.image(message, value, parts.before.as_deref(), ours, headers::UNCHANGED_BEFORE)?;
        let after = self.image(message, value, parts.after.as_deref(), ours, headers::UNCHANGED)?;
        let before = match (op, before, &message.key) {
            (Op::Delete, None, Some(key)) => Some(self.key_row(key)?),
            (_, before, _) => before,
        };
        self.check(op, before.as_ref(), after.as_ref())?;
        self.seen_row |= op != Op::Truncate;
        let change = Change { before, after, ..Change::new(op, schema, seq, committed_at_us) };
        self.check_change(&change)?;
        Ok(Decoded::Change(change, lineage))
    }

    fn check(&self, op: Op, before: Option<&Row>, after: Option<&Row>) -> Result<()> {
        let whole = match op {
            Op::Insert | Op::Update | Op::Read => after.is_some(),
            Op::Delete => before.is_some(),
            Op::Truncate | Op::SnapshotEnd => before.is_none() && after.is_none(),
        };
        let row = after.or(before);
        let keyed = row.is_none_or(|row| {
            self.key_columns.iter().all(|index| matches!(row.cell(*index), walbrook_model::Cell::Data(_)))
        });
        if whole && keyed { Ok(()) } else { Err(Error::data("a message lacks a row or a key")) }
    }

    /// The row of an image.
    fn image(
        &self,
        message: &Incoming<'_>,
        value: &Bytes,
        found: Option<&[Found]>,
        ours: bool,
        header: &str,
    ) -> Result<Option<Row>> {
        let Some(found) = found else { return Ok(None) };
        let mut found = found.to_vec();
        if ours {
            if let Some(list) = message.header(header) {
                self.leave_out(&mut found, list)?;
            }
        } else {
            self.leave_out_debezium(&mut found, value, header == headers::UNCHANGED_BEFORE);
        }
        self.row(value, &found).map(Some)
    }

    /// Takes out what a header lists.
    fn leave_out(&self, found: &mut [Found], list: &[u8]) -> Result<()> {
        let names: Option<Vec<String>> = if list == b"*" {
            None
        } else {
            Some(serde_json::from_slice(list).map_err(|_| Error::data("a header is no list of columns"))?)
        };
        for (index, (column, cell)) in self.columns.iter().zip(found).enumerate() {
            let out = match &names {
                Some(names) => names.contains(&column.name),
                None => !self.key_columns.contains(&index),
            };
            if out {
                *cell = Found::Missing;
            }
        }
        Ok(())
    }

    /// Takes out what Debezium has no value for. In `before` a null outside of the key may be one, or NULL.
    fn leave_out_debezium(&self, found: &mut [Found], value: &[u8], before: bool) {
        for (index, (column, cell)) in self.columns.iter().zip(found).enumerate() {
            let out = match cell {
                Found::At(range) => {
                    let bytes = value.get(range.clone()).unwrap_or_default();
                    column.placeholders.iter().any(|placeholder| placeholder == bytes)
                }
                Found::Null => before && !self.key_columns.contains(&index),
                Found::Missing => false,
            };
            if out {
                *cell = Found::Missing;
            }
        }
    }

    fn row(&self, message: &Bytes, found: &[Found]) -> Result<Row> {
        if self.columns.iter().any(|column| column.meaning.eager.is_some()) {
            return self.copied_row(message, found);
        }
        let mut row = RowBuilder::with_capacity(found.len(), 0);
        for cell in found {
            match cell {
                Found::Null => row.push_null(),
                Found::Missing => row.push_unchanged(),
                Found::At(range) => row.push_place(range.start, range.len()),
            }
        }
        Ok(row.finish_over(message.clone()))
    }

    /// A row with cells that are written anew.
    fn copied_row(&self, message: &[u8], found: &[Found]) -> Result<Row> {
        let mut row = RowBuilder::with_capacity(found.len(), message.len());
        for (column, cell) in self.columns.iter().zip(found) {
            match cell {
                Found::Null => row.push_null(),
                Found::Missing => row.push_unchanged(),
                Found::At(range) => {
                    let bytes = message.get(range.clone()).ok_or_else(malformed)?;
                    let cell = column.rewritten(self.notation, bytes)?;
                    row.push(walbrook_model::Cell::Data(&cell));
                }
            }
        }
        Ok(row.finish())
    }

    /// The row that a key is, with nothing else carried.
    fn key_row(&self, key: &Bytes) -> Result<Row> {
        let names = self.names();
        let found = match self.notation {
            Notation::Avro => {
                let schema = self.key.as_ref().ok_or_else(|| Error::data("a key without a schema"))?;
                let mut input = AvroIn(key);
                let found = envelope::avro_row(key, &mut input, schema, &names)?;
                input.end()?;
                found
            }
            Notation::Json => {
                let text = std::str::from_utf8(key).map_err(|_| malformed())?;
                let object = Object::parse(key)?;
                let payload = match (object.get("schema"), object.get("payload")) {
                    (Some(_), Some(payload)) if !names.contains(&"payload") => payload,
                    _ => text,
                };
                envelope::json_row(key, payload, &names)?
            }
        };
        let keyed = |index: &usize| matches!(found.get(*index), Some(Found::At(_)));
        if self.key_columns.is_empty() || !self.key_columns.iter().all(keyed) {
            return Err(Error::data("a message lacks its key"));
        }
        self.row(key, &found)
    }

    /// Whether the columns come from a message without a key: the table may have one all the same.
    fn key_is_unknown(&self) -> bool {
        matches!(&self.brought, Brought::Schemas { key, .. } if key == b"null") && !self.seen_row
    }

    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// Makes the columns from the schema of a row.
    fn compile(&mut self, row: &Node, key: Option<&[String]>) -> Result<()> {
        let mut columns = Vec::new();
        for (name, field) in row.fields().ok_or_else(|| Error::data("a row's schema is no record"))? {
            let refused = || Error::data(format!("column {name} has a schema that no column has"));
            let (_, value) = field.optional().ok_or_else(refused)?;
            let meaning = shape::meaning(value).ok_or_else(refused)?;
            columns.push(ColumnReader {
                name: name.clone(),
                placeholders: placeholder::cells(self.notation, &meaning),
                source_type: source_type(value),
                check: cells::check(self.notation, &meaning),
                meaning,
            });
        }
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let key_columns: Option<Vec<usize>> = key.unwrap_or_default().iter().map(place).collect();
        self.key_columns = key_columns.ok_or_else(|| Error::data("a key has a field that the row has not"))?;
        self.columns = columns;
        self.schema = None;
        self.seen_row = false;
        Ok(())
    }

    /// The key's cells must have the form of the row's.
    fn check_key(&self) -> Result<()> {
        let Some(key) = &self.key else { return Ok(()) };
        for (name, field) in key.fields().unwrap_or_default() {
            let meaning = field.optional().and_then(|(_, value)| shape::meaning(value));
            let column = self.columns.iter().find(|column| column.name == *name);
            if column.map(|column| &column.meaning) != meaning.as_ref() {
                return Err(Error::data(format!("column {name} has another type in the key")));
            }
        }
        Ok(())
    }

    fn schema_of(&mut self, table: Option<TableId>, initial: Option<&[u8]>) -> Result<Arc<TableSchema>> {
        let table = table.or_else(|| self.table.clone());
        let initial = initial.unwrap_or_default();
        if let Some((known, schema)) = &self.schema
            && known == initial
            && table.as_ref().is_none_or(|table| *table == schema.table)
        {
            return Ok(schema.clone());
        }
        let table = table
            .or_else(|| self.schema.as_ref().map(|(_, schema)| schema.table.clone()))
            .ok_or_else(|| Error::data("a message does not say its table"))?;
        if self.columns.is_empty() {
            return Err(Error::data("a message does not say the shape of its table"));
        }
        let defaults = if initial.is_empty() { None } else { Some(Object::parse(initial)?) };
        let mut columns = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter().enumerate() {
            let default = defaults.as_ref().and_then(|defaults| defaults.get(&column.name));
            columns.push(column.column(self.notation, !self.key_columns.contains(&index), default)?);
        }
        let schema = Arc::new(TableSchema { table: table.clone(), columns, key: self.key_columns.clone() });
        self.table = Some(table);
        self.schema = Some((initial.to_vec(), schema.clone()));
        Ok(schema)
    }

    /// Takes the shape of a header.
    fn take_shape(&mut self, header: &[u8]) -> Result<()> {
        if matches!(&self.brought, Brought::Shape(known) if known == header) {
            return Ok(());
        }
        let json: Json = serde_json::from_slice(header).map_err(|_| malformed())?;
        let text = |name: &str| json.get(name).and_then(Json::as_str).map(str::to_owned);
        let table = text("schema").zip(text("table")).map(|(schema, table)| TableId::new(schema, table));
        let key: Vec<String> = json
            .get("key")
            .and_then(Json::as_array)
            .map(|names| names.iter().filter_map(Json::as_str).map(str::to_owned).collect())
            .ok_or_else(malformed)?;
        let row = node::from_connect(json.get("row").ok_or_else(malformed)?)?;
        self.compile(without_null(&row), Some(&key))?;
        self.table = table.or_else(|| self.table.take());
        self.brought = Brought::Shape(header.to_vec());
        self.key = None;
        Ok(())
    }

    /// The payload of a value, and the schema beside it if there is one.
    fn take_payload<'v>(&mut self, message: &Incoming<'_>, value: &'v [u8]) -> Result<&'v str> {
        let whole = std::str::from_utf8(value).map_err(|_| malformed())?;
        let object = Object::parse(value)?;
        let (Some(schema), Some(payload)) = (object.get("schema"), object.get("payload")) else { return Ok(whole) };
        // The header says more: also what a key would say. A schema that is null says nothing.
        if schema == "null" || message.header(headers::SHAPE).is_some() {
            return Ok(payload);
        }
        let key = match &message.key {
            Some(key) => Some(Object::parse(key)?.get("schema").unwrap_or("null")),
            None => None,
        };
        if let Brought::Schemas { value, key: known } = &self.brought
            && value == schema.as_bytes()
            && key.is_none_or(|key| key.as_bytes() == known)
        {
            return Ok(payload);
        }
        let read = |text: &str| -> Result<Node> {
            node::from_connect(&serde_json::from_str::<Json>(text).map_err(|_| malformed())?)
        };
        let node = read(schema)?;
        let key_node = key.filter(|key| *key != "null").map(read).transpose()?;
        self.compile(row_node(&node)?, key_names(key_node.as_ref())?.as_deref())?;
        self.key = key_node;
        self.check_key()?;
        let key = key.unwrap_or("null").as_bytes().to_vec();
        self.brought = Brought::Schemas { value: schema.as_bytes().to_vec(), key };
        Ok(payload)
    }
}

impl ColumnReader {
    fn column(&self, notation: Notation, nullable: bool, default: Option<&str>) -> Result<Column> {
        let meaning = &self.meaning;
        let list = matches!(meaning.ty, ColumnType::List(_));
        let initial_default = match default {
            Some(text) => {
                let cell = unbase64(document::string(text)?.as_bytes()).ok_or_else(malformed)?;
                Some(Arc::from(&*self.rewritten(notation, &cell)?))
            }
            None => None,
        };
        Ok(Column {
            name: self.name.clone(),
            ty: meaning.ty.clone(),
            nullable,
            source_type: self.source_type.clone(),
            initial_default,
            facts: Arc::default(),
            decoder: cells::decoder(notation, meaning.form, list, meaning.nullable_elements),
        })
    }

    /// The cell, with what must be text now turned into text.
    fn rewritten<'c>(&self, notation: Notation, cell: &'c [u8]) -> Result<Cow<'c, [u8]>> {
        let Some(eager) = self.meaning.eager else { return Ok(Cow::Borrowed(cell)) };
        let list = matches!(self.meaning.ty, ColumnType::List(_));
        let nulls = self.meaning.nullable_elements;
        let mut out = Vec::new();
        match notation {
            Notation::Avro => rewrite(eager, list, nulls, AvroIn(cell), &mut AvroOut(&mut out))?,
            Notation::Json => {
                let text = std::str::from_utf8(cell).map_err(|_| malformed())?;
                rewrite(eager, list, nulls, JsonIn(Some(text)), &mut JsonOut::new(&mut out))?;
            }
        }
        Ok(Cow::Owned(out))
    }
}

/// The schema of a row inside that of an envelope.
fn row_node(value: &Node) -> Result<&Node> {
    let image = value.field("after").or_else(|| value.field("before"));
    image.map(without_null).ok_or_else(|| Error::data("a value's schema is not of an envelope"))
}

fn without_null(node: &Node) -> &Node {
    node.optional().map_or(node, |(_, value)| value)
}

fn key_names(key: Option<&Node>) -> Result<Option<Vec<String>>> {
    let Some(key) = key else { return Ok(None) };
    let fields = without_null(key).fields().ok_or_else(|| Error::data("a key's schema is no record"))?;
    Ok(Some(fields.iter().map(|(name, _)| name.clone()).collect()))
}

/// The name of the type, for messages.
fn source_type(node: &Node) -> String {
    let kind = match &node.kind {
        Kind::List(items) => return format!("{}[]", source_type(without_null(items))),
        Kind::Boolean => "boolean",
        Kind::Int16 => "int16",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Float32 => "float",
        Kind::Float64 => "double",
        Kind::Bytes => "bytes",
        Kind::Text => "string",
        Kind::Map(_) => "map",
        _ => "record",
    };
    node.name.clone().unwrap_or_else(|| kind.to_owned())
}
