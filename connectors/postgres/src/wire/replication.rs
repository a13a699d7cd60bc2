//! What a replication stream wraps into its `CopyData` messages, both ways.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use walbrook_model::Result;

use super::reader::Reader;
use super::{EPOCH_OFFSET_US, Lsn, malformed};

/// What the server sends.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    /// One message of the output plugin.
    Data {
        /// Where it lies in the log; zero for messages that are not in the log, such as a relation.
        start: Lsn,
        /// How far the server has read the log.
        end: Lsn,
        /// The server's clock, microseconds since 1970.
        sent_at_us: i64,
        /// The plugin's message.
        message: Bytes,
    },
    /// The server has read on and found nothing for us.
    Keepalive {
        /// How far it has read the log.
        end: Lsn,
        /// The server's clock, microseconds since 1970.
        sent_at_us: i64,
        /// It will close the connection if no status comes soon.
        reply_requested: bool,
    },
}

/// What stands before the plugin's message.
pub(crate) const DATA_HEADER_BYTES: usize = 1 + 8 + 8 + 8;

/// Decodes the content of a `CopyData` message.
pub(crate) fn decode(mut content: Bytes) -> Result<Payload> {
    let mut reader = Reader::new(&content);
    match reader.u8()? {
        b'w' => {
            let (start, end, sent_at_us) = (reader.lsn()?, reader.lsn()?, reader.time_us()?);
            content.advance(DATA_HEADER_BYTES);
            Ok(Payload::Data { start, end, sent_at_us, message: content })
        }
        b'k' => {
            let (end, sent_at_us) = (reader.lsn()?, reader.time_us()?);
            let reply_requested = reader.u8()? != 0;
            reader.end()?;
            Ok(Payload::Keepalive { end, sent_at_us, reply_requested })
        }
        _ => Err(malformed("a replication stream holds an unknown message")),
    }
}

/// What we tell the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// How far we have received.
    pub(crate) written: Lsn,
    /// How far everything is durable: the server may forget what lies before. Zero forgets nothing.
    pub(crate) flushed: Lsn,
    /// Our clock, microseconds since 1970.
    pub(crate) now_us: i64,
    /// Whether the server shall answer with a keepalive.
    pub(crate) reply_requested: bool,
}

impl Status {
    /// Appends the status as a whole message.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        const LENGTH: u32 = 4 + 1 + 8 + 8 + 8 + 8 + 1;
        out.put_u8(b'd');
        out.put_u32(LENGTH);
        out.put_u8(b'r');
        out.put_u64(self.written.0);
        out.put_u64(self.flushed.0);
        // Applied is the same as flushed: only what is durable in the sink counts as applied.
        out.put_u64(self.flushed.0);
        out.put_i64(self.now_us.saturating_sub(EPOCH_OFFSET_US));
        out.put_u8(u8::from(self.reply_requested));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn data_is_unwrapped_without_a_copy() {
        let mut content = vec![b'w'];
        content.extend(0x16_B374_D848_u64.to_be_bytes());
        content.extend(0x16_B374_D900_u64.to_be_bytes());
        content.extend(1_i64.to_be_bytes());
        content.extend(b"payload");
        let expected = Payload::Data {
            start: Lsn(0x16_B374_D848),
            end: Lsn(0x16_B374_D900),
            sent_at_us: EPOCH_OFFSET_US + 1,
            message: Bytes::from_static(b"payload"),
        };
        assert!(decode(content.into()).unwrap() == expected);
    }

    #[test]
    fn a_keepalive_may_ask_for_a_reply() {
        let keepalive = |reply: u8| {
            let mut content = vec![b'k'];
            content.extend(7_u64.to_be_bytes());
            content.extend((-EPOCH_OFFSET_US).to_be_bytes());
            content.push(reply);
            decode(content.into()).unwrap()
        };
        assert!(keepalive(0) == Payload::Keepalive { end: Lsn(7), sent_at_us: 0, reply_requested: false });
        assert!(keepalive(1) == Payload::Keepalive { end: Lsn(7), sent_at_us: 0, reply_requested: true });
    }

    #[test]
    fn a_status_has_the_layout_of_the_manual() {
        let mut out = BytesMut::new();
        let status = Status { written: Lsn(3), flushed: Lsn(2), now_us: EPOCH_OFFSET_US + 5, reply_requested: true };
        status.encode(&mut out);
        let mut expected = vec![b'd', 0, 0, 0, 38, b'r'];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 3]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 2]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 2]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 5, 1]);
        assert_eq!(out, expected);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in prop::sample::select(b"wkrx".to_vec()), mut content: Vec<u8>) {
            content.insert(0, kind);
            let _ = decode(content.into());
        }
    }
}
