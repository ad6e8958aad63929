//! NETCONF messages: `hello`, `rpc`, `rpc-reply`, `notification` (RFC 6241 §4, §8.1).

mod error;

use thiserror::Error;

pub use error::{ErrorTag, ErrorType, RpcError, RpcErrors, Severity};

use crate::capability::Capabilities;
use crate::namespace;
use crate::xml::{Attribute, Element, Limits, XmlError, parse};

/// The longest `message-id` (RFC 6241 §4.1 allows 4095 characters).
const MAX_MESSAGE_ID_BYTES: usize = 4095;

/// A message as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The first message of each side.
    Hello(Hello),
    /// A request.
    Rpc(Rpc),
    /// An answer.
    Reply(Reply),
    /// An event (RFC 5277); the whole `notification` element.
    Notification(Element),
}

/// Why a text is not a NETCONF message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not acceptable XML.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Well-formed, but no message of NETCONF.
    #[error("not a NETCONF message ({reason}): the peer breaks RFC 6241")]
    NotNetconf {
        /// What is wrong, in words.
        reason: String,
    },
}

impl Message {
    /// Parses one message without its framing.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, MessageError> {
        Self::from_element(parse(bytes, limits)?)
    }

    /// Recognises a message by its root element. A `hello` without namespace is accepted (there are such
    /// servers); everything else must be in the base namespace.
    pub fn from_element(root: Element) -> Result<Self, MessageError> {
        match (root.namespace(), root.name()) {
            (namespace::BASE | "", "hello") => Ok(Self::Hello(Hello::from_element(&root)?)),
            (namespace::BASE, "rpc") => Ok(Self::Rpc(Rpc::from_element(root)?)),
            (namespace::BASE, "rpc-reply") => Ok(Self::Reply(Reply::from_element(root)?)),
            (namespace::NOTIFICATION, "notification") => Ok(Self::Notification(root)),
            (namespace, name) => Err(MessageError::NotNetconf {
                reason: format!("root element {{{}}}{}", shorten(namespace), shorten(name)),
            }),
        }
    }
}

/// The capabilities exchange, RFC 6241 §8.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the sender can do.
    pub capabilities: Capabilities,
    /// The session's number; sent by servers only.
    pub session_id: Option<u32>,
}

impl Hello {
    fn from_element(root: &Element) -> Result<Self, MessageError> {
        let capabilities = root
            .own_child("capabilities")
            .ok_or_else(|| MessageError::NotNetconf { reason: "hello without capabilities".to_owned() })?;
        let uris = capabilities
            .children()
            .filter(|child| child.name() == "capability")
            .map(|child| child.text().into_owned());
        let session_id = match root.own_child("session-id") {
            None => None,
            Some(id) => Some(id.text().parse().map_err(|_| MessageError::NotNetconf {
                reason: format!("session-id {:?} isn't a number", shorten(&id.text())),
            })?),
        };
        Ok(Self { capabilities: Capabilities::new(uris), session_id })
    }

    /// The message as XML.
    pub fn to_element(&self) -> Element {
        let capabilities = Element::base("capabilities")
            .with_children(self.capabilities.uris().map(|uri| Element::base("capability").with_text(uri)));
        let hello = Element::base("hello").with_child(capabilities);
        match self.session_id {
            None => hello,
            Some(id) => hello.with_leaf("session-id", id.to_string()),
        }
    }
}

/// A request, RFC 6241 §4.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    /// The attributes of `rpc`, `message-id` included; a reply repeats them.
    pub attributes: Vec<Attribute>,
    /// The operation with its parameters, such as `<get-config>`.
    pub operation: Element,
}

impl Rpc {
    fn from_element(root: Element) -> Result<Self, MessageError> {
        let attributes = root.attributes().to_vec();
        let mut children = root.into_children();
        match (children.next(), children.next()) {
            (Some(operation), None) => Ok(Self { attributes, operation }),
            _ => Err(MessageError::NotNetconf { reason: "rpc without exactly one operation".to_owned() }),
        }
    }

    /// The number by which the client knows the answer.
    pub fn message_id(&self) -> Option<&str> {
        message_id(&self.attributes)
    }
}

/// An answer, RFC 6241 §4.2.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    attributes: Vec<Attribute>,
    content: Vec<Element>,
    errors: Vec<RpcError>,
}

impl Reply {
    fn from_element(root: Element) -> Result<Self, MessageError> {
        let attributes = root.attributes().to_vec();
        if message_id(&attributes).is_some_and(|id| id.len() > MAX_MESSAGE_ID_BYTES) {
            return Err(MessageError::NotNetconf { reason: "message-id that is too long".to_owned() });
        }
        let (mut content, mut errors) = (Vec::new(), Vec::new());
        for child in root.into_children() {
            if child.is(namespace::BASE, "rpc-error") {
                errors.push(RpcError::from_element(&child));
            } else {
                content.push(child);
            }
        }
        Ok(Self { attributes, content, errors })
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

    /// The number of the request that this answers; servers may leave it out if they couldn't read it.
    pub fn message_id(&self) -> Option<&str> {
        message_id(&self.attributes)
    }

    /// All `rpc-error` of the reply, warnings included, in the order sent.
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

    /// Whether the reply is `<ok/>`, perhaps with warnings.
    pub fn is_ok(&self) -> bool {
        !self.is_error() && self.content.iter().any(|child| child.is(namespace::BASE, "ok"))
    }

    /// The elements of the reply other than errors.
    pub fn content(&self) -> &[Element] {
        &self.content
    }

    /// The `<data>` element: in the base namespace for `get` and `get-config`, in that of RFC 6022 for
    /// `get-schema`.
    pub fn data(&self) -> Option<&Element> {
        self.content.iter().find(|child| is_data(child))
    }

    /// Takes the `<data>` element out.
    pub fn into_data(self) -> Option<Element> {
        self.content.into_iter().find(is_data)
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
        let errors = self.errors.iter().map(RpcError::to_element);
        root.with_children(errors).with_children(self.content.iter().cloned())
    }
}

fn is_data(element: &Element) -> bool {
    element.name() == "data" && [namespace::BASE, namespace::MONITORING].contains(&element.namespace())
}

fn message_id(attributes: &[Attribute]) -> Option<&str> {
    let own = |a: &&Attribute| &*a.name == "message-id" && [namespace::BASE, ""].contains(&&*a.namespace);
    attributes.iter().find(own).map(|a| &*a.value)
}

/// The beginning of a text from a peer, for error messages.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
