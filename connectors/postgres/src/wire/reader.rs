//! Reads numbers and strings off a message, checking that they are there.

use walbrook_model::Result;

use super::{EPOCH_OFFSET_US, Lsn, malformed};

/// A place in a message. Every read checks the length; [`Reader::end`] checks that nothing is left over.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The index of the next byte.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| malformed("it ends early"))?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let chunk = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let chunk = *chunk.ok_or_else(|| malformed("it ends early"))?;
        self.at += N;
        Ok(chunk)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn> {
        self.u64().map(Lsn)
    }

    /// A time of the server, as microseconds since 1970.
    pub(super) fn time_us(&mut self) -> Result<i64> {
        let since_2000 = self.array().map(i64::from_be_bytes)?;
        since_2000.checked_add(EPOCH_OFFSET_US).ok_or_else(|| malformed("a time is out of range"))
    }

    /// A length of at most 2 GiB.
    pub(super) fn len(&mut self) -> Result<usize> {
        usize::try_from(self.i32()?).map_err(|_| malformed("a length is negative"))
    }

    /// Bytes up to a zero byte, which is consumed.
    pub(super) fn cstr(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = memchr::memchr(0, rest).ok_or_else(|| malformed("a string does not end"))?;
        let text = self.take(len)?;
        self.at += 1;
        Ok(text)
    }

    /// A name: UTF-8, as every session of ours asks for.
    pub(super) fn name(&mut self) -> Result<String> {
        let name = std::str::from_utf8(self.cstr()?).map_err(|_| malformed("a name is not UTF-8"))?;
        Ok(name.to_owned())
    }

    pub(super) fn end(&self) -> Result<()> {
        if self.remaining() == 0 { Ok(()) } else { Err(malformed("bytes are left over")) }
    }
}
