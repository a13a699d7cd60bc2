//! Messages of the `pgoutput` plugin, protocol version 1, in text form.
//!
//! A row is not copied: it is the message's own bytes plus the place of each cell, one allocation a row.

use bytes::Bytes;
use walbrook_model::{Error, Result, Row, RowBuilder};

use super::reader::Reader;
use super::{Lsn, malformed};

/// One message of the stream. A transaction is `Begin`, any number of others, `Commit`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "the protocol's own name")]
pub(crate) enum Message {
    /// A transaction begins; it is sent only after it committed.
    Begin {
        /// Where the commit record lies: the position of the transaction's order token.
        final_lsn: Lsn,
        /// Microseconds since 1970.
        committed_at_us: i64,
        /// The transaction's number at the server.
        xid: u32,
    },
    /// What `pg_logical_emit_message` wrote. A non-transactional one also comes outside of transactions.
    Message(LogicalMessage),
    /// The transaction is complete.
    Commit {
        /// Where the commit record lies: equal to `final_lsn` of its begin.
        commit_lsn: Lsn,
        /// Where it ends: what a checkpoint holds.
        end_lsn: Lsn,
        /// Microseconds since 1970.
        committed_at_us: i64,
    },
    /// The transaction was replicated into this server from elsewhere.
    Origin {
        /// Its commit at the server it comes from.
        commit_lsn: Lsn,
        /// The name of the origin.
        name: String,
    },
    /// The shape of a table, before its first row and after each change of it.
    Relation(Relation),
    /// A type that is not built in, before the relation that uses it.
    Type {
        /// Its number.
        oid: u32,
        /// The schema that holds it.
        namespace: String,
        /// Its own name.
        name: String,
    },
    /// A row was inserted.
    Insert {
        /// The number of the table, as in its [`Relation`].
        relation: u32,
        /// The row.
        new: Row,
    },
    /// A row was updated.
    Update {
        /// The number of the table.
        relation: u32,
        /// The row before: only if the replica identity is full or one of its columns changed.
        old: Option<Old>,
        /// The row after; cells of unchanged TOAST are not carried.
        new: Row,
    },
    /// A row was deleted.
    Delete {
        /// The number of the table.
        relation: u32,
        /// The row before.
        old: Old,
    },
    /// All rows of the tables were removed.
    Truncate {
        /// The numbers of the tables.
        relations: Vec<u32>,
        /// `CASCADE` was given.
        cascade: bool,
        /// `RESTART IDENTITY` was given.
        restart_identity: bool,
    },
}

/// See [`Message::Message`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LogicalMessage {
    /// Whether it belongs to the transaction around it.
    pub(crate) transactional: bool,
    /// Where it lies.
    pub(crate) lsn: Lsn,
    /// Says whom it is meant for. Bytes that are not UTF-8 are replaced.
    pub(crate) prefix: String,
    /// Anything.
    pub(crate) content: Bytes,
}

impl std::fmt::Debug for LogicalMessage {
    /// Without the content, which may be data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogicalMessage({} {:?}, {} bytes)", self.lsn, self.prefix, self.content.len())
    }
}

/// The shape of a table at the rows that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    /// The number of the table.
    pub(crate) oid: u32,
    /// The schema that holds it.
    pub(crate) namespace: String,
    /// Its own name.
    pub(crate) name: String,
    /// What old rows carry.
    pub(crate) identity: ReplicaIdentity,
    /// In the order of the rows; dropped, generated and unpublished columns are left out.
    pub(crate) columns: Vec<RelationColumn>,
}

/// One column of a [`Relation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    /// Its name.
    pub(crate) name: String,
    /// The number of its type.
    pub(crate) type_oid: u32,
    /// What the declaration adds to the type, such as a precision; -1 for nothing.
    pub(crate) typmod: i32,
    /// Whether it belongs to the replica identity; every column does if that is full.
    pub(crate) key: bool,
}

/// What the log holds of a row before its update or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// Nothing.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of a unique index.
    Index,
}

/// The row before a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Old {
    /// Whether the cells outside the key are no data at all: the server sends them as null. The
    /// relation says which they are.
    pub(crate) key_only: bool,
    /// The cells.
    pub(crate) row: Row,
}

/// Decodes one message.
pub(crate) fn decode(message: &Bytes) -> Result<Message> {
    let mut reader = Reader::new(message);
    let decoded = match reader.u8()? {
        b'B' => Message::Begin { final_lsn: reader.lsn()?, committed_at_us: reader.time_us()?, xid: reader.u32()? },
        b'C' => commit(&mut reader)?,
        b'I' => insert(&mut reader, message)?,
        b'U' => update(&mut reader, message)?,
        b'D' => delete(&mut reader, message)?,
        b'R' => Message::Relation(relation(&mut reader)?),
        b'Y' => Message::Type { oid: reader.u32()?, namespace: namespace(&mut reader)?, name: reader.name()? },
        b'T' => truncate(&mut reader)?,
        b'M' => Message::Message(logical_message(&mut reader, message)?),
        b'O' => Message::Origin { commit_lsn: reader.lsn()?, name: reader.name()? },
        other => return Err(malformed(&format!("pgoutput has no message type {:?}", char::from(other)))),
    };
    reader.end()?;
    Ok(decoded)
}

