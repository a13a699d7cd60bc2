//! Small text forms, appended to a buffer: JSON strings, base64, hex.

/// A JSON string, escaped as Jackson does: short escapes, `\u00XX` in capitals, all else as it is.
pub(crate) fn json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            byte => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4, b'A'), digit(byte & 15, b'A')]);
            }
        }
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    out.push(b'"');
}

/// As [`json_string`], for schemas.
pub(crate) fn json_string_of(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    json_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// Lower-case hex.
pub(crate) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4, b'a'), digit(byte & 15, b'a')]);
    }
}

fn digit(nibble: u8, ten: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { ten + (nibble - 10) }
}

/// The bytes of hex.
pub(crate) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

/// Which characters stand for 62 and 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    Standard,
    UrlSafe,
}

/// Base64, padded.
pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8], alphabet: Alphabet) {
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|index| u32::from(chunk.get(index).copied().unwrap_or(0)));
        let group = a << 16 | b << 8 | c;
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            out.push(if index <= chunk.len() { sextet(group >> shift & 63, alphabet) } else { b'=' });
        }
    }
}

fn sextet(value: u32, alphabet: Alphabet) -> u8 {
    let value = u8::try_from(value).unwrap_or(0);
    match (value, alphabet) {
        (0..26, _) => b'A' + value,
        (26..52, _) => b'a' + value - 26,
        (52..62, _) => b'0' + value - 52,
        (62, Alphabet::Standard) => b'+',
        (62, Alphabet::UrlSafe) => b'-',
        (_, Alphabet::Standard) => b'/',
        (_, Alphabet::UrlSafe) => b'_',
    }
}

/// The bytes of base64 of either alphabet, padded or not.
pub(crate) fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut group, mut bits) = (0_u32, 0);
    for byte in digits {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        group = (group << 6 | u32::from(value)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(group >> bits & 0xFF).unwrap_or(0));
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_are_escaped_as_jackson_does() {
        let escaped = json_string_of("a\"\\\n\u{1f}\u{8}\u{e7}\u{1F600}/\u{7f}");
        assert_eq!(escaped, "\"a\\\"\\\\\\n\\u001F\\b\u{e7}\u{1F600}/\u{7f}\"");
    }

    #[test]
    fn base64_is_padded() {
        let encode = |bytes: &[u8], alphabet| {
            let mut out = Vec::new();
            base64(&mut out, bytes, alphabet);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(encode(b"", Alphabet::Standard), "");
        assert_eq!(encode(b"a", Alphabet::Standard), "YQ==");
        assert_eq!(encode(b"ab", Alphabet::Standard), "YWI=");
        assert_eq!(encode(b"abc", Alphabet::Standard), "YWJj");
        assert_eq!(encode(&[0xFB, 0xFF], Alphabet::Standard), "+/8=");
        assert_eq!(encode(&[0xFB, 0xFF], Alphabet::UrlSafe), "-_8=");
        assert_eq!(unbase64(b"YQ="), Some(b"a".to_vec()));
        assert_eq!(unbase64(b"Y"), None);
        assert_eq!(unbase64(b"Y*=="), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in ".*") {
            for alphabet in [Alphabet::Standard, Alphabet::UrlSafe] {
                let mut out = Vec::new();
                base64(&mut out, &bytes, alphabet);
                prop_assert_eq!(unbase64(&out), Some(bytes.clone()));
            }
            let mut out = Vec::new();
            hex(&mut out, &bytes);
            prop_assert_eq!(unhex(&out), Some(bytes));
            prop_assert_eq!(serde_json::from_str::<String>(&json_string_of(&text)).unwrap(), text);
        }
    }
}
