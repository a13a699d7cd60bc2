//! What a reader of the tree may rely on, checked line by line: names, sizes, docs, no leftovers, no traces of a machine.
//!
//! A check is a function from a file to its findings. Each is shown below, on a small text, to find what it is for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

/// The longest file and function; both include comments. A longer one holds two ideas.
const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 100;

/// Files that may hold `unsafe`, each with its reason: the C library's allocator has no safe setting, and librdkafka's wrapper
/// has no call that gives a token to a client.
const UNSAFE_FILES: [&str; 2] = ["src/memory.rs", "core/oauth/src/handover.rs"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] = ["utils", "util", "common", "types", "helpers", "helper", "manager", "handler", "misc"];

/// Folders of one machine, and hosts of registries: neither means anything elsewhere.
const MACHINE_FOLDERS: [&str; 5] = ["/work", "/tmp", "/root", "/home", "/opt"];
const REGISTRY_HOSTS: [&str; 10] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("maven.apache", ".org"),
    concat!("deb.debian", ".org"),
    concat!("docker", ".io"),
    concat!("ghcr", ".io"),
    concat!("quay", ".io"),
];

/// One file of the tree.
struct File {
    path: String,
    text: String,
}

/// Where something is wrong, and what.
#[derive(Debug, PartialEq)]
struct Finding {
    line: usize,
    what: String,
}

type Check = fn(&File) -> Vec<Finding>;

const CHECKS: [(&str, Check); 9] = [
    ("names say what is inside", names),
    ("files and functions are short", sizes),
    ("what is left to do is explained", leftovers),
    ("no test is skipped", skipped_tests),
    ("no unsafe code", unsafe_code),
    ("no traces of a machine", machine_paths),
    ("no registry's host", registry_hosts),
    ("every file says what it is for", module_docs),
    ("plain whitespace", whitespace),
];

#[test]
fn the_tree_is_tidy() {
    let files = files();
    assert!(files.len() > 50, "only {} files were found", files.len());
    let mut found = Vec::new();
    for (title, check) in CHECKS {
        for file in &files {
            let lines = check(file).into_iter();
            found.extend(lines.map(|finding| format!("{}:{}: {} ({title})", file.path, finding.line, finding.what)));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Every text file that is or would be committed.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(list.status.success(), "git ls-files: {}", String::from_utf8_lossy(&list.stderr));
    let paths = String::from_utf8(list.stdout).unwrap();
    let paths = paths.split('\0').filter(|path| !path.is_empty() && *path != "Cargo.lock");
    // A file that was deleted but not yet committed, or that is not text, has nothing to check.
    paths
        .filter_map(|path| Some(File { path: path.to_owned(), text: std::fs::read_to_string(root.join(path)).ok()? }))
        .collect()
}

fn names(file: &File) -> Vec<Finding> {
    let empty = |name: &str| EMPTY_NAMES.contains(&name);
    let mut found = Vec::new();
    for part in file.path.split('/') {
        let stem = part.split('.').next().unwrap_or(part);
        if empty(stem) {
            found.push(Finding { line: 1, what: format!("{stem} is no name for a file") });
        }
    }
    for (line, text) in numbered(file) {
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        for (keyword, name) in words.iter().zip(words.iter().skip(1)) {
            if file.is("rs") && *keyword == "mod" && empty(name) {
                found.push(Finding { line, what: format!("{name} is no name for a module") });
            }
        }
        let crate_name = text.strip_prefix("name = \"").filter(|_| file.path.ends_with("Cargo.toml"));
        if crate_name.is_some_and(|name| name.trim_end_matches('"').split('-').any(empty)) {
            found.push(Finding { line, what: "no name for a crate".to_owned() });
        }
    }
    found
}

fn sizes(file: &File) -> Vec<Finding> {
    if !file.is("rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(Finding { line: 1, what: format!("{lines} lines; at most {FILE_LINES_MAX}") });
    }
    for (line, name, lines) in functions(&file.text) {
        if lines > FUNCTION_LINES_MAX {
            found.push(Finding { line, what: format!("{name} has {lines} lines; at most {FUNCTION_LINES_MAX}") });
        }
    }
    found
}

/// Line, name and length of each function with a body, as `rustfmt` lays it out: its last line is the first `}` as deep as
/// its first line.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let depth = indent(line);
        for (length, line) in lines.iter().skip(at).enumerate() {
            let same_depth = indent(line) == depth;
            let one_line = length == 0 && line.ends_with('}');
            if same_depth && (one_line || (length > 0 && line.trim_start().starts_with('}'))) {
                found.push((at + 1, name, length + 1));
                break;
            }
            if same_depth && line.ends_with(';') {
                break;
            }
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let modifier = |word: &str| {
        word.starts_with("pub") || ["async", "const", "default", "extern", "unsafe", "\"C\""].contains(&word)
    };
    let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (before.split_whitespace().all(modifier) && !name.is_empty()).then_some(name)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A word such as this must be followed by a colon and a sentence that a stranger understands.
fn leftovers(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in numbered(file) {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            let Some((_, rest)) = text.split_once(word).filter(|(_, rest)| !rest.starts_with(char::is_alphanumeric))
            else {
                continue;
            };
            let sentence = rest.strip_prefix(": ").unwrap_or_default();
            if sentence.split_whitespace().count() < 4 {
                found.push(Finding {
                    line,
                    what: format!("{word} without a colon and a sentence that says what and why"),
                });
            }
        }
    }
    found
}

fn skipped_tests(file: &File) -> Vec<Finding> {
    let skips = [concat!("#[", "ignore"), concat!("@pytest.mark.", "skip"), concat!("@unittest.", "skip")];
    let mut found = Vec::new();
    for (line, text) in numbered(file) {
        if skips.iter().any(|skip| text.contains(skip)) {
            found.push(Finding { line, what: "a test that never runs; repair or delete it".to_owned() });
        }
    }
    found
}

fn unsafe_code(file: &File) -> Vec<Finding> {
    if !file.is("rs") || UNSAFE_FILES.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, text) in numbered(file) {
        let code = text.split("//").next().unwrap_or_default();
        let after = code.split_once(concat!("unsafe", " ")).map(|(_, after)| after.trim_start());
        if after.is_some_and(|after| ["{", "fn", "impl", "trait", "extern"].iter().any(|word| after.starts_with(word)))
        {
            found.push(Finding { line, what: "unsafe code outside the list of its files".to_owned() });
        }
    }
    found
}

fn machine_paths(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in numbered(file) {
        for folder in MACHINE_FOLDERS {
            // Only where a path begins: `target/work/` is another thing.
            let begins =
                |at: usize| text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && !"./}_-".contains(c));
            let goes_on = |at: usize| text[at + folder.len()..].starts_with('/');
            if text.match_indices(folder).any(|(at, _)| begins(at) && goes_on(at)) {
                found.push(Finding { line, what: format!("{folder}/ is a folder of one machine") });
            }
        }
    }
    // The list itself.
    if file.path == "tests/tidy.rs" { Vec::new() } else { found }
}

