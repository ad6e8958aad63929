//! The difference between two footprints of one service on one device, as a tree of what is done.

use std::fmt::Write as _;

use turnup_netconf::{namespace::BASE, xml::Element};

use crate::{
    footprint::{shell_of, step_of, to_xml},
    shape::{Place, Shape},
};

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
}

/// A node with something done at or in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delta {
    /// The node as it is wanted; where it is removed, as it was.
    element: Element,
    /// The node with nothing but what identifies it.
    shell: Element,
    op: Op,
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
        self.above(&old, &new, &mut Vec::new(), "", false)
    }

    /// `ours`: all that `old` has here was the service's own, so what is not wanted goes.
    fn above(
        &self,
        old: &[&Element],
        new: &[&Element],
        names: &mut Vec<String>,
        path: &str,
        ours: bool,
    ) -> Vec<Delta> {
        let mut found = Vec::new();
        for (before, after) in self.pairs(old, new, path) {
            let Some(element) = after.or(before) else { continue };
            let here = format!("{path}/{}", self.step(element, path));
            names.push(element.name().to_owned());
            let was = self.before.place(names);
            // Where only one is there, only its own declarations say what it is.
            let place = if after.is_some() { self.after.place(names) } else { was };
            let whole = self.extent == Extent::Whole;
            match (place, before, after) {
                (_, Some(gone), None) if ours => found.push(self.delta(gone, Op::Remove)),
                (Place::Outside, ..) | (_, None, None) => {} // A key of an entry above.
                (Place::Above, ..) => {
                    let inside = before.map(children).unwrap_or_default();
                    let wanted = after.map(children).unwrap_or_default();
                    let ours = ours || was == Place::Owned || (was == Place::Shared && !(self.stays)(&here));
                    let deltas = self.above(&inside, &wanted, names, &here, ours);
                    if !deltas.is_empty() {
                        found.push(self.delta(element, Op::Within(deltas)));
                    }
                }
                (Place::Shared, Some(_), None) if (self.stays)(&here) => {}
                (Place::Owned | Place::Shared, Some(gone), None) => found.push(self.delta(gone, Op::Remove)),
                (Place::Owned, _, Some(wanted)) if whole => found.push(self.delta(wanted, Op::Replace)),
                // Others may hold it too, so nothing in it is taken away.
                (Place::Shared, _, Some(wanted)) if whole => found.push(self.delta(wanted, Op::Add)),
                (Place::Owned | Place::Shared, None, Some(wanted)) => {
                    found.push(self.delta(wanted, Op::Add));
                }
                (Place::Owned | Place::Shared, Some(before), Some(after)) => {
                    found.extend(self.both(before, after, path));
                }
            }
            names.pop();
        }
        found
    }

    /// The declarations by which the element has its keys: those of its own version, if the other's don't fit.
    fn shape_of(&self, element: &Element) -> &Shape {
        let fits = |shape: &&Shape| step_of(element, shape, "").is_ok();
        [self.shape, self.before, self.after].into_iter().find(fits).unwrap_or(self.shape)
    }

    fn step(&self, element: &Element, path: &str) -> String {
        step_of(element, self.shape_of(element), path).unwrap_or_default()
    }

    /// A node that is in both.
    fn both(&self, before: &Element, after: &Element, path: &str) -> Option<Delta> {
        match (before.is_leaf(), after.is_leaf()) {
            _ if before == after => None,
            (true, true) if before.same_value(after) => None,
            (true, true) => Some(self.delta(after, Op::Set(before.text().into_owned()))),
            // A container of which nothing is left, or that had nothing.
            (true, false) => Some(self.delta(after, Op::Add)),
            (false, _) => {
                let here = format!("{path}/{}", self.step(after, path));
                let deltas = self.inside(&children(before), &children(after), &here);
                (!deltas.is_empty()).then(|| self.delta(after, Op::Within(deltas)))
            }
        }
    }

    fn inside(&self, old: &[&Element], new: &[&Element], path: &str) -> Vec<Delta> {
        let pairs = self.pairs(old, new, path).into_iter();
        pairs
            .filter_map(|(before, after)| match (before, after) {
                (Some(before), Some(after)) => self.both(before, after, path),
                (None, Some(wanted)) => Some(self.delta(wanted, Op::Add)),
                (Some(gone), None) => Some(self.delta(gone, Op::Remove)),
                (None, None) => None,
            })
            .collect()
    }

    /// The nodes of both, those of `new` first, each with its counterpart.
    fn pairs<'e>(
        &self,
        old: &[&'e Element],
        new: &[&'e Element],
        path: &str,
    ) -> Vec<(Option<&'e Element>, Option<&'e Element>)> {
        let id = |element: &Element| format!("{} {}", self.step(element, path), element.namespace());
        // Few children as a rule; a map costs more than it saves below some dozens.
        let ids: Vec<String> = old.iter().map(|element| id(element)).collect();
        let mut used = vec![false; old.len()];
        let index: std::collections::HashMap<&str, usize> = if old.len() > 32 {
            ids.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect()
        } else {
            std::collections::HashMap::new()
        };
        let mut pairs = Vec::with_capacity(old.len().max(new.len()));
        for after in new {
            let wanted = id(after);
            let at = if old.len() > 32 {
                index.get(wanted.as_str()).copied()
            } else {
                ids.iter().position(|id| *id == wanted)
            };
            if let Some(used) = at.and_then(|at| used.get_mut(at)) {
                *used = true;
            }
            pairs.push((at.and_then(|at| old.get(at).copied()), Some(*after)));
        }
        let rest = old.iter().zip(used).filter(|(_, used)| !used);
        pairs.extend(rest.map(|(gone, _)| (Some(*gone), None)));
        pairs
    }

    fn delta(&self, element: &Element, op: Op) -> Delta {
        Delta { element: element.clone(), shell: shell_of(element, self.shape_of(element)), op }
    }
}

