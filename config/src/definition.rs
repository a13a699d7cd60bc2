//! What an option is: the one definition from which the parser takes default and bound, and the reference its text.
//!
//! Each section of the file has one [`Section`] beside the struct that it fills; [`SECTIONS`] lists them in the order
//! of the reference.

use std::time::Duration;

use crate::amount::{duration_units, format_duration, format_size, size_units};
use crate::form::Form;
use crate::{daemon, kafka, lake, postgres};

/// Every section, in the order of the reference.
pub(crate) static SECTIONS: [&Section; 19] = [
    &daemon::PIPELINE,
    &postgres::POSTGRES,
    &postgres::TLS,
    &postgres::TABLES,
    &postgres::SNAPSHOT,
    &kafka::SOURCE,
    &kafka::SOURCE_SECTIONS.tls,
    &kafka::SOURCE_SECTIONS.sasl,
    &kafka::SOURCE_SECTIONS.registry,
    &kafka::SOURCE_SECTIONS.librdkafka,
    &lake::LAKE,
    &lake::TABLE,
    &kafka::SINK,
    &kafka::SINK_SECTIONS.tls,
    &kafka::SINK_SECTIONS.sasl,
    &kafka::SINK_SECTIONS.registry,
    &kafka::SINK_SECTIONS.librdkafka,
    &daemon::HTTP,
    &daemon::LOG,
];

/// A part of a path that stands for any name that the operator chooses.
pub(crate) const ANY: &str = "*";

/// One section of the file.
#[derive(Debug)]
pub(crate) struct Section {
    /// `["source", "postgres", "tls"]`; [`ANY`] stands for a name of the operator's.
    pub(crate) path: &'static [&'static str],
    /// One sentence on what it is for.
    pub(crate) doc: &'static str,
    /// Whether the file needs it.
    pub(crate) presence: Presence,
    /// Its options, in the order of the reference.
    pub(crate) settings: &'static [Setting],
    /// Keys that people know from elsewhere, and what to write here.
    pub(crate) foreign: &'static [(&'static str, Foreign)],
}

/// Whether a file needs a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Every file that has the section around it.
    Required,
    /// One of its side: a source, or a sink.
    Choice,
    /// No file.
    Optional,
    /// No file; and it takes keys that are not ours, which its reader judges.
    Open,
}

/// What to say about a key that people know from elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Foreign {
    /// It has another name here.
    Named(&'static str),
    /// It is refused, for this reason.
    Refused(&'static str),
}

/// One option.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What it does.
    pub(crate) doc: &'static str,
    /// Who would change it, or why.
    pub(crate) change: &'static str,
    /// The version that brought it.
    pub(crate) since: &'static str,
}

