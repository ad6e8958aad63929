//! What a definition declares about a platform's configuration, since no YANG is at hand: which elements
//! are list entries and by what they are known (`keys`), and which nodes a service owns (`owns`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use turnup_netconf::xml::Element;

/// Keys and ownership.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// List name → names of its key leaves, in order.
    pub(crate) keys: BTreeMap<String, Vec<String>>,
    /// What belongs to one service alone: paths of local names, such as `interfaces/interface/unit`.
    pub(crate) owns: Vec<String>,
    /// What services hold together, such as `qos-profiles/qos-profile`: it goes with its last holder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) shares: Vec<String>,
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

impl Shape {
    /// Where the node at this path of local names stands.
    pub(crate) fn place(&self, path: &[impl AsRef<str>]) -> Place {
        let mut place = Place::Outside;
        let owned = self.owns.iter().map(|path| (path, Place::Owned));
        let shared = self.shares.iter().map(|path| (path, Place::Shared));
        for (declared, kind) in owned.chain(shared) {
            let mut steps = declared.split('/');
            if path.iter().all(|name| steps.next() == Some(name.as_ref())) {
                match steps.next() {
                    None => return kind,
                    Some(_) => place = Place::Above,
                }
            }
        }
        place
    }

    /// Whether the element is an entry of a leaf-list: declared with the key `.`, its own value.
    pub(crate) fn is_leaf_list(&self, element: &Element) -> bool {
        element.is_leaf() && self.keys.get(element.name()).is_some_and(|keys| keys.iter().eq(["."]))
    }

    /// The key leaves' names if the element is a list entry. A leaf that happens to be named like a list
    /// (the `interface` of a pseudowire) is none.
    pub(crate) fn keys_of(&self, element: &Element) -> Option<&[String]> {
        let keys = self.keys.get(element.name())?;
        let is_leaf_list = keys.iter().any(|key| key == ".");
        (!is_leaf_list && (!element.is_leaf() || element.is_empty())).then_some(keys.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let owns = ["interfaces/interface/unit", "pseudowires/pseudowire"].map(str::to_owned).to_vec();
        let shape =
            Shape { keys: BTreeMap::new(), owns, shares: vec!["interfaces/interface/tagging".to_owned()] };
        assert_eq!(shape.place(&["interfaces", "interface", "tagging"]), Place::Shared);
        assert_eq!(shape.place(&["interfaces"]), Place::Above);
        assert_eq!(shape.place(&["interfaces", "interface"]), Place::Above);
        assert_eq!(shape.place(&["interfaces", "interface", "unit"]), Place::Owned);
        assert_eq!(shape.place(&["interfaces", "interface", "mtu"]), Place::Outside);
        assert_eq!(shape.place(&["interfaces", "interface", "unit", "id"]), Place::Outside);
        assert_eq!(shape.place(&["pseudowires", "pseudowire"]), Place::Owned);
        assert_eq!(shape.place(&["system"]), Place::Outside);
    }
}
