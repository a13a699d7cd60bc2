//! Which columns are the key of a table.
//!
//! - `REPLICA IDENTITY USING INDEX`: the columns of that index, since the log carries no others of an old row.
//! - Else the primary key.
//! - `REPLICA IDENTITY FULL` without a primary key: a unique index that is as good as one, if there is any.
//! - Else there is none.

use crate::wire::pgoutput::ReplicaIdentity;

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct Index {
    pub(crate) oid: u32,
    /// Numbers of its columns in the table, in order; 0 for an expression.
    pub(crate) columns: Vec<i16>,
    pub(crate) primary: bool,
    /// `REPLICA IDENTITY USING INDEX` names it.
    pub(crate) identity: bool,
    /// Two rows may not share a key even inside a transaction.
    pub(crate) immediate: bool,
    /// Valid and of all rows.
    pub(crate) whole: bool,
}

/// The index whose columns are the key. `usable` says whether a column is captured and never NULL.
pub(crate) fn choose(identity: ReplicaIdentity, indexes: &[Index], usable: impl Fn(i16) -> bool) -> Option<&Index> {
    let primary = || indexes.iter().find(|index| index.primary);
    match identity {
        ReplicaIdentity::Index => indexes.iter().find(|index| index.identity),
        ReplicaIdentity::Default | ReplicaIdentity::Nothing => primary(),
        ReplicaIdentity::Full => primary().or_else(|| {
            let good = |index: &&Index| {
                index.whole && index.immediate && !index.columns.is_empty() && index.columns.iter().all(|c| usable(*c))
            };
            // The same choice at every start: the fewest columns, then the oldest.
            indexes.iter().filter(good).min_by_key(|index| (index.columns.len(), index.oid))
        }),
    }
}

/// The columns that an old row of the log carries, unless it is whole: `RelationGetIdentityKeyBitmap` of the server.
pub(crate) fn identity(identity: ReplicaIdentity, indexes: &[Index]) -> &[i16] {
    let index = match identity {
        // The server does not take a deferrable primary key for an identity.
        ReplicaIdentity::Default => indexes.iter().find(|index| index.primary && index.immediate),
        ReplicaIdentity::Index => indexes.iter().find(|index| index.identity),
        ReplicaIdentity::Nothing | ReplicaIdentity::Full => None,
    };
    index.map_or(&[], |index| &index.columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReplicaIdentity::{Default, Full, Index as UsingIndex, Nothing};

    fn unique(oid: u32, columns: &[i16]) -> Index {
        Index { oid, columns: columns.to_vec(), primary: false, identity: false, immediate: true, whole: true }
    }

    fn primary(oid: u32, columns: &[i16]) -> Index {
        Index { primary: true, ..unique(oid, columns) }
    }

    /// Column 9 may be NULL.
    #[track_caller]
    fn check(identity: ReplicaIdentity, indexes: &[Index], expected: Option<u32>) {
        let chosen = choose(identity, indexes, |column| column > 0 && column != 9);
        assert_eq!(chosen.map(|index| index.oid), expected);
    }

    #[test]
    fn the_key_is_what_the_log_can_carry() {
        let both = [unique(10, &[1]), primary(11, &[2, 1]), Index { identity: true, ..unique(12, &[3]) }];
        check(Default, &both, Some(11));
        check(Full, &both, Some(11));
        check(Nothing, &both, Some(11));
        check(UsingIndex, &both, Some(12));
        check(Default, &[unique(10, &[1])], None);
        check(UsingIndex, &[unique(10, &[1]), primary(11, &[2])], None);
    }

    #[test]
    fn without_a_primary_key_a_full_identity_takes_a_unique_index() {
        check(Full, &[], None);
        check(Full, &[unique(10, &[1, 2]), unique(12, &[3]), unique(11, &[4])], Some(11));
        check(Full, &[unique(10, &[9])], None);
        check(Full, &[unique(10, &[1, 9])], None);
        check(Full, &[unique(10, &[0])], None);
        check(Full, &[unique(10, &[])], None);
        check(Full, &[Index { immediate: false, ..unique(10, &[1]) }], None);
        check(Full, &[Index { whole: false, ..unique(10, &[1]) }], None);
    }

    #[test]
    fn an_old_row_carries_the_identity() {
        let deferrable = Index { immediate: false, ..primary(10, &[1]) };
        assert_eq!(identity(Default, &[primary(10, &[2, 1])]), [2, 1]);
        assert_eq!(identity(Default, std::slice::from_ref(&deferrable)), [0; 0]);
        assert_eq!(identity(Full, &[primary(10, &[1])]), [0; 0]);
        assert_eq!(identity(UsingIndex, &[deferrable, Index { identity: true, ..unique(12, &[3]) }]), [3]);
    }
}
