//! Parsing XML text into trees, bounded and strict.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use thiserror::Error;

use super::replaced::{
    Decoded, Fault, MAX_REPLACED, Replaced, character, decode, without_forbidden_references,
};
use super::serialize::is_xml_char;
use super::{Attribute, Element, Node, is_name_char, is_xml_space, prefix_uses};
use crate::{clean, namespace};

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
    /// Bytes that aren't UTF-8 in a name or in other markup, where they can't be replaced.
    #[error("the document isn't UTF-8 (byte {at}, in the markup {place}): the peer must send UTF-8")]
    NotUtf8InMarkup {
        /// Offset of the first wrong byte.
        at: usize,
        /// The element, in words.
        place: String,
    },
    /// Not well-formed XML with namespaces.
    #[error("malformed XML near byte {at}: {reason}")]
    Malformed {
        /// Offset near which the fault was found.
        at: usize,
        /// What is wrong, in words.
        reason: String,
    },
}

/// Longest reason given, in characters.
const MAX_REASON: usize = 200;
/// Elements of a path given, and characters of a name or key in it.
const MAX_PATH_ELEMENTS: usize = 16;
const MAX_PATH_TEXT: usize = 64;
/// Most elements listed whose values hold what was replaced.
const MAX_REPLACED_PLACES: usize = 20;

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
    let (root, _) = build(&Decoded::valid(document), Mode::Strict, limits)?;
    Ok(root)
}

/// Parses a document of a peer that may hold, in the values of elements and attributes, what XML forbids:
/// bytes that aren't UTF-8, control characters, references to either. Each is replaced by U+FFFD and
/// listed by the element that holds it. A replaced value equals no value without U+FFFD.
///
/// Names, namespaces and other markup are as strict as in [`parse`]. The encoding that the XML declaration
/// names is ignored: NETCONF is UTF-8 (RFC 6241 §3).
pub fn parse_lenient(document: &[u8], limits: &Limits) -> Result<(Element, Vec<Replaced>), XmlError> {
    if document.len() > limits.max_bytes {
        return Err(XmlError::TooLarge { what: "bytes", limit: limits.max_bytes });
    }
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    build(&decode(document)?, Mode::Lenient, limits)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Strict,
    Lenient,
}

