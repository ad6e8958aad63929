//! What an import does with each device.

use serde_json::{Map, Value, json};
use turnup_core::{inventory::normalized_address, problem::Problem};
use turnup_import::Row;

use crate::{client::output::text, failure::Failure};

/// What is to be done with a device.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is new.
    Add,
    /// It is there as it is in the file.
    Keep,
    /// It is there with other values: field, what it has, what the file says.
    Change(Vec<(String, Value, Value)>),
    /// The intake refused it; nothing was done.
    Refused,
}

/// Compares a device of the file with the inventory's. What the file doesn't say stays as it is.
pub(super) fn compare(wanted: &Value, present: Option<&Value>) -> Step {
    let Some(present) = present else { return Step::Add };
    let changes: Vec<(String, Value, Value)> = wanted
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(field, value)| !is_same(field, present.get(field.as_str()), value))
        .map(|(field, value)| (field.clone(), present[field.as_str()].clone(), value.clone()))
        .collect();
    if changes.is_empty() { Step::Keep } else { Step::Change(changes) }
}

/// Whether a field has the value already. The inventory has an address in its one spelling.
fn is_same(field: &str, present: Option<&Value>, wanted: &Value) -> bool {
    if present == Some(wanted) {
        return true;
    }
    let spelled =
        wanted.as_str().filter(|_| field == "address").and_then(|text| normalized_address(text).ok());
    spelled.is_some_and(|spelled| present.and_then(Value::as_str) == Some(spelled.as_str()))
}

/// The merge patch that makes the changes.
pub(super) fn patch(changes: &[(String, Value, Value)]) -> Value {
    let fields = changes.iter().map(|(field, _, wanted)| (field.clone(), wanted.clone()));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// What is said of a device; nothing if it stays as it is.
pub(super) fn said(row: &Row, step: &Step, update: bool) -> Option<String> {
    let device = &row.device;
    match step {
        Step::Add => Some(format!(
            "new       {}  {}  {}  {}",
            row.name(),
            text(device.get("region")),
            text(device.get("platform")),
            text(device.get("address"))
        )),
        Step::Keep | Step::Refused => None,
        Step::Change(changes) => {
            let changes: Vec<String> = changes
                .iter()
                .map(|(field, has, wanted)| format!("{field} {} -> {}", text(Some(has)), text(Some(wanted))))
                .collect();
            let word = if update { "changed" } else { "differs" };
            Some(format!("{word:<9} {}  {}", row.name(), changes.join(", ")))
        }
    }
}

/// The same for programs.
pub(super) fn json(row: &Row, step: &Step) -> Value {
    let (word, changes) = match step {
        Step::Add => ("new", Value::Null),
        Step::Keep => ("unchanged", Value::Null),
        Step::Change(changes) => ("differs", patch(changes)),
        Step::Refused => ("refused", Value::Null),
    };
    json!({"place": row.place, "device": row.device, "step": word, "changes": changes})
}

/// The last line.
pub(super) fn summary(
    steps: &[(&Row, Step)],
    update: bool,
    dry_run: bool,
    bad: usize,
    left_out: usize,
) -> String {
    let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|(_, step)| wanted(step)).count();
    let new = count(|step| *step == Step::Add);
    let same = count(|step| *step == Step::Keep);
    let other = count(|step| matches!(step, Step::Change(_)));
    let mut parts = vec![format!("{new} new"), format!("{same} unchanged")];
    if other > 0 {
        parts.push(if update {
            format!("{other} changed")
        } else {
            format!("{other} differ and were left alone (--update changes them)")
        });
    }
    let refused = count(|step| *step == Step::Refused);
    for (count, what) in [(refused, "refused"), (left_out, "left out"), (bad, "bad")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let dry = if dry_run { "; nothing was stored (--dry-run)" } else { "" };
    format!("{}{dry}", parts.join(", "))
}

/// The intake's faults in a list of devices, by where these stand in the file.
pub(super) fn placed(mut problem: Problem, rows: &[&Row]) -> Failure {
    for fault in &mut problem.errors {
        let mut steps = fault.pointer.splitn(3, '/').skip(1);
        let row =
            steps.next().and_then(|index| index.parse::<usize>().ok()).and_then(|index| rows.get(index));
        if let Some(row) = row {
            let field = steps.next().map(|field| format!(", {field}")).unwrap_or_default();
            fault.pointer = format!("{}, {}{field}", row.place, row.name());
        }
    }
    problem.into()
}
