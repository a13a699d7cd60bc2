//! The outer layer of the protocol: a type byte, a length, a body. And the bodies that every session meets.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use walbrook_model::{Error, Result};

use super::malformed;
use super::reader::Reader;

const HEADER_BYTES: usize = 5;

/// One message of the server.
pub(crate) struct Message {
    /// The type byte.
    pub(crate) kind: u8,
    /// What follows the length.
    pub(crate) body: Bytes,
}

/// What [`next`] found.
pub(crate) enum Next {
    /// A whole message, taken off the buffer.
    Message(Message),
    /// The buffer does not hold a whole message yet.
    Missing,
}

/// Takes the first message off `buffer`. A body larger than `body_bytes_max` is refused by its header already.
pub(crate) fn next(buffer: &mut BytesMut, body_bytes_max: usize) -> Result<Next> {
    let (Some(&kind), Some(body_bytes)) = (buffer.first(), body_bytes(buffer)?) else {
        return Ok(Next::Missing);
    };
    if body_bytes > body_bytes_max {
        return Err(too_large(body_bytes, body_bytes_max));
    }
    if buffer.len() - HEADER_BYTES < body_bytes {
        return Ok(Next::Missing);
    }
    buffer.advance(HEADER_BYTES);
    Ok(Next::Message(Message { kind, body: buffer.split_to(body_bytes).freeze() }))
}

/// Takes all messages off `buffer` that are whole, in one piece that [`messages`] parts; `None` if there is none.
/// A body larger than `body_bytes_max` is refused by its header already.
pub(crate) fn take_whole(buffer: &mut BytesMut, body_bytes_max: usize) -> Result<Option<Bytes>> {
    let mut end = 0;
    while let Some(body_bytes) = body_bytes(buffer.get(end..).unwrap_or_default())? {
        if body_bytes > body_bytes_max {
            // What came before it is whole.
            if end == 0 {
                return Err(too_large(body_bytes, body_bytes_max));
            }
            break;
        }
        if buffer.len() - end - HEADER_BYTES < body_bytes {
            break;
        }
        end += HEADER_BYTES + body_bytes;
    }
    Ok((end > 0).then(|| buffer.split_to(end).freeze()))
}

/// The messages of a piece that [`take_whole`] took: their type, and where their body lies.
pub(crate) fn messages(whole: &[u8]) -> impl Iterator<Item = (u8, Range<usize>)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let rest = whole.get(next..)?;
        let (kind, start) = (*rest.first()?, next + HEADER_BYTES);
        next = start + body_bytes(rest).ok()??;
        Some((kind, start..next))
    })
}

/// The length of the message that begins here; `None` if its header is not whole.
pub(crate) fn message_bytes(buffer: &[u8]) -> Result<Option<usize>> {
    Ok(body_bytes(buffer)?.map(|bytes| bytes + HEADER_BYTES))
}

/// The length of the body of the message that begins here; `None` if its header is not whole.
fn body_bytes(message: &[u8]) -> Result<Option<usize>> {
    let mut header = Reader::new(message);
    let (Ok(_), Ok(length)) = (header.u8(), header.u32()) else {
        return Ok(None);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    length.checked_sub(4).map(Some).ok_or_else(|| malformed("a length is too small"))
}

fn too_large(bytes: usize, limit: usize) -> Error {
    Error::config(format!("the server sends a message of {bytes} bytes, the limit is {limit}"))
}

/// What the server asks for after the startup message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Authentication {
    /// Nothing more.
    Ok,
    /// The password as it is.
    Cleartext,
    /// The password under MD5.
    Md5,
    /// A SASL exchange by one of these mechanisms.
    Sasl(Vec<String>),
    /// The next step of the SASL exchange.
    SaslContinue(Bytes),
    /// The end of the SASL exchange.
    SaslFinal(Bytes),
    /// Something that we do not speak.
    Other(u32),
}

/// Decodes the body of an `R` message.
pub(crate) fn authentication(body: &Bytes) -> Result<Authentication> {
    let mut reader = Reader::new(body);
    let code = reader.u32()?;
    let rest = body.slice(reader.position()..);
    Ok(match code {
        0 => Authentication::Ok,
        3 => Authentication::Cleartext,
        5 => Authentication::Md5,
        10 => {
            let mut mechanisms = Vec::new();
            loop {
                match reader.name()? {
                    name if name.is_empty() => break,
                    name => mechanisms.push(name),
                }
            }
            Authentication::Sasl(mechanisms)
        }
        11 => Authentication::SaslContinue(rest),
        12 => Authentication::SaslFinal(rest),
        other => Authentication::Other(other),
    })
}

