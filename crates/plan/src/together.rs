//! Orders that are planned side by side and deployed together, none knowing of the others.
//!
//! Each edit must be right whether the others end up in force or not. So orders that touch each other's nodes
//! don't go together, with one exception: nodes that services hold jointly, if all of them want the same.

use std::collections::{BTreeMap, BTreeSet};

use turnup_core::{id::ServiceId, name::DeviceName};

use crate::{
    draft::{Draft, Node},
    footprint::{Footprint, overlap},
};

/// What orders that go together touch.
#[derive(Debug, Clone, Default)]
pub struct Together {
    services: BTreeSet<ServiceId>,
    touched: BTreeMap<DeviceName, Touched>,
    /// Nodes that more than one of the orders wants.
    joint: BTreeSet<Node>,
}

/// On one device: what a service has, may have left, or is going to have.
#[derive(Debug, Clone, Default)]
struct Touched {
    owned: BTreeSet<String>,
    /// Nodes held jointly, and what is wanted there; none: somebody may give it up.
    shared: BTreeMap<String, Option<String>>,
}

impl Touched {
    fn of(draft: &Draft) -> BTreeMap<&DeviceName, Self> {
        let changes = draft.changes().map(|(device, change)| {
            let mut touched = Self::default();
            let all = || change.old.iter().chain(&change.strays).chain(&change.new);
            touched.owned.extend(all().flat_map(Footprint::owned_nodes));
            touched.shared.extend(all().flat_map(Footprint::shared_nodes).map(|(node, _)| (node, None)));
            let wanted = change.new.iter().flat_map(Footprint::shared_nodes);
            touched.shared.extend(wanted.map(|(node, value)| (node, Some(value))));
            (device, touched)
        });
        changes.collect()
    }

    /// Whether what the other touches has nothing to do with this.
    fn goes_with(&self, other: &Self) -> bool {
        let apart = |ours: &BTreeSet<String>, node: &String| ours.iter().all(|own| !overlap(own, node));
        let owned = other
            .owned
            .iter()
            .all(|node| apart(&self.owned, node) && self.shared.keys().all(|shared| !overlap(shared, node)));
        owned
            && other.shared.iter().all(|(node, theirs)| {
                apart(&self.owned, node)
                    && self.shared.iter().all(|(shared, ours)| match (ours, theirs) {
                        (Some(ours), Some(theirs)) if shared == node => ours == theirs,
                        _ => !overlap(shared, node),
                    })
            })
    }
}

impl Together {
    /// Whether an order may go with those that were added: it is for another service, and nothing that it
    /// has or is to have is in the way of what they have or are to have.
    #[must_use]
    pub fn may_join(&self, draft: &Draft) -> bool {
        !self.services.contains(&draft.service())
            && Touched::of(draft)
                .iter()
                .all(|(device, theirs)| self.touched.get(*device).is_none_or(|ours| ours.goes_with(theirs)))
    }

    /// Adds an order.
    pub fn add(&mut self, draft: &Draft) {
        self.services.insert(draft.service());
        for (device, theirs) in Touched::of(draft) {
            let ours = self.touched.entry(device.clone()).or_default();
            ours.owned.extend(theirs.owned);
            let joint = theirs.shared.keys().filter(|node| ours.shared.contains_key(*node));
            self.joint.extend(joint.map(|node| (device.clone(), node.clone())));
            ours.shared.extend(theirs.shared);
        }
    }

    /// The nodes that more than one of them wants. Of these nobody counts on the others: which of them end up
    /// in force isn't known yet.
    #[must_use]
    pub fn joint(&self) -> &BTreeSet<Node> {
        &self.joint
    }
}
