//! Reading back: is what was wanted in what the device says it has, and what else is there?

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::crypt_hash;
use crate::model::{
    Disclosure, Model, child_path, entry_keys, is_leaf_list, key_kinds, key_leaves, push_step,
};
use crate::namespace;
use crate::spelling::{self, Kinds};
use crate::xml::{Attribute, Element};

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
    /// There with a value that is not the wanted one, as far as can be told of a secret one, which is not shown.
    Secret,
    /// There although it should be gone (`operation="remove"` or `"delete"` in `wanted`).
    Unwanted,
    /// There, inside of what is to hold nothing else.
    Extra {
        /// The value of a leaf that has one.
        found: Option<String>,
    },
    /// There, but not as it stands: the device marks it as inactive, or with another attribute that changes
    /// what it means.
    Inactive {
        /// The attribute, such as `inactive="inactive"`.
        mark: String,
    },
    /// The entries of this list or leaf-list are in another order, which is part of the configuration.
    Order {
        /// The entries in the wanted order.
        wanted: String,
        /// The same entries as they were found.
        found: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.kind {
            DifferenceKind::Missing { .. } => write!(f, "{path} is missing"),
            DifferenceKind::Value { wanted, found } => write!(f, "{path} is {found:?} instead of {wanted:?}"),
            DifferenceKind::Secret => write!(f, "{path} has another value than is wanted (both are secret)"),
            DifferenceKind::Unwanted => write!(f, "{path} is still there"),
            DifferenceKind::Extra { .. } => write!(f, "{path} is extra"),
            DifferenceKind::Inactive { mark } if mark.starts_with("inactive") => {
                write!(f, "{path} is deactivated ({mark})")
            }
            DifferenceKind::Inactive { mark } => write!(f, "{path} is marked {mark}"),
            DifferenceKind::Order { wanted, found } => {
                write!(f, "the order of {path} differs: {found} instead of {wanted}")
            }
        }
    }
}

/// Nodes that may hold nothing but what is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Owned<'o> {
    /// Their paths as in [`Difference::path`], each step as [`step`] writes it.
    pub nodes: &'o HashSet<&'o str>,
    /// The data shows only what was set (RFC 6243 `explicit` or `trim`). Otherwise elements without content may
    /// be containers that the device shows always.
    pub only_set: bool,
}

/// Where `data` does not have what `wanted` describes, at most `limit` places; empty if it has it all.
///
/// Only the children of the two elements are compared (`<data>` against `<config>`). `data` may hold more
/// than `wanted`. An element of `wanted` with `nc:operation` `remove` or `delete` must be absent, so an
/// `edit-config`'s content can be compared as it is. List entries are found by their keys, and where those
/// aren't known, by content; leaves are compared as [`spelling::same_value`] does. A leaf may be absent if
/// it has that value then. What the device marks as not in force is not as wanted. Of a value that a server may write
/// anew ([`Disclosure`]) it is enough if it is there; of one by RFC 7317 (`crypt-hash`) also if it fits the wanted
/// one.
pub fn differences(data: &Element, wanted: &Element, model: &dyn Model, limit: usize) -> Vec<Difference> {
    run(data, wanted, model, limit, None, Values::Meant)
}

/// As [`differences`], and besides what is inside of the nodes `owned` without being wanted. Where a
/// container around them is missing, what it should hold is named.
pub fn drift(data: &Element, wanted: &Element, model: &dyn Model, owned: Owned<'_>) -> Vec<Difference> {
    run(data, wanted, model, usize::MAX, Some(owned), Values::Meant)
}

/// Whether `data` has everything that `wanted` describes, see [`differences`].
pub fn contains(data: &Element, wanted: &Element, model: &dyn Model) -> bool {
    differences(data, wanted, model, 1).is_empty()
}

/// As [`contains`] where values of unknown kinds must be written the same.
pub fn contains_as_written(data: &Element, wanted: &Element, model: &dyn Model) -> bool {
    run(data, wanted, model, 1, None, Values::Written).is_empty()
}

/// Whether `data` has everything that `other` has, both shown by one server: a value that it has written anew is the
/// same only if it shows the same text.
pub fn contains_reading(data: &Element, other: &Element, model: &dyn Model) -> bool {
    run(data, other, model, 1, None, Values::Shown).is_empty()
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    /// What was sent with what a server shows.
    Meant,
    /// The same, where values of unknown kinds must be written the same.
    Written,
    /// What a server shows with what it has shown before.
    Shown,
}

