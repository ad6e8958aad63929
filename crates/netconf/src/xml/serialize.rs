//! Writing trees as XML text with correct namespace declarations.

use super::{Attribute, Element, Node};
use crate::namespace;

/// Prefix bindings in scope, innermost last. The empty prefix is the default namespace.
struct Writer<'e, 'o> {
    out: &'o mut String,
    scope: Vec<(PrefixName<'e>, &'e str)>,
    indent: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum PrefixName<'e> {
    Given(&'e str),
    Generated(usize),
}

/// Appends `element` to `out`.
///
/// Elements are always written in the default namespace; prefixes are declared only for attributes and
/// values that need them. `>` is escaped everywhere, so that `]]>]]>` can't occur in a message.
pub(super) fn write(element: &Element, out: &mut String, indent: bool) {
    Writer { out, scope: Vec::new(), indent }.element(element, 0);
}

impl<'e> Writer<'e, '_> {
    fn element(&mut self, element: &'e Element, depth: usize) {
        let outer = self.scope.len();
        self.break_line(depth, depth > 0);
        self.out.push('<');
        self.out.push_str(&element.name);
        let default = self.lookup("").unwrap_or("");
        if default != &*element.namespace {
            self.declare(PrefixName::Given(""), &element.namespace);
        }
        for (prefix, uri) in &element.prefixes {
            if self.lookup(prefix) != Some(uri) {
                self.declare(PrefixName::Given(prefix), uri);
            }
        }
        for attribute in &element.attributes {
            self.attribute(attribute, outer);
        }
        if element.nodes.is_empty() {
            self.out.push_str("/>");
        } else {
            self.out.push('>');
            for node in &element.nodes {
                match node {
                    Node::Element(child) => self.element(child, depth + 1),
                    Node::Text(text) => escape(text, false, self.out),
                }
            }
            self.break_line(depth, !element.is_leaf());
            self.out.push_str("</");
            self.out.push_str(&element.name);
            self.out.push('>');
        }
        self.scope.truncate(outer);
    }

    fn break_line(&mut self, depth: usize, wanted: bool) {
        if self.indent && wanted {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", depth));
        }
    }

    /// The namespace that a prefix means here.
    fn lookup(&self, prefix: &str) -> Option<&'e str> {
        self.scope.iter().rev().find(|(name, _)| *name == PrefixName::Given(prefix)).map(|(_, uri)| *uri)
    }

    fn declare(&mut self, prefix: PrefixName<'e>, uri: &'e str) {
        self.out.push_str(" xmlns");
        if prefix != PrefixName::Given("") {
            self.out.push(':');
            self.push_prefix(prefix);
        }
        self.out.push_str("=\"");
        escape(uri, true, self.out);
        self.out.push('"');
        self.scope.push((prefix, uri));
    }

    fn push_prefix(&mut self, prefix: PrefixName<'_>) {
        match prefix {
            PrefixName::Given(name) => self.out.push_str(name),
            PrefixName::Generated(number) => {
                self.out.push_str("ns.");
                self.out.push_str(&number.to_string());
            }
        }
    }

    fn attribute(&mut self, attribute: &'e Attribute, outer: usize) {
        let prefix = match &*attribute.namespace {
            "" => None,
            namespace::XML => Some(PrefixName::Given("xml")),
            uri => Some(self.prefix_for(uri, outer)),
        };
        self.out.push(' ');
        if let Some(prefix) = prefix {
            self.push_prefix(prefix);
            self.out.push(':');
        }
        self.out.push_str(&attribute.name);
        self.out.push_str("=\"");
        escape(&attribute.value, true, self.out);
        self.out.push('"');
    }

    /// A prefix in scope that means `uri`, declared if there is none. Bindings from `outer` on belong to
    /// the element being written and must not be declared a second time.
    fn prefix_for(&mut self, uri: &'e str, outer: usize) -> PrefixName<'e> {
        let known = self.scope.iter().enumerate().rev().find(|(at, (prefix, bound))| {
            *bound == uri
                && *prefix != PrefixName::Given("")
                && !self.scope[at + 1..].iter().any(|(inner, _)| inner == prefix)
        });
        if let Some((_, (prefix, _))) = known {
            return *prefix;
        }
        let usual = match uri {
            namespace::BASE => "nc",
            namespace::YANG => "yang",
            namespace::WITH_DEFAULTS => "wd",
            _ => "",
        };
        let taken = self.scope[outer..].iter().any(|(prefix, _)| *prefix == PrefixName::Given(usual));
        let prefix = if usual.is_empty() || taken {
            // The dot keeps generated prefixes apart from those that documents use.
            PrefixName::Generated(self.scope.len())
        } else {
            PrefixName::Given(usual)
        };
        self.declare(prefix, uri);
        prefix
    }
}

/// Appends `text` with everything escaped that XML 1.0 needs escaped, and so that a parser which
/// normalises line ends and attribute values gives back the same text.
fn escape(text: &str, in_attribute: bool, out: &mut String) {
    let mut from = 0;
    for (at, c) in text.char_indices() {
        let replacement = match c {
            '<' => "&lt;",
            '>' => "&gt;",
            '&' => "&amp;",
            '\r' => "&#13;",
            '"' if in_attribute => "&quot;",
            '\n' if in_attribute => "&#10;",
            '\t' if in_attribute => "&#9;",
            c if !is_xml_char(c) => "\u{fffd}",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        out.push_str(replacement);
        from = at + c.len_utf8();
    }
    out.push_str(&text[from..]);
}

/// The production `Char` of XML 1.0.
pub(super) fn is_xml_char(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => true,
        '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => true,
    }
}
