//! Which tables are captured.
//!
//! - An ordinary or partitioned table that an include pattern matches and no exclude pattern does.
//! - A partition comes under the topmost ancestor that is captured, as the publication sends it; it is captured by itself
//!   only if none is. The partitions of an excluded table are excluded.
//! - What looks like a table but is not in the log is told: views, foreign, unlogged and temporary tables.

use std::collections::HashMap;

use tokio_postgres::{Client, Row};
use walbrook_config::Tables;
use walbrook_model::{Result, TableId};

use crate::sql;

/// What is captured, and why the rest that the patterns match is not.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// In order of their names.
    pub(crate) captured: Vec<(u32, TableId)>,
    /// Matched by a pattern, but not in the log.
    pub(crate) refused: Vec<(TableId, Refused)>,
    /// Partition -> the captured table that it comes under.
    pub(crate) partitions: HashMap<u32, u32>,
    /// Include patterns that match nothing.
    pub(crate) unmatched: Vec<String>,
}

/// Why something is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    View,
    MaterializedView,
    Foreign,
    Unlogged,
    Temporary,
}

impl Refused {
    /// What it is.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::View => "a view",
            Self::MaterializedView => "a materialized view",
            Self::Foreign => "a foreign table",
            Self::Unlogged => "an unlogged table",
            Self::Temporary => "a temporary table",
        }
    }
}

/// A relation that a pattern may match.
#[derive(Clone, Debug)]
struct Candidate {
    oid: u32,
    id: TableId,
    refused: Option<Refused>,
    /// Of a partition, the nearest first.
    ancestors: Vec<u32>,
}

const QUERY: &str = "\
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, \
        CASE WHEN c.relispartition THEN \
            (SELECT array_agg(a.relid::oid) FROM pg_partition_ancestors(c.oid) a WHERE a.relid <> c.oid) END \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' \
        AND (n.nspname !~ '^pg_' OR c.relpersistence = 't') AND n.nspname !~ '^pg_toast' \
    ORDER BY n.nspname, c.relname";

/// Looks at the catalog.
pub(crate) async fn select(client: &Client, tables: &Tables) -> Result<Selection> {
    let rows = client.query(QUERY, &[]).await.map_err(sql::error)?;
    let candidates = rows.iter().map(Candidate::from_row).collect::<Result<Vec<_>, _>>().map_err(sql::error)?;
    Ok(choose(&candidates, tables))
}

fn choose(candidates: &[Candidate], tables: &Tables) -> Selection {
    let included = Tables { exclude: Vec::new(), ..tables.clone() };
    let by_oid: HashMap<u32, &Candidate> = candidates.iter().map(|candidate| (candidate.oid, candidate)).collect();
    let matched = |tables: &Tables, id: &TableId| tables.captures(&id.schema, &id.name);
    let excluded = |id: &TableId| matched(&included, id) && !matched(tables, id);
    let ancestors = |candidate: &Candidate| {
        candidate.ancestors.iter().filter_map(|oid| by_oid.get(oid).copied()).collect::<Vec<_>>()
    };
    let captured = |candidate: &Candidate| {
        matched(tables, &candidate.id) && !ancestors(candidate).iter().any(|ancestor| excluded(&ancestor.id))
    };
    let matches = |pattern: &String| {
        let alone = Tables { include: vec![pattern.clone()], ..included.clone() };
        candidates.iter().any(|candidate| matched(&alone, &candidate.id))
    };
    let unmatched = tables.include.iter().filter(|pattern| !matches(pattern)).cloned().collect();
    let mut selection = Selection { unmatched, ..Selection::default() };
    for candidate in candidates {
        if let Some(root) = ancestors(candidate).into_iter().rev().find(|ancestor| captured(ancestor)) {
            selection.partitions.insert(candidate.oid, root.oid);
        } else if captured(candidate) {
            match candidate.refused {
                None => selection.captured.push((candidate.oid, candidate.id.clone())),
                Some(refused) => selection.refused.push((candidate.id.clone(), refused)),
            }
        }
    }
    selection
}

impl Candidate {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let (kind, persistence): (&str, &str) = (row.try_get(3)?, row.try_get(4)?);
        let refused = match (kind, persistence) {
            ("v", _) => Some(Refused::View),
            ("m", _) => Some(Refused::MaterializedView),
            ("f", _) => Some(Refused::Foreign),
            (_, "u") => Some(Refused::Unlogged),
            (_, "t") => Some(Refused::Temporary),
            _ => None,
        };
        let id = TableId { schema: row.try_get(1)?, name: row.try_get(2)? };
        let ancestors: Option<Vec<u32>> = row.try_get(5)?;
        Ok(Self { oid: row.try_get(0)?, id, refused, ancestors: ancestors.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(oid: u32, name: &str, ancestors: &[u32]) -> Candidate {
        let (schema, name) = name.split_once('.').unwrap();
        Candidate { oid, id: TableId::new(schema, name), refused: None, ancestors: ancestors.to_vec() }
    }

    #[track_caller]
    fn check(
        candidates: &[Candidate],
        include: &[&str],
        exclude: &[&str],
        captured: &[u32],
        partitions: &[(u32, u32)],
    ) {
        let list = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let tables = Tables { include: list(include), exclude: list(exclude), exclude_columns: Vec::new() };
        let selection = choose(candidates, &tables);
        assert_eq!(selection.captured.iter().map(|(oid, _)| *oid).collect::<Vec<_>>(), captured);
        assert_eq!(selection.partitions, partitions.iter().copied().collect());
    }

    #[test]
    fn a_partition_comes_under_its_topmost_captured_ancestor() {
        let tree = [
            table(1, "public.plain", &[]),
            table(2, "public.orders", &[]),
            table(3, "public.orders_eu", &[2]),
            table(4, "archive.orders_eu_2024", &[3, 2]),
        ];
        check(&tree, &["*.*"], &[], &[1, 2], &[(3, 2), (4, 2)]);
        check(&tree, &["public.orders"], &[], &[2], &[(3, 2), (4, 2)]);
        check(&tree, &["public.orders_eu"], &[], &[3], &[(4, 3)]);
        check(&tree, &["archive.*"], &[], &[4], &[]);
        check(&tree, &["*.*"], &["public.orders"], &[1], &[]);
        check(&tree, &["*.*"], &["public.orders_eu"], &[1, 2], &[(3, 2), (4, 2)]);
        check(&tree, &["*.*"], &["archive.*"], &[1, 2], &[(3, 2), (4, 2)]);
    }

    #[test]
    fn what_is_not_in_the_log_is_refused() {
        let view = Candidate { refused: Some(Refused::View), ..table(1, "public.v", &[]) };
        let tables = |include: &str| Tables {
            include: vec![include.to_owned()],
            exclude: Vec::new(),
            exclude_columns: Vec::new(),
        };
        let selection = choose(std::slice::from_ref(&view), &tables("public.*"));
        assert!(selection.captured.is_empty());
        assert_eq!(selection.refused, [(TableId::new("public", "v"), Refused::View)]);
        assert!(selection.unmatched.is_empty());
        let selection = choose(&[view], &tables("other.*"));
        assert!(selection.refused.is_empty());
        assert_eq!(selection.unmatched, ["other.*"]);
    }
}
