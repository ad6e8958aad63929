//! The deployments with which orders start: in which region what is done, and the messages that say so.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use turnup_core::{
    failure::Failure,
    id::DeploymentId,
    message::{
        Body as _, Deployment, DeviceEdit, DeviceWork, Limits, MAX_BYTES, Part, Purpose, Stage, Unreadable,
    },
    name::{DeviceName, RegionName},
    nodes::NodeFacts,
    profile::Profiles,
};
use turnup_store::{Device, DueOrder, Start};
use uuid::Uuid;

use crate::{
    MAX_TOTAL_TIMEOUT_MS, group,
    start::{Parts, invalid},
};

/// What the confirm timer has beyond twice the time of the checks, in seconds.
const CHECK_MARGIN_S: u64 = 30;

/// What the store has locked of devices.
pub(crate) struct Field<'a> {
    pub(crate) devices: &'a HashMap<DeviceName, Device>,
    /// Epoch of each device's last lease.
    pub(crate) epochs: &'a HashMap<DeviceName, i64>,
    /// Per device, tokens of commits that earlier deployments may have left pending.
    pub(crate) pending_tokens: &'a HashMap<DeviceName, Vec<String>>,
    pub(crate) profiles: &'a Profiles,
}

/// The deployments of these orders: one, or one in each region where they change or look at something. Several
/// are the parts of one transaction, and only an order alone has them.
pub(crate) fn deployments(
    group: &[(&DueOrder, &Parts)],
    field: &Field<'_>,
    limits: &Limits,
) -> Result<Vec<Start>, Vec<Failure>> {
    let Some((first, _)) = group.first() else { return Err(invalid("no order is to be deployed")) };
    let parts = || group.iter().map(|(_, parts)| *parts);
    let touched: BTreeSet<&DeviceName> =
        parts().flat_map(|parts| parts.edits.keys().chain(parts.audits.keys())).collect();
    let region = |name: &DeviceName| Some(&field.devices.get(name)?.region);
    let mut regions: BTreeMap<&RegionName, Vec<&DeviceName>> = BTreeMap::new();
    for name in touched {
        if let Some(region) = region(name) {
            regions.entry(region).or_default().push(name);
        }
    }
    // Where nothing is touched, one that does nothing.
    if let (true, Some(region)) = (regions.is_empty(), first.devices.iter().find_map(region)) {
        regions.insert(region, Vec::new());
    }
    let purpose = parts().next().map(|parts| parts.purpose).unwrap_or_default();
    let ids: Vec<DeploymentId> = regions.iter().map(|_| DeploymentId(Uuid::now_v7())).collect();
    let transaction = ids.first().copied().filter(|_| ids.len() > 1);
    let stage = match (transaction, purpose) {
        (None, _) | (_, Purpose::Audit) => Stage::Whole,
        (Some(_), Purpose::Change) => Stage::Prepare,
    };
    let start = |(id, (region, devices)): (DeploymentId, (&RegionName, Vec<&DeviceName>))| {
        let work = |name: &DeviceName| {
            let device = field.devices.get(name)?;
            let mut edits: Vec<DeviceEdit> =
                parts().filter_map(|parts| parts.edits.get(name).cloned()).collect();
            let inside = shared_facts(&mut edits);
            Some(DeviceWork {
                address: device.address.clone(),
                port: device.port,
                platform: device.platform.clone(),
                host_key: device.host_key.clone(),
                profile: field.profiles.of(&device.platform),
                pending_tokens: field.pending_tokens.get(name).cloned().unwrap_or_default(),
                credential: device.credential.clone(),
                epoch: field.epochs.get(name).copied().unwrap_or_default() + 1,
                edits,
                inside,
                before_confirm: parts().find_map(|parts| parts.checks.get(name).cloned()),
                audit: parts().find_map(|parts| parts.audits.get(name).cloned()),
                device: name.clone(),
            })
        };
        let message = Deployment {
            deployment: id,
            attempt: 1,
            generation: group.iter().map(|(due, _)| due.order.generation + 1).max().unwrap_or(1),
            region: region.clone(),
            orders: group.iter().map(|(due, _)| due.order.id).collect(),
            purpose,
            past_unknown: parts().any(|parts| parts.past_unknown),
            devices: devices.into_iter().filter_map(work).collect(),
            limits: limits_for_checks(group::limits(limits, group.len()), parts()),
        };
        // The first has it for all.
        let is_first = ids.first() == Some(&id);
        let footprints = parts().filter(|_| is_first).flat_map(|parts| parts.footprints.iter().cloned());
        Ok(Start {
            deployment: id,
            region: region.to_string(),
            transaction,
            stage,
            priority: first.order.priority,
            message: encoded(&message, stage)?,
            footprints: footprints.collect(),
        })
    };
    ids.iter().copied().zip(regions).map(start).collect()
}

