//! Values as YANG writes them (RFC 7950 §9.1), and what is to be known of their nodes.
//!
//! libyang reads the values and has their canonical forms. Two of its forms are not taken over: paths, which
//! it writes with names of modules where XML has prefixes, and instants, which it writes in the time zone of
//! this host. They are compared by their kind instead.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use turnup_core::nodes::NodeFacts;
use turnup_netconf::{
    model::child_path,
    spelling::{Kind, Kinds, is_address, normal, respelled},
    xml::{Element, Node},
};
use yang5::{
    context::Context,
    data::{DataFormat, DataNodeRef, DataParserFlags, DataTree, DataValidationFlags},
    schema::{DataValueType, SchemaLeafType, SchemaNode, SchemaNodeKind},
};

use super::log;

/// Answers kept about how values may be spelled.
const MAX_KNOWN: usize = 4096;

/// What YANG says of configuration.
pub(crate) struct Canonical {
    /// The configuration with canonical values; none if they all were.
    pub(crate) tree: Option<Vec<Element>>,
    pub(crate) facts: NodeFacts,
}

/// How values of nodes may be spelled, as far as libyang was asked: by schema node, and for unions by value.
#[derive(Debug, Default)]
pub(super) struct KnownKinds(Mutex<HashMap<(usize, String), Kinds>>);

/// A value to be written differently.
struct Rewrite {
    text: String,
    /// Prefix and namespace of an identity.
    prefix: Option<(String, String)>,
}

/// What `config`, which is `tree`, looks like in canonical form; none if a value can't be read.
pub(super) fn canonical(
    context: &Context,
    known: &KnownKinds,
    tree: &[Element],
    config: &str,
) -> Option<Canonical> {
    let parsed = parse(context, config)?;
    let mut walk = Walk {
        context,
        known,
        above: Vec::new(),
        rewrites: HashMap::new(),
        exact: BTreeSet::new(),
        facts: NodeFacts { typed: true, ..NodeFacts::default() },
    };
    let elements: Vec<&Element> = tree.iter().collect();
    let nodes: Vec<DataNodeRef<'_>> =
        parsed.reference().map(|first| first.inclusive_siblings().collect()).unwrap_or_default();
    walk.inside(&nodes, &elements, "")?;
    if !walk.facts.typed {
        let exact = std::mem::take(&mut walk.exact);
        for path in exact {
            walk.facts.kinds.entry(path).or_insert_with(|| Kinds::from(Kind::Exact).to_text());
        }
    }
    let tree = (!walk.rewrites.is_empty()).then(|| rewritten(tree.iter(), &walk.rewrites));
    Some(Canonical { tree, facts: walk.facts })
}

/// Nodes in the order of the document, without those that no module has.
fn parse<'c>(context: &'c Context, config: &str) -> Option<DataTree<'c>> {
    if config.contains('\0') {
        return None;
    }
    let in_order = DataParserFlags::from_bits_retain(yang5::ffi::LYD_PARSE_ORDERED);
    let options = DataParserFlags::NO_VALIDATION | DataParserFlags::NO_STATE | in_order;
    let none = DataValidationFlags::empty();
    log::listen(0, || DataTree::parse_string(context, config, DataFormat::XML, options, none)).0.ok()
}

fn rewritten<'e>(
    tree: impl Iterator<Item = &'e Element>,
    rewrites: &HashMap<*const Element, Rewrite>,
) -> Vec<Element> {
    tree.map(|element| {
        let mut copy = element.clone();
        if let Some(rewrite) = rewrites.get(&std::ptr::from_ref(element)) {
            let mut leaf = Element::new(element.namespace_shared(), element.name());
            leaf.set_text(rewrite.text.as_str());
            if let Some((prefix, namespace)) = &rewrite.prefix {
                leaf.set_prefix(prefix.as_str(), namespace.as_str());
            }
            copy = leaf;
        } else if !element.is_leaf() {
            let children = rewritten(element.children(), rewrites);
            *copy.nodes_mut() = children.into_iter().map(Node::Element).collect();
        }
        copy
    })
    .collect()
}

struct Walk<'c, 'e> {
    context: &'c Context,
    known: &'c KnownKinds,
    /// The elements around, outermost first.
    above: Vec<&'e Element>,
    rewrites: HashMap<*const Element, Rewrite>,
    /// Leaves whose values have one spelling.
    exact: BTreeSet<String>,
    facts: NodeFacts,
}

