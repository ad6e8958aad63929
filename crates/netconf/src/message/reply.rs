//! `rpc-reply`, RFC 6241 §4.2 to §4.4, and what servers make of it.

mod parts;

use thiserror::Error;

pub(crate) use parts::MAX_PARTS;

use super::{MessageError, RpcError, RpcErrors, Severity, message_id};
use crate::namespace;
use crate::xml::{Attribute, Element, Node, Replaced};

/// The longest `message-id` (RFC 6241 §4.1 allows 4095 characters).
const MAX_MESSAGE_ID_BYTES: usize = 4095;
/// Most places kept whose values hold what was replaced.
const MAX_REPLACED: usize = 20;
/// Elements in which Junos puts the results of an operation, with `rpc-error` inside of them.
const RESULTS: [&str; 3] = ["commit-results", "load-configuration-results", "multi-routing-engine-results"];
/// The beginning of the namespaces of the Junos XML protocol, whose `error` is an `rpc-error`.
const JUNOS_XML: &str = "http://xml.juniper.net/xnm/";

/// An answer, RFC 6241 §4.2.
///
/// Servers differ in how they say the same. What a reply means here:
///
/// - `ok`, `data` and `rpc-error` count with the base namespace and without namespace. An `rpc-error` counts
///   in any namespace and at any depth, except inside of `data`, where it is data.
/// - **The request failed** ([`Reply::is_error`]) if there is an `rpc-error` that is no warning.
/// - **A lock is held** only after `<ok/>` itself ([`Reply::has_ok`]; RFC 6241 §7.5).
/// - **A change was carried out** ([`Reply::is_ok`]) after `<ok/>`, or after the results of Junos
///   (`commit-results`, `load-configuration-results`, also of several routing engines) without error.
/// - **Warnings alone** ([`Reply::is_warnings_only`]): RFC 6241 §4.4 has `<ok/>` sent only "if no errors or
///   warnings occurred", so a server that follows it to the letter says by this that the request was carried
///   out, while others omit `<ok/>` by mistake. This is no `is_ok`; a caller that reads back what it has
///   changed may go on.
/// - **There is data** only in `<data>` ([`Reply::required_data`]; RFC 6241 §7.1, §7.7). An answer without it
///   is broken and never means that nothing is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    attributes: Vec<Attribute>,
    content: Vec<Element>,
    /// First those that are children of `rpc-reply`, then those inside of `content`.
    errors: Vec<RpcError>,
    /// How many of `errors` are inside of `content`.
    inside: usize,
    replaced: Vec<Replaced>,
}

/// Why a reply gives no data.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DataError {
    /// The request failed.
    #[error(transparent)]
    Refused(#[from] RpcErrors),
    /// The reply is neither an error nor has it `<data>`.
    #[error("the reply has no <data>: the device breaks RFC 6241 §7.1, and what it has is unknown")]
    Missing,
}

impl Reply {
    pub(super) fn from_element(root: Element) -> Result<Self, MessageError> {
        let attributes = root.attributes().to_vec();
        if message_id(&attributes).is_some_and(|id| id.len() > MAX_MESSAGE_ID_BYTES) {
            return Err(MessageError::NotNetconf { reason: "message-id that is too long".to_owned() });
        }
        let (mut content, mut errors, mut inside) = (Vec::new(), Vec::new(), Vec::new());
        for child in root.into_children() {
            if child.name() == "rpc-error" {
                errors.push(RpcError::from_element(&child));
            } else {
                add_errors(&child, &mut inside);
                content.push(in_base(child));
            }
        }
        let count = inside.len();
        errors.extend(inside);
        Ok(Self { attributes, content, errors, inside: count, replaced: Vec::new() })
    }

    /// `<ok/>`.
    pub fn ok() -> Self {
        Self::with_content([Element::base("ok")])
    }

    /// `<data>` with these elements.
    pub fn with_data(data: impl IntoIterator<Item = Element>) -> Self {
        Self::with_content([Element::base("data").with_children(data)])
    }

    /// Any elements, as answers of other operations have them.
    pub fn with_content(content: impl IntoIterator<Item = Element>) -> Self {
        Self { content: content.into_iter().collect(), ..Self::default() }
    }

