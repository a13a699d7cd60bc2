//! A configuration file as TOML with offsets, and the check of its names.
//!
//! Everything that is wrong is reported in one pass: a broken line does not hide the next one.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Error};

use crate::definition::{ANY, Foreign, SECTIONS, Section};
use crate::form;
use crate::nearest::nearest;
use crate::problem::Problem;
use crate::reader::{Reader, type_name};
use crate::report::Report;

/// The largest file that is read. A list of 20,000 tables fits.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// Beyond this size a file that is not TOML gets its first error alone: collecting all of them has no bound in memory.
const RECOVER_BYTES_MAX: usize = 64 << 10;

/// What the TOML parser says about a list that goes on without a comma.
const MISSING_COMMA: &str = "missing comma between array elements";

/// Sources and sinks of later versions, and what they read or write.
const LATER: [(&str, &str, &str); 6] = [
    ("source", "mysql", "MySQL"),
    ("source", "mariadb", "MariaDB"),
    ("source", "kafka", "Kafka"),
    ("sink", "kafka", "Kafka"),
    ("sink", "iceberg", "a catalog other than folders"),
    ("sink", "delta", "Delta"),
];

/// One file, parsed as TOML.
#[derive(Debug)]
pub(crate) struct Document<'d> {
    root: DeTable<'d>,
    report: Report<'d>,
}

impl<'d> Document<'d> {
    pub(crate) fn parse(file: &'d str, text: &'d str) -> Self {
        let report = Report::new(file, text);
        if text.len() > FILE_BYTES_MAX {
            report.add_broken(0, Problem::new("too large").expected("a file of at most 1 MiB"));
            return Self { root: DeTable::new(), report };
        }
        let (root, errors) = match DeTable::parse(text) {
            Ok(root) => (root.into_inner(), Vec::new()),
            Err(error) if text.len() > RECOVER_BYTES_MAX => (DeTable::new(), vec![error]),
            Err(_) => {
                let (root, errors) = DeTable::parse_recoverable(text);
                (root.into_inner(), errors)
            }
        };
        add_syntax_errors(&report, &root, &errors);
        let document = Self { root, report };
        document.check_names(&document.root, &mut Vec::new(), "");
        document
    }

