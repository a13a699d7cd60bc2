//! Arrays: `{1,NULL,"a \"b\""}`.
//!
//! A list is what an array of one dimension with the default bounds is. An array column of the server may hold any
//! number of dimensions; a value with another number, or with other bounds, is an error.

use std::borrow::Cow;

use walbrook_model::{ColumnType, DecodeCell, Error, Result, Value};

use super::{decoder, malformed, money};

/// An array of elements that have the decoder of their type.
pub(crate) fn list<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let element = element(ty)?;
    elements(element, decoder(element), b',', bytes)
}

/// An array of `box`, alone among the built-in types in its delimiter.
pub(crate) fn list_with_semicolons<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let element = element(ty)?;
    elements(element, decoder(element), b';', bytes)
}

/// An array of `PostGIS` shapes.
pub(crate) fn list_with_colons<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let element = element(ty)?;
    elements(element, decoder(element), b':', bytes)
}

/// `money[]`.
pub(crate) fn list_of_money<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    elements(element(ty)?, money, b',', bytes)
}

/// The text of the only element of an array with one element, which has no delimiter.
pub(crate) fn single_element(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let [b'{', inner @ .., b'}'] = bytes else { return Err(not_an_array()) };
    match inner {
        [] => Err(not_an_array()),
        [b'"', ..] => match quoted(inner)? {
            (element, []) => Ok(Some(element.into_owned())),
            _ => Err(not_an_array()),
        },
        inner => Ok((!is_null(inner)).then(|| inner.to_vec())),
    }
}

pub(super) fn element(ty: &ColumnType) -> Result<&ColumnType> {
    match ty {
        ColumnType::List(element) => Ok(element),
        _ => Err(Error::bug("a column with the decoder of lists is none")),
    }
}

fn elements<'a>(ty: &ColumnType, decode: DecodeCell, delimiter: u8, bytes: &'a [u8]) -> Result<Value<'a>> {
    let mut rest = match bytes {
        [b'[', ..] => return Err(not_a_list("other bounds than 1")),
        [b'{', b'{', ..] => return Err(not_a_list("more than one dimension")),
        b"{}" => return Ok(Value::List(Vec::new())),
        [b'{', rest @ ..] => rest,
        _ => return Err(not_an_array()),
    };
    let mut values = Vec::new();
    loop {
        let value;
        if let [b'"', ..] = rest {
            let (text, after) = quoted(rest)?;
            value = match text {
                Cow::Borrowed(text) => decode(ty, text)?,
                Cow::Owned(text) => decode(ty, &text)?.into_owned(),
            };
            rest = after;
        } else {
            let end = rest.iter().position(|byte| *byte == delimiter || matches!(byte, b'{' | b'}' | b'"' | b'\\'));
            let (text, after) = rest.split_at(end.ok_or_else(not_an_array)?);
            value = match text {
                [] => return Err(not_an_array()),
                text if is_null(text) => Value::Null,
                text => decode(ty, text)?,
            };
            rest = after;
        }
        values.push(value);
        match rest {
            b"}" => return Ok(Value::List(values)),
            [byte, after @ ..] if *byte == delimiter => rest = after,
            _ => return Err(not_an_array()),
        }
    }
}

/// The NULL element. A text `NULL` is quoted.
fn is_null(text: &[u8]) -> bool {
    text == b"NULL"
}

/// The element inside quotes, without its escapes, and what follows it.
fn quoted(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8])> {
    let inner = bytes.get(1..).unwrap_or_default();
    let mut from = 0;
    let mut unescaped: Option<Vec<u8>> = None;
    loop {
        let piece = inner.get(from..).unwrap_or_default();
        let len = memchr::memchr2(b'"', b'\\', piece).ok_or_else(not_an_array)?;
        let (plain, tail) = piece.split_at(len);
        match tail {
            [b'"', rest @ ..] => {
                let element = match unescaped {
                    None => Cow::Borrowed(plain),
                    Some(mut text) => {
                        text.extend_from_slice(plain);
                        Cow::Owned(text)
                    }
                };
                return Ok((element, rest));
            }
            [_, escaped, ..] => {
                let text = unescaped.get_or_insert_default();
                text.extend_from_slice(plain);
                text.push(*escaped);
                from += len + 2;
            }
            _ => return Err(not_an_array()),
        }
    }
}

#[cold]
fn not_an_array() -> Error {
    malformed("an array")
}

#[cold]
pub(super) fn not_a_list(what: &str) -> Error {
    Error::data(format!("a cell holds an array with {what}, which a list cannot hold")).remedy(
        "store arrays of one dimension that begin at 1, \
         or leave the column out with source.postgres.tables.exclude_columns",
    )
}
