//! What is known of a platform's configuration: which elements are list entries and by what they are known
//! (`keys`), which nodes a service owns (`owns`), and what YANG says of its nodes. Declared in a definition,
//! and completed from YANG where that is at hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use turnup_core::nodes::NodeFacts;
use turnup_netconf::{
    model::{self, Disclosure, Model},
    spelling::{Kind, Kinds},
    xml::Element,
};

use crate::secret;

/// Keys, ownership and node facts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Lists → names of their key leaves, in order. By path, such as `interfaces/interface`, or by name for all
    /// lists of that name; a path wins. A path without keys is no list.
    pub(crate) keys: BTreeMap<String, Vec<String>>,
    /// What belongs to one service alone: paths of local names, such as `interfaces/interface/unit`.
    pub(crate) owns: Vec<String>,
    /// What services hold together, such as `qos-profiles/qos-profile`: it goes with its last holder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) shares: Vec<String>,
    /// What else is known of the nodes.
    #[serde(default, skip_serializing_if = "NodeFacts::is_empty")]
    pub(crate) nodes: NodeFacts,
}

/// Where a node stands relative to what a service owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the way to an owned or shared node: merged, never removed.
    Above,
    /// Owned: added and removed as a whole.
    Owned,
    /// Held together with other services: added by each, removed with the last.
    Shared,
    /// Neither.
    Outside,
}

impl Model for Shape {
    fn list_keys(&self, path: &str) -> Option<&[String]> {
        self.keys.list_keys(path)
    }

    fn kinds(&self, path: &str) -> Kinds {
        match self.nodes.kinds.get(path) {
            Some(kinds) => Kinds::parse(kinds),
            None if self.nodes.typed => Kind::Exact.into(),
            None => Kinds::UNKNOWN,
        }
    }

    fn is_ordered(&self, path: &str) -> bool {
        self.nodes.ordered.contains(path)
    }

    fn disclosure(&self, path: &str) -> Disclosure {
        secret::disclosure(&self.nodes, path)
    }
}

impl Shape {
    /// Where the node at this path of local names stands.
    pub(crate) fn place(&self, path: &str) -> Place {
        let mut place = Place::Outside;
        let owned = self.owns.iter().map(|path| (path, Place::Owned));
        let shared = self.shares.iter().map(|path| (path, Place::Shared));
        for (declared, kind) in owned.chain(shared) {
            match declared.strip_prefix(path) {
                Some("") => return kind,
                Some(rest) if rest.starts_with('/') => place = Place::Above,
                _ => {}
            }
        }
        place
    }

    /// The declarations alone.
    pub(crate) fn without_nodes(&self) -> Self {
        let Self { keys, owns, shares, .. } = self;
        Self { keys: keys.clone(), owns: owns.clone(), shares: shares.clone(), nodes: NodeFacts::default() }
    }

    /// Whether the element is an entry of a leaf-list.
    pub(crate) fn is_leaf_list(&self, path: &str, element: &Element) -> bool {
        model::is_leaf_list(self, path, element)
    }

    /// The key leaves' names if the element is a list entry; else none.
    pub(crate) fn keys_of(&self, path: &str, element: &Element) -> &[String] {
        model::entry_keys(self, path, element).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let owns = ["interfaces/interface/unit", "pseudowires/pseudowire"].map(str::to_owned).to_vec();
        let shape =
            Shape { owns, shares: vec!["interfaces/interface/tagging".to_owned()], ..Shape::default() };
        assert_eq!(shape.place("interfaces/interface/tagging"), Place::Shared);
        assert_eq!(shape.place("interfaces"), Place::Above);
        assert_eq!(shape.place("interfaces/interface"), Place::Above);
        assert_eq!(shape.place("interfaces/interface/unit"), Place::Owned);
        assert_eq!(shape.place("interfaces/interface/mtu"), Place::Outside);
        assert_eq!(shape.place("interfaces/interface/unit/id"), Place::Outside);
        assert_eq!(shape.place("pseudowires/pseudowire"), Place::Owned);
        assert_eq!(shape.place("system"), Place::Outside);
    }
}
