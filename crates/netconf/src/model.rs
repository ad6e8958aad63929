//! What is known of a data model: which nodes are lists and by what their entries are identified, what
//! values are, and which nodes mean something by their mere presence or order.
//!
//! Nodes are named by paths of local names from the top, such as `interfaces/interface/mtu`: lists of one
//! name have different keys in different places. Paths have no namespaces; two modules that put nodes of
//! one name into one place are told apart by the elements themselves.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use crate::spelling::Kinds;
use crate::xml::Element;

/// A look-up of nodes by their paths. What is not known has the defaults.
pub trait Model {
    /// The local names of the key leaves of the list at this path (RFC 7950 §7.8.2), `.` alone for a
    /// leaf-list; empty if the node is no list.
    fn list_keys(&self, path: &str) -> Option<&[String]>;

    /// What the values of the leaf or leaf-list are.
    fn kinds(&self, _path: &str) -> Kinds {
        Kinds::UNKNOWN
    }

    /// Whether the order of the entries is part of the configuration (`ordered-by user`, RFC 7950 §7.7.7).
    fn is_ordered(&self, _path: &str) -> bool {
        false
    }

    /// The value that the leaf has if it is absent (RFC 7950 §7.6.1).
    fn default_value(&self, _path: &str) -> Option<&str> {
        None
    }

    /// What may be said and expected of the value of the leaf.
    fn disclosure(&self, _path: &str) -> Disclosure {
        Disclosure::Plain
    }

    /// Whether the node says something even if nothing is in it: a leaf of type `empty` or a container with
    /// presence. None: not known.
    fn counts_empty(&self, _path: &str) -> Option<bool> {
        None
    }
}

/// What may be said and expected of a leaf's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disclosure {
    /// A server shows it as it was sent.
    #[default]
    Plain,
    /// A server may write it anew, so that it is enough if there is one.
    Opaque,
    /// The same, and no text for people holds it.
    Secret,
    /// The same, and a server need not show that it is there.
    WriteOnly,
}

impl Disclosure {
    /// Whether no text for people holds the value.
    #[must_use]
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::WriteOnly)
    }
}

/// Nothing is known: entries are told apart by their content.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoModel;

impl Model for NoModel {
    fn list_keys(&self, _: &str) -> Option<&[String]> {
        None
    }
}

/// Keys by path, or by the list's local name for all lists of that name. A path wins.
impl<S: BuildHasher> Model for HashMap<String, Vec<String>, S> {
    fn list_keys(&self, path: &str) -> Option<&[String]> {
        self.get(path).or_else(|| self.get(name_of(path))).map(Vec::as_slice)
    }
}

/// Keys by path, or by the list's local name for all lists of that name. A path wins.
impl Model for BTreeMap<String, Vec<String>> {
    fn list_keys(&self, path: &str) -> Option<&[String]> {
        self.get(path).or_else(|| self.get(name_of(path))).map(Vec::as_slice)
    }
}

/// The last step of a path.
fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The path of a child.
#[must_use]
pub fn child_path(parent: &str, name: &str) -> String {
    let mut path = String::with_capacity(parent.len() + 1 + name.len());
    push_step(&mut path, parent);
    push_step(&mut path, name);
    path
}

/// Appends a step to a path.
pub(crate) fn push_step(path: &mut String, step: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(step);
}

/// The names of the key leaves if the element at this path is a list entry. A leaf that happens to be named
/// like a list (the `interface` of a pseudowire) is none.
pub fn entry_keys<'m>(model: &'m dyn Model, path: &str, element: &Element) -> Option<&'m [String]> {
    let may_be = !element.is_leaf() || element.is_empty();
    let keys = model.list_keys(path).filter(|_| may_be)?;
    (!keys.is_empty() && !keys.iter().any(|key| key == ".")).then_some(keys)
}

/// Whether the element at this path is an entry of a leaf-list: its list has the key `.`, its own value.
pub fn is_leaf_list(model: &dyn Model, path: &str, element: &Element) -> bool {
    element.is_leaf() && model.list_keys(path).is_some_and(|keys| keys.iter().eq(["."]))
}

/// The key leaves of a list entry in the order of the keys; `None` if it isn't an entry of a known list or
/// lacks a key.
pub(crate) fn key_leaves<'e>(model: &dyn Model, path: &str, entry: &'e Element) -> Option<Vec<&'e Element>> {
    entry_keys(model, path, entry)?.iter().map(|key| entry.own_child(key)).collect()
}

/// The kinds of the key leaf of a list.
pub(crate) fn key_kinds(model: &dyn Model, list: &str, key: &Element) -> Kinds {
    model.kinds(&child_path(list, key.name()))
}
