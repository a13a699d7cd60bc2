//! The names of a file: every key that no section knows is an error, with the key that was probably meant.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::definition::{ANY, Foreign, Presence, SECTIONS, Section};
use crate::document::Document;
use crate::dotted;
use crate::form;
use crate::key::join;
use crate::nearest::nearest;
use crate::problem::Problem;
use crate::reader::type_name;

/// Sources and sinks of later versions, and what they read or write.
const LATER: [(&str, &str, &str); 4] = [
    ("source", "mysql", "MySQL"),
    ("source", "mariadb", "MariaDB"),
    ("sink", "iceberg", "a catalog other than folders"),
    ("sink", "delta", "Delta"),
];

/// Reports every key that no section knows.
pub(crate) fn check(document: &Document<'_>) {
    check_table(document, document.root(), &mut Vec::new(), "");
}

/// Whether the file has a source or sink of a later version: that is said already.
pub(crate) fn has_later(document: &Document<'_>, side: &str) -> bool {
    LATER.iter().any(|(later_side, later, _)| *later_side == side && document.table(&[side, later]).is_some())
}

/// Goes down only into sections that are known.
fn check_table(document: &Document<'_>, table: &DeTable<'_>, path: &mut Vec<String>, title: &str) {
    let here = SECTIONS.iter().copied().find(|section| section.path.len() == path.len() && encloses(path, section));
    if here.is_some_and(|section| section.presence == Presence::Open) {
        return;
    }
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
            let known = Known { path, here, next: &next };
            // A key of Java's or of the library's, spelt with dots, is a table to TOML.
            let table = value.get_ref().as_table();
            let inner = table.map(dotted::entries).unwrap_or_default().into_iter();
            let spelt: Vec<(String, usize)> = inner
                .map(|entry| (format!("{name}.{}", entry.name), entry.offset))
                .filter(|(dotted, _)| known.exactly(dotted).is_some())
                .collect();
            if spelt.is_empty() {
                known.add_unknown(document, name, key.span().start, &full, table.is_some());
            }
            for (dotted, offset) in &spelt {
                known.add_unknown(document, dotted, *offset, &join(title, dotted), false);
            }
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

/// What may stand at a place of the file.
struct Known<'k> {
    path: &'k [String],
    here: Option<&'static Section>,
    next: &'k [&'static str],
}

impl Known<'_> {
    /// What to say about a key that is spelt as elsewhere, dots and underscores alike.
    fn exactly(&self, name: &str) -> Option<Foreign> {
        let here = self.here?;
        let plain = name.to_ascii_lowercase().replace(['.', '-'], "_");
        let foreign = here.foreign.iter().find(|(foreign, _)| *foreign == plain).map(|(_, foreign)| *foreign);
        foreign.or_else(|| here.setting(&plain).map(|setting| Foreign::Named(setting.name)))
    }

    fn nearly(&self, name: &str) -> Option<Foreign> {
        let settings = self.here.map_or(&[][..], |section| section.settings).iter().map(|setting| setting.name);
        let foreign = self.here.map_or(&[][..], |section| section.foreign);
        let words = settings.chain(self.next.iter().copied()).chain(foreign.iter().map(|(name, _)| *name));
        let near = nearest(name, words)?;
        Some(foreign.iter().find(|(name, _)| *name == near).map_or(Foreign::Named(near), |(_, foreign)| *foreign))
    }

    /// The section below that takes keys which are not ours.
    fn open(&self) -> Option<&'static Section> {
        let below = |section: &&&Section| section.path.len() == self.path.len() + 1 && encloses(self.path, section);
        SECTIONS.iter().filter(below).find(|section| section.presence == Presence::Open).copied()
    }

    fn add_unknown(&self, document: &Document<'_>, name: &str, offset: usize, full: &str, is_table: bool) {
        let meant = self.exactly(name).or_else(|| self.nearly(name));
        let problem = match (meant, later(document, self.path, name), elsewhere(name), self.open()) {
            (_, Some(problem), ..) => problem,
            (Some(Foreign::Refused(reason)), ..) => Problem::new(reason),
            (Some(Foreign::Named(meant)), ..) => Problem::new(format!("unknown key; did you mean {meant}?")),
            (None, _, _, Some(open)) if is_table || name.contains('.') => {
                Problem::new(format!("unknown key here; a key of librdkafka belongs in [{}]", open.title()))
            }
            (None, _, Some(section), _) => Problem::new(format!("unknown key here; it belongs in [{section}]")),
            _ => {
                let settings = self.here.map_or(&[][..], |section| section.settings).iter().map(|setting| setting.name);
                let known: Vec<&str> = settings.chain(self.next.iter().copied()).collect();
                Problem::new("unknown key").expected(format!("one of {}", known.join(", ")))
            }
        };
        document.report().add(offset, full, problem);
    }
}

/// What to say about a source or sink that only a later version has.
fn later(document: &Document<'_>, path: &[String], name: &str) -> Option<Problem> {
    let [side] = path else { return None };
    let (_, _, what) = LATER.iter().find(|(later_side, later, _)| later_side == side && *later == name)?;
    let (verb, present) =
        if side == "source" { ("reads", ["postgres", "kafka"]) } else { ("writes", ["lake", "kafka"]) };
    let both = present.iter().any(|present| document.table(&[side.as_str(), present]).is_some());
    Some(if both {
        Problem::new(format!("more than one {side} in a file is not supported yet, and {what} not at all yet"))
    } else {
        Problem::new(format!(
            "{what} as a {side} is not supported yet; this version {verb} {}",
            present.map(|present| format!("[{side}.{present}]")).join(" and ")
        ))
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
