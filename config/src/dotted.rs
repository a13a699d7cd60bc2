//! Dotted keys put together again: `a.b = 1` is a table in a table to TOML, and a key of the name `a.b` to whoever knows
//! such keys from elsewhere.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key with its value.
#[derive(Debug)]
pub(crate) struct Entry<'d> {
    /// The key; the parts of a dotted one are put together again.
    pub(crate) name: String,
    /// Where its last part stands.
    pub(crate) offset: usize,
    pub(crate) value: &'d Spanned<DeValue<'d>>,
}

/// A key with more parts is not taken apart.
const PARTS_MAX: usize = 16;

/// Every key below a table, in no order.
pub(crate) fn entries<'d>(table: &'d DeTable<'d>) -> Vec<Entry<'d>> {
    let mut entries = Vec::new();
    let mut tables: Vec<(String, usize, &'d DeTable<'d>)> = vec![(String::new(), 1, table)];
    while let Some((prefix, parts, table)) = tables.pop() {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            match value.get_ref().as_table() {
                Some(inner) if parts < PARTS_MAX && !inner.is_empty() => {
                    tables.push((format!("{name}."), parts + 1, inner));
                }
                _ => entries.push(Entry { name, offset: key.span().start, value }),
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_put_together() {
        let text = "a = 1\nb.c = 2\n\"b.d\" = 3\nb.e.\"f.g\" = 4\nb.h = { }\n";
        let table = DeTable::parse(text).unwrap();
        let mut names: Vec<(String, &str)> = entries(table.get_ref())
            .into_iter()
            .map(|entry| (entry.name, &text[entry.offset..=entry.offset]))
            .collect();
        names.sort();
        let expected = [("a", "a"), ("b.c", "c"), ("b.d", "\""), ("b.e.f.g", "\""), ("b.h", "h")];
        assert_eq!(names, expected.map(|(name, at)| (name.to_owned(), at)));
    }

    #[test]
    fn a_key_without_end_ends() {
        let text = format!("{}a = 1", "a.".repeat(60));
        let table = DeTable::parse(&text).unwrap();
        let found = entries(table.get_ref());
        assert_eq!((found.len(), found[0].name.split('.').count()), (1, PARTS_MAX));
    }
}