/// Whether two elements at this path stand for the same node of the data tree: the same name and, of an entry
/// of a list with known keys, the same keys, as they are written.
pub fn is_same_node(model: &dyn Model, path: &str, a: &Element, b: &Element) -> bool {
    if !a.same_name(b) {
        return false;
    }
    let Some(names) = entry_keys(model, path, a).or_else(|| entry_keys(model, path, b)) else { return true };
    names.iter().all(|name| match (a.own_child(name), b.own_child(name)) {
        (Some(ours), Some(theirs)) => {
            let kinds = key_kinds(model, path, ours);
            spelling::same_writing(ours, theirs, kinds)
                || spelling::normal(ours, kinds) == spelling::normal(theirs, kinds)
        }
        _ => false,
    })
}

/// The attribute by which a device says that an element is not in force as it stands: the `inactive` of
/// Junos and its likes, or an operation that is still to come.
pub fn inactive_mark(element: &Element) -> Option<&Attribute> {
    element.attributes().iter().find(|attribute| {
        let is_off = |names: &[&str]| names.contains(&&*attribute.name);
        let says_no = matches!(&*attribute.value, "false" | "0" | "active");
        match &*attribute.namespace {
            "" => is_off(&["inactive", "disable", "disabled", "protect", "operation"]) && !says_no,
            namespace::BASE => &*attribute.name == "operation",
            _ => false,
        }
    })
}

/// Whether the device says that nobody set this leaf (RFC 6243 §6).
fn is_tagged_default(element: &Element) -> bool {
    matches!(element.attribute_ns(namespace::DEFAULT, "default"), Some("true" | "1"))
}

fn run(
    data: &Element,
    wanted: &Element,
    model: &dyn Model,
    limit: usize,
    owned: Option<Owned<'_>>,
    values: Values,
) -> Vec<Difference> {
    let nothing = Element::base("data");
    let mut comparison = Comparison {
        model,
        limit,
        owned,
        values,
        nothing: &nothing,
        path: String::new(),
        above: Vec::new(),
        found: Vec::new(),
    };
    comparison.children(data, wanted, false);
    comparison.found
}

struct Comparison<'e, 'k> {
    model: &'k dyn Model,
    limit: usize,
    /// Where nothing else may be; none: anything may be anywhere.
    owned: Option<Owned<'k>>,
    values: Values,
    /// What is compared with where a container is missing.
    nothing: &'e Element,
    /// Local names of where the comparison is.
    path: String,
    /// The elements on the way there, each with the length of `path` above it.
    above: Vec<(&'e Element, usize)>,
    found: Vec<Difference>,
}

type EntryId<'e> = (&'e str, &'e str, Vec<Cow<'e, str>>);

/// Entries of lists by name and keys, so that many entries among many cost no more than their sum.
struct Index<'e> {
    /// By keys as they are written. More than one only where a device breaks its own rules.
    exact: HashMap<EntryId<'e>, Vec<&'e Element>>,
    /// By keys without regard to spelling.
    loose: Option<HashMap<EntryId<'e>, Vec<&'e Element>>>,
}

