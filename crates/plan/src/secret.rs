//! Secrets: which attributes of an order are secret, and which nodes of a configuration come from them.
//!
//! An attribute is secret where its schema says `writeOnly: true` (JSON Schema 2020-12, Validation §9.4). The nodes are
//! found by rendering a second time with other values: whatever is different then comes from a secret, however a
//! template builds it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};
use turnup_core::{
    nodes::NodeFacts,
    order::Endpoint,
    secret::{MASK, Redactor},
};
use turnup_netconf::{
    model::{Disclosure, child_path},
    namespace,
    xml::Element,
};

use crate::{
    definition::Definition,
    footprint::{self, to_xml},
};

impl Definition {
    /// JSON pointers of the secret values in an order's content, such as `/attributes/password` and
    /// `/endpoints/0/attributes/key`.
    #[must_use]
    pub fn secrets(&self, attributes: &Map<String, Value>, endpoints: &[Endpoint]) -> Vec<String> {
        let mut found = self.attributes.secrets(attributes, "/attributes");
        for (i, endpoint) in endpoints.iter().enumerate() {
            if let Some(role) = self.roles.iter().find(|role| role.name == endpoint.role) {
                let at = format!("/endpoints/{i}/attributes");
                found.extend(role.attributes.secrets(&endpoint.attributes, &at));
            }
        }
        found
    }

    /// What takes the secret values of an order's content out of texts.
    #[must_use]
    pub fn redactor(&self, attributes: &Map<String, Value>, endpoints: &[Endpoint]) -> Redactor {
        let secrets = self.secrets(attributes, endpoints);
        if secrets.is_empty() {
            return Redactor::default();
        }
        let mut found = Vec::new();
        let (mut attributes, mut endpoints) = (attributes.clone(), endpoints.to_vec());
        each(&mut attributes, &mut endpoints, &secrets, &mut |value| found.push(value.clone()));
        Redactor::of_json(&found)
    }

    /// The content with another value for every secret; none if it has no secret.
    pub(crate) fn with_other_secrets(
        &self,
        attributes: &Map<String, Value>,
        endpoints: &[Endpoint],
    ) -> Option<(Map<String, Value>, Vec<Endpoint>)> {
        let secrets = self.secrets(attributes, endpoints);
        if secrets.is_empty() {
            return None;
        }
        let (mut attributes, mut endpoints) = (attributes.clone(), endpoints.to_vec());
        each(&mut attributes, &mut endpoints, &secrets, &mut |value| *value = other(value));
        Some((attributes, endpoints))
    }
}

fn each(
    attributes: &mut Map<String, Value>,
    endpoints: &mut [Endpoint],
    secrets: &[String],
    on_value: &mut dyn FnMut(&mut Value),
) {
    let mut whole = Value::Object(std::mem::take(attributes));
    for pointer in secrets {
        if let Some(value) = turnup_core::secret::at(&mut whole, endpoints, pointer) {
            on_value(value);
        }
    }
    if let Value::Object(map) = whole {
        *attributes = map;
    }
}

/// Another value of the same form: a template that looks at its length, its kind of characters or the scheme of a
/// hash (`$6$`) goes the same way.
fn other(value: &Value) -> Value {
    match value {
        Value::String(text) => other_text(text).into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => Value::Number(whole.checked_add(1).unwrap_or(0).into()),
            (None, Some(whole), _) => Value::Number((whole - 1).into()),
            (None, None, number) => {
                Number::from_f64(number.unwrap_or_default() / 2.0 + 1.0).map_or(Value::Null, Value::Number)
            }
        },
        Value::Array(items) => items.iter().map(other).collect(),
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), other(value))).collect(),
        Value::Bool(value) => Value::Bool(!value),
        Value::Null => Value::Null,
    }
}

