//! Bytes of messages, copied once out of the client's memory into blocks that many messages share.

use bytes::{Bytes, BytesMut};

/// Messages per allocation: a block holds about 500 of 256 bytes. It is freed with the last row that lies in it.
const BLOCK_BYTES: usize = 128 * 1024;

/// Copies bytes into shared blocks.
#[derive(Debug, Default)]
pub(crate) struct Arena(BytesMut);

impl Arena {
    /// A copy of `bytes`.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(BLOCK_BYTES.max(bytes.len()));
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_a_block_and_do_not_mix() {
        let mut arena = Arena::default();
        let large = vec![7; BLOCK_BYTES + 1];
        let copies = [arena.copy(b"a"), arena.copy(b""), arena.copy(b"bc"), arena.copy(&large), arena.copy(b"d")];
        assert_eq!(copies[0], "a");
        assert_eq!(copies[1], "");
        assert_eq!(copies[2], "bc");
        assert_eq!(copies[3], large);
        assert_eq!(copies[4], "d");
        assert_eq!(copies[0].as_ptr().wrapping_add(1), copies[2].as_ptr(), "no allocation between");
    }
}
