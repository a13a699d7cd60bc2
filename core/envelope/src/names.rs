//! Names of topics, records and fields.

use std::fmt::Write as _;

use crate::settings::{NameAdjustment, Settings};
use walbrook_model::TableId;

/// The topic of a table: `prefix.schema.table`, with `_` for what Kafka does not allow.
pub(crate) fn table_topic(settings: &Settings, table: &TableId) -> String {
    sanitized(&format!("{}.{}.{}", settings.topic_prefix, table.schema, table.name))
}

/// A topic of the whole source, such as `prefix.transaction`.
pub(crate) fn topic(settings: &Settings, name: &str) -> String {
    sanitized(&format!("{}.{name}", settings.topic_prefix))
}

/// A name that Kafka allows for a topic.
pub(crate) fn sanitized(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
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
        assert!(is_avro("_a1") && !is_avro("1a") && !is_avro("a-b"));
    }
}
