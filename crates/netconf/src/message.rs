//! NETCONF messages: `hello`, `rpc`, `rpc-reply`, `notification` (RFC 6241 §4, §8.1).

mod error;
mod reply;

use thiserror::Error;

pub use error::{ErrorInfo, ErrorTag, ErrorType, RpcError, RpcErrors, Severity};
pub(crate) use reply::MAX_PARTS;
pub use reply::{DataError, Reply};

use crate::capability::Capabilities;
use crate::xml::{Attribute, Element, Limits, XmlError, parse, parse_lenient};
use crate::{clean, namespace};

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

    /// Parses one message of a server without its framing. Values that hold what XML forbids are accepted,
    /// see [`parse_lenient`] and [`Reply::replaced`].
    pub fn parse_from_server(bytes: &[u8], limits: &Limits) -> Result<Self, MessageError> {
        let (root, replaced) = parse_lenient(bytes, limits)?;
        let mut message = Self::from_element(root)?;
        if let Self::Reply(reply) = &mut message {
            reply.note_replaced(replaced);
        }
        Ok(message)
    }

    /// Recognises a message by its root element. A `hello` or `rpc-reply` without namespace is accepted
    /// (there are such servers); everything else must be in its RFC's namespace.
    pub fn from_element(root: Element) -> Result<Self, MessageError> {
        match (root.namespace(), root.name()) {
            (namespace::BASE | "", "hello") => Ok(Self::Hello(Hello::from_element(&root)?)),
            (namespace::BASE, "rpc") => Ok(Self::Rpc(Rpc::from_element(root)?)),
            (namespace::BASE | "", "rpc-reply") => Ok(Self::Reply(Reply::from_element(root)?)),
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

fn message_id(attributes: &[Attribute]) -> Option<&str> {
    let own = |a: &&Attribute| &*a.name == "message-id" && [namespace::BASE, ""].contains(&&*a.namespace);
    attributes.iter().find(own).map(|a| &*a.value)
}

/// The beginning of a text from a peer, for error messages.
fn shorten(text: &str) -> String {
    clean::line(text, 80)
}

#[cfg(test)]
mod tests;
