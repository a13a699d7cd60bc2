//! A table's columns: our [`Layout`] and Iceberg's schema JSON.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use walbrook_lake_merge::layout::{LakeField, LakeType, Layout};
use walbrook_model::{Error, Result};

/// Holds the key of a table whose key columns may not be identifier fields of Iceberg (floats): field ids, in order.
pub(crate) const KEY_IDS: &str = "walbrook.key-ids";

/// One version of the columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::struct_field_names, reason = "names of the spec")]
pub(crate) struct Schema {
    #[serde(rename = "type")]
    kind: Struct,
    #[serde(default)]
    pub(crate) schema_id: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    identifier_field_ids: Vec<i32>,
    fields: Vec<Field>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Struct {
    Struct,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Field {
    id: i32,
    name: String,
    required: bool,
    #[serde(rename = "type")]
    ty: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial_default: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    write_default: Option<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Schema {
    /// The schema of a layout. Where columns of `previous` stay, what only Iceberg knows of them stays too.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Bug`] if the layout contradicts itself, [`walbrook_model::ErrorKind::Config`] if
    /// Iceberg cannot hold it.
    pub(crate) fn of(layout: &Layout, previous: Option<&Self>) -> Result<Self> {
        check_layout(layout)?;
        let fields = layout.fields.iter().map(|field| {
            let old = previous.and_then(|schema| schema.fields.iter().find(|old| old.id == field.id));
            let initial = field.initial_default.clone();
            Field {
                id: field.id,
                name: field.name.clone(),
                required: field.required,
                ty: type_json(&field.ty),
                write_default: old.map_or_else(|| initial.clone(), |old| old.write_default.clone()),
                initial_default: initial,
                rest: old.map(|old| old.rest.clone()).unwrap_or_default(),
            }
        });
        Ok(Self {
            kind: Struct::Struct,
            schema_id: layout.schema_id,
            identifier_field_ids: if key_is_identifier(layout) { layout.key.clone() } else { Vec::new() },
            fields: fields.collect(),
            rest: Map::new(),
        })
    }

    /// The layout of a schema.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if it has types that we cannot write.
    pub(crate) fn layout(&self, key_ids: Option<&str>, last_id: i32) -> Result<Layout> {
        let fields = self.fields.iter().map(|field| {
            Ok(LakeField {
                id: field.id,
                name: field.name.clone(),
                ty: lake_type(&field.ty).ok_or_else(|| {
                    Error::config("a type that is not supported").on(format!("column {}", field.name))
                })?,
                required: field.required,
                initial_default: field.initial_default.clone(),
            })
        });
        let key = match key_ids.filter(|_| self.identifier_field_ids.is_empty()) {
            Some(ids) => parse_ids(ids).ok_or_else(|| Error::data(format!("property {KEY_IDS} is no list of ids")))?,
            None => self.identifier_field_ids.clone(),
        };
        let fields: Vec<_> = fields.collect::<Result<_>>()?;
        if key.iter().any(|id| !fields.iter().any(|field| field.id == *id)) {
            return Err(Error::data("the key names columns that the table does not have"));
        }
        Ok(Layout { schema_id: self.schema_id, fields, key, last_id })
    }

    /// The same columns under another id.
    pub(crate) fn with_id(mut self, schema_id: i32) -> Self {
        self.schema_id = schema_id;
        self
    }
}

/// The value of [`KEY_IDS`], for a layout that needs it.
pub(crate) fn key_ids(layout: &Layout) -> Option<String> {
    let ids = || layout.key.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    (!key_is_identifier(layout)).then(ids)
}

fn parse_ids(ids: &str) -> Option<Vec<i32>> {
    ids.split(',').map(|id| id.parse().ok()).collect()
}

/// Identifier fields are required and not floating.
fn key_is_identifier(layout: &Layout) -> bool {
    let fits = |field: &LakeField| {
        field.required && !matches!(field.ty, LakeType::Float | LakeType::Double | LakeType::List { .. })
    };
    layout.key.iter().all(|id| layout.fields.iter().any(|field| field.id == *id && fits(field)))
}

fn check_layout(layout: &Layout) -> Result<()> {
    let mut ids = BTreeSet::new();
    let mut names = BTreeSet::new();
    for field in &layout.fields {
        let on = |error: Error| error.on(format!("column {}", field.name));
        let mut all = vec![field.id];
        element_ids(&field.ty, &mut all);
        if all.iter().any(|id| *id > layout.last_id || *id < 1 || !ids.insert(*id)) {
            return Err(on(Error::bug("a field id is given twice or beyond the last one")));
        }
        if !names.insert(field.name.as_str()) {
            return Err(on(Error::config("a column name is given twice")));
        }
        if let Some(default) = &field.initial_default {
            check_default(&field.ty, default).map_err(on)?;
        }
    }
    if layout.key.iter().any(|id| !layout.fields.iter().any(|field| field.id == *id)) {
        return Err(Error::bug("the key names columns that the layout does not have"));
    }
    Ok(())
}

/// Ids of list elements.
pub(crate) fn element_ids(ty: &LakeType, ids: &mut Vec<i32>) {
    if let LakeType::List { element_id, element } = ty {
        ids.push(*element_id);
        element_ids(element, ids);
    }
}

/// Whether a default is written as its type demands; the value itself is the caller's.
fn check_default(ty: &LakeType, default: &Value) -> Result<()> {
    let text = |matches: fn(&str) -> bool| default.as_str().is_some_and(matches);
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) && !text.is_empty();
    let right = match ty {
        LakeType::List { .. } => {
            return Err(Error::config("a list column cannot have a default: readers do not know any"));
        }
        LakeType::Bool => default.is_boolean(),
        LakeType::Int => default.as_i64().is_some_and(|v| i32::try_from(v).is_ok()),
        LakeType::Long => default.is_i64(),
        LakeType::Float | LakeType::Double => default.is_number(),
        LakeType::Decimal { .. } => text(digits),
        LakeType::String => default.is_string(),
        LakeType::Binary => text(|text| text.len() % 2 == 0 && text.bytes().all(|b| b.is_ascii_hexdigit())),
        LakeType::Uuid => text(|text| text.parse::<uuid::Uuid>().is_ok()),
        LakeType::Date => text(|text| text.len() >= 10 && !text.contains('T')),
        LakeType::Timestamp => text(|text| text.len() >= 16 && text.contains('T') && !text.contains('+')),
        LakeType::TimestampTz => text(|text| text.len() >= 16 && text.contains('T') && text.ends_with("+00:00")),
    };
    if right { Ok(()) } else { Err(Error::bug("a default is not in the JSON form of its type")) }
}

fn type_json(ty: &LakeType) -> Value {
    let name = match ty {
        LakeType::Bool => "boolean",
        LakeType::Int => "int",
        LakeType::Long => "long",
        LakeType::Float => "float",
        LakeType::Double => "double",
        LakeType::Decimal { precision, scale } => return json!(format!("decimal({precision}, {scale})")),
        LakeType::String => "string",
        LakeType::Binary => "binary",
        LakeType::Uuid => "uuid",
        LakeType::Date => "date",
        LakeType::Timestamp => "timestamp",
        LakeType::TimestampTz => "timestamptz",
        LakeType::List { element_id, element } => {
            return json!({
                "type": "list",
                "element-id": element_id,
                "element-required": false,
                "element": type_json(element),
            });
        }
    };
    json!(name)
}

fn lake_type(ty: &Value) -> Option<LakeType> {
    if ty.get("type").and_then(Value::as_str) == Some("list") {
        let element_id = ty.get("element-id")?.as_i64()?.try_into().ok()?;
        return Some(LakeType::List { element_id, element: Box::new(lake_type(ty.get("element")?)?) });
    }
    Some(match ty.as_str()? {
        "boolean" => LakeType::Bool,
        "int" => LakeType::Int,
        "long" => LakeType::Long,
        "float" => LakeType::Float,
        "double" => LakeType::Double,
        "string" => LakeType::String,
        "binary" => LakeType::Binary,
        "uuid" => LakeType::Uuid,
        "date" => LakeType::Date,
        "timestamp" => LakeType::Timestamp,
        "timestamptz" => LakeType::TimestampTz,
        other => {
            let (precision, scale) = other.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            LakeType::Decimal { precision: precision.trim().parse().ok()?, scale: scale.trim().parse().ok()? }
        }
    })
}

/// Whether rows that were written with `old` can be read with `new`.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Bug`] if not: a caller that needs such a change adds a column instead.
pub(crate) fn check_evolution(old: &Layout, new: &Layout, has_rows: bool) -> Result<()> {
    if new.last_id < old.last_id {
        return Err(Error::bug("the last field id runs backwards"));
    }
    for field in &new.fields {
        let refuse = |what: &str| Err(Error::bug(what).on(format!("column {}", field.name)));
        match old.fields.iter().find(|before| before.id == field.id) {
            Some(before) if !is_promotion(&before.ty, &field.ty) => return refuse("its type cannot become this one"),
            Some(before) if before.initial_default != field.initial_default => {
                return refuse("its initial default cannot change");
            }
            Some(before) if field.required && !before.required => return refuse("it cannot become required"),
            None if field.id <= old.last_id => return refuse("its field id was given before"),
            None if field.required && field.initial_default.is_none() && has_rows => {
                return refuse("it is required but older rows have no value for it");
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_promotion(old: &LakeType, new: &LakeType) -> bool {
    match (old, new) {
        (LakeType::Int, LakeType::Long) | (LakeType::Float, LakeType::Double) => true,
        (
            LakeType::Decimal { precision: old, scale: old_scale },
            LakeType::Decimal { precision: new, scale: new_scale },
        ) => old_scale == new_scale && old <= new,
        (LakeType::List { element_id: old_id, element: old }, LakeType::List { element_id: new_id, element: new }) => {
            old_id == new_id && is_promotion(old, new)
        }
        _ => old == new,
    }
}
