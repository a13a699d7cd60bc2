//! The word that was probably meant.

/// The nearest of `candidates` to `word`, if it is near: at most two edits, and at most half of the word.
pub(crate) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let length = word.chars().count();
    if length > 64 {
        return None;
    }
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= 2 && distance * 2 <= length)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements between two words (Levenshtein), row by row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut left = i + 1;
        next.push(left);
        for (above, to) in row.windows(2).zip(&b) {
            let [diagonal, above] = above else { continue };
            left = (left + 1).min(above + 1).min(diagonal + usize::from(from != *to));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let check = |a, b, expected| assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        check("", "", 0);
        check("slot", "", 4);
        check("slot", "slot", 0);
        check("slot_nmae", "slot_name", 2);
        check("prot", "port", 2);
        check("hosts", "host", 1);
        check("kitten", "sitting", 3);
    }

    #[test]
    fn only_a_near_word_is_offered() {
        let words = ["host", "port", "slot"];
        assert_eq!(nearest("prot", words.into_iter()), Some("port"));
        assert_eq!(nearest("slots", words.into_iter()), Some("slot"));
        assert_eq!(nearest("database", words.into_iter()), None);
        assert_eq!(nearest("lo", words.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(100_000), words.into_iter()), None);
    }
}