fn registry_hosts(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in numbered(file) {
        for host in REGISTRY_HOSTS.iter().filter(|host| text.contains(*host)) {
            found.push(Finding { line, what: format!("{host}: a name without its registry is enough") });
        }
    }
    found
}

/// The files of a module's tests are named in the module itself.
fn module_docs(file: &File) -> Vec<Finding> {
    let inside = file.path.split_once("/src/").map_or("", |(_, inside)| inside);
    let tests_of_a_module = inside.split('/').any(|part| part == "tests" || part == "tests.rs");
    let documented = file.text.trim_start().starts_with("//!");
    if !file.is("rs") || tests_of_a_module || documented {
        return Vec::new();
    }
    vec![Finding { line: 1, what: "begins without //! and a sentence that says what it is for".to_owned() }]
}

fn whitespace(file: &File) -> Vec<Finding> {
    if !["rs", "md", "toml", "sh", "py"].iter().any(|ending| file.is(ending)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, text) in file.text.split('\n').enumerate().map(|(at, text)| (at + 1, text)) {
        if text.contains('\t') {
            found.push(Finding { line, what: "a tab".to_owned() });
        }
        if text.ends_with([' ', '\t', '\r']) {
            found.push(Finding { line, what: "blanks or a carriage return at the end".to_owned() });
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        found.push(Finding { line: file.text.lines().count(), what: "the last line has no end".to_owned() });
    }
    found
}

impl File {
    fn is(&self, ending: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, own)| own == ending)
            || (ending == "sh" && !self.path.contains('.') && self.text.starts_with("#!"))
    }
}

fn numbered(file: &File) -> impl Iterator<Item = (usize, &str)> {
    file.text.lines().enumerate().map(|(at, text)| (at + 1, text))
}

/// The lines at which `check` finds something in `text`.
fn lines(check: Check, path: &str, text: &str) -> Vec<usize> {
    check(&File { path: path.to_owned(), text: text.to_owned() }).iter().map(|finding| finding.line).collect()
}

