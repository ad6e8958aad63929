//! From one footprint to another: the edit a worker sends, and all it needs to check and undo it.

use turnup_core::{
    id::OrderId,
    message::{Condition, DeviceEdit},
};
use turnup_netconf::namespace::BASE;

use crate::{error::PlanError, footprint::Footprint};

/// The edit that takes one service on one device from `old` to `new`.
///
/// - From nothing (provision): merges the footprint; the inverse removes the nodes that the service owns.
/// - To nothing (decommission): the reverse.
///
/// Shared entries above an owned node (the interface that carries a service's unit) are merged with
/// their keys only, and never removed. The filter selects exactly the owned entries by their keys
/// (content match nodes, RFC 6241 §6.2.5). [`Condition::Lacks`] holds the same: its innermost entries,
/// those that have nothing but their keys, must be absent, while those around them may be there.
///
/// `remove` needs a base:1.1 session (RFC 6241); servers with base:1.0 only (RFC 4741), and netconfd on a
/// session without 1.1, know `delete` alone. Whoever sends to those has to look first what is there.
///
/// # Errors
/// [`PlanError::ChangeUnsupported`] from one footprint to another, [`PlanError::Nothing`] from nothing to
/// nothing.
pub fn change(
    order: OrderId,
    old: Option<&Footprint>,
    new: Option<&Footprint>,
) -> Result<DeviceEdit, PlanError> {
    let (footprint, is_provision) = match (old, new) {
        (None, Some(new)) => (new, true),
        (Some(old), None) => (old, false),
        (Some(_), Some(_)) => return Err(PlanError::ChangeUnsupported),
        (None, None) => return Err(PlanError::Nothing),
    };
    let merge = footprint.config().to_owned();
    // Not "delete": a node that is gone already is no error (RFC 6241 §7.2).
    let remove = footprint.skeleton(&|node| node.set_attribute_ns(BASE, "operation", "remove"));
    let filter = footprint.skeleton(&|_| ());
    let present = Condition::Contains(merge.clone());
    let absent = Condition::Lacks(filter.clone());
    let keys = footprint.keys().clone();
    Ok(if is_provision {
        DeviceEdit { order, edit: merge, inverse: remove, filter, after: present, before: absent, keys }
    } else {
        DeviceEdit { order, edit: remove, inverse: merge, filter, after: absent, before: present, keys }
    })
}
