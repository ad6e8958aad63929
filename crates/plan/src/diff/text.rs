//! The difference for people.

use std::fmt::Write as _;

use turnup_core::secret::MASK;
use turnup_netconf::{
    compare,
    model::{Model as _, child_path},
    spelling,
    xml::Element,
};

use super::{Delta, Insert, Op, entry_id};
use crate::shape::Shape;

/// What is shown of a secret that changes.
const SECRET_CHANGED: &str = "(secret, changed)";

/// For people: a line for each node, by depth, with `+` added, `-` removed, `~` changed, `=` written again,
/// `>` put in another place, and a blank before what only leads there.
pub(crate) fn text(deltas: &[Delta], shape: &Shape) -> String {
    let mut out = String::new();
    write_deltas(&mut out, deltas, shape, "", 0);
    out
}

fn write_deltas(out: &mut String, deltas: &[Delta], shape: &Shape, at: &str, depth: usize) {
    for delta in deltas {
        let inner = child_path(at, delta.element.name());
        match &delta.op {
            Op::Within(inside) => {
                let sign = if delta.insert.is_some() { '>' } else { ' ' };
                line(out, sign, depth, &(named(&delta.shell, shape, &inner) + &place(delta, shape, &inner)));
                write_deltas(out, inside, shape, &inner, depth + 1);
            }
            Op::Set(_) if shape.nodes.is_secret(&inner) => {
                line(out, '~', depth, &format!("{}: {SECRET_CHANGED}", delta.element.name()));
            }
            Op::Set(before) => {
                let text = format!("{}: {before} -> {}", delta.element.name(), delta.element.text());
                line(out, '~', depth, &text);
            }
            Op::Add | Op::Replace if delta.before.is_some() => {
                let takes_away = delta.op == Op::Replace;
                write_again(out, delta.before.as_ref(), &delta.element, takes_away, shape, &inner, depth);
            }
            Op::Add => write_element(out, '+', &delta.element, shape, &inner, depth),
            Op::Remove => write_element(out, '-', &delta.element, shape, &inner, depth),
            Op::Replace => write_element(out, '=', &delta.element, shape, &inner, depth),
            Op::Stay if delta.insert.is_some() => {
                line(out, '>', depth, &(named(&delta.shell, shape, &inner) + &place(delta, shape, &inner)));
            }
            Op::Stay => {}
        }
    }
}

/// A node that is written as a whole over what is there: `=` the same again, and what differs with its own sign.
/// `takes_away`: what is not wanted goes.
fn write_again(
    out: &mut String,
    before: Option<&Element>,
    after: &Element,
    takes_away: bool,
    shape: &Shape,
    at: &str,
    depth: usize,
) {
    let Some(before) = before else { return write_element(out, '+', after, shape, at, depth) };
    if before.is_leaf() || after.is_leaf() {
        let same = before == after || spelling::same_writing(before, after, shape.kinds(at));
        return match (before.is_leaf() && after.is_leaf(), same) {
            (_, true) => write_element(out, '=', after, shape, at, depth),
            (true, false) => {
                line(out, '~', depth, &format!("{}: {} -> {}", after.name(), before.text(), after.text()));
            }
            // A container of which nothing is left, or that had nothing.
            (false, false) => {
                write_element(out, '-', before, shape, at, depth);
                write_element(out, '+', after, shape, at, depth);
            }
        };
    }
    line(out, '=', depth, &compare::step(after, shape, at));
    let keys = shape.keys_of(at, after);
    let is_key = |child: &&Element| keys.iter().any(|key| child.is(after.namespace(), key));
    let id = |child: &Element| entry_id(child, shape, &child_path(at, child.name()));
    // A leaf is found by its name, an entry by its keys, and a leaf-list's entry by its value.
    let twin = |child: &Element, others: &Element| -> Option<Element> {
        let single = |all: &Element| all.children().filter(|other| other.same_name(child)).count() == 1;
        let by_name = child.is_leaf() && single(others) && single(after) && single(before);
        others.children().find(|other| other.same_name(child) && (by_name || id(other) == id(child))).cloned()
    };
    for child in after.children().filter(|child| !is_key(child)) {
        let inner = child_path(at, child.name());
        write_again(out, twin(child, before).as_ref(), child, takes_away, shape, &inner, depth + 1);
    }
    for gone in before.children().filter(|child| takes_away && !is_key(child)) {
        if twin(gone, after).is_none() {
            write_element(out, '-', gone, shape, &child_path(at, gone.name()), depth + 1);
        }
    }
}

/// Where an entry is put, in words.
fn place(delta: &Delta, shape: &Shape, at: &str) -> String {
    match &delta.insert {
        None => String::new(),
        Some(Insert::After(other)) => format!(" (after {})", compare::step(other, shape, at)),
        Some(Insert::Before(other)) => format!(" (before {})", compare::step(other, shape, at)),
    }
}

/// A node's step; a leaf-list's entry as a leaf.
fn named(element: &Element, shape: &Shape, at: &str) -> String {
    match element.is_leaf() && !element.is_empty() {
        true if shape.nodes.is_secret(at) => format!("{}: {MASK}", element.name()),
        true => format!("{}: {}", element.name(), element.text()),
        false => compare::step(element, shape, at),
    }
}

fn write_element(out: &mut String, sign: char, element: &Element, shape: &Shape, at: &str, depth: usize) {
    if element.is_leaf() {
        let text = element.text();
        let text = match text.is_empty() {
            true => element.name().to_owned(),
            false if shape.nodes.is_secret(at) => format!("{}: {MASK}", element.name()),
            false => format!("{}: {text}", element.name()),
        };
        return line(out, sign, depth, &text);
    }
    line(out, sign, depth, &compare::step(element, shape, at));
    let keys = shape.keys_of(at, element);
    let is_key = |child: &Element| keys.iter().any(|key| child.is(element.namespace(), key));
    for child in element.children().filter(|child| !is_key(child)) {
        write_element(out, sign, child, shape, &child_path(at, child.name()), depth + 1);
    }
}

fn line(out: &mut String, sign: char, depth: usize, text: &str) {
    // A value of several lines would look like several nodes.
    let text = text.replace(['\n', '\r'], "⏎");
    let _ = writeln!(out, "{sign} {:width$}{text}", "", width = depth * 2);
}
