//! The difference between two footprints of one service on one device, as a tree of what is done.

mod text;

use std::fmt::Write as _;

use turnup_netconf::{
    compare,
    model::{Disclosure, Model as _, child_path},
    namespace::{BASE, YANG},
    spelling,
    xml::Element,
};

use crate::{
    footprint::{shell_of, step_of, to_xml},
    shape::{Place, Shape},
};

pub(crate) use self::text::text;

/// What is done at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// Nothing at itself, something in it.
    Within(Vec<Delta>),
    /// Merged whole: it was not there.
    Add,
    /// A leaf that had another value, which this is.
    Set(String),
    /// Taken away.
    Remove,
    /// Written again as a whole; what else is in it goes.
    Replace,
    /// Nothing, in or at it: an entry of a list whose order changes, which may be in another place then.
    Stay,
}

/// Where an entry of a list that users order is put (RFC 7950 §7.8.6, §7.7.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Insert {
    /// Behind this entry.
    After(Element),
    /// Before this entry.
    Before(Element),
}

/// A node with something done at or in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delta {
    /// The node as it is wanted; where it is removed, as it was.
    element: Element,
    /// The node with nothing but what identifies it.
    shell: Element,
    op: Op,
    /// For people, of a node that is written as a whole: what is there, as far as is known.
    before: Option<Element>,
    /// Where it is put among the entries of its list; none: it stays, or comes last.
    insert: Option<Insert>,
    /// The order of its list changes, so that it counts for what is there before and afterwards.
    in_order: bool,
}

/// How far the edit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Only what differs.
    Smallest,
    /// All that is wanted, owned nodes with everything else in them gone.
    Whole,
}

/// The comparison of two trees of one shape.
pub(crate) struct Comparison<'a> {
    /// What either side declares.
    pub(crate) shape: &'a Shape,
    /// What was declared when `old` was planned: only what it owns or shares by this is taken away.
    pub(crate) before: &'a Shape,
    /// What is declared of `new`: only what it owns by this is written as a whole.
    pub(crate) after: &'a Shape,
    pub(crate) extent: Extent,
    /// Whether a shared node, by its path, has other holders, and so stays.
    pub(crate) stays: &'a dyn Fn(&str) -> bool,
}

