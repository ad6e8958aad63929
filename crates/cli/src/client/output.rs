//! What people and scripts see.

use serde_json::Value;

use turnup_core::clean;

use super::{
    paint::Paint,
    table::{self, Column},
};
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
    write_line(&shown(&text.to_string()));
}

/// A text as it may reach a terminal: what comes from files, devices and other people is in it, so characters that
/// would steer the terminal, or change the order of the text around them, are written as escapes (`\u{202e}`). Line
/// breaks, tabs and our own colours stay.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(colour) = Paint::sequence(rest) {
            out.push_str(colour);
            rest = &rest[colour.len()..];
            continue;
        }
        match clean::is_unsafe(c) && !matches!(c, '\n' | '\t') {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// JSON in which the same characters are written as JSON escapes: another spelling of the same value.
fn safe_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if clean::is_unsafe(c) && !matches!(c, '\n' | '\t') {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Writes JSON in one line.
pub(crate) fn json_line(value: &Value) {
    write_line(&safe_json(&value.to_string()));
}

fn write_line(text: &str) {
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
    let _ = writeln!(std::io::stderr(), "turnup: warning: {}", shown(&text.to_string()));
}

/// Prints JSON, indented.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    write_line(&safe_json(&text));
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
    shown(&text.replace(['\n', '\r', '\t'], " "))
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
    let _ = writeln!(std::io::stderr(), "{}", shown(&text.to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let evil = "name\u{202e}gpj\u{1b}[2J\u{9b}31m\u{200b}";
        assert_eq!(shown(evil), "name\\u{202e}gpj\\u{1b}[2J\\u{9b}31m\\u{200b}");
        let painted = Paint::coloured().bad(evil);
        assert_eq!(
            shown(&painted),
            "\u{1b}[31mname\\u{202e}gpj\\u{1b}[2J\\u{9b}31m\\u{200b}\u{1b}[0m",
            "our own colours stay"
        );
        assert_eq!(shown("a\n\tb é 電"), "a\n\tb é 電");
        let value = serde_json::json!({"name": format!("{evil}\u{e0041}")});
        let json = safe_json(&value.to_string());
        assert!(!json.chars().any(clean::is_unsafe), "{json}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value, "the same value");
        assert_eq!(cell(Some(&Value::from(evil))), shown(evil));
    }

    #[test]
    fn words_of_a_shell() {
        assert_eq!(quoted("a/b-1.yaml"), "a/b-1.yaml");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
