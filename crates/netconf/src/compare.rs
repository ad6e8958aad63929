//! Reading back: is what was wanted in what the device says it has, and what else is there?

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::keys::{ListKeys, key_values};
use crate::namespace;
use crate::xml::Element;

/// One place where the device's data is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where, as local names with the key values of list entries: `/interfaces/interface[name='ge-0']/mtu`.
    /// See [`step`].
    pub path: String,
    /// What is different there.
    pub kind: DifferenceKind,
}

/// The ways in which data can differ from what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Wanted and not there.
    Missing {
        /// The wanted value of a leaf that has one.
        wanted: Option<String>,
    },
    /// There with another value.
    Value {
        /// The wanted value.
        wanted: String,
        /// The value found.
        found: String,
    },
    /// There although it should be gone (`operation="remove"` or `"delete"` in `wanted`).
    Unwanted,
    /// There, inside of what is to hold nothing else.
    Extra {
        /// The value of a leaf that has one.
        found: Option<String>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DifferenceKind::Missing { .. } => write!(f, "{} is missing", self.path),
            DifferenceKind::Value { wanted, found } => {
                write!(f, "{} is {found:?} instead of {wanted:?}", self.path)
            }
            DifferenceKind::Unwanted => write!(f, "{} is still there", self.path),
            DifferenceKind::Extra { .. } => write!(f, "{} is extra", self.path),
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
    let nothing = Element::base("data");
    let mut comparison =
        Comparison { keys, limit, owned: None, nothing: &nothing, path: Vec::new(), found: Vec::new() };
    comparison.children(data, wanted, false);
    comparison.found
}

/// As [`differences`], and besides what is inside of the nodes `owned` without being wanted. `owned` are
/// paths as in [`Difference::path`], each step as [`step`] writes it. Where a container around them is
/// missing, what it should hold is named.
pub fn drift(
    data: &Element,
    wanted: &Element,
    keys: &dyn ListKeys,
    owned: &HashSet<&str>,
) -> Vec<Difference> {
    let nothing = Element::base("data");
    let mut comparison = Comparison {
        keys,
        limit: usize::MAX,
        owned: Some(owned),
        nothing: &nothing,
        path: Vec::new(),
        found: Vec::new(),
    };
    comparison.children(data, wanted, false);
    comparison.found
}

/// Whether `data` has everything that `wanted` describes, see [`differences`].
pub fn contains(data: &Element, wanted: &Element, keys: &dyn ListKeys) -> bool {
    differences(data, wanted, keys, 1).is_empty()
}

struct Comparison<'e, 'k> {
    keys: &'k dyn ListKeys,
    limit: usize,
    /// Where nothing else may be; none: anything may be anywhere.
    owned: Option<&'k HashSet<&'k str>>,
    /// What is compared with where a container is missing.
    nothing: &'e Element,
    path: Vec<&'e Element>,
    found: Vec<Difference>,
}

type EntryId<'e> = (&'e str, &'e str, Vec<Cow<'e, str>>);

impl<'e> Comparison<'e, '_> {
    /// `inside`: this is inside of what may hold nothing else.
    fn children(&mut self, data: &'e Element, wanted: &'e Element, inside: bool) {
        let mut known: Vec<&'e Element> = Vec::new();
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
            known.extend(found.filter(|_| self.owned.is_some()));
            match found {
                Some(_) if absent => self.report(DifferenceKind::Unwanted),
                None if absent || self.only_removes(child) => {}
                None if self.is_mere_holder(child, inside) => self.children(self.nothing, child, false),
                None => self.report(DifferenceKind::Missing { wanted: value(child) }),
                Some(found) if child.is_leaf() && found.is_leaf() => {
                    if !found.same_value(child) {
                        let (wanted, found) = (child.text().into_owned(), found.text().into_owned());
                        self.report(DifferenceKind::Value { wanted, found });
                    }
                }
                Some(found) => {
                    let inside = inside || self.is_owned();
                    self.children(found, child, inside);
                }
            }
            self.path.pop();
        }
        if self.owned.is_some() {
            self.extras(data, &known, inside);
        }
    }

    /// Whether this is a container around what is owned: that it is missing says nothing, what it should hold
    /// does.
    fn is_mere_holder(&self, wanted: &Element, inside: bool) -> bool {
        let holds = self.owned.is_some() && self.keys.keys_of(wanted).is_none() && !wanted.is_leaf();
        holds && !inside && !self.is_owned()
    }

    /// Reports what is there besides what is `known`.
    fn extras(&mut self, data: &'e Element, known: &[&'e Element], inside: bool) {
        let known: HashSet<*const Element> =
            known.iter().map(|element| std::ptr::from_ref(*element)).collect();
        for child in data.children().filter(|child| !known.contains(&std::ptr::from_ref(*child))) {
            self.path.push(child);
            if inside || self.is_owned() {
                self.report(DifferenceKind::Extra { found: value(child) });
            }
            self.path.pop();
        }
    }

    /// Whether the node that is looked at is one of those that may hold nothing else.
    fn is_owned(&self) -> bool {
        self.owned.is_some_and(|owned| owned.contains(self.path().as_str()))
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
        if is_leaf_list(child, self.keys) {
            return candidates.find(|candidate| candidate.same_value(child));
        }
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

    fn path(&self) -> String {
        self.path.iter().flat_map(|element| ["/".to_owned(), step(element, self.keys)]).collect()
    }

    fn report(&mut self, kind: DifferenceKind) {
        self.found.push(Difference { path: self.path(), kind });
    }
}

fn is_removal(element: &Element) -> bool {
    matches!(element.attribute_ns(namespace::BASE, "operation"), Some("remove" | "delete"))
}

fn entry_id<'e>(entry: &'e Element, values: &[&'e Element]) -> EntryId<'e> {
    (entry.namespace(), entry.name(), values.iter().map(|value| value.expanded_text()).collect())
}

/// Whether the element is an entry of a leaf-list: its name is given with the key `.`, its own value.
fn is_leaf_list(element: &Element, keys: &dyn ListKeys) -> bool {
    element.is_leaf() && keys.keys_of(element).is_some_and(|keys| keys.iter().eq(["."]))
}

/// The value of a leaf, if it has one.
fn value(element: &Element) -> Option<String> {
    (element.is_leaf() && !element.is_empty()).then(|| element.text().into_owned())
}

/// One step of a path: the local name; of a list entry with its keys, of a leaf-list's (a list known by the
/// key `.`) with its value, as `interface[name='ge-0/0/1']`. Values are XPath 1.0 literals; prefixes in
/// them are replaced by their namespaces, see [`Element::expanded_text`].
pub fn step(element: &Element, keys: &dyn ListKeys) -> String {
    let mut out = element.name().to_owned();
    if is_leaf_list(element, keys) {
        out.push_str(&format!("[.={}]", literal(&element.raw_text())));
    }
    for key in key_values(element, keys).unwrap_or_default() {
        let value = if key.prefixes().next().is_some() { key.expanded_text() } else { key.raw_text() };
        out.push_str(&format!("[{}={}]", key.name(), literal(&value)));
    }
    out
}

/// A value as XPath 1.0 literal; one with both kinds of quotes as `concat(…)`.
pub fn literal(value: &str) -> String {
    match (value.contains('\''), value.contains('"')) {
        (false, _) => format!("'{value}'"),
        (true, false) => format!("\"{value}\""),
        (true, true) => {
            let parts: Vec<String> = value.split('\'').map(|part| format!("'{part}'")).collect();
            format!("concat({})", parts.join(",\"'\","))
        }
    }
}

#[cfg(test)]
mod tests;
