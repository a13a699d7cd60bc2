//! Names of topics, records and fields.

use std::fmt::Write as _;

use crate::settings::{NameAdjustment, Settings};
use walbrook_model::TableId;

/// The topic of a table: [`Settings::topic_name`] filled in, with `_` for what Kafka does not allow.
pub fn table_topic(settings: &Settings, table: &TableId) -> String {
    let (mut name, mut rest) = (String::new(), settings.topic_name.as_str());
    // In one pass: what is filled in may look like a placeholder.
    while let Some((beside, opened)) = rest.split_once('{') {
        let (placeholder, behind) = opened.split_once('}').unwrap_or((opened, ""));
        name.push_str(beside);
        name.push_str(match placeholder {
            "prefix" => &settings.topic_prefix,
            "schema" => &table.schema,
            "table" => &table.name,
            _ => "",
        });
        rest = behind;
    }
    name.push_str(rest);
    sanitized(&name)
}

/// A name that Kafka allows for a topic.
pub(crate) fn sanitized(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// The full names that a record of a topic's schemas may have, whatever adjusts them: `part` is `Key`, `Value` or `Envelope`.
pub fn record_names(topic: &str, part: &str) -> Vec<String> {
    let modes = [NameAdjustment::None, NameAdjustment::Avro, NameAdjustment::AvroUnicode];
    let mut names: Vec<String> = modes.map(|mode| record(mode, &format!("{topic}.{part}"))).into();
    names.dedup();
    names
}

/// The full name of a record, such as `prefix.schema.table.Key`.
pub(crate) fn record(mode: NameAdjustment, name: &str) -> String {
    adjusted(mode, name, true)
}

/// The name of a column.
pub(crate) fn field(mode: NameAdjustment, name: &str) -> String {
    adjusted(mode, name, false)
}

fn adjusted(mode: NameAdjustment, name: &str, dots: bool) -> String {
    if mode == NameAdjustment::None {
        return name.to_owned();
    }
    let underscore = mode == NameAdjustment::Avro;
    let mut adjusted = String::with_capacity(name.len());
    for (index, c) in name.chars().enumerate() {
        push(&mut adjusted, c, index == 0, underscore, dots);
    }
    adjusted
}

/// Whether Avro takes the name as it is.
pub(crate) fn is_avro(name: &str) -> bool {
    name.chars().enumerate().all(|(index, c)| c == '_' || c.is_ascii_alphabetic() || (index > 0 && c.is_ascii_digit()))
}

fn push(to: &mut String, c: char, first: bool, underscore: bool, dots: bool) {
    let letter = c.is_ascii_alphabetic() || (underscore && c == '_');
    if letter || (!first && (c.is_ascii_digit() || (dots && c == '.'))) {
        to.push(c);
        return;
    }
    // Java sees UTF-16: two units for what lies beyond the basic plane.
    for unit in c.encode_utf16(&mut [0; 2]) {
        match unit {
            _ if underscore => to.push('_'),
            unit => {
                let _ = write!(to, "_u{unit:04x}");
            }
        }
    }
    if underscore && c.is_ascii_digit() {
        to.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Format;

    #[test]
    fn topics_are_named_by_the_pattern() {
        let check = |pattern: &str, (schema, table): (&str, &str), expected: &str| {
            let settings = Settings { topic_name: pattern.to_owned(), ..Settings::native("p", Format::Json) };
            assert_eq!(table_topic(&settings, &TableId::new(schema, table)), expected, "{pattern}");
        };
        check("{prefix}.{schema}.{table}", ("public", "orders"), "p.public.orders");
        check("cdc-{schema}-{table}", ("shop", "orders"), "cdc-shop-orders");
        check("{table}", ("shop", "or ders"), "or_ders");
        check("{table}.{schema}.{table}", ("{table}", "{schema}"), "_schema_._table_._schema_");
    }

    #[test]
    fn names_are_adjusted_as_debezium_does() {
        let unicode = NameAdjustment::AvroUnicode;
        assert_eq!(field(unicode, "A b-c.d"), "A_u0020b_u002dc_u002ed");
        assert_eq!(field(unicode, "1x"), "_u0031x");
        assert_eq!(field(unicode, "n\u{e4}me"), "n_u00e4me");
        assert_eq!(field(NameAdjustment::Avro, "A b-c.d"), "A_b_c_d");
        assert_eq!(field(NameAdjustment::Avro, "1x"), "_1x");
        assert_eq!(field(NameAdjustment::None, "A b"), "A b");
        assert_eq!(record(unicode, "pre.We_ird-N_me.Key"), "pre.We_u005fird_u002dN_u005fme.Key");
        assert_eq!(sanitized("pre.public.We ird-N\u{e4}me"), "pre.public.We_ird-N_me");
        assert_eq!(record_names("p.s.t", "Key"), ["p.s.t.Key"]);
        assert_eq!(record_names("a-b", "Key"), ["a-b.Key", "a_b.Key", "a_u002db.Key"]);
        assert!(is_avro("_a1") && !is_avro("1a") && !is_avro("a-b"));
    }
}