    pub(crate) fn into_report(self) -> Report<'d> {
        self.report
    }

    /// The reader of a section; where a section is missing that must be there, that is reported.
    pub(crate) fn section(&self, section: &'static Section) -> Reader<'_> {
        let path = section.title();
        match self.table(section.path) {
            Some(Ok((offset, table))) => Reader::new(&self.report, section, path, offset, Some(table)),
            found => {
                // Something else than a section is reported by the check of names.
                if found.is_none() && section.is_required() && !self.has_later(section) {
                    let problem = Problem::new("section is missing").expected(section.least());
                    self.report.add_missing(self.report.text().len(), &path, problem);
                }
                Reader::new(&self.report, section, path, 0, None)
            }
        }
    }

    /// The readers of the sections whose last name is the operator's, by that name.
    pub(crate) fn sections(&self, section: &'static Section) -> Vec<(String, Reader<'_>)> {
        let parent = section.path.split_last().map_or(section.path, |(_, parent)| parent);
        let Some(Ok((_, table))) = self.table(parent) else { return Vec::new() };
        let tables = table.iter().filter_map(|(name, value)| {
            let inner = value.get_ref().as_table()?;
            let path = join(&parent.join("."), name.get_ref());
            let reader = Reader::new(&self.report, section, path, value.span().start, Some(inner));
            Some((name.get_ref().to_string(), reader))
        });
        tables.collect()
    }

    /// Whether something is wrong with a section or its options so far.
    pub(crate) fn has_problem_below(&self, title: &str) -> bool {
        self.report.has_problem_below(title)
    }

    /// The table at `path` with its offset; `Some(Err)` if something else is there.
    fn table(&self, path: &[&str]) -> Option<Result<(usize, &DeTable<'d>), ()>> {
        let mut table = &self.root;
        let mut offset = 0;
        for part in path {
            let value = table.get(*part)?;
            let Some(inner) = value.get_ref().as_table() else { return Some(Err(())) };
            (offset, table) = (value.span().start, inner);
        }
        Some(Ok((offset, table)))
    }

    /// Reports every key of `table` that no section knows; goes down only into sections that are known.
    fn check_names(&self, table: &DeTable<'d>, path: &mut Vec<String>, title: &str) {
        let here = SECTIONS.iter().copied().find(|section| section.path.len() == path.len() && encloses(path, section));
        let below = SECTIONS.iter().filter(|section| encloses(path, section));
        let mut next: Vec<&str> = below.filter_map(|section| section.path.get(path.len()).copied()).collect();
        next.dedup();
        for (key, value) in table {
            if self.report.is_full() {
                return;
            }
            let name: &str = key.get_ref();
            let full = join(title, name);
            if next.contains(&ANY) && !self.check_table_name(key, value, &full) {
                continue;
            }
            if next.contains(&name) || next.contains(&ANY) {
                match value.get_ref() {
                    DeValue::Table(inner) => {
                        path.push(name.to_owned());
                        self.check_names(inner, path, &full);
                        path.pop();
                    }
                    other => self.add_not_a_section(value.span().start, &full, other),
                }
            } else if here.is_none_or(|section| section.setting(name).is_none()) {
                self.add_unknown(key, &full, path, here, &next);
            }
        }
    }

    /// Whether the operator's name of a section is the name of a table; reports it otherwise.
    fn check_table_name(&self, key: &Spanned<DeString<'d>>, value: &Spanned<DeValue<'d>>, full: &str) -> bool {
        let Err(wrong) = form::table_name(key.get_ref()) else { return true };
        let unquoted = value.get_ref().as_table().is_some_and(|table| table.values().any(|v| v.get_ref().is_table()));
        let problem = if unquoted {
            Problem::new("the name of the table stands without quotes").expected("\"schema.name\" in quotes")
        } else {
            Problem::new(wrong).expected("one table, \"schema.name\" in quotes")
        };
        self.report.add(key.span().start, full, problem);
        false
    }

    fn add_not_a_section(&self, offset: usize, full: &str, found: &DeValue<'_>) {
        let several = found.as_array().is_some_and(|array| array.iter().any(|item| item.get_ref().is_table()));
        let problem = if several && (full.starts_with("source.") || full.starts_with("sink.")) {
            Problem::new("more than one source or sink in a file is not supported yet")
                .expected(format!("[{full}] once"))
        } else {
            Problem::new(format!("found {}", type_name(found))).expected(format!("a section, [{full}]"))
        };
        self.report.add(offset, full, problem);
    }

    fn add_unknown(
        &self,
        key: &Spanned<DeString<'d>>,
        full: &str,
        path: &[String],
        here: Option<&'static Section>,
        next: &[&'static str],
    ) {
        let name: &str = key.get_ref();
        let settings = here.map_or(&[][..], |section| section.settings);
        let foreign = here.map_or(&[][..], |section| section.foreign);
        let known: Vec<&str> = settings.iter().map(|s| s.name).chain(next.iter().copied()).collect();
        let exact = foreign.iter().find(|(foreign, _)| foreign.eq_ignore_ascii_case(name));
        let near = nearest(name, known.iter().copied().chain(foreign.iter().map(|(name, _)| *name)));
        let meant =
            near.map(|near| foreign.iter().find(|(name, _)| *name == near).map_or(Foreign::Named(near), |f| f.1));
        let problem = match (exact.map(|(_, foreign)| *foreign).or(meant), self.later(path, name), elsewhere(name)) {
            (_, Some(problem), _) => problem,
            (Some(Foreign::Refused(reason)), ..) => Problem::new(reason),
            (Some(Foreign::Named(meant)), ..) => Problem::new(format!("unknown key; did you mean {meant}?")),
            (None, _, Some(section)) => Problem::new(format!("unknown key here; it belongs in [{section}]")),
            _ => Problem::new("unknown key").expected(format!("one of {}", known.join(", "))),
        };
        self.report.add(key.span().start, full, problem);
    }

    /// Whether a source or sink of a later version stands where `section` is missing: that is said already.
    fn has_later(&self, section: &Section) -> bool {
        LATER.iter().any(|(side, later, _)| section.path.first() == Some(side) && self.table(&[side, later]).is_some())
    }

    /// What to say about a source or sink that only a later version has.
    fn later(&self, path: &[String], name: &str) -> Option<Problem> {
        let [side] = path else { return None };
        let (_, _, what) = LATER.iter().find(|(later_side, later, _)| later_side == side && *later == name)?;
        let present = if side == "source" { "postgres" } else { "lake" };
        let both = self.table(&[side.as_str(), present]).is_some();
        let verb = if side == "source" { "reads" } else { "writes" };
        Some(if both {
            Problem::new(format!("more than one {side} in a file is not supported yet, and {what} not at all yet"))
        } else {
            Problem::new(format!("{what} as a {side} is not supported yet; this version {verb} [{side}.{present}]"))
        })
    }
}

/// Whether `path` leads to `section` or is it.
fn encloses(path: &[String], section: &Section) -> bool {
    section.path.len() >= path.len() && section.path.iter().zip(path).all(|(part, name)| *part == ANY || part == name)
}

/// The only section that has an option of this name, if there is one.
fn elsewhere(name: &str) -> Option<String> {
    let mut sections = SECTIONS.iter().filter(|section| section.setting(name).is_some());
    match (sections.next(), sections.next()) {
        (Some(section), None) => Some(section.title()),
        _ => None,
    }
}

/// Reports everything that the TOML parser found.
fn add_syntax_errors(report: &Report<'_>, root: &DeTable<'_>, errors: &[Error]) {
    let mut last = "";
    for error in errors {
        if report.is_full() {
            return;
        }
        let offset = error.span().unwrap_or_default().start;
        if error.message() == "duplicate key" {
            add_duplicate(report, root, error);
        } else if error.message() == last && last.starts_with(MISSING_COMMA) {
            // A list that does not end takes every following line for one of its items.
            report.hide(offset);
        } else {
            report.add_broken(offset, syntax_problem(report, offset, error.message()));
        }
        last = error.message();
    }
}

/// What is not TOML at `offset`, in the words of an operator where the parser's guess would lead astray.
fn syntax_problem(report: &Report<'_>, offset: usize, message: &str) -> Problem {
    if message.starts_with(MISSING_COMMA) {
        return Problem::new("not TOML: a comma is missing in a list, or the end of the list").expected("`,` or `]`");
    }
    let (start, line) = report.line(offset);
    match line.split_once('=') {
        Some((key, value)) if start + key.len() < offset && !key.contains('#') && value.trim().is_empty() => {
            Problem::new("not TOML: the value is missing")
        }
        Some((key, value)) if start + key.len() < offset && !key.contains('#') && is_bare(value.trim()) => {
            Problem::new("not TOML: the value stands without quotes").expected("text, durations and sizes in quotes")
        }
        _ => Problem::new(format!("not TOML: {message}")),
    }
}

/// Whether a value looks like a text that lacks its quotes.
fn is_bare(value: &str) -> bool {
    value.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '~' | '$' | '*' | '.'))
}