impl<'e> Comparison<'e, '_> {
    fn enter(&mut self, element: &'e Element) {
        self.above.push((element, self.path.len()));
        push_step(&mut self.path, element.name());
    }

    fn leave(&mut self) {
        if let Some((_, length)) = self.above.pop() {
            self.path.truncate(length);
        }
    }

    /// `inside`: this is inside of what may hold nothing else.
    fn children(&mut self, data: &'e Element, wanted: &'e Element, inside: bool) {
        let mut known: Vec<&'e Element> = Vec::new();
        let mut ordered: Vec<(&'e Element, &'e Element)> = Vec::new();
        let mut index: Option<Index<'e>> = None;
        for child in wanted.children() {
            if self.found.len() >= self.limit {
                return;
            }
            self.enter(child);
            let absent = is_removal(child);
            let found = match key_leaves(self.model, &self.path, child) {
                Some(keys) => {
                    let parent = self.above.last().map_or(0, |(_, length)| *length);
                    let index =
                        index.get_or_insert_with(|| Index::new(data, self.model, &self.path[..parent]));
                    self.entry(data, wanted, child, &keys, index, absent)
                }
                None => self.counterpart(data, wanted, child, absent),
            };
            known.extend(found.filter(|_| self.owned.is_some()));
            if let Some(found) = found.filter(|_| !absent && self.model.is_ordered(&self.path)) {
                ordered.push((child, found));
            }
            self.node(child, found, absent, inside);
            self.leave();
        }
        self.orders(data, &ordered);
        if self.owned.is_some() {
            self.extras(data, &known, inside);
        }
    }

    fn node(&mut self, child: &'e Element, found: Option<&'e Element>, absent: bool, inside: bool) {
        let Some(found) = found else {
            if absent || self.only_removes(child) || self.may_be_absent(child) {
                return;
            }
            if self.is_mere_holder(child, inside) {
                return self.children(self.nothing, child, false);
            }
            return self.report(DifferenceKind::Missing { wanted: self.shown(child) });
        };
        if absent {
            return self.report(DifferenceKind::Unwanted);
        }
        if let Some(mark) = inactive_mark(found).filter(|mark| !child.attributes().contains(mark)) {
            self.report(DifferenceKind::Inactive { mark: format!("{}={:?}", mark.name, mark.value) });
        }
        if child.is_leaf() && found.is_leaf() {
            if !self.fits(found, child) {
                let kind = match self.model.disclosure(&self.path).is_secret() {
                    true => DifferenceKind::Secret,
                    false => DifferenceKind::Value {
                        wanted: child.text().into_owned(),
                        found: found.text().into_owned(),
                    },
                };
                self.report(kind);
            }
            return;
        }
        let inside = inside || self.is_owned();
        self.children(found, child, inside);
    }

    fn same_value(&self, a: &Element, b: &Element, kinds: Kinds) -> bool {
        match self.values {
            Values::Written => spelling::same_writing(a, b, kinds),
            Values::Meant | Values::Shown => spelling::same_value(a, b, kinds),
        }
    }

    /// Whether a leaf that was found is what is wanted of the leaf that is looked at.
    fn fits(&self, found: &Element, wanted: &Element) -> bool {
        match self.model.disclosure(&self.path) {
            Disclosure::Plain => {}
            _ if self.values == Values::Shown => {}
            Disclosure::Opaque | Disclosure::WriteOnly => return true,
            Disclosure::Secret => return crypt_hash::may_be(&found.text(), &wanted.text()),
        }
        self.same_value(found, wanted, self.model.kinds(&self.path))
    }

    /// The value of the leaf that is looked at, if it may be shown.
    fn shown(&self, leaf: &Element) -> Option<String> {
        value(leaf).filter(|_| !self.model.disclosure(&self.path).is_secret())
    }

    /// Whether the node means the same if it is absent: a leaf with its default, a container that says
    /// nothing by itself and has nothing else in it.
    fn may_be_absent(&self, wanted: &Element) -> bool {
        self.is_nothing_at(wanted, &self.path)
    }

    fn is_nothing_at(&self, element: &Element, path: &str) -> bool {
        if self.values != Values::Shown && self.model.disclosure(path) == Disclosure::WriteOnly {
            return true;
        }
        if element.is_leaf() && !element.is_empty() {
            let same = |default: &str| {
                let default = element.sibling(element.name()).with_text(default);
                spelling::same_value(element, &default, self.model.kinds(path))
            };
            return self.model.default_value(path).is_some_and(same);
        }
        self.model.counts_empty(path) == Some(false)
            && element.children().all(|child| self.is_nothing_at(child, &child_path(path, child.name())))
    }

    /// Whether this is a container around what is owned: that it is missing says nothing, what it should hold
    /// does.
    fn is_mere_holder(&self, wanted: &Element, inside: bool) -> bool {
        if wanted.is_leaf() || entry_keys(self.model, &self.path, wanted).is_some() {
            return false;
        }
        let is_above = self.owned.is_some() && !inside && !self.is_owned();
        is_above || self.model.counts_empty(&self.path) == Some(false)
    }

    /// Reports what is there besides what is `known`.
    fn extras(&mut self, data: &'e Element, known: &[&'e Element], inside: bool) {
        let known: HashSet<*const Element> =
            known.iter().map(|element| std::ptr::from_ref(*element)).collect();
        for child in data.children().filter(|child| !known.contains(&std::ptr::from_ref(*child))) {
            self.enter(child);
            if (inside || self.is_owned()) && !self.says_nothing(child, &self.path, data.namespace()) {
                self.report(DifferenceKind::Extra { found: self.shown(child) });
            }
            self.leave();
        }
    }

    /// Whether an element that is not wanted changes nothing: a default that nobody set, or a container with
    /// nothing else in it.
    fn says_nothing(&self, element: &Element, path: &str, parent: &str) -> bool {
        if is_tagged_default(element) || self.is_nothing_at(element, path) {
            return true;
        }
        if entry_keys(self.model, path, element).is_some() {
            return false;
        }
        match element.is_empty() {
            true => !self.counts_empty(element, path, parent),
            false => {
                !element.is_leaf()
                    && self.model.counts_empty(path) != Some(true)
                    && element.children().all(|child| {
                        self.says_nothing(child, &child_path(path, child.name()), element.namespace())
                    })
            }
        }
    }

    /// Whether an element without content is something: a leaf of type `empty` or a container with presence.
    /// Junos shows nothing else, nor do devices that show only what was set, save for containers that
    /// another module adds.
    fn counts_empty(&self, element: &Element, path: &str, parent: &str) -> bool {
        let only_set = self.owned.is_some_and(|owned| owned.only_set);
        self.model.counts_empty(path).unwrap_or_else(|| {
            namespace::is_junos(element.namespace()) || (only_set && element.namespace() == parent)
        })
    }

    /// Whether the node that is looked at is one of those that may hold nothing else.
    fn is_owned(&self) -> bool {
        self.owned.is_some_and(|owned| owned.nodes.contains(self.full_path().as_str()))
    }

    /// Whether nothing is wanted inside of this container but that things be gone; then it may be gone, too.
    /// An entry of a list is wanted itself, since merging it creates it.
    fn only_removes(&self, wanted: &Element) -> bool {
        self.only_removes_at(wanted, &self.path)
    }

    fn only_removes_at(&self, wanted: &Element, path: &str) -> bool {
        entry_keys(self.model, path, wanted).is_none()
            && !wanted.is_leaf()
            && wanted.children().all(|child| {
                is_removal(child) || self.only_removes_at(child, &child_path(path, child.name()))
            })
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
        let only = wanted.children().filter(|sibling| sibling.same_name(child)).nth(1).is_none();
        if is_leaf_list(self.model, &self.path, child) || (child.is_leaf() && !only && !absent) {
            return self.leaf_list_entry(data, wanted, child, absent);
        }
        if absent {
            // To be absent by value (a leaf-list entry) or by content, or altogether if neither is given.
            return candidates.find(|candidate| child.is_empty() || self.has_all(candidate, child, true));
        }
        let first = candidates.next()?;
        match candidates.next() {
            None if only || self.has_all(first, child, false) => Some(first),
            None => None,
            Some(second) => {
                let all =
                    || [first, second].into_iter().chain(data.children().filter(|c| c.same_name(child)));
                all()
                    .find(|candidate| *candidate == child)
                    .or_else(|| all().find(|candidate| self.has_all(candidate, child, true)))
                    .or_else(|| all().find(|candidate| self.has_all(candidate, child, false)))
            }
        }
    }

    /// The entry with this value; if there is none, one whose value differs in its spelling alone and that is
    /// no other wanted entry.
    fn leaf_list_entry(
        &self,
        data: &'e Element,
        wanted: &'e Element,
        child: &'e Element,
        absent: bool,
    ) -> Option<&'e Element> {
        let kinds = self.model.kinds(&self.path);
        let candidates = || data.children().filter(|candidate| candidate.same_name(child));
        let written_so = candidates().filter(|candidate| spelling::same_writing(candidate, child, kinds));
        let exact = best(written_so, child);
        exact.or_else(|| {
            let is_other = |candidate: &Element| {
                let mut others = wanted.children().filter(|other| other.same_name(child));
                others.any(|other| spelling::same_writing(candidate, other, kinds))
            };
            candidates()
                .find(|candidate| !absent && self.same_value(candidate, child, kinds) && !is_other(candidate))
        })
    }

    /// Whether the whole content of `wanted` is in `data`.
    fn has_all(&self, data: &Element, wanted: &Element, as_written: bool) -> bool {
        let values = if as_written && self.values == Values::Meant { Values::Written } else { self.values };
        if wanted.is_leaf() {
            let kinds = self.model.kinds(&self.path);
            return match values {
                Values::Written => spelling::same_writing(data, wanted, kinds),
                Values::Meant | Values::Shown => self.fits(data, wanted),
            };
        }
        let nothing = Element::base("data");
        let mut inner = Comparison {
            model: self.model,
            limit: 1,
            owned: None,
            values,
            nothing: &nothing,
            path: self.path.clone(),
            above: Vec::new(),
            found: Vec::new(),
        };
        inner.children(data, wanted, false);
        inner.found.is_empty()
    }

    /// The entry of `data` with these keys; if there is none, one whose keys differ in their spelling alone and
    /// that is no other wanted entry.
    fn entry(
        &self,
        data: &'e Element,
        wanted: &'e Element,
        child: &'e Element,
        keys: &[&'e Element],
        index: &mut Index<'e>,
        absent: bool,
    ) -> Option<&'e Element> {
        let exact = entry_id(self.model, &self.path, child, keys);
        if let Some(found) = index.exact.get(&exact) {
            return best(found.iter().copied(), child);
        }
        let parent = self.above.last().map_or("", |(_, length)| self.path.get(..*length).unwrap_or(""));
        let loose = index.loose.get_or_insert_with(|| {
            let mut loose: HashMap<EntryId<'e>, Vec<&'e Element>> = HashMap::new();
            for (entry, path, keys) in entries(data, self.model, parent) {
                loose.entry(loose_id(self.model, &path, entry, &keys)).or_default().push(entry);
            }
            loose
        });
        let candidates = loose.get(&loose_id(self.model, &self.path, child, keys))?;
        let same = |entry: &Element| {
            let theirs = key_leaves(self.model, &self.path, entry).unwrap_or_default();
            theirs.len() == keys.len()
                && theirs.iter().zip(keys).all(|(theirs, ours)| {
                    let kinds = key_kinds(self.model, &self.path, ours);
                    match absent {
                        true => spelling::same_writing(theirs, ours, kinds),
                        false => self.same_value(theirs, ours, kinds),
                    }
                })
        };
        let is_other = |entry: &'e Element| {
            let Some(theirs) = key_leaves(self.model, &self.path, entry) else { return false };
            let id = entry_id(self.model, &self.path, entry, &theirs);
            let mut siblings = wanted.children().filter(|sibling| sibling.same_name(child));
            siblings.any(|sibling| {
                key_leaves(self.model, &self.path, sibling)
                    .is_some_and(|keys| entry_id(self.model, &self.path, sibling, &keys) == id)
            })
        };
        candidates.iter().copied().find(|entry| same(entry) && !is_other(entry))
    }

    /// Reports lists whose entries are in another order than wanted: pairs of wanted and found entries.
    fn orders(&mut self, data: &'e Element, ordered: &[(&'e Element, &'e Element)]) {
        let mut seen: Vec<&Element> = Vec::new();
        for (first, _) in ordered {
            if seen.iter().any(|list| list.same_name(first)) || self.found.len() >= self.limit {
                continue;
            }
            seen.push(first);
            let pairs: Vec<_> = ordered.iter().filter(|(wanted, _)| wanted.same_name(first)).collect();
            let places: HashMap<*const Element, usize> =
                data.children().enumerate().map(|(at, child)| (std::ptr::from_ref(child), at)).collect();
            let place = |found: &Element| places.get(&std::ptr::from_ref(found)).copied();
            if pairs.is_sorted_by_key(|(_, found)| place(found)) {
                continue;
            }
            let mut there = pairs.clone();
            there.sort_by_key(|(_, found)| place(found));
            let path = child_path(&self.path, first.name());
            let names = |pairs: &[&(&Element, &Element)]| {
                let names = pairs.iter().map(|(wanted, _)| entry_name(wanted, self.model, &path));
                names.collect::<Vec<_>>().join(", ")
            };
            let kind = DifferenceKind::Order { wanted: names(&pairs), found: names(&there) };
            let path = format!("{}/{}", self.full_path(), first.name());
            self.found.push(Difference { path, kind });
        }
    }

    fn full_path(&self) -> String {
        let mut full = String::new();
        for (at, (element, _)) in self.above.iter().enumerate() {
            let end = self.above.get(at + 1).map_or(self.path.len(), |(_, length)| *length);
            full.push('/');
            full.push_str(&step(element, self.model, self.path.get(..end).unwrap_or_default()));
        }
        full
    }

    fn report(&mut self, kind: DifferenceKind) {
        self.found.push(Difference { path: self.full_path(), kind });
    }
}

