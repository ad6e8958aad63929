//! From what a service has on a device to what it is to have there: the edit a worker sends, and all it
//! needs to check and undo it.

use std::collections::BTreeMap;

use turnup_core::{
    id::OrderId,
    message::{Condition, DeviceEdit, Joint},
    nodes::NodeFacts,
};
use turnup_netconf::{model::child_path, xml::Element};

use crate::{
    diff::{self, Comparison, Delta, Extent},
    footprint::{Footprint, step_of},
    shape::Shape,
};

/// What one service has on one device, and is to have.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// What is in force there, as far as is known.
    pub old: Option<Footprint>,
    /// What failed attempts may have left there.
    pub strays: Vec<Footprint>,
    /// What it is to have; none: nothing.
    pub new: Option<Footprint>,
    /// Write all that is wanted again, whatever is there; with strays that is done anyway.
    pub whole: bool,
    /// It isn't known that `old` is in force.
    pub unknown: bool,
}

/// What is done at the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// For the worker.
    pub edit: DeviceEdit,
    /// For people: `+` added, `-` removed, `~` changed, `=` written again.
    pub text: String,
}

impl Change {
    /// The edit; none if there is nothing to do.
    ///
    /// - From nothing (provision): merges the footprint. To nothing (decommission): removes what the
    ///   service owns, and what it shares with no one.
    /// - From one footprint to another: merges what is new or different, removes what is no longer wanted.
    /// - Whole (redeploy, or when it isn't known what is there): owned nodes are replaced (RFC 6241 §7.2),
    ///   so that what was put into them by hand goes.
    ///
    /// `stays` tells whether a shared node, by its path, has other holders on this device: then it is never
    /// removed. Every edit may be repeated. Its inverse takes the device back to `old`, with strays whatever of them
    /// is there; the inverse of a whole edit that changes nothing is the same configuration again.
    ///
    /// `remove` needs a base:1.1 session (RFC 6241); servers with base:1.0 only (RFC 4741), and netconfd on
    /// a session without 1.1, know `delete` alone. Whoever sends to those has to look first what is there.
    #[must_use]
    pub fn edit(&self, order: OrderId, stays: &dyn Fn(&str) -> bool) -> Option<Edit> {
        self.edit_beside(order, stays, &|_| false)
    }

    /// The same. Nodes that are `joint` are added by other orders of the same deployment as well: their
    /// removal is apart from the inverse.
    pub(crate) fn edit_beside(
        &self,
        order: OrderId,
        stays: &dyn Fn(&str) -> bool,
        joint: &dyn Fn(&str) -> bool,
    ) -> Option<Edit> {
        let stays = &|node: &str| stays(node) || joint(node);
        let all = || self.new.iter().chain(&self.old).chain(&self.strays);
        let shape = Shape { nodes: nodes_of(all()), ..shape_of(all()) };
        let before = shape_of(self.old.iter().chain(&self.strays));
        let after = shape_of(self.new.iter());
        let tree = |footprint: &Option<Footprint>| -> Vec<Element> {
            footprint.as_ref().map(|footprint| footprint.tree().to_vec()).unwrap_or_default()
        };
        let (old, new) = (tree(&self.old), tree(&self.new));
        let compare = |extent, old: &[Element], new: &[Element]| {
            Comparison { shape: &shape, before: &before, after: &after, extent, stays }.run(old, new)
        };
        let left = shape_of(self.new.iter().chain(&self.strays));
        let undo = |extent, old: &[Element], new: &[Element]| {
            Comparison { shape: &shape, before: &left, after: &before, extent, stays }.run(old, new)
        };
        // With all that an earlier attempt may have left.
        let with_strays = |tree: &[Element]| {
            let mut there = tree.to_vec();
            for stray in &self.strays {
                unite(&mut there, stray.tree(), &[&shape, &before, stray.shape()], "");
            }
            there
        };
        let has_strays = !self.strays.is_empty();
        let there = with_strays(&old);
        let extent = if self.whole || has_strays { Extent::Whole } else { Extent::Smallest };
        let forward = compare(extent, &there, &new);
        if forward.is_empty() {
            return None;
        }
        let there_after = with_strays(&new);
        let extent = if has_strays { Extent::Whole } else { Extent::Smallest };
        let mut back = undo(extent, &there_after, &old);
        if back.is_empty() {
            back = undo(Extent::Smallest, &[], &old);
        }
        // What is replaced as a whole is there with more in it as well; of what may be in it, it is told apart.
        let told_apart = |whole: &[Delta], apart: &dyn Fn() -> Vec<Delta>| match has_strays {
            true => Condition::All(vec![condition(whole), condition(&apart())]),
            false => condition(whole),
        };
        let after_is = told_apart(&forward, &|| compare(Extent::Smallest, &there, &new));
        let before_was = told_apart(&back, &|| undo(Extent::Smallest, &there_after, &old));
        let edit = DeviceEdit {
            order,
            edit: diff::edit(&forward),
            inverse: diff::edit(&back),
            filter: diff::filter(&forward),
            after: after_is,
            before: before_was,
            keys: shape.keys.clone(),
            nodes: shape.nodes.clone(),
            joint: self.joint(joint),
        };
        Some(Edit { edit, text: diff::text(&forward, &shape) })
    }

