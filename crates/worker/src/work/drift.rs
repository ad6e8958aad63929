//! Drift of the services of a device's edits: found, left or repaired along.

use turnup_core::{drift::OnDrift, message::DeviceWork};
use turnup_netconf::xml::Element;

use super::{BadWork, Goal, Work, fragment};
use crate::{
    unite::{Of, unite},
    whole::{self, Audits, Drift, Whole},
};

/// An edit that writes drifted services again, and one that takes that back.
#[derive(Debug)]
pub(crate) struct Repair {
    pub(super) forward: Vec<Element>,
    pub(super) back: Vec<Element>,
}

impl Work {
    /// Whether the device is only looked at for drift.
    pub(crate) fn only_reads(&self) -> bool {
        self.only_reads
    }

    /// Whether drift of some order's service is repaired along, so that an earlier worker may have done that.
    pub(crate) fn may_repair(&self) -> bool {
        self.wholes().any(|(_, whole)| whole.on_drift == OnDrift::Repair)
    }

    fn wholes(&self) -> impl Iterator<Item = (&Goal, &Whole)> {
        self.goals.iter().filter_map(|goal| Some((goal, goal.whole.as_ref()?)))
    }

    /// Drift of the orders' services, those that have some.
    pub(crate) fn drift(&self, data: &Element) -> Vec<Drift> {
        let goals = self.goals.iter().enumerate();
        let drifts = goals.filter_map(|(place, goal)| {
            let whole = goal.whole.as_ref()?;
            let found = whole.drift(data, &goal.nodes, self.how_read());
            let drift = Drift { order: goal.order, place, on_drift: whole.on_drift, found };
            (!drift.found.is_empty()).then_some(drift)
        });
        drifts.collect()
    }

    /// What an audit would say of the services whose drift is left as it is, by what a device has in the end.
    pub(crate) fn left(&self, data: &Element) -> Audits {
        let proceeding = self.wholes().filter(|(_, whole)| whole.on_drift == OnDrift::Proceed);
        let left = proceeding.map(|(goal, whole)| {
            (goal.order, whole::as_audit(whole.left(data, &goal.nodes, self.how_read())))
        });
        left.collect()
    }

    /// Why not all of it is in force: the edits, and the services as a whole but for `known` drift that is left.
    pub(crate) fn not_in_force(&self, data: &Element, known: &[Drift]) -> Option<String> {
        if !self.after(data) {
            return Some(self.difference(data));
        }
        self.goals.iter().enumerate().find_map(|(place, goal)| {
            let whole = goal.whole.as_ref()?;
            let known = known.iter().find(|drift| drift.place == place && drift.on_drift == OnDrift::Proceed);
            whole.not_in_force(data, &goal.nodes, known.map(|drift| &drift.found[..]).unwrap_or_default())
        })
    }

    /// The edits with these places rewrite their services as a whole; `found` is what the device has now. `work` is
    /// what this was made of.
    pub(crate) fn repair(
        &self,
        work: &DeviceWork,
        places: &[usize],
        found: &Element,
    ) -> Result<Repair, BadWork> {
        let repaired = |place: usize| {
            let goal = self.goals.get(place).filter(|_| places.contains(&place))?;
            Some((goal.whole.as_ref()?, &goal.nodes))
        };
        let mut forward = Vec::new();
        for (place, edit) in work.edits.iter().enumerate() {
            match repaired(place) {
                Some((whole, _)) => forward.extend(whole.rewrite().cloned()),
                None => forward.extend(fragment("edit", edit, &edit.edit)?.into_children()),
            }
        }
        let (mut back, mut rest) = (Vec::new(), Vec::new());
        // What was done last is undone first.
        for (place, edit) in work.edits.iter().enumerate().rev() {
            let inverse = fragment("inverse edit", edit, &edit.inverse)?;
            match repaired(place) {
                Some((whole, nodes)) => {
                    back.extend(whole.restore(found, nodes));
                    rest.extend(whole.outside(&inverse, nodes));
                }
                None => rest.extend(inverse.into_children()),
            }
            for joint in &edit.joint {
                rest.extend(fragment("removal", edit, &joint.removal)?.into_children());
            }
        }
        back.extend(rest);
        Ok(Repair {
            forward: unite(forward, &self.nodes, Of::Edits),
            back: unite(back, &self.nodes, Of::Edits),
        })
    }
}