impl<'e> Index<'e> {
    fn new(data: &'e Element, model: &dyn Model, parent: &str) -> Self {
        let mut exact: HashMap<EntryId<'e>, Vec<&'e Element>> = HashMap::new();
        for (entry, path, keys) in entries(data, model, parent) {
            exact.entry(entry_id(model, &path, entry, &keys)).or_default().push(entry);
        }
        Self { exact, loose: None }
    }
}

/// Of several nodes that can all be the wanted one, the very same, or else the first.
fn best<'e>(mut found: impl Iterator<Item = &'e Element>, wanted: &Element) -> Option<&'e Element> {
    let first = found.next()?;
    let Some(second) = found.next() else { return Some(first) };
    Some([first, second].into_iter().chain(found).find(|other| *other == wanted).unwrap_or(first))
}

/// The entries of known lists in `data`, with their paths and keys.
fn entries<'e>(
    data: &'e Element,
    model: &dyn Model,
    parent: &str,
) -> impl Iterator<Item = (&'e Element, String, Vec<&'e Element>)> {
    data.children().filter_map(move |entry| {
        let path = child_path(parent, entry.name());
        let keys = key_leaves(model, &path, entry)?;
        Some((entry, path, keys))
    })
}

fn entry_id<'e>(model: &dyn Model, path: &str, entry: &'e Element, keys: &[&'e Element]) -> EntryId<'e> {
    let exact = |key: &&'e Element| match key_kinds(model, path, key) {
        kinds if kinds.is_unknown() => key.text(),
        kinds => spelling::normal(key, kinds),
    };
    (entry.namespace(), entry.name(), keys.iter().map(exact).collect())
}