/// What an option holds, with default and bound.
#[derive(Debug)]
pub(crate) enum Kind {
    Text { form: &'static Form, unset: Unset },
    Texts { form: &'static Form, unset: Unset },
    Word { words: &'static [&'static str], unset: Unset },
    Integer { default: u64, min: u64, max: u64 },
    Flag { default: bool },
    Duration { default: Duration, min: Duration, max: Duration },
    Size { default: u64, min: u64, max: u64 },
}

/// What holds where an option is not set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unset {
    /// It must be set, for instance like this.
    Refused { example: &'static str },
    /// This text.
    Default(&'static str),
    /// What the reference says about it; the reader of the section works it out.
    Derived(&'static str),
}

impl Section {
    pub(crate) fn setting(&self, name: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }

    /// The least of this section that a file needs, as a phrase that can follow "expected".
    pub(crate) fn least(&self) -> String {
        let required = |setting: &&Setting| matches!(setting.kind.unset(), Some(Unset::Refused { .. }));
        let names: Vec<&str> = self.settings.iter().filter(required).map(|setting| setting.name).collect();
        format!("[{}] with {}", self.title(), names.join(", "))
    }

    /// `source.postgres.tls`, with `"schema.name"` for a name of the operator's.
    pub(crate) fn title(&self) -> String {
        let parts: Vec<&str> =
            self.path.iter().map(|part| if *part == ANY { "\"schema.name\"" } else { *part }).collect();
        parts.join(".")
    }
}

impl Setting {
    /// What is accepted, as a phrase that can follow "expected".
    pub(crate) fn expected(&self) -> String {
        match &self.kind {
            Kind::Text { form, .. } => form.expected.to_owned(),
            Kind::Texts { form, .. } => format!("a list of {}", form.expected),
            Kind::Word { words, .. } => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                words.join(" or ")
            }
            Kind::Integer { min, max, .. } => format!("a whole number from {min} to {max}"),
            Kind::Flag { .. } => "true or false".to_owned(),
            Kind::Duration { default, min, max } => format!(
                "a duration with its unit ({}) such as \"{}\", from {} to {}",
                duration_units(),
                format_duration(*default),
                format_duration(*min),
                format_duration(*max)
            ),
            Kind::Size { default, min, max } => format!(
                "a size with its unit ({}) such as \"{}\", from {} to {}",
                size_units(),
                format_size(*default),
                format_size(*min),
                format_size(*max)
            ),
        }
    }
}

impl Kind {
    /// What holds where it is not set; `None` for the kinds whose default is a plain value.
    pub(crate) fn unset(&self) -> Option<Unset> {
        match self {
            Self::Text { unset, .. } | Self::Texts { unset, .. } | Self::Word { unset, .. } => Some(*unset),
            Self::Integer { .. } | Self::Flag { .. } | Self::Duration { .. } | Self::Size { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> impl Iterator<Item = (&'static Section, &'static Setting)> {
        SECTIONS.iter().flat_map(|section| section.settings.iter().map(move |setting| (*section, setting)))
    }

    #[test]
    fn every_default_lies_within_its_bound() {
        for (section, setting) in settings() {
            let name = format!("{}.{}", section.title(), setting.name);
            match &setting.kind {
                Kind::Text { form, unset: Unset::Default(text) } => assert_eq!((form.check)(text), Ok(()), "{name}"),
                Kind::Word { words, unset: Unset::Default(word) } => assert!(words.contains(word), "{name}"),
                Kind::Integer { default, min, max } | Kind::Size { default, min, max } => {
                    assert!(min <= default && default <= max, "{name}");
                }
                Kind::Duration { default, min, max } => assert!(min <= default && default <= max, "{name}"),
                Kind::Text { .. } | Kind::Texts { .. } | Kind::Word { .. } | Kind::Flag { .. } => {}
            }
        }
    }

    #[test]
    fn every_option_is_named_once_and_described() {
        let mut seen = std::collections::BTreeSet::new();
        for (section, setting) in settings() {
            let name = format!("{}.{}", section.title(), setting.name);
            assert!(seen.insert(name.clone()), "{name} is defined twice");
            for (what, text) in [("doc", setting.doc), ("change", setting.change), ("since", setting.since)] {
                assert!(!text.is_empty() && !text.contains('\n'), "{name}: {what}");
            }
            assert!(setting.doc.ends_with('.') && setting.change.ends_with('.'), "{name}: sentences end with a stop");
            assert!(!setting.doc.contains('|') && !setting.change.contains('|'), "{name}: would break the table");
        }
    }

    #[test]
    fn a_foreign_key_points_at_an_option_that_exists() {
        for section in SECTIONS {
            for (key, foreign) in section.foreign {
                assert!(section.setting(key).is_none(), "{key} is an option of {}", section.title());
                if let Foreign::Named(name) = foreign {
                    let subsection = format!("{}.{name}", section.title());
                    let direct = section.setting(name).is_some() || SECTIONS.iter().any(|s| s.title() == subsection);
                    let below = name.rsplit_once('.').is_some_and(|(sub, name)| {
                        let title = format!("{}.{sub}", section.title());
                        SECTIONS.iter().any(|s| s.title() == title && s.setting(name).is_some())
                    });
                    assert!(direct || below, "{key} points at {name}, which is not there");
                }
            }
        }
    }
}
