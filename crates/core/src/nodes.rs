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
    /// Secret nodes: a device may show another text than was sent, and no output shows what was sent. Here and in
    /// the next two a node stands for all that is inside of it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secret: BTreeSet<String>,
    /// Secret nodes that a device need not show at all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub write_only: BTreeSet<String>,
    /// Nodes whose values a device may write anew.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub opaque: BTreeSet<String>,
}

impl NodeFacts {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a device need not show the node at this path.
    #[must_use]
    pub fn is_write_only(&self, path: &str) -> bool {
        has(&self.write_only, path)
    }

    /// Whether a device may write the value of the node at this path anew.
    #[must_use]
    pub fn is_opaque(&self, path: &str) -> bool {
        has(&self.opaque, path)
    }

    /// Whether no output shows the value of the node at this path.
    #[must_use]
    pub fn is_secret(&self, path: &str) -> bool {
        has(&self.secret, path) || has(&self.write_only, path)
    }

    /// Whether there is a secret node.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        !self.secret.is_empty() || !self.write_only.is_empty()
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
        self.secret.extend(other.secret.iter().cloned());
        self.write_only.extend(other.write_only.iter().cloned());
        self.opaque.extend(other.opaque.iter().cloned());
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
            [&self.ordered, &self.containers, &self.present, &self.secret, &self.write_only, &self.opaque];
        let sets = sets.into_iter().flatten().map(|path| path.len() + 3);
        maps.chain(sets).sum::<usize>() + 80
    }
}

/// Whether the node at this path, or one around it, is among `nodes`.
fn has(nodes: &BTreeSet<String>, path: &str) -> bool {
    if nodes.is_empty() {
        return false;
    }
    let above = path.match_indices('/').map(|(at, _)| &path[..at]);
    above.chain([path]).any(|path| nodes.contains(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_secret_with_all_inside_of_it() {
        let set = |path: &str| BTreeSet::from([path.to_owned()]);
        let facts = NodeFacts {
            secret: set("system/user/auth"),
            write_only: set("system/user/auth/key"),
            opaque: set("system/banner"),
            ..NodeFacts::default()
        };
        assert!(facts.is_secret("system/user/auth") && facts.is_secret("system/user/auth/password"));
        assert!(facts.is_write_only("system/user/auth/key/text") && !facts.is_write_only("system/user/auth"));
        assert!(!facts.is_secret("system/user/authority") && !facts.is_secret("system"));
        assert!(facts.is_opaque("system/banner") && !facts.is_secret("system/banner"));
        let mut other = NodeFacts::default();
        other.merge(&facts);
        assert!(other.is_secret("system/user/auth/x") && !other.is_secret("system/banner"));
    }

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
