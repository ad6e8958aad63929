//! Where in the data tree a node is: as bytes for ordered maps, as text for people and the journal.
//!
//! As bytes, each step is the number of the child among its siblings in the schema, counted from 1, and for
//! a list entry then its key value and a zero byte. So the descendants of a node are exactly the paths that
//! begin with its path, they lie side by side in an ordered map, and the order is that of the schema.
//! Numbers as key values are preceded by their number of digits, which makes them sort as numbers.
//!
//! A node that is deactivated has a child of the number 255, in text `@inactive`.
//!
//! As text: `/interfaces/interface[name='ge-0/0/1']/unit[id='100']/mtu`. Within quotes, `&` and `'` are
//! written `&amp;` and `&apos;`.

use std::borrow::Borrow;

use thiserror::Error;

use crate::personality::Spelling;
use crate::schema::{self, Kind, Node, Type};

/// The step to the mark of a node that is deactivated.
pub(crate) const INACTIVE: u8 = u8::MAX;
const INACTIVE_TEXT: &str = "/@inactive";

/// The path of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(Box<[u8]>);

/// A text that is no path of the data tree.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no path of {}: {reason}", schema::MODULE)]
pub struct PathError {
    text: String,
    reason: String,
}

impl Borrow<[u8]> for Path {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Path {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl Path {
    /// The path as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a path from its text.
    ///
    /// # Errors
    /// If there can't be such a node, be it for the names, the keys or their values.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |reason: String| PathError { text: text.to_owned(), reason };
        let mut bytes = Vec::with_capacity(text.len());
        let mut siblings = schema::TOP;
        let is_mark = text.ends_with(INACTIVE_TEXT);
        let mut rest = text.strip_suffix(INACTIVE_TEXT).unwrap_or(text);
        while !rest.is_empty() {
            rest = rest.strip_prefix('/').ok_or_else(|| fail("a step must begin with /".to_owned()))?;
            let end = rest.find(['/', '[']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let (at, node) =
                schema::find(siblings, name).ok_or_else(|| fail(format!("there is no node {name:?}")))?;
            push_child(&mut bytes, at);
            rest = after;
            if let Some((key, value_type)) = node.key() {
                let inside = rest.strip_prefix('[').and_then(|rest| rest.strip_prefix(key));
                let (value, after) = inside
                    .and_then(|rest| rest.strip_prefix("='"))
                    .and_then(|rest| rest.split_once("']"))
                    .ok_or_else(|| fail(format!("{name} needs [{key}='…']")))?;
                let value = value.replace("&apos;", "'").replace("&amp;", "&");
                // Some devices keep keys as they were written.
                let value = value_type
                    .spelled_key(&value, Spelling::AsWritten)
                    .map_err(|reason| fail(format!("{key} {reason}")))?;
                push_key(&mut bytes, value_type, &value);
                rest = after;
            }
            siblings = node.children();
        }
        bytes.extend(is_mark.then_some(INACTIVE));
        Ok(Self(bytes.into()))
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&to_text(&self.0))
    }
}

/// Appends the step to a container, leaf or list.
pub(crate) fn push_child(path: &mut Vec<u8>, at: usize) {
    // No node of the schema has as many children as a byte can't count; a test looks at all of them.
    path.push(u8::try_from(at + 1).unwrap_or(u8::MAX));
}

/// Appends the key of a list entry, in canonical form, after the step to the list.
pub(crate) fn push_key(path: &mut Vec<u8>, value_type: &Type, value: &str) {
    if matches!(value_type, Type::Uint { .. }) {
        path.push(b'0' + u8::try_from(value.len()).unwrap_or(0));
    }
    path.extend_from_slice(value.as_bytes());
    path.push(0);
}

/// One step of a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'p> {
    pub(crate) node: &'static Node,
    /// The key of a list entry; `None` for other nodes and for a path that ends at the list itself.
    pub(crate) key: Option<&'p str>,
    /// Where the step ends in the bytes of the path.
    pub(crate) end: usize,
}

/// The steps of a path.
pub(crate) fn steps(path: &[u8]) -> Steps<'_> {
    Steps { path, at: 0, siblings: schema::TOP }
}

