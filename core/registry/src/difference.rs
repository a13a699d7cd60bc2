//! What differs between two versions of an Avro schema, field by field, in words.
//!
//! Pure, and bounded: the older schema may come from anyone.

use std::collections::BTreeMap;

use serde_json::Value;

/// Differences that are named; of more, only their number is.
const SHOWN_MAX: usize = 5;

/// Records inside records that are looked into.
const DEPTH_MAX: usize = 16;

/// A longer name or type is cut off.
const CHARS_MAX: usize = 80;

/// One field: its type in short, and whether it has a default.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    type_name: String,
    has_default: bool,
}

/// The fields that differ, such as `amount: int became string`; empty if no difference can be seen.
pub(crate) fn differences(old: &str, new: &str) -> Vec<String> {
    let (Ok(old), Ok(new)) = (serde_json::from_str(old), serde_json::from_str(new)) else { return Vec::new() };
    let (old_fields, new_fields) = (fields(&old), fields(&new));
    let mut changed = Vec::new();
    let mut moved: Vec<(&str, String)> = Vec::new();
    if type_name(&old, 0) != type_name(&new, 0) {
        changed.push(format!("{} became {}", cut(&type_name(&old, 0)), cut(&type_name(&new, 0))));
    }
    for (path, field) in &new_fields {
        let name = cut(path);
        match old_fields.get(path) {
            None => moved.push((path, format!("{name}: new{}", default_of(field)))),
            Some(before) if before.type_name != field.type_name => {
                changed.push(format!("{name}: {} became {}", cut(&before.type_name), cut(&field.type_name)));
            }
            Some(before) if before.has_default && !field.has_default => {
                changed.push(format!("{name}: has no default any more"));
            }
            Some(_) => {}
        }
    }
    let gone = old_fields.iter().filter(|(path, _)| !new_fields.contains_key(*path));
    moved.extend(gone.map(|(path, field)| (path.as_str(), format!("{}: gone{}", cut(path), default_of(field)))));
    // What is inside a record that is new or gone as a whole says nothing more.
    let parents: Vec<&str> = moved.iter().map(|(path, _)| *path).collect();
    let inside =
        |path: &str| path.match_indices('.').any(|(dot, _)| path.get(..dot).is_some_and(|p| parents.contains(&p)));
    changed.extend(moved.iter().filter(|(path, _)| !inside(path)).map(|(_, text)| text.clone()));
    if changed.len() > SHOWN_MAX {
        let more = changed.len() - SHOWN_MAX;
        changed.truncate(SHOWN_MAX);
        changed.push(format!("and {more} more"));
    }
    changed
}

fn default_of(field: &Field) -> &'static str {
    if field.has_default { "" } else { ", without a default" }
}

/// Every field of a schema by its path. A record that is used twice is looked into where it is defined.
fn fields(schema: &Value) -> BTreeMap<String, Field> {
    let mut fields = BTreeMap::new();
    collect(schema, "", 0, &mut fields);
    fields
}

fn collect(schema: &Value, path: &str, depth: usize, fields: &mut BTreeMap<String, Field>) {
    if depth > DEPTH_MAX {
        return;
    }
    match schema {
        Value::Array(branches) => branches.iter().for_each(|branch| collect(branch, path, depth + 1, fields)),
        Value::Object(object) => {
            for inner in ["type", "items", "values"].into_iter().filter_map(|name| object.get(name)) {
                if inner.is_array() || inner.is_object() {
                    collect(inner, path, depth + 1, fields);
                }
            }
            for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                let (Some(name), Some(inner)) = (field.get("name").and_then(Value::as_str), field.get("type")) else {
                    continue;
                };
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                let has_default = field.get("default").is_some();
                fields.insert(path.clone(), Field { type_name: type_name(inner, 0), has_default });
                collect(inner, &path, depth + 1, fields);
            }
        }
        _ => {}
    }
}

/// A type in short: `["null", timestamp-micros]`, the full name of a record.
fn type_name(schema: &Value, depth: usize) -> String {
    if depth > DEPTH_MAX {
        return "...".to_owned();
    }
    match schema {
        Value::String(name) => name.clone(),
        Value::Array(branches) => {
            let names: Vec<String> = branches.iter().map(|branch| type_name(branch, depth + 1)).collect();
            format!("[{}]", names.join(", "))
        }
        Value::Object(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            let number = |name: &str| object.get(name).and_then(Value::as_u64);
            let full_name = match (text("namespace"), text("name")) {
                (Some(namespace), Some(name)) => Some(format!("{namespace}.{name}")),
                (None, Some(name)) => Some(name.to_owned()),
                (_, None) => None,
            };
            let inner = object.get("items").or_else(|| object.get("values"));
            let plain = || object.get("type").map_or_else(String::new, |inner| type_name(inner, depth + 1));
            match (text("logicalType"), text("connect.name"), full_name, inner) {
                (Some("decimal"), ..) => {
                    format!("decimal({}, {})", number("precision").unwrap_or(0), number("scale").unwrap_or(0))
                }
                (Some(logical), ..) => logical.to_owned(),
                // A field's own name stands beside its type only in a record's definition.
                (None, _, Some(name), _) => name,
                (None, _, None, Some(inner)) => format!("{} of {}", plain(), type_name(inner, depth + 1)),
                (None, Some(semantic), None, None) => semantic.to_owned(),
                (None, None, None, None) => plain(),
            }
        }
        _ => String::new(),
    }
}

