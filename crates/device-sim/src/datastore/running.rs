//! The running configuration, with an index of what refers to what.

use std::collections::BTreeSet;

use crate::leaves::{Change, Leaves, View};
use crate::path::{Path, push_child, push_key, steps};
use crate::schema::{self, Type};

/// The running configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) leaves: Leaves,
    /// Path of a unit, followed by the path of what ends on it: a pseudowire, a member of something.
    attached: BTreeSet<Path>,
}

impl Running {
    /// Makes these changes. What `old` says of them isn't looked at.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        let mut touched: Vec<&[u8]> =
            changes.iter().filter_map(|change| attached_entry(change.path.as_bytes())).collect();
        touched.dedup();
        for entry in &touched {
            if let Some(attachment) = attachment(View::plain(&self.leaves), entry) {
                self.attached.remove(&joined(&attachment, entry));
            }
        }
        for change in changes {
            match &change.new {
                Some(value) => self.leaves.insert(change.path.clone(), value.clone()),
                None => self.leaves.remove(&change.path),
            };
        }
        for entry in touched {
            if let Some(attachment) = attachment(View::plain(&self.leaves), entry) {
                self.attached.insert(joined(&attachment, entry));
            }
        }
    }

    /// The entries that end on the unit at this path.
    pub(super) fn attached_to(&self, unit: &[u8]) -> impl Iterator<Item = &[u8]> {
        let length = unit.len();
        self.attached
            .range::<[u8], _>((std::ops::Bound::Included(unit), std::ops::Bound::Unbounded))
            .take_while(move |path| path.as_bytes().starts_with(unit))
            .map(move |path| &path.as_bytes()[length..])
    }
}

fn joined(unit: &[u8], entry: &[u8]) -> Path {
    Path::from([unit, entry].concat().as_slice())
}

/// The entry that ends on a unit and that a path lies in.
pub(super) fn attached_entry(path: &[u8]) -> Option<&[u8]> {
    let entry = steps(path).find(|step| step.key.is_some() && step.node.ends_on_unit())?;
    Some(&path[..entry.end])
}

/// The entry of a unit whose key leaf a path is.
pub(super) fn unit_of_key(path: &[u8]) -> Option<&[u8]> {
    let mut steps = steps(path).skip(2);
    let (unit, leaf) = (steps.next()?, steps.next()?);
    (unit.node.name == "unit" && leaf.node.name == "id").then(|| &path[..unit.end])
}

/// The entry of the interface that a unit belongs to.
pub(super) fn interface_of(unit: &[u8]) -> &[u8] {
    steps(unit).nth(1).map_or(unit, |interface| &unit[..interface.end])
}

/// The path of a leaf of a list entry.
pub(super) fn leaf_of(entry: &[u8], name: &str) -> Option<Vec<u8>> {
    let node = steps(entry).last()?.node;
    let (at, _) = schema::find(node.children(), name)?;
    let mut path = entry.to_vec();
    push_child(&mut path, at);
    Some(path)
}

/// The path of the unit that the entry ends on, whether there is one or not; `None` if the entry doesn't say
/// it.
pub(super) fn attachment(view: View<'_>, entry: &[u8]) -> Option<Vec<u8>> {
    let interface = view.get(&leaf_of(entry, "interface")?)?;
    let unit = view.get(&leaf_of(entry, "unit")?)?;
    Some(unit_path(interface, unit))
}

fn unit_path(interface: &str, unit: &str) -> Vec<u8> {
    let mut path = Vec::with_capacity(interface.len() + unit.len() + 8);
    let mut siblings = schema::TOP;
    for (name, key) in [("interfaces", None), ("interface", Some(interface)), ("unit", Some(unit))] {
        let Some((at, node)) = schema::find(siblings, name) else { return path };
        push_child(&mut path, at);
        if let Some(value) = key {
            let value_type = node.key().map_or(&Type::Boolean, |(_, value_type)| value_type);
            let canonical = value_type.canonical(value);
            push_key(&mut path, value_type, canonical.as_deref().unwrap_or(value));
        }
        siblings = node.children();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_unit_is_that_of_its_text() {
        let expected = Path::parse("/interfaces/interface[name='ge-0']/unit[id='100']").unwrap();
        assert_eq!(unit_path("ge-0", "100"), expected.as_bytes());
        assert_eq!(leaf_of(expected.as_bytes(), "id").as_deref().and_then(unit_of_key), {
            Some(expected.as_bytes())
        });
    }
}
