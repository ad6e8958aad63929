//! Which leaves identify the entries of a YANG list (RFC 7950 §7.8.2), as far as the caller knows.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use crate::xml::Element;

/// A look-up from lists to the names of their key leaves.
pub trait ListKeys {
    /// The local names of the key leaves if `entry` is an entry of a list whose keys are known.
    fn keys_of(&self, entry: &Element) -> Option<&[String]>;
}

/// Nothing is known: entries are told apart by their content.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKeys;

impl ListKeys for NoKeys {
    fn keys_of(&self, _: &Element) -> Option<&[String]> {
        None
    }
}

/// By local name of the list alone.
impl<S: BuildHasher> ListKeys for HashMap<String, Vec<String>, S> {
    fn keys_of(&self, entry: &Element) -> Option<&[String]> {
        self.get(entry.name()).map(Vec::as_slice)
    }
}

/// By local name of the list alone.
impl ListKeys for BTreeMap<String, Vec<String>> {
    fn keys_of(&self, entry: &Element) -> Option<&[String]> {
        self.get(entry.name()).map(Vec::as_slice)
    }
}

/// The values of the keys of a list entry in the order of the keys; `None` if it isn't an entry of a known
/// list or lacks a key.
pub(crate) fn key_values<'e>(entry: &'e Element, keys: &dyn ListKeys) -> Option<Vec<&'e Element>> {
    keys.keys_of(entry)?.iter().map(|key| entry.own_child(key)).collect()
}