impl Comparison<'_> {
    /// What takes `old` to `new`.
    pub(crate) fn run(&self, old: &[Element], new: &[Element]) -> Vec<Delta> {
        let (old, new): (Vec<_>, Vec<_>) = (old.iter().collect(), new.iter().collect());
        self.above(&old, &new, "", "", false)
    }

    /// `at` is where the elements are in local names, `path` the same with keys. `ours`: all that `old` has here
    /// was the service's own, so what is not wanted goes.
    fn above(&self, old: &[&Element], new: &[&Element], at: &str, path: &str, ours: bool) -> Vec<Delta> {
        let mut found = Vec::new();
        for (before, after) in self.pairs(old, new, at) {
            let Some(element) = after.or(before) else { continue };
            let inner = child_path(at, element.name());
            let here = format!("{path}/{}", self.step(element, &inner));
            let was = self.before.place(&inner);
            // Where only one is there, only its own declarations say what it is.
            let place = if after.is_some() { self.after.place(&inner) } else { was };
            let whole = self.extent == Extent::Whole;
            match (place, before, after) {
                (_, Some(gone), None) if ours => found.push(self.delta(gone, Op::Remove, &inner)),
                (Place::Outside, ..) | (_, None, None) => {} // A key of an entry above.
                (Place::Above, ..) => {
                    let inside = before.map(children).unwrap_or_default();
                    let wanted = after.map(children).unwrap_or_default();
                    let ours = ours || was == Place::Owned || (was == Place::Shared && !(self.stays)(&here));
                    let deltas = self.above(&inside, &wanted, &inner, &here, ours);
                    if !deltas.is_empty() {
                        found.push(self.delta(element, Op::Within(deltas), &inner));
                    }
                }
                (Place::Shared, Some(_), None) if (self.stays)(&here) => {}
                (Place::Owned | Place::Shared, Some(gone), None) => {
                    found.push(self.delta(gone, Op::Remove, &inner))
                }
                (Place::Owned, _, Some(wanted)) if whole => {
                    found.push(Delta { before: before.cloned(), ..self.delta(wanted, Op::Replace, &inner) });
                }
                // Others may hold it too, so nothing in it is taken away.
                (Place::Shared, _, Some(wanted)) if whole => {
                    found.push(Delta { before: before.cloned(), ..self.delta(wanted, Op::Add, &inner) });
                }
                (Place::Owned | Place::Shared, None, Some(wanted)) => {
                    found.push(self.delta(wanted, Op::Add, &inner));
                }
                (Place::Owned | Place::Shared, Some(before), Some(after)) => {
                    found.extend(self.both(before, after, &inner));
                }
            }
        }
        let is_own = |list: &str| self.after.place(list) == Place::Owned;
        self.in_order(found, old, new, at, &is_own)
    }

    /// The declarations by which the element has its keys: those of its own version, if the other's don't fit.
    fn shape_of(&self, element: &Element, at: &str) -> &Shape {
        let fits = |shape: &&Shape| step_of(element, shape, at, "").is_ok();
        [self.shape, self.before, self.after].into_iter().find(fits).unwrap_or(self.shape)
    }

    fn step(&self, element: &Element, at: &str) -> String {
        compare::step(element, self.shape_of(element, at), at)
    }

    /// A node that is in both.
    fn both(&self, before: &Element, after: &Element, at: &str) -> Option<Delta> {
        match (before.is_leaf(), after.is_leaf()) {
            _ if before == after => None,
            // A device may hash it, so only the very same text is the same.
            (true, true) if self.shape.disclosure(at) != Disclosure::Plain => {
                let same = before.raw_text() == after.raw_text();
                (!same).then(|| self.delta(after, Op::Set(before.text().into_owned()), at))
            }
            (true, true) if spelling::same_writing(before, after, self.shape.kinds(at)) => None,
            (true, true) => Some(self.delta(after, Op::Set(before.text().into_owned()), at)),
            // A container of which nothing is left, or that had nothing.
            (true, false) => Some(self.delta(after, Op::Add, at)),
            (false, _) => {
                let deltas = self.inside(&children(before), &children(after), at);
                (!deltas.is_empty()).then(|| self.delta(after, Op::Within(deltas), at))
            }
        }
    }

    fn inside(&self, old: &[&Element], new: &[&Element], at: &str) -> Vec<Delta> {
        let pairs = self.pairs(old, new, at).into_iter();
        let found = pairs.filter_map(|(before, after)| {
            let inner = child_path(at, after.or(before)?.name());
            match (before, after) {
                (Some(before), Some(after)) => self.both(before, after, &inner),
                (None, Some(wanted)) => Some(self.delta(wanted, Op::Add, &inner)),
                (Some(gone), None) => Some(self.delta(gone, Op::Remove, &inner)),
                (None, None) => None,
            }
        });
        self.in_order(found.collect(), old, new, at, &|_| true)
    }

    fn id(&self, element: &Element, at: &str) -> String {
        let inner = child_path(at, element.name());
        format!("{} {}", self.step(element, &inner), element.namespace())
    }

    /// The nodes of both, those of `new` first, each with its counterpart.
    fn pairs<'e>(
        &self,
        old: &[&'e Element],
        new: &[&'e Element],
        at: &str,
    ) -> Vec<(Option<&'e Element>, Option<&'e Element>)> {
        // Few children as a rule; a map costs more than it saves below some dozens.
        let ids: Vec<String> = old.iter().map(|element| self.id(element, at)).collect();
        let mut used = vec![false; old.len()];
        let index: std::collections::HashMap<&str, usize> = if old.len() > 32 {
            ids.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect()
        } else {
            std::collections::HashMap::new()
        };
        let mut pairs = Vec::with_capacity(old.len().max(new.len()));
        for after in new {
            let wanted = self.id(after, at);
            let place = if old.len() > 32 {
                index.get(wanted.as_str()).copied()
            } else {
                ids.iter().position(|id| *id == wanted)
            };
            if let Some(used) = place.and_then(|place| used.get_mut(place)) {
                *used = true;
            }
            pairs.push((place.and_then(|place| old.get(place).copied()), Some(*after)));
        }
        let rest = old.iter().zip(used).filter(|(_, used)| !used);
        pairs.extend(rest.map(|(gone, _)| (Some(*gone), None)));
        pairs
    }

    fn delta(&self, element: &Element, op: Op, at: &str) -> Delta {
        let shell = shell_of(element, self.shape_of(element, at), at);
        Delta { element: element.clone(), shell, op, before: None, insert: None, in_order: false }
    }

    /// Adds what puts the entries of lists whose order counts into the order of `new`. Entries are appended
    /// where nothing is said, so nothing is added where that comes to the same. `is_own` says of a list whether
    /// its entries may be moved.
    fn in_order(
        &self,
        mut deltas: Vec<Delta>,
        old: &[&Element],
        new: &[&Element],
        at: &str,
        is_own: &dyn Fn(&str) -> bool,
    ) -> Vec<Delta> {
        if self.shape.nodes.ordered.is_empty() {
            return deltas;
        }
        let mut done: Vec<&Element> = Vec::new();
        for first in new {
            let list = child_path(at, first.name());
            if !self.shape.is_ordered(&list) || !is_own(&list) || done.iter().any(|it| it.same_name(first)) {
                continue;
            }
            done.push(first);
            let entries = |all: &[&Element]| -> Vec<(String, Element)> {
                let entries = all.iter().filter(|entry| entry.same_name(first));
                entries.map(|entry| (self.id(entry, at), (*entry).clone())).collect()
            };
            let (was, wanted) = (entries(old), entries(new));
            let place = |id: &str| was.iter().position(|(known, _)| known == id);
            let places: Vec<Option<usize>> = wanted.iter().map(|(id, _)| place(id)).collect();
            let known = places.iter().take_while(|place| place.is_some());
            let appended =
                known.clone().is_sorted() && places.iter().skip(known.count()).all(Option::is_none);
            let whole = self.extent == Extent::Whole && wanted.len() > 1;
            if appended && !whole {
                continue;
            }
            let stay = if self.extent == Extent::Whole { vec![false; wanted.len()] } else { rising(&places) };
            let mut arranged = Vec::with_capacity(wanted.len());
            for (i, (id, entry)) in wanted.iter().enumerate() {
                let found = deltas.iter().position(|delta| self.id(&delta.element, at) == *id);
                let mut delta = match found {
                    Some(found) => deltas.remove(found),
                    None => self.delta(entry, Op::Stay, &list),
                };
                let next = || (i + 1..wanted.len()).find(|next| stay.get(*next).copied().unwrap_or_default());
                delta.in_order = true;
                if !stay.get(i).copied().unwrap_or_default() {
                    delta.insert = match i.checked_sub(1).and_then(|before| wanted.get(before)) {
                        Some((_, before)) => Some(Insert::After(self.entry(before, &list))),
                        None => next()
                            .and_then(|next| wanted.get(next))
                            .map(|(_, next)| Insert::Before(self.entry(next, &list))),
                    };
                }
                arranged.push(delta);
            }
            arranged.append(&mut deltas);
            deltas = arranged;
        }
        deltas
    }

    /// An entry with nothing but what identifies it.
    fn entry(&self, element: &Element, list: &str) -> Element {
        shell_of(element, self.shape_of(element, list), list)
    }
}

