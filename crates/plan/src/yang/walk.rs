//! The structure of partial configuration, held against the compiled schema.

use std::collections::{BTreeSet, HashSet};

use turnup_netconf::{
    compare::literal,
    xml::{Element, Node},
};
use yang5::{
    context::Context,
    iter::IterSchemaFlags,
    schema::{SchemaNode, SchemaNodeKind},
};

use super::{Violation, Yang};

/// What was found.
pub(super) struct Structure {
    pub(super) violations: BTreeSet<Violation>,
    /// Elements (by address) that make no sense to libyang: leave them out when it judges the values.
    pub(super) unusable: HashSet<*const Element>,
}

/// Checks the structure; `whole` as in [`super::Yang::check`].
pub(super) fn walk(context: &Context, tree: &[Element], whole: &dyn Fn(&str) -> bool) -> Structure {
    let mut walk = Walk::new(context, whole);
    let elements: Vec<&Element> = tree.iter().collect();
    walk.inside(None, &elements, false);
    walk.found
}

/// Namespaces that no module has: of a gap in the set nothing can be said.
pub(super) fn unchecked<'e>(context: &Context, tree: &'e [Element]) -> BTreeSet<&'e str> {
    fn inside<'e>(context: &Context, element: &'e Element, found: &mut BTreeSet<&'e str>) {
        if is_known(context, element) {
            element.children().for_each(|child| inside(context, child, found));
        } else {
            found.insert(element.namespace());
        }
    }
    let mut found = BTreeSet::new();
    tree.iter().for_each(|element| inside(context, element, &mut found));
    found
}

/// Whether its namespace is a module's. None at all is a mistake, not a gap in the set.
fn is_known(context: &Context, element: &Element) -> bool {
    element.namespace().is_empty() || context.get_module_implemented_ns(element.namespace()).is_some()
}

/// Makes what libyang says complete: an entry whose key has a bad value has no place in its tree, so that
/// the path it gives begins at the entry. Of what it says twice in more and less words, one is left.
pub(super) fn complete(context: &Context, tree: &[Element], mut found: Vec<Violation>) -> Vec<Violation> {
    let mut walk = Walk::new(context, &|_| false);
    walk.keys = Some(Vec::new());
    walk.inside(None, &tree.iter().collect::<Vec<_>>(), false);
    for violation in &mut found {
        let steps: Vec<&str> = violation.path.split('/').skip(1).collect();
        let of_entry = |key: &Key| {
            steps == [key.list.as_str(), key.leaf.as_str()] && violation.reason.contains(&*key.value)
        };
        if let Some(key) = walk.keys.iter().flatten().find(|key| of_entry(key)) {
            violation.path.clone_from(&key.path);
        }
    }
    let all = found.clone();
    found.retain(|one| {
        !all.iter().any(|other| {
            other.path == one.path
                && other.reason.len() > one.reason.len()
                && other.reason.ends_with(&one.reason)
        })
    });
    found
}

/// The tree without some of its elements.
pub(super) fn without(tree: &[Element], unusable: &HashSet<*const Element>) -> Vec<Element> {
    let kept = tree.iter().filter(|element| !unusable.contains(&std::ptr::from_ref(*element)));
    kept.map(|element| {
        let mut copy = element.clone();
        if !element.is_leaf() {
            let inside: Vec<Element> = element
                .children()
                .filter(|child| !unusable.contains(&std::ptr::from_ref(*child)))
                .flat_map(|child| without(std::slice::from_ref(child), unusable))
                .collect();
            *copy.nodes_mut() = inside.into_iter().map(Node::Element).collect();
        }
        copy
    })
    .collect()
}

struct Walk<'c, 'w> {
    context: &'c Context,
    whole: &'w dyn Fn(&str) -> bool,
    /// Where the walk is, with keys.
    path: String,
    /// The same as local names: `interfaces/interface`.
    names: String,
    found: Structure,
    /// Keys met, if they are wanted.
    keys: Option<Vec<Key>>,
}

/// A key leaf of an entry.
struct Key {
    list: String,
    leaf: String,
    value: String,
    path: String,
}

type Given<'c, 'e> = Vec<(SchemaNode<'c>, &'e Element)>;

impl<'c, 'w> Walk<'c, 'w> {
    fn new(context: &'c Context, whole: &'w dyn Fn(&str) -> bool) -> Self {
        let found = Structure { violations: BTreeSet::new(), unusable: HashSet::new() };
        Self { context, whole, path: String::new(), names: String::new(), found, keys: None }
    }

