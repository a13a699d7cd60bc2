//! Debezium's placeholder of a cell that the log does not carry, recognised in the notation of the message: messages that
//! it wrote have no header that would say so.

use walbrook_model::ColumnType;

use super::cells::Notation;
use super::shape::{Form, Meaning};
use crate::encode::avro::AvroOut;
use crate::encode::conversion::{hstore_json, hstore_map};
use crate::encode::emit::Emit;
use crate::encode::json::JsonOut;
use crate::settings::UNAVAILABLE;

/// The bytes of cells that mean: not carried.
pub(crate) fn cells(notation: Notation, meaning: &Meaning) -> Vec<Vec<u8>> {
    let list = matches!(meaning.ty, ColumnType::List(_));
    let texts = match meaning.form {
        Form::Text => {
            let pair = hstore_json(&[(UNAVAILABLE.into(), Some(UNAVAILABLE.into()))]);
            vec![UNAVAILABLE.to_owned(), pair]
        }
        Form::UuidText => vec!["b68a35a7-17ad-35b3-af2a-ae46edb4545a".to_owned()],
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    let mut add = |value: &Marker<'_>| {
        let mut bytes = Vec::new();
        match notation {
            Notation::Avro => value.write(list, meaning.nullable_elements, &mut AvroOut(&mut bytes)),
            Notation::Json => value.write(list, meaning.nullable_elements, &mut JsonOut::new(&mut bytes)),
        }
        found.push(bytes);
    };
    for text in &texts {
        add(&Marker::Text(text));
    }
    match meaning.form {
        Form::Bytes => add(&Marker::Bytes),
        Form::Map => add(&Marker::Map),
        Form::Int | Form::Days if list => add(&Marker::Numbers),
        _ => {}
    }
    found
}

enum Marker<'a> {
    Text(&'a str),
    Bytes,
    Map,
    Numbers,
}

impl Marker<'_> {
    fn write<E: Emit>(&self, list: bool, optional: bool, out: &mut E) {
        let len = if matches!(self, Self::Numbers) { UNAVAILABLE.len() } else { 1 };
        if list {
            out.list(len);
        }
        for index in 0..len {
            if list {
                out.item(index);
                if optional {
                    out.some(1);
                }
            }
            match self {
                Self::Text(text) => out.text(text),
                Self::Bytes => out.bytes(UNAVAILABLE.as_bytes()),
                Self::Map => hstore_map(&[(UNAVAILABLE.into(), Some(UNAVAILABLE.into()))], out),
                Self::Numbers => out.int(UNAVAILABLE.as_bytes().get(index).map_or(0, |byte| i64::from(*byte))),
            }
        }
        if list {
            out.list_end(len);
        }
    }
}
