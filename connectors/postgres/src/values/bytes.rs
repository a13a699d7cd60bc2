//! Text, bytes, booleans and UUIDs.

use std::borrow::Cow;

use walbrook_model::{ColumnType, Error, Result, Value};

use super::malformed;

/// `t` or `f`.
pub(crate) fn boolean<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    match bytes {
        b"t" => Ok(Value::Bool(true)),
        b"f" => Ok(Value::Bool(false)),
        _ => Err(malformed("a boolean")),
    }
}

/// Text as the server sends it; also every type that has no better form.
pub(crate) fn text<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Value::Text(Cow::Borrowed(text))),
        Err(_) => Err(Error::data("a cell is not UTF-8, although the session asks for it").remedy(
            "repair the value at the source: a database with encoding SQL_ASCII holds bytes that nobody has checked",
        )),
    }
}

/// A JSON document, byte for byte.
pub(crate) fn json<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    text(ty, bytes)
}

/// `\x` and two hexadecimal digits a byte.
pub(crate) fn bytea<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let digits = bytes.strip_prefix(br"\x").ok_or_else(|| malformed("a bytea in hex"))?;
    let (pairs, []) = digits.as_chunks::<2>() else { return Err(malformed("a bytea in hex")) };
    let mut decoded = Vec::with_capacity(pairs.len());
    let mut wrong = 0;
    for [high, low] in pairs {
        let (high, low) = (nibble(*high), nibble(*low));
        wrong |= high | low;
        decoded.push(high << 4 | low & 0xF);
    }
    if wrong > 0xF { Err(malformed("a bytea in hex")) } else { Ok(Value::Bytes(Cow::Owned(decoded))) }
}

/// 36 characters: 32 hexadecimal digits in five groups.
pub(crate) fn uuid<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let text: &[u8; 36] = bytes.try_into().map_err(|_| malformed("a uuid"))?;
    let mut uuid = [0; 16];
    let (mut digits, mut wrong) = (0_usize, 0);
    for (index, byte) in text.iter().enumerate() {
        if DASHES.contains(&index) {
            wrong |= if *byte == b'-' { 0 } else { 0xFF };
            continue;
        }
        let nibble = nibble(*byte);
        wrong |= nibble;
        if let Some(half) = uuid.get_mut(digits / 2) {
            *half = *half << 4 | nibble & 0xF;
        }
        digits += 1;
    }
    if wrong > 0xF { Err(malformed("a uuid")) } else { Ok(Value::Uuid(uuid)) }
}

/// The value of a hexadecimal digit; above 15 for anything else.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0xFF,
    }
}
