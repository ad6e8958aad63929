//! The plan of one order: what it does on every device, and what stands in its way.
//!
//! Planning needs to know what others hold, but only of the very nodes that the order touches. So it has two
//! steps: a [`Draft`] says which nodes those are, whoever has the store looks them up, and
//! [`Draft::finish`] makes the [`Plan`]. The cost is that of the change, however much is on the devices.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Write as _,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use turnup_core::{
    failure::{Failure, FailureClass},
    id::{OrderId, ServiceId},
    message::DeviceEdit,
    name::{DeviceName, PlatformName},
    nodes::NodeFacts,
    order::OrderKind,
};

use crate::{
    change::{Change, Edit, Judging},
    definition::DriftPolicy,
    footprint::{Footprint, overlap},
    secret::masked,
    yang::Yang,
};

/// Phase of failures found while planning.
const PHASE: &str = "plan";

/// A device and a node in its configuration.
pub type Node = (DeviceName, String);

/// What a service has on one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    /// What is in force there, or is to be.
    pub footprint: Option<Footprint>,
    /// What failed attempts may have left there.
    pub strays: Vec<Footprint>,
    /// It isn't known that the footprint is in force, or the last attempt to change the service failed.
    pub uncertain: bool,
    /// It is known that the footprint was left in force, so what differs from it is drift.
    pub known: bool,
}

impl Present {
    /// As the store has it: the footprint (null: none is in force), whether it is known to be in force, and
    /// the footprints of failed attempts. A service in Fail Deploy has nothing that is `certain`: all of it
    /// is written again, whatever is known of a device.
    ///
    /// # Errors
    /// If one of them is no footprint.
    pub fn stored(footprint: &Value, certain: bool, strays: &[Value]) -> Result<Self, serde_json::Error> {
        let read = |stored: &Value| serde_json::from_value::<Footprint>(stored.clone());
        Ok(Self {
            footprint: (!footprint.is_null()).then(|| read(footprint)).transpose()?,
            strays: strays.iter().map(read).collect::<Result<_, _>>()?,
            uncertain: !certain,
            known: certain,
        })
    }
}

/// Who holds a node that services can hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The device.
    pub device: String,
    /// The node's canonical path.
    pub node: String,
    /// The service.
    pub service: ServiceId,
    /// What that service wants there; none: not known.
    pub value: Option<String>,
}

/// What an order is to do, before anything else is looked up.
#[derive(Debug, Clone)]
pub struct Draft {
    kind: OrderKind,
    order: OrderId,
    service: ServiceId,
    devices: BTreeMap<DeviceName, Change>,
    /// Devices where a service stays and was left in a known state.
    known: BTreeSet<DeviceName>,
    /// Devices on which nothing changes are looked at for drift as well.
    reads_untouched: bool,
}

/// What an order does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is asked for.
    pub kind: OrderKind,
    /// Every device that the service was or is to be on.
    pub devices: BTreeMap<DeviceName, DevicePlan>,
}

/// What an order does on one device.
#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// The device's platform.
    pub platform: PlatformName,
    /// What is done; none: nothing is changed.
    pub edit: Option<Edit>,
    /// Where nothing is changed, what has the device looked at for drift; none: it isn't contacted.
    pub reading: Option<DeviceEdit>,
    /// What the service has there afterwards; none: it leaves the device.
    pub footprint: Option<Footprint>,
    /// What the order asks for and doesn't get, in words.
    pub notes: Vec<String>,
}

impl Draft {
    /// `present`: what the service has, by device; empty for a provision. `wanted`: what it is to have; not
    /// looked at for a redeploy, which wants what is present, and for a decommission, which wants nothing.
    #[must_use]
    pub fn new(
        kind: OrderKind,
        order: OrderId,
        service: ServiceId,
        present: BTreeMap<DeviceName, Present>,
        wanted: BTreeMap<DeviceName, Footprint>,
    ) -> Self {
        let mut wanted = if kind.has_content() { wanted } else { BTreeMap::new() };
        let mut devices = BTreeMap::new();
        let mut known = BTreeSet::new();
        for (device, present) in present {
            let new = match kind {
                OrderKind::Redeploy | OrderKind::Validate => present.footprint.clone(),
                _ => wanted.remove(&device),
            };
            let Present { footprint: old, strays, uncertain, known: is_known } = present;
            if is_known && strays.is_empty() && old.is_some() && new.is_some() {
                known.insert(device.clone());
            }
            let whole = uncertain || kind == OrderKind::Redeploy;
            devices.insert(
                device,
                Change { old, strays, new, whole, unknown: uncertain && !is_known, judging: None },
            );
        }
        for (device, footprint) in wanted {
            devices.insert(device, Change { new: Some(footprint), ..Change::default() });
        }
        Self { kind, order, service, devices, known, reads_untouched: false }
    }

