//! The names of a file: every key that no section knows is an error, with the key that was probably meant.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::definition::{ANY, Foreign, SECTIONS, Section};
use crate::document::Document;
use crate::form;
use crate::key::join;
use crate::nearest::nearest;
use crate::problem::Problem;
use crate::reader::type_name;

/// Sources and sinks of later versions, and what they read or write.
const LATER: [(&str, &str, &str); 6] = [
    ("source", "mysql", "MySQL"),
    ("source", "mariadb", "MariaDB"),
    ("source", "kafka", "Kafka"),
    ("sink", "kafka", "Kafka"),
    ("sink", "iceberg", "a catalog other than folders"),
    ("sink", "delta", "Delta"),
];

/// Reports every key that no section knows.
pub(crate) fn check(document: &Document<'_>) {
    check_table(document, document.root(), &mut Vec::new(), "");
}

/// Whether a source or sink of a later version stands where `section` is missing: that is said already.
pub(crate) fn has_later(document: &Document<'_>, section: &Section) -> bool {
    let same_side = LATER.iter().filter(|(side, ..)| section.path.first() == Some(side));
    same_side.into_iter().any(|(side, later, _)| document.table(&[side, later]).is_some())
}

/// Goes down only into sections that are known.
fn check_table(document: &Document<'_>, table: &DeTable<'_>, path: &mut Vec<String>, title: &str) {
    let here = SECTIONS.iter().copied().find(|section| section.path.len() == path.len() && encloses(path, section));
    let below = SECTIONS.iter().filter(|section| encloses(path, section));
    let mut next: Vec<&str> = below.filter_map(|section| section.path.get(path.len()).copied()).collect();
    next.dedup();
    for (key, value) in table {
        if document.report().is_full() {
            return;
        }
        let name: &str = key.get_ref();
        let full = join(title, name);
        if next.contains(&ANY) && !check_table_name(document, key, value, &full) {
            continue;
        }
        if next.contains(&name) || next.contains(&ANY) {
            match value.get_ref() {
                DeValue::Table(inner) => {
                    path.push(name.to_owned());
                    check_table(document, inner, path, &full);
                    path.pop();
                }
                other => add_not_a_section(document, value.span().start, &full, other),
            }
        } else if here.is_none_or(|section| section.setting(name).is_none()) {
            add_unknown(document, key, &full, path, here, &next);
        }
    }
}

/// Whether the operator's name of a section is the name of a table; reports it otherwise.
fn check_table_name(
    document: &Document<'_>,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    full: &str,
) -> bool {
    let Err(wrong) = form::table_name(key.get_ref()) else { return true };
    let unquoted = value.get_ref().as_table().is_some_and(|table| table.values().any(|v| v.get_ref().is_table()));
    let problem = if unquoted {
        Problem::new("the name of the table stands without quotes").expected("\"schema.name\" in quotes")
    } else {
        Problem::new(wrong).expected("one table, \"schema.name\" in quotes")
    };
    document.report().add(key.span().start, full, problem);
    false
}

fn add_not_a_section(document: &Document<'_>, offset: usize, full: &str, found: &DeValue<'_>) {
    let several = found.as_array().is_some_and(|array| array.iter().any(|item| item.get_ref().is_table()));
    let problem = if several && (full.starts_with("source.") || full.starts_with("sink.")) {
        Problem::new("more than one source or sink in a file is not supported yet").expected(format!("[{full}] once"))
    } else {
        Problem::new(format!("found {}", type_name(found))).expected(format!("a section, [{full}]"))
    };
    document.report().add(offset, full, problem);
}

fn add_unknown(
    document: &Document<'_>,
    key: &Spanned<DeString<'_>>,
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
    let meant = near.map(|near| foreign.iter().find(|(name, _)| *name == near).map_or(Foreign::Named(near), |f| f.1));
    let problem = match (exact.map(|(_, foreign)| *foreign).or(meant), later(document, path, name), elsewhere(name)) {
        (_, Some(problem), _) => problem,
        (Some(Foreign::Refused(reason)), ..) => Problem::new(reason),
        (Some(Foreign::Named(meant)), ..) => Problem::new(format!("unknown key; did you mean {meant}?")),
        (None, _, Some(section)) => Problem::new(format!("unknown key here; it belongs in [{section}]")),
        _ => Problem::new("unknown key").expected(format!("one of {}", known.join(", "))),
    };
    document.report().add(key.span().start, full, problem);
}

/// What to say about a source or sink that only a later version has.
fn later(document: &Document<'_>, path: &[String], name: &str) -> Option<Problem> {
    let [side] = path else { return None };
    let (_, _, what) = LATER.iter().find(|(later_side, later, _)| later_side == side && *later == name)?;
    let present = if side == "source" { "postgres" } else { "lake" };
    let both = document.table(&[side.as_str(), present]).is_some();
    let verb = if side == "source" { "reads" } else { "writes" };
    Some(if both {
        Problem::new(format!("more than one {side} in a file is not supported yet, and {what} not at all yet"))
    } else {
        Problem::new(format!("{what} as a {side} is not supported yet; this version {verb} [{side}.{present}]"))
    })
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