    /// What the order asks for and doesn't get, in words.
    pub(crate) fn notes(&self) -> Vec<String> {
        let Some(old) = &self.old else { return Vec::new() };
        let lists = self.new.iter().flat_map(|new| diff::reordered(old.tree(), new.tree(), new.shape()));
        let lists = lists.map(|list| {
            format!(
                "the entries of {list} are wanted in another order, which is not written: nothing says that their \
                 order counts; if it does, name the list under 'ordered' in the definition"
            )
        });
        let unknown = self.unknown.then(|| {
            "it is not known what is in force here; the values before are those that were last known to be".to_owned()
        });
        unknown.into_iter().chain(lists).collect()
    }

    /// What is added of the shared nodes that are `joint`, with what removes each and nothing else.
    fn joint(&self, joint: &dyn Fn(&str) -> bool) -> Vec<Joint> {
        let Some(new) = &self.new else { return Vec::new() };
        let mut nodes: Vec<String> = new.shared_nodes().into_iter().map(|(node, _)| node).collect();
        nodes.retain(|node| joint(node));
        let shared = Shape { owns: Vec::new(), ..new.shape().clone() };
        let none = Shape::default();
        let removals = nodes.into_iter().map(|node| {
            let stays = &|other: &str| other != node;
            let extent = Extent::Smallest;
            let compare = Comparison { shape: &shared, before: &shared, after: &none, extent, stays };
            let removal = diff::edit(&compare.run(new.tree(), &[]));
            Joint { node, removal }
        });
        removals.collect()
    }
}

/// The declarations of several footprints of one service. Those that were planned by an earlier version of
/// its definition may be others; the first counts where keys differ, and what any regards as owned is.
fn shape_of<'f>(footprints: impl Iterator<Item = &'f Footprint>) -> Shape {
    let mut all = footprints.map(Footprint::shape);
    let mut shape = all.next().map(Shape::without_nodes).unwrap_or_default();
    for other in all {
        for (list, keys) in &other.keys {
            shape.keys.entry(list.clone()).or_insert_with(|| keys.clone());
        }
        for path in &other.owns {
            if !shape.owns.contains(path) {
                shape.owns.push(path.clone());
            }
        }
        for path in &other.shares {
            if !shape.shares.contains(path) && !shape.owns.contains(path) {
                shape.shares.push(path.clone());
            }
        }
    }
    shape
}

/// What all of several footprints say of their nodes.
fn nodes_of<'f>(footprints: impl Iterator<Item = &'f Footprint>) -> NodeFacts {
    let mut all = footprints.map(Footprint::nodes);
    let mut nodes = all.next().cloned().unwrap_or_default();
    for other in all {
        nodes.merge(other);
    }
    nodes
}

fn condition(deltas: &[Delta]) -> Condition {
    match (diff::present(deltas), diff::absent(deltas)) {
        (Some(present), None) => Condition::Contains(present),
        (None, Some(absent)) => Condition::Lacks(absent),
        (present, absent) => Condition::All(
            present.map(Condition::Contains).into_iter().chain(absent.map(Condition::Lacks)).collect(),
        ),
    }
}

/// Adds to `tree`, which is at this path of local names, the nodes of `more` that it lacks. The first of
/// `shapes` that fits an element has its keys.
fn unite(tree: &mut Vec<Element>, more: &[Element], shapes: &[&Shape], at: &str) {
    let id = |element: &Element| {
        let inner = child_path(at, element.name());
        let step = shapes.iter().find_map(|shape| step_of(element, shape, &inner, "").ok());
        (step.unwrap_or_default(), element.namespace().to_owned())
    };
    let mut places: BTreeMap<(String, String), usize> =
        tree.iter().enumerate().map(|(at, element)| (id(element), at)).collect();
    for element in more {
        match places.get(&id(element)) {
            Some(place) => {
                let Some(known) = tree.get_mut(*place) else { continue };
                if known.is_leaf() || element.is_leaf() {
                    continue;
                }
                let inner = child_path(at, element.name());
                let mut children: Vec<Element> = known.children().cloned().collect();
                let theirs: Vec<Element> = element.children().cloned().collect();
                unite(&mut children, &theirs, shapes, &inner);
                let empty = Element::new(known.namespace_shared(), known.name());
                *known = empty.with_children(children);
            }
            None => {
                places.insert(id(element), tree.len());
                tree.push(element.clone());
            }
        }
    }
}