    /// Has the devices of a modify order looked at for drift: those where the service stays, and was left in a known
    /// state. A redeploy writes all of it again and a decommission removes all of it, whatever is there; a provision
    /// has nothing there yet.
    pub fn judge_drift(&mut self, policy: DriftPolicy, yang_of: &dyn Fn(&PlatformName) -> Option<Yang>) {
        if self.kind != OrderKind::Modify {
            return;
        }
        self.reads_untouched = policy.untouched_devices;
        for (_, change) in self.devices.iter_mut().filter(|(device, _)| self.known.contains(*device)) {
            let mut inside = NodeFacts::default();
            for footprint in change.old.iter().chain(&change.new) {
                let yang = yang_of(footprint.platform());
                inside.add_inside(&footprint.facts_inside(yang.as_ref()));
            }
            change.judging = Some(Judging { on_drift: policy.found, inside });
        }
    }

    /// The service.
    pub(crate) fn service(&self) -> ServiceId {
        self.service
    }

    /// What it does on each device.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&DeviceName, &Change)> {
        self.devices.iter()
    }

    /// About how many bytes its edits have in a worker's message.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        let footprints = |change: &Change| {
            let all = change.old.iter().chain(&change.strays).chain(&change.new);
            all.map(|footprint| footprint.config().len() + footprint.nodes().estimated_bytes()).sum::<usize>()
        };
        let judged = |change: &Change| match &change.judging {
            // All of it before and afterwards, escaped, and the paths of what is the service's own.
            Some(judging) => footprints(change) * 5 / 2 + judging.inside.estimated_bytes(),
            None => 0,
        };
        // Each part of it comes in the edit, the inverse, the filter or the conditions, about three times;
        // quotes are escaped.
        self.devices.values().map(|change| 1_000 + 4 * footprints(change) + judged(change)).sum()
    }

    /// What is wanted on each device.
    pub fn wanted(&self) -> impl Iterator<Item = (&DeviceName, &Footprint)> {
        self.devices.iter().filter_map(|(device, change)| Some((device, change.new.as_ref()?)))
    }

    /// Checks what is wanted against YANG, on the platforms that `yang_of` has it for.
    ///
    /// # Errors
    /// Every violation, with its device, path and reason.
    pub fn check(&self, yang_of: &dyn Fn(&PlatformName) -> Option<Yang>) -> Result<(), Vec<Failure>> {
        // What is deployed again was checked when it came; the modules may be others by now.
        if !self.kind.has_content() {
            return Ok(());
        }
        let mut refused = Vec::new();
        for (device, footprint) in self.wanted() {
            let Some(yang) = yang_of(footprint.platform()) else { continue };
            for violation in footprint.check(&yang).err().unwrap_or_default() {
                refused.push(refusal(device, &violation.path, violation.to_string()));
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(refused) }
    }

    /// The nodes that must not be another service's: those that this one is going to own or share.
    #[must_use]
    pub fn claimed(&self) -> Vec<Node> {
        let nodes = self.wanted().flat_map(|(device, footprint)| {
            let shared = footprint.shared_nodes().into_iter().map(|(node, _)| node);
            footprint.owned_nodes().into_iter().chain(shared).map(move |node| (device.clone(), node))
        });
        nodes.collect()
    }

    /// The nodes held together with others that it had or is going to have: who else holds them decides.
    #[must_use]
    pub fn shared(&self) -> Vec<Node> {
        let mut found = BTreeSet::new();
        for (device, change) in &self.devices {
            for footprint in change.old.iter().chain(&change.strays).chain(&change.new) {
                found.extend(footprint.shared_nodes().into_iter().map(|(node, _)| (device.clone(), node)));
            }
        }
        found.into_iter().collect()
    }

    /// The plan. `owners`: who owns [`Self::claimed`], or something inside or around them. `holders`: who
    /// shares these, something inside or around them, or [`Self::shared`]. The service itself may be among
    /// both. [`crate::Questions`] are what to look up.
    ///
    /// # Errors
    /// Every node that can't be had, each with its device and path.
    pub fn finish(
        self,
        owners: &[(String, String, ServiceId)],
        holders: &[Holder],
    ) -> Result<Plan, Vec<Failure>> {
        self.finish_beside(owners, holders, &BTreeSet::new())
    }

    /// The same, where other orders of the same deployment want the `joint` nodes as well.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_beside(
        self,
        owners: &[(String, String, ServiceId)],
        holders: &[Holder],
        joint: &BTreeSet<Node>,
    ) -> Result<Plan, Vec<Failure>> {
        let mut refused = self.refused_by_owners(owners);
        let mut held: HashMap<&str, HashSet<&str>> = HashMap::new();
        for holder in holders.iter().filter(|holder| holder.service != self.service) {
            held.entry(&holder.device).or_default().insert(&holder.node);
        }
        refused.extend(self.refused_by_holders(holders));
        if !refused.is_empty() {
            return Err(refused);
        }
        let (kind, order, reads_untouched) = (self.kind, self.order, self.reads_untouched);
        let devices = self
            .devices
            .into_iter()
            .filter_map(|(device, change)| {
                let known = change.new.as_ref().or(change.old.as_ref()).or(change.strays.first())?;
                let platform = known.platform().clone();
                let held = held.get(device.as_str());
                let stays = |node: &str| held.is_some_and(|held| held.contains(node));
                let is_joint =
                    |node: &str| !joint.is_empty() && joint.contains(&(device.clone(), node.to_owned()));
                let held_before = change.old.iter().chain(&change.strays).flat_map(Footprint::shared_nodes);
                let held_before: BTreeSet<String> = held_before.map(|(node, _)| node).collect();
                let joins = |node: &str| is_joint(node) && !stays(node) && !held_before.contains(node);
                let edit = change.edit_beside(order, &stays, &joins);
                let reads = reads_untouched && edit.is_none();
                let reading = if reads { change.reading_beside(order, &stays, &joins) } else { None };
                let notes = change.notes();
                Some((device, DevicePlan { platform, edit, reading, footprint: change.new, notes }))
            })
            .collect();
        Ok(Plan { kind, devices })
    }

    fn refused_by_owners(&self, owners: &[(String, String, ServiceId)]) -> Vec<Failure> {
        let mut owners_on: BTreeMap<&str, Vec<(&str, ServiceId)>> = BTreeMap::new();
        for (device, node, service) in owners.iter().filter(|(.., service)| *service != self.service) {
            owners_on.entry(device).or_default().push((node, *service));
        }
        if owners_on.is_empty() {
            return Vec::new();
        }
        let taken = self.claimed().into_iter().filter_map(|(device, path)| {
            let owners = owners_on.get(device.as_str())?;
            let (node, service) = owners.iter().find(|(node, _)| overlap(node, &path))?;
            let text = format!(
                "{node} on {device} belongs to service {service}; choose another or decommission that one"
            );
            Some(refusal(&device, &path, text))
        });
        taken.collect()
    }

    fn refused_by_holders(&self, holders: &[Holder]) -> Vec<Failure> {
        let mut others: BTreeMap<&str, Vec<&Holder>> = BTreeMap::new();
        for holder in holders.iter().filter(|holder| holder.service != self.service) {
            others.entry(&holder.device).or_default().push(holder);
        }
        let mut refused = Vec::new();
        for (device, footprint) in self.wanted() {
            let Some(others) = others.get(device.as_str()) else { continue };
            let shared: HashMap<String, String> = footprint.shared_nodes().into_iter().collect();
            refused.extend(others.iter().filter_map(|holder| {
                let ours = shared.get(&holder.node)?;
                let theirs = holder.value.as_ref().filter(|theirs| *theirs != ours)?;
                // What another service has there is not known by path, so nothing of it is shown beside a secret.
                let wants = match footprint.nodes().has_secrets() {
                    true => "which wants something else there".to_owned(),
                    false => format!("which wants {theirs} there, and this order {ours}"),
                };
                let text = format!(
                    "{} on {device} is shared with service {}, {wants}; order the same, or change that service first",
                    holder.node, holder.service
                );
                Some(refusal(device, &holder.node, text))
            }));
            // What is shared can't be owned, nor the one lie inside the other: whoever leaves would take it along.
            let claimed = footprint.owned_nodes();
            for path in claimed.iter().chain(shared.keys()) {
                let in_the_way = |holder: &&&Holder| {
                    overlap(&holder.node, path) && !(holder.node == *path && shared.contains_key(path))
                };
                if let Some(holder) = others.iter().find(in_the_way) {
                    let text = format!(
                        "{} on {device} is held by service {}, together with others; choose another or \
                         decommission that one",
                        holder.node, holder.service
                    );
                    refused.push(refusal(device, path, text));
                }
            }
        }
        refused
    }
}

