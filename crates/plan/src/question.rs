//! What a draft has to know of other services before it becomes a plan.

use std::collections::BTreeSet;

use crate::draft::{Draft, Node};

/// What is to be looked up: devices and paths. All that is the service's own may be among what is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Nodes that must not be another service's, nor hold or lie in one that is. Who owns or shares these,
    /// or anything inside them?
    pub claimed: Vec<(String, String)>,
    /// All that the claimed nodes lie in. Who owns these?
    pub around: Vec<(String, String)>,
    /// Nodes that others may share: those that the service shares or gives up, the claimed ones, and those
    /// around them. Who shares these?
    pub shared: Vec<(String, String)>,
}

impl Questions {
    /// Those of several drafts, each asked once.
    #[must_use]
    pub fn of<'d>(drafts: impl IntoIterator<Item = &'d Draft>) -> Self {
        let pair = |(device, node): Node| (device.to_string(), node);
        let (mut claimed, mut around, mut shared) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for draft in drafts {
            for (device, node) in draft.claimed() {
                around.extend(ancestors(&node).into_iter().map(|node| (device.to_string(), node.to_owned())));
                claimed.insert((device.to_string(), node));
            }
            shared.extend(draft.shared().into_iter().map(pair));
        }
        shared.extend(claimed.iter().chain(&around).cloned());
        let list = |set: BTreeSet<_>| set.into_iter().collect();
        Self { claimed: list(claimed), around: list(around), shared: list(shared) }
    }
}

/// All that a node lies in: `/a/b[k='x/y']/c` → `/a`, `/a/b[k='x/y']`.
fn ancestors(node: &str) -> Vec<&str> {
    let mut quote = None;
    let mut found = Vec::new();
    for (at, c) in node.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '/') if at > 0 => found.push(&node[..at]),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_end_at_steps_outside_quotes() {
        assert_eq!(
            ancestors("/interfaces/interface[name='ge-0/0/1']/unit[id='7']"),
            ["/interfaces", "/interfaces/interface[name='ge-0/0/1']"]
        );
        assert_eq!(ancestors("/a/b[k='x/y']/c"), ["/a", "/a/b[k='x/y']"]);
        assert!(ancestors("/a").is_empty());
    }
}