fn add_duplicate(report: &Report<'_>, root: &DeTable<'_>, error: &Error) {
    let span = error.span().unwrap_or_default();
    let line = report.line(span.start).1.trim();
    if line.starts_with('[') {
        let title = line.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
        report.add(span.start, &printable(title), Problem::new("duplicate section; it stands in the file twice"));
        return;
    }
    let name = report.text().get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
    let mut best = None;
    containers(root, name, span.start, "", &mut best);
    let key = best.map_or_else(|| printable(name), |(_, container)| join(&container, name));
    report.add(span.start, &key, Problem::new("duplicate key; it stands in the section twice"));
}

/// The path of the table that holds `name` and has the last key before `offset`: the one that was being written there.
fn containers(table: &DeTable<'_>, name: &str, offset: usize, path: &str, best: &mut Option<(usize, String)>) {
    let last = table.keys().map(|key| key.span().start).filter(|start| *start < offset).max();
    if let Some(last) = last
        && table.contains_key(name)
        && best.as_ref().is_none_or(|(start, _)| *start < last)
    {
        *best = Some((last, path.to_owned()));
    }
    for (key, value) in table {
        if let DeValue::Table(inner) = value.get_ref() {
            containers(inner, name, offset, &join(path, key.get_ref()), best);
        }
    }
}

/// Adds a name to a path, in quotes where it needs them.
fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare && name.len() <= 64 { name.to_owned() } else { format!("\"{}\"", printable(name)) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// The beginning of a text of the file, fit for a terminal and a log.
fn printable(text: &str) -> String {
    let start: String = text.chars().take(64).collect();
    let dots = if start.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", start.escape_debug())
}
