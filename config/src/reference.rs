//! The reference of all options, as Markdown, from their definitions.

use std::fmt::Write;

use crate::amount::{format_duration, format_size};
use crate::definition::{Kind, Presence, SECTIONS, Section, Setting, Unset};

const INTRODUCTION: &str = "\
# Configuration reference

<!-- Written by `walbrook config > config/reference.md` from the definitions in `config/src`; a test says when it is stale. -->

One TOML file is one pipeline, from one source into one sink. Everything that is wrong with it is reported at once,
with line, column and the likely remedy; walbrook then exits with status 78 and has touched nothing.

- A **duration** is a whole number and its unit in quotes, `\"250ms\"`, `\"1s\"`, `\"5m\"`, `\"2h\"`, `\"7d\"`; a **size**
  likewise, `\"64MB\"` (1,000,000 bytes each) or `\"1GiB\"` (1,073,741,824 bytes). A number without its unit is an error.
- A **pattern** is `schema.table` (for columns `schema.table.column`), written as in the catalog, without quotes around
  the names; `*` stands for any run of characters.
- A **password** never stands in the file: `password_file` names a file that only its owner can read, `password_env` an
  environment variable. Other values are taken as they stand; nothing is filled in from the environment.
- A relative **path** begins in the folder in which walbrook is started.
- An unknown or repeated key is an error, and so is an option that would have no effect.
";

/// The reference of all options, as Markdown.
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for section in SECTIONS {
        // Writing into a string cannot fail.
        let _ = write_section(&mut text, section);
    }
    text
}

/// A configuration to begin with: every option that most pipelines set, with comments.
pub fn example() -> &'static str {
    include_str!("../examples/postgres-to-iceberg.toml")
}

fn write_section(text: &mut String, section: &Section) -> std::fmt::Result {
    writeln!(text, "\n## `[{}]`\n\n{}{}\n", section.title(), section.doc, required(section))?;
    if section.presence == Presence::Open {
        return Ok(());
    }
    writeln!(text, "| Option | Value | Default | What it does | Who changes it | Since |")?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for setting in section.settings {
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} |",
            setting.name,
            value(setting),
            default(&setting.kind),
            setting.doc,
            setting.change,
            setting.since
        )?;
    }
    Ok(())
}

/// Whether a file needs a section, as a sentence behind its description.
fn required(section: &Section) -> String {
    match (section.presence, section.path) {
        (Presence::Required, [_]) => " Required.".to_owned(),
        (Presence::Required, [parent @ .., _]) => format!(" Required beside `[{}]`.", parent.join(".")),
        (Presence::Choice, [side, ..]) => format!(" One {side} is required."),
        _ => String::new(),
    }
}

/// Type, unit and bound.
fn value(setting: &Setting) -> String {
    match &setting.kind {
        Kind::Text { form, .. } => form.expected.to_owned(),
        Kind::Texts { form, .. } => format!("list of {}", form.expected),
        Kind::Word { words, .. } => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Kind::Integer { min, max, .. } => format!("whole number, {min} to {max}"),
        Kind::Flag { .. } => "`true` or `false`".to_owned(),
        Kind::Duration { min, max, .. } => format!("duration, {} to {}", format_duration(*min), format_duration(*max)),
        Kind::Size { min, max, .. } => format!("size, {} to {}", format_size(*min), format_size(*max)),
    }
}

fn default(kind: &Kind) -> String {
    match kind {
        Kind::Text { unset, .. } | Kind::Texts { unset, .. } | Kind::Word { unset, .. } => match unset {
            Unset::Refused { example } => format!("**required**, such as `{example}`"),
            Unset::Default(text) => format!("`\"{text}\"`"),
            Unset::Derived(how) => (*how).to_owned(),
        },
        Kind::Integer { default, .. } => format!("`{default}`"),
        Kind::Flag { default } => format!("`{default}`"),
        Kind::Duration { default, .. } => format!("`\"{}\"`", format_duration(*default)),
        Kind::Size { default, .. } => format!("`\"{}\"`", format_size(*default)),
    }
}