#[test]
fn empty_names_are_found() {
    assert_eq!(lines(names, "core/utils/src/lib.rs", ""), [1]);
    assert_eq!(lines(names, "src/types.rs", ""), [1]);
    assert_eq!(lines(names, "tests/harness/helpers.py", ""), [1]);
    assert_eq!(
        lines(names, "src/a.rs", &"\npub(crate) mod COMMON {\nmod handler;\n".replace("COMMON", "common")),
        [2, 3]
    );
    assert_eq!(lines(names, "a/Cargo.toml", "[package]\nname = \"walbrook-common\"\n"), [2]);
    assert_eq!(lines(names, "src/type_map.rs", "mod commons;\nlet types = 1;\n"), [0; 0]);
}

#[test]
fn long_files_and_functions_are_found() {
    assert_eq!(lines(sizes, "a.rs", &"\n".repeat(800)), [0; 0]);
    assert_eq!(lines(sizes, "a.rs", &"\n".repeat(801)), [1]);
    let function = |lines: usize| {
        format!("fn short() {{}}\n\n    pub(crate) async fn f(\n    ) {{\n{}    }}\n", "        x;\n".repeat(lines - 3))
    };
    assert_eq!(lines(sizes, "a.rs", &function(100)), [0; 0]);
    assert_eq!(lines(sizes, "a.rs", &function(101)), [3]);
    let declared = format!("trait T {{\n    fn f(\n        &self,\n    ) -> A;\n{}}}\n", "    // a\n".repeat(200));
    assert_eq!(lines(sizes, "a.rs", &declared), [0; 0]);
    assert_eq!(functions("fn a() {\n    {\n    }\n}\nfn b() { 1 }\n"), [(1, "a", 4), (5, "b", 1)]);
}

#[test]
fn unexplained_leftovers_are_found() {
    let text = "// A\n# B later\n// A: faster\n// A: read in ranges once tables are large.\n// As\n";
    let text = text.replace('A', concat!("TO", "DO")).replace('B', concat!("FIX", "ME"));
    assert_eq!(lines(leftovers, "a.rs", &text), [1, 2, 3]);
}

#[test]
fn skipped_tests_are_found() {
    assert_eq!(lines(skipped_tests, "a.rs", concat!("#[test]\n#[", "ignore = \"slow\"]\n")), [2]);
    assert_eq!(lines(skipped_tests, "a.py", concat!("@pytest.mark.", "skip\n")), [1]);
    assert_eq!(lines(skipped_tests, "a.rs", "#[test]\nfn ignored() {}\n"), [0; 0]);
}

#[test]
fn unsafe_code_is_found() {
    let text = "UNSAFE { x }\nUNSAFE fn f() {}\n// an UNSAFE { x }\n#![deny(unsafe_code)]\n"
        .replace("UNSAFE", concat!("un", "safe"));
    assert_eq!(lines(unsafe_code, "a.rs", &text), [1, 2]);
    assert_eq!(lines(unsafe_code, "a.md", &text), [0; 0]);
}

#[test]
fn traces_of_a_machine_are_found() {
    let text =
        "see /work/main\n\"/tmp/x\"\npath=/home/me/x\ntarget/work/x\n/var/tmp/x\n{dir}/tmp/x\n/tmp\n/optional/x\n";
    assert_eq!(lines(machine_paths, "a.md", text), [1, 2, 3]);
}

#[test]
fn registry_hosts_are_found() {
    let text = format!("FROM {}/library/debian\nFROM debian:stable\n", concat!("docker", ".io"));
    assert_eq!(lines(registry_hosts, "Dockerfile", &text), [1]);
}

#[test]
fn missing_module_docs_are_found() {
    assert_eq!(lines(module_docs, "a/src/lib.rs", "use std::fmt;\n"), [1]);
    assert_eq!(lines(module_docs, "a/src/lib.rs", "//! What it is.\n"), [0; 0]);
    assert_eq!(lines(module_docs, "a/src/b/tests.rs", "use super::*;\n"), [0; 0]);
    assert_eq!(lines(module_docs, "a/src/tests/b.rs", "use super::*;\n"), [0; 0]);
    assert_eq!(lines(module_docs, "tests/tests.rs", ""), [1]);
}

#[test]
fn stray_whitespace_is_found() {
    assert_eq!(lines(whitespace, "a.rs", "a \n\tb\nc\r\nd"), [1, 2, 3, 4]);
    assert_eq!(lines(whitespace, "tests/run", "#!/bin/sh\nx \n"), [2]);
    assert_eq!(lines(whitespace, "a.rs", "a\n\nb\n"), [0; 0]);
    assert_eq!(lines(whitespace, "Makefile", "a:\n\tb\n"), [0; 0]);
}
