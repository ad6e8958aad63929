//! The files of functional checks, and how often services are audited.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use turnup_core::audit::Test;

use super::{
    Reader, find,
    parts::Found,
    sources::{Source, Sources},
};
use turnup_files::{Content, Entry, Node, yaml};

use crate::{
    audit::{self, CheckTemplate, ConditionTemplate, MAX_CHECKS, MAX_CONDITIONS, Part},
    bundle::Bundle,
    definition::BeforeConfirm,
};

const AUDIT_FIELDS: [&str; 4] = ["every", "before_confirm", "within", "settle"];
/// How long checks are polled before a change is given up, unless the definition says so.
const DEFAULT_WITHIN: Duration = Duration::from_secs(30);
/// Longest time for that, and longest pause before.
const MAX_CHECKED: Duration = Duration::from_secs(300);
const FILE_FIELDS: [&str; 1] = ["checks"];
const CHECK_FIELDS: [&str; 4] = ["name", "get", "rpc", "conditions"];
/// Shortest time between two audits of a service.
const MIN_EVERY: Duration = Duration::from_secs(60);
/// Longest.
const MAX_EVERY: Duration = Duration::from_secs(366 * 86_400);

impl Reader<'_> {
    /// How often services are audited, and whether checks decide about the confirm.
    pub(super) fn audit(&mut self, node: &Node) -> (Option<Duration>, Option<BeforeConfirm>) {
        let fields = self.map(node, "'audit'", Some(&AUDIT_FIELDS));
        if fields.is_empty() {
            self.mistake(
                node.line,
                "'audit' says nothing; write 'every', or 'before_confirm: true'".to_owned(),
            );
        }
        let every = find(fields, "every").and_then(|node| {
            self.time(node, "every", MIN_EVERY..=MAX_EVERY, "90s, 15m, 6h or 1d, from one minute to 366 days")
        });
        let checks = find(fields, "before_confirm").is_some_and(|node| self.bool(node, "before_confirm"));
        let mut time = |key: &str, default: Duration, range: RangeInclusive<Duration>| match find(fields, key)
        {
            Some(node) if !checks => {
                self.mistake(node.line, format!("'{key}' needs 'before_confirm: true' beside it"));
                default
            }
            Some(node) => self.time(node, key, range, "0s, 5s or 2m, up to 5 minutes").unwrap_or(default),
            None => default,
        };
        let settle = time("settle", Duration::ZERO, Duration::ZERO..=MAX_CHECKED);
        let within = time("within", DEFAULT_WITHIN, Duration::ZERO..=MAX_CHECKED);
        (every, checks.then_some(BeforeConfirm { settle, within }))
    }

    fn time(
        &mut self,
        node: &Node,
        key: &str,
        range: RangeInclusive<Duration>,
        examples: &str,
    ) -> Option<Duration> {
        let text = self.text(node, key)?;
        let time = duration(&text).filter(|time| range.contains(time));
        if time.is_none() {
            self.mistake(node.line, format!("'{key}' is {text:?}, which is no such time; write {examples}"));
        }
        time
    }

    /// Checks can only decide where there are some.
    pub(super) fn has_checks(&mut self, platforms: &[Found], node: &Node) {
        let without: Vec<&str> = platforms
            .iter()
            .filter(|found| found.platform.audit.is_none())
            .map(|found| found.name.as_str())
            .collect();
        if !without.is_empty() {
            let message = format!(
                "'before_confirm' needs functional checks on every platform; add 'audit: <file>' to {}",
                without.join(", ")
            );
            self.mistake(node.line, message);
        }
    }

    /// The platforms' files of checks, by name. Adds their templates.
    pub(super) fn audit_files(
        &mut self,
        platforms: &[Found],
        bundle: &Bundle,
        sources: &mut Sources,
    ) -> BTreeMap<String, Vec<CheckTemplate>> {
        let mut audits = BTreeMap::new();
        for Found { line, platform, .. } in platforms {
            let Some(file) = platform.audit.as_ref().filter(|file| !audits.contains_key(*file)) else {
                continue;
            };
            let Some(text) = self.file_of(bundle, file, "file of checks", *line) else { continue };
            let path = self.file.with_file_name(file);
            let mut reader = Reader::new(&path);
            let checks = match yaml::parse(&text) {
                Ok(root) => {
                    let mut parts = Parts { file, text: &text, sources };
                    reader.checks(&root, &mut parts)
                }
                Err(faults) => {
                    reader.faults(faults);
                    Vec::new()
                }
            };
            self.mistakes.append(&mut reader.mistakes);
            audits.insert(file.clone(), checks);
        }
        audits
    }

    fn checks(&mut self, root: &Node, parts: &mut Parts<'_>) -> Vec<CheckTemplate> {
        let fields = self.map(root, "a file of checks", Some(&FILE_FIELDS));
        if !matches!(root.content, Content::Map(_)) {
            return Vec::new();
        }
        let Some(list) = self.required(fields, "checks", root.line) else { return Vec::new() };
        let items = self.items(list, "'checks'", MAX_CHECKS);
        let checks: Vec<CheckTemplate> = items.iter().filter_map(|item| self.check(item, parts)).collect();
        let mut names = BTreeSet::new();
        for check in checks.iter().filter(|check| !names.insert(&check.name)) {
            self.mistake(check.line, format!("there are two checks with the name {:?}", check.name));
        }
        checks
    }

    fn check(&mut self, node: &Node, parts: &mut Parts<'_>) -> Option<CheckTemplate> {
        let fields = self.map(node, "a check", Some(&CHECK_FIELDS));
        if fields.is_empty() {
            return None;
        }
        let name = self.required(fields, "name", node.line).and_then(|node| self.text(node, "name"));
        let (get, rpc) = (find(fields, "get"), find(fields, "rpc"));
        let ask = match (get, rpc) {
            (Some(node), None) | (None, Some(node)) => {
                self.text(node, "'get' or 'rpc'").map(|text| (node, text))
            }
            _ => {
                let message = "a check has either 'get', with what to read, or 'rpc', with the operation";
                self.mistake(node.line, message);
                None
            }
        };
        let conditions = self.required(fields, "conditions", node.line);
        let conditions: Vec<ConditionTemplate> = conditions
            .map(|list| {
                let items = self.items(list, "'conditions'", MAX_CONDITIONS);
                items.iter().filter_map(|item| self.condition(item, parts)).collect()
            })
            .unwrap_or_default();
        let (asked, text) = ask?;
        let is_rpc = rpc.is_some();
        let ask = parts.part(asked, text, true);
        if ask.is_constant {
            self.complain(asked, audit::markup(&ask.text, is_rpc));
        }
        Some(CheckTemplate { name: name?, line: node.line, is_rpc, ask: ask.part, conditions })
    }

    fn condition(&mut self, node: &Node, parts: &mut Parts<'_>) -> Option<ConditionTemplate> {
        let tests: Vec<&str> = Test::ALL.iter().map(|test| test.word()).collect();
        let known: Vec<&str> = [&["path"], tests.as_slice()].concat();
        let fields = self.map(node, "a condition", Some(&known));
        if !matches!(node.content, Content::Map(_)) {
            return None;
        }
        let path = self.required(fields, "path", node.line).and_then(|node| {
            let text = self.text(node, "path")?;
            let path = parts.part(node, text, false);
            if path.is_constant {
                self.complain(node, audit::path(&path.text));
            }
            Some(path.part)
        });
        let given: Vec<(Test, &Entry)> =
            fields.iter().filter_map(|entry| Some((entry.key.parse().ok()?, entry))).collect();
        let [(test, Entry { value, .. })] = given.as_slice() else {
            self.mistake(node.line, format!("a condition has one of {}", tests.join(", ")));
            return None;
        };
        let value = if matches!(test, Test::Exists | Test::Absent) {
            if !matches!(value.content, Content::Bool(true)) {
                self.mistake(value.line, format!("write {test}: true, or the opposite condition"));
            }
            None
        } else {
            let Some(text) = value.text() else {
                self.mistake(value.line, format!("{test} needs a value, this is {}", value.kind()));
                return None;
            };
            let part = parts.part(value, text, false);
            if part.is_constant {
                self.complain(value, audit::value(*test, &part.text));
            }
            Some(part.part)
        };
        Some(ConditionTemplate { path: path?, test: *test, value })
    }

    fn complain(&mut self, node: &Node, checked: Result<String, String>) {
        if let Err(message) = checked {
            self.mistake(node.line, message);
        }
    }

    fn items<'n>(&mut self, node: &'n Node, what: &str, max: usize) -> &'n [Node] {
        match &node.content {
            Content::List(items) if (1..=max).contains(&items.len()) => items,
            _ => {
                self.mistake(node.line, format!("{what} must be a list of 1 to {max} entries"));
                &[]
            }
        }
    }
}