impl<'e> Walk<'_, 'e> {
    /// Pairs elements with the nodes that libyang made of them, in order. None: it made others.
    fn inside(&mut self, nodes: &[DataNodeRef<'_>], elements: &[&'e Element], path: &str) -> Option<()> {
        let mut nodes = nodes.iter().peekable();
        for element in elements {
            let is = |node: &&DataNodeRef<'_>| {
                let schema = node.schema();
                schema.name() == element.name() && schema.module().namespace() == element.namespace()
            };
            match nodes.next_if(is) {
                Some(node) => self.node(node, element, &child_path(path, element.name()))?,
                // Of no module; whoever checks the structure says so.
                None => self.facts.typed = false,
            }
        }
        nodes.next().is_none().then_some(())
    }

    fn node(&mut self, node: &DataNodeRef<'_>, element: &'e Element, path: &str) -> Option<()> {
        let schema = node.schema();
        match schema.kind() {
            SchemaNodeKind::Leaf | SchemaNodeKind::LeafList => self.value(node, &schema, element, path),
            SchemaNodeKind::Container | SchemaNodeKind::List => {
                if schema.is_np_container() && !self.facts.containers.contains(path) {
                    self.facts.containers.insert(path.to_owned());
                }
                let nodes: Vec<DataNodeRef<'_>> = node.children().collect();
                let children: Vec<&Element> = element.children().collect();
                self.above.push(element);
                let done = self.inside(&nodes, &children, path);
                self.above.pop();
                return done;
            }
            _ => {}
        }
        Some(())
    }

    fn value(&mut self, node: &DataNodeRef<'_>, schema: &SchemaNode<'_>, element: &'e Element, path: &str) {
        let Some(mut canonical) = node.value_canonical() else { return };
        let text = element.text();
        let Some(leaf_type) = schema.leaf_type() else { return };
        let Some(base) = base_of(&leaf_type) else { return };
        let mut kinds = match base {
            DataValueType::Int8
            | DataValueType::Int16
            | DataValueType::Int32
            | DataValueType::Int64
            | DataValueType::Uint8
            | DataValueType::Uint16
            | DataValueType::Uint32
            | DataValueType::Uint64 => Kind::Integer.into(),
            DataValueType::Dec64 => Kind::Decimal.into(),
            DataValueType::Binary => Kind::Binary.into(),
            DataValueType::Bits => Kind::Bits.into(),
            DataValueType::IdentityRef => Kind::Identity.into(),
            DataValueType::InstanceId => Kind::Path.into(),
            DataValueType::String => {
                let is_path = element.prefixes().next().is_some() && canonical != *element.raw_text();
                if is_path { Kind::Path.into() } else { self.asked(schema, element, &canonical, false) }
            }
            DataValueType::Union => self.asked(schema, element, &canonical, true),
            _ => Kind::Exact.into(),
        };
        if kinds == Kinds::from(Kind::Exact)
            && is_address_type(&leaf_type)
            && let Some(normal) = self.normal_address(schema, element)
        {
            kinds = Kind::Address.into();
            canonical = normal;
        }
        if kinds == Kinds::from(Kind::Exact) {
            if !self.exact.contains(path) {
                self.exact.insert(path.to_owned());
            }
            if self.facts.kinds.contains_key(path) {
                self.add_kinds(path, kinds);
            }
        } else {
            let kinds = if self.exact.contains(path) { kinds.with(Kind::Exact.into()) } else { kinds };
            self.add_kinds(path, kinds);
        }
        if schema.kind() == SchemaNodeKind::Leaf
            && node.is_default()
            && !self.facts.defaults.contains_key(path)
        {
            self.facts.defaults.insert(path.to_owned(), canonical.clone());
        }
        if kinds.has(Kind::Path) || kinds.has(Kind::Time) {
            return;
        }
        if kinds.has(Kind::Identity) {
            let Some((module, _)) = canonical.split_once(':') else { return };
            let Some(namespace) =
                self.context.get_module_latest(module).map(|module| module.namespace().to_owned())
            else {
                return;
            };
            let same = canonical == *text && element.prefixes().eq([(module, namespace.as_str())]);
            if !same {
                let prefix = Some((module.to_owned(), namespace));
                self.rewrites.insert(std::ptr::from_ref(element), Rewrite { text: canonical, prefix });
            }
        } else if canonical != *element.raw_text() {
            self.rewrites.insert(std::ptr::from_ref(element), Rewrite { text: canonical, prefix: None });
        }
    }

    fn add_kinds(&mut self, path: &str, kinds: Kinds) {
        match self.facts.kinds.get_mut(path) {
            Some(known) => *known = Kinds::parse(known).with(kinds).to_text(),
            None => {
                self.facts.kinds.insert(path.to_owned(), kinds.to_text());
            }
        }
    }

    /// How a string or a value of a union may be spelled: libyang is asked whether another spelling is the same
    /// value to it. That depends on the node alone, or for a union on the value.
    fn asked(&self, schema: &SchemaNode<'_>, leaf: &'e Element, canonical: &str, union: bool) -> Kinds {
        const OF_STRINGS: [Kind; 4] = [Kind::Prefix, Kind::Address, Kind::Hex, Kind::Time];
        const OF_UNIONS: [Kind; 6] =
            [Kind::Integer, Kind::Decimal, Kind::Prefix, Kind::Address, Kind::Hex, Kind::Time];
        let text = leaf.text();
        if union && is_qualified(canonical, &text) {
            return Kind::Identity.into();
        }
        let kinds = if union { OF_UNIONS.as_slice() } else { OF_STRINGS.as_slice() };
        let mut others = kinds.iter().filter_map(|kind| Some((*kind, respelled(&text, *kind)?))).peekable();
        if others.peek().is_none() {
            return Kind::Exact.into();
        }
        let key = (schema.as_raw() as usize, if union { text.to_string() } else { form_of(&text) });
        let known = || self.known.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kinds) = known().get(&key) {
            return *kinds;
        }
        let found = others
            .find(|(_, other)| self.canonical_of(schema, leaf, other).as_deref() == Some(canonical))
            .map_or(Kind::Exact, |(kind, _)| kind);
        let mut known = known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(key, found.into());
        found.into()
    }

    /// The address that a value is, in its normal form; none if it is no address, or the type has no such value.
    fn normal_address(&self, schema: &SchemaNode<'_>, leaf: &Element) -> Option<String> {
        let normal = normal(leaf, Kind::Address.into());
        if !is_address(&normal) {
            return None;
        }
        let is_of_type = *normal == *leaf.raw_text() || self.canonical_of(schema, leaf, &normal).is_some();
        is_of_type.then(|| normal.into_owned())
    }

    /// What libyang makes of the leaf with another text.
    fn canonical_of(&self, schema: &SchemaNode<'_>, leaf: &Element, text: &str) -> Option<String> {
        let changed = leaf.sibling(leaf.name()).with_text(text);
        let mut inner: Option<Element> = None;
        for element in self.above.iter().rev() {
            // The keys are needed; other leaves do no harm. The leaf itself keeps its place among them.
            let leaves = element.children().filter(|child| child.is_leaf());
            let kept =
                leaves.map(|child| if std::ptr::eq(child, leaf) { changed.clone() } else { child.clone() });
            let mut shell = Element::new(element.namespace_shared(), element.name()).with_children(kept);
            if let Some(inner) = inner {
                shell.push(inner);
            }
            inner = Some(shell);
        }
        let config = inner.unwrap_or(changed).to_xml();
        let tree = parse(self.context, &config)?;
        let found = tree.traverse().filter(|node| node.schema().as_raw() == schema.as_raw()).last();
        found.and_then(|node| node.value_canonical())
    }
}

