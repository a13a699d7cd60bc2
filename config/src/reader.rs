//! Reads the options of one section: type, form and bound, each from its definition.
//!
//! A reader always answers. What is wrong is in the report, and a report with an error in it never becomes a
//! configuration, so the value that stands in for a wrong one is seen by nobody.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::amount::{AmountError, parse_duration, parse_size};
use crate::definition::{Kind, SECTIONS, Section, Setting, Unset};
use crate::dotted::{self, Entry};
use crate::form::Form;
use crate::key::join;
use crate::nearest::nearest;
use crate::problem::Problem;
use crate::report::Report;

/// The options of one section of a file.
#[derive(Debug)]
pub(crate) struct Reader<'d> {
    report: &'d Report<'d>,
    section: &'static Section,
    path: String,
    /// Where the section begins.
    offset: usize,
    /// `None`: the section is not in the file.
    table: Option<&'d DeTable<'d>>,
}

impl<'d> Reader<'d> {
    pub(crate) fn new(
        report: &'d Report<'_>,
        section: &'static Section,
        path: String,
        offset: usize,
        table: Option<&'d DeTable<'d>>,
    ) -> Self {
        Self { report, section, path, offset, table }
    }

    /// Whether the file sets this option.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Adds a problem of an option; it stands at the option's value, or at the section where the option is not set.
    pub(crate) fn complain(&self, name: &str, problem: Problem) {
        let offset = self.value(name).map_or(self.offset, |value| value.span().start);
        self.report.add(offset, &self.key(name), problem);
    }

    /// Adds a problem of the whole section.
    pub(crate) fn complain_whole(&self, problem: Problem) {
        self.report.add(self.offset, &self.path, problem);
    }

    /// Adds that an option is not set, unless it may stand in a part of the file that could not be read.
    pub(crate) fn complain_missing(&self, name: &str, problem: Problem) {
        if self.table.is_some() {
            self.report.add_missing(self.offset, &self.key(name), problem);
        }
    }

    /// Adds a problem of a key of an open section.
    pub(crate) fn complain_entry(&self, entry: &Entry<'_>, problem: Problem) {
        self.report.add(entry.offset, &join(&self.path, &entry.name), problem);
    }

    /// Adds a problem of the value of a key of an open section.
    pub(crate) fn complain_value(&self, entry: &Entry<'_>, problem: Problem) {
        self.report.add(entry.value.span().start, &join(&self.path, &entry.name), problem);
    }

