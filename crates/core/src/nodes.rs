//! What is known of the nodes of a service's configuration besides the keys of its lists. A planner knows it
//! from YANG or a definition and hands it on, since workers have no YANG.
//!
//! Nodes are named by paths of local names, such as `interfaces/interface/mtu`. Only what differs from the
//! usual is listed, so this stays small beside the configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What is known of nodes, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The types of all leaves are known: those that `kinds` leaves out have one spelling per value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub typed: bool,
    /// Leaves whose values can be spelled in several ways, and how: names of the kinds of spelling, separated
    /// by blanks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, String>,
    /// Lists and leaf-lists whose order is part of the configuration (`ordered-by user`, RFC 7950 §7.7.7).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ordered: BTreeSet<String>,
    /// Containers that say nothing by themselves (RFC 7950 §7.5.1).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub containers: BTreeSet<String>,
    /// Nodes that say something with nothing in them: leaves of type `empty`, containers with presence.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub present: BTreeSet<String>,
    /// Leaves and the values that they have if they are absent (RFC 7950 §7.6.1).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub defaults: BTreeMap<String, String>,
}

impl NodeFacts {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what is known of the nodes of another configuration. Types are known if both know them.
    pub fn merge(&mut self, other: &Self) {
        if other == self {
            return;
        }
        for (path, kinds) in &other.kinds {
            match self.kinds.get_mut(path) {
                Some(known) => {
                    for kind in kinds.split(' ').filter(|kind| !kind.is_empty()) {
                        if !known.split(' ').any(|known| known == kind) {
                            known.push(' ');
                            known.push_str(kind);
                        }
                    }
                }
                None => {
                    self.kinds.insert(path.clone(), kinds.clone());
                }
            }
        }
        self.typed &= other.typed;
        self.ordered.extend(other.ordered.iter().cloned());
        self.containers.extend(other.containers.iter().cloned());
        self.present.extend(other.present.iter().cloned());
        for (path, value) in &other.defaults {
            self.defaults.entry(path.clone()).or_insert_with(|| value.clone());
        }
    }

    /// Adds what is known of further nodes, of which nothing is wanted: what they are if they are absent or empty.
    /// Says nothing of types.
    pub fn add_inside(&mut self, other: &Self) {
        self.containers.extend(other.containers.iter().cloned());
        self.present.extend(other.present.iter().cloned());
        for (path, value) in &other.defaults {
            self.defaults.entry(path.clone()).or_insert_with(|| value.clone());
        }
    }

    /// About how many bytes it has as JSON.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        let maps = self.kinds.iter().chain(&self.defaults).map(|(path, value)| path.len() + value.len() + 6);
        let sets =
            self.ordered.iter().chain(&self.containers).chain(&self.present).map(|path| path.len() + 3);
        maps.chain(sets).sum::<usize>() + 80
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_facts_know_types_only_where_both_do() {
        let facts = |kind: &str| NodeFacts {
            typed: true,
            kinds: [("a/b".to_owned(), kind.to_owned())].into(),
            ..NodeFacts::default()
        };
        let mut one = facts("integer");
        one.merge(&facts("exact"));
        one.merge(&facts("integer"));
        assert_eq!(one.kinds["a/b"], "integer exact");
        assert!(one.typed);
        one.merge(&NodeFacts { ordered: ["a/c".to_owned()].into(), ..NodeFacts::default() });
        assert!(!one.typed && one.ordered.contains("a/c"));
        let json = serde_json::to_value(NodeFacts::default()).unwrap();
        assert_eq!(json, serde_json::json!({}), "nothing known takes no room");
    }
}
