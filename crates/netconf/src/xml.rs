//! The XML tree that every other module speaks: elements by namespace and local name.
//!
//! - Prefixes of element and attribute names carry no meaning and are resolved away by [`parse`].
//!   Prefixes inside *values* (a YANG `identityref` such as `ianaift:ethernetCsmacd`, an XPath) do carry
//!   meaning: [`parse`] keeps their bindings on the very element that holds the value, so that any subtree
//!   may be cut out and sent elsewhere without losing them.
//! - Comments, processing instructions and the white space between elements are not kept.
//! - [`parse`] accepts no DTD and no entities but the five predefined ones, demands UTF-8, and is bounded
//!   by [`Limits`]. [`parse_lenient`] replaces what XML forbids in values, and says where.

mod parse;
mod replaced;
mod serialize;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub use parse::{Limits, XmlError, parse, parse_lenient, parse_str};
pub use replaced::Replaced;

/// An XML element: namespace, local name, attributes, children.
#[derive(Clone, PartialEq, Eq)]
pub struct Element {
    namespace: Arc<str>,
    name: Box<str>,
    attributes: Vec<Attribute>,
    prefixes: Vec<(Box<str>, Arc<str>)>,
    nodes: Vec<Node>,
}

/// A child of an element.
#[derive(Clone, PartialEq, Eq)]
pub enum Node {
    /// A child element.
    Element(Element),
    /// Character data, with references resolved.
    Text(Box<str>),
}

/// An attribute. `namespace` is empty for the usual attribute without prefix.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Namespace URI, or empty.
    pub namespace: Arc<str>,
    /// Local name.
    pub name: Box<str>,
    /// Value with references resolved.
    pub value: Box<str>,
}

impl From<Element> for Node {
    fn from(element: Element) -> Self {
        Self::Element(element)
    }
}

impl Element {
    /// An empty element. An empty `namespace` means none.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Box<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            attributes: Vec::new(),
            prefixes: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// An empty element of the NETCONF base namespace (RFC 6241).
    pub fn base(name: impl Into<Box<str>>) -> Self {
        Self::new(crate::namespace::BASE, name)
    }

    /// An empty element in the namespace of `self`.
    pub fn sibling(&self, name: impl Into<Box<str>>) -> Self {
        Self::new(self.namespace.clone(), name)
    }

    /// Namespace URI; empty if none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Namespace URI for sharing with new elements.
    pub fn namespace_shared(&self) -> Arc<str> {
        self.namespace.clone()
    }

