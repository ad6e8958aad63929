//! Constraints over more than one node: mandatory leaves, and that units exist which something ends on.
//!
//! Running is always valid, so only what an overlay touches needs to be looked at.

use turnup_netconf::message::{ErrorTag, RpcError};

use super::edit::error;
use super::running::{Running, attachment, leaf_of, unit_of_key};
use crate::leaves::{Overlay, View};
use crate::path::{INACTIVE, Path, push_child, steps};
use crate::personality::Edits;
use crate::schema::Node;

/// Violations that are reported; more help nobody.
const MAX_ERRORS: usize = 32;

/// What is wrong with the candidate; with its values, too, where they were not checked when they were edited.
pub(super) fn candidate(running: &Running, overlay: &Overlay, edits: Edits) -> Vec<RpcError> {
    let mut errors = match edits {
        Edits::Checked => Vec::new(),
        Edits::Stored => values(overlay),
    };
    errors.extend(violations(running, overlay));
    errors.truncate(MAX_ERRORS);
    errors
}

/// The values that their leaves don't take.
fn values(overlay: &Overlay) -> Vec<RpcError> {
    let check = |(path, value): (&Path, &Option<Box<str>>)| {
        if path.as_bytes().last() == Some(&INACTIVE) {
            return None;
        }
        let leaf = steps(path.as_bytes()).last()?.node.leaf()?;
        let reason = leaf.value.canonical(value.as_deref()?).err()?;
        Some(error(ErrorTag::InvalidValue, path.as_bytes(), reason))
    };
    overlay.iter().filter_map(check).take(MAX_ERRORS).collect()
}

/// What is wrong with `running` as changed by `overlay`.
pub(super) fn violations(running: &Running, overlay: &Overlay) -> Vec<RpcError> {
    let view = View { base: &running.leaves, overlay };
    let mut errors = Vec::new();
    let mut previous: &[u8] = &[];
    for (path, value) in overlay {
        if errors.len() >= MAX_ERRORS {
            break;
        }
        let path = path.as_bytes();
        for step in steps(path).filter(|step| step.key.is_some()) {
            let entry = &path[..step.end];
            // The leaves of an entry lie side by side.
            if previous.starts_with(entry) {
                continue;
            }
            check_mandatory(view, entry, step.node, &mut errors);
            if step.node.ends_on_unit() {
                check_attachment(view, entry, step.node, &mut errors);
            }
        }
        previous = path;
        if value.is_none()
            && let Some(unit) = unit_of_key(path)
        {
            // Entries that are changed too come by themselves.
            let unchanged = running.attached_to(unit).filter(|entry| !is_touched(overlay, entry));
            for entry in unchanged.take(MAX_ERRORS) {
                if let Some(step) = steps(entry).last() {
                    check_attachment(view, entry, step.node, &mut errors);
                }
            }
        }
    }
    errors.truncate(MAX_ERRORS);
    errors
}

fn is_touched(overlay: &Overlay, prefix: &[u8]) -> bool {
    let first = overlay.range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
    first.take(1).any(|(path, _)| path.as_bytes().starts_with(prefix))
}

fn exists(view: View<'_>, entry: &[u8]) -> bool {
    let mut key = entry.to_vec();
    push_child(&mut key, 0);
    view.get(&key).is_some()
}

/// RFC 7950 §7.6.5.
fn check_mandatory(view: View<'_>, entry: &[u8], list: &Node, errors: &mut Vec<RpcError>) {
    let mut mandatory =
        list.children().iter().filter(|node| node.leaf().is_some_and(|leaf| leaf.mandatory)).peekable();
    if mandatory.peek().is_none() || !exists(view, entry) {
        return;
    }
    for node in mandatory {
        let Some(path) = leaf_of(entry, node.name) else { continue };
        if view.get(&path).is_none() {
            let message = format!("{} is mandatory and missing", node.name);
            errors.push(error(ErrorTag::DataMissing, &path, message));
        }
    }
}

/// The `must` of the lists whose entries end on a unit, RFC 7950 §15.4.
fn check_attachment(view: View<'_>, entry: &[u8], list: &Node, errors: &mut Vec<RpcError>) {
    if !exists(view, entry) {
        return;
    }
    // What is missing is reported as mandatory.
    let Some(unit) = attachment(view, entry) else { return };
    if !exists(view, &unit) {
        let message = format!("the interface and unit of a {} must exist", list.name);
        errors.push(error(ErrorTag::OperationFailed, entry, message).with_app_tag("must-violation"));
    }
}