fn build(document: &Decoded<'_>, mode: Mode, limits: &Limits) -> Result<(Element, Vec<Replaced>), XmlError> {
    let mut reader = Reader::from_str(&document.text);
    let mut builder = Builder::new(limits, mode, document);
    loop {
        let event = reader.read_event();
        builder.advance(usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX));
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                builder.no_fault_in_markup()?;
                return Err(builder.malformed(error.to_string()));
            }
        };
        match event {
            Event::Start(tag) => builder.open(&tag)?,
            Event::Empty(tag) => {
                builder.open(&tag)?;
                builder.close()?;
            }
            Event::End(_) => {
                builder.no_fault_in_markup()?;
                builder.close()?;
            }
            Event::Text(text) => builder.text(&text.xml10_content())?,
            Event::CData(data) => builder.text(&data.xml10_content())?,
            Event::GeneralRef(reference) => {
                builder.no_fault_in_markup()?;
                builder.reference(&reference)?;
            }
            Event::Decl(declaration) => {
                if builder.root.is_some() || !builder.open.is_empty() {
                    return Err(builder.malformed("XML declaration inside the document"));
                }
                if let Some(encoding) = declaration.encoding()
                    && mode == Mode::Strict
                {
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
    mode: Mode,
    /// The last event of the text: where it begins and where it ends.
    began: usize,
    at: usize,
    /// Bytes that weren't UTF-8: those of the last event, and those of what is still to come.
    faults: &'l [Fault],
    later_faults: &'l [Fault],
    /// What was replaced in values, by element.
    replaced: Vec<Replaced>,
    replaced_in_all: usize,
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
    fn new(limits: &'l Limits, mode: Mode, document: &'l Decoded<'_>) -> Self {
        Self {
            limits,
            mode,
            began: 0,
            at: 0,
            faults: &[],
            later_faults: &document.faults,
            replaced: Vec::new(),
            replaced_in_all: 0,
            open: Vec::new(),
            root: None,
            text: String::new(),
            bindings: Vec::new(),
            shared: HashMap::new(),
            none: Arc::from(""),
            nodes: 0,
        }
    }

    /// Goes on to the event that ends there.
    fn advance(&mut self, at: usize) {
        (self.began, self.at) = (self.at, at);
        (self.faults, self.later_faults) =
            self.later_faults.split_at(self.later_faults.partition_point(|fault| fault.in_text < at));
    }

    fn malformed(&self, reason: impl AsRef<str>) -> XmlError {
        let reason = clean::line(reason.as_ref(), MAX_REASON);
        let reason = match self.open.is_empty() {
            true => reason,
            false => format!("{reason} (inside of {})", self.path()),
        };
        XmlError::Malformed { at: self.at, reason }
    }

    fn no_fault_in_markup(&self) -> Result<(), XmlError> {
        self.faults.first().map_or(Ok(()), |fault| Err(self.fault_in_markup(*fault)))
    }

    fn fault_in_markup(&self, fault: Fault) -> XmlError {
        let place = match self.open.is_empty() {
            true => "outside of the root element".to_owned(),
            false => format!("inside of {}", self.path()),
        };
        XmlError::NotUtf8InMarkup { at: fault.in_bytes, place }
    }

    /// The open elements from the root on.
    fn path(&self) -> String {
        self.path_to(false)
    }

    /// The same. List entries are told apart by their first leaf, the innermost only if something inside of
    /// it is meant.
    fn path_to(&self, inside: bool) -> String {
        let mut path = String::new();
        let skipped = self.open.len().saturating_sub(MAX_PATH_ELEMENTS);
        if skipped > 0 {
            path.push('…');
        }
        for (at, element) in self.open.iter().enumerate().skip(skipped) {
            if at > 0 {
                path.push('/');
            }
            path.push_str(&clean::line(&element.name, MAX_PATH_TEXT));
            let is_innermost = at + 1 == self.open.len();
            let first =
                element.children().next().filter(|first| (inside || !is_innermost) && first.is_leaf());
            if let Some(key) = first {
                let value = clean::line(&key.text(), MAX_PATH_TEXT);
                path.push_str(&format!("[{}='{value}']", clean::line(&key.name, MAX_PATH_TEXT)));
            }
        }
        path
    }

    /// Notes what was replaced in the innermost open element, or in `attribute` of the element `of`.
    fn note(
        &mut self,
        attribute: Option<(&str, &str)>,
        not_utf8: usize,
        forbidden: usize,
    ) -> Result<(), XmlError> {
        let count = not_utf8 + forbidden;
        if count == 0 {
            return Ok(());
        }
        self.replaced_in_all += count;
        if self.replaced_in_all > MAX_REPLACED {
            return Err(XmlError::TooLarge { what: "characters that XML forbids", limit: MAX_REPLACED });
        }
        if self.replaced.len() >= MAX_REPLACED_PLACES {
            return Ok(());
        }
        let mut path = self.path_to(attribute.is_some());
        if let Some((element, attribute)) = attribute {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&format!(
                "{}/@{}",
                clean::line(element, MAX_PATH_TEXT),
                clean::line(attribute, MAX_PATH_TEXT)
            ));
        }
        match self.replaced.last_mut() {
            Some(last) if last.path == path => {
                last.not_utf8 += not_utf8;
                last.forbidden += forbidden;
            }
            _ => self.replaced.push(Replaced { path, not_utf8, forbidden }),
        }
        Ok(())
    }

    /// Replaces what XML forbids in a value; gives their number.
    fn without_forbidden<'v>(&self, value: &'v str) -> Result<(Cow<'v, str>, usize), XmlError> {
        let forbidden = value.chars().filter(|c| !is_xml_char(*c)).count();
        match (forbidden, self.mode) {
            (0, _) => Ok((Cow::Borrowed(value), 0)),
            (_, Mode::Strict) => Err(self.malformed("a character that XML doesn't allow")),
            (_, Mode::Lenient) => {
                let replaced =
                    value.chars().map(|c| if is_xml_char(c) { c } else { char::REPLACEMENT_CHARACTER });
                Ok((Cow::Owned(replaced.collect()), forbidden))
            }
        }
    }

    fn reference(&mut self, reference: &str) -> Result<(), XmlError> {
        if let Some(text) = resolve_predefined_entity(reference) {
            return self.text(text);
        }
        if !reference.starts_with('#') {
            return Err(self.malformed("reference to an unknown entity"));
        }
        match character(reference) {
            Some(Ok(c)) => self.text(c.encode_utf8(&mut [0; 4])),
            Some(Err(())) if self.mode == Mode::Lenient && !self.open.is_empty() => {
                self.note(None, 0, 1)?;
                self.text.push(char::REPLACEMENT_CHARACTER);
                Ok(())
            }
            Some(Err(())) => Err(self.malformed("a reference to a character that XML doesn't allow")),
            None => Err(self.malformed("a character reference that isn't a number")),
        }
    }

    fn count_node(&mut self) -> Result<(), XmlError> {
        self.nodes += 1;
        if self.nodes > self.limits.max_nodes {
            return Err(XmlError::TooLarge { what: "nodes", limit: self.limits.max_nodes });
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        let (text, forbidden) = self.without_forbidden(text)?;
        let text = &*text;
        if self.open.is_empty() {
            if text.chars().all(is_xml_space) {
                return Ok(());
            }
            return Err(self.malformed("text outside of the root element"));
        }
        self.note(None, self.faults.len(), forbidden)?;
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
        let name = tag.name().0;
        let (attributes_with_faults, faults) = self.faults_in_attributes(tag)?;
        // Declarations first: they hold for the names of this very tag.
        let mut named: Vec<(&str, Box<str>)> = Vec::new();
        for (count, attribute) in tag.attributes().enumerate() {
            if count >= self.limits.max_attributes {
                let limit = self.limits.max_attributes;
                return Err(XmlError::TooLarge { what: "attributes in one element", limit });
            }
            let mut attribute = attribute.map_err(|e| self.malformed(e.to_string()))?;
            let mut forbidden = 0;
            if self.mode == Mode::Lenient && attribute.value.contains("&#") {
                let (value, references) = without_forbidden_references(&attribute.value);
                (attribute.value, forbidden) = (Cow::Owned(value.into_owned()), references);
            }
            let value = attribute
                .normalized_value(XmlVersion::Explicit1_0)
                .map_err(|e| self.malformed(e.to_string()))?;
            if attribute.value.contains('<') {
                return Err(self.malformed("a character that attributes don't allow"));
            }
            let (value, characters) = self.without_forbidden(&value)?;
            forbidden += characters;
            let not_utf8 = attributes_with_faults.iter().filter(|at| **at == count).count();
            let key = attribute.key.0;
            if forbidden + not_utf8 > 0 && (key == "xmlns" || key.starts_with("xmlns:")) {
                let fault = faults.first().copied();
                return Err(fault.map_or_else(
                    || self.malformed("a namespace with a character that XML doesn't allow"),
                    |fault| self.fault_in_markup(fault),
                ));
            }
            self.note(Some((name, key)), not_utf8, forbidden)?;
            match attribute.key.0 {
                "xmlns" => self.bind("", &value, depth)?,
                key => match key.strip_prefix("xmlns:") {
                    Some(prefix) => self.bind(prefix, &value, depth)?,
                    None => named.push((key, value.into())),
                },
            }
        }
        let (prefix, local) = self.split_name(name)?;
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

    /// Which attributes of a tag hold bytes that aren't UTF-8, by their number, once for each such place. An
    /// error if such a byte stands elsewhere in the tag.
    fn faults_in_attributes(&self, tag: &BytesStart<'_>) -> Result<(Vec<usize>, &'l [Fault]), XmlError> {
        let faults = self.faults;
        let mut of = Vec::with_capacity(faults.len());
        let mut faults_left = faults.iter();
        let Some(mut fault) = faults_left.next() else { return Ok((of, faults)) };
        // The tag's own text begins after `<`.
        let (mut number, mut quote) = (0, None);
        for (at, c) in tag.char_indices() {
            if self.began + 1 + at == fault.in_text {
                if quote.is_none() {
                    return Err(self.fault_in_markup(*fault));
                }
                of.push(number);
                match faults_left.next() {
                    Some(next) => fault = next,
                    None => return Ok((of, faults)),
                }
            }
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if open == c => {
                    quote = None;
                    number += 1;
                }
                _ => {}
            }
        }
        Err(self.fault_in_markup(*fault))
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

    fn finish(self) -> Result<(Element, Vec<Replaced>), XmlError> {
        if !self.open.is_empty() {
            return Err(self.malformed("the document ends too early"));
        }
        match self.root {
            Some(root) => Ok((root, self.replaced)),
            None => Err(XmlError::Malformed { at: self.at, reason: "no root element".to_owned() }),
        }
    }
}
