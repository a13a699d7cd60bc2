//! Avro schemas as text, as the Avro converter of Kafka Connect derives and Avro for Java prints them: the order of the
//! attributes, what is elided and what is repeated by name are part of what a registry compares.

use std::fmt::Write as _;

use crate::connect::{Field, Kind, Literal, Schema, name};
use crate::decimal;
use crate::text::json_string_of;

/// The precision that the converter states where it knows none.
const PRECISION_UNKNOWN: &str = "64";

/// The schema as text.
pub(crate) fn text(schema: &Schema) -> String {
    let mut writer = Writer { out: String::new(), namespace: None, defined: Vec::new() };
    writer.schema(schema);
    writer.out
}

struct Writer {
    out: String,
    namespace: Option<String>,
    defined: Vec<String>,
}

impl Writer {
    fn schema(&mut self, schema: &Schema) {
        match schema.null_branch() {
            None => self.base(schema),
            Some(0) => {
                self.out.push_str("[\"null\",");
                self.base(schema);
                self.out.push(']');
            }
            Some(_) => {
                self.out.push('[');
                self.base(schema);
                self.out.push_str(",\"null\"]");
            }
        }
    }

    fn base(&mut self, schema: &Schema) {
        match &schema.kind {
            Kind::Record(fields) => self.record(schema, fields),
            Kind::List(items) => {
                self.out.push_str("{\"type\":\"array\",\"items\":");
                self.schema(items);
                self.attributes(schema);
                self.out.push('}');
            }
            Kind::Map(values) => {
                self.out.push_str("{\"type\":\"map\",\"values\":");
                self.schema(values);
                self.attributes(schema);
                self.out.push('}');
            }
            kind => {
                let ty = primitive(kind);
                let bare = self.out.len();
                let _ = write!(self.out, "{{\"type\":\"{ty}\"");
                let plain = self.out.len();
                self.attributes(schema);
                if self.out.len() == plain {
                    self.out.truncate(bare);
                    let _ = write!(self.out, "\"{ty}\"");
                } else {
                    self.out.push('}');
                }
            }
        }
    }

    fn record(&mut self, schema: &Schema, fields: &[Field]) {
        let full = schema.name.as_deref().unwrap_or("io.confluent.connect.avro.ConnectDefault");
        let (space, short) = full.rsplit_once('.').map_or((None, full), |(space, short)| (Some(space), short));
        let inside = space == self.namespace.as_deref();
        if self.defined.iter().any(|name| name == full) {
            self.out.push_str(&json_string_of(if inside { short } else { full }));
            return;
        }
        self.defined.push(full.to_owned());
        let _ = write!(self.out, "{{\"type\":\"record\",\"name\":{}", json_string_of(short));
        if !inside {
            let _ = write!(self.out, ",\"namespace\":{}", json_string_of(space.unwrap_or_default()));
        }
        let outer = std::mem::replace(&mut self.namespace, space.map(str::to_owned));
        self.out.push_str(",\"fields\":[");
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            let _ = write!(self.out, "{{\"name\":{},\"type\":", json_string_of(&field.name));
            self.schema(&field.schema);
            match &field.schema.default {
                Some(default) => {
                    let _ = write!(self.out, ",\"default\":{}", literal(default));
                }
                None if field.schema.optional => self.out.push_str(",\"default\":null"),
                None => {}
            }
            self.out.push('}');
        }
        self.out.push(']');
        self.namespace = outer;
        self.attributes(schema);
        self.out.push('}');
    }

    /// What is not of Avro itself, in the order in which the converter adds it.
    fn attributes(&mut self, schema: &Schema) {
        let out = &mut self.out;
        let decimal = schema.name.as_deref() == Some(name::DECIMAL);
        if decimal {
            let scale = schema.parameter_of("scale").unwrap_or("0");
            let precision = schema.parameter_of(name::PRECISION).unwrap_or(PRECISION_UNKNOWN);
            let _ = write!(out, ",\"scale\":{scale},\"precision\":{precision}");
        }
        if let Some(doc) = schema.doc {
            let _ = write!(out, ",\"connect.doc\":{}", json_string_of(doc));
        }
        if let Some(version) = schema.version {
            let _ = write!(out, ",\"connect.version\":{version}");
        }
        if !schema.parameters.is_empty() {
            out.push_str(",\"connect.parameters\":{");
            for (index, (key, value)) in schema.parameters.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let _ = write!(out, "{comma}{}:{}", json_string_of(key), json_string_of(value));
            }
            out.push('}');
        }
        if let Some(default) = &schema.default {
            let _ = write!(out, ",\"connect.default\":{}", literal(default));
        }
        if let Some(name) = &schema.name {
            let _ = write!(out, ",\"connect.name\":{}", json_string_of(name));
        }
        if schema.kind == Kind::Int16 {
            out.push_str(",\"connect.type\":\"int16\"");
        }
        let known = match schema.name.as_deref() {
            Some(name::DECIMAL) => Some("decimal"),
            Some(name::CONNECT_DATE) => Some("date"),
            Some(name::CONNECT_TIME) => Some("time-millis"),
            Some(name::CONNECT_TIMESTAMP) => Some("timestamp-millis"),
            _ => schema.logical,
        };
        if let Some(logical) = known {
            let _ = write!(out, ",\"logicalType\":\"{logical}\"");
        }
    }
}

fn primitive(kind: &Kind) -> &'static str {
    match kind {
        Kind::Boolean => "boolean",
        Kind::Int16 | Kind::Int32 => "int",
        Kind::Int64 => "long",
        Kind::Float32 => "float",
        Kind::Float64 => "double",
        Kind::Text => "string",
        Kind::Bytes => "bytes",
        Kind::List(_) => "array",
        Kind::Map(_) => "map",
        Kind::Record(_) => "record",
    }
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Boolean(value) => value.to_string(),
        Literal::Int(value) => value.to_string(),
        Literal::Float32(value) => decimal::json_float(f64::from(*value), format!("{value:?}")),
        Literal::Float64(value) => decimal::json_float(*value, format!("{value:?}")),
        Literal::Text(value) => json_string_of(value),
        // A code point for each byte.
        Literal::Bytes(value) => json_string_of(&value.iter().map(|byte| char::from(*byte)).collect::<String>()),
    }
}
