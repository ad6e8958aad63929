//! What people and scripts see.

use serde_json::Value;

use super::table::{self, Column};
use crate::failure::Failure;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Writes a line; a closed pipe ends the command quietly, as with other tools. Anything else that keeps the output
/// from being written, such as a full disk, ends it with exit code 1.
pub(crate) fn line(text: impl std::fmt::Display) {
    use std::io::{ErrorKind, Write as _};
    if let Err(error) = writeln!(std::io::stdout(), "{text}") {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        note(format!("turnup: the output can't be written: {error}"));
        std::process::exit(1);
    }
}

/// Says something on standard error that is no failure.
pub(crate) fn warn(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "turnup: warning: {text}");
}

/// Prints JSON, indented.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?);
    Ok(())
}

/// Writes items in columns.
pub(crate) fn table(items: &[Value], columns: &[Column<'_>]) {
    print(&table::lines(items, columns, table::width()));
}

/// A value of a list: one line, and without spaces where it has none itself.
pub(crate) fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return "-".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => return "-".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(","),
        some => text(some),
    };
    text.replace(char::is_control, " ")
}

/// A value as text.
pub(crate) fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(", "),
        Some(other) => other.to_string(),
    }
}

/// One line of a list of fields.
pub(crate) fn field(name: &str, value: impl std::fmt::Display) -> String {
    format!("{name:<12} {value}")
}

/// Adds the fields that have a value to `lines`: heading and JSON pointer.
pub(crate) fn fields(lines: &mut Vec<String>, value: &Value, named: &[(&str, &str)]) {
    for (name, pointer) in named {
        match value.pointer(pointer) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) if items.is_empty() => {}
            some => lines.push(field(name, text(some))),
        }
    }
}

/// The entries of an array; none if it isn't one.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A number of things: `1 module`, `2 modules`.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Puts `indent` before every line.
pub(crate) fn indented(text: &str, indent: &str) -> Vec<String> {
    text.lines().map(|line| format!("{indent}{line}").trim_end().to_owned()).collect()
}

/// Writes lines.
pub(crate) fn print(lines: &[String]) {
    for each in lines {
        line(each);
    }
}

/// As one word of a shell command.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,=@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Prints a list: the page as JSON, or its items as a table. `what`: what the items are.
pub(crate) fn list(format: Format, page: &Value, what: &str, columns: &[Column<'_>]) -> Result<(), Failure> {
    if format == Format::Json {
        return json(page);
    }
    let found = items(&page["items"]);
    table(found, columns);
    if found.is_empty() {
        note(format!("no {what}"));
    }
    if let Some(cursor) = page["next_cursor"].as_str() {
        note(format!("more: --cursor {}", quoted(cursor)));
    }
    Ok(())
}

/// Says something about the output, apart from it: on standard error.
pub(crate) fn note(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell() {
        assert_eq!(quoted("a/b-1.yaml"), "a/b-1.yaml");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
