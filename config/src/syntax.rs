//! What is not TOML in a file, in the words of an operator.

use toml::de::{DeTable, DeValue, Error};

use crate::key::{join, printable};
use crate::problem::Problem;
use crate::report::Report;

/// What the TOML parser says about a list that goes on without a comma.
const MISSING_COMMA: &str = "missing comma between array elements";

/// Reports everything that the TOML parser found.
pub(crate) fn add_errors(report: &Report<'_>, root: &DeTable<'_>, errors: &[Error]) {
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
            report.add_broken(offset, problem(report, offset, error.message()));
        }
        last = error.message();
    }
}

/// What is not TOML at `offset`, in the words of an operator where the parser's guess would lead astray.
fn problem(report: &Report<'_>, offset: usize, message: &str) -> Problem {
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
