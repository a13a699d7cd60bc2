//! Transactions of the source as consumers see them: the `transaction` block of each message, and a begin and an end in the
//! transaction topic. Counted as Debezium counts: what is produced, in the order in which it is.

use std::sync::Arc;

use walbrook_envelope::{Messages, TransactionBlock, TransactionBorder};
use walbrook_model::{Origin, Result, SnapshotMarker, Transaction};

use crate::schemas::Events;
use crate::topics::Topic;

/// The transaction topic, and the transaction that is open in it.
pub(crate) struct Borders {
    pub(crate) events: Events,
    pub(crate) topic: Arc<Topic>,
    open: Option<Open>,
    /// The last block's id.
    id: String,
}

struct Open {
    transaction: Arc<Transaction>,
    number: i64,
    committed_at_us: i64,
    /// Where its commit record lies, if a change of it told so; else the last message.
    end: u64,
    total: i64,
    /// In the order of their first changes.
    tables: Vec<(String, i64)>,
}

/// A change, or a message of the log, on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// `schema.name`, or what stands for it.
    pub(crate) table: &'a str,
    pub(crate) origin: &'a Origin,
    pub(crate) committed_at_us: i64,
    /// Where the commit record lies.
    pub(crate) commit: Option<u64>,
}

impl Borders {
    pub(crate) fn new(events: Events, topic: Arc<Topic>) -> Self {
        Self { events, topic, open: None, id: String::new() }
    }

    /// Before an event is produced: appends the borders that lie before it. `false`: it is of no transaction.
    pub(crate) fn enter(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<bool> {
        let of_log = event.origin.snapshot == SnapshotMarker::False;
        let transaction = event.origin.transaction.as_ref().filter(|_| of_log);
        let Some((transaction, number)) = transaction.and_then(|it| Some((it, it.id?))) else {
            return Ok(false);
        };
        if self.open.as_ref().is_some_and(|open| Arc::ptr_eq(&open.transaction, transaction)) {
            return Ok(true);
        }
        self.end(out)?;
        let id = format!("{number}:{}", event.origin.position.unwrap_or_default());
        let begin = TransactionBorder { id: &id, committed_at_ms: event.committed_at_us.div_euclid(1000), end: None };
        self.events.envelope.encode_border(&begin, self.events.ids, out)?;
        self.open = Some(Open {
            transaction: transaction.clone(),
            number,
            committed_at_us: event.committed_at_us,
            end: 0,
            total: 0,
            tables: Vec::new(),
        });
        Ok(true)
    }

    /// The place of an event in the open transaction.
    pub(crate) fn block(&mut self, event: &Event<'_>) -> Option<TransactionBlock<'_>> {
        let open = self.open.as_ref()?;
        let of_table = open.tables.iter().find(|(table, _)| table == event.table).map_or(0, |(_, count)| *count);
        self.id = format!("{}:{}", open.number, event.origin.position.unwrap_or_default());
        Some(TransactionBlock { id: &self.id, total_order: open.total + 1, table_order: of_table + 1 })
    }

    /// Counts an event of the open transaction, once it has its form.
    pub(crate) fn count(&mut self, event: &Event<'_>) {
        let Some(open) = self.open.as_mut() else { return };
        open.total += 1;
        open.end = open.end.max(event.commit.or(event.origin.position).unwrap_or_default());
        match open.tables.iter_mut().find(|(table, _)| table == event.table) {
            Some((_, count)) => *count += 1,
            None => open.tables.push((event.table.to_owned(), 1)),
        }
    }

    /// The log goes on with another transaction: appends the end of the open one.
    pub(crate) fn end(&mut self, out: &mut Messages) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let id = format!("{}:{}", open.number, open.end);
        let committed_at_ms = open.committed_at_us.div_euclid(1000);
        let end = TransactionBorder { id: &id, committed_at_ms, end: Some(&open.tables) };
        self.events.envelope.encode_border(&end, self.events.ids, out)
    }
}
