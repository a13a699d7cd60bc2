//! Patterns of tables and columns: names joined by dots, with `*` for any run of characters in a name.
//!
//! A name that itself holds a dot is reached by a `*` in its place.

use crate::form::{NAME_BYTES_MAX, length, printable};

/// Whether `names` match a pattern, name by name. Capitals matter, as they do in the catalog.
pub(crate) fn matches(pattern: &str, names: &[&str]) -> bool {
    let parts: Vec<&str> = pattern.split('.').collect();
    parts.len() == names.len() && parts.iter().zip(names).all(|(part, name)| matches_name(part, name))
}

/// Checks that a text is `parts` names joined by dots.
pub(crate) fn check(text: &str, parts: usize) -> Result<(), &'static str> {
    length(text, parts * (NAME_BYTES_MAX + 1))?;
    printable(text)?;
    if text.contains('"') {
        return Err("holds a quote; write names without quotes, as they are in the catalog");
    }
    if text.contains(['\\', '^', '(', '[', '|']) {
        return Err("looks like a regular expression; the only special character is *");
    }
    if text.split('.').count() != parts {
        return Err(if parts == 2 { "not two names joined by a dot" } else { "not three names joined by dots" });
    }
    for name in text.split('.') {
        if name.is_empty() {
            return Err("holds an empty name");
        }
        if name.len() > NAME_BYTES_MAX && !name.contains('*') {
            return Err("holds a name longer than 63 bytes, which PostgreSQL cuts off");
        }
    }
    Ok(())
}

/// Whether `name` matches one part of a pattern, or a pattern without parts. After a mismatch only the last `*` takes one character more, so the time is
/// bounded by the product of the lengths.
pub(crate) fn matches_name(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == name.get(n) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The meaning of a pattern, as plain as can be.
    fn plain(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|taken| plain(rest, &name[taken..])),
            Some((first, rest)) => name.first() == Some(first) && plain(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_match_is_what_its_plain_meaning_says(pattern in "[ab\u{e9}*]{0,8}", name in "[ab\u{e9}]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches_name(&pattern, &name), plain(&chars(&pattern), &chars(&name)));
        }
    }

    #[test]
    fn tables_and_columns() {
        let check =
            |pattern, names: &[&str], expected| assert_eq!(matches(pattern, names), expected, "{pattern} {names:?}");
        check("public.orders", &["public", "orders"], true);
        check("public.orders", &["public", "Orders"], false);
        check("public.*", &["public", "a.b"], true);
        check("public.*", &["public2", "a"], false);
        check("*.*", &["a", "b"], true);
        check("shop_*.order*", &["shop_eu", "orders"], true);
        check("public.*.ssn", &["public", "users", "ssn"], true);
        check("public.*.ssn", &["public", "users"], false);
        let (stars, name) = ("*a".repeat(30), "a".repeat(63));
        assert!(matches(&format!("a.{stars}"), &["a", &name]) && !matches(&format!("a.{stars}b"), &["a", &name]));
    }

    #[test]
    fn what_is_no_pattern() {
        for good in ["public.orders", "public.*", "*.*", "Sh op.Caf\u{e9}", "a$b.c-d"] {
            assert_eq!(check(good, 2), Ok(()), "{good}");
        }
        let long = format!("public.{}", "t".repeat(64));
        for bad in ["", "orders", "*", "a.b.c", ".orders", "public.", "\"a\".b", "a\\.b", "^a.b$", "a.(b|c)", &long] {
            assert!(check(bad, 2).is_err(), "{bad}");
        }
        assert!(check("a.b.c", 3).is_ok() && check("*.*.ssn", 3).is_ok());
        assert!(check("a.b", 3).is_err() && check("a.b.c.d", 3).is_err() && check("a..c", 3).is_err());
    }
}
