//! The parts of a value: where they lie in the message, found without decoding a cell.

use std::ops::Range;

use walbrook_model::{Result, TableId};

use super::avro::AvroIn;
use super::document::Object;
use super::input::{Input, malformed};
use super::json::JsonIn;
use super::node::{Kind, Node};
use super::order::Place;

/// Where a cell lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Null,
    /// In these bytes of the message.
    At(Range<usize>),
    /// Nowhere.
    Missing,
}

/// A value, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) op: Option<char>,
    pub(crate) before: Option<Vec<Found>>,
    pub(crate) after: Option<Vec<Found>>,
    pub(crate) source: Source,
}

/// What a `source` block says.
#[derive(Debug, Default)]
pub(crate) struct Source {
    schema: Option<String>,
    table: Option<String>,
    ts_us: Option<i64>,
    ts_ms: Option<i64>,
    pub(crate) place: Place,
}

impl Source {
    pub(crate) fn table(&self) -> Option<TableId> {
        Some(TableId::new(self.schema.as_deref()?, self.table.as_deref()?))
    }

    pub(crate) fn committed_at_us(&self) -> Option<i64> {
        self.ts_us.or_else(|| self.ts_ms?.checked_mul(1000))
    }

    fn text(&mut self, name: &str, text: String) {
        match name {
            "schema" => self.schema = Some(text),
            "table" => self.table = Some(text),
            "sequence" => self.place.sequence = Some(text),
            "snapshot" => self.place.snapshot = Some(text),
            _ => {}
        }
    }

    fn number(&mut self, name: &str, number: i64) {
        match name {
            "ts_us" => self.ts_us = Some(number),
            "ts_ms" => self.ts_ms = Some(number),
            "lsn" => self.place.lsn = Some(number),
            _ => {}
        }
    }
}

/// Takes a value in Avro apart.
pub(crate) fn avro(message: &[u8], schema: &Node, columns: &[&str]) -> Result<Parts> {
    let mut parts = Parts::default();
    let mut input = AvroIn(message);
    for (name, field) in schema.fields().ok_or_else(malformed)? {
        let Some(value) = present(&mut input, field)? else { continue };
        match (name.as_str(), &value.kind) {
            ("before", Kind::Record(_)) => parts.before = Some(avro_row(message, &mut input, value, columns)?),
            ("after", Kind::Record(_)) => parts.after = Some(avro_row(message, &mut input, value, columns)?),
            ("source", Kind::Record(fields)) => avro_source(&mut input, fields, &mut parts.source)?,
            ("op", Kind::Text) => parts.op = single(&input.text()?),
            _ => input.skip(value)?,
        }
    }
    input.end()?;
    Ok(parts)
}

/// Reads a union with null; `None`: it is null.
fn present<'n>(input: &mut AvroIn<'_>, node: &'n Node) -> Result<Option<&'n Node>> {
    let Kind::Union(branches) = &node.kind else { return Ok(Some(node)) };
    let branch = branches.get(input.branch()?).ok_or_else(malformed)?;
    Ok((!matches!(branch.kind, Kind::Null)).then_some(branch))
}

/// The cells of a record, in the order of `columns`, which is likely the record's own.
pub(crate) fn avro_row(message: &[u8], input: &mut AvroIn<'_>, record: &Node, columns: &[&str]) -> Result<Vec<Found>> {
    let mut found = vec![Found::Missing; columns.len()];
    for (index, (name, field)) in record.fields().ok_or_else(malformed)?.iter().enumerate() {
        let cell = match present(input, field)? {
            None => Found::Null,
            Some(value) => {
                let start = message.len() - input.0.len();
                input.skip(value)?;
                Found::At(start..message.len() - input.0.len())
            }
        };
        let likely = columns.get(index) == Some(&name.as_str());
        let place = if likely { Some(index) } else { columns.iter().position(|column| column == name) };
        if let Some(place) = place.and_then(|place| found.get_mut(place)) {
            *place = cell;
        }
    }
    Ok(found)
}

fn avro_source(input: &mut AvroIn<'_>, fields: &[(String, Node)], source: &mut Source) -> Result<()> {
    for (name, field) in fields {
        let Some(value) = present(input, field)? else { continue };
        match value.kind {
            Kind::Text => source.text(name, input.text()?.into_owned()),
            Kind::Int64 => source.number(name, input.long()?),
            _ => input.skip(value)?,
        }
    }
    Ok(())
}

/// Takes a value in JSON apart.
pub(crate) fn json(message: &[u8], payload: &str, columns: &[&str]) -> Result<Parts> {
    let object = Object::parse(payload.as_bytes())?;
    let row = |name: &str| match object.get(name) {
        None | Some("null") => Ok(None),
        Some(text) => json_row(message, text, columns).map(Some),
    };
    let mut parts = Parts { before: row("before")?, after: row("after")?, ..Parts::default() };
    if let Some(op) = object.get("op") {
        parts.op = single(&JsonIn(Some(op)).text()?);
    }
    if let Some(source) = object.get("source").filter(|text| *text != "null") {
        for (name, value) in Object::parse(source.as_bytes())?.into_pairs() {
            let value = value.get();
            match value.as_bytes().first() {
                Some(b'"') => parts.source.text(&name, JsonIn(Some(value)).text()?.into_owned()),
                Some(b'-' | b'0'..=b'9') => parts.source.number(&name, JsonIn(Some(value)).int().unwrap_or_default()),
                _ => {}
            }
        }
    }
    Ok(parts)
}

/// The cells of an object, in the order of `columns`.
pub(crate) fn json_row(message: &[u8], object: &str, columns: &[&str]) -> Result<Vec<Found>> {
    let object = Object::parse(object.as_bytes())?;
    let cell = |(index, name): (usize, &&str)| match object.value(index, name) {
        None => Ok(Found::Missing),
        Some("null") => Ok(Found::Null),
        Some(text) => {
            // The value is a slice of the message.
            let start = (text.as_ptr() as usize).checked_sub(message.as_ptr() as usize).ok_or_else(malformed)?;
            let end = start + text.len();
            if end > message.len() { Err(malformed()) } else { Ok(Found::At(start..end)) }
        }
    };
    columns.iter().enumerate().map(cell).collect()
}

fn single(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}
