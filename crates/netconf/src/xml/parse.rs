//! Parsing XML text into trees, bounded and strict.

use std::collections::HashMap;
use std::sync::Arc;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use thiserror::Error;

use super::serialize::is_xml_char;
use super::{Attribute, Element, Node, is_name_char, is_xml_space, prefix_uses};
use crate::namespace;

/// Bounds for one document from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the text in bytes.
    pub max_bytes: usize,
    /// Nesting of elements; no more than [`Limits::DEPTH_CEILING`] whatever is set here.
    pub max_depth: usize,
    /// Attributes of one element, namespace declarations included.
    pub max_attributes: usize,
    /// Elements and texts in the whole document.
    pub max_nodes: usize,
}

impl Limits {
    /// Trees are walked recursively, so deeper ones than this are never built from input.
    pub const DEPTH_CEILING: usize = 512;
}

impl Default for Limits {
    /// 16 MiB, depth 128, 64 attributes, 500,000 nodes.
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_depth: 128, max_attributes: 64, max_nodes: 500_000 }
    }
}

/// Why a text was not accepted as XML.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum XmlError {
    /// Larger than a limit.
    #[error(
        "the document has more than {limit} {what}: raise the limit if the peer is trusted to send this much"
    )]
    TooLarge {
        /// What there is too much of: bytes, levels, attributes, nodes, namespace bindings.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8, which NETCONF demands (RFC 6241 §3).
    #[error("the document isn't UTF-8 (byte {at}): the peer must send UTF-8")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// A document type declaration; RFC 6241 §3 forbids it and parsing one is dangerous.
    #[error("the document has a DTD, which NETCONF forbids: the peer must not send one")]
    Dtd,
    /// Not well-formed XML with namespaces.
    #[error("malformed XML near byte {at}: {reason}")]
    Malformed {
        /// Offset near which the fault was found.
        at: usize,
        /// What is wrong, in words.
        reason: String,
    },
}

/// More bindings in scope than any sane document has; look-ups are linear in it.
const MAX_BINDINGS: usize = 256;

/// Parses a document from bytes, which must be UTF-8 (a byte order mark is allowed).
pub fn parse(document: &[u8], limits: &Limits) -> Result<Element, XmlError> {
    if document.len() > limits.max_bytes {
        return Err(XmlError::TooLarge { what: "bytes", limit: limits.max_bytes });
    }
    let text = std::str::from_utf8(document).map_err(|e| XmlError::NotUtf8 { at: e.valid_up_to() })?;
    parse_str(text, limits)
}

/// Parses a document from text.
pub fn parse_str(document: &str, limits: &Limits) -> Result<Element, XmlError> {
    if document.len() > limits.max_bytes {
        return Err(XmlError::TooLarge { what: "bytes", limit: limits.max_bytes });
    }
    let document = document.strip_prefix('\u{feff}').unwrap_or(document);
    let mut reader = Reader::from_str(document);
    let mut builder = Builder::new(limits);
    loop {
        let event = reader.read_event();
        builder.at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        match event.map_err(|e| builder.malformed(e.to_string()))? {
            Event::Start(tag) => builder.open(&tag)?,
            Event::Empty(tag) => {
                builder.open(&tag)?;
                builder.close()?;
            }
            Event::End(_) => builder.close()?,
            Event::Text(text) => builder.text(&text.xml10_content())?,
            Event::CData(data) => builder.text(&data.xml10_content())?,
            Event::GeneralRef(reference) => {
                let resolved = reference.resolve_char_ref().map_err(|e| builder.malformed(e.to_string()))?;
                match (resolved, resolve_predefined_entity(&reference)) {
                    (Some(c), _) => builder.text(c.encode_utf8(&mut [0; 4]))?,
                    (None, Some(text)) => builder.text(text)?,
                    (None, None) => return Err(builder.malformed("reference to an unknown entity")),
                }
            }
            Event::Decl(declaration) => {
                if builder.root.is_some() || !builder.open.is_empty() {
                    return Err(builder.malformed("XML declaration inside the document"));
                }
                if let Some(encoding) = declaration.encoding() {
                    let encoding = encoding.map_err(|e| builder.malformed(e.to_string()))?;
                    if !encoding.eq_ignore_ascii_case("utf-8") && !encoding.eq_ignore_ascii_case("us-ascii") {
                        return Err(XmlError::NotUtf8 { at: builder.at });
                    }
                }
            }
            Event::DocType(_) => return Err(XmlError::Dtd),
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return builder.finish(),
        }
    }
}

