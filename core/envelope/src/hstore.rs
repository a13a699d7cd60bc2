//! hstore as the server prints it: `"a"=>"1", "b"=>NULL`.

use std::borrow::Cow;

/// A key and its value.
pub(crate) type Pair<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

/// The pairs of the text.
pub(crate) fn parse(text: &str) -> Option<Vec<Pair<'_>>> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let after = after.strip_prefix("=>")?;
        let (value, after) = match after.strip_prefix("NULL") {
            Some(after) => (None, after),
            None => quoted(after).map(|(value, after)| (Some(value), after))?,
        };
        pairs.push((key, value));
        rest = match after.strip_prefix(", ") {
            Some("") => return None,
            Some(after) => after,
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(pairs)
}

fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut unescaped: Option<String> = None;
    let mut rest = inner;
    loop {
        let at = rest.find(['"', '\\'])?;
        let (plain, tail) = rest.split_at_checked(at)?;
        let mut tail_chars = tail.chars();
        if tail_chars.next() == Some('"') {
            let text = match unescaped {
                None => Cow::Borrowed(plain),
                Some(mut text) => {
                    text.push_str(plain);
                    Cow::Owned(text)
                }
            };
            return Some((text, tail_chars.as_str()));
        }
        let text = unescaped.get_or_insert_default();
        text.push_str(plain);
        text.push(tail_chars.next()?);
        rest = tail_chars.as_str();
    }
}

/// The text of pairs, as the server would print it.
pub(crate) fn text_of(pairs: &[Pair<'_>]) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push_str(", ");
        }
        quote(&mut text, key);
        text.push_str("=>");
        match value {
            Some(value) => quote(&mut text, value),
            None => text.push_str("NULL"),
        }
    }
    text
}

fn quote(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            to.push('\\');
        }
        to.push(c);
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs() {
        let pairs = parse(r#""a"=>"1", "b"=>NULL, "c d"=>"x\"y\\""#).unwrap();
        let texts: Vec<(&str, Option<&str>)> = pairs.iter().map(|(key, value)| (&**key, value.as_deref())).collect();
        assert_eq!(texts, [("a", Some("1")), ("b", None), ("c d", Some("x\"y\\"))]);
        assert_eq!(parse("").unwrap(), []);
        for text in ["a=>1", "\"a\"", "\"a\"=>", "\"a\"=>\"1\",", "\"a\"=>\"1\", ", "\"a\\"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn pairs_read_back(pairs in proptest::collection::vec((".{0,5}", proptest::option::of("[\"\\\\a\u{e9}, =>]{0,6}")), 0..5)) {
            let pairs: Vec<Pair<'_>> = pairs.into_iter().map(|(key, value)| (key.into(), value.map(Into::into))).collect();
            let text = text_of(&pairs);
            prop_assert_eq!(parse(&text).unwrap(), pairs);
        }

        #[test]
        fn no_text_panics(text in "[\"\\\\=>NUL, a]{0,30}") {
            let _ = parse(&text);
        }
    }
}