    fn violation(&mut self, step: &str, reason: String) {
        // One more than is told, for a good order.
        if self.found.violations.len() <= Yang::MAX_VIOLATIONS {
            let slash = if step.is_empty() { "" } else { "/" };
            self.found.violations.insert(Violation { path: format!("{}{slash}{step}", self.path), reason });
        }
    }

    /// Checks what a node has inside, or the top level.
    fn inside(&mut self, parent: Option<&SchemaNode<'c>>, elements: &[&Element], whole: bool) {
        let mut given: Given<'c, '_> = Vec::with_capacity(elements.len());
        let mut is_complete = true;
        for element in elements {
            if !is_known(self.context, element) {
                self.found.unusable.insert(std::ptr::from_ref(*element));
                is_complete = false;
                continue;
            }
            if let Some(attribute) = element.attributes().first() {
                self.found.unusable.insert(std::ptr::from_ref(*element));
                let reason = format!("the attribute {} has no place in configuration", attribute.name);
                self.violation(element.name(), reason);
                continue;
            }
            match self.schema_of(parent, element) {
                Ok(schema) if !schema.is_state() => given.push((schema, element)),
                Ok(schema) => {
                    self.found.unusable.insert(std::ptr::from_ref(*element));
                    self.violation(&step(&schema, element), "is state, not configuration".to_owned());
                }
                Err(reason) => {
                    self.found.unusable.insert(std::ptr::from_ref(*element));
                    self.violation(element.name(), reason);
                }
            }
        }
        self.duplicates(&given);
        if let Some(parent) = parent {
            // What is unchecked here may be what is demanded.
            self.counts(parent.children(), &given, whole && is_complete, "");
        }
        for (schema, element) in given {
            let lengths = (self.path.len(), self.names.len());
            self.path.push('/');
            self.path.push_str(&step(&schema, element));
            if !self.names.is_empty() {
                self.names.push('/');
            }
            self.names.push_str(element.name());
            self.node(&schema, element, whole);
            self.path.truncate(lengths.0);
            self.names.truncate(lengths.1);
        }
    }

    fn node(&mut self, schema: &SchemaNode<'c>, element: &Element, whole: bool) {
        match schema.kind() {
            SchemaNodeKind::List => {
                for key in schema.list_keys() {
                    let Some(leaf) = element.children().find(|child| is(&key, child)) else {
                        self.found.unusable.insert(std::ptr::from_ref(element));
                        self.violation("", format!("the key {} is missing", key.name()));
                        continue;
                    };
                    if let Some(keys) = &mut self.keys {
                        keys.push(Key {
                            list: schema.name().to_owned(),
                            leaf: key.name().to_owned(),
                            value: leaf.raw_text().into_owned(),
                            path: format!("{}/{}", self.path, key.name()),
                        });
                    }
                }
            }
            SchemaNodeKind::Container => {}
            // Values are libyang's.
            _ => return,
        }
        let whole = whole || (self.whole)(&self.names);
        let children: Vec<&Element> = element.children().collect();
        self.inside(Some(schema), &children, whole);
    }