    /// One or more `rpc-error`.
    pub fn with_errors(errors: impl IntoIterator<Item = RpcError>) -> Self {
        Self { errors: errors.into_iter().collect(), ..Self::default() }
    }

    /// With a further attribute, which is sent beside those of the request.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.attributes.push(Attribute { namespace: "".into(), name: name.into(), value: value.into() });
        self
    }

    /// An attribute without namespace.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let own = |attribute: &&Attribute| attribute.namespace.is_empty() && &*attribute.name == name;
        self.attributes.iter().find(own).map(|attribute| &*attribute.value)
    }

    /// The value of an attribute with this namespace.
    pub fn attribute_ns(&self, namespace: &str, name: &str) -> Option<&str> {
        let named = |attribute: &&Attribute| &*attribute.namespace == namespace && &*attribute.name == name;
        self.attributes.iter().find(named).map(|attribute| &*attribute.value)
    }

    /// How many of [`Reply::errors`] stand inside of another element than `rpc-reply`.
    pub fn errors_inside(&self) -> usize {
        self.inside
    }

    /// The number of the request that this answers; servers may leave it out if they couldn't read it.
    pub fn message_id(&self) -> Option<&str> {
        message_id(&self.attributes)
    }

    /// All `rpc-error` of the reply outside of `<data>`, warnings included: those that stand in `rpc-reply`
    /// itself, then those deeper, each in the order sent.
    pub fn errors(&self) -> &[RpcError] {
        &self.errors
    }

    /// The `rpc-error` of severity warning.
    pub fn warnings(&self) -> impl Iterator<Item = &RpcError> {
        self.errors.iter().filter(|error| error.severity == Severity::Warning)
    }

    /// Whether there is an `rpc-error` that isn't just a warning: the request failed.
    pub fn is_error(&self) -> bool {
        self.errors.iter().any(|error| error.severity == Severity::Error)
    }

    /// Whether the reply is `<ok/>` itself, perhaps with warnings, and has no error. What a lock needs.
    pub fn has_ok(&self) -> bool {
        !self.is_error() && self.content.iter().any(|child| child.is(namespace::BASE, "ok"))
    }

    /// Whether the reply says that a change was carried out: `<ok/>`, or results of Junos without error. See
    /// the type.
    pub fn is_ok(&self) -> bool {
        self.has_ok() || (!self.is_error() && self.content.iter().any(is_success))
    }

    /// Whether the reply is nothing but warnings. See the type.
    pub fn is_warnings_only(&self) -> bool {
        !self.is_error() && !self.errors.is_empty() && self.content.is_empty()
    }

    /// The elements of the reply other than errors.
    pub fn content(&self) -> &[Element] {
        &self.content
    }

    /// The `<data>` element: in the base namespace for `get` and `get-config`, in that of RFC 6022 for
    /// `get-schema`. `None` says nothing about what the device has; see [`Reply::required_data`].
    pub fn data(&self) -> Option<&Element> {
        self.content.iter().find(|child| is_data(child))
    }

    /// Takes the `<data>` element out.
    pub fn into_data(self) -> Option<Element> {
        self.content.into_iter().find(is_data)
    }

    /// The `<data>` element of the answer to `get` or `get-config`.
    ///
    /// # Errors
    /// If the request failed, and if there is no `<data>`.
    pub fn required_data(self) -> Result<Element, DataError> {
        self.into_result()?.into_data().ok_or(DataError::Missing)
    }

    /// Values in which bytes or characters were replaced by U+FFFD, at most 20. They equal no value that a
    /// caller wants, and must not be written back.
    pub fn replaced(&self) -> &[Replaced] {
        &self.replaced
    }

    pub(super) fn note_replaced(&mut self, replaced: impl IntoIterator<Item = Replaced>) {
        let room = MAX_REPLACED.saturating_sub(self.replaced.len());
        self.replaced.extend(replaced.into_iter().take(room).map(|mut replaced| {
            let within = replaced.path.split_once('/').map_or("", |(_root, within)| within);
            let within = within.strip_prefix("data/").unwrap_or(within);
            replaced.path = match within {
                "" => "rpc-reply".to_owned(),
                within => within.to_owned(),
            };
            replaced
        }));
    }

    /// Replaces texts of the errors, and of everything that is no data: `with` gives the new one. For what must not go
    /// on, such as a secret that a server quotes.
    pub fn replace_texts(&mut self, with: &dyn Fn(&str) -> Option<String>) {
        self.errors.iter_mut().for_each(|error| error.replace_texts(with));
        let others = self.content.iter_mut().filter(|element| !is_data(element));
        others.for_each(|element| replace_texts(element, with));
        for replaced in &mut self.replaced {
            if let Some(path) = with(&replaced.path) {
                replaced.path = path;
            }
        }
    }

    /// The reply as it is if it holds no error of severity error, else its errors.
    pub fn into_result(self) -> Result<Self, RpcErrors> {
        if self.is_error() { Err(RpcErrors(self.errors)) } else { Ok(self) }
    }

    /// The reply as XML, repeating the attributes of the request (RFC 6241 §4.2).
    pub fn to_element(&self, request_attributes: &[Attribute]) -> Element {
        let mut root = Element::base("rpc-reply");
        for attribute in request_attributes.iter().chain(&self.attributes) {
            root.set_attribute_ns(
                attribute.namespace.clone(),
                attribute.name.clone(),
                attribute.value.clone(),
            );
        }
        let outside = self.errors.len() - self.inside;
        let errors = self.errors.iter().take(outside).map(RpcError::to_element);
        root.with_children(errors).with_children(self.content.iter().cloned())
    }
}