/// What YANG says of nodes inside of what the edits' services own, taken out of the edits: it is the same for all of a
/// device.
fn shared_facts(edits: &mut [DeviceEdit]) -> NodeFacts {
    let mut facts = NodeFacts::default();
    for whole in edits.iter_mut().filter_map(|edit| edit.whole.as_mut()) {
        facts.add_inside(&std::mem::take(&mut whole.inside));
    }
    facts
}

/// The limits, with time for functional checks before the confirm: confirming begins in the first half of the timer.
fn limits_for_checks<'p>(limits: Limits, parts: impl Iterator<Item = &'p Parts>) -> Limits {
    let checks = parts.flat_map(|parts| parts.checks.values());
    let Some(longest_ms) = checks.map(|checks| checks.settle_ms + checks.within_ms).max() else {
        return limits;
    };
    let timer_s = u32::try_from(longest_ms.div_ceil(1_000) * 2 + CHECK_MARGIN_S).unwrap_or(u32::MAX);
    Limits {
        confirm_timeout_s: limits.confirm_timeout_s.max(timer_s),
        total_timeout_ms: (limits.total_timeout_ms + longest_ms * 2).min(MAX_TOTAL_TIMEOUT_MS),
        ..limits
    }
}

/// The message, which has room for the stage that is wrapped around it.
///
/// One of several orders travels as a [`Part`] that is the whole: a worker of a release that knows no groups, and
/// would call all of them Invalid for one, can't read that.
fn encoded(message: &Deployment, stage: Stage) -> Result<Vec<u8>, Vec<Failure>> {
    let encoded = message.encode().map_err(|error| invalid(too_large(message, &error)))?;
    if stage != Stage::Whole && encoded.len() + Part::WRAPPING > MAX_BYTES {
        return Err(invalid(format!(
            "what is to be done in region {} makes a message of {} bytes, and in an order over several regions at \
             most {} fit; make one order per region, or smaller ones",
            message.region,
            encoded.len(),
            MAX_BYTES - Part::WRAPPING
        )));
    }
    // So does one of an unknown past, which such a worker would take for what was there before.
    let is_news = message.orders.len() > 1 || message.past_unknown;
    // The outbox wraps the other stages.
    if is_news && stage == Stage::Whole && encoded.len() + Part::WRAPPING <= MAX_BYTES {
        return Ok(Part::wrap(stage, message.attempt, &encoded));
    }
    Ok(encoded)
}

/// Why the message can't be sent, and what to do.
fn too_large(message: &Deployment, error: &Unreadable) -> String {
    let Unreadable::TooLarge(bytes) = error else { return error.to_string() };
    let judged =
        message.devices.iter().flat_map(|work| &work.edits).filter(|edit| edit.whole.is_some()).count();
    let more = match judged {
        0 => "",
        _ => {
            " (a modify order carries all that the service has and is to have on each of its devices, to find drift)"
        }
    };
    format!(
        "what is to be done on {} devices in region {} makes a message of {bytes} bytes, and at most {MAX_BYTES} \
         fit{more}; make the service smaller, or several services of it",
        message.devices.len(),
        message.region,
    )
}

#[cfg(test)]
mod tests;