    fn schema_of(
        &self,
        parent: Option<&SchemaNode<'c>>,
        element: &Element,
    ) -> Result<SchemaNode<'c>, String> {
        let flags = IterSchemaFlags::empty;
        let (found, place) = match parent {
            Some(parent) => {
                let found = parent.children2(flags()).find(|child| is_data(child) && is(child, element));
                (found, format!("in {}", parent.name()))
            }
            None => {
                let module = self.context.get_module_implemented_ns(element.namespace());
                let found = module.and_then(|module| {
                    let mut nodes = module.top_level_nodes(flags());
                    nodes.find(|child| is_data(child) && child.name() == element.name())
                });
                (found, "at the top level".to_owned())
            }
        };
        found.ok_or_else(|| {
            format!("there is no node {} of namespace {:?} {place}", element.name(), element.namespace())
        })
    }

    fn duplicates(&mut self, given: &Given<'c, '_>) {
        if given.len() < 2 {
            return;
        }
        let mut seen = HashSet::with_capacity(given.len());
        for (schema, element) in given {
            // A key that is missing is told elsewhere.
            if !schema.is_keyless_list() && !seen.insert((schema.as_raw(), step(schema, element))) {
                self.violation(&step(schema, element), "is given twice".to_owned());
            }
        }
    }

    /// Checks what must be there and how often. `below` leads from the path to absent containers.
    fn counts(
        &mut self,
        nodes: impl Iterator<Item = SchemaNode<'c>>,
        given: &Given<'c, '_>,
        whole: bool,
        below: &str,
    ) {
        for node in nodes.filter(|node| !node.is_state()) {
            let number = given.iter().filter(|(schema, _)| *schema == node).count();
            let here = format_args!("{below}{}", node.name()).to_string();
            let demanded = whole && node.whens().next().is_none();
            match node.kind() {
                // Missing keys are told already.
                SchemaNodeKind::Leaf | SchemaNodeKind::AnyData
                    if demanded && number == 0 && node.is_mandatory() && !node.is_list_key() =>
                {
                    self.violation(&here, "is mandatory and missing".to_owned());
                }
                SchemaNodeKind::List | SchemaNodeKind::LeafList => {
                    if let Some(max) = node.max_elements().filter(|max| number > *max as usize) {
                        self.violation(&here, format!("has {number} entries; at most {max} are allowed"));
                    }
                    if let Some(min) = node.min_elements().filter(|min| demanded && number < *min as usize) {
                        self.violation(&here, format!("has {number} entries; at least {min} are needed"));
                    }
                }
                // One without presence is there even if it isn't given (RFC 7950 §7.5.1).
                SchemaNodeKind::Container
                    if demanded && number == 0 && node.is_np_container() && node.is_mandatory() =>
                {
                    self.counts(node.children(), &Vec::new(), true, &format!("{here}/"));
                }
                SchemaNodeKind::Choice => self.choice(&node, given, whole, demanded, below),
                _ => {}
            }
        }
    }

    fn choice(
        &mut self,
        choice: &SchemaNode<'c>,
        given: &Given<'c, '_>,
        whole: bool,
        demanded: bool,
        below: &str,
    ) {
        let name = choice.name();
        let cases: Vec<SchemaNode<'c>> = choice.children().filter(|case| holds_any(case, given)).collect();
        match cases.as_slice() {
            [] if demanded && choice.is_mandatory() => {
                let cases: Vec<String> = choice.children().map(|case| case.name().to_owned()).collect();
                let below = below.trim_end_matches('/');
                self.violation(below, format!("one of {} must be given ({name})", cases.join(", ")));
            }
            [] => {}
            [case] => self.counts(case.children(), given, whole, below),
            [one, other, ..] => {
                let (one, other) = (one.name(), other.name());
                self.violation("", format!("{one} and {other} exclude each other ({name})"));
            }
        }
    }
}

fn holds_any(node: &SchemaNode<'_>, given: &Given<'_, '_>) -> bool {
    if node.is_schema_only() {
        return node.children().any(|child| holds_any(&child, given));
    }
    given.iter().any(|(schema, _)| schema.as_raw() == node.as_raw())
}

/// Not an operation or notification.
fn is_data(node: &SchemaNode<'_>) -> bool {
    !matches!(node.kind(), SchemaNodeKind::Rpc | SchemaNodeKind::Action | SchemaNodeKind::Notification)
}

fn is(node: &SchemaNode<'_>, element: &Element) -> bool {
    node.name() == element.name() && node.module().namespace() == element.namespace()
}

/// An element's step in a path.
fn step(schema: &SchemaNode<'_>, element: &Element) -> String {
    let mut step = element.name().to_owned();
    let mut add = |name: &str, leaf: &Element| {
        let value = if leaf.prefixes().next().is_some() { leaf.expanded_text() } else { leaf.raw_text() };
        step.push_str(&format!("[{name}={}]", literal(&value)));
    };
    match schema.kind() {
        SchemaNodeKind::List => {
            for key in schema.list_keys() {
                if let Some(leaf) = element.children().find(|child| is(&key, child)) {
                    add(key.name(), leaf);
                }
            }
        }
        SchemaNodeKind::LeafList => add(".", element),
        _ => {}
    }
    step
}

/// libyang's path without the names of modules: `/m:a/b[k='x:y']` → `/a/b[k='x:y']`.
pub(super) fn plain_path(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let (mut quote, mut from) = (None, 0);
    for c in path.chars() {
        match (quote, c) {
            (None, ':') => {
                plain.truncate(from);
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        plain.push(c);
        if quote.is_none() && matches!(c, '/' | '[') {
            from = plain.len();
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_their_modules() {
        assert_eq!(plain_path("/m:a/b[k='x:y']/n:c"), "/a/b[k='x:y']/c");
        assert_eq!(plain_path("/m:a[n:k=\"it's:1\"][l='/x:z']"), "/a[k=\"it's:1\"][l='/x:z']");
        assert_eq!(plain_path("/m:l[.='a:b']"), "/l[.='a:b']");
        assert_eq!(plain_path("/"), "/");
    }
}