fn other_text(text: &str) -> String {
    // The scheme of a hash or of clear text stays.
    let scheme = match text.strip_prefix('$').and_then(|rest| rest.split_once('$')) {
        Some((scheme, _)) if scheme.len() <= 8 => scheme.len() + 2,
        _ => 0,
    };
    let turned = |c: char, first: u8, count: u8| {
        u8::try_from(c).map_or(c, |byte| char::from(first + (byte - first + 1) % count))
    };
    let (head, tail) = text.split_at(scheme);
    let mut out = head.to_owned();
    out.extend(tail.chars().map(|c| match c {
        'a'..='z' => turned(c, b'a', 26),
        'A'..='Z' => turned(c, b'A', 26),
        '0'..='9' => turned(c, b'0', 10),
        '$' => '$',
        '-' => '_',
        c if c.is_ascii_punctuation() => '-',
        'ä' => 'ö',
        c if c.is_alphabetic() => 'ä',
        c => c,
    }));
    if out == text {
        out.push('x');
    }
    out
}

/// The nodes, by paths of local names, that are different in the output with other secrets; none if one of the two
/// can't be read.
pub(crate) fn tainted(output: &str, other: &str) -> Option<BTreeSet<String>> {
    let (output, other) = (footprint::parse(output).ok()?, footprint::parse(other).ok()?);
    let (output, other) = (leaves(&output), leaves(&other));
    let differs = output.into_iter().filter(|(path, texts)| other.get(path) != Some(texts));
    Some(differs.map(|(path, _)| path).collect())
}

/// The nodes whose texts hold one of the values: for templates that can't be rendered with other ones.
pub(crate) fn holding(output: &str, redactor: &Redactor) -> BTreeSet<String> {
    let Ok(output) = footprint::parse(output) else { return BTreeSet::new() };
    let holds = |texts: &Vec<String>| texts.iter().any(|text| redactor.text(text) != text.as_str());
    leaves(&output).into_iter().filter(|(_, texts)| holds(texts)).map(|(path, _)| path).collect()
}

fn leaves(tree: &[Element]) -> BTreeMap<String, Vec<String>> {
    fn inside<'e>(
        elements: impl Iterator<Item = &'e Element>,
        path: &str,
        found: &mut BTreeMap<String, Vec<String>>,
    ) {
        for element in elements {
            let here = child_path(path, element.name());
            if element.is_leaf() {
                found.entry(here).or_default().push(element.raw_text().into_owned());
            } else {
                inside(element.children(), &here, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    inside(tree.iter(), "", &mut found);
    found
}

/// Configuration (content of `<config>`) with its secret values masked.
#[must_use]
pub fn masked(config: &str, facts: &NodeFacts) -> String {
    if !facts.has_secrets() || config.is_empty() {
        return config.to_owned();
    }
    match footprint::parse(config) {
        Ok(mut tree) => {
            tree.iter_mut().for_each(|element| mask(element, "", facts));
            to_xml(&tree)
        }
        // Nothing that was planned; what it holds can't be told.
        Err(_) => MASK.to_owned(),
    }
}

/// A stored footprint, as JSON, with its secret values masked.
#[must_use]
pub fn masked_footprint(stored: &Value) -> Value {
    let mut shown = stored.clone();
    let facts = stored.get("nodes").map(|nodes| serde_json::from_value::<NodeFacts>(nodes.clone()));
    let (Some(facts), Some(Value::String(config))) = (facts, shown.get_mut("config")) else { return shown };
    *config = match facts {
        Ok(facts) => masked(config, &facts),
        Err(_) => MASK.to_owned(),
    };
    shown
}

fn mask(element: &mut Element, parent: &str, facts: &NodeFacts) {
    let path = child_path(parent, element.name());
    if element.is_leaf() {
        if !element.is_empty() && facts.is_secret(&path) {
            element.set_text(MASK);
            // Where an entry of a leaf-list is put.
            if element.attribute_ns(namespace::YANG, "value").is_some() {
                element.set_attribute_ns(namespace::YANG, "value", MASK);
            }
        }
        return;
    }
    element.children_mut().for_each(|child| mask(child, &path, facts));
}

/// What facts say of a node, as comparisons want it.
pub(crate) fn disclosure(facts: &NodeFacts, path: &str) -> Disclosure {
    if facts.is_write_only(path) {
        Disclosure::WriteOnly
    } else if facts.is_secret(path) {
        Disclosure::Secret
    } else if facts.is_opaque(path) {
        Disclosure::Opaque
    } else {
        Disclosure::Plain
    }
}

#[cfg(test)]
mod tests;
