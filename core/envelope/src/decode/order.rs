//! The order of changes that Debezium wrote, from their `source` block. Weaker than our own:
//!
//! - A message does not hold its own commit's position, only that of the commit before: `(last commit, this record)` is the
//!   token, as `(position, ordinal)`. Transactions come in the order of their commits, so it rises.
//! - Reads of a snapshot lie below everything from the log, whatever their position: a transaction that was open then may
//!   have written its records before and committed after. A second snapshot of rows that the log has changed is therefore
//!   stale, except an incremental one, whose reads lie at the last commit before them.
//! - The first message after a start may lack the last commit; its own record stands for it. What is sent again after a
//!   restart then has another token than before, and ends right because all of it is sent again, in order.
//! - A failover to a server with lower positions is not seen; nothing in a message tells.

use walbrook_model::{Error, Result, Seq};

/// What a `source` block says of the place of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) lsn: Option<i64>,
    /// `["<last commit>","<record>"]`
    pub(crate) sequence: Option<String>,
    pub(crate) snapshot: Option<String>,
}

const ORDINAL_BITS: u32 = 46;

/// The token.
pub(crate) fn seq(place: &Place) -> Result<Seq> {
    let (last_commit, record) = place.sequence.as_deref().and_then(pair).unwrap_or_default();
    let record = record.or_else(|| place.lsn.map(i64::cast_unsigned));
    let built = match place.snapshot.as_deref() {
        None | Some("false") => {
            let record = record.ok_or_else(unplaced)?;
            // Positions above 64 TiB wrap: two records of one transaction would have to lie on both sides to be misjudged.
            let ordinal = (record & ((1 << ORDINAL_BITS) - 1)).max(1);
            Seq::new(0, 0, last_commit.unwrap_or(record), ordinal)
        }
        Some("incremental") => Seq::new(0, 0, last_commit.or(record).ok_or_else(unplaced)?, 0),
        Some(_) => Seq::new(0, 0, 1, 0),
    };
    built.map_err(|error| Error::data("a message has a position that no log has").because(error))
}

#[cold]
fn unplaced() -> Error {
    Error::data("a message has no position in its source block")
        .remedy("only topics of its PostgreSQL connector are read")
}

/// The two numbers of a sequence.
fn pair(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let [first, second]: [Option<String>; 2] = serde_json::from_str(text).ok()?;
    let number = |text: Option<String>| text.map(|text| text.parse().ok());
    Some((number(first).unwrap_or_default(), number(second).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(sequence: &str, snapshot: &str) -> Seq {
        seq(&Place { lsn: None, sequence: Some(sequence.to_owned()), snapshot: Some(snapshot.to_owned()) }).unwrap()
    }

    #[test]
    fn order_follows_commits_then_records() {
        let read = token(r#"[null,"1488118624"]"#, "last");
        // It wrote its record before the snapshot was taken, and committed after.
        let open_then = token(r#"[null,"1488110000"]"#, "false");
        let first = token(r#"["1488118664","1488118984"]"#, "false");
        let second = token(r#"["1488118984","1488119400"]"#, "false");
        // A long transaction: its records lie below the last commit.
        let long = token(r#"["1488119400","1488100000"]"#, "false");
        let long_next = token(r#"["1488119400","1488119500"]"#, "false");
        let tokens = [read, open_then, first, second, long, long_next];
        assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
        // An incremental read knows what committed before it, and nothing after.
        let incremental = token(r#"["1488118984",null]"#, "incremental");
        assert!(first < incremental && incremental < second);
    }

    #[test]
    fn what_is_sent_again_ends_right() {
        // One key: written at 100 and 110 by a transaction after commit 90, at 150 by one after commit 120.
        let sent = [(r#"["90","100"]"#, 1), (r#"["90","110"]"#, 2), (r#"["120","150"]"#, 3)];
        // After a restart the last commit is not known at first.
        let again = [(r#"[null,"100"]"#, 1), (r#"["90","110"]"#, 2), (r#"["120","150"]"#, 3)];
        let also = [(r#"[null,"100"]"#, 1), (r#"[null,"110"]"#, 2), (r#"["120","150"]"#, 3)];
        for again in [sent, again, also] {
            let mut stored: Option<(Seq, i32)> = None;
            for (sequence, value) in sent.into_iter().chain(again) {
                let seq = token(sequence, "false");
                if stored.is_none_or(|(known, _)| seq > known) {
                    stored = Some((seq, value));
                }
            }
            assert_eq!(stored.unwrap().1, 3);
        }
    }

    #[test]
    fn a_message_without_a_position_is_refused() {
        assert!(seq(&Place::default()).is_err());
        for sequence in ["", "[]", "[null,null]", "[\"x\",\"y\"]", "{}"] {
            let place = Place { sequence: Some(sequence.to_owned()), ..Place::default() };
            assert!(seq(&place).is_err(), "{sequence}");
        }
        let place = Place { lsn: Some(7), ..Place::default() };
        assert_eq!(seq(&place).unwrap(), Seq::new(0, 0, 7, 7).unwrap());
        assert!(seq(&Place { lsn: Some(-1), ..Place::default() }).is_err());
    }
}