/// Collects the templates in a file of checks.
struct Parts<'p> {
    file: &'p str,
    /// Of the file.
    text: &'p str,
    sources: &'p mut Sources,
}

/// A template, and its text.
struct Added {
    part: Part,
    text: String,
    /// It takes nothing from its context, so it can be checked as it stands.
    is_constant: bool,
}

impl Parts<'_> {
    fn part(&mut self, node: &Node, text: String, markup: bool) -> Added {
        // File names have no '#'.
        let name = format!("{}#{}", self.file, self.sources.len());
        let first_line = self.first_line(node);
        let part = Part { template: name.clone(), line: first_line };
        let source = Source { file: self.file.to_owned(), first_line, text: text.clone(), markup };
        self.sources.insert(name, source);
        let is_constant = !["{{", "{%", "{#"].iter().any(|begin| text.contains(begin));
        Added { part, text, is_constant }
    }

    /// The line of a text's first line: for a block (`|`) the one after its head.
    fn first_line(&self, node: &Node) -> usize {
        let line = usize::try_from(node.line).unwrap_or(1);
        let head = self.text.lines().nth(line - 1).unwrap_or_default();
        let head = head.split(" #").next().unwrap_or_default().trim_end();
        let is_block = head.trim_end_matches(['-', '+', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        if is_block.ends_with(": |") || is_block.ends_with(": >") { line + 1 } else { line }
    }
}

/// `90s`, `15m`, `6h`, `1d`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("6h", 21_600), ("1d", 86_400)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "6", "h", "+6h", "6 h", "1.5h", "6w", "99999999999999999999d", "6é"] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }
}