fn children(element: &Element) -> Vec<&Element> {
    element.children().collect()
}

/// Content of `<config>` for edit-config: merges what is wanted, removes what goes (`remove`, not `delete`: a
/// node that is gone already is no error, RFC 6241 §7.2).
pub(crate) fn edit(deltas: &[Delta]) -> String {
    fn elements(deltas: &[Delta]) -> Vec<Element> {
        let marked = |element: &Element, operation: &str| {
            let mut element = element.clone();
            element.set_attribute_ns(BASE, "operation", operation);
            element
        };
        deltas
            .iter()
            .map(|delta| match &delta.op {
                Op::Within(inside) => within(delta, elements(inside)),
                Op::Add | Op::Set(_) => delta.element.clone(),
                Op::Remove => marked(&delta.shell, "remove"),
                Op::Replace => marked(&delta.element, "replace"),
            })
            .collect()
    }
    to_xml(&elements(deltas))
}

/// What is there when the edit is in force.
pub(crate) fn present(deltas: &[Delta]) -> Option<String> {
    ends(deltas, &|delta| match &delta.op {
        Op::Add | Op::Set(_) | Op::Replace => Some(&delta.element),
        Op::Within(_) | Op::Remove => None,
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
                Some(elements(inside, of)).filter(|i| !i.is_empty()).map(|i| within(delta, i))
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

/// For people: a line for each node, by depth, with `+` added, `-` removed, `~` changed, `=` written again,
/// and a blank before what only leads there.
pub(crate) fn text(deltas: &[Delta], shape: &Shape) -> String {
    let mut out = String::new();
    write_deltas(&mut out, deltas, shape, 0);
    out
}

fn write_deltas(out: &mut String, deltas: &[Delta], shape: &Shape, depth: usize) {
    for delta in deltas {
        match &delta.op {
            Op::Within(inside) => {
                line(out, ' ', depth, &step(&delta.shell, shape));
                write_deltas(out, inside, shape, depth + 1);
            }
            Op::Set(before) => {
                let text = format!("{}: {before} -> {}", delta.element.name(), delta.element.text());
                line(out, '~', depth, &text);
            }
            Op::Add => write_element(out, '+', &delta.element, shape, depth),
            Op::Remove => write_element(out, '-', &delta.element, shape, depth),
            Op::Replace => write_element(out, '=', &delta.element, shape, depth),
        }
    }
}

fn write_element(out: &mut String, sign: char, element: &Element, shape: &Shape, depth: usize) {
    if element.is_leaf() {
        let text = element.text();
        let text = match text.is_empty() {
            true => element.name().to_owned(),
            false => format!("{}: {text}", element.name()),
        };
        return line(out, sign, depth, &text);
    }
    line(out, sign, depth, &step(element, shape));
    let keys = shape.keys_of(element).unwrap_or_default();
    let is_key = |child: &Element| keys.iter().any(|key| child.is(element.namespace(), key));
    for child in element.children().filter(|child| !is_key(child)) {
        write_element(out, sign, child, shape, depth + 1);
    }
}

fn step(element: &Element, shape: &Shape) -> String {
    step_of(element, shape, "").unwrap_or_else(|_| element.name().to_owned())
}

fn line(out: &mut String, sign: char, depth: usize, text: &str) {
    // A value of several lines would look like several nodes.
    let text = text.replace(['\n', '\r'], "⏎");
    let _ = writeln!(out, "{sign} {:width$}{text}", "", width = depth * 2);
}