    /// Every key of an open section. `a.b = 1` and `"a.b" = 1` are the same.
    pub(crate) fn entries(&self) -> Vec<Entry<'d>> {
        self.table.map(dotted::entries).unwrap_or_default()
    }

    /// The title of the section around this one.
    pub(crate) fn parent(&self) -> String {
        let parent = self.section.path.split_last().map_or(self.section.path, |(_, parent)| parent);
        parent.join(".")
    }

    /// Whether the section around this one has an option, or a section with an option, of this path.
    pub(crate) fn has_sibling(&self, option: &str) -> bool {
        let (title, name) = match option.rsplit_once('.') {
            Some((section, name)) => (format!("{}.{section}", self.parent()), name),
            None => (self.parent(), option),
        };
        SECTIONS.iter().any(|section| section.title() == title && section.setting(name).is_some())
    }

    /// A text in its form; `None` where it is not set and has no default.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let Some(setting) = self.section.setting(name) else { return self.undefined(name) };
        let Kind::Text { form, unset } = &setting.kind else { return self.undefined(name) };
        match self.value(name) {
            Some(value) => self.checked(setting, form, value),
            None => self.unset(setting, *unset).map(str::to_owned),
        }
    }

    /// A list of texts, each in its form; empty where it is not set. One that must be set must not be empty.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let Some(setting) = self.section.setting(name) else { return self.undefined(name) };
        let Kind::Texts { form, unset } = &setting.kind else { return self.undefined(name) };
        let Some(value) = self.value(name) else {
            self.unset(setting, *unset);
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(setting, value);
            return Vec::new();
        };
        if items.is_empty() && matches!(unset, Unset::Refused { .. }) {
            self.add(setting, value, "the list is empty");
        }
        items.iter().filter_map(|item| self.checked(setting, form, item)).collect()
    }

    /// One of the words of the definition, as the value that stands at the same place in `values`.
    pub(crate) fn word<T: Copy>(&self, name: &str, values: &[T]) -> Option<T> {
        let Some(setting) = self.section.setting(name) else { return self.undefined(name) };
        let Kind::Word { words, unset } = &setting.kind else { return self.undefined(name) };
        let meant = |word: &str| words.iter().position(|known| *known == word).and_then(|at| values.get(at)).copied();
        let Some(value) = self.value(name) else { return self.unset(setting, *unset).and_then(meant) };
        let word = self.string(setting, value)?;
        let found = meant(word);
        if found.is_none() {
            let what = match nearest(&word.to_ascii_lowercase(), words.iter().copied()) {
                Some(near) => format!("unknown word; did you mean \"{near}\"?"),
                None => "unknown word".to_owned(),
            };
            self.add(setting, value, what);
        }
        found
    }

    /// A whole number in its bounds, or its default.
    pub(crate) fn integer<T: TryFrom<u64> + Default>(&self, name: &str) -> T {
        let Some(setting) = self.section.setting(name) else { return self.undefined(name) };
        let Kind::Integer { default, min, max } = setting.kind else { return self.undefined(name) };
        let number = match self.value(name) {
            Some(value) => self.bounded_integer(setting, value, min, max).unwrap_or(default),
            None => default,
        };
        T::try_from(number).unwrap_or_else(|_| self.undefined(name))
    }

    /// `true` or `false`, or its default.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let Some(setting) = self.section.setting(name) else { return self.undefined(name) };
        let Kind::Flag { default } = setting.kind else { return self.undefined(name) };
        let Some(value) = self.value(name) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(setting, value);
            default
        })
    }

    /// A duration in its bounds, or its default.
    pub(crate) fn duration(&self, name: &str) -> Duration {
        let Some(setting) = self.section.setting(name) else { return self.undefined(name) };
        let Kind::Duration { default, min, max } = setting.kind else { return self.undefined(name) };
        self.amount(setting, parse_duration, min, max).unwrap_or(default)
    }

    /// A size in bytes in its bounds, or its default.
    pub(crate) fn size(&self, name: &str) -> u64 {
        let Some(setting) = self.section.setting(name) else { return self.undefined(name) };
        let Kind::Size { default, min, max } = setting.kind else { return self.undefined(name) };
        self.amount(setting, parse_size, min, max).unwrap_or(default)
    }

    fn value(&self, name: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table?.get(name)
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn add(&self, setting: &Setting, value: &Spanned<DeValue<'_>>, what: impl Into<String>) {
        let problem = Problem::new(what).expected(setting.expected());
        self.report.add(value.span().start, &self.key(setting.name), problem);
    }

    fn wrong_type(&self, setting: &Setting, value: &Spanned<DeValue<'_>>) {
        let found = type_name(value.get_ref());
        let remedy = match (&setting.kind, value.get_ref()) {
            (Kind::Integer { .. } | Kind::Flag { .. }, DeValue::String(_)) => "; write it without quotes",
            (Kind::Text { .. }, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
                "; write it in quotes"
            }
            _ => "",
        };
        self.add(setting, value, format!("found {found}{remedy}"));
    }

    /// What holds where a text is not set; reports it if it must be set.
    fn unset(&self, setting: &Setting, unset: Unset) -> Option<&'static str> {
        match unset {
            Unset::Default(text) => Some(text),
            Unset::Derived(_) => None,
            Unset::Refused { example } => {
                // Where the whole section is missing, that is already said.
                if self.table.is_some() {
                    let expected = format!("{} = {example}", setting.name);
                    let problem = Problem::new("missing").expected(expected);
                    self.report.add_missing(self.offset, &self.key(setting.name), problem);
                }
                None
            }
        }
    }

    fn string<'v>(&self, setting: &Setting, value: &'v Spanned<DeValue<'_>>) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(setting, value);
        }
        text
    }

    fn checked(&self, setting: &Setting, form: &Form, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = self.string(setting, value)?;
        let wrong = if text.contains("${") {
            Err("environment variables are not filled in here; only password_env names one")
        } else {
            (form.check)(text)
        };
        match wrong {
            Ok(()) => Some(text.to_owned()),
            Err(what) => {
                self.add(setting, value, what);
                None
            }
        }
    }

    fn bounded_integer(&self, setting: &Setting, value: &Spanned<DeValue<'_>>, min: u64, max: u64) -> Option<u64> {
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(setting, value);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix());
        match number {
            Ok(number) if (min..=max).contains(&number) => return Some(number),
            Ok(number) if number < min => self.add(setting, value, "below the bound"),
            _ if integer.as_str().starts_with('-') => self.add(setting, value, "negative"),
            _ => self.add(setting, value, "above the bound"),
        }
        None
    }

    fn amount<T: Copy + PartialOrd>(
        &self,
        setting: &Setting,
        parse: fn(&str) -> Result<T, AmountError>,
        min: T,
        max: T,
    ) -> Option<T> {
        let value = self.value(setting.name)?;
        if value.get_ref().is_integer() || value.get_ref().is_float() {
            self.add(setting, value, "found a bare number; its unit is missing");
            return None;
        }
        match parse(self.string(setting, value)?) {
            Err(error) => self.add(setting, value, error.as_str()),
            Ok(amount) if amount < min => self.add(setting, value, "below the bound"),
            Ok(amount) if amount > max => self.add(setting, value, "above the bound"),
            Ok(amount) => return Some(amount),
        }
        None
    }

    /// An option that is read as something else than it is defined: a mistake of ours, and loud.
    fn undefined<T: Default>(&self, name: &str) -> T {
        let problem = Problem::new("this option is not defined as it is read; please report this");
        self.report.add(self.offset, &self.key(name), problem);
        T::default()
    }
}

/// The type of a value with its article; all that a message ever says about a value.
pub(crate) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
