//! The scratch as XML: what an exam writes, reads and removes.

use turnup_core::exam::scratch::{MARK, Scratch};
use turnup_netconf::{
    namespace,
    operation::Filter,
    xml::{Element, Node},
};

use crate::work::parse;

/// The scratch, read and checked.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Where it comes from.
    pub(super) name: String,
    /// Path of the entry by local names.
    entry: Vec<String>,
    /// Keys of the entry.
    keys: usize,
    pub(super) create: Vec<Element>,
    pub(super) changed: Vec<Element>,
    pub(super) respelled: Option<Vec<Element>>,
    pub(super) invalid: Option<Vec<Element>>,
    pub(super) incomplete: Option<Vec<Element>>,
    pub(super) secret: Option<Vec<Element>>,
    pub(super) ordered: Option<Vec<Element>>,
    pub(super) default_leaf: Option<String>,
}

/// Why a scratch can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scratch {name}: {key}: {reason}")]
pub(crate) struct BadScratch {
    name: String,
    key: &'static str,
    reason: String,
}

impl Place {
    /// Reads a scratch. Every text must hold the entry once, and nothing beside it but keys.
    pub(super) fn new(scratch: &Scratch) -> Result<Self, BadScratch> {
        let bad = |key: &'static str, reason: String| BadScratch { name: scratch.name.clone(), key, reason };
        scratch.check().map_err(|(key, reason)| bad(key, reason))?;
        let entry: Vec<String> = scratch.entry.split('/').map(|step| step.trim().to_owned()).collect();
        let read = |key: &'static str, text: &str| {
            let content = parse(text).map_err(|error| bad(key, error.to_string()))?;
            let tops: Vec<Element> = content.into_children().collect();
            let [top] = tops.as_slice() else {
                return Err(bad(key, format!("holds {} top elements, one is needed", tops.len())));
            };
            check_way(top, &entry).map_err(|reason| bad(key, reason))?;
            Ok(tops)
        };
        let optional = |key: &'static str, text: &str| match text.trim().is_empty() {
            true => Ok(None),
            false => read(key, text).map(Some),
        };
        let place = Self {
            name: scratch.name.clone(),
            create: read("create", &scratch.create)?,
            changed: read("changed", &scratch.changed)?,
            respelled: optional("respelled", &scratch.respelled)?,
            invalid: optional("invalid", &scratch.invalid)?,
            incomplete: optional("incomplete", &scratch.incomplete)?,
            secret: optional("secret", &scratch.secret)?,
            ordered: optional("ordered", &scratch.ordered)?,
            default_leaf: Some(scratch.default_leaf.trim())
                .filter(|leaf| !leaf.is_empty())
                .map(str::to_owned),
            keys: usize::from(scratch.keys.max(1)),
            entry,
        };
        if place.entry_in(&place.create).is_none_or(|entry| !is_marked(entry)) {
            return Err(bad("create", format!("the entry needs a value with the text {MARK:?}")));
        }
        if place.entry_in(&place.create) == place.entry_in(&place.changed) {
            return Err(bad("changed", "is the same as 'create'".to_owned()));
        }
        Ok(place)
    }

    /// The path of the entry.
    pub(super) fn path(&self) -> String {
        format!("/{}", self.entry.join("/"))
    }

    /// The filter for the entry and nothing else: by its key and those above.
    pub(super) fn filter(&self) -> Filter {
        Filter::Subtree(self.skeletons(None))
    }

    /// The edit that removes the entry, by `remove`, or `delete` where that is not known.
    pub(super) fn removal(&self, operation: &str) -> Vec<Element> {
        self.skeletons(Some(operation))
    }

    /// The tops with nothing but keys, and an operation on the entry.
    fn skeletons(&self, operation: Option<&str>) -> Vec<Element> {
        self.create.iter().map(|top| skeleton(top, &self.entry, operation, self.keys)).collect()
    }

    /// The same content with an operation on the entry.
    pub(super) fn with_operation(&self, content: &[Element], operation: &str) -> Vec<Element> {
        self.edited(content, |entry| entry.set_attribute_ns(namespace::BASE, "operation", operation))
    }

    /// The same content with the entry changed.
    pub(super) fn edited(&self, content: &[Element], change: impl Fn(&mut Element)) -> Vec<Element> {
        let mut edited = content.to_vec();
        if let Some(entry) = edited.first_mut().and_then(|top| descend_mut(top, &self.entry)) {
            change(entry);
        }
        edited
    }

    /// The entry in the content of `<config>` or `<data>`, if it is there: the one with our key.
    pub(super) fn entry_in<'d>(&self, content: &'d [Element]) -> Option<&'d Element> {
        let ours = self.create.first()?;
        content
            .iter()
            .filter(|top| top.same_name(ours))
            .find_map(|top| descend(top, ours, &self.entry, self.keys))
    }

    /// The same of `<data>`.
    pub(super) fn entry_of<'d>(&self, data: &'d Element) -> Option<&'d Element> {
        let ours = self.create.first()?;
        data.children()
            .filter(|top| top.same_name(ours))
            .find_map(|top| descend(top, ours, &self.entry, self.keys))
    }

    /// The data without the entry, and without the containers that hold nothing else.
    pub(super) fn without_entry(&self, data: &Element) -> Element {
        let Some(ours) = self.create.first() else { return data.clone() };
        let mut rest = data.clone();
        rest.nodes_mut().retain_mut(|node| match node {
            Node::Element(top) if top.same_name(ours) => cut(top, ours, &self.entry, self.keys) == Cut::Keep,
            _ => true,
        });
        rest
    }
}