/// The beginning of a text that may be foreign, fit for a log.
fn cut(text: &str) -> String {
    let start: String = text.chars().take(CHARS_MAX).collect();
    let dots = if start.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"V","namespace":"shop","fields":[{fields}]}}"#)
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            assert_eq!(differences(&record(old), &record(new)), expected, "{old} {new}");
        };
        let id = r#"{"name":"id","type":"int"}"#;
        check(id, id, &[]);
        check(id, r#"{"name":"id","type":"string"}"#, &["id: int became string"]);
        check(id, &format!(r#"{id},{{"name":"b","type":"int"}}"#), &["b: new, without a default"]);
        check(id, &format!(r#"{id},{{"name":"b","type":["null","int"],"default":null}}"#), &["b: new"]);
        check(&format!(r#"{id},{{"name":"b","type":"int"}}"#), id, &["b: gone, without a default"]);
        check(r#"{"name":"id","type":"int","default":0}"#, id, &["id: has no default any more"]);
        check(
            r#"{"name":"a","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}}"#,
            r#"{"name":"a","type":["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}]}"#,
            &["a: decimal(10, 2) became [null, decimal(12, 2)]"],
        );
        check(
            r#"{"name":"t","type":{"type":"long","connect.name":"io.debezium.time.Timestamp"}}"#,
            r#"{"name":"t","type":{"type":"long","connect.name":"io.debezium.time.MicroTimestamp"}}"#,
            &["t: io.debezium.time.Timestamp became io.debezium.time.MicroTimestamp"],
        );
        check(
            r#"{"name":"l","type":{"type":"array","items":"int"}}"#,
            r#"{"name":"l","type":{"type":"array","items":"long"}}"#,
            &["l: array of int became array of long"],
        );
    }

    #[test]
    fn a_column_of_an_envelope_is_named_where_its_record_is_defined() {
        let envelope = |column: &str| {
            let value = format!(r#"{{"type":"record","name":"Value","fields":[{{"name":"a","type":"{column}"}}]}}"#);
            record(&format!(
                r#"{{"name":"before","type":["null",{value}],"default":null}},
                   {{"name":"after","type":["null","Value"],"default":null}}"#
            ))
        };
        assert_eq!(differences(&envelope("int"), &envelope("string")), ["before.a: int became string"]);
    }

    #[test]
    fn what_is_new_as_a_whole_is_named_once() {
        let inner = r#"{"name":"x","type":{"type":"record","name":"X","fields":[{"name":"y","type":"int"}]}}"#;
        assert_eq!(differences(&record(""), &record(inner)), ["x: new, without a default"]);
        assert_eq!(differences(&record(inner), &record("")), ["x: gone, without a default"]);
    }

    #[test]
    fn another_name_of_the_record_is_a_difference() {
        let other = record("").replace("shop", "store");
        assert_eq!(differences(&record(""), &other), ["shop.V became store.V"]);
        assert_eq!(differences("\"int\"", "\"long\""), ["int became long"]);
        assert_eq!(differences("not json", "\"long\""), [""; 0]);
    }

    #[test]
    fn many_differences_are_counted() {
        let fields = |type_name: &str| {
            let fields: Vec<String> =
                (0..100).map(|i| format!(r#"{{"name":"c{i:02}","type":"{type_name}"}}"#)).collect();
            record(&fields.join(","))
        };
        let found = differences(&fields("int"), &fields("long"));
        assert_eq!((found.len(), found[5].as_str()), (6, "and 95 more"));
    }

    fn json() -> impl Strategy<Value = Value> {
        const NAMES: &[&str] =
            &["type", "fields", "name", "items", "namespace", "logicalType", "record", "int", "default"];
        let leaf = prop_oneof![
            prop::sample::select(NAMES).prop_map(|name| Value::String(name.to_owned())),
            any::<i32>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(8, 128, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((prop::sample::select(NAMES), inner), 0..6).prop_map(|entries| {
                    Value::Object(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_schema_makes_it_panic(old in json(), new in json()) {
            prop_assert!(differences(&old.to_string(), &new.to_string()).len() <= SHOWN_MAX + 1);
            prop_assert_eq!(differences(&old.to_string(), &old.to_string()), [""; 0]);
        }
    }
}
