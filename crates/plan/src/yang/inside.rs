//! What YANG says of nodes that a service does not want but that a device may show inside of what it owns:
//! defaults and containers that say nothing, for audits.

use turnup_core::nodes::NodeFacts;
use turnup_netconf::{model::child_path, xml::Element};
use yang5::{
    context::Context,
    iter::IterSchemaFlags,
    schema::{DataValueType, SchemaNode, SchemaNodeKind},
};

use super::canonical::is_crypt_hash;

/// Most nodes that are told of; what is beyond is compared as if nothing were known of it.
const MAX_NODES: usize = 2000;

/// Adds what is known of the nodes inside of those that `is_owned` says of, by path.
pub(super) fn add(
    context: &Context,
    tree: &[Element],
    is_owned: &dyn Fn(&str) -> bool,
    facts: &mut NodeFacts,
) {
    let mut walk = Walk { is_owned, facts, left: MAX_NODES, seen: Vec::new() };
    for element in tree {
        let Some(module) = context.get_module_implemented_ns(element.namespace()) else { continue };
        let top = module.top_level_nodes(IterSchemaFlags::empty()).find(|node| node.name() == element.name());
        if let Some(schema) = top {
            walk.element(&schema, element, element.name(), false);
        }
    }
}

struct Walk<'w> {
    is_owned: &'w dyn Fn(&str) -> bool,
    facts: &'w mut NodeFacts,
    left: usize,
    /// Paths whose children are told already.
    seen: Vec<String>,
}

impl Walk<'_> {
    fn element(&mut self, schema: &SchemaNode<'_>, element: &Element, path: &str, inside: bool) {
        let inside = inside || (self.is_owned)(path);
        let children: Vec<SchemaNode<'_>> = schema.children2(IterSchemaFlags::empty()).collect();
        if inside && !self.seen.iter().any(|seen| seen == path) {
            self.seen.push(path.to_owned());
            for child in children.iter().filter(|child| !child.is_state()) {
                self.node(child, &child_path(path, child.name()));
            }
        }
        for child in element.children() {
            let is = |node: &&SchemaNode<'_>| {
                node.name() == child.name() && node.module().namespace() == child.namespace()
            };
            if let Some(schema) = children.iter().find(is) {
                self.element(schema, child, &child_path(path, child.name()), inside);
            }
        }
    }

    fn node(&mut self, schema: &SchemaNode<'_>, path: &str) {
        if self.left == 0 {
            return;
        }
        match schema.kind() {
            SchemaNodeKind::Leaf => {
                if schema.leaf_type().is_some_and(|leaf_type| is_crypt_hash(&leaf_type)) {
                    self.left -= 1;
                    self.facts.secret.insert(path.to_owned());
                    return;
                }
                let is_empty = schema.leaf_type().is_some_and(|it| it.base_type() == DataValueType::Empty);
                if is_empty {
                    self.left -= 1;
                    self.facts.present.insert(path.to_owned());
                } else if let Ok(Some(default)) = schema.default_value_canonical() {
                    self.left -= 1;
                    self.facts.defaults.entry(path.to_owned()).or_insert(default);
                }
            }
            SchemaNodeKind::Container if schema.is_np_container() => {
                self.left -= 1;
                self.facts.containers.insert(path.to_owned());
                for child in schema.children2(IterSchemaFlags::empty()).filter(|child| !child.is_state()) {
                    self.node(&child, &child_path(path, child.name()));
                }
            }
            SchemaNodeKind::Container => {
                self.left -= 1;
                self.facts.present.insert(path.to_owned());
            }
            _ => {}
        }
    }
}