/// Whether an entry is one of an exam.
pub(super) fn is_marked(entry: &Element) -> bool {
    entry.text().contains(MARK) || entry.children().any(is_marked)
}

/// Whether `top` leads to the entry, with nothing beside but leaves.
fn check_way(top: &Element, steps: &[String]) -> Result<(), String> {
    let (first, rest) = steps.split_first().ok_or("is empty")?;
    if top.name() != first {
        return Err(format!("has {:?} where 'entry' has {first:?}", top.name()));
    }
    let Some(next) = rest.first() else {
        let key = top.children().next().filter(|key| key.is_leaf() && !key.text().is_empty());
        return key.map(|_| ()).ok_or_else(|| "the first child of the entry must be its key".to_owned());
    };
    let (leaves, inner): (Vec<&Element>, Vec<&Element>) =
        top.children().partition(|child| child.is_leaf() && child.name() != next);
    match (inner.as_slice(), leaves.iter().any(|leaf| leaf.text().is_empty())) {
        (_, true) => Err(format!("what is beside {next:?} must be keys with a value")),
        ([only], false) => check_way(only, rest),
        (inner, false) => Err(format!("has {} elements where {next:?} is needed alone", inner.len())),
    }
}

fn bare(element: &Element) -> Element {
    Element::new(element.namespace_shared(), element.name())
}

fn skeleton(element: &Element, steps: &[String], operation: Option<&str>, keys: usize) -> Element {
    let mut out = bare(element);
    match steps.get(1) {
        None => {
            if let Some(operation) = operation {
                out.set_attribute_ns(namespace::BASE, "operation", operation);
            }
            element.children().take(keys).for_each(|key| out.push(key.clone()));
        }
        Some(next) => {
            for child in element.children() {
                match child.name() == next {
                    true => out.push(skeleton(child, &steps[1..], operation, keys)),
                    false => out.push(child.clone()),
                }
            }
        }
    }
    out
}

fn descend_mut<'e>(element: &'e mut Element, steps: &[String]) -> Option<&'e mut Element> {
    match steps.get(1) {
        None => Some(element),
        Some(next) => {
            let child = element.children_mut().find(|child| child.name() == next)?;
            descend_mut(child, &steps[1..])
        }
    }
}

/// Whether two list entries have the same keys: those leaves of `ours` that come before anything else.
fn same_keys(found: &Element, ours: &Element, keys: usize) -> bool {
    ours.children()
        .filter(|child| child.is_leaf())
        .take(keys)
        .all(|key| found.child(key.namespace(), key.name()).is_some_and(|theirs| theirs.text() == key.text()))
}

fn descend<'d>(found: &'d Element, ours: &Element, steps: &[String], keys: usize) -> Option<&'d Element> {
    let Some(next) = steps.get(1) else { return same_keys(found, ours, keys).then_some(found) };
    let above = ours.children().filter(|child| child.name() != next).count();
    if !same_keys(found, ours, above) {
        return None;
    }
    let ours = ours.children().find(|child| child.name() == next)?;
    found
        .children()
        .filter(|child| child.same_name(ours))
        .find_map(|child| descend(child, ours, &steps[1..], keys))
}

#[derive(PartialEq, Eq)]
enum Cut {
    Keep,
    /// It was the entry, or held nothing else.
    Drop,
}

