//! Bit strings: text of 0 and 1 <-> little-endian bytes without zeros at the end.

/// The bytes of `10110`, the last digit the lowest bit.
pub(crate) fn to_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len().div_ceil(8)];
    for (index, digit) in text.bytes().rev().enumerate() {
        match digit {
            b'0' => {}
            b'1' => *bytes.get_mut(index / 8)? |= 1 << (index % 8),
            _ => return None,
        }
    }
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Some(bytes)
}

/// The digits, at least `length` of them. Longer is an error, and so is a length that no column has.
pub(crate) fn to_text(bytes: &[u8], length: Option<usize>) -> Option<String> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| {
        let top = bytes.get(last).map_or(0, |byte| 8 - byte.leading_zeros());
        last * 8 + usize::try_from(top).unwrap_or(0)
    });
    let length = length.unwrap_or(used).max(usize::from(length.is_none()));
    if used > length || length > 83_886_080 {
        return None;
    }
    let bit = |index: usize| bytes.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
    Some((0..length).rev().map(|index| if bit(index) { '1' } else { '0' }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_debezium_writes_them() {
        for (text, bytes) in [
            ("10110", &[0x16][..]),
            ("101100111000", &[0x38, 0x0B]),
            ("000000000001", &[1]),
            ("000000000000", &[]),
            ("", &[]),
            ("111111111111", &[0xFF, 0x0F]),
        ] {
            assert_eq!(to_bytes(text).unwrap(), bytes);
            assert_eq!(to_text(bytes, Some(text.len())).unwrap(), text);
        }
        assert_eq!(to_bytes("102"), None);
        assert_eq!(to_text(&[0xFF], Some(5)), None);
        assert_eq!(to_text(&[5], None).unwrap(), "101");
    }

    proptest! {
        #[test]
        fn bits_read_back(text in "[01]{0,70}") {
            prop_assert_eq!(to_text(&to_bytes(&text).unwrap(), Some(text.len())).unwrap(), text);
        }
    }
}
