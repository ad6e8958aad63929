//! Audits, the pure part: what is to be asked of a device, and what its answers mean. The asking is in
//! `device::look`.

mod condition;
mod path;

use std::{collections::HashSet, sync::OnceLock};

use turnup_core::{
    audit::{
        AuditWork, Check, CheckAsk, CheckResult, ConfigAudit, ConfigWork, DeviceAudit, Difference, Drift,
        MAX_DIFFERENCES, MAX_EVIDENCE_BYTES,
    },
    profile::WithDefaults,
    secret::MASK,
};
use turnup_netconf::{
    capability::Capabilities,
    compare::{self, DifferenceKind, Owned},
    message::Reply,
    operation::{Filter, Operation},
    xml::Element,
};

use crate::{nodes::Nodes, read_mode::ReadOptions, work::parse};
use condition::Condition;

/// Longest value of a difference in bytes.
const MAX_VALUE_BYTES: usize = 500;
/// Longest path of a difference in bytes.
const MAX_PATH_BYTES: usize = 1_000;

/// What is to be looked at on a device, parsed.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The config audit if it is wanted; in words why it can't be made.
    pub(crate) config: Option<Result<Config, String>>,
    pub(crate) checks: Vec<Question>,
}

/// A config audit.
#[derive(Debug)]
pub(crate) struct Config {
    footprint: Element,
    filter: Filter,
    owned: Vec<String>,
    nodes: Nodes,
    /// How the device was asked.
    asked: OnceLock<ReadOptions>,
}

/// A functional check.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) name: String,
    /// What to ask, and what must hold of the answer; in words why that can't be done.
    pub(crate) test: Result<Testable, String>,
}

/// A check that can be made.
#[derive(Debug)]
pub(crate) struct Testable {
    pub(crate) ask: Operation,
    /// Whether it may be asked again when no answer came.
    pub(crate) repeatable: bool,
    conditions: Vec<Condition>,
}

impl Plan {
    /// Parses what is asked for. What can't be used becomes part of the result.
    pub(crate) fn new(work: Option<&AuditWork>) -> Self {
        Self {
            config: work.and_then(|work| work.config.as_ref()).map(Config::new),
            checks: work.map(|work| Self::questions(&work.checks)).unwrap_or_default(),
        }
    }

    /// The checks, parsed.
    pub(crate) fn questions(checks: &[Check]) -> Vec<Question> {
        checks.iter().map(Question::new).collect()
    }

    /// The result where nothing could be asked, for this reason.
    pub(crate) fn unreachable(&self, reason: &str) -> DeviceAudit {
        let config = if self.config.is_some() { ConfigAudit::Unreachable } else { ConfigAudit::NotAudited };
        let checks = self.checks.iter().map(|check| check.failed(reason)).collect();
        DeviceAudit { config, differences: Vec::new(), differences_in_all: 0, checks }
    }
}

/// The result for a device that exists on paper only: as it should be, and nothing to check.
pub(crate) fn on_paper(work: Option<&AuditWork>) -> DeviceAudit {
    let wanted = work.is_some_and(|work| work.config.is_some());
    DeviceAudit {
        config: if wanted { ConfigAudit::InSync } else { ConfigAudit::NotAudited },
        differences: Vec::new(),
        differences_in_all: 0,
        checks: Vec::new(),
    }
}

impl Config {
    fn new(work: &ConfigWork) -> Result<Self, String> {
        let read = |part: &str, text: &str| {
            parse(text).map_err(|e| format!("the {part} to audit can't be read: {e}"))
        };
        let filter = read("filter", &work.filter)?.into_children().collect();
        Ok(Self {
            footprint: read("footprint", &work.footprint)?,
            filter: Filter::Subtree(filter),
            owned: work.owned.clone(),
            nodes: Nodes::new(&work.keys, &work.nodes),
            asked: OnceLock::new(),
        })
    }

    /// The `get-config` of running, in the way that shows best what was set.
    pub(crate) fn read(&self, can: &Capabilities, chosen: WithDefaults) -> Operation {
        self.asked.get_or_init(|| ReadOptions::of(can, chosen)).get_config(&self.filter)
    }

