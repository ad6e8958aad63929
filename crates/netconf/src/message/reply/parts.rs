//! Replies that come in parts. Huawei answers a large `get` or `get-config` with an attribute `set-id` and
//! only the beginning of the data; `get-next` with this `set-id` gives the next part, until a reply has no
//! `set-id` any more.

use super::{Reply, in_base, is_data};
use crate::message::{ErrorTag, ErrorType, RpcError};
use crate::operation::Operation;
use crate::xml::{Element, Node};
use crate::{clean, namespace};

/// Most parts of one reply.
pub(crate) const MAX_PARTS: usize = 10_000;
/// Longest `set-id`.
const MAX_SET_ID_BYTES: usize = 256;
/// Children of a list entry among which its keys are looked for.
const MAX_KEYS: usize = 16;
/// Longest reason in an error, in characters.
const MAX_REASON: usize = 300;

impl Reply {
    /// What to ask with for the next part, if the reply is only a part.
    pub(crate) fn set_id(&self) -> Option<&str> {
        let attribute = self.attributes.iter().find(|attribute| &*attribute.name == "set-id")?;
        Some(attribute.value.trim()).filter(|id| !id.is_empty())
    }

    /// The request for the next part.
    pub(crate) fn get_next(&self) -> Result<Operation, String> {
        match self.set_id() {
            Some(id) if id.len() <= MAX_SET_ID_BYTES => {
                let next = Element::new(namespace::HUAWEI_BASE, "get-next").with_attribute("set-id", id);
                Ok(Operation::new(next))
            }
            Some(_) => Err("its set-id is too long".to_owned()),
            None => Err("it has no set-id".to_owned()),
        }
    }

    /// Appends the next part. The reply has the set-id of that part from then on.
    pub(crate) fn append(&mut self, part: Self) -> Result<(), String> {
        let part = part.into_result().map_err(|errors| errors.to_string())?;
        let Some(data) = self.content.iter_mut().find(|child| is_data(child)) else {
            return Err("the first part has no <data>".to_owned());
        };
        let Some(at) = part.content.iter().position(is_data) else {
            return Err("the next part has no <data>".to_owned());
        };
        self.attributes.retain(|attribute| &*attribute.name != "set-id");
        self.attributes.extend(part.attributes.into_iter().filter(|attribute| &*attribute.name == "set-id"));
        let mut content = part.content;
        merge(data, in_base(content.swap_remove(at)));
        self.errors.extend(part.errors);
        for replaced in part.replaced {
            if self.replaced.len() < super::MAX_REPLACED {
                self.replaced.push(replaced);
            }
        }
        Ok(())
    }

    /// What a reply becomes of which only a part could be had: nothing of it may be used.
    pub(crate) fn incomplete(reason: &str) -> Self {
        let reason = clean::line(reason, MAX_REASON);
        let error = RpcError::new(ErrorType::Protocol, ErrorTag::OperationFailed);
        let text = format!("the device gave only a part of its answer, and not the rest ({reason})");
        Self::with_errors([error.with_message(text)])
    }
}

/// Appends what follows in the document that was cut in two. The elements that are open where it is cut
/// are there twice, so the first child of the second half may go on with the last one of the first half.
fn merge(first: &mut Element, second: Element) {
    let mut nodes = second.into_nodes().into_iter();
    let Some(next) = nodes.next() else { return };
    match (first.nodes_mut().last_mut(), next) {
        (Some(Node::Element(last)), Node::Element(next)) if goes_on(last, &next) => merge(last, next),
        (_, next) => add(first, next),
    }
    for node in nodes {
        add(first, node);
    }
}

/// Adds a node, unless it is a key that is there already: an entry that was cut in two repeats its keys.
fn add(to: &mut Element, node: Node) {
    match node {
        Node::Element(leaf)
            if is_value(&leaf) && to.children().take(MAX_KEYS).any(|known| *known == leaf) => {}
        node => to.push(node),
    }
}

/// Whether `next` is the same element as `last`, and not another entry of the same list: no leaf that both
/// have once differs. Entries of one list differ in their keys, which come first (RFC 7950 §7.8.5).
fn goes_on(last: &Element, next: &Element) -> bool {
    if !last.same_name(next) || is_value(last) || is_value(next) {
        return false;
    }
    next.children().take(MAX_KEYS).filter(|child| child.is_leaf()).all(|leaf| {
        let mut known = last.children_named(leaf.namespace(), leaf.name());
        match (known.next(), known.next()) {
            (Some(only), None) => only.text() == leaf.text(),
            _ => true,
        }
    })
}

fn is_value(element: &Element) -> bool {
    element.is_leaf() && !element.text().is_empty()
}

#[cfg(test)]
mod tests;