pub(crate) struct Steps<'p> {
    path: &'p [u8],
    at: usize,
    siblings: &'static [Node],
}

impl<'p> Iterator for Steps<'p> {
    type Item = Step<'p>;

    fn next(&mut self) -> Option<Step<'p>> {
        let node = self.siblings.get(usize::from(*self.path.get(self.at)?).checked_sub(1)?)?;
        self.at += 1;
        let mut key = None;
        if let Kind::List(_) = node.kind
            && let Some((value, end)) = key_at(self.path, self.at, node)
        {
            key = Some(value);
            self.at = end;
        }
        self.siblings = node.children();
        Some(Step { node, key, end: self.at })
    }
}

/// The key value that begins at `at`, and where its bytes end.
pub(crate) fn key_at<'p>(path: &'p [u8], at: usize, list: &Node) -> Option<(&'p str, usize)> {
    let length = path.get(at..)?.iter().position(|byte| *byte == 0)?;
    let digits_counted = matches!(list.key(), Some((_, Type::Uint { .. })));
    let value = path.get(at + usize::from(digits_counted)..at + length)?;
    Some((std::str::from_utf8(value).ok()?, at + length + 1))
}

/// The text of a path.
pub(crate) fn to_text(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len() + 48);
    for step in steps(path) {
        text.push('/');
        text.push_str(step.node.name);
        if let (Some((name, _)), Some(value)) = (step.node.key(), step.key) {
            text.push('[');
            text.push_str(name);
            text.push_str("='");
            if value.contains(['&', '\'']) {
                text.push_str(&value.replace('&', "&amp;").replace('\'', "&apos;"));
            } else {
                text.push_str(value);
            }
            text.push_str("']");
        }
    }
    if path.last() == Some(&INACTIVE) {
        text.push_str(INACTIVE_TEXT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[test]
    fn text_and_bytes_are_the_same_path() {
        for text in [
            "",
            "/interfaces",
            "/interfaces/interface[name='ge-0/0/1']",
            "/interfaces/interface[name='ge-0/0/1']/unit[id='100']/vlan-id",
            "/pseudowires/pseudowire[name='a&apos;b&amp;apos;c]d/']/peer",
            "/interfaces/interface[name='x']/oper-status",
            "/interfaces/interface[name='x']/unit[id='1']/ipv6[address='2001:DB8::1']/prefix-length",
            "/interfaces/interface[name='x']/@inactive",
            "/interfaces/interface[name='x']/mtu/@inactive",
        ] {
            assert_eq!(path(text).to_string(), text);
        }
        let odd = path("/pseudowires/pseudowire[name='a&apos;b&amp;apos;c']");
        assert_eq!(steps(odd.as_bytes()).last().unwrap().key, Some("a'b&apos;c"));
    }

    #[test]
    fn refuses_what_is_no_path() {
        for text in [
            "interfaces",
            "/interface",
            "/interfaces/interface",
            "/interfaces/interface[id='1']",
            "/interfaces/interface[name='']",
            "/interfaces/interface[name='a']/unit[id='x']",
            "/interfaces/interface[name='a']/mtu/x",
            "/interfaces/",
        ] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn descendants_and_nothing_else_begin_with_the_path() {
        let entry = path("/interfaces/interface[name='ab']");
        assert!(path("/interfaces/interface[name='ab']/mtu").as_bytes().starts_with(entry.as_bytes()));
        assert!(!path("/interfaces/interface[name='abc']/mtu").as_bytes().starts_with(entry.as_bytes()));
    }

    #[test]
    fn numbers_sort_as_numbers() {
        let unit = |id: u32| path(&format!("/interfaces/interface[name='a']/unit[id='{id}']"));
        let ids = [0, 9, 10, 99, 100, 4094, 16384];
        assert!(ids.windows(2).all(|pair| unit(pair[0]) < unit(pair[1])));
    }

    #[test]
    fn every_child_can_be_counted_in_a_byte() {
        fn check(nodes: &[Node]) {
            assert!(nodes.len() < 255);
            nodes.iter().for_each(|node| check(node.children()));
        }
        check(schema::TOP);
    }
}