    /// How what was read differs from the footprint: the first differences, and how many there are.
    pub(crate) fn compare(&self, data: &Element) -> (Vec<Difference>, usize) {
        let nodes: HashSet<&str> = self.owned.iter().map(String::as_str).collect();
        let only_set = self.asked.get().copied().unwrap_or_default().only_set();
        let owned = Owned { nodes: &nodes, only_set };
        let found = compare::drift(data, &self.footprint, &self.nodes, owned);
        let in_all = found.len();
        (found.into_iter().take(MAX_DIFFERENCES).map(difference).collect(), in_all)
    }
}

/// A difference as it is told.
pub(crate) fn difference(found: compare::Difference) -> Difference {
    let value = |text: String| Some(cut(&text, MAX_VALUE_BYTES));
    let (drift, wanted, found_value) = match found.kind {
        DifferenceKind::Missing { wanted } => (Drift::Missing, wanted.and_then(value), None),
        DifferenceKind::Value { wanted, found } => (Drift::Changed, value(wanted), value(found)),
        DifferenceKind::Extra { found } => (Drift::Extra, None, found.and_then(value)),
        DifferenceKind::Inactive { mark } => (Drift::Inactive, None, value(mark)),
        DifferenceKind::Order { wanted, found } => (Drift::Order, value(wanted), value(found)),
        DifferenceKind::Secret => (Drift::Changed, value(MASK.to_owned()), value(MASK.to_owned())),
        // A footprint removes nothing; what it would remove is too much.
        DifferenceKind::Unwanted => (Drift::Extra, None, None),
    };
    Difference { path: cut(&found.path, MAX_PATH_BYTES), drift, wanted, found: found_value }
}

impl Question {
    fn new(check: &Check) -> Self {
        let test = || {
            let conditions = check.conditions.iter().map(Condition::new).collect::<Result<_, _>>()?;
            let (text, repeatable) = match &check.ask {
                CheckAsk::Get(text) => (text, true),
                CheckAsk::Rpc(text) => (text, false),
            };
            let inside = parse(text).map_err(|e| format!("what it asks can't be read: {e}"))?;
            let mut inside = inside.into_children();
            let ask = match repeatable {
                true => Operation::get(Some(&Filter::Subtree(inside.collect()))),
                false => match (inside.next(), inside.next()) {
                    (Some(operation), None) => Operation::new(operation),
                    _ => return Err("an rpc has exactly one element".to_owned()),
                },
            };
            Ok(Testable { ask, repeatable, conditions })
        };
        let test = test().map_err(|reason: String| format!("the check can't be made: {reason}"));
        Self { name: check.name.clone(), test }
    }

    /// The result where there is no answer, for this reason.
    pub(crate) fn failed(&self, reason: &str) -> CheckResult {
        CheckResult { name: self.name.clone(), passed: false, evidence: cut(reason, MAX_EVIDENCE_BYTES) }
    }
}

impl Testable {
    /// What an answer without error means: whether all conditions hold, and what was found.
    pub(crate) fn judge(&self, name: &str, reply: &Reply) -> CheckResult {
        let top = match reply.data() {
            Some(data) => data.clone(),
            None => Element::base("reply").with_children(reply.content().iter().cloned()),
        };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for condition in &self.conditions {
            match condition.holds(&top) {
                Ok(found) => good.push(found),
                Err(found) => bad.push(found),
            }
        }
        let passed = bad.is_empty();
        let found = match (passed, good.is_empty()) {
            (true, true) => "the device answered".to_owned(),
            (true, false) => good.join("; "),
            (false, _) => bad.join("; "),
        };
        CheckResult { name: name.to_owned(), passed, evidence: cut(&found, MAX_EVIDENCE_BYTES) }
    }
}

/// The beginning of a text, at most so many bytes.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    const MORE: &str = "…";
    let end = (0..=most.saturating_sub(MORE.len())).rev().find(|at| text.is_char_boundary(*at));
    match end.and_then(|end| text.get(..end)) {
        Some(beginning) if most >= MORE.len() => format!("{beginning}{MORE}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