fn refusal(device: &DeviceName, path: &str, text: String) -> Failure {
    let mut failure = Failure::new(FailureClass::Invalid, PHASE, text).at(device.clone());
    failure.path = Some(path.to_owned());
    failure
}

impl Plan {
    /// Whether no device is touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.values().all(|device| device.edit.is_none())
    }

    /// SHA-256 in hexadecimal of what is done and of what would undo it, without secret values: two plans with the same hash send
    /// the same to the same devices, which have the same before. The id of a new service isn't known when its plan is shown, so plans of provisions are
    /// compared with the nil UUID in its place.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.kind.word());
        for (device, plan) in &self.devices {
            if let Some(edit) = &plan.edit {
                let DeviceEdit { edit, inverse, nodes, .. } = &edit.edit;
                // Whoever has the hash could try out passwords.
                let (edit, inverse) = (masked(edit, nodes), masked(inverse, nodes));
                for part in [device.as_str(), plan.platform.as_str(), edit.as_str(), inverse.as_str()] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
        }
        hash.finalize().iter().fold(String::with_capacity(64), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    /// For people: device by device what is done, as [`Edit::text`] says it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (device, plan) in &self.devices {
            let _ = writeln!(out, "{device} ({})", plan.platform);
            match &plan.edit {
                None => out.push_str("  (nothing changes)\n"),
                Some(edit) => {
                    for line in edit.text.lines() {
                        let _ = writeln!(out, "  {line}");
                    }
                }
            }
            for note in &plan.notes {
                let _ = writeln!(out, "  note: {note}");
            }
        }
        out
    }
}