/// The type that values have in the end.
fn base_of(leaf_type: &SchemaLeafType<'_>) -> Option<DataValueType> {
    match leaf_type.base_type() {
        DataValueType::LeafRef => leaf_type.leafref_real_type().and_then(|real| base_of(&real)),
        base => Some(base),
    }
}

/// Whether values of a type are IP addresses or prefixes by the name of its typedef. libyang has canonical forms for
/// those of `ietf-inet-types` only; servers also normalise those of OpenConfig's and of vendors' modules, which are
/// strings with patterns.
fn is_address_type(leaf_type: &SchemaLeafType<'_>) -> bool {
    let name = match leaf_type.leafref_real_type() {
        Some(real) => real.typedef_name(),
        None => leaf_type.typedef_name(),
    };
    name.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        let names_ip =
            ["ipv4", "ipv6", "ip-", "ipaddr", "ipprefix"].iter().any(|part| name.starts_with(part));
        names_ip && (name.contains("addr") || name.contains("prefix"))
    })
}

/// Whether a canonical value is the name of an identity with its module.
fn is_qualified(canonical: &str, text: &str) -> bool {
    let local = text.rsplit_once(':').map_or(text, |(_, local)| local);
    canonical != text && canonical.split_once(':').is_some_and(|(_, name)| name == local)
}

/// What a string looks like: an answer about a prefix says nothing about a MAC address.
fn form_of(text: &str) -> String {
    let kinds = [Kind::Prefix, Kind::Address, Kind::Hex, Kind::Time];
    let can_be = kinds.into_iter().filter(|kind| respelled(text, *kind).is_some());
    can_be.fold(Kinds::UNKNOWN, |all, kind| all.with(kind.into())).to_text()
}

#[cfg(test)]
mod tests;