/// Of places in an old order, those that can stay: a longest rising sequence.
fn rising(places: &[Option<usize>]) -> Vec<bool> {
    // For each: how long the longest sequence is that ends with it, and what comes before it there.
    let mut best: Vec<(usize, Option<usize>)> = Vec::with_capacity(places.len());
    for (i, place) in places.iter().enumerate() {
        let before = (0..i)
            .filter(|j| place.is_some() && places[*j].is_some() && places[*j] < *place)
            .max_by_key(|j| (best[*j].0, std::cmp::Reverse(*j)));
        let length = before.map_or(0, |before| best[before].0) + usize::from(place.is_some());
        best.push((length, before));
    }
    let mut stay = vec![false; places.len()];
    let mut last = (0..places.len()).filter(|i| places[*i].is_some()).max_by_key(|i| best[*i].0);
    while let Some(i) = last {
        stay[i] = true;
        last = best[i].1;
    }
    stay
}

/// Lists and leaf-lists whose entries have another order in `new`, by their paths in local names; only those
/// of which nothing says whether that counts.
pub(crate) fn reordered(old: &[Element], new: &[Element], shape: &Shape) -> Vec<String> {
    fn walk(old: &[&Element], new: &[&Element], shape: &Shape, at: &str, found: &mut Vec<String>) {
        let ids = |all: &[&Element], name: &str| -> Vec<String> {
            let entries = all.iter().filter(|entry| entry.name() == name);
            entries.map(|entry| entry_id(entry, shape, &child_path(at, name))).collect()
        };
        let mut done: Vec<&str> = Vec::new();
        for element in new {
            let inner = child_path(at, element.name());
            let id = entry_id(element, shape, &inner);
            let twin = old.iter().find(|it| it.same_name(element) && entry_id(it, shape, &inner) == id);
            if let Some(twin) = twin {
                walk(&children(twin), &children(element), shape, &inner, found);
            }
            if done.contains(&element.name()) {
                continue;
            }
            done.push(element.name());
            let (mut was, mut wanted) = (ids(old, element.name()), ids(new, element.name()));
            was.retain(|id| wanted.contains(id));
            wanted.retain(|id| was.contains(id));
            if was != wanted && !shape.is_ordered(&inner) && !found.contains(&inner) {
                found.push(inner);
            }
        }
    }
    let mut found = Vec::new();
    if !shape.nodes.typed {
        walk(&old.iter().collect::<Vec<_>>(), &new.iter().collect::<Vec<_>>(), shape, "", &mut found);
    }
    found
}

fn entry_id(element: &Element, shape: &Shape, at: &str) -> String {
    let value = if element.is_leaf() { element.text() } else { "".into() };
    format!("{} {} {value}", compare::step(element, shape, at), element.namespace())
}

fn children(element: &Element) -> Vec<&Element> {
    element.children().collect()
}

