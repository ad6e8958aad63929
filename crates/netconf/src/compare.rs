//! Reading back: is what was wanted in what the device says it has?

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use crate::keys::{ListKeys, key_values};
use crate::namespace;
use crate::xml::Element;

/// One place where the device's data is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where, as local names with the key values of list entries: `/interfaces/interface[name='ge-0']/mtu`.
    pub path: String,
    /// What is different there.
    pub kind: DifferenceKind,
}

/// The ways in which data can differ from what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Wanted and not there.
    Missing,
    /// There with another value.
    Value {
        /// The wanted value.
        wanted: String,
        /// The value found.
        found: String,
    },
    /// There although it should be gone (`operation="remove"` or `"delete"` in `wanted`).
    Unwanted,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DifferenceKind::Missing => write!(f, "{} is missing", self.path),
            DifferenceKind::Value { wanted, found } => {
                write!(f, "{} is {found:?} instead of {wanted:?}", self.path)
            }
            DifferenceKind::Unwanted => write!(f, "{} is still there", self.path),
        }
    }
}

/// Where `data` does not have what `wanted` describes, at most `limit` places; empty if it has it all.
///
/// Only the children of the two elements are compared (`<data>` against `<config>`). `data` may hold more
/// than `wanted`. An element of `wanted` with `nc:operation` `remove` or `delete` must be absent, so an
/// `edit-config`'s content can be compared as it is. List entries are found by `keys`, and where those
/// aren't known, by content; leaves are compared as [`Element::same_value`] does.
pub fn differences(data: &Element, wanted: &Element, keys: &dyn ListKeys, limit: usize) -> Vec<Difference> {
    let mut comparison = Comparison { keys, limit, path: Vec::new(), found: Vec::new() };
    comparison.children(data, wanted);
    comparison.found
}

/// Whether `data` has everything that `wanted` describes, see [`differences`].
pub fn contains(data: &Element, wanted: &Element, keys: &dyn ListKeys) -> bool {
    differences(data, wanted, keys, 1).is_empty()
}

struct Comparison<'e, 'k> {
    keys: &'k dyn ListKeys,
    limit: usize,
    path: Vec<&'e Element>,
    found: Vec<Difference>,
}

type EntryId<'e> = (&'e str, &'e str, Vec<Cow<'e, str>>);

impl<'e> Comparison<'e, '_> {
    fn children(&mut self, data: &'e Element, wanted: &'e Element) {
        // List entries by name and keys, so that many entries among many cost no more than their sum.
        let mut index: Option<HashMap<EntryId<'e>, &'e Element>> = None;
        for child in wanted.children() {
            if self.found.len() >= self.limit {
                return;
            }
            self.path.push(child);
            let absent =
                matches!(child.attribute_ns(namespace::BASE, "operation"), Some("remove" | "delete"));
            let found = match key_values(child, self.keys) {
                Some(values) => {
                    let index = index.get_or_insert_with(|| self.index(data));
                    index
                        .get(&entry_id(child, &values))
                        .copied()
                        .or_else(|| self.same_keys(data, child, &values))
                }
                None => self.counterpart(data, wanted, child, absent),
            };
            match found {
                Some(_) if absent => self.report(DifferenceKind::Unwanted),
                None if absent || self.only_removes(child) => {}
                None => self.report(DifferenceKind::Missing),
                Some(found) if child.is_leaf() && found.is_leaf() => {
                    if !found.same_value(child) {
                        let (wanted, found) = (child.text().into_owned(), found.text().into_owned());
                        self.report(DifferenceKind::Value { wanted, found });
                    }
                }
                Some(found) => self.children(found, child),
            }
            self.path.pop();
        }
    }

    /// Whether nothing is wanted inside of this container but that things be gone; then it may be gone, too.
    /// An entry of a list is wanted itself, since merging it creates it.
    fn only_removes(&self, wanted: &Element) -> bool {
        let is_gone = |child: &Element| is_removal(child) || self.only_removes(child);
        self.keys.keys_of(wanted).is_none() && !wanted.is_leaf() && wanted.children().all(is_gone)
    }

    /// The node of `data` that a wanted leaf, container or entry of a list with unknown keys is to be
    /// compared with.
    fn counterpart(
        &self,
        data: &'e Element,
        wanted: &'e Element,
        child: &'e Element,
        absent: bool,
    ) -> Option<&'e Element> {
        let mut candidates = data.children().filter(|candidate| candidate.same_name(child));
        if absent {
            // To be absent by value (a leaf-list entry) or by content, or altogether if neither is given.
            return candidates.find(|candidate| child.is_empty() || self.has_all(candidate, child));
        }
        let only = wanted.children().filter(|sibling| sibling.same_name(child)).nth(1).is_none();
        let first = candidates.next()?;
        match candidates.next() {
            None if only || self.has_all(first, child) => Some(first),
            None => None,
            Some(second) => {
                [first, second].into_iter().chain(candidates).find(|candidate| self.has_all(candidate, child))
            }
        }
    }

    /// Whether the whole content of `wanted` is in `data`.
    fn has_all(&self, data: &Element, wanted: &Element) -> bool {
        if wanted.is_leaf() { data.same_value(wanted) } else { contains(data, wanted, self.keys) }
    }

    fn index(&self, data: &'e Element) -> HashMap<EntryId<'e>, &'e Element> {
        let keyed = data.children().filter_map(|entry| Some((entry, key_values(entry, self.keys)?)));
        keyed.map(|(entry, values)| (entry_id(entry, &values), entry)).collect()
    }

    /// Key values may be written differently and mean the same (prefixes), which no hash sees.
    fn same_keys(&self, data: &'e Element, wanted: &Element, values: &[&Element]) -> Option<&'e Element> {
        if !values.iter().any(|value| value.text().contains(':') || value.prefixes().next().is_some()) {
            return None;
        }
        data.children().filter(|entry| entry.same_name(wanted)).find(|entry| {
            key_values(entry, self.keys)
                .is_some_and(|theirs| theirs.iter().zip(values).all(|(theirs, ours)| theirs.same_value(ours)))
        })
    }

    fn report(&mut self, kind: DifferenceKind) {
        let path = self.path.iter().map(|element| step(element, self.keys)).collect();
        self.found.push(Difference { path, kind });
    }
}

fn is_removal(element: &Element) -> bool {
    matches!(element.attribute_ns(namespace::BASE, "operation"), Some("remove" | "delete"))
}

fn entry_id<'e>(entry: &'e Element, values: &[&'e Element]) -> EntryId<'e> {
    (entry.namespace(), entry.name(), values.iter().map(|value| value.expanded_text()).collect())
}

/// One step of a path.
fn step(element: &Element, keys: &dyn ListKeys) -> String {
    let mut out = format!("/{}", element.name());
    for value in key_values(element, keys).unwrap_or_default() {
        out.push_str(&format!("[{}='{}']", value.name(), value.text()));
    }
    out
}

#[cfg(test)]
mod tests;