fn cut(found: &mut Element, ours: &Element, steps: &[String], keys: usize) -> Cut {
    let Some(next) = steps.get(1) else {
        return if same_keys(found, ours, keys) { Cut::Drop } else { Cut::Keep };
    };
    let above = ours.children().filter(|child| child.name() != next).count();
    if !same_keys(found, ours, above) {
        return Cut::Keep;
    }
    let Some(ours) = ours.children().find(|child| child.name() == next) else { return Cut::Keep };
    found.nodes_mut().retain_mut(|node| match node {
        Node::Element(child) if child.same_name(ours) => cut(child, ours, &steps[1..], keys) == Cut::Keep,
        _ => true,
    });
    // Servers show a container without presence that holds nothing, or do not (RFC 7950 §7.5.1). What holds the keys of
    // a list entry stays.
    if found.children().count() == 0 { Cut::Drop } else { Cut::Keep }
}

#[cfg(test)]
mod tests {
    use turnup_core::profile::{Profiles, shipped_names};

    use super::*;

    fn scratch() -> Scratch {
        let of = |mtu: &str| {
            format!(
                "<interfaces xmlns=\"urn:i\"><interface><name>lo0</name><unit><id>9</id><note>turnup-exam</note><mtu>{mtu}</mtu></unit></interface></interfaces>"
            )
        };
        Scratch {
            entry: "interfaces/interface/unit".to_owned(),
            create: of("1500"),
            changed: of("1400"),
            ..Scratch::default()
        }
    }

    fn place() -> Place {
        Place::new(&scratch()).unwrap()
    }

    fn data(text: &str) -> Element {
        parse(text).unwrap()
    }

    #[test]
    fn filter_and_removal_have_keys_alone() {
        let Filter::Subtree(filter) = place().filter() else { panic!() };
        assert_eq!(
            filter[0].to_xml(),
            "<interfaces xmlns=\"urn:i\"><interface><name>lo0</name><unit><id>9</id></unit></interface></interfaces>"
        );
        let removal = place().removal("remove");
        let unit = descend(&removal[0], &place().create[0], &place().entry, 1).unwrap();
        assert_eq!(unit.attribute_ns(namespace::BASE, "operation"), Some("remove"));
    }

    #[test]
    fn entry_is_found_by_its_keys_and_cut_out() {
        let all = data(
            "<interfaces xmlns=\"urn:i\"><interface><name>lo0</name><unit><id>0</id></unit><unit><id>9</id><note>x</note></unit></interface><interface><name>lo1</name><unit><id>9</id></unit></interface></interfaces>",
        );
        let place = place();
        let entry = place.entry_of(&all).unwrap();
        assert!(!is_marked(entry));
        let rest = place.without_entry(&all);
        assert!(place.entry_of(&rest).is_none());
        assert_eq!(rest.count(), all.count() - 3);
        let only = data("<interfaces xmlns=\"urn:i\"><interface><name>lo2</name></interface></interfaces>");
        assert_eq!(place.without_entry(&only), only);
        let sole = Place::new(&Scratch {
            entry: "a/b".to_owned(),
            create: "<a xmlns=\"urn:a\"><b><n>turnup-exam</n></b></a>".to_owned(),
            changed: "<a xmlns=\"urn:a\"><b><n>turnup-exam</n><c>1</c></b></a>".to_owned(),
            ..Scratch::default()
        })
        .unwrap();
        let all = data("<a xmlns=\"urn:a\"><b><n>turnup-exam</n></b></a><z xmlns=\"urn:z\"/>");
        assert_eq!(sole.without_entry(&all).children().count(), 1, "the container held nothing else");
        let empty = data("<a xmlns=\"urn:a\"/><z xmlns=\"urn:z\"/>");
        assert_eq!(sole.without_entry(&empty).children().count(), 1, "it is there, and holds nothing");
    }

    #[test]
    fn scratch_that_leads_elsewhere_is_refused() {
        let key = |scratch: Scratch| Place::new(&scratch).unwrap_err().key;
        assert_eq!(key(Scratch { entry: "interfaces/vlan".to_owned(), ..scratch() }), "create");
        assert_eq!(key(Scratch { changed: scratch().create, ..scratch() }), "changed");
        assert_eq!(key(Scratch { invalid: "<a".to_owned(), ..scratch() }), "invalid");
        let two = scratch().create.replace("<unit>", "<unit><id>1</id></unit><unit>");
        assert_eq!(key(Scratch { create: two, ..scratch() }), "create");
    }

    #[test]
    fn shipped_scratches_can_be_used() {
        let profiles = Profiles::shipped().unwrap();
        for name in shipped_names() {
            let platform = name.parse().unwrap();
            let scratches = profiles.scratches(&platform);
            assert_eq!(scratches.first().map(|scratch| scratch.name.as_str()), Some(name), "{name} has none");
            for scratch in scratches {
                Place::new(&scratch).unwrap();
            }
        }
    }
}