/// Content of `<config>` for edit-config: merges what is wanted, removes what goes (`remove`, not `delete`: a
/// node that is gone already is no error, RFC 6241 §7.2), and puts entries where they belong.
pub(crate) fn edit(deltas: &[Delta]) -> String {
    fn elements(deltas: &[Delta]) -> Vec<Element> {
        let marked = |element: &Element, operation: &str| {
            let mut element = element.clone();
            element.set_attribute_ns(BASE, "operation", operation);
            element
        };
        let element = |delta: &Delta| {
            let mut element = match &delta.op {
                Op::Within(inside) => within(delta, elements(inside)),
                Op::Add | Op::Set(_) => delta.element.clone(),
                Op::Remove => marked(&delta.shell, "remove"),
                Op::Replace => marked(&delta.element, "replace"),
                Op::Stay if delta.insert.is_some() => delta.shell.clone(),
                Op::Stay => return None,
            };
            if let Some(insert) = &delta.insert {
                insert.mark(&mut element);
            }
            Some(element)
        };
        deltas.iter().filter_map(element).collect()
    }
    to_xml(&elements(deltas))
}

impl Insert {
    /// Puts the attributes that say so on an entry.
    fn mark(&self, element: &mut Element) {
        let (word, other) = match self {
            Self::After(other) => ("after", other),
            Self::Before(other) => ("before", other),
        };
        element.set_attribute_ns(YANG, "insert", word);
        if other.is_leaf() {
            element.set_attribute_ns(YANG, "value", other.raw_text());
            for (prefix, namespace) in other.prefixes() {
                element.set_prefix(prefix, namespace);
            }
            return;
        }
        // Names of keys have prefixes there, bound at the entry (RFC 7950 §7.8.6).
        let mut prefix = "k".to_owned();
        while other.children().any(|key| key.prefixes().any(|(used, _)| used == prefix)) {
            prefix.push('k');
        }
        let mut key = String::new();
        for leaf in other.children() {
            let _ = write!(key, "[{prefix}:{}={}]", leaf.name(), compare::literal(&leaf.raw_text()));
            for (prefix, namespace) in leaf.prefixes() {
                element.set_prefix(prefix, namespace);
            }
        }
        element.set_prefix(prefix, other.namespace_shared());
        element.set_attribute_ns(YANG, "key", key);
    }
}

/// What is there when the edit is in force.
pub(crate) fn present(deltas: &[Delta]) -> Option<String> {
    ends(deltas, &|delta| match &delta.op {
        Op::Add | Op::Set(_) | Op::Replace => Some(&delta.element),
        _ if delta.in_order => Some(&delta.shell),
        Op::Within(_) | Op::Remove | Op::Stay => None,
    })
}

/// What is gone when the edit is in force, by nothing but what identifies it.
pub(crate) fn absent(deltas: &[Delta]) -> Option<String> {
    ends(deltas, &|delta| matches!(delta.op, Op::Remove).then_some(&delta.shell))
}

/// What `of` gives of the deltas that have none within them, in its place; none if that is nothing.
fn ends<'d>(deltas: &'d [Delta], of: &impl Fn(&'d Delta) -> Option<&'d Element>) -> Option<String> {
    fn elements<'d>(deltas: &'d [Delta], of: &impl Fn(&'d Delta) -> Option<&'d Element>) -> Vec<Element> {
        let element = |delta: &'d Delta| match &delta.op {
            Op::Within(inside) => {
                let inside = elements(inside, of);
                if inside.is_empty() { of(delta).cloned() } else { Some(within(delta, inside)) }
            }
            _ => of(delta).cloned(),
        };
        deltas.iter().filter_map(element).collect()
    }
    Some(to_xml(&elements(deltas, of))).filter(|xml| !xml.is_empty())
}

/// Content of a subtree filter (RFC 6241 §6) for all that is touched: list entries by their keys, leaves
/// without their values.
pub(crate) fn filter(deltas: &[Delta]) -> String {
    fn elements(deltas: &[Delta]) -> Vec<Element> {
        let mut found: Vec<Element> = Vec::with_capacity(deltas.len());
        for delta in deltas {
            let element = match &delta.op {
                Op::Within(inside) => within(delta, elements(inside)),
                // A leaf with a value would be a condition on its siblings (§6.2.5).
                _ if delta.shell.is_leaf() => {
                    Element::new(delta.shell.namespace_shared(), delta.shell.name())
                }
                _ => delta.shell.clone(),
            };
            // Entries of a leaf-list are selected together.
            if !found.contains(&element) {
                found.push(element);
            }
        }
        found
    }
    to_xml(&elements(deltas))
}

fn within(delta: &Delta, inside: Vec<Element>) -> Element {
    let mut element = delta.shell.clone();
    for child in inside {
        element.push(child);
    }
    element
}
