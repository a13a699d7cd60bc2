//! Collects the problems of one file and turns offsets into lines and columns.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::problem::{Place, Problem};

/// More than anyone repairs in one go; then the search ends.
const PROBLEMS_MAX: usize = 100;

/// The problems of one file.
#[derive(Debug)]
pub(crate) struct Report<'d> {
    file: &'d str,
    text: &'d str,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    /// Lines that are not TOML: what else is wrong there is a consequence.
    broken: RefCell<BTreeSet<usize>>,
}

impl<'d> Report<'d> {
    pub(crate) fn new(file: &'d str, text: &'d str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, lines, problems: RefCell::default(), broken: RefCell::default() }
    }

    pub(crate) fn text(&self) -> &'d str {
        self.text
    }

    /// Adds a problem of the text at `offset`.
    pub(crate) fn add(&self, offset: usize, key: &str, problem: Problem) {
        let place = self.place(offset);
        if !self.broken.borrow().contains(&place.line) {
            self.push(problem.at(self.file, Some(place), key));
        }
    }

    /// Adds that something is not there, unless a part of the file could not be read: it may stand in that part.
    pub(crate) fn add_missing(&self, offset: usize, key: &str, problem: Problem) {
        if self.broken.borrow().is_empty() {
            self.add(offset, key, problem);
        }
    }

    /// Adds that the text at `offset` is not TOML, once a line.
    pub(crate) fn add_broken(&self, offset: usize, problem: Problem) {
        let place = self.place(offset);
        if self.broken.borrow_mut().insert(place.line) {
            self.push(problem.at(self.file, Some(place), ""));
        }
    }

    /// Hides everything that could be said about the line at `offset`.
    pub(crate) fn hide(&self, offset: usize) {
        self.broken.borrow_mut().insert(self.place(offset).line);
    }

    /// The line that `offset` lies in, without its end, and where it starts.
    pub(crate) fn line(&self, offset: usize) -> (usize, &'d str) {
        let start = self.lines.get(self.line_index(offset)).copied().unwrap_or_default();
        (start, self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default())
    }

    /// The problems in the order of the file.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let full = self.is_full();
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(Problem::place);
        if full {
            problems.push(Problem::new("there may be more; these are enough for once").at(self.file, None, ""));
        }
        problems
    }

    /// Whether the file is not TOML, or a problem has a key that begins like this.
    pub(crate) fn has_problem_below(&self, title: &str) -> bool {
        !self.broken.borrow().is_empty()
            || self.problems.borrow().iter().any(|problem| problem.key().starts_with(title))
    }

    /// Whether no more problems are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.borrow().len() >= PROBLEMS_MAX
    }

    fn push(&self, problem: Problem) {
        if !self.is_full() {
            self.problems.borrow_mut().push(problem);
        }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.line_index(offset);
        let start = self.lines.get(line).copied().unwrap_or_default();
        let before = self.text.get(start..offset).map_or_else(|| offset.saturating_sub(start), |t| t.chars().count());
        Place { line: line + 1, column: before + 1 }
    }

    fn line_index(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let text = "a = 1\n\u{e9}\u{e9} = 2\r\n\nlast";
        let report = Report::new("f", text);
        let check = |at: &str, line, column| {
            let offset = text.find(at).unwrap();
            assert_eq!(report.place(offset), Place { line, column }, "{at}");
        };
        check("a", 1, 1);
        check("1", 1, 5);
        check("2", 2, 6);
        check("last", 4, 1);
        assert_eq!(report.place(text.len()), Place { line: 4, column: 5 });
        assert_eq!(report.line(text.find('2').unwrap()), (6, "\u{e9}\u{e9} = 2"));
        assert_eq!(Report::new("f", "").place(0), Place { line: 1, column: 1 });
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_end_somewhere() {
        let text = "x\n".repeat(300);
        let report = Report::new("f", &text);
        for line in (0..300).rev() {
            report.add(line * 2, "", Problem::new("no"));
        }
        let problems = report.into_problems();
        assert_eq!(problems.len(), PROBLEMS_MAX + 1);
        assert!(problems.windows(2).all(|pair| pair[0].place() <= pair[1].place() || pair[1].place().is_none()));
        assert!(problems[PROBLEMS_MAX].to_string().starts_with("f: there may be more"));
    }

    #[test]
    fn a_broken_line_hides_its_consequences() {
        let report = Report::new("f", "a\nb\n");
        report.add_broken(0, Problem::new("not TOML"));
        report.add_broken(1, Problem::new("not TOML"));
        report.add(0, "a", Problem::new("consequence"));
        report.add_missing(2, "b", Problem::new("perhaps there"));
        report.add(2, "b", Problem::new("its own"));
        let shown: Vec<String> = report.into_problems().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["f:1:1: not TOML", "f:2:1: b: its own"]);
    }
}