    /// Local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether namespace and local name are these.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        *self.name == *name && *self.namespace == *namespace
    }

    /// Whether `self` and `other` have the same namespace and local name.
    pub fn same_name(&self, other: &Self) -> bool {
        self.is(&other.namespace, &other.name)
    }

    // Attributes and prefixes.

    /// All attributes, in document order; namespace declarations are not among them.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The value of the attribute without namespace.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attribute_ns("", name)
    }

    /// The value of an attribute with a namespace, such as `nc:operation`.
    pub fn attribute_ns(&self, namespace: &str, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| *a.name == *name && *a.namespace == *namespace).map(|a| &*a.value)
    }

    /// Sets an attribute, replacing its previous value.
    pub fn set_attribute_ns(
        &mut self,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Box<str>>,
        value: impl Into<Box<str>>,
    ) {
        let new = Attribute { namespace: namespace.into(), name: name.into(), value: value.into() };
        match self.attributes.iter_mut().find(|a| a.name == new.name && a.namespace == new.namespace) {
            Some(old) => *old = new,
            None => self.attributes.push(new),
        }
    }

    /// Removes an attribute and returns its value.
    pub fn remove_attribute_ns(&mut self, namespace: &str, name: &str) -> Option<Box<str>> {
        let at = self.attributes.iter().position(|a| *a.name == *name && *a.namespace == *namespace)?;
        Some(self.attributes.remove(at).value)
    }

    /// The bindings of prefixes that the value of this element (or of its attributes) relies on.
    pub fn prefixes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prefixes.iter().map(|(prefix, namespace)| (&**prefix, &**namespace))
    }

    /// Declares a prefix for use inside the value of this element, such as an `identityref`.
    pub fn set_prefix(&mut self, prefix: impl Into<Box<str>>, namespace: impl Into<Arc<str>>) {
        let (prefix, namespace) = (prefix.into(), namespace.into());
        match self.prefixes.iter_mut().find(|(p, _)| *p == prefix) {
            Some(old) => old.1 = namespace,
            None => self.prefixes.push((prefix, namespace)),
        }
    }

    // Children.

    /// All children, text included, in document order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All children for editing.
    pub fn nodes_mut(&mut self) -> &mut Vec<Node> {
        &mut self.nodes
    }

    /// Child elements, in document order.
    pub fn children(&self) -> impl DoubleEndedIterator<Item = &Element> {
        self.nodes.iter().filter_map(Node::element)
    }

    /// Child elements for editing, in document order.
    pub fn children_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Element> {
        self.nodes.iter_mut().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Takes all children out of the element, text included.
    pub fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Takes the child elements out of the element.
    pub fn into_children(self) -> impl Iterator<Item = Element> {
        self.nodes.into_iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Child elements of this name, in document order.
    pub fn children_named(&self, namespace: &str, name: &str) -> impl Iterator<Item = &Element> {
        self.children().filter(move |child| child.is(namespace, name))
    }

    /// The first child element of this name.
    pub fn child(&self, namespace: &str, name: &str) -> Option<&Element> {
        self.children().find(|child| child.is(namespace, name))
    }

    /// The first child element of this name, for editing.
    pub fn child_mut(&mut self, namespace: &str, name: &str) -> Option<&mut Element> {
        self.children_mut().find(|child| child.is(namespace, name))
    }

    /// The first child element of this local name in the namespace of `self`.
    pub fn own_child(&self, name: &str) -> Option<&Element> {
        self.child(&self.namespace, name)
    }

    /// The descendant reached by the first child of each local name, all in the namespace of `self`.
    pub fn descend(&self, names: &[&str]) -> Option<&Element> {
        names.iter().try_fold(self, |element, name| element.child(&self.namespace, name))
    }

    /// The trimmed text of the first child of this name, see [`Element::text`].
    pub fn child_text(&self, namespace: &str, name: &str) -> Option<Cow<'_, str>> {
        self.child(namespace, name).map(Element::text)
    }

    /// The element's own character data without the white space around it; empty if there is none.
    pub fn text(&self) -> Cow<'_, str> {
        match self.raw_text() {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii_str()),
            Cow::Owned(text) => Cow::Owned(text.trim_ascii_str().to_owned()),
        }
    }

    /// The element's own character data as received.
    pub fn raw_text(&self) -> Cow<'_, str> {
        let mut texts = self.nodes.iter().filter_map(Node::text);
        match (texts.next(), texts.next()) {
            (None, _) => Cow::Borrowed(""),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => {
                let mut all = first.to_owned() + second;
                all.extend(texts);
                Cow::Owned(all)
            }
        }
    }

    /// Whether the element has no child elements.
    pub fn is_leaf(&self) -> bool {
        self.children().next().is_none()
    }

    /// Whether the element has neither child elements nor text other than white space.
    pub fn is_empty(&self) -> bool {
        self.is_leaf() && self.text().is_empty()
    }

    /// Number of elements in this tree, itself included.
    pub fn count(&self) -> usize {
        1 + self.children().map(Element::count).sum::<usize>()
    }

    /// Appends a child.
    pub fn push(&mut self, child: impl Into<Node>) {
        if self.nodes.capacity() == 0 {
            // Most elements have one child (a leaf its text); Vec would start with room for four.
            self.nodes.reserve_exact(1);
        }
        self.nodes.push(child.into());
    }

    /// Replaces all children by this text.
    pub fn set_text(&mut self, text: impl Into<Box<str>>) {
        self.nodes.clear();
        let text = text.into();
        if !text.is_empty() {
            self.push(Node::Text(text));
        }
    }

    // Builder methods.

    /// With this text as the only child.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<Box<str>>) -> Self {
        self.set_text(text);
        self
    }

    /// With one more child.
    #[must_use]
    pub fn with_child(mut self, child: impl Into<Node>) -> Self {
        self.push(child);
        self
    }

    /// With one more child in the same namespace that holds a text.
    #[must_use]
    pub fn with_leaf(self, name: impl Into<Box<str>>, text: impl Into<Box<str>>) -> Self {
        let leaf = self.sibling(name).with_text(text);
        self.with_child(leaf)
    }

    /// With more child elements.
    #[must_use]
    pub fn with_children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.nodes.extend(children.into_iter().map(Node::Element));
        self
    }

    /// With an attribute that has no namespace.
    #[must_use]
    pub fn with_attribute(self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.with_attribute_ns("", name, value)
    }

    /// With an attribute in a namespace, such as `nc:operation`.
    #[must_use]
    pub fn with_attribute_ns(
        mut self,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Box<str>>,
        value: impl Into<Box<str>>,
    ) -> Self {
        self.set_attribute_ns(namespace, name, value);
        self
    }

    /// With a prefix declared for use inside its value.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<Box<str>>, namespace: impl Into<Arc<str>>) -> Self {
        self.set_prefix(prefix, namespace);
        self
    }

    // Values.

    /// The trimmed text with each declared prefix replaced by `{namespace}`. Whether a value has prefixes at
    /// all depends on its type (RFC 7950 §9.10.3, §9.13.2): see [`crate::spelling`] for comparing values.
    pub fn expanded_text(&self) -> Cow<'_, str> {
        match self.text() {
            Cow::Borrowed(text) => self.expand(text),
            Cow::Owned(text) => Cow::Owned(self.expand(&text).into_owned()),
        }
    }

    /// A text with each prefix that this element declares replaced by `{namespace}`.
    pub(crate) fn expand<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.prefixes.is_empty() || !text.contains(':') {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len() + 64);
        let mut from = 0;
        for (start, colon) in prefix_uses(text) {
            let prefix = &text[start..colon];
            if let Some((_, namespace)) = self.prefixes.iter().find(|(p, _)| **p == *prefix) {
                out.push_str(&text[from..start]);
                out.push('{');
                out.push_str(namespace);
                out.push('}');
                from = colon + 1;
            }
        }
        out.push_str(&text[from..]);
        Cow::Owned(out)
    }

    /// Compact XML text (no declaration, no line breaks added), see the module's documentation.
    /// Characters that XML 1.0 can't represent become U+FFFD.
    pub fn to_xml(&self) -> String {
        let mut out = String::with_capacity(256);
        serialize::write(self, &mut out, false);
        out
    }

    /// Appends the compact XML text to `out`.
    pub fn write_xml(&self, out: &mut String) {
        serialize::write(self, out, false);
    }

    /// Indented XML text for people. White space inside values is kept.
    pub fn to_pretty_xml(&self) -> String {
        let mut out = String::with_capacity(256);
        serialize::write(self, &mut out, true);
        out
    }
}

