//! Schemas inside JSON messages, as the JSON converter of Kafka Connect writes them.

use std::fmt::Write as _;

use crate::connect::{Kind, Literal, Schema};
use crate::decimal;
use crate::text::{Alphabet, base64, json_string_of};

/// The schema as text.
pub(crate) fn text(schema: &Schema) -> String {
    let mut out = String::new();
    write(&mut out, schema, None);
    out
}

fn write(out: &mut String, schema: &Schema, field: Option<&str>) {
    let _ = write!(out, "{{\"type\":\"{}\"", kind_name(&schema.kind));
    match &schema.kind {
        Kind::Record(fields) => {
            out.push_str(",\"fields\":[");
            for (index, field) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(out, &field.schema, Some(&field.name));
            }
            out.push(']');
        }
        Kind::List(items) => {
            out.push_str(",\"items\":");
            write(out, items, None);
        }
        Kind::Map(values) => {
            out.push_str(",\"keys\":");
            write(out, &Schema::new(Kind::Text), None);
            out.push_str(",\"values\":");
            write(out, values, None);
        }
        _ => {}
    }
    let _ = write!(out, ",\"optional\":{}", schema.optional);
    if let Some(name) = &schema.name {
        let _ = write!(out, ",\"name\":{}", json_string_of(name));
    }
    if let Some(version) = schema.version {
        let _ = write!(out, ",\"version\":{version}");
    }
    if let Some(doc) = schema.doc {
        let _ = write!(out, ",\"doc\":{}", json_string_of(doc));
    }
    if !schema.parameters.is_empty() {
        out.push_str(",\"parameters\":{");
        for (index, (key, value)) in schema.parameters.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{}:{}", json_string_of(key), json_string_of(value));
        }
        out.push('}');
    }
    if let Some(default) = &schema.default {
        let _ = write!(out, ",\"default\":{}", literal(default));
    }
    if let Some(field) = field {
        let _ = write!(out, ",\"field\":{}", json_string_of(field));
    }
    out.push('}');
}

/// The name of a kind in these schemas.
pub(crate) fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Boolean => "boolean",
        Kind::Int16 => "int16",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Float32 => "float",
        Kind::Float64 => "double",
        Kind::Text => "string",
        Kind::Bytes => "bytes",
        Kind::List(_) => "array",
        Kind::Map(_) => "map",
        Kind::Record(_) => "struct",
    }
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Boolean(value) => value.to_string(),
        Literal::Int(value) => value.to_string(),
        Literal::Float32(value) => decimal::json_float(f64::from(*value), format!("{value:?}")),
        Literal::Float64(value) => decimal::json_float(*value, format!("{value:?}")),
        Literal::Text(value) => json_string_of(value),
        Literal::Bytes(value) => {
            let mut out = Vec::new();
            base64(&mut out, value, Alphabet::Standard);
            format!("\"{}\"", String::from_utf8(out).unwrap_or_default())
        }
    }
}
