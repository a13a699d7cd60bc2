//! A configuration file as TOML with offsets, and the readers of its sections.
//!
//! Everything that is wrong is reported in one pass: a broken line does not hide the next one.

use toml::de::DeTable;

use crate::definition::{Presence, Section};
use crate::key::join;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::report::Report;
use crate::{names, syntax};

/// The largest file that is read. A list of 20,000 tables fits.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// Beyond this size a file that is not TOML gets its first error alone: collecting all of them has no bound in memory.
const RECOVER_BYTES_MAX: usize = 64 << 10;

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
        syntax::add_errors(&report, &root, &errors);
        let document = Self { root, report };
        names::check(&document);
        document
    }

    pub(crate) fn report(&self) -> &Report<'d> {
        &self.report
    }

    pub(crate) fn root(&self) -> &DeTable<'d> {
        &self.root
    }

    pub(crate) fn into_report(self) -> Report<'d> {
        self.report
    }

    /// The reader of a section; where a section is missing that must be there, that is reported. Whether a source or a
    /// sink is there is seen by whoever chooses among them.
    pub(crate) fn section(&self, section: &'static Section) -> Reader<'_> {
        let path = section.title();
        match self.table(section.path) {
            Some(Ok((offset, table))) => Reader::new(&self.report, section, path, offset, Some(table)),
            found => {
                // Something else than a section is reported by the check of names.
                if found.is_none() && section.presence == Presence::Required {
                    self.add_missing(&path, Problem::new("section is missing").expected(section.least()));
                }
                Reader::new(&self.report, section, path, 0, None)
            }
        }
    }

    /// The reader of a section, if the file has it.
    pub(crate) fn optional_section(&self, section: &'static Section) -> Option<Reader<'_>> {
        let (offset, table) = self.table(section.path)?.ok()?;
        Some(Reader::new(&self.report, section, section.title(), offset, Some(table)))
    }

    /// Where a section begins, if the file has it.
    pub(crate) fn offset(&self, section: &Section) -> Option<usize> {
        self.table(section.path)?.ok().map(|(offset, _)| offset)
    }

    /// Whether something else than a section is at `path` or above; that is reported by the check of names.
    pub(crate) fn is_broken(&self, path: &[&str]) -> bool {
        matches!(self.table(path), Some(Err(())))
    }

    /// Adds a problem of a whole section that the file has.
    pub(crate) fn complain_section(&self, section: &Section, problem: Problem) {
        self.report.add(self.offset(section).unwrap_or_default(), &section.title(), problem);
    }

    /// Adds that something is not in the file, at its end.
    pub(crate) fn add_missing(&self, key: &str, problem: Problem) {
        self.report.add_missing(self.report.text().len(), key, problem);
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
    pub(crate) fn table(&self, path: &[&str]) -> Option<Result<(usize, &DeTable<'d>), ()>> {
        let mut table = &self.root;
        let mut offset = 0;
        for part in path {
            let value = table.get(*part)?;
            let Some(inner) = value.get_ref().as_table() else { return Some(Err(())) };
            (offset, table) = (value.span().start, inner);
        }
        Some(Ok((offset, table)))
    }
}