impl Node {
    /// The child element, if it is one.
    pub fn element(&self) -> Option<&Element> {
        match self {
            Self::Element(element) => Some(element),
            Self::Text(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Element(_) => None,
            Self::Text(text) => Some(text),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_xml())
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_xml())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(element) => element.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}{}={:?}", self.namespace, self.name, self.value)
    }
}

trait TrimAscii {
    fn trim_ascii_str(&self) -> &str;
}

impl TrimAscii for str {
    /// XML's white space is ASCII only; `str::trim` would also take away U+00A0 and others, which are data.
    fn trim_ascii_str(&self) -> &str {
        self.trim_matches(is_xml_space)
    }
}

/// White space as XML 1.0 defines it.
pub(crate) fn is_xml_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// A character that may stand in a name (an approximation of NCName that keeps out all ASCII syntax).
pub(crate) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') || c >= '\u{80}'
}

/// Where `name:` occurs in a value: start of the name and position of the colon.
fn prefix_uses(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.match_indices(':').filter_map(|(colon, _)| {
        let before = &text[..colon];
        let start = before.len()
            - before.chars().rev().take_while(|c| is_name_char(*c)).map(char::len_utf8).sum::<usize>();
        (start < colon).then_some((start, colon))
    })
}

#[cfg(test)]
mod tests;
