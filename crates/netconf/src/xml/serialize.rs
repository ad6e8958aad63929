//! Writing trees as XML text with correct namespace declarations.

use std::borrow::Cow;

use super::{Attribute, Element, Node};
use crate::namespace;

/// Appends `element` to `out`.
///
/// Elements are always written in the default namespace; prefixes are declared only for attributes and
/// values that need them. `>` is escaped everywhere, so that `]]>]]>` can't occur in a message.
pub(super) fn write(element: &Element, out: &mut String, indent: bool) {
    Writer { out, scope: Vec::new(), indent }.element(element, 0);
}

struct Writer<'e, 'o> {
    out: &'o mut String,
    /// Prefix bindings in scope, innermost last. The empty prefix is the default namespace.
    scope: Vec<(Cow<'e, str>, &'e str)>,
    indent: bool,
}

impl<'e> Writer<'e, '_> {
    fn element(&mut self, element: &'e Element, depth: usize) {
        let outer = self.scope.len();
        self.break_line(depth, depth > 0);
        self.out.push('<');
        self.out.push_str(&element.name);
        if self.lookup("").unwrap_or("") != &*element.namespace {
            self.declare(Cow::Borrowed(""), &element.namespace);
        }
        for (prefix, uri) in &element.prefixes {
            if self.lookup(prefix) != Some(uri) {
                self.declare(Cow::Borrowed(prefix), uri);
            }
        }
        for attribute in &element.attributes {
            self.attribute(attribute);
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
        self.scope.iter().rev().find(|(name, _)| name == prefix).map(|(_, uri)| *uri)
    }

    fn declare(&mut self, prefix: Cow<'e, str>, uri: &'e str) {
        self.out.push_str(" xmlns");
        if !prefix.is_empty() {
            self.out.push(':');
            self.out.push_str(&prefix);
        }
        self.out.push_str("=\"");
        escape(uri, true, self.out);
        self.out.push('"');
        self.scope.push((prefix, uri));
    }

    fn attribute(&mut self, attribute: &'e Attribute) {
        let prefix = match &*attribute.namespace {
            "" => None,
            namespace::XML => Some(Cow::Borrowed("xml")),
            uri => Some(self.prefix_for(uri)),
        };
        self.out.push(' ');
        if let Some(prefix) = prefix {
            self.out.push_str(&prefix);
            self.out.push(':');
        }
        self.out.push_str(&attribute.name);
        self.out.push_str("=\"");
        escape(&attribute.value, true, self.out);
        self.out.push('"');
    }

    /// A prefix that means `uri` here, declared if there is none.
    fn prefix_for(&mut self, uri: &'e str) -> Cow<'e, str> {
        let known =
            self.scope.iter().rev().find(|(prefix, bound)| {
                *bound == uri && !prefix.is_empty() && self.lookup(prefix) == Some(uri)
            });
        if let Some((prefix, _)) = known {
            return prefix.clone();
        }
        // Bound to nothing at all here: an attribute or value of this element may rely on any binding.
        let is_free = |prefix: &str| self.lookup(prefix).is_none();
        let usual = match uri {
            namespace::BASE => Some("nc"),
            namespace::YANG => Some("yang"),
            namespace::WITH_DEFAULTS => Some("wd"),
            _ => None,
        };
        let prefix = usual.filter(|prefix| is_free(prefix)).map(Cow::Borrowed).unwrap_or_else(|| {
            let numbered = (1_usize..).map(|number| format!("ns{number}"));
            numbered.into_iter().find(|prefix| is_free(prefix)).unwrap_or_default().into()
        });
        self.declare(prefix.clone(), uri);
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
