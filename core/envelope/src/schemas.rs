//! A schema in the texts in which it travels.

use walbrook_model::{Error, Result, TableId};

use crate::connect::{Kind, Schema};
use crate::settings::{Format, Settings};
use crate::text::json_string_of;
use crate::{avro_schema, connect_schema, names};

/// A schema's texts.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    /// The record's full name.
    pub(crate) name: String,
    /// For a registry.
    pub(crate) avro: String,
    /// For messages with schemas.
    pub(crate) json: String,
}

impl Texts {
    pub(crate) fn new(schema: &Schema) -> Self {
        let name = schema.name.clone().unwrap_or_default();
        Self { name, avro: avro_schema::text(schema), json: connect_schema::text(schema) }
    }
}

/// The table, its key and its columns, for readers of JSON without schemas.
pub(crate) fn shape_header(table: &TableId, key: &[&str], row: &Schema) -> Vec<u8> {
    let key: Vec<String> = key.iter().map(|name| json_string_of(name)).collect();
    let (schema, name) = (json_string_of(&table.schema), json_string_of(&table.name));
    let row = connect_schema::text(row);
    format!("{{\"schema\":{schema},\"table\":{name},\"key\":[{}],\"row\":{row}}}", key.join(",")).into_bytes()
}

/// Whether the schemas of a topic have names that their format takes, whatever the table is like.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Config`] if not.
pub fn check_topic(settings: &Settings, topic: &str) -> Result<()> {
    if settings.format != Format::Avro {
        return Ok(());
    }
    check_record(&names::record(settings.schema_names, &format!("{topic}.Key")))
}

fn check_record(name: &str) -> Result<()> {
    let valid = name.split('.').all(|part| !part.is_empty() && names::is_avro(part));
    let refused = || {
        Error::config(format!("{name} is no name that Avro takes"))
            .remedy("set the adjustment of schema and field names to avro or avro_unicode")
    };
    if valid { Ok(()) } else { Err(refused()) }
}

/// Whether Avro takes every name.
pub(crate) fn check_avro_names(schema: &Schema) -> Result<()> {
    match &schema.kind {
        Kind::Record(fields) => {
            check_record(schema.name.as_deref().unwrap_or_default())?;
            for field in fields {
                if !names::is_avro(&field.name) || field.name.is_empty() {
                    return Err(Error::config(format!("column {} has a name that Avro does not take", field.name))
                        .remedy("set the adjustment of field names to avro or avro_unicode"));
                }
                check_avro_names(&field.schema)?;
            }
            Ok(())
        }
        Kind::List(inner) | Kind::Map(inner) => check_avro_names(inner),
        _ => Ok(()),
    }
}