/// The fields of an error or a notice: `(type, text)`. Bytes that are not UTF-8 are replaced.
pub(crate) fn fields(body: &[u8]) -> Result<Vec<(u8, String)>> {
    let mut reader = Reader::new(body);
    let mut fields = Vec::new();
    loop {
        match reader.u8()? {
            0 => return Ok(fields),
            kind => fields.push((kind, String::from_utf8_lossy(reader.cstr()?).into_owned())),
        }
    }
}

/// The name and value of a parameter that the server reports.
pub(crate) fn parameter(body: &[u8]) -> Result<(String, String)> {
    let mut reader = Reader::new(body);
    let mut text = || reader.cstr().map(|text| String::from_utf8_lossy(text).into_owned());
    Ok((text()?, text()?))
}

/// The cells of a row of a simple query. Bytes that are not UTF-8 are replaced.
pub(crate) fn data_row(body: &[u8]) -> Result<Vec<Option<String>>> {
    let mut reader = Reader::new(body);
    let count = usize::from(reader.u16()?);
    let mut cells = Vec::with_capacity(count.min(reader.remaining() / 4));
    for _ in 0..count {
        let len = reader.i32()?;
        if len == -1 {
            cells.push(None);
        } else {
            let len = usize::try_from(len).map_err(|_| malformed("a length is negative"))?;
            cells.push(Some(String::from_utf8_lossy(reader.take(len)?).into_owned()));
        }
    }
    reader.end()?;
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use walbrook_model::ErrorKind;

    const LIMIT: usize = 1000;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind];
        frame.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        frame.extend(body);
        frame
    }

    #[test]
    fn a_message_at_the_limit_passes_and_one_above_is_refused_by_its_header() {
        let body = vec![7; LIMIT];
        let mut buffer = BytesMut::from(&*frame(b'd', &body));
        assert!(matches!(next(&mut buffer, LIMIT).unwrap(), Next::Message(message) if message.body == body));
        assert!(buffer.is_empty());

        let mut buffer = BytesMut::from(&frame(b'd', &vec![7; LIMIT + 1])[..5]);
        assert!(matches!(next(&mut buffer, LIMIT), Err(error) if error.kind() == ErrorKind::Config));
        assert!(matches!(take_whole(&mut buffer, LIMIT), Err(error) if error.kind() == ErrorKind::Config));
    }

    #[test]
    fn a_length_below_its_own_size_is_refused() {
        for length in 0..4 {
            assert!(next(&mut BytesMut::from(&[b'd', 0, 0, 0, length][..]), LIMIT).is_err());
        }
    }

    #[test]
    fn rows_keep_null_apart_from_nothing() {
        let body = [0, 3, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 2, b'a', b'b'];
        assert_eq!(data_row(&body).unwrap(), [None, Some(String::new()), Some("ab".to_owned())]);
        assert!(data_row(&body[..body.len() - 1]).is_err());
    }

    #[test]
    fn sasl_lists_its_mechanisms() {
        let body = Bytes::from_static(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
        let mechanisms = vec!["SCRAM-SHA-256-PLUS".to_owned(), "SCRAM-SHA-256".to_owned()];
        assert_eq!(authentication(&body).unwrap(), Authentication::Sasl(mechanisms));
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
                                    step in 1..40_usize) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(b'd', body)).collect();
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for chunk in stream.chunks(step) {
                buffer.extend_from_slice(chunk);
                while let Next::Message(message) = next(&mut buffer, LIMIT).unwrap() {
                    found.push(message.body.to_vec());
                }
            }
            prop_assert_eq!(found, bodies);
        }

        #[test]
        fn all_whole_messages_come_in_one_piece(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
                                                step in 1..200_usize) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(b'd', body)).collect();
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for chunk in stream.chunks(step) {
                buffer.extend_from_slice(chunk);
                if let Some(whole) = take_whole(&mut buffer, LIMIT).unwrap() {
                    found.extend(messages(&whole).map(|(kind, body)| (kind, whole[body].to_vec())));
                }
                prop_assert!(take_whole(&mut buffer, LIMIT).unwrap().is_none());
            }
            prop_assert_eq!(found, bodies.into_iter().map(|body| (b'd', body)).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let body = Bytes::from(bytes.clone());
            let _ = (authentication(&body), fields(&body), parameter(&body), data_row(&body));
            let mut buffer = BytesMut::from(&*bytes);
            while let Ok(Next::Message(_)) = next(&mut buffer, LIMIT) {}
            let _ = messages(&body).count();
            let mut buffer = BytesMut::from(&*bytes);
            while let Ok(Some(_)) = take_whole(&mut buffer, LIMIT) {}
        }
    }
}
