//! Paths of keys as they are shown: `sink.lake.table."public.orders".mode`.

/// Adds a name to a path, in quotes where it needs them.
pub(crate) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare && name.len() <= 64 { name.to_owned() } else { format!("\"{}\"", printable(name)) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// The beginning of a text of the file, fit for a terminal and a log.
pub(crate) fn printable(text: &str) -> String {
    let start: String = text.chars().take(64).collect();
    let dots = if start.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_where_it_must_be_and_never_long() {
        assert_eq!(join("", "http"), "http");
        assert_eq!(join("sink.lake.table", "public.orders"), "sink.lake.table.\"public.orders\"");
        assert_eq!(join("http", "\u{1b}[31m\n"), "http.\"\\u{1b}[31m\\n\"");
        assert_eq!(join("http", ""), "http.\"\"");
        assert!(join("", &"a".repeat(1 << 20)).len() < 100);
    }
}