fn is_data(element: &Element) -> bool {
    element.name() == "data" && [namespace::BASE, namespace::MONITORING, ""].contains(&element.namespace())
}

/// Replaces the texts and attributes' values of an element and all inside of it.
pub(super) fn replace_texts(element: &mut Element, with: &dyn Fn(&str) -> Option<String>) {
    let attributes: Vec<_> = element
        .attributes()
        .iter()
        .filter_map(|it| Some((it.namespace.clone(), it.name.clone(), with(&it.value)?)))
        .collect();
    for (namespace, name, value) in attributes {
        element.set_attribute_ns(namespace, name, value);
    }
    for node in element.nodes_mut() {
        match node {
            Node::Element(child) => replace_texts(child, with),
            Node::Text(text) => {
                if let Some(new) = with(text) {
                    *text = new.into();
                }
            }
        }
    }
}

/// `ok` and `data` without namespace are those of the base namespace.
fn in_base(element: Element) -> Element {
    if !element.namespace().is_empty() || !["ok", "data"].contains(&element.name()) {
        return element;
    }
    let mut based = Element::base(element.name());
    for attribute in element.attributes() {
        based.set_attribute_ns(attribute.namespace.clone(), attribute.name.clone(), attribute.value.clone());
    }
    for (prefix, namespace) in element.prefixes() {
        based.set_prefix(prefix, namespace);
    }
    *based.nodes_mut() = element.into_nodes();
    based
}

/// Adds the errors inside of an element, whatever it is, unless it is data.
fn add_errors(element: &Element, errors: &mut Vec<RpcError>) {
    if is_data(element) {
        return;
    }
    if element.namespace().starts_with(JUNOS_XML) && ["error", "warning"].contains(&element.name()) {
        errors.push(RpcError::from_junos(element));
        return;
    }
    for child in element.children() {
        match child.name() {
            "rpc-error" => errors.push(RpcError::from_element(child)),
            _ => add_errors(child, errors),
        }
    }
}

/// Whether an element of a reply without errors is a result of Junos that says no failure.
fn is_success(element: &Element) -> bool {
    RESULTS.contains(&element.name()) && !counts_errors(element)
}

/// Whether `load-error-count` is anything but 0, as it may be beside errors that are only text.
fn counts_errors(element: &Element) -> bool {
    element.children().any(|child| match child.name() {
        "load-error-count" => child.text() != "0",
        _ => counts_errors(child),
    })
}

#[cfg(test)]
mod tests;
