//! What a deployment's message says of the nodes of its configuration, for comparing what devices hold.

use std::collections::{BTreeMap, HashMap};

use turnup_core::nodes::NodeFacts;
use turnup_netconf::{
    model::{Disclosure, Model},
    spelling::{Kind, Kinds},
};

/// Keys and facts of one or several edits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes {
    keys: BTreeMap<String, Vec<String>>,
    facts: NodeFacts,
    kinds: HashMap<String, Kinds>,
}

impl Nodes {
    pub(crate) fn new(keys: &BTreeMap<String, Vec<String>>, facts: &NodeFacts) -> Self {
        let kinds = facts.kinds.iter().map(|(path, kinds)| (path.clone(), Kinds::parse(kinds))).collect();
        Self { keys: keys.clone(), facts: facts.clone(), kinds }
    }

    /// Whether a device may show some values differently than they were sent.
    pub(crate) fn may_differ(&self) -> bool {
        self.facts.has_secrets() || !self.facts.opaque.is_empty()
    }

    /// What several edits say together. Where two name other keys for one list, an entry is the same only if
    /// it is by both.
    pub(crate) fn agreed<'n>(all: impl Iterator<Item = &'n Self>) -> Self {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut facts: Option<NodeFacts> = None;
        for nodes in all {
            for (list, names) in &nodes.keys {
                let known = keys.entry(list.clone()).or_default();
                let new: Vec<String> = names.iter().filter(|key| !known.contains(key)).cloned().collect();
                known.extend(new);
            }
            match &mut facts {
                Some(facts) => facts.merge(&nodes.facts),
                None => facts = Some(nodes.facts.clone()),
            }
        }
        Self::new(&keys, &facts.unwrap_or_default())
    }
}

impl Nodes {
    /// Whether the types of all leaves are known.
    pub(crate) fn is_typed(&self) -> bool {
        self.facts.typed
    }
}

impl Model for Nodes {
    fn list_keys(&self, path: &str) -> Option<&[String]> {
        self.keys.list_keys(path)
    }

    fn kinds(&self, path: &str) -> Kinds {
        match self.kinds.get(path) {
            Some(kinds) => *kinds,
            None if self.facts.typed => Kind::Exact.into(),
            None => Kinds::UNKNOWN,
        }
    }

    fn is_ordered(&self, path: &str) -> bool {
        self.facts.ordered.contains(path)
    }

    fn disclosure(&self, path: &str) -> Disclosure {
        let facts = &self.facts;
        match () {
            () if facts.is_write_only(path) => Disclosure::WriteOnly,
            () if facts.is_secret(path) => Disclosure::Secret,
            () if facts.is_opaque(path) => Disclosure::Opaque,
            () => Disclosure::Plain,
        }
    }

    fn default_value(&self, path: &str) -> Option<&str> {
        self.facts.defaults.get(path).map(String::as_str)
    }

    fn counts_empty(&self, path: &str) -> Option<bool> {
        if self.facts.present.contains(path) {
            return Some(true);
        }
        self.facts.containers.contains(path).then_some(false)
    }
}
