//! Operational state: what the script has set, else what the device makes of its configuration.
//!
//! All that isn't disabled works. A pseudowire, and a member of a bridge domain or VRF, works if its unit
//! exists and the interface is up; a bridge domain or VRF works if it has members and all of them do.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::running::{attachment, interface_of, leaf_of};
use crate::leaves::View;
use crate::path::{Path, push_child, push_key, steps};
use crate::schema::{self, Node};

/// State that the script has set, by path of the leaf.
pub(super) type State = BTreeMap<Path, Box<str>>;

/// The operational state of a device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operational<'v> {
    pub(super) view: View<'v>,
    /// What the script has set.
    pub(super) set: &'v State,
}

const fn up_or_down(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

impl<'v> Operational<'v> {
    /// The value of the leaf of state at this path, whose list entry is configured.
    pub(super) fn value(self, leaf: &[u8]) -> Cow<'v, str> {
        if let Some(value) = self.set.get(leaf) {
            return Cow::Borrowed(value);
        }
        let mut entry: &[u8] = &[];
        let mut node: Option<&Node> = None;
        let mut last = None;
        for step in steps(leaf) {
            if step.key.is_some() {
                (entry, node) = (&leaf[..step.end], Some(step.node));
            }
            last = Some(step.node.name);
        }
        match (node.map(|node| node.name), last) {
            (Some("interface"), _) => up_or_down(self.interface_is_up(entry)).into(),
            (Some("pseudowire"), _) => up_or_down(self.is_attached(entry)).into(),
            (_, Some("state")) => up_or_down(self.members_are_up(entry)).into(),
            // An address for each member.
            (_, Some("mac-count")) => self.count_if_up(entry, &["member"]),
            // The subnet of each member, and what is configured.
            (_, Some("route-count")) => self.count_if_up(entry, &["member", "static-route"]),
            _ => Cow::Borrowed(""),
        }
    }

    /// Whether a VRF forwards; `None` if there is none of this name.
    pub(super) fn vrf_is_up(self, name: &str) -> Option<bool> {
        let mut path = Vec::with_capacity(name.len() + 4);
        let (at, vrfs) = schema::find(schema::TOP, "vrfs")?;
        push_child(&mut path, at);
        let (at, vrf) = schema::find(vrfs.children(), "vrf")?;
        push_child(&mut path, at);
        push_key(&mut path, vrf.key()?.1, name);
        self.view.get(&leaf_of(&path, "name")?)?;
        Some(self.value(&leaf_of(&path, "state")?) == "up")
    }

    fn interface_is_up(self, interface: &[u8]) -> bool {
        let enabled = leaf_of(interface, "enabled").and_then(|path| self.view.get(&path));
        let set = leaf_of(interface, "oper-status").and_then(|path| self.set.get(path.as_slice()));
        match set {
            Some(set) => &**set == "up",
            None => enabled != Some("false"),
        }
    }

    /// Whether what ends on a unit has one that works.
    fn is_attached(self, entry: &[u8]) -> bool {
        attachment(self.view, entry)
            .is_some_and(|unit| self.view.any_under(&unit) && self.interface_is_up(interface_of(&unit)))
    }

    fn members_are_up(self, entry: &[u8]) -> bool {
        let members = self.entries(entry, "member");
        !members.is_empty() && members.iter().all(|member| self.is_attached(member))
    }

    fn count_if_up(self, entry: &[u8], lists: &[&str]) -> Cow<'v, str> {
        let up = leaf_of(entry, "state").is_some_and(|path| self.value(&path) == "up");
        let count: usize = match up {
            true => lists.iter().map(|list| self.entries(entry, list).len()).sum(),
            false => 0,
        };
        Cow::Owned(count.to_string())
    }

    /// The entries of a list below an entry.
    fn entries(self, entry: &[u8], list: &str) -> Vec<&'v [u8]> {
        let Some(prefix) = leaf_of(entry, list) else { return Vec::new() };
        self.view.under(&prefix).filter_map(|(path, _)| key_entry(path.as_bytes())).collect()
    }
}

/// The entry whose key leaf a path is: the first child, after the end of a key value.
fn key_entry(path: &[u8]) -> Option<&[u8]> {
    path.strip_suffix(&[0, 1]).map(|entry| &path[..=entry.len()])
}
