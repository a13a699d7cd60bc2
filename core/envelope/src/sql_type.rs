//! The source's name of a type, taken apart: `timestamp(3) without time zone[]`, `public.hstore`, `numeric(10,2)`.

/// A type of the source with its modifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlType {
    /// Without schema, modifiers and brackets: `timestamp without time zone`, `hstore`, `numeric`.
    pub(crate) name: String,
    /// What stands in the brackets.
    pub(crate) modifiers: Vec<i64>,
    /// How many pairs of square brackets.
    pub(crate) dimensions: usize,
}

impl SqlType {
    /// Takes the name apart that the source prints.
    pub(crate) fn parse(text: &str) -> Self {
        let mut rest = text.trim();
        let mut dimensions = 0;
        while let Some(inner) = rest.strip_suffix("[]") {
            rest = inner;
            dimensions += 1;
        }
        let mut name = rest.to_owned();
        let mut modifiers = Vec::new();
        if let Some((before, after)) = rest.split_once('(')
            && let Some((inside, tail)) = after.split_once(')')
        {
            modifiers = inside.split(',').filter_map(|part| part.trim().parse().ok()).collect();
            name = format!("{before}{tail}");
        }
        // A schema in front: of a type of an extension, or of a user.
        let name = name.rsplit('.').next().unwrap_or(&name).trim_matches('"').to_owned();
        Self { name, modifiers, dimensions }
    }

    /// The first modifier: a length or a precision.
    pub(crate) fn precision(&self) -> Option<i64> {
        self.modifiers.first().copied()
    }

    /// The type of an element.
    pub(crate) fn element(&self) -> Self {
        Self { dimensions: self.dimensions.saturating_sub(1), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        #[track_caller]
        fn check(text: &str, name: &str, modifiers: &[i64], dimensions: usize) {
            let expected = SqlType { name: name.to_owned(), modifiers: modifiers.to_vec(), dimensions };
            assert_eq!(SqlType::parse(text), expected);
        }
        check("bigint", "bigint", &[], 0);
        check("numeric(10,2)", "numeric", &[10, 2], 0);
        check("numeric(3,-2)", "numeric", &[3, -2], 0);
        check("timestamp(3) without time zone", "timestamp without time zone", &[3], 0);
        check("time(0) with time zone[]", "time with time zone", &[0], 1);
        check("public.hstore", "hstore", &[], 0);
        check("\"My\".\"Mood\"[]", "Mood", &[], 1);
        check("bit varying", "bit varying", &[], 0);
        check("numeric(", "numeric(", &[], 0);
        check("", "", &[], 0);
    }
}
