//! A row of the source as it looks behind its topic.
//!
//! A message may say less than the database: a time in milliseconds, a number as text. What the lake can hold is what the
//! messages say, so rows are encoded as the capture does, and read as the merge does.

use bytes::Bytes;
use walbrook_envelope::{Context, Decoded, Incoming, Messages, TableEnvelope, TableReader, split_wire_header};
use walbrook_model::{Change, Error, Op, Result};

/// Sends rows of one version of a table through messages.
pub(super) struct Mirror {
    envelope: TableEnvelope,
    is_avro: bool,
    reader: TableReader,
    messages: Messages,
}

impl Mirror {
    /// # Errors
    /// Of kind data, if its schemas cannot be read.
    pub(super) fn new(envelope: TableEnvelope, is_avro: bool) -> Result<Self> {
        let table = Some(envelope.schema().table.clone());
        let reader = if is_avro {
            TableReader::avro(envelope.key_schema(), envelope.value_schema(), table)?
        } else {
            TableReader::json(table)
        };
        Ok(Self { envelope, is_avro, reader, messages: Messages::default() })
    }

    /// The reads among `changes`, as the merge gets them.
    ///
    /// # Errors
    /// Of kind data, if a value has no form in a message.
    pub(super) fn reads(&mut self, changes: &[Change]) -> Result<Vec<Change>> {
        changes.iter().filter(|change| change.op == Op::Read).map(|change| self.read(change)).collect()
    }

    fn read(&mut self, change: &Change) -> Result<Change> {
        self.messages.clear();
        self.envelope.encode(change, &Context::default(), &mut self.messages)?;
        let message = self.messages.iter().next().ok_or_else(|| Error::bug("a read without a message"))?;
        let headers: Vec<(&str, &[u8])> = message.headers().collect();
        let is_avro = self.is_avro;
        let part = |bytes: Option<&[u8]>| match bytes.map(Bytes::copy_from_slice) {
            Some(bytes) if is_avro => split_wire_header(&bytes).map(|(_, rest)| Some(rest)),
            bytes => Ok(bytes),
        };
        let incoming = Incoming { key: part(message.key)?, value: part(message.value)?, headers: &headers };
        match self.reader.read(&incoming)? {
            Decoded::Change(change, _) => Ok(change),
            _ => Err(Error::bug("a read is something else behind its topic")),
        }
    }
}