struct Binding {
    prefix: Box<str>,
    namespace: Arc<str>,
    depth: usize,
}

struct Builder<'l> {
    limits: &'l Limits,
    at: usize,
    /// Elements whose end tag is still to come, outermost first.
    open: Vec<Element>,
    root: Option<Element>,
    /// Character data since the last tag.
    text: String,
    bindings: Vec<Binding>,
    /// One shared string per namespace of the document.
    shared: HashMap<Box<str>, Arc<str>>,
    none: Arc<str>,
    nodes: usize,
}

impl<'l> Builder<'l> {
    fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            at: 0,
            open: Vec::new(),
            root: None,
            text: String::new(),
            bindings: Vec::new(),
            shared: HashMap::new(),
            none: Arc::from(""),
            nodes: 0,
        }
    }

    fn malformed(&self, reason: impl Into<String>) -> XmlError {
        XmlError::Malformed { at: self.at, reason: reason.into() }
    }

    fn count_node(&mut self) -> Result<(), XmlError> {
        self.nodes += 1;
        if self.nodes > self.limits.max_nodes {
            return Err(XmlError::TooLarge { what: "nodes", limit: self.limits.max_nodes });
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        if !text.chars().all(is_xml_char) {
            return Err(self.malformed("a character that XML doesn't allow"));
        }
        if self.open.is_empty() {
            if text.chars().all(is_xml_space) {
                return Ok(());
            }
            return Err(self.malformed("text outside of the root element"));
        }
        self.text.push_str(text);
        Ok(())
    }

    /// Moves pending character data into the innermost open element, unless it is only the white space
    /// between elements.
    fn flush_text(&mut self, closing: bool) -> Result<(), XmlError> {
        if self.text.is_empty() {
            return Ok(());
        }
        let Some(element) = self.open.last() else { return Ok(()) };
        let formatting = !(closing && element.nodes.is_empty()) && self.text.chars().all(is_xml_space);
        if formatting {
            self.text.clear();
            return Ok(());
        }
        self.count_node()?;
        let text: Box<str> = std::mem::take(&mut self.text).into();
        let used = self.bindings_used(&text);
        if let Some(element) = self.open.last_mut() {
            for (prefix, namespace) in used {
                element.set_prefix(prefix, namespace);
            }
            element.push(Node::Text(text));
        }
        Ok(())
    }

    /// The bindings in scope of the prefixes that a value seems to use.
    fn bindings_used(&self, value: &str) -> Vec<(Box<str>, Arc<str>)> {
        let mut used: Vec<(Box<str>, Arc<str>)> = Vec::new();
        for (start, colon) in prefix_uses(value) {
            let prefix = &value[start..colon];
            if used.iter().any(|(known, _)| **known == *prefix) {
                continue;
            }
            if let Some(namespace) = self.lookup(prefix) {
                used.push((prefix.into(), namespace));
            }
        }
        used
    }

    fn lookup(&self, prefix: &str) -> Option<Arc<str>> {
        self.bindings.iter().rev().find(|b| *b.prefix == *prefix).map(|b| b.namespace.clone())
    }

    fn share(&mut self, namespace: &str) -> Arc<str> {
        if let Some(known) = self.shared.get(namespace) {
            return known.clone();
        }
        let new: Arc<str> = Arc::from(namespace);
        self.shared.insert(namespace.into(), new.clone());
        new
    }

    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), XmlError> {
        self.flush_text(false)?;
        self.count_node()?;
        if self.root.is_some() {
            return Err(self.malformed("more than one root element"));
        }
        let max_depth = self.limits.max_depth.min(Limits::DEPTH_CEILING);
        if self.open.len() >= max_depth {
            return Err(XmlError::TooLarge { what: "levels", limit: max_depth });
        }
        let depth = self.open.len() + 1;
        // Declarations first: they hold for the names of this very tag.
        let mut named: Vec<(&str, Box<str>)> = Vec::new();
        for (count, attribute) in tag.attributes().enumerate() {
            if count >= self.limits.max_attributes {
                let limit = self.limits.max_attributes;
                return Err(XmlError::TooLarge { what: "attributes in one element", limit });
            }
            let attribute = attribute.map_err(|e| self.malformed(e.to_string()))?;
            let value = attribute
                .normalized_value(XmlVersion::Explicit1_0)
                .map_err(|e| self.malformed(e.to_string()))?;
            if attribute.value.contains('<') || !value.chars().all(is_xml_char) {
                return Err(self.malformed("a character that attributes don't allow"));
            }
            match attribute.key.0 {
                "xmlns" => self.bind("", &value, depth)?,
                key => match key.strip_prefix("xmlns:") {
                    Some(prefix) => self.bind(prefix, &value, depth)?,
                    None => named.push((key, value.into())),
                },
            }
        }
        let (prefix, local) = self.split_name(tag.name().0)?;
        let namespace = match self.lookup(prefix) {
            Some(namespace) => namespace,
            None if prefix.is_empty() => self.none.clone(),
            None => return Err(self.malformed("undeclared prefix of an element")),
        };
        let mut element = Element::new(namespace, local);
        for (key, value) in named {
            self.attribute(&mut element, key, value)?;
        }
        self.open.push(element);
        Ok(())
    }

    fn attribute(&mut self, element: &mut Element, key: &str, value: Box<str>) -> Result<(), XmlError> {
        let (prefix, local) = self.split_name(key)?;
        let namespace = match prefix {
            "" => self.none.clone(),
            "xml" => self.share(namespace::XML),
            prefix => {
                self.lookup(prefix).ok_or_else(|| self.malformed("undeclared prefix of an attribute"))?
            }
        };
        if element.attribute_ns(&namespace, local).is_some() {
            return Err(self.malformed("the same attribute twice"));
        }
        for (prefix, namespace) in self.bindings_used(&value) {
            element.set_prefix(prefix, namespace);
        }
        element.attributes.push(Attribute { namespace, name: local.into(), value });
        Ok(())
    }

    fn bind(&mut self, prefix: &str, namespace: &str, depth: usize) -> Result<(), XmlError> {
        let reserved = prefix == "xmlns"
            || namespace == namespace::XMLNS
            || (prefix == "xml") != (namespace == namespace::XML);
        if reserved || (namespace.is_empty() && !prefix.is_empty()) {
            return Err(self.malformed("a namespace declaration that isn't allowed"));
        }
        if !prefix.chars().all(is_name_char) {
            return Err(self.malformed("a prefix that isn't a name"));
        }
        if self.bindings.len() >= MAX_BINDINGS {
            return Err(XmlError::TooLarge { what: "namespace bindings in scope", limit: MAX_BINDINGS });
        }
        let namespace = self.share(namespace);
        self.bindings.push(Binding { prefix: prefix.into(), namespace, depth });
        Ok(())
    }

    /// Splits a qualified name into prefix (empty if none) and local name.
    fn split_name<'n>(&self, name: &'n str) -> Result<(&'n str, &'n str), XmlError> {
        let (prefix, local) = match name.split_once(':') {
            None => ("", name),
            Some(("", _)) => return Err(self.malformed("a name that begins with a colon")),
            Some(split) => split,
        };
        let starts_well = |part: &str| {
            part.starts_with(|c: char| is_name_char(c) && !c.is_ascii_digit() && c != '-' && c != '.')
                && part.chars().all(is_name_char)
        };
        if !starts_well(local) || !(prefix.is_empty() || starts_well(prefix)) {
            return Err(self.malformed("a tag or attribute whose name isn't a name"));
        }
        Ok((prefix, local))
    }

    fn close(&mut self) -> Result<(), XmlError> {
        self.flush_text(true)?;
        let depth = self.open.len();
        while self.bindings.last().is_some_and(|b| b.depth >= depth) {
            self.bindings.pop();
        }
        let Some(element) = self.open.pop() else {
            return Err(self.malformed("an end tag without start tag"));
        };
        match self.open.last_mut() {
            Some(parent) => parent.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn finish(self) -> Result<Element, XmlError> {
        match (self.open.last(), self.root) {
            (Some(open), _) => Err(XmlError::Malformed {
                at: self.at,
                reason: format!("the document ends inside of element {}", open.name),
            }),
            (None, Some(root)) => Ok(root),
            (None, None) => Err(XmlError::Malformed { at: self.at, reason: "no root element".to_owned() }),
        }
    }
}