fn loose_id<'e>(model: &dyn Model, path: &str, entry: &'e Element, keys: &[&'e Element]) -> EntryId<'e> {
    let loose = |key: &&'e Element| spelling::loose(key, key_kinds(model, path, key));
    (entry.namespace(), entry.name(), keys.iter().map(loose).collect())
}

fn is_removal(element: &Element) -> bool {
    matches!(element.attribute_ns(namespace::BASE, "operation"), Some("remove" | "delete"))
}

/// The value of a leaf, if it has one.
fn value(element: &Element) -> Option<String> {
    (element.is_leaf() && !element.is_empty()).then(|| element.text().into_owned())
}

/// An entry of a list by its keys, of a leaf-list by its value, for people.
fn entry_name(element: &Element, model: &dyn Model, path: &str) -> String {
    match key_leaves(model, path, element) {
        Some(keys) => keys.iter().map(|key| key.text()).collect::<Vec<_>>().join(" "),
        None if model.disclosure(path).is_secret() => "(secret)".to_owned(),
        None => element.text().into_owned(),
    }
}

/// One step of a canonical path: the local name; of a list entry with its keys, of a leaf-list's with its
/// value, as `interface[name='ge-0/0/1']`. Values are XPath 1.0 literals of [`spelling::normal`] texts.
/// `path` is the element's, in local names.
pub fn step(element: &Element, model: &dyn Model, path: &str) -> String {
    let mut out = element.name().to_owned();
    if is_leaf_list(model, path, element) {
        push_predicate(&mut out, ".", &spelling::normal(element, model.kinds(path)));
    }
    for key in key_leaves(model, path, element).unwrap_or_default() {
        push_predicate(&mut out, key.name(), &spelling::normal(key, key_kinds(model, path, key)));
    }
    out
}

fn push_predicate(out: &mut String, name: &str, value: &str) {
    out.push('[');
    out.push_str(name);
    out.push('=');
    out.push_str(&literal(value));
    out.push(']');
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