fn commit(reader: &mut Reader<'_>) -> Result<Message> {
    if reader.u8()? != 0 {
        return Err(malformed("a commit has unknown flags"));
    }
    Ok(Message::Commit { commit_lsn: reader.lsn()?, end_lsn: reader.lsn()?, committed_at_us: reader.time_us()? })
}

fn insert(reader: &mut Reader<'_>, message: &Bytes) -> Result<Message> {
    let relation = reader.u32()?;
    match reader.u8()? {
        b'N' => Ok(Message::Insert { relation, new: tuple(reader, message)? }),
        _ => Err(malformed("an insert has no new row")),
    }
}

fn update(reader: &mut Reader<'_>, message: &Bytes) -> Result<Message> {
    let relation = reader.u32()?;
    let mut kind = reader.u8()?;
    let mut old = None;
    if let b'K' | b'O' = kind {
        old = Some(Old { key_only: kind == b'K', row: tuple(reader, message)? });
        kind = reader.u8()?;
    }
    match kind {
        b'N' => Ok(Message::Update { relation, old, new: tuple(reader, message)? }),
        _ => Err(malformed("an update has no new row")),
    }
}

fn delete(reader: &mut Reader<'_>, message: &Bytes) -> Result<Message> {
    let relation = reader.u32()?;
    match reader.u8()? {
        kind @ (b'K' | b'O') => {
            Ok(Message::Delete { relation, old: Old { key_only: kind == b'K', row: tuple(reader, message)? } })
        }
        _ => Err(malformed("a delete has no old row")),
    }
}

/// The cells of a row, as places in `message`.
fn tuple(reader: &mut Reader<'_>, message: &Bytes) -> Result<Row> {
    let columns = usize::from(reader.u16()?);
    // A cell takes at least one byte: a lying count allocates nothing.
    let mut row = RowBuilder::with_capacity(columns.min(reader.remaining()), 0);
    for _ in 0..columns {
        match reader.u8()? {
            b't' => {
                let len = reader.len()?;
                let start = reader.position();
                reader.take(len)?;
                row.push_place(start, len);
            }
            b'n' => row.push_null(),
            b'u' => row.push_unchanged(),
            b'b' => return Err(Error::bug("the server sent a binary cell although text was asked for")),
            _ => return Err(malformed("a cell has no known kind")),
        }
    }
    Ok(row.finish_over(message.clone()))
}

fn relation(reader: &mut Reader<'_>) -> Result<Relation> {
    let oid = reader.u32()?;
    let namespace = namespace(reader)?;
    let name = reader.name()?;
    let identity = match reader.u8()? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        _ => return Err(malformed("a relation has no known replica identity")),
    };
    let count = usize::from(reader.u16()?);
    let mut columns = Vec::with_capacity(count.min(reader.remaining()));
    for _ in 0..count {
        let key = reader.u8()? & 1 == 1;
        columns.push(RelationColumn { name: reader.name()?, type_oid: reader.u32()?, typmod: reader.i32()?, key });
    }
    Ok(Relation { oid, namespace, name, identity, columns })
}

/// The server sends the schema `pg_catalog` as nothing.
fn namespace(reader: &mut Reader<'_>) -> Result<String> {
    let name = reader.name()?;
    Ok(if name.is_empty() { "pg_catalog".to_owned() } else { name })
}

fn truncate(reader: &mut Reader<'_>) -> Result<Message> {
    let count = reader.len()?;
    let flags = reader.u8()?;
    let mut relations = Vec::with_capacity(count.min(reader.remaining() / 4));
    for _ in 0..count {
        relations.push(reader.u32()?);
    }
    Ok(Message::Truncate { relations, cascade: flags & 1 != 0, restart_identity: flags & 2 != 0 })
}

fn logical_message(reader: &mut Reader<'_>, message: &Bytes) -> Result<LogicalMessage> {
    let transactional = reader.u8()? & 1 == 1;
    let lsn = reader.lsn()?;
    let prefix = String::from_utf8_lossy(reader.cstr()?).into_owned();
    let len = reader.len()?;
    let content = message.slice_ref(reader.take(len)?);
    Ok(LogicalMessage { transactional, lsn, prefix, content })
}

#[cfg(test)]
mod tests;
